"""Links taken apart by hand: which click, which users, which part of the entry."""

from dataclasses import replace

import numpy as np
import pytest
from opened_run import DEEPFM, asked_of, opened_on, world

from hyperctr.analysis.asked import Asked
from hyperctr.analysis.explain_links import of_links
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users

DAY = 86_400_000_000
PATHS = {  # user -> day and item of each click; the row is of user a, item 9, on day 10.5
    "a": [(1, 1), (2, 2), (10.2, 3)],
    "b": [(3, 1), (4, 9)],
    "c": [(3, 1), (5, 4), (6, 9)],
    "d": [(4, 9), (5, 1), (6, 5), (7, 6)],
    "e": [(3, 2), (10.1, 9)],  # 9 is clicked in the row's own period, which its links do not read
    "f": [(11, 1), (12, 9)],  # and after the row
    "z": [(20 + k, 7 + k % 2) for k in range(30)],  # what the split tests
}


def dataset(paths):
    events = [(day, "abcdefz".index(user), item) for user, path in paths.items() for day, item in path]
    time, user, item = zip(*sorted(events), strict=True)
    log = Interactions(
        np.array(user), np.array(item), (np.array(time) * DAY).astype(np.int64), np.ones(len(time), np.float32),
        num_users=7, num_items=10, logged_non_clicks=False,
    )  # fmt: skip
    return Dataset("by hand", log, Items(10), Users(7, np.array([*"abcdefz"])))


def by_hand(paths=PATHS, past=("links",), **more):
    opened = opened_on(dataset(paths), DEEPFM, data={"past": list(past), "past_every": "1d"})
    return of_links(Asked.of(opened, "a", 9, np.datetime64(int(10.5 * DAY), "us"))), opened


def test_links_and_their_users_by_hand():
    found, _ = by_hand()
    entries = {(x["link"], x["item"]): x for x in found.entries.to_dicts()}
    assert {*entries} == {(link, "1") for link in ("like", "like_step", "next", "next_step")}
    d1, d9 = 4 + 5, 3 + 5  # before day 10: a, b, c, d have item 1; b, c, d have item 9; 5 shrinks rare items
    like, follow = 1 / 1 + 1 / 2 + 1 / 3, 1 + 2**-0.5  # b, c, d have 2, 3 and 4 items; b and c went from 1 to 9
    assert entries["like", "1"]["value"] == pytest.approx(like / np.sqrt(d1 * d9), rel=1e-6)
    assert entries["like_step", "1"]["value"] == pytest.approx(like / d1, rel=1e-6)
    assert entries["next", "1"]["value"] == pytest.approx(follow / np.sqrt(d1 * d9), rel=1e-6)
    assert entries["next_step", "1"]["value"] == pytest.approx(follow / d1, rel=1e-6)
    assert entries["like", "1"]["place"] == 3 and entries["like", "1"]["letter"] == "K" and found.clicks == 3
    users = {link: part.drop("link") for (link,), part in found.users.partition_by("link", as_dict=True).items()}
    assert users["like"]["user"].to_list() == ["b", "c", "d"]
    np.testing.assert_allclose(users["like"]["value"], np.array([1, 1 / 2, 1 / 3]) / np.sqrt(d1 * d9))
    np.testing.assert_allclose(users["like_step"]["value"], np.array([1, 1 / 2, 1 / 3]) / d1)
    assert users["like"]["size"].to_list() == [2, 3, 4] and not users["like"]["own"].any()
    np.testing.assert_allclose(users["like"]["share"], np.array([1, 1 / 2, 1 / 3]) / like)
    assert users["next"]["user"].to_list() == ["b", "c"] and users["next"]["gap"].to_list() == [1, 2]
    np.testing.assert_allclose(users["next_step"]["value"], np.array([1, 2**-0.5]) / d1)
    for link, part in users.items():
        assert part["value"].sum() == pytest.approx(entries[link, "1"]["value"], rel=1e-6)
        assert part["share"].sum() == pytest.approx(1)


def test_of_several_links_the_strongest_comes_first_and_is_taken_apart():
    found, _ = by_hand(PATHS | {"e": [(3, 2), (4, 5), (5, 9)]})
    for link in ("like", "next"):
        part = found.entries.filter(link=link)
        assert part["item"].to_list() == ["1", "2"] and part["value"].is_sorted(descending=True)
        users = found.users.filter(link=link)
        assert users["item"].unique().to_list() == ["1"]
        assert users["value"].sum() == pytest.approx(part["value"][0], rel=1e-6)


def test_an_item_clicked_twice_is_listed_once_in_words():
    found, _ = by_hand(PATHS | {"a": [(1, 1), (2, 2), (8, 1), (10.2, 3)]})
    assert found.entries.filter(link="like")["place"].to_list() == [2, 4]
    assert len(next(found.tables(5))[2]) == 4 and [len(lines) for _, _, lines in found.bars(5)] == [1] * 4
    assert next(found.tables(5))[2][0][2] == "1970-01-09"


def test_links_in_words():
    found, _ = by_hand()
    title, heads, lines = next(found.tables(5))
    assert "3 clicks" in title and len(lines) == 4 and lines[0][:2] == [
        "K: link of the item with clicked items, undirected", "item 1"]  # fmt: skip
    tables = [*found.tables(2)][1:]
    assert len(tables) == 2  # W and V have the users of K and T
    assert "3 who clicked both (parts add up to" in tables[0][0] and "2 who went from it to the item" in tables[1][0]
    assert [line[0] for line in tables[0][2]] == ["user b", "user c"] and tables[0][2][0][1] == "2 items"
    assert [line[1] for line in tables[1][2]] == ["1", "2"]
    assert found.notes == (
        "links are made of the clicks strictly before 1970-01-11, where the period of the row begins",
    )
    groups = [*found.bars(5)]
    assert [group[0] for group in groups] == ["K", "W", "T", "V"] and groups[0][2][0][1] == "item 1, 1970-01-02"


def test_what_happens_in_the_period_of_the_row_or_later_changes_nothing():
    whole, _ = by_hand()
    paths = PATHS | {"e": [(3, 2), (10.1, 1), (10.2, 9)], "f": [(10.6, 1), (12, 9)], "a": [*PATHS["a"], (11, 9)]}
    changed, _ = by_hand(paths)
    assert changed.to_dict() == whole.to_dict()


def test_the_users_own_hyperedge_is_named():
    found, _ = by_hand(PATHS | {"a": [(1, 1), (2, 9), (3, 2)]})
    mine = found.users.filter(own=True)
    assert mine.filter(link="next").to_dicts()[0]["gap"] == 1 and mine["user"].unique().to_list() == ["a"]
    assert "user a (of this row)" in [line[0] for table in [*found.tables(5)][1:] for line in table[2]]


def test_one_shared_user_is_all_of_the_entry():
    paths = PATHS | {"c": [(3, 4)], "d": [(5, 1)]}
    found, _ = by_hand(paths)
    assert found.users["user"].unique().to_list() == ["b"] and set(found.users["share"]) == {1.0}


def test_recent_links_and_those_of_a_period_are_taken_apart_too():
    for kind in ("period_links", "recent_links"):
        found, _ = by_hand(PATHS | {"b": [(9.1, 1), (9.2, 9)]}, past=[kind])
        assert found.entries["link"][0].startswith(kind.split("_")[0])
        total = found.users.group_by("link", maintain_order=True).agg(value=found.users["value"].head(0).sum())
        assert len(total) == 4
        for name, part in found.users.group_by("link", maintain_order=True):
            strongest = found.entries.filter(link=name[0])["value"][0]
            assert part["value"].sum() == pytest.approx(strongest, rel=1e-6)


def test_nearest_items_are_links_without_users():
    opened = opened_on(world(), DEEPFM, data={"past": ["nearest"]})
    log, k = opened.prepared.dataset.interactions, opened.prepared.split.test[-1]
    found = of_links(asked_of(opened, k))
    near = opened.prepared.loader.sources[-1].parts[0].near["visual"]
    own = log.item[(log.user == log.user[k]) & (log.time < log.time[k]) & (log.label == 1)][::-1][:50]
    expected = np.sort([x for x in near.look_up(int(log.item[k]), own) if x != 0])[::-1]
    np.testing.assert_array_equal(found.entries.filter(link="nearest_visual")["value"], expected.astype(np.float64))
    assert len(expected) and not len(found.users) and found.entries["letter"].unique().to_list() == [""]


def test_what_cannot_be_shown_is_said():
    found, opened = by_hand(past=["counts"])
    assert found.notes == ("the run reads no links (data.past): there are none to take apart",)
    found, opened = by_hand()
    early = of_links(Asked.of(opened, "f", 9, np.datetime64(int(2.5 * DAY), "us")))
    assert early.notes[-1] == "user f had no click before: the item is linked with none"
    alone = of_links(Asked.of(opened, "a", 8, np.datetime64(int(10.5 * DAY), "us")))
    assert alone.notes[-1] == "none of the 3 latest clicks is linked with the item"
    assert replace(alone).to_dict()["entries"] == [] and not [*alone.tables(5)]
