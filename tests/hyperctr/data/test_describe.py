import json

import numpy as np
import polars as pl

from hyperctr.data.columns import Category, Number, TagLists
from hyperctr.data.dataset import Dataset
from hyperctr.data.describe import column_facts, describe
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.kinds import Kind
from hyperctr.data.split import Split

DAY = 86_400_000_000  # microseconds


def data(**changed):
    """User 0 has rows on days 0, 1, 2 and 4, user 1 on day 2, user 2 none; item 3 was never met."""
    columns = {"user": [0, 0, 0, 1, 0], "item": [0, 1, 2, 0, 1], "time": [0, DAY, 2 * DAY, 2 * DAY, 4 * DAY]}
    log = Interactions(**{**columns, "label": [1, 0, 1, 1, 1], "num_users": 3, "num_items": 4, **changed})
    items = Items(
        4, ids=np.array(["a", "b", "c", "d"]), titles=np.array(["A", "B", "C", "D"]),
        modalities={"visual": np.array([[1, 1], [0, 0], [1, 0], [1, 1]], np.float32)},
        fields={"genre": np.array([0, 1, 2, 1])},
    )  # fmt: skip
    return Dataset("toy", log, items, Users(3, ids=np.array([7, 8, 9])), ("A note.",))


def test_numbers_by_hand():
    facts = describe(data(conversion=[1, np.nan, 0, 0, 1], type=[0, 0, 1, 0, 0],
                          context={"tab": Category.plain([1, 1, 0, 1, 1], 2)}))  # fmt: skip
    sample = facts.pop("sample")
    assert facts == {
        "name": "toy", "users": 3, "users_with_rows": 2, "items": 4, "items_with_rows": 3, "rows": 5, "clicks": 4,
        "click_rate": 0.8, "non_clicks": "logged", "from": "1970-01-01 00:00:00", "to": "1970-01-05 00:00:00",
        "span_days": 4.0, "sparsity": 0.583333, "rows_per_user": {"min": 1, "p10": 1, "median": 2, "p90": 3, "max": 4},
        "median_user_span_days": 2.0, "modalities": {"visual": {"dim": 2, "coverage": 0.75}},
        "item_fields": {"genre": {"kind": "category", "values": 2, "missing": 0.25, "missing_in_rows": 0.4}},
        "user_fields": {},
        "context": {"tab": {"kind": "category", "values": 1, "missing": 0.2}}, "conversion_rate": 0.5, "types": 2,
        "notes": ["A note."],
    }  # fmt: skip
    assert sample == {
        "user": 7, "item": "b", "time": "1970-01-05 00:00:00", "title": "B", "label": 1, "earlier_clicks": 2,
        "history": [
            {"item": "a", "time": "1970-01-01 00:00:00", "title": "A"},
            {"item": "c", "time": "1970-01-03 00:00:00", "title": "C"},
        ],
    }  # fmt: skip


def test_sample_history_holds_only_strictly_earlier_clicks():
    sample = describe(data(time=[0, 1, 5, 2, 5]))["sample"]
    assert (sample["user"], sample["earlier_clicks"], [event["item"] for event in sample["history"]]) == (7, 1, ["a"])


def test_without_times_nothing_is_said_in_days():
    facts = describe(data(has_time=False, time=[0, 1, 2, 3, 4]))
    assert facts["span_days"] is None and facts["median_user_span_days"] is None
    assert (facts["from"], facts["to"]) == (0, 4)


def test_data_without_rows_or_clicks_is_described():
    empty = Interactions([], [], [], [], num_users=0, num_items=0)
    facts = describe(Dataset("none", empty, Items(0), Users(0)))
    assert (facts["rows"], facts["click_rate"], facts["rows_per_user"], facts["sample"]) == (0, None, {}, None)
    assert describe(data(label=[0] * 5))["sample"] is None


def test_everything_is_ready_for_json():
    json.dumps(describe(data()))


def test_shares_of_rows_and_of_unknown_values_by_hand():
    """Items 0 to 3 in rows 0 1 2 | 3 1 of training and test; field of item 3 and tag z of item 3 are new there."""
    rows, parts = np.array([0, 1, 2, 3, 1]), Split(np.arange(3), np.arange(0), np.array([3, 4]), False, "temporal")
    genre = Category.read(pl.Series(["a", None, "a", "b"]))
    assert column_facts(genre, rows, parts) == {
        "kind": "category", "values": 2, "missing": 0.25, "missing_in_rows": 0.4, "unknown_in_test": 0.5,
    }  # fmt: skip
    tags = TagLists.read(pl.Series(["x|y", "y", None, "x|z"]))
    assert column_facts(tags, rows, parts)["unknown_in_test"] == 0.5
    price = Number(np.array([1.0, 1.0, np.nan, 2.0]), Kind("number", log=True))
    assert column_facts(price, rows, parts) == {
        "kind": "number, log=true", "values": 2, "missing": 0.25, "missing_in_rows": 0.2
    }  # fmt: skip
    assert "unknown_in_test" not in column_facts(genre, rows, None)
