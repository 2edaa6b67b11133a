"""A run's folder: what it holds, that it opens to the same scores, and what it refuses."""

import csv
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from hyperctr import config
from hyperctr.data import clock, planted
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.write import write_folder
from hyperctr.evaluation.evaluate import score
from hyperctr.files import claim_folder, to_json
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run
from hyperctr.runs.prepare import _log_odds, prepare, read_dataset

SIZES = {"hyperctr": {"dim": 8, "depth": 1, "hidden": [8, 8]}, "mf": {"dim": 4}, "popularity": {}}


class Killed(Exception):
    pass


@cache
def world():
    return planted.planted("drift", scale=0.05)


def settings(model="hyperctr", path="planted", **tables):
    """A run that takes a second."""
    train = {"epochs": 2, "batch_size": 256, "lr": 0.01, "threads": 1} | tables.pop("train", {})
    whole = {"data": {"path": str(path), "history": 10}, "model": {"name": model, **SIZES[model]}, "train": train}
    return config.read_run(whole | {"slices": {"every": "30d"}} | tables)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and report of a finished run on a planted world that lies in a folder."""
    home = tmp_path_factory.mktemp("runs")
    data = planted.write("drift", home / "data", scale=0.05)
    report = training.train(settings(path=data), home / "run")
    return home / "run", report


def text(report):
    """As JSON, in which what is unknown (null) equals itself."""
    return to_json(report)


def weights(folder):
    return load_file(folder / "weights.safetensors")


def test_run_leaves_exactly_these_files(finished):
    folder, report = finished
    names = {"run.toml", "report.json", "history.csv", "weights.safetensors", "interests.safetensors", "data.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "report.json").read_text() == text(report)
    text_of = (folder / "run.toml").read_text()
    assert text_of.endswith(config.to_toml(config.read_run(folder / "run.toml")))
    head = "# not read by this run: train.negatives (non-clicks were logged), evaluate.negatives"
    assert text_of.startswith(head)
    history = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[report["best_epoch"] - 1]["valid_auc"]) == report["valid"]["auc"]


@pytest.mark.parametrize(
    ("logged", "odds"),
    [
        (False, [(2 + 1) / 2, (1 + 1) / 2, 1 / 2]),  # 3 clicks on 3 items: on average 1, and 1 more for every item
        (True, [(2 + 25) / (1 + 25), (1 + 25) / (2 + 25), 1]),  # half of 6 rows are clicks: 50 more rows, 25 clicks
    ],
)
def test_log_odds_of_items_by_hand(logged, odds):
    item, label = [0, 0, 0, 1, 1, 1], [1, 1, 0, 1, 0, 0]
    log = Interactions(*map(np.array, ([0] * 6, item, range(6), label)), 1, 3, logged_non_clicks=logged)
    np.testing.assert_allclose(_log_odds(log), np.log(odds), atol=1e-6)


def test_log_odds_are_those_of_the_training_rows():
    """What validation and test rows say changes nothing."""
    ready = prepare(settings(), world().dataset)
    log, parts = ready.dataset.interactions, ready.split
    np.testing.assert_array_equal(ready.tables.priors.item_log_odds, _log_odds(log.take(parts.train)))
    label = log.label.copy()
    held = np.concatenate([parts.valid, parts.test])
    label[held] = 1 - label[held]
    other = replace(world().dataset, interactions=replace(log, label=label))
    again = prepare(settings(), other).tables.priors.item_log_odds
    np.testing.assert_array_equal(again, ready.tables.priors.item_log_odds)


def test_report_counts_the_rows_of_the_split(finished):
    report = finished[1]
    assert (report["model"], report["split"], report["leaky"]) == ("hyperctr", "temporal", False)
    assert report["train_rows"] + report["valid"]["rows"] + report["test"]["rows"] == 3750
    assert report["test"]["auc_low"] < report["test"]["auc"] < report["test"]["auc_high"]
    assert report["stopped"] == "all 2 epochs done"


def test_opened_run_scores_what_training_scored(finished):
    folder, report = finished
    opened = open_run(folder)
    for part in ("valid", "test"):
        again = opened.prepared.scores(opened.model, part)
        assert text(again) == text(report[part]) == text(opened.prepared.scores(opened.model, part))


def test_predict_by_original_ids_gives_the_test_probabilities(finished):
    opened = open_run(finished[0])
    scored = score(opened.model, opened.prepared.evaluation_batches("test"))
    data = opened.prepared.dataset
    order = np.random.default_rng(0).permutation(len(scored["user"]))  # rows do not depend on their neighbours
    user, item = data.users.ids[scored["user"]][order], data.items.ids[scored["item"]][order]
    at = scored["time"][order].astype("datetime64[us]")
    found = opened.predict(user, item, at)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-scored["logit"][order])), rtol=1e-4)
    as_text = opened.predict(user[:5].astype(str), item[:5].astype(str), at[:5])
    np.testing.assert_allclose(as_text, found[:5], rtol=1e-4)


@pytest.mark.parametrize("model", ["hyperctr", "mf", "popularity"])
def test_unknown_users_and_items_get_a_probability(tmp_path, finished, model):
    data = config.read_run(finished[0] / "run.toml").data.path
    folder = finished[0]
    if model != "hyperctr":
        folder = tmp_path / "run"
        training.train(settings(model, path=data), folder)
    opened = open_run(folder)
    time = clock.seconds(opened.prepared.dataset.interactions.time[-1])
    known = opened.prepared.dataset.users.ids[0], opened.prepared.dataset.items.ids[0]
    user, item = np.array([10**9, known[0], 10**9]), np.array([known[1], -7, -7])
    for at in (time, time + 10**8, 0):
        found = opened.predict(user, item, np.full(3, at))
        assert ((found > 0) & (found < 1)).all()
    low_and_high = opened.predict(np.array([-7, 10**9]), np.array([-7, 10**9]), np.full(2, time))
    assert low_and_high[0] == pytest.approx(low_and_high[1])  # one unknown id is as good as another, and is nobody's
    assert len(opened.predict(user[:0], item[:0], np.empty(0, int))) == 0


@pytest.mark.parametrize("where", ["log", "batches"])
@pytest.mark.parametrize("model", ["hyperctr", "mf"])
def test_killed_run_ends_bit_equal_to_an_unbroken_one(tmp_path, model, where):
    run = settings(model, train={"epochs": 3})

    def log(row):
        if where == "log" and row["epoch"] == 2:
            raise Killed

    def progress(batches, what, total):
        for step, batch in enumerate(batches):
            if where == "batches" and what == "epoch 2" and step == 3:
                raise Killed
            yield batch

    whole = training.train(run, tmp_path / "whole", world().dataset)
    with pytest.raises(Killed):
        training.train(run, tmp_path / "killed", world().dataset, log, progress)
    assert (tmp_path / "killed" / "checkpoint.safetensors").exists()
    again = training.train(run, tmp_path / "killed", world().dataset)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (tmp_path / "whole" / "history.csv").read_text() == (tmp_path / "killed" / "history.csv").read_text()


def test_the_threads_of_the_caller_come_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), training.torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before
    with training.torch_threads(0):
        assert torch.get_num_threads() == before


def test_killed_run_continues_on_another_number_of_threads(tmp_path):
    run = settings("mf")
    training.train(run, tmp_path, world().dataset)
    training.train(replace(run, train=replace(run.train, threads=0)), tmp_path, world().dataset)


def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        training.train(settings("mf", train={"seed": seed}), tmp_path / name, world().dataset)
    a, b, c = (weights(tmp_path / name)["user.weight"] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_folder_of_another_run_is_refused_and_left_alone(finished):
    folder = finished[0]
    path = config.read_run(folder / "run.toml").data.path
    before = (folder / "run.toml").read_text()
    with pytest.raises(ValueError, match="holds another run"):
        training.train(settings(path=path, train={"lr": 0.5}), folder)
    assert (folder / "run.toml").read_text() == before
    assert (folder / "history.csv").exists()


def test_folder_that_cannot_be_made_is_a_value_error(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="cannot write to"):
            training.train(settings("mf"), out, world().dataset)


def test_folder_that_is_no_finished_run_says_what_it_lacks(tmp_path):
    with pytest.raises(ValueError, match="lacks run.toml, report.json, weights.safetensors"):
        open_run(tmp_path)
    (tmp_path / "checkpoint.safetensors").touch()
    with pytest.raises(ValueError, match="continue it with `hyperctr train`"):
        open_run(tmp_path)


def test_run_on_data_that_has_changed_names_the_weight(tmp_path):
    data = planted.write("drift", tmp_path / "data", scale=0.02)
    training.train(settings("mf", path=data), tmp_path / "run")
    planted.write("drift", tmp_path / "data", scale=0.03)
    with pytest.raises(ValueError, match=r"weight seen_user is \[21\], the data asks for \[31\]; has it changed"):
        open_run(tmp_path / "run", changed_data=True)


def test_data_without_times_asks_for_slices_by_count_and_works_with_them(tmp_path):
    log = world().dataset.interactions
    order = replace(world().dataset, interactions=replace(log, time=np.arange(len(log)), has_time=False))
    data = write_folder(order, tmp_path / "data")
    with pytest.raises(ValueError, match=r"has no times.*slices\.count"):
        training.train(settings(path=data), tmp_path / "refused")
    report = training.train(settings(path=data, slices={"count": 4}, train={"epochs": 1}), tmp_path / "run")
    assert report["slices"] == 6  # four hold 70 % of the clicks, so the other 30 % close one and leave one open
    assert 0 < report["test"]["auc"] < 1
    assert text(open_run(tmp_path / "run").report) == text(report)


def test_random_split_is_stamped_leaky():
    report = training.train(settings("mf", split={"kind": "random"}), None, world().dataset)
    assert report["leaky"] is True


# --- the protocol of AQCL: the last click of a user is tested, the one before it validated ----------------------------


def visits(ties=1):
    """Users 0 to 7 with six clicks each among 40 items, `ties` of a user on one day; no click twice by one user."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(8), 6)
    item = np.concatenate([rng.choice(40, 6, replace=False) for _ in range(8)])
    time = (np.tile(np.arange(6), 8) // ties) * 86_400
    log = Interactions(user, item, time, np.ones(48), 8, 40, logged_non_clicks=False)
    return Dataset("visits", log, Items(40), Users(8))


def protocol(kind="leave-last-out", path="visits", **data):
    tables = {"data": {"path": str(path), "history": 50, **data}, "split": {"kind": kind}, "model": {"name": "mf"}}
    evaluate = {"negatives": 1, "valid_negatives": 1, "max_positives": 0, "valid_positives": 0}
    return config.read_run(tables | {"slices": {"every": "1d"}, "evaluate": evaluate})


def sequences(dataset):
    """The items that each user clicked, in order."""
    log = dataset.interactions
    return {user: log.item[log.user == user].tolist() for user in range(8)}


def clicks_before(batch, row):
    """Items of the history of one row."""
    query = batch.query[row]
    return batch.histories.item[query][batch.histories.mask[query]]


def test_leave_last_out_reads_every_earlier_click_and_draws_what_was_never_met():
    data, drawn = visits(), []
    ready, clicked = prepare(protocol(), data), sequences(data)
    for part, place in [("valid", 4), ("test", 5)]:
        first, again = ([*ready.evaluation_batches(part)] for _ in range(2))
        assert all(torch.equal(a.item, b.item) for a, b in zip(first, again, strict=True))  # drawn once for all
        for batch in first:
            assert len(batch) == 16 and batch.label.tolist() == [1, 0] * 8
            for row in range(0, 16, 2):
                mine = clicked[int(batch.user[row])]
                assert batch.item[row] == mine[place]
                assert clicks_before(batch, row).tolist() == mine[:place]  # the validated one too
                drawn.append((mine, int(batch.item[row + 1])))
    for epoch in (1, 2):
        for batch in ready.train_batches(epoch):
            for row in range(len(batch)):
                mine, item = clicked[int(batch.user[row])], int(batch.item[row])
                if batch.label[row]:
                    assert mine.index(item) < 4  # the first one too, without a history
                    assert clicks_before(batch, row).tolist() == mine[: mine.index(item)]
                else:
                    drawn.append((mine, item))
    assert len(drawn) == 2 * 8 + 2 * 32 and not any(item in mine for mine, item in drawn)  # not even later
    assert ready.split.leaky


def test_the_random_split_still_reads_training_clicks_alone():
    ready = prepare(protocol("random"), visits())
    train = {(int(u), int(i)) for u, i in zip(*(getattr(visits().interactions, name)[ready.split.train]
                                                for name in ("user", "item")), strict=True)}  # fmt: skip
    for batch in ready.evaluation_batches("test"):
        for row, user in enumerate(batch.user.tolist()):
            assert {(user, item) for item in clicks_before(batch, row).tolist()} <= train


def test_ties_in_sorted_order_are_warned_about(tmp_path):
    log = visits(ties=3).interactions
    order = np.lexsort([log.item, log.time, log.user])
    write_folder(replace(visits(), interactions=log.take(order)), tmp_path)
    with pytest.warns(UserWarning, match=r"100% of the rows are ties, .* and 100% of these are in sorted item order"):
        data = read_dataset(protocol(path=tmp_path, ties="order"))
    assert "the file was sorted" in data.notes[-1]


def test_users_who_clicked_everything_leave_no_negative_to_draw(tmp_path):
    user, item = np.divmod(np.arange(12), 4)
    log = Interactions(user, item, np.arange(12), np.ones(12), 3, 4, logged_non_clicks=False)
    write_folder(Dataset("all", log, Items(4), Users(3)), tmp_path)
    with pytest.raises(ValueError, match="every user has clicked every one of the 4 items, so no neg"):
        read_dataset(protocol(path=tmp_path))


def test_clicks_of_one_day_are_no_history_to_each_other_unless_their_order_counts(tmp_path):
    write_folder(visits(ties=3), tmp_path)
    clicked = sequences(visits(ties=3))
    for ties, earlier in [({}, 3), ({"ties": "order"}, 5)]:
        run = protocol(path=tmp_path, **ties)
        data = read_dataset(run)
        (batch,) = prepare(run, data).evaluation_batches("test")
        for row in range(0, 16, 2):
            user = int(data.users.ids[batch.user[row]])
            found = data.items.ids[clicks_before(batch, row)]
            assert [int(item) for item in found] == clicked[user][:earlier]
        assert any("1 microsecond apart" in note for note in data.notes) is bool(ties)


def test_a_folder_that_another_process_writes_is_refused_and_left_alone(tmp_path):
    out = tmp_path / "run"
    with claim_folder(out):
        with pytest.raises(ValueError, match="another process is writing to .*run: wait until it ends, or choose"):
            training.train(settings("popularity"), out, world().dataset)
        assert [path.name for path in out.iterdir()] == [".lock"]
    training.train(settings("popularity"), out, world().dataset)
    assert not (out / ".lock").exists()
