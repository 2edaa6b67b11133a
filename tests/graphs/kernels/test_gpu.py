"""The Triton kernels run by Triton's interpreter and compiled ahead of time, and on a GPU where there is one.

Triton decides between the two when `graphs.kernels.gpu` is imported, so each half runs in a process of its own, which
collects the functions of this file that begin with `interpreted_` or with `compiled_`. Long because the same shapes,
tolerances and checks serve the interpreter and the GPU.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from graphs import Hypergraph
from graphs.kernels import CSR, reference

if find_spec("triton") is None:
    pytest.skip("the Triton kernels were neither run nor compiled: triton is not installed", allow_module_level=True)

SHAPES = {
    "nothing": (0, 0, []),
    "no incidences": (4, 3, []),
    "no hyperedges": (4, 0, []),
    "no nodes": (0, 3, []),
    "one by one": (1, 1, [(0, 0)]),
    "many short rows": (30, 40, [(v, e) for v in range(29) for e in range(39) if (5 * v + 3 * e) % 13 == 1]),
    "a hyperedge with everyone": (70, 12, [(v, 3) for v in range(70)] + [(3, 0), (7, 0), (7, 4), (69, 11)]),
    "empty first and last rows": (6, 6, [(2, 3), (3, 2), (3, 3)]),
}
# Of the largest entry. bfloat16 is rounded twice, and the interpreter cuts it off instead of rounding to the nearest.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2 * 2**-7, torch.float16: 2**-10}


# In the main process.


@pytest.mark.parametrize(("prefix", "interpret"), [("interpreted", "1"), ("compiled", "0")])
def test_without_a_gpu_the_kernels_are(prefix, interpret, tmp_path):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "TRITON"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"python_functions={prefix}_*"]
    done = subprocess.run(
        [*command, __file__],
        env=inherited | {"TRITON_INTERPRET": interpret, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{prefix}:\n{done.stdout[-10000:]}\n{done.stderr[-2000:]}"


def test_without_triton_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "graphs.kernels.gpu", raising=False)
    with pytest.raises(ImportError, match="pip install triton"):
        importlib.import_module("graphs.kernels.gpu")


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: values, determinism and split rows of the Triton kernels not checked on one")
    return torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_on_cuda_awkward_shapes_equal_the_definition(shape, dtype, cuda):
    for dim in (1, 33, 130):
        for valued in (False, True):
            check_products(shape, dim, dtype, valued, cuda)
            check_sddmm(shape, dim, dtype, cuda)


@pytest.mark.gpu
@pytest.mark.parametrize("dim", [1, 16, 33, 64, 130, 1000])
def test_on_cuda_a_large_product_is_within_1e_5_of_double_and_repeats_bit_for_bit(dim, cuda):
    from graphs.kernels import gpu

    h = popular(num_nodes=3000, num_hyperedges=2000, incidences=60_000).to(cuda)
    x = torch.randn(h.num_nodes, dim, device=cuda)
    scales = [torch.rand(n, device=cuda) for n in (h.num_nodes, h.num_hyperedges, h.num_nodes)]
    y = gpu.propagate(h.by_node, h.by_hyperedge, *scales, x)
    assert_near(y, reference.propagate(h.by_node, h.by_hyperedge, *scales, x.double()))
    assert torch.equal(y, gpu.propagate(h.by_node, h.by_hyperedge, *scales, x))
    a = torch.randn(h.num_hyperedges, dim, device=cuda)
    dots = gpu.sddmm(h.by_hyperedge, a, x)
    assert_near(dots, reference.sddmm(h.by_hyperedge, a.double(), x.double()))
    assert torch.equal(dots, gpu.sddmm(h.by_hyperedge, a, x))


@pytest.mark.gpu
def test_on_cuda_a_popular_row_is_split(cuda):
    from graphs.kernels import gpu

    h = popular(num_nodes=3000, num_hyperedges=2000, incidences=60_000).to(cuda)
    assert h.by_hyperedge.indptr.diff().max() == 3000
    chunks, sums = gpu._plan(h.by_hyperedge)
    assert chunks.length.max() <= 512 and chunks.length.sum() == h.num_incidences
    assert 0 in sums.row and chunks.num_slots >= 3000 / 512


# What holds on every device.


def hypergraph(shape: str, valued: bool) -> Hypergraph:
    num_nodes, num_hyperedges, pairs = SHAPES[shape]
    value = [0.25 + (3 * v + e) % 5 for v, e in pairs] if valued else None
    return Hypergraph.from_pairs([v for v, _ in pairs], [e for _, e in pairs], num_nodes, num_hyperedges, weight=value)


def popular(num_nodes: int, num_hyperedges: int, incidences: int) -> Hypergraph:
    """Hyperedge 0 has every node; the others share the rest of the incidences unevenly."""
    rng = np.random.default_rng(0)
    nodes = np.concatenate([np.arange(num_nodes), rng.integers(num_nodes, size=incidences)])
    hyperedges = np.concatenate([np.zeros(num_nodes), num_hyperedges * rng.random(incidences) ** 3]).astype(int)
    return Hypergraph.from_pairs(nodes, hyperedges, num_nodes, num_hyperedges)


def unnamed_are_nan(x: torch.Tensor, csr: CSR) -> torch.Tensor:
    """x with NaN in the rows that the matrix names nowhere: a kernel that reads one shows."""
    named = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    named[csr.indices.long()] = True
    return x.masked_fill(~named[:, None], float("nan"))


def assert_near(y: torch.Tensor, exact: torch.Tensor) -> None:
    """y agrees with float64 up to its own precision, relative to the largest entry."""
    assert y.shape == exact.shape and exact.dtype == torch.float64
    if y.numel():
        error, largest = (y - exact).abs().max(), exact.abs().max()
        assert error <= TOLERANCE[y.dtype] * largest, f"off by {error:.2g} where the largest entry is {largest:.2g}"


def check_products(shape: str, dim: int, dtype: torch.dtype, valued: bool, device: torch.device) -> None:
    from graphs.kernels import gpu

    h = hypergraph(shape, valued).to(device)
    x = torch.randn(h.num_hyperedges, dim, device=device).to(dtype)
    y = gpu.spmm(h.by_node, unnamed_are_nan(x, h.by_node))
    assert y.dtype == dtype
    assert_near(y, reference.spmm(h.by_node, x.double()))

    x = torch.randn(h.num_nodes, dim, device=device).to(dtype)
    left, right = torch.rand(2, h.num_nodes, device=device)
    middle = torch.rand(h.num_hyperedges, device=device)
    for scales in (
        ((left, middle, right), (left, middle, None)) if valued else ((None, middle, right), (None, middle, None))
    ):
        y = gpu.propagate(h.by_node, h.by_hyperedge, *scales, unnamed_are_nan(x, h.by_hyperedge))
        assert y.dtype == dtype
        assert_near(y, reference.propagate(h.by_node, h.by_hyperedge, *scales, x.double()))


def check_sddmm(shape: str, dim: int, dtype: torch.dtype, device: torch.device) -> None:
    from graphs.kernels import gpu

    h = hypergraph(shape, valued=True).to(device)
    a = torch.randn(h.num_nodes, dim, device=device).to(dtype)
    b = torch.randn(h.num_hyperedges, dim, device=device).to(dtype)
    dots = gpu.sddmm(h.by_node, a, unnamed_are_nan(b, h.by_node))
    assert dots.dtype == torch.float32
    assert_near(dots, reference.sddmm(h.by_node, a.double(), b.double()))


# In the process with TRITON_INTERPRET=1, on CPU tensors.

BORDER = 4096  # numbers before and behind each array, far more than a block of columns or a chunk has
OUTPUTS = ("y", "partial", "out")


class Fenced:
    """A kernel that runs on copies of its arrays, each far from the others; `spans` are the addresses of the copies."""

    def __init__(self, kernel, spans: dict[str, range]):
        self.kernel, self.spans = kernel, spans

    def __getitem__(self, grid):
        return lambda *arguments, **options: self.launch(grid, arguments, options)

    def launch(self, grid, arguments: tuple, options: dict) -> None:
        """Run the kernel on the copies, and copy its outputs back."""
        arguments = dict(zip(self.kernel.arg_names, arguments, strict=False))  # the others are options
        arrays = {name: a for name, a in arguments.items() if isinstance(a, torch.Tensor)}
        copies = {name: bordered(a) for name, a in arrays.items()}
        self.spans.clear()
        self.spans |= {name: range(a.data_ptr(), a.data_ptr() + span(a) * a.itemsize) for name, a in copies.items()}
        self.kernel[grid](*(arguments | copies).values(), **options)
        for name in copies.keys() & OUTPUTS:
            arrays[name].copy_(copies[name])


def span(a: torch.Tensor) -> int:
    """Return the number of elements in memory from the first of `a` to its last."""
    return 1 + sum((n - 1) * stride for n, stride in zip(a.shape, a.stride(), strict=True)) if a.numel() else 0


def bordered(a: torch.Tensor) -> torch.Tensor:
    """Copy an array, with its strides, into a larger buffer; one with 2^30 elements in between stays where it is."""
    if span(a) > 2**30:
        return a
    buffer = a.new_empty(BORDER + span(a) + BORDER)
    buffer[BORDER : BORDER + span(a)] = a.as_strided((span(a),), (1,))
    return buffer.as_strided(a.shape, a.stride(), BORDER)


@pytest.fixture(autouse=True)
def fence(request, monkeypatch):
    """Fail an `interpreted_` test whose kernel loads from outside its arrays, or stores outside its outputs."""
    if not request.function.__name__.startswith("interpreted_"):
        return
    from triton.runtime.interpreter import interpreter_builder

    from graphs.kernels import gpu

    spans = {}

    def check(access: str, address: np.ndarray, allowed: dict[str, range]) -> None:
        if not len(address):
            return
        low, high = int(address.min()), int(address.max())
        if not any(low in s and high in s for s in allowed.values()):
            nearest = min(spans, key=lambda name: max(spans[name].start - low, high - spans[name].stop))
            s = spans[nearest]
            raise IndexError(
                f"a {access} at bytes {low - s.start} to {high - s.start} of {nearest}, which has {len(s)} bytes"
            )

    def load(pointers, mask, *rest):
        check("load", pointers.data[mask.data], spans)
        return masked_load(pointers, mask, *rest)

    def store(pointers, values, mask, *rest):
        check("store", pointers.data[mask.data], {name: spans[name] for name in spans.keys() & OUTPUTS})
        return masked_store(pointers, values, mask, *rest)

    masked_load, masked_store = interpreter_builder.create_masked_load, interpreter_builder.create_masked_store
    monkeypatch.setattr(interpreter_builder, "create_masked_load", load)
    monkeypatch.setattr(interpreter_builder, "create_masked_store", store)
    for kernel in ("_sum_segments", "_dot_segments"):
        monkeypatch.setattr(gpu, kernel, Fenced(getattr(gpu, kernel), spans))


@pytest.fixture
def nan_memory():
    """Memory that a kernel allocates and forgets to write shows up as NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(2).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def gpu():
    from graphs.kernels import gpu

    return gpu


@pytest.mark.parametrize("valued", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dim", [1, 33, 130])
@pytest.mark.parametrize("shape", SHAPES)
def interpreted_products_equal_the_definition(shape, dim, dtype, valued, nan_memory):
    check_products(shape, dim, dtype, valued, torch.device("cpu"))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dim", [0, 1, 33, 130])
@pytest.mark.parametrize("shape", SHAPES)
def interpreted_sddmm_equals_the_definition(shape, dim, dtype, nan_memory):
    check_sddmm(shape, dim, dtype, torch.device("cpu"))


def interpreted_an_address_outside_an_array_is_an_error(gpu, five, monkeypatch):
    x, a = torch.ones(4, 3), torch.ones(5, 3)
    behind = CSR(five.by_node.indptr, torch.full_like(five.by_node.indices, 4), None)  # x has rows 0 to 3
    for product in (lambda: gpu.spmm(behind, x), lambda: gpu.sddmm(behind, a, x)):
        with pytest.raises(Exception, match="a load at bytes 48 to 56 of [xb], which has 48 bytes"):
            product()
    chunks = gpu._plan(five.by_node)[0]
    for wrong, message in (
        (chunks._replace(length=chunks.length[1:]), "a load at bytes 0 to 16 of lengths, which has 16 bytes"),
        (chunks._replace(row=chunks.row + 1), "a store at bytes .* to 68 of y, which has 60 bytes"),
        (chunks._replace(row=chunks.row - 1), "a store at bytes -12 to .* of y, which has 60 bytes"),
    ):
        monkeypatch.setattr(gpu, "_plan", lambda csr, wrong=wrong: [wrong])
        with pytest.raises(Exception, match=message):
            gpu.spmm(five.by_node, x)


def interpreted_products_of_width_zero_are_empty(gpu, five):
    assert gpu.spmm(five.by_node, torch.empty(4, 0)).shape == (5, 0)
    assert gpu.propagate(five.by_node, five.by_hyperedge, None, torch.rand(4), None, torch.empty(5, 0)).shape == (5, 0)


def interpreted_double_precision_is_summed_in_double(gpu):
    h = hypergraph("many short rows", valued=True)
    x, middle = torch.randn(h.num_nodes, 3).double(), torch.rand(h.num_hyperedges).double()
    torch.testing.assert_close(
        gpu.propagate(h.by_node, h.by_hyperedge, None, middle, None, x),
        reference.propagate(h.by_node, h.by_hyperedge, None, middle, None, x),
        rtol=1e-13,
        atol=1e-13,
    )
    y = torch.randn(h.num_hyperedges, 3).double()
    torch.testing.assert_close(gpu.sddmm(h.by_node, x, y), reference.sddmm(h.by_node, x, y), rtol=1e-13, atol=1e-13)


def interpreted_long_rows_are_split_and_summed_in_two_launches(gpu, nan_memory):
    """Mean length 5: chunks of 64, so that 200 nodes are 4 chunks, 64 are one and 65 are two."""
    sizes = [200, 64, 65, 0, 1, *[3] * 150]
    h = Hypergraph.from_pairs([v for s in sizes for v in range(s)], [e for e, s in enumerate(sizes) for _ in range(s)])
    chunks, sums = gpu._plan(h.by_hyperedge)
    assert len(chunks.begin) == len(sizes) + 3 + 1 and chunks.num_slots == 4 + 2
    assert chunks.length.max() == 64 and sorted(sums.row.tolist()) == [0, 2] and sums.slot is None
    steps = (chunks.length + chunks.width - 1) // chunks.width
    assert steps.tolist() == sorted(steps.tolist(), reverse=True)
    scales = None, torch.rand(len(sizes)), torch.rand(200)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(200, 33).to(dtype)
        assert_near(gpu.spmm(h.by_hyperedge, x), reference.spmm(h.by_hyperedge, x.double()))
        y = gpu.propagate(h.by_node, h.by_hyperedge, *scales, x)
        assert_near(y, reference.propagate(h.by_node, h.by_hyperedge, *scales, x.double()))
    a, b = torch.randn(len(sizes), 33), torch.randn(200, 33)
    assert_near(gpu.sddmm(h.by_hyperedge, a, b), reference.sddmm(h.by_hyperedge, a.double(), b.double()))


def interpreted_partial_sums_are_split_again(gpu, monkeypatch, nan_memory):
    """One step a chunk: 200 incidences are 50 partial sums, those are 4, and those are one."""
    monkeypatch.setattr(gpu, "STEPS", 1)
    sizes = [200, 5, *[0] * 60]
    h = Hypergraph.from_pairs(
        [*range(200), *range(5)], [0] * 200 + [1] * 5, num_hyperedges=len(sizes), weight=np.linspace(1, 2, 205)
    )
    plan = gpu._plan(h.by_hyperedge)
    assert [(len(c.begin), c.width) for c in plan] == [(50 + 2 + 60, 4), (4 + 1, 16), (1, 4)]
    x, scale = torch.randn(200, 5), torch.rand(len(sizes))
    y = gpu.propagate(h.by_node, h.by_hyperedge, None, scale, None, x)
    assert_near(y, reference.propagate(h.by_node, h.by_hyperedge, None, scale, None, x.double()))


def interpreted_two_runs_give_the_same_bits(gpu):
    h = popular(150, 30, 300)
    x, scale, middle = torch.randn(150, 8), torch.rand(150), torch.rand(30)
    assert len(gpu._plan(h.by_hyperedge)) == 2
    first = gpu.propagate(h.by_node, h.by_hyperedge, scale, middle, scale, x)
    again = gpu.propagate(*(CSR(*c) for c in (h.by_node, h.by_hyperedge)), scale, middle, scale, x.clone())
    assert torch.equal(first, again)


def interpreted_int64_indices_give_the_same_bits(gpu):
    h = popular(150, 120, 300)
    wide = CSR(h.by_hyperedge.indptr.long(), h.by_hyperedge.indices.long(), None)
    x, a = torch.randn(150, 5), torch.randn(120, 5)
    assert len(gpu._plan(wide)) == 2
    assert torch.equal(gpu.spmm(wide, x), gpu.spmm(h.by_hyperedge, x))
    assert torch.equal(gpu.sddmm(wide, a, x), gpu.sddmm(h.by_hyperedge, a, x))


def interpreted_offsets_pass_two_to_the_31(gpu):
    """Row 2 starts 2^31 numbers into its storage, of which three rows are ever touched."""
    x = torch.empty(2**31 + 16, dtype=torch.bfloat16).as_strided((3, 16), (2**30, 1))
    x[:] = torch.arange(3)[:, None]
    h = Hypergraph.from_pairs([0, 1, 2, 2], [0, 0, 0, 1])
    assert gpu.spmm(h.by_hyperedge, x)[:, 0].tolist() == [3, 2]
    assert gpu.sddmm(h.by_hyperedge, torch.ones(2, 16), x)[-1] == 32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def interpreted_half_precision_accumulates_in_single(gpu, dtype):
    """4096 ones: a sum in bfloat16 stops growing at 256, in float16 at 2048; 4096 times 32 leaves float16's range."""
    h = Hypergraph.from_pairs(range(4096), [0] * 4096)
    ones = torch.ones(4096, 1, dtype=dtype)
    assert gpu.spmm(h.by_hyperedge, ones).tolist() == [[4096]]
    assert gpu.sddmm(h.by_hyperedge, ones[:1], ones).tolist() == [1] * 4096
    scale = torch.full((4096,), 1 / 4096)
    assert (gpu.propagate(h.by_node, h.by_hyperedge, scale, torch.ones(1), None, 32 * ones) == 32).all()


def interpreted_columns_that_are_not_contiguous_are_read(gpu, five, dense):
    x = torch.randn(6, 4).T
    torch.testing.assert_close(gpu.spmm(five.by_node, x[:, ::2]), (dense(five) @ x[:, ::2].double()).float())
    torch.testing.assert_close(gpu.spmm(five.by_node, x.T[:4, 1:3]), (dense(five) @ x.T[:4, 1:3].double()).float())
    middle, ones = torch.rand(8)[::2], torch.ones(5, 3)
    expected = reference.propagate(five.by_node, five.by_hyperedge, None, middle, None, ones)
    for like in (ones, ones[:1].expand(5, 3), ones[:1, :1].expand(5, 3)):
        torch.testing.assert_close(gpu.propagate(five.by_node, five.by_hyperedge, None, middle, None, like), expected)


def interpreted_a_plan_is_made_once_and_dies_with_its_matrix(gpu, monkeypatch):
    h = popular(20, 10, 30)
    x = torch.randn(20, 2)
    gpu.spmm(h.by_hyperedge, x)
    before = len(gpu._plans)
    monkeypatch.setattr(gpu, "_cut", None)
    gpu.spmm(h.by_hyperedge, x)
    gpu.spmm(h.T.by_node, x)
    del h
    assert len(gpu._plans) == before - 1


def interpreted_functions_have_the_arguments_of_the_definition(gpu):
    for name in ("spmm", "propagate", "sddmm"):
        assert inspect.signature(getattr(gpu, name)) == inspect.signature(getattr(reference, name))


# In the process without the interpreter.

TYPES = {"value": "*fp32", "left": "*fp32", "right": "*fp32", "lengths": "*i32"}
OPTIONAL = ("slots", "partial", "indices", "value", "left", "right")
# Of a multiprocessor, on sm_80, sm_90 and sm_100; a warp takes them in units of 8 per thread.
REGISTERS = 65_536
# Bytes, with Triton 3.7.1. ptxas keeps 4 registers in memory during the loop, stored before it and loaded after it.
SPILLS = {("_sum_segments", 33, "i64", "fp64", 100): 16}


# `warps`: how many must fit on a multiprocessor, of 64. Each thread has 16 numbers on the way. With 24 warps that is
# 48 KiB of float32 per multiprocessor. Rows whose width is not a multiple of 16 take an address per number, and 12
# warps are left. float64 takes two registers per number, and half the warps.
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", "fp64"])
@pytest.mark.parametrize("index", ["i32", "i64"])
@pytest.mark.parametrize(
    ("kernel", "left_out", "dim", "warps"),
    [
        ("_sum_segments", (), 64, 24),
        ("_sum_segments", (), 33, 12),
        ("_sum_segments", OPTIONAL, 1, 48),
        ("_dot_segments", (), 300, 12),
    ],
    ids=["sum with every factor", "sum with every factor, width 33", "sum with none, width 1", "dot"],
)
def compiled_kernels_have_no_atomics_and_few_registers(
    kernel, left_out, dim, warps, index, dtype, capability, gpu, monkeypatch, capsys
):
    import triton
    from triton.backends.compiler import GPUTarget

    blocks = gpu._blocks(dim, width=4)
    options = {"num_warps": blocks.pop("num_warps"), **gpu.FUSION}
    pointers = dict.fromkeys(("begins", "rows", "slots", "indices"), f"*{index}")
    pointers |= dict.fromkeys(("x", "y", "a", "b"), f"*{dtype}") | TYPES
    pointers |= dict.fromkeys(("partial", "out"), "*fp64" if dtype == "fp64" else "*fp32")
    function = getattr(gpu, kernel)
    # As at run time: an argument that is 1 is compiled in, and multiples of 16 are known to be such, as are addresses.
    constants = blocks | {name: None for name in function.arg_names if name in left_out}
    constants |= {"dim": 1, "stride": 1} if dim == 1 else {}
    signature = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in function.arg_names}
    multiples = ("dim", "stride", "stride_a", "stride_b") if dim % 16 == 0 else ()
    hints = {
        (place,): [["tt.divisibility", 16]]
        for place, (name, kind) in enumerate(signature.items())
        if kind[0] == "*" or name in multiples
    }
    source = triton.compiler.ASTSource(function, signature, constexprs=constants, attrs=hints)
    monkeypatch.setattr(triton.knobs.nvidia, "dump_ptxas_log", True)
    monkeypatch.setattr(triton.knobs.compilation, "always_compile", True)  # a kernel from the cache has no log
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx = made.asm["ptx"]
    assert made.asm["cubin"][:4] == b"\x7fELF" and f"sm_{capability}" in ptx
    assert ".entry" in ptx and not re.search(r"\b(atom|red)\.", ptx)
    if dim % 16 == 0:  # 16 numbers per thread, 16 bytes at a time
        wide = len(re.findall(r"ld\.global[.\w:]*\.v[24]\.", ptx))
        assert wide == {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}[dtype]

    log = capsys.readouterr().out
    registers, stores, loads = (
        int(re.search(rf"(\d+) {what}", log)[1]) for what in ("registers", "bytes spill stores", "bytes spill loads")
    )
    fit = REGISTERS // (-(-registers // 8) * 8 * 32 * options["num_warps"]) * options["num_warps"]
    measured = f"{registers} registers per thread, {fit} warps fit, spills {stores} bytes stored and {loads} loaded"
    print(f"{kernel} {dim} {index} {dtype} sm_{capability}: {measured}")
    assert max(stores, loads) <= SPILLS.get((kernel, dim, index, dtype, capability), 0), measured
    assert fit >= (warps // 2 if dtype == "fp64" else warps), measured
