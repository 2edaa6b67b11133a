"""Our base models against other people's, weights copied across: the same outputs.

DeepCTR-Torch 0.3.0 for whole models, torch-rechub 0.9.0 for parts of others; `pip install -e .[peers]` brings both.
What is not compared, because theirs is another thing:
- torch-rechub's DIN weighs padding too, its multilayer networks hold batch norms, and the bias of its second cross
  network stands outside the product; DeepCTR-Torch's DIEN attends by a network where the paper has a bilinear form.
- DeepCTR-Torch's xDeepFM counts tables instead of fields, so there the history has a table of its own, a copy.
"""

import importlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hyperctr.layers.feature_cross import pairwise
from hyperctr.layers.mlp import Dice
from hyperctr.models.dcn import DCN, Cross
from hyperctr.models.deepfm import DeepFM
from hyperctr.models.dien import DIEN, Evolution
from hyperctr.models.din import DIN
from hyperctr.models.fm import FM
from hyperctr.models.lr import LR
from hyperctr.models.wide_deep import WideDeep
from hyperctr.models.xdeepfm import XDeepFM

DIM, HIDDEN, HISTORY = 4, (8, 6), 5
SMALL = {"dim": DIM, "hidden": HIDDEN, "dropout": 0.0}


def names(*modules):
    """All that some modules define, in one namespace."""
    found = [vars(importlib.import_module(module)) for module in modules]
    return SimpleNamespace(**{name: x for held in found for name, x in held.items()})


@pytest.fixture(scope="module")
def deepctr():
    """DeepCTR-Torch; when imported it asks the network for its newest version, here a stand-in that has no answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "requests", SimpleNamespace())
        pytest.importorskip("deepctr_torch", reason="not compared with DeepCTR-Torch: pip install deepctr-torch==0.3.0")
    return names("deepctr_torch.inputs", "deepctr_torch.models", "deepctr_torch.layers.activation")


@pytest.fixture(scope="module")
def rechub():
    pytest.importorskip("torch_rechub", reason="not compared with torch-rechub: pip install torch-rechub==0.9.0")
    return names("torch_rechub.basic.layers", "torch_rechub.models.ranking.dien")


@pytest.fixture
def tables(rich):
    """Ids, a field of users and context; everyone has training rows."""
    return replace(
        rich, modalities={}, present={}, item_fields={}, item_sizes={}, seen_user=torch.ones(20, dtype=torch.bool),
        seen_item=torch.ones(30, dtype=torch.bool),
    )  # fmt: skip


@pytest.fixture
def batch(make):
    found = make(lengths=(3, 5, 1, 2), rows=3)
    return replace(found, user=found.user.clamp(max=19), item=found.item.clamp(max=29))


def scrambled(model, std=0.4):
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    for table in (m for m in model.modules() if isinstance(m, nn.Embedding)):
        nn.init.zeros_(table.weight[-1])
    return model.eval()


# --- whole models: DeepCTR-Torch -------------------------------------------------------------------------------------

FIELDS = {"item": 31, "user": 21, "age": 4, "tab": 2, "hour": 24}  # in our order; the history is the last


def columns(deepctr, own_history=False):
    """What DeepCTR-Torch reads; the history is a field of the item's table."""
    fields = [deepctr.SparseFeat(name, size, DIM) for name, size in FIELDS.items()]
    table = "hist_item" if own_history else "item"
    clicks = deepctr.SparseFeat("hist_item", 31, DIM, embedding_name=table)
    return [*fields, deepctr.VarLenSparseFeat(clicks, HISTORY, "mean", length_name="length")]


def answers(model, peer, tables, batch):
    """Our probabilities and theirs, on the same rows."""
    values = {"item": batch.item, "user": batch.user, "age": tables.fields.user.code("age")[batch.user]}
    values |= {
        "tab": batch.context.codes[:, 0],
        "hour": batch.context.codes[:, 1],
        "hist_item": batch.histories.item[batch.query],
    }
    values["length"] = batch.histories.mask.sum(1)[batch.query]
    given = torch.cat([values[name].view(len(batch), -1).float() for name in peer.feature_index], 1)
    with torch.no_grad():
        return model(batch).logit.sigmoid(), peer.eval()(given).squeeze(1)


def put(target, source):
    with torch.no_grad():
        target.copy_(source.reshape(target.shape))


def copy_vectors(model, peer, first_order=True):
    """Our tables into theirs; of a table that holds both, the last column is the first-order weight."""
    embed = model.embed
    context = embed.context.weight[:2], embed.context.weight[2:26]
    found = [embed.item.weight, embed.user.weight, embed.user_fields.weight, *context]
    for name, table in zip([*FIELDS, "hist_item"], [*found, embed.item.weight], strict=True):
        for held, part in ((peer.embedding_dict, slice(0, DIM)), (peer.linear_model.embedding_dict, slice(-1, None))):
            if name in held and (first_order or held is peer.embedding_dict):
                put(held[name].weight, table[:, part])


def copy_layers(ours, theirs):
    """A network; PReLU slopes too."""
    linears, acts = ours[::3], ours[1::3]
    for a, b in zip(linears, theirs.linears, strict=True):
        put(b.weight, a.weight)
        put(b.bias, a.bias)
    for a, b in zip(acts, theirs.activation_layers, strict=True):
        if isinstance(a, nn.PReLU):
            put(b.weight, a.weight)


def same(ours, theirs):
    assert ours.std() > 0.02  # the outputs say something
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_lr(deepctr, tables, batch):
    model = scrambled(LR(LR.Config(), tables))
    peer = deepctr.WDL(columns(deepctr), columns(deepctr), dnn_hidden_units=())
    for name, table in peer.linear_model.embedding_dict.items():
        put(table.weight, {"item": model.embed.item.weight, "user": model.embed.user.weight,
                           "age": model.embed.user_fields.weight, "tab": model.embed.context.weight[:2],
                           "hour": model.embed.context.weight[2:26]}[name])  # fmt: skip
    put(peer.out.bias, model.bias)
    same(*answers(model, peer, tables, batch))


def test_fm(deepctr, tables, batch):
    model = scrambled(FM(FM.Config(dim=DIM), tables))
    peer = deepctr.DeepFM(columns(deepctr), columns(deepctr), dnn_hidden_units=())
    copy_vectors(model, peer)
    put(peer.out.bias, model.bias)
    same(*answers(model, peer, tables, batch))


def test_wide_deep_without_its_cross(deepctr, tables, batch):
    model = scrambled(WideDeep(WideDeep.Config(**SMALL), tables))
    nn.init.zeros_(model.cross.weight)
    peer = deepctr.WDL(columns(deepctr), columns(deepctr), dnn_hidden_units=HIDDEN)
    copy_vectors(model, peer)
    copy_layers(model.deep, peer.dnn)
    put(peer.dnn_linear.weight, model.out.weight)
    put(peer.out.bias, model.out.bias)
    same(*answers(model, peer, tables, batch))


def test_deepfm(deepctr, tables, batch):
    model = scrambled(DeepFM(DeepFM.Config(**SMALL), tables))
    peer = deepctr.DeepFM(columns(deepctr), columns(deepctr), dnn_hidden_units=HIDDEN)
    copy_vectors(model, peer)
    copy_layers(model.deep, peer.dnn)
    put(peer.dnn_linear.weight, model.out.weight)
    put(peer.out.bias, model.out.bias)
    same(*answers(model, peer, tables, batch))


@pytest.mark.parametrize(("version", "kind"), [(1, "vector"), (2, "matrix")])
def test_dcn(deepctr, tables, batch, version, kind):
    model = scrambled(DCN(DCN.Config(**SMALL, depth=2, version=version), tables), std=0.3)
    peer = deepctr.DCN([], columns(deepctr), cross_num=2, cross_parameterization=kind, dnn_hidden_units=HIDDEN)
    copy_vectors(model, peer, first_order=False)
    copy_layers(model.deep, peer.dnn)
    for layer in range(2):
        put(peer.crossnet.kernels[layer], model.cross.weight[layer].weight)
        put(peer.crossnet.bias[layer], model.cross.bias[layer])
    put(peer.dnn_linear.weight, model.out.weight)
    put(peer.out.bias, model.out.bias)
    same(*answers(model, peer, tables, batch))


def test_xdeepfm(deepctr, tables, batch):
    model, fields = scrambled(XDeepFM(XDeepFM.Config(**SMALL, maps=(5, 3)), tables)), columns(deepctr, own_history=True)
    peer = deepctr.xDeepFM(fields, fields, HIDDEN, (5, 3), cin_split_half=False, cin_activation="linear")
    copy_vectors(model, peer)
    copy_layers(model.deep, peer.dnn)
    for ours, theirs in zip(model.cin.weight, peer.cin.conv1ds, strict=True):
        put(theirs.weight, ours)
        nn.init.zeros_(theirs.bias)
    put(peer.cin_linear.weight, model.out.weight[:, :8])
    put(peer.dnn_linear.weight, model.out.weight[:, 8:])
    put(peer.out.bias, model.out.bias)
    same(*answers(model, peer, tables, batch))


@pytest.mark.parametrize("softmax", [False, True])
def test_din_without_the_product_on_top(deepctr, tables, batch, softmax):
    model = scrambled(DIN(DIN.Config(**SMALL, attention=(6, 5), softmax=softmax), tables))
    nn.init.zeros_(model.top[0].weight[:, -DIM:])
    peer = deepctr.DIN(columns(deepctr), ["item"], dnn_hidden_units=HIDDEN, dnn_activation="prelu",
                       att_hidden_size=(6, 5), att_activation="prelu", att_weight_normalization=softmax)  # fmt: skip
    copy_vectors(model, peer)
    unit = peer.attention.local_att
    copy_layers([model.activation.first, model.activation.act, None, *model.activation.rest[0]], unit.dnn)
    put(unit.dense.weight, model.activation.rest[1].weight)
    put(unit.dense.bias, model.activation.rest[1].bias)
    put(peer.dnn.linears[0].weight, model.top[0].weight[:, :-DIM])
    for k, layer in enumerate((model.top[0], model.top[3])):
        put(peer.dnn.linears[k].weight, layer.weight[:, : peer.dnn.linears[k].in_features])
        put(peer.dnn.linears[k].bias, layer.bias)
        put(peer.dnn.activation_layers[k].weight, model.top[3 * k + 1].weight)
    put(peer.dnn_linear.weight, model.out.weight)
    put(peer.out.bias, model.out.bias)
    same(*answers(model, peer, tables, batch))


def test_dice(deepctr):
    ours, theirs = Dice(5), deepctr.Dice(5)
    nn.init.normal_(ours.slope)
    put(theirs.alpha, ours.slope)
    for x in (torch.randn(30, 5) * 3 + 1, torch.randn(8, 5)):
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    x = torch.randn(8, 5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-6)


# --- parts: torch-rechub ---------------------------------------------------------------------------------------------


def test_pairs_of_a_factorisation_machine(rechub):
    x = torch.randn(4, 6, 3)
    torch.testing.assert_close(pairwise(x), rechub.FM(reduce_sum=False)(x), rtol=1e-5, atol=1e-6)


def test_cross_layers(rechub):
    ours, theirs, x = scrambled(Cross(6, 3, 1)), rechub.CrossNetwork(6, 3), torch.randn(4, 6)
    for k in range(3):
        put(theirs.w[k].weight, ours.weight[k].weight)
        put(theirs.b[k], ours.bias[k])
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_the_evolution_of_dien(rechub, batch):
    cell, peer = scrambled(Evolution(DIM)), rechub.AUGRU(DIM)
    put(peer.Wa, cell.attention.weight)
    for k, gate in enumerate("ruh"):
        rows = slice(k * DIM, (k + 1) * DIM)
        put(getattr(peer.augru_cell, f"W{gate}"), cell.input.weight[rows].T)
        put(getattr(peer.augru_cell, f"b{gate}"), cell.input.bias[rows])
        put(getattr(peer.augru_cell, f"U{gate}"), cell.state.weight[rows].T)
    item, interests, mask = torch.randn(len(batch), DIM), torch.randn(4, HISTORY, DIM), batch.histories.mask
    expected = peer(batch.expand_to_rows(interests), item, batch.expand_to_rows(mask))[1]
    torch.testing.assert_close(cell(item, interests, mask, batch.query), expected, rtol=1e-5, atol=1e-6)


def test_the_auxiliary_loss_of_dien(rechub, tables, batch, monkeypatch):
    model = scrambled(DIEN(DIEN.Config(**SMALL), tables))
    shift = torch.randint(1, 30, batch.histories.item.shape)
    drawn = (batch.histories.item + shift) % 30  # never the click itself
    monkeypatch.setattr(torch, "randint", lambda high, size: drawn[:, 1:])
    _, _, clicks = model.embed(batch)
    states, _ = model.extraction(clicks)
    holder = SimpleNamespace(BCELoss=nn.BCELoss())
    expected = rechub.DIEN.auxiliary(holder, states, clicks, model.embed.items(drawn), batch.histories.mask)
    torch.testing.assert_close(model.auxiliary(batch, states, clicks), expected, rtol=1e-5, atol=1e-6)
