"""Incidence has the data, Hypergraph adds methods and no data, and operations keep the class."""

import dataclasses

import numpy as np
import pytest
import torch

from graphs import Hypergraph, build, cap, expand, ops
from graphs.convert import frames, hif, npz
from graphs.describe import describe
from graphs.incidence import Incidence


class Mine(Hypergraph):
    """A class of a user."""


def data_of(cls: type[Incidence]) -> Incidence:
    return cls.from_pairs([0, 1, 1, 2], [0, 0, 1, 1], weight=[1, 2, 3, 4], hyperedge_weight=[1, 5])


def test_the_face_adds_no_data():
    assert dataclasses.fields(Hypergraph) == dataclasses.fields(Incidence)
    assert vars(data_of(Hypergraph)).keys() == vars(data_of(Incidence)).keys()
    assert not {name for name in vars(Hypergraph) if name in ("__init__", "__post_init__", "__slots__")}


@pytest.mark.parametrize("cls", [Incidence, Hypergraph, Mine])
def test_operations_keep_the_class(cls, tmp_path):
    h = data_of(cls)
    npz.write(h, tmp_path / "h.npz")
    made = {
        "T": h.T,
        "to": h.to("meta"),
        "take": h.take(nodes=np.array([1])),
        "subhypergraph": build.subhypergraph(h, hyperedges=[0]),
        "merge_equal": build.merge_equal(h),
        "union": build.union(h, h),
        "stack": build.stack(h, h),
        "cap": cap(h, size=1),
        "scipy": frames.from_scipy(cls, frames.to_scipy(h)),
        "hif": hif.read(cls, hif.write(h)),
        "npz": npz.read(cls, tmp_path / "h.npz"),
    }
    assert {name: type(x) for name, x in made.items()} == dict.fromkeys(made, cls)
    assert repr(h) == f"{cls.__name__}(3 nodes, 2 hyperedges, 4 incidences, weighted)"


def test_functions_take_the_data_without_its_face():
    data, h, x = data_of(Incidence), data_of(Hypergraph), torch.randn(3, 2)
    assert data.equals(h) and h.equals(data)
    assert torch.equal(ops.propagate(data, x), h.propagate(x))
    assert describe(data) == h.describe()
    assert (expand.clique(data) != expand.clique(h)).nnz == 0
