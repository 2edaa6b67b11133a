"""Packages that `graphs` can use and does not need."""

import importlib
from types import ModuleType


def package(name: str, install: str | None = None) -> ModuleType:
    """Import a package; if it is missing, say in one line how to get it.

    Raises:
        ImportError: it is missing, or it does not import together with the other packages.
    """
    how = install or f"pip install {name.replace('_', '-')}, or pip install 'hyperctr[interop]'"
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # a compiled library that is missing is an OSError
        raise ImportError(f"this needs {name}, which does not import here ({error}): {how}") from error
