import numpy as np
import pytest

from hyperctr.data.items import Ids, Items, Users, blocks, present_rows


def test_a_row_of_zeros_is_a_missing_modality():
    items = Items(3, modalities={"visual": np.array([[0, 1], [0, 0], [-2, 0]], np.float16)})
    assert items.present["visual"].tolist() == [True, False, True]


def test_stated_presence_goes_before_the_zeros():
    items = Items(2, modalities={"visual": np.zeros((2, 4), np.float32)}, present={"visual": np.array([True, False])})
    assert items.present["visual"].tolist() == [True, False]


def test_presence_is_found_block_by_block():
    matrix = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    matrix[[0, 4, 9]] = 0
    assert np.flatnonzero(~present_rows(matrix, 10, "x", block=4)).tolist() == [0, 4, 9]


def test_ids_default_to_the_numbers():
    assert Items(3).ids.tolist() == Users(3).ids.tolist() == [0, 1, 2]


def test_print_themselves_in_one_line():
    items = Items(2, fields={"genre": np.array([1, 2])}, modalities={"text": np.ones((2, 8))})
    assert repr(items) == "Items(2 items, fields: genre, modalities: text 8)"
    assert repr(Users(4)) == "Users(4 users, fields: none)"
    assert (len(items), len(Users(4))) == (2, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(bad):
    matrix = np.ones((10, 2), np.float16)
    matrix[7, 1] = bad
    with pytest.raises(ValueError, match=r"visual.npy holds NaN or infinity, first in row 8"):
        present_rows(matrix, 10, "visual.npy", block=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Items(3, ids=np.arange(2)), "item ids must have 3 rows, got 2"),
        (
            lambda: Items(3, modalities={"v": np.ones((2, 4))}),
            r"'v' must have 3 rows, one per item, got shape \[2, 4\]",
        ),
        (lambda: Items(3, modalities={"v": np.ones(3)}), r"got shape \[3\]"),
        (lambda: Items(3, modalities={"v": np.ones((3, 4), int)}), "must hold floats"),
        (lambda: Items(2, modalities={"v": np.ones((2, 4))}, present={"v": np.ones(3, bool)}), "need 2 rows"),
        (lambda: Items(2, present={"v": np.ones(2, bool)}), "presence was given for"),
        (lambda: Items(2, titles=np.array(["a"])), "titles must have 2 rows"),
        (lambda: Users(2, fields={"age": np.array([0, -5])}), r"user field 'age': categories must lie in \[0, 1\)"),
        (lambda: Users(2, fields={"age": np.array([0.0, 1])}), "'age': categories must be whole numbers"),
        (lambda: Items(2, fields={"age": np.array([0])}), "item field 'age' must have 2 rows, got 1"),
    ],
)
def test_a_wrong_table_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_blocks_of_a_file_are_its_rows_and_none_is_a_map_of_it(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(90, dtype=np.float16).reshape(30, 3))
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="r")
    for matrix in (mapped, np.array(mapped), mapped[5:17], mapped[::2]):
        parts = list(blocks(matrix, 3 * 8))
        assert [start for start, _ in parts] == list(range(0, len(matrix), 8))
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), matrix)
    assert not any(isinstance(part, np.memmap) for _, part in blocks(mapped, 24))


@pytest.mark.parametrize("ids", [np.array([30, 10, 20]), np.array(["30", "10", "x"]), np.array(["30", "10"], object)])
def test_ids_are_looked_up_as_they_are_or_as_text(ids):
    known = Ids("user", ids)
    assert known.numbers([10, 30, 10]).tolist() == known.numbers(["10", "30", "10"]).tolist() == [1, 0, 1]
    assert known.numbers(["99", "1"]).tolist() == [len(ids)] * 2  # an unknown one has the number that nobody has
    assert known.numbers([]).dtype == np.int64 and known.numbers(np.array([10])).dtype == np.int64
    assert known.number("10") == known.number(10) == 1
    with pytest.raises(ValueError, match=rf"the data has no user '9'; its {len(ids)} users have ids such as 30, 10"):
        known.number(9)
