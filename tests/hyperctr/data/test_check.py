"""Each check finds what it looks for, by hand, and nothing in data that are right."""

import json

import numpy as np
import polars as pl
import pytest

from hyperctr.data.check import check
from hyperctr.data.columns import Category, Number, TagLists
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users

ROWS = 200
LABEL = np.random.default_rng(0).integers(2, size=ROWS)
DAY = 86_400 * 10**6


def found(context=None, item_fields=None, now=10**18, **changed):
    """What the checks find, by name, in a log of 200 rows whose users and items are all in training."""
    rng = np.random.default_rng(1)
    columns = {"user": np.arange(ROWS) % 10, "item": rng.integers(20, size=ROWS), "time": np.arange(ROWS) * DAY}
    log = Interactions(
        **{**columns, "label": LABEL, "num_users": 10, "num_items": 20, "context": context or {}} | changed
    )
    items = Items(20, fields=item_fields or {})
    return {x.check: x.found for x in check(Dataset("made", log, items, Users(10)), now) if x.found}


def test_nothing_is_found_where_nothing_is_wrong():
    rng = np.random.default_rng(2)
    context = {"tab": rng.integers(1, 4, ROWS), "price": Number(rng.normal(size=ROWS))}
    assert found(context, {"genre": rng.integers(1, 3, 20)}) == {}


@pytest.mark.parametrize("kind", ["category", "number", "tags"])
def test_a_column_that_gives_the_label_away(kind):
    """By itself it ranks later rows without a mistake; with one row in five at random it does not."""
    noise = np.random.default_rng(3).random(ROWS)

    def column(label):
        if kind == "category":
            return Category.plain(label + 1, 3)
        if kind == "number":
            return Number(label * 5.0 + noise)
        return TagLists.read(pl.Series(np.array(["no|x", "yes|x"])[label]))

    said = found({"bought": column(LABEL)})
    assert said == {"a column predicts the label": "context bought (AUC 1.000 on later rows)"}
    assert found({"hint": column(np.where(noise < 0.2, 1 - LABEL, LABEL))}) == {}


def test_a_column_of_many_values_gives_nothing_away_by_heart():
    assert found({"row": np.arange(1, ROWS + 1)}) == {}


def test_rows_twice_and_times_from_the_future():
    time = np.arange(ROWS) * DAY
    time[1] = time[0]
    user, item = np.arange(ROWS) % 10, np.arange(ROWS) % 20
    user[1], item[1] = user[0], item[0]
    said = found(user=user, item=item, time=time, now=198 * DAY)
    assert said["rows twice"] == "1 row of 200 with the user, item and time of another row"
    assert said["times from the future"] == "1 row of 200, up to 1970-07-19 00:00:00"
    assert said["rows of one user at one time"] == "1.0% of the rows"
    assert "times from the future" not in found(has_time=False, now=0)


def test_columns_of_one_value_and_columns_that_are_empty():
    none = np.zeros(20)
    none[:3] = [1, 2, 3]
    said = found({"page": np.ones(ROWS, int)}, {"brand": none.astype(int), "price": Number(none * np.nan)})
    assert said["columns of one value"] == "context page, item field price"
    assert said["columns that are mostly empty"] == "item field brand: 85% missing; item field price: 100% missing"


def test_ids_seen_only_in_test():
    user = np.arange(ROWS) % 10
    user[ROWS * 9 // 10 :][::2] = 9
    user[: ROWS * 9 // 10] %= 9
    assert found(user=user)["ids seen only in test"] == "1 users in 60.0% of the test rows"


def test_the_command_exits_with_one_where_there_is_a_problem(hyperctr, tmp_path):
    rows = "".join(f"{k % 5},{k % 7},{1_600_000_000 + k * 1000},{k * k % 3 % 2}\n" for k in range(100))
    file = tmp_path / "log.csv"
    file.write_text("user,item,timestamp,click\n" + rows)
    code, out, _ = hyperctr("data", "check", file)
    assert code == 0 and "ok       rows twice" in out and "PROBLEM" not in out
    file.write_text("user,item,timestamp,click\n" + rows + rows.splitlines()[-1] + "\n")
    code, out, _ = hyperctr("data", "check", file)
    assert code == 0 and "note     rows twice: 1 row of 101" in out
    file.write_text("user,item,timestamp,click\n" + rows + "1,1,4000000000,1\n")
    code, out, _ = hyperctr("data", "check", file)
    assert code == 1 and "PROBLEM  times from the future: 1 row of 101" in out
    code, out, _ = hyperctr("data", "check", file, "--json")
    assert code == 1 and json.loads(out)[0]["found"].startswith("1 row")
