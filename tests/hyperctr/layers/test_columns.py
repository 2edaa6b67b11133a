"""Columns as vectors: every kind against a loop of a few lines, missing and unknown values, and the first weights."""

import pytest
import torch
import torch.nn.functional as F
from random_weights import drawn

from hyperctr.batch import Columns, Values
from hyperctr.layers.columns import ColumnVectors, Tags, column_vectors
from hyperctr.layers.numbers import Piecewise
from hyperctr.layers.table import Table

NAN, INF = float("nan"), float("inf")
KNOTS = [torch.tensor([-1.0, 0.5, 2.0, 2.25]), torch.tensor([3.0]), torch.tensor([0.0, 10.0])]


# --- tags -------------------------------------------------------------------------------------------------------------


def test_tags_are_the_mean_of_the_known_ones():
    module = drawn(Tags([4, 3], 2))
    table, tags = module.table.weight, torch.tensor([
        [[0, 3, -1, -1], [2, -1, -1, -1]],
        [[-1, -1, -1, -1], [3, 0, 7, -1]],  # 3 and 7 are unknown in the second column
        [[4, 1, 1, -1], [-1, 1, -1, 0]],  # 4 is unknown in the first; a tag named twice counts twice; gaps
    ])  # fmt: skip
    found, nothing = module(tags), torch.zeros(2).double()
    want = [[(table[0] + table[3]) / 2, table[6]], [nothing, table[4]], [table[1], (table[5] + table[4]) / 2]]
    torch.testing.assert_close(found, torch.stack([torch.stack(row) for row in want]))
    found.sum().backward()
    assert module.table.weight.grad[:, 0].tolist() == [0.5, 1, 0, 0.5, 1.5, 0.5, 1, 0]


def test_rows_without_room_for_a_tag_are_zero():
    assert Tags([4], 2)(torch.empty(3, 1, 0, dtype=torch.long)).tolist() == [[[0, 0]]] * 3


def test_large_tables_of_tags_and_knots_have_sparse_gradients(monkeypatch):
    monkeypatch.setattr("hyperctr.layers.table.LARGE", 4)
    for module, x in ((Tags([4, 2], 2), torch.tensor([[[0, -1], [1, 9]]])),
                      (Piecewise([KNOTS[0], KNOTS[1]], 2), torch.tensor([[0.7, 1.0]]))):  # fmt: skip
        module(x).sum().backward()
        gradient = module.table.weight.grad.coalesce()
        assert gradient.is_sparse
        assert gradient.indices().tolist() == [[0, 5] if isinstance(module, Tags) else [1, 2, 4]]


# --- all kinds together -----------------------------------------------------------------------------------------------


def every_kind(values=None):
    numbers = {"price": KNOTS[0], "age": torch.empty(0)}
    return Columns({"tab": 2, "city": 3}, numbers, {"words": 4}, {"look": 3, "sound": 2}, values)


def rows():
    """Three rows; nothing is known in the last."""
    return Values(
        codes=torch.tensor([[1, 0], [0, 2], [-1, 3]]),
        numbers=torch.tensor([[0.1, -0.3], [NAN, 1.0], [NAN, NAN]]),
        tags=torch.tensor([[[2, 0]], [[1, -1]], [[-1, 4]]]),
        vectors=(torch.tensor([[1.0, 2, 3], [0, 1, 0], [0, 0, 0]]), torch.tensor([[1.0, 0], [-1, 2], [0, 0]])),
    )


def test_the_order_is_that_of_the_names():
    columns, values = every_kind(), rows()
    module = drawn(ColumnVectors(columns, 5))
    found = module(values, 3)
    assert columns.names == ("tab", "city", "price", "age", "words", "look", "sound") and found.shape == (3, 7, 5)
    code = torch.tensor([[1, 2], [0, 4], [5, 5]])  # row of the table; its last row where unknown
    torch.testing.assert_close(found[:, :2], module.weight[code])
    torch.testing.assert_close(found[:, 2:4], module.numbers(values.numbers))
    torch.testing.assert_close(found[:, 4:5], module.tags(values.tags))
    for k, x in enumerate(values.vectors):
        torch.testing.assert_close(found[:, 5 + k], x.double() @ module.project[k].weight.T)


def test_what_is_not_known_is_zero_but_a_missing_number_has_a_vector():
    found = drawn(ColumnVectors(every_kind(), 5))(rows(), 3)[2]
    assert found.any(1).tolist() == [False, False, True, True, False, False, False]


def test_rows_without_values_are_zero():
    assert drawn(ColumnVectors(every_kind(), 5))(None, 2).tolist() == torch.zeros(2, 7, 5).tolist()


def test_users_and_items_are_looked_up_by_number():
    held, free = drawn(ColumnVectors(every_kind(rows()), 5)), drawn(ColumnVectors(every_kind(), 5))
    free.load_state_dict(held.state_dict())  # values are no weights
    index = torch.tensor([2, 0, 0, 1])
    torch.testing.assert_close(held.of(index), free(rows()[index], 4))
    assert held.known.tolist() == [True, True, False]


@pytest.mark.parametrize("kind", ["sizes", "numbers", "tags", "vectors"])
def test_each_kind_alone(kind):
    whole, values = every_kind(), rows()
    own = {"sizes": "codes"}.get(kind, kind)
    columns = Columns(**{kind: getattr(whole, kind)}, values=Values(**{own: getattr(values, own)}))
    module = drawn(ColumnVectors(columns, 4))
    assert torch.equal(module.of(torch.arange(3)), module(columns.values, 3))
    assert module.known.tolist() == [True, True, False]
    module.of(torch.arange(3)).square().sum().backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    assert len(trained) == {"sizes": 1, "numbers": 5, "tags": 1, "vectors": 2}[kind]  # no empty table of categories
    assert all(p.grad.any() for p in trained)


def test_a_batch_without_rows():
    module, none = ColumnVectors(every_kind(rows()), 5), torch.arange(0)
    assert module(rows()[none], 0).shape == module(None, 0).shape == module.of(none).shape == (0, 7, 5)


def test_no_columns_need_no_module():
    assert column_vectors(Columns(), 4) is None


def test_half_and_double_values_take_the_precision_of_the_weights():
    values = rows()
    other = Values(values.codes, values.numbers.double(), values.tags.int(), tuple(x.half() for x in values.vectors))
    for dtype in (torch.float32, torch.float64):
        module = ColumnVectors(every_kind(other), 5).to(dtype)
        assert module(values, 3).dtype == module(other, 3).dtype == module.of(torch.arange(3)).dtype == dtype


def test_plain_categories_have_the_names_and_draws_of_one_table():
    columns = Columns({"age": 3, "city": 2}, values=Values(torch.tensor([[0, 1], [3, 2]])))
    torch.manual_seed(3)
    module = ColumnVectors(columns, 4)
    torch.manual_seed(3)
    assert torch.equal(module.weight, Table(5, 4).weight)
    assert list(module.state_dict()) == ["weight"]
    torch.testing.assert_close(
        module.of(torch.tensor([0, 1])), F.embedding(torch.tensor([[0, 4], [5, 5]]), module.weight)
    )


def test_a_category_is_the_code_or_its_columns_size():
    columns = Columns({"age": 3}, values=Values(torch.tensor([[2], [-1], [3]])))
    assert columns.code("age").tolist() == [2, 3, 3]
