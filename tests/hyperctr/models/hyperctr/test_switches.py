"""The switches between HyperCTR and its paper: each moves logits, leaves no dead weight, and fits every wrapper."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from slow_hyperctr import (
    CONTEXT,
    DAY,
    ITEMS,
    SIZES,
    fields_of,
    in_one_query_and_in_many,
    logits_of,
    model_of,
    random_log,
    rows_of,
    tables_of,
)
from table_builder import change_tables
from torch import nn

from hyperctr import config
from hyperctr.data import planted
from hyperctr.experiments import contract
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.model import HyperCTR
from hyperctr.presets import read_preset
from hyperctr.runs.prepare import prepare

KEYS = ("across", "norm", "age", "own", "residual", "interaction", "bias", "start", "context", "types")
PAPER = {key: read_preset("hyperctr-paper")["model"][key] for key in KEYS}
BEST = {"attend": True, "gru": True, "branch": "fields", "statistics": True}
SWITCHES = [{key: value} for key, value in PAPER.items()] + [{"own": "none"}, {"bias": "zero"}]
CHOICES = [*SWITCHES, PAPER, {**PAPER, "own": "none"}, {**PAPER, "context": True, "attend": True},
           {"attend": True, "gru": True, "statistics": True}]  # fmt: skip
WRAPPERS = {"aqcl": {"name": "aqcl"}, "lt4rec": {"name": "lt4rec", "steps": "joint"}}
by_name = pytest.mark.parametrize("changed", CHOICES, ids=lambda x: " ".join(f"{k}={v}" for k, v in x.items()))


def built(**changed):
    """A model with its own first weights, on tables with fields, types and log odds."""
    log = random_log(types=4)
    tables = change_tables(fields_of(log, typed=changed.get("types", True)), item_log_odds=torch.linspace(-1, 1, ITEMS))
    torch.manual_seed(0)
    return HyperCTR(Config(**{**SIZES, **changed}), tables), log


def test_the_paper_s_preset_states_every_switch_and_differs_from_the_defaults_in_each():
    for key, value in PAPER.items():
        assert value != getattr(Config(), key), key
    assert not read_preset("hyperctr-paper")["model"]["id_dropout"]


@pytest.mark.parametrize("changed", SWITCHES, ids=str)
def test_each_switch_moves_logits(changed):
    """With equal weights where both models have them; `start` and the start of the biases with their own."""
    log = random_log(types=4)
    batch = rows_of(log, CONTEXT)
    if set(changed) & {"start"} or changed == {"bias": "zero"}:
        model, other = built()[0], built(**changed)[0]
    else:
        model = model_of(log, fields_of(log, typed=True))
        other = model_of(log, fields_of(log, typed=changed.get("types", True)), **changed)
        own = other.state_dict()
        shared = {name: x for name, x in model.state_dict().items() if name in own and own[name].shape == x.shape}
        other.load_state_dict(own | shared)
    assert ((logits_of(model, batch) - logits_of(other, batch)).abs() > 1e-4).float().mean() > 0.4


@cache
def case(wrapper, preset, **changed):
    """Rows of a small world, and the model with some switches."""
    made = contract.Case.of("hyperctr", preset=preset)
    tables = {"data": {"path": "planted", "history": 6}, "slices": {"every": "30d"}, "interest": {"mode": "none"}}
    tables |= {"model": {"name": "hyperctr", **changed}} | ({"wrapper": WRAPPERS[wrapper]} if wrapper else {})
    return replace(made, ready=prepare(config.read_run(tables), planted.planted(preset, scale=0.02).dataset))


@by_name
def test_gradients_reach_every_weight_that_is_there(changed):
    """In the world `fields`, which has profiles, metadata and context."""
    contract.gives_every_weight_a_gradient(case("", "fields", **changed))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_paper_s_model_keeps_the_contract(check):
    check(case("", "fields", **PAPER))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_best_model_keeps_the_contract(check):
    check(case("", "fields", **BEST))


def test_statistics_are_made_where_they_are_read_alone():
    assert case("", "fields", **PAPER).ready.tables.statistics is None
    assert case("", "fields", **BEST).ready.tables.statistics.names[:2] == ("clicks", "recency")


@pytest.mark.parametrize("check", contract.WRAPPER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_around_the_paper_s_model_keeps_the_contract(wrapper, check):
    check(case(wrapper, "conflict", **PAPER))


@by_name
def test_the_tower_that_is_given_up_computes_what_the_model_did(changed):
    """All that Eq. (7) adds to its network is the last column, where it adds anything."""
    log = random_log(types=4)
    model = model_of(log, fields_of(log, typed=changed.get("types", True)), **changed)
    batch, last = rows_of(log, CONTEXT), model.predict.rest[-1]
    expected, beside = logits_of(model, batch), 0.0
    tower = model.take_tower().eval()
    with torch.no_grad():
        x = model.features(batch).x
        if model.direct is not None or model.user_bias is not None:
            beside, x[:, -1] = x[:, -1].clone(), 0.0
        torch.testing.assert_close(last(tower(x)).squeeze(1) + beside, expected, rtol=1e-4, atol=1e-4)


@by_name
def test_many_candidates_of_one_query_score_as_in_queries_of_their_own(changed):
    log = random_log(types=4)
    model = model_of(log, fields_of(log, typed=changed.get("types", True)), **changed)
    torch.testing.assert_close(*in_one_query_and_in_many(model, log), rtol=1e-4, atol=1e-4)


def test_a_gaussian_start_draws_every_matrix():
    """Nothing starts as the identity, as zero or as a constant, and ids are as large as without columns."""
    model, _ = built(**PAPER, dim=32, heads=2)
    for name, x in model.named_parameters():
        if x.dim() > 1:
            x = x[:-1] if isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Embedding) else x
            assert x.std() > 0.002 and (x - x.mean()).pow(4).mean() / x.var() ** 2 < 4.5, name  # a Gaussian has 3
    assert 0.08 < model.item.weight.std() < 0.12


@pytest.mark.parametrize("fusion", ["outer", "lowrank", "concat", "gate"])
def test_a_gaussian_start_draws_every_fusion(fusion):
    model, _ = built(start="gaussian", fusion=fusion)
    for x in model.fusion.parameters():
        assert x.dim() == 1 or (x != 0).all() and x.std() < 1


def test_biases_start_where_they_are_told_to_and_are_not_made_without():
    with_odds, zero, none = (built(bias=bias)[0] for bias in ("log_odds", "zero", "none"))
    assert torch.equal(with_odds.item_bias.weight[:-1, 0], torch.linspace(-1, 1, ITEMS))
    assert not zero.item_bias.weight.any() and zero.user_bias.weight.numel() > 0
    names = {name for name, _ in zero.named_parameters()} - {name for name, _ in none.named_parameters()}
    assert names == {"user_bias.weight", "item_bias.weight"}
    for part in ("profile", "metadata", "context"):  # the last column of a vector is its weight
        wide, narrow = (getattr(model, part).columns.weight.shape[1] for model in (zero, none))
        assert (wide, narrow) == (SIZES["dim"] + 1, SIZES["dim"])


def test_without_the_residual_a_node_without_a_state_is_read_as_zero():
    log = random_log()
    model = model_of(log, residual=False)
    static, nobody = torch.randn(3, 8 * 3), torch.full((3,), 6)
    assert not model.states.read(0, nobody, torch.full((3,), 4), static, []).any()
    kept = model_of(log, residual=False, depth=0)
    assert torch.equal(kept.states.read(0, nobody, torch.full((3,), 4), static, []), static)


def test_without_own_vectors_items_that_no_hyperedge_holds_score_alike():
    """Such as new ones; with the item's own vector they differ."""
    log = random_log()
    rows = rows_of(log)
    for own, alike in (("none", True), ("item", False)):
        model = model_of(log, residual=False, own=own, bias="none")
        new = [logits_of(model, replace(rows, item=torch.full_like(rows.item, i))) for i in (7, 8)]
        assert torch.equal(*new) == alike


def test_ages_of_slices_are_not_read_without_their_vectors():
    log = random_log()
    batch = rows_of(log)
    older = replace(batch, time=batch.time.clamp(min=5 * DAY) + 10 * DAY)
    later = replace(older, time=older.time + 20 * DAY)
    tables = tables_of(log, days=40)
    for age in (True, False):
        model = model_of(log, tables, age=age)
        assert torch.equal(logits_of(model, older), logits_of(model, later)) != age
