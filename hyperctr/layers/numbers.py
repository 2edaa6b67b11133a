"""Numbers as vectors: one per number, for columns; or a few for many numbers together, for those of the past."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.layers.table import STD, Table

WAVES = 24  # frequencies of a periodic embedding
SLOWEST, FASTEST = 0.05, 20.0  # first and last of their first values, per unit of the scaled number
WIDTH = 4  # of each number's own vector in `JointNumbers`
CROSSES, RANK = 2, 64  # cross layers there, and the rank of their matrices
HIDDEN = (128, 64)  # widths of the network beside the cross layers
DROPOUT = 0.2  # share of that network's activations that is dropped in training


class Numbers(nn.Module):
    """The vectors of numbers: `Piecewise` for those with knots, `Periodic` for the others; and of a missing number.

    What is no row of a table has three dimensions: models draw the first values of all their matrices, which would
    undo the frequencies of `Periodic` and the zeros of a number that no training row lacks.

    Args:
        knots: of each number, as in `Columns.numbers`.
        dim: width of a vector.
    """

    def __init__(self, knots: list[Tensor], dim: int):
        super().__init__()
        self.cut = [n for n, own in enumerate(knots) if len(own)]
        self.waving = [n for n, own in enumerate(knots) if not len(own)]
        self.piecewise = Piecewise([knots[n] for n in self.cut], dim) if self.cut else None
        self.periodic = Periodic(len(self.waving), dim) if self.waving else None
        order = torch.tensor(self.cut + self.waving).argsort()  # where each number is among both kinds
        self.register_buffer("order", order, persistent=False)
        self.missing = nn.Parameter(torch.zeros(1, len(knots), dim))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers, NaN where missing: [n, N] -> [n, N, d]."""
        missing, x = x.isnan()[..., None], x.nan_to_num().to(self.missing.dtype)
        return self._present(x).where(~missing, self.missing)

    def _present(self, x: Tensor) -> Tensor:
        if self.periodic is None:
            return self.piecewise(x)
        if self.piecewise is None:
            return self.periodic(x)
        both = torch.cat([self.piecewise(x[:, self.cut]), self.periodic(x[:, self.waving])], 1)
        return both.index_select(1, self.order)


class Piecewise(nn.Module):
    """A continuous function of a number that is linear between its knots: e(x) = (1 - w) E_k + w E_{k+1}.

    With w = (x - t_k) / (t_{k+1} - t_k) between the knots t_k and t_{k+1}; outside, the vector of the nearest end.
    These are the functions of the piecewise linear encoding followed by a linear map, Gorishniy et al., NeurIPS 2022
    (arXiv 2203.05556), Eq. (1), but constant outside the knots, and written so that a step moves two vectors only.

    Args:
        knots: of each number, ascending and distinct, [E] each, at least one.
        dim: width of a vector.
    """

    def __init__(self, knots: list[Tensor], dim: int):
        super().__init__()
        most = max(len(x) for x in knots)
        padded = torch.stack([F.pad(x.float(), (0, most - len(x)), value=math.inf) for x in knots])
        counts = torch.tensor([len(x) for x in knots])
        self.register_buffer("knots", padded, persistent=False)  # [N, most]
        self.register_buffer("last", counts - 1, persistent=False)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)
        self.table = Table(int(counts.sum()), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers: [n, N] -> [n, N, d]."""
        above = torch.searchsorted(self.knots, x.T.contiguous(), right=True).T  # knots at or below x
        low = (above - 1).clamp(min=0)
        high = torch.minimum(above, self.last)
        column = torch.arange(x.shape[1], device=x.device)
        start, end = self.knots[column, low], self.knots[column, high]
        weight = ((x - start) / (end - start).where(end > start, 1.0)).clamp(0, 1)[..., None]
        ends = self.first[:, None] + torch.stack([low, high], 2)
        of_low, of_high = self.table(ends).unbind(2)  # one look-up: one gradient of the table
        return torch.lerp(of_low, of_high, weight)


class Periodic(nn.Module):
    """Waves of a number through a linear map: e(x) = W [sin(2 pi c x); cos(2 pi c x)] + b, with c learned.

    Gorishniy et al., NeurIPS 2022 (arXiv 2203.05556), Eq. (2), and a linear layer after it, so that a linear model
    stays linear in the waves. Where we differ: the paper draws the first c from a normal distribution whose deviation
    is searched per data set. Here they are spread evenly in their logarithm, from `SLOWEST` to `FASTEST`, so that a
    slow trend and a fast wave are both near one of them.

    Args:
        count: number of columns N.
        dim: width of a vector.
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        spread = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), WAVES)
        self.frequency = nn.Parameter(spread.repeat(1, count, 1))
        self.weight = nn.Parameter(torch.randn(count, 2 * WAVES, dim) * STD)
        self.bias = nn.Parameter(torch.zeros(count, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers: [n, N] -> [n, N, d]."""
        angle = 2 * math.pi * x[..., None] * self.frequency  # [n, N, WAVES]
        waves = torch.cat([angle.sin(), angle.cos()], 2).transpose(0, 1)
        return torch.baddbmm(self.bias, waves, self.weight).transpose(0, 1)


class JointNumbers(nn.Module):
    """F vectors of N numbers together, which can be any function of them.

    For number f with value x_f, m_f = 1 where it is missing (x_f is then 0), and its knots t_f0 < ... < t_fB:

    - e_f = relu(sum_b s_fb W_fb + x_f v_f + (1 - m_f) c_f + m_f d_f) with s_fb = clip((x_f - t_fb) / (t_f,b+1 - t_fb),
      0, 1): a vector that is linear between the knots, Gorishniy et al., NeurIPS 2022 (arXiv 2203.05556), section 3.2;
    - z_0 = e of all numbers, and z_{l+1} = z_0 * (V_l U_l z_l + b_l) + z_l: cross layers of low rank, DCN-v2 (WWW 2021,
      arXiv 2008.13535), Eq. (2);
    - the vectors are a linear map of [MLP(z_0); z_L; x; m]. The last two let a linear model be linear in the numbers.

    All matrices have three dimensions, as in `Numbers`.

    Args:
        knots: of each number, ascending and distinct, [at least 1] each.
        count: number of vectors F.
        dim: width of a vector.

    >>> numbers = JointNumbers([torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.0])], count=4, dim=8)
    >>> numbers(torch.tensor([[0.5, float("nan")]])).shape
    torch.Size([1, 4, 8])
    """

    def __init__(self, knots: list[Tensor], count: int, dim: int):
        super().__init__()
        bins = max(1, max(len(x) for x in knots) - 1)
        starts, ends = (
            torch.stack([F.pad(x[rows].float(), (0, bins - len(x[rows])), value=x[-1]) for x in knots])
            for rows in (slice(None, -1), slice(1, None))
        )
        self.register_buffer("starts", starts[:, None], persistent=False)  # [N, 1, bins]
        self.register_buffer("per_width", _inverse(ends - starts)[:, None], persistent=False)
        self.count, self.dim, numbers = count, dim, len(knots)
        wide = numbers * WIDTH
        self.embed = _drawn(numbers, bins + 3, WIDTH)  # W, v, c and d
        self.down, self.up = _drawn(CROSSES, wide, RANK), _drawn(CROSSES, RANK, wide)  # U and V
        self.bias = nn.Parameter(torch.zeros(CROSSES, 1, wide))
        widths = (wide, *HIDDEN)
        self.layers = nn.ParameterList(_drawn(1, n, m, gain=2.0) for n, m in zip(widths, HIDDEN, strict=False))
        self.biases = nn.ParameterList(torch.zeros(1, 1, m) for m in HIDDEN)
        self.out = nn.Parameter(torch.randn(1, HIDDEN[-1] + wide + 2 * numbers, count * dim) * STD)
        self.drop = Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers, NaN where missing: [n, N] -> [n, F, d]."""
        missing, x = x.isnan().to(self.embed.dtype), x.nan_to_num().to(self.embed.dtype)
        e = torch.bmm(self._bins(x, missing), self.embed).relu()  # [N, n, WIDTH]
        first = e.transpose(0, 1).flatten(1)  # z_0
        z = first
        for down, up, bias in zip(self.down, self.up, self.bias, strict=True):
            z = first * (z @ down @ up + bias) + z
        h = first
        for weight, bias in zip(self.layers, self.biases, strict=True):
            h = self.drop((h @ weight[0] + bias[0]).relu())
        return (torch.cat([h, z, x, missing], 1) @ self.out[0]).view(len(x), self.count, self.dim)

    def _bins(self, x: Tensor, missing: Tensor) -> Tensor:
        """Return s, x, 1 - m and m side by side for each number, [N, n, bins + 3]; nothing in it is trained."""
        bins = self.starts.shape[2]
        found = x.new_empty(x.shape[1], len(x), bins + 3)
        torch.sub(x.T[..., None], self.starts, out=found[..., :bins]).mul_(self.per_width).clamp_(0, 1)
        found[..., bins], found[..., bins + 1], found[..., bins + 2] = x.T, 1 - missing.T, missing.T
        return found


def _inverse(width: Tensor) -> Tensor:
    """Return 1 / width, and 0 for padding, whose width is 0."""
    return torch.where(width > 0, 1 / width.where(width > 0, 1.0), 0.0)


def _drawn(*shape: int, gain: float = 1.0) -> nn.Parameter:
    """Draw weights from N(0, gain / in), where `in` is the dimension before the last."""
    return nn.Parameter(torch.randn(*shape) * (gain / shape[-2]) ** 0.5)
