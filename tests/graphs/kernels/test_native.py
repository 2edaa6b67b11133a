"""The compiled kernels: the reference on every way through native.c, any number of threads, no compiler."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from graphs import Hypergraph, ops
from graphs.kernels import compile, cpu, native, reference

# (nodes, hyperedges, incidences): tiles have 10,240 rows in float32 and 12,288 in bfloat16
SHAPES = {
    "one by one": (1, 1, 1),
    "few nodes, one tile": (30, 50, 700),
    "few nodes, several tiles": (20, 25_000, 60_000),
    "few nodes, one pass": (300, 400, 900),
    "few hyperedges, one tile": (50, 30, 700),
    "few hyperedges, several tiles": (25_000, 20, 60_000),
    "few hyperedges, one pass": (400, 300, 900),
    "more nodes than incidences": (900, 800, 100),
}

if sys.platform != "linux":
    pytest.skip("the compiled kernels are built on Linux alone: not checked", allow_module_level=True)
if not native.ready():
    pytest.skip("no C compiler here: the compiled kernels were not checked", allow_module_level=True)


def hypergraph(shape: str, valued: bool) -> Hypergraph:
    num_nodes, num_hyperedges, pairs = SHAPES[shape]
    rng = np.random.default_rng(1)
    nodes, hyperedges = rng.integers(num_nodes, size=pairs), rng.integers(num_hyperedges, size=pairs)
    if num_nodes > 1:
        nodes[: pairs // 10] = num_nodes // 2  # a node in many hyperedges; the last is in none
        nodes[nodes == num_nodes - 1] = 0
    weight = rng.uniform(0.5, 2, pairs) if valued else None
    return Hypergraph.from_pairs(nodes, hyperedges, num_nodes, num_hyperedges, weight=weight)


def call(h: Hypergraph, x: torch.Tensor, kernels=native, scaled=True) -> torch.Tensor:
    left, middle, right = h.scales("sym", torch.float32)
    if not scaled:
        left, right = None, None
    return kernels.propagate(h.by_node, h.by_hyperedge, left, middle, right, x)


@pytest.mark.parametrize("valued", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("dim", [1, 33, 64, 130])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_kernels_equal_the_reference(shape, dim, valued):
    h = hypergraph(shape, valued)
    x = torch.randn(h.num_nodes, dim)
    for scaled in (True, False):
        exact = call(h, x.double(), reference, scaled).float()
        torch.testing.assert_close(call(h, x, scaled=scaled), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))
        half = call(h, x.bfloat16(), scaled=scaled)
        assert half.dtype == torch.bfloat16
        exact = call(h, x.bfloat16().double(), reference, scaled).float()
        torch.testing.assert_close(half.float(), exact, rtol=2e-2, atol=2e-2 * float(exact.abs().max()))


@pytest.mark.parametrize("dtype", native.DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_threads(shape, dtype):
    """Two blocks of columns: 2 threads take one each; 1, 3 and 5 split rows; 4 do both."""
    h = hypergraph(shape, valued=True)
    x = torch.randn(h.num_nodes, 64, dtype=dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 4, 5, 1):
            torch.set_num_threads(count)
            results.append(call(h, x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize("shape", SHAPES)
def test_threads_of_our_own_give_the_bits_of_torchs(shape, monkeypatch):
    """native.c borrows the threads of torch's OpenMP where it finds them, and else starts some."""
    h = hypergraph(shape, valued=True)
    x = torch.randn(h.num_nodes, 64)
    borrowed = call(h, x)
    monkeypatch.setattr(compile, "team", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(call(h, x), borrowed)


def test_shapes_without_numbers():
    h = Hypergraph.from_pairs([], [], 3, 2)
    assert call(h, torch.ones(3, 4)).tolist() == [[0] * 4] * 3
    assert call(Hypergraph.from_pairs([0], [0]), torch.ones(1, 0)).shape == (1, 0)
    assert call(Hypergraph.from_pairs([], [], 0, 0), torch.ones(0, 4)).shape == (0, 4)


def test_infinities_and_nans_come_through_bfloat16():
    h = Hypergraph.from_pairs([0, 1], [0, 1])
    for dtype in native.DTYPES:
        y = call(h, torch.tensor([[float("inf")], [float("nan")]], dtype=dtype), scaled=False)
        assert y[0].item() == float("inf") and y[1].isnan()


def test_bfloat16_is_rounded_to_the_nearest_even():
    h = Hypergraph.from_pairs(range(6), [0, 0, 1, 1, 2, 2])
    one, step = torch.tensor(1.0), torch.tensor(2.0**-8)  # halfway between 1 and its neighbour 1 + 2^-7
    x = torch.stack([one, step, one + 2 * step, step, one, step * 1.5])[:, None].bfloat16()
    y = call(h, x, scaled=False)  # middle is 1/2: sums 1 + 2^-8 (down to 1), 1 + 3 * 2^-8 (up), 1 + 1.5 * 2^-8 (up)
    assert (2 * y[::2, 0]).tolist() == [1, 1 + 2 * 2**-7, 1 + 2**-7]


def test_where_the_tables_would_be_large_plain_torch_computes(monkeypatch):
    h = hypergraph("few nodes, one tile", valued=False)
    x = torch.randn(h.num_nodes, 64)
    monkeypatch.setattr(native, "LONG", 29)
    assert torch.equal(call(h, x), call(h, x, cpu))


def test_other_dtypes_are_refused():
    h = Hypergraph.from_pairs([0], [0])
    with pytest.raises(ValueError, match="float32 or bfloat16 and int32 indices, got torch.float64"):
        call(h, torch.ones(1, 1, dtype=torch.float64))


def test_large_products_take_the_compiled_kernels_and_small_ones_plain_torch():
    small, large = torch.zeros(2, 64), torch.zeros(2, 1024)
    assert ops.kernels_for(small, 1024) is cpu
    assert ops.kernels_for(large, 1024) is native
    assert ops.kernels_for(large.bfloat16(), 1024) is native
    assert ops.kernels_for(large.double(), 1024) is cpu
    assert ops.kernels_for(large.half(), 1024) is cpu
    assert ops.kernels_for(large, 2**31) is cpu


def run(code: str, **environment: str) -> str:
    """Run Python in a process of its own, where nothing was compiled or chosen yet."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


SAYS = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
from graphs.kernels import native
print(native.ready())
"""


def test_without_a_compiler_plain_torch_stays_in_use_and_the_log_says_why(tmp_path):
    code = "import shutil, importlib.util; shutil.which = lambda name: None\n" + SAYS.replace(
        "print(", "importlib.util.find_spec = lambda name: None\nprint("
    )
    said = run(code, XDG_CACHE_HOME=str(tmp_path))
    assert "no compiled kernels, plain torch instead: no C compiler; pip install" in said and said.endswith("False\n")


def test_a_compiler_that_fails_leaves_plain_torch_and_nothing_in_the_cache(tmp_path):
    said = run(SAYS, XDG_CACHE_HOME=str(tmp_path), CC="false")
    assert said.endswith("False\n") and "plain torch instead" in said
    assert not list((tmp_path / "hyperctr").iterdir())


def test_the_environment_turns_it_off():
    assert run(SAYS, GRAPHS_COMPILED="0") == "False\n"


def test_a_cache_that_others_may_write_is_not_trusted(tmp_path):
    (tmp_path / "hyperctr").mkdir()
    (tmp_path / "hyperctr").chmod(0o777)
    said = run(SAYS, XDG_CACHE_HOME=str(tmp_path))
    assert said.endswith("True\n") and not list((tmp_path / "hyperctr").iterdir())


def test_gradients_through_the_compiled_kernels(monkeypatch, operator, random_hypergraph):
    monkeypatch.setattr(ops, "kernels_for", lambda x, incidences: native)
    h = random_hypergraph(40, 30)
    for norm in ("sym", "row"):
        x, gradient = torch.randn(40, 5, requires_grad=True), torch.randn(40, 5)
        h.propagate(x, norm=norm).backward(gradient)
        torch.testing.assert_close(x.grad, (operator(h, norm=norm).T @ gradient.double()).float(), rtol=1e-5, atol=1e-5)


def test_the_log_names_the_library(caplog):
    native._library.cache_clear()
    compile.library.cache_clear()
    with caplog.at_level(logging.INFO, logger="graphs"):
        assert native.ready()
    assert "compiled kernels: " in caplog.text and ".so" in caplog.text


def test_every_product_has_a_kernel_there():
    for name in ("spmm", "propagate", "sddmm"):
        assert callable(getattr(native, name))
    h = hypergraph("few nodes, one tile", valued=False)
    a, b = torch.randn(30, 2048), torch.randn(50, 2048)  # large enough to be given to the compiled kernels
    expected = (a.double() @ b.double().T)[h.hyperedge_index[0], h.hyperedge_index[1]]
    torch.testing.assert_close(ops.sddmm(h, a, b).double(), expected, rtol=1e-4, atol=1e-4)
