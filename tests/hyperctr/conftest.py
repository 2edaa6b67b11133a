"""The command line, called in this process."""

import sys

import pytest

from hyperctr import cli


@pytest.fixture
def hyperctr(monkeypatch, capsys):
    """Call the command as the shell does; gives exit code, stdout and stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hyperctr", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code or 0
        got = capsys.readouterr()
        return code, got.out, got.err

    return call
