"""Like against like: met items among candidates where pairs repeat, first appearances on a line of their own."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.evaluation.evaluate import score
from hyperctr.evaluation.metrics import auc
from hyperctr.models import MODELS
from hyperctr.runs import candidates
from hyperctr.runs import train as training
from hyperctr.runs.prepare import prepare

HOUR = 3_600_000_000


def dataset(log):
    return Dataset("made", log, Items(log.num_items), Users(log.num_users))


def clicks(user, item, users, items, time=None, **more):
    time = np.arange(len(user)) * HOUR if time is None else time
    return Interactions(user, item, time, np.ones(len(user)), users, items, **{"logged_non_clicks": False} | more)


def returns(seed=0, count=4000, users=20, items=60):
    """Every item is there early, and a click is any of them: whether the user has met it says nothing."""
    rng = np.random.default_rng(seed)
    item = np.r_[np.arange(items), rng.integers(items, size=count - items)]
    return clicks(rng.integers(users, size=count), item, users, items)


def run_of(model="popularity", split=None, train=None, **evaluate):
    sizes = {"din": {"dim": 4, "hidden": [8]}}.get(model, {})
    tables = {"data": {"path": "made", "history": 5}, "model": {"name": model, **sizes}, "split": split or {}}
    return config.read_run(tables | {"train": {"epochs": 1, "threads": 1} | (train or {}), "evaluate": evaluate})


def ready_of(log, **how):
    return prepare(run_of(**how), dataset(log))


def scored_of(ready, part="test"):
    model = MODELS["popularity"](MODELS["popularity"].Config(), ready.tables)
    return score(model, ready.evaluation_batches(part))


def met_before(log, scored):
    """Say by a slow loop which scored rows the user had met."""
    rows = zip(scored["user"].tolist(), scored["item"].tolist(), scored["time"].tolist(), strict=True)
    earliest = {}
    for u, i, t in zip(log.user.tolist(), log.item.tolist(), log.time.tolist(), strict=True):
        earliest.setdefault((u, i), t)
    return np.array([earliest.get((u, i), t) < t for u, i, t in rows])


def test_where_people_return_at_random_met_before_tells_no_click_apart():
    log = returns()
    for met, low, high in (("no", 0.85, 1.0), ("yes", 0.49, 0.51), ("auto", 0.49, 0.51)):
        ready = ready_of(log, met=met, negatives=100)
        scored = scored_of(ready)
        before = met_before(log, scored)
        assert np.array_equal(before, ready.loader.has_met(scored["user"], scored["item"], scored["time"]))
        assert low <= auc(scored["label"], before) <= high, met
        report = ready.measured(scored)
        clicked = scored["label"] == 1
        assert report["return_positives"] == before[clicked].sum() and report["return_rows"] == before.sum()
        assert report["new_positives"] + report["return_positives"] == clicked.sum()
        assert report["return_share"] == pytest.approx(before[clicked].mean())
        assert math.isnan(report["return_auc"]) == (met == "no")  # no candidate was met


def test_a_candidate_is_never_the_item_of_its_row_and_all_of_them_are_there():
    log = returns(count=600, items=10)
    for seed in (0, 1):
        ready = ready_of(log, met="yes", negatives=30, seed=seed)
        scored = scored_of(ready)
        own = scored["item"][scored["label"] == 1][scored["query"]]
        assert ((own == scored["item"]) == (scored["label"] == 1)).all()
        assert (np.bincount(scored["query"]) == 31).all()  # the row's own item was drawn again, not left out
        batch = next(iter(ready.train_batches(0)))
        trained = batch.item[batch.query_row][batch.query]
        assert ((trained == batch.item) == (batch.label == 1)).all()


@pytest.mark.parametrize(("again", "decided"), [(0, False), (6, False), (7, True)])
def test_auto_is_yes_from_one_percent_of_the_training_clicks(again, decided):
    user, item = np.repeat(np.arange(10), 100), np.tile(np.arange(100), 10)
    order = np.random.default_rng(0).permutation(1000)  # no pair twice
    user, item = user[order], item[order]
    for k in range(again):  # rows 500 + k repeat row k; 700 rows are for training
        user[500 + k], item[500 + k] = user[k], item[k]
    item[900:], user[900:] = item[0], user[0]  # repeats among the test rows do not count
    ready = ready_of(clicks(user, item, 10, 100), first="among")
    assert (ready.met, ready.repeats) == (decided, pytest.approx(again / 700))
    assert ready_of(clicks(user, item, 10, 100), met="no", first="among").met is False
    assert ready_of(clicks(user, item, 10, 100), met="yes", first="among").met is True


def test_pairs_of_one_instant_repeat_nothing_and_histories_count_as_earlier():
    user, item = np.zeros(400, np.int64), np.repeat(np.arange(200), 2)
    once = clicks(user, item, 1, 200, np.repeat(np.arange(200), 2) * HOUR)
    assert candidates.repeats(once) == 0
    later = clicks(user, item, 1, 200)
    assert candidates.repeats(later) == 0.5
    assert candidates.repeats(later, np.arange(1, 400, 2)) == 1.0
    assert candidates.repeats(later.take(np.empty(0, np.int64))) == 0


def test_where_nothing_repeats_every_draw_is_what_it_was():
    rng = np.random.default_rng(3)
    pair = rng.permutation(20 * 90)[:1000]
    log = clicks(pair // 90, pair % 90, 20, 90)
    auto, no = (ready_of(log, met=met, negatives=7) for met in ("auto", "no"))
    for a, b in zip(auto.train_batches(0), no.train_batches(0), strict=True):
        assert a.item.tolist() == b.item.tolist()
    assert scored_of(auto)["item"].tolist() == scored_of(no)["item"].tolist()
    assert json.dumps(auto.measured(scored_of(auto))) == json.dumps(no.measured(scored_of(no)))


def test_a_leaky_split_draws_what_the_user_never_meets_and_says_why():
    log = returns(count=400)
    ready = ready_of(log, split={"kind": "random"}, negatives=20)
    assert not ready.met and ready.repeats > 0.1 and not ready.apart
    scored = scored_of(ready)
    ever = set(zip(log.user.tolist(), log.item.tolist(), strict=True))
    drawn = scored["label"] == 0
    assert not ever & set(zip(scored["user"][drawn].tolist(), scored["item"][drawn].tolist(), strict=True))
    assert candidates.in_words(ready) == (
        'candidates: items that the user has not met (evaluate.met = "auto": a leaky split)'
    )


# --- first appearances ---------------------------------------------------------------------------------------------


def arrivals(count=3000, users=40, every=5):
    """A new item comes with every fifth click; the others are clicks on one of the items that are there."""
    rng = np.random.default_rng(1)
    item = np.zeros(count, np.int64)
    for k in range(1, count):
        item[k] = k // every if k % every == 0 else rng.integers((k - 1) // every + 1)
    return clicks(rng.integers(users, size=count), item, users, int(item.max()) + 1)


def test_first_appearances_have_a_line_of_their_own_and_leave_the_others():
    log = arrivals()
    apart, among = (ready_of(log, first=first, met="no", negatives=20) for first in ("apart", "among"))
    one, other = scored_of(apart), scored_of(among)
    first = log.time[np.unique(log.item, return_index=True)[1]]
    never = first[other["item"]] >= other["time"]
    assert auc(other["label"], never) == pytest.approx(0.6, abs=0.01)  # "never seen" tells a fifth of the clicks
    report, before = apart.measured(one), among.measured(other)
    assert (report["first_positives"], report["positives"]) == (60, 240) and before["positives"] == 300
    assert report["first_share"] == before["first_share"] == 0.2
    # every candidate of a first appearance is as new, and popularity cannot tell them
    flag = candidates.first_appearances(apart, one)
    assert (first[one["item"]] >= one["time"])[flag].all() and not (first[one["item"]] >= one["time"])[~flag].any()
    assert report["first_auc"] == 0.5 and report["first_rows"] == flag.sum()
    # the other rows are the rows that they were, bit for bit
    kept = ~candidates.first_appearances(among, other)
    for name in ("user", "item", "time", "label", "logit"):
        assert np.array_equal(one[name][~flag], other[name][kept]), name
    assert report["auc"] == auc(other["label"][kept], other["logit"][kept]) != before["auc"]
    assert report["rows"] == kept.sum() and before["rows"] == len(kept)
    for name in ("warm", "cold_user"):
        assert report[f"{name}_rows"] <= report["rows"]


def test_the_score_that_stops_a_training_leaves_first_appearances_out():
    ready = ready_of(arrivals(), met="no", valid_negatives=20)
    model = MODELS["popularity"](MODELS["popularity"].Config(), ready.tables)
    assert training.Validation(ready, model)() == ready.scores(model, "valid")["auc"]


def test_moving_later_events_moves_no_candidate_among_items_that_exist():
    log = arrivals(1000)
    ready = ready_of(log, met="yes", negatives=20)
    cut = log.time[960]
    other = replace(log, item=np.where(log.time >= cut, log.item[::-1], log.item))
    again = ready_of(other, met="yes", negatives=20)
    found = []
    for one in (ready, again):
        scored = scored_of(one)
        scored["first"] = candidates.first_appearances(one, scored)
        found.append({name: x[scored["time"] < cut] for name, x in scored.items()})
    assert np.array_equal(found[0]["first"].sum() > 0, True)
    for name in ("item", "label", "logit"):
        main = [x[name][~x["first"]] for x in found]
        assert np.array_equal(*main), name


def test_a_log_whose_every_test_click_is_a_first_appearance_is_refused(tmp_path):
    user = np.random.default_rng(0).integers(5, size=200)
    log = clicks(user, np.arange(200), 5, 200)
    with pytest.raises(ValueError, match="every valid click of made is the first event of its item, so none can be"):
        training.train(run_of(), tmp_path / "run", dataset(log))
    assert not (tmp_path / "run").exists()
    assert prepare(run_of(first="among"), dataset(log)).apart is False


def test_where_non_clicks_are_logged_every_row_counts_and_the_lines_are_added():
    log = replace(arrivals(1000), label=np.arange(1000) % 3 != 0, logged_non_clicks=True)
    ready = ready_of(log)
    report = ready.scores(MODELS["popularity"](MODELS["popularity"].Config(), ready.tables), "test")
    assert not ready.apart and report["rows"] == 100 and report["first_rows"] == 20
    assert report["return_rows"] + report["new_rows"] == 100
    assert report["first_positives"] == 13 and report["first_share"] == 13 / 66
    assert candidates.in_words(ready) == ""


def test_the_report_and_a_line_say_what_was_decided(tmp_path):
    said = []
    report = training.train(run_of(), tmp_path / "run", dataset(returns(count=600)), say=said.append)
    assert report["met"] == "yes" and report["repeats"] == candidates.repeats(returns(count=600), np.arange(420))
    share = f"{report['repeats']:.1%} of the training clicks repeat a pair"
    line = f'candidates: also items that the user has met (evaluate.met = "auto": {share})'
    assert said[1] == f"{line}; clicks on items that no earlier event has are scored apart"
    stored = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (stored["met"], stored["repeats"]) == (report["met"], report["repeats"])
    assert {"first_auc", "return_auc", "new_auc", "user_session_auc"} <= set(stored["test"])


# --- what stops a training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["user_auc", "user_session_auc"])
def test_a_measure_within_users_may_stop_a_training(wanted, tmp_path):
    log = returns(count=600)
    run = run_of("din", train={"epochs": 2, "score": wanted})
    report = training.train(run, tmp_path / "run", dataset(log))
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    head = lines[0].split(",")
    scores = [float(line.split(",")[head.index(f"valid_{wanted}")]) for line in lines[1:]]
    assert report["valid"][wanted] == pytest.approx(max(scores), abs=1e-9)
    assert "valid_auc" in head and report["best_epoch"] == 1 + int(np.argmax(scores))


def test_sessions_need_times():
    log = returns(count=600)
    untimed = replace(log, has_time=False, time=np.arange(600))
    run = run_of("din", train={"score": "user_session_auc"})
    with pytest.raises(ValueError, match='train.score = "user_session_auc" needs times, and made has only an order'):
        prepare(run, dataset(untimed))
    ready = prepare(run_of(), dataset(untimed))
    report = ready.measured(scored_of(ready))
    assert math.isnan(report["user_session_auc"]) and report["sessions_counted"] == 0
    assert not math.isnan(report["user_auc"])
    with pytest.raises(ValueError, match='auc, user_auc, user_session_auc, or like "mine.py:metric"'):
        run_of(train={"score": "logloss"})
