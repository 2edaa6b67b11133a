"""Every plain body against its fast one, in values and gradients."""

import ast
import inspect
import pkgutil
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from table_builder import make_tables
from torch import Tensor, nn

import hyperctr.layers
import hyperctr.models
import hyperctr.training
from hyperctr.batch import History
from hyperctr.layers import attention, bodies, chunked, embedding, mlp, recurrent, table
from hyperctr.layers.multitask import TASKS
from hyperctr.models import aqcl, dien, din, dupn, lt4rec, marn
from hyperctr.models.hyperctr import parts
from hyperctr.training import optim

PACKAGES = hyperctr.layers, hyperctr.models, hyperctr.training
MODULES = [import_module(found.name) for p in PACKAGES for found in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")]


def owners():
    """Every module of the packages, and every class made in it."""
    for module in MODULES:
        yield module
        yield from (x for x in vars(module).values() if inspect.isclass(x) and x.__module__ == module.__name__)


# --- the cases: (owner of the two bodies, arguments) per call --------------------------------------------------------


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64)


def up_to(*lengths, longest=4):
    """Masks of histories of these lengths."""
    return torch.arange(longest) < torch.tensor(lengths).view(-1, 1)


def attend():
    for mask in (up_to(4, 1, 3, 2, 4), up_to(4, 4), up_to(longest=3)):
        yield attention, (drawn(*mask.shape, 18), mask, 3)


def relevance():
    module = attention.Relevance(3, 5, 7).double()
    states, query = drawn(3, 4, 2), torch.tensor([0, 2, 2, 1, 0])
    yield module, (drawn(3, 4, 3), drawn(5, 5), up_to(4, 0, 2), query, states)


def prelu():
    for slope in (0.25, 0.0, -0.5):
        yield mlp, (drawn(4, 3), torch.tensor([slope], dtype=torch.float64))
    yield mlp, (drawn(3, 4).T, drawn(1))  # not contiguous


def look_up():
    for index in ([[0, 2, 0], [4, 2, 4]], [[]]):
        yield table, (drawn(5, 3), torch.tensor(index, dtype=torch.long))


def placed():
    for mask in (up_to(1, 0, 4), up_to(4, 4), up_to(0)):
        yield embedding, (drawn(int(mask.sum()), 2), mask)


def modal():
    present = {"visual": torch.ones(8).bool(), "textual": torch.arange(8) % 2 == 0}
    tables = make_tables(3, 8, {"visual": torch.randn(8, 3), "textual": torch.randn(8, 2)}, present)
    yield embedding.Embed(tables, 4).double(), (torch.tensor([1, 0, 1, 2, 0, 7]),)


def distinct_parts():
    fields = {"item_fields": {"kind": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 3])}, "item_sizes": {"kind": 3}}
    tables = make_tables(3, 8, {"visual": torch.randn(8, 3)}, {"visual": torch.ones(8).bool()}, **fields)
    for join in (embedding._summed, embedding._side_by_side):
        yield embedding.Embed(tables, 4).double(), (torch.tensor([1, 0, 7, 1, 1, 0, 5]), 3, join)


def take_rows():
    for index in (torch.tensor([[0, 2, 0], [4, 2, 4]]), torch.zeros(0, dtype=torch.long)):
        yield table, (drawn(5, 3), index)


def gru():
    for queries, clicks in ((4, 5), (3, 1), (0, 2)):
        module = recurrent.GRU(3, 2).double()
        yield recurrent, (drawn(queries, clicks, 3), *(x.detach() for x in module.all_weights[0]))


def blockwise():
    x, y = drawn(9, 3), drawn(9)
    for numbers in (1, 4, 1000, torch.arange(9), torch.tensor([0, 0, 0, 0, 3, 3, 50, 50, 90])):
        yield chunked, (lambda x, y: (x * y[:, None]).sin(), numbers, x, y), {"training": 10}


def by_length():
    histories, query = History(None, up_to(2, 0, 4, 1), None), torch.tensor([0, 2, 2, 1, 0, 3])

    def pool(item, clicks, mask):
        return (item * (clicks * mask[..., None]).sum(1)).tanh()

    yield chunked, (pool, histories, drawn(6, 3), drawn(4, 4, 3), query, 5), {"training": 30}


def log_sums():
    for out in (None, torch.rand(7, 9) < 0.3):
        yield aqcl, (drawn(7, 4), drawn(9, 4), out)


def largest():
    """In any order."""
    both = {f"_{kind}_largest": getattr(aqcl, f"_{kind}_largest") for kind in ("plain", "fast")}
    ordered = {name: lambda x, k, body=body: body(x, k).sort(1).values for name, body in both.items()}
    for k in (1, 3, 8):
        yield SimpleNamespace(**ordered), (drawn(5, 8), k)


def first_layer():
    yield din.Activation(4, (6, 5), "prelu").double(), (drawn(3, 4), drawn(3, 5, 4))


def pooled():
    past = History(torch.tensor([[2, 1, 2], [3, 0, 0], [0, 0, 0], [5, 2, 0]]), up_to(3, 1, 0, 2, longest=3), None)
    query = torch.tensor([0] * 5 + [3, 1, 2] + [3] * 4)
    batch = SimpleNamespace(item=torch.randint(6, (len(query),)), query=query, histories=past)
    for softmax in (False, True):
        config = din.Config(dim=4, attention=(6, 5), hidden=(4,), softmax=softmax)
        model = din.DIN(config, make_tables(3, 5)).double().eval()
        for p in model.parameters():
            nn.init.normal_(p)
        yield model, (batch, model.embed.items(batch.item), model.embed.items(past.item))


def last():
    for masks in (up_to(4, 1, 0, 2), up_to(0, 0, 0, 0)):
        query = torch.tensor([0, 0, 2, 1, 3, 0])
        config = dien.Config(dim=3, hidden=(4,))
        model = dien.DIEN(config, make_tables(3, 5)).double().eval()
        for p in model.parameters():
            nn.init.normal_(p)
        yield model, (SimpleNamespace(query=query, histories=History(None, masks, None)), drawn(6, 3), drawn(4, 4, 3))


def steps():
    weight = torch.rand(5, 4, dtype=torch.float64) * up_to(4, 2, 2, 0, 1)
    yield dien.Evolution(3).double(), (drawn(3, 4, 3), weight, torch.tensor([0, 1, 1, 2, 2]))


def apgru():
    yield marn.APGRU(3, 2).double(), (drawn(4, 5, 3), drawn(4, 5, 2))


def lstm():
    yield dupn.PropertyLSTM(3, 4, 2).double(), (drawn(4, 5, 3), drawn(4, 5, 2))


def score():
    rows = torch.randint(3, (40,)), torch.randint(6, (40,))
    for context in (False, True):
        more = (drawn(40, 5),) if context else ()
        yield parts.Prediction(4, (5, 3), 0.0, context).double(), (drawn(3, 4), drawn(6, 4), *rows, *more)


def masked_weight():
    for share in (0.4, 1.0):
        layer = lt4rec.Layer(nn.Linear(5, 4)).double()
        layer.set_masks([torch.rand(4, 5) < share for _ in TASKS])
        yield from ((layer, (task,)) for task in range(len(TASKS)))


def step_rows():
    if optim._library() is None:
        pytest.skip("there is no C compiler here")
    rows, square, last = torch.tensor([1, 4, 6]), torch.rand(8, 5), torch.arange(8, dtype=torch.int32)
    for now in (9, optim.DECAYS + 20):
        yield optim, (torch.randn(8, 5), rows, torch.randn(3, 5), square, last, now, 0.1, 0.999, 1e-8)


def coalesced():
    for rows in ([4], [2, 0, 2, 2, 1, 0]):
        yield (
            optim,
            (torch.sparse_coo_tensor(torch.tensor([rows]), torch.randn(len(rows), 2), (5, 2), check_invariants=True),),
        )


CASES = {
    "hyperctr.layers.attention.attend": attend,
    "hyperctr.layers.attention.Relevance.forward": relevance,
    "hyperctr.layers.mlp.prelu": prelu,
    "hyperctr.layers.table.look_up": look_up,
    "hyperctr.layers.embedding.placed": placed,
    "hyperctr.layers.embedding.Embed.modal": modal,
    "hyperctr.layers.embedding.Embed.parts": distinct_parts,
    "hyperctr.layers.table.take_rows": take_rows,
    "hyperctr.layers.recurrent.gru": gru,
    "hyperctr.layers.chunked.blockwise": blockwise,
    "hyperctr.layers.chunked.by_length": by_length,
    "hyperctr.models.aqcl.log_sums": log_sums,
    "hyperctr.models.aqcl.largest": largest,
    "hyperctr.models.din.Activation.first_layer": first_layer,
    "hyperctr.models.din.DIN.pooled": pooled,
    "hyperctr.models.dien.DIEN.last": last,
    "hyperctr.models.dien.Evolution.steps": steps,
    "hyperctr.models.marn.APGRU.forward": apgru,
    "hyperctr.models.lt4rec.Layer.weight": masked_weight,
    "hyperctr.models.dupn.PropertyLSTM.forward": lstm,
    "hyperctr.models.hyperctr.parts.Prediction.score": score,
    "hyperctr.training.optim.step_rows": step_rows,
    "hyperctr.training.optim.coalesced": coalesced,
}
NO_GRADIENTS = {"step_rows", "coalesced", "pooled", "last"}
"""Those without gradients; the first changes its arguments."""


def outcome(body, owner, args, gradients=True):
    """What a body gives for copies of the arguments: values, its arguments if they change, and all gradients."""
    args = [x.detach().clone() if isinstance(x, Tensor) else x for x in args]
    if not gradients:
        value = body(*args)
        return [x for x in (value, *args) if isinstance(x, Tensor)]
    inputs = [x.requires_grad_() for x in args if isinstance(x, Tensor) and x.is_floating_point()]
    inputs += list(owner.parameters()) if isinstance(owner, nn.Module) else []
    values = body(*args)
    values = values if isinstance(values, tuple) else (values,)
    return [*values, *torch.autograd.grad(sum(x.sin().sum() for x in values), inputs, allow_unused=True)]


@pytest.mark.parametrize("name", CASES)
def test_both_bodies_give_the_same_values_and_gradients(name, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(attention, "BLOCK", 2)
    monkeypatch.setattr(chunked, "NUMBERS", 20)
    path, short = name.rsplit(".", 1)
    for owner, args, *more in CASES[name]():
        both = [getattr(owner, f"_{kind}_{short}") for kind in ("plain", "fast")]
        assert inspect.signature(both[0]).parameters.keys() == inspect.signature(both[1]).parameters.keys()
        plain, fast = (partial(body, **dict(*more)) for body in both)
        modes = [False] if short in NO_GRADIENTS else [True, False]
        for gradients in modes:
            with torch.set_grad_enabled(gradients):
                expected, found = (outcome(body, owner, args, gradients) for body in (plain, fast))
            assert len(expected) == len(found) > 0
            assert [x is None for x in expected] == [x is None for x in found]  # no gradient is not a gradient of zero
            for a, b in ((a, b) for a, b in zip(expected, found, strict=True) if a is not None):
                torch.testing.assert_close(a, b, rtol=1e-5 if a.dtype == torch.float32 else 1e-9, atol=1e-6)


def test_every_fast_body_has_a_plain_one_and_a_case():
    bodies_of = {kind: set() for kind in ("plain", "fast")}
    for owner in owners():
        path = owner.__name__ if inspect.ismodule(owner) else f"{owner.__module__}.{owner.__name__}"
        for kind, found in bodies_of.items():
            found |= {f"{path}.{x.removeprefix(f'_{kind}_')}" for x in vars(owner) if x.startswith(f"_{kind}_")}
    assert bodies_of["plain"] == bodies_of["fast"] == set(CASES)


def test_a_gradient_of_our_own_stands_in_fast_bodies_alone():
    found = 0
    for module in MODULES:
        tree = ast.parse(Path(module.__file__).read_text())
        ours = {x.name for x in ast.walk(tree) if isinstance(x, ast.ClassDef) and "autograd.Function" in
                " ".join(map(ast.unparse, x.bases))}  # fmt: skip
        uses = [x for x in ast.walk(tree) if isinstance(x, ast.Attribute) and ast.unparse(x.value) in ours]
        fast = [x for x in ast.walk(tree) if isinstance(x, ast.FunctionDef) and x.name.startswith("_fast_")]
        inside = {id(y) for x in fast for y in ast.walk(x)}
        assert all(id(x) in inside for x in uses), module.__name__
        found += len(ours)
    assert found >= 5


def test_one_switch_takes_the_plain_bodies(monkeypatch):
    assert bodies.choose("plain", "fast") == bodies.choose("plain", "fast", True) == "fast"
    assert bodies.choose("plain", "fast", False) == "plain"
    monkeypatch.setattr(bodies, "PLAIN", True)
    assert bodies.choose("plain", "fast", True) == "plain"


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_a_row_of_no_pair_adds_nothing_to_a_sum(kind):
    a, b, other = drawn(3, 4).requires_grad_(), drawn(5, 4).requires_grad_(), drawn(3)
    out = torch.zeros(3, 5, dtype=torch.bool)
    out[1] = True
    found = torch.logaddexp(other, getattr(aqcl, f"_{kind}_log_sums")(a, b, out))
    assert found[1] == other[1] and (found[[0, 2]] > other[[0, 2]]).all()
    found.sum().backward()
    assert not a.grad[1].any() and a.grad[[0, 2]].all() and b.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_a_history_of_padding_alone_is_finite(kind):
    projected, mask = drawn(2, 3, 12).requires_grad_(), torch.tensor([[False] * 3, [True] * 3])
    found = getattr(attention, f"_{kind}_attend")(projected, mask, 2)
    assert found.isfinite().all()
    found[1].sum().backward()
    assert projected.grad.isfinite().all() and not projected.grad[0].any()
