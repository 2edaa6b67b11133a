"""A number or column left out is missing, and the row is scored again; the row is the one that evaluation scores."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from opened_run import DEEPFM, HYPERCTR, asked_of, opened_on, world
from scipy.special import ndtr
from torch import nn

from hyperctr.analysis import explain_numbers
from hyperctr.analysis.asked import Asked, score
from hyperctr.analysis.explain import KINDS, explain
from hyperctr.analysis.explain_clicks import of_clicks
from hyperctr.analysis.explain_numbers import of_numbers
from hyperctr.batch import Output
from hyperctr.data.columns import Category, Number, TagLists, Vectors
from hyperctr.data.items import Items, Users
from hyperctr.data.kinds import Kind
from hyperctr.evaluation import evaluate
from hyperctr.runs.prepare import build_model

PAST = {
    "past": ["counts", "content", "links", "nearest"],
    "past_every": "q8",
    "derive": ["hour", "clicks"],
    "titles": True,
}


def columns(count, rng):
    """Columns of every kind."""
    tags = pl.Series(["|".join("abcd"[k] for k in rng.choice(4, 2, replace=False)) for _ in range(count)])
    return {
        "colour": Category.read(pl.Series(rng.choice(["red", "blue"], count))),
        "price": Number(np.round(rng.gamma(2.0, size=count), 1)),
        "words": TagLists.read(tags),
        "look": Vectors(rng.normal(size=(count, 3)).astype(np.float32)),
    }


def rich(clicks_alone=False):
    """A world whose users and items have columns of every kind, and whose rows have a context."""
    data, rng = world(clicks_alone=clicks_alone), np.random.default_rng(3)
    users, items, log = data.users, data.items, data.interactions
    titles = np.array([f"{'warm' if k % 2 else 'cold'} number {k}" for k in range(len(items))])
    of_items = Items(len(items), fields=columns(len(items), rng), modalities=items.modalities, titles=titles)
    context = {"tab": Category.plain(1 + rng.integers(3, size=len(log)), 4)}
    context["dwell"] = Number(rng.normal(size=len(log)))
    log = replace(log, context=context)
    return replace(data, users=Users(len(users), fields=columns(len(users), rng)), items=of_items, interactions=log)


@pytest.fixture(scope="module", params=["deepfm", "hyperctr"])
def opened(request):
    return opened_on(rich(), DEEPFM if request.param == "deepfm" else HYPERCTR, data=PAST)


@pytest.fixture
def asked(opened):
    return asked_of(opened, opened.prepared.split.test[-1])


def lines_of(frame, kind):
    return {x["name"]: x for x in frame.filter(kind=kind).to_dicts()}


def test_each_number_left_out_is_missing(opened, asked):
    found = of_numbers(asked)
    numbers, names = lines_of(found.frame, "number"), asked.past.names
    assert len(numbers) == len(names) > 60
    base = score(opened.model, asked.batch)
    assert found.logit == pytest.approx(base.logit[0], rel=1e-5)
    place = list(opened.prepared.tables.fields.context.numbers)
    for name in (names[0], "past.item.rate_7d", "past.like.sum", "past.visual.all", names[-1]):
        batch = asked.copies(1)
        batch.context.numbers[0, place.index(name)] = torch.nan
        line = numbers[name.removeprefix("past.")]
        assert line["logit"] == pytest.approx(float(score(opened.model, batch).logit[0]), rel=1e-5, abs=1e-5)
        assert line["effect"] == pytest.approx(base.logit[0] - line["logit"], abs=2e-5)
    assert np.isnan(asked.batch.context.numbers.numpy()).sum() == np.isnan(asked.past.raw(asked.rows)).sum()


def test_groups_are_all_numbers_of_one_sort(opened, asked):
    found = of_numbers(asked)
    groups, numbers = lines_of(found.frame, "group"), lines_of(found.frame, "number")
    assert {*groups} == {"rates", "counts", "ages", "links", "content", "sessions"}
    sorts = {
        "item.rate_7d": "rates", "item.share_1d": "rates", "user*colour.lift": "rates", "user.shows": "counts",
        "user*item.not_clicked": "counts", "item.since_click": "ages", "like_step.max": "links",
        "nearest_visual.max": "content", "visual.last_3": "content", "session.since_last": "sessions",
    }  # fmt: skip
    assert {name: numbers[name]["group"] for name in sorts} == sorts
    place, batch = list(opened.prepared.tables.fields.context.numbers), asked.copies(1)
    links = [place.index(f"past.{name}") for name, line in numbers.items() if line["group"] == "links"]
    assert len(links) == 24 and groups["links"]["meaning"] == "all 24 links"
    batch.context.numbers[0, links] = torch.nan
    assert groups["links"]["logit"] == pytest.approx(float(score(opened.model, batch).logit[0]), rel=1e-5, abs=1e-5)
    assert sum(int(x["meaning"].split()[1]) for x in groups.values()) == len(numbers)


def test_values_and_ranks_are_those_among_the_training_rows(opened, asked):
    found, log = lines_of(of_numbers(asked).frame, "number"), opened.prepared.dataset.interactions
    raw, train = asked.past.raw(asked.rows)[0], opened.prepared.split.train
    every = asked.past.raw(replace(
        asked.rows, user=log.user[train], time=log.time[train], item=log.item[train], query=np.arange(len(train)),
        row=train,
    ))  # fmt: skip
    ranked = 0
    for n, name in enumerate(asked.past.names):
        line, column = found[name.removeprefix("past.")], every[:, n][~np.isnan(every[:, n])]
        if np.isnan(raw[n]):
            assert (line["number"], line["value"], line["rank"]) == (None, "missing", None)
            continue
        assert line["number"] == raw[n]
        below, upto = (column < raw[n]).mean(), (column <= raw[n]).mean()
        assert below - 0.02 <= line["rank"] <= upto + 0.02
        ranked += upto - below < 0.02
    assert ranked > 20
    assert found["item.rate_7d"]["meaning"] == "click rate by item, half-life 7d"


def test_two_branches_are_shown_apart():
    opened = opened_on(rich(), HYPERCTR, data=PAST)
    asked, seen = asked_of(opened, opened.prepared.split.test[-1]), []
    hook = opened.model.branch.register_forward_hook(lambda module, given, out: seen.append(float(out[0])))
    found = of_numbers(asked)
    hook.remove()
    first, second = found.branches
    assert second == pytest.approx(seen[0], rel=1e-6) and (first + second) / 2 == pytest.approx(found.logit)
    assert "is the mean of two" in found.notes[0]
    both = found.frame.select("first", "second").to_numpy()
    np.testing.assert_allclose(both.mean(1), found.frame["effect"], atol=1e-5)
    assert np.abs(both).max(0).min() > 1e-3
    alone = of_numbers(asked_of(opened_on(rich(), HYPERCTR | {"branch": "none"}, data=PAST), asked.row))
    assert alone.branches is None and alone.frame["second"].null_count() == len(alone.frame)


@pytest.mark.parametrize("side", ["user", "item"])
def test_a_column_left_out_is_a_model_of_other_tables(opened, asked, side):
    ready = opened.prepared
    fields, index = ready.tables.fields, getattr(asked, side)
    mine = getattr(fields, side)
    kept = [x if x is None else x.clone() for x in (mine.values.codes, mine.values.numbers, mine.values.tags)]
    found = of_numbers(asked).frame.filter(kind="column", group=side)
    titled = {"title.words"} if side == "item" else set()
    assert {*found["name"]} == {"colour", "price", "words", "look"} | titled
    for before, now in zip(kept, (mine.values.codes, mine.values.numbers, mine.values.tags), strict=True):
        torch.testing.assert_close(before, now, rtol=0, atol=0, equal_nan=True)
    base = float(score(opened.model, asked.batch).logit[0])
    for line in found.to_dicts():
        codes, numbers, tags = (x.clone() for x in kept)
        vectors = tuple(x.clone() for x in mine.values.vectors)
        if line["name"] == "colour":
            codes[index] = -1
        elif line["name"] == "price":
            numbers[index] = torch.nan
        elif line["name"] in mine.tags:
            tags[index, list(mine.tags).index(line["name"])] = -1
        else:
            vectors[0][index] = 0
        values = replace(mine.values, codes=codes, numbers=numbers, tags=tags, vectors=vectors)
        changed = replace(fields, **{side: replace(mine, values=values)})
        model = build_model(replace(ready, tables=replace(ready.tables, fields=changed)))
        model.load_state_dict(opened.model.state_dict())
        expected = float(score(model.eval(), asked.batch).logit[0])
        if ready.run.model_name == "hyperctr":  # here the states of hypergraphs stay, there they are renewed
            assert line["logit"] == pytest.approx(expected, abs=0.1 * abs(base - expected) + 1e-2)
        else:
            assert line["logit"] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert line["effect"] == pytest.approx(base - line["logit"], abs=2e-5) and abs(line["effect"]) > 1e-5
    assert score(opened.model, asked.batch).logit[0] == base


def test_columns_of_the_row_are_unknown_when_left_out(opened, asked):
    found = lines_of(of_numbers(asked).frame, "column")
    log, context = opened.prepared.dataset.interactions, opened.prepared.tables.fields.context
    batch = asked.copies(1)
    batch.context.codes[0, list(context.sizes).index("tab")] = -1
    assert found["tab"]["logit"] == pytest.approx(float(score(opened.model, batch).logit[0]), rel=1e-5, abs=1e-5)
    assert found["tab"]["value"] == str(log.context["tab"].codes[asked.row]) and found["tab"]["group"] == "row"
    values = log.context["dwell"].values
    assert found["dwell"]["number"] == values[asked.row]
    rank = (values[opened.prepared.split.train] < values[asked.row]).mean()
    assert found["dwell"]["rank"] == pytest.approx(rank, abs=1e-3)
    assert {"hour", "clicks"} <= {*found} and found["hour"]["value"] == str(asked.time // 3_600_000_000 % 24)


class OneNumber(nn.Module):
    """Three times one number, 0 where it is missing."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, batch):
        return Output(3 * batch.context.numbers[:, self.place].nan_to_num())


def test_where_one_number_decides_it_is_found():
    opened = opened_on(world(), DEEPFM, data=PAST)
    asked = asked_of(opened, opened.prepared.split.test[-1])
    place = list(opened.prepared.tables.fields.context.numbers).index("past.item.rate_30d")
    asked = replace(asked, model=OneNumber(place))
    found, z = of_numbers(asked), float(asked.batch.context.numbers[0, place])
    numbers, groups = lines_of(found.frame, "number"), lines_of(found.frame, "group")
    assert next(iter(numbers)) == "item.rate_30d" and next(iter(groups)) == "rates"
    assert numbers["item.rate_30d"]["effect"] == pytest.approx(3 * z) == groups["rates"]["effect"]
    assert numbers["item.rate_30d"]["rank"] == pytest.approx(ndtr(z), abs=1e-6)
    assert (
        all(x["effect"] == 0 for x in [*numbers.values()][1:]) and sum(x["effect"] != 0 for x in groups.values()) == 1
    )
    assert f"sum to {3 * z:+.3f}, the rest of the logit is +0.000" in found.notes[0].replace("-0.000", "+0.000")
    tables = [*found.tables(2)]
    assert [len(lines) for _, _, lines in tables] == [2, 2, 2]
    assert tables[1][2][0][0] == "click rate by item, half-life 30d" and tables[1][2][0][2].endswith("%")


@pytest.mark.parametrize("clicks_alone", [False, True], ids=["logged", "drawn"])
@pytest.mark.parametrize("model", [DEEPFM, HYPERCTR], ids=lambda x: x["name"])
def test_the_row_is_scored_as_evaluation_scores_it(model, clicks_alone):
    opened = opened_on(rich(clicks_alone), model, data=PAST)
    ready, rows = opened.prepared, opened.prepared.split.test[-20:]
    negatives = 2 if ready.draws else 0
    scored = evaluate.score(opened.model, ready.loader.batches(rows, 64, negatives))
    for n in (0, 1, len(scored["item"]) - 1):
        k = rows[scored["query"][n]]
        asked = asked_of(opened, k, scored["item"][n])
        assert asked.row >= 0 and asked.drawn == clicks_alone
        user, item = ready.dataset.users.ids[asked.user], ready.dataset.items.ids[asked.item]
        logit = explain(opened, user, item, np.datetime64(asked.time, "us"), top=1).logit
        assert logit == pytest.approx(float(scored["logit"][n]), rel=1e-5, abs=1e-5)


def test_what_happens_at_the_row_or_later_changes_nothing():
    data = world()
    opened = opened_on(data, DEEPFM, data=PAST)
    log, k = data.interactions, opened.prepared.split.test[len(opened.prepared.split.test) // 2]
    later = np.flatnonzero(log.time >= log.time[k])
    later = later[log.user[later] != log.user[k]]
    rng, label, item = np.random.default_rng(0), log.label.copy(), log.item.copy()
    label[later], item[later] = 1 - label[later], rng.permutation(item[later])
    changed = opened_on(replace(data, interactions=replace(log, label=label, item=item)), DEEPFM, data=PAST)
    user, item = data.users.ids[log.user[k]], data.items.ids[log.item[k]]
    one, other = (explain(x, user, item, np.datetime64(int(log.time[k]), "us")).to_dict() for x in (opened, changed))
    assert one == other


def test_every_kind_of_run_is_explained():
    trees = opened_on(rich(), {"name": "trees-links", "rounds": 3}, data={"past_every": "q8"})
    model, ready = trees.model, trees.prepared
    model.rounds.fill_(3)
    model.fit(lambda: ready.loader.batches(ready.split.train, 4096))
    found = of_numbers(asked_of(trees, ready.split.test[-1]))
    assert found.frame["effect"].abs().max() > 0 and len(found.frame.filter(kind="column")) == 10
    for name in ("mian", "popularity", "lt4rec"):
        opened = opened_on(world("conflict"), {"name": name}, data={"past": "all", "past_every": "q8"})
        found = of_numbers(asked_of(opened, opened.prepared.split.test[-1]))
        assert (found.frame["effect"].abs().max() > 1e-6) == (name != "popularity")
        says = "popularity reads no numbers of the past: leaving them out moves nothing"
        assert (says in found.notes) == (name == "popularity")


def test_hyperctr_inside_masks_is_explained():
    data = {"past": "all", "past_every": "q8"}
    opened = opened_on(world("conflict"), HYPERCTR, data=data, wrapper={"name": "lt4rec", "steps": "joint"})
    asked = asked_of(opened, opened.prepared.split.test[-1])
    found = of_numbers(asked)
    assert found.branches is None and found.frame["effect"].abs().max() > 1e-6  # masks leave the second branch out
    assert of_clicks(asked).frame["weight"].sum() == pytest.approx(1, abs=1e-5)
    whole = explain(opened, opened.prepared.dataset.users.ids[asked.user], asked.item)
    assert not len(whole.frame) and "hypergraphs cannot be left out inside masks" in whole.notes[0]


def test_members_are_explained_together():
    opened = opened_on(rich(), HYPERCTR, data=PAST, train={"members": 2, "threads": 1})
    asked = asked_of(opened, opened.prepared.split.test[-1])
    found = of_numbers(asked)
    each = [of_numbers(replace(asked, model=model)) for model in opened.model.models]
    assert found.logit == pytest.approx(np.mean([x.logit for x in each]), rel=1e-5)
    assert found.branches == pytest.approx(np.mean([x.branches for x in each], axis=0), rel=1e-5)
    ids = opened.prepared.dataset
    row = ids.users.ids[asked.user], ids.items.ids[asked.item], np.datetime64(asked.time, "us"), 3
    whole, *single = (explain(replace(opened, model=x), *row) for x in (opened.model, *opened.model.models))
    assert whole.logit == pytest.approx(found.logit, rel=1e-5) and {*whole.frame["kind"]} == {*KINDS}
    named = ["kind", "side", "slice", "modality", "name"]
    for line in whole.frame.to_dicts():
        own = [x.frame.filter(*(pl.col(name).eq_missing(line[name]) for name in named))["logit"] for x in single]
        assert line["logit"] == pytest.approx(np.mean([x[0] for x in own]), rel=1e-5, abs=1e-5)
    assert not any("cannot be left out" in note for note in whole.notes)
    assert whole.clicks.frame["weight"].sum() == pytest.approx(1, abs=1e-5)


def test_without_numbers_or_a_row_of_the_log_it_says_so():
    opened = opened_on(rich(), DEEPFM)
    found = of_numbers(Asked.of(opened, 1, 1))
    assert found.notes[-2:] == (
        "the run reads no numbers of the past (data.past): there are none to leave out",
        "tab, dwell: unknown, as no row of the log has this user at this time",
    )
    assert lines_of(found.frame, "column")["tab"]["value"] == "unknown"
    plain = opened_on(world(), DEEPFM, data={"derive": []})
    found = of_numbers(Asked.of(plain, 1, 1))
    assert not len(found.frame) and found.notes == (
        "the run reads no numbers of the past (data.past): there are none to leave out",
    )


def test_values_in_words():
    train = np.array([0, 1, 2])
    assert explain_numbers.value_of(Category.read(pl.Series(["x", None])), 0, train) == (None, "x", None)
    assert explain_numbers.value_of(Category.read(pl.Series(["x", None])), 1, train) == (None, "missing", None)
    assert explain_numbers.value_of(TagLists.read(pl.Series(["b|a"])), 0, train) == (None, "b, a", None)
    assert explain_numbers.value_of(Vectors(np.ones((1, 4), np.float32)), 0, train)[1] == "a vector of 4 numbers"
    number = Number(np.array([1.0, 3.0, np.nan]), Kind("number"))
    assert explain_numbers.value_of(number, 1, train) == (3.0, "3", 0.75)
    assert explain_numbers.value_of(number, 2, train) == (None, "missing", None)


def test_the_command_prints_and_draws_all_parts(hyperctr, monkeypatch, tmp_path):
    opened = opened_on(rich(), DEEPFM, data=PAST)
    asked = asked_of(opened, opened.prepared.split.test[-1])
    monkeypatch.setattr("hyperctr.runs.open.open_run", lambda path, changed_data=False: opened)
    words = "explain", tmp_path, "--user", asked.user, "--item", asked.item, "--at", np.datetime64(asked.time, "us")
    code, out, err = hyperctr(*words, "--out", tmp_path / "why.svg", "--top", 3)
    assert code == 0, err
    for title in ("which clicks, 3 of", "which groups of numbers, 3 of 6", "which numbers of the past, 3 of"):
        assert title in out
    assert "which columns, 3 of 13" in out and "do not add up" in out and (tmp_path / "why.svg").exists()
    code, out, _ = hyperctr(*words, "--json")
    whole = json.loads(out)
    assert code == 0 and {"effects", "clicks", "links", "numbers"} <= {*whole}
    expected = explain(opened, asked.user, asked.item, np.datetime64(asked.time, "us"))
    assert whole == json.loads(json.dumps(expected.to_dict()))
    assert len(expected.draw(2).axes) == 1 + bool(len(expected.links.entries))
    assert "which columns" in expected._repr_html_()
