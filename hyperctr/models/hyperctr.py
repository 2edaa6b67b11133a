"""HyperCTR: Click-Through Rate Prediction with Multi-Modal Hypergraphs (CIKM 2021, arXiv 2109.02398).

A user is described twice: by attention over the own clicks, within and across time slices (Eq. 1-4), and by a
convolution over the user-interest hypergraphs of the slice before (Eq. 5). The outer product of the two (Eq. 6) meets
the item, described by the item-homogeneous hypergraphs, in a three-layer network (Eq. 7); the loss is the cross entropy
(Eq. 8).

Where we differ from the paper, and why:
- Section 2.2.1 adds matrices of shapes (n, d), (l, d), (k, d). We add, for each click, the user's, the item's and the
  mean of the item's modality vectors.
- Attention normalises before each part, not after, and E_t is the mean over slices: normalised afterwards, the id
  vectors drown in the modality vectors, and the planted world is learned half as well.
- Eq. 7 also sees the product T_U * e_i, in the network and beside it: a network on the two side by side needs far more
  data to find it. Biases b_u + b_i are added to its logit: where non-clicks are logged, who clicks much and what is
  clicked much say more than all else, and vectors learn that only by learning too much. b_i starts at the log odds of
  the item's training rows, which Adam would need tens of epochs to reach.
- E_g is read from the user's own vector too, as e_i is from the item's.
- What Eq. 5 gives is added to its input X^(0) before it is read: a node that no hyperedge holds, for which Eq. 5 gives
  zero, is its input, as everything is at depth 0.
- A row at time t in slice n reads the hypergraphs of slices before n only; the own clicks of slice n strictly before t
  form a last, open slice of the attention. The paper includes all of slice n, the label among it.
- A node keeps the state of the last slice in which it was active. By default only the latest slice is propagated with
  gradients; states of older slices come from a cache, renewed whenever training or evaluation begins.
- Attention sees the last `slices` closed slices and `clicks` clicks of each among the history that the batch carries.
- Under the papers' random split alone a row also reads the hypergraphs of its own slice, without its own click.
- Eq. 6 places W after the outer product, and appends the 1 to both vectors; otherwise the 1 would be useless.
- Eq. 7 ends in a sigmoid and Eq. 8 applies another, without the minus sign. Here: one sigmoid, negative log-likelihood.
- The target embedding handed to Eq. 7 is the item's id vector plus its mean modality vector, as everywhere else here.
- Users and items without a training row have no id vector of their own but a shared one, trained by hiding a share of
  the ids (`id_dropout`); the paper's random split never meets one.
- Eq. 9 and 10 as printed have no consistent shapes; our reading stands at `Interest`. Which clicks make hyperedges of
  a modality is decided before the training (`hyperctr.interests`), or renewed with the cache in joint mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs import HGCN, Hypergraph
from graphs.dropout import Dropout
from graphs.expand import clique
from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.embed import LARGE
from hyperctr.states import States


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of HyperCTR; defaults are the paper's where it gives one."""

    dim: int = 64
    """Width d of every vector; the paper reports 64."""
    depth: int = 3
    """HGCN layers; 0 = no graph. The paper finds 3 better than 1."""
    conv: Literal["hgcn", "gcn"] = "hgcn"
    """Eq. 5 on hyperedges, or the paper's ablation: a GCN on the pairs of nodes that share a hyperedge."""
    within: Literal["attention", "mean"] = "attention"
    """What happens to the clicks of one slice, Eq. 1-4 or nothing, before their mean is taken."""
    across: Literal["attention", "mean", "last", "gru"] = "attention"
    """What makes one vector of the slices: Eq. 1-4, the mean, the latest slice, or a GRU."""
    fusion: Literal["outer", "lowrank", "concat", "sum", "gate"] = "outer"
    """How E_t and E_g become T_U: Eq. 6, its low-rank form, or a plainer one."""
    rank: int = 16
    """Factors of the low-rank fusion."""
    carry: Literal["last", "none", "gate"] = "last"
    """State of a node that was not active in the slice before: its last one, none, or a learned mix with its vector."""
    read: Literal["linear", "mean", "attention"] = "linear"
    """What makes one vector E_g of the states in the group's and the modalities' hypergraphs."""
    propagation: Literal["full", "slice", "sampled"] = "slice"
    """Gradients through every slice before the row, through the latest, or through neighbours drawn for the batch."""
    batches_per_graph: int = 4
    """Batches of one slice that share a propagation of its hypergraphs; "sampled" shares none."""
    refresh: int = 0
    """Steps after which the cached states of older slices are renewed; 0 renews them once an epoch."""
    heads: int = 2
    """Attention heads h; must divide dim."""
    slices: int = 8
    """Closed slices attended to, the latest ones."""
    clicks: int = 20
    """Clicks kept of each of these slices, the latest ones."""
    neighbors: int = 20
    """Members kept of a hyperedge and hyperedges kept of a node in training; 0 = all. The paper finds 15 to 25 best."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths D1 and D2 of the prediction network."""
    dropout: float = 0.2
    """Share of activations dropped in attention, convolution and prediction."""
    id_dropout: float = 0.2
    """Share of user and item ids hidden in a training step, which trains the vector of unknown ones."""

    def __post_init__(self):
        for name, low in [("dim", 1), ("depth", 0), ("heads", 1), ("slices", 1), ("clicks", 1), ("neighbors", 0),
                          ("rank", 1), ("batches_per_graph", 1), ("refresh", 0)]:  # fmt: skip
            if getattr(self, name) < low:
                raise ValueError(f"model.{name} must be at least {low}, got {getattr(self, name)}")
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"model.hidden must be two widths of at least 1, got {list(self.hidden)}")
        if self.conv == "gcn" and self.propagation == "sampled":
            raise ValueError('model.propagation = "sampled" draws from hyperedges, model.conv = "gcn" has none')
        if self.dim % self.heads:
            raise ValueError(f"model.heads must divide model.dim = {self.dim}, got {self.heads}")
        for name in ("dropout", "id_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name} must lie in [0, 1), got {getattr(self, name)}")


class Attention(nn.Module):
    """One block of self-attention, Eq. (1)-(4), a layer norm before and a residual around each of its two parts."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)  # W^Q, W^K, W^V of all heads
        self.out = nn.Linear(dim, dim, bias=False)  # W^O
        self.ffn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, start: Tensor, size: Tensor, causal: bool = False) -> Tensor:
        """Attend within each group of tokens; only the attention itself is padded.

        Args:
            x: tokens, group after group, [N, d]. start, size: first token and number of tokens of each group, [G] each.
            causal: attend to the places not after one's own.

        Returns:
            [N, d].
        """
        d = x.shape[1]
        at = torch.arange(int(size.max()))
        real = at < size[:, None]  # [G, longest]
        padded = torch.where(real, start[:, None] + at, 0)
        qkv = F.embedding(padded, self.qkv(self.norm1(x)))
        q, k, v = qkv.view(*padded.shape, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        # padding stands behind the real tokens, where a causal query does not look
        mask = None if causal else real[:, None, None]
        head = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)  # (2), (3)
        head = F.embedding(real.view(-1).nonzero()[:, 0], head.transpose(1, 2).reshape(-1, d))
        x = x + self.drop(self.out(head))  # (1)
        return x + self.drop(self.ffn(self.norm2(x)))  # (4)


class TemporalAttention(nn.Module):
    """What the user's own clicks say: attention within each slice, then across slices, Eq. (1)-(4), section 2.2.1."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        d, heads = config.dim, config.heads
        self.within = Attention(d, heads, config.dropout) if config.within == "attention" else None
        self.across = Attention(d, heads, config.dropout) if config.across == "attention" else None
        self.gru = nn.GRU(d, d, batch_first=True) if config.across == "gru" else None
        self.age = nn.Embedding(16, d)  # how many slices ago, in powers of two
        self.cold = nn.Parameter(torch.zeros(d))

    def forward(self, user: Tensor, item: Tensor, click: Tensor, row: Tensor, slice: Tensor, now: Tensor) -> Tensor:
        """Summarise the clicks of each of R rows.

        Args:
            user: the rows' user vectors, [R, d].
            item: item vectors, [I, d].
            click: which of these every click is on, rows one after the other and each in time order, [N].
            row: which row a click belongs to, ascending, [N].
            slice: the slice of each click, [N].
            now: the slice of each row, [R]; clicks in it form the open slice.

        Returns:
            E_t [R, d], over the slices; a row without clicks gives its user vector plus a learned constant.
        """
        c, rows = self.config, len(user)
        if not len(row):
            return user + self.cold
        # a segment is a run of one row's clicks in one slice
        new = torch.ones_like(row, dtype=torch.bool)
        new[1:] = (row[1:] != row[:-1]) | (slice[1:] != slice[:-1])
        start = new.nonzero()[:, 0]
        end = torch.cat([start[1:], start.new_tensor([len(row)])])
        of_row, of_slice = row[start], slice[start]
        # drop segments beyond the last S closed ones of a row, and clicks beyond the last l of a segment
        last = F.pad(torch.bincount(of_row, minlength=rows).cumsum(0), (1, 0))
        is_open = torch.zeros(rows, dtype=torch.long).index_add_(0, of_row, (of_slice == now[of_row]).long())
        keep = last[of_row + 1] - torch.arange(len(start)) <= c.slices + is_open[of_row]
        start, end, of_row, of_slice = (x[keep] for x in (torch.maximum(start, end - c.clicks), end, of_row, of_slice))
        size = end - start
        first = F.pad(size.cumsum(0), (1, 0))  # of each segment's tokens
        token = torch.arange(int(first[-1])) + torch.repeat_interleave(start - first[:-1], size)

        x = F.embedding(click[token], item) + F.embedding(row[token], user)  # [N, d]
        if self.within is not None:
            x = self.within(x, first[:-1], size)  # (1)-(4) within a slice
        pooled = torch.segment_reduce(x, "mean", offsets=first, axis=0)
        pooled = pooled + self.age((now[of_row] - of_slice + 1).clamp(min=1).log2().long().clamp(max=15))

        count = torch.bincount(of_row, minlength=rows)
        known = count > 0
        begin, count = (count.cumsum(0) - count)[known], count[known]
        summary = self._across(pooled, begin, count)  # (1)-(4) across slices
        at = torch.where(known, known.cumsum(0) - 1, 0)
        return torch.where(known[:, None], F.embedding(at, summary), user + self.cold)

    def _across(self, x: Tensor, begin: Tensor, count: Tensor) -> Tensor:
        """One vector of the slices of each row: x [slices of all rows, d], rows in order -> [rows, d]."""
        if self.gru is not None:
            at = torch.arange(int(count.max()))
            y, _ = self.gru(F.embedding((begin[:, None] + at).clamp(max=len(x) - 1), x))
            return y[torch.arange(len(count)), count - 1]
        if self.config.across == "last":
            return x[begin + count - 1]
        if self.across is not None:
            x = self.across(x, begin, count, causal=True)
        return torch.segment_reduce(x, "mean", lengths=count, axis=0)


class Interest(nn.Module):
    """User Interest Prediction, section 2.3.1: how much user u cares about one modality of item i.

    Eq. (10) multiplies a scalar by a vector; we read it as the trilinear score s = sum_c M_I[i]_c (W a)_c E_U[u]_c and
    f = sigmoid(s). Eq. (9) leaves the positive out of its denominator and calls a bound to be raised a loss; we read it
    as the usual InfoNCE.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)  # W_UIP

    def forward(self, user: Tensor, item: Tensor, attribute: Tensor) -> Tensor:
        """Eq. (10) before its sigmoid: user [n, d], item [n, d], attribute [n, ..., d] -> [n, ...]."""
        both = (user * item) @ self.linear.weight  # W^T (u * i): W is applied once a click, not once an attribute
        return (both.view(len(user), *[1] * (attribute.dim() - 2), -1) * attribute).sum(-1)

    def loss(self, user: Tensor, item: Tensor, attribute: Tensor, others: Tensor) -> Tensor:
        """Eq. (9): the item's own attribute against those of other items.

        Args:
            user, item, attribute: [n, d] each. others: attributes of the same modality, of other items, [n, N, d].

        Returns:
            a number >= 0: log(1 + N) where all scores are equal; 0 for n = 0.
        """
        if not len(user):
            return user.new_zeros(())
        score = self(user, item, torch.cat([attribute[:, None], others], 1))  # [n, 1 + N]
        return F.cross_entropy(score, score.new_zeros(len(score), dtype=torch.long))


class Fusion(nn.Module):
    """T_U of E_t and E_g: W^T vec([E_t; 1] outer [E_g; 1]), Eq. (6), or a plainer way to combine them.

    `lowrank` is `outer` with W a sum of `rank` products, W_ijk = sum_r U_rik V_rjk.
    """

    def __init__(self, dim: int, kind: str = "outer", rank: int = 16):
        super().__init__()
        self.kind, self.dim = kind, dim
        if kind == "outer":
            self.linear = nn.Linear((dim + 1) ** 2, dim, bias=False)
        elif kind == "lowrank":
            self.u, self.v = (nn.Parameter(torch.empty(rank, dim + 1, dim)) for _ in range(2))
        elif kind in ("concat", "gate"):
            self.linear = nn.Linear(2 * dim, dim)

    def reset_parameters(self) -> None:
        """Start from E_t + E_g (the entries beside the 1) and small products."""
        d = self.dim
        if self.kind == "outer":
            weight = self.linear.weight.data.view(d, d + 1, d + 1).normal_(std=1 / d)
            weight[:, -1, -1] = 0.0
            weight[:, :-1, -1] = weight[:, -1, :-1] = torch.eye(d)
        elif self.kind == "lowrank":
            for factor in (self.u, self.v):
                nn.init.normal_(factor, std=(d * len(factor) ** 0.5) ** -0.5)

    def forward(self, temporal: Tensor, group: Tensor) -> Tensor:
        """Combine [R, d] and [R, d] into [R, d]; `outer` and `lowrank` are linear in each."""
        if self.kind == "sum":
            return temporal + group
        if self.kind == "concat":
            return self.linear(torch.cat([temporal, group], 1))
        if self.kind == "gate":
            gate = torch.sigmoid(self.linear(torch.cat([temporal, group], 1)))
            return gate * temporal + (1 - gate) * group
        u, g = F.pad(temporal, (0, 1), value=1.0), F.pad(group, (0, 1), value=1.0)
        if self.kind == "lowrank":
            return (torch.einsum("ni,rik->rnk", u, self.u) * torch.einsum("nj,rjk->rnk", g, self.v)).sum(0)
        return self.linear((u[:, :, None] * g[:, None, :]).flatten(1))


class Readout(nn.Module):
    """One vector of a node's own and its states in the group's and the modalities' hypergraphs, section 2.3.3.

    `linear` is E_g = Linear[E_U; Z_group; Z_1; ..; Z_Q], and for items e_i = Linear[M_I + A; Z_group; Z_1; ..; Z_Q].
    """

    def __init__(self, dim: int, graphs: int, kind: str = "linear"):
        super().__init__()
        self.kind, self.parts = kind, 1 + graphs
        if kind == "linear":
            self.linear = nn.Linear(self.parts * dim, dim)
        elif kind == "attention":
            self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1))

    def reset_parameters(self) -> None:
        """Start from the node's own vector and a little of its states: what they say has to be learned first."""
        if self.kind == "linear":
            d = self.linear.out_features
            self.linear.weight.data[:, d:] *= 0.3
            nn.init.eye_(self.linear.weight.data[:, :d])

    def forward(self, own: Tensor, states: Tensor) -> Tensor:
        """[n, d] and [n, graphs * d] -> [n, d]."""
        z = torch.cat([own, states], 1)
        if self.kind == "linear":
            return self.linear(z)
        z = z.view(len(z), self.parts, -1)
        return z.mean(1) if self.kind == "mean" else (self.score(z).softmax(1) * z).sum(1)


class Prediction(nn.Module):
    """logit = MLP([T_U; e_i; T_U * e_i]) + w^T (T_U * e_i), the MLP with three layers: Eq. (7) before its sigmoid."""

    def __init__(self, dim: int, hidden: tuple[int, ...], dropout: float):
        super().__init__()
        self.user = nn.Linear(dim, hidden[0])  # the first layer's columns for T_U
        self.item = nn.Linear(dim, hidden[0], bias=False)  # and for e_i: W [T_U; e_i] = W_u T_U + W_i e_i
        self.both = nn.Linear(dim, hidden[0], bias=False)  # and for their product
        self.direct = nn.Parameter(torch.full((dim,), dim**-0.5))  # w
        self.rest = nn.Sequential(
            nn.ReLU(), Dropout(dropout), nn.Linear(*hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden[1], 1)
        )

    def forward(self, user: Tensor, item: Tensor, user_row: Tensor, item_row: Tensor) -> Tensor:
        """Score user [Q, d] against item [P, d] for the pairs (user_row, item_row) [B]; gives [B]."""
        return self.score(user, item, user_row, item_row)[0]

    def score(self, user: Tensor, item: Tensor, user_row: Tensor, item_row: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and what the last linear layer reads of each pair, [B, D2]."""
        before, last = self.rest[:-1], self.rest[-1]
        if len(user_row) <= 32 * len(user):
            both = F.embedding(user_row, user) * F.embedding(item_row, item)
            first = F.embedding(user_row, self.user(user)) + F.embedding(item_row, self.item(item))
            hidden = before(first + self.both(both))
            return last(hidden).squeeze(1) + both @ self.direct, hidden
        # many candidates each: W_i e + W_b (T * e) = (W_i + W_b diag(T)) e, a matrix of its own for every user
        order = user_row.argsort(stable=True)
        rows = item_row[order].split(torch.bincount(user_row, minlength=len(user)).tolist())
        bias, direct = self.user(user), user * self.direct
        weight = self.item.weight.T + user[:, :, None] * self.both.weight.T  # [Q, d, D1]
        found = [
            (before(torch.addmm(b, item[row], w)), item[row] @ v)
            for row, b, w, v in zip(rows, bias, weight, direct, strict=True)
        ]
        place = torch.empty_like(order).index_put((order,), torch.arange(len(order)))
        hidden, beside = (torch.cat(parts).index_select(0, place) for parts in zip(*found, strict=True))
        return last(hidden).squeeze(1) + beside, hidden


class GCN(nn.Module):
    """One layer of the paper's ablation, X' = ReLU(D^-1/2 (C + I) D^-1/2 X Theta); C counts shared hyperedges.

    Kipf & Welling, arXiv 1609.02907, on the clique expansion of the same hyperedges (`pairs`); as from Eq. (5), a node
    that meets no other gets zero.
    """

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.theta = nn.Linear(dim, dim, bias=False)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, graph: Hypergraph) -> Tensor:
        """[n, d] -> [n, d]; `graph` from `pairs`."""
        y = self.drop(torch.relu(graph @ self.theta(x)))
        alone = graph.by_node.indptr.diff() == 1  # with itself
        return y.masked_fill(alone[:, None], 0.0)


def pairs(h: Hypergraph) -> Hypergraph:
    """The normalised graph D^-1/2 (C + I) D^-1/2 of the nodes that share hyperedges, as a square matrix of values."""
    c = clique(h).tocoo()
    n = h.num_nodes
    row, column = (np.concatenate([c.coords[k], np.arange(n)]) for k in (0, 1))
    value = np.concatenate([c.data, np.ones(n)])
    degree = np.bincount(row, value, minlength=n) ** -0.5
    return Hypergraph.from_pairs(row, column, n, n, weight=value * degree[row] * degree[column])


class HyperCTR(nn.Module):
    """HyperCTR, arXiv 2109.02398.

    Args:
        config: sizes.
        tables: numbers of users and items, modality features, and the sliced hypergraphs.

    Raises:
        ValueError: the tables hold no hypergraphs, or ones that the propagation cannot keep from leaking.
    """

    Config = Config
    reads_slices = True

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        if tables.slices is None:
            raise ValueError("HyperCTR needs time-sliced hypergraphs: build them with hyperctr.hypergraphs")
        if tables.slices.own and tables.slices.target_edge == "exclude" and config.propagation == "sampled":
            raise ValueError(
                'model.propagation = "sampled" cannot leave out the own clicks of the random split: choose "slice" or '
                '"full", or slices.target_edge = "keep"'
            )
        d, slices, self.config = config.dim, tables.slices, config
        self.modalities = list(tables.modalities)
        graphs = len(slices.names)
        # E_U and M_I; the last row: any unknown one
        self.user = nn.Embedding(tables.num_users + 1, d, sparse=tables.num_users > LARGE)
        self.item = nn.Embedding(tables.num_items + 1, d, sparse=tables.num_items > LARGE)
        self.user_bias = nn.Embedding(tables.num_users + 1, 1, sparse=tables.num_users > LARGE)
        self.item_bias = nn.Embedding(tables.num_items + 1, 1, sparse=tables.num_items > LARGE)
        self.project = nn.ModuleDict({m: nn.Linear(x.shape[1], d) for m, x in tables.modalities.items()})  # P_m
        self.temporal = TemporalAttention(config)
        # Theta of users' and of items' hypergraphs, a stack of layers each, shared by all slices
        convs = nn.ModuleList(nn.ModuleList(self._stack() for _ in range(graphs)) for _ in range(2))
        self.states = States(config, slices, convs, pairs if config.conv == "gcn" else None)
        self.read_user = Readout(d, graphs, config.read)
        self.read_item = Readout(d, graphs)
        self.fusion = Fusion(d, config.fusion, config.rank)
        self.predict = Prediction(d, config.hidden, config.dropout)
        self.hidden_dim = config.hidden[1]
        for m, x in tables.modalities.items():  # features, perhaps memory-mapped; the unknown item has none
            self.register_buffer(f"feature_{m}", x, persistent=False)
            self.register_buffer(f"present_{m}", F.pad(tables.present[m], (0, 1)), persistent=False)
        self.register_buffer("seen_user", F.pad(tables.seen_user, (0, 1)))
        self.register_buffer("seen_item", F.pad(tables.seen_item, (0, 1)))
        grid, count = slices.grid, len(slices) + 1  # the open slice, which behind the last quantile is none
        starts = torch.from_numpy(grid.starts(count if grid.edges is None else min(count, len(grid))))
        self.register_buffer("starts", starts, persistent=False)  # a later log has more slices, the same weights
        self._interests = tables.interests
        self.interest = Interest(d) if hasattr(tables.interests, "loss") else None  # joint mode
        self.reset_parameters()
        if tables.item_log_odds is not None:
            with torch.no_grad():
                self.item_bias.weight[:-1, 0] = tables.item_log_odds
        if weights := getattr(self._interests, "weights", None):
            self.load_state_dict(weights, strict=False)  # learned before: they are where training starts

    def _stack(self) -> nn.ModuleList:
        """Theta^(0) to Theta^(depth - 1)."""
        c = self.config
        gcn = c.conv == "gcn"
        return nn.ModuleList(
            GCN(c.dim, c.dropout) if gcn else HGCN(c.dim, 1, c.dropout, isolated="zero") for _ in range(c.depth)
        )

    def reset_parameters(self) -> None:
        """Embeddings N(0, 0.1^2), weights Kaiming-normal, biases 0; attention starts as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in (self.temporal.within, self.temporal.across):
            if block is not None:
                nn.init.zeros_(block.out.weight)
                nn.init.zeros_(block.ffn[-1].weight)
        for module in (self.fusion, self.read_user, self.read_item):
            module.reset_parameters()
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def represent(self, batch: Batch) -> Tensor:
        """What the last linear layer of Eq. (7) reads, [B, D2]; no state is renewed or changed."""
        return self(replace(batch, view=True)).hidden

    def forward(self, batch: Batch) -> Output:
        measured = {} if batch.view and self.states.step else self.refresh()
        first = batch.first  # one row of each query: the user's side is computed once
        now, every = self.slice_of(batch.time), len(self.starts)  # [B]

        # a candidate in a slice looks the same to everyone: each distinct (item, slice) is computed once
        pair, of_row = (batch.item * every + now).unique(return_inverse=True)
        item, when = pair // every, pair % every
        row, column = batch.past.mask.nonzero(as_tuple=True)
        clicked = batch.past.item[row, column]
        vector, where = torch.cat([item, clicked]).unique(return_inverse=True)
        inputs = self.item_inputs(vector)  # X^(0) of the group's and the modalities' hypergraphs, [unique, graphs * d]
        of_item, click = where[: len(item)], where[len(item) :]
        candidate = F.embedding(of_item, inputs)
        user = self.user_vector(batch.user[first])  # [Q, d]

        asked = [(batch.user[first], now[first]), (item, when)]
        live, penalty, moved = self.states.live(batch, now, asked, self._inputs)

        slice = self.slice_of(batch.past.time[row, column])
        temporal = self.temporal(user, inputs[:, : self.config.dim], click, row, slice, now[first])  # (1)-(4)  E_t
        static = user.repeat(1, len(self.states.slices.names))
        group = self.states.read(0, batch.user[first], now[first], static, live[0])  # (5)  Z_U
        fused = self.fusion(temporal, self.read_user(user, group))  # (6)  T_U [Q, d]
        graph = self.states.read(1, item, when, candidate, live[1])  # (5)  Z_I
        e_i = self.read_item(candidate[:, : self.config.dim], graph)  # [pairs, d]
        logit, hidden = self.predict.score(fused, e_i, batch.query, of_row)  # (7)  [B], [B, D2]
        b_u = self.user_bias(batch.user[first]) * self.seen_user[batch.user[first], None]  # [Q, 1]
        b_i = self.item_bias(item) * self.seen_item[item, None]  # [pairs, 1]
        logit = logit + (F.embedding(batch.query, b_u) + F.embedding(of_row, b_i)).squeeze(1)
        if self.training and self.interest is not None and not batch.view:
            clicked = batch.label == 1
            penalty = penalty + self._interests.loss(self, batch.user[clicked], batch.item[clicked])  # (9), (10)
        return Output(logit, penalty, {**measured, **moved}, hidden)

    def slice_of(self, time: Tensor) -> Tensor:
        """Slice of each time; everything behind the last closed slice is the open one."""
        return (torch.bucketize(time, self.starts, right=True) - 1).clamp(min=0)

    def user_vector(self, user: Tensor) -> Tensor:
        """E_U[u], [n] -> [n, d]."""
        return self.user(self._known(user, self.seen_user))

    def user_inputs(self, user: Tensor) -> Tensor:
        """X^(0) = E_U of each hypergraph, side by side, [n] -> [n, graphs * d]."""
        return self.user_vector(user).repeat(1, len(self.states.slices.names))

    def item_inputs(self, item: Tensor) -> Tensor:
        """X^(0) of each hypergraph, side by side: M_I plus the mean of the item's modalities, then M_I plus each.

        [n] -> [n, graphs * d]; the first d columns are the item's vector everywhere else.
        """
        x = self.item(self._known(item, self.seen_item))
        if not self.modalities:
            return x
        row = item.clamp(max=len(self.seen_item) - 2)
        parts, total = [], 0.0
        for m in self.modalities:
            present = getattr(self, f"present_{m}")[item][:, None]
            part = self.project[m](getattr(self, f"feature_{m}")[row].float()) * present
            parts.append(x + part)
            total = total + part
        count = sum(getattr(self, f"present_{m}")[item].float() for m in self.modalities)[:, None]
        return torch.cat([x + total / count.clamp(min=1), *parts], 1)

    def _inputs(self, kind: int, node: Tensor) -> Tensor:
        return self.item_inputs(node) if kind else self.user_inputs(node)

    def refresh(self) -> dict[str, float]:
        """Renew the cached states where that is due, in joint mode on hypergraphs of the interests now.

        Returns:
            how far they moved since the last time, if there was one.
        """
        if self.interest is not None and self.states.step == 0:
            self.states.use(self._interests.renewed(self))
        return self.states.refresh(self._inputs)

    def _known(self, index: Tensor, seen: Tensor) -> Tensor:
        """Numbers with a trained vector; others, and a random share while training, become the unknown one."""
        known = seen[index]
        if self.training and self.config.id_dropout:
            known = known & (torch.rand(len(index)) >= self.config.id_dropout)
        return torch.where(known, index, len(seen) - 1)
