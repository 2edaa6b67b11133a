"""The contract: first what every model and wrapper keeps, then what every model without hypergraphs keeps beyond it."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables
from torch import nn

from hyperctr.batch import History, Values
from hyperctr.experiments import contract
from hyperctr.layers import bodies, chunked
from hyperctr.layers.embedding import seen_masks
from hyperctr.layers.numbers import Numbers, Periodic
from hyperctr.layers.table import Table
from hyperctr.models import MODELS, WRAPPERS
from hyperctr.training.optim import coalesce, optimisers

BASE = ["lr", "fm", "wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien", "gru4rec"]
MODAL = ["marn", "youtubenet", "dupn", "dmf", "mmss", "naml"]
NAMES = [*BASE, *MODAL, "mian"]
ORDERED = {"dien", "gru4rec", "marn", "dupn", "dmf", "mmss", "mian"}
"""Those to which the order of clicks matters."""
SCARCE = {"lr", "fm"}
"""Those without layers on top."""
CHOICES = {"dcn": [{"version": 1}], "din": [{"softmax": True}, {"activation": "dice"}]}
ROW = ("user", "item", "time", "context", "label")


@cache
def case(name, wrapper=""):
    return contract.Case.of(name, wrapper)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_the_contract(name, check):
    check(case(name))


@pytest.mark.parametrize("check", contract.WRAPPER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("model", "name"), [*(("din", name) for name in WRAPPERS), ("hyperctr", "aqcl")])
def test_every_wrapper_keeps_the_contract(model, name, check):
    check(case(model, name))


# --- models without hypergraphs --------------------------------------------------------------------------------------

every = pytest.mark.parametrize("name", NAMES)
every_choice = pytest.mark.parametrize(
    ("name", "sizes"),
    [pytest.param(name, sizes, id=" ".join([name, *map(str, sizes.values())]))
     for name in NAMES for sizes in ({}, *CHOICES.get(name, []))],
)  # fmt: skip


@pytest.fixture
def tables(name, rich, whole):
    """Fields and a modality; for those that fuse modalities titles and statistics too."""
    return whole if name in MODAL else rich


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@every_choice
def test_hidden_is_what_the_last_layer_reads(tables, built, make, name, sizes):
    model, batch, read = built(name, tables, **sizes), make(), []
    if name not in SCARCE:
        model.out.register_forward_hook(lambda module, given, found: read.append(given[0]))
    out = model(batch)
    assert out.logit.shape == (8,) and out.hidden.shape == (8, model.hidden_dim)
    assert name in SCARCE or read[0] is out.hidden


@every_choice
def test_what_stands_behind_a_history_does_not_matter(tables, built, make, name, sizes):
    model = built(name, tables, dropout=0.0, **sizes) if name not in SCARCE else built(name, tables, **sizes)
    for train in (False, True) if name in BASE else (False,):  # Dice takes the statistics of the batch
        model.train(train)
        close(model(make(padding=4)).logit, model(make()).logit)


@every_choice
def test_a_row_scores_alone_as_in_company(tables, built, make, name, sizes):
    model, batch = built(name, tables, **sizes), make()
    together = model(batch)
    for row in range(len(batch)):
        at, query = slice(row, row + 1), batch.query[row]
        past = History(*(x[query][None] for x in (batch.histories.item, batch.histories.mask, batch.histories.time)))
        zero, rows = torch.tensor([0]), {n: getattr(batch, n)[at] for n in ROW}
        alone = model(replace(batch, query=zero, query_row=zero, histories=past, **rows))
        close(alone.logit, together.logit[at])
        close(alone.hidden, together.hidden[at])


@every_choice
def test_the_order_of_rows_does_not_matter(tables, built, make, name, sizes):
    model, batch = built(name, tables, **sizes), make()
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    rows = {n: getattr(batch, n)[order] for n in (*ROW, "query")}
    first = torch.stack([(rows["query"] == q).nonzero()[0, 0] for q in range(4)])
    close(model(replace(batch, query_row=first, **rows)).logit, model(batch).logit[order])


@every
def test_a_model_that_knows_no_id_reads_no_id_vector(tables, built, make, name):
    model, batch = built(name, tables), make()
    known = model(batch).logit
    masks = [mask for kind in ("user", "item") for mask in seen_masks(model, kind)]
    for mask in masks:
        mask.zero_()
    before = model(batch).logit
    assert masks and not torch.equal(before, known)
    sizes = {"user": tables.ids.num_users + 1, "item": tables.ids.num_items + 1}
    with torch.no_grad():
        for path, module in model.named_modules():
            if isinstance(module, nn.Embedding) and module.num_embeddings == sizes.get(path.rpartition(".")[2]):
                module.weight[:-1] += 1.0
    close(model(batch).logit, before)


@every
def test_the_order_of_clicks_matters_to_those_that_say_so(tables, built, make, name):
    model, batch = built(name, tables), make(lengths=(5, 5))
    turned = replace(batch, histories=replace(batch.histories, item=batch.histories.item.flip(1)))
    assert torch.allclose(model(batch).logit, model(turned).logit, rtol=1e-4, atol=1e-5) == (name not in ORDERED)


@every_choice
def test_a_batch_without_any_click_is_scored(tables, built, make, name, sizes):
    out = built(name, tables, **sizes).train()(make(lengths=(0, 0, 0)))
    assert out.logit.isfinite().all()
    (out.logit.sum() + out.penalty).backward()


@every_choice
def test_a_batch_without_rows_has_no_scores(tables, built, make, name, sizes):
    out = built(name, tables, **sizes)(make(lengths=()))
    assert out.logit.shape == (0,) and out.hidden.shape[0] == 0


@every_choice
def test_evaluation_in_blocks_is_evaluation_at_once(tables, built, make, monkeypatch, name, sizes):
    model, batch = built(name, tables, **sizes), make(rows=7)
    at_once = model(batch)
    monkeypatch.setattr(chunked, "NUMBERS", 300)
    with torch.no_grad():
        close(model(batch).logit, at_once.logit)


@every
def test_unknown_ids_are_one_to_the_model_and_are_not_trained(ids, built, make, name):
    # users 18 and 19 and items 27 to 29 have no training row; 20 and 30 stand for any id that is not even listed
    model, batch = built(name, ids), make(lengths=(2, 2, 2), rows=1)

    def scored(user, item, clicks):
        past = replace(batch.histories, item=torch.tensor([clicks] * 3))
        return model(replace(batch, user=torch.tensor([user] * 3), item=torch.tensor([item] * 3), histories=past)).logit

    close(scored(18, 27, [28, 29]), scored(20, 30, [30, 30]))
    assert not torch.allclose(scored(0, 3, [28, 29]), scored(18, 27, [28, 29]))
    model.zero_grad()
    scored(18, 27, [28, 29]).sum().backward()
    of_ids = [m for m in model.modules() if isinstance(m, Table) and m.num_embeddings in (21, 31)]
    assert len(of_ids) >= 2 and not any(t.weight.grad is not None and t.weight.grad.any() for t in of_ids)


@every
def test_every_id_goes_through_an_embedding_module(ids, built, make, name):
    """What hides behind a hook on the modules is gone: AQCL drops bits of all embeddings there."""
    seen = change_tables(ids, seen_item=torch.ones(30, dtype=torch.bool), seen_user=torch.ones(20, dtype=torch.bool))
    model = built(name, seen)
    before = model(make(seed=1)).logit, model(make(seed=2)).logit
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(lambda module, given, found: torch.zeros_like(found))
    assert not torch.allclose(*before)
    close(model(make(seed=1)).logit, model(make(seed=2)).logit)


@every
def test_a_row_without_context_is_scored(tables, built, make, name):
    model, batch = built(name, tables), make()
    without = model(replace(batch, context=None)).logit
    assert without.isfinite().all() and not torch.allclose(without, model(batch).logit)
    for p in (model.profile if name in MODAL else model.embed).context.parameters():
        nn.init.zeros_(p)
    close(model(batch).logit, without)


KINDS = ("category", "piecewise", "periodic", "tags", "vector")


def other(values, kind, rows):
    """Change the first column of a kind in some rows; all other columns stay as they are."""
    codes, numbers, tags = values.codes.clone(), values.numbers.clone(), values.tags.clone()
    vectors = tuple(x.clone() for x in values.vectors)
    if kind == "category":
        codes[rows, 0] = torch.where(codes[rows, 0] == 0, 1, 0)
    elif kind == "tags":
        tags[rows, 0, 0] = torch.where(tags[rows, 0, 0] == 0, 1, 0)
    elif kind == "vector":
        vectors[0][rows] += 1.0
    else:
        n = ("piecewise", "periodic").index(kind)
        numbers[rows, n] = torch.where(numbers[rows, n] > 0, -0.4, 0.4)
    return Values(codes, numbers, tags, vectors)


@pytest.mark.parametrize("side", ["user", "item", "context"])
@every
def test_every_column_moves_the_logit_of_its_rows(tables, built, make, name, side):
    model, batch = built(name, tables), make(lengths=(3, 3), item=torch.tensor([4, 9, 5, 9]))
    past = replace(batch.histories, item=batch.histories.item % 9)  # item 9 is a candidate and no click
    batch = replace(batch, user=torch.tensor([7, 7, 2, 2]), histories=past)
    before, rows = model(batch).logit, {"user": [0, 1], "item": [1, 3], "context": [2]}[side]
    for kind in KINDS:
        if side == "context":
            after = model(replace(batch, context=other(batch.context, kind, torch.tensor(rows)))).logit
        else:
            columns = getattr(tables.fields, side)
            values = other(columns.values, kind, torch.tensor({"user": [7], "item": [9]}[side]))
            changed = built(name, change_tables(tables, **{side: replace(columns, values=values)}))
            changed.load_state_dict(model.state_dict())
            after = changed(batch).logit
        assert (after - before).abs()[rows].max() > 1e-6, kind  # not in each: a ReLU may be shut
        left = [row for row in range(4) if row not in rows]
        close(after[left], before[left])


@pytest.mark.parametrize("name", [*NAMES, "lt4rec"])
def test_first_weights_leave_the_frequencies_of_waves_and_missing_numbers_alone(tables, name):
    model = MODELS[name](MODELS[name].Config(), tables)
    waves = [m.frequency for m in model.modules() if isinstance(m, Periodic)]
    missing = [m.missing for m in model.modules() if isinstance(m, Numbers)]
    assert len(waves) == len(missing) == 3 and not any(p.any() for p in missing)
    assert all(torch.equal(p, Periodic(1, 1).frequency) for p in waves)
    assert all(not m.weight[-1].any() for m in model.modules() if isinstance(m, Table))


def test_lr_adds_up_what_its_columns_say(rich, built, make):
    model, batch = built("lr", rich), make()
    rows = torch.arange(len(batch))

    def logit(*kinds):
        values = batch.context
        for kind in kinds:
            values = other(values, kind, rows)
        return model(replace(batch, context=values)).logit

    for kind in KINDS[1:]:
        close(logit(kind, "category") - logit("category"), logit(kind) - logit())


@every_choice
def test_every_weight_gets_a_gradient(tables, built, make, name, sizes):
    model = built(name, tables, **sizes).train()
    out = model(make(lengths=(4, 5, 3, 2, 1, 4), rows=4, user=torch.arange(6).repeat_interleave(4)))
    (out.logit.square().sum() + out.penalty).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == (["second.weight", "second.bias"] if name == "marn" else [])  # at the first step lambda is 0


@every
def test_large_tables_have_the_same_gradients_row_by_row(tables, built, make, monkeypatch, name):
    def gradients(large):
        monkeypatch.setattr("hyperctr.layers.table.LARGE", large)
        torch.manual_seed(0)
        model, batch = built(name, tables).train(), make(lengths=(4, 5, 3))
        held = [m for m in model.modules() if isinstance(m, Table)]
        assert {table.sparse for table in held if table.num_embeddings <= 31} == {large < 1}
        adams, out = optimisers(model, 0.05), model(batch)
        (F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty).backward()
        coalesce(model)
        found = [p.grad.to_dense() if p.grad is not None else None for p in model.parameters()]
        for adam in adams:
            adam.step()
        assert not any(table.weight[-1].any() for table in held)
        return found

    for dense, sparse in zip(gradients(10**9), gradients(0), strict=True):
        close(dense, sparse)


@pytest.fixture
def doubles():
    """Inside the test new tensors have double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@every_choice
def test_plain_bodies_give_the_logits_and_gradients_of_fast_ones(
    tables, built, make, monkeypatch, doubles, name, sizes
):
    untrained = built(name, tables, **sizes).train().double()

    def trained():
        torch.manual_seed(0)  # for what is drawn in a step
        model = copy.deepcopy(untrained)
        out = model(make(lengths=(4, 0, 3)))
        (out.logit.square().sum() + out.penalty).backward()
        return [out.logit.detach(), *(p.grad.to_dense() for p in model.parameters() if p.grad is not None)]

    fast = trained()
    monkeypatch.setattr(bodies, "PLAIN", True)
    for a, b in zip(trained(), fast, strict=True):
        torch.testing.assert_close(a, b)


@every
def test_weights_are_all_there_is_to_keep(tables, built, make, name):
    torch.manual_seed(1)
    model, again = built(name, tables), built(name, tables)
    assert not torch.allclose(model(make()).logit, again(make()).logit)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(make()).logit, again(make()).logit)


WRONG = [
    ({"dim": 0}, "model.dim must be at least 1, got 0"),
    ({"hidden": ()}, r"model.hidden must be widths of at least 1, got \[\]"),
    ({"hidden": (8, 0)}, "model.hidden must be widths of at least 1"),
    ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0"),
]


@pytest.mark.parametrize(
    ("name", "sizes", "says"),
    [(name, sizes, says) for name in NAMES for sizes, says in WRONG
     if sizes.keys() <= MODELS[name].Config.__dataclass_fields__.keys()],
)  # fmt: skip
def test_a_size_out_of_range_is_named(name, sizes, says):
    with pytest.raises(ValueError, match=says):
        MODELS[name].Config(**sizes)
