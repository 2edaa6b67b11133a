"""What every test may rely on: one torch thread, real data where a machine has it, the command line in this process."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("suite", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Folder of real data sets: HYPERCTR_DATA, else shared/data beside the repository; else the test is skipped."""
    stated = os.environ.get("HYPERCTR_DATA")
    home = Path(stated) if stated else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not home.is_dir():
        pytest.skip(f"real data not checked: {home} is not a folder; set HYPERCTR_DATA to one that holds data sets")
    return home


@pytest.fixture(autouse=True)
def _seeded():
    """A test that draws weights draws the same ones every time."""
    torch.manual_seed(0)


@pytest.fixture
def hyperctr(monkeypatch, capsys):
    """Call the command as the shell does; gives exit code, stdout and stderr."""
    from hyperctr.cli.main import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hyperctr", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        got = capsys.readouterr()
        return code, got.out, got.err

    return call
