"""Tables: scipy's matrices and pandas' frames come back equal, and what others made is read right."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from drawn_hypergraphs import hypergraphs, members, random_300
from hypothesis import given

from graphs import Hypergraph
from graphs.attributes import Attributes


@random_300
@given(hypergraphs())
def test_scipy_and_back(h):
    back = Hypergraph.from_scipy(h.to_scipy(), h.hyperedge_weight, h.node_ids, h.hyperedge_ids, h.node_weight)
    assert back.equals(h)


def test_the_matrix_is_nodes_by_hyperedges_and_counts(five, dense):
    H = five.to_scipy()
    assert isinstance(H, scipy.sparse.csr_array) and H.shape == (5, 4) and H.dtype == np.int64
    np.testing.assert_array_equal(H.toarray(), dense(five).numpy())
    assert (H @ H.T).toarray()[2].tolist() == [1, 1, 2, 1, 0]  # hyperedges shared with node 2
    H.data[:] = 0  # the copy is the caller's
    assert five.size().tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_matrix", "lil_array", "dok_array", "bsr_array"])
def test_any_sparse_format_is_read(form):
    made = getattr(scipy.sparse, form)(np.array([[0, 2.5], [1, 0], [0, 0]]))
    h = Hypergraph.from_scipy(made)
    assert members(h) == {0: {1}, 1: {0}} and h.by_hyperedge.value.tolist() == [1, 2.5]
    assert (h.num_nodes, h.num_hyperedges) == (3, 2)


def test_zeros_and_repeats_of_a_matrix_are_read_as_scipy_means_them():
    place = ([0, 0, 1, 2], [0, 0, 0, 1])
    for dtype, sizes, counts in ((float, [7, 0], 3), (int, [7, 0], 2), (bool, [2, 0], 2)):
        made = scipy.sparse.coo_array((np.array([2, 4, 1, 0], dtype=dtype), place), shape=(3, 2))
        h = Hypergraph.from_scipy(made)
        assert (h.size().tolist(), h.num_incidences) == (sizes, counts)
        assert made.nnz == 4  # the caller's matrix stays
    assert h.by_node.value is None


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 2)), "takes a sparse matrix .* got ndarray"),
        (scipy.sparse.coo_array(np.ones(3)), "takes a sparse matrix .* got coo_array"),
        (scipy.sparse.csr_array([[1.0, -2.0]]), "not negative, got -2.0"),
        (scipy.sparse.csr_array([[np.nan]]), "finite"),
        (scipy.sparse.csr_array([[1j]]), "must be numbers, got complex128"),
    ],
)
def test_a_bad_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Hypergraph.from_scipy(matrix)


def test_bad_node_weights_are_refused():
    H = scipy.sparse.csr_array(np.eye(2))
    with pytest.raises(ValueError, match=r"^node_weight must have one entry per node, \[2\], got shape \[3\]$"):
        Hypergraph.from_scipy(H, node_weight=[1, 2, 3])
    with pytest.raises(ValueError, match=r"^node_weight must be finite and not negative, got -1.0 at position 1$"):
        Hypergraph.from_scipy(H, node_weight=[1, -1])


# ---- pandas


@random_300
@given(hypergraphs())
def test_pandas_and_back(pd, h):
    assert Hypergraph.from_pandas(h.to_pandas()).equals(h)


def test_pandas_gets_three_tables(pd):
    h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 3, 2, [1, 2, 3], [4, 5], ["a", "b", "c"])
    incidences, nodes, hyperedges = h.to_pandas()
    assert incidences.to_dict("list") == {"node": ["a", "b", "b"], "hyperedge": [0, 0, 1], "weight": [1, 2, 3]}
    assert nodes.to_dict("list") == {"node": ["a", "b", "c"]}
    assert hyperedges.to_dict("list") == {"weight": [4, 5]}
    assert Hypergraph.from_pandas(incidences, nodes[::-1], hyperedges).node_ids.tolist() == ["c", "b", "a"]
    twice = Hypergraph.from_pairs([1], [0], 2, node_ids=["a", "a"]).to_pandas().incidences
    assert twice.to_dict("list") == {"node": ["a"], "hyperedge": [0], "node_number": [1]}


def test_pandas_frames_of_others_are_read(pd):
    frame = pd.DataFrame({"hyperedge": ["y", "x", "x", "y"], "when": 0, "node": [30, 10, 30, 30]}, index=[5, 5, 6, 7])
    h = Hypergraph.from_pandas(frame)
    assert members(h) == {"x": {10, 30}, "y": {30}} and h.node_ids.tolist() == [10, 30]
    for dtype in ("category", "string", object):
        assert Hypergraph.from_pandas(frame.astype({"hyperedge": dtype})).equals(h)
    assert Hypergraph.from_pandas(frame.astype({"node": "Int64"})).equals(h)
    h = Hypergraph.from_pandas(frame.assign(weight=[1, 2, 3, 4]), pd.DataFrame({"node": [30, 20, 10]}))
    assert h.node_ids.tolist() == [30, 20, 10] and h.by_hyperedge.value.tolist() == [3, 2, 5]
    mixed = pd.DataFrame({"node": ["1", 1, "a"], "hyperedge": [0, 0, 0]})
    assert Hypergraph.from_pandas(mixed).node_ids.tolist() == [1, "1", "a"]


def test_bad_frames_are_refused(pd):
    good = pd.DataFrame({"node": ["a", "b"], "hyperedge": [0, 0]})
    for frames, message in (
        ([good.rename(columns={"node": "user"})], r"columns node and hyperedge, got \['user', 'hyperedge'\]"),
        ([[1, 2]], "got list"),
        ([good.assign(node=["a", None])], "the incidences have node None"),
        ([good.assign(node=[0.5, 1.5])], "nodes must be named by integers or strings, got 0.5"),
        ([good.assign(node=[True, False])], "got False"),
        ([good, pd.DataFrame({"node": ["a"]})], "the incidences have node 'b', which the frame of nodes lacks"),
        ([good, pd.DataFrame({"node": ["a", "b", "a"]})], "must have each id once, got 'a' twice"),
        ([good, None, pd.DataFrame({"weight": [1, 2, 3]}).drop(index=1)], "or rows numbered 0, 1, 2"),
        ([good, None, pd.DataFrame({"weight": [1.0, None]})], "hyperedge_weight must be finite"),
        ([good, pd.DataFrame({"weight": [1.0, 2.0]})], "node ids must be integers"),
        ([good, pd.DataFrame({"node": ["a", "b"], "weight": [1, -1]})], "node_weight must be finite and not negative"),
        ([good.assign(weight=[1, -1])], "not negative, got -1"),
        ([good.assign(hyperedge=[0, 4]), None, pd.DataFrame(index=range(2))], r"must be in \[0, 2\), got \[0, 4\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Hypergraph.from_pandas(*frames)


def test_a_conversion_says_what_it_loses_and_is_silent_where_nothing_is_lost():
    plain = Hypergraph.from_pairs([0, 1], [0, 0])
    rich = Hypergraph.from_pairs([0, 1], [0, 0], hyperedge_weight=[2.0], node_ids=["a", "b"])
    known = replace(rich, attributes=Attributes(nodes={0: {"x": 1}}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain.to_scipy(), plain.to_scatter(), rich.to_pandas()
    for h, method, lost in (
        (rich, "to_scipy", "hyperedge_weight, node_ids"),
        (known, "to_scipy", "hyperedge_weight, node_ids, attributes"),
        (known, "to_scatter", "hyperedge_weight, node_ids, attributes"),
        (known, "to_pandas", "attributes"),
    ):
        with pytest.warns(UserWarning, match=rf"^{method} has no place for {lost} of Hypergraph\(.*\): left out$"):
            getattr(h, method)()
