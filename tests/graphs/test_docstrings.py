"""The examples in docstrings print what they say, and every public name of graphs has one."""

import doctest
import importlib
import inspect
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import graphs
from graphs import attributes, dropout, layers
from graphs.slices import grid, slices

PUBLIC = {name: getattr(graphs, name) for name in graphs.__all__}
NAMES = PUBLIC | {"np": np, "torch": torch}  # names that an example may use, with those of its own module
MODULES = [name for _, name, _ in pkgutil.walk_packages(graphs.__path__, "graphs.") if name != "graphs.kernels.gpu"]
OPTIONAL = {name: name for name in ("dgl", "hypernetx", "networkx", "pandas", "xgi")} | {"pyg": "torch_geometric"}
PUBLIC_MODULES = [graphs.build, graphs.describe, graphs.draw, graphs.expand, graphs.links, graphs.ops, graphs.sample]
PUBLIC_MODULES += [attributes, dropout, layers, grid, slices]
PUBLIC_CLASSES = [graphs.Hypergraph, graphs.Links, graphs.LinksOverTime, graphs.TimeGrid, graphs.TimeSlices]
PUBLIC_CLASSES += [attributes.Attributes]


def examples() -> list[doctest.DocTest]:
    finder, modules = doctest.DocTestFinder(), map(importlib.import_module, MODULES)
    found = [finder.find(module, globs=NAMES | vars(module)) for module in modules]
    return [example for examples in found for example in examples if example.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_prints_what_it_says(example, tmp_path, monkeypatch):
    for word, package in OPTIONAL.items():
        if word in example.name:
            pytest.importorskip(package, reason=f"an example not checked: {package} is missing")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    printed: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=printed.append)
    plt.close("all")
    assert result.failed == 0, "".join(printed)


def public() -> dict[str, object]:
    """Return the public functions, classes, methods and properties by name."""
    found = {f"graphs.{name}": value for name, value in PUBLIC.items() if not inspect.ismodule(value)}
    found["graphs.build.number"] = graphs.build.number
    for module in PUBLIC_MODULES:
        own = {name: x for name, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__}
        found |= {f"{module.__name__}.{name}": x for name, x in own.items() if name[0] != "_"}
    for cls in PUBLIC_CLASSES:
        own = inspect.getmembers(cls, lambda x: inspect.isroutine(x) or isinstance(x, property))
        found |= {f"{cls.__name__}.{name}": x for name, x in own if name[0] != "_"}
    return {name: x for name, x in found.items() if not getattr(x, "_is_protocol", False)}


@pytest.mark.parametrize(("name", "value"), public().items(), ids=public())
def test_a_public_name_has_an_example(name, value):
    assert ">>>" in (inspect.getdoc(value) or ""), f"{name} has no example"
