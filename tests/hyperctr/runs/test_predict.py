"""Rows to score are read as training read them: evaluation's scores, for every model, with columns of every kind."""

from functools import cache

import numpy as np
import polars as pl
import pytest
import torch

from hyperctr import config
from hyperctr.data import read
from hyperctr.data.rows import read_rows
from hyperctr.evaluation.evaluate import score
from hyperctr.models import MODELS
from hyperctr.runs import rows as written
from hyperctr.runs.open import Opened, predict_rows
from hyperctr.runs.prepare import build_model, prepare
from hyperctr.strict import to_toml

USERS, ITEMS, ROWS = 30, 20, 500
KINDS = {
    "place": "category",
    "rare": {"kind": "category", "min_count": 12},
    "price": "number",
    "speed": {"kind": "number", "log": True, "embedding": "periodic"},
    "age": {"kind": "bucket", "boundaries": [20, 40]},
    "words": "tags",
    "page": {"kind": "hash", "buckets": 50},
    "shape": "vector",
    "query_text": {"kind": "text", "dim": 4},
}
SETTINGS = {"hyperctr": {"fields": True}}
PAST = {"deepfm": "all", "lr": "counts", "hyperctr": "links"}
WITHOUT = {"popularity", "mf", "dropoutnet"}
"""Models that read no context."""


def columns(rng, count):
    """A column of each kind, some values missing."""
    some = ["red hat", "blue hat", "red shoe", "green shoe", "blue sock", "red sock"]
    found = {
        "place": rng.choice(["home", "work", "road"], count).tolist(),
        "rare": rng.choice(["a", "b", "c", "d"], count, p=[0.5, 0.4, 0.08, 0.02]).tolist(),
        "price": rng.normal(10, 3, count).round(3).tolist(),
        "speed": rng.exponential(100, count).round(3).tolist(),
        "age": rng.integers(1, 70, count).tolist(),
        "words": ["|".join(rng.choice(list("abcdef"), rng.integers(1, 4), False)) for _ in range(count)],
        "page": rng.integers(1000, 2000, count).tolist(),
        "shape": [" ".join(map(str, rng.normal(size=3).round(3))) for _ in range(count)],
        "query_text": rng.choice(some, count).tolist(),
    }
    return {name: [None if rng.random() < 0.05 else x for x in values] for name, values in found.items()}


def as_parquet(table):
    """Lists in the place of text, as Parquet can hold them."""
    words, shape = (pl.col(name).str.split(by) for name, by in (("words", "|"), ("shape", " ")))
    return table.with_columns(words, shape.cast(pl.List(pl.Float64)))


@cache
def tables():
    """A log in time order, items and users, with columns of every kind."""
    rng = np.random.default_rng(0)
    log = {"user": rng.integers(USERS, size=ROWS), "item": rng.integers(ITEMS, size=ROWS)}
    log |= {"ts": 1_600_000_000 + np.sort(rng.integers(90 * 86_400, size=ROWS)), "click": rng.integers(2, size=ROWS)}
    log |= {"bought": log["click"] * rng.integers(2, size=ROWS)}
    return {
        "interactions": pl.DataFrame(log | columns(rng, ROWS)),
        "items": pl.DataFrame({"item": range(ITEMS), **columns(rng, ITEMS)}),
        "users": pl.DataFrame({"user": range(USERS), **columns(rng, USERS)}),
    }


def write_table(table, file):
    table.write_csv(file) if file.suffix == ".csv" else as_parquet(table).write_parquet(file)
    return file


def write(folder, suffix, logged):
    """Write the tables and their roles as a folder."""
    folder.mkdir()
    for name, table in tables().items():
        write_table(table, folder / f"{name}.{suffix}")
    kinds = {name: {"kind": kind} if isinstance(kind, str) else kind for name, kind in KINDS.items()}
    roles = {
        "interactions": {
            "user": "user", "item": "item", "time": "ts", "click": "click", "conversion": "bought",
            "non_clicks": "logged" if logged else "unobserved",
            "context": {name: kind | {"of": "moment"} for name, kind in kinds.items()},
        },
        "items": {"fields": kinds},
        "users": {"fields": kinds},
    }  # fmt: skip
    (folder / "dataset.toml").write_text(to_toml(roles))
    return folder


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function that opens a model with random weights on one of the folders."""
    home = tmp_path_factory.mktemp("predict")

    @cache
    def data(suffix, logged):
        return read.read(write(home / f"{suffix}-{logged}", suffix, logged))

    @cache
    def made(name, suffix="csv", logged=True):
        run = config.read_run({
            "data": {"path": "x", "history": 5, "derive": ["hour", "clicks"], "past": PAST.get(name, "none")},
            "model": {"name": name, **SETTINGS.get(name, {})},
            "slices": {"every": "30d"}, "interest": {"mode": "none"}, "evaluate": {"negatives": 3},
        })  # fmt: skip
        ready = prepare(run, data(suffix, logged))
        torch.manual_seed(0)
        return Opened(ready, build_model(ready).eval(), {})

    return made


def scored(opened):
    """The test rows as evaluation scores them, under the names of the data set, and their probabilities."""
    ready = opened.prepared
    found = score(opened.model, ready.evaluation_batches("test"))
    row = np.repeat(ready.split.test, np.bincount(found["query"]))
    table = tables()["interactions"][row].drop("click", "bought")
    own = {"user": found["user"].astype(np.int64), "item": found["item"].astype(np.int64), "query": found["query"]}
    return table.with_columns(**own), torch.from_numpy(found["logit"]).sigmoid().numpy()


def predicted(opened, table, query=None):
    user, item, at = (table[column].to_numpy() for column in ("user", "item", "ts"))
    return predict_rows(opened, user, item, at, {name: table[name] for name in KINDS if name in table}, query)


@pytest.mark.parametrize(("suffix", "logged"), [("csv", True), ("parquet", False)])
@pytest.mark.parametrize("name", MODELS)
def test_the_scores_of_evaluation_bit_for_bit_and_in_any_order(opened, name, suffix, logged):
    run = opened(name, suffix, logged)
    table, expected = scored(run)
    found, notes = predicted(run, table, None if logged else table["query"].to_numpy())
    assert found.tobytes() == expected.tobytes() and not notes
    order = np.random.default_rng(1).permutation(len(table))
    np.testing.assert_allclose(predicted(run, table[order])[0], expected[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("suffix", "logged"), [("csv", True), ("parquet", False)])
@pytest.mark.parametrize("name", MODELS)
def test_the_file_of_evaluate_gives_its_own_scores(opened, tmp_path, name, suffix, logged):
    """Data from CSV and rows as CSV, or both as Parquet: the same bits."""
    run = opened(name, suffix, logged)
    found = score(run.model, run.prepared.evaluation_batches("test"))
    written.write(run.prepared, found, tmp_path / f"rows.{suffix}")
    rows = read_rows(tmp_path / f"rows.{suffix}", run.prepared.dataset)
    again, notes = predict_rows(run, rows.user, rows.item, rows.time.astype("datetime64[us]"), rows.context, rows.query)
    assert again.tobytes() == torch.from_numpy(found["logit"]).sigmoid().numpy().tobytes() and not notes
    assert all("not read" in note or "label, drawn, probability" in note for note in rows.notes)


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_python_gives_the_same_bits(opened, source):
    run = opened("deepfm", source)
    table, expected = scored(run)
    lists = {name: as_parquet(table)[name].to_list() for name in KINDS}
    found = run.predict(table["user"].to_numpy(), table["item"].to_numpy(), table["ts"].to_numpy(), context=lists)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WITHOUT])
def test_another_value_of_any_column_is_another_score_and_its_absence_is_said(opened, name):
    run = opened(name)
    table = scored(run)[0]
    before = predicted(run, table)[0]
    for column in KINDS:
        after, notes = predicted(run, table.with_columns(pl.col(column).shift(1)))
        assert (after != before).any() and not notes
        without, notes = predicted(run, table.drop(column))
        assert (without != before).any()
        assert notes == [f"The model reads {column}, which the rows lack: unknown in every row."]


def test_values_that_the_data_lack_are_counted(opened):
    run = opened("deepfm")
    table = scored(run)[0][:3]
    changed = table.with_columns(
        place=pl.Series(["moon", "home", "moon"]),
        words=pl.Series(["a|z", "a", None]),
        price=pl.Series(["1", "n/a", ""]),
    )
    assert predicted(run, changed)[1] == [
        "Column place: 2 rows with a value that is not in the data set.",
        "Column price: 1 row with a value that is no number.",
        "Column words: 1 row with a value that is not in the data set.",
    ]
    with pytest.raises(ValueError, match="no context column 'plaice', did you mean place"):
        run.predict([0], [0], [0], {"plaice": ["home"]})
    with pytest.raises(ValueError, match="'place' must have 2 values, one per row, got 1"):
        run.predict([0, 1], [0, 1], [0, 1], {"place": ["home"]})


def test_python_warns_of_what_is_not_known(opened):
    with pytest.warns(UserWarning) as caught:
        opened("deepfm").predict([0, 99], [99, 99], [0, 0])
    said = [str(x.message) for x in caught]
    assert said[0].startswith("The model reads place, rare, ") and len(said) == 3
    assert said[1:] == [
        "1 row with the id of a user that is not in the data set; scored as new",
        "2 rows with the id of an item that is not in the data set; scored as new",
    ]
