"""An effect is what two full predictions differ by: hypergraphs, histories and features are built anew without it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from table_builder import change_tables

from graphs import Hypergraph
from hyperctr import config
from hyperctr.analysis import explain as explain_module
from hyperctr.analysis import perturb
from hyperctr.data import planted
from hyperctr.data.loader import Loader
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.models import MODELS
from hyperctr.runs.open import Opened
from hyperctr.runs.prepare import prepare

SMALL = {"name": "hyperctr", "dim": 8, "depth": 2, "hidden": [8, 4], "neighbors": 3}


def world(gaps):
    """A planted world; with gaps, every third item has no picture and every fourth no sound."""
    data = planted.planted("drift", scale=0.04).dataset
    if not gaps:
        return data
    modalities = {name: x.copy() for name, x in data.items.modalities.items()}
    modalities["visual"][::3] = 0
    modalities["acoustic"][::4] = 0
    titles = np.array(["" if i % 2 else f"film {i}" for i in range(len(data.items))])
    return replace(data, items=replace(data.items, modalities=modalities, present={}, titles=titles))


def opened_on(data, model=None, **tables):
    """A run that was not trained: its weights are random, and large enough to tell things apart."""
    whole = {
        "data": {"path": "planted", "history": 200},
        "slices": {"every": "45d"},
        "model": {**SMALL, **(model or {})},
    }
    run = config.read_run(whole | {"interest": {"mode": "none"}} | tables)
    ready = prepare(run, data)
    torch.manual_seed(1)
    made = MODELS[run.model_name](run.model, ready.tables)
    with torch.no_grad():
        for x in made.parameters():
            x.copy_(torch.randn_like(x) * 0.4)
    return Opened(ready, made.eval(), {})


@pytest.fixture(scope="module", params=["all modalities", "gaps", "random split"])
def opened(request):
    more = {"split": {"kind": "random"}} if request.param == "random split" else {}
    return opened_on(world(request.param == "gaps"), **more)


def known(opened):
    """The events that a row may read."""
    log, parts = opened.prepared.dataset.interactions, opened.prepared.split
    return log.take(parts.train) if parts.leaky else log


def rows_of(opened):
    """Late test rows whose user and item are both in some hyperedge."""
    ready, log = opened.prepared, opened.prepared.dataset.interactions
    for k in ready.split.test[::-1]:
        row = log.user[k], log.item[k], log.time[k]
        if all(
            state is not None for state in perturb.PerturbedRow.of(opened.model, batch_of(ready.loader, row)).states
        ):
            yield tuple(map(int, row))


def batch_of(loader, row):
    return loader.make_batch(*(np.array([x]) for x in row), np.zeros(1, np.float32), np.zeros(1, np.int64))


def predicted(opened, row, slices=None, loader=None, present=None):
    """The logit of a model built anew, on other hypergraphs, another log or other presence."""
    ready = opened.prepared
    old = ready.tables
    tables = change_tables(old, slices=slices or old.graphs.slices, present=present or old.modalities.present)
    model = MODELS["hyperctr"](ready.run.model, tables)
    model.load_state_dict(opened.model.state_dict())
    with torch.no_grad():
        return model.eval()(batch_of(loader or ready.loader, row)).logit.item()


def rebuilt(opened, side, n, denied):
    """The run's hypergraphs, where one side of slice n is built without the clicks that `denied` says, [n, Q]."""
    ready, slices = opened.prepared, opened.prepared.tables.graphs.slices
    upto = int(ready.dataset.interactions.time[-1]) + 1
    keep = lambda user, item: ~denied(user, item)  # noqa: E731
    built = slice_hypergraphs(known(opened), ready.dataset.items.present, ready.grid, upto, keep, own=slices.own)
    sides = list(getattr(slices, side))
    sides[n] = getattr(built, side)[n]
    return replace(slices, **{side: tuple(sides)})


def explained(opened, row, **more):
    ids = opened.prepared.dataset
    return explain_module.explain(opened, ids.users.ids[row[0]], ids.items.ids[row[1]], when(opened, row[2]), **more)


def when(opened, time):
    """A time of the log as a caller gives it."""
    return np.datetime64(int(time), "us") if opened.prepared.dataset.interactions.has_time else int(time)


def test_the_prediction_is_that_of_the_run(opened):
    for row, _ in zip(rows_of(opened), range(3), strict=False):
        found = explained(opened, row)
        assert found.logit == pytest.approx(predicted(opened, row), abs=1e-6)
        user, item = (np.array([x]) for x in row[:2])
        assert found.probability == pytest.approx(opened.predict(user, item, [when(opened, row[2])])[0], abs=1e-6)


@pytest.mark.parametrize("side", ["users", "items"])
def test_a_hyperedge_left_out_is_a_rebuild_without_it(opened, side):
    row = next(rows_of(opened))
    names = list(opened.prepared.tables.modalities.features)
    read = perturb.PerturbedRow.of(opened.model, batch_of(opened.prepared.loader, row))
    k = explain_module.SIDES.index(side)
    frame = explained(opened, row, top=10**6).frame.filter(kind="hyperedge", side=side)
    expected = []
    for m, e in explain_module._held(read, k):
        h, name = read.sides[k].graphs[m], read.model.states.slices.names[m]
        alike = of_members(opened, side, read.slices[k], name, set(h.node_ids[h.members(e)].tolist()))
        assert h.hyperedge_ids[e] in alike  # merged hyperedges go together
        alike = [h.hyperedge_ids[e]] if read.model.states.slices.own else alike

        def denied(user, item, m=m, alike=alike):
            edge = item if side == "users" else user
            return np.isin(edge, alike)[:, None] & (np.arange(len(names)) == m - 1)

        expected.append((name, predicted(opened, row, rebuilt(opened, side, read.slices[k], denied))))
    found = sorted(zip(frame["modality"], frame["logit"], strict=True))
    assert len(expected) == len(found) > 2
    for (name, logit), (asked, rebuild) in zip(found, sorted(expected), strict=True):
        assert (name, logit) == (asked, pytest.approx(rebuild, abs=2e-6))
    assert set(frame["modality"]) == set(names)
    assert (frame["effect"].abs() > 1e-5).any()


def of_members(opened, side, n, modality, members):
    """All items (users) whose hyperedge of that modality in slice n has these users (items), counted by hand."""
    ready, log = opened.prepared, known(opened)
    clicks = (log.label == 1) & (ready.grid.slice_of(log.time) == n) & ready.dataset.items.present[modality][log.item]
    node, edge = (log.user, log.item) if side == "users" else (log.item, log.user)
    of = {}
    for v, e in zip(node[clicks].tolist(), edge[clicks].tolist(), strict=True):
        of.setdefault(e, set()).add(v)
    return [e for e, found in of.items() if found == members]


def test_a_modality_left_out_is_a_rebuild_without_its_hypergraphs_or_features(opened):
    row = next(rows_of(opened))
    ready, frame = opened.prepared, explained(opened, row).frame.filter(kind="modality")
    read = perturb.PerturbedRow.of(opened.model, batch_of(ready.loader, row))
    for m, name in enumerate(ready.tables.modalities.features):
        lines = {line["name"]: line for line in frame.filter(modality=name).iter_rows(named=True)}

        def denied(user, item, m=m):
            return np.repeat((np.arange(3) == m)[None], len(user), 0)

        users, items = (
            rebuilt(opened, side, n, denied) for side, n in zip(explain_module.SIDES, read.slices, strict=True)
        )
        logit = predicted(opened, row, replace(users, items=items.items))
        assert lines["hypergraphs"]["logit"] == pytest.approx(logit, abs=2e-6)
        present = ready.tables.modalities.present | {name: torch.zeros_like(ready.tables.modalities.present[name])}
        assert lines["features"]["logit"] == pytest.approx(predicted(opened, row, present=present), abs=2e-6)
        assert lines["features"]["size"] == int(ready.tables.modalities.present[name].sum())


def test_all_hyperedges_left_out_are_a_rebuild_without_any(opened):
    row = next(rows_of(opened))
    read = perturb.PerturbedRow.of(opened.model, batch_of(opened.prepared.loader, row))
    found = explained(opened, row)
    for k, side in enumerate(explain_module.SIDES):
        empty = rebuilt(opened, side, read.slices[k], lambda user, item: np.ones((len(user), 3), bool))
        lines = found.frame.filter(kind="slice", side=side)
        line = lines.filter(lines["name"].str.starts_with("all hyperedges")).row(0, named=True)
        assert line["logit"] == pytest.approx(predicted(opened, row, empty), abs=2e-6)
        assert line["effect"] == found.logit - line["logit"]


def test_clicks_left_out_are_a_shorter_history(opened):
    row = next(rows_of(opened))
    ready, log = opened.prepared, known(opened)
    own = np.flatnonzero((log.user == row[0]) & (log.label == 1) & (log.time < row[2]))
    slice = ready.grid.slice_of(log.time)
    frame = explained(opened, row, top=10**6).frame
    clicks, slices = frame.filter(kind="history click"), frame.filter(kind="slice", side="users")
    assert len(clicks) == len(own) > 5
    for gone, lines in [(own == own[-1:], clicks), (own == own[2:3], clicks), (slice[own] == 1, slices)]:
        shorter = log.take(np.setdiff1d(np.arange(len(log)), own[gone]))
        loader = Loader(shorter, 200, known=shorter if ready.split.leaky else None)
        logit = predicted(opened, row, loader=loader)
        assert np.abs(lines["logit"].to_numpy() - logit).min() < 2e-6
    sizes = dict(slices.filter(slices["name"].str.starts_with("own")).select("slice", "size").iter_rows())
    assert sizes == {int(n): int((slice[own] == n).sum()) for n in np.unique(slice[own])}


def test_the_frame_has_its_columns_and_the_largest_effects_first(opened):
    found = explained(opened, next(rows_of(opened)))
    assert tuple(found.frame.columns) == explain_module.COLUMNS
    kinds = found.frame["kind"].to_list()
    assert list(dict.fromkeys(kinds)) == list(explain_module.KINDS)
    assert kinds == sorted(kinds, key=explain_module.KINDS.index)
    for kind in explain_module.KINDS:
        effect = found.frame.filter(kind=kind)["effect"].abs().to_list()
        assert effect == sorted(effect, reverse=True)
    np.testing.assert_allclose(found.frame["logit"] + found.frame["effect"], found.logit, rtol=1e-12)
    assert json.loads(json.dumps(found.to_dict()))["effects"] == found.frame.to_dicts()


def test_top_caps_hyperedges_and_clicks_and_says_so(opened):
    row = next(rows_of(opened))
    few, all_ = explained(opened, row, top=2), explained(opened, row, top=10**6)
    assert len(few.frame.filter(kind="hyperedge", side="items")) == 2
    assert len(few.frame.filter(kind="history click")) == 2
    held = len(all_.frame.filter(kind="hyperedge", side="items"))
    assert f"of the {held} hyperedges of {few.item}, the 2 of most weight were left out" in few.notes
    assert all_.notes == ()
    asked = set(all_.frame.filter(kind="hyperedge").iter_rows())
    assert set(few.frame.filter(kind="hyperedge").iter_rows()) <= asked


def test_hyperedges_are_tried_in_the_order_of_their_share_in_the_row_of_eq_5(opened):
    row = perturb.PerturbedRow.of(opened.model, batch_of(opened.prepared.loader, next(rows_of(opened))))
    shares = []
    for m, e in explain_module._held(row, 0):
        h, v = row.sides[0].graphs[m], row.local(0)
        alone = torch.zeros(h.num_hyperedges)
        alone[e] = 1.0 if h.hyperedge_weight is None else h.hyperedge_weight[e]
        H = torch.zeros(h.num_nodes, h.num_hyperedges)
        for x in range(h.num_hyperedges):
            H[h.members(x), x] = 1
        scale = torch.where(h.isolated, 0.0, h.degree() ** -0.5)
        shares.append(float((scale[v] * H[v] * alone / h.size()) @ (H.T @ scale)) / float(scale[v]))
    assert shares == sorted(shares, reverse=True)
    assert len(shares) > 2


def test_before_the_first_slice_has_closed_own_vectors_stand_in():
    opened = opened_on(world(True))
    log = opened.prepared.dataset.interactions
    user, item = int(log.user[0]), int(log.item[0])
    found = explained(opened, (user, item, int(log.time[0])))
    assert (
        found.notes[0] == f"user {user} was in no slice that the row reads, so its own vector stands for its hyperedges"
    )
    assert found.notes[1].startswith(f"{found.item} was in no slice that the row reads")
    assert found.notes[2] == f"user {user} had no click before"
    assert set(found.frame["kind"]) == {"modality"}
    assert found.frame.filter(name="hypergraphs")["effect"].to_list() == [0, 0, 0]
    assert found.logit == pytest.approx(predicted(opened, (user, item, int(log.time[0]))), abs=1e-6)
    assert len(found.draw().axes[0].patches) == 6


def test_without_the_residual_zero_stands_in():
    opened = opened_on(world(True), {"residual": False})
    log = opened.prepared.dataset.interactions
    row = int(log.user[0]), int(log.item[0]), int(log.time[0])
    found = explained(opened, row)
    assert found.notes[0] == f"user {row[0]} was in no slice that the row reads, so zero stands for its hyperedges"
    assert found.logit == pytest.approx(predicted(opened, row), abs=1e-6)


def test_an_item_without_any_hyperedge_is_said_to_have_none():
    data = world(False)
    log = data.interactions
    first = log.clicks()[0]
    keep = (log.user != log.user[first]) & (log.item != log.item[first])
    keep[first] = True  # an item with one click, by a user with one click
    opened = opened_on(replace(data, interactions=log.take(keep)))
    found = explained(opened, (int(log.user[-1]), int(log.item[first]), int(log.time[-1])))
    note = f"{found.item} was in no hyperedge of its last slice, from 2023-01-01, so its own vector stands for them"
    assert note in found.notes
    assert not len(found.frame.filter(kind="hyperedge", side="items"))
    assert len(found.frame.filter(kind="hyperedge", side="users"))


def test_depth_zero_reads_no_hypergraph(opened):
    shallow = opened_on(opened.prepared.dataset, {"depth": 0})
    row = next(rows_of(opened))
    found = explained(shallow, row)
    assert found.notes == ("the run has depth 0: it reads no hypergraph",)
    assert "hyperedge" not in set(found.frame["kind"])
    assert found.logit == pytest.approx(predicted(shallow, row), abs=1e-6)


def test_without_a_time_everything_in_the_log_is_the_past(opened):
    log = opened.prepared.dataset.interactions
    found = explain_module.explain(opened, 3, 5)
    assert found.time == (log.time[-1] + 1) / 10**6
    assert found.logit == explain_module.explain(opened, "3", "5", when(opened, log.time[-1] + 1)).logit


def test_without_a_clock_events_are_numbered():
    data = world(False)
    log = replace(data.interactions, time=np.arange(len(data.interactions)), has_time=False)
    opened = opened_on(replace(data, interactions=log), slices={"count": 4})
    found = explained(opened, next(rows_of(opened)))
    assert found.when == f"event {found.time}"
    assert found.frame.filter(kind="slice")["name"].str.contains("from event ").all()


def test_other_recipes_name_their_hyperedges():
    data = world(True)
    h = Hypergraph.from_pairs([0, 1, 0, 1], [0, 0, 1, 1], hyperedge_ids=[4, 600 + 7], hyperedge_weight=[1, 3])
    assert explain_module._called(data, 0, h, 0) == "film 4"
    assert explain_module._called(data, 0, h, 1) == "cluster 7 and 2 alike"
    h = Hypergraph.from_pairs([0, 1, 0, 1], [0, 0, 1, 1], hyperedge_ids=[4, 40 + 7])
    assert explain_module._called(data, 1, h, 0) == "user 4"
    assert explain_module._called(data, 1, h, 1) == "users like those of item 7"


KINDS = [{"model": {"conv": "gcn"}}, {"model": {"carry": "none"}}, {"model": {"carry": "gate"}}]
KINDS += [{"interest": {"mode": "joint"}}, {"slices": {"every": "45d", "augment": ["S1", "S2", "S2-couser"]}}]


@pytest.mark.parametrize("tables", KINDS, ids=str)
def test_every_kind_of_run_is_explained(tables):
    opened = opened_on(world(True), **tables)
    row = next(rows_of(opened))
    found = explained(opened, row)
    assert found.logit == pytest.approx(predicted(opened, row), abs=1e-6)
    assert len(found.frame.filter(kind="hyperedge")) > 2


def test_the_figure_has_a_bar_for_each_of_the_largest_effects(opened):
    found = explained(opened, next(rows_of(opened)), top=3)
    figure = found.draw(most=4)
    ax = figure.axes[0]
    groups = [explain_module._part(found.frame, *group) for group in explain_module.GROUPS]
    assert len(ax.patches) == sum(min(len(part), 4) for part in groups)
    assert ax.patches[0].get_width() == pytest.approx(found.frame["effect"][0])
    assert found.title in figure.get_suptitle()
    assert found.notes[-1] in ax.get_xlabel()
    assert not plt.get_fignums()
    figure.canvas.draw()


def test_a_notebook_shows_the_largest_effects(opened):
    found = explained(opened, next(rows_of(opened)))
    html = found._repr_html_()
    assert found.user in html and "hyperedges of the item" in html
    assert html.count("<tr>") == 1 + len(found.lines())


def test_what_is_not_there_is_named_with_what_would_work(opened):
    with pytest.raises(ValueError, match="the data has no user 'nobody'; its 40 users have ids such as 0, 1, 2"):
        explain_module.explain(opened, "nobody", 3)
    with pytest.raises(ValueError, match="the data has no item '600'; its 600 items have ids such as 0, 1, 2"):
        explain_module.explain(opened, 3, 600)
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        explain_module.explain(opened, 3, 3, top=0)


def test_the_command_prints_and_draws(hyperctr, monkeypatch, opened, tmp_path):
    monkeypatch.setattr("hyperctr.runs.open.open_run", lambda path, changed_data=False: opened)
    user, item, at = next(rows_of(opened))
    words = "explain", tmp_path, "--user", user, "--item", item, "--at", when(opened, at)
    code, out, err = hyperctr(*words, "--out", tmp_path / "why.png")
    assert code == 0
    assert "hyperedges of the user" in out and "why.png" in err
    assert (tmp_path / "why.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["why.png"]
    code, out, _ = hyperctr(*words, "--json")
    assert code == 0
    assert json.loads(out)["logit"] == explained(opened, (user, item, at)).logit
    code, _, err = hyperctr(*words, "--out", tmp_path / "why.txt")
    assert (code, "a picture is a .png, .svg or .pdf file" in err) == (2, True)
    code, _, err = hyperctr("explain", tmp_path, "--user", "nobody", "--item", item)
    assert (code, "the data has no user 'nobody'" in err) == (2, True)
