"""MIAN: attention, parts, logits and loss against loops over its equations, every concatenation built."""

import math

import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables, make_tables
from torch import nn

from hyperctr.batch import Batch, History, Values
from hyperctr.layers.table import Table
from hyperctr.models.mian import GIM, MIAN, PARTS, FieldAttention

# Three users and five items; user 2 and item 4 have no training row. Query 0 has two candidates and three clicks,
# query 1 one candidate and none, query 2 an unknown item and one click, query 3 an unknown user and two clicks.
GENDER, CATEGORY, COLOUR = [1, 0, 1], [2, 0, 1, 1, 3], [0, 1, 1, 2, 3]  # number 2, 3, 3 itself: unknown
FEATURE = [[0.5, -1.0], [2.0, 0.25], [9.0, 9.0], [-0.75, 1.5], [1.0, 1.0]]
HAS_PICTURE = [True, True, False, True, True]
SEEN_USER, SEEN_ITEM = [True, True, False], [True, True, True, True, False]
USER, ITEM, QUERY = [0, 0, 1, 2, 3], [1, 4, 2, 5, 0], [0, 0, 1, 2, 3]
LABEL = [1.0, 0.0, 1.0, 0.0, 1.0]
COLUMNS, FIRST = ("tab", "clicks", "hour"), [0, 2, 6]  # sizes 2, 4 and 3; `clicks` tells of the user
CONTEXT = [[0, 3, 2], [1, 3, 0], [1, 0, -1], [0, 1, 0], [1, 2, 2]]  # -1: unknown
HISTORY = [[3, 1, 2], [], [4], [0, 3]]
ZERO = torch.zeros(4).double()


@pytest.fixture
def tables():
    def table(codes, size):
        return torch.tensor([*codes, size])

    return make_tables(
        num_users=3, num_items=5, modalities={"visual": torch.tensor(FEATURE).double()},
        present={"visual": torch.tensor(HAS_PICTURE)}, seen_user=torch.tensor(SEEN_USER),
        seen_item=torch.tensor(SEEN_ITEM), user_fields={"gender": table(GENDER, 2)}, user_sizes={"gender": 2},
        item_fields={"category": table(CATEGORY, 3), "colour": table(COLOUR, 3)},
        item_sizes={"category": 3, "colour": 3}, context_sizes=dict(zip(COLUMNS, (2, 4, 3), strict=True)),
        of_user=("clicks",),
    )  # fmt: skip


@pytest.fixture
def batch():
    longest = max(map(len, HISTORY))
    item = torch.tensor([[*clicks, *[0] * (longest - len(clicks))] for clicks in HISTORY])
    mask = torch.arange(longest) < torch.tensor([[len(clicks)] for clicks in HISTORY])
    query = torch.tensor(QUERY)
    return Batch(
        user=torch.tensor(USER), item=torch.tensor(ITEM), time=query, query=query, query_row=torch.tensor([0, 2, 3, 4]),
        histories=History(item, mask, torch.zeros_like(item)), clicks_before=torch.zeros(5), shows_before=None,
        context=Values(torch.tensor(CONTEXT)), label=torch.tensor(LABEL),
    )  # fmt: skip


def built(tables, **sizes):
    """The model in double precision, every weight random; unknown numbers keep their zero."""
    sizes = {"dim": 4, "heads": 4, "global_dim": 5, "hidden": (16, 9), "dropout": 0.0} | sizes
    tables = change_tables(tables, modalities={name: x.double() for name, x in tables.modalities.features.items()})
    model = MIAN(MIAN.Config(**sizes), tables).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    for module in model.modules():
        if isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
    return model.eval()


# --- Eq. (1)-(2): the four groups ------------------------------------------------------------------------------------


def parts_of_item(model, item):
    """Vectors of an item's id, fields and modality."""
    embed = model.embed
    known = item < 5
    own = embed.item.weight[item] if known and SEEN_ITEM[item] else ZERO
    category = embed.item_fields.weight[CATEGORY[item]] if known and CATEGORY[item] < 3 else ZERO
    colour = embed.item_fields.weight[3 + COLOUR[item]] if known and COLOUR[item] < 3 else ZERO
    picture = ZERO
    if known and HAS_PICTURE[item]:
        picture = embed.project[0].weight @ torch.tensor(FEATURE[item]).double() + embed.project[0].bias
    return [own, category, colour, picture]


def item_vector(model, item):
    e = torch.cat(parts_of_item(model, item))
    return e if isinstance(model.widen, nn.Identity) else model.widen.weight @ e


def moment(model, row, column):
    value = CONTEXT[row][column]
    return model.embed.context.weight[FIRST[column] + value] if value >= 0 else ZERO


def user_vectors(model, row):
    """id, gender, and what the context says of the user."""
    user = USER[row]
    own = model.embed.user.weight[user] if user < 3 and SEEN_USER[user] else ZERO
    gender = model.embed.user_fields.weight[GENDER[user]] if user < 3 else ZERO
    return [own, gender, moment(model, row, 1)]


def context_vectors(model, row):
    return [moment(model, row, 0), moment(model, row, 2)]


# --- Eq. (3)-(5): the block ------------------------------------------------------------------------------------------


def normalised(norm, x):
    mean = sum(x) / len(x)
    variance = sum((value - mean) ** 2 for value in x) / len(x)
    return norm.weight * (x - mean) / torch.sqrt(variance + norm.eps) + norm.bias


def multi_head(encoder, clicks):
    d = len(clicks[0])
    w_q, w_k, w_v = encoder.project.weight.split(d)
    width = d // encoder.heads
    found = []
    for x in clicks:
        heads = []
        for h in range(encoder.heads):
            of = slice(h * width, (h + 1) * width)
            scores = [((w_q[of] @ x) @ (w_k[of] @ y) / math.sqrt(width)).exp() for y in clicks]
            heads.append(sum(s / sum(scores) * (w_v[of] @ y) for s, y in zip(scores, clicks, strict=True)))
        found.append(encoder.joined.weight @ torch.cat(heads))
    return found


def feed_forward(encoder, x):
    hidden = encoder.wide.weight @ x + encoder.wide.bias
    return encoder.narrow.weight @ hidden.clamp(min=0) + encoder.narrow.bias


def block(model, clicks):
    """h_1 ... h_T of the clicks as they stand."""
    encoder = model.encoder
    if encoder is None or not clicks:
        return clicks
    one, two = encoder.norms
    if model.config.encoder == "pre_ln":
        found = multi_head(encoder, [normalised(one, x) for x in clicks])
        x1 = [x + m for x, m in zip(clicks, found, strict=True)]
        return [x + feed_forward(encoder, normalised(two, x)) for x in x1]
    x1 = [normalised(one, x + m) for x, m in zip(clicks, multi_head(encoder, clicks), strict=True)]
    return [normalised(two, x + feed_forward(encoder, x)) for x in x1]


# --- Eq. (6)-(13): the candidate and each group ----------------------------------------------------------------------


def attended(module, e_i, keys):
    """sum_k a_k V_k over V_k = [e_i ; z_k], all of them built, and the weights; [e_i ; 0] without a key."""
    if not keys:
        return torch.cat([e_i, torch.zeros(module.of_key.shape[1]).double()]), []
    pairs = [torch.cat([e_i, z]) for z in keys]  # (6), (12)
    powers = []
    for k, pair in enumerate(pairs):
        k = k if len(module.of_key) > 1 else 0
        w_k = torch.cat([module.of_item[k], module.of_key[k]])
        powers.append(torch.tanh(pair @ w_k + module.bias[k]).exp())  # (8)
    weights = [power / sum(powers) for power in powers]  # (7), (10)
    return sum(a * pair for a, pair in zip(weights, pairs, strict=True)), weights  # (9), (11), (13)


# --- Eq. (14)-(17) ---------------------------------------------------------------------------------------------------


def everything(model, row):
    """The seven parts of Eq. (14) by name, and the weights of each group."""
    e_i = item_vector(model, ITEM[row])
    latest = HISTORY[QUERY[row]][::-1][: model.config.history]
    clicks = [item_vector(model, item) for item in latest]
    mean = sum(clicks) / len(clicks) if clicks else torch.zeros_like(e_i)
    e_u, e_c = user_vectors(model, row), context_vectors(model, row)
    parts = {"e_i": e_i, "e_c": torch.cat(e_c), "e_b": mean, "e_u": torch.cat(e_u)}
    weights = {}
    if model.ibim is not None:
        parts["R_ibim"], weights["clicks"] = attended(model.ibim, e_i, block(model, clicks))
    if model.iuim is not None:
        parts["R_iuim"], weights["user"] = attended(model.iuim, e_i, e_u)
    if model.icim is not None:
        parts["R_icim"], weights["context"] = attended(model.icim, e_i, e_c)
    return parts, weights


def joined(gim, parts):
    q = [linear.weight @ r + linear.bias for linear, r in zip(gim.maps, parts, strict=True)]
    powers = [torch.tanh(x @ gim.vector[k] + gim.bias[k]).exp() for k, x in enumerate(q)]
    weights = [power / sum(powers) for power in powers]
    return sum(a * x for a, x in zip(weights, q, strict=True)), weights  # (15)


def logit(model, row):
    parts, weights = everything(model, row)
    read = [parts[name] for name in model.parts]  # (14)
    if model.gim is None:
        x = torch.cat(read)
    else:
        x, weights["parts"] = joined(model.gim, read)
    for layer in model.top:
        if isinstance(layer, nn.Linear):
            x = (layer.weight @ x + layer.bias).clamp(min=0)  # (16)
    return (model.out.weight @ x + model.out.bias)[0], weights


VARIANTS = {
    "pre_ln": {},
    "post_ln": {"encoder": "post_ln"},
    "none": {"encoder": "none"},
    "shared": {"weights": "shared"},
    "widened": {"heads": 3},
    "two clicks": {"history": 2},
    "w/o IBIM": {"ibim": False},
    "w/o IUIM": {"iuim": False},
    "w/o ICIM": {"icim": False},
    "w/o IUIM&ICIM": {"iuim": False, "icim": False},
    "w/o GIM": {"gim": False},
    "w/o IUIM&ICIM nor their fields": {"iuim": False, "icim": False, "keep_raw": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_weights_are_those_of_the_equations(tables, batch, variant):
    model = built(tables, **VARIANTS[variant])
    logits, expected = zip(*(logit(model, row) for row in range(len(batch))), strict=True)
    torch.testing.assert_close(model(batch).logit, torch.stack(logits))
    assert torch.stack(logits).unique().numel() == len(batch)
    weights = model.attention(batch)
    assert set(weights) == set(expected[0])
    for name, found in weights.items():
        for row, some in enumerate(expected):
            padded = [*(x.item() for x in some[name]), *[0.0] * (found.shape[1] - len(some[name]))]
            torch.testing.assert_close(found[row], torch.tensor(padded).double())


def test_the_groups_are_embedded_field_by_field(tables, batch):
    model = built(tables)
    groups = model.groups(batch)
    assert model.user_fields == ("user", "gender", "clicks") and model.context_fields == ("tab", "hour")
    for row in range(len(batch)):
        torch.testing.assert_close(groups.item[row], torch.cat(parts_of_item(model, ITEM[row])))
        torch.testing.assert_close(groups.user[row], torch.stack(user_vectors(model, row)))
        torch.testing.assert_close(groups.context[row], torch.stack(context_vectors(model, row)))
    for query, clicks in enumerate(HISTORY):
        assert groups.mask[query].tolist() == [t < len(clicks) for t in range(3)]
        for t, item in enumerate(clicks[::-1]):
            torch.testing.assert_close(groups.clicks[query, t], torch.cat(parts_of_item(model, item)))
        assert not groups.clicks[query, len(clicks) :].any()


@pytest.mark.parametrize("weights", ["per_index", "shared"])
def test_the_factored_form_is_the_literal_one(weights):
    """Eq. (6)-(9) with a V of every pair, [B, n, d + f]."""
    module = FieldAttention(None if weights == "shared" else 7, 6, 4).double()
    for p in module.parameters():
        nn.init.normal_(p)
    item, keys, mask = torch.randn(5, 6).double(), torch.randn(5, 7, 4).double(), torch.rand(5, 7) < 0.6
    mask[0], mask[1] = True, False
    w = torch.cat([module.of_item, module.of_key], 1).expand(7, -1)
    pairs = torch.cat([item[:, None].expand(-1, 7, -1), keys], 2)
    score = torch.tanh((pairs * w).sum(2) + module.bias).masked_fill(~mask, -math.inf)
    literal = (score.softmax(1).nan_to_num()[..., None] * pairs).sum(1)
    literal[1, :6] = item[1]  # without a key
    found, weight = module(item, keys, mask)
    torch.testing.assert_close(found, literal, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(weight, score.softmax(1).nan_to_num())
    query = torch.tensor([3, 0, 1, 1])
    by_query, _ = module(item[:4], keys, mask, query)
    torch.testing.assert_close(by_query, module(item[:4], keys[query], mask[query])[0])


def test_the_global_attention_weighs_each_part_by_itself():
    module = GIM([3, 5, 2], 4).double()
    for p in module.parameters():
        nn.init.normal_(p)
    parts = [torch.randn(6, width).double() for width in (3, 5, 2)]
    found, weight = module(parts)
    for row in range(6):
        expected, weights = joined(module, [r[row] for r in parts])
        torch.testing.assert_close(found[row], expected)
        torch.testing.assert_close(weight[row], torch.stack(weights))


def test_a_softmax_over_two_classes_is_the_sigmoid_of_their_difference(tables, batch):
    """Eq. (17) and (18) as printed: two numbers, softmax, cross entropy."""
    model = built(tables)
    hidden = model(batch).hidden
    w_q, b_q = torch.randn(2, 9).double(), torch.randn(2).double()
    with torch.no_grad():
        model.out.weight.copy_(w_q[1:] - w_q[:1])
        model.out.bias.copy_(b_q[1:] - b_q[:1])
    y = torch.softmax(hidden @ w_q.T + b_q, 1)[:, 1]
    out = model(batch)
    torch.testing.assert_close(out.logit.sigmoid(), y)
    loss = -sum(torch.log(p if label else 1 - p) for label, p in zip(LABEL, y, strict=True)) / len(LABEL)
    torch.testing.assert_close(F.binary_cross_entropy_with_logits(out.logit, batch.label.double()), loss)


def test_the_penalty_is_on_looked_up_rows_and_on_matrices(tables, batch):
    model = built(tables, l2_embedding=0.3, l2_dense=0.7).train()
    rows = torch.zeros(()).double()
    for row in range(len(batch)):
        items = [ITEM[row], *HISTORY[QUERY[row]]]
        vectors = [x for item in items for x in parts_of_item(model, item)[:3]]  # of the picture there is no row
        rows += sum(x @ x for x in [*vectors, *user_vectors(model, row), *context_vectors(model, row)])
    tables_, dense = {"embed.user", "embed.item", "embed.user_fields", "embed.item_fields", "embed.context"}, 0.0
    for name, p in model.named_parameters():
        if p.ndim == 2 and name.removesuffix(".weight") not in tables_:
            dense += p.square().sum().item()
    expected = 0.3 / 2 * rows.item() / len(batch) + 0.7 / 2 * dense
    assert model(batch).penalty.item() == pytest.approx(expected)


def test_parts_stand_in_the_order_of_the_paper(tables):
    assert built(tables).parts == PARTS == ("e_i", "e_c", "e_b", "e_u", "R_ibim", "R_iuim", "R_icim")
