"""Trees read what models read, choose their rounds on validation rows, and grow again to the same bits."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.columns import Category
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.referees import boosting
from hyperctr.referees.trees import Trees, TreesLinks
from hyperctr.runs import train as training
from hyperctr.runs.prepare import prepare
from hyperctr.runs.referees import fit_again, rows_of

ENGINE = pytest.mark.parametrize("engine", ["sklearn", "lightgbm"])


def made(name, data, engine="sklearn", **tables):
    if engine == "lightgbm":
        pytest.importorskip("lightgbm", reason="trees of LightGBM are not checked: it is not installed")
    model = {"name": name, "rounds": 20, "engine": engine}
    run = {"data": {"path": "x", "history": 5}, "model": model, "train": {"threads": 1}}
    ready = prepare(config.read_run(run | tables), data)
    return ready, {"trees": Trees, "trees-links": TreesLinks}[name](ready.run.model, ready.tables)


def fitted(name, data, engine="sklearn"):
    ready, trees = made(name, data, engine)
    chosen = trees.fit(lambda: rows_of(ready, "train"), lambda: rows_of(ready, "valid"))
    return ready, trees, chosen


@pytest.fixture(scope="module")
def data():
    """Logged rows whose clicks depend on a category of the item, by numbers that the trees must see."""
    rng = np.random.default_rng(0)
    item, kind = rng.integers(0, 40, 4000), rng.integers(1, 4, 40)
    label = (rng.random(4000) < np.array([0.2, 0.5, 0.8])[kind[item] - 1]).astype(np.float32)
    time = np.arange(4000) * 600_000_000
    log = Interactions(rng.integers(0, 30, 4000), item, time, label, 30, 40, logged_non_clicks=True)
    return Dataset("kinds", log, Items(40, fields={"kind": Category.plain(kind, size=4)}), Users(30))


@ENGINE
@pytest.mark.parametrize("name", ["trees", "trees-links"])
def test_they_read_exactly_the_rows_and_numbers_of_the_models(data, name, engine):
    ready, trees = made(name, data, engine)
    other = {
        "data": {"path": "x", "history": 5, "past": "counts" if name == "trees" else "all"},
        "model": {"name": "lr"},
    }
    model = prepare(config.read_run(other), data)
    for part in ("train", "valid"):
        for batch, theirs in zip(rows_of(ready, part), rows_of(model, part), strict=True):
            x, numbers = trees.columns_of(batch), theirs.context.numbers.numpy()
            np.testing.assert_array_equal(x[:, -numbers.shape[1] :], numbers)
            kind = data.items.fields["kind"].codes[batch.item]
            np.testing.assert_array_equal(x[:, 0], kind)
            assert torch.equal(batch.item, theirs.item) and torch.equal(batch.label, theirs.label)
    names = model.tables.fields.context.numbers
    assert x.shape[1] == 1 + len(names) and any("like" in name for name in names) == (name == "trees-links")


@ENGINE
def test_they_find_the_signal_and_grow_again_to_the_same_bits(data, engine):
    ready, trees, chosen = fitted("trees", data, engine)
    batch = next(iter(ready.evaluation_batches("test")))
    score = trees(batch).logit
    kind = data.items.fields["kind"].codes[batch.item]
    assert score[kind == 1].mean() + 0.5 < score[kind == 3].mean()
    assert int(trees.rounds) == chosen["rounds"] and chosen["rounds"] in (10, 20)
    again = made("trees", data, engine)[1]
    again.load_state_dict(trees.state_dict())
    fit_again(ready, again)
    assert torch.equal(again(batch).logit, score)


@ENGINE
def test_members_are_forests_of_other_seeds_whose_logits_are_averaged(data, engine):
    ready, trees = made("trees", data, engine, model={"name": "trees", "rounds": 20, "engine": engine, "members": 3})
    trees.fit(lambda: rows_of(ready, "train"), lambda: rows_of(ready, "valid"))
    batch = next(iter(ready.evaluation_batches("test")))
    x = trees.columns_of(batch)[:, trees.known]
    each = [forest.logits(x) for forest in trees.forest.forests]
    assert len(each) == 3 and not np.allclose(each[0], each[1])
    torch.testing.assert_close(trees.score(batch), torch.from_numpy(np.mean(each, 0)).float())
    staged = dict(trees.forest.staged(x))
    np.testing.assert_allclose(staged[int(trees.rounds)], np.mean(each, 0), rtol=1e-9)
    alone = made("trees", data, engine)[1]
    alone.load_state_dict(trees.state_dict())
    fit_again(ready, alone)
    np.testing.assert_array_equal(alone.forest.logits(x), each[0])


def test_columns_that_a_row_lacks_are_missing():
    ready, trees = made("trees", planted.planted("drift", scale=0.03).dataset)
    batch = next(iter(ready.evaluation_batches("valid")))
    x = trees.columns_of(replace(batch, context=None))
    assert x.shape == trees.columns_of(batch).shape and np.isnan(x).any(0).sum() == len(
        ready.tables.fields.context.numbers
    )


def test_a_column_without_any_value_is_left_out(data, monkeypatch):
    """As the cosines of items without a modality; the columns behind it keep their places."""
    blank = np.zeros(40, int)
    kinds = {"blank": Category.plain(blank, size=4), **data.items.fields}
    ready, trees = made("trees", replace(data, items=Items(40, fields=kinds)))
    columns_of = Trees.columns_of

    def without(self, batch):
        x = columns_of(self, batch)
        x[:, 0] = np.nan
        return x

    monkeypatch.setattr(Trees, "columns_of", without)
    chosen = trees.fit(lambda: rows_of(ready, "train"), lambda: rows_of(ready, "valid"))
    assert chosen["valid_auc"][str(chosen["rounds"])] > 0.6 and not trees.known[0] and trees.known[1]
    assert trees.forest.forests[0].trees.is_categorical_.tolist()[:2] == [True, False]


@ENGINE
def test_the_first_trees_of_a_longer_run_score_as_a_shorter_run(engine):
    if engine == "lightgbm":
        pytest.importorskip("lightgbm", reason="trees of LightGBM are not checked: it is not installed")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4)).astype(np.float32)
    x[:, 0] = rng.integers(0, 9, 3000)
    x[rng.random(x.shape) < 0.1] = np.nan
    label = (rng.random(3000) < 1 / (1 + np.exp(-np.nan_to_num(x[:, 1])))).astype(np.float32)
    staged = dict(boosting.ENGINES[engine](x, label, 25, [0], 0).staged(x))
    assert [*staged] == [10, 20, 25]
    for rounds, logits in staged.items():
        np.testing.assert_allclose(boosting.ENGINES[engine](x, label, rounds, [0], 0).logits(x), logits, atol=1e-9)
    slope = np.polyfit(np.nan_to_num(x[:, 1]), staged[25], 1)[0]
    assert slope > 0.2 and abs(np.polyfit(np.nan_to_num(x[:, 2]), staged[25], 1)[0]) < 0.1


def test_without_lightgbm_one_line_says_how_to_get_it(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    run = {"data": {"path": "x"}, "model": {"name": "trees", "engine": "lightgbm"}}
    with pytest.raises(ImportError, match=r"this needs lightgbm.*pip install 'hyperctr\[trees\]'"):
        training.train(config.read_run(run), tmp_path / "run", data)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match='model.engine must be one of "sklearn", "lightgbm"'):
        config.read_run({"data": {"path": "x"}, "model": {"name": "trees", "engine": "xgboost"}})


def test_one_label_alone_is_refused(data):
    ready, trees = made("trees", data)
    batches = [b for b in rows_of(ready, "train")][:1]
    same = [replace(b, label=torch.ones_like(b.label)) for b in batches]
    with pytest.raises(ValueError, match="trees need training rows of both labels"):
        trees.fit(lambda: same, lambda: batches)
    with pytest.raises(ValueError, match="validation rows of both labels"):
        trees.fit(lambda: batches, lambda: same)
