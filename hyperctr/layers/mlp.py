"""Fully connected layers and the activations of the Deep Interest Network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.layers.bodies import choose


class Linear(nn.Linear):
    """`nn.Linear` that starts with Kaiming-normal weights and biases of zero."""

    def reset_parameters(self) -> None:
        """Draw weights from N(0, 2 / in_features), and set biases to 0."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def mlp(dim: int, widths: tuple[int, ...], dropout: float = 0.0, activation: str = "relu") -> nn.Sequential:
    """Build a linear map, an activation and a dropout per width: [..., dim] -> [..., widths[-1]].

    Args:
        dim: width of the input.
        widths: of the layers.
        dropout: share of each layer's output that is dropped in training.
        activation: "relu"; "prelu"; or "dice", for inputs [n, dim].
    """
    layers: list[nn.Module] = []
    for before, width in zip((dim, *widths), widths, strict=False):
        layers += [Linear(before, width), activated(activation, width), Dropout(dropout)]
    return nn.Sequential(*layers)


def glorot(layers: nn.Module) -> nn.Module:
    """Draw the weights of every linear map in the module from N(0, 2 / (in + out)), set biases to 0; return it."""
    for module in layers.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return layers


def activated(name: str, width: int) -> nn.Module:
    """Build the activation of a layer of this width: relu, prelu or dice."""
    return {"relu": nn.ReLU, "prelu": PReLU, "dice": lambda: Dice(width)}[name]()


class PReLU(nn.PReLU):
    """`nn.PReLU` with one slope a, max(x, 0) + a min(x, 0), whose gradient takes half the time on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to [...]."""
        return choose(_plain_prelu, _fast_prelu, x.is_cpu)(x, self.weight)


def _plain_prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.prelu(x, slope)


def _fast_prelu(x: Tensor, slope: Tensor) -> Tensor:
    return _Slope.apply(x, slope)


class _Slope(torch.autograd.Function):
    """`_plain_prelu` with one dot product for the gradient of the slope."""

    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.prelu(x, slope)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        own = torch.dot(gradient.reshape(-1), x.clamp(max=0).reshape(-1)).view(1)
        return torch.ops.aten.leaky_relu_backward(gradient, x, slope.item(), False), own


class Dice(nn.Module):
    """f(x) = p x + (1 - p) a x with p = sigmoid of x standardised over the batch: DIN, arXiv 1706.06978, section 5.3.

    In evaluation the mean and the variance are running averages. Each column learns its own a, which starts at 0.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=1e-8, affine=False)
        self.slope = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to [n, width]."""
        p = torch.sigmoid(self.norm(x))
        return x * (p + (1 - p) * self.slope)
