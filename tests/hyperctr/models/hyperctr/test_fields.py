"""What HyperCTR reads beside ids: profiles, metadata, context and types, against loops; each moves a logit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slow_hyperctr import (
    BY_ROW,
    CONTEXT,
    ITEM,
    ITEMS,
    SIZES,
    TIME,
    TYPES,
    USER,
    USERS,
    Slow,
    fields_of,
    grid_of,
    in_one_query_and_in_many,
    logits_of,
    model_of,
    random_log,
    rows_of,
    tables_of,
)
from table_builder import change_tables

from hyperctr.batch import Columns, TrainingPlan, Values
from hyperctr.data.loader import Loader
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.model import HyperCTR
from hyperctr.models.hyperctr.parts import next_click_loss


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"depth": 0}, {"conv": "gcn"}, {"carry": "gate", "across": "mean"}, {"attend": True}, {"gru": True},
        {"bias": "none"}, {"interaction": "none"}, {"own": "item"}, {"context": False, "attend": True},
        {"bias": "none", "own": "item", "gru": True}, {"attend": True, "gru": True, "statistics": True},
    ],
    ids=str,
)  # fmt: skip
def test_the_logit_with_fields_and_types_is_what_loops_over_the_log_give(changed):
    log = random_log(types=TYPES)
    tables = fields_of(log, typed=changed.get("conv") != "gcn")
    model = model_of(log, tables, **changed)
    slow = Slow(model, log, fields=tables.fields, context=BY_ROW, edges=tables.statistics.edges)
    expected = torch.cat([slow.logit(*row) for row in zip(USER, ITEM, TIME, strict=True)])
    assert expected.std() > 0.05
    torch.testing.assert_close(logits_of(model, rows_of(log, CONTEXT)), expected, rtol=1e-4, atol=1e-4)


def test_a_training_step_backpropagates_what_the_loops_do():
    """Also into the weights of the types, through degrees and sizes, and into the fields of nodes that are not rows."""
    log = random_log(types=TYPES)
    tables = fields_of(log, typed=True)
    model = model_of(log, tables, dropout=0.0, id_dropout=0.0, neighbors=0, propagation="full").train()
    batch = Loader(log).batch(np.flatnonzero(grid_of().slice_of(log.time) == 4), 1, np.random.default_rng(0))
    model(batch).logit.sum().backward()
    fast = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    Slow(model, log, fields=tables.fields).logits(batch).sum().backward()
    for name in ("profile.columns.weight", "metadata.columns.weight", "states.types.log_weight",
                 "temporal.behaviour.weight"):  # fmt: skip
        assert fast[name].abs().sum() > 0, name
        torch.testing.assert_close(fast[name], model.get_parameter(name).grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("side", ["user", "item"])
def test_every_kind_of_a_profile_or_metadata_moves_logits(side):
    log = random_log()
    count = {"user": USERS, "item": ITEMS}[side] + 1
    rng = torch.Generator().manual_seed(0)
    values = Values(
        torch.randint(3, (count, 1), generator=rng), torch.rand(count, 1, generator=rng),
        torch.randint(4, (count, 1, 2), generator=rng), (torch.randn(count, 3, generator=rng),),
    )  # fmt: skip
    other = Values((values.codes + 1) % 3, 1 - values.numbers, 3 - values.tags, (-values.vectors[0],))
    columns = Columns({"a": 3}, {"b": torch.tensor([0.0, 0.5, 1.0])}, {"c": 4}, {"d": 3}, values)
    rows = rows_of(log)
    before = logits_of(model_of(log, change_tables(tables_of(log), **{side: columns})), rows)
    for kind in ("codes", "numbers", "tags", "vectors"):
        moved = replace(columns, values=replace(values, **{kind: getattr(other, kind)}))
        after = logits_of(model_of(log, change_tables(tables_of(log), **{side: moved})), rows)
        assert ((after - before).abs() > 1e-4).float().mean() > 0.5, kind


def test_the_fields_of_others_reach_a_row_through_the_hyperedges():
    log = random_log()
    tables = fields_of(log)
    other = tables.fields.user.values.codes.clone()
    other[1] = (other[1] + 1) % 2
    changed = change_tables(tables, user=replace(tables.fields.user, values=Values(other)))
    rows = rows_of(log)
    differ = logits_of(model_of(log, tables), rows) != logits_of(model_of(log, changed), rows)
    assert differ[torch.tensor(USER) == 0].any() and differ[torch.tensor(USER) == 1].all()


def test_context_moves_logits_and_without_it_a_row_reads_zeros():
    log = random_log()
    model = model_of(log, fields_of(log))
    with_context = logits_of(model, rows_of(log, CONTEXT))
    assert (with_context != logits_of(model, rows_of(log, CONTEXT.roll(1, 0)))).sum() > len(USER) / 2
    unknown = torch.full_like(CONTEXT, -1)
    assert torch.equal(logits_of(model, rows_of(log)), logits_of(model, rows_of(log, unknown)))


def test_a_user_without_training_row_is_read_by_the_profile():
    log = random_log()
    tables = fields_of(log)
    user = tables.fields.user
    values = user.values.codes.clone()
    values[5], values[6] = torch.tensor([0, 1]), torch.tensor([1, 0])
    model = model_of(log, change_tables(tables, user=replace(user, values=Values(values))))
    both = [logits_of(model, rows_of(log, user=[u] * len(ITEM))) for u in (5, 6)]
    assert (both[0] != both[1]).all()


def test_many_candidates_of_one_query_score_as_in_queries_of_their_own():
    """Many candidates of a user take the fast way through Eq. (7), with a context of their own each."""
    log = random_log()
    model = model_of(log, fields_of(log))
    torch.testing.assert_close(*in_one_query_and_in_many(model, log), rtol=1e-4, atol=1e-5)


def test_types_move_logits_through_hyperedges_and_through_attention():
    log = random_log(types=TYPES)
    other = replace(log, type=(log.type + 1) % TYPES)
    model, moved = (model_of(x, tables_of(x, typed=True)) for x in (log, other))
    before = logits_of(model, rows_of(log))
    assert (before != logits_of(model, rows_of(other))).any()  # the history's types alone
    assert (before != logits_of(moved, rows_of(log))).any()  # the hyperedges' types alone


def test_equal_weights_of_types_are_those_of_a_log_without_types():
    log = random_log(types=TYPES)
    typed, plain = HyperCTR(Config(**SIZES), tables_of(log, typed=True)), model_of(log, types=False)
    assert (typed.states.types.log_weight == 0).all() and (typed.temporal.behaviour.weight == 0).all()
    own = typed.state_dict()
    typed.load_state_dict(own | plain.state_dict())
    torch.testing.assert_close(logits_of(typed, rows_of(log)), logits_of(plain, rows_of(log)), rtol=1e-4, atol=1e-5)


def test_ids_and_modalities_start_at_a_tenth_where_there_are_columns():
    log = random_log()
    tables = [tables_of(log), fields_of(log)]
    for name in ("user.weight", "item.weight", "temporal.age.weight", "project.visual.weight"):
        plain, small = (HyperCTR(Config(**{**SIZES, "dim": 64}), t).get_parameter(name).std() for t in tables)
        assert 0.05 < small / plain < 0.2
    assert HyperCTR(Config(**SIZES), tables[1]).profile.columns.weight.std() < 0.02


def test_given_weights_are_not_trained():
    log = random_log(types=TYPES)
    tables = tables_of(log, typed=True)
    given = model_of(log, tables, type_weights=(1.0, 2.0, 0.0))
    assert "states.types.log_weight" not in dict(given.named_parameters())
    learned = model_of(log, tables)
    learned.load_state_dict(given.state_dict() | {"states.types.log_weight": torch.zeros(TYPES)})
    differ = logits_of(given, rows_of(log)) != logits_of(learned, rows_of(log))
    assert differ.any()
    learned.states.types.log_weight.data = torch.tensor([1.0, 1.0, 2.0, 0.0]).log()
    torch.testing.assert_close(logits_of(given, rows_of(log)), logits_of(learned, rows_of(log)))


def test_without_fields_and_types_the_model_is_that_of_before():
    log = random_log(types=TYPES)
    model = HyperCTR(Config(**SIZES, fields=False, types=False), fields_of(log))
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert not names & {"profile", "metadata", "context"} and model.temporal.behaviour is None
    assert HyperCTR.plan(Config(), TrainingPlan()).typed_hypergraphs
    for unread in (Config(types=False), Config(conv="gcn")):
        assert not HyperCTR.plan(unread, TrainingPlan()).typed_hypergraphs


@pytest.mark.parametrize(
    ("settings", "types", "message"),
    [
        ({"type_weights": (1.0,)}, TYPES, "model.type_weights has 1 weights; .* are 3"),
        ({"type_weights": (1.0,)}, 0, "model.type_weights has 1 weights; .* are 0"),
        ({"propagation": "sampled"}, TYPES, "cannot weigh behaviour types"),
    ],
)
def test_settings_that_do_not_fit_the_types_are_refused(settings, types, message):
    log = random_log(types=types)
    with pytest.raises(ValueError, match=message):
        HyperCTR(Config(**SIZES, **settings), tables_of(log))
    if settings == {"propagation": "sampled"}:
        HyperCTR(Config(**SIZES, **settings, types=False), tables_of(log))


def test_weights_of_types_are_at_least_zero():
    with pytest.raises(ValueError, match="model.type_weights must be numbers of at least 0"):
        Config(type_weights=(1.0, -1.0))


def numbers_of(branch, batch, levels=None):
    """w^T MLP(z) + u^T z + b on the vectors of the columns, whatever is known of the clicks."""
    parts = [branch.user.of(batch.user), branch.item.of(batch.item), branch.context(batch.context, len(batch))]
    z = torch.cat(parts, 1).flatten(1)
    return branch.out(torch.cat([branch.top(z), z], 1))[:, 0]


def fields_logit_of(branch, batch, levels=None):
    """A factorisation machine by loops over pairs, and a network, on the vectors of all fields."""
    x = branch.embed.fields(batch)
    if levels is not None:
        each = [levels(batch)[q][batch.histories.mask[q]] for q in batch.query]
        mean = torch.stack([z.mean(0) if len(z) else torch.zeros(levels.width) for z in each])
        x = torch.cat([x, branch.statistics(mean)[:, None]], 1)
    logit = branch.out(branch.top(x[..., :-1].flatten(1)))[:, 0] + x[..., -1].sum(1)
    for j in range(x.shape[1]):
        for k in range(j):
            logit = logit + (x[:, j, :-1] * x[:, k, :-1]).sum(1)
    return logit


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize(("branch", "slow"), [("numbers", numbers_of), ("fields", fields_logit_of)])
def test_the_logit_is_the_mean_of_two_branches_that_have_losses_of_their_own(branch, slow, statistics):
    log, changed = random_log(), {"attend": True, "statistics": statistics}
    tables = fields_of(log)
    model, batch = model_of(log, tables, branch=branch, **changed), rows_of(log, CONTEXT)
    batch = replace(batch, label=(torch.arange(len(batch)) % 2).float())
    alone = HyperCTR(Config(**SIZES, **changed), tables)
    alone.load_state_dict({name: x for name, x in model.state_dict().items() if not name.startswith("branch.")})
    one, other = logits_of(alone.eval(), batch), model.branch(batch, model.levels and model.levels(batch))
    torch.testing.assert_close(logits_of(model, batch), (one + other.detach()) / 2)
    torch.testing.assert_close(other, slow(model.branch, batch, model.levels), rtol=1e-4, atol=1e-4)
    model = model_of(log, tables, branch=branch, dropout=0.0, id_dropout=0.0, neighbors=0, **changed).train()
    out = model(batch)
    two, other = out.logit.new_tensor(0.0), model.branch(batch, model.levels and model.levels(batch))
    for logit in (2 * out.logit - other, other):
        two = two + torch.nn.functional.binary_cross_entropy_with_logits(logit, batch.label) / 2
    torch.testing.assert_close(out.loss, two)


def clicked(mask):
    """Where a mask [Q, T] is True, and where it is so after another True of the row."""
    place = mask.flatten().nonzero()[:, 0]
    return place, place[place % mask.shape[1] > 0]


def test_the_loss_of_the_gru_is_the_mean_over_clicks_that_have_a_next_one():
    """With equal clicks, the drawn one is like the next one: log(1 + e^-s) + log(1 + e^s) of their product s."""
    states, mask = torch.randn(3, 4, 5), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    clicks = torch.randn(5).expand(3, 4, 5)
    products = [float(states[q, t] @ clicks[q, t + 1]) for q, count in ((0, 2), (2, 3)) for t in range(count)]
    expected = np.mean([np.log1p(np.exp(-s)) + np.log1p(np.exp(s)) for s in products])
    assert float(next_click_loss(states, clicks, *clicked(mask))) == pytest.approx(expected, rel=1e-5)
    assert float(next_click_loss(0 * states, torch.randn(3, 4, 5), *clicked(mask))) == pytest.approx(2 * np.log(2))
    assert float(next_click_loss(states, clicks, *clicked(mask & torch.tensor([True, False, False, False])))) == 0


def test_training_adds_the_loss_of_the_gru_and_evaluation_does_not():
    log = random_log()
    model, batch = model_of(log, gru=True, dropout=0.0, id_dropout=0.0, neighbors=0), rows_of(log)
    assert float(torch.as_tensor(model(batch).penalty)) == 0
    assert float(model.train()(batch).penalty.detach()) > 0


def test_the_statistics_of_the_padding_are_zero():
    log = random_log()
    model, batch = model_of(log, fields_of(log), attend=True, statistics=True), rows_of(log, CONTEXT)
    found = model.levels(batch)
    assert not found[~batch.histories.mask].any() and found[batch.histories.mask].any()


def test_statistics_need_something_that_reads_clicks_one_by_one():
    with pytest.raises(ValueError, match="model.statistics are of clicks: set model.attend, model.gru or model.branch"):
        Config(statistics=True, branch="numbers")


def test_there_is_no_second_branch_without_a_column():
    log = random_log()
    assert model_of(log, branch="numbers").branch is None
    assert model_of(log, branch="fields").branch is not None  # ids and clicks are fields
