"""Columns as vectors: every kind against a loop of a few lines, missing and unknown values, and the first weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperctr.batch import Columns, Values
from hyperctr.layers import columns as layer
from hyperctr.layers.columns import ColumnVectors, Numbers, Periodic, Piecewise, Tags, column_vectors
from hyperctr.layers.table import Table

NAN, INF = float("nan"), float("inf")
KNOTS = [torch.tensor([-1.0, 0.5, 2.0, 2.25]), torch.tensor([3.0]), torch.tensor([0.0, 10.0])]
ON_AND_OFF = [-1e30, -7.0, -1.0, -0.4, 0.5, 1.0, 2.0, 2.2, 2.25, 3.0, 5.0, 10.0, 1e30]


def drawn(module):
    """Draw every weight at random, in double precision; unknown numbers keep their zero."""
    module = module.double()
    for p in module.parameters():
        nn.init.normal_(p, std=0.5)
    for table in (m for m in module.modules() if isinstance(m, Table)):
        nn.init.zeros_(table.weight[-1])
    return module


def interpolated(knots, rows, x):
    """Loop over the pieces; `rows` are the vectors of the knots."""
    if x <= knots[0]:
        return rows[0]
    for k in range(len(knots) - 1):
        if knots[k] <= x < knots[k + 1]:
            w = (x - knots[k]) / (knots[k + 1] - knots[k])
            return (1 - w) * rows[k] + w * rows[k + 1]
    return rows[-1]


# --- numbers by knots -------------------------------------------------------------------------------------------------


def test_piecewise_is_a_loop_over_the_pieces_in_values_and_gradients():
    module = drawn(Piecewise(KNOTS, 3))
    x = torch.tensor(ON_AND_OFF).double()[:, None].repeat(1, 3)
    x[:, 1] = x[:, 1].flip(0)
    weight = module.table.weight.detach().clone().requires_grad_()
    rows = weight[:-1].split([len(own) for own in KNOTS])
    slow = [[interpolated(own.tolist(), r, float(v)) for own, r, v in zip(KNOTS, rows, row, strict=True)] for row in x]
    slow, fast = torch.stack([torch.stack(row) for row in slow]), module(x)
    torch.testing.assert_close(fast, slow)
    factor = torch.randn_like(slow)
    (fast * factor).sum().backward()
    (slow * factor).sum().backward()
    torch.testing.assert_close(module.table.weight.grad, weight.grad)


def test_piecewise_inside_the_knots_is_the_papers_encoding_and_a_linear_map():
    knots, module = KNOTS[0].double(), drawn(Piecewise(KNOTS[:1], 5))
    x = torch.linspace(-1, 2.25, 50).double()
    encoded = ((x[:, None] - knots[:-1]) / knots.diff()).clamp(0, 1)  # Eq. (1): 0 before a piece, 1 after it
    rows = module.table.weight[: len(knots)]
    linear = nn.Linear(3, 5).double()
    with torch.no_grad():
        linear.weight.copy_(rows.diff(dim=0).T)
        linear.bias.copy_(rows[0])
    torch.testing.assert_close(module(x[:, None])[:, 0], linear(encoded))


def test_one_knot_gives_one_vector_whatever_the_number():
    module = drawn(Piecewise(KNOTS[1:2], 2))
    found = module(torch.tensor([[-5.0], [3.0], [8.0]]).double())[:, 0]
    assert torch.equal(found, module.table.weight[[0, 0, 0]])


def test_a_number_trains_its_two_knots_only():
    module = drawn(Piecewise(KNOTS[:1], 2))
    module(torch.tensor([[1.0]]).double()).sum().backward()
    assert module.table.weight.grad.any(1).tolist() == [False, True, True, False, False]


# --- numbers by waves -------------------------------------------------------------------------------------------------


def test_periodic_is_a_loop_over_the_waves():
    module = drawn(Periodic(2, 3))
    x = torch.tensor([[0.3, -2.0], [0.0, 0.7]]).double()
    for row, got in zip(x.tolist(), module(x), strict=True):
        for n, value in enumerate(row):
            want = module.bias[n, 0].clone()
            for k in range(layer.WAVES):
                angle = 2 * math.pi * module.frequency[0, n, k] * value
                want += angle.sin() * module.weight[n, k] + angle.cos() * module.weight[n, layer.WAVES + k]
            torch.testing.assert_close(got[n], want)


def test_first_frequencies_are_of_all_sizes():
    first = Periodic(2, 4).frequency[0]
    assert torch.equal(first[0], first[1])
    assert first[0, 0].item() == pytest.approx(layer.SLOWEST) and first[0, -1].item() == pytest.approx(layer.FASTEST)
    torch.testing.assert_close(first[0, 1:] / first[0, :-1], (first[0, 1] / first[0, 0]).expand(layer.WAVES - 1))


# --- both, and missing numbers ----------------------------------------------------------------------------------------


def test_both_kinds_of_numbers_keep_their_order():
    module = drawn(Numbers([KNOTS[0], torch.empty(0), KNOTS[2], torch.empty(0)], 3))
    x = torch.randn(6, 4).double()
    cut, waving = module.piecewise(x[:, [0, 2]]), module.periodic(x[:, [1, 3]])
    assert torch.equal(module(x), torch.stack([cut[:, 0], waving[:, 0], cut[:, 1], waving[:, 1]], 1))


@pytest.mark.parametrize("knots", [KNOTS, [torch.empty(0)] * 3, [torch.empty(0), *KNOTS[:2]]])
def test_a_missing_number_has_a_vector_of_its_own_and_leaves_the_others_alone(knots):
    module, x = drawn(Numbers(knots, 2)), torch.randn(4, 3).double()
    x[0, 0] = x[1, 2] = x[2] = NAN
    found, without = module(x), module(x.nan_to_num(7.0))
    for n, k in x.isnan().nonzero().tolist():
        assert torch.equal(found[n, k], module.missing[0, k])
    there = ~x.isnan()
    assert torch.equal(found[there], without[there])
    found.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in module.parameters())


def test_a_number_that_no_training_row_lacks_is_zero_where_it_is_missing():
    module = Numbers(KNOTS, 2)
    assert not module(torch.full((1, 3), NAN)).any() and module(torch.zeros(1, 3)).any()


def test_infinite_numbers_are_far_outside():
    module = drawn(Numbers([KNOTS[0], torch.empty(0)], 2))
    found = module(torch.tensor([[INF, INF], [-INF, -INF]]))
    assert found.isfinite().all() and torch.equal(found[:, 0], module.piecewise.table.weight[[3, 0]])


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
