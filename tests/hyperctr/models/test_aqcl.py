"""AQCL: what its losses, views and codebook keep to, and that a model that wears it is the bare one but in training."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from table_builder import make_tables
from torch import nn

from hyperctr import config
from hyperctr.batch import Batch, Columns, History, Output, Values
from hyperctr.config import Train
from hyperctr.data import planted
from hyperctr.data.loader import Loader
from hyperctr.layers.columns import ColumnVectors
from hyperctr.models import MODELS
from hyperctr.models.aqcl import (
    AQCL,
    ICL,
    QCL,
    Codebook,
    Config,
    ICLConfig,
    QCLConfig,
    activity,
    aqcl,
    dropped,
    icl,
    instances,
    sinkhorn,
    thinned,
)
from hyperctr.runs.prepare import prepare
from hyperctr.training.fit import fit

SMALL = {"dim": 4, "hidden": (8, 6)}


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def views(rows=8, dim=5, codes=6):
    return unit(rows, dim), unit(rows, dim, seed=1), unit(codes, dim, seed=2)


def losses(z, plus, code, alpha, positives=2, tau=0.1, **options):
    return aqcl(*instances(z, plus, tau, **options), z @ code.T / tau, alpha, positives)


# --- alpha -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("w1", "w2"), [(0.02, 0.1), (0.7, 1.0), (5.0, 4.0), (1.0, 0.3)])
def test_alpha_is_one_without_a_click_and_falls_strictly(w1, w2):
    length = torch.linspace(0, 12, 49, dtype=torch.float64).requires_grad_()
    alpha = activity(length.detach(), 4.0, w1, w2)
    assert alpha[0] == 1.0 and not alpha.isnan().any()
    assert (alpha.diff() < 0).all() and (alpha > 0).all()
    assert activity(torch.tensor(4.0), 4.0, w1, w2).item() == pytest.approx(math.exp(-w1))
    assert activity(length.detach(), 4.0, 1e-9, w2).min().item() == pytest.approx(1.0, abs=1e-5)


def test_alpha_counts_clicks_that_no_longer_fit_into_the_history():
    model = AQCL(Plain(), Config(w1=1.0, w2=1.0), tables(clicks_per_user=10.0))
    rows = batch(6, lengths=[20, 0, 5])
    assert rows.histories.mask.sum(1).tolist() == [4, 0, 4]
    assert model.alpha(rows).tolist() == pytest.approx([math.exp(-2)] * 2 + [1.0] * 2 + [math.exp(-0.5)] * 2)
    rows = replace(rows, histories=replace(rows.histories, length=None))
    assert model.alpha(rows).tolist() == pytest.approx([math.exp(-0.4)] * 2 + [1.0] * 2 + [math.exp(-0.4)] * 2)
    assert AQCL(Plain(), Config(alpha=0.3), tables()).alpha(rows).tolist() == pytest.approx([0.3] * 6)


# --- the losses ------------------------------------------------------------------------------------------------------


def test_loss_is_linear_in_alpha_and_above_zero():
    z, plus, code = views()
    ends = losses(z, plus, code, 0.0), losses(z, plus, code, 1.0)
    for alpha in (0.1, 0.5, 0.9):
        torch.testing.assert_close(losses(z, plus, code, alpha), (1 - alpha) * ends[0] + alpha * ends[1])
    assert min(ends[0].min(), ends[1].min()) > 0


def test_loss_does_not_know_the_length_of_any_vector():
    model = AQCL(Plain(0.0), AQCLS, tables()).train()
    state = {name: x.clone() for name, x in model.state_dict().items()}
    wanted = model(batch()).penalty
    model.load_state_dict(state)
    with torch.no_grad():
        model.project[-1].weight.mul_(7.0)
    torch.testing.assert_close(model(batch()).penalty, wanted)


def test_alpha_zero_is_icl_with_the_codes_as_further_negatives():
    z, plus, code = views()
    positive, total = instances(z, plus, 0.1)
    ratio = ((z @ code.T / 0.1).logsumexp(1) - total).exp()
    torch.testing.assert_close(losses(z, plus, code, 0.0), icl(positive, total) + torch.log1p(ratio))
    wanted = F.cross_entropy(z @ plus.T / 0.1, torch.arange(len(z)), reduction="none")
    torch.testing.assert_close(icl(positive, total), wanted)


def test_alpha_one_is_a_cross_entropy_of_the_codes_with_rows_as_further_negatives():
    z, plus, code = views()
    scores, clusters = z @ plus.T / 0.1, z @ code.T / 0.1
    ratio = (scores.logsumexp(1) - clusters.logsumexp(1)).exp()
    torch.testing.assert_close(losses(z, plus, code, 1.0, positives=6), torch.log1p(ratio))
    wanted = F.cross_entropy(torch.cat([clusters, scores], 1), clusters.argmax(1), reduction="none")
    torch.testing.assert_close(losses(z, plus, code, 1.0, positives=1), wanted)


def test_more_positives_never_raise_the_loss():
    z, plus, code = views()
    for alpha in (0.2, 1.0):
        found = torch.stack([losses(z, plus, code, alpha, positives=k) for k in range(1, 7)])
        assert (found.diff(dim=0) < 0).all()


def test_permuting_a_batch_permutes_its_losses():
    z, plus, code = views()
    order = torch.randperm(8)
    torch.testing.assert_close(losses(z[order], plus[order], code, 0.4), losses(z, plus, code, 0.4)[order])


def test_a_batch_of_one_row_has_a_loss():
    z, plus, code = (x[:1] for x in views())
    for options in ({}, {"both": True}):
        z.requires_grad_()
        loss = losses(z, plus, views()[2], 0.4, **options)
        loss.sum().backward()
        assert loss.isfinite().all() and z.grad.isfinite().all()
        torch.testing.assert_close(loss.detach(), losses(z, plus, views()[2], 0.4).detach())


# --- Sinkhorn and the codebook ---------------------------------------------------------------------------------------


def test_assignment_has_exact_columns_and_nearly_exact_rows():
    scores = (unit(128, 128) @ unit(1024, 128, seed=1).T).float()
    for iterations, miss in [(3, 0.01), (50, 1e-5)]:
        a = sinkhorn(scores, 0.05, iterations)
        assert (a >= 0).all()
        torch.testing.assert_close(a.sum(0), torch.full((1024,), 1 / 1024), rtol=1e-5, atol=0)
        assert (128 * a.sum(1) - 1).abs().max() < miss


def test_large_epsilon_spreads_evenly_and_small_epsilon_finds_the_permutation():
    scores = unit(6, 4) @ unit(9, 4, seed=1).T
    torch.testing.assert_close(sinkhorn(scores, 1e4, 5), torch.full((6, 9), 1 / 54).double(), rtol=1e-3, atol=0)
    order = torch.randperm(6)
    torch.testing.assert_close(sinkhorn(torch.eye(6)[order], 0.02, 20), torch.eye(6)[order] / 6)


def test_assignment_does_not_change_when_a_code_or_a_row_is_liked_more_by_all():
    scores = unit(6, 4) @ unit(9, 4, seed=1).T
    other = scores + unit(6, 1, seed=3) * 0.5 + unit(1, 9, seed=4)
    torch.testing.assert_close(sinkhorn(other, 0.2, 300), sinkhorn(scores, 0.2, 300))


def test_assignment_in_single_precision_survives_a_tiny_epsilon():
    scores = torch.tensor([[1.0, -1.0, 0.9], [-1.0, -1.0, -1.0]])
    assert sinkhorn(scores, 0.01, 3).isfinite().all()
    assert sinkhorn(scores, 0.001, 3).isfinite().all()


def test_assignment_follows_permuted_codes_and_rows():
    scores = unit(6, 4) @ unit(9, 4, seed=1).T
    codes, rows = torch.randperm(6), torch.randperm(9)
    torch.testing.assert_close(sinkhorn(scores[codes][:, rows], 0.05, 3), sinkhorn(scores, 0.05, 3)[codes][:, rows])


def test_hard_assignment_of_even_data_is_balanced_and_uses_nearly_all_codes():
    chosen = sinkhorn(unit(32, 8) @ unit(16 * 32, 8, seed=1).T, 0.05, 3).argmax(0)
    count = torch.bincount(chosen, minlength=32)
    assert count.min() >= 8 and count.max() <= 32
    got = Codebook(Config(codes=32, dim=8)).learn(unit(16 * 32, 8).float())
    assert got["codes_used"] >= 29 and got["code_perplexity"] > 28 and got["top_code"] < 1 / 16


@pytest.mark.parametrize("seed", range(3))
def test_the_codebook_stays_on_the_sphere_and_finds_the_clusters(seed):
    torch.manual_seed(seed)
    book = Codebook(Config(codes=4, positives=1, dim=6, lr=0.02))
    centre = torch.eye(6)[:4]
    first = book.learn(centre.repeat(16, 1))["codebook_loss"]
    for _ in range(300):
        got = book.learn(F.normalize(centre.repeat(16, 1) + 0.1 * torch.randn(64, 6), dim=1))
        torch.testing.assert_close(book.code.norm(dim=1), torch.ones(4))
    assert got["codebook_loss"] < 0.05 < first
    assert sorted((centre @ book.code.T).argmax(1).tolist()) == [0, 1, 2, 3]


def test_the_queue_lets_small_batches_use_more_codes():
    data = unit(4096, 8).float()
    used = {}
    for queue in (0, 256):
        torch.manual_seed(0)
        book = Codebook(Config(codes=64, dim=8, queue=queue))
        used[queue] = [book.learn(part)["codes_used"] for part in data.split(32)][-1]
    assert used[0] <= 32 < 55 < used[256]


def test_the_queue_holds_the_latest_rows_first():
    book = Codebook(Config(codes=4, positives=2, dim=3, queue=5))
    data = unit(9, 3).float()
    for k in (0, 3, 6):
        book.learn(data[k : k + 3])
    torch.testing.assert_close(book.queue, torch.cat([data[6:], data[3:5]]))
    assert int(book.queued) == 5


def test_unused_interests_are_warned_of(monkeypatch):
    monkeypatch.setattr("hyperctr.models.aqcl.EPSILON", 50.0)
    book = Codebook(Config(codes=64, positives=1, dim=8))
    with pytest.warns(UserWarning, match="most interests are unused"):
        book.learn(F.normalize(torch.ones(256, 8), dim=1))


# --- the views -------------------------------------------------------------------------------------------------------


def histories(rows=4000, length=6, seed=0):
    """Random histories of 0 to `length` clicks; an item tells where it stood."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(0, length + 1, (rows,), generator=generator)
    item = torch.arange(length).repeat(rows, 1) + 10 * torch.arange(rows)[:, None]
    mask = torch.arange(length) < count[:, None]
    return History(item=item * mask, mask=mask, time=item * mask + 1, type=item * mask + 2, length=count + 7)


def test_a_thinned_history_is_a_part_of_it_in_order_and_never_empty():
    past = histories(300)
    seen = thinned(past, 0.6)
    for q in range(300):
        before, after = past.item[q, past.mask[q]].tolist(), seen.item[q, seen.mask[q]].tolist()
        assert [i for i in before if i in after] == after
        assert bool(after) == bool(before)
        assert seen.time[q, seen.mask[q]].tolist() == [i + 1 for i in after]
        assert seen.type[q, seen.mask[q]].tolist() == [i + 2 for i in after]
    assert (seen.mask.int().diff(dim=1) <= 0).all()  # real ones stand first
    assert seen.length is past.length


def test_the_share_of_hidden_clicks_is_the_wanted_one():
    past = histories()
    long = past.mask.sum(1) == 6
    kept = thinned(past, 0.3).mask[long].sum() / past.mask[long].sum()
    assert kept.item() == pytest.approx(0.7 + 0.3**6 / 6, abs=0.02)
    assert torch.equal(thinned(past, 0.0).mask, past.mask)
    alone = thinned(past, 0.999).mask.sum(1)
    assert alone.max() <= 2 and torch.equal(alone > 0, past.mask.any(1))


def test_the_one_click_that_stays_is_any_of_them():
    past = histories()
    long = past.mask.sum(1) == 6
    seen = thinned(past, 0.9999)
    left = seen.item[long, 0] % 10
    assert torch.bincount(left, minlength=6).min() > 0.1 * len(left)


def test_bits_are_dropped_in_every_look_up_and_only_inside_the_block():
    model = MODELS["wide_deep"](MODELS["wide_deep"].Config(**SMALL), tables())
    for p in model.parameters():
        nn.init.ones_(p)
    with dropped(model, 0.25):
        vectors = model.embed.item(torch.zeros(1000, dtype=torch.long)), model.cross(torch.zeros(4000).long())
    for x in vectors:
        assert ((x == 0) | ((x - 4 / 3).abs() < 1e-6)).all()
        assert (x == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (model.embed.item(torch.zeros(9, dtype=torch.long)) == 1).all()


def test_bits_of_columns_are_dropped_once_whatever_their_kind():
    """Columns of users and items are looked up by number, those of the context by value: each entry is 0 or 4 / 3."""
    many = 400
    codes, tags = torch.zeros(6, many, dtype=torch.long), torch.zeros(6, 1, 3, dtype=torch.int32)
    columns = Columns({str(k): 2 for k in range(many)}, tags={"tags": 2}, values=Values(codes, tags=tags))
    layer = ColumnVectors(columns, 4)
    for p in layer.parameters():
        nn.init.ones_(p)
    with dropped(nn.ModuleList([layer]), 0.25):
        for x in (layer.of(torch.zeros(5, dtype=torch.long)), layer(columns.values[:5], 5)):
            assert ((x == 0) | ((x - 4 / 3).abs() < 1e-6)).all()
            assert (x == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_batch_norm_keeps_the_statistics_of_the_plain_view():
    torch.manual_seed(0)
    din = MODELS["din"](MODELS["din"].Config(**SMALL, activation="dice", dropout=0.0), tables()).train()
    other = MODELS["din"](MODELS["din"].Config(**SMALL, activation="dice", dropout=0.0), tables()).train()
    other.load_state_dict(din.state_dict())
    AQCL(din, AQCLS, tables()).train()(batch(6))
    other(batch(6))
    for (name, a), b in zip(din.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert any("running_mean" in name for name, _ in din.named_buffers())


# --- a toy base ------------------------------------------------------------------------------------------------------


AQCLS = Config(codes=6, positives=2, dim=3)


def tables(**changed):
    return make_tables(5, 9, **{"clicks_per_user": 3.0, **changed})


def batch(rows=6, lengths=(4, 0, 2)):
    """Two rows a query; at most four clicks of a history are carried."""
    generator = torch.Generator().manual_seed(5)
    length = torch.tensor(lengths)
    mask = torch.arange(4) < length[:, None]
    item = torch.randint(9, (len(lengths), 4), generator=generator) * mask
    query = torch.arange(rows) // 2
    return Batch(
        user=query, item=torch.randint(9, (rows,), generator=generator), time=query + 10, query=query,
        query_row=2 * torch.arange(len(lengths)), histories=History(item, mask, item, length=length),
        clicks_before=torch.zeros(rows), shows_before=None, context=None, label=(torch.arange(rows) % 2).float(),
    )  # fmt: skip


class Plain(nn.Module):
    """As small as a deep model can be, with dropout; remembers what it was asked."""

    tasks = ("click",)

    def __init__(self, dropout=0.5):
        super().__init__()
        self.item, self.user = nn.Embedding(10, 4), nn.Embedding(6, 4)
        self.top, self.out, self.drop = nn.Linear(8, 5), nn.Linear(5, 1), nn.Dropout(dropout)
        self.hidden_dim, self.asked = 5, []

    def forward(self, batch):
        self.asked.append(batch)
        past = (self.item(batch.histories.item) * batch.histories.mask[..., None]).sum(1)
        x = torch.cat([self.item(batch.item) + past[batch.query], self.user(batch.user)], 1)
        hidden = self.drop(torch.tanh(self.top(x)))
        return Output(self.out(hidden).squeeze(1), penalty=0.25, logs={"base": 1.0}, hidden=hidden)


def test_the_second_pass_sees_the_same_rows_with_a_thinned_history():
    base, rows = Plain(), batch()
    AQCL(base, replace(AQCLS, mask=0.9), tables()).train()(rows)
    plain, view = base.asked
    assert plain is rows
    assert view.is_augmented and not plain.is_augmented
    for name in ("user", "item", "time", "query", "query_row", "label", "clicks_before"):
        assert getattr(view, name) is getattr(plain, name)
    assert view.histories.mask.sum() < plain.histories.mask.sum()


def test_in_evaluation_the_worn_model_is_the_base():
    base, rows = Plain(), batch()
    model = AQCL(base, AQCLS, tables()).eval()
    state = torch.get_rng_state()
    out = model(rows)
    assert len(base.asked) == 1 and base.asked[0] is rows
    assert torch.equal(out.logit, base(rows).logit)
    assert (out.penalty, out.logs) == (0.25, {"base": 1.0})
    assert torch.equal(torch.get_rng_state(), state)


def test_the_penalty_is_added_and_everything_is_logged():
    out = AQCL(Plain(), replace(AQCLS, w=2.0), tables()).train()(batch())
    assert out.penalty.item() == pytest.approx(0.25 + 2 * out.logs["aqcl_loss"])
    wanted = {"base", "aqcl_loss", "alpha", "codebook_loss", "codes_used", "code_perplexity", "top_code", "code_error"}
    assert set(out.logs) == wanted
    out = ICL(Plain(), ICLConfig(w=2.0, dim=3), tables()).train()(batch())
    assert out.penalty.item() == pytest.approx(0.25 + 2 * out.logs["icl_loss"])
    assert QCL(Plain(), QCLConfig(codes=6, dim=3), tables()).train()(batch()).logs["alpha"] == 1.0


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: 0.0 if p.grad is None else p.grad.abs().sum().item() for name, p in model.named_parameters()}


def test_the_loss_teaches_the_base_and_the_projector_through_both_views_and_not_the_codebook():
    model = AQCL(Plain(0.0), AQCLS, tables()).train()
    found = gradients(model, model(batch()).penalty)
    assert not any("codebook" in name for name in found)  # no parameter: no gradient, decay or clipping meets it
    assert {name for name, size in found.items() if not size} == {"base.out.weight", "base.out.bias"}
    h, plus = torch.randn(2, 6, 5).unbind()
    for side in (h, plus):
        side.requires_grad_()
    z, z_plus = F.normalize(model.project(torch.cat([h, plus])), dim=1).chunk(2)
    model.loss(z, instances(z, z_plus, 0.1), batch())[0].backward()
    assert h.grad.abs().sum() > 0 and plus.grad.abs().sum() > 0


def test_the_step_of_the_codebook_sends_nothing_to_z():
    z = unit(8, 3).float().requires_grad_()
    book = Codebook(replace(AQCLS, queue=4))
    code = book.code.clone()
    book.learn(z)
    assert z.grad is None and not torch.equal(book.code, code)
    assert not any(x.requires_grad for x in book.buffers())  # nor does it keep the graph of a step


def test_nothing_that_is_worn_touches_the_draws_of_the_base():
    torch.manual_seed(1)
    base, bare = Plain(), Plain()
    before = torch.get_rng_state()
    worn = AQCL(base, AQCLS, tables()).train()
    assert torch.equal(torch.get_rng_state(), before)
    bare.load_state_dict(base.state_dict())
    for _ in range(3):
        torch.manual_seed(7)
        wanted = bare.train()(batch()).logit
        state = torch.get_rng_state()
        torch.manual_seed(7)
        assert torch.equal(worn(batch()).logit, wanted)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_loss_is_computed_in_single_precision(dtype):
    model = AQCL(Plain(0.0), AQCLS, tables()).train()
    with torch.autocast("cpu", dtype=dtype):
        out = model(batch())
    assert out.hidden.dtype == torch.float32 or out.hidden.dtype == dtype
    assert out.penalty.dtype == torch.float32 and out.penalty.isfinite()
    assert model.codebook.code.dtype == torch.float32 and model.codebook.code.isfinite().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"w": -1.0}, "wrapper.w must be at least 0, got -1.0"),
        ({"w": math.nan}, "wrapper.w"),
        ({"mask": 1.0}, r"wrapper.mask must lie in \[0, 1\), got 1.0"),
        ({"bits": -0.1}, "wrapper.bits"),
        ({"tau1": 0.0}, "wrapper.tau1 must be above 0, got 0.0"),
        ({"w1": 0.0}, "wrapper.w1"),
        ({"w2": math.inf}, "wrapper.w2"),
        ({"dim": 0}, "wrapper.dim"),
        ({"codes": 1}, "wrapper.codes must be at least 2, got 1"),
        ({"positives": 129}, r"wrapper.positives must lie in \[1, wrapper.codes = 128\], got 129"),
        ({"alpha": 1.5}, r"wrapper.alpha must lie in \[0, 1\], got 1.5"),
        ({"queue": -1}, "wrapper.queue"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        Config(**changed)


def test_a_model_without_a_hidden_layer_cannot_wear_it():
    with pytest.raises(ValueError, match="MatrixFactorisation has no hidden layer"):
        AQCL(MODELS["mf"](MODELS["mf"].Config(), tables()), Config(), tables())


# --- runs ------------------------------------------------------------------------------------------------------------


@cache
def world():
    return planted.planted("drift", scale=0.05).dataset


def settings():
    return config.read_run({"data": {"path": "planted", "history": 8}, "model": {"name": "din"}})


def test_the_mean_length_is_that_of_training_clicks_and_later_events_do_not_move_it():
    log = world().interactions
    ready = prepare(settings(), world())
    train = ready.split.train[log.label[ready.split.train] == 1]
    per_user = {}
    for user in log.user[ready.split.train].tolist():
        per_user.setdefault(user, 0)
    for user in log.user[train].tolist():
        per_user[user] += 1
    assert ready.tables.priors.clicks_per_user == pytest.approx(sum(per_user.values()) / len(per_user))
    assert AQCL(Plain(), AQCLS, ready.tables).mean_length.item() == pytest.approx(ready.tables.priors.clicks_per_user)
    label = log.label.copy()
    label[ready.split.test] = 1 - label[ready.split.test]
    changed = replace(world(), interactions=replace(log, label=label))
    assert prepare(settings(), changed).tables.priors.clicks_per_user == ready.tables.priors.clicks_per_user


def test_clicks_beyond_the_history_are_counted_and_later_ones_are_not():
    log = world().interactions
    row = int(np.flatnonzero(log.label == 1)[-1])
    user, time = log.user[row : row + 1], log.time[row : row + 1]
    wanted = int(((log.user == user) & (log.time < time) & (log.label == 1)).sum())
    assert wanted > 3
    for known in (log, log.upto(int(time[0]))):
        past = Loader(known, 3).make_batch(user, user * 0, time, np.zeros(1), np.zeros(1, int)).histories
        assert (past.length.tolist(), int(past.mask.sum())) == ([wanted], 3)
    assert past.to("cpu").length.tolist() == [wanted]


def test_a_table_that_is_too_large_trains_row_by_row(monkeypatch):

    monkeypatch.setattr("hyperctr.layers.table.LARGE", 5)
    base = MODELS["din"](MODELS["din"].Config(**SMALL), tables())
    assert base.embed.item.sparse
    model = AQCL(base, AQCLS, tables())
    before = base.embed.item.weight.detach().clone()
    fit(model, lambda epoch: [batch()], lambda: 0.5, Train(epochs=1))
    assert not torch.equal(base.embed.item.weight, before)
