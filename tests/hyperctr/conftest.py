"""The command line, called in this process, and what stands in for a bench's processes."""

import sys

import pytest

from hyperctr import bench, cli, pool


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


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function of run and folder in the place of a bench's processes; a report, or training in this process."""

    def put(work):
        done = []

        def run_all(cells, jobs, watch, ended, **how):
            done.clear()
            for name, (run, folder) in cells.items():
                done.append(name)
                ended(name, work(run, folder))

        monkeypatch.setattr(pool, "run_all", run_all)
        monkeypatch.setattr(bench, "_commit", lambda: None)
        return done

    return put
