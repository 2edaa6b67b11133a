"""The `>>>` examples in the docstrings of hyperctr print what they say."""

import contextlib
import doctest
import importlib
import io
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for file in (ROOT / "hyperctr").rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", [name_of(file) for file in FILES])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    module = importlib.import_module(name)
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        result = doctest.testmod(module)
    assert result.failed == 0, report.getvalue()
    assert result.attempted, f"no example of {name} was found"
