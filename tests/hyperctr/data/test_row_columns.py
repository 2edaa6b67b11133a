"""What models read of a row comes from sources that are asked by rows; drawn negatives share what is of the moment."""

import numpy as np
import pytest
import torch

from hyperctr.batch import Columns, Values
from hyperctr.data.columns import Category, Number
from hyperctr.data.interactions import Interactions
from hyperctr.data.kinds import Kind
from hyperctr.data.loader import Loader
from hyperctr.data.row_columns import BatchRows, read_all

MOMENT, ITEM, PLAIN = Kind("category", of="moment"), Kind("category", of="item"), Kind()


def log(logged=True, kinds=(MOMENT, ITEM, PLAIN)):
    """Three rows of two users; the columns tell the row: 1, 2, 3."""
    names, codes = ("page", "place", "tab"), np.arange(1, 4)
    context = {n: Category(codes, Category.plain(codes).values, kind) for n, kind in zip(names, kinds, strict=True)}
    return Interactions(
        [0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 1, 1], 2, 5, context=context, logged_non_clicks=logged
    )  # fmt: skip


def test_where_negatives_are_drawn_only_the_moment_is_read_and_shared():
    some = log(logged=False)
    assert list(some.read_context) == ["page"] and list(log().read_context) == ["page", "place", "tab"]
    loader = Loader(some)
    assert loader.batch(np.array([1, 2])).context.codes.tolist() == [[2], [3]]
    batch = loader.batch(np.array([2]), negatives=3)
    assert len(batch) > 1 and (batch.context.codes == 3).all()


def test_negatives_drawn_for_logged_rows_share_all_but_what_is_of_the_item():
    batch = Loader(log()).batch(np.array([2]), negatives=3)
    assert len(batch) > 1 and batch.context.codes.tolist() == [[3, 4, 3]] * len(batch)  # 4: unknown
    assert Loader(log()).batch(np.array([2])).context.codes.tolist() == [[3, 3, 3]]


def test_rows_that_are_not_in_the_log_are_unknown_or_read_another_table():
    loader = Loader(log())
    user, item, time = (np.array(x) for x in ([0, 1], [0, 0], [9, 9]))
    arguments = user, item, time, np.zeros(2), np.arange(2)
    assert loader.make_batch(*arguments).context.codes.tolist() == [[4, 4, 4]] * 2
    assert loader.make_batch(*arguments, np.array([-1, 1])).context.codes.tolist() == [[4, 4, 4], [2, 2, 2]]
    other = loader.reading({"place": Category.plain([3, 1], 4)})
    assert other.make_batch(*arguments, np.array([0, 1])).context.codes.tolist() == [[4, 3, 4], [4, 1, 4]]
    assert loader.batch(np.array([0])).context.codes.tolist() == [[1, 1, 1]]  # unchanged


class Counted:
    """A source that counts, instead of reading a table: the number of the item, as a number and as a code."""

    columns = Columns({"code": 9}, {"number": torch.zeros(1)})

    def read(self, rows: BatchRows) -> Values:
        item = torch.from_numpy(rows.item)
        return Values(codes=item[:, None], numbers=item[:, None].float())


def test_a_source_of_any_kind_is_read_beside_the_others():
    """The loader asks each source by rows; nothing in it knows where values come from."""
    loader = Loader(log(), derive=("clicks",))
    loader.sources.append(Counted())
    batch = loader.batch(np.array([1, 2]))
    assert batch.context.codes.tolist() == [[2, 2, 2, 1, 1], [3, 3, 3, 0, 2]]
    assert batch.context.numbers.tolist() == [[1], [2]]
    names = [name for source in loader.sources for name in source.columns.names]
    assert names == ["page", "place", "tab", "clicks", "code", "number"]
    assert read_all([], None) is None


@pytest.mark.parametrize("derive", [("hour", "clicks", "since_last", "since_first")])
def test_derived_columns_are_those_of_each_query(derive):
    some = log()
    loader = Loader(some, derive=derive)
    one = loader.batch(np.arange(3)).context.codes[:, 3:]
    each = torch.cat([loader.batch(np.array([row])).context.codes[:, 3:] for row in range(3)])
    assert torch.equal(one, each)


def test_numbers_of_the_context_are_read():
    some = Interactions([0, 0], [0, 1], [1, 2], [1, 0], 1, 2, context={"price": Number(np.array([1.0, 3.0]))})
    context = Loader(some).batch(np.arange(2)).context
    assert context.codes is None and context.numbers.tolist() == [[0], [1]]  # (x - 1) / (3 - 1)
