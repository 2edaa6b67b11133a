"""MARN: what each objective may and may not train, what an absent modality does, and what is computed once an item."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables
from torch import nn

from hyperctr.analysis.marn_modalities import probe
from hyperctr.batch import Step
from hyperctr.layers.attention import Relevance, masked_softmax
from hyperctr.layers.fusion import BatchItems, Maps
from hyperctr.models.marn import APGRU, MARN, ramp, reversed_gradient

GROUPS = {"modalities": "E", "specific": "S", "weigh": "W", "invariant": "I", "first": "D0", "second": "D1"}
ALL = {"E", "S", "W", "I", "D0", "D1", "F"}


@pytest.fixture
def whole(whole):
    """The same on a longer ramp; histories are at time 0, rows at 0 to 3."""
    return change_tables(whole, steps=100)


def built(tables, **sizes):
    """In training, every weight random, half way up the ramp."""
    model = MARN(MARN.Config(**{"dim": 6, "hidden": (10, 8)} | sizes), tables).train()
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    model.step += 30
    return model


def parts_of(model, batch):
    items = model.modalities.distinct(batch)
    return model.encode(items.item, items.snapshot), items


def trained(model):
    """The groups of parameters that have a gradient other than zero."""
    return {
        GROUPS.get(n.split(".")[0], "F") for n, p in model.named_parameters() if p.grad is not None and p.grad.any()
    }


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# --- the reversal and the ramp ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_reversal_changes_the_gradient_alone(scale):
    x, upstream = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    y = reversed_gradient(x, scale)
    assert torch.equal(y, x)
    y.backward(upstream)
    assert torch.equal(x.grad, -scale * upstream)


def test_two_reversals_keep_their_own_scales():
    x = torch.ones(2, requires_grad=True)
    (reversed_gradient(x, 0.5).sum() + 10 * reversed_gradient(x, 2.0).sum()).backward()
    assert x.grad.tolist() == [-20.5, -20.5]


def test_lambda_rises_as_printed():
    table = {0: 0, 0.05: 0.245, 0.1: 0.462, 0.2: 0.762, 0.3: 0.905, 0.5: 0.987, 1: 1.0}
    assert {p: round(ramp(p), 3) for p in table} == table
    assert ramp(0) == 0 and ramp(1) > 0.999 and ramp(7) == ramp(1)


def test_lambda_counts_training_steps_and_no_others(whole, make):
    model, batch = MARN(MARN.Config(dim=4, hidden=(4,), weight=2.0), change_tables(whole, steps=10)).train(), make()
    shares = [model(batch).logs["lambda"] for _ in range(12)]
    assert shares == [2.0 * ramp(k / 10) for k in range(12)]
    model(replace(batch, step=Step(is_augmented=True))), model.eval()(batch)
    assert model.step == 12


def test_lambda_goes_on_where_a_checkpoint_was_written(whole, make):
    model = built(whole)
    again = MARN(model.config, whole).train()
    again.load_state_dict(model.state_dict())
    assert again(make()).logs["lambda"] == model(make()).logs["lambda"] > 0


# --- gradient routing, section 1.5 of the objectives -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reaches"), [("specific", {"D1", "S"}), ("first", {"D0"}), ("adversarial", {"D1", "I"})]
)
def test_an_objective_alone_trains_its_own(whole, make, name, reaches):
    model = built(whole)
    parts, items = parts_of(model, make())
    model.objectives(parts, items.count)[name].backward()
    assert trained(model) == reaches
    untouched = [n for n, p in model.named_parameters() if GROUPS.get(n.split(".")[0], "F") not in reaches]
    assert all(p.grad is None or not p.grad.any() for n, p in model.named_parameters() if n in untouched)


def test_the_cross_entropy_alone_trains_all_but_the_discriminators(whole, make):
    model, batch = built(whole), make()
    F.binary_cross_entropy_with_logits(model(batch).logit, batch.label).backward()
    assert trained(model) == ALL - {"D0", "D1"}


def test_the_reversal_leaves_the_discriminator_and_negates_the_projection(whole, make, monkeypatch):
    gradients = []
    for reverse in (True, False):
        model = built(whole)
        torch.manual_seed(1)
        for p in model.parameters():
            nn.init.normal_(p, std=0.4)
        if not reverse:
            monkeypatch.setattr("hyperctr.models.marn.reversed_gradient", lambda x: x)
        parts, items = parts_of(model, make())
        model.objectives(parts, items.count)["adversarial"].backward()
        gradients.append((model.second.weight.grad, model.invariant.weight.grad))
    (second, invariant), (plain_second, plain_invariant) = gradients
    assert torch.equal(second, plain_second) and torch.equal(invariant, -plain_invariant) and invariant.any()


def test_without_weight_the_projections_learn_from_clicks_alone(whole, make):
    found = []
    for penalised in (True, False):
        torch.manual_seed(2)
        model, batch = built(whole, weight=0.0), make()
        out = model(batch)
        (F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty * penalised).backward()
        found.append((model.specific.weight.grad, model.invariant.weight.grad))
    for with_penalty, without in zip(*found, strict=True):
        assert torch.equal(with_penalty, without) and without.any()


def test_there_are_two_discriminators_and_the_specific_parts_have_none_of_their_own(whole):
    model = built(whole)
    heads = {n for n, x in model.named_modules() if isinstance(x, nn.Linear) and x.out_features == 5}
    assert heads == {"first", "second"} and len({id(p) for p in model.parameters()}) == len([*model.parameters()])


def test_training_alone_has_a_penalty(whole, make):
    model, batch = built(whole), make()
    assert model(batch).penalty > 0
    assert model(replace(batch, step=Step(is_augmented=True))).penalty == 0
    assert model.eval()(batch).penalty == 0
    assert built(whole, adversary="none")(batch).penalty == 0


# --- parts of an item ------------------------------------------------------------------------------------------------


def every_item(model):
    item = torch.arange(31)
    return model.encode(item, item % 5)


def test_attention_and_degrees_keep_their_ranges(whole):
    model = MARN(MARN.Config(dim=6), whole)  # of larger weights tanh is 1 to the last bit
    parts = every_item(model)
    assert (parts.attention.abs() < 1).all()
    assert (parts.degree >= 0).all() and (parts.degree <= 1).all()
    close(parts.vector, parts.own + parts.common)


def test_a_discriminator_that_knows_nothing_weighs_all_alike(whole):
    model = built(whole)
    nn.init.zeros_(model.first.weight), nn.init.zeros_(model.first.bias)
    parts = every_item(model)
    close(parts.degree, torch.full_like(parts.degree, 1 - 1 / 5))
    several = (parts.invariant * 0.8).masked_fill(~parts.present[:, :, None], -1.0)
    close(parts.common[:30], several.amax(0)[:30].clamp(min=0))


def test_one_modality_has_nothing_in_common(whole, make):
    model = built(whole, modalities=("ids",))
    parts = every_item(model)
    assert not parts.degree.any() and not parts.common.any()
    out = model(make())
    (out.logit.sum() + out.penalty).backward()
    assert out.logit.isfinite().all() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_an_absent_modality_changes_nothing_whatever_is_stored(whole, make):
    losses, vectors = [], []
    for stored in (0.0, 50.0):
        features = {name: x.clone() for name, x in whole.modalities.features.items()}
        for name, x in features.items():
            x[~whole.modalities.present[name]] = stored
        torch.manual_seed(3)
        model = built(change_tables(whole, modalities=features))
        parts, items = parts_of(model, make(lengths=(6, 5, 7, 4)))
        assert not parts.present.all()
        losses.append(torch.stack([*model.objectives(parts, items.count).values()]))
        vectors.append(parts.vector)
    assert torch.equal(*losses) and torch.equal(*vectors)


def test_an_item_without_any_modality_is_zero_and_finite(whole):
    model = built(whole, modalities=("visual", "sound", "title"))
    parts = every_item(model)
    nothing = ~parts.present.any(0)
    assert nothing[30] and not parts.vector[nothing].any() and parts.vector[~nothing].any(1).all()


@pytest.mark.parametrize("sizes", [{}, {"adversary": "single"}, {"adversary": "none"},
                                   {"adversary": "none", "fusion": "sum"}])  # fmt: skip
def test_a_rung_of_the_ladder_has_its_parts_and_no_others(whole, sizes):
    parts = every_item(built(whole, **sizes))
    missing = {name for name, x in vars(parts).items() if x is None}
    common = {"invariant", "degree", "common"}
    assert missing == {
        (): set(), ("single",): set(), ("none",): common, ("none", "sum"): common | {"specific", "attention"},
    }[tuple(sizes.values())]  # fmt: skip
    modules = {n.split(".")[0] for n, _ in built(whole, **sizes).named_parameters()}
    assert ("first" in modules) == ("adversary" not in sizes)
    assert ("second" in modules) == (sizes.get("adversary") != "none")
    if sizes.get("adversary") == "single":
        assert (parts.degree == 1).all()


def test_a_vector_depends_on_item_and_snapshot_alone(whole, make):
    """So a table of them serves every user, at any time of the slice, whatever was clicked and how long ago."""
    model = built(whole).eval()
    batch = make(lengths=(6, 5, 7, 4), rows=3)
    table = model.vectors(torch.arange(31), torch.full((31,), 2))
    at = replace(batch, time=torch.full_like(batch.time, 1))
    close(model.out(model.read(at, table[at.item], table[at.histories.item])).squeeze(1), model(at).logit)
    items = model.modalities.distinct(at)
    assert (items.snapshot == 2).all()
    close(model.vectors(items.item, items.snapshot), table[items.item])


def test_snapshots_are_those_of_the_slices_that_have_begun(whole):
    model = built(change_tables(whole, statistics=replace(whole.statistics, starts=torch.tensor([10, 20]))))
    assert model.modalities.snapshot(torch.tensor([-5, 9, 10, 19, 20, 900])).tolist() == [0, 0, 1, 1, 2, 2]
    without = built(whole, modalities=("ids", "visual"))
    assert without.modalities.snapshot(torch.tensor([-5, 900])).tolist() == [0, 0]


# --- each item once --------------------------------------------------------------------------------------------------


def test_items_are_encoded_once_and_spread_where_they_stand(make):
    batch = make(lengths=(6, 0, 7, 4), rows=3, padding=2)
    snapshot = torch.tensor([0, 3, 3, 1])[batch.query]
    items = BatchItems.of(batch, snapshot, 30)
    pairs = list(zip(items.item.tolist(), items.snapshot.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    asked = list(zip(batch.item.tolist(), snapshot.tolist(), strict=True))
    assert [pairs[k] for k in items.row] == asked
    for query in range(4):
        for t in range(batch.histories.mask.shape[1]):
            if batch.histories.mask[query, t]:
                pair = int(batch.histories.item[query, t]), int(snapshot[batch.query_row[query]])
                assert pairs[items.click[query, t]] == pair
                asked.append(pair)
    assert items.count.tolist() == [asked.count(pair) for pair in pairs]


def test_encoding_once_is_encoding_as_often_as_items_stand_there(whole, make):
    """The same loss and gradients, to the last digits, from items repeated and counted once each."""
    found = []
    for repeated in (False, True):
        torch.manual_seed(4)
        model, batch = built(whole), make(lengths=(6, 5, 7, 4), rows=4)
        items = model.modalities.distinct(batch)
        if repeated:
            row = torch.arange(len(batch))
            click = torch.arange(batch.histories.item.numel()).view_as(batch.histories.item)
            at = model.modalities.snapshot(batch.time)
            item = torch.cat([batch.item, batch.histories.item[batch.histories.mask]])
            own = at[batch.query_row][:, None].expand_as(batch.histories.item)[batch.histories.mask]
            place = torch.zeros_like(click)
            place[batch.histories.mask] = torch.arange(len(batch), len(item))
            items = BatchItems(item, torch.cat([at, own]), torch.ones_like(item), row, place)
        model.modalities.distinct = lambda batch, items=items: items
        out = model(batch)
        loss = F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty
        loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in model.named_parameters()}))
    close(found[0][0], found[1][0], 1e-6)
    for name, gradient in found[0][1].items():
        close(gradient, found[1][1][name], 1e-5)


# --- clicks ----------------------------------------------------------------------------------------------------------


def test_the_property_reaches_the_update_gate_alone():
    cell = APGRU(5, 3).double()
    clicks, property = torch.randn(2, 4, 5).double(), torch.randn(2, 4, 3).double()
    nn.init.constant_(cell.property.weight, -50.0)
    shut = cell(clicks, property.abs())  # z = 1 - u = 0: the state is the new content, r and n as without
    r_n = APGRU(5, 3).double()
    r_n.load_state_dict(cell.state_dict())
    nn.init.zeros_(r_n.property.weight)
    r_n.item.bias.data[5:10] -= 1e4
    close(shut, r_n(clicks, property), 1e-9)
    nn.init.constant_(cell.property.weight, 50.0)
    assert not cell(clicks, 1 + property.abs()).any()  # z = 1: nothing is ever written


def test_the_fused_recurrence_is_torchs_own_with_no_property_in_two_gates():
    cell, p = APGRU(5, 3).double(), torch.randn(2, 6, 3).double()
    clicks = torch.randn(2, 6, 5).double()
    own = nn.GRU(8, 5, batch_first=True).double()
    with torch.no_grad():
        own.weight_ih_l0.zero_()
        own.weight_ih_l0[:, :5] = cell.item.weight
        own.weight_ih_l0[5:10, 5:] = cell.property.weight
        own.weight_hh_l0.copy_(cell.state.weight)
        own.bias_ih_l0.copy_(cell.item.bias), own.bias_hh_l0.copy_(cell.state.bias)
    close(cell(clicks, p), own(torch.cat([clicks, p], 2))[0], 1e-10)


def test_what_stands_behind_a_history_does_not_matter_nor_does_its_property(whole, make):
    model = built(whole).eval()
    short = make(lengths=(3, 0, 5, 1))
    long = make(lengths=(3, 0, 5, 1), padding=4)
    long = replace(long, histories=replace(long.histories, time=torch.where(long.histories.mask, 0, -40)))
    kinds = torch.randint(3, long.histories.item.shape)
    long = replace(long, histories=replace(long.histories, type=kinds))
    short = replace(short, histories=replace(short.histories, type=kinds[:, : short.histories.item.shape[1]]))
    close(model(long).logit, model(short).logit)


def test_kind_and_age_of_a_click_matter(whole, make):
    model, batch = built(whole).eval(), make(lengths=(3, 4, 5, 2))
    kinds = replace(batch, histories=replace(batch.histories, type=torch.ones_like(batch.histories.item)))
    older = replace(batch, histories=replace(batch.histories, time=batch.histories.time - 30))
    for other in (kinds, older):
        assert not torch.allclose(model(other).logit, model(batch).logit, atol=1e-3)
    plain = built(whole, behaviour="gru").eval()
    for other in (kinds, older):
        assert torch.equal(plain(other).logit, plain(batch).logit)


def test_attention_adds_up_to_one_over_real_clicks():
    relevance, mask = Relevance(4, 3), torch.tensor([[True, True, False], [False] * 3])
    states, item, query = torch.randn(2, 3, 4), torch.randn(3, 3), torch.tensor([0, 1, 0])
    weights = relevance.weights(states, item, mask, query)
    close(weights.sum(1), torch.tensor([1.0, 0.0, 1.0]))
    assert not weights[:, 2].any() and (weights >= 0).all()
    pooled = relevance(states, item, mask, query, states)
    close(pooled, torch.stack([w @ states[q] for w, q in zip(weights, query, strict=True)]))
    assert not pooled[1].any()


def test_a_softmax_of_nothing_is_zero():
    score, mask = torch.randn(3, 2, requires_grad=True), torch.tensor([[True, False], [True, False], [False, False]])
    found = masked_softmax(score, mask, 0)
    close(found.sum(0), torch.tensor([1.0, 0.0]))
    found.square().sum().backward()
    assert score.grad.isfinite().all() and not score.grad[~mask].any()


def test_the_candidate_picks_among_the_clicks(whole, make):
    model, batch = built(whole).eval(), make(lengths=(6,), rows=2)
    user = model.user(batch, torch.randn(2, 6) * 5, torch.randn(1, 6, 6))
    assert not torch.allclose(user[0], user[1], atol=1e-3)


def test_maps_are_one_linear_layer_a_modality():
    maps, x = Maps(3, 4, 5), torch.randn(3, 7, 4)
    nn.init.normal_(maps.bias)
    for m in range(3):
        close(maps(x)[m], x[m] @ maps.weight[m] + maps.bias[m])
    assert maps.weight.abs().max() <= (6 / 9) ** 0.5 and maps.weight.abs().max() > 0.7 * (6 / 9) ** 0.5  # Xavier


# --- where the game ends ---------------------------------------------------------------------------------------------


def test_of_modalities_that_are_the_same_no_discriminator_tells_anything(ids, make):
    """L_ADV ends at (1 - 1/M) log M with M = 2, the value at which both discriminators are uniform."""
    x = torch.randn(30, 5)
    present = torch.ones(30, dtype=torch.bool)
    both = change_tables(ids, modalities={"left": x, "right": x}, present={"left": present, "right": present}, steps=1)
    torch.manual_seed(5)
    model = MARN(MARN.Config(modalities=("left", "right"), dim=8, hidden=(4,), weight=1.0), both).train()
    with torch.no_grad():
        model.modalities.project[1].weight.copy_(model.modalities.project[0].weight)
    model.step += 1
    batch = make(lengths=(5, 5, 5, 5), rows=3)
    adam = torch.optim.Adam(
        [*model.first.parameters(), *model.second.parameters(), *model.invariant.parameters()], 0.01
    )
    for _ in range(200):
        items = model.modalities.distinct(batch)
        found = model.objectives(model.encode(items.item, items.snapshot), items.count)
        adam.zero_grad()
        (found["first"] + found["adversarial"]).backward()
        adam.step()
    assert found["adversarial"].item() == pytest.approx(0.5 * torch.tensor(2.0).log().item(), abs=0.01)
    assert found["first"].item() == pytest.approx(torch.tensor(2.0).log().item(), abs=0.01)
    parts, every = model.encode(torch.arange(30), torch.zeros(30, dtype=torch.long)), np.ones(30, bool)
    assert probe(list(parts.invariant.detach().numpy()), [every, every]) == pytest.approx(0.5)  # chance


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"dim": 0}, "model.dim must be at least 1, got 0"),
        ({"hidden": ()}, r"model.hidden must be widths of at least 1, got \[\]"),
        ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0"),
        ({"weight": -0.1}, "model.weight must be a number, at least 0, got -0.1"),
        ({"weight": float("nan")}, "model.weight must be a number"),
        ({"fusion": "sum"}, 'model.fusion="sum" has no invariant parts, use it with model.adversary="none"'),
    ],
)
def test_a_setting_out_of_range_is_named(sizes, says):
    with pytest.raises(ValueError, match=says):
        MARN.Config(**sizes)
