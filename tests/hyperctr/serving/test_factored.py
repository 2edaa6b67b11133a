"""Serving in factors: the scores of the plain forward, the user's side computed once, and ids of the data set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hyperctr import config
from hyperctr.data import planted
from hyperctr.layers.table import Table
from hyperctr.models import MODELS
from hyperctr.runs.open import Opened, request
from hyperctr.runs.prepare import prepare
from hyperctr.serving import factored
from hyperctr.serving.factored import Factored, Server


@pytest.fixture(scope="module")
def world():
    """A planted world with fields and context, a modality, and ids of its own."""
    data = planted.planted("fields", scale=0.03).dataset
    ids = np.array([f"item-{k}" for k in range(data.items.num_items)])
    pictures = np.random.default_rng(0).standard_normal((len(ids), 5))
    pictures[::3] = 0.0
    return replace(data, items=replace(data.items, ids=ids, modalities={"visual": pictures}, present={}))


def opened_of(world, name="mian", derive=("clicks",), **model):
    """A run whose weights are random and large; of the context, `clicks` tells of the user."""
    tables = {
        "data": {"path": "x", "history": 9, "derive": list(derive)},
        "model": {"name": name, **({"dim": 4, "hidden": [10, 6]} | model)}, "train": {"epochs": 1, "threads": 1},
    }  # fmt: skip
    ready = prepare(config.read_run(tables), world)
    torch.manual_seed(0)
    model = MODELS[name](ready.run.model, ready.tables).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    for module in model.modules():
        if isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
    return Opened(ready, model, {})


@pytest.fixture(scope="module")
def opened(world):
    return opened_of(world)


VARIANTS = {
    "mian": {},
    "post_ln": {"encoder": "post_ln"},
    "none": {"encoder": "none"},
    "shared": {"weights": "shared"},
    "two clicks": {"history": 2},
    "heads divide": {"heads": 4},
    "w/o IBIM": {"ibim": False},
    "w/o IUIM": {"iuim": False},
    "w/o ICIM": {"icim": False},
    "w/o GIM": {"gim": False},
    "w/o GIM and IBIM": {"gim": False, "ibim": False},
    "no interaction": {"ibim": False, "iuim": False, "icim": False},
    "the candidate alone": {"ibim": False, "iuim": False, "icim": False, "keep_raw": False},
    "one layer": {"hidden": [7]},
}


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_scores_in_factors_are_those_of_the_plain_forward(world, variant):
    opened = opened_of(world, **VARIANTS[variant])
    factored, ready = Factored(opened.model), opened.prepared
    items, start = np.arange(world.items.num_items + 1), planted.START  # the last is unknown
    context = {"device": 3, "weather": None}
    many = start + 70 * planted.DAY
    for user, at, lengths in ((0, many, (3, 9)), (5, start + 3 * planted.DAY, (0, 3)), (2, start, (0, 0)),
                              (len(world.users), many, (0, 0))):  # fmt: skip
        batch = request(ready, user, items, at, context)
        assert lengths[0] <= batch.histories.mask.sum() <= lengths[1]
        expected = opened.model(batch).logit
        assert expected.std() > 0.01
        found = factored.logit(factored.side(batch), batch.item)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_model_without_context_is_served(world):
    plain = replace(world, interactions=replace(world.interactions, context={}))
    opened = opened_of(plain, derive=())
    assert opened.model.icim is None
    batch = request(opened.prepared, 3, range(40))
    assert batch.context is None
    factored = Factored(opened.model)
    found = factored.logit(factored.side(batch), batch.item)
    torch.testing.assert_close(found, opened.model(batch).logit, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_users_side_does_not_depend_on_the_candidates(opened):
    factored = Factored(opened.model)
    one, many = (factored.side(request(opened.prepared, 4, items)) for items in ([7], range(100)))
    for name in ("own", "belongs", "keys", "raw"):
        assert torch.equal(getattr(one, name), getattr(many, name))
    both = factored.logit(one, torch.tensor([3, 7]))
    torch.testing.assert_close(both, factored.logit(many, torch.arange(9))[[3, 7]])


def test_the_block_runs_once_a_request_and_never_for_a_candidate(opened):
    calls = []
    hook = opened.model.encoder.register_forward_hook(lambda module, given, found: calls.append(len(given[0])))
    factored = Factored(opened.model)
    side = factored.side(request(opened.prepared, 4, range(300)))
    factored.logit(side, torch.arange(300))
    hook.remove()
    assert calls == [1]


def test_a_request_is_one_user_at_one_moment(opened):
    batch = opened.prepared.loader.batch(opened.prepared.split.test[:3])
    with pytest.raises(ValueError, match="a request is one user at one time, this batch has 3 queries"):
        Factored(opened.model).side(batch)


def test_ids_of_the_data_set_are_served(world, opened):
    """The same probabilities as `predict`, which knows no logged context."""
    server, at = Server(opened), planted.START + 60 * planted.DAY
    items = ["item-5", "item-0", "nothing known", "item-359"]
    for user in (7, "7", "nobody"):
        found = server.probabilities(user, items, at)
        expected = opened.predict(np.array([user] * 4), np.array(items), np.array([at] * 4))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert server.probabilities(7, []).shape == (0,)
    last = np.datetime64(int(world.interactions.time[-1]) + 1, "us")
    np.testing.assert_array_equal(server.probabilities(7, items), server.probabilities(7, items, last))


def test_context_that_is_given_counts(opened):
    server, items = Server(opened), [f"item-{k}" for k in range(50)]
    unknown = server.probabilities(3, items)
    assert np.array_equal(server.probabilities(3, items, context={}), unknown)
    one, two = (server.probabilities(3, items, context={"hour": hour}) for hour in (2, 19))
    assert not np.allclose(one, two, atol=1e-4) and not np.allclose(one, unknown, atol=1e-4)
    batch = request(opened.prepared, 3, [0], context={"hour": 19, "place": 2})
    assert batch.context.codes[0, :6].tolist() == [19, 7, 4, 6, 2, 3]  # the size of a column is unknown


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (
            {"mood": 1},
            "there is no context column 'mood' to give; there are hour, weekday, device, weather, place",
        ),
        ({"clicks": 1}, "there is no context column 'clicks' to give"),  # derived
        ({"device": 4}, "context device: the data do not have the value 4"),
        ({"device": -1}, "context device: the data do not have the value -1"),
    ],
)
def test_context_that_does_not_exist_is_refused(opened, context, says):
    with pytest.raises(ValueError, match=says):
        Server(opened).probabilities(3, ["item-1"], context=context)


def test_blocks_of_items_give_the_same(opened, monkeypatch):
    whole, items = Factored(opened.model).table, [f"item-{k}" for k in range(60)]
    expected = Server(opened).probabilities(3, items)
    monkeypatch.setattr(factored, "BLOCK", 37)
    torch.testing.assert_close(Factored(opened.model).table, whole)
    np.testing.assert_allclose(Server(opened).probabilities(3, items), expected, rtol=1e-5)


def test_other_models_are_refused(world):
    with pytest.raises(ValueError, match="only MIAN is served in factors, this run's model is din"):
        Server(opened_of(world, "din"))
