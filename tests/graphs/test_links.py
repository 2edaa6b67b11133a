"""Links against dense products and slow loops, appended, over time, of vectors; in both ways of computing them."""

import collections

import numpy as np
import pytest
import torch

from graphs import Hypergraph, Links, links
from graphs.kernels import links as kernels

WAYS = ["compiled", "plain"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Run the test with the compiled functions, and again with numpy and scipy."""
    if request.param == "plain":
        monkeypatch.setattr(kernels, "_library", lambda: None)
    elif kernels._library() is None:
        pytest.skip("no C compiler here: the compiled links were not checked")
    return request.param


def drawn(seed=0, num_nodes=14, num_hyperedges=9, rows=120, span=60):
    """Draw events with repeated pairs, equal times, a node in no hyperedge, and hyperedges of very unequal size."""
    rng = np.random.default_rng(seed)
    nodes = rng.integers(num_nodes - 1, size=rows)
    hyperedges = np.minimum(rng.geometric(0.3, rows) - 1, num_hyperedges - 1)
    return nodes, hyperedges, rng.integers(span, size=rows)


def dense_undirected(nodes, hyperedges, times, num_nodes, shrink, exclude_self, most=None, weight=None):
    """Return K and C d^-1 as the page of definitions says it, in doubles, with all entries."""
    last = {}
    for row, (v, e) in enumerate(zip(nodes.tolist(), hyperedges.tolist(), strict=True)):
        last[v, e] = max(last.get((v, e), (-1, -1)), (row if times is None else int(times[row]), row))
    num_hyperedges = int(hyperedges.max(initial=-1)) + 1
    weight = np.ones(num_hyperedges) if weight is None else weight
    full, H = np.zeros((num_nodes, num_hyperedges)), np.zeros((num_nodes, num_hyperedges))
    for e in range(num_hyperedges):
        members = sorted((when, v) for (v, at), when in last.items() if at == e)
        for _, v in members:
            full[v, e] = 1
        for _, v in members[-most:] if most else members:
            H[v, e] = 1
    size = H.sum(0) - exclude_self
    C = H @ np.diag(np.where(size > 0, weight / np.maximum(size, 1), 0)) @ H.T
    if exclude_self:
        np.fill_diagonal(C, 0)
    return normed(C, full @ weight + shrink)


def slow_directed(nodes, hyperedges, times, num_nodes, shrink, exclude_self, weight=None):
    """Return T and S d^-1: a loop over every hyperedge and every pair of its events."""
    order = np.arange(len(nodes)) if times is None else np.argsort(times, kind="stable")
    paths = collections.defaultdict(list)
    for row in order.tolist():
        paths[int(hyperedges[row])].append(row)
    S, degree = np.zeros((num_nodes, num_nodes)), np.full(num_nodes, float(shrink))
    for e, path in sorted(paths.items()):
        w = 1 if weight is None else weight[e]
        for v in {int(nodes[row]) for row in path}:
            degree[v] += w
        for later, i in enumerate(path):
            for earlier in range(max(0, later - 20), later):
                j = path[earlier]
                if (times is None or times[j] < times[i]) and not (exclude_self and nodes[i] == nodes[j]):
                    S[nodes[i], nodes[j]] += w * (later - earlier) ** -0.5
    return normed(S, degree)


def normed(C, degree):
    root = np.array([d**-0.5 if d > 0 else 0 for d in degree])
    return root[:, None] * C * root, C * root**2


def strongest(K, k):
    """Keep the k largest entries of each row that are not 0, of equal ones those with the smaller numbers."""
    kept = np.zeros_like(K, dtype=bool)
    for i, row in enumerate(K):
        for j in sorted(np.flatnonzero(row), key=lambda j: (-np.round(row[j], 12), j))[:k]:
            kept[i, j] = True
    return kept


def same(a: Links, b: Links) -> bool:
    """Compare everything but the memory that `append` needs, to the bit."""
    arrays = [np.array_equal(getattr(a, name), getattr(b, name)) for name in ("indptr", "indices", "value", "degree")]
    return all(arrays) and (a.rules, a.left_out) == (b.rules, b.left_out)


def agrees(made: Links, K, walk, k):
    kept = strongest(K, k)
    np.testing.assert_array_equal(made.to_scipy().toarray() != 0, kept)
    np.testing.assert_allclose(made.to_scipy().toarray(), np.where(kept, K, 0), rtol=2e-7)
    np.testing.assert_allclose(made.to_scipy(walk=True).toarray(), np.where(kept, walk, 0), rtol=2e-7)


def test_links_by_hand(way):
    # users: {0, 1}, {1, 2, 3}; D_e = 1, 2; d = D_v + 1 = 2, 3, 2, 2
    made = links.build([0, 1, 1, 2, 3], [0, 0, 1, 1, 1], shrink=1)
    i, j = np.arange(4)[:, None], np.arange(4)
    a, b = 1 / np.sqrt(6), 0.5 / np.sqrt(6)
    K = np.array([[0, a, 0, 0], [a, 0, b, b], [0, b, 0, 0.25], [0, b, 0.25, 0]])
    np.testing.assert_allclose(made.look_up(i, j), K, rtol=1e-7)
    walk = np.array([[0, 1 / 3, 0, 0], [1 / 2, 0, 1 / 4, 1 / 4], [0, 1 / 6, 0, 1 / 4], [0, 1 / 6, 1 / 4, 0]])
    np.testing.assert_allclose(made.look_up(i, j, walk=True), walk, rtol=1e-7)
    # of the equal links of 1 with 2 and 3 the smaller number is kept, and a row is the candidate's
    two = links.build([0, 1, 1, 2, 3], [0, 0, 1, 1, 1], shrink=1, k=2)
    assert two.indices.tolist() == [1, 0, 2, 1, 3, 1, 2] and two.describe()["full_rows"] == 3
    one = links.build([0, 1, 1, 2, 3], [0, 0, 1, 1, 1], shrink=1, k=1)
    assert one.indices.tolist() == [1, 0, 3, 2]


def test_directed_links_by_hand(way):
    # one user: 0, then 1 and 2 at one time, then 0 again; the places of 1 and 2 are those of their rows
    made = links.build([0, 1, 2, 0], [0] * 4, times=[5, 6, 6, 9], directed=True, shrink=0)
    S = np.array([[0, 2**-0.5, 1], [1, 0, 0], [2**-0.5, 0, 0]])
    np.testing.assert_allclose(made.to_scipy().toarray(), S, rtol=1e-7)
    repeats = links.build([0, 1, 2, 0], [0] * 4, times=[5, 6, 6, 9], directed=True, shrink=0, exclude_self=False)
    assert repeats.look_up(0, 0) == np.float32(3**-0.5) and made.look_up(0, 0) == 0


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize(("k", "most", "shrink"), [(200, None, 5), (3, None, 0), (4, 5, 2), (200, 2, 0)])
def test_undirected_links_equal_dense_products(way, k, most, shrink, exclude_self, timed):
    for seed in range(3):
        nodes, hyperedges, times = drawn(seed)
        times = times if timed else None
        made = links.build(
            nodes, hyperedges, times, k, shrink=shrink, exclude_self=exclude_self, most=most, num_nodes=14
        )
        agrees(made, *dense_undirected(nodes, hyperedges, times, 14, shrink, exclude_self, most), k)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize(("k", "shrink"), [(200, 5), (3, 0)])
def test_directed_links_equal_a_slow_loop(way, k, shrink, exclude_self, timed):
    for seed in range(3):
        nodes, hyperedges, times = drawn(seed, rows=200)
        times = times if timed else None
        made = links.build(nodes, hyperedges, times, k, True, shrink, exclude_self, num_nodes=14)
        agrees(made, *slow_directed(nodes, hyperedges, times, 14, shrink, exclude_self), k)


@pytest.mark.parametrize("directed", [False, True])
def test_both_ways_and_any_threads_give_the_same_bits(directed, monkeypatch):
    if kernels._library() is None:
        pytest.skip("no C compiler here: the compiled links were not checked")
    nodes, hyperedges, times = drawn(1, num_nodes=700, num_hyperedges=90, rows=6000)
    hyperedges = np.random.default_rng(2).integers(90, size=6000)
    nodes[:40], hyperedges[:40] = np.arange(40), 0  # some rows add few terms, others many
    one = links.build(nodes, hyperedges, times, 9, directed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert same(one, links.build(nodes, hyperedges, times, 9, directed))
    i, j = np.random.default_rng(0).integers(699, size=(2, 30, 50))
    found = one.look_up(i, j)
    monkeypatch.setattr(kernels, "_library", lambda: None)
    assert same(one, links.build(nodes, hyperedges, times, 9, directed))
    assert np.array_equal(found, one.look_up(i, j)) and (found != 0).any()
    assert np.array_equal(found, one.to_scipy()[i.ravel(), j.ravel()].reshape(i.shape))


def test_the_order_of_events_does_not_matter(way):
    nodes, hyperedges, _ = drawn()
    times = np.random.default_rng(5).permutation(len(nodes))
    order = np.random.default_rng(6).permutation(len(nodes))
    for directed in (False, True):
        made = links.build(nodes, hyperedges, times, directed=directed, most=4)
        again = links.build(nodes[order], hyperedges[order], times[order], directed=directed, most=4)
        assert same(made, again)


def test_a_long_hyperedge_keeps_its_latest_nodes_and_counts_the_pairs_left_out(way):
    made = links.build([0, 1, 2, 3, 0], [0] * 5, times=[1, 2, 3, 4, 5], most=2, shrink=0)
    assert made.left_out == 4 * 3 // 2 - 1 == made.describe()["left_out"]
    assert made.to_scipy().nonzero()[0].tolist() == [0, 3]  # 0 came back, so it is the latest
    assert made.degree.tolist() == [1, 1, 1, 1]
    assert links.build(range(501), [0] * 501).left_out == 500  # the limit is 500 unless stated
    assert links.build(range(501), [0] * 501, most=None).left_out == 0


def test_links_of_a_hypergraph_are_its_operator(way, random_hypergraph, operator):
    for seed, (weighted, valued) in enumerate([(False, False), (True, False), (True, True)]):
        h = random_hypergraph(seed=seed, weighted=weighted, valued=valued)
        K = operator(h).numpy()
        np.testing.assert_allclose(h.links(200).to_scipy().toarray(), K, rtol=1e-6)
        made = h.links(3)
        np.testing.assert_allclose(made.to_scipy().toarray(), np.where(strongest(K, 3), K, 0), rtol=1e-6)
        x = torch.randn(h.num_nodes, 2)
        torch.testing.assert_close(torch.from_numpy(h.links(200).to_scipy() @ x.numpy()), h.propagate(x))
    named = Hypergraph.from_pairs([0, 1], [0, 0], node_ids=["ann", "bob"], hyperedge_ids=[70]).links()
    assert named.node_ids.tolist() == ["ann", "bob"] and named.hyperedge_ids.tolist() == [70]


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("timed", [True, False])
def test_appending_equals_a_rebuild(way, directed, timed):
    for seed in range(4):
        nodes, hyperedges, times = drawn(seed, rows=160, num_nodes=30, num_hyperedges=14)
        hyperedges = np.random.default_rng(seed).integers(14, size=160)
        rules = {"k": 3, "directed": directed, "most": 6, "shrink": 1}
        made = links.build(nodes[:120], hyperedges[:120], times[:120] if timed else None, **rules)
        for part in (slice(120, 121), slice(121, 121), slice(121, 123), slice(123, 160)):
            made.append(nodes[part], hyperedges[part], times[part] if timed else None)
            so_far = slice(0, part.stop)
            whole = links.build(nodes[so_far], hyperedges[so_far], times[so_far] if timed else None, **rules)
            assert same(made, whole) and made.num_hyperedges == whole.num_hyperedges


def test_appending_leaves_alone_what_cannot_differ(monkeypatch):
    made = links.build([0, 1, 2, 3, 4], [0, 0, 1, 1, 1])
    rows = []
    kept = kernels.strongest
    monkeypatch.setattr("graphs.linked.strongest", lambda *args: rows.append(args[-1].tolist()) or kept(*args))
    made.append([5], [0])
    assert rows == [[0, 1, 5]] and made.num_nodes == 6
    made.append([4], [2])  # alone there, but its degree is in the rows of 2 and 3
    assert rows[1] == [2, 3, 4]


def test_appending_to_nothing(way):
    made = links.build([], [])
    assert made.num_nodes == made.num_links == 0
    made.append([0, 1], [0, 0], times=[3, 4])
    assert same(made, links.build([0, 1], [0, 0], [3, 4]))


PAST = {
    "undirected": {"most": 4},
    "directed": {"directed": True},
    "slices": {"past": "slice"},
    "half-life": {"half_life": 7.0},
    "directed with a half-life": {"half_life": 7.0, "directed": True},
}


@pytest.mark.parametrize("kind", ["undirected", "directed"])
def test_links_at_a_moment_equal_a_build_on_what_was_before(way, kind):
    nodes, hyperedges, times = drawn(3)
    moments = [0, 13, 14, 30, 60, 99]
    made = links.over_time(nodes, hyperedges, times, moments, 3, shrink=1, **PAST[kind])
    for m, moment in enumerate(moments):
        before = times < moment
        whole = links.build(nodes[before], hyperedges[before], times[before], 3, shrink=1, num_nodes=13, **PAST[kind])
        assert same(made[m], whole)
    assert made[0].num_links == 0 and len(made) == 6


@pytest.mark.parametrize("directed", [False, True])
def test_links_of_single_slices_and_of_slices_with_a_half_life(way, directed):
    nodes, hyperedges, times = drawn(4)
    moments = np.array([10, 30, 45, 80])
    single = links.over_time(nodes, hyperedges, times, moments, past="slice", directed=directed)
    faded = links.over_time(nodes, hyperedges, times, moments, half_life=12, shrink=2, directed=directed)
    number = np.searchsorted(moments, times, side="right")
    for m in range(4):
        mine = number == m
        assert same(single[m], links.build(nodes[mine], hyperedges[mine], times[mine], directed=directed, num_nodes=13))
        before = number <= m
        own = (hyperedges * 4 + number)[before]
        weight = 2.0 ** (-(moments[m] - moments[np.arange(9 * 4) % 4]) / 12)
        slow = slow_directed if directed else dense_undirected
        weighed = {"weight": np.where(np.arange(9 * 4) % 4 > m, 0, weight)[: own.max() + 1]}
        agrees(faded[m], *slow(nodes[before], own, times[before], 13, 2, True, **weighed), 200)
    whole = links.over_time(nodes, hyperedges, times, [80], half_life=12, directed=directed)[0]  # one slice, of age 0
    assert same(whole, links.build(nodes, hyperedges, times, directed=directed))


@pytest.mark.parametrize("kind", PAST)
def test_what_happens_at_or_after_a_moment_changes_nothing_before_it(kind):
    nodes, hyperedges, times = drawn(5, rows=300)
    moments = np.array([10, 20, 40, 50])
    made = links.over_time(nodes, hyperedges, times, moments, 5, num_nodes=13, **PAST[kind])
    rng = np.random.default_rng(1)
    for m, moment in enumerate(moments):
        later = times >= moment
        moved, elsewhere, when = nodes.copy(), hyperedges.copy(), times.copy()
        moved[later], elsewhere[later] = rng.integers(13, size=later.sum()), rng.integers(25, size=later.sum())
        when[later] = rng.integers(moment, 100, size=later.sum())
        again = links.over_time(moved, elsewhere, when, moments, 5, num_nodes=13, **PAST[kind])
        for earlier in range(m + 1):
            assert same(made[earlier], again[earlier])
        assert m == 3 or not same(made[3], again[3])


def test_parts_of_an_entry_by_hand():
    """0 and 1 share three users, of 2, 3 and 4 items before the moment: 1/1, 1/2 and 1/3, over sqrt(3 * 4)."""
    paths = {0: [0, 1], 1: [1, 2, 0], 2: [0, 3, 2, 1], 3: [1, 2]}  # the items of each user in order of time
    nodes, hyperedges = (np.array([pair[n] for e in paths for pair in [(v, e) for v in paths[e]]]) for n in (0, 1))
    events = nodes, hyperedges, np.arange(len(nodes))
    later = [np.append(column, extra) for column, extra in zip(events, (0, 3, 99), strict=True)]
    found = links.parts(0, 1, 0, *later, [50], shrink=0)
    assert found.hyperedges.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.value, np.array([1, 1 / 2, 1 / 3]) / np.sqrt(3 * 4))
    assert found.size.tolist() == [2, 3, 4] and not found.gap.any()
    found = links.parts(1, 0, 0, *later, [50], directed=True, shrink=0)  # from 0 to 1: one place and three places
    assert (found.hyperedges.tolist(), found.gap.tolist(), found.size.tolist()) == ([0, 2], [1, 3], [1, 1])
    np.testing.assert_allclose(found.value, np.array([1, 3**-0.5]) / np.sqrt(3 * 4))
    again = links.parts(1, 0, 0, [0, 0, 1, 1], [0] * 4, range(4), [9], directed=True, shrink=0)
    assert (again.size.tolist(), again.gap.tolist()) == ([4], [1])
    assert len(links.parts(0, 1, 1, *later, [50, 98], past="slice").value) == 0
    assert len(links.parts(0, 0, 0, *later, [50]).value) == 0


@pytest.mark.parametrize("kind", PAST)
def test_parts_add_up_to_the_entries(kind):
    nodes, hyperedges, times = drawn(6, rows=200)
    moments = np.array([10, 30, 45, 80])
    made = links.over_time(nodes, hyperedges, times, moments, 200, num_nodes=13, **PAST[kind])
    there = 0
    for m in range(4):
        dense = made[m].to_scipy().toarray()
        for i in range(13):
            for j in range(13):
                part = links.parts(i, j, m, nodes, hyperedges, times, moments, num_nodes=13, **PAST[kind])
                assert part.value.sum() == pytest.approx(dense[i, j], rel=3e-7)
                assert (np.diff(part.value) <= 0).all()
                there += len(part.value) > 1
    assert there > 50


def test_parts_leave_out_what_a_long_hyperedge_leaves_out():
    events = [0, 1, 2, 3, 3, 0], [0, 0, 0, 0, 1, 1], range(6)
    assert links.parts(3, 0, 0, *events, [9], most=3).hyperedges.tolist() == [1]
    found = links.parts(3, 1, 0, *events, [9], most=3, shrink=0)
    assert (found.size.tolist(), found.value.tolist()) == ([3], [pytest.approx(0.5 / np.sqrt(2))])


def test_parts_of_what_is_not_there_are_refused():
    with pytest.raises(ValueError, match=r"i must be in \[0, 2\), got 2"):
        links.parts(2, 0, 0, [0, 1], [0, 0], [1, 2], [9])
    with pytest.raises(ValueError, match=r"moment must be in \[0, 1\), got 1"):
        links.parts(0, 1, 1, [0, 1], [0, 0], [1, 2], [9])


def test_rows_of_any_moments_are_looked_up_in_one_call(way):
    nodes, hyperedges, times = drawn(6)
    made = links.over_time(nodes, hyperedges, times, [0, 20, 50])
    rng = np.random.default_rng(0)
    i, j, m = rng.integers(13, size=(20, 1)), rng.integers(13, size=(20, 7)), rng.integers(3, size=(20, 1))
    for walk in (False, True):
        found = made.look_up(i, j, m, walk)
        each = [[made[m[r, 0]].look_up(i[r, 0], j[r, c], walk) for c in range(7)] for r in range(20)]
        assert np.array_equal(found, each) and (found != 0).any()
    both = made.look_up(i, j, m, walk="both")
    assert all(np.array_equal(one, made.look_up(i, j, m, walk)) for one, walk in zip(both, (False, True), strict=True))
    full = np.broadcast_to(i, j.shape), j, np.broadcast_to(m, j.shape)
    assert np.array_equal(made.look_up(*full), both[0]) and np.array_equal(made.look_up(*full, True), both[1])
    assert made[-1] is made[2] and [row["time"] for row in made.describe()] == [0, 20, 50]
    assert repr(made).startswith("LinksOverTime(3 moments, 13 nodes") and "<table>" in made._repr_html_()
    assert len(links.over_time([], [], [], [])) == 0


def test_look_up_takes_and_gives_tensors():
    made = links.build([0, 1, 1, 2], [0, 0, 1, 1])
    found = made.look_up(torch.tensor([[0], [1]]), torch.tensor([1, 2]), walk=True)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32 and found.shape == (2, 2)
    assert made.look_up([], []).shape == (0,) and made.look_up(torch.tensor(0), 1).shape == ()
    assert made.look_up(np.array([0], dtype=np.uint8), [1]).tolist() == [made.look_up(0, 1)]


def test_datetimes_are_times():
    days = np.array(["2024-01-02", "2024-01-01", "2024-01-03"], dtype="datetime64[D]")
    made = links.build([0, 1, 2], [0, 0, 0], days, directed=True)
    assert same(made, links.build([0, 1, 2], [0, 0, 0], [2, 1, 3], directed=True))
    at = links.over_time([0, 1, 2], [0, 0, 0], days, days[[0, 2]])
    assert [one.num_links for one in at] == [0, 2]


def test_knn_links_by_hand():
    # the mean of the first four is 0; the fifth is missing, and the sixth and the mean itself would have no direction
    x = [[2.0, 0.0], [1.0, 1.0], [-3.0, -1.0], [0.0, 0.0]]
    made = links.knn(x, 1, node_ids=["a", "b", "c", "d"])
    a, b = np.float32(2**-0.5), np.float32(-4 / np.sqrt(20))
    assert np.allclose(made.to_scipy().toarray(), [[0, a, 0, 0], [a, 0, b, 0], [0, b, 0, 0], [0] * 4], atol=1e-7)
    assert made.node_ids.tolist() == ["a", "b", "c", "d"] and repr(made) == "Links(4 nodes, 4 links, k=1, nearest)"
    with pytest.raises(ValueError, match="have none"):
        made.look_up(0, 1, walk=True)
    with pytest.raises(ValueError, match=r"only links of graphs.links.build are appended to"):
        made.append([0], [0])
    for empty in (np.zeros((0, 3)), np.zeros((3, 2)), np.ones((3, 2)), [[1.0, 2.0]]):
        assert links.knn(empty, 5).num_links == 0


def test_knn_links_equal_a_slow_loop(monkeypatch):
    monkeypatch.setattr(links, "CHUNK", 7)
    monkeypatch.setattr(links, "PAIRS", 5)
    x = np.random.default_rng(0).normal(size=(23, 4)) + 1
    x[5] = 0
    x[9] = x[3]
    some = np.arange(23) != 5
    unit = x - x[some].mean(0)
    unit[5] = 0
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
    K, near = unit @ unit.T, np.zeros((23, 23), dtype=bool)
    for i in np.flatnonzero(some):
        others = sorted((j for j in range(23) if j not in (i, 5)), key=lambda j: (-np.round(K[i, j], 5), j))
        near[i, others[:4]] = True
    near |= near.T
    for given in (x, torch.from_numpy(x)):
        np.testing.assert_allclose(links.knn(given, 4).to_scipy().toarray(), np.where(near, K, 0), atol=1e-6)
    ties = links.knn([[1.0, 0], [0, 1], [0, -1], [-1, 0], [0, 0]], 1)  # each is at a right angle to two others
    assert ties.indptr.tolist() == [0, 2, 4, 5, 6, 6] and ties.indices.tolist() == [1, 2, 0, 3, 0, 1]


@pytest.mark.parametrize("named", [False, True])
def test_saved_links_are_loaded_with_all_that_append_needs(tmp_path, named):
    nodes, hyperedges, times = drawn(7)
    ids = {"node_ids": [*map(str, range(12)), 5, 13], "hyperedge_ids": np.arange(70, 79)} if named else {}
    made = links.build(nodes, hyperedges, times, 4, most=5, num_nodes=14, num_hyperedges=9, **ids)
    made.save(tmp_path / "links.npz")
    loaded = Links.load(tmp_path / "links.npz")
    assert same(made, loaded) and loaded.num_hyperedges == 9
    if named:
        assert loaded.node_ids.tolist() == ids["node_ids"] and loaded.hyperedge_ids.tolist() == list(range(70, 79))
    for one in (made, loaded):
        one.append([13, 2], [8, 8], [70, 71])
    assert same(made, loaded)
    for other in (links.knn(np.eye(3)), links.over_time(nodes, hyperedges, times, [30])[0]):
        other.save(tmp_path / "other.npz")
        again = Links.load(tmp_path / "other.npz")
        assert np.array_equal(other.value, again.value) and other.rules == again.rules and again.events is None


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "links.npz"
    links.build([0, 1, 2], [0, 0, 0]).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    wrong = {
        "indptr": np.array([0, 2, 1, 6]),
        "indices": arrays["indices"][::-1],
        "value": arrays["value"][1:],
        "degree": arrays["degree"][1:],
        "event_nodes": arrays["event_nodes"] + 1,
        "facts.json": np.frombuffer(b'{"left_out": 0}', dtype=np.uint8),
    }
    for name, array in wrong.items():
        np.savez(path, **arrays | {name: array})
        with pytest.raises(ValueError, match="does not contain links that Links.save wrote"):
            Links.load(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="does not contain links"):
        Links.load(path)
    with pytest.raises(FileNotFoundError):
        Links.load(tmp_path / "missing.npz")


def test_a_description_and_a_table():
    made = links.build([0, 1, 1, 2, 3], [0, 0, 1, 1, 1], k=2, num_nodes=6)
    facts = made.describe()
    assert (facts["num_nodes"], facts["num_links"], facts["without_links"], facts["full_rows"]) == (6, 7, 2, 3)
    assert facts["kind"] == "undirected" and facts["most"] == 500 and facts["links_per_node"]["max"] == 2
    assert facts["degree"]["max"] == 7 and facts["bytes"] == 7 * 8 + 7 * 8
    assert "links per node" in made._repr_html_() and "2 nodes without links" in made._repr_html_()
    assert "degrees" not in links.knn(np.eye(3))._repr_html_()


def test_a_neighbourhood_is_drawn():
    pytest.importorskip("matplotlib", reason="drawings not checked: there is no matplotlib").use("Agg")
    from matplotlib import pyplot as plt

    made = links.build([0, 1, 1, 2, 3], [0, 0, 1, 1, 1], shrink=1, node_ids=["a", "b", "c", "d"])
    ax = made.draw("b", others=["a", "c", "a"])
    value = made.look_up(1, [0, 2]).sum()
    assert ax.get_title(loc="left") == f"b and 2 others: linked with 2, sum {value:.3g}"
    assert {text.get_text() for text in ax.texts} == {"a", "b", "c", "d"}
    assert [len(lines.get_segments()) for lines in ax.collections[:2]] == [2, 2]
    assert made.draw("a", others=[]).get_title(loc="left") == "a and 0 others: linked with 0, sum 0"
    with pytest.raises(ValueError, match="no node of Links.* has the id 'x'"):
        made.draw("x", others=[])
    with pytest.raises(ValueError, match="at most 60 others"):
        links.build(range(70), [0] * 70).draw(0, others=range(70))
    plt.close("all")


REFUSED = {
    "k must be at least 1, got 0": {"k": 0},
    "shrink must be a finite number from 0, got -1": {"shrink": -1},
    "shrink must be a finite number from 0, got nan": {"shrink": float("nan")},
    "most must be at least 2, or None for no limit, got 1": {"most": 1},
    "nodes and hyperedges must have the same length, got 2, 1": {"hyperedges": [0]},
    "nodes, hyperedges and times must have the same length, got 2, 2, 1": {"times": [0]},
    "times must be a list of integers or datetime64, got float64": {"times": [0.5, 1.0]},
    "1 of 2 times are missing": {"times": np.array(["2024-01-01", "NaT"], dtype="datetime64[D]")},
    "graphs.build.from_ids numbers ids of any kind": {"nodes": ["a", "b"]},
    r"node ids must be in \[0, 1\), got \[0, 1\]": {"num_nodes": 1},
    "links take fewer than 2.31 nodes": {"num_nodes": 2**31},
    "node_ids must have 2 entries": {"node_ids": ["a"]},
    "hyperedge_ids must have 1 entries": {"hyperedge_ids": [1, 2]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_linked_is_refused(message):
    with pytest.raises(ValueError, match=message):
        links.build(**{"nodes": [0, 1], "hyperedges": [0, 0]} | REFUSED[message])


def test_other_errors():
    made = links.build([0, 1], [0, 0], times=[1, 2], node_ids=["a", "b"])
    for i, j, message in [
        (2, 0, r"i must be in \[0, 2\), got \[2, 2\]"),
        (0, -1, r"j must be in \[0, 2\), got \[-1, -1\]"),
        ([0.0], [1], "i must be integers from 0, got float64"),
        ([0, 1], [0, 1, 1], r"must broadcast to one shape, got \[2\] and \[3\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            made.look_up(i, j)
    with pytest.raises(ValueError, match=r"node ids must be in \[0, 2\)"):
        made.append([2], [0], [3])  # it would have no name
    with pytest.raises(ValueError, match="built with times, so events are appended likewise, got some without"):
        made.append([0], [1])
    before = links.build([0, 1], [0, 0], times=[1, 2], node_ids=["a", "b"])
    assert same(made, before)

    def at(moments, **rules):
        return links.over_time([0, 1], [0, 0], [1, 2], moments, **rules)

    for moments, rules, message in [
        ([2, 2], {}, "moments must ascend"),
        ([1.5], {}, "moments must be a list of integers"),
        ([2], {"half_life": 0}, "half_life must be above 0"),
        ([2], {"half_life": 1, "past": "slice"}, "half_life must be above 0, with past"),
        ([2], {"past": "future"}, 'past must be "all" or "slice"'),
        ([2], {"k": 0}, "k must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            at(moments, **rules)
    with pytest.raises(ValueError, match="over_time needs times"):
        links.over_time([0], [0], None, [1])
    with pytest.raises(ValueError, match=r"moment must be in \[0, 1\)"):
        at([2]).look_up(0, 1, moment=1)
    for x in ([1.0, 2.0], [[float("nan")]]):
        with pytest.raises(ValueError, match="x must be a finite matrix"):
            links.knn(x, 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        links.knn([[1.0]], 0)
