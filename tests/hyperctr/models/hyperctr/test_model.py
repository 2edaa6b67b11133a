"""HyperCTR whole: from the log to a logit by loops; what training, caches and shared propagations may not change."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from slow_hyperctr import (
    DAY,
    ITEMS,
    NAMES,
    PRESENT,
    SIZES,
    USERS,
    Slow,
    grid_of,
    logits,
    model_of,
    random_log,
    scrambled,
    tables_of,
)
from table_builder import change_tables
from torch import nn

from graphs import HGCN, TimeGrid
from graphs.dropout import Dropout
from hyperctr.batch import Step
from hyperctr.config import Interest, Train
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.evaluation.metrics import logloss
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.models.hyperctr import propagation
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.model import HyperCTR
from hyperctr.training.fit import fit
from hyperctr.training.interests import Joint


def exact(log, tables=None, **changed):
    """A model in training in which nothing is drawn: what it computes depends on its weights alone."""
    nothing = {"dropout": 0.0, "id_dropout": 0.0, "neighbors": 0}
    return model_of(log, tables, **{**nothing, **changed}).train()


def batch_of(log, day):
    """The rows of a day and a drawn negative beside each."""
    return Loader(log).batch(np.flatnonzero(grid_of().slice_of(log.time) == day), 1, np.random.default_rng(0))


def loss_of(out, batch):
    return F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty


def gradients(model):
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for n, p in model.named_parameters()}


def assert_same_gradients(a, b, tolerance=1e-5):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}")


# --- from the log to a logit -----------------------------------------------------------------------------------------


EVERYTHING = [
    {},
    {"depth": 0},
    {"depth": 3},
    {"conv": "gcn"},
    {"carry": "none"},
    {"carry": "gate"},
    {"within": "mean", "across": "gru", "read": "attention"},
    {"across": "last", "fusion": "lowrank", "rank": 3},
    {"across": "mean", "fusion": "gate", "read": "mean", "conv": "gcn", "carry": "gate"},
    {"own": "none", "residual": False, "bias": "none"},
    {"own": "item", "residual": False, "carry": "gate", "interaction": "none"},
    {"own": "none", "depth": 0, "residual": False, "norm": "after", "age": False, "across": "attention-last"},
]


@pytest.mark.parametrize("changed", EVERYTHING, ids=lambda x: " ".join(f"{k}={v}" for k, v in x.items()) or "default")
def test_the_logit_is_what_loops_over_the_log_give(changed):
    log = random_log()
    model = model_of(log, **changed)
    user = [0, 1, 2, 3, 4, 0, 1, 2, 5, 3, 4, 2]
    item = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, ITEMS, 1]
    day = [4.9, 4.5, 3.2, 3.9, 4.1, 2.5, 1.5, 1.1, 4.0, 0.5, 5.5, 6.0]
    time = [int(d * DAY) for d in day]
    slow = Slow(model, log)
    # a row behind the last closed slice is in the open one
    expected = [slow.logit(u, i, min(t, 6 * DAY - 1)) for u, i, t in zip(user, item, time, strict=True)]
    torch.testing.assert_close(logits(model, log, user, item, time), torch.cat(expected), rtol=1e-4, atol=1e-4)
    assert torch.cat(expected).std() > 0.05


def test_a_node_reads_the_slice_before_alone_without_carry():
    log = random_log()
    gone = log.take(log.time // DAY != 1)  # day 2 has no click: rows of day 3 carry states of day 1
    rows = [0, 1, 2, 3], [0, 1, 2, 3], [int(3.5 * DAY)] * 4
    for carry in ("none", "last", "gate"):
        same = torch.equal(*(logits(model_of(x, carry=carry), gone, *rows) for x in (log, gone)))
        assert same == (carry == "none")


def test_the_gate_between_equal_vectors_returns_them():
    log = random_log()
    model, same = model_of(log, carry="gate"), torch.randn(4, 8 * len(NAMES))
    nobody, now = torch.full((4,), USERS), torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(model.states.read(0, nobody, now, same, []), same)


def test_a_row_of_a_batch_scores_as_it_does_alone():
    log = random_log()
    model, n = model_of(log), len(log)
    together = logits(model, log, log.user, log.item, log.time)
    alone = [logits(model, log, log.user[k : k + 1], log.item[k : k + 1], log.time[k : k + 1]) for k in range(0, n, 11)]
    torch.testing.assert_close(together[::11], torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_candidates_of_one_query_score_as_in_queries_of_their_own():
    log, items = random_log(), np.array([3, 5, 3, 8])
    model = model_of(log)
    shared = Loader(log).make_batch(np.array([2]), items, np.array([4 * DAY]), np.zeros(4), np.zeros(4, int))
    own = logits(model, log, [2] * 4, items, [4 * DAY] * 4)
    with torch.no_grad():
        torch.testing.assert_close(model(shared).logit, own, rtol=1e-4, atol=1e-5)


def test_items_start_from_their_log_odds():
    log = random_log()
    tables = change_tables(tables_of(log), item_log_odds=torch.linspace(-2, 2, ITEMS))
    with_odds, without = (HyperCTR(Config(**SIZES), t) for t in (tables, tables_of(log)))
    assert torch.equal(with_odds.item_bias.weight[:, 0], F.pad(tables.priors.item_log_odds, (0, 1)))
    with_odds.load_state_dict(without.state_dict() | {"item_bias.weight": with_odds.item_bias.weight})
    batch = batch_of(log, 4)
    seen = F.pad(tables.ids.seen_item, (0, 1))[batch.item]
    more = with_odds.eval()(batch).logit - without.eval()(batch).logit
    torch.testing.assert_close(more, F.pad(tables.priors.item_log_odds, (0, 1))[batch.item] * seen)


def test_cold_users_are_alike_and_cold_items_differ_by_their_features():
    log = random_log()
    model = model_of(log)
    users = logits(model, log, [5, 6, USERS], [3, 3, 3], [5 * DAY] * 3)  # 5 and 6 never came, USERS is not even known
    assert torch.isfinite(users).all()
    torch.testing.assert_close(users, users[:1].expand(3))
    items = logits(model, log, [1, 1, 1], [7, 8, ITEMS], [5 * DAY] * 3)
    assert torch.isfinite(items).all()
    assert len(set(items.tolist())) == 3
    assert not torch.allclose(users[0], logits(model, log, [0], [3], [5 * DAY])[0])


def test_a_row_before_the_first_closed_slice_reads_no_hypergraph():
    log = random_log()
    other = replace(log, item=(log.item + 1) % 7, user=(log.user + 2) % 5)
    with_one, with_other = (
        logits(model_of(x), log.take(log.time < DAY), [1, 3], [2, 4], [DAY - 1] * 2) for x in (log, other)
    )
    assert torch.equal(with_one, with_other)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_depth_0_alone_ignores_the_hypergraphs(depth):
    log = random_log()
    other = replace(log, item=log.item[::-1].copy())
    rows = log.user[-30:], log.item[-30:], log.time[-30:]
    same = torch.equal(*[logits(model_of(x, depth=depth), log, *rows) for x in (log, other)])
    assert same == (depth == 0)


def test_there_is_one_sigmoid_and_it_is_in_the_loss():
    log = random_log()
    model, label = model_of(log), torch.from_numpy(log.label)
    x = logits(model, log, log.user, log.item, log.time)
    assert x.min() < 0 or x.max() > 1  # no probabilities yet
    nn.init.zeros_(model.predict.rest[-1].weight)
    nn.init.zeros_(model.predict.rest[-1].bias)
    for x in (model.predict.direct, model.user_bias.weight, model.item_bias.weight):
        nn.init.zeros_(x)
    x = logits(model, log, log.user, log.item, log.time)
    assert not x.any()
    assert F.binary_cross_entropy_with_logits(x, label).item() == pytest.approx(math.log(2))
    assert logloss(log.label, x.numpy()) == pytest.approx(math.log(2))


@pytest.mark.parametrize("propagation", ["full", "slice", "sampled"])
def test_the_loss_is_never_negative_and_points_towards_the_label(propagation):
    log = random_log()
    model = model_of(log, propagation=propagation).train()
    batch = batch_of(log, 4)
    x = model(batch).logit
    x.retain_grad()
    loss = F.binary_cross_entropy_with_logits(x, batch.label)
    loss.backward()
    assert loss >= 0
    assert ((x.grad > 0) == (batch.label == 0)).all()
    for name, p in model.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name
    theta = [p for name, p in model.named_parameters() if name.startswith("states.convs.")]
    assert len(theta) == 2 * len(NAMES) * 2
    assert all(p.grad is not None and p.grad.any() for p in theta)


def test_tables_without_hypergraphs_are_refused():
    with pytest.raises(ValueError, match="needs time-sliced hypergraphs"):
        HyperCTR(Config(), change_tables(tables_of(random_log()), slices=None))


# --- the three ways to propagate -------------------------------------------------------------------------------------

MODES = ("full", "slice", "sampled")


@pytest.mark.parametrize("conv", ["hgcn", "gcn"])
def test_in_evaluation_all_ways_to_propagate_give_the_same_logits(conv):
    log = random_log()
    modes = MODES if conv == "hgcn" else MODES[:2]
    models = [model_of(log, propagation=mode, conv=conv) for mode in modes]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    found = [logits(model, log, log.user, log.item, log.time) for model in models]
    assert torch.equal(found[0], found[1])
    for other in found[2:]:  # a product of other rows is summed in another order on some processors
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("carry", ["last", "gate"])
@pytest.mark.parametrize(
    ("propagation", "depth"), [("full", 1), ("full", 2), ("slice", 1), ("slice", 2), ("sampled", 1)]
)
def test_a_training_step_has_the_value_and_the_gradient_of_loops_over_the_log(propagation, depth, carry):
    """`full` is autograd through all slices; the others, through the latest alone, others being constants."""
    log = random_log()
    model = exact(log, propagation=propagation, depth=depth, carry=carry)
    batch = batch_of(log, 4)
    out = model(batch)
    loss_of(out, batch).backward()
    found = gradients(model)
    model.zero_grad()
    slow = Slow(model, log, live=None if propagation == "full" else {3}).logits(batch)
    torch.testing.assert_close(out.logit, slow, rtol=1e-4, atol=1e-4)
    F.binary_cross_entropy_with_logits(slow, batch.label).backward()
    assert_same_gradients(found, gradients(model))
    older = Slow(model, log, live={0, 1}).logits(batch)
    model.zero_grad()
    older.sum().backward()
    assert any(p.any() for name, p in gradients(model).items() if name.startswith("states.convs."))  # rows do read them


@pytest.mark.parametrize("depth", [2, 3])
def test_deep_sampling_has_the_value_but_not_the_gradient_beyond_a_hop(depth):
    log = random_log()
    batch = batch_of(log, 4)
    found = {}
    for mode in ("slice", "sampled"):
        model = exact(log, propagation=mode, depth=depth)
        out = model(batch)
        loss_of(out, batch).backward()
        found[mode] = out.logit.detach(), gradients(model)
    torch.testing.assert_close(found["slice"][0], found["sampled"][0], rtol=1e-4, atol=1e-4)
    # neighbours are constants to the last layer, which has a gradient
    last = f"states.convs.0.0.{depth - 1}.layers.0.theta"
    torch.testing.assert_close(found["slice"][1][last], found["sampled"][1][last], rtol=1e-4, atol=1e-5)


def chain_log(length=7):
    """On day 0 users j and j + 1 click item j: their hypergraph is a path. On day 1 nobody clicks."""
    user = np.array([v for j in range(length - 1) for v in (j, j + 1)])
    item = np.repeat(np.arange(length - 1), 2)
    return Interactions(user, item, np.arange(len(user)), np.ones(len(user)), USERS, ITEMS)


def chained(**changed):
    log = chain_log()
    tables = change_tables(tables_of(log, days=1), seen_user=torch.ones(USERS, dtype=torch.bool))
    return log, scrambled(exact(log, tables, **{"within": "mean", **changed}), std=0.6)


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_k_layers_reach_exactly_k_hops(depth):
    log, model = chained(depth=depth)
    row = [0], [7], [DAY + 5]  # item 7 was never clicked: users are reached over their own hypergraphs alone
    before = logits(model, log, *row)
    reached = []
    for user in range(USERS):
        kept = model.user.weight.data[user].clone()
        model.user.weight.data[user] += 1.0
        model.eval()  # renews the states
        reached.append(not torch.equal(logits(model, log, *row), before))
        model.user.weight.data[user] = kept
    assert reached == [hop <= depth for hop in range(USERS)]


@pytest.mark.parametrize(("propagation", "hops"), [("full", 3), ("slice", 3), ("sampled", 1)])
def test_gradients_reach_as_many_hops_as_there_are_layers_and_one_where_neighbours_are_remembered(propagation, hops):
    log, model = chained(depth=3, propagation=propagation)
    batch = Loader(log).make_batch(np.array([0]), np.array([7]), np.array([DAY + 5]), np.zeros(1), np.zeros(1, int))
    model.train()(batch).logit.sum().backward()
    reached = model.user.weight.grad.any(1).tolist()
    assert reached == [hop <= hops for hop in range(USERS)] + [False]


def counted_layers(monkeypatch) -> list[int]:
    """Note every layer on every hypergraph from now on, also on those that are stacked."""
    counted, alone, together = [], HGCN.forward, propagation._together
    monkeypatch.setattr(HGCN, "forward", lambda *args: counted.append(1) or alone(*args))
    monkeypatch.setattr(
        propagation, "_together", lambda layers, *args: counted.extend(layers) or together(layers, *args)
    )
    return counted


@pytest.mark.parametrize(("how", "grows"), [("slice", False), ("sampled", False), ("full", True)])
def test_a_step_convolves_as_often_after_many_slices_as_after_few(how, grows, monkeypatch):
    counted, found = counted_layers(monkeypatch), {}
    for days in (4, 13):
        log = random_log(days=days, rows=30 * days)
        model = exact(log, tables_of(log, days=days), propagation=how)
        batch = Loader(log).batch(np.flatnonzero(grid_of(days).slice_of(log.time) == days - 1))
        model(batch)  # fills the caches
        counted.clear()
        model(batch)
        found[days] = len(counted)
    assert (found[13] > found[4]) == grows
    if not grows:
        assert found[4] == found[13] == 2 * len(NAMES) * 2  # kinds, hypergraphs, layers


def test_neighbours_are_drawn_anew_every_round_and_stay_within_one():
    log = random_log()
    batch = batch_of(log, 4)
    model = exact(log, neighbors=1)
    first, again = model(batch).logit, model(batch).logit
    assert torch.equal(first, again)
    model.eval()
    model.train()
    assert not torch.equal(model(batch).logit, first)
    other = exact(log, neighbors=1)
    assert torch.equal(other(batch).logit, first)  # the same round of another model


def test_sampled_neighbours_are_drawn_at_every_step():
    log = random_log()
    batch, model = batch_of(log, 4), exact(log, neighbors=1, propagation="sampled", depth=1)
    assert not torch.equal(model(batch).logit, model(batch).logit)


@pytest.mark.parametrize("depth", [1, 2])
def test_sampling_measures_how_far_the_states_moved_since_they_were_remembered(depth):
    log = random_log()
    batch, model = batch_of(log, 4), exact(log, propagation="sampled", depth=depth)
    assert model(batch).logs["staleness"] == pytest.approx(0, abs=1e-6)
    assert model(batch).logs["staleness"] == pytest.approx(0, abs=1e-6)
    shifted(model)
    assert 0.05 < model(batch).logs["staleness"] < 0.3  # a tenth a layer
    assert model(batch).logs["staleness"] < 0.1  # remembered: only what lies deeper goes on moving


def test_sampling_remembers_every_layer_of_the_nodes_it_computed():
    log = random_log()
    batch, model = batch_of(log, 4), exact(log, propagation="sampled")
    model(batch)
    before = [kind.carried.hidden[0].clone() for kind in model.states.kinds]
    shifted(model)
    model(batch)  # reads all nodes of day 3
    fresh = exact(log, propagation="sampled")
    fresh.load_state_dict(model.state_dict())
    fresh.refresh()
    for kind, new, old in zip(model.states.kinds, fresh.states.kinds, before, strict=True):
        (now,), (then,) = kind.carried.hidden, new.carried.hidden
        day3 = torch.zeros(len(now), dtype=torch.bool)
        day3[kind.carried.begin[3] : kind.carried.begin[4]] = True
        torch.testing.assert_close(now[day3], then[day3])
        assert torch.equal(now[~day3], old[~day3])
        assert not torch.allclose(old[day3], then[day3]) and not day3.all()


@pytest.mark.parametrize("propagation", MODES)
@pytest.mark.parametrize("augment", [("S1",), ("S2",)])
def test_either_side_may_be_without_hypergraphs(propagation, augment):
    log = random_log()
    model = exact(log, tables_of(log, augment=augment), propagation=propagation)
    batch = batch_of(log, 4)
    loss_of(model(batch), batch).backward()
    stack = gradients(model)
    trained = [any(x.any() for n, x in stack.items() if n.startswith(f"states.convs.{kind}.")) for kind in (0, 1)]
    assert trained == ["S1" in augment, "S2" in augment]
    assert torch.isfinite(logits(model.eval(), log, [0, 5], [1, 8], [5 * DAY] * 2)).all()


@pytest.mark.parametrize("propagation", MODES)
def test_nobody_need_have_come_yet(propagation):
    log = random_log()
    none = log.take(slice(0, 0))
    model = exact(log, tables_of(none), propagation=propagation)
    for batch in (batch_of(log, 0), batch_of(log, 4)):
        loss_of(model(batch), batch).backward()
    assert torch.isfinite(logits(model.eval(), none, [0], [1], [5 * DAY])).all()


@pytest.mark.parametrize("propagation", MODES)
def test_a_batch_of_the_first_slice_trains_without_hypergraphs(propagation):
    log = random_log()
    model, batch = exact(log, propagation=propagation), batch_of(log, 0)
    loss_of(model(batch), batch).backward()
    assert not any(x.any() for name, x in gradients(model).items() if name.startswith("states.convs."))


# --- batches that share a propagation --------------------------------------------------------------------------------


def run_of(log, day, count, seed=0):
    """The batches of one day that share a propagation."""
    rows = np.flatnonzero(grid_of().slice_of(log.time) == day)
    size = -(-len(rows) // count)
    found = list(Loader(log).batches(rows, size, 1, seed, True, np.zeros(len(rows), int), per_group=count))
    assert [batch.closes_group for batch in found] == [False] * (count - 1) + [True]
    return found


def summed(model, batches):
    """Gradients of the batches' losses added up at fixed weights, their losses, and their logs."""
    model.zero_grad()
    losses, logs = [], []
    for batch in batches:
        out = model(batch)
        loss = loss_of(out, batch)
        loss.backward()
        losses.append(loss.item())
        logs.append(dict(out.logs))
    return gradients(model), losses, logs


@pytest.mark.parametrize("changed", [{}, {"propagation": "full"}, {"conv": "gcn"}, {"carry": "gate"}, {"neighbors": 2}])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_batches_that_share_a_propagation_have_the_sum_of_their_exact_gradients(count, changed):
    log = random_log()
    batches = run_of(log, 4, count)
    shared, losses, logs = summed(exact(log, **changed), batches)
    alone, exact_losses, _ = summed(exact(log, **changed), [replace(batch, step=Step()) for batch in batches])
    assert_same_gradients(shared, alone)
    assert losses == pytest.approx(exact_losses, rel=1e-5)  # the term that carries gradients is zero in value
    through = sum(x.abs().sum() for name, x in alone.items() if name.startswith("states.convs."))
    assert through > 0.1
    assert [set(x) for x in logs] == [set()] * (count - 1) + [{"staleness"} if count > 1 else set()]
    if count > 1:
        assert logs[-1]["staleness"] == pytest.approx(0, abs=1e-6)  # no weight moved


def test_batches_that_share_a_propagation_share_what_it_drops_out(monkeypatch):
    log = random_log()
    batches = run_of(log, 4, 3)

    def noisy():
        model = exact(log)
        for module in model.states.convs.modules():
            if isinstance(module, Dropout):
                module.p = 0.5
        torch.manual_seed(3)
        model.refresh()
        return model

    model = noisy()
    shared, _, logs = summed(model, batches)
    assert logs[-1]["staleness"] == pytest.approx(0, abs=1e-6)  # no weight moved

    model, memo = noisy(), {}
    torch.manual_seed(int(torch.randint(2**62, ())))  # what the run draws from
    propagate = model.states._propagate

    def once(kind, *rest):
        if kind.number not in memo:
            memo[kind.number] = propagate(kind, *rest)
        return memo[kind.number]

    monkeypatch.setattr(model.states, "_propagate", once)
    model.zero_grad()
    sum(loss_of(model(batch), batch) for batch in [replace(batch, step=Step()) for batch in batches]).backward()
    assert_same_gradients(shared, gradients(model))


def test_older_slices_may_be_renewed_within_a_run():
    log = random_log()
    batches = run_of(log, 4, 5)
    shared, _, logs = summed(exact(log, refresh=2), batches)
    alone, _, _ = summed(exact(log), [replace(batch, step=Step()) for batch in batches])
    assert_same_gradients(shared, alone)
    assert ["drift_users" in x for x in logs] == [False, False, True, False, True]


def test_runs_follow_each_other_without_a_trace():
    log = random_log()
    runs = [run_of(log, 4, 3), run_of(log, 3, 2), run_of(log, 1, 2), run_of(log, 4, 3, seed=1)]
    flat = [batch for run in runs for batch in run]
    shared, _, _ = summed(exact(log), flat)
    alone, _, _ = summed(exact(log), [replace(batch, step=Step()) for batch in flat])
    assert_same_gradients(shared, alone)


def test_sharing_convolves_twice_a_run_whatever_its_length(monkeypatch):
    counted, log, found = counted_layers(monkeypatch), random_log(), {}
    for count in (2, 6):
        model, batches = exact(log), run_of(log, 4, count)
        model.refresh()
        counted.clear()
        summed(model, batches)
        found[count] = len(counted)
    assert found[2] == found[6] == 2 * 2 * len(NAMES) * 2  # when the run begins and when it ends


def test_staleness_is_how_far_the_states_moved_while_they_were_shared():
    log = random_log()
    model, batches = exact(log), run_of(log, 4, 3)
    model.refresh()
    before = [
        live.state.clone() for kind in model.states.kinds for live in model.states._propagate(kind, [3], model._inputs)
    ]
    model(batches[0])
    with torch.no_grad():
        for p in model.states.convs.parameters():
            p.mul_(1.1)
    after = [
        live.state.clone() for kind in model.states.kinds for live in model.states._propagate(kind, [3], model._inputs)
    ]
    moved = sum((a - b).square().sum() for a, b in zip(after, before, strict=True))
    expected = (moved / sum(a.square().sum() for a in after)).sqrt().item()
    model(batches[1])
    assert model(batches[2]).logs["staleness"] == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


def test_staleness_comes_into_the_history():
    log, rows = random_log(), []
    model = model_of(log, batches_per_graph=3)
    fit(model, lambda epoch: run_of(log, 4, 3, seed=epoch), lambda: 0.5, Train(epochs=2, lr=0.01), log=rows.append)
    assert all(0 < row["staleness"] < 1 for row in rows)


# --- caches ----------------------------------------------------------------------------------------------------------


def shifted(model, by=1.1):
    with torch.no_grad():
        for p in model.states.convs.parameters():
            p.mul_(by)


@pytest.mark.parametrize("propagation", MODES)
def test_caches_are_renewed_at_every_switch_between_training_and_evaluation(propagation):
    log = random_log()
    model = exact(log, propagation=propagation)
    rows = log.user, log.item, log.time
    logits(model.eval(), log, *rows)
    shifted(model)
    stale = logits(model, log, *rows)
    for switch in (False, True):
        model.train(switch)
        model.eval()
        fresh = exact(log, propagation=propagation)
        fresh.load_state_dict(model.state_dict())
        expected = logits(fresh.eval(), log, *rows)
        assert torch.equal(logits(model, log, *rows), expected)
        assert not torch.equal(stale, expected)
        shifted(model)
    batch = batch_of(log, 4)
    trained = [x.train()(batch).logit for x in (model, model_copy(model, log, propagation))]
    assert torch.equal(*trained)  # nothing of the evaluation is left


def model_copy(model, log, propagation):
    copy = exact(log, propagation=propagation)
    copy.load_state_dict(model.state_dict())
    copy.states.rounds -= 1  # it is in training already
    return copy.eval()


@pytest.mark.parametrize(("refresh", "renewed"), [(0, []), (1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (5, [5])])
def test_older_slices_are_renewed_every_so_many_steps(refresh, renewed):
    log = random_log()
    model, batch = exact(log, refresh=refresh), batch_of(log, 4)
    found = []
    for step in range(7):
        logs = model(batch).logs
        if logs:
            assert set(logs) == {"drift_users", "drift_items"}
            assert all(0.01 < x < 1 for x in logs.values())
            found.append(step)
        shifted(model)
    assert found == renewed


def test_drift_is_zero_where_no_weight_moved_and_older_states_then_follow_the_weights():
    log = random_log()
    model, batch = exact(log, refresh=1), batch_of(log, 4)
    model(batch)
    assert {float(x) for x in model(batch).logs.values()} == {0.0}
    slow = Slow(model, log)
    shifted(model)
    torch.testing.assert_close(model(batch).logit, slow.logits(batch), rtol=1e-4, atol=1e-4)
    kept = exact(log, refresh=0)
    kept(batch)
    shifted(kept)
    assert not torch.allclose(kept(batch).logit, slow.logits(batch), atol=1e-3)


def test_the_latest_slice_is_renewed_by_the_way():
    log = random_log()
    model = exact(log)
    model(batch_of(log, 4))
    shifted(model)
    model(batch_of(log, 4))
    for kind in model.states.kinds:
        for node, state in Slow(model, log).state(kind.number, 3).items():
            row = kind.carried.find(torch.tensor([node]), torch.tensor([4]))
            got = kind.carried.read(row, model._inputs(kind.number, torch.tensor([node])))
            torch.testing.assert_close(got.view(len(NAMES), -1), state, rtol=1e-4, atol=1e-4)


# --- training --------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def joint_tables(log, **interest):
    """Tables whose hypergraphs follow the interests that the model learns beside."""
    settings, tables = Interest(mode="joint", negatives=3, **interest), tables_of(log)
    clicks = log.take(log.clicks())
    joint = Joint(settings, tables, clicks.user, clicks.item)
    build = partial(slice_hypergraphs, log, PRESENT, grid_of(), 5 * DAY)
    return change_tables(tables, interests=joint, slices=joint.slices(build, settings))


def test_jointly_learned_interests_are_a_second_loss_and_decide_the_hypergraphs_of_a_round():
    log = random_log()
    plain, model = exact(log), exact(log, joint_tables(log, weight=0.5), refresh=1)
    assert set(dict(model.named_parameters())) - set(dict(plain.named_parameters())) == {"interest.linear.weight"}
    batch = batch_of(log, 4)
    out = model(batch)
    assert out.penalty.item() > 0
    out.penalty.backward()
    assert model.interest.linear.weight.grad.any() and model.project["visual"].weight.grad.any()
    edges = [[int(side.graphs[1].num_incidences) for side in x.states.slices.users if side] for x in (plain, model)]
    assert sum(edges[1]) < sum(edges[0])  # not all clicks count
    held = model.states.slices
    model(batch)
    assert model.states.slices is held  # within a round they stay, also where states are renewed
    assert model.eval()(batch).penalty == 0.0
    assert model.states.slices is not held


@pytest.mark.parametrize(
    ("changed", "large"),
    [
        ({}, True),
        ({"propagation": "full", "carry": "gate"}, False),
        ({"propagation": "sampled"}, True),
        ({"batches_per_graph": 2, "refresh": 3}, True),
        ({"conv": "gcn", "across": "gru"}, False),
        ({"joint": True}, False),
    ],
    ids=str,
)
def test_a_killed_training_ends_bit_equal_to_an_unbroken_one(tmp_path, monkeypatch, changed, large):
    if large:
        monkeypatch.setattr("hyperctr.layers.table.LARGE", 6)
    log, changed = random_log(), dict(changed)
    tables = joint_tables(log) if changed.pop("joint", False) else tables_of(log)
    config = Train(epochs=2, eval_every=0.5, patience=9, lr=0.01, l2=0.01, clip=1.0, seed=2)
    slices = grid_of().slice_of(log.time)
    run = changed.get("batches_per_graph", 1)

    def make():
        torch.manual_seed(1)
        model = HyperCTR(Config(**{**SIZES, "neighbors": 2, **changed}), tables)
        assert model.user.sparse == model.item.sparse == large
        return model

    def batches(epoch):
        return Loader(log).batches(np.arange(len(log)), 20, 1, (2, epoch), True, slices, per_group=run)

    def valid_of(model):
        def valid():
            return float(logits(model, log, log.user[-9:], log.item[-9:], log.time[-9:]).std())

        return valid

    def kill(row):
        if row["epoch"] == 1.5:
            raise Killed

    whole, rows = make(), []
    done = fit(whole, batches, valid_of(whole), config, len(log), log=rows.append)
    assert [row["epoch"] for row in rows] == [0.5, 1, 1.5, 2]
    broken = make()
    with pytest.raises(Killed):
        fit(broken, batches, valid_of(broken), config, len(log), tmp_path, kill)
    again = make()
    resumed = fit(again, batches, valid_of(again), config, len(log), tmp_path)
    assert resumed == done
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_sparse_tables_have_the_gradients_of_dense_ones(monkeypatch):
    log = random_log()
    batch, found = batch_of(log, 4), []
    for large in (200_000, 6):
        monkeypatch.setattr("hyperctr.layers.table.LARGE", large)
        model = exact(log)
        loss_of(model(batch), batch).backward()
        assert model.user.weight.grad.is_sparse == model.item.weight.grad.is_sparse == (large == 6)
        found.append(gradients(model))
    assert_same_gradients(*found)


def test_hidden_ids_train_the_unknown_ones_and_in_evaluation_none_is_hidden():
    log = random_log()
    model = model_of(log, id_dropout=0.3)
    known = torch.arange(5).repeat(2000)
    torch.manual_seed(0)
    hidden = model.train()._known(known, model.seen_user)
    assert set(hidden.tolist()) == {0, 1, 2, 3, 4, USERS}
    assert abs((hidden == USERS).float().mean().item() - 0.3) < 5 * 0.5 / len(known) ** 0.5
    everyone = torch.arange(USERS + 1)
    assert model.eval()._known(everyone, model.seen_user).tolist() == [0, 1, 2, 3, 4, USERS, USERS, USERS]


# --- the papers' random split: rows read their own slice -------------------------------------------------------------


def own_log():
    """One day: users 0 to 3, items 0 to 3; who clicked what is symmetric in items 0 and 1 but for user 0's click."""
    pairs = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 2), (0, 2), (3, 3)]
    user, item = (np.array(x) for x in zip(*pairs, strict=True))
    return Interactions(user, item, np.arange(len(user)), np.ones(len(user)), USERS, ITEMS)


def own_batch(log, rows, items=None, labels=None):
    """The rows of a random split, whose history is not of interest here."""
    loader = Loader(log, known=log)
    user, time = log.user[rows], np.zeros(len(rows), np.int64)
    item = log.item[rows] if items is None else np.array(items)
    label = log.label[rows] if labels is None else np.array(labels, np.float32)
    return loader.make_batch(user, item, time, label, np.arange(len(rows)))


@pytest.mark.parametrize("conv", ["hgcn", "gcn"])
def test_the_own_click_is_taken_out_of_the_own_slice_before_it_is_read(conv):
    """With it gone, nothing tells the item clicked from another that everyone else clicked alike."""
    log = own_log()
    swapped = replace(log, item=np.where((log.user == 0) & (log.item == 0), 1, log.item))
    found = []
    for x, clicked in ((log, 0), (swapped, 1)):
        model = exact(x, tables_of(x, days=1, own=True), propagation="slice", conv=conv)
        batch = own_batch(x, np.array([0, 0]), [clicked, 1 - clicked], [1, 0])
        out = model(batch).logit
        found.append(out if clicked == 0 else out.flip(0))
    torch.testing.assert_close(*found)
    assert not torch.allclose(found[0][0], found[0][1])  # the items have vectors of their own


def random_own(every="1d", target_edge="exclude", **changed):
    """A random split of all days, whose rows read all slices up to their own."""
    log = random_log()
    grid = grid_of() if every else TimeGrid.cut(log.time, count=4)
    slices = slice_hypergraphs(log, PRESENT, grid, int(log.time[-1]) + 1, own=True, target_edge=target_edge)
    model = exact(log, change_tables(tables_of(log), slices=slices), **changed)
    return log, grid, model


@pytest.mark.parametrize(("propagation", "carry"), [("full", "last"), ("slice", "last"), ("slice", "none")])
def test_rows_of_a_random_split_read_their_own_slice_without_their_own_clicks(propagation, carry):
    log, _, model = random_own(propagation=propagation, carry=carry)
    everyone = run_of(log, 3, 1)[0]
    expected = Slow(model, log, own=True).logits(everyone)
    torch.testing.assert_close(logits_of(model.eval(), everyone), expected, rtol=1e-4, atol=1e-4)
    model.train()
    batch = run_of(log, 3, 3)[0]
    own = [batch.user[batch.label == 1].tolist(), batch.item[batch.label == 1].tolist()]
    slow = Slow(model, log, None if propagation == "full" else {3}, own=True,
                without={(u, i, 3) for u, i in zip(*own, strict=True)})  # fmt: skip
    out = model(batch)
    loss_of(out, batch).backward()
    found = gradients(model)
    model.zero_grad()
    expected = slow.logits(batch)
    torch.testing.assert_close(out.logit, expected, rtol=1e-4, atol=1e-4)
    F.binary_cross_entropy_with_logits(expected, batch.label).backward()
    assert_same_gradients(found, gradients(model))
    assert not torch.allclose(out.logit, Slow(model, log, own=True).logits(batch), atol=1e-3)


def test_sampling_cannot_leave_out_own_clicks_and_says_so():
    with pytest.raises(ValueError, match='model.propagation = "sampled" .* slices.target_edge'):
        random_own(propagation="sampled")
    log, _, model = random_own(propagation="sampled", depth=1, target_edge="keep")
    _, _, other = random_own(propagation="slice", depth=1, target_edge="keep")
    batch = run_of(log, 3, 1)[0]
    torch.testing.assert_close(model(batch).logit, other(batch).logit, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("every", ["1d", None], ids=["days", "quantiles"])
def test_the_last_slice_may_be_read_by_its_own_rows(every):
    log, grid, model = random_own(every)
    rows = np.flatnonzero(grid.slice_of(log.time) == len(grid) - 1)
    batch = Loader(log, known=log).batch(rows[:5], 1, np.random.default_rng(0))
    loss_of(model(batch), batch).backward()
    assert any(x.any() for name, x in gradients(model).items() if name.startswith("states.convs."))
    assert torch.isfinite(logits(model.eval(), log, log.user[rows], log.item[rows], log.time[rows])).all()


def test_batches_of_the_own_slice_share_nothing_as_each_leaves_out_its_own_clicks():
    log, _, model = random_own()
    batches = run_of(log, 3, 3)
    shared, losses, _ = summed(model, batches)
    alone, exact_losses, _ = summed(random_own()[2], [replace(batch, step=Step()) for batch in batches])
    assert_same_gradients(shared, alone)
    assert losses == pytest.approx(exact_losses, rel=1e-5)


def test_the_own_click_may_be_kept_to_show_the_size_of_the_leak():
    found = []
    for target_edge in ("exclude", "keep"):
        log, _, model = random_own(target_edge=target_edge)
        batch = run_of(log, 3, 1)[0]
        found.append(model(batch).logit)
    assert not torch.allclose(*found)
    torch.testing.assert_close(found[1], logits_of(model.eval(), batch), rtol=1e-4, atol=1e-5)  # as cached, with all


@torch.no_grad()
def logits_of(model, batch):
    return model(batch).logit


# --- the last hidden vector, and a batch seen once more --------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 40])
def test_hidden_is_what_the_last_linear_layer_reads(rows):
    """With many candidates a user the first layer is another computation."""
    log = random_log()
    model, batch = model_of(log), Loader(log).batch(np.arange(80, 86), rows, np.random.default_rng(0))
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(batch)))
    shuffled = {name: getattr(batch, name)[order] for name in ("user", "item", "time", "query", "label")}
    batch = replace(batch, **shuffled, query_row=order.argsort()[batch.query_row])
    out = model(batch)
    assert out.hidden.shape == (len(batch), model.hidden_dim) == (len(batch), 4)
    for x in (model.predict.direct, model.user_bias.weight, model.item_bias.weight):
        nn.init.zeros_(x)
    last = model.predict.rest[-1]
    torch.testing.assert_close(model(batch).logit, last(out.hidden).squeeze(1), rtol=1e-4, atol=1e-5)
    alone = [model(Loader(log).make_batch(*(np.array([x]) for x in row), np.zeros(1), np.zeros(1, int))).hidden
             for row in zip(batch.user.tolist(), batch.item.tolist(), batch.time.tolist(), strict=True)]  # fmt: skip
    torch.testing.assert_close(torch.cat(alone), out.hidden, rtol=1e-4, atol=1e-5)


def halved(model, batch):
    """Look at a batch through other vectors of the ids and only one click, as a contrastive loss does."""
    past = replace(batch.histories, mask=batch.histories.mask & (torch.arange(batch.histories.mask.shape[1]) < 1))
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    hooks = [table.register_forward_hook(lambda module, given, found: found / 2) for table in tables]
    with torch.no_grad():
        model(replace(batch, histories=past, step=Step(is_augmented=True)))
    for hook in hooks:
        hook.remove()


def trained_on(model, batches, look=lambda model, batch: None):
    """Logits, gradients and cached states of batches in training; `look` sees all but the first before, all after."""
    found = []
    for k, batch in enumerate(batches):
        if k:
            look(model, batch)
        out = model(batch)
        loss_of(out, batch).backward()
        found.append(out.logit.detach())
        look(model, batch)
    return [*found, *gradients(model).values(), *(kind.carried.state for kind in model.states.kinds)]


@pytest.mark.parametrize("refresh", [0, 2])
@pytest.mark.parametrize("propagation", MODES)
def test_a_view_changes_nothing_that_training_reads(propagation, refresh):
    log = random_log()
    batches = [*run_of(log, 4, 3), *run_of(log, 3, 2)]
    plain, seen = (exact(log, propagation=propagation, refresh=refresh) for _ in range(2))
    for a, b in zip(trained_on(plain, batches), trained_on(seen, batches, halved), strict=True):
        assert torch.equal(a, b)


def test_a_view_of_batches_that_share_a_propagation_has_the_gradient_of_views_that_do_not():
    log, found = random_log(), []
    for shared in (True, False):
        model = exact(log)
        for batch in run_of(log, 4, 3):
            batch = batch if shared else replace(batch, step=Step())
            out = model(batch)
            (model(replace(batch, step=Step(is_augmented=True))).hidden.square().sum() + out.penalty).backward()
        found.append(gradients(model))
    assert_same_gradients(*found)
    assert any(x.any() for name, x in found[0].items() if name.startswith("states.convs."))


def test_an_augmented_batch_needs_no_batch_before_it():
    log = random_log()
    batch = batch_of(log, 4)
    for mode in (True, False):
        first, second = exact(log).train(mode), exact(log).train(mode)
        augmented = replace(batch, step=Step(is_augmented=True))
        torch.testing.assert_close(first(augmented).hidden, second(batch).hidden)
