"""The source's own split, and the papers' drawn negatives where non-clicks were logged."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.loader import Loader
from hyperctr.data.write import write_folder
from hyperctr.runs.prepare import build_model, prepare, read_dataset
from hyperctr.runs.train import train


@cache
def visits():
    """Users 0 to 7 with six clicks each among 40 items, one per day; no click twice by one user."""
    rng = np.random.default_rng(0)
    item = np.concatenate([rng.choice(40, 6, replace=False) for _ in range(8)])
    time = np.tile(np.arange(6), 8) * 86_400_000_000
    log = Interactions(np.repeat(np.arange(8), 6), item, time, np.ones(48), 8, 40, logged_non_clicks=False)
    return Dataset("visits", log, Items(40), Users(8))


def clicks_of(log, user):
    return log.item[log.user == user].tolist()


def given(path="visits"):
    evaluate = {"negatives": 1, "valid_negatives": 1, "max_positives": 0, "valid_positives": 0}
    tables = {"data": {"path": str(path), "history": 50}, "split": {"kind": "given"}, "model": {"name": "mf"}}
    return config.read_run(tables | {"slices": {"count": 2}, "evaluate": evaluate})


def histories(ready, part):
    """User, item and items of the history of each scored click."""
    for batch in ready.evaluation_batches(part):
        for row in np.flatnonzero(batch.label):
            query = batch.query[row]
            yield (
                int(batch.user[row]),
                int(batch.item[row]),
                batch.histories.item[query][batch.histories.mask[query]].tolist(),
            )


def test_a_given_split_scores_its_own_rows_and_reads_rows_without_a_part_as_history():
    log, parts = visits().interactions, np.array([-1, 0, 0, 1, 2, 2])
    place = np.array([clicks_of(log, u).index(i) for u, i in zip(log.user, log.item, strict=True)])
    ready = prepare(given(), replace(visits(), interactions=replace(log, part=parts[place])))
    assert not ready.split.leaky
    for part, number in [("train", 0), ("valid", 1), ("test", 2)]:
        assert (parts[place[getattr(ready.split, part)]] == number).all()
    found = list(histories(ready, "test"))
    assert len(found) == 16
    for user, item, history in found:
        mine = clicks_of(log, user)
        assert history == mine[: mine.index(item)]  # the first one too, which has no part


def test_without_times_the_given_parts_follow_each_other_and_only_training_rows_are_history(tmp_path):
    part = np.random.default_rng(3).permutation(np.repeat([-1, 0, 1, 2], [4, 28, 8, 8]))
    write_folder(
        replace(visits(), interactions=replace(visits().interactions, has_time=False, part=part)), tmp_path / "v"
    )
    data = read_dataset(given(tmp_path / "v"))
    ready, log = prepare(given(tmp_path / "v"), data), data.interactions
    assert "test rows follow both" in data.notes[-1] and ready.split.leaky
    assert (np.diff(np.maximum(log.part, 0)) >= 0).all()
    past = {user: clicks_of(log.take(log.part <= 0), user) for user in range(8)}
    for name in ("valid", "test"):
        assert all(history == past[user] for user, _, history in histories(ready, name))


def test_the_papers_negatives_are_drawn_where_non_clicks_were_logged():
    data = planted.planted("drift", scale=0.05).dataset
    tables = {"data": {"path": "planted", "history": 10}, "model": {"name": "popularity"}}
    wanted = {"negatives": 30, "valid_negatives": 7, "sampled": True, "max_positives": 50}
    ready, logged = (prepare(config.read_run(tables | {"evaluate": e}), data) for e in (wanted, {"max_positives": 0}))
    label = data.interactions.label
    assert data.interactions.logged_non_clicks
    (batch,) = ready.evaluation_batches("test")
    assert batch.label.sum() == 50 == len(batch.query_row)
    assert 29 < (len(batch) - 50) / 50 <= 30  # the click's own item, drawn, is left out
    assert sum(batch.label.sum() for batch in logged.evaluation_batches("test")) == label[ready.split.test].sum()
    rows = label[ready.split.train]
    assert ready.train_ratio == pytest.approx((rows == 0).sum() / (rows == 1).sum())
    scores = ready.scores(build_model(ready), "valid")
    assert 0.5 < scores["positive_auc"] < 1 and scores["rows"] > 7 * scores["positives"]
    assert np.isfinite(scores["logloss_corrected"])
    assert train(ready.run, dataset=data)["sampled"] is True
    assert "sampled" not in train(logged.run, dataset=data)


def test_drawn_negatives_of_a_logged_row_share_its_context():
    log = Interactions([0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 0, 1], 2, 3, context={"tab": [1, 2, 3]})
    batch = Loader(log).batch(np.array([2]), negatives=4)
    assert batch.context.codes.tolist() == [[3]] * len(batch) and len(batch) > 1


def test_the_terminal_says_that_a_split_is_leaky_and_where_its_validation_rows_come_from(tmp_path, hyperctr):
    log = visits().interactions
    part = np.where(np.arange(48) % 6 == 0, 2, 0)  # test rows on every day: training rows are later than some
    write_folder(replace(visits(), interactions=replace(log, part=part)), tmp_path / "v")
    run = tmp_path / "run.toml"
    run.write_text(config.to_toml(given(tmp_path / "v")))
    code, out, said = hyperctr("train", run, "--set", "train.epochs=1", "--out", tmp_path / "r")
    assert code == 0, said
    assert "mf on visits, given split  [leaky split: not comparable" in out
    assert "the last 0.2 of its training rows are for validation" in said
