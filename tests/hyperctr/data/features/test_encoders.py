"""What is fitted on training rows, with numbers by hand: rare and unknown values, scales, knots, levels and tags."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from hyperctr.data.columns import Category, Number, TagLists, Vectors
from hyperctr.data.features.encoders import MOST_TAGS, Codes, Encoders, Levels, Scale, Tags, Unit, quantiles
from hyperctr.data.kinds import Kind


def test_values_without_a_training_row_are_unknown_and_missing_is_a_value():
    column = Category.read(pl.Series(["a", "b", None, "c", "a"]))  # codes 1 2 0 3 1
    codes = Codes.fit(column, np.array([1, 0, 1, 1, 0]))
    assert codes.size == 4 and codes(column).tolist() == [1, 4, 0, 3, 1]
    assert codes(column.encode(pl.Series(["z", None, "c"]))).tolist() == [4, 0, 3]
    assert Codes.fit(column, np.array([1, 0, 0, 1, 0]))(column).tolist() == [1, 4, 4, 3, 1]  # missing never trained


def test_rare_values_share_one_and_those_never_trained_are_unknown():
    """Training rows: a 3, b 1, c 2, d 1, e none, missing 1; at least 2 are asked for."""
    column = Category.read(pl.Series(["a", "b", "c", "d", "e", None]), Kind("category", min_count=2))
    codes = Codes.fit(column, np.array([3, 1, 2, 1, 0, 1]))
    assert codes.size == 4  # missing, a, c, rare
    assert codes(column).tolist() == [1, 3, 2, 3, 4, 0]
    assert codes(column.encode(pl.Series(["z"]))).tolist() == [4]
    assert codes.note(column) == "2 of 5 values have fewer than 2 training rows and share one"


def test_a_number_is_scaled_by_median_and_interquartile_range_of_its_training_rows():
    column = Number(np.array([1.0, 2, 3, 4, 1000, np.nan]), Kind("number", knots=5))
    scale = Scale.fit(column, np.array([1, 1, 1, 1, 0, 1]))  # quartiles 1 2 3: the last value is not trained on
    assert (scale.median, scale.spread) == (2, 2)
    assert scale(column)[:5].tolist() == [-0.5, 0, 0.5, 1, 499] and math.isnan(scale(column)[5])
    assert scale.knots.tolist() == [-0.5, 0, 0.5, 1]  # distinct quantiles at 0, 1/4, 1/2, 3/4 and 1


def test_the_log_keeps_the_sign():
    column = Number(np.array([-math.e + 1, 0, math.e - 1]), Kind("number", log=True))
    scale = Scale.fit(column, np.ones(3))
    np.testing.assert_allclose(scale(column), [-0.5, 0, 0.5], atol=1e-6)


def test_a_number_without_spread_is_scaled_by_its_deviation():
    values = np.array([0.0, 0, 0, 0, 10])
    scale = Scale.fit(Number(values), np.ones(5))
    assert (scale.median, scale.spread) == (0, pytest.approx(math.sqrt(100 / 5)))
    assert Scale.fit(Number(values * 0), np.ones(5)).spread == 1
    nothing = Scale.fit(Number(values * np.nan), np.ones(5))
    assert (nothing.median, nothing.spread, nothing.knots.tolist()) == (0, 1, [0])


def test_a_periodic_number_has_no_knots():
    assert not len(Scale.fit(Number(np.arange(9.0), Kind("number", embedding="periodic")), np.ones(9)).knots)


def test_levels_of_stated_boundaries_and_of_quantiles():
    values = np.array([17.0, 18, 30, np.nan, 99])
    stated = Levels.fit(Number(values, Kind("bucket", boundaries=(18, 40))), np.ones(5))
    assert stated.size == 4 and stated(Number(values)).tolist() == [1, 2, 2, 0, 3]
    assert stated(Number(np.array([18.0]))).tolist() == [2]
    half = Levels.fit(Number(values, Kind("bucket", quantiles=2)), np.array([1, 1, 1, 0, 0]))
    assert half.boundaries.tolist() == [18] and half(Number(values)).tolist() == [1, 2, 2, 3, 2]  # missing: unknown
    one_side = Levels.fit(Number(values, Kind("bucket", boundaries=(18, 40))), np.array([1, 1, 0, 0, 0]))
    assert one_side(Number(values)).tolist() == [1, 2, 2, 4, 4]


def test_tags_are_kept_in_order_if_they_were_trained_often_enough():
    column = TagLists.read(pl.Series(["c|a", "a", None, "b|c|a"]), Kind("tags", min_count=2))
    tags = Tags.fit(column, np.array([1, 1, 1, 0]))  # training rows: a 2, c 1, b 0
    assert tags(column).tolist() == [[0], [0], [-1], [0]]
    every = Tags.fit(TagLists.read(pl.Series(["c|a", "a", None, "b|c|a"])), np.array([1, 1, 1, 0]))
    assert every(column).tolist() == [[2, 0], [0, -1], [-1, -1], [2, 0]]
    assert every(column[[1]]).tolist() == [[0]] and every(column[[2]]).tolist() == [[-1]]


def test_tags_beyond_the_most_are_cut_and_counted():
    many = "|".join(f"{k:03}" for k in range(MOST_TAGS + 3))
    column = TagLists.read(pl.Series([many, "000"]))
    tags = Tags.fit(column, np.ones(2))
    assert tags(column).shape == (2, MOST_TAGS) and tags(column)[0].tolist() == list(range(MOST_TAGS))
    assert tags.note(column) == "1 of 2 have more than 64 tags: the first 64 are read"
    assert Encoders.fit({"t": column}, np.ones(2)).notes({"t": column}) == [f"Column t: {tags.note(column)}."]
    assert tags.note(column[[1]]) == ""


def test_vectors_have_entries_of_deviation_one_in_the_training_rows():
    column = Vectors(np.array([[3.0, 4], [0, 0], [30, 40]], np.float32))
    unit = Unit.fit(column, np.array([1, 1, 0]))
    assert unit.length == 5
    np.testing.assert_allclose(unit(column), np.array([[3, 4], [0, 0], [30, 40]]) / 5 * math.sqrt(2), rtol=1e-6)
    assert Unit.fit(column, np.array([0, 1, 0])).length == 1


def test_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=50).round(1), rng.integers(0, 4, 50)
    shares = np.linspace(0, 1, 11)
    wanted = np.quantile(np.repeat(values, weight), shares, method="inverted_cdf")
    np.testing.assert_array_equal(quantiles(values, weight, shares), wanted)


def test_columns_side_by_side_and_one_more_that_is_unknown():
    columns = {
        "place": Category.plain([1, 0]), "words": TagLists.read(pl.Series(["a|b", "b"])),
        "price": Number(np.array([5.0, np.nan])), "age": Number(np.array([30.0, 10]), Kind("bucket", boundaries=(18,))),
        "shape": Vectors(np.array([[1.0, 0], [0, 0]], np.float32)),
    }  # fmt: skip
    encoders = Encoders.fit(columns, np.ones(2))
    table = encoders.table(columns, 2)
    assert table.names == ("place", "age", "price", "words", "shape")
    assert table.sizes == {"place": 2, "age": 3} and table.tags == {"words": 2} and table.vectors == {"shape": 2}
    assert table.values.codes.tolist() == [[1, 2], [0, 1], [2, 3]]
    assert table.values.tags.tolist() == [[[0, 1]], [[1, -1]], [[-1, -1]]]
    assert table.values.numbers.isnan().tolist() == [[False], [True], [True]]
    assert table.values.vectors[0][1:].tolist() == [[0, 0], [0, 0]]
    less = encoders.values({"place": columns["place"]}, 2)
    assert less.codes.tolist() == [[1, 3], [0, 3]] and torch.isnan(less.numbers).all() and (less.tags == -1).all()
    assert len(Encoders().table({}, 2)) == 0 and Encoders().table({}, 2).values is None
