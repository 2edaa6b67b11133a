"""The words of titles as a column of every model (`data.titles`), and what is said where there are none."""

from dataclasses import replace

import numpy as np
from opened_run import DEEPFM, opened_on, world

from hyperctr.data.items import Items

TITLES = {"titles": True}


def titled(titles=None):
    data = world()
    items = data.items
    return replace(data, items=Items(len(items), modalities=items.modalities, titles=titles))


def test_words_are_a_column_of_items_with_the_vocabulary_of_training_items():
    data = titled()
    training = np.unique(data.interactions.item[opened_on(data, DEEPFM).prepared.split.train])
    other = np.setdiff1d(np.arange(len(data.items)), training)
    assert len(other) > 1  # items of later rows alone
    titles = np.full(len(data.items), "", dtype=object)
    titles[training[:2]], titles[training[2]], titles[other[:2]] = "Known, known", "once", "later known"
    ready = opened_on(replace(data, items=replace(data.items, titles=titles)), DEEPFM, data=TITLES).prepared
    columns = ready.tables.fields.item
    assert columns.tags == {"title.words": 1}
    tags = columns.values.tags[:, 0]
    assert (tags[[*training[:2], *other[:2]], 0] == 0).all() and int((tags >= 0).sum()) == 4
    assert not ready.tables.fields.user.tags and titles[training[0]] == "Known, known"


def test_a_run_says_that_there_are_no_titles_and_reads_none():
    plain, asked = opened_on(titled(), DEEPFM).prepared, opened_on(titled(), DEEPFM, data=TITLES).prepared
    assert asked.tables.fields.item.names == plain.tables.fields.item.names
    said = [note for note in asked.dataset.notes if note not in plain.dataset.notes]
    assert len(said) == 1 and said[0].startswith("There are no titles of items in ") and "data.titles" in said[0]
