"""Rows to score are read as the training data was, and come back untouched."""

import numpy as np
import polars as pl
import pytest

from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.read import read
from hyperctr.data.rows import read_rows, write_rows
from hyperctr.data.tables import read_table

LOG = "visitor,sku,ts,tab\n7,b,2020-01-01 10:00:00,x\n5,a,2020-01-02 10:00:00,y\n"
ROLES = {"user": "visitor", "item": "sku", "time": "ts", "context": ["tab"]}


@pytest.fixture
def write(tmp_path):
    def put(text, name="rows.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return put


def plain(users=(1, 2), items=("a", "b")):
    log = Interactions([0, 1], [0, 1], [5, 6], [1, 1], 2, 2)
    return Dataset("plain", log, Items(2, np.array(items)), Users(2, np.array(users)))


def test_the_columns_of_the_data_set_are_those_of_the_rows(write):
    data = read(write(LOG, "log.csv"), roles=ROLES)
    rows = read_rows(write("tab;sku;visitor;ts;why\nz;a;7;2020-01-03T00:00:00.5;1,5\n"), data)
    assert rows.user.tolist() == [7] and rows.item.tolist() == ["a"]
    assert rows.time.tolist() == [1_578_009_600_500_000]
    assert rows.table.columns == ["tab", "sku", "visitor", "ts", "why"]
    assert rows.table["ts"].to_list() == ["2020-01-03T00:00:00.5"]
    assert any('separated by ";"' in note for note in rows.notes)
    usual = read_rows(write("user_id,item_id,timestamp\n7,a,1577923200\n"), data)
    assert usual.user.tolist() == [7] and usual.time.tolist() == [1_577_923_200_000_000]


def test_the_unit_of_the_data_set_is_that_of_the_rows(write):
    data = read(write("user,item,time\n1,1,5\n2,2,6\n", "log.csv"), roles={"time_unit": "d"})
    assert read_rows(write("user,item,time\n1,1,7\n"), data).time.tolist() == [7 * 86_400 * 10**6]


def test_an_order_is_an_order_for_the_rows_too(write):
    data = read(write("user,item,position\n1,1,5\n2,2,6\n", "log.csv"))
    assert read_rows(write("user,item,position\n1,1,7\n"), data).time.tolist() == [7]


def test_ids_have_the_rules_of_training(write):
    data = read(write("user,item,time\n007,1.0,5\n10.0,2,6\nx,3,7\n", "log.csv"))
    assert data.users.ids.tolist() == ["007", "10.0", "x"] and data.items.ids.tolist() == [1, 2, 3]
    rows = read_rows(write("user,item,time\n10.0,2.0,8\n10,3.0,8\n7,x,9\n"), data)
    assert data.user_ids.numbers(rows.user).tolist() == [1, 3, 3]
    assert data.item_ids.numbers(rows.item).tolist() == [1, 2, 3]
    assert "2 rows of 3: 2 users, such as 10, not in the data set; scored as new." in rows.notes
    assert "1 row of 3: the item x not in the data set; scored as new." in rows.notes


def test_the_input_comes_back_untouched_beside_a_new_column(write, tmp_path):
    for name in ("scored.csv", "scored.parquet"):
        rows = read_rows(write("user_id,item_id,timestamp,probability\n1,a,1970-01-02,x\n2,b,1970-01-03,y\n"), plain())
        column = write_rows(rows.table, np.array([0.25, 0.5], np.float32), tmp_path / "new" / name)
        scored = read_table(tmp_path / "new" / name).frame
        assert column == "probability_1"
        assert scored.columns == ["user_id", "item_id", "timestamp", "probability", "probability_1"]
        assert scored["timestamp"].to_list() == ["1970-01-02", "1970-01-03"]
        assert scored["probability"].to_list() == ["x", "y"] and scored["probability_1"].to_list() == [0.25, 0.5]
    assert write_rows(rows.table.drop("probability"), np.zeros(2), tmp_path / "new" / name) == "probability"
    assert sorted(entry.name for entry in (tmp_path / "new").iterdir()) == ["scored.csv", "scored.parquet"]


def test_rows_that_cannot_be_scored_are_refused(write, tmp_path):
    for text, message in [
        ("user_id,item,timestamp\n1,a,5\n", r"no column 'item_id' \(for the item of a row to score\); .*mean item\?"),
        (
            "user_id,item_id,timestamp\n1,a,5\n1,,6\n",
            r"column 'item_id' is empty in row 2 \(line 3 of a text with",
        ),
        ("user_id,item_id,timestamp\n1.5,a,5\n", r"'user_id' cannot be an id, it holds fractions such as 1.5"),
        ("user_id,item_id,timestamp\n1,a,soon\n", r"'soon' in row 1 .* is neither unix seconds nor an ISO time"),
        ("user_id,item_id,timestamp\n1,a\n", r"line 2: 2 cells where the header has 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_rows(write(text), plain())
    with pytest.raises(ValueError, match=r"there is no file .*none.csv"):
        read_rows(tmp_path / "none.csv", plain())
    with pytest.raises(ValueError, match=r"out.json must end in .csv or .parquet"):
        write_rows(pl.DataFrame({"a": [1]}), np.ones(1), tmp_path / "out.json")
    with pytest.raises(ValueError, match=r"cannot write .*out.csv"):
        write_rows(pl.DataFrame({"a": [1]}), np.ones(1), write("x") / "out.csv")
