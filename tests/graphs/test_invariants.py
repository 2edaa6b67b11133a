"""What must hold for every hypergraph, whatever its numbers."""

import numpy as np
import pytest
import torch

from graphs import HGCN, HGCNConv, Hypergraph, build, cap

CLOSE = dict(rtol=1e-10, atol=1e-10)
SEEDS = range(4)


def applied(h: Hypergraph, norm: str = "sym") -> torch.Tensor:
    """The matrix A that `propagate` applies, column by column."""
    return h.propagate(torch.eye(h.num_nodes, dtype=torch.float64), norm=norm)


def pairs(h: Hypergraph) -> tuple[np.ndarray, np.ndarray]:
    indptr, indices, _ = h.numpy_members()
    return indices, np.repeat(np.arange(h.num_hyperedges), np.diff(indptr))


@pytest.mark.parametrize("seed", SEEDS)
def test_1_the_operator_is_symmetric_with_spectrum_in_0_1_and_keeps_root_degrees(random_hypergraph, seed):
    h = random_hypergraph(10, 8, seed, valued=True)
    A = applied(h)
    torch.testing.assert_close(A, A.T, **CLOSE)
    eigenvalues = torch.linalg.eigvalsh(A)
    assert eigenvalues.min() > -1e-10 and eigenvalues.max() < 1 + 1e-10
    root = h._degree().sqrt()
    torch.testing.assert_close(A @ root, root, **CLOSE)


def test_2_hyperedges_of_one_size_give_the_normalised_cooccurrence():
    """Size 2: A = (I + D^-1/2 Adj D^-1/2) / 2; size k: A = I / k + D^-1/2 C D^-1/2 / k."""
    rng = np.random.default_rng(0)
    for k in (2, 3, 4):
        groups = [rng.choice(7, k, replace=False) for _ in range(12)] + [np.arange(k), np.arange(7 - k, 7)]
        C, degree = torch.zeros(7, 7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
        for group in groups:
            for u in group:
                degree[u] += 1
                for v in group:
                    C[u, v] += u != v
        assert degree.min() > 0
        r = torch.diag(degree**-0.5)
        torch.testing.assert_close(applied(build.from_groups(groups, 7)), (torch.eye(7) + r @ C @ r) / k, **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_3_rows_of_the_row_form_sum_to_one_and_its_spectrum_is_that_of_the_symmetric_form(random_hypergraph, seed):
    h = random_hypergraph(10, 8, seed)
    A = applied(h, "row")
    torch.testing.assert_close(A.sum(1), (~h.isolated).double(), **CLOSE)
    spectrum = torch.linalg.eigvals(A)
    assert spectrum.imag.abs().max() < 1e-8
    torch.testing.assert_close(spectrum.real.sort().values, torch.linalg.eigvalsh(applied(h)), rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_4_copies_and_scales_of_all_hyperedges_cancel(random_hypergraph, seed):
    h = random_hypergraph(10, 8, seed, weighted=False)
    A = applied(h)
    torch.testing.assert_close(applied(build.union(h, h, h, merge=False)), A, **CLOSE)
    torch.testing.assert_close(applied(build.union(h, h, h)), A, **CLOSE)
    nodes, hyperedges = pairs(h)
    scaled = Hypergraph.from_pairs(nodes, hyperedges, 10, 8, hyperedge_weight=[0.125] * 8)
    torch.testing.assert_close(applied(scaled), A, **CLOSE)


def test_4_an_empty_hyperedge_has_no_effect_and_a_singleton_only_adds_a_self_loop(random_hypergraph):
    h = random_hypergraph(10, 8, weighted=False)
    nodes, hyperedges = pairs(h)
    torch.testing.assert_close(applied(Hypergraph.from_pairs(nodes, hyperedges, 10, 20)), applied(h), **CLOSE)
    single = Hypergraph.from_pairs([*nodes, 9], [*hyperedges, 8], 10, 9)  # node 9 was isolated
    expected = applied(h)
    expected[9, 9] = 1
    torch.testing.assert_close(applied(single), expected, **CLOSE)
    single = Hypergraph.from_pairs([*nodes, 0], [*hyperedges, 8], 10, 9)
    loops = applied(single) * single._degree().clamp(min=1).sqrt()[:, None] * single._degree().clamp(min=1).sqrt()
    before = applied(h) * h._degree().clamp(min=1).sqrt()[:, None] * h._degree().clamp(min=1).sqrt()
    before[0, 0] += 1
    torch.testing.assert_close(loops, before, **CLOSE)


def test_5_relabelled_nodes_permute_the_output_and_relabelled_hyperedges_do_not(random_hypergraph):
    h = random_hypergraph(10, 8)
    nodes, hyperedges = pairs(h)
    rng = np.random.default_rng(1)
    node_at, hyperedge_at = rng.permutation(10), rng.permutation(8)
    weight = np.empty(8, dtype=np.float32)
    weight[hyperedge_at] = h.hyperedge_weight
    moved = Hypergraph.from_pairs(node_at[nodes], hyperedge_at[hyperedges], 10, 8, hyperedge_weight=weight)
    conv, x = HGCNConv(3, 3).double(), torch.randn(10, 3, dtype=torch.float64)
    moved_x = torch.empty_like(x)
    moved_x[node_at] = x
    torch.testing.assert_close(conv(moved_x, moved)[node_at], conv(x, h), **CLOSE)


def test_5_compact_numbering_equals_global_numbering(random_hypergraph):
    h = random_hypergraph(10, 8)
    nodes, hyperedges = pairs(h)
    spread = Hypergraph.from_pairs(3 * nodes + 1, hyperedges, 40, 8, hyperedge_weight=h.hyperedge_weight)
    compact = build.drop_isolated(spread)
    x = torch.randn(40, 3, dtype=torch.float64)
    ids = torch.from_numpy(compact.node_ids)
    torch.testing.assert_close(compact.propagate(x[ids]), spread.propagate(x)[ids], **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_6_the_layer_equals_dense_equation_5_and_nothing_is_nan(random_hypergraph, operator, seed):
    for shape in ((10, 8), (1, 1), (2, 1), (3, 30), (30, 3)):
        h = random_hypergraph(*shape, seed=seed, valued=seed % 2 == 1)
        conv, x = HGCNConv(4, 4).double(), torch.randn(shape[0], 4, dtype=torch.float64)
        y = conv(x, h)
        assert y.isfinite().all()
        torch.testing.assert_close(y, torch.relu(operator(h) @ x @ conv.theta), **CLOSE)
        single = conv.float()(x.float(), h)
        torch.testing.assert_close(single, y.float(), rtol=1e-5, atol=1e-5)


def test_7_a_disjoint_union_gives_a_block_diagonal_result(random_hypergraph):
    parts = [random_hypergraph(6, 5, seed, valued=seed == 1) for seed in range(3)]
    torch.testing.assert_close(applied(build.stack(*parts)), torch.block_diag(*map(applied, parts)), **CLOSE)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_7_k_layers_reach_exactly_k_hops(depth):
    """A chain 0-1-2-3-4 of pairs: node 0 feels a change `depth` hops away and none further on."""
    chain = build.from_groups([[v, v + 1] for v in range(5)])
    model = HGCN(4, depth)
    for layer in model.layers:
        torch.nn.init.constant_(layer.theta, 0.5)  # nothing is cut off by ReLU
    x = torch.rand(6, 4)
    for far in range(1, 6):
        changed = x.clone()
        changed[far] += 1
        felt = not torch.equal(model(changed, chain)[0], model(x, chain)[0])
        assert felt == (far <= depth)


def test_8_a_cap_above_every_count_changes_nothing(random_hypergraph):
    h = random_hypergraph(12, 9, valued=True)
    most = int(max(h.by_node.indptr.diff().max(), h.by_hyperedge.indptr.diff().max()))
    for k in (0, most, 1000):
        assert cap(h, size=k, degree=k, seed=3) is h


def test_8_the_expected_mean_of_a_sampled_hyperedge_is_its_mean():
    """Mean of 3 of 12 values, 3000 seeds, within 4 standard errors of the mean of all 12."""
    h = build.from_groups([range(12), [0]])
    x = torch.arange(12.0) ** 2
    means = torch.tensor([x[cap(h, size=3, seed=seed).members(0)].mean() for seed in range(3000)])
    assert abs(means.mean() - x.mean()) < 4 * means.std() / 3000**0.5


def test_15_slices_of_any_width_hold_every_event_once():
    from graphs import TimeGrid, TimeSlices

    rng = np.random.default_rng(0)
    times = rng.integers(0, 400 * 86400, 500)
    nodes, hyperedges = np.arange(500), rng.integers(0, 20, 500)
    for every in ("6h", "1d", "2w", "3mo", "1y"):
        slices = TimeSlices.cut(nodes, hyperedges, times, every=every)
        assert sum(h.num_incidences for h in slices) == 500
        grid = TimeGrid.cut(times, every)
        number = grid.slice_of(times)
        starts = np.array([grid.start(n) for n in number])
        ends = np.array([grid.end(n) for n in number])
        assert ((starts <= times) & (times < ends)).all()
