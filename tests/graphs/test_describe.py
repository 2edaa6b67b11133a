"""The description of the five nodes by hand, overlaps against Python sets, and the tables of a notebook."""

import json
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pytest

from graphs import Hypergraph, TimeSlices, build, describe


def test_five_nodes_by_hand(five):
    found = five.describe()
    assert found["num_nodes"] == 5 and found["num_hyperedges"] == 4 and found["num_incidences"] == 6
    assert found["density"] == 6 / 20
    assert found["isolated_nodes"] == 1 and found["empty_hyperedges"] == 1 and found["singletons"] == 1
    assert found["duplicate_hyperedges"] == 0
    assert found["components"] == 2 and found["largest_component"] == 4
    assert found["degree"] == pytest.approx(  # 0, 1, 1, 2.5, 3
        {"mean": 1.5, "min": 0, "q25": 1, "median": 1, "q75": 2.5, "q99": 2.98, "max": 3}
    )
    assert found["size"]["median"] == 1.5 and found["size"]["max"] == 3
    assert json.loads(json.dumps(found)) == found


def test_nothing_is_described_with_zeros():
    found = Hypergraph.from_pairs([], []).describe()
    assert found["components"] == found["largest_component"] == found["density"] == found["duplicate_hyperedges"] == 0
    assert set(found["degree"].values()) == {0}
    assert Hypergraph.from_pairs([], [], 3, 2).describe()["components"] == 3


def test_duplicates_have_the_members_of_an_earlier_hyperedge_whatever_their_values():
    h = build.from_groups([[0, 1], [2], [1, 0], [0, 1], [2, 1], [], []])
    assert h.describe()["duplicate_hyperedges"] == 3  # two more {0, 1} and a second empty one
    valued = Hypergraph.from_pairs([0, 0], [0, 1], weight=[1, 2])
    assert valued.describe()["duplicate_hyperedges"] == 1


def test_components_equal_those_of_networkx():
    nodes, hyperedges = [0, 1, 2, 3, 3, 5, 6], [0, 0, 1, 1, 2, 4, 4]
    found = Hypergraph.from_pairs(nodes, hyperedges, 9, 6).describe()
    graph = nx.Graph([(v, f"e{e}") for v, e in zip(nodes, hyperedges, strict=True)])
    graph.add_nodes_from(range(9))
    sizes = [sum(isinstance(v, int) for v in part) for part in nx.connected_components(graph)]
    assert found["components"] == len(sizes) and found["largest_component"] == max(sizes)


def held_by_hand(h: Hypergraph) -> dict[str, set]:
    node = h.node_ids.tolist() if h.node_ids is not None else list(range(h.num_nodes))
    hyperedge = h.hyperedge_ids.tolist() if h.hyperedge_ids is not None else list(range(h.num_hyperedges))
    pairs = {(node[v], hyperedge[e]) for e in range(h.num_hyperedges) for v in h.members(e).tolist()}
    return {"nodes": {v for v, _ in pairs}, "hyperedges": {e for _, e in pairs}, "incidences": pairs}


@pytest.mark.parametrize("of", ["nodes", "hyperedges", "incidences"])
def test_overlap_equals_that_of_sets(of):
    rng = np.random.default_rng(0)
    parts = [
        build.from_ids(rng.integers(0, 20, 25), rng.integers(-5, 5, 25)),
        build.from_ids(rng.integers(10, 30, 25), rng.integers(0, 9, 25)),
        Hypergraph.from_pairs([3, 12, 12], [0, 0, 2], 40, 6),  # numbers are the ids; most nodes are in no hyperedge
        Hypergraph.from_pairs([], [], 5, 5),
    ]
    sets = [held_by_hand(h)[of] for h in parts]
    expected = [[len(a & b) / max(len(a | b), 1) for b in sets] for a in sets]
    assert describe.overlap(parts, of).tolist() == expected
    names = [[f"id {i}" if i % 2 else i for i in range(-9, 40)]] * 2  # strings and integers, mixed

    def renamed(h: Hypergraph) -> Hypergraph:
        ids = [
            [names[side][i + 9] for i in (range(count) if old is None else old.tolist())]
            for side, (old, count) in enumerate(((h.node_ids, h.num_nodes), (h.hyperedge_ids, h.num_hyperedges)))
        ]
        indptr, indices, _ = h.numpy_members()
        hyperedges = np.repeat(np.arange(h.num_hyperedges), np.diff(indptr))
        ids = [np.array(each, dtype=object) for each in ids]
        return Hypergraph.from_pairs(
            indices, hyperedges, h.num_nodes, h.num_hyperedges, node_ids=ids[0], hyperedge_ids=ids[1]
        )

    assert describe.overlap(map(renamed, parts), of).tolist() == expected


def test_overlap_of_slices_by_hand():
    slices = TimeSlices.cut([1, 2, 2, 3, 7], [5, 5, 5, 6, 5], [0, 1, 86400, 86401, 3 * 86400], every="1d")
    third = 1 / 3  # {1, 2} and {2, 3}
    expected = [[1, third, 0, 0], [third, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert describe.overlap(slices).tolist() == expected
    assert describe.overlap(slices, "hyperedges")[0].tolist() == [1, 0.5, 0, 1]
    assert describe.overlap([]).shape == (0, 0)
    with pytest.raises(ValueError, match='"nodes", "hyperedges" or "incidences", got \'edges\''):
        describe.overlap(slices, "edges")


class Page(HTMLParser):
    """Rows of cells, and what no static page should hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("br", "path", "rect"):
            self.open.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open) and "svg" not in self.open:
            self.rows[-1][-1] += data


def test_a_notebook_sees_the_facts_of_describe(five):
    page = Page(five._repr_html_())
    head, nodes, hyperedges, rest = page.rows
    assert head == ["", "count", "mean", "min", "q25", "median", "q75", "q99", "max", "distribution"]
    assert nodes[:9] == ["nodes (degree)", "5", "1.5", "0", "1", "1", "2.5", "2.98", "3"]
    assert hyperedges[:4] == ["hyperedges (size)", "4", "1.5", "0"]
    assert "6 incidences, density 0.3 · 2 components, the largest of 4 nodes · nodes: 1 isolated ·" in rest[0]
    assert "1 empty, 1 of one member, 0 duplicates" in rest[0]
    assert page.tags.count("svg") == 2 and "script" not in page.tags


def test_ids_are_shown_and_cannot_be_markup(five):
    ids = ["<script>alert(1)</script>", "a&b", "x" * 99, '"', "last"]
    h = Hypergraph.from_pairs([0], [0], 5, 1, node_ids=ids)
    html = h._repr_html_()
    assert "script" not in Page(html).tags and "&lt;script&gt;" in html and "x" * 20 not in html
    assert "a&amp;b" in html and "last" not in html


def test_tables_follow_the_colours_of_their_page_and_stay_small():
    rng = np.random.default_rng(0)
    h = Hypergraph.from_pairs(rng.integers(0, 3000, 9000), rng.zipf(1.5, 9000) % 3000)
    slices = TimeSlices.cut(rng.integers(0, 50, 5000), rng.integers(0, 50, 5000), np.arange(5000) * 9000, every="1d")
    assert len(slices) > 500
    for html in (h._repr_html_(), describe.html_rows(slices.describe(), repr(slices)), slices._repr_html_()):
        assert len(html.encode()) < 30_000
        assert "currentColor" in html and "#" not in html and "background" not in html
        Page(html)


def test_a_table_of_slices_has_a_row_and_a_bar_for_each():
    slices = TimeSlices.cut([1, 2, 3, 1], [1, 1, 1, 1], [0, 1, 2, 86400], every="1d")
    html = describe.html_rows(slices.describe(), "two <days>")
    page = Page(html)
    assert page.rows[0][:4] == ["slice", "date", "nodes", "hyperedges"]
    assert [row[:5] for row in page.rows[1:]] == [
        ["0", "1970-01-01T00:00:00", "3", "1", "3"],
        ["1", "1970-01-02T00:00:00", "1", "1", "1"],
    ]
    assert 'width="100"' in html and 'width="33"' in html and "two &lt;days&gt;" in html
    assert len(Page(describe.html_rows([])).rows) == 1


def test_the_middle_of_a_long_table_is_left_out_and_said():
    rows = [{"slice": n, "num_incidences": n} for n in range(100)]
    page = Page(describe.html_rows(rows))
    assert [row[0] for row in page.rows[1:21]] == [str(n) for n in range(20)]
    assert page.rows[21] == ["… 60 more …"]
    assert [row[0] for row in page.rows[22:]] == [str(n) for n in range(80, 100)]


def bars(x) -> list[int]:
    return describe._distribution(np.asarray(x, dtype=np.float32)).tolist()


def test_a_distribution_counts_every_positive_value_once():
    assert bars([3, 3, 3]) == [3]
    assert bars([1, 2, 2, 3, 0]) == [1, 2, 1]
    assert bars([]) == bars([0]) == []
    rng = np.random.default_rng(0)
    for x in (rng.zipf(1.3, 10_000) % 10**6, rng.lognormal(size=10_000)):
        assert sum(bars(x)) == (x > 0).sum() and len(bars(x)) <= 24
