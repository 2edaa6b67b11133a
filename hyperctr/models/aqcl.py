"""AQCL: Click-Through Rate Prediction with Auto-Quantized Contrastive Learning (arXiv 2109.13921).

A wrapper for any CTR model. The model's last hidden vector h of a row is projected to z. A loss pulls z towards z+, the
same row with an augmented input, and towards the K nearest of T learned interests (the codebook Q). It pushes z away
from other rows' z+ and from the other interests (Eq. 3). The share alpha of the interests in the pull falls with the
number of the user's clicks (Eq. 6). The loss is added to the cross entropy with weight w (Eq. 8). In evaluation the
wrapper returns the model's output, and a run keeps the model's weights only.

`ICL`, Eq. 2, is the part without interests, a row of the paper's Table 2. `QCL` has alpha = 1 for all users, one end of
the paper's Figure 5.

Where we differ from the paper, and why:
- Eq. 4 constrains A, not Q (A^T 1 = 1/B), and multiplies normalised vectors, as every other similarity here.
- Eq. 5 is a mean over the rows of a batch, not a sum: the step does not depend on the number of rows.
- Only Eq. 5 trains the codebook (Algorithm 1). Eq. 3 reads it as it was before the step and gives it no gradient.
- Z- are the augmented views of the other rows, of the same user too; `negatives` can add their plain views.
- L_j is the number of clicks before the row, also of clicks beyond the model's history; its mean L is over training
  users.
- The paper does not give, and we chose: the shares of hidden clicks and of zeroed embedding entries, the width of z,
  epsilon and iterations of Eq. 4 (0.05 and 3, from the method that it cites), and the codebook's own Adam.
- A batch of fewer rows than interests cannot use all of them; `queue` lets earlier rows count in Eq. 4.
- `train.l2` applies to the matrices of g too. It is the only term that acts on the length of z, which no similarity
  depends on.
- Kept, though odd: where p(z+) > 1 - alpha the loss repels a row from its own second view (at alpha = 1, always).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.batch import Batch, HasHidden, History, Output, Step, Tables
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_choices, check_shares, check_weights
from hyperctr.layers.rng import Counting, RandomStream

TAU = 0.1  # temperature of similarities with interests, Eq. 3 and 5, as in the paper
LOOK_EVERY = 50  # steps between two looks at how many interests are used, on a device that the host waits for
EPSILON, ITERATIONS = 0.05, 3  # of Eq. 4, as in the method that the paper cites for it


@dataclass(frozen=True, kw_only=True)
class ICLConfig:
    """The two views of a row and the rows that they are compared with; the paper's values where it gives one."""

    w: float = 0.05
    """Weight of the loss, Eq. 8; the cross entropy has weight 1. The paper has 0.01, 0.05 and 0.1; 0 leaves it out."""
    tau1: float = 0.1
    """Temperature between rows."""
    dim: int = 64
    """Width of z; the paper finds at least 32 needed."""
    mask: float = 0.3
    """Share of the history's clicks that the augmented view hides; one click always stays."""
    bits: float = 0.1
    """Share of all embedding entries that the augmented view sets to zero, to a 256th; it scales up the rest."""
    negatives: Literal["augmented", "both"] = "augmented"
    """The negatives of a row: the augmented views of the other rows, or their plain views as well."""
    retired: ClassVar = {"same_user": ("negative", "other rows of the same user are always negatives")}

    def __post_init__(self):
        check_weights(self, "w")
        check_shares(self, "mask", "bits", table="wrapper")
        check_choices(self, "negatives", table="wrapper")
        _check_above_zero(self, "tau1", "dim")


@dataclass(frozen=True, kw_only=True)
class Config(ICLConfig):
    """AQCL; the paper's values where it gives one."""

    w1: float = 0.7
    """alpha = exp(-w1 (L_j / L)^w2), Eq. 6: how low it is at mean activity. `hyperctr search` tunes w1 and w2."""
    w2: float = 1.0
    """How steeply alpha falls around there."""
    alpha: float | None = None
    """One alpha for all users; the paper tries 0, 0.3, 0.6 and 1. Left out: Eq. 6."""
    codes: int = 128
    """Interests in the codebook, T."""
    positives: int = 5
    """Nearest interests that attract a row, K."""
    lr: float = 1e-3
    """Step size of the codebook's own Adam."""
    queue: int = 0
    """Rows of earlier batches that count in Eq. 4; take 4 T if a batch has fewer rows than T."""
    retired: ClassVar = ICLConfig.retired | {
        **dict.fromkeys(("tau2", "tau3"), (0.1, "the temperatures of interests are the paper's")),
        "epsilon": (0.05, "the weight of the entropy in Eq. 4 is fixed"),
        "iterations": (3, "the number of Sinkhorn iterations is fixed"),
    }

    def __post_init__(self):
        super().__post_init__()
        _check_above_zero(self, "w1", "w2", "lr")
        if self.codes < 2:
            raise ValueError(f"wrapper.codes must be at least 2, got {self.codes}")
        if not 1 <= self.positives <= self.codes:
            raise ValueError(f"wrapper.positives must lie in [1, wrapper.codes = {self.codes}], got {self.positives}")
        if self.queue < 0:
            raise ValueError(f"wrapper.queue must be at least 0, got {self.queue}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"wrapper.alpha must lie in [0, 1], got {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class QCLConfig(Config):
    """AQCL with alpha = 1: the interests without the other rows."""

    alpha: float | None = 1.0
    """One alpha for all users."""


def _check_above_zero(config: ICLConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"wrapper.{name} must be above 0, got {getattr(config, name)}")


# --- two views of a row, section 4.1 ---------------------------------------------------------------------------------


def thinned(past: History, share: float) -> History:
    """Hide a share of the clicks at random; a non-empty history keeps at least one. Real clicks come first again."""
    count = past.mask.sum(1)
    device = count.device
    keep = past.mask & (torch.rand(past.mask.shape, device=device) >= share)
    lost = (count > 0) & ~keep.any(1)
    one = (torch.rand(len(count), device=device) * count).long()
    place = torch.arange(past.mask.shape[1], device=device)
    keep = keep | (lost[:, None] & (place == one[:, None]))
    left = keep.sum(1, keepdim=True)
    most = max(1, int(left.max())) if device.type == "cpu" else len(place)  # shorter is faster; to ask a GPU is not
    order = keep.logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # kept clicks first, in their order
    order, real = order[:, :most], place[:most] < left

    def compacted(x: Tensor) -> Tensor:
        return torch.where(real, x.gather(1, order), 0)

    return replace(past, item=compacted(past.item), mask=real, time=compacted(past.time), place=None,
                   type=None if past.type is None else compacted(past.type))  # fmt: skip


@contextmanager
def dropped(base: nn.Module, share: float) -> Iterator[None]:
    """Set a share of the entries of every embedding that the model looks up to zero, inside the block.

    Batch normalisation does not update its running statistics there, so that they describe the plain view.
    """
    drop = Dropout(share)
    tables = [m for m in base.modules() if isinstance(m, nn.Embedding)]
    parts = {part for table in tables for part in table.modules() if part is not table}  # of a table of columns
    tables = [table for table in tables if table not in parts]
    hooks = [table.register_forward_hook(lambda module, index, vector: drop(vector)) for table in tables]
    norms = [m for m in base.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in norms:
            norm.track_running_stats = True


class Projector(nn.Sequential):
    """z = g(h): three layers, leaky ReLU between them; [B, hidden_dim] -> [B, dim]."""

    def __init__(self, hidden_dim: int, dim: int):
        act = nn.LeakyReLU(0.01)
        wide, last = [nn.Linear(hidden_dim, hidden_dim) for _ in range(2)], nn.Linear(hidden_dim, dim)
        super().__init__(wide[0], act, wide[1], act, last)
        for layer in (*wide, last):
            nn.init.kaiming_normal_(layer.weight, a=0.01)
            nn.init.zeros_(layer.bias)


# --- the losses, in log space, of vectors of length one: their products are cosines ----------------------------------


def log_sums(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Return log sum_j exp(a_i b_j) for each i: [n, d] and [m, d] -> [n].

    Args:
        a, b: vectors; their products are the exponents.
        out: True for pairs that do not count, [n, m]. A row without any other pair gives a number so low that it adds
            nothing to a sum.
    """
    return choose(_plain_log_sums, _fast_log_sums)(a, b, out)


def _plain_log_sums(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    product = a @ b.T
    return (product if out is None else product.masked_fill(out, -math.inf)).logsumexp(1)


def _fast_log_sums(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    return _LogSums.apply(a, b, out)


class _LogSums(torch.autograd.Function):
    """`_plain_log_sums` in the memory of one [n, m]; autograd would keep seven.

    On a CPU fresh memory takes longer than the sums. Powers of 2 take a third of the time of powers of e.
    """

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
        e = (a / math.log(2)) @ b.T
        if out is not None:
            e.masked_fill_(out, -math.inf)
        top = e.amax(1).clamp_(min=torch.finfo(e.dtype).min)
        total = e.sub_(top[:, None]).exp2_().sum(1).clamp_(min=torch.finfo(e.dtype).tiny)
        ctx.save_for_backward(a, b, e, total)
        return total.log() + top * math.log(2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, e, total = ctx.saved_tensors
        row = (gradient / total)[:, None]
        return (e @ b) * row, e.T @ (a * row), None


def instances(z: Tensor, plus: Tensor, tau: float, both: bool = False) -> tuple[Tensor, Tensor]:
    """Compute the terms of Eq. (2) and (3) that compare a row with other rows, in logarithms.

    Args:
        z, plus: the two views, vectors of length one, [B, d].
        tau: temperature tau_1.
        both: whether Z- has the other rows' z as well as their z+.

    Returns:
        log d_1(z, z+), [B], and the logarithm of the sum of d_1(z, z') over z' in {z+} u Z-, [B].
    """
    scaled = z / tau
    total = log_sums(scaled, plus)
    if both:
        total = torch.logaddexp(total, log_sums(scaled, z, torch.eye(len(z), dtype=torch.bool, device=z.device)))
    return (scaled * plus).sum(1), total


def icl(positive: Tensor, total: Tensor) -> Tensor:
    """Compute L_ICL of each row, Eq. (2), from `instances`: [B]."""
    return total - positive


def aqcl(positive: Tensor, total: Tensor, clusters: Tensor, alpha: Tensor | float, positives: int) -> Tensor:
    """Compute L_AQCL of each row, Eq. (3).

    Args:
        positive, total: from `instances`, [B] each.
        clusters: log d_2 of the rows with all interests, [B, T].
        alpha: share of the interests, [B] or one for all.
        positives: K, number of nearest interests in Q+.

    Returns:
        [B], above 0.
    """
    nearest = largest(clusters, positives)  # Q+
    everything = torch.logaddexp(total, clusters.logsumexp(1))
    return everything - (1 - alpha) * positive - alpha * nearest.logsumexp(1)


def largest(x: Tensor, k: int) -> Tensor:
    """Return the k largest numbers of each row, in any order: [B, T] -> [B, k]."""
    return choose(_plain_largest, _fast_largest, x.is_cpu)(x, k)


def _plain_largest(x: Tensor, k: int) -> Tensor:
    return x.topk(k, sorted=False).values


def _fast_largest(x: Tensor, k: int) -> Tensor:
    """Let numpy find them, in a third of the time on a CPU."""
    return x.gather(1, torch.from_numpy(np.argpartition(x.detach().numpy(), -k, 1)[:, -k:]))


def activity(length: Tensor, mean: Tensor | float, w1: float, w2: float) -> Tensor:
    """Compute alpha = R(L_j) = exp(-w1 (L_j / L)^w2), Eq. (6): 1 without a click, e^-w1 at the mean length."""
    return torch.exp(-w1 * (length / mean) ** w2)


# --- the codebook, section 4.2.1 -------------------------------------------------------------------------------------


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Solve Eq. (4): the assignment A that maximises <A, scores> + epsilon H(A), with equal sums per code and per row.

    Args:
        scores: similarity of T codes and n rows, [T, n].
        epsilon: weight of the entropy; the larger, the more even each row's share of the codes.
        iterations: of Sinkhorn and Knopp, at least one.

    Returns:
        A [T, n], at least 0; columns sum to 1/n, rows after enough iterations to 1/T.
    """
    a = (scores / epsilon).log_softmax(1).softmax(0)  # the first one in logarithms: no row or column is all zeros after
    for _ in range(iterations - 1):
        a /= a.sum(1, keepdim=True)
        a /= a.sum(0)
    return a / a.shape[1]


class Codebook(Counting):
    """T interests: unit vectors that learn from the rows' z by Eq. (5), with their own Adam.

    Nothing here is a parameter: gradients, weight decay and clipping of the model's training do not apply. All of it is
    in the state dict, so that a resumed training continues like an unbroken one.
    """

    counts = ("steps", "queued")

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.steps, self.queued = config, 0, 0
        shape = config.codes, config.dim
        self.register_buffer("code", F.normalize(torch.randn(shape), dim=1))  # Q
        self.register_buffer("mean", torch.zeros(shape))  # Adam's moments
        self.register_buffer("square", torch.zeros(shape))
        self.register_buffer("queue", torch.zeros(config.queue, config.dim))  # z of earlier rows, the latest first

    def learn(self, z: Tensor) -> dict[str, Tensor]:
        """Take one step towards the z of a batch, vectors of length one, [B, dim].

        Returns:
            numbers to log: codebook_loss, Eq. (5); codes_used, the number of interests that rows (of the queue too) are
            assigned to; code_perplexity, the number of equally frequent interests with the same entropy; top_code, the
            share of the most frequent one; code_error, the largest relative error of a row sum of A, which is 1/T.
        """
        c, z = self.config, z.detach()
        seen = torch.cat([z, self.queue[: self.queued]])
        soft = sinkhorn(self.code @ seen.T, EPSILON, ITERATIONS)  # (4)
        assigned = soft.max(0).indices
        with torch.enable_grad():
            code = self.code.clone().requires_grad_()
            loss = F.cross_entropy(z @ F.normalize(code, dim=1).T / TAU, assigned[: len(z)])  # (5)
            (gradient,) = torch.autograd.grad(loss, code)
        self._step(gradient)
        kept = seen[: c.queue]
        self.queue, self.queued = F.pad(kept, (0, 0, 0, c.queue - len(kept))), len(kept)
        count = z.new_zeros(c.codes).index_add_(0, assigned, z.new_ones(len(assigned)))
        share = count / len(assigned)
        perplexity = torch.special.entr(share).sum().exp()
        if (z.is_cpu or self.steps % LOOK_EVERY == 0) and float(perplexity) < min(c.codes, len(assigned)) / 4:
            warnings.warn("AQCL: most interests are unused; lower wrapper.codes", stacklevel=2)
        error, used = (soft.sum(1) * c.codes - 1).abs().max(), (share > 0).sum().float()
        return {"codebook_loss": loss.detach(), "codes_used": used, "code_perplexity": perplexity,
                "top_code": share.max(), "code_error": error}  # fmt: skip

    def _step(self, gradient: Tensor, beta: float = 0.9, beta2: float = 0.999) -> None:
        """Take a step of Adam (arXiv 1412.6980), at length one; Eq. (3) keeps the old tensor for its gradient."""
        self.steps += 1
        self.mean.lerp_(gradient, 1 - beta)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        deviation = (self.square / (1 - beta2**self.steps)).sqrt() + 1e-8
        code = self.code - self.config.lr * self.mean / (1 - beta**self.steps) / deviation
        self.code = F.normalize(code, dim=1)


# --- wrappers --------------------------------------------------------------------------------------------------------


class ICL(nn.Module):
    """A wrapper for instance-level contrastive learning, Eq. (2).

    Args:
        base: any model whose `Output` has `hidden`, and that looks ids up in `nn.Embedding` modules.
        config: the views and their weight.
        tables: what the base was made from.

    Raises:
        ValueError: the base has no last hidden layer.
    """

    Config = ICLConfig
    reads = frozenset()
    stays = False

    def __init__(self, base: nn.Module, config: ICLConfig, tables: Tables):
        super().__init__()
        if not isinstance(base, HasHidden):
            raise ValueError(f"{type(base).__name__} has no hidden layer to contrast; take a deep model")
        self.base, self.config, self.tasks = base, config, base.tasks
        self.draws = RandomStream()
        with self.draws.stream():
            self._build(tables)

    def _build(self, tables: Tables) -> None:
        self.project = Projector(self.base.hidden_dim, self.config.dim)  # g

    def forward(self, batch: Batch) -> Output:
        """Return the base's output; in training add w L to its penalty, Eq. (8)."""
        out, c = self.base(batch), self.config
        if not (self.training and c.w):
            return out
        with self.draws.stream(), dropped(self.base, c.bits):
            step = replace(batch.step or Step(), is_augmented=True)
            past = thinned(batch.histories, c.mask)
            again = self.base(replace(batch, histories=past, step=step, layout=None))
        with torch.autocast(out.hidden.device.type, enabled=False):
            both = self.project(torch.cat([out.hidden, again.hidden]).float())
            z, plus = F.normalize(both, dim=1, eps=1e-8).chunk(2)
            pair = instances(z, plus, c.tau1, c.negatives == "both")
            loss, logs = self.loss(z, pair, batch)
        return replace(out, penalty=out.penalty + c.w * loss, logs={**out.logs, **logs})

    def loss(self, z: Tensor, pair: tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average Eq. (2) over the rows, from `instances`; return it with numbers to log."""
        loss = icl(*pair).mean()  # (2)
        return loss, {"icl_loss": loss.detach()}


class AQCL(ICL):
    """A wrapper for auto-quantized contrastive learning, Algorithm 1."""

    Config = Config

    def _build(self, tables: Tables) -> None:
        super()._build(tables)
        self.codebook = Codebook(self.config)
        self.register_buffer("mean_length", torch.tensor(float(tables.priors.clicks_per_user)))  # L

    def loss(self, z: Tensor, pair: tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average Eq. (3) over the rows, let the codebook take its step, and return numbers to log too."""
        alpha = self.alpha(batch)
        clusters = z @ self.codebook.code.T / TAU
        loss = aqcl(*pair, clusters, alpha, self.config.positives).mean()  # (3)
        return loss, {"aqcl_loss": loss.detach(), "alpha": alpha.mean(), **self.codebook.learn(z)}

    def alpha(self, batch: Batch) -> Tensor:
        """Compute the share of the interests for each row, [B]."""
        c, past = self.config, batch.histories
        length = (past.mask.sum(1) if past.length is None else past.length)[batch.query].float()
        return activity(length, self.mean_length, c.w1, c.w2) if c.alpha is None else torch.full_like(length, c.alpha)


class QCL(AQCL):
    """AQCL with alpha = 1 for all users."""

    Config = QCLConfig
