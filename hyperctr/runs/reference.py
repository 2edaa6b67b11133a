"""Describe the models and every key of a run file, from the code itself: what `hyperctr models` and `config` print."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from hyperctr import config, presets
from hyperctr.batch import Referee
from hyperctr.models import find_model, find_wrapper
from hyperctr.runs.checks import READ_BY_REFEREES
from hyperctr.strict import literal

WIDTH = 110  # of a comment


def list_models(classes: Mapping[str, type]) -> list[dict[str, Any]]:
    """Describe each model or wrapper: name, paper (the first line of its file), what it is, reads.

    >>> from hyperctr.models import MODELS
    >>> list_models({"din": MODELS["din"]})[0]["paper"]
    'Deep Interest Network (KDD 2018, arXiv 1706.06978): the clicks of a user, weighted by the candidate and summed.'
    """
    return [
        {
            "name": name,
            "paper": _first_line(sys.modules[cls.__module__]),
            "what": _first_line(cls),
            "reads": sorted(cls.reads),
        }
        for name, cls in classes.items()
    ]


def list_presets() -> list[dict[str, str]]:
    """Describe each preset: name, model, wrapper, and what it is in its first sentence.

    >>> list_presets()[0]["name"]
    'aqcl-best'
    """
    found = []
    for name in presets.PRESETS:
        tables = presets.read_preset(name)
        found.append({"name": name, **_named(tables), "what": " ".join(presets.about(name).split("\n\n")[0].split())})
    return found


def preset_file(preset: str) -> str:
    """Write a complete, commented run file of a preset: every key with its meaning and the value that the preset gives.

    The result reads back as the run of the preset.

    Raises:
        ValueError: there is no such preset.
    """
    tables = presets.read_preset(preset)
    names = _named(tables)
    said = "".join(f"# {line}".rstrip() + "\n" for line in presets.about(preset).splitlines())
    return f"# The preset {preset}.\n#\n{said}#\n" + run_file(names["model"], names["wrapper"], tables)


def run_file(model: str, wrapper: str = "", values: Mapping[str, Mapping[str, Any]] = {}) -> str:
    """Write a complete, commented run file of a model: every key with its default and meaning.

    A key whose default is "not set" is commented out. The result reads back as a run of all defaults.

    Args:
        model: its name. wrapper: its name, or "".
        values: tables of other values than the defaults.

    Raises:
        ValueError: there is no such model or wrapper.
    """
    parts = dict(config.TABLES)
    names = {"model": model} | ({"wrapper": wrapper} if wrapper else {})
    stated = "value" if values else "default"
    blocks = [f"# A run file: every key, with its {stated} and meaning. Only [data] path has no default."]
    fitted = False
    if isinstance(find_model(model), Referee):
        blocks[0] += "\n# A referee is fitted once: of [train] it reads these keys alone."
        fitted = True
    for table, cls in parts.items():
        if table == "wrapper" and not wrapper:
            continue
        lines = [f"[{table}]"]
        if table in names:
            cls = {"model": find_model, "wrapper": find_wrapper}[table](names[table])
            lines = [f"# {_first_line(cls)}", lines[0], f'name = "{names[table]}"']
        texts = field_docs(cls.Config if table in names else cls)
        for entry in fields(cls.Config if table in names else cls):
            if entry.init and not (fitted and table == "train" and entry.name not in READ_BY_REFEREES):
                given = values.get(table, {}).get(entry.name, _default(entry))
                lines += ["", *_key(entry.name, given, texts.get(entry.name, ""))]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def field_docs(cls: type) -> dict[str, str]:
    """Read the docstring below each field of a dataclass and its bases, as one line each."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__[:-1]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0].body
        except (OSError, TypeError):  # made at run time: there is no source
            continue
        for field, text in zip(body, body[1:], strict=False):
            named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if named and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _named(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of the model and of the wrapper, "" without one."""
    return {table: tables.get(table, {}).get("name", "") for table in ("model", "wrapper")}


def _default(entry: Field) -> Any:
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


def _key(name: str, value: Any, text: str) -> list[str]:
    """The lines of one key: its meaning as comments, then its value."""
    lines = [f"# {line}" for line in textwrap.wrap(text, WIDTH)]
    if value is MISSING:
        return [*lines, f'{name} = ""']
    if value is None:
        return [*lines, f"# {name} ="]
    return [*lines, f"{name} = {literal(value)}"]


def _first_line(thing: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
