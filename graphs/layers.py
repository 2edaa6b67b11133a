"""Hypergraph layers. Each forward is one equation."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from graphs import ops
from graphs.dropout import Dropout
from graphs.hypergraph import Hypergraph
from graphs.sample import Block


class HGCNConv(nn.Module):
    """One hypergraph convolution, X' = act(D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X Theta + b).

    HyperCTR Eq. 5, arXiv 2109.02398. Theta starts Kaiming-normal.

    Args:
        in_dim: width of x.
        out_dim: width of the result.
        bias: add a learned vector b (Eq. 5 has none).
        activation: act; None for none.
        norm: "sym" as above; "row" for act(D_v^-1 H W D_e^-1 H^T X Theta + b), which averages.

    >>> HGCNConv(4, 2)(torch.ones(3, 4), Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        bias: bool = False,
        activation: Callable[[Tensor], Tensor] | None = torch.relu,
        norm: ops.Norm = "sym",
    ) -> None:
        super().__init__()
        _check_widths(in_dim, out_dim)
        if norm not in ("sym", "row"):
            raise ValueError(f'norm must be "sym" or "row", got {norm!r}')
        self.theta = nn.Parameter(torch.randn(in_dim, out_dim) * math.sqrt(2 / in_dim))  # Kaiming-normal for ReLU
        self.bias = nn.Parameter(torch.zeros(out_dim)) if bias else None
        self.activation = activation
        self.norm = norm

    def forward(
        self,
        x: Tensor,
        h: Hypergraph | Block | Tensor,
        hyperedge_weight: Tensor | None = None,
        value: Tensor | None = None,
    ) -> Tensor:
        """Convolve the rows of x over the hypergraph.

        Args:
            x: [num_nodes, in_dim]; for a block, the rows of its inputs.
            h: a hypergraph, one of its blocks, or pairs as a tensor [2, n], row 0 nodes and row 1 hyperedges. Equal
                pairs count once. Pairs are sorted again when they differ from those of the previous call.
            hyperedge_weight: learnable w that replaces h's own, [num_hyperedges], not negative.
            value: learnable values h(v, e) that replace h's own, [num_incidences], not negative; see `propagate`.

        Returns:
            [num_nodes, out_dim], of a block the rows of its targets; act(b) for a node in no hyperedge.

        Raises:
            ValueError: x and h disagree on the number of nodes, or ids are out of range.
        """
        h = _hypergraph(h, x, hyperedge_weight)
        y = _convolve(x, h, hyperedge_weight, self.theta, self.bias, self.norm, value)
        return y if self.activation is None else self.activation(y)

    def extra_repr(self) -> str:
        """Show the widths, the bias and the norm."""
        return "{}, {}, bias={}, norm={!r}".format(*self.theta.shape, self.bias is not None, self.norm)


class HGCN(nn.Module):
    """`depth` hypergraph convolutions with ReLU, each followed by dropout.

    Args:
        dim: width of every layer.
        depth: number of layers; 0 returns x.
        dropout: share of entries set to zero after each layer.
        residual: add each layer's input to its output.
        isolated: the result for a node of degree zero: "passthrough" keeps its input row, "zero" is Eq. 5 as it is.

    >>> HGCN(4, depth=2)(torch.ones(3, 4), Hypergraph.from_pairs([0, 1], [0, 0], num_nodes=3))[2]
    tensor([1., 1., 1., 1.], grad_fn=<SelectBackward0>)
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        dropout: float = 0.0,
        residual: bool = False,
        isolated: Literal["passthrough", "zero"] = "passthrough",
    ) -> None:
        super().__init__()
        if depth < 0:
            raise ValueError(f"depth must not be negative, got {depth}")
        if isolated not in ("passthrough", "zero"):
            raise ValueError(f'isolated must be "passthrough" or "zero", got {isolated!r}')
        self.layers = nn.ModuleList(HGCNConv(dim, dim) for _ in range(depth))
        self.dropout = Dropout(dropout)
        self.residual = residual
        self.isolated = isolated

    def forward(
        self,
        x: Tensor,
        h: Hypergraph | Tensor | Sequence[Block],
        hyperedge_weight: Tensor | None = None,
        value: Tensor | None = None,
    ) -> Tensor:
        """Convolve x `depth` times: [num_nodes, dim] -> [num_nodes, dim]; arguments as in `HGCNConv`.

        With the blocks of `graphs.sample.blocks`, one per layer, it is [inputs, dim] -> [batch, dim].
        """
        steps = h if isinstance(h, (list, tuple)) else [_hypergraph(h, x, hyperedge_weight)] * len(self.layers)
        if len(steps) != len(self.layers):
            raise ValueError(f"{len(self.layers)} layers need one block each, got {len(steps)}")
        for layer, step in zip(self.layers, steps, strict=True):
            y = self.dropout(layer(x, step, hyperedge_weight, value))
            own = (x[step.targets] if isinstance(step, Block) else x).to(y.dtype)
            if self.residual:
                y = own + y
            x = torch.where(step.isolated[:, None], own, y) if self.isolated == "passthrough" else y
        return x


class HypergraphAttention(nn.Module):
    """A convolution with attention as weights of the incidences, X' = D_v^-1 H~ W D_e^-1 H~^T X Theta + b.

    Hypergraph Convolution and Hypergraph Attention, arXiv 1901.08150. The score of node v in hyperedge e is
    LeakyReLU(a^T [x_v Theta ; z_e Theta]). H~ is its softmax over the hyperedges of v. Degrees and sizes are computed
    from H. Values of incidences multiply the entries of H~.

    Args:
        in_dim: width of x.
        out_dim: width of the result of one head.
        heads: attention heads, each with its own Theta and a.
        concat: concatenate the heads; False takes their mean.
        negative_slope: slope of LeakyReLU below zero.
        dropout: share of the entries of H~ set to zero in training.
        bias: add a learned vector b.

    >>> HypergraphAttention(4, 2, heads=3)(torch.ones(3, 4), Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])).shape
    torch.Size([3, 6])
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_widths(in_dim, out_dim, heads)
        self.lin = nn.Linear(in_dim, heads * out_dim, bias=False)
        self.att = nn.Parameter(torch.empty(1, heads, 2 * out_dim))
        self.bias = nn.Parameter(torch.empty(heads * out_dim if concat else out_dim)) if bias else None
        self.concat, self.negative_slope, self.dropout = concat, negative_slope, dropout
        _glorot(self)

    def forward(
        self,
        x: Tensor,
        h: Hypergraph | Tensor,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
    ) -> Tensor:
        """Convolve the rows of x: [num_nodes, in_dim] -> [num_nodes, heads * out_dim], or [num_nodes, out_dim].

        Args:
            x: [num_nodes, in_dim].
            h: a hypergraph, or pairs as a tensor [2, n], row 0 nodes and row 1 hyperedges.
            hyperedge_weight: learnable w that replaces h's own, [num_hyperedges], not negative.
            hyperedge_attr: z, [num_hyperedges, in_dim]; None takes the mean of the members' rows of x.

        Raises:
            ValueError: shapes disagree, ids are out of range, or h is a block.
        """
        h = _hypergraph(h, x, hyperedge_weight, None if hyperedge_attr is None else len(hyperedge_attr))
        return _attend(self, x, h, hyperedge_weight, hyperedge_attr, within="node")

    def extra_repr(self) -> str:
        """Show the heads, how they are joined, and the bias."""
        return f"heads={self.att.shape[1]}, concat={self.concat}, bias={self.bias is not None}"


class HypergraphConv(nn.Module):
    """The row form, X' = D_v^-1 H W D_e^-1 H^T X Theta + b, with the call of torch_geometric's layer.

    Hypergraph Convolution and Hypergraph Attention, arXiv 1901.08150. Parameters have the names and shapes of
    torch_geometric's layer, so `load_state_dict` takes the weights of a trained one. Two things differ: W weighs in the
    product and not only in the degrees, and pairs that occur twice are one incidence.

    Args:
        in_channels: width of x.
        out_channels: width of the result of one head.
        use_attention: replace H by H~ of `HypergraphAttention`.
        attention_mode: "node" takes the softmax over the members of a hyperedge; "edge" takes it over the hyperedges of
            a node, as in the paper and in `HypergraphAttention`.
        heads, concat, negative_slope, dropout: of the attention, as in `HypergraphAttention`.
        bias: add a learned vector b.

    >>> HypergraphConv(4, 2)(torch.ones(3, 4), torch.tensor([[0, 1, 1, 2], [0, 0, 1, 1]])).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        use_attention: bool = False,
        attention_mode: Literal["node", "edge"] = "node",
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_widths(in_channels, out_channels, heads)
        if attention_mode not in ("node", "edge"):
            raise ValueError(f'attention_mode must be "node" or "edge", got {attention_mode!r}')
        heads, concat = (heads, concat) if use_attention else (1, True)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.use_attention, self.attention_mode = use_attention, attention_mode
        self.heads, self.concat, self.negative_slope, self.dropout = heads, concat, negative_slope, dropout
        self.lin = nn.Linear(in_channels, heads * out_channels, bias=False)
        self.att = nn.Parameter(torch.empty(1, heads, 2 * out_channels)) if use_attention else None
        self.bias = nn.Parameter(torch.empty(heads * out_channels if concat else out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: Theta and a Glorot-uniform, b zero."""
        _glorot(self)

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Hypergraph | Block | Tensor,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
        num_edges: int | None = None,
    ) -> Tensor:
        """Convolve the rows of x, [num_nodes, in_channels] -> [num_nodes, heads * out_channels].

        Args:
            x: [num_nodes, in_channels].
            hyperedge_index: pairs [2, n], row 0 nodes and row 1 hyperedges; or a hypergraph; or, without attention, one
                of its blocks.
            hyperedge_weight: w of each hyperedge, [num_hyperedges], not negative; it gets its gradient.
            hyperedge_attr: features of the hyperedges, [num_hyperedges, in_channels], which only attention reads; None
                takes the mean of the members' rows of x.
            num_edges: number of hyperedges, with empty ones; None takes it from the other arguments.

        Raises:
            ValueError: x and the pairs disagree on the number of nodes, or ids are out of range.
        """
        if num_edges is None and hyperedge_attr is not None:
            num_edges = len(hyperedge_attr)
        h = _hypergraph(hyperedge_index, x, hyperedge_weight, num_edges)
        if not self.use_attention:
            return _convolve(x, h, hyperedge_weight, self.lin.weight.T, self.bias, "row")
        within = "hyperedge" if self.attention_mode == "node" else "node"
        return _attend(self, x, h, hyperedge_weight, hyperedge_attr, within)


def _convolve(
    x: Tensor,
    h: Hypergraph | Block,
    weight: Tensor | None,
    theta: Tensor,
    bias: Tensor | None,
    norm: ops.Norm,
    value: Tensor | None = None,
) -> Tensor:
    in_dim, out_dim = theta.shape
    _check_columns("x", x, in_dim)
    theta_first = out_dim <= in_dim  # A (X Theta) = (A X) Theta: propagate on the narrower side
    y = h.propagate(x @ theta if theta_first else x, weight, norm, value)
    y = y if theta_first else y @ theta
    return y if bias is None else y + bias.to(y.dtype)


def _attend(
    layer: HypergraphAttention | HypergraphConv,
    x: Tensor,
    h: Hypergraph,
    weight: Tensor | None,
    attr: Tensor | None,
    within: Literal["node", "hyperedge"],
) -> Tensor:
    """Return D_v^-1 H~ W D_e^-1 H~^T X Theta + b; within a node or a hyperedge the entries of H~ add up to 1."""
    if isinstance(h, Block):
        raise ValueError("attention needs all hyperedges of a node, and a block may lack some: give the Hypergraph")
    heads, width = layer.att.shape[1], layer.att.shape[2] // 2
    _check_columns("x", x, layer.lin.in_features)
    projected = layer.lin(x)
    y = projected.to(torch.promote_types(projected.dtype, torch.float32)).unflatten(1, (heads, width))
    if attr is None:
        z = h.inverse_size.to(y.dtype)[:, None, None] * ops.product(h, y, transposed=True)  # [hyperedges, heads, width]
    else:
        _check_columns("hyperedge_attr", attr, layer.lin.in_features)
        z = layer.lin(attr).to(y.dtype).unflatten(1, (heads, width))
    score_v = (y * layer.att[..., :width]).sum(-1)  # [nodes, heads]
    score_e = (z * layer.att[..., width:]).sum(-1)  # [hyperedges, heads]
    left, middle, _ = ops.scales(h, weight, "row", y.dtype)
    group = h.hyperedge_index[0 if within == "node" else 1]  # [incidences]; an incidence shares its group with others
    result = []
    for k in range(heads):
        score = F.leaky_relu(_sum_of_ends(h, score_v[:, k], score_e[:, k]), layer.negative_slope)  # [incidences]
        share = F.dropout(_softmax(h, score, group, within), layer.dropout, layer.training)
        if h.by_hyperedge.value is not None:
            share = share * h.by_hyperedge.value
        to_hyperedges = middle[:, None] * ops.weighed(h, y[:, k], share, transposed=True)
        result.append(left[:, None] * ops.weighed(h, to_hyperedges, share))
    y = torch.stack(result, 1)  # [nodes, heads, width]
    y = (y.flatten(1) if layer.concat else y.mean(1)).to(projected.dtype)
    return y if layer.bias is None else y + layer.bias.to(y.dtype)


def _sum_of_ends(h: Hypergraph, a: Tensor, b: Tensor) -> Tensor:
    """Return a_v + b_e for each incidence (v, e): the product of (a_v, 1) and (1, b_e)."""
    return ops.sddmm(h, torch.stack([a, torch.ones_like(a)], 1), torch.stack([torch.ones_like(b), b], 1))


def _softmax(h: Hypergraph, score: Tensor, group: Tensor, within: Literal["node", "hyperedge"]) -> Tensor:
    """Divide exp(score) by its sum within each node or hyperedge, [incidences]; sums and gradients in a fixed order."""
    of_nodes = within == "node"
    groups, others = (h.num_nodes, h.num_hyperedges) if of_nodes else (h.num_hyperedges, h.num_nodes)
    highest = score.new_zeros(groups).scatter_reduce(0, group, score.detach(), "amax", include_self=False)
    power = (score - highest[group]).exp()
    ones = power.new_ones(others, 1)
    inverse = ops.inverse(ops.weighed(h, ones, power, transposed=not of_nodes), 1.0)  # [groups, 1]
    return power * (ops.sddmm(h, inverse, ones) if of_nodes else ops.sddmm(h, ones, inverse))


# The pairs sorted last and their hypergraph: one entry, weak, so it ends with its pairs. All layers share it, because a
# stack of layers would otherwise sort the same pairs once per layer.
_last = WeakTensorKeyDictionary()


def _hypergraph(
    h: Hypergraph | Block | Tensor, x: Tensor, weight: Tensor | None, num_hyperedges: int | None = None
) -> Hypergraph | Block:
    if isinstance(h, (Hypergraph, Block)):
        if isinstance(h, Hypergraph) and num_hyperedges not in (None, h.num_hyperedges):
            raise ValueError(f"{h} has {h.num_hyperedges} hyperedges, not {num_hyperedges}")
        return h
    if not isinstance(h, Tensor) or h.dim() != 2 or len(h) != 2:
        found = list(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(f"a layer needs a Hypergraph or a tensor of pairs [2, n], got {found}")
    if num_hyperedges is None and weight is not None:
        num_hyperedges = len(weight)
    if h.is_inference():  # such a tensor counts no changes
        return Hypergraph.from_pairs(h[0], h[1], len(x), num_hyperedges)
    state = (h._version, len(x), num_hyperedges)
    known, made = _last.get(h, (None, None))
    if known != state:
        made = Hypergraph.from_pairs(h[0], h[1], len(x), num_hyperedges)
        _last.clear()
        _last[h] = state, made
    return made


def _glorot(layer: HypergraphAttention | HypergraphConv) -> None:
    nn.init.xavier_uniform_(layer.lin.weight)
    if layer.att is not None:
        nn.init.xavier_uniform_(layer.att[0])
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _check_widths(in_dim: int, out_dim: int, heads: int = 1) -> None:
    if in_dim < 1 or out_dim < 1:
        lazy = "; widths are not found out from x (-1 in torch_geometric): give them" if in_dim == -1 else ""
        raise ValueError(f"widths must be at least 1, got {in_dim} and {out_dim}{lazy}")
    if heads < 1:
        raise ValueError(f"heads must be at least 1, got {heads}")


def _check_columns(name: str, x: Tensor, dim: int) -> None:
    if x.dim() != 2 or x.shape[1] != dim:
        row = "num_nodes" if name == "x" else "num_hyperedges"
        raise ValueError(f"{name} must be [{row}, {dim}], got shape {list(x.shape)}")
