"""A missing package is named."""

import sys

import pytest

from graphs import Hypergraph


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("networkx", "networkx", "pip install networkx, or pip install 'hyperctr"),
        ("pyg", "torch_geometric", "pip install torch-geometric, or pip install 'hyperctr"),
        (
            "dgl",
            "dgl",
            "dgl 1.1.3 works, on Linux with Python 3.11 and on the CPU: pip install dgl==1.1.3, or",
        ),
        ("xgi", "xgi", "pip install xgi, or"),
        ("hypernetx", "hypernetx", "pip install hypernetx, or"),
        ("pandas", "pandas", "pip install pandas, or"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(five, monkeypatch, name, package, install):
    monkeypatch.setitem(sys.modules, package, None)
    for convert in (getattr(five, f"to_{name}"), lambda: getattr(Hypergraph, f"from_{name}")(None)):
        with pytest.raises(ImportError, match=f"^this needs {package}, .*{install}") as error:
            convert()
        assert "\n" not in str(error.value)
