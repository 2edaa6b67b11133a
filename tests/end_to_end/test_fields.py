"""Fields, context, statistics and titles, from the data set to what a model is built from, trained with and kept."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperctr import config
from hyperctr.batch import Fields
from hyperctr.data import planted
from hyperctr.data.columns import Category
from hyperctr.data.dataset import Dataset
from hyperctr.data.features import item_statistics
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.models import MODELS
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run
from hyperctr.runs.prepare import build_model, prepare
from hyperctr.training.fit import fit

DAY = 86_400_000_000  # microseconds
USERS, ITEMS, ROWS = 12, 10, 400


def dataset(logged=True):
    """Users 0 to 5 and items 0 to 6 come early, the others late; user 11 and item 9 never."""
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(60 * DAY, size=ROWS))
    late = time > 0.8 * 60 * DAY
    log = Interactions(
        user=rng.integers(6, size=ROWS) + 5 * late,
        item=rng.integers(7, size=ROWS) + 2 * late,
        time=time,
        label=rng.random(ROWS) < 0.5,
        num_users=USERS,
        num_items=ITEMS,
        context={name: Category.plain(rng.integers(k, size=ROWS), k) for name, k in (("tab", 2), ("hour", 24))},
        logged_non_clicks=logged,
    )
    items = Items(ITEMS, fields={"kind": np.array([0, 1, 2, 0, 1, 2, 1, 3, 4, 2])})
    users = Users(USERS, fields={"age": np.arange(USERS) % 3, "home": np.arange(USERS)})
    return Dataset("fields", log, items, users, ())


def run_of(name="din", **model):
    tables = {"data": {"path": "fields", "history": 5}, "model": {"name": name, **model}, "slices": {"every": "30d"},
              "train": {"epochs": 2, "lr": 0.01, "batch_size": 64, "threads": 1}}  # fmt: skip
    return config.read_run(tables)


def test_categories_without_training_rows_are_unknown():
    tables = prepare(run_of(), dataset()).tables
    assert tables.fields.item.sizes == {"kind": 5} and tables.fields.user.sizes == {"age": 3, "home": 12}
    assert tables.ids.seen_item.tolist() == [True] * 7 + [False] * 3
    # kinds 3 and 4 are of items 7 and 8, which have none; item 9 has none either, but its kind is known; 10: unknown
    assert tables.fields.item.code("kind").tolist() == [0, 1, 2, 0, 1, 2, 1, 5, 5, 2, 5]
    assert tables.fields.user.code("age").tolist() == [*[0, 1, 2] * 4, 3]
    assert tables.fields.user.code("home").tolist() == [*range(6), *[12] * 7]


def test_context_is_read_where_its_rows_were_logged():
    assert prepare(run_of(), dataset()).tables.fields.context.sizes == {"tab": 2, "hour": 24}
    assert prepare(run_of(), dataset(logged=False)).tables.fields.context.sizes == {}


def test_data_without_fields_have_tables_without():
    plain = dataset()
    plain = replace(plain, items=Items(ITEMS), users=Users(USERS))
    tables = prepare(run_of(), plain).tables
    assert tables.fields == Fields(context=tables.fields.context)


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("name", ["lr", "wide_deep", "din", "dien"])
def test_a_run_with_fields_is_trained_and_scored(name, logged):
    report = training.train(run_of(name), dataset=dataset(logged))
    assert 0 <= report["test"]["auc"] <= 1 and report["model"] == name


def test_a_field_alone_can_tell_clicks():
    """Clicks depend on the kind of the item and nothing else: new items of a known kind are told too."""
    world = dataset()
    log = world.interactions
    kind = world.items.fields["kind"].codes
    told = replace(world, interactions=replace(log, label=np.isin(kind[log.item], (0, 2)).astype(np.float32)))
    ready = prepare(run_of("deepfm"), told)
    torch.manual_seed(0)
    model = MODELS["deepfm"](ready.run.model, ready.tables)
    epochs = itertools.count()
    fit(model, ready.train_batches, lambda: next(epochs), replace(ready.run.train, epochs=20))
    batch = ready.loader.make_batch(*(np.array(x) for x in ([11, 11], [9, 1], [61 * DAY] * 2, [0.0, 0.0], [0, 1])))
    new_of_good_kind, known_of_bad_kind = model(batch).logit.sigmoid().tolist()
    assert new_of_good_kind > 0.8 and known_of_bad_kind < 0.2


MODAL = ["marn", "youtubenet", "dupn", "dmf", "mmss", "naml"]


def titled(**columns):
    """The same with titles, a modality, and two kinds of behaviour."""
    world = dataset(**columns)
    rng = np.random.default_rng(1)
    titles = np.array(["red shoe", "red hat", "blue shoe", "blue hat", "", "red sock", "a shoe", "hat", "sock", ""])
    items = replace(world.items, titles=titles, modalities={"visual": rng.standard_normal((ITEMS, 4))}, present={})
    log = replace(world.interactions, type=rng.integers(1, 3, size=ROWS), num_types=3)
    return replace(world, items=items, interactions=log)


@pytest.mark.parametrize("logged", [True, False])
def test_what_marn_reads_stands_in_its_tables(logged):
    world = titled(logged=logged)
    ready = prepare(run_of("marn", dim=4), world)
    tables, log = ready.tables, world.interactions
    assert tables.statistics.names == (
        ("clicks", "recency", "shows", "click_rate") if logged else ("clicks", "recency")
    )
    assert tables.statistics.starts.tolist() == [ready.grid.start(0), ready.grid.start(1)]
    train = log.take(ready.split.train)
    assert np.array_equal(tables.statistics.edges, item_statistics.fit(train, ready.grid))
    whole = item_statistics.snapshots(log, ready.grid, int(log.time[-1]) + 1, ready.edges)
    assert torch.equal(tables.statistics.level, whole.level)
    assert (tables.titles.num_words, tables.titles.words.shape) == (4, (ITEMS + 1, 20))  # red, shoe, hat and blue
    assert tables.clicks.num_types == 3 and tables.steps == 2 * -(-len(ready.split.train) // 64)
    ages = item_statistics.ages(ready.loader, ready.split.train)
    assert torch.equal(tables.clicks.ages, ages) and ages[-1] > 0


def test_models_that_read_none_of_it_are_given_none():
    tables = prepare(run_of("din"), titled()).tables
    assert tables.statistics is None and tables.titles is None and len(tables.clicks.ages) == 0
    assert prepare(run_of("marn", dim=4), dataset()).tables.titles is None  # nor what the data lack


def test_under_a_leaky_split_statistics_are_of_training_rows_alone():
    run = run_of("naml")
    ready = prepare(replace(run, split=replace(run.split, kind="random")), titled())
    log = ready.dataset.interactions
    train = log.take(ready.split.train)
    own = item_statistics.snapshots(train, ready.grid, int(log.time[-1]) + 1, ready.edges)
    assert torch.equal(ready.tables.statistics.level, own.level)


def test_batches_of_what_reads_statistics_stay_within_a_slice():
    ready = prepare(run_of("youtubenet"), titled())
    slices = [set(ready.grid.slice_of(batch.time).tolist()) for batch in ready.train_batches(1)]
    assert all(len(some) == 1 for some in slices) and set.union(*slices) == {0, 1}


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("name", MODAL)
def test_a_run_with_modalities_is_trained_and_scored(name, logged):
    report = training.train(run_of(name, hidden=[8]), dataset=titled(logged=logged))
    assert 0 <= report["test"]["auc"] <= 1 and report["model"] == name


def test_a_killed_training_of_marn_ends_as_an_unbroken_one(tmp_path):
    """Lambda goes on where it was."""

    def dying(batches, what, total):
        if what == "epoch 2":
            raise KeyboardInterrupt
        return batches

    run, world = run_of("marn", dim=4, hidden=[8], weight=1.0), titled()
    report = training.train(run, tmp_path / "unbroken", dataset=world)
    with pytest.raises(KeyboardInterrupt):
        training.train(run, tmp_path / "killed", dataset=world, progress=dying)
    assert training.train(run, tmp_path / "killed", dataset=world)["test"] == pytest.approx(
        report["test"], nan_ok=True, abs=0
    )
    lines = [(tmp_path / name / "history.csv").read_text() for name in ("unbroken", "killed")]
    assert lines[0] == lines[1] and "adversarial" in lines[0].splitlines()[0]


SMALL = {"dim": 4, "depth": 1, "hidden": [6, 4], "clicks": 4}


@pytest.mark.parametrize("types", [True, False])
def test_hyperctr_reads_the_types_of_a_log_that_has_them(types):
    data = dataset()
    kind = np.arange(ROWS) % 3
    typed = replace(data, interactions=replace(data.interactions, type=kind, num_types=3))
    ready = prepare(run_of("hyperctr", **SMALL, types=types), typed)
    assert ready.tables.graphs.slices.typed == types
    assert not prepare(run_of("hyperctr", **SMALL, types=types), data).tables.graphs.slices.typed
    model = fit_briefly(ready)
    assert (model.states.types is not None) == types
    if types:
        assert (model.states.types.log_weight != 0).any() and (model.temporal.behaviour.weight != 0).any()


def fit_briefly(ready):
    torch.manual_seed(0)
    model = build_model(ready)
    fit(model, ready.train_batches, lambda: 0.0, ready.run.train)
    return model


def test_a_run_of_hyperctr_from_before_it_read_columns_opens_without_them(tmp_path):
    """Its run.toml has no key of them: the run has the values of before, not today's default."""
    world, folder = planted.write("fields", tmp_path / "world", scale=0.05), tmp_path / "run"
    tables = {"data": {"path": str(world)}, "model": {"name": "hyperctr", **SMALL, "fields": False, "types": False},
              "train": {"epochs": 1, "threads": 1}, "slices": {"every": "30d"}}  # fmt: skip
    training.train(config.read_run(tables), folder)
    before = open_run(folder)
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text.replace("fields = false\n", "").replace("types = false\n", ""))
    old = open_run(folder)
    assert old.model.profile is None and old.prepared.run == before.prepared.run
    assert old.prepared.scores(old.model, "test")["auc"] == before.prepared.scores(before.model, "test")["auc"]


def test_a_finished_hyperctr_with_columns_scores_again_what_it_scored(tmp_path):
    world, folder = planted.write("fields", tmp_path / "world", scale=0.05), tmp_path / "run"
    tables = {"data": {"path": str(world)}, "model": {"name": "hyperctr", **SMALL},
              "train": {"epochs": 1, "threads": 1}, "slices": {"every": "30d"}}  # fmt: skip
    report = training.train(config.read_run(tables), folder)
    opened = open_run(folder)
    assert opened.model.profile is not None and opened.model.context is not None
    assert opened.prepared.scores(opened.model, "test")["auc"] == report["test"]["auc"]
