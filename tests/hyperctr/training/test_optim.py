"""Adam row by row: it is torch's without momentum, and leaves the rows of no gradient as they are."""

import copy
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperctr.training import optim
from hyperctr.training.optim import RowAdam, clip, coalesce, decay, optimisers


@pytest.fixture(params=["fast", "plain"])
def path(request, monkeypatch):
    """Both ways to take a step: optim.c, and torch alone."""
    if request.param == "fast" and optim._library() is None:
        pytest.skip("there is no C compiler here")
    other = "plain" if request.param == "fast" else "fast"
    monkeypatch.setattr(optim, f"_{other}_step_rows", None)  # calling it fails
    if request.param == "plain":
        monkeypatch.setattr(optim, "_library", lambda: None)


def sparse(rows, values, shape=(5, 2)):
    """A gradient that names rows, repeated ones among them."""
    index = torch.tensor([rows], dtype=torch.long)
    return torch.sparse_coo_tensor(index, torch.tensor(values).view(-1, 2), shape, check_invariants=True)


def table(values=None, rows=5):
    return nn.Parameter(torch.randn(rows, 2) if values is None else torch.tensor(values))


def test_rows_move_as_under_adam_without_momentum(path):
    """Whatever rows a step names: the others do not move, and their mean squares fade meanwhile."""
    generator = torch.Generator().manual_seed(1)
    a = table()
    b = nn.Parameter(a.detach().clone())
    mine = RowAdam([a], lr=0.05, beta2=0.9, eps=1e-6)
    theirs = torch.optim.Adam([b], lr=0.05, betas=(0.0, 0.9), eps=1e-6)
    for _ in range(40):
        rows = torch.randperm(5, generator=generator)[: torch.randint(4, (), generator=generator)].tolist()
        a.grad = sparse(rows, torch.randn(len(rows), 2, generator=generator).tolist())
        b.grad = a.grad.to_dense()
        mine.step()
        theirs.step()
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert (mine.state[a]["last"] < 40).any()


def test_rows_without_a_gradient_stay_bit_for_bit_and_so_does_what_is_kept_of_them(path):
    a = table()
    adam = RowAdam([a], lr=0.1)
    for rows in ([0, 1], [1, 3]):
        a.grad = sparse(rows, torch.randn(2, 2).tolist())
        adam.step()
    before = [x.clone() for x in (a.detach(), adam.state[a]["square"], adam.state[a]["last"])]
    a.grad = sparse([3], [[1.0, -1.0]])
    adam.step()
    for old, new in zip(before, (a.detach(), adam.state[a]["square"], adam.state[a]["last"]), strict=True):
        assert torch.equal(old[[0, 1, 2, 4]], new[[0, 1, 2, 4]])
        assert not torch.equal(old[3], new[3])
    assert adam.state[a]["last"].tolist() == [1, 2, 0, 3, 0]


def test_repeated_rows_are_one_row_with_the_sum_of_their_gradients(path):
    a = table()
    b = nn.Parameter(a.detach().clone())
    for p, g in (
        (a, sparse([2, 0, 2, 2], [[1.0, 2.0], [5.0, 5.0], [3.0, -1.0], [0.5, 0.5]])),
        (b, sparse([0, 2], [[5.0, 5.0], [4.5, 1.5]])),
    ):
        adam = RowAdam([p], lr=0.1)
        for _ in range(2):
            p.grad = g
            adam.step()
        assert adam.state[p]["last"].tolist() == [2, 0, 2, 0, 0]
    assert torch.equal(a, b)


def test_many_rows_of_any_width_and_long_rests_are_the_same_both_ways():
    """More rows than are asked for in advance, widths that fill no line, rests longer than the powers looked up."""
    if optim._library() is None:
        pytest.skip("there is no C compiler here")
    generator = torch.Generator().manual_seed(3)
    for dim in (1, 3, 16, 37):
        one, other = torch.randn(2000, dim, generator=generator).repeat(2, 1, 1)
        squares, lasts = torch.rand(2000, dim, generator=generator).repeat(2, 1, 1), torch.zeros(2, 2000).int()
        for step in (1, 2, 3, optim.DECAYS + 5):
            rows = torch.randperm(2000, generator=generator)[:300].sort().values
            g = torch.randn(300, dim, generator=generator)
            optim._plain_step_rows(one, rows, g, squares[0], lasts[0], step, 0.1, 0.999, 1e-8)
            optim._fast_step_rows(other, rows, g, squares[1], lasts[1], step, 0.1, 0.999, 1e-8)
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(squares[0], squares[1], rtol=1e-5, atol=1e-9)
            assert torch.equal(lasts[0], lasts[1])


def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been(path):
    a, b = table(), None
    adam = RowAdam([a], lr=0.1)
    gradients = [sparse(rows, torch.randn(2, 2).tolist()) for rows in ([0, 1], [1, 3], [0, 4], [1, 4])]
    for k, gradient in enumerate(gradients):
        if k == 2:
            b = nn.Parameter(a.detach().clone())
            again = RowAdam([b], lr=0.1)
            again.load_state_dict(copy.deepcopy(adam.state_dict()))
        a.grad = gradient
        adam.step()
        if b is not None:
            b.grad = gradient
            again.step()
    assert torch.equal(a, b) and again.state[b]["last"].tolist() == [3, 4, 0, 2, 4]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_handed_out_for_rows_that_had_a_gradient_alone():
    big = nn.Parameter(torch.empty(2_000_000, 32))  # 256 MB, of which nothing is written
    adam = RowAdam([big], lr=0.1)
    big.grad = torch.sparse_coo_tensor(
        torch.tensor([[5, 1_999_999]]), torch.ones(2, 32), big.shape, check_invariants=True
    )
    before = resident()
    adam.step()
    assert resident() - before < 64e6


def resident():
    """Bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_first_step_is_lr_against_the_sign_of_the_gradient(path):
    a = table([[1.0, 1.0], [2.0, 2.0]])
    a.grad = sparse([1], [[30.0, -0.001]], (2, 2))
    RowAdam([a], lr=0.5).step()
    torch.testing.assert_close(a.detach(), torch.tensor([[1.0, 1.0], [1.5, 2.5]]), rtol=1e-4, atol=1e-4)


def test_a_table_without_a_gradient_or_with_one_that_names_no_row_is_left_alone(path):
    a, b = table(), table()
    before = a.detach().clone(), b.detach().clone()
    b.grad = sparse([], [])
    RowAdam([a, b], lr=0.1).step()
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])


class Model(nn.Module):
    """Two tables, a matrix and a bias; the tables with sparse or dense gradients."""

    def __init__(self, sparse):
        super().__init__()
        self.user = nn.Embedding(6, 3, sparse=sparse)
        self.item = nn.Embedding(7, 3, sparse=sparse)
        self.linear = nn.Linear(3, 2)
        torch.manual_seed(2)
        for p in self.parameters():
            nn.init.normal_(p)

    def loss(self):
        x = F.embedding(torch.tensor([1, 1, 4]), self.user.weight, sparse=self.user.sparse)
        y = self.item(torch.tensor([0, 6, 6]))
        return self.linear(x * y).square().sum() * 10


def both():
    """The same model with dense and with sparse gradients, after a backward."""
    models = Model(sparse=False), Model(sparse=True)
    for model in models:
        model.loss().backward()
        coalesce(model)
    assert models[1].user.weight.grad.is_sparse and not models[0].user.weight.grad.is_sparse
    return models


@pytest.mark.parametrize("rows", [[], [4], [2, 0, 2, 2, 1, 0], [0, 1, 4]])
def test_coalesce_gives_what_torch_does(rows):
    model = nn.Embedding(5, 2, sparse=True)
    model.weight.grad = sparse(rows, torch.randn(len(rows), 2).tolist())
    wanted = model.weight.grad.coalesce()
    coalesce(model)
    assert model.weight.grad.is_coalesced()
    assert torch.equal(model.weight.grad.indices(), wanted.indices())
    torch.testing.assert_close(model.weight.grad.values(), wanted.values())


def assert_same_gradients(a, b):
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad.to_dense(), rtol=1e-5, atol=1e-6, msg=name)


def test_gradients_are_the_same_sparse_or_dense_to_begin_with():
    dense, sparse = both()
    assert_same_gradients(dense, sparse)
    assert sparse.user.weight.grad.is_coalesced()
    assert sparse.user.weight.grad.indices().tolist() == [[1, 4]]


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("norm", [0.0, 1.0, 1e6])
def test_decay_and_clip_treat_sparse_and_dense_gradients_alike(l2, norm):
    dense, sparse = both()
    raw = copy.deepcopy(dense.user.weight.grad)
    for model in (dense, sparse):
        decay(model, l2)
        clip(model, norm)
    assert_same_gradients(dense, sparse)
    total = torch.cat([p.grad.to_dense().flatten() for p in sparse.parameters()]).norm().item()
    if norm == 1.0:
        assert total == pytest.approx(1.0, rel=1e-4)
    elif not l2:
        assert torch.equal(dense.user.weight.grad, raw)
    assert not dense.user.weight.grad[[0, 2, 3, 5]].any()  # rows that the step did not touch do not decay


def test_a_row_that_was_looked_up_without_a_gradient_does_not_decay_sparse_or_dense():
    for is_sparse in (False, True):
        model = nn.Embedding(4, 2, sparse=is_sparse)
        (model(torch.tensor([1, 2])) * torch.tensor([[1.0], [0.0]])).sum().backward()
        coalesce(model)
        decay(model, 0.5)
        assert model.weight.grad.to_dense()[2].tolist() == [0, 0]
        torch.testing.assert_close(model.weight.grad.to_dense()[1], 1 + 0.5 * model.weight[1].detach())


@pytest.mark.parametrize("kind", [nn.Linear, nn.Embedding])
def test_decay_adds_l2_times_the_weight_to_matrices_and_to_rows_of_tables_with_a_gradient(kind):
    model = kind(2, 2)
    model.weight.data = torch.tensor([[2.0, 3.0], [5.0, 7.0]])
    model.weight.grad = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    if kind is nn.Linear:
        model.bias.grad = torch.ones(2)
    decay(model, 0.1)
    other = [0.5, 0.7] if kind is nn.Linear else [0.0, 0.0]
    torch.testing.assert_close(model.weight.grad, torch.tensor([[1.2, 0.3], other]))
    assert kind is nn.Embedding or model.bias.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shrink", [0.0, 0.1])
def test_row_adam_steps_dense_gradients_as_sparse_ones_and_one_after_the_other(shrink):
    """A GPU has dense gradients; a training that moves between devices has both."""
    rng, tables = torch.Generator().manual_seed(0), [nn.Parameter(torch.ones(5, 2)) for _ in range(3)]
    adams = [RowAdam([table], 0.1, shrink=shrink) for table in tables]
    for step in range(8):
        gradient = torch.randn(5, 2, generator=rng) * (torch.rand(5, 1, generator=rng) < 0.5)
        for k, (table, adam) in enumerate(zip(tables, adams, strict=True)):
            sparse = k == 0 or (k == 2 and step % 3 == 0)
            table.grad = gradient.to_sparse(1) if sparse else gradient.clone()
            adam.step()
    for other in tables[1:]:
        torch.testing.assert_close(other, tables[0], rtol=1e-5, atol=1e-6)


def test_clip_leaves_small_gradients_alone_and_keeps_their_direction():
    model = nn.Linear(1, 2)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0], [0.0]]), torch.tensor([0.0, 4.0])
    clip(model, 10)
    assert model.weight.grad.tolist() == [[3.0], [0.0]]
    clip(model, 1)
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6], [0.0]]))
    torch.testing.assert_close(model.bias.grad, torch.tensor([0.0, 0.8]))


def test_optimisers_share_the_parameters_out():
    model = Model(sparse=True)
    adam, rows = optimisers(model, 0.25)
    assert isinstance(adam, torch.optim.Adam) and isinstance(rows, RowAdam)
    held = [{id(p) for group in x.param_groups for p in group["params"]} for x in (adam, rows)]
    assert held == [{id(p) for p in model.linear.parameters()}, {id(model.user.weight), id(model.item.weight)}]
    assert {group["lr"] for x in (adam, rows) for group in x.param_groups} == {0.25}


def test_there_is_no_optimiser_for_parameters_that_a_model_lacks():
    (adam,) = optimisers(Model(sparse=False), 0.1)
    assert isinstance(adam, torch.optim.Adam)
    (rows,) = optimisers(nn.Embedding(3, 2, sparse=True), 0.1)
    assert isinstance(rows, RowAdam)


@pytest.mark.parametrize("name", ["adam", "adamw", "adagrad", "sgd"])
def test_every_optimiser_steps_sparse_rows_as_dense_ones(name):
    """Adam's rows have no momentum, so that one step is the same; the others at any number of steps."""
    models = [Model(sparse=True), Model(sparse=False)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        steps = optimisers(model, 0.1, name)
        for _ in range(1 if name.startswith("adam") else 3):
            for step in steps:
                step.zero_grad()
            user = model.user(torch.tensor([1, 4, 1]))
            model.linear(user).square().sum().backward()
            for step in steps:
                step.step()
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b)


def test_adamw_shrinks_weights_apart_from_the_gradient_and_rows_where_they_have_one():
    models = [Model(sparse=True), Model(sparse=True)]
    models[1].load_state_dict(models[0].state_dict())
    first = {name: p.detach().clone() for name, p in models[0].named_parameters()}
    for model, shrink in zip(models, (0.0, 0.5), strict=True):
        for p in model.linear.parameters():
            p.grad = torch.ones_like(p)
        model.user.weight.grad = torch.sparse_coo_tensor([[1]], torch.ones(1, 3), (6, 3), check_invariants=True)
        for step in optimisers(model, 0.1, "adamw", shrink):
            step.step()
    plain, shrunk = (dict(model.named_parameters()) for model in models)
    for name, p in shrunk.items():
        moved = torch.full_like(p, 0.95 if "linear" in name else 1.0)
        if name == "user.weight":
            moved[1] = 0.95
        torch.testing.assert_close(p - moved * first[name], plain[name] - first[name])


def test_a_stored_row_adam_goes_on_as_if_never_stored():
    gradients = [sparse(rows, torch.randn(2, 2).tolist()) for rows in ([0, 1], [1, 3], [3, 0])]
    whole, broken = table(), None
    adam = RowAdam([whole], lr=0.1)
    for step, g in enumerate(gradients):
        if step == 2:
            broken = nn.Parameter(whole.detach().clone())
            other = RowAdam([broken], lr=0.1)
            other.load_state_dict(copy.deepcopy(adam.state_dict()))
            broken.grad = g
            other.step()
        whole.grad = g
        adam.step()
    assert torch.equal(whole, broken)
