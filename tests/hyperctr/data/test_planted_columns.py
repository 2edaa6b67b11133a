"""The planted world `columns`: a wave, the effects of tags and a cross, which add up to the logit, and nothing else."""

from functools import cache

import numpy as np
import pytest

from hyperctr.data import planted, read
from hyperctr.data.planted_columns import CROSS, EACH, FAR, PERIODS, PLACES, TAG, TAGS, TOPICS, WAVE


@cache
def world():
    return planted.planted("columns", seed=0, scale=0.1)


def parts():
    """Topic, place and distance of every row, and which tags it has, [n, TAGS]."""
    log, items = world().dataset.interactions, world().dataset.items
    words = np.zeros((len(log), TAGS))
    np.put_along_axis(words, log.context["words"].codes.reshape(-1, EACH), 1, 1)
    topic = items.fields["topic"].codes[log.item] - 1
    return topic, log.context["place"].codes - 1, log.context["distance"].values, words


def logit():
    return np.log(world().probability / (1 - world().probability))


def test_the_logit_is_a_wave_and_tags_and_a_cross_and_the_item():
    topic, place, distance, words = parts()
    wave = np.sin(2 * np.pi * PERIODS * distance / FAR)
    rest = logit() - world().offset
    known = np.column_stack([wave, words, np.eye(TOPICS * PLACES)[topic * PLACES + place]])
    found, *_ = np.linalg.lstsq(known, rest, rcond=None)
    assert np.abs(known @ found - rest).max() < 1e-9
    assert found[0] == pytest.approx(WAVE) and words.sum(1).tolist() == [EACH] * len(rest)
    assert (words @ found[1 : 1 + TAGS]).std() == pytest.approx(TAG, rel=0.1)
    cross = found[1 + TAGS :].reshape(TOPICS, PLACES)
    cross -= cross.mean()  # tags have a sum of their own
    assert np.abs(cross) == pytest.approx(CROSS)
    assert cross.sum(0) == pytest.approx(0, abs=1e-9) and cross.sum(1) == pytest.approx(0, abs=1e-9)


def test_the_wave_has_twenty_periods_and_there_are_thousands_of_combinations_of_tags():
    _, _, distance, words = parts()
    near = np.minimum((distance / FAR * 200).astype(int), 199)
    mean = np.bincount(near, logit(), 200) / np.bincount(near, minlength=200)
    assert PERIODS >= 20
    assert (np.diff(np.sign(mean - mean.mean())) != 0).sum() == 2 * PERIODS - 1
    assert len(np.unique(words, axis=0)) > 10_000


def test_hardly_any_value_occurs_twice():
    distance = world().dataset.interactions.context["distance"].values
    assert len(np.unique(distance)) == len(distance)


def test_the_folder_states_the_kinds(tmp_path):
    written = planted.write("columns", tmp_path / "world", scale=0.05)
    context = read.read(written).interactions.context
    kinds = {name: (column.kind.kind, column.kind.of) for name, column in context.items()}
    assert kinds == {"place": ("category", "moment"), "distance": ("number", "item"), "words": ("tags", "item")}
