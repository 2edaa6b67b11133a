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
- Eq. 7 also sees the product T_U * e_i; a network on the two side by side needs far more data to find it.
- Eq. 5 is applied with a node that no hyperedge holds keeping its input; taken literally it would become zero.
- A row at time t in slice n reads the hypergraphs of slices before n only; the own clicks of slice n strictly before t
  form a last, open slice of the attention. The paper includes all of slice n, the label among it.
- A node keeps the state of the last slice in which it was active. Only the latest slice is propagated with gradients;
  states of older slices come from a cache, renewed whenever training or evaluation begins.
- Attention sees the last `slices` closed slices and `clicks` clicks of each among the history that the batch carries.
- Eq. 6 places W after the outer product, and appends the 1 to both vectors; otherwise the 1 would be useless.
- Eq. 7 ends in a sigmoid and Eq. 8 applies another, without the minus sign. Here: one sigmoid, negative log-likelihood.
- The target embedding handed to Eq. 7 is the item's id vector plus its mean modality vector, as everywhere else here.
- Users and items without a training row have no id vector of their own but a shared one, trained by hiding a share of
  the ids (`id_dropout`); the paper's random split never meets one.
- Interests are not learned yet (Eq. 9-10): every modality of a click makes a hyperedge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs import HGCN, Hypergraph
from graphs.sample import cap
from hyperctr.batch import Batch, Output, Tables


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
    batches_per_graph: int = 1
    """Batches of one slice that share a propagation of its hypergraphs; propagation = "slice" alone."""
    refresh: int = 1
    """Epochs between renewals of the states of older slices."""
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
                          ("rank", 1), ("batches_per_graph", 1), ("refresh", 1)]:  # fmt: skip
            if getattr(self, name) < low:
                raise ValueError(f"model.{name} must be at least {low}, got {getattr(self, name)}")
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"model.hidden must be two widths of at least 1, got {list(self.hidden)}")
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
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, group: Tensor, at: Tensor, causal: bool = False) -> Tensor:
        """Attend within each group of tokens; only the attention itself is padded.

        Args:
            x: tokens, [N, d]. group, at: a token's group and its place in it, [N] each; places run from 0 without gaps.
            causal: attend to the places not after one's own.

        Returns:
            [N, d].
        """
        d = x.shape[1]
        groups, longest = int(group.max()) + 1, int(at.max()) + 1
        qkv = x.new_zeros(groups, longest, 3 * d).index_put((group, at), self.qkv(self.norm1(x)))
        q, k, v = qkv.view(groups, longest, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        real = None  # padding stands behind the real tokens, where a causal query does not look
        if not causal:
            real = torch.zeros(groups, longest, dtype=torch.bool).index_put((group, at), torch.tensor(True))[
                :, None, None
            ]
        head = F.scaled_dot_product_attention(q, k, v, attn_mask=real, is_causal=causal)  # (2), (3)
        x = x + self.drop(self.out(head.transpose(1, 2)[group, at].reshape(-1, d)))  # (1)
        return x + self.drop(self.ffn(self.norm2(x)))  # (4)


class TemporalAttention(nn.Module):
    """What the user's own clicks say: attention within each slice, then across slices, Eq. (1)-(4), section 2.2.1."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.within = Attention(config.dim, config.heads, config.dropout)
        self.across = Attention(config.dim, config.heads, config.dropout)
        self.age = nn.Embedding(16, config.dim)  # how many slices ago, in powers of two
        self.cold = nn.Parameter(torch.zeros(config.dim))

    def forward(self, user: Tensor, click: Tensor, row: Tensor, slice: Tensor, now: Tensor) -> Tensor:
        """Summarise the clicks of each of R rows.

        Args:
            user: the rows' user vectors, [R, d].
            click: vectors of all their clicks, rows one after the other and each in time order, [N, d].
            row: which row a click belongs to, ascending, [N].
            slice: the slice of each click, [N].
            now: the slice of each row, [R]; clicks in it form the open slice.

        Returns:
            E_t [R, d], the mean over the slices; a row without clicks gives its user vector plus a learned constant.
        """
        c, rows = self.config, len(user)
        if not len(row):
            return user + self.cold
        # a segment is a run of one row's clicks in one slice
        new = torch.ones_like(row, dtype=torch.bool)
        new[1:] = (row[1:] != row[:-1]) | (slice[1:] != slice[:-1])
        segment = new.cumsum(0) - 1
        start = new.nonzero()[:, 0]
        end = torch.cat([start[1:], start.new_tensor([len(row)])])
        of_row, of_slice = row[start], slice[start]
        # drop clicks beyond the last l of a segment, and segments beyond the last S closed ones of a row
        last = torch.zeros(rows + 1, dtype=torch.long).index_add_(0, of_row + 1, torch.ones_like(of_row)).cumsum(0)
        is_open = torch.zeros(rows, dtype=torch.long).index_add_(0, of_row, (of_slice == now[of_row]).long())
        keep_segment = last[of_row + 1] - torch.arange(len(start)) <= c.slices + is_open[of_row]
        at = torch.arange(len(row)) - torch.maximum(start, end - c.clicks)[segment]
        keep = (at >= 0) & keep_segment[segment]
        number = keep_segment.cumsum(0) - 1  # segments kept, renumbered
        segment, at, token = number[segment[keep]], at[keep], (user[row] + click)[keep]
        of_row, of_slice = of_row[keep_segment], of_slice[keep_segment]

        x = self.within(token, segment, at)  # (1)-(4) within a slice
        size = torch.bincount(segment)[:, None]
        pooled = x.new_zeros(len(of_row), c.dim).index_add(0, segment, x) / size
        age = (now[of_row] - of_slice + 1).clamp(min=1).log2().long().clamp(max=15)

        first = torch.searchsorted(of_row, torch.arange(rows))
        place = torch.arange(len(of_row)) - first[of_row]
        y = self.across(pooled + self.age(age), of_row, place, causal=True)  # (1)-(4) across slices
        count = torch.bincount(of_row, minlength=rows)[:, None]
        summary = y.new_zeros(rows, c.dim).index_add(0, of_row, y) / count.clamp(min=1)
        return torch.where(count > 0, summary, user + self.cold)


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
        both = (user * item).view(len(user), *[1] * (attribute.dim() - 2), -1)
        return (both * self.linear(attribute)).sum(-1)

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
    """T_U = W^T vec([E_t; 1] outer [E_g; 1]), Eq. (6)."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear((dim + 1) ** 2, dim, bias=False)

    def reset_parameters(self) -> None:
        """Each of the three kinds of entry, products, E_t and E_g alone (beside the 1), starts with equal weight."""
        d = self.linear.out_features
        weight = self.linear.weight.data.view(d, d + 1, d + 1).normal_(std=1 / d)
        weight[:, -1] *= d**0.5
        weight[:, :, -1] *= d**0.5
        weight[:, -1, -1] = 0.0

    def forward(self, temporal: Tensor, group: Tensor) -> Tensor:
        """Combine [R, d] and [R, d] into [R, d], linear in each."""
        u, g = F.pad(temporal, (0, 1), value=1.0), F.pad(group, (0, 1), value=1.0)
        return self.linear((u[:, :, None] * g[:, None, :]).flatten(1))


class Prediction(nn.Module):
    """logit = MLP([T_U; e_i; T_U * e_i]) with three layers, Eq. (7) before its sigmoid."""

    def __init__(self, dim: int, hidden: tuple[int, ...], dropout: float):
        super().__init__()
        self.user = nn.Linear(dim, hidden[0])  # the first layer's columns for T_U
        self.item = nn.Linear(dim, hidden[0], bias=False)  # and for e_i: W [T_U; e_i] = W_u T_U + W_i e_i
        self.both = nn.Linear(dim, hidden[0], bias=False)  # and for their product
        self.rest = nn.Sequential(
            nn.ReLU(), nn.Dropout(dropout), nn.Linear(*hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden[1], 1)
        )

    def forward(self, user: Tensor, item: Tensor, user_row: Tensor, item_row: Tensor) -> Tensor:
        """Score user [Q, d] against item [P, d] for the pairs (user_row, item_row) [B]; gives [B]."""
        both = self.both(user[user_row] * item[item_row])
        return self.rest(self.user(user)[user_row] + self.item(item)[item_row] + both).squeeze(1)


class Carried:
    """States of nodes after each slice in which they were active, and the look-up of the last one before a slice.

    Args:
        nodes: the active nodes of every slice (None: empty slice).
    """

    def __init__(self, nodes: list[Tensor | None]):
        count = [0 if x is None else len(x) for x in nodes]
        self.offset = torch.tensor([0, *count]).cumsum(0)
        node = torch.cat([x for x in nodes if x is not None]) if any(count) else torch.empty(0, dtype=torch.long)
        self.num_slices = len(nodes) + 1
        key = node * self.num_slices + torch.repeat_interleave(torch.arange(len(nodes)), torch.tensor(count).long())
        self.key, self.row = key.sort()
        self.state: Tensor | None = None  # [rows, graphs * d]

    def find(self, node: Tensor, slice: Tensor) -> Tensor:
        """Row of the node's last state strictly before `slice`; -1 if it was never active before."""
        at = torch.searchsorted(self.key, node * self.num_slices + slice) - 1
        inside = at.clamp(min=0)
        if not len(self.key):
            return torch.full_like(node, -1)
        found = (at >= 0) & (self.key[inside] // self.num_slices == node)
        return torch.where(found, self.row[inside], -1)


class HyperCTR(nn.Module):
    """HyperCTR, arXiv 2109.02398.

    Args:
        config: sizes.
        tables: numbers of users and items, modality features, and the sliced hypergraphs.

    Raises:
        ValueError: the tables hold no hypergraphs.
    """

    Config = Config
    reads_slices = True

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        if tables.slices is None:
            raise ValueError("HyperCTR needs time-sliced hypergraphs: build them with hyperctr.hypergraphs")
        d, self.config, self.slices = config.dim, config, tables.slices
        self.modalities = list(tables.modalities)
        graphs = len(self.slices.names)
        self.user = nn.Embedding(tables.num_users + 1, d)  # E_U; the last row: any unknown user
        self.item = nn.Embedding(tables.num_items + 1, d)  # M_I; the last row: any unknown item
        self.project = nn.ModuleDict({m: nn.Linear(x.shape[1], d) for m, x in tables.modalities.items()})  # P_m
        self.temporal = TemporalAttention(config)
        self.user_conv = nn.ModuleList(HGCN(d, config.depth, config.dropout) for _ in range(graphs))
        self.item_conv = nn.ModuleList(HGCN(d, config.depth, config.dropout) for _ in range(graphs))
        self.read_user = nn.Linear(graphs * d, d)
        self.read_item = nn.Linear((1 + graphs) * d, d)
        self.fusion = Fusion(d)
        self.predict = Prediction(d, config.hidden, config.dropout)
        for m, x in tables.modalities.items():  # features and presence; the unknown item has none
            self.register_buffer(f"feature_{m}", F.pad(x, (0, 0, 0, 1)), persistent=False)
            self.register_buffer(f"present_{m}", F.pad(tables.present[m], (0, 1)), persistent=False)
        self.register_buffer("seen_user", F.pad(tables.seen_user, (0, 1)))
        self.register_buffer("seen_item", F.pad(tables.seen_item, (0, 1)))
        starts = torch.from_numpy(self.slices.grid.starts(len(self.slices) + 1))
        self.register_buffer("starts", starts, persistent=False)  # a later log has more slices, the same weights
        self.register_buffer("rounds", torch.zeros((), dtype=torch.long))  # of training, seeds the neighbour samples
        self.users = Carried([side and side.nodes for side in self.slices.users])
        self.items = Carried([side and side.nodes for side in self.slices.items])
        self._active = [n for n, side in enumerate(self.slices.users) if side is not None]
        self._sampled: dict[tuple, Hypergraph] = {}
        self._fresh = False
        self.reset_parameters()

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
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.ffn[-1].weight)
        self.fusion.reset_parameters()

    def train(self, mode: bool = True) -> HyperCTR:
        """Switch between training and evaluation; the cached states are renewed before they are next read."""
        if mode and not self.training:
            self.rounds += 1
        self._fresh, self._sampled = False, {}
        return super().train(mode)

    def forward(self, batch: Batch) -> Output:
        if not self._fresh:
            self.refresh()
        first = batch.first  # one row of each query: the user's side is computed once
        now = self.slice_of(batch.time)  # [B]
        live = self._live(now)

        # a candidate in a slice looks the same to everyone: each distinct (item, slice) is computed once
        pair, of_row = (batch.item * self.users.num_slices + now).unique(return_inverse=True)
        item, when = pair // self.users.num_slices, pair % self.users.num_slices
        row, column = batch.history_mask[first].nonzero(as_tuple=True)
        clicked = batch.history[first][row, column]
        vector, where = torch.cat([item, clicked]).unique(return_inverse=True)
        candidate, click = self.item_vector(vector)[where].split([len(item), len(clicked)])
        user = self.user_vector(batch.user[first])

        slice = self.slice_of(batch.history_time[first][row, column])
        temporal = self.temporal(user, click, row, slice, now[first])  # (1)-(4)  E_t [Q, d]
        group = self.carried(self.users, batch.user[first], now[first], user, live)  # (5)
        fused = self.fusion(temporal, self.read_user(group))  # (6)  T_U [Q, d]
        graph = self.carried(self.items, item, when, candidate, live)  # (5)
        e_i = self.read_item(torch.cat([candidate, graph], 1))  # [pairs, d]
        logit = self.predict(fused, e_i, batch.query, of_row)  # (7)  [B]
        return Output(logit)

    def slice_of(self, time: Tensor) -> Tensor:
        """Slice of each time; everything behind the last closed slice is the open one."""
        return (torch.bucketize(time, self.starts, right=True) - 1).clamp(min=0)

    def user_vector(self, user: Tensor) -> Tensor:
        """E_U[u], [n] -> [n, d]."""
        return self.user(self._known(user, self.seen_user))

    def item_vector(self, item: Tensor, modality: str | None = None) -> Tensor:
        """M_I[i] plus the vector of one modality, or the mean of those that the item has, [n] -> [n, d]."""
        names = self.modalities if modality is None else [modality]
        x = self.item(self._known(item, self.seen_item))
        if not names:
            return x
        present = torch.stack([getattr(self, f"present_{m}")[item] for m in names], 1).to(x.dtype)  # [n, Q]
        parts = torch.stack([self.project[m](getattr(self, f"feature_{m}")[item]) for m in names], 1)  # [n, Q, d]
        return x + (parts * present[..., None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)

    def carried(self, states: Carried, node: Tensor, now: Tensor, static: Tensor, live: dict) -> Tensor:
        """Last states of the nodes before their slices, [n] -> [n, graphs * d]; `static` [n, d] where there is none."""
        static = static.repeat(1, len(self.slices.names))
        if self.config.depth == 0 or not self._active:
            return static
        row = states.find(node, now)
        z = torch.where((row >= 0)[:, None], states.state[row.clamp(min=0)], static)
        for n, fresh in live.get(id(states), {}).items():
            at = ((row >= states.offset[n]) & (row < states.offset[n + 1])).nonzero()[:, 0]
            z = z.index_put((at,), fresh[row[at] - states.offset[n]])
        return z

    @torch.no_grad()
    def refresh(self) -> None:
        """Propagate every slice once and keep the states: exact in evaluation, on sampled neighbours in training."""
        self._fresh = True
        if self.config.depth:
            self.users.state = self._cat([self._propagate_users(n) for n in self._active])
            self.items.state = self._cat([self._propagate_items(n) for n in self._active])

    def _live(self, now: Tensor) -> dict:
        """States of the latest slice before the batch, with gradients; also written to the cache."""
        past = [n for n in self._active if n < int(now.min())] if self.training and self.config.depth else []
        if not past:
            return {}
        n, live = past[-1], {}
        for states, z in [(self.users, self._propagate_users(n)), (self.items, self._propagate_items(n))]:
            states.state[states.offset[n] : states.offset[n + 1]] = z.detach()
            live[id(states)] = {n: z}
        return live

    def _propagate_users(self, n: int) -> Tensor:
        """Eq. (5) on slice n's user-interest hypergraphs, X = E_U: [active, graphs * d]."""
        side = self.slices.users[n]
        x = self.user_vector(side.nodes)
        return torch.cat([conv(x, self._graph(side, n, g)) for g, conv in enumerate(self.user_conv)], 1)

    def _propagate_items(self, n: int) -> Tensor:
        """Eq. (5) on slice n's item-homogeneous hypergraphs, X = M_I + A of the modality: [active, graphs * d]."""
        side = self.slices.items[n]
        inputs = [self.item_vector(side.nodes, m) for m in [None, *self.modalities]]
        convs = zip(self.item_conv, inputs, strict=True)
        return torch.cat([conv(x, self._graph(side, n, g)) for g, (conv, x) in enumerate(convs)], 1)

    def _graph(self, side, n: int, g: int) -> Hypergraph:
        """The hypergraph; in training a sample with capped sizes and degrees, drawn anew every round."""
        h, k = side.graphs[g], self.config.neighbors
        if not self.training or not k:
            return h
        if id(h) not in self._sampled:
            self._sampled[id(h)] = cap(h, size=k, degree=k, seed=(int(self.rounds), n, g))
        return self._sampled[id(h)]

    def _known(self, index: Tensor, seen: Tensor) -> Tensor:
        """Numbers with a trained vector; others, and a random share while training, become the unknown one."""
        known = seen[index]
        if self.training and self.config.id_dropout:
            known = known & (torch.rand(len(index)) >= self.config.id_dropout)
        return torch.where(known, index, len(seen) - 1)

    @staticmethod
    def _cat(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts) if parts else torch.empty(0)
