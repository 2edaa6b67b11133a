"""The packages that converters lead to, and the folder of the tests as a place to import from."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="module")
def pyg():
    pytest.importorskip("torch_geometric", reason="conversion to and from PyG not checked")
    import torch_geometric.data.hypergraph_data

    return torch_geometric.data


@pytest.fixture(scope="module")
def dgl():
    return pytest.importorskip("dgl", reason="conversion to and from DGL not checked")


@pytest.fixture(scope="module")
def nx():
    return pytest.importorskip("networkx", reason="conversion to and from networkx not checked")


@pytest.fixture(scope="module")
def xgi():
    return pytest.importorskip("xgi", reason="conversion to and from XGI not checked")


@pytest.fixture(scope="module")
def hnx():
    return pytest.importorskip("hypernetx", reason="conversion to and from HyperNetX not checked")


@pytest.fixture(scope="module")
def pd():
    return pytest.importorskip("pandas", reason="conversion to and from pandas not checked")
