"""Scoring a run: which rows, and every number of the report by hand."""

import json
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from hyperctr import config
from hyperctr.batch import Batch, History, Output
from hyperctr.data import planted
from hyperctr.evaluation.evaluate import Novelty, _Column, evaluate, quality, score
from hyperctr.models import MODELS
from hyperctr.runs import prepare as prepare_module


class Table(nn.Module):
    """One given logit an item."""

    tasks = ("click",)

    def __init__(self, logit):
        super().__init__()
        self.logit = torch.tensor(logit, dtype=torch.float32)

    def forward(self, batch):
        return Output(self.logit[batch.item])


def batch(user, item, label, query):
    user, item, query = torch.tensor(user), torch.tensor(item), torch.tensor(query)
    first = torch.tensor([query.tolist().index(q) for q in range(int(query.max()) + 1)])
    none = torch.zeros(len(first), 1, dtype=torch.long)
    return Batch(
        user=user, item=item, time=user, query=query, query_row=first, histories=History(none, none.bool(), none),
        clicks_before=torch.zeros(len(item)), shows_before=None, context=None, label=torch.tensor(label).float(),
    )  # fmt: skip


LOGIT = [2.0, 1.0, 0.0, -1.0]


@pytest.fixture
def scored():
    """Three clicks, each with drawn negatives; the last two queries stand in a second batch."""
    return score(
        Table(LOGIT),
        [
            batch([0, 0, 0], [0, 1, 3], [1, 0, 0], [0, 0, 0]),
            batch([0, 0, 1, 1, 1], [2, 1, 1, 2, 1], [1, 0, 1, 0, 0], [0, 0, 1, 1, 1]),
        ],
    )


def test_scored_rows_stand_beside_their_logits_and_queries_number_on(scored):
    assert scored["item"].tolist() == [0, 1, 3, 2, 1, 1, 2, 1]
    assert scored["user"].tolist() == scored["time"].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert scored["query"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert scored["label"].tolist() == [1, 0, 0, 1, 0, 1, 0, 0]
    assert scored["logit"].tolist() == [LOGIT[i] for i in scored["item"]]


def test_every_auc_of_a_report_by_hand(scored):
    report = evaluate(scored, negatives=1)
    # clicks at 2, 0, 1; negatives at 1, -1, 1, 0, 1
    assert report["auc"] == pytest.approx((5 + 1.5 + 3.5) / 15)
    assert (report["rows"], report["positives"]) == (8, 3)
    # own negatives: 2 over (1, -1), 0 under 1, 1 over 0 and beside 1
    assert report["positive_auc"] == pytest.approx((1 + 0 + 0.75) / 3)
    assert report["positive_auc_se"] == pytest.approx(np.std([1, 0, 0.75], ddof=1) / math.sqrt(3))
    # user 0: clicks at 2, 0 against 1, -1, 1 in five rows; user 1: as the query
    assert report["user_auc"] == pytest.approx((5 * 4 / 6 + 3 * 0.75) / 8)
    assert (report["users_counted"], report["users_skipped"]) == (2, 0)


def losses(clicks, others):
    return [math.log1p(math.exp(-z)) for z in clicks], [math.log1p(math.exp(z)) for z in others]


def test_logloss_raw_at_one_to_one_and_corrected_by_hand(scored):
    clicks, others = [2, 0, 1], [1, -1, 1, 0, 1]
    at_click, at_other = losses(clicks, others)
    report = evaluate(scored, negatives=2)
    assert report["logloss"] == pytest.approx((sum(at_click) + sum(at_other)) / 8)
    assert report["logloss_1to1"] == pytest.approx((np.mean(at_click) + np.mean(at_other)) / 2)
    shift = math.log(2 / (5 / 3))  # trained at 2 negatives a click, tested at 5 for 3
    at_click, at_other = losses(np.add(clicks, shift), np.add(others, shift))
    assert report["logloss_corrected"] == pytest.approx((sum(at_click) + sum(at_other)) / 8)


def test_correction_makes_a_model_that_knows_the_ratio_calibrated():
    # at one negative a click it says one half; at 1000 the base rate's own loss is the best there is
    rows = {"user": np.zeros(1001, int), "query": np.zeros(1001, int)}
    rows |= {"label": np.eye(1, 1001)[0].astype(np.float32), "logit": np.zeros(1001, np.float32)}
    rate = 1 / 1001
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    report = evaluate(rows, negatives=1)
    assert report["logloss_corrected"] == pytest.approx(entropy) == pytest.approx(0.0079, abs=5e-5)
    assert [report["logloss"], report["logloss_1to1"]] == pytest.approx([math.log(2)] * 2)
    assert math.isnan(evaluate(rows, negatives=0)["logloss_corrected"])  # trained on clicks alone: no ratio


def test_where_non_clicks_were_logged_nothing_is_corrected_and_no_click_has_own_negatives(scored):
    report = evaluate(scored)
    assert report["logloss_corrected"] == report["logloss"]
    assert math.isnan(report["positive_auc"]) and math.isnan(report["positive_auc_se"])


def test_warm_and_cold_parts_by_hand(scored):
    seen = np.array([True, False]), np.array([True, True, False, True])  # user 1 and item 2 are new
    report = evaluate(scored, seen, 1)
    # warm: user 0 without item 2: the click at 2 against 1, -1, 1
    assert (report["warm_rows"], report["warm_share"], report["warm_auc"]) == (4, 0.5, 1.0)
    # user 1: the click at 1 against 0, 1
    assert (report["cold_user_rows"], report["cold_user_share"], report["cold_user_auc"]) == (3, 3 / 8, 0.75)
    # item 2: a click and a negative, both at 0
    assert (report["cold_item_rows"], report["cold_item_share"], report["cold_item_auc"]) == (2, 1 / 4, 0.5)
    report = evaluate(scored, (np.array([True, True]), np.array([True, True, True, False])), 1)
    assert (report["cold_user_rows"], report["cold_item_rows"]) == (0, 1)
    assert math.isnan(report["cold_user_auc"]) and math.isnan(report["cold_item_auc"])
    assert "warm_auc" not in evaluate(scored)


def test_groups_by_activity_by_hand(scored):
    report = evaluate(scored, activity=np.array([1, 7]))  # half of the users up to one click, all up to seven
    names = ("non_active", "slightly_active", "highly_active")
    # user 0 has the clicks at 2, 0 against 1, -1, 1; user 1 one at 1 against 0, 1
    assert [report[f"{name}_rows"] for name in names] == [5, 3, 0]
    assert report["non_active_auc"] == pytest.approx(4 / 6) and report["slightly_active_auc"] == 0.75
    assert math.isnan(report["highly_active_auc"])
    assert (report["non_active_clicks"], report["slightly_active_clicks"]) == (1, 7)
    assert "non_active_auc" not in evaluate(scored)


def test_first_appearances_returns_and_new_pairs_by_hand(scored):
    # clicks at 2, 0, 1; the third query, with candidates at 0 and 1, is a first appearance
    first = np.array([0, 0, 0, 0, 0, 1, 1, 1], bool)
    met = np.array([1, 0, 1, 0, 0, 0, 0, 0], bool)
    apart, among = (evaluate(scored, negatives=1, novelty=Novelty(first, met, where)) for where in (True, False))
    alone = evaluate({name: x[:5] for name, x in scored.items()}, negatives=1)
    assert {name: apart[name] for name in alone} == pytest.approx(alone, nan_ok=True)
    assert (apart["rows"], apart["positives"], among["rows"]) == (5, 2, 8)
    for report in (apart, among):
        assert (report["first_auc"], report["first_rows"], report["first_positives"]) == (0.75, 3, 1)
        assert report["first_share"] == pytest.approx(1 / 3)
        # met: the click at 2 and a candidate at -1
        assert (report["return_auc"], report["return_rows"], report["return_positives"]) == (1.0, 2, 1)
    assert (apart["new_rows"], apart["new_positives"], apart["new_share"]) == (3, 1, 0.5)
    assert apart["new_auc"] == 0.0  # the click at 0 against 1 and 1
    assert (among["new_rows"], among["new_share"]) == (6, pytest.approx(2 / 3))
    assert "first_auc" not in evaluate(scored)


def test_sessions_of_a_report(scored):
    report = evaluate(scored)  # the times are the users' numbers: one session per user
    assert report["user_session_auc"] == report["user_auc"] and report["sessions_counted"] == 2
    untimed = evaluate(scored, has_time=False)
    assert math.isnan(untimed["user_session_auc"]) and untimed["sessions_counted"] == 0


# --- the rows of a run ---------------------------------------------------------------------------------------------


@cache
def dataset():
    """A planted world without its non-clicks: negatives have to be drawn."""
    found = planted.planted("drift", scale=0.05).dataset
    return replace(found, interactions=replace(found.interactions, logged_non_clicks=False))


def prepared(name="popularity", data=None, slices=None, **keys):
    model = {"hyperctr": {"dim": 8, "depth": 1, "hidden": [8, 8]}}.get(name, {})
    tables = {"data": {"path": "planted", "history": 10}, "model": {"name": name, **model}, "evaluate": keys}
    tables |= {"slices": {"every": "7d"} | (slices or {}), "interest": {"mode": "none"}}
    run = config.read_run(tables)
    return prepare_module.prepare(run, dataset() if data is None else data)


def rows_of(ready, part):
    return score(Table([0.0] * ready.tables.ids.num_items), ready.evaluation_batches(part))


def test_test_and_validation_draw_their_own_numbers_of_negatives_and_clicks():
    sizes = {"negatives": 30, "max_positives": 50, "valid_negatives": 7, "valid_positives": 40}
    ready = prepared(**sizes)
    for part, clicks, negatives in [("test", 50, 30), ("valid", 40, 7)]:
        found = rows_of(ready, part)
        assert found["label"].sum() == clicks == found["query"].max() + 1
        drawn = np.bincount(found["query"]) - 1
        assert drawn.max() == negatives
        assert drawn.mean() > negatives - 1  # the click's own item, drawn, is left out
    assert rows_of(prepared(max_positives=0, negatives=1), "test")["label"].sum() == len(ready.split.test)


def test_a_batch_holds_many_pairs_whatever_the_number_of_negatives(monkeypatch):
    monkeypatch.setattr(prepare_module, "PAIRS", 100)
    assert [len(b.query_row) for b in prepared(negatives=19, max_positives=12).evaluation_batches("test")] == [5, 5, 2]
    assert [len(b.query_row) for b in prepared(negatives=500, max_positives=2).evaluation_batches("test")] == [1, 1]


def test_popular_items_are_drawn_as_negatives_more_often_where_asked():
    drawn = {draw: rows_of(prepared(negatives=40, draw=draw), "test") for draw in ("uniform", "popularity")}
    log = dataset().interactions
    clicks = np.bincount(log.item[log.clicks()], minlength=log.num_items)
    mean = {draw: clicks[found["item"][found["label"] == 0]].mean() for draw, found in drawn.items()}
    assert mean["popularity"] > 1.2 * mean["uniform"]


def test_evaluating_twice_gives_the_same_numbers_and_another_seed_other_negatives():
    def scores(seed):
        ready = prepared("hyperctr", negatives=20, seed=seed)
        torch.manual_seed(0)
        model = MODELS["hyperctr"](ready.run.model, ready.tables)
        first, again = ready.scores(model, "test"), ready.scores(model, "test")
        assert json.dumps(first) == json.dumps(again)
        return first

    assert scores(0)["auc"] != scores(1)["auc"]
    assert 0 < scores(0)["positive_auc_se"] < 0.1


def members(slices):
    """Who is in which hyperedge, slice by slice."""
    return [side and side.graphs[0].to_pandas().incidences.to_numpy().tolist() for side in slices.users]


def test_frozen_hypergraphs_hold_training_events_alone():
    frozen, rolling = (prepared("hyperctr", slices={"graphs": graphs}) for graphs in ("frozen", "rolling"))
    log, rows = dataset().interactions, frozen.split
    assert len(frozen.tables.graphs.slices) == len(rolling.tables.graphs.slices)  # slices close all the same
    last = int(frozen.grid.slice_of(log.time[rows.train[-1:]])[0])
    assert members(frozen.tables.graphs.slices)[:last] == members(rolling.tables.graphs.slices)[:last]
    assert frozen.tables.graphs.slices.users[last + 1 :] == (None,) * (len(frozen.tables.graphs.slices) - last - 1)
    assert any(rolling.tables.graphs.slices.users[last + 1 :])

    later = np.concatenate([rows.valid, rows.test])
    item = log.item.copy()
    item[later] = item[later][::-1]
    other = replace(dataset(), interactions=replace(log, item=item))
    for ready, same in [(frozen, True), (rolling, False)]:
        again = prepared("hyperctr", other, {"graphs": ready.run.slices.graphs})
        assert (members(again.tables.graphs.slices) == members(ready.tables.graphs.slices)) == same


def test_frozen_hypergraphs_leave_histories_rolling():
    ready = prepared("hyperctr", slices={"graphs": "frozen"}, negatives=1)
    log, past = dataset().interactions, [b.histories for b in ready.evaluation_batches("test")]
    assert max(int(p.time.max()) for p in past) > log.time[ready.split.valid[0]]


# --- conversions -----------------------------------------------------------------------------------------------------


class TwoTasks(Table):
    """The same, and as the logit of the conversion half of it."""

    tasks = ("click", "conversion")

    def forward(self, batch):
        out = super().forward(batch)
        return replace(out, conversion=out.logit / 2)


@pytest.fixture
def converted():
    """Four clicks, the conversion of one of which is unknown, and two impressions without one."""
    one = batch([0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 1, 0], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 2, 2])
    conversion = torch.tensor([0.9, 0.2, math.nan, 0.4, math.nan, 0.7])
    return score(TwoTasks(LOGIT), [replace(one, conversion=conversion)])


def test_conversions_by_hand(converted):
    report = evaluate(converted)
    p = [1 / (1 + math.exp(-x / 2)) for x in (2.0, 1.0, -1.0)]
    assert report["cvr_mse"] == pytest.approx(((p[0] - 0.9) ** 2 + (p[1] - 0.2) ** 2 + (p[2] - 0.4) ** 2) / 3)
    assert report["cvr_rows"] == 3 and report["cvr_variance"] == pytest.approx(np.var([0.9, 0.2, 0.4]))
    assert report["cvr_auc"] == pytest.approx(2 / 3)  # 0.9 above 0.2 and 0.4, but 0.2 above 0.4
    # click times conversion: 0.9, 0.2, 0.4, and twice 0 without a click; scored as items 0, 1, 3, 1, 0, two ties
    assert report["ctcvr_auc"] == pytest.approx((3 + 2 * 0.5) / 9)


def test_quality_is_the_auc_of_clicks_less_the_error_of_conversions(converted):
    report = evaluate(converted)
    assert quality(converted) == report["auc"]
    assert quality(converted, ("conversion",)) == -report["cvr_mse"]
    assert quality(converted, ("click", "conversion")) == pytest.approx(report["auc"] - report["cvr_mse"])


def test_without_a_known_conversion_its_metrics_are_unknown(converted, scored):
    unknown = evaluate(converted | {"conversion": np.full(6, np.nan)})
    assert unknown["cvr_rows"] == 0 and math.isnan(unknown["cvr_mse"]) and math.isnan(unknown["ctcvr_auc"])
    silent = evaluate(converted | {"conversion_logit": np.full(6, np.nan)})
    assert silent["cvr_rows"] == 0 and math.isnan(silent["ctcvr_auc"])
    assert "cvr_mse" not in evaluate(scored) and "conversion" not in scored


def test_values_added_piece_by_piece_are_all_there_in_order():
    rng, column, pieces = np.random.default_rng(0), _Column(), []
    for size in [3, 0, 1, 50, 7, 400, 1]:
        pieces.append(rng.normal(size=size).astype(np.float32))
        column.add(pieces[-1])
        np.testing.assert_array_equal(column.values, np.concatenate(pieces))
    assert column.values.dtype == np.float32
