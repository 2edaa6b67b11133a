"""MIAN, Multi-Interactive Attention Network (WSDM 2021, arXiv 2012.06968): the candidate meets each group of fields.

Four groups are embedded: the candidate, the clicks before it, the user and the context. A Transformer block reads the
clicks. One rule of attention weighs clicks, user fields and context fields by the candidate, one group after the other.
A last attention weighs the three results and the four groups as they were. A small network reads their sum.

Where we differ from the paper, and why:
- The block has residual connections and a second normalisation, over each click's own entries: Eq. (3)-(5) print
  neither, but the works on Pre-LN Transformers that the paper follows have both.
- W_t, W_u^j and W_c^k, called matrices, are vectors, one per index: a softmax needs one number per key. The index of a
  click counts from the latest, so that a short history has the same vectors as the end of a long one. The model knows
  the order of clicks by this index only. With one vector for all (`weights="shared"`), tanh keeps the order of the keys
  for every candidate.
- Eq. (15) adds seven parts that Eq. (14) leaves at seven widths: a linear map per part brings them to one width. e_b is
  the mean of the clicks. P, the pooling of a single vector, changes nothing.
- The softmax over two classes of Eq. (17) is the sigmoid of the difference of its two numbers: one number here.
- Without clicks R_ibim is [e_i; 0]. A data set without context has no context parts. A click on an unknown item is a
  click whose vector is zero, and so is an unknown field.
- "L2 of 0.001" is read as a penalty on the vectors that a row looks up, a mean over rows. On whole tables it would
  shrink rare ids to zero. On matrices (`l2_dense`) it prevents learning from small data. `train.l2` is added to it.
- The last bias starts at the log-odds of a click, and the biases of the layers on top at 0.1, not at zero. The first
  steps have no signal yet and move the biases at random, which could switch off some or all of the few units for good.
- Heads must divide an item's width; if they do not, one linear map, shared by candidate and clicks, widens both.
- Numbers (Eq. 2) are read as categories, as all fields here. A modality is one more part of an item's vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.batch import Batch, History, Output, Tables, expand_to_rows
from hyperctr.layers.attention import attend, masked_softmax
from hyperctr.layers.checks import check_choices, check_shares, check_sizes
from hyperctr.layers.chunked import blockwise
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import mlp
from hyperctr.layers.table import Table

PARTS = ("e_i", "e_c", "e_b", "e_u", "R_ibim", "R_iuim", "R_icim")
"""The parts of Eq. (14), in its order: candidate, context, behaviours and user as they are, then each interaction of
the candidate."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of MIAN, and the switches of its ablations."""

    dim: int = 16
    """Width of a field's vector; the paper does not say. An item is wider by its number of parts."""
    history: int = 30
    """Number of latest clicks that are read; each has its own attention vector."""
    encoder: Literal["pre_ln", "post_ln", "none"] = "pre_ln"
    """The block that reads the clicks, Table 4: with normalisation before each part, after it, or no block."""
    heads: int = 8
    """Subspaces of the self-attention."""
    weights: Literal["per_index", "shared"] = "per_index"
    """One attention vector per index, as the paper's subscripts say, or one for all."""
    global_dim: int = 64
    """Width of the parts in the global attention; the paper does not say."""
    hidden: tuple[int, ...] = (32, 8)
    """Widths of the network on top."""
    std: float = 0.1
    """Standard deviation of the first weights, a normal distribution cut at two deviations. With the paper's 0.02 too
    little signal passes the layers: on KuaiRand-Pure all units on top are off within 150 steps and nothing is learned;
    an epoch of ML-1M ends at a validation AUC of .869, and of .887 with 0.1."""
    dropout: float = 0.2
    """Share of activations dropped after self-attention, feed-forward network and each layer on top."""
    l2_embedding: float = 1e-3
    """Penalty on half the squares of the table rows that a row of the batch looks up, a mean over rows."""
    l2_dense: float = 0.0
    """Penalty on half the squares of all matrices but the tables. With the paper's 0.001 small data are not learned:
    the weights of the many layers shrink to zero before they get a signal."""
    ibim: bool = True
    """Whether the candidate interacts with the clicks, Table 3; without it there is no block."""
    iuim: bool = True
    """Whether the candidate interacts with the user's fields."""
    icim: bool = True
    """Whether the candidate interacts with the context."""
    gim: bool = True
    """Whether the parts are weighted and added; if not, the network reads them side by side."""
    keep_raw: bool = True
    """Whether a group without its interaction is still read as it is; the paper says both."""

    def __post_init__(self):
        check_sizes(self, "dim", "history", "heads", "global_dim", "hidden")
        check_shares(self, "dropout")
        if not 0 < self.std < math.inf:
            raise ValueError(f"model.std must be a number above 0, got {self.std}")
        check_choices(self, "encoder", "weights")
        for name in ("l2_dense", "l2_embedding"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"model.{name} must be a number, at least 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Groups:
    """The four groups of a batch, embedded: Eq. (1)-(2).

    Attributes:
        item: the candidates' parts side by side, [B, P f].
        clicks: the clicks' parts, latest first, zero where the mask is False, [Q, T, P f]. mask: [Q, T].
        query: of each row, [B].
        user: id and fields, [B, J, f].
        context: [B, K, f].
    """

    item: Tensor
    clicks: Tensor
    mask: Tensor
    query: Tensor
    user: Tensor
    context: Tensor


class Encoder(nn.Module):
    """One Transformer block over the clicks: Eq. (3)-(5).

    Args:
        dim: width of a click, a multiple of `heads`.
        heads: subspaces.
        pre: whether each part reads normalised clicks (Pre-LN), or its sum with what it read is normalised (post-LN).
        dropout: share dropped after self-attention and feed-forward network.
    """

    def __init__(self, dim: int, heads: int, pre: bool, dropout: float):
        super().__init__()
        self.heads, self.pre = heads, pre
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.project = nn.Linear(dim, 3 * dim, bias=False)  # W^Q, W^K, W^V of all heads
        self.joined = nn.Linear(dim, dim, bias=False)  # W^O
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)  # W_1, W_2
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Read the clicks: [Q, T, d] and [Q, T] -> [Q, T, d]; numbers of padding mean nothing."""
        first, second = self.norms  # (3)
        if self.pre:
            x = x + self.drop(self.attend(first(x), mask))
            return x + self.drop(self.feed(second(x)))
        x = first(x + self.drop(self.attend(x, mask)))
        return second(x + self.drop(self.feed(x)))

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Compute Eq. (4): every click attends to the real ones."""
        return self.joined(attend(self.project(x), mask, self.heads))

    def feed(self, x: Tensor) -> Tensor:
        """Compute Eq. (5)."""
        return self.narrow(self.wide(x).relu_())


class FieldAttention(nn.Module):
    """R = sum_k a_k V_k with a = softmax_k tanh(V_k w_k + b_k) and V_k = [e_i; z_k]: Eq. (6)-(9), (10)-(11), (12)-(13).

    No V is built: V_k w_k = e_i w_k^item + z_k w_k^key, and since the weights add up to 1, R = [e_i; sum_k a_k z_k].

    Args:
        count: largest number of keys, each with its own vector; None: one vector for all.
        item_dim, dim: widths of the candidate and of a key.
    """

    def __init__(self, count: int | None, item_dim: int, dim: int):
        super().__init__()
        self.of_item = nn.Parameter(torch.empty(count or 1, item_dim))
        self.of_key = nn.Parameter(torch.empty(count or 1, dim))
        self.bias = nn.Parameter(torch.zeros(count or 1))

    def weigh(self, item: Tensor, own: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute Eq. (7), (8) from candidates [B, d] and the scores that `of_keys` gives for them [B, n]: [B, n].

        A weight is zero where the mask [B, n] is False.
        """
        score = torch.tanh(item @ self.of_item[: own.shape[1]].T + own)
        return score.softmax(1) if mask is None else masked_softmax(score, mask, 1)

    def of_keys(self, keys: Tensor) -> Tensor:
        """Compute the part of a key's score that depends on the key only: [n, k, f] -> [n, k]."""
        n = keys.shape[1]
        return (keys * self.of_key[:n]).sum(2) + self.bias[:n]

    def forward(
        self, item: Tensor, keys: Tensor, mask: Tensor | None = None, query: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weigh the keys by the candidate.

        Args:
            item: [B, d].
            keys: [B, n, f]; or [Q, n, f] if `query` is given.
            mask: True for real keys; None: all are real.
            query: number of the query whose keys each candidate weighs, [B].

        Returns:
            R [B, d + f] and the weights [B, n]. Without a real key R = [e_i; 0].
        """
        own = self.of_keys(keys)
        if query is None:
            weight = self.weigh(item, own, mask)
            return torch.cat([item, torch.bmm(weight[:, None], keys).squeeze(1)], 1), weight
        weight = self.weigh(item, expand_to_rows(own, query), None if mask is None else expand_to_rows(mask, query))

        def pool(weight: Tensor, query: Tensor) -> Tensor:
            return torch.bmm(weight[:, None], expand_to_rows(keys, query)).squeeze(1)

        found = blockwise(pool, keys.shape[1] * keys.shape[2], weight, query)
        return torch.cat([item, found], 1), weight


class GIM(nn.Module):
    """R_g = sum_l a_l q_l with a = softmax_l tanh(q_l w_l + b_l), q_l the part r_l at one width: Eq. (14)-(15).

    Since tanh is in (-1, 1), all weights are within `bounds`.

    Args:
        widths: of the parts.
        dim: the one width.
    """

    def __init__(self, widths: list[int], dim: int):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.vector, self.bias = nn.Parameter(torch.empty(len(widths), dim)), nn.Parameter(torch.zeros(len(widths)))

    def forward(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Join L tensors [B, width]: return R_g [B, dim] and the weights [B, L]."""
        q, score = self.score(parts)
        weight = score.softmax(1)
        return torch.bmm(weight[:, None], q).squeeze(1), weight

    def score(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the parts at one width [B, L, dim] and their scores before the softmax [B, L]."""
        q = torch.stack([linear(r) for linear, r in zip(self.maps, parts, strict=True)], 1)
        return q, torch.tanh((q * self.vector).sum(2) + self.bias)


class MIAN(nn.Module):
    """logit = w^T MLP(R_g) + b, Eq. (14)-(17); `PARTS` names the parts of R_g, `parts` those that this config has."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.config = config
        self.embed = embed = Embed(tables, config.dim)
        columns = list(tables.fields.context.names)
        self.user_fields = (
            "user",
            *tables.fields.user.names,
            *tables.fields.of_user,
        )  # names, in the order of the vectors
        self.context_fields = tuple(name for name in columns if name not in tables.fields.of_user)
        self.user_at = [columns.index(name) for name in tables.fields.of_user]  # columns of the context of either group
        self.context_at = [columns.index(name) for name in self.context_fields]
        dim, heads, raw = config.dim, config.heads, config.keep_raw
        num_user, num_context = len(self.user_fields), len(self.context_fields)
        width = embed.item_parts * dim
        wide = -(-width // heads) * heads
        self.widen = nn.Linear(width, wide, bias=False) if wide != width else nn.Identity()

        def attention(keys: int, dim: int) -> FieldAttention:
            return FieldAttention(None if config.weights == "shared" else keys, wide, dim)

        blocks, icim = config.ibim and config.encoder != "none", config.icim and num_context > 0
        self.encoder = Encoder(wide, heads, config.encoder == "pre_ln", config.dropout) if blocks else None
        self.ibim = attention(config.history, wide) if config.ibim else None
        self.iuim = attention(num_user, dim) if config.iuim else None
        self.icim = attention(num_context, dim) if icim else None
        widths = [
            wide,
            (config.icim or raw) * num_context * dim,
            (config.ibim or raw) * wide,
            (config.iuim or raw) * num_user * dim,
            config.ibim * 2 * wide,
            config.iuim * (wide + dim),
            icim * (wide + dim),
        ]  # 0: left out
        self.widths = {part: width for part, width in zip(PARTS, widths, strict=True) if width}
        self.parts = tuple(self.widths)
        widths = [*self.widths.values()]
        self.gim = GIM(widths, config.global_dim) if config.gim else None
        self.top = mlp(config.global_dim if config.gim else sum(widths), config.hidden, config.dropout)
        self.out = nn.Linear(config.hidden[-1], 1)
        _truncated(self, config.std)
        for layer in (m for m in self.top.modules() if isinstance(m, nn.Linear)):
            nn.init.constant_(layer.bias, 0.1)
        if 0 < tables.priors.click_rate < 1:
            nn.init.constant_(self.out.bias, math.log(tables.priors.click_rate / (1 - tables.priors.click_rate)))

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        groups = self.groups(batch)  # (1), (2)
        parts, _ = self.interact(groups)  # (3)-(14)
        hidden, _ = self.join(parts)  # (15), (16)
        penalty = self.penalty(groups) if self.training and not batch.is_augmented else 0.0
        return Output(self.out(hidden).squeeze(1), penalty, hidden=hidden)  # (17)

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Return the attention weights of each row, which add up to 1 per group.

        Groups: "clicks" [B, T], latest first, all zero without a click; "user" fields [B, J]; "context" [B, K]; "parts"
        [B, L]. A group that the config leaves out is missing.
        """
        parts, weights = self.interact(self.groups(batch))
        _, weight = self.join(parts)
        return weights if weight is None else weights | {"parts": weight}

    def groups(self, batch: Batch) -> Groups:
        """Embed candidate, clicks, user and context of a batch: Eq. (1)-(2)."""
        past = latest(batch.histories, self.config.history)
        item, clicks, user, moments = self.embed.groups(replace(batch, histories=past))
        user, context = torch.cat([user, moments[:, self.user_at]], 1), moments[:, self.context_at]
        return Groups(item, clicks, past.mask, batch.query, user, context)

    def read(self, groups: Groups) -> tuple[Tensor, Tensor]:
        """Compute Eq. (3)-(5): the clicks after the block [Q, T, d], and their mean before it [Q, d], zero if empty."""
        clicks = self.widen(groups.clicks)
        mean = clicks.sum(1) / groups.mask.sum(1, keepdim=True).clamp(min=1)
        return clicks if self.encoder is None else self.encoder(clicks, groups.mask), mean

    def interact(self, groups: Groups) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Compute Eq. (3)-(14).

        Returns:
            the tensors that `parts` names, [B, width] each; and the weights of clicks, user fields and context.
        """
        item = self.widen(groups.item)
        states, mean = self.read(groups)  # (3)-(5)
        parts = {"e_i": item, "e_b": expand_to_rows(mean, groups.query), "e_u": groups.user.flatten(1)}
        parts["e_c"], weights = groups.context.flatten(1), {}
        if self.ibim is not None:
            parts["R_ibim"], weights["clicks"] = self.ibim(item, states, groups.mask, groups.query)  # (6)-(9)
        if self.iuim is not None:
            parts["R_iuim"], weights["user"] = self.iuim(item, groups.user)  # (10), (11)
        if self.icim is not None:
            parts["R_icim"], weights["context"] = self.icim(item, groups.context)  # (12), (13)
        return [parts[part] for part in self.parts], weights  # (14)

    def join(self, parts: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Compute Eq. (15), (16): the last hidden vector [B, hidden[-1]], and the parts' weights, None without GIM."""
        if self.gim is None:
            return self.top(torch.cat(parts, 1)), None
        joined, weight = self.gim(parts)
        return self.top(joined), weight

    def penalty(self, groups: Groups) -> Tensor | float:
        """Compute the L2 penalty on matrices and on the rows looked up: half of the squares, see `Config`."""
        dense = rows = 0.0
        if self.config.l2_dense:
            tables = {id(m.weight) for m in self.modules() if isinstance(m, Table)}
            dense = sum(p.square().sum() for p in self.parameters() if p.ndim == 2 and id(p) not in tables)
        if self.config.l2_embedding:
            own = (self.embed.item_parts - len(self.embed.modalities)) * self.config.dim  # modalities have no rows
            item, clicks = (x[..., :own] if self.embed.modalities else x for x in (groups.item, groups.clicks))
            of_click = expand_to_rows((clicks * clicks).sum((1, 2)), groups.query)
            rows = (sum((x * x).sum() for x in (item, groups.user, groups.context)) + of_click.sum()) / len(item)
        return (self.config.l2_dense * dense + self.config.l2_embedding * rows) / 2


def bounds(count: int) -> tuple[float, float]:
    """Return the least and largest weight of a part of Eq. (15), among `count` parts: 0.022 and 0.552 of seven."""
    return 1 / (1 + (count - 1) * math.e**2), math.e**2 / (math.e**2 + count - 1)


def latest(past: History, most: int) -> History:
    """Return the last clicks of each query, at most `most`, the latest first."""
    place = past.mask.sum(1, keepdim=True) - 1 - torch.arange(min(past.mask.shape[1], most), device=past.mask.device)

    def column(x: Tensor) -> Tensor:
        return x.gather(1, place.clamp(min=0))

    return History(column(past.item), place >= 0, column(past.time))


def _truncated(model: nn.Module, std: float) -> None:
    """Draw first weights as the paper does: a normal cut at two deviations; biases and unknown rows are zero."""
    for p in model.parameters():
        if p.ndim == 2:
            nn.init.trunc_normal_(p, std=std, a=-2 * std, b=2 * std)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
