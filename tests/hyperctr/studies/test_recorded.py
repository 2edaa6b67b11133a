"""The recorded results of benchmarks/results, drawn again: every number and verdict is what was recorded."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from hyperctr.reporting import figures

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"
RULES = {"amazon-beauty-aqcl-table2-no-dropout": {"the same size": "inconclusive"}}
"""Verdicts of a rule that was mended after the record: a RelaImpr that may be zero is of no size."""


def numbers(value, at=""):
    """Every number, and every null in the place of one, by its path."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: x for key, each in pairs for path, x in numbers(each, f"{at}.{key}").items()}
    return {} if isinstance(value, str) else {at: value}


def cells(path):
    def parsed(text):
        try:
            return float(text)
        except ValueError:
            return text

    with path.open(newline="") as file:
        return [{key: parsed(text) for key, text in line.items()} for line in csv.DictReader(file)]


def same(wanted):
    return {path: x if x is None else pytest.approx(x, rel=1e-9, abs=1e-12) for path, x in wanted.items()}


@pytest.mark.parametrize("name", sorted(path.parent.name for path in RESULTS.glob("*/bench.json")))
def test_a_recorded_study_comes_out_with_its_numbers(name, tmp_path, hyperctr, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(path.name))
    out = shutil.copytree(RESULTS / name, tmp_path / name)
    (out / "table.csv").unlink()
    (out / "report.md").unlink()
    code, text, err = hyperctr("report", out)
    assert code == 0, err
    wanted, found = (json.loads((where / "bench.json").read_text()) for where in (RESULTS / name, out))
    assert numbers(found) == same(numbers(wanted))
    assert [list(line) for line in cells(out / "table.csv")] == [
        list(line) for line in cells(RESULTS / name / "table.csv")
    ]
    for line, record in zip(cells(out / "table.csv"), cells(RESULTS / name / "table.csv"), strict=True):
        assert line == {key: pytest.approx(x, rel=1e-9) if isinstance(x, float) else x for key, x in record.items()}
    rules = RULES.get(name, {})
    verdicts = [rules.get(one["verdict"], one["verdict"]) for one in wanted["claims"]]
    assert [one["verdict"] for one in found["claims"]] == verdicts and len(found["warnings"]) == len(wanted["warnings"])
    assert set(drawn) == {path.name for path in (RESULTS / name).glob("*.png")} and "## Verdicts" in text
