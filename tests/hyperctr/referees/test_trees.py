"""Trees read what models read, choose their rounds on validation rows, and grow again to the same bits."""

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
from hyperctr.referees.trees import Trees, TreesLinks
from hyperctr.runs.prepare import prepare
from hyperctr.runs.referees import fit_again, rows_of


def made(name, data, **tables):
    run = {"data": {"path": "x", "history": 5}, "model": {"name": name, "rounds": 20}, "train": {"threads": 1}}
    ready = prepare(config.read_run(run | tables), data)
    return ready, {"trees": Trees, "trees-links": TreesLinks}[name](ready.run.model, ready.tables)


def fitted(name, data):
    ready, trees = made(name, data)
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


@pytest.mark.parametrize("name", ["trees", "trees-links"])
def test_they_read_exactly_the_rows_and_numbers_of_the_models(data, name):
    ready, trees = made(name, data)
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


def test_they_find_the_signal_and_grow_again_to_the_same_bits(data):
    ready, trees, chosen = fitted("trees", data)
    batch = next(iter(ready.evaluation_batches("test")))
    score = trees(batch).logit
    kind = data.items.fields["kind"].codes[batch.item]
    assert score[kind == 1].mean() + 0.5 < score[kind == 3].mean()
    assert int(trees.rounds) == chosen["rounds"] and chosen["rounds"] in (10, 20)
    again = made("trees", data)[1]
    again.load_state_dict(trees.state_dict())
    fit_again(ready, again)
    assert torch.equal(again(batch).logit, score)


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
    assert trees.forest.is_categorical_.tolist()[:2] == [True, False]


def test_one_label_alone_is_refused(data):
    ready, trees = made("trees", data)
    batches = [b for b in rows_of(ready, "train")][:1]
    same = [replace(b, label=torch.ones_like(b.label)) for b in batches]
    with pytest.raises(ValueError, match="trees need training rows of both labels"):
        trees.fit(lambda: same, lambda: batches)
    with pytest.raises(ValueError, match="validation rows of both labels"):
        trees.fit(lambda: batches, lambda: same)
