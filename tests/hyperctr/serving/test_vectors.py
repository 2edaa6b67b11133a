"""Item vectors as a table: equal to the model's own forward, of one snapshot, and the same again from the file."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from hyperctr import config
from hyperctr.data import clock, planted
from hyperctr.data.dataset import Dataset
from hyperctr.evaluation.metrics import unseen_recall
from hyperctr.models import MODELS
from hyperctr.runs.open import Opened
from hyperctr.runs.prepare import prepare
from hyperctr.serving import vectors


@pytest.fixture(scope="module")
def world():
    """A planted world whose items have ids of their own."""
    data = planted.planted("categories", scale=0.03).dataset
    ids = np.array([f"item-{k}" for k in range(data.items.num_items)])
    return replace(data, items=replace(data.items, ids=ids))


def opened_of(world: Dataset, name="marn", **model):
    tables = {
        "data": {"path": "x", "history": 8}, "slices": {"every": "15d"},
        "model": {"name": name, "dim": 6, "hidden": [8, 4], **model}, "train": {"epochs": 1, "threads": 1},
    }  # fmt: skip
    ready = prepare(config.read_run(tables), world)
    torch.manual_seed(0)
    model = MODELS[name](ready.run.model, ready.tables).eval()
    return Opened(ready, model, {})


@pytest.fixture(scope="module")
def opened(world):
    return opened_of(world)


def rows_of(opened, number):
    """Test rows that read a snapshot."""
    log, rows = opened.prepared.dataset.interactions, opened.prepared.split.test
    at = opened.model.modalities.snapshot(torch.from_numpy(log.time[rows])).numpy()
    return rows[at == number]


@torch.no_grad()
def test_scores_from_the_table_are_those_of_the_model(opened):
    table = vectors.item_vectors(opened)
    batch = opened.prepared.loader.batch(rows_of(opened, table.number))
    assert len(batch) > 20 and batch.histories.mask.any(1).all()
    expected = opened.model(batch).logit
    torch.testing.assert_close(table.logit(opened.model, batch), expected, rtol=1e-5, atol=1e-6)
    unknown = replace(batch, item=torch.full_like(batch.item, opened.prepared.tables.ids.num_items))
    torch.testing.assert_close(table.logit(opened.model, unknown), opened.model(unknown).logit, rtol=1e-5, atol=1e-6)


def test_rows_of_another_slice_are_refused(opened):
    table = vectors.item_vectors(opened, at=clock.seconds(opened.prepared.grid.start(1)))
    batch = opened.prepared.loader.batch(opened.prepared.split.test[-5:])
    with pytest.raises(ValueError, match=r"are of snapshot 2, rows of the batch read \[4\]; make new vectors"):
        table.logit(opened.model, batch)


def test_blocks_of_items_make_the_same_table(opened, monkeypatch):
    whole = vectors.item_vectors(opened)
    monkeypatch.setattr(vectors, "BLOCK", 37)
    torch.testing.assert_close(vectors.item_vectors(opened).vector, whole.vector)


def test_a_table_knows_what_it_was_made_of(opened, world):
    last = vectors.item_vectors(opened)
    assert vectors.item_vectors(opened).snapshot == last.snapshot
    earlier = vectors.item_vectors(opened, at=clock.seconds(opened.prepared.grid.start(1)))
    assert earlier.snapshot != last.snapshot and earlier.number != last.number
    same_slice = vectors.item_vectors(opened, at=clock.seconds(opened.prepared.grid.start(1)) + 3600)
    assert same_slice.snapshot == earlier.snapshot
    other = opened_of(world)
    torch.nn.init.constant_(other.model.weigh.bias, 0.1)
    assert vectors.item_vectors(other).snapshot != last.snapshot


def test_the_file_gives_back_the_table(opened, tmp_path):
    table = vectors.item_vectors(opened)
    path = table.save(tmp_path / "items.parquet")
    again = vectors.ItemVectors.load(path)
    assert torch.equal(again.vector, table.vector) and again.ids.tolist() == table.ids.tolist()
    assert (again.snapshot, again.number) == (table.snapshot, table.number)
    columns = pl.read_parquet(path)
    assert columns.columns == ["item_id", "snapshot", "vector"] and columns["item_id"].null_count() == 1
    assert columns["snapshot"].unique().to_list() == [f"{table.number}-{table.snapshot}"]
    assert [p.name for p in tmp_path.iterdir()] == ["items.parquet"]


def test_whole_numbers_as_ids_stay_whole_numbers(opened, tmp_path):
    table = replace(vectors.item_vectors(opened), ids=np.arange(720) + 5)
    again = vectors.ItemVectors.load(table.save(tmp_path / "items.parquet"))
    assert again.ids.dtype.kind == "i" and again.ids.tolist() == list(range(5, 725))


def test_other_models_and_files_are_refused(world, opened, tmp_path):
    with pytest.raises(ValueError, match="only MARN has item vectors, this run's model is naml"):
        vectors.item_vectors(opened_of(world, "naml"))
    with pytest.raises(ValueError, match="a table of vectors is a .parquet file, got items.npy"):
        vectors.item_vectors(opened).save("items.npy")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write"):
        vectors.item_vectors(opened).save(tmp_path / "file" / "items.parquet")
    with pytest.raises(ValueError, match="is not a table of item vectors"):
        vectors.ItemVectors.load(tmp_path / "none.parquet")
    pl.DataFrame({"snapshot": ["what"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="is not a table of item vectors"):
        vectors.ItemVectors.load(tmp_path / "other.parquet")


def test_clicks_on_unseen_items_and_the_means_of_the_clicks_before_them(opened):
    table, ready = vectors.item_vectors(opened), opened.prepared
    users, clicked, pool = vectors.unseen(opened, table)
    log, seen = ready.dataset.interactions, ready.tables.ids.seen_item.numpy()
    cold = np.flatnonzero(~seen)
    assert np.array_equal(pool, table.vector[cold].numpy())
    expected = []
    for row in ready.split.test:
        if log.label[row] and not seen[log.item[row]]:
            past = [
                k for k in range(row) if log.user[k] == log.user[row] and log.label[k] and log.time[k] < log.time[row]
            ]
            if past:
                last = past[-min(8, vectors.LAST) :]  # the loader keeps eight
                expected.append((table.vector[log.item[last]].mean(0).numpy(), log.item[row]))
    assert len(users) == len(expected) > 3
    np.testing.assert_allclose(users, [vector for vector, _ in expected], rtol=1e-4, atol=1e-6)
    assert cold[clicked].tolist() == [item for _, item in expected]
    assert unseen_recall(users, clicked, pool, (len(pool),)) == [1.0]
