"""Titles as numbers of words, by hand."""

import numpy as np

from hyperctr.data.features import titles
from hyperctr.data.features.titles import tokens, words_of

TITLES = np.array(["The red Shoe", "red shoe; RED hat", "A hat", "", "the the", "blue shoe"], dtype=object)


def test_words_of_two_training_items_are_known_the_most_frequent_first():
    found, count = tokens(TITLES, np.arange(5))
    # red and shoe stand in two items, hat in two, the in two; a and blue in one; each once an item
    assert count == 4 and found.shape == (7, titles.LENGTH)
    rows = [[x for x in row if x < count] for row in found.tolist()]
    the, red, shoe, hat = rows[4][0], rows[0][1], rows[0][2], rows[2][0]
    assert sorted([the, red, shoe, hat]) == [0, 1, 2, 3]
    assert rows == [[the, red, shoe], [red, shoe, red, hat], [hat], [], [the, the], [shoe], []]


def test_padding_is_the_number_behind_the_last_word():
    found, count = tokens(TITLES, np.arange(5))
    assert found[0, 3:].tolist() == [count] * (titles.LENGTH - 3) and (found[-1] == count).all()


def test_words_that_training_items_lack_are_not_known():
    found, count = tokens(TITLES, np.array([False, False, True, True, True, True]))
    assert count == 0 and (found == 0).all()


def test_long_titles_and_rare_words_are_cut(monkeypatch):
    monkeypatch.setattr(titles, "WORDS", 2)
    long = np.array([" ".join("abc"[k % 3] for k in range(60)), "a a b b", "a c", "a b c d"])
    found, count = tokens(long, np.ones(4, bool))
    assert count == 2 and found[0].tolist() == [0, 1] * 10  # of a, b and c, c is too rare


def test_the_words_of_a_title_as_tags_are_those_of_its_numbers_each_once():
    column = words_of(TITLES, np.arange(5))
    assert sorted(column.values.to_list()) == ["hat", "red", "shoe", "the"]
    assert column.series().to_list() == [
        ["the", "red", "shoe"],
        ["red", "shoe", "hat"],
        ["hat"],
        None,
        ["the"],
        ["shoe"],
    ]


def test_words_as_tags_are_cut_like_numbers(monkeypatch):
    monkeypatch.setattr(titles, "WORDS", 3)
    monkeypatch.setattr(titles, "LENGTH", 2)
    column = words_of(np.array(["a b c", "c c b", "c a", "d"]), np.arange(4))
    assert column.series().to_list() == [["a", "b"], ["c", "b"], ["c", "a"], None]
    assert words_of(np.array(["a", ""]), np.arange(2)).series().to_list() == [None, None]
