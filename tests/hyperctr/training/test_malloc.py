"""Memory that a training keeps."""

import ctypes
import platform

import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.runs import parallel
from hyperctr.runs import train as training
from hyperctr.training import malloc


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what other systems do with freed memory is not checked")
def test_glibc_is_told():
    assert malloc.keep_freed_memory() and malloc.keep_freed_memory()


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_elsewhere_nothing_happens(monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not malloc.keep_freed_memory()


def test_the_commands_and_worker_processes_ask_for_it_and_a_library_call_does_not(monkeypatch, hyperctr, tmp_path):
    """A library must not change its caller's process; the command line owns its own."""
    asked = []
    monkeypatch.setattr(malloc, "keep_freed_memory", lambda: asked.append(True))
    planted.write("drift", tmp_path / "world", scale=0.02)
    short = ("--set", "model.name=popularity", "--set", "train.epochs=1")
    code, _, err = hyperctr("train", "--data", tmp_path / "world", *short, "--out", tmp_path / "run")
    assert code == 0 and asked == [True], err
    run = config.read_run(tmp_path / "run" / "run.toml")
    parallel.train(config.to_toml(run), str(tmp_path / "cell"))
    assert asked == [True] * 2
    training.train(run)
    assert asked == [True] * 2
