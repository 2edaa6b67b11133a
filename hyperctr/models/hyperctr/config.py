"""Every switch of HyperCTR: the keys of `[model]`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hyperctr.layers.checks import check_choices, check_shares


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and switches of HyperCTR; defaults are the paper's where it gives one."""

    dim: int = 64
    """Width d of every vector; the paper reports 64."""
    depth: int = 3
    """HGCN layers; 0 = no graph. The paper finds 3 better than 1."""
    conv: Literal["hgcn", "gcn"] = "hgcn"
    """Eq. 5 on hyperedges, or the paper's ablation: a GCN on the pairs of nodes that share a hyperedge."""
    within: Literal["attention", "mean"] = "attention"
    """What is applied to the clicks of one slice before their mean is taken: Eq. 1-4, or nothing."""
    across: Literal["attention", "attention-last", "mean", "last", "gru"] = "attention"
    """What turns the slices into one vector: Eq. 1-4 and the mean of its outputs, Eq. 1-4 and its output at the latest
    slice, the mean, the latest slice, or a GRU."""
    norm: Literal["before", "after"] = "before"
    """Where Eq. 1-4 normalise: before each part, or after its residual, as the transformer that the paper cites."""
    age: bool = True
    """Whether attention across slices reads how long ago each slice was, and that of `attend` how long ago a click."""
    fusion: Literal["outer", "lowrank", "concat", "sum", "gate"] = "outer"
    """How E_t and E_g become T_U: Eq. 6, its low-rank form, or a simpler one."""
    rank: int = 16
    """Factors of the low-rank fusion."""
    carry: Literal["last", "none", "gate"] = "last"
    """State of a node that was not active in the slice before: its last one, none, or a learned mix with its vector."""
    read: Literal["linear", "mean", "attention"] = "linear"
    """What turns the states in the group's and the modalities' hypergraphs into one vector E_g."""
    own: Literal["both", "item", "none"] = "both"
    """Whose own vectors are read beside their states: users' (in E_g) and items' (in e_i), items' alone, or none. With
    "both", Eq. 7 also reads the id vector of users who have a profile."""
    residual: bool = True
    """Whether X^(0) is added to the output of Eq. 5. Without it, a node in no hyperedge is read as zero."""
    interaction: Literal["product", "none"] = "product"
    """Whether Eq. 7 also reads products: T_U * e_i, in its network and as a direct term; and as direct terms those of
    the context with both, of its columns with one another, and of the clicks of `attend` with e_i."""
    bias: Literal["log_odds", "zero", "none"] = "log_odds"
    """Whether users, items and the values of columns have biases in the logit, and where those of items start: at the
    log odds of their training rows, or at zero."""
    start: Literal["identity", "gaussian"] = "identity"
    """First weights: attention, fusion and E_g pass their inputs on, and ids start small beside columns; or all are
    Gaussian, as in the paper."""
    propagation: Literal["full", "slice", "sampled"] = "slice"
    """Gradients flow through every slice before the row, the latest one, or neighbours drawn for the batch."""
    batches_per_graph: int = 4
    """Batches of one slice that share a propagation of its hypergraphs; with "sampled" none do."""
    refresh: int = 0
    """Steps after which the cached states of older slices are renewed; 0 renews them once per epoch."""
    heads: int = 2
    """Attention heads h; must divide dim."""
    slices: int = 8
    """Number of latest closed slices that attention reads."""
    clicks: int = 20
    """Number of latest clicks that attention reads per slice."""
    neighbors: int = 20
    """Members kept per hyperedge, and hyperedges per node, in training; 0 = all. The paper finds 15 to 25 best."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths D1 and D2 of the prediction network."""
    dropout: float = 0.2
    """Share of activations dropped in attention, convolution and prediction."""
    id_dropout: float = 0.2
    """Share of user and item ids hidden per training step, which trains the vector of unknown ids."""
    fields: bool = True
    """Whether users' profiles and items' metadata are part of E_U and of the item inputs, and context of Eq. 7."""
    context: bool = True
    """Whether the context of a row is read where `fields` are; the paper has none."""
    attend: bool = False
    """Whether Eq. 7 also reads the user's clicks, each weighed by the candidate."""
    gru: bool = False
    """Whether Eq. 7 also reads the state of a GRU after the last click, which is trained to tell the next click."""
    statistics: bool = False
    """Whether each click also has a vector of its item's statistics, wherever the clicks are read one by one: how often
    and how long ago all users clicked that item, at the start of the row's slice."""
    branch: Literal["none", "numbers", "fields"] = "none"
    """A second network with its own loss, whose logit is averaged with that of Eq. 7: on columns and numbers alone, or
    a factorisation machine and a network on all fields, ids and the mean of the clicks among them."""
    types: bool = True
    """Whether clicks of different behaviour types weigh differently in the hyperedges and in attention."""
    type_weights: tuple[float, ...] = ()
    """Given weights of the types in the hyperedges, in the sorted order of their names; empty learns them."""

    def __post_init__(self):
        for name, low in [("dim", 1), ("depth", 0), ("heads", 1), ("slices", 1), ("clicks", 1), ("neighbors", 0),
                          ("rank", 1), ("batches_per_graph", 1), ("refresh", 0)]:  # fmt: skip
            if getattr(self, name) < low:
                raise ValueError(f"model.{name} must be at least {low}, got {getattr(self, name)}")
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"model.hidden must be two widths of at least 1, got {list(self.hidden)}")
        if self.conv == "gcn" and self.propagation == "sampled":
            raise ValueError('model.propagation = "sampled" draws from hyperedges, model.conv = "gcn" has none')
        if self.statistics and not (self.attend or self.gru or self.branch == "fields"):
            raise ValueError('model.statistics are of clicks: set model.attend, model.gru or model.branch = "fields"')
        if self.dim % self.heads:
            raise ValueError(f"model.heads must divide model.dim = {self.dim}, got {self.heads}")
        if not all(0 <= weight < math.inf for weight in self.type_weights):
            raise ValueError(f"model.type_weights must be numbers of at least 0, got {list(self.type_weights)}")
        check_shares(self, "dropout", "id_dropout")
        check_choices(self, "conv", "within", "across", "norm", "fusion", "carry", "read", "own", "interaction", "bias",
                      "start", "propagation", "branch")  # fmt: skip
