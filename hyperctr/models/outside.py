"""Load a class or function from outside the package: "mine.py:Mine" names a file, "package.module:Mine" a module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hyperctr.strict import did_you_mean


def is_outside(name: str) -> bool:
    """Say whether a name points outside the package: it has a colon between its place and its name.

    >>> is_outside("mine.py:Mine"), is_outside("din")
    (True, False)
    """
    return ":" in name


def load(name: str, key: str) -> Any:
    """Load what a run file names.

    A file is looked up from the working directory. The same content gives the same object within one process.

    Args:
        name: "file.py:Name", or "package.module:Name".
        key: the key of the run file that holds it, such as "model.name"; messages begin with it.

    Raises:
        ValueError: there is no such file, module or name, or its code fails while it is imported.
    """
    place, _, wanted = name.rpartition(":")
    if not place or not wanted.isidentifier():
        raise ValueError(f'{key} must be like "mine.py:Mine" or "package.module:Mine", got "{name}"')
    module = _from_file(Path(place), key) if place.endswith(".py") else _from_module(place, key)
    if wanted not in vars(module):
        public = [known for known in vars(module) if not known.startswith("_")]
        near = did_you_mean(wanted, public)
        raise ValueError(f"{key}: {place} has no {wanted}{near and ', ' + near}")
    return vars(module)[wanted]


def source_digest(thing: Any) -> str:
    """Return 12 hexadecimal digits of the file that defines a class or function; empty where there is none."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return _digest(Path(file).read_bytes()) if file and Path(file).is_file() else ""


def _from_file(path: Path, key: str) -> ModuleType:
    """Import a file under a name of its content, so that an edited file is imported again."""
    if not path.is_file():
        raise ValueError(f"{key}: there is no file {path} (looked up from {Path.cwd()})")
    name = f"hyperctr_outside_{path.stem}_{_digest(str(path.resolve()).encode() + path.read_bytes())}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{key}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _from_module(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"{key}: {name} cannot be imported: {type(error).__name__}: {error}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
