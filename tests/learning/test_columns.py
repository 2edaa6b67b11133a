"""Numbers and tags are learned as such; `python benchmarks/columns.py` runs all models on the same world."""

from functools import cache

import pytest

from benchmarks import columns


@cache
def made():
    return columns.world(seed=1)


@cache
def ends():
    """AUC of popularity, and the best possible."""
    return columns.score("popularity", made().dataset, 1), columns.ceiling(made())


def test_deepfm_comes_near_the_best_possible_score():
    least, best = ends()
    assert least < 0.6 and best > 0.8
    assert columns.score("deepfm", made().dataset, 1) > best - columns.NEAR


@pytest.mark.parametrize("name", ["lr", "wide_deep"])
def test_others_go_half_the_way(name):
    assert columns.score(name, made().dataset, 1) > sum(ends()) / 2


def test_the_same_columns_as_categories_do_not_go_half_the_way():
    assert columns.score("deepfm", columns.as_categories(made().dataset), 1) < sum(ends()) / 2


def test_every_model_that_reads_columns_is_judged():
    assert {"lr", "deepfm", "din", "mian", "marn", "hyperctr", "esmm"} < set(columns.READERS)
