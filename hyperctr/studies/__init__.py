"""The papers' tables and figures as commands: `STUDIES` lists them, `find` also reads a study from your own file."""

from __future__ import annotations

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
    from hyperctr.models import outside  # loads torch, which the list of studies does without

    study = outside.load(text, "the study")
    if not isinstance(study, Study):
        raise ValueError(f"{text} is a {type(study).__name__}, not a Study")
    place, _, name = text.rpartition(":")
    return replace(study, source=f"{Path(place).resolve()}:{name}" if place.endswith(".py") else text)
