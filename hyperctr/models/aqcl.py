"""AQCL: Click-Through Rate Prediction with Auto-Quantized Contrastive Learning (arXiv 2109.13921).

What a CTR model wears while it trains. Its last hidden vector h of a row, projected to z, is pulled towards z+, the
same row seen through an augmented input, and towards the K nearest of T learned interests (the codebook Q), and pushed
from other rows' z+ and the other interests (Eq. 3). How much of the pull is the interests', alpha, falls with the
number of the user's clicks (Eq. 6). The loss is added to the cross entropy with weight w (Eq. 8). In evaluation nothing
of it is there: the worn model answers as the bare one, and its weights alone are what a run keeps.

`ICL`, Eq. 2, is the part without interests, a row of the paper's Table 2; `QCL` has alpha = 1 for everybody, an end of
its Figure 5.

Where we differ from the paper, and why:
- Eq. 4 constrains A, not Q (A^T 1 = 1/B), and multiplies normalised vectors, as every other similarity here.
- Eq. 5 is a mean over the rows of a batch, not a sum: the step does not depend on their number.
- The codebook learns by Eq. 5 alone (Algorithm 1); Eq. 3 reads it as it was before the step and sends no gradient.
- Z- are the augmented views of the other rows, of the same user too; `negatives`, `same_user` change that.
- L_j is the number of clicks before the row, those beyond the model's history too; its mean L is over training users.
- Not given in the paper, chosen here: share of hidden clicks and of zeroed embedding bits, width of z, epsilon and
  iterations of Eq. 4 (0.05 and 3, of the method that it cites), the codebook's own Adam.
- A batch of fewer rows than interests cannot use all of them; `queue` lets earlier rows count in Eq. 4.
- The L2 weight of the training reaches the matrices of g too; on z's length, which no similarity sees, it acts alone.
- Kept, though odd: where p(z+) > 1 - alpha the loss repels a row from its own second view (at alpha = 1, always).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.batch import Batch, HasHidden, History, Output, Step, Tables
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_choices, check_shares, check_weights
from hyperctr.layers.rng import RandomStream


@dataclass(frozen=True, kw_only=True)
class ICLConfig:
    """The two views of a row and what tells them apart; the paper's values where it gives one."""

    w: float = 0.05
    """Weight of the loss beside the cross entropy, Eq. 8; the paper has 0.01, 0.05 and 0.1. 0 is the bare model."""
    tau1: float = 0.1
    """Temperature between rows."""
    dim: int = 64
    """Width of z; the paper finds at least 32 needed."""
    mask: float = 0.3
    """Share of the history's clicks that the augmented view hides; one of them always stays."""
    bits: float = 0.1
    """Share of all embedding entries that the augmented view zeroes, to a 256th; the others are scaled up."""
    negatives: Literal["augmented", "both"] = "augmented"
    """What a row is told from: the augmented views of the other rows, or their plain views as well."""
    same_user: Literal["negative", "ignored"] = "negative"
    """Whether other rows of the user are among them."""

    def __post_init__(self):
        check_weights(self, "w")
        check_shares(self, "mask", "bits", table="wrapper")
        check_choices(self, "negatives", "same_user", table="wrapper")
        _check_above_zero(self, "tau1", "dim")


@dataclass(frozen=True, kw_only=True)
class Config(ICLConfig):
    """AQCL; the paper's values where it gives one."""

    w1: float = 0.7
    """alpha = exp(-w1 (L_j / L)^w2), Eq. 6: how low it is at mean activity. `hyperctr.tune` searches both."""
    w2: float = 1.0
    """How steeply alpha falls around there."""
    alpha: float | None = None
    """One alpha for everybody instead; the paper tries 0, 0.3, 0.6 and 1. Left out: Eq. 6."""
    codes: int = 128
    """Interests in the codebook, T."""
    positives: int = 5
    """Nearest interests that attract a row, K."""
    tau2: float = 0.1
    """Temperature between rows and interests, Eq. 3."""
    tau3: float = 0.1
    """Temperature of the codebook's own loss, Eq. 5."""
    epsilon: float = 0.05
    """Weight of the entropy in Eq. 4."""
    iterations: int = 3
    """Sinkhorn iterations that solve it."""
    lr: float = 1e-3
    """Step size of the codebook's own Adam."""
    queue: int = 0
    """Rows of earlier batches that count in Eq. 4; take 4 T where a batch has fewer rows than T."""

    def __post_init__(self):
        super().__post_init__()
        _check_above_zero(self, "w1", "w2", "tau2", "tau3", "epsilon", "iterations", "lr")
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
    """AQCL with interests alone."""

    alpha: float | None = 1.0
    """One alpha for everybody."""


def _check_above_zero(config: ICLConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"wrapper.{name} must be above 0, got {getattr(config, name)}")


# --- two views of a row, section 4.1 ---------------------------------------------------------------------------------


def thinned(past: History, share: float) -> History:
    """Hide a share of the clicks, at random; of a history that has any, one stays. Real clicks stand first again."""
    count = past.mask.sum(1)
    keep = past.mask & (torch.rand(past.mask.shape) >= share)
    lost = (count > 0) & ~keep.any(1)
    one = (torch.rand(len(count)) * count).long()
    keep[lost, one[lost]] = True
    left = keep.sum(1, keepdim=True)
    real = torch.arange(max(1, int(left.max()))) < left

    def compacted(x: Tensor) -> Tensor:
        return torch.zeros_like(real, dtype=x.dtype).masked_scatter_(real, x.masked_select(keep))

    return replace(past, item=compacted(past.item), mask=real, time=compacted(past.time),
                   type=None if past.type is None else compacted(past.type))  # fmt: skip


@contextmanager
def dropped(base: nn.Module, share: float) -> Iterator[None]:
    """Inside the block, zero a share of the entries of every embedding that the model looks up.

    Batch normalisation keeps no statistics of what it sees there: they are those of the plain view.
    """
    drop = Dropout(share)
    tables = [m for m in base.modules() if isinstance(m, nn.Embedding)]
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


def instances(
    z: Tensor, plus: Tensor, tau: float, both: bool = False, user: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What a row's similarity to other rows adds to Eq. (2) and (3), in logarithms.

    Args:
        z, plus: the two views, vectors of length one, [B, d].
        tau: temperature tau_1.
        both: whether Z- holds the other rows' z as well as their z+.
        user: users of the rows, [B], where rows of one user are not in each other's Z-.

    Returns:
        log d_1(z, z+), [B], and the logarithm of the sum of d_1(z, z') over z' in {z+} u Z-, [B].
    """
    scaled = z / tau
    total = log_sums(scaled, plus, None if user is None else (user[:, None] == user).fill_diagonal_(False))
    if both:
        own = torch.eye(len(z), dtype=torch.bool) if user is None else user[:, None] == user
        total = torch.logaddexp(total, log_sums(scaled, z, own))
    return (scaled * plus).sum(1), total


def icl(positive: Tensor, total: Tensor) -> Tensor:
    """L_ICL of each row, Eq. (2), from `instances`; [B]."""
    return total - positive


def aqcl(positive: Tensor, total: Tensor, clusters: Tensor, alpha: Tensor | float, positives: int) -> Tensor:
    """L_AQCL of each row, Eq. (3).

    Args:
        positive, total: from `instances`, [B] each.
        clusters: log d_2 of the rows with all interests, [B, T].
        alpha: share of the interests, [B] or one for all.
        positives: K, how many of the nearest are Q+.

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
    """alpha = R(L_j) = exp(-w1 (L_j / L)^w2), Eq. (6): 1 without a click, e^-w1 at the mean length; [B] -> [B]."""
    return torch.exp(-w1 * (length / mean) ** w2)


# --- the codebook, section 4.2.1 -------------------------------------------------------------------------------------


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Solve Eq. (4): the assignment A that maximises <A, scores> + epsilon H(A), all codes and all rows alike.

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


class Codebook(nn.Module):
    """T interests: unit vectors that learn from the rows' z by Eq. (5) and Adam, apart from the model's own training.

    Nothing here is a parameter: no gradient, weight decay or clipping of the model's training meets it. All of it is
    state, so that a resumed training goes on as an unbroken one.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        shape = config.codes, config.dim
        self.register_buffer("code", F.normalize(torch.randn(shape), dim=1))  # Q
        self.register_buffer("mean", torch.zeros(shape))  # Adam's moments
        self.register_buffer("square", torch.zeros(shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("queue", torch.zeros(config.queue, config.dim))  # z of earlier rows, the latest first
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))

    def learn(self, z: Tensor) -> dict[str, float]:
        """Take one step towards the z of a batch, vectors of length one, [B, dim].

        Returns:
            what to log: codebook_loss, Eq. (5); codes_used and code_perplexity, how many interests the rows (the
            queue's too) are assigned to, counted and as so many equally frequent ones; top_code, the share of the most
            frequent; code_error, by how much a row of A misses its sum 1/T at most, as a share of it.
        """
        c, z = self.config, z.detach()
        seen = torch.cat([z, self.queue[: int(self.queued)]])
        soft = sinkhorn(self.code @ seen.T, c.epsilon, c.iterations)  # (4)
        assigned = soft.max(0).indices
        with torch.enable_grad():
            code = self.code.clone().requires_grad_()
            loss = F.cross_entropy(z @ F.normalize(code, dim=1).T / c.tau3, assigned[: len(z)])  # (5)
            (gradient,) = torch.autograd.grad(loss, code)
        self._step(gradient)
        kept = seen[: c.queue]
        self.queue, self.queued = F.pad(kept, (0, 0, 0, c.queue - len(kept))), self.queued.new_tensor(len(kept))
        share = torch.bincount(assigned, minlength=c.codes) / len(assigned)
        perplexity = torch.special.entr(share).sum().exp().item()
        if perplexity < min(c.codes, len(assigned)) / 4:
            warnings.warn("AQCL: most interests are unused; lower wrapper.codes", stacklevel=2)
        return {
            "codebook_loss": loss.item(),
            "codes_used": float((share > 0).sum()),
            "code_perplexity": perplexity,
            "top_code": share.max().item(),
            "code_error": (soft.sum(1) * c.codes - 1).abs().max().item(),
        }

    def _step(self, gradient: Tensor, beta: float = 0.9, beta2: float = 0.999) -> None:
        """Adam (arXiv 1412.6980), and back to length one; what Eq. (3) holds for its gradient is not written over."""
        self.steps += 1
        self.mean.lerp_(gradient, 1 - beta)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        steps = int(self.steps)
        deviation = (self.square / (1 - beta2**steps)).sqrt() + 1e-8
        code = self.code - self.config.lr * self.mean / (1 - beta**steps) / deviation
        self.code = F.normalize(code, dim=1)


# --- what a model wears ----------------------------------------------------------------------------------------------


class ICL(nn.Module):
    """A model that wears instance-level contrastive learning, Eq. (2), while it trains.

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
            raise ValueError(f"{type(base).__name__} has no hidden layer to contrast; wear this on a deep model")
        self.base, self.config, self.tasks = base, config, base.tasks
        self.draws = RandomStream()
        with self.draws.stream():
            self._build(tables)

    def _build(self, tables: Tables) -> None:
        self.project = Projector(self.base.hidden_dim, self.config.dim)  # g

    def forward(self, batch: Batch) -> Output:
        """Answer as the base does; in training with w L added to its penalty, Eq. (8)."""
        out, c = self.base(batch), self.config
        if not (self.training and c.w):
            return out
        with self.draws.stream(), dropped(self.base, c.bits):
            step = replace(batch.step or Step(), is_augmented=True)
            again = self.base(replace(batch, histories=thinned(batch.histories, c.mask), step=step))
        with torch.autocast(out.hidden.device.type, enabled=False):
            both = self.project(torch.cat([out.hidden, again.hidden]).float())
            z, plus = F.normalize(both, dim=1, eps=1e-8).chunk(2)
            user = batch.user if c.same_user == "ignored" else None
            pair = instances(z, plus, c.tau1, c.negatives == "both", user)
            loss, logs = self.loss(z, pair, batch)
        return replace(out, penalty=out.penalty + c.w * loss, logs={**out.logs, **logs})

    def loss(self, z: Tensor, pair: tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Mean of Eq. (2) over the rows, from `instances`, and what to log."""
        loss = icl(*pair).mean()  # (2)
        return loss, {"icl_loss": loss.item()}


class AQCL(ICL):
    """A model that wears auto-quantized contrastive learning, Algorithm 1, while it trains."""

    Config = Config

    def _build(self, tables: Tables) -> None:
        super()._build(tables)
        self.codebook = Codebook(self.config)
        self.register_buffer("mean_length", torch.tensor(float(tables.clicks_per_user)))  # L

    def loss(self, z: Tensor, pair: tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Mean of Eq. (3) over the rows, and what to log; then the codebook takes its step."""
        alpha = self.alpha(batch)
        clusters = z @ self.codebook.code.T / self.config.tau2
        loss = aqcl(*pair, clusters, alpha, self.config.positives).mean()  # (3)
        return loss, {"aqcl_loss": loss.item(), "alpha": alpha.mean().item(), **self.codebook.learn(z)}

    def alpha(self, batch: Batch) -> Tensor:
        """Share of the interests for each row, [B]."""
        c, past = self.config, batch.histories
        length = (past.mask.sum(1) if past.length is None else past.length)[batch.query].float()
        return activity(length, self.mean_length, c.w1, c.w2) if c.alpha is None else torch.full_like(length, c.alpha)


class QCL(AQCL):
    """AQCL with alpha = 1: interests alone, for everybody."""

    Config = QCLConfig
