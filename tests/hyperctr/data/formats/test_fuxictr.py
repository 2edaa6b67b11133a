import pytest

from .conftest import note, rows

HEADER = "clk,time_stamp,userid,adgroup_id,pid,price,const,click_sequence\n"
FILES = {
    "train.csv": HEADER
    + "0,2017-05-06 00:00:00,1,7,a,3.5,1,\n1,2017-05-06 00:00:01,1,8,b,9,1,7^8\n1,2017-05-07,2,7,a,3.5,1,7\n",
    "valid.csv": HEADER + "0,2017-05-08 00:00:00,2,8,b,9,1,7\n",
    "test.csv": HEADER + "1,2017-05-09 00:00:00,1,7,a,3.5,1,7^8^9\n",
}


def test_the_given_split_with_stated_columns(imported):
    data, _ = imported("fuxictr", FILES, item="adgroup_id", click="clk", time="time_stamp")
    assert rows(data) == [(1, 7, 0), (1, 8, 1), (2, 7, 1), (2, 8, 0), (1, 7, 1)]
    log = data.interactions
    assert log.part.tolist() == [0, 0, 0, 1, 2] and log.logged_non_clicks
    assert list(log.context) == ["pid", "price"] and log.context["pid"].codes.tolist() == [1, 2, 1, 2, 1]
    assert "Sequences are not read, histories are made from the log: click_sequence." in note(data)
    assert "Columns of a single value are not read: const." in note(data)


def test_usual_names_are_guessed_and_a_missing_validation_file_is_said(imported):
    data, _ = imported("fuxictr", {name: text for name, text in FILES.items() if name != "valid.csv"})
    assert data.interactions.part.tolist() == [0, 0, 0, 2] and "There is no valid.csv." in note(data)


def test_a_set_without_users_or_with_other_columns_is_named(imported):
    head = "label,i1,c1\n0,1,2\n"
    with pytest.raises(ValueError, match="no column can be the user.*--user COLUMN"):
        imported("fuxictr", {"train.csv": head, "test.csv": head})
    with pytest.raises(ValueError, match="test.csv has other columns than train.csv"):
        imported("fuxictr", {"train.csv": head, "test.csv": "label,i1\n0,1\n"})


def test_the_published_sample(imported, data_home):
    folder = data_home / "ctr-samples" / "fuxictr" / "tiny_csv"
    files = {file.name: file.read_bytes() for file in folder.glob("*.csv")}
    data, _ = imported("fuxictr", files, item="adgroup_id")
    assert [int((data.interactions.part == k).sum()) for k in range(3)] == [
        sum(1 for _ in (folder / f"{part}_sample.csv").open()) - 1 for part in ("train", "valid", "test")
    ]
