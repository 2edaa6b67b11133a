"""The papers' tables and figures as commands: `STUDIES` lists them, `find` also reads a study from your own file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

from hyperctr.strict import did_you_mean
from hyperctr.studies import aqcl, hyperctr, lt4rec, marn, mian
from hyperctr.studies.study import Study

STUDIES: dict[str, Study] = {
    study.name: study for paper in (hyperctr, aqcl, mian, marn, lt4rec) for study in paper.STUDIES
}


def find(text: str) -> Study:
    """Return a study by its name, or by FILE.py:NAME or package.module:NAME.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if ":" in text:
        return _from_outside(text)
    if text not in STUDIES:
        hint = did_you_mean(text, STUDIES) or f"known: {', '.join(STUDIES)}"
        raise ValueError(f"unknown study {text!r}, {hint}")
    return STUDIES[text]


def _from_outside(text: str) -> Study:
    """Read the study FILE.py:NAME or package.module:NAME."""
    where, _, name = text.rpartition(":")
    path = Path(where)
    if path.suffix != ".py":
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise ValueError(f"cannot import {where}: {error}") from None
    else:
        if not path.exists():
            raise ValueError(f"there is no file {where}; a study from outside is FILE.py:NAME")
        spec = importlib.util.spec_from_file_location(f"study_file_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        where = str(path.resolve())
    study = getattr(module, name, None)
    if not isinstance(study, Study):
        known = [key for key, value in vars(module).items() if isinstance(value, Study)]
        raise ValueError(f"{where} has no study {name}; it has {', '.join(known) or 'none'}")
    return replace(study, source=f"{where}:{name}")
