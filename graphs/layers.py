"""Hypergraph layers; each forward is one equation."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from graphs.hypergraph import Hypergraph


class HGCNConv(nn.Module):
    """One hypergraph convolution, X' = act(D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 X Theta).

    HyperCTR Eq. 5, arXiv 2109.02398. Theta starts Kaiming-normal.

    Args:
        in_dim: width of x.
        out_dim: width of the result.
        bias: add a learned vector after the product (Eq. 5 has none).
        activation: act; None for none.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        bias: bool = False,
        activation: Callable[[Tensor], Tensor] | None = torch.relu,
    ) -> None:
        super().__init__()
        self.theta = _theta(in_dim, out_dim)
        self.bias = nn.Parameter(torch.zeros(out_dim)) if bias else None
        self.activation = activation

    def forward(self, x: Tensor, h: Hypergraph | Tensor, hyperedge_weight: Tensor | None = None) -> Tensor:
        """Convolve the rows of x over the hypergraph.

        Args:
            x: [num_nodes, in_dim].
            h: a hypergraph, or pairs as a tensor [2, n], row 0 nodes and row 1 hyperedges. Pairs are sorted at every
                call, so build a hypergraph once where it does not change.
            hyperedge_weight: learnable w in the place of h's own, [num_hyperedges], not negative.

        Returns:
            [num_nodes, out_dim]; act(0), or act(bias), for a node in no hyperedge.

        Raises:
            ValueError: x and h disagree on the number of nodes, or ids are out of range.
        """
        return _convolve(self, x, h, hyperedge_weight, "sym")

    def extra_repr(self) -> str:
        """The widths."""
        return "{}, {}, bias={}".format(*self.theta.shape, self.bias is not None)


class HypergraphConv(nn.Module):
    """The row form, X' = D_v^-1 H W D_e^-1 H^T X Theta + b, called as torch_geometric calls its own.

    Hypergraph Convolution and Hypergraph Attention, arXiv 1901.08150; W weighs in the product and in the degrees.

    Args:
        in_channels: width of x.
        out_channels: width of the result.
        bias: add a learned vector.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.theta = _theta(in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.activation = None

    def forward(
        self, x: Tensor, hyperedge_index: Hypergraph | Tensor, hyperedge_weight: Tensor | None = None
    ) -> Tensor:
        """Convolve the rows of x, [num_nodes, in_channels] -> [num_nodes, out_channels].

        Args:
            x: [num_nodes, in_channels].
            hyperedge_index: pairs [2, n], row 0 nodes and row 1 hyperedges, or a hypergraph.
            hyperedge_weight: w of each hyperedge, [num_hyperedges], not negative; it gets its gradient.

        Raises:
            ValueError: x and the pairs disagree on the number of nodes, or ids are out of range.
        """
        return _convolve(self, x, hyperedge_index, hyperedge_weight, "row")

    def extra_repr(self) -> str:
        """The widths."""
        return "{}, {}, bias={}".format(*self.theta.shape, self.bias is not None)


class HGCN(nn.Module):
    """`depth` hypergraph convolutions with ReLU, each followed by dropout.

    Args:
        dim: width of every layer.
        depth: number of layers; 0 returns x.
        dropout: share of entries set to zero after each layer.
        residual: add each layer's input to its output.
        isolated: what a node of degree zero becomes: "passthrough" keeps its input row, "zero" is what Eq. 5 gives.
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
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.isolated = isolated

    def forward(self, x: Tensor, h: Hypergraph | Tensor, hyperedge_weight: Tensor | None = None) -> Tensor:
        """Convolve x `depth` times: [num_nodes, dim] -> [num_nodes, dim]; arguments as in `HGCNConv`."""
        h = _hypergraph(h, x, hyperedge_weight)
        for layer in self.layers:
            y = self.dropout(layer(x, h, hyperedge_weight))
            if self.residual:
                y = x + y
            x = torch.where(h.isolated[:, None], x, y) if self.isolated == "passthrough" else y
        return x


def _convolve(
    conv: HGCNConv | HypergraphConv, x: Tensor, h: Hypergraph | Tensor, weight: Tensor | None, norm: str
) -> Tensor:
    h = _hypergraph(h, x, weight)
    in_dim, out_dim = conv.theta.shape
    if x.dim() != 2 or x.shape[1] != in_dim:
        raise ValueError(f"x must be [num_nodes, {in_dim}], got shape {list(x.shape)}")
    theta_first = out_dim <= in_dim  # A (X Theta) = (A X) Theta: propagate on the narrower side
    y = h.propagate(x @ conv.theta if theta_first else x, weight, norm)
    y = y if theta_first else y @ conv.theta
    if conv.bias is not None:
        y = y + conv.bias
    return y if conv.activation is None else conv.activation(y)


def _hypergraph(h: Hypergraph | Tensor, x: Tensor, weight: Tensor | None) -> Hypergraph:
    if isinstance(h, Hypergraph):
        return h
    if not isinstance(h, Tensor) or h.dim() != 2 or len(h) != 2:
        found = list(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(f"a layer needs a Hypergraph or a tensor of pairs [2, n], got {found}")
    return Hypergraph.from_pairs(h[0], h[1], len(x), None if weight is None else len(weight))


def _theta(in_dim: int, out_dim: int) -> nn.Parameter:
    if in_dim < 1 or out_dim < 1:
        raise ValueError(f"widths must be at least 1, got {in_dim} and {out_dim}")
    return nn.Parameter(torch.randn(in_dim, out_dim) * math.sqrt(2 / in_dim))  # Kaiming-normal for ReLU
