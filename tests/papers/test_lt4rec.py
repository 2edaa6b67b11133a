"""LT4REC, arXiv 2008.09872: its equations and Algorithm 1 as slow loops, and what must hold of masks and tickets.

The invariants of files and of a killed search stand in tests/hyperctr/test_lottery.py, those of what is exported in
tests/hyperctr/serving/test_sparse.py.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from table_builder import make_tables
from torch import nn

from hyperctr.batch import Batch, History, Step, Values
from hyperctr.config import Train
from hyperctr.evaluation import metrics
from hyperctr.layers.multitask import TASKS, conflict, conversion_loss
from hyperctr.models.lt4rec import LT4REC, Config, Sharing, prune, prune_units
from hyperctr.training.lottery_tickets import find_tickets

USERS, ITEMS, D = 12, 15, 3
CLICK, CONVERSION = 0, 1


def tables():
    """Ids, a field of users, one of items, a modality, and context; the last item has no training row."""
    draw = torch.Generator().manual_seed(0)
    return make_tables(
        num_users=USERS, num_items=ITEMS, modalities={"visual": torch.randn(ITEMS, 4, generator=draw)},
        present={"visual": torch.arange(ITEMS) % 4 > 0}, seen_user=torch.ones(USERS, dtype=torch.bool),
        seen_item=torch.arange(ITEMS) < ITEMS - 1, user_fields={"age": torch.arange(USERS + 1) % 4},
        user_sizes={"age": 3}, item_fields={"kind": torch.arange(ITEMS + 1) % 3}, item_sizes={"kind": 2},
        context_sizes={"tab": 2},
    )  # fmt: skip


def batch(rows=16, seed=0, task=None):
    """Rows of two a query; of the clicked ones some have no known conversion, and some one of 0."""
    draw, queries = torch.Generator().manual_seed(seed), rows // 2

    def drawn(high, *shape):
        return torch.randint(high, shape, generator=draw)

    query = torch.arange(queries).repeat_interleave(2)
    label = drawn(2, rows).float()
    conversion = torch.rand(rows, generator=draw)
    conversion[drawn(4, rows) == 0] = 0.0
    conversion[drawn(5, rows) == 0] = math.nan
    past, length = drawn(ITEMS, queries, 4), drawn(5, queries)
    return Batch(
        user=drawn(USERS, queries)[query], item=drawn(ITEMS, rows), time=query, query=query,
        query_row=torch.arange(queries) * 2, histories=History(past, torch.arange(4) < length[:, None], past),
        clicks_before=label, shows_before=None, context=Values(drawn(2, rows, 1)), label=label, conversion=conversion,
        step=Step(task=task),
    )  # fmt: skip


def made(seed=0, large=True, **config):
    """A small sNET; with `large` embeddings and biases, so that everything plays a part."""
    torch.manual_seed(seed)
    model = LT4REC(Config(**{"dim": D, "hidden": (6, 5), "rounds": 2, "keep": 0.25} | config), tables())
    if large:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "embed" in name or "extra" in name:
                    p.normal_()
                elif name.endswith("bias"):
                    p.normal_(std=0.3)
    return model


def drawn_masks(model, share=0.5, seed=1):
    """A random mask for each task; each leaves every unit an input."""
    draw = torch.Generator().manual_seed(seed)

    def one(first):
        mask = torch.rand(first.shape, generator=draw) < share
        mask[:, 0] |= ~mask.any(1)
        return mask & first | (~(mask & first).any(1, keepdim=True) & first & (first.cumsum(1) == 1))

    return {task: [one(first) for first in model.first_masks(task)] for task in TASKS}


def dressed(share=0.5, **config):
    model = made(**config)
    model.tower.set_masks(drawn_masks(model, share))
    return model


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def whole(model):
    return [layer.whole() for layer in model.tower.layers]


# --- equations -------------------------------------------------------------------------------------------------------


def test_eq_1_the_probability_of_click_and_conversion_is_the_product_of_two():
    model, b = dressed().eval(), batch()
    out = model(b)
    both = np.exp(metrics.rank_score(out.logit.detach(), out.conversion.detach(), np.ones(len(b))))
    for k in range(len(b)):
        click, conversion = sigmoid(out.logit[k].item()), sigmoid(out.conversion[k].item())
        assert both[k] == pytest.approx(click * conversion, rel=1e-6)
        assert 0 <= both[k] <= min(click, conversion) + 1e-12


@pytest.mark.parametrize("kind", ["mse", "bce"])
@pytest.mark.parametrize("kappa", [1.0, 5.0])
def test_eq_2_loss(kind, kappa):
    model, b = dressed(b=3.0, conversion_loss=kind, kappa=kappa, below=0.3).train(), batch()
    out = model(b)
    clicks, conversions, count = 0.0, 0.0, 0
    for k in range(len(b)):
        p, y = sigmoid(out.logit[k].item()), b.label[k].item()
        clicks -= math.log(p if y else 1 - p) / len(b)
        z, q = b.conversion[k].item(), sigmoid(out.conversion[k].item())
        if y == 1 and not math.isnan(z):
            weight = 1 + (kappa - 1) * (1 - z / 0.3) if z < 0.3 else 1
            each = (q - z) ** 2 if kind == "mse" else -z * math.log(q) - (1 - z) * math.log(1 - q)
            conversions, count = conversions + weight * each, count + 1
    assert count > 2
    assert out.loss.item() == pytest.approx(clicks + 3 * conversions / count, rel=1e-5)
    assert out.logs["click_loss"] == pytest.approx(clicks, rel=1e-5)


def test_eq_3_rank_score():
    click, conversion, length = [0.3, -1.0, 2.0], [-0.5, 0.2, 1.5], [30.0, 240.0, 7.5]
    found = metrics.rank_score(click, conversion, length, a=1.0, b=0.5, c=0.25)
    for k in range(3):
        slow = sigmoid(click[k]) * sigmoid(conversion[k]) ** 0.5 * length[k] ** 0.25
        assert math.exp(found[k]) == pytest.approx(slow)


def test_figure_1_the_network_reads_the_fields_and_the_products_of_all_pairs():
    model, b = made().eval(), batch()
    fields, features = model.base.crossed.embed.fields(b).tolist(), model.base.features(b).x
    for k in range(len(b)):
        slow = [x for field in fields[k] for x in field]
        for i in range(len(fields[k])):
            for j in range(i + 1, len(fields[k])):
                slow.append(sum(x * y for x, y in zip(fields[k][i], fields[k][j], strict=True)))
        assert features[k].tolist() == pytest.approx(slow, rel=1e-5, abs=1e-6)
    count = len(fields[0])
    assert model.base.crossed.width == count * D + count * (count - 1) // 2 == features.shape[1]


@pytest.mark.parametrize("task", TASKS)
def test_the_masked_forward_pass_unit_by_unit(task):
    model, b = dressed().eval(), batch()
    out, features, number = model(b), model.base.features(b).x.tolist(), TASKS.index(task)
    found = out.logit if task == "click" else out.conversion
    masks, head = model.tower.masks(task), model.tower.heads[number]
    for k in range(len(b)):
        h = features[k]
        for n, layer in enumerate(model.tower.layers):
            weight, after = layer.whole(), []
            for i in range(len(weight)):
                total = layer.bias[i].item()
                for j in range(len(h)):
                    total += weight[i, j].item() * int(masks[n][i, j]) * h[j]
                after.append(max(total, 0.0))
            h = after
        slow = head.bias.item() + sum(w * x for w, x in zip(head.weight[0].tolist(), h, strict=True))
        assert found[k].item() == pytest.approx(slow, rel=1e-4, abs=1e-5)


def test_a_unit_that_lost_all_inputs_is_off_bias_included():
    model, b = made(), batch()
    masks = {task: model.first_masks(task) for task in TASKS}
    masks["click"][-1][2] = False
    model.tower.set_masks(masks)
    before = model.eval()(b)
    with torch.no_grad():
        model.tower.layers[-1].bias[2] += 10.0
    after = model(b)
    assert torch.equal(before.logit, after.logit) and not torch.equal(before.conversion, after.conversion)


# --- Algorithm 1 -----------------------------------------------------------------------------------------------------


class Slow(nn.Module):
    """sNET in the plainest way: whole matrices, and a mask that is multiplied in."""

    def __init__(self, model):
        super().__init__()
        self.base = model.base
        self.weight = nn.ParameterList(w.clone() for w in whole(model))
        self.bias = nn.ParameterList(layer.bias.detach().clone() for layer in model.tower.layers)
        self.heads = model.tower.heads
        self.masks = [torch.ones_like(w) for w in self.weight]

    def forward(self, b, task):
        x = self.base.features(b).x
        for w, m, bias in zip(self.weight, self.masks, self.bias, strict=True):
            x = torch.relu(x @ (w * m).T + bias)
        return self.heads[task](x).squeeze(1)


def slow_loss(logit, b, task):
    if task == CLICK:
        return nn.functional.binary_cross_entropy_with_logits(logit, b.label)
    rows = [k for k in range(len(b)) if b.label[k] == 1 and not b.conversion[k].isnan()]
    return sum((logit[k].sigmoid() - b.conversion[k]) ** 2 for k in rows) / len(rows)


def slow_tickets(rounds, keep, batches, valid):
    """Algorithm 1 with the decisions of the model's docstring: masks and scores of all rounds, for each task."""
    found = {}
    for number, task in enumerate(TASKS):
        masks, scores, total = [[torch.ones_like(w) for w in whole(made())]], [], None
        for i in range(rounds + 1):
            slow = Slow(made())  # rewound
            slow.masks = masks[i]
            adam = torch.optim.Adam(slow.parameters(), lr=0.01)
            for b in batches(task):
                adam.zero_grad()
                slow_loss(slow(b, number), b, number).backward()
                adam.step()
            scores.append(valid(lambda b, slow=slow, number=number: slow(b, number), task))
            surviving = sorted(
                (abs(w[r, c].item()), n, r, c)
                for n, (w, m) in enumerate(zip(slow.weight, masks[i], strict=True))
                for r in range(len(w)) for c in range(w.shape[1]) if m[r, c]
            )  # fmt: skip
            total = total or len(surviving)
            left = round(total * keep ** ((i + 1) / rounds))
            new = [torch.zeros_like(m) for m in masks[i]]
            for _, n, r, c in surviving[len(surviving) - left :]:
                new[n][r, c] = 1.0
            masks.append(new)
        found[task] = masks[:-1], scores
    return found


def test_algorithm_1_finds_the_masks_of_a_slow_loop():
    data = [batch(seed=s) for s in range(12)]

    def batches(task, epoch=1):
        return [replace(b, step=Step(task=task)) for b in data[:9]]

    def score(answer, task):
        with torch.no_grad():
            return -sum(slow_loss(answer(b), b, TASKS.index(task)).item() for b in data[9:])

    def valid(task):
        number = TASKS.index(task)
        return score(lambda b: (lambda out: (out.logit, out.conversion)[number])(model(b)), task)

    expected = slow_tickets(2, 0.25, batches, score)
    model = made(least=0.0)
    tickets = find_tickets(model, batches, valid, Train(epochs=1, lr=0.01, l2=0.0, clip=0.0))
    for task in TASKS:
        masks, scores = expected[task]
        assert tickets[task].scores == pytest.approx(scores, rel=1e-4)
        assert len(tickets[task].masks) == 3
        for found, slow in zip(tickets[task].masks, masks, strict=True):
            assert all(torch.equal(m, s.bool()) for m, s in zip(found, slow, strict=True))
        best = 1 if scores[1] >= scores[2] else 2  # never the unpruned one
        assert tickets[task].best == best
        assert all(torch.equal(a, m.bool()) for a, m in zip(model.tower.masks(task), masks[best], strict=True))
    for name, x in made().state_dict().items():
        assert name.endswith("worn") or torch.equal(model.state_dict()[name], x), f"{name} is not what it was first"


def search(model, valid=lambda task: 0.5, spy=None, rows=3):
    def batches(task, epoch):
        if spy is not None:
            spy(task)
        return [batch(seed=s, task=task) for s in range(rows)]

    return find_tickets(model, batches, valid, Train(epochs=1, lr=0.01, l2=0.0))


def test_every_round_begins_with_the_first_weights_in_all_parts():
    model = made()
    first = {name: x.clone() for name, x in model.state_dict().items()}
    seen = []

    def spy(task):
        now = model.state_dict()
        seen.append((task, [int(layer.mask(TASKS.index(task)).sum()) for layer in model.tower.layers]))
        assert all(torch.equal(now[name], x) for name, x in first.items() if not name.endswith("worn"))

    search(model, spy=spy)
    assert [task for task, _ in seen] == ["click"] * 3 + ["conversion"] * 3
    sizes = [sum(count) for _, count in seen]
    total = sum(w.numel() for w in whole(model))
    assert sizes == [total, round(total * 0.5), round(total * 0.25)] * 2


def test_the_best_mask_is_chosen_by_validation_alone_and_is_never_the_unpruned_one():
    scores = iter([0.9, 0.2, 0.3, 0.9, 0.4, 0.4])
    model = made()
    tickets = search(model, valid=lambda task: next(scores))
    assert [t.scores for t in tickets.values()] == [(0.9, 0.2, 0.3), (0.9, 0.4, 0.4)]
    assert [t.best for t in tickets.values()] == [2, 1]
    assert [t.describe()["best"] for t in tickets.values()] == [2, 1]


# --- pruning ---------------------------------------------------------------------------------------------------------


def grown(seed=0, shapes=((40, 30), (20, 40), (6, 20))):
    """Weights of layers of different scales, and masks of all."""
    draw = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=draw) * 3**n for n, shape in enumerate(shapes)]
    return weights, [torch.ones(shape, dtype=torch.bool) for shape in shapes]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruning_leaves_the_share_that_the_round_asks_for_and_takes_nothing_back(scope):
    weights, first = grown()
    masks, total = first, sum(m.numel() for m in first)
    for i in range(1, 5):
        share = 0.2 ** (i / 4)
        new = prune(weights, masks, first, share, scope)
        assert all((n <= m).all() for n, m in zip(new, masks, strict=True))
        if scope == "global":
            assert abs(sum(int(m.sum()) for m in new) - total * share) <= 1
        else:
            assert [int(m.sum()) for m in new] == [round(m.numel() * share) for m in first]
        cut = [(w[m & ~n].abs(), w[n].abs()) for w, m, n in zip(weights, masks, new, strict=True)]
        if scope == "global":
            cut = [tuple(torch.cat(x) for x in zip(*cut, strict=True))]
        assert all(gone.max() <= kept.min() for gone, kept in cut)
        masks = new
    exact = [66.87, 44.72, 29.91, 20.00]  # the densities of the authors' code
    assert [100 * 0.2 ** (i / 4) for i in range(1, 5)] == pytest.approx(exact, abs=0.005)


def test_of_equal_weights_exactly_as_many_go_as_asked():
    (new,) = prune([torch.ones(4, 5)], [torch.ones(4, 5, dtype=torch.bool)], [torch.ones(4, 5)], 0.3)
    assert new.sum() == 6


def test_a_layer_is_never_pruned_away_and_a_warning_says_so():
    weights, first = grown()  # the first layer's weights are nine times as small as the last one's
    with pytest.warns(UserWarning, match="would be pruned away"):
        new = prune(weights, first, first, 0.1, least=0.05)
    assert int(new[0].sum()) == math.ceil(0.05 * 1200)
    assert sum(int(m.sum()) for m in new) == round(0.1 * 2120)
    kept = weights[0].abs()[new[0]]
    assert kept.min() >= weights[0].abs()[~new[0]].max()


def test_units_go_by_the_mean_size_of_their_surviving_weights_standardised_in_their_layer():
    weights, first = grown(shapes=((8, 5), (6, 8)))
    masks = [m.clone() for m in first]
    masks[0][0, :3] = False  # a unit whose mean is over two weights
    weights[0][0, 3:] = 1.5
    scores = []
    for n, (w, m) in enumerate(zip(weights, masks, strict=True)):
        means = [np.mean([abs(w[r, c].item()) for c in range(w.shape[1]) if m[r, c]]) for r in range(len(w))]
        scores += [((mean - np.mean(means)) / np.std(means), n, r) for r, mean in enumerate(means)]
    left = {(n, r) for _, n, r in sorted(scores)[-round(14 * 0.5) :]}
    new = prune_units(weights, masks, first, 0.5)
    for n, m in enumerate(new):
        for r in range(len(m)):
            for c in range(m.shape[1]):
                alive = (n, r) in left and bool(masks[n][r, c]) and (n == 0 or (0, c) in left)
                assert bool(m[r, c]) == alive
    assert (prune_units(weights, new, first, 0.25)[0] <= new[0]).all()


def test_a_dead_unit_of_s_neuron_is_inert_for_its_task():
    model, b = made(granularity="neuron"), batch()
    masks = {task: model.prune(task, model.first_masks(task), 0.5) for task in TASKS}
    masks["conversion"] = model.first_masks("conversion")
    model.tower.set_masks(masks)
    before = model.eval()(b)
    dead = [~m.any(1) for m in masks["click"]]
    assert sum(int(d.sum()) for d in dead) == 11 - round(11 * 0.5)
    with torch.no_grad():
        for layer, off in zip(model.tower.layers, dead, strict=True):
            layer.bias[off] = torch.randn(int(off.sum()))
        model.tower.heads[CLICK].weight[0, dead[-1]] += 5.0
    after = model(b)
    assert torch.equal(before.logit, after.logit) and not torch.equal(before.conversion, after.conversion)


# --- what a step of one task moves -----------------------------------------------------------------------------------

OPTIMISERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
}


def step(model, optimiser, task, seed):
    optimiser.zero_grad()
    out = model.train()(batch(seed=seed, task=task))
    out.loss.backward()
    optimiser.step()


def state_of(optimiser, p):
    return {name: x.clone() for name, x in optimiser.state[p].items()}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("task", TASKS)
def test_a_step_of_one_task_leaves_what_the_other_alone_wears_bit_for_bit(name, task):
    model = dressed()
    optimiser = OPTIMISERS[name](model.parameters())
    for seed, turn in enumerate([*TASKS] * 3):
        step(model, optimiser, turn, seed)
    other = 1 << (1 - TASKS.index(task))  # what the other task alone wears
    parts = [p for layer in model.tower.layers for kind, p in layer.groups().items() if kind == other]
    shared = [p for layer in model.tower.layers for kind, p in layer.groups().items() if kind == 3]
    assert len(parts) == len(shared) == 2
    weights, states = [p.detach().clone() for p in parts + shared], [state_of(optimiser, p) for p in parts]
    step(model, optimiser, task, seed=9)
    for p, weight, held in zip(parts, weights, states, strict=False):
        assert torch.equal(p, weight)
        now = state_of(optimiser, p)
        assert now.keys() == held.keys() and all(torch.equal(now[k], held[k]) for k in held)
    assert all((p != weight).any() for p, weight in zip(shared, weights[2:], strict=True))


def test_a_zero_gradient_alone_would_not_protect_them():
    """What both public codes do: one Adam over whole matrices; the momentum that a task left moves on without it."""
    model = dressed()
    slow = Slow(model)
    adam = torch.optim.Adam(slow.parameters(), lr=0.05)

    def turn(number, seed):
        slow.masks = [m.float() for m in model.tower.masks(TASKS[number])]
        adam.zero_grad()
        slow_loss(slow(batch(seed=seed), number), batch(seed=seed), number).backward()
        adam.step()

    turn(CONVERSION, 0)
    alone = [(layer.mask(CONVERSION) & ~layer.mask(CLICK)) for layer in model.tower.layers]
    before = [w.detach()[m].clone() for w, m in zip(slow.weight, alone, strict=True)]
    turn(CLICK, 1)
    assert all(w.grad[m].abs().max() == 0 for w, m in zip(slow.weight, alone, strict=True))
    moved = torch.cat([(w.detach()[m] - x).abs() for w, m, x in zip(slow.weight, alone, before, strict=True)])
    assert moved.max() > 0.01


def test_the_gradient_is_zero_outside_the_mask_and_weights_of_nobody_stay_as_first():
    model = dressed(share=0.4)
    dead = [layer.owners == 0 for layer in model.tower.layers]
    first, masks = whole(model), model.tower.masks("click")
    model.train()(batch(task="click")).loss.backward()
    for layer, mask in zip(model.tower.layers, masks, strict=True):
        gradient = torch.zeros(layer.owners.shape)
        for kind, p in layer.groups().items():
            if p.grad is not None:
                gradient[layer.owners == kind] = p.grad[0]
        assert (gradient[~mask] == 0).all() and (gradient[mask] != 0).any()
    optimiser = OPTIMISERS["adamw"](model.parameters())
    for seed, turn in enumerate([*TASKS] * 3):
        step(model, optimiser, turn, seed)
    assert all(d.any() for d in dead)
    assert all(torch.equal(now[d], x[d]) for now, x, d in zip(whole(model), first, dead, strict=True))


def test_nothing_outside_a_mask_plays_a_part_for_its_task():
    model, b = dressed().eval(), batch()
    before = model(b)
    for layer in model.tower.layers:
        mask = layer.mask(CLICK)
        layer.set_weight(torch.where(mask, layer.whole(), torch.randn(mask.shape)), layer.owners)
    after = model(b)
    assert torch.equal(before.logit, after.logit) and not torch.equal(before.conversion, after.conversion)


def test_with_full_masks_the_steps_are_those_of_a_plain_hard_shared_network():
    model, slow = made(), Slow(made())
    one, other = (torch.optim.Adam(m.parameters(), lr=0.01) for m in (model, slow))
    for seed, task in enumerate([*TASKS] * 4):
        step(model, one, task, seed)
        other.zero_grad()
        b = batch(seed=seed)
        slow_loss(slow(b, TASKS.index(task)), b, TASKS.index(task)).backward()
        other.step()
    for a, b in zip(whole(model), slow.weight, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-4, atol=1e-6)


def test_with_disjoint_masks_each_task_trains_as_if_it_were_alone():
    def frozen():
        model = made()
        masks = drawn_masks(model)
        masks["conversion"] = [~m for m in masks["click"]]
        model.tower.set_masks(masks)
        for name, p in model.named_parameters():
            p.requires_grad_("weight_" in name)
        return model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)

    both = frozen()
    for seed in range(4):
        for task in TASKS:
            step(*both, task, seed)
    for number, task in enumerate(TASKS):
        alone = frozen()
        for seed in range(4):
            step(*alone, task, seed)
        for a, b in zip(both[0].tower.layers, alone[0].tower.layers, strict=True):
            assert torch.equal(a.weight(number), b.weight(number))


def test_with_an_adam_for_each_task_the_weight_of_a_loss_changes_nothing_but_in_joint_steps_it_does():
    def trained(b, joint):
        model = dressed(b=b)
        adams = [torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-12) for _ in TASKS]
        for seed in range(4):
            for task, adam in zip((None,) if joint else TASKS, adams, strict=False):
                step(model, adam, task, seed)
        return torch.cat([w.flatten() for w in whole(model)])

    torch.testing.assert_close(trained(1.0, False), trained(10.0, False), rtol=1e-3, atol=1e-5)
    assert (trained(1.0, True) - trained(10.0, True)).abs().max() > 1e-2


# --- conversions -----------------------------------------------------------------------------------------------------


def test_rows_that_were_not_clicked_play_no_part_for_conversions():
    model, b = dressed().train(), batch(task="conversion")
    away = replace(b, conversion=torch.where(b.label == 1, b.conversion, 1 - b.conversion.nan_to_num()))
    model(b).loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss = model(away).loss
    loss.backward()
    assert torch.equal(loss, model(b).loss)
    assert all(torch.equal(p.grad, g) for p, g in zip([p for p in model.parameters() if p.grad is not None], gradients,
                                                      strict=True))  # fmt: skip
    logit = torch.zeros(len(b), requires_grad=True)
    conversion_loss(logit, b).backward()
    assert (logit.grad[b.label == 0] == 0).all() and (logit.grad[b.conversion.isnan()] == 0).all()
    assert not logit.grad.isnan().any()


def test_a_batch_without_a_known_conversion_has_loss_zero():
    b = batch()
    logit = torch.zeros(len(b), requires_grad=True)
    for empty in (replace(b, label=torch.zeros(len(b))), replace(b, conversion=None)):
        loss = conversion_loss(logit, empty, kappa=3.0)
        loss.backward()
        assert loss.item() == 0 and (logit.grad == 0).all()


def test_conflict_weights_by_hand():
    z = torch.tensor([0.0, 0.05, 0.1, 0.2, 0.7, 1.0])
    assert conflict(z, 5.0, 0.2).tolist() == pytest.approx([5, 4, 3, 1, 1, 1])
    assert (conflict(torch.rand(99).sort().values, 5.0, 0.2).diff() <= 0).all()
    b, logit = batch(), torch.randn(16)
    assert conversion_loss(logit, b, kappa=1.0).equal(conversion_loss(logit, b))


def test_clicks_do_not_know_the_vectors_that_conversions_have_for_themselves():
    model, b = dressed(extra=2), batch()
    before = model.eval()(b)
    assert not model.tower.masks("click")[0][:, model.base.crossed.width :].any()
    model.train()(batch(task="click")).loss.backward()
    assert all(p.grad is None for p in model.extra.parameters())
    model(batch(task="conversion")).loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.extra.parameters())
    with torch.no_grad():
        for p in model.extra.parameters():
            p.normal_()
    after = model.eval()(b)
    assert torch.equal(before.logit, after.logit) and not torch.equal(before.conversion, after.conversion)


def test_masks_hold_layers_alone_no_head_bias_or_embedding():
    model = made()
    names = {name for name, _ in model.named_parameters() if "weight_" in name}
    assert names == {"tower.steps.0.weight_3", "tower.steps.3.weight_3"}  # all weights, worn by both tasks
    first = model.first_masks("click")
    assert [m.shape for m in first] == [w.shape for w in whole(model)] and all(m.all() for m in first)


def test_the_shares_of_the_tasks_by_hand():
    model = made(hidden=(2, 2))
    first = [torch.zeros_like(m) for m in model.first_masks("click")]
    width = first[0].numel()
    masks = {task: [m.clone() for m in first] for task in TASKS}
    masks["click"][0].view(-1)[:4] = True
    masks["conversion"][0].view(-1)[3:8] = True
    masks["click"][1][0, 0] = True
    model.tower.set_masks(masks)
    one, two, total = model.overlap()
    assert [one[k] * width for k in ("shared", "click", "conversion", "dead")] == pytest.approx([1, 3, 4, width - 8])
    assert one["jaccard"] == pytest.approx(1 / 8) and one["ratio"] == pytest.approx(1 / (4 * 5 / width))
    assert (two["click"], two["dead"], two["jaccard"]) == (0.25, 0.75, 0.0) and math.isnan(two["ratio"])
    assert (
        total["layer"] == "all" and total["weights"] == width + 4 and total["click"] == pytest.approx(4 / (width + 4))
    )


def test_the_state_keeps_whole_weights_and_masks_whatever_is_worn():
    model, b = dressed(), batch()
    state = {name: x.clone() for name, x in model.state_dict().items()}
    assert {"tower.steps.0.weight", "tower.steps.0.worn", "tower.steps.0.bias"} <= state.keys()
    other = made(seed=5)
    other.load_state_dict(state)
    assert torch.equal(other.eval()(b).conversion, model.eval()(b).conversion)
    assert all(torch.equal(x, state[name]) for name, x in other.state_dict().items())
    held = [*other.parameters()]
    other.load_state_dict(made(seed=6).state_dict() | {k: x for k, x in state.items() if k.endswith("worn")})
    assert all(p is q for p, q in zip(held, other.parameters(), strict=True))  # optimisers keep what they hold
    with pytest.raises(RuntimeError, match="Missing key.*tower.steps.0.worn"):
        other.load_state_dict({k: x for k, x in state.items() if k != "tower.steps.0.worn"})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"keep": 0.0}, "model.keep must be a share above 0"),
        ({"rounds": 0}, "model.rounds must be at least 1"),
        ({"least": 0.3}, r"model.least must lie in \[0, model.keep = 0.25\], got 0.3"),
        ({"kappa": 0.5}, "model.kappa must be at least 1"),
        ({"round": 3}, r"model.round must lie in \[0, model.rounds = 2\], got 3"),
        ({"shuffle": True}, "model.shuffle needs model.masks"),
        ({"steps": "both"}, "model.steps must be alternate, cycle or joint, got both"),
        ({"b": 0.0}, "model.b must be above 0"),
        ({"extra": -1}, "model.extra must be at least 1, or 0"),
        ({"conversion_loss": "mae"}, "must be mse or bce"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        made(**wrong)


@pytest.mark.parametrize("wrong", [{"keep": 0.0}, {"rounds": 0}, {"steps": "both"}, {"b": 0.0}])
def test_settings_of_what_is_worn_are_named_as_such(wrong):
    with pytest.raises(ValueError, match=rf"^wrapper\.{next(iter(wrong))} must"):
        Sharing(**wrong)
