"""The vectors of a batch: which of them stand where, what is zero, and what gets a gradient."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables, make_tables
from torch import nn

from hyperctr.batch import Batch, History, Values
from hyperctr.layers.embedding import Embed, placed
from hyperctr.layers.table import Table


def table(count=3, dim=2):
    """Vector [n, n + 0.5] for number n; the unknown one stays zero."""
    made = Table(count, dim)
    with torch.no_grad():
        made.weight[:-1] = torch.arange(count)[:, None] + torch.arange(dim) / 2
    return made


def test_unknown_number_is_zero_from_the_start_and_the_others_are_near():
    made = Table(5000, 8)
    assert not made.weight[-1].any()
    assert made.weight[:-1].std().item() == pytest.approx(0.01, rel=0.02)
    assert len(made.weight) == 5001


def test_table_gives_the_vectors_in_the_shape_of_the_numbers():
    assert table()(torch.tensor([[2, 0], [3, 1]])).tolist() == [[[2, 2.5], [0, 0.5]], [[0, 0], [1, 1.5]]]
    assert table()(torch.empty(0, 4, dtype=torch.long)).shape == (0, 4, 2)


def test_table_has_the_gradient_of_an_embedding():
    made, index = table(), torch.tensor([[0, 2, 0], [3, 2, 3]])
    with torch.no_grad():
        made.weight[-1] = 7.0  # even then
    weight = made.weight.detach().clone().requires_grad_()
    factor = torch.randn(2, 3, 2)
    (made(index) * factor).sum().backward()
    (F.embedding(index, weight, padding_idx=3) * factor).sum().backward()
    torch.testing.assert_close(made.weight.grad, weight.grad)
    assert made.weight.grad[1].tolist() == made.weight.grad[3].tolist() == [0, 0]


def test_table_without_look_ups_has_a_gradient_of_zeros():
    made = table()
    made(torch.empty(0, dtype=torch.long)).sum().backward()
    assert not made.weight.grad.any()


@pytest.mark.parametrize("mask", [[[1, 0, 1], [0, 0, 0]], [[1, 1], [1, 1]], [[0]], []])
def test_vectors_are_placed_where_the_mask_is_and_get_their_gradients_from_there(mask):
    mask = torch.tensor(mask, dtype=torch.bool).view(len(mask), -1 if mask else 1)
    vectors, factor = torch.randn(int(mask.sum()), 4, requires_grad=True), torch.randn(*mask.shape, 4)
    made = placed(vectors, History(mask, mask, mask))
    assert torch.equal(made[mask], vectors) and not made[~mask].any() and made.shape == (*mask.shape, 4)
    (made * factor).sum().backward()
    torch.testing.assert_close(vectors.grad, factor[mask])


def test_frozen_table_needs_no_gradient():
    made = table()
    made.weight.requires_grad_(False)
    assert not made(torch.tensor([0])).requires_grad


def test_large_table_has_a_sparse_gradient_without_the_unknown_number(monkeypatch):
    monkeypatch.setattr("hyperctr.layers.table.LARGE", 2)
    made = table()
    made(torch.tensor([0, 3, 2, 0])).sum().backward()
    gradient = made.weight.grad.coalesce()
    assert gradient.indices().tolist() == [[0, 2]]
    assert gradient.values().tolist() == [[2, 2], [1, 1]]
    assert not Table(2, 2).sparse


# --- a batch by hand: user 1 of two and item 2 of four have no training row ------------------------------------------


@pytest.fixture
def tables():
    return make_tables(
        num_users=2, num_items=4, modalities={"a": torch.ones(4, 3), "b": torch.ones(4, 1)},
        present={"a": torch.tensor([True, True, True, False]), "b": torch.tensor([False, True, False, False])},
        seen_user=torch.tensor([True, False]), seen_item=torch.tensor([True, True, False, True]),
        user_fields={"age": torch.tensor([1, 0, 2])}, user_sizes={"age": 2},
        item_fields={"type": torch.tensor([0, 1, 1, 2, 2]), "size": torch.tensor([0, 0, 1, 0, 2])},
        item_sizes={"type": 2, "size": 2}, context_sizes={"tab": 2, "hour": 3},
    )  # fmt: skip


@pytest.fixture
def vectors(tables):
    """Every vector tells by its size where it is from: a power of ten a table, or column."""
    made = Embed(tables, 1)
    with torch.no_grad():
        made.item.weight[:-1, 0] = torch.tensor([1.0, 2, 3, 4])
        made.item_fields.weight[:-1, 0] = torch.tensor([10.0, 20, 100, 200])  # type, then size
        for linear, weight, bias in zip(made.project, (1000.0, 1e4), (2000.0, 3e4), strict=True):
            nn.init.constant_(linear.weight, weight)
            nn.init.constant_(linear.bias, bias)
        made.user.weight[:-1, 0] = torch.tensor([0.1, 0.2])
        made.user_fields.weight[:-1, 0] = torch.tensor([0.01, 0.02])
        made.context.weight[:-1, 0] = torch.tensor([-1.0, -2, -10, -20, -30])  # tab, then hour
    return made


def batch(user, item, past, context=None):
    """One row a query; past: a list of clicks a row."""
    row, longest = torch.arange(len(user)), max(1, *map(len, past))
    clicks = torch.tensor([[*clicks, *[1] * (longest - len(clicks))] for clicks in past])
    mask = torch.arange(longest) < torch.tensor([[len(clicks)] for clicks in past])
    return Batch(
        user=torch.tensor(user), item=torch.tensor(item), time=row, query=row, query_row=row,
        histories=History(clicks, mask, clicks), clicks_before=row.float(), shows_before=None,
        context=None if context is None else Values(torch.tensor(context)), label=row.float(),
    )  # fmt: skip


def test_fields_stand_in_order_item_first(vectors):
    fields, _, _ = vectors(batch([0], [1], [[]], [[1, 2]]))
    #                                      id type size    a = 3 * 1000 + 2000    b  user  age tab hour
    assert fields.squeeze().tolist() == pytest.approx([2, 20, 100, 5000, 4e4, 0.1, 0.02, -2, -30])
    assert fields.shape[1] == vectors.num_fields == 9 and vectors.item_parts == 5


def test_what_is_unknown_or_missing_is_zero(vectors):
    fields, _, _ = vectors(batch([1, 2, 0], [0, 4, 3], [[]] * 3))
    assert fields.squeeze(2).tolist() == [
        pytest.approx([1, 10, 100, 5000, 0, 0, 0.01, 0, 0]),  # user 1 has no training row, item 0 no b; no context
        [0] * 9,  # nothing is known of either
        pytest.approx([4, 0, 100, 0, 0, 0.1, 0.02, 0, 0]),  # a type that no training row shows
    ]


def test_item_without_training_row_keeps_its_content(vectors):
    fields, item, _ = vectors(batch([0], [2], [[]]))
    assert fields[0, :5, 0].tolist() == [0, 20, 200, 5000, 0]
    assert item.item() == 5220


def test_item_and_click_are_the_sum_of_the_items_fields(vectors):
    _, item, history = vectors(batch([0, 0], [1, 0], [[0, 2, 3], [1]]))
    assert item.squeeze(1).tolist() == [2 + 20 + 100 + 5000 + 4e4, 1 + 10 + 100 + 5000]
    assert history.squeeze(2).tolist() == [[5111, 5220, 104], [45122, 0, 0]]
    assert vectors.items(torch.tensor([[4, 3], [2, 0]])).squeeze(2).tolist() == [[0, 104], [5220, 5111]]


def test_history_is_one_more_field_the_mean_of_its_clicks(vectors):
    fields = vectors.fields(batch([0, 0, 1], [1, 0, 2], [[0, 2, 3], [], [3, 3]]))
    assert fields.shape == (3, 10, 1)
    assert fields[:, -1, 0].tolist() == pytest.approx([(5111 + 5220 + 104) / 3, 0, 104])


def test_a_history_reaches_every_row_of_its_query(vectors):
    given = batch([0, 1], [1, 0], [[0], [3]])
    rows = torch.tensor([0, 1, 1, 0])
    given = replace(given, query=rows, user=rows, item=torch.tensor([0, 1, 2, 3]), time=rows, label=rows.float())
    fields, item, history = vectors(given)
    assert (len(fields), len(item), len(history)) == (4, 4, 2)
    assert vectors.fields(given)[:, -1, 0].tolist() == [5111, 104, 104, 5111]


def test_as_many_queries_as_rows_in_another_order_are_expanded_too():
    given, x = batch([0, 1], [1, 0], [[0], [3]]), torch.tensor([[1.0], [2.0]])
    assert given.expand_to_rows(x) is x
    assert replace(given, query=torch.tensor([1, 0])).expand_to_rows(x).tolist() == [[2], [1]]


def test_tables_of_ids_alone_have_two_fields():
    made = Embed(make_tables(3, 3), 4)
    fields, item, history = made(batch([0, 1], [2, 3], [[0], []], [[1], [1]]))
    assert fields.shape == (2, 2, 4) and made.num_fields == 2
    assert torch.equal(item, fields[:, 0]) and history.shape == (2, 1, 4)
    assert {name for name, _ in made.named_parameters()} == {"user.weight", "item.weight"}


def test_features_on_disk_as_half_floats_are_read(tables):
    half = change_tables(tables, modalities={name: x.half() for name, x in tables.modalities.features.items()})
    torch.manual_seed(0)
    a = Embed(tables, 2)
    torch.manual_seed(0)
    b = Embed(half, 2)
    given = batch([0], [1], [[0, 2]])
    assert torch.equal(a.fields(given), b.fields(given))


def test_what_comes_from_the_data_is_not_kept_with_the_weights(vectors):
    kept = set(vectors.state_dict())
    assert kept == {n for n, _ in vectors.named_parameters()} | {"seen_user", "seen_item"}


def test_vectors_of_modalities_start_as_small_as_those_of_ids(tables):
    wide = change_tables(tables, modalities={"a": torch.ones(4, 900), "b": torch.ones(4, 1)})
    made = Embed(wide, 50)
    assert made.project[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not made.project[0].bias.any()
