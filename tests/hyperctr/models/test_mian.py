"""MIAN: what attention must add up to, what padding may not do, and what each ablation takes away."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables
from torch import nn

from hyperctr.batch import Step, Values
from hyperctr.layers.table import Table
from hyperctr.models import mian
from hyperctr.models.mian import GIM, MIAN, PARTS, Encoder
from hyperctr.training.optim import optimisers


@pytest.fixture
def rich(plain):
    """Categories alone, whose vectors are rows of a table."""
    return plain


@pytest.fixture
def make(make):
    """Batches whose context has categories alone."""

    def batch(*args, **columns):
        made = make(*args, **columns)
        return made if made.context is None else replace(made, context=Values(made.context.codes))

    return batch


@pytest.fixture
def whole(rich):
    """Fields, a modality, context, and a column of it that tells of the user."""
    return change_tables(rich, of_user=("tab",))


def built(tables, **sizes):
    """In evaluation, every weight random; unknown numbers keep their zero."""
    model = MIAN(MIAN.Config(**{"dim": 4, "heads": 3, "global_dim": 6, "hidden": (12, 8)} | sizes), tables)
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    for module in model.modules():
        if isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
    return model.eval()


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def reordered(batch, order):
    """The same clicks in another order."""
    return replace(batch, histories=replace(batch.histories, item=batch.histories.item[:, order]))


# --- attention -------------------------------------------------------------------------------------------------------


def test_weights_are_shares_of_what_is_there(whole, make):
    batch = make(lengths=(3, 0, 5, 1), rows=2, padding=2)
    found = built(whole).attention(batch)
    assert {name: x.shape[1] for name, x in found.items()} == {"clicks": 7, "user": 3, "context": 1, "parts": 7}
    assert all((x >= 0).all() for x in found.values())
    for name in ("user", "context", "parts"):
        close(found[name].sum(1), torch.ones(8))
    mask = batch.histories.mask[batch.query]
    close(found["clicks"].sum(1), mask.any(1).float())
    assert not found["clicks"][~mask].any() and found["clicks"][mask].all()


def test_without_a_click_the_model_still_answers(whole, make):
    model, batch = built(whole).train(), make(lengths=(0, 0), rows=3)
    out = model(batch)
    assert out.logit.isfinite().all() and not model.attention(batch)["clicks"].any()
    (out.logit.sum() + out.penalty).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("encoder", ["pre_ln", "post_ln", "none"])
def test_what_stands_behind_a_history_does_not_matter(whole, make, encoder):
    model = built(whole, encoder=encoder)
    short, long = (make(lengths=(3, 0, 5, 1), padding=padding) for padding in (0, 5))
    other = replace(long, histories=replace(long.histories, item=long.histories.item.where(long.histories.mask, 7)))
    for batch in (long, other):
        close(model(batch).logit, model(short).logit, 1e-6)
    found = model.attention(long)["clicks"]
    assert found.shape[1] == 10
    close(found[:, :5], model.attention(short)["clicks"], 1e-6)


def test_the_latest_clicks_are_read(whole, make):
    model, batch = built(whole, history=2), make(lengths=(5,))
    item = batch.histories.item.clone()
    item[:, :3] = (item[:, :3] + 1) % 27
    older = replace(batch, histories=replace(batch.histories, item=item))
    assert torch.equal(model(older).logit, model(batch).logit)
    item = batch.histories.item.clone()
    item[:, 3] = (item[:, 3] + 1) % 27
    newer = replace(batch, histories=replace(batch.histories, item=item))
    assert not torch.allclose(model(newer).logit, model(batch).logit, atol=1e-3)


def test_a_short_history_is_weighed_as_the_end_of_a_long_one(whole, make):
    """The index of a click counts from the latest."""
    model = built(whole, encoder="none")
    long, short = make(lengths=(5,)), make(lengths=(3,))
    short = replace(
        short, user=long.user, item=long.item, histories=replace(short.histories, item=long.histories.item[:, 2:])
    )
    of_long, of_short = (model.attention(batch)["clicks"] for batch in (long, short))
    close(of_long[:, :3] / of_long[:, :3].sum(1, keepdim=True), of_short)


def test_the_candidate_stands_first_in_every_interaction(whole, make):
    model, batch = built(whole), make(lengths=(3, 2, 5, 1))
    groups = model.groups(batch)
    item, clicks = model.widen(groups.item), model.widen(groups.clicks)
    d = item.shape[1]
    assert d == 12 and torch.equal(item, groups.item)  # three parts of four
    for found, _ in (model.ibim(item, clicks, groups.mask, groups.query), model.iuim(item, groups.user),
                     model.icim(item, groups.context)):  # fmt: skip
        assert torch.equal(found[:, :d], item)


def test_with_one_vector_for_all_no_candidate_changes_the_order(whole, make):
    batch = make(lengths=(5, 4), rows=6, item=torch.arange(12))
    orders = {}
    for weights in ("shared", "per_index"):
        model = built(whole, weights=weights)
        model.ibim.of_key.data *= 0.1  # so that candidates have a say
        found = model.attention(batch)["clicks"].view(2, 6, 5)
        order = found.argsort(dim=2, descending=True, stable=True)
        orders[weights] = (order == order[:, :1]).all().item()
    assert orders == {"shared": True, "per_index": False}


def test_one_vector_for_all_serves_any_number_of_keys(whole, make):
    model = built(whole, weights="shared")
    assert {len(part.of_key) for part in (model.ibim, model.iuim, model.icim)} == {1}
    assert {len(part.of_key) for part in (built(whole).ibim,)} == {30}
    assert model(make(lengths=(9,))).logit.isfinite().all()


def test_only_the_index_tells_the_order_of_clicks(whole, make):
    batch, order = make(lengths=(5, 5)), [3, 0, 4, 1, 2]
    for encoder in ("none", "pre_ln"):
        shared = built(whole, weights="shared", encoder=encoder)
        close(shared(reordered(batch, order)).logit, shared(batch).logit)
        model = built(whole, encoder=encoder)
        assert not torch.allclose(model(reordered(batch, order)).logit, model(batch).logit, atol=1e-3)


@pytest.mark.parametrize("sizes", [{}, {"iuim": False}, {"iuim": False, "icim": False}])
def test_global_weights_stay_within_their_bounds_and_reach_them(whole, make, sizes):
    model = built(whole, **sizes)
    count = len(model.parts)
    assert count == 7 - len(sizes)
    low, high = mian.bounds(count)
    assert low == pytest.approx(1 / (1 + (count - 1) * math.e**2))
    assert high == pytest.approx(math.e**2 / (math.e**2 + count - 1))
    found = model.attention(make())["parts"]
    assert (found >= low).all() and (found <= high).all()
    gim = GIM([3] * count, 2)
    for sign, bound in ((1, high), (-1, low)):
        nn.init.zeros_(gim.vector)
        gim.bias.data.fill_(-50.0 * sign)
        gim.bias.data[0] = 50.0 * sign
        close(gim([torch.randn(1, 3)] * count)[1][0, 0], torch.tensor(bound))


def test_the_bounds_of_seven_parts():
    assert mian.bounds(7) == pytest.approx((0.0221, 0.5519), abs=5e-5)


# --- the block -------------------------------------------------------------------------------------------------------


def test_a_pre_ln_block_without_weights_leaves_the_clicks_as_they_are():
    x, mask = torch.randn(3, 4, 8), torch.ones(3, 4, dtype=torch.bool)
    for pre in (True, False):
        block = Encoder(8, 2, pre, 0.3)
        for p in (block.joined.weight, block.narrow.weight, block.narrow.bias):
            nn.init.zeros_(p)
        assert torch.equal(block(x, mask), x) == pre


def test_pre_ln_normalises_what_is_read_and_post_ln_what_is_written():
    x, mask = 5 + 3 * torch.randn(3, 4, 8), torch.ones(3, 4, dtype=torch.bool)
    pre, post = (Encoder(8, 2, choice, 0.0) for choice in (True, False))
    close(post(x, mask).mean(2), torch.zeros(3, 4))
    close(post(x, mask).var(2, correction=0), torch.ones(3, 4), 1e-3)
    assert pre(x, mask).mean() > 4
    nn.init.zeros_(pre.joined.weight)  # what is left reads the clicks alone: their scale and shift are lost on it
    close(pre(x, mask) - x, pre(3 * x + 2, mask) - 3 * x - 2, 1e-3)


@pytest.mark.parametrize("block", [1, 3, 64])
def test_histories_are_attended_to_in_blocks_of_any_size(block, monkeypatch):
    encoder, x, mask = Encoder(8, 2, True, 0.0), torch.randn(7, 5, 8), torch.rand(7, 5) < 0.7
    mask[2] = False
    expected = torch.cat([encoder(x[k : k + 1], mask[k : k + 1]) for k in range(7)])
    monkeypatch.setattr("hyperctr.layers.attention.BLOCK", block)
    close(encoder(x, mask), expected)
    assert encoder(x[:0], mask[:0]).shape == (0, 5, 8)


def test_heads_divide_a_width_that_one_map_has_widened(whole):
    assert isinstance(built(whole, heads=3).widen, nn.Identity)
    model = built(whole, heads=8)  # an item is 12 wide
    assert model.widen.weight.shape == (16, 12) and model.widen.bias is None
    assert model.ibim.of_item.shape == (30, 16) and model.ibim.of_key.shape == (30, 16)
    assert model.iuim.of_item.shape == (3, 16) and model.iuim.of_key.shape == (3, 4)


# --- ablations, Tables 3 and 4 ---------------------------------------------------------------------------------------

ABLATIONS = {
    "w/o IUIM": ({"iuim": False}, {"R_iuim"}, {"iuim"}),
    "w/o ICIM": ({"icim": False}, {"R_icim"}, {"icim"}),
    "w/o IBIM": ({"ibim": False}, {"R_ibim"}, {"ibim", "encoder"}),
    "w/o IUIM&ICIM": ({"iuim": False, "icim": False}, {"R_iuim", "R_icim"}, {"iuim", "icim"}),
    "w/o GIM": ({"gim": False}, set(), {"gim"}),
    "w/o Transformer": ({"encoder": "none"}, set(), {"encoder"}),
    "Transformer": ({"encoder": "post_ln"}, set(), set()),
    "w/o IUIM and e_u": ({"iuim": False, "keep_raw": False}, {"e_u", "R_iuim"}, {"iuim"}),
    "w/o ICIM and e_c": ({"icim": False, "keep_raw": False}, {"e_c", "R_icim"}, {"icim"}),
    "w/o IBIM and e_b": ({"ibim": False, "keep_raw": False}, {"e_b", "R_ibim"}, {"ibim", "encoder"}),
}


def modules(model):
    return {name.split(".")[0] for name, _ in model.named_parameters()}


@pytest.mark.parametrize("row", ABLATIONS)
def test_an_ablation_takes_away_its_parts_and_no_others(whole, make, row):
    sizes, parts, gone = ABLATIONS[row]
    full, model = built(whole), built(whole, **sizes)
    assert set(full.parts) - set(model.parts) == parts and model.parts == tuple(p for p in PARTS if p not in parts)
    assert modules(full) - modules(model) == gone and modules(model) <= modules(full)
    if "gim" in gone:
        assert model.top[0].in_features == sum(linear.in_features for linear in full.gim.maps)
    else:
        assert len(model.gim.maps) == len(model.gim.vector) == len(model.parts)
    weighed = {"R_ibim": "clicks", "R_iuim": "user", "R_icim": "context"}
    expected = {weighed[part] for part in model.parts if part in weighed} | (set() if "gim" in gone else {"parts"})
    assert set(model.attention(make())) == expected
    out = model(make())
    assert out.logit.shape == (8,) and out.hidden.shape == (8, model.hidden_dim)


def test_without_the_raw_fields_they_do_not_matter(whole, make):
    batch = make()
    other = replace(batch, context=Values((batch.context.codes + 1) % 2))
    sizes = {"iuim": False, "icim": False, "keep_raw": False}
    gone = built(whole, **sizes)
    assert torch.equal(gone(other).logit, gone(batch).logit)
    kept = built(whole, **sizes | {"keep_raw": True})
    assert not torch.allclose(kept(other).logit, kept(batch).logit, atol=1e-3)


def test_data_without_context_have_five_parts(rich, make):
    model = built(change_tables(rich, context_sizes={}))
    assert model.parts == ("e_i", "e_b", "e_u", "R_ibim", "R_iuim") and model.icim is None
    assert model(make(context=None)).logit.isfinite().all()


def test_context_that_tells_of_the_user_is_the_users(whole, rich, make):
    assert built(whole).user_fields == ("user", "age", "tab") and built(whole).context_fields == ("hour",)
    assert built(rich).user_fields == ("user", "age") and built(rich).context_fields == ("tab", "hour")
    every = built(change_tables(rich, of_user=("hour", "tab")))
    assert every.user_fields == ("user", "age", "hour", "tab") and every.parts == PARTS[:1] + PARTS[2:6]
    batch = make()
    groups, plain = built(whole).groups(batch), built(rich).groups(batch)
    assert groups.user.shape == (8, 3, 4) and groups.context.shape == (8, 1, 4)
    assert plain.user.shape == (8, 2, 4) and plain.context.shape == (8, 2, 4)


def test_ids_alone_are_enough(ids, make):
    model = built(ids, heads=4)
    assert model.user_fields == ("user",) and model.context_fields == ()
    assert model(make(context=None)).logit.isfinite().all()


def test_what_is_unknown_is_zero(whole, make):
    model = built(whole)
    batch = make(user=torch.full((8,), 20), item=torch.full((8,), 30), context=Values(torch.full((8, 2), -1)))
    groups = model.groups(batch)
    assert not groups.item.any() and not groups.user.any() and not groups.context.any()
    assert model(batch).logit.isfinite().all()
    none = model.groups(replace(batch, context=None))
    assert torch.equal(none.context, groups.context) and torch.equal(none.user, groups.user)
    new = model.groups(make(user=torch.full((8,), 19), item=torch.full((8,), 28)))
    assert not new.user[:, 0].any() and new.user[:, 1].any()  # no training row: the id is zero, the age is not
    assert not new.item[:, :4].any() and new.item[:, 4:].any()


# --- training --------------------------------------------------------------------------------------------------------


def test_weights_start_as_a_normal_cut_at_two_deviations(whole):
    big = change_tables(whole, num_users=2000, seen_user=torch.ones(2000, dtype=torch.bool),
                  user_fields={"age": torch.zeros(2001, dtype=torch.long)})  # fmt: skip
    model = MIAN(MIAN.Config(std=0.02), big)
    for name, p in model.named_parameters():
        if p.ndim == 2 and p.numel() > 4000:
            values = p[:-1] if name == "embed.user.weight" else p
            assert values.abs().max() <= 0.04
            assert values.std().item() == pytest.approx(0.8796 * 0.02, rel=0.05), name
        elif "norms" in name:
            assert (p == float("weight" in name)).all()
        elif p.ndim == 1:
            assert (p == (0.1 if name.startswith("top") else 0)).all(), name
    for table in (m for m in model.modules() if isinstance(m, Table)):
        assert not table.weight[-1].any() and table.weight[:-1].all()


def test_the_last_bias_starts_at_the_odds_of_a_click(whole):
    for rate, bias in ((0.2, math.log(0.2 / 0.8)), (0.5, 0.0), (1.0, 0.0)):  # 1: negatives are drawn, as many as clicks
        model = MIAN(MIAN.Config(dim=4), change_tables(whole, click_rate=rate))
        assert model.out.bias.item() == pytest.approx(bias)


def test_a_step_moves_the_rows_that_it_looked_up_and_no_others(whole, make):
    """Neither the loss nor the penalty reaches another row; the unknown one stays zero."""
    model = built(whole).train()
    batch = make(lengths=(3, 0, 2, 1), user=torch.tensor([0, 0, 1, 1, 20, 20, 3, 3]))
    before = {name: p.clone() for name, p in model.named_parameters()}
    (adam,) = optimisers(model, 0.1)
    out = model(batch)
    (F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty).backward()
    adam.step()
    moved = {name: (p != before[name]).any(1).nonzero()[:, 0].tolist()
             for name, p in model.named_parameters() if name.startswith("embed") and p.ndim == 2}  # fmt: skip
    items = {*batch.item.tolist(), *batch.histories.item[batch.histories.mask].tolist()} & set(range(27))
    assert set(moved["embed.item.weight"]) == items and len(items) > 5
    assert moved["embed.user.weight"] == [0, 1, 3]
    for name in ("embed.item", "embed.user", "embed.user_fields", "embed.item_fields", "embed.context"):
        assert not model.get_parameter(f"{name}.weight")[-1].any()


def test_every_parameter_learns(rich, make):
    model, batch = built(rich).train(), make(lengths=(6, 5, 7, 4), rows=4)
    F.binary_cross_entropy_with_logits(model(batch).logit, batch.label).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_penalty_is_for_training_alone(whole, make):
    model, batch = built(whole).train(), make()
    assert model(batch).penalty > 0
    assert model(replace(batch, step=Step(is_augmented=True))).penalty == 0 and model.eval()(batch).penalty == 0
    assert built(whole, l2_embedding=0.0).train()(batch).penalty == 0


def test_a_row_pays_for_what_it_looks_up_whoever_else_looks_it_up(whole, make):
    """Rows of a query share a history and pay for it each; twice the same rows cost the same."""
    model = built(whole, l2_embedding=2.0).train()
    one = make(rows=1)
    columns = {
        name: getattr(one, name)[torch.arange(len(one)).repeat_interleave(2)] for name in ("user", "item", "context")
    }
    twice = make(rows=2, histories=one.histories, **columns)
    close(model(twice).penalty, model(one).penalty)
    groups = model.groups(one)
    own = groups.item[:, :8].square().sum() + groups.clicks[..., :8].square().sum()  # id and type, not the picture
    close(model(one).penalty, (own + groups.user.square().sum() + groups.context.square().sum()) / 4)


def test_dropout_is_for_training_alone(whole, make):
    model, batch = built(whole, dropout=0.5), make()
    assert torch.equal(model(batch).logit, model(batch).logit)
    model.train()
    assert not torch.equal(model(batch).logit, model(batch).logit)


def test_large_histories_are_pooled_in_blocks_to_the_same_weights(whole, make, monkeypatch):
    model, batch = built(whole), make(lengths=(6, 0, 7, 4), rows=9)
    with torch.enable_grad():
        expected = model(batch).logit
    monkeypatch.setattr("hyperctr.layers.chunked.NUMBERS", 200)
    with torch.no_grad():
        close(model(batch).logit, expected, 1e-6)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"dim": 0}, "model.dim must be at least 1, got 0"),
        ({"heads": 0}, "model.heads must be at least 1, got 0"),
        ({"history": 0}, "model.history must be at least 1, got 0"),
        ({"global_dim": -1}, "model.global_dim must be at least 1, got -1"),
        ({"hidden": ()}, r"model.hidden must be widths of at least 1, got \[\]"),
        ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0"),
        ({"std": 0.0}, "model.std must be a number above 0, got 0.0"),
        ({"std": math.inf}, "model.std must be a number above 0, got inf"),
        ({"encoder": "ln"}, "model.encoder must be pre_ln, post_ln or none, got ln"),
        ({"weights": "own"}, "model.weights must be per_index or shared, got own"),
        ({"l2_dense": -1.0}, "model.l2_dense must be a number, at least 0, got -1.0"),
        ({"l2_embedding": math.nan}, "model.l2_embedding must be a number, at least 0, got nan"),
    ],
)
def test_a_setting_out_of_range_is_named(sizes, says):
    with pytest.raises(ValueError, match=says):
        MIAN.Config(**sizes)
