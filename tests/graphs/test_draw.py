"""Pictures: what is drawn is what was counted, on the axes given, and nothing is shown."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib", reason="drawings not checked: there is no matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

from graphs import Hypergraph, TimeSlices, build, draw, expand, layout  # noqa: E402

DAY = 86400


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    """Nothing is shown, and every figure is drawn once to the end, then closed."""
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("a picture was shown"))
    yield
    try:
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
    finally:
        plt.close("all")


@pytest.fixture
def slices() -> TimeSlices:
    """Day 0: nodes 1, 2, 3; day 1: 2, 3, 4 twice each; day 2: nothing; day 3: 1 and 9."""
    nodes = [1, 2, 3, 2, 3, 4, 2, 3, 4, 1, 9]
    hyperedges = [0, 0, 0, 0, 0, 0, 1, 1, 1, 5, 5]
    return TimeSlices.cut(nodes, hyperedges, [0, 1, 2, *[DAY] * 6, 3 * DAY, 3 * DAY], every="1d")


def club() -> Hypergraph:
    members = {"choir": "Ann Bo Cy Di Ed", "chess": "Di Ed Flo", "cooks": "Max Nia", "solo": "Cy", "none": ""}
    people = sorted({name for names in members.values() for name in names.split()})
    groups = [[people.index(name) for name in names.split()] for names in members.values()]
    h = build.from_groups(groups, len(people))
    return Hypergraph.from_pairs(
        *h.by_hyperedge.indices[None],
        np.repeat(np.arange(5), [len(g) for g in groups]),
        len(people),
        5,
        node_ids=people,
        hyperedge_ids=list(members),
    )


PICTURES = {
    "incidence": draw.incidence,
    "degrees": draw.degrees,
    "sizes": draw.sizes,
    "hulls": draw.hulls,
    "bipartite": draw.bipartite,
    "modalities": lambda h, ax=None: draw.modalities({"visual": h, "acoustic": h}, ax=ax),
    "overlap": lambda h, ax=None: draw.overlap({"visual": h, "acoustic": h}, ax=ax),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_goes_on_the_axes_it_is_given(picture, five):
    _, axes = plt.subplots(1, 2)
    assert PICTURES[picture](five, ax=axes[1]) is axes[1]
    assert len(plt.get_fignums()) == 1 and axes[1].has_data() and not axes[0].has_data()
    assert axes[1].get_title(loc="left")
    assert PICTURES[picture](five).figure is not axes[1].figure


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("shape", [(0, 0), (3, 2)])
def test_a_hypergraph_without_incidences_can_be_drawn(picture, shape):
    PICTURES[picture](Hypergraph.from_pairs([], [], *shape)).figure.canvas.draw()


def test_the_incidence_matrix_is_ordered_by_degree_and_size(five, dense):
    image = draw.incidence(five).images[0].get_array().filled(0)
    assert image.tolist() == dense(five)[[2, 3, 0, 1, 4]].tolist()  # two hyperedges, two, one, one, none


def test_names_stand_at_their_rows():
    ax = draw.incidence(club())
    assert [t.get_text() for t in sorted(ax.get_yticklabels(), key=lambda t: t.get_position()[1])][:3] == [
        "Cy",
        "Di",
        "Ed",
    ]
    assert sorted(ax.get_xticklabels(), key=lambda t: t.get_position()[0])[0].get_text() == "choir"


def test_a_large_incidence_matrix_is_binned_and_every_incidence_is_in_its_pixel():
    rng = np.random.default_rng(0)
    h = Hypergraph.from_pairs(rng.integers(0, 1000, 20_000), rng.integers(0, 2000, 20_000), 1000, 2000)
    image = draw.incidence(h).images[0].get_array().filled(0)
    assert image.shape == draw.PIXELS
    row, column = (np.empty(len(x), int) for x in (h.by_node.indptr.diff(), h.by_hyperedge.indptr.diff()))
    row[np.argsort(-h.by_node.indptr.diff().numpy(), kind="stable")] = np.arange(1000) * 360 // 1000
    column[np.argsort(-h.by_hyperedge.indptr.diff().numpy(), kind="stable")] = np.arange(2000) * 540 // 2000
    cells, filled = np.zeros(draw.PIXELS), np.zeros(draw.PIXELS)
    np.add.at(cells, np.ix_(row, column), 1)
    for e in range(2000):
        np.add.at(filled, (row[h.members(e).numpy()], column[e]), 1)
    np.testing.assert_allclose(image, filled / cells)


def test_a_tail_is_the_share_of_at_least_that_degree():
    h = Hypergraph.from_pairs([0, 0, 0, 1, 2], [0, 1, 2, 0, 0], 5, 3)  # degrees 3, 1, 1, 0, 0
    line = draw.degrees(h).lines[0]
    assert line.get_xdata().tolist() == [1, 3] and line.get_ydata().tolist() == [0.6, 0.2]
    ax = draw.sizes({"one": h, "other": h.T})  # sizes 3, 1, 1 and 3, 1, 1, 0, 0
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "one: 3 hyperedges, mean size 1.67, largest 3",
        "other: 5 hyperedges, mean size 1, largest 3, 2 empty",
    ]


def heights(ax) -> list[list[float]]:
    return [[bar.get_height() for bar in bars] for bars in ax.containers]


def test_a_strip_parts_nodes_into_new_and_seen_before(slices):
    ax = draw.strip(slices)
    assert heights(ax) == [[3, 6, 2]]  # the empty day has no bar
    below = ax.figure.axes[-1]
    assert heights(below) == [[0, 2, 1], [3, 1, 1]]  # seen: 2 and 3, then 1; new: 1 2 3, then 4, then 9
    assert [bar.get_width() for bar in ax.containers[0]] == [1] * 3
    assert "4 slices" in ax.get_title(loc="left")


def test_a_strip_of_quantiles_gives_the_last_the_width_of_the_one_before():
    slices = TimeSlices.cut([1] * 4, [1] * 4, [0, DAY, 2 * DAY, 4 * DAY], count=4)
    assert [bar.get_width() for bar in draw.strip(slices).containers[0]] == [1, 1, 2, 2]
    draw.strip(TimeSlices.cut([1], [1], [0], count=1))
    draw.strip(TimeSlices.cut([], [], [], every="1d", origin=0))


def test_a_strip_shares_its_figure_and_needs_a_subplot(slices):
    figure, axes = plt.subplots(2, 1, layout="constrained")
    assert draw.strip(slices, ax=axes[1]) is axes[1] and not axes[0].has_data()
    with pytest.raises(ValueError, match=r"plt\.subplots"):
        draw.strip(slices, ax=plt.figure().add_axes((0, 0, 1, 1)))


def test_the_heat_map_leaves_its_diagonal_out_and_names_the_days(slices):
    ax = draw.overlap(slices)
    image = ax.images[0].get_array()
    assert image.mask.tolist() == np.eye(3, dtype=bool).tolist()
    assert image[0, 1] == 2 / 4 and image[0, 2] == 1 / 4 and image[1, 2] == 0
    assert [t.get_text() for t in ax.get_yticklabels()] == [f"1970-01-0{n}" for n in (1, 2, 4)]
    hours = TimeSlices.cut([1, 1], [1, 1], [0, 3600], every="1h")
    assert draw.overlap(hours).get_yticklabels()[1].get_text() == "1970-01-01 01:00:00"


def test_hulls_are_named_and_the_empty_ones_counted():
    ax = draw.hulls(club())
    texts = {t.get_text() for t in ax.texts}
    assert {"choir", "cooks", "solo", "Ann", "Nia"} <= texts and "none" not in texts
    assert ax.get_title(loc="left").endswith("1 empty ones not drawn")


def test_hulls_of_too_much_are_refused():
    with pytest.raises(ValueError, match=r"at most 60 nodes and 20 hyperedges, got .*61 nodes.*subhypergraph"):
        draw.hulls(Hypergraph.from_pairs([60], [0]))
    with pytest.raises(ValueError, match="21 hyperedges"):
        draw.hulls(Hypergraph.from_pairs([0], [20]))


@pytest.mark.parametrize("seed", range(12))
def test_an_outline_holds_its_members_and_nobody_else(seed):
    rng = np.random.default_rng(seed)
    groups = [rng.choice(14, rng.integers(1, 6), replace=False) for _ in range(8)]
    h = build.from_groups(groups, 14)
    at = layout.place(expand.star(h))[:14]
    for group in groups:
        inside = np.isin(np.arange(14), group)
        field = layout.outline(at[inside], at[~inside], 0.4, at)
        assert ((field < 0) == inside).all()


def test_an_outline_by_hand():
    square = np.array([[0.0, 0], [2, 0], [0, 2], [2, 2]])
    points = np.array([[1.0, 1], [2.4, 1], [2.6, 1], [1, 2.4]])
    assert (layout.outline(square, np.array([[9.0, 9]]), 0.5, points) < 0).tolist() == [True, True, False, True]
    middle = np.array([[1.0, 1]])  # is no member, so the outline goes round the square, not over it
    assert layout.outline(square, middle, 0.5, np.array([[1.0, 1], [0.6, 1]])).min() > 0
    close = layout.outline(square[:1], np.array([[0.1, 0]]), 0.5, np.array([[0.0, 0], [0.1, 0]]))
    assert (close < 0).tolist() == [True, False]
    line = np.array([[0.0, 0], [1, 0], [2, 0]])
    assert layout.outline(line, np.empty((0, 2)), 0.5, np.array([[1.5, 0.4], [1.5, 0.6]])).round(3).tolist() == [
        -0.1,
        0.1,
    ]


def test_positions_keep_steps_apart_and_parts_apart():
    path = build.from_groups([[0, 1], [1, 2], [3, 4], []], 6)
    at = layout.place(expand.star(path))
    apart = np.linalg.norm(at[:, None] - at, axis=-1)
    assert apart[0, 6] == pytest.approx(1, abs=0.01) and apart[0, 2] == pytest.approx(4, abs=0.05)
    assert (apart + 9 * np.eye(10)).min() > 0.9
    assert (layout.place(expand.star(path)) == at).all()
    assert layout.place(expand.star(Hypergraph.from_pairs([], []))).shape == (0, 2)


def drawn(ax) -> tuple[int, int, int]:
    """Lines, nodes and hyperedges of a bipartite picture."""
    from matplotlib.collections import LineCollection

    lines = [len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection)]
    found = {c.get_label(): len(c.get_offsets()) for c in ax.collections}
    return sum(lines), found["node"], found["hyperedge"]


def test_a_bipartite_picture_draws_every_incidence(five):
    ax = draw.bipartite(five)
    assert drawn(ax) == (6, 5, 4) and ax.get_title(loc="left") == "6 incidences"


def test_around_a_node_its_hyperedges_are_drawn():
    ax = draw.bipartite(club(), around="Di")
    assert drawn(ax) == (8, 6, 2) and ax.get_title(loc="left") == "around Di: all 8 incidences"
    ax = draw.bipartite(club(), around="Di", limit=7)
    assert drawn(ax) == (3, 3, 1)
    assert ax.get_title(loc="left") == "around Di: kept 3 of 8 incidences (small hyperedges first)"
    assert {t.get_text() for t in ax.texts} == {"Di", "Ed", "Flo", "chess"}
    assert drawn(draw.bipartite(Hypergraph.from_pairs([0], [0], 3, 1), around=2)) == (0, 1, 0)


def test_too_much_for_a_bipartite_picture_is_drawn_around_the_busiest_node():
    h = build.from_groups([[7, v] for v in range(7)] + [range(500)])
    ax = draw.bipartite(h)
    assert ax.get_title(loc="left") == "around 7: kept 14 of 514 incidences (small hyperedges first)"
    assert drawn(draw.bipartite(build.from_groups([range(500)]), limit=30)) == (30, 30, 1)


def test_what_bipartite_refuses(five):
    with pytest.raises(ValueError, match=r"no node of .* has the id 'Zoe'; the first ids are \['Ann', 'Bo', 'Cy'\]"):
        draw.bipartite(club(), around="Zoe")
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        draw.bipartite(five, limit=0)


def test_modalities_count_what_exactly_those_share():
    visual = Hypergraph.from_pairs([0, 1, 2], [0, 0, 0], 4, 2, hyperedge_ids=["a", "b"])
    acoustic = Hypergraph.from_pairs([1, 2, 3], [1, 1, 1], 4, 2, hyperedge_ids=["b", "a"])
    text = Hypergraph.from_pairs([2, 2], [0, 1], 4, 2, hyperedge_ids=["a", "b"])
    ax = draw.modalities({"visual": visual, "acoustic": acoustic, "text": text})
    texts = [t.get_text() for t in ax.texts]
    # visual alone has (0, a), acoustic alone (3, a), text alone (2, b), visual and acoustic (1, a), all of them (2, a)
    assert texts[:5] == ["1\n20%"] * 5
    assert texts[5] == "3 incidences, 75% of nodes\n1 hyperedges of mean size 3"
    assert ax.get_title(loc="left") == "5 incidences, by the modalities that have them"
    columns = {tuple(line.get_ydata()) for line in ax.lines}
    assert columns == {(-1, -1), (-2, -2), (-3, -3), (-1, -2), (-1, -3)}  # a row of dots a modality


def test_modalities_leave_rare_combinations_out_and_say_so():
    hypergraphs = {f"m{k}": Hypergraph.from_pairs(np.flatnonzero(np.arange(64) >> k & 1), [0] * 32) for k in range(6)}
    assert "63 incidences" in draw.modalities(hypergraphs).get_title(loc="left")
    assert "47 rare combinations left out" in draw.modalities(hypergraphs).get_title(loc="left")
    with pytest.raises(ValueError, match="1 to 16 modalities can be compared, got 0"):
        draw.modalities({})


def test_without_matplotlib_one_line_says_what_to_install():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from graphs import Hypergraph, draw\n"
        "try: draw.degrees(Hypergraph.from_pairs([0], [0]))\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert "pip install matplotlib" in done.stdout and done.stdout.count("\n") == 1, done.stderr
