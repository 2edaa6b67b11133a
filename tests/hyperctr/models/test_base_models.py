"""What all base models hold to: one contract, whatever stands inside."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperctr.batch import History
from hyperctr.layers import blocks, embed
from hyperctr.layers.embed import Table
from hyperctr.metrics import auc
from hyperctr.models import MODELS
from hyperctr.optim import coalesce, optimisers

BASE = ["lr", "fm", "wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien", "gru4rec"]
RECURRENT = {"dien", "gru4rec"}
SIZES = {"dcn": {"depth": 2}, "xdeepfm": {"maps": (6, 5)}, "din": {"attention": (6,)}}


def built(name, tables, **sizes):
    """The model in evaluation, every weight random; unknown numbers keep their zero."""
    cls = MODELS[name]
    small = {"lr": {}, "fm": {"dim": 4}}.get(name, {"dim": 4, "hidden": (8, 6), "dropout": 0.0}) | SIZES.get(name, {})
    model = cls(cls.Config(**small | sizes), tables)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    for table in tables_of(model):
        nn.init.zeros_(table.weight[-1])
    return model.eval()


def tables_of(model):
    return [m for m in model.modules() if isinstance(m, Table)]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def variants(names=BASE):
    """Each model, and with the other choices that its Config has."""
    other = {"dcn": [{"version": 1}], "din": [{"softmax": True}, {"activation": "dice"}]}
    return [pytest.param(name, sizes, id=" ".join([name, *map(str, sizes.values())]))
            for name in names for sizes in ({}, *other.get(name, []))]  # fmt: skip


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_hidden_is_what_represent_gives_and_as_wide_as_it_says(rich, make, name, sizes):
    model, batch = built(name, rich, **sizes), make()
    out = model(batch)
    assert out.logit.shape == (8,) and out.hidden.shape == (8, model.hidden_dim)
    assert torch.equal(model.represent(batch), out.hidden)


@pytest.mark.parametrize("name", ["wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien", "gru4rec"])
def test_hidden_is_what_the_last_linear_layer_reads(rich, make, name):
    model, batch, read = built(name, rich), make(), []
    model.out.register_forward_hook(lambda module, given, found: read.append(given[0]))
    assert model(batch).hidden is read[0]


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_what_stands_behind_a_history_does_not_matter(rich, make, name, sizes):
    model = built(name, rich, **sizes)
    for train in (False, True):  # Dice takes the statistics of the batch
        model.train(train)
        close(model(make(padding=4)).logit, model(make()).logit)


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_a_row_scores_alone_as_in_company(rich, make, name, sizes):
    model, batch = built(name, rich, **sizes), make()
    together = model(batch)
    for row in range(len(batch)):
        at, query = slice(row, row + 1), batch.query[row]
        past = History(*(x[query][None] for x in (batch.past.item, batch.past.mask, batch.past.time)))
        zero, rows = torch.tensor([0]), {n: getattr(batch, n)[at] for n in ("user", "item", "time", "context", "label")}
        alone = model(replace(batch, query=zero, first=zero, past=past, **rows))
        close(alone.logit, together.logit[at])
        close(alone.hidden, together.hidden[at])


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_the_order_of_rows_does_not_matter(rich, make, name, sizes):
    model, batch = built(name, rich, **sizes), make()
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    rows = {n: getattr(batch, n)[order] for n in ("user", "item", "time", "context", "label", "query")}
    close(model(replace(batch, **rows)).logit, model(batch).logit[order])


@pytest.mark.parametrize("name", BASE)
def test_the_order_of_clicks_matters_to_the_recurrent_ones_alone(rich, make, name):
    model, batch = built(name, rich), make(lengths=(5, 5))
    turned = replace(batch, past=replace(batch.past, item=batch.past.item.flip(1)))
    assert torch.allclose(model(batch).logit, model(turned).logit, rtol=1e-4, atol=1e-5) == (name not in RECURRENT)


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_a_batch_without_any_click_is_scored(rich, make, name, sizes):
    out = built(name, rich, **sizes).train()(make(lengths=(0, 0, 0)))
    assert out.logit.isfinite().all()
    (out.logit.sum() + out.penalty).backward()


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_evaluation_in_blocks_is_evaluation_at_once(rich, make, monkeypatch, name, sizes):
    model, batch = built(name, rich, **sizes), make(rows=7)
    whole = model(batch)
    monkeypatch.setattr(blocks, "NUMBERS", 300)
    with torch.no_grad():
        close(model(batch).logit, whole.logit)


@pytest.mark.parametrize("name", BASE)
def test_unknown_ids_are_one_to_the_model_and_are_not_trained(ids, make, name):
    # users 18 and 19 and items 27 to 29 have no training row; 20 and 30 stand for any id that is not even listed
    model, batch = built(name, ids), make(lengths=(2, 2, 2), rows=1)

    def scored(user, item, clicks):
        past = replace(batch.past, item=torch.tensor([clicks] * 3))
        return model(replace(batch, user=torch.tensor([user] * 3), item=torch.tensor([item] * 3), past=past)).logit

    close(scored(18, 27, [28, 29]), scored(20, 30, [30, 30]))
    assert not torch.allclose(scored(0, 27, [28, 29]), scored(18, 27, [28, 29]))
    model.zero_grad()
    scored(18, 27, [28, 29]).sum().backward()
    assert not any(table.weight.grad is not None and table.weight.grad.any() for table in tables_of(model))


@pytest.mark.parametrize("name", BASE)
def test_every_id_goes_through_an_embedding_module(ids, make, name):
    """What hides behind a hook on the modules is gone: AQCL drops bits of all embeddings there."""
    model = built(name, ids)
    before = model(make(seed=1)).logit, model(make(seed=2)).logit
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(lambda module, given, found: torch.zeros_like(found))
    assert not torch.allclose(*before)
    close(model(make(seed=1)).logit, model(make(seed=2)).logit)


@pytest.mark.parametrize("name", BASE)
def test_clicks_and_candidate_have_the_same_vectors(ids, make, name):
    """One look-up of one table gives both."""
    model, batch, asked = built(name, ids), make(), []
    model.embed.item.register_forward_hook(lambda module, given, found: asked.append(given[0]))
    model(batch)
    (numbers,) = asked
    real = batch.past.item[batch.past.mask]
    wanted = torch.cat([batch.item, real])
    wanted[wanted >= 27] = 30  # unknown
    assert numbers[: len(wanted)].tolist() == wanted.tolist()  # a place without a click is not looked up


@pytest.mark.parametrize("name", BASE)
def test_a_row_without_context_is_scored(rich, make, name):
    model, batch = built(name, rich), make()
    without = model(replace(batch, context=None)).logit
    assert without.isfinite().all() and not torch.allclose(without, model(batch).logit)
    nn.init.zeros_(model.embed.context.weight)
    close(model(batch).logit, without)


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_every_weight_gets_a_gradient(rich, make, name, sizes):
    model = built(name, rich, **sizes).train()
    out = model(make(lengths=(4, 5, 3, 2, 1, 4)))
    (out.logit.square().sum() + out.penalty).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", BASE)
def test_large_tables_are_trained_row_by_row_to_the_same_end(rich, make, monkeypatch, name):
    def trained(large):
        monkeypatch.setattr(embed, "LARGE", large)
        torch.manual_seed(0)
        model = built(name, rich).train()
        assert {table.sparse for table in tables_of(model) if table.num_embeddings <= 31} == {large < 1}
        for _ in range(2):  # the same rows twice: then Adam's moments do not tell row by row from all rows
            adams, out = optimisers(model, 0.05), model(make(lengths=(4, 5, 3)))
            (F.binary_cross_entropy_with_logits(out.logit, make(lengths=(4, 5, 3)).label) + out.penalty).backward()
            coalesce(model)
            for adam in adams:
                adam.step()
            model.zero_grad()
        return model

    dense, sparse = trained(10**9), trained(0)
    for (n, p), q in zip(dense.named_parameters(), sparse.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4, msg=n)
    assert not any(table.weight[-1].any() for table in tables_of(sparse))


@pytest.mark.parametrize("name", BASE)
def test_a_click_of_like_kind_is_learned_wherever_pairs_are_seen(name, ids, of_like_kind):
    """Two kinds of items; users click what is of the kind of their last clicks. Single fields cannot tell."""
    torch.manual_seed(0)
    small = {"lr": {}, "fm": {"dim": 4}}.get(name, {"dim": 4, "hidden": (16, 8), "dropout": 0.0})
    model = MODELS[name](MODELS[name].Config(**small), ids).train()
    adams, train, test = optimisers(model, 0.05), of_like_kind(600, 0), of_like_kind(400, 1)
    for _ in range(60):
        out = model(train)
        model.zero_grad()
        (F.binary_cross_entropy_with_logits(out.logit, train.label) + out.penalty).backward()
        coalesce(model)
        for adam in adams:
            adam.step()
    reached = auc(test.label.numpy(), model.eval()(test).logit.detach().numpy())
    assert reached < 0.6 if name == "lr" else reached > 0.95, reached


@pytest.mark.parametrize("name", BASE)
def test_weights_are_all_there_is_to_keep(rich, make, name):
    torch.manual_seed(1)
    model, again = built(name, rich), built(name, rich)
    assert not torch.allclose(model(make()).logit, again(make()).logit)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(make()).logit, again(make()).logit)


@pytest.mark.parametrize(
    ("name", "sizes", "says"),
    [
        *[(name, {"dim": 0}, "model.dim must be at least 1, got 0") for name in BASE if name != "lr"],
        *[(name, {"hidden": ()}, r"model.hidden must be widths of at least 1, got \[\]") for name in BASE[2:]],
        *[(name, {"hidden": (8, 0)}, "model.hidden must be widths of at least 1") for name in BASE[2:]],
        *[(name, {"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0") for name in BASE[2:]],
        ("dcn", {"version": 3}, "model.version must be 1 or 2, got 3"),
        ("dcn", {"depth": 0}, "model.depth must be at least 1, got 0"),
        ("xdeepfm", {"maps": (0,)}, "model.maps must be widths of at least 1"),
        ("din", {"attention": ()}, "model.attention must be widths of at least 1"),
        ("dien", {"auxiliary": -1.0}, "model.auxiliary must be a number, at least 0, got -1.0"),
        ("dien", {"auxiliary": float("nan")}, "model.auxiliary must be a number"),
        ("gru4rec", {"depth": 0}, "model.depth must be at least 1, got 0"),
    ],
)
def test_a_size_out_of_range_is_named(name, sizes, says):
    with pytest.raises(ValueError, match=says):
        MODELS[name].Config(**sizes)


@pytest.mark.parametrize(("name", "sizes"), variants())
def test_a_batch_without_rows_has_no_scores(rich, make, name, sizes):
    out = built(name, rich, **sizes)(make(lengths=()))
    assert out.logit.shape == (0,) and out.hidden.shape[0] == 0
