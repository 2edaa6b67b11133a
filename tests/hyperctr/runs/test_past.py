"""Runs whose models read numbers of the past: they learn from them, are honest in time, and refuse what cannot be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import past_worlds
from graphs import links
from hyperctr import config
from hyperctr.analysis import audit
from hyperctr.batch import PAST_FIELDS
from hyperctr.data import planted
from hyperctr.data.features.past.source import Past
from hyperctr.data.row_columns import BatchRows
from hyperctr.layers.columns import ColumnVectors
from hyperctr.runs import plan
from hyperctr.runs.checks import not_read, notes_of
from hyperctr.runs.open import open_run
from hyperctr.runs.prepare import prepare, read_dataset
from hyperctr.runs.train import train

PARTS = ("counts", "content", "links", "period_links", "recent_links", "nearest")
HOUR = 3_600_000_000


def settings(path, past="counts", slices=None, **data):
    return config.read_run({
        **({"slices": slices} if slices else {}),
        "data": {"path": str(path), "history": 8, "past": past, **data},
        "model": {"name": "deepfm", "dim": 4, "hidden": [16, 8]},
        "train": {"epochs": 2, "batch_size": 256, "lr": 0.01, "threads": 1},
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on drawn negatives."""
    home = tmp_path_factory.mktemp("past")
    path = planted.write("drift", home / "data", scale=0.04)
    train(settings(path), home / "run")
    return home / "run"


def test_no_change_of_the_future_moves_a_prediction(folder):
    assert audit.audit(open_run(folder), rows=40, cuts=2).clean


def test_numbers_that_are_read_too_early_are_found(folder, monkeypatch):
    honest, opened = Past.read, open_run(folder)
    monkeypatch.setattr(Past, "read", lambda past, rows: honest(past, replace(rows, time=rows.time + 24 * HOUR)))
    assert not audit.audit(opened, rows=40, cuts=2).clean


@pytest.mark.parametrize("signal", past_worlds.SIGNALS)
def test_numbers_help_where_ids_cannot_tell(signal):
    data = past_worlds.world(signal, users=10 if signal == "repeats" else 50)
    test = {past: train(settings("x", past), dataset=data)["test"] for past in ("none", "counts", "all")}
    assert test["all"]["auc_low"] > test["none"]["auc"] + past_worlds.GAIN
    if signal in ("co-occurrence", "order"):  # links alone say it
        assert test["all"]["auc_low"] > test["counts"]["auc"] + past_worlds.GAIN


def test_which_of_two_items_comes_first_is_said_by_directed_links_alone():
    log = past_worlds.world("order").interactions
    clicks = log.take(log.clicks())
    made = {
        name: links.build(clicks.item, clicks.user, clicks.time, directed=name == "next") for name in ("like", "next")
    }
    i, j = np.triu_indices(41, 1)
    there, back = ({name: x.look_up(*pair) for name, x in made.items()} for pair in ((i, j), (j, i)))
    apart = {name: abs(there[name] - back[name]).sum() / (there[name] + back[name]).sum() for name in made}
    assert apart["like"] < 1e-6 and apart["next"] > 0.2


@pytest.mark.parametrize("name", ["deepfm", "din"])
def test_where_items_live_for_a_day_no_model_is_below_popularity(name):
    test = past_worlds.scored(name, past_worlds.world("short", 15_000), train=0.6, lr=0.005)
    assert test["auc_low"] > test["popularity"] > 0.6


@pytest.mark.parametrize("name", ["deepfm", "trees", *past_worlds.PRESETS])
def test_nothing_is_found_in_noise(name):
    assert abs(past_worlds.from_half(past_worlds.scored(name, past_worlds.world("noise")))) < 3


def untimed(data):
    return replace(data, interactions=replace(data.interactions, has_time=False))


def test_links_are_read_by_periods_of_their_own_where_the_slices_are_too_few():
    data = past_worlds.world("rates", rows=4_000)  # 21 days: one slice of 30 days
    for given in (data, untimed(data)):
        ready = prepare(settings("x", "links"), given)
        rows = ready.split.train
        assert ready.past_grid.slice_of(given.interactions.time[rows]).max() >= 7 and ready.past_grid.edges
        log, at = given.interactions, np.arange(len(rows))
        found = ready.loader.sources[-1].raw(BatchRows(log.user[rows], log.time[rows], log.item[rows], at, rows))
        assert np.nanmax(found[len(rows) // 4 :]) > 0
        assert any("of which begin before the last training row (data.past_every)" in x for x in notes_of(ready))
    assert prepare(settings("x", "counts"), data).past_grid is None


def test_periods_are_those_that_are_stated_whatever_the_slices_are():
    data = past_worlds.world("rates", rows=4_000)
    ready = prepare(settings("x", "links", slices={"every": "1d"}), data)
    begun = ready.past_grid.slice_of(data.interactions.time[ready.split.train])
    assert begun.max() == 31 and len(ready.past_grid) > 40  # and they go on after the training rows
    ready = prepare(settings("x", "links", past_every="2w"), data)
    assert ready.past_grid.every == "2w"
    ready = prepare(settings("x", "counts", user_rates="slice", past_every="30d"), data)
    assert notes_of(ready)[-1].endswith("1 of which begin before the last training row: too few (data.past_every)")
    with pytest.raises(ValueError, match='data.past_every = "1d" needs times, rates has only an order; use q32'):
        prepare(settings("x", "links", past_every="1d"), untimed(data))
    with pytest.raises(ValueError, match="data.past_every must be like 6h"):
        settings("x", past_every="8")


def test_the_numbers_of_the_past_are_fields_of_their_own_behind_other_numbers():
    ready = prepare(settings("x"), past_worlds.world("rates", rows=600))
    context = ready.tables.fields.context
    assert context.names == PAST_FIELDS
    assert tuple(context.numbers) == context.past == ready.loader.sources[-1].names
    batch = next(iter(ready.evaluation_batches("test")))
    own = torch.linspace(-1, 1, len(batch))[:, None]
    context = replace(context, numbers={"price": torch.tensor([-1.0, 0.0, 1.0])} | context.numbers)
    assert context.names == ("price", *PAST_FIELDS)
    module = ColumnVectors(context, 3).eval()
    found = module(replace(batch.context, numbers=torch.cat([own, batch.context.numbers], 1)), len(batch))
    torch.testing.assert_close(found[:, :1], module.numbers(own))
    torch.testing.assert_close(found[:, 1:], module.joint(batch.context.numbers))


def test_what_cannot_be_is_refused_in_one_line():
    data = past_worlds.world("rates", rows=600)
    data = replace(data, interactions=replace(data.interactions, has_time=False))
    with pytest.raises(ValueError, match='data.user_rates = "day" needs times, the data has only an order'):
        prepare(settings("x", user_rates="day"), data)
    with pytest.raises(
        ValueError, match='data.past must be one of "none", "counts", "links", "all" or a list, each one'
    ):
        settings("x", past="count")
    for parts in ([], ["links", "links"]):
        with pytest.raises(ValueError, match='data.past must be distinct parts, or "none", got'):
            settings("x", past=parts)
    with pytest.raises(ValueError, match="nearest items are those of a modality, and rates has none"):
        prepare(settings("x", past=["nearest"]), past_worlds.world("rates", rows=600))


def test_a_list_of_parts_reads_what_it_lists(tmp_path):
    path = planted.write("drift", tmp_path / "w", scale=0.02)
    data = read_dataset(settings(path))
    found = {part: prepare(settings(path, [part]), data).loader.sources[-1].names for part in PARTS}
    both = prepare(settings(path, ["recent_links", "counts"]), data).loader.sources[-1].names
    assert both == found["counts"] + found["recent_links"]
    assert found["period_links"] == tuple(name.replace("past.", "past.period_") for name in found["links"])
    assert {name.split(".")[1] for name in found["nearest"]} == {f"nearest_{name}" for name in data.items.modalities}
    assert {name.split(".")[1] for name in found["content"]} == set(data.items.modalities)
    counts = prepare(settings(path, "counts"), data).loader.sources[-1].names
    assert counts == found["counts"] + found["content"]
    assert prepare(settings(path, "all"), data).loader.sources[-1].names == counts + found["links"]


def test_no_change_of_the_future_moves_a_prediction_from_a_list(tmp_path):
    path = planted.write("drift", tmp_path / "w", scale=0.03)
    run = settings(path, ["period_links", "recent_links", "nearest"], past_every="10d")
    train(config.read_run(config.to_tables(run) | {"train": {"epochs": 1, "threads": 1}}), tmp_path / "run")
    opened = open_run(tmp_path / "run")
    assert opened.prepared.run.data.past == ("period_links", "recent_links", "nearest")
    assert audit.audit(opened, rows=40, cuts=2).clean


def test_a_run_file_without_the_key_reads_no_past(tmp_path):
    run = config.read_run(
        {"data": {"path": str(planted.write("drift", tmp_path / "w", scale=0.02))}, "model": {"name": "lr"}}
    )
    ready = prepare(run, read_dataset(run))
    assert ready.normal is None and not ready.tables.fields.context.numbers


def test_the_plan_counts_what_the_past_takes():
    data = past_worlds.world("rates", rows=5_000)
    found = {part.name: part.bytes for part in plan.check(settings("x", "all"), data).parts}
    counts, _, links = prepare(settings("x", "all"), data).loader.sources[-1].parts
    kinds = settings("x", ["links", "period_links", "recent_links"])
    three = {part.name: part.bytes for part in plan.check(kinds, data).parts}["links of the past"]
    held = sum(part.nbytes for part in prepare(kinds, data).loader.sources[-1].parts)
    assert found["links of the past"] < held < 1.15 * three
    assert counts.nbytes <= found["counts of the past"] <= 1.15 * counts.nbytes
    assert links.nbytes / 1.15 <= found["links of the past"] <= 1.15 * links.nbytes
    assert not {"counts of the past", "links of the past"} & {
        p.name for p in plan.check(settings("x", "none"), data).parts
    }


def test_keys_of_counts_are_said_not_to_be_read_without_counts():
    said = not_read(settings("x", "links", user_rates="day", crosses=["user*item"]), True)
    assert {f"data.{key} (data.past has no counts)" for key in ("user_rates", "crosses")} <= {*said}
    assert not [line for line in not_read(settings("x", "counts", user_rates="day"), True) if "past" in line]


def test_slices_are_said_to_be_read_where_links_are():
    said = {past: not_read(settings("x", past, past_every=every), True) for past, every in
            (("none", "1d"), ("links", "1d"), ("all", None))}  # fmt: skip
    assert ["[slices]" in lines for lines in said.values()] == [True, True, False]
    assert ["data.past_every (nothing is read by period)" in lines for lines in said.values()] == [True, False, False]
