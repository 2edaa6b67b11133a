"""Every case that once went wrong is right; the cases that take long run by `python tests/cases/run.py` alone."""

import pytest
import run

SLOW = {"A1", "A9", "A16", "B2", "B5", "B6"}


@pytest.mark.parametrize("name", [name for name in run.cases() if name not in SLOW])
def test_case(name, tmp_path):
    wrong, checks = run.run(run.cases()[name], tmp_path / name)
    assert not wrong, "\n".join(wrong)
    assert checks
