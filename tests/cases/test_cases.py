"""Every case that once went wrong is right; the cases that take long run by `python tests/cases/run.py` alone."""

import pytest
import run

SLOW = {"A9", "A12", "A16", "B2", "B4", "B5", "B6", "D2", "D10"}
OPEN = set(run.cases()) - {"A2", "A3", "A4", "A6", "A7", "C1", "C2", "C4", "C5", "C8", "C14"}
"""Cases that are not right yet."""


@pytest.mark.parametrize("name", [name for name in run.cases() if name not in SLOW | OPEN])
def test_case(name, tmp_path):
    wrong, checks = run.run(run.cases()[name], tmp_path / name)
    assert not wrong, "\n".join(wrong)
    assert checks
