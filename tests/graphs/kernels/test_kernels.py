"""Every kernel module against the dense definition, in values, on shapes chosen to hurt."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from graphs import Hypergraph, ops
from graphs.kernels import cpu, reference

KERNELS = [reference, cpu]
SHAPES = {
    "nothing": (0, 0, []),
    "no incidences": (4, 3, []),
    "no hyperedges": (4, 0, []),
    "no nodes": (0, 3, []),
    "one by one": (1, 1, [(0, 0)]),
    "more hyperedges than nodes": (3, 40, [(v, e) for v in range(2) for e in range(39) if (v + e) % 3]),
    "more nodes than hyperedges": (40, 3, [(v, e) for v in range(39) for e in range(2) if (v * e + v) % 3]),
    "a hyperedge with everyone": (20, 5, [(v, 2) for v in range(20)] + [(3, 0), (7, 0), (7, 4)]),
    "empty first and last rows": (6, 6, [(2, 3), (3, 2), (3, 3)]),
}


@pytest.fixture
def nan_memory():
    """Memory that a kernel, torch's own included, allocates and forgets to write shows up as NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(2).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def hypergraph(shape: str, valued: bool) -> Hypergraph:
    num_nodes, num_hyperedges, pairs = SHAPES[shape]
    value = [0.25 + (3 * v + e) % 5 for v, e in pairs] if valued else None
    nodes, hyperedges = [v for v, _ in pairs], [e for _, e in pairs]
    return Hypergraph.from_pairs(nodes, hyperedges, num_nodes, num_hyperedges, weight=value)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
@pytest.mark.parametrize("valued", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("dim", [1, 33, 130])
@pytest.mark.parametrize("shape", SHAPES)
def test_spmm_equals_the_dense_product(kernels, shape, dim, valued, dense, nan_memory):
    h = hypergraph(shape, valued)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        x = torch.randn(h.num_hyperedges, dim, dtype=dtype)
        expected = dense(h).to(dtype) @ x
        torch.testing.assert_close(kernels.spmm(h.by_node, x), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
@pytest.mark.parametrize("shape", SHAPES)
def test_propagate_equals_the_dense_product(kernels, shape, dense, nan_memory):
    h = hypergraph(shape, valued=True)
    H = dense(h)
    left, right = torch.rand(h.num_nodes).double(), torch.rand(h.num_nodes).double()
    middle, x = torch.rand(h.num_hyperedges).double(), torch.randn(h.num_nodes, 3).double()
    both = left[:, None] * (H @ (middle[:, None] * (H.T @ (right[:, None] * x))))
    torch.testing.assert_close(kernels.propagate(h.by_node, h.by_hyperedge, left, middle, right, x), both)
    neither = H @ (middle[:, None] * (H.T @ x))
    torch.testing.assert_close(kernels.propagate(h.by_node, h.by_hyperedge, None, middle, None, x), neither)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
@pytest.mark.parametrize("dim", [0, 1, 33, 130])
@pytest.mark.parametrize("shape", SHAPES)
def test_sddmm_equals_the_dense_product_where_the_matrix_is_not_zero(kernels, shape, dim, dense, nan_memory):
    h = hypergraph(shape, valued=True)  # whose values play no part
    nodes, hyperedges = dense(h).nonzero(as_tuple=True)  # node after node
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        a, b = torch.randn(h.num_nodes, dim, dtype=dtype), torch.randn(h.num_hyperedges, dim, dtype=dtype)
        expected = (a.double() @ b.double().T)[nodes, hyperedges].to(dtype)
        torch.testing.assert_close(kernels.sddmm(h.by_node, a, b), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sddmm_of_half_precision_comes_back_in_single(kernels, dtype):
    """4096 ones and one 0.5: neither is in bfloat16 or float16."""
    h = Hypergraph.from_pairs([0, 1], [0, 0])
    a = torch.ones(2, 4097, dtype=dtype)
    a[1, 0] = 0.5
    dots = kernels.sddmm(h.by_node, a, torch.ones(1, 4097, dtype=dtype))
    assert dots.dtype == torch.float32 and dots.tolist() == [4097, 4096.5]


def test_the_cpu_kernels_store_no_message():
    """Of 300 incidences and 64 columns no tensor of [incidences, columns] is ever made."""

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            for tensor in made if isinstance(made, tuple) else (made,):
                if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                    self.numel = max(self.numel, tensor.numel())
            return made

    h = Hypergraph.from_pairs([v for v in range(30) for _ in range(10)], list(range(10)) * 30)
    x, y = torch.randn(30, 64), torch.randn(10, 64)
    with Largest() as largest:
        cpu.sddmm(h.by_node, x, y)
        cpu.spmm(h.by_node._replace(value=torch.rand(300)), y)
    assert largest.numel == 30 * 64
    with Largest() as largest:
        reference.sddmm(h.by_node, x, y)
    assert largest.numel == 300 * 64


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
def test_a_kernel_leaves_its_arguments_alone(kernels):
    h = hypergraph("a hyperedge with everyone", valued=False)
    x, scale, middle = torch.rand(20, 4), torch.rand(20), torch.rand(5)
    before = x.clone(), scale.clone(), middle.clone()
    kernels.propagate(h.by_node, h.by_hyperedge, scale, middle, scale, x)
    kernels.propagate(h.by_node, h.by_hyperedge, scale, middle, None, x)
    assert all(map(torch.equal, before, (x, scale, middle)))


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_single(kernels, dtype):
    """4096 ones: a sum in bfloat16 stops growing at 256, in float16 at 2048."""
    h = Hypergraph.from_pairs(range(4096), [0] * 4096)
    y = kernels.spmm(h.by_hyperedge, torch.ones(4096, 2, dtype=dtype))
    assert y.dtype == dtype and y.tolist() == [[4096, 4096]]
    mean = kernels.propagate(
        h.by_node, h.by_hyperedge, None, torch.tensor([1 / 4096]), None, torch.ones(4096, 2, dtype=dtype)
    )
    assert mean.dtype == dtype and (mean == 1).all()


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
@pytest.mark.parametrize(("dtype", "large"), [(torch.bfloat16, 256.0), (torch.float16, 2048.0)])
def test_values_are_not_rounded_to_half_precision(kernels, dtype, large):
    """(1 + 1 / large) * large - large = 1; in half precision 1 + 1 / large is 1."""
    h = Hypergraph.from_pairs([0, 1], [0, 0], weight=[1 + 1 / large, 1])
    assert kernels.spmm(h.by_hyperedge, torch.tensor([[large], [-large]], dtype=dtype)).tolist() == [[1]]


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.__name__.split(".")[-1])
def test_kernels_read_columns_that_are_not_contiguous(kernels, five, dense):
    x = torch.randn(6, 4).double().T
    torch.testing.assert_close(kernels.spmm(five.by_node, x[:, ::2]), dense(five) @ x[:, ::2])
    a = torch.randn(3, 5).double().T
    torch.testing.assert_close(kernels.sddmm(five.by_node, a, x[:, ::2]), (a @ x[:, ::2].T)[dense(five) > 0])


def test_the_modules_have_the_same_functions_and_arguments():
    import inspect

    for name in ("spmm", "propagate", "sddmm"):
        assert inspect.signature(getattr(cpu, name)) == inspect.signature(getattr(reference, name))


def test_a_cpu_tensor_gets_the_cpu_kernels():
    assert ops.kernels_for(torch.zeros(1, 1), 1) is cpu
    assert ops.kernels_for(torch.zeros(1, 1, device="meta"), 1) is reference


@pytest.mark.gpu
def test_products_on_cuda_equal_those_on_cpu(random_hypergraph):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: products on CUDA tensors not checked")
    h = random_hypergraph(30, 20, valued=True)
    x = torch.randn(30, 8)
    torch.testing.assert_close(h.to("cuda").propagate(x.cuda()).cpu(), h.propagate(x))
