"""`hyperctr graph`: what is built is what was clicked, under the data's own ids; files say what the hypergraphs are."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse

from graphs import Hypergraph, TimeGrid
from hyperctr.data import read as folder
from hyperctr.hypergraphs import folder as graph
from hyperctr.hypergraphs.recipes import slice_hypergraphs

DAY = 86_400
ORIGIN = 1_704_067_200  # 2024-01-01
PICTURED = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1], bool)
TAGGED = np.array([1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1], bool)
PNG = b"\x89PNG\r\n\x1a\n"


def write_shop(path, rows, masks, clock="timestamp"):
    """A folder with rows of (user, item, time, click), items i0, i1, ... and a modality a mask."""
    path.mkdir()
    user, item, time, click = zip(*rows, strict=True)
    log = {"user_id": [f"u{u}" for u in user], "item_id": [f"i{i}" for i in item], clock: time, "click": click}
    pl.DataFrame(log).write_csv(path / "interactions.csv")
    num_items = max([*item, *(len(mask) - 1 for mask in masks.values())]) + 1
    pl.DataFrame({"item_id": [f"i{i}" for i in range(num_items)]}).write_csv(path / "items.csv")
    for name, mask in masks.items():
        np.save(path / f"{name}.npy", np.outer(mask, np.ones(2)).astype(np.float32))
    role = "time" if clock == "timestamp" else "order"
    (path / "dataset.toml").write_text(
        f'[interactions]\nuser = "user_id"\nitem = "item_id"\n{role} = "{clock}"\nclick = "click"\n'
    )
    return path


def random_rows():
    """1200 impressions of 9 users on 12 items, one every 2 hours from 2024-01-01, none in the third week."""
    rng, rows = np.random.default_rng(0), np.arange(1200)
    time = ORIGIN + 7200 * rows + 7 * DAY * (rows >= 14 * 12)
    rows = zip(rng.integers(9, size=1200), rng.integers(12, size=1200), time, rng.random(1200) < 0.6, strict=True)
    return [(int(u), int(i), int(t), int(y)) for u, i, t, y in rows]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("data") / "shop", random_rows(), {"visual": PICTURED, "tags": TAGGED})


@pytest.fixture(scope="module")
def weekly(shop, tmp_path_factory):
    """The shop by the week: 15 closed slices, the third of them empty."""
    out = tmp_path_factory.mktemp("built") / "weekly"
    graph.build(str(shop), "7d", out)
    return out


#   slice 0, 2024-01-01   u0 clicks i0, i1    u1 clicks i0, i1    u2 clicks i2    (u2 sees i0)
#   slice 1, 2024-01-02   u0 clicks i0        u3 clicks i0, i2    u1 clicks i2
#   slice 2, 2024-01-03   u0 clicks i1
TINY = [(0, 0, 0, 1), (0, 1, 1, 1), (1, 0, 2, 1), (1, 1, 3, 1), (2, 2, 4, 1), (2, 0, 5, 0)]
TINY += [(0, 0, DAY, 1), (3, 0, DAY + 1, 1), (3, 2, DAY + 2, 1), (1, 2, DAY + 3, 1), (0, 1, 2 * DAY, 1)]
TINY = [(user, item, ORIGIN + time, click) for user, item, time, click in TINY]


@pytest.fixture
def tiny(tmp_path):
    return write_shop(tmp_path / "tiny", TINY, {"visual": np.array([1, 1, 0], bool)})


def one_line(outcome):
    code, out, err = outcome
    lines = err.strip().splitlines()
    assert code == 2, err
    assert out == "" and len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


def members(h):
    """A hypergraph as {members by id: weight}, summed where several hyperedges have the same."""
    weight = np.ones(h.num_hyperedges) if h.hyperedge_weight is None else h.hyperedge_weight.numpy()
    found = Counter()
    for e in range(h.num_hyperedges):
        found[frozenset(h.node_ids[h.members(e).numpy()].tolist())] += int(weight[e])
    return found


def joined(clicks, side):
    """Slow loop: the users of each item, or the items of each user; weight = how many are equal."""
    of = {}
    for user, item in clicks:
        node, edge = (f"u{user}", item) if side == "users" else (f"i{item}", user)
        of.setdefault(edge, set()).add(node)
    return Counter(frozenset(nodes) for nodes in of.values() if len(nodes) >= 2)


# --- build ---------------------------------------------------------------------------------------------------------


def test_every_hypergraph_equals_slow_loops_under_the_data_s_own_ids(weekly):
    built = graph.read(weekly)
    assert built.modalities == ("group", "tags", "visual") and len(built.grid) == 15
    for n in range(15):
        start = ORIGIN + 7 * DAY * n
        clicks = [(u, i) for u, i, t, y in random_rows() if y and start <= t < start + 7 * DAY]
        assert bool(clicks) == (n != 2)
        for side in ("users", "items"):
            group = Counter()
            for name, mask in (("visual", PICTURED), ("tags", TAGGED)):
                expected = joined([(u, i) for u, i in clicks if mask[i]], side)
                assert members(built.load(n, side, name)) == expected
                group += expected
            h = built.load(n, side, "group")
            assert members(h) == group
            assert h.node_ids.tolist() == sorted(
                {f"u{u}" if side == "users" else f"i{i}" for u, i in clicks}, key=lambda name: int(name[1:])
            )
            assert {name[0] for name in h.hyperedge_ids.tolist()} <= {"i" if side == "users" else "u"}


@pytest.mark.parametrize("every", ["60h", "1mo", "q5"])
def test_slice_by_slice_equals_all_at_once(shop, tmp_path, every):
    built, dataset = graph.build(str(shop), every, tmp_path / "out"), folder.read(shop)
    log, upto = dataset.interactions, built.grid.end(len(built.grid) - 1)
    count = int(every[1:]) if every[0] == "q" else None
    grid = TimeGrid.cut(log.time[log.clicks()], every=None if count else every, count=count, unit="us")
    whole = slice_hypergraphs(log.upto(upto), dataset.items.present, grid, upto)
    assert len(whole) == len(built.grid) > 2
    users, items = dataset.users.ids, dataset.items.ids
    for n in range(len(whole)):
        for side, of, ids, others in (("users", whole.users[n], users, items), ("items", whole.items[n], items, users)):
            assert (of is None) == ((n, side, "group") not in built.rows)
            for name, h in zip(whole.names, of.graphs, strict=True) if of else ():
                named = replace(h, node_ids=ids[h.node_ids], hyperedge_ids=others[h.hyperedge_ids])
                assert built.load(n, side, name).equals(named)


def test_the_slice_in_which_the_log_ends_is_left_out_and_said(hyperctr, tiny, tmp_path):
    code, out, err = hyperctr("graph", "build", "--data", tiny, "--every", "1d", "--out", tmp_path / "g")
    assert code == 0 and out.strip() == str(tmp_path / "g")
    assert "left out: 1 of 10 clicks, those from 2024-01-03 on" in err and "--upto 2024-01-04 includes them" in err
    assert "1 of 11 events are no clicks" in err
    assert "slices: 1 of 2\nslices: 2 of 2" in err
    assert len(graph.read(tmp_path / "g").grid) == 2


@pytest.mark.parametrize(
    ("upto", "slices"), [("2024-01-04", 3), ("2024-02-01", 3), ("2024-01-03", 2), ("2024-01-02", 1)]
)
def test_upto_says_how_much_of_the_log_is_taken(hyperctr, tiny, tmp_path, upto, slices):
    code, _, err = hyperctr("graph", "build", "--data", tiny, "--every", "1d", "--upto", upto, "--out", tmp_path / "g")
    assert code == 0, err
    assert len(graph.read(tmp_path / "g").grid) == slices
    late = {3: 0, 2: 1, 1: 5}[slices]
    assert f"left out: {late} of 10 clicks" in err if late else "left out" not in err


def test_events_from_upto_on_change_nothing(tiny, tmp_path):
    graph.build(str(tiny), "1d", tmp_path / "a", upto="2024-01-02")
    other = write_shop(tmp_path / "other", TINY[:6] + [(3, 2, ORIGIN + DAY, 1)], {"visual": np.array([1, 1, 0], bool)})
    graph.build(str(other), "1d", tmp_path / "b", upto="2024-01-02T12:00")
    for row in graph.read(tmp_path / "a").rows.values():
        assert Hypergraph.load(tmp_path / "a" / row.file).equals(Hypergraph.load(tmp_path / "b" / row.file))


def test_modalities_of_the_same_items_share_a_file(tmp_path):
    same = {"visual": np.array([1, 1, 0], bool), "tags": np.array([1, 1, 0], bool)}
    built = graph.build(str(write_shop(tmp_path / "same", TINY, same)), "1d", tmp_path / "g")
    files = {key: row.file for key, row in built.rows.items()}
    assert files[0, "users", "tags"] == files[0, "users", "visual"] != files[1, "users", "tags"]
    assert {path.name for path in (tmp_path / "g").iterdir()} == {"graphs.json", *files.values()}


def test_index_says_slice_side_modality_counts_and_file(tiny, tmp_path):
    graph.build(str(tiny), "1d", tmp_path / "g")
    index = json.loads((tmp_path / "g" / "graphs.json").read_text())
    assert index["hypergraphs"][0] == {
        "slice": 0, "start": ORIGIN * 10**6, "date": "2024-01-01", "side": "users", "modality": "group",
        "num_nodes": 3, "num_hyperedges": 1, "num_incidences": 2, "file": "0-users-group.npz",
    }  # fmt: skip
    assert [len(index["hypergraphs"]), index["every"], index["data"]] == [8, "1d", "tiny"]


def test_a_stopped_build_leaves_what_was_there(shop, tmp_path):
    out = tmp_path / "g"

    def stop(slices, what, total):
        yield 0
        assert not out.exists() or graph.read(out).every == "1mo"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graph.build(str(shop), "7d", out, progress=stop)
    assert list(tmp_path.iterdir()) == []
    graph.build(str(shop), "1mo", out)
    with pytest.raises(KeyboardInterrupt):
        graph.build(str(shop), "7d", out, progress=stop)
    assert list(tmp_path.iterdir()) == [out] and graph.read(out).every == "1mo"
    graph.build(str(shop), "q5", out)
    assert list(tmp_path.iterdir()) == [out] and len(graph.read(out).grid) == 4


def test_a_folder_that_cannot_take_its_name_leaves_the_old_one(tiny, tmp_path, monkeypatch):
    out, rename = tmp_path / "g", Path.rename
    graph.build(str(tiny), "1d", out)

    def refuse(path, target):
        if path.name.endswith(".part"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ValueError, match="cannot write to"):
        graph.build(str(tiny), "2d", out)
    assert graph.read(out).every == "1d" and {path.name for path in tmp_path.iterdir()} == {"g", "tiny"}


def test_a_folder_of_something_else_is_not_replaced(hyperctr, tiny, tmp_path):
    build = ["graph", "build", "--data", tiny, "--every", "1d", "--out"]
    assert "contains dataset.toml" in one_line(hyperctr(*build, tiny))
    (tmp_path / "file").write_text("")
    assert "is no folder" in one_line(hyperctr(*build, tmp_path / "file"))
    assert "cannot write to" in one_line(hyperctr(*build, tmp_path / "file" / "g"))
    (tmp_path / "link").symlink_to(tmp_path)
    assert "is a link" in one_line(hyperctr(*build, tmp_path / "link"))
    (tmp_path / "empty").mkdir()
    assert hyperctr(*build, tmp_path / "empty")[0] == 0
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    assert "contains notes.txt" in one_line(hyperctr(*build, tmp_path / "empty"))


def test_a_log_without_times_is_cut_by_counts(hyperctr, tmp_path):
    rows = [(u, i, place, y) for place, (u, i, _, y) in enumerate(random_rows())]
    data = write_shop(tmp_path / "order", rows, {}, clock="position")
    assert "--every q8" in one_line(
        hyperctr("graph", "build", "--data", data, "--every", "7d", "--out", tmp_path / "g")
    )
    code, _, err = hyperctr("graph", "build", "--data", data, "--every", "q4", "--out", tmp_path / "g")
    assert code == 0 and "the last slice of equal counts never closes" in err
    assert graph.read(tmp_path / "g").modalities == ("group",)
    code, out, _ = hyperctr("graph", "export", tmp_path / "g", "--slice", 2, tmp_path / "h.json")
    assert code == 0 and out.strip() == str(tmp_path / "h.json")
    first = Hypergraph.from_hif(tmp_path / "h.json").attributes.hyperedges[0]
    assert first == {"slice": 2, "modality": "group", "kind": "user-interest"}
    counts = [graph.read(tmp_path / "g").rows[n, "users", "group"].num_incidences for n in range(3)]
    code, _, err = hyperctr("graph", "draw", tmp_path / "g", "--out", tmp_path / "figures")
    assert code == 0 and f"slice {np.argmax(counts)}, from" in err and min(counts) < max(counts)


# --- describe ------------------------------------------------------------------------------------------------------


def test_describe_counts_by_hand(hyperctr, tiny, tmp_path):
    graph.build(str(tiny), "1d", tmp_path / "g", upto="2024-01-04")
    code, out, err = hyperctr("graph", "describe", tmp_path / "g", "--json")
    assert code == 0 and err == ""
    facts = json.loads(out)
    rows = {(row["slice"], row["side"]): row for row in facts["slices"]}
    assert rows[0, "users"] == {
        "slice": 0, "start": ORIGIN, "date": "2024-01-01", "side": "users", "nodes": 3, "isolated": 1,
        "hyperedges": {"group": 1, "visual": 1}, "incidences": {"group": 2, "visual": 2}, "median": 2.0, "max": 2,
        "returning": None, "overlap": None,
    }  # fmt: skip
    later = rows[1, "users"]  # u0, u1, u3 after u0, u1, u2; i0 is clicked by u0 and u3, i2 (no picture) by nobody else
    assert (later["nodes"], later["isolated"]) == (3, 1)
    assert later["returning"] == pytest.approx(2 / 3) and later["overlap"] == pytest.approx(2 / 4)
    assert rows[2, "users"]["returning"] == 1 and rows[2, "users"]["overlap"] == pytest.approx(1 / 3)
    assert rows[0, "items"]["nodes"] == 3 and rows[1, "items"]["hyperedges"] == {"group": 0, "visual": 0}
    users, items = facts["totals"]
    assert (users["slices"], users["nodes"], items["nodes"]) == (3, 4, 3)
    assert users["hyperedges"] == {"group": 2, "visual": 2} and users["incidences"]["group"] == 4
    assert (users["median"], users["max"]) == (2.0, 2)

    code, out, _ = hyperctr("graph", "describe", tmp_path / "g")
    lines = [line.split() for line in out.splitlines()]
    assert ["0", "2024-01-01", "users", "3", "1", "1", "1", "2", "2", "/", "2"] in lines
    assert ["1", "2024-01-02", "users", "3", "1", "1", "1", "2", "2", "/", "2", "67%", "50%"] in lines
    assert ["all", "users", "4", "2", "2", "4", "2", "/", "2"] in lines


def test_describe_of_data_equals_describe_of_its_folder(hyperctr, shop, weekly):
    kept = json.loads(hyperctr("graph", "describe", weekly, "--json")[1])
    code, out, _ = hyperctr("graph", "describe", "--data", shop, "--every", "7d", "--json")
    assert code == 0 and json.loads(out) == kept
    assert kept["empty"] == 1 and not [row for row in kept["slices"] if row["slice"] == 2]
    assert [row["returning"] for row in kept["slices"] if row["slice"] == 3] == [0, 0]
    assert [total["slices"] for total in kept["totals"]] == [14, 14]
    for words in (["describe"], ["describe", weekly, "--data", shop], ["describe", weekly, "--every", "7d"]):
        assert "name either" in one_line(hyperctr("graph", *words))


# --- draw ----------------------------------------------------------------------------------------------------------


def test_draw_prints_the_pictures_that_it_leaves(hyperctr, weekly, tmp_path):
    words = ["--out", tmp_path / "figures", "--slice", 3, "--side", "items", "--modality", "visual"]
    code, out, err = hyperctr("graph", "draw", weekly, *words)
    assert code == 0 and err == ""
    names = ["items-visual-strip", "items-visual-overlap", "3-items-degrees", "3-items-sizes"]
    names += ["3-items-visual-incidence", "3-items-modalities"]
    assert out.splitlines() == [str(tmp_path / "figures" / f"{name}.png") for name in names]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(f"{name}.png" for name in names)
    assert all(path.read_bytes().startswith(PNG) for path in (tmp_path / "figures").iterdir())


def test_draw_takes_the_fullest_slice_and_says_what_it_cannot_draw(hyperctr, tiny, tmp_path):
    graph.build(str(tiny), "2d", tmp_path / "g")
    code, out, err = hyperctr("graph", "draw", tmp_path / "g", "--out", tmp_path / "figures")
    assert code == 0
    assert "slice 0, from 2024-01-01, has most incidences" in err
    assert "overlap of slices not drawn" in err and "modalities not compared" in err
    assert [line.rsplit("/")[-1] for line in out.splitlines()] == [
        "users-group-strip.png", "0-users-degrees.png", "0-users-sizes.png", "0-users-group-incidence.png",
    ]  # fmt: skip


# --- export --------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(hyperctr, weekly, tmp_path):
    """Export slice 4 of the items' group, which has weights and ids that repeat; gives the file and the hypergraph."""

    def export(to, name):
        words = ["graph", "export", weekly, "--slice", 4, "--side", "items", "--to", to, tmp_path / name]
        code, out, err = hyperctr(*words)
        assert (code, out.strip(), err) == (0, str(tmp_path / name), "")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        h = Hypergraph.load(weekly / "4-items-group.npz")
        assert len(set(h.hyperedge_ids.tolist())) < h.num_hyperedges < h.hyperedge_weight.sum()
        return tmp_path / name, h

    return export


def same_but_attributes(one, other):
    assert one.node_ids.tolist() == other.node_ids.tolist()
    assert one.hyperedge_ids.tolist() == other.hyperedge_ids.tolist()
    assert one.hyperedge_index.tolist() == other.hyperedge_index.tolist()
    assert members(one) == members(other)


@pytest.mark.parametrize("name", ["h.json", "h.json.gz"])
def test_hif_has_the_attributes_that_graphs_names(exported, name):
    file, h = exported("hif", name)
    got = Hypergraph.from_hif(file)
    same_but_attributes(got, h)
    start = int(datetime(2024, 1, 29, tzinfo=UTC).timestamp())
    hyperedge = {"slice": 4, "modality": "group", "kind": "item-homogeneous", "presence": [[start, start + 7 * DAY]]}
    assert got.attributes.hyperedges == dict.fromkeys(range(h.num_hyperedges), hyperedge)
    assert got.attributes.nodes == dict.fromkeys(range(h.num_nodes), {"type": "item"})
    assert got.attributes.metadata == {"name": "shop: items, group, slice 4", "every": "7d"}


def test_scipy_holds_the_matrix_and_beside_it_ids_and_weights(exported):
    file, h = exported("scipy", "h.npz")
    matrix = scipy.sparse.load_npz(file)
    with np.load(file, allow_pickle=False) as arrays:
        names = ("hyperedge_weight", "node_ids", "hyperedge_ids")
        same_but_attributes(Hypergraph.from_scipy(matrix, *(arrays[name] for name in names)), h)


@pytest.mark.parametrize(("name", "read"), [("h.parquet", pl.read_parquet), ("h.csv", pl.read_csv)])
def test_pandas_is_a_row_an_incidence(exported, name, read):
    file, h = exported("pandas", name)
    rows = read(file)
    assert rows.columns == ["node", "hyperedge", "hyperedge_number", "hyperedge_weight"]
    node, hyperedge = h.hyperedge_index.numpy()
    assert rows["node"].to_list() == h.node_ids[node].tolist()
    assert rows["hyperedge"].to_list() == h.hyperedge_ids[hyperedge].tolist()
    assert rows["hyperedge_number"].to_list() == hyperedge.tolist()
    assert rows["hyperedge_weight"].to_list() == h.hyperedge_weight.numpy()[hyperedge].tolist()


def test_networkx_reads_its_node_link_data_back(exported):
    nx = pytest.importorskip("networkx")
    file, h = exported("networkx", "h.json")
    got = Hypergraph.from_networkx(nx.node_link_graph(json.loads(file.read_text()), edges="edges"))
    same_but_attributes(got, h)
    assert got.attributes.nodes[0] == {"type": "item"} and got.attributes.hyperedges[0]["slice"] == 4


def test_graphml_names_nodes_and_hyperedges_apart(exported):
    nx = pytest.importorskip("networkx")
    file, h = exported("networkx", "h.graphml")
    read = nx.read_graphml(file)
    assert (read.number_of_nodes(), read.number_of_edges()) == (h.num_nodes + h.num_hyperedges, h.num_incidences)
    assert read.nodes[f"node {h.node_ids[0]}"] == {"type": "item", "bipartite": 0}
    last = read.nodes[f"hyperedge {h.num_hyperedges - 1}"]  # ids repeat, so that hyperedges have their numbers
    assert last["hypergraph_id"] == h.hyperedge_ids[-1] and last["weight"] == h.hyperedge_weight[-1]
    assert json.loads(last["presence"])[0][0] == ORIGIN + 28 * DAY


def test_networkx_that_is_missing_is_one_line(hyperctr, weekly, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    words = ["graph", "export", weekly, "--slice", 3, "--to", "networkx", tmp_path / "h.json"]
    assert "pip install networkx" in one_line(hyperctr(*words))
    assert list(tmp_path.iterdir()) == []


# --- errors and help -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--modality", "visul"], "did you mean visual? (there are: group, tags, visual)"),
        (["--side", "user"], "did you mean users?"),
        (["--to", "scypi"], "did you mean scipy?"),
        (["--to", "scipy"], "ends in .npz"),
        (["--slice", "15"], "has slices 0 to 14, got 15"),
        (["--slice", "2"], "slice 2, from 2024-01-15, has no clicks; these have: 0, 1, 3"),
    ],
)
def test_bad_export_is_one_line_and_exit_code_2(hyperctr, weekly, tmp_path, words, says):
    slice_3 = [] if "--slice" in words else ["--slice", "3"]
    assert says in one_line(hyperctr("graph", "export", weekly, *slice_3, *words, tmp_path / "h.json"))
    assert list(tmp_path.iterdir()) == []
    if "--to" not in words:
        assert says in one_line(hyperctr("graph", "draw", weekly, *slice_3, *words, "--out", tmp_path / "figures"))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--every", "7x"], "a granularity is like 6h"),
        (["--upto", "soon"], "--upto takes a date"),
        (["--upto", "2023-12-31"], "no slice of 30d has closed by 2023-12-31: the first begins at 2024-01-01"),
        (["--every", "1y"], "narrower slices"),
        (["--every", "q1"], "narrower slices"),
        (["--data", "ml-100"], "did you mean ml-100k?"),
    ],
)
def test_bad_build_is_one_line_and_exit_code_2(hyperctr, shop, tmp_path, words, says):
    data = [] if "--data" in words else ["--data", shop]
    assert says in one_line(hyperctr("graph", "build", *data, *words, "--out", tmp_path / "g"))
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_built_from_is_one_line(hyperctr, tmp_path):
    unclicked = write_shop(tmp_path / "unclicked", [(u, i, t, 0) for u, i, t, _ in TINY], {})
    assert "no row is a click" in one_line(hyperctr("graph", "build", "--data", unclicked, "--out", tmp_path / "g"))
    taken = write_shop(tmp_path / "taken", TINY, {"group": np.array([1, 1, 0], bool)})
    assert "cannot be called group" in one_line(hyperctr("graph", "build", "--data", taken, "--out", tmp_path / "g"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda index: index | {"format": "other"}, "its format is 'other'"),
        (lambda index: index | {"hypergraphs": [index["hypergraphs"][0] | {"file": "../0-users-group.npz"}]}, "lacks"),
        (lambda index: index | {"hypergraphs": [index["hypergraphs"][0] | {"file": "9-users-group.npz"}]}, "lacks"),
        (lambda index: index | {"hypergraphs": [index["hypergraphs"][0] | {"slice": 7}]}, "no slice 7"),
        (lambda index: index | {"grid": {}}, "is not a folder that"),
        (lambda index: [], "is not a folder that"),
    ],
)
def test_a_spoilt_index_is_one_line(hyperctr, tiny, tmp_path, spoil, says):
    graph.build(str(tiny), "1d", tmp_path / "g")
    (tmp_path / "0-users-group.npz").touch()  # a file outside the folder is none of it
    index = json.loads((tmp_path / "g" / "graphs.json").read_text())
    (tmp_path / "g" / "graphs.json").write_text(json.dumps(spoil(index)))
    assert says in one_line(hyperctr("graph", "describe", tmp_path / "g"))


def test_a_folder_that_was_not_built_is_one_line(hyperctr, tmp_path):
    assert "there is no folder" in one_line(hyperctr("graph", "describe", tmp_path / "nowhere"))
    assert "has no graphs.json" in one_line(hyperctr("graph", "draw", tmp_path, "--out", tmp_path / "figures"))


@pytest.mark.parametrize("command", ["build", "describe", "draw", "export"])
def test_help_shows_an_example(hyperctr, command):
    code, out, _ = hyperctr("graph", command, "--help")
    assert code == 0
    assert any(line.strip().startswith(f"hyperctr graph {command} ") for line in out.splitlines())


def test_help_and_unknown_data_load_nothing_heavy():
    script = (
        "import sys\nfrom hyperctr.cli.main import main\n"
        "for words in (['--help'], ['build', '--help'], ['build', '--data', 'no-such-data', '--out', 'x']):\n"
        "    sys.argv = ['hyperctr', 'graph', *words]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    print([name for name in ('torch', 'scipy', 'matplotlib') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert lines.count("[]") == 3 and lines[2].startswith("error: there is no folder or data set 'no-such-data'")


@pytest.fixture
def centuries(tmp_path):
    """Clicks on two days, two hundred years apart: 72,000 days, of which four hold a click."""
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 2)]
    days = [datetime(year, 1, day, tzinfo=UTC) for year in (1903, 2100) for day in (1, 2)]
    rows = [(user, item, int(day.timestamp()) + k, 1) for day in days for k, (user, item) in enumerate(rows)]
    return write_shop(tmp_path / "centuries", rows, {"visual": np.array([1, 1, 0], bool)})


@pytest.mark.parametrize("every", ["1d", "1h"])
def test_cost_follows_the_slices_that_hold_clicks(hyperctr, centuries, tmp_path, every):
    code, out, err = hyperctr("graph", "build", "--data", centuries, "--every", every, "--out", tmp_path / "g")
    assert code == 0 and "left out: 6 of 24 clicks" in err
    code, out, _ = hyperctr("graph", "describe", tmp_path / "g")
    assert code == 0 and len(out.splitlines()) < 40 and "slices without clicks have no row" in " ".join(out.split())
    facts = json.loads(hyperctr("graph", "describe", tmp_path / "g", "--json")[1])
    closed = (datetime(2100, 1, 2) - datetime(1903, 1, 1)) // timedelta(**{"days" if every == "1d" else "hours": 1})
    assert [row["slice"] for row in facts["slices"] if row["side"] == "users"] == (
        [0, 1, closed - 1] if every == "1d" else [0, 24, closed - 24])  # fmt: skip
    assert facts["empty"] == closed - 3
    assert [row["returning"] for row in facts["slices"] if row["side"] == "users"] == (
        [None, 1, 0] if every == "1d" else [None, 0, 0])  # fmt: skip
    code, out, err = hyperctr("graph", "draw", tmp_path / "g", "--out", tmp_path / "pictures")
    assert code == 0 and "users-group-overlap.png" in out and "users-group-strip.png" in out


@pytest.mark.parametrize("text", ["", "soon", "1709251200500000"])
def test_a_time_that_is_none_ends_in_one_line(hyperctr, tiny, tmp_path, text):
    words = ["graph", "build", "--data", tiny, "--every", "1d", "--out", tmp_path / "g", "--upto", text]
    assert "--upto takes a date or time such as 2024-05-01T06:00, or seconds since" in one_line(hyperctr(*words))
    assert not (tmp_path / "g").exists()


def test_upto_is_read_to_the_microsecond(hyperctr, tmp_path):
    rows = [(0, 0, ORIGIN + 0.0, 1), (1, 0, ORIGIN + 0.5, 1), (1, 1, ORIGIN + 0.500001, 1)]
    data = write_shop(tmp_path / "data", rows, {"visual": np.array([1, 1, 0], bool)})
    for text, slices in ((f"{ORIGIN}.5", 1), (f"{ORIGIN}.500001", 2), ("2024-01-01T00:00:00.500001", 2)):
        out = tmp_path / f"g{slices}"
        code, _, err = hyperctr("graph", "build", "--data", data, "--every", "q3", "--out", out, "--upto", text)
        assert code == 0 and len(graph.read(out).grid) == slices, err
        assert f"from 2024-01-01T00:00:00.50000{slices - 1}" in err
