"""Columns as they are read: codes, numbers, tags and vectors, and the values of later rows by the same vocabulary."""

import io

import numpy as np
import polars as pl
import pytest

from hyperctr.data.columns import Category, Number, TagLists, Vectors, first_codes, flat, read_column
from hyperctr.data.kinds import Kind
from hyperctr.data.tables import narrowed


@pytest.mark.parametrize(
    ("values", "codes", "size"),
    [
        (["b", None, "a", "b", ""], [2, 0, 1, 2, 0], 3),
        ([30, 20, None, 30], [2, 1, 0, 2], 3),
        ([1.5, float("nan"), 0.5], [2, 0, 1], 3),
        ([[2, 1], None, [], [2, 1], [1]], [2, 0, 0, 2, 1], 3),
        ([True, False, None], [2, 1, 0], 3),
        ([None, None], [0, 0], 1),
    ],
)
def test_values_are_numbered_from_one_and_zero_is_missing(values, codes, size):
    found = Category.read(pl.Series("x", values))
    assert (found.codes.tolist(), found.size) == (codes, size)
    assert found.codes.dtype == np.int64
    assert found.encode(pl.Series("x", values)).codes.tolist() == codes


def test_a_float_of_many_values_is_cut_into_sixteen_equal_bins():
    values = np.random.default_rng(0).permutation(1600) / 7.0
    column = Category.read(pl.Series("x", [*values, None]), bins=True)
    codes = column.codes
    assert column.size == 17 and codes[-1] == 0
    assert column.encode(pl.Series("x", [*values, None])).codes.tolist() == codes.tolist()
    assert column.encode(pl.Series([-1e9, 1e9])).codes.tolist() == [1, 16]
    assert (np.bincount(codes)[1:] == 100).all()
    assert (np.diff(codes[:-1][np.argsort(values)]) >= 0).all()


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ([3, 1, None], ["3", "2", "", "3.0"]),
        (["3", "1", None], [3.0, 2.0, None, 3.0]),
        ([3.0, 1.0, None], ["3", "2", None, "3.0"]),
        (["3", "x", None], [3, 2, None, 3]),
    ],
)
def test_later_values_are_found_by_value_not_by_how_they_are_written(first, later):
    column = Category.read(pl.Series(first))
    three = column.codes[0]
    assert column.encode(pl.Series(later)).codes.tolist() == [three, column.size, 0, three]
    assert column.encode(pl.Series(later)).unknown.tolist() == [False, True, False, False]


def test_true_and_false_are_found_however_they_are_written():
    column = Category.read(pl.Series([True, False]))
    assert column.encode(pl.Series(["True", "FALSE", "false"])).codes.tolist() == [2, 1, 1]


def test_a_hash_is_the_same_everywhere():
    """By hand: CRC-32 of "a" is 3904355907, of "7" 1790921346."""
    kind = Kind("hash", buckets=10)
    column = Category.read(pl.Series(["a", "7", None, ""]), kind)
    assert column.bucket[column.codes].tolist() == [8, 7, 0, 0]
    for later in (pl.Series([7, 7]), pl.Series([7.0]), pl.Series(["7"])):
        found = column.encode(later)
        assert set(found.bucket[found.codes]) == {7} and not found.unknown.any()
    assert column.series().to_list() == ["a", "7", None, None]


def test_numbers_are_read_from_text_and_what_is_none_is_named():
    kind = Kind("number")
    assert Number.read(pl.Series([" 1.5", "", None]), kind, "x").values[0] == 1.5
    assert np.isnan(Number.read(pl.Series([np.inf, np.nan]), kind, "x").values).all()
    with pytest.raises(ValueError, match="log.csv must hold numbers .*found 'n/a' in row 2"):
        Number.read(pl.Series(["1", "n/a"]), kind, "log.csv")
    assert np.isnan(Number.read(pl.Series([1.0]), kind, "x").encode(pl.Series(["n/a"])).values).all()


@pytest.mark.parametrize(
    "values", [["b| a|b", "", None, "c"], [["b", " a", "b"], [], None, ["c"]], [["b", "a", None], [""], None, ["c"]]]
)
def test_tags_of_a_row_are_distinct_and_in_their_order(values):
    column = TagLists.read(pl.Series(values))
    assert column.start.tolist() == [0, 2, 2, 2, 3] and column.codes.tolist() == [1, 0, 2]
    assert column.values.to_list() == ["a", "b", "c"] and column.missing.tolist() == [False, True, True, False]
    later = column.encode(pl.Series(["c|z", None]))
    assert later.codes.tolist() == [2, -1] and later.unknown.tolist() == [True, False]
    assert first_codes(column).tolist() == [2, 0, 0, 3]
    assert column[[3, 0, 1]].series().to_list() == [["c"], ["b", "a"], None]


def test_rows_of_tags_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    rows = [[str(x) for x in rng.choice(9, rng.integers(4), False)] for _ in range(50)]
    column = TagLists.read(pl.Series(rows, dtype=pl.List(pl.String)))
    for at in (np.array([3, 3, 49, 0]), rng.random(50) < 0.5, slice(5, 20)):
        wanted = [rows[k] or None for k in np.arange(50)[at]]
        assert column[at].series().to_list() == wanted and len(column[at]) == len(wanted)


@pytest.mark.parametrize(
    "values", [[[0.5, 1], None], ["0.5 1", ""], ["[0.5, 1.0]", None], ["0.5|1", None], [[0.5, 1], []]]
)
def test_vectors_are_read_from_lists_and_text(values):
    column = Vectors.read(pl.Series(values), Kind("vector"), "x")
    assert column.matrix.tolist() == [[0.5, 1], [0, 0]] and column.missing.tolist() == [False, True]
    assert column.series().to_list() == [[0.5, 1], None]


def test_vectors_of_another_width_or_of_words_are_refused():
    with pytest.raises(ValueError, match="log.csv must hold 2 numbers per row, found 1 in row 2"):
        Vectors.read(pl.Series([[1.0, 2.0], [1.0]]), Kind("vector"), "log.csv")
    with pytest.raises(ValueError, match="column 'v' must hold 2 numbers per row, found 3 in row 1"):
        Vectors.read(pl.Series([[1.0, 2.0]]), Kind("vector"), "x").encode(pl.Series("v", [[1.0, 2.0, 3.0]]))
    with pytest.raises(ValueError, match="log.csv must hold numbers, found 'a b' in row 2"):
        Vectors.read(pl.Series(["1 2", "a b"]), Kind("vector"), "log.csv")


def test_a_text_is_the_same_vector_later():
    texts = ["red hat", "blue hat", "red shoe", None]
    column = Vectors.read(pl.Series(texts), Kind("text", dim=2), "x")
    assert column.matrix.shape == (4, 2) and column.missing.tolist() == [False, False, False, True]
    later = column.encode(pl.Series(["red shoe", "green", "red hat"])).matrix
    assert later[[0, 2]].tolist() == column.matrix[[2, 0]].tolist() and not later[1].any()


def test_a_column_of_a_plain_list_is_a_category_with_floats_in_bins():
    floats = pl.Series(np.arange(64) / 4)
    assert read_column(floats, None, "x").size == 17
    assert read_column(floats, Kind("category"), "x").size == 65
    assert len(read_column(floats, Kind("number"), "x")) == 64


EVERY = {
    "category": (["b", None, "a", "b"], Kind()),
    "rare": ([3, 1, None, 3], Kind("category", min_count=2, of="item")),
    "number": ([0.5, None, 1e-9, 3.0], Kind("number", log=True, embedding="periodic")),
    "bucket": ([1.0, 2.0, None, 7.0], Kind("bucket", boundaries=(2.0, 5.0))),
    "tags": ([["a", "b|c"], None, ["a"], ["c"]], Kind("tags", separator="+")),
    "hash": (["x", "y", None, "x"], Kind("hash", buckets=7)),
    "vector": ([[0.1, 0.2], None, [1.0, 0.0], [3.0, 1e-8]], Kind("vector")),
    "text": (["red hat", "blue hat", None, "red shoe"], Kind("text", dim=2)),
}


def held(column):
    """All that a column holds, as text, in which NaN equals itself."""
    plain = {np.ndarray: np.ndarray.tolist, pl.Series: pl.Series.to_list}
    return str({name: plain.get(type(x), str)(x) for name, x in vars(column).items() if name != "words"})


@pytest.mark.parametrize("name", EVERY)
def test_what_is_written_reads_as_the_same_column(name):
    """As it is (Parquet), as text (CSV), and by the vocabulary of the first."""
    values, kind = EVERY[name]
    column = read_column(pl.Series(name, values), kind, "x")
    lines = io.BytesIO(pl.DataFrame({name: flat(column)}).write_csv().encode())
    texts = pl.read_csv(lines, infer_schema=False)[name]
    for written in (column.series(), texts):
        written = written.alias(name)
        if name in ("rare", "category") and written.dtype == pl.String:
            written = narrowed(written)  # as a reader does
        assert held(read_column(written, kind, "x")) == held(column)
        assert held(column.encode(written)) == held(column)


def test_bins_are_written_as_numbers_that_fall_into_them_again():
    numbers = pl.Series([*np.random.default_rng(0).normal(size=200), None])
    column = Category.read(numbers, bins=True)
    assert column.encode(column.series()).codes.tolist() == column.codes.tolist()
    assert Category.read(column.series(), bins=True).codes.tolist() == column.codes.tolist()
