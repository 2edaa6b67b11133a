"""What MARN and the baselines of its Table 2 hold to: one contract, whatever fuses the modalities."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperctr.batch import LEVELS, History, Statistics
from hyperctr.layers import blocks, embed
from hyperctr.layers.embed import Table
from hyperctr.metrics import auc
from hyperctr.models import MODELS
from hyperctr.optim import coalesce, optimisers

NAMES = ["marn", "youtubenet", "dupn", "dmf", "mmss", "naml"]
RECURRENT = {"marn", "dupn", "dmf", "mmss"}
PROPERTY = {"marn", "dupn"}
ROW = ("user", "item", "time", "context", "label")


@pytest.fixture
def whole(rich):
    """Fields, two modalities, titles, and statistics as of five snapshots."""
    level = torch.randint(LEVELS + 1, (5, 31, 2), dtype=torch.uint8)
    level[0] = level[:, 30] = LEVELS
    titles = torch.randint(7, (31, 6)).int()
    titles[[4, 9, 30]] = 6
    return replace(
        rich, modalities=dict(rich.modalities) | {"sound": torch.randn(30, 3)}, titles=titles, num_words=6, num_types=3,
        present=dict(rich.present) | {"sound": torch.arange(30) % 4 > 0}, ages=torch.arange(LEVELS - 1), steps=50,
        statistics=Statistics(("clicks", "recency"), torch.empty(0), torch.tensor([0, 1, 2, 3]), level),
    )  # fmt: skip


def built(name, tables, **sizes):
    """The model in evaluation, every weight random; unknown numbers keep their zero."""
    small = {"dim": 4, "hidden": (12, 10)} | ({"state": 5} if name == "dupn" else {})
    model = MODELS[name](MODELS[name].Config(**small | sizes), tables)
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    for table in tables_of(model):
        nn.init.zeros_(table.weight[-1])
    return model.eval()


def tables_of(model):
    return [m for m in model.modules() if isinstance(m, Table)]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_hidden_is_what_represent_gives_and_what_the_last_layer_reads(whole, make, name):
    model, batch, read = built(name, whole), make(), []
    model.out.register_forward_hook(lambda module, given, found: read.append(given[0]))
    out = model(batch)
    assert out.logit.shape == (8,) and out.hidden.shape == (8, model.hidden_dim)
    assert out.hidden is read[0] and torch.equal(model.represent(batch), out.hidden)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_scores_alone_as_in_company(whole, make, name):
    model, batch = built(name, whole), make()
    together = model(batch)
    for row in range(len(batch)):
        at, query = slice(row, row + 1), batch.query[row]
        past = History(*(x[query][None] for x in (batch.past.item, batch.past.mask, batch.past.time)))
        zero, rows = torch.tensor([0]), {n: getattr(batch, n)[at] for n in ROW}
        alone = model(replace(batch, query=zero, first=zero, past=past, **rows))
        close(alone.logit, together.logit[at])


@pytest.mark.parametrize("name", NAMES)
def test_neither_padding_nor_the_order_of_rows_matters(whole, make, name):
    model, batch = built(name, whole), make()
    close(model(make(padding=4)).logit, model(batch).logit)
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    rows = {n: getattr(batch, n)[order] for n in (*ROW, "query")}
    first = torch.stack([(rows["query"] == q).nonzero()[0, 0] for q in range(4)])
    close(model(replace(batch, first=first, **rows)).logit, model(batch).logit[order])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_clicks_matters_to_the_recurrent_ones_alone(whole, make, name):
    model, batch = built(name, whole), make(lengths=(5, 5))
    turned = replace(batch, past=replace(batch.past, item=batch.past.item.flip(1)))
    same = torch.allclose(model(batch).logit, model(turned).logit, rtol=1e-4, atol=1e-5)
    assert same == (name not in RECURRENT)


@pytest.mark.parametrize("name", NAMES)
def test_kind_and_age_of_clicks_are_read_by_those_that_say_so(whole, make, name):
    model, batch = built(name, whole), make(lengths=(5, 5, 4, 3))
    for past in (
        replace(batch.past, type=torch.ones_like(batch.past.item)),
        replace(batch.past, time=batch.past.time - 40),
    ):
        same = torch.allclose(model(replace(batch, past=past)).logit, model(batch).logit, rtol=1e-3, atol=1e-4)
        assert same == (name not in PROPERTY)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_those_of_the_rows_slice(whole, make, name):
    model, batch = built(name, whole), make(lengths=(4, 4))
    later = replace(batch, time=batch.time + 2, past=replace(batch.past, time=batch.past.time + 2))
    assert not torch.allclose(model(later).logit, model(batch).logit, rtol=1e-3, atol=1e-4)
    without = built(name, replace(whole, statistics=None))
    close(without(later).logit, without(batch).logit)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_any_click_is_scored(whole, make, name):
    out = built(name, whole).train()(make(lengths=(0, 0, 0)))
    assert out.logit.isfinite().all()
    (out.logit.sum() + out.penalty).backward()


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_in_blocks_is_evaluation_at_once(whole, make, monkeypatch, name):
    model, batch = built(name, whole), make(rows=7)
    at_once = model(batch)
    monkeypatch.setattr(blocks, "NUMBERS", 300)
    with torch.no_grad():
        close(model(batch).logit, at_once.logit)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_adds_nothing(whole, make, name):
    """An unknown item is one like any other; so is a row without context, or tables without anything but ids."""
    model, batch = built(name, whole), make()
    unknown = replace(batch, item=torch.full_like(batch.item, 30), user=torch.full_like(batch.user, 20))
    assert model(unknown).logit.isfinite().all()
    without = model(replace(batch, context=None)).logit
    nn.init.zeros_(model.profile.context.weight)
    close(model(batch).logit, without)


def test_a_column_that_is_unknown_adds_nothing_and_the_others_stay(whole, make):
    """As where a request knows the hour and not the tab: -1, each column in the place of its own."""
    model, batch = built("marn", whole), make()
    tab, hour = batch.context.T
    known = model.profile(replace(batch, context=torch.stack([torch.full_like(tab, -1), hour], 1)))
    expected = model.profile(batch).clone()
    expected[:, -2 * model.profile.context.embedding_dim : -model.profile.context.embedding_dim] = 0.0
    close(known, expected)
    neither = model.profile(replace(batch, context=torch.full_like(batch.context, -1)))
    close(neither, model.profile(replace(batch, context=None)))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_ids_are_one_to_the_model_and_are_not_trained(ids, make, name):
    # users 18 and 19 and items 27 to 29 have no training row; 20 and 30 stand for any id that is not even listed
    model, batch = built(name, ids), make(lengths=(2, 2, 2), rows=1)

    def scored(user, item, clicks):
        past = replace(batch.past, item=torch.tensor([clicks] * 3))
        return model(replace(batch, user=torch.tensor([user] * 3), item=torch.tensor([item] * 3), past=past)).logit

    close(scored(18, 27, [28, 29]), scored(20, 30, [30, 30]))
    assert not torch.allclose(scored(0, 3, [28, 29]), scored(18, 27, [28, 29]))
    model.zero_grad()
    scored(18, 27, [28, 29]).sum().backward()
    ids_of = [table for n, table in model.named_modules() if isinstance(table, Table) and n.endswith(("item", "user"))]
    assert len(ids_of) == 2 and not any(t.weight.grad is not None and t.weight.grad.any() for t in ids_of)


@pytest.mark.parametrize("name", NAMES)
def test_every_id_goes_through_an_embedding_module(ids, make, name):
    """What hides behind a hook on the modules is gone: AQCL drops bits of all embeddings there."""
    model = built(name, ids)
    seen = replace(ids, seen_item=torch.ones(30, dtype=torch.bool), seen_user=torch.ones(20, dtype=torch.bool))
    model = built(name, seen)
    before = model(make(seed=1)).logit, model(make(seed=2)).logit
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(lambda module, given, found: torch.zeros_like(found))
    assert not torch.allclose(*before)
    close(model(make(seed=1)).logit, model(make(seed=2)).logit)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(whole, make, name):
    model = built(name, whole).train()
    out = model(make(lengths=(4, 5, 3, 2, 1, 4), rows=4))
    (out.logit.square().sum() + out.penalty).backward()
    found = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert found == (["second.weight", "second.bias"] if name == "marn" else [])  # at the first step lambda is 0


@pytest.mark.parametrize("name", NAMES)
def test_large_tables_have_the_same_gradients_row_by_row(whole, make, monkeypatch, name):
    def gradients(large):
        monkeypatch.setattr(embed, "LARGE", large)
        torch.manual_seed(0)
        model, batch = built(name, whole).train(), make(lengths=(4, 5, 3))
        assert {table.sparse for table in tables_of(model)} == {large < 1}
        adams, out = optimisers(model, 0.05), model(batch)
        (F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty).backward()
        coalesce(model)
        found = [p.grad.to_dense() if p.grad is not None else None for p in model.parameters()]
        for adam in adams:
            adam.step()
        assert not any(table.weight[-1].any() for table in tables_of(model))
        return found

    for dense, sparse in zip(gradients(10**9), gradients(0), strict=True):
        close(dense, sparse)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_all_there_is_to_keep(whole, make, name):
    torch.manual_seed(1)
    model, again = built(name, whole), built(name, whole)
    assert not torch.allclose(model(make()).logit, again(make()).logit)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(make()).logit, again(make()).logit)


@pytest.mark.parametrize("name", NAMES)
def test_a_click_of_like_kind_is_learned(name, ids, of_like_kind):
    """Two kinds of items; users click what is of the kind of their last clicks."""
    torch.manual_seed(0)
    sound = {"modalities": {"sound": torch.randn(30, 3)}, "present": {"sound": torch.ones(30, dtype=torch.bool)}}
    cls = MODELS[name]
    model = cls(cls.Config(dim=8, hidden=(16, 8)), replace(ids, **sound, steps=60)).train()
    adams, train, test = optimisers(model, 0.03), of_like_kind(400, 0), of_like_kind(400, 1)
    for _ in range(50):
        out = model(train)
        model.zero_grad()
        (F.binary_cross_entropy_with_logits(out.logit, train.label) + out.penalty).backward()
        coalesce(model)
        for adam in adams:
            adam.step()
    assert auc(test.label.numpy(), model.eval()(test).logit.detach().numpy()) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_modalities_are_chosen_by_name_and_a_wrong_one_is_named(whole, make, name):
    few = built(name, whole, modalities=("sound", "ids"))
    assert few.modalities.names == ("sound", "ids") and few(make()).logit.isfinite().all()
    assert built(name, whole).modalities.names == ("ids", "visual", "sound", "title", "statistic")
    says = "model.modalities: there is no 'image' here; there are ids, visual, sound, title, statistic"
    with pytest.raises(ValueError, match=says):
        built(name, whole, modalities=("image",))


def test_words_stand_before_a_finished_vector_of_the_title(whole):
    named = {"modalities": {"title": torch.randn(30, 4)}, "present": {"title": torch.ones(30, dtype=torch.bool)}}
    assert built("naml", replace(whole, **named)).modalities.raw[1].width == 96  # three windows of 32 filters
    dense = built("naml", replace(whole, titles=None, **named))
    assert dense.modalities.names == ("ids", "title", "statistic") and dense.modalities.raw[1].width == 4


@pytest.mark.parametrize(
    ("modalities", "text", "images"),
    [
        ((), "title", ["visual", "sound"]),
        (("visual", "ids", "statistic"), "ids", ["visual"]),
        (("visual", "sound"), "visual", ["sound"]),
    ],
)
def test_pictures_are_filtered_by_the_words(whole, modalities, text, images):
    model = built("mmss", whole, modalities=modalities)
    names = model.modalities.names
    assert names[model.fusion.text] == text and [names[m] for m in model.fusion.images] == images


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"dim": 0}, "model.dim must be at least 1, got 0"),
        ({"hidden": (4, 0)}, "model.hidden must be widths of at least 1"),
        ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_a_size_out_of_range_is_named(name, sizes, says):
    with pytest.raises(ValueError, match=says):
        MODELS[name].Config(**sizes)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_rows_has_no_scores(whole, make, name):
    assert built(name, whole)(make(lengths=())).logit.shape == (0,)
