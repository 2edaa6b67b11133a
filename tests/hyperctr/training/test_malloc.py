"""Memory that a training keeps."""

import ctypes
import platform

import pytest

from hyperctr.training import fit, malloc


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what other systems do with freed memory is not checked")
def test_glibc_is_told():
    assert malloc.keep_freed_memory() and malloc.keep_freed_memory()


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_elsewhere_nothing_happens(monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not malloc.keep_freed_memory()


def test_a_training_asks_for_it_before_its_first_step(monkeypatch):
    class Asked(Exception):
        pass

    def ask():
        raise Asked

    monkeypatch.setattr(malloc, "keep_freed_memory", ask)
    with pytest.raises(Asked):
        fit.fit(None, None, None, None)
