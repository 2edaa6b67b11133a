"""LT4REC: A Lottery Ticket Hypothesis Based Multi-task Practice for Video Recommendation System (arXiv 2008.09872).

Long because the paper is three things in one: masked layers, pruning, and sNET.

One network, sNET, has two tasks: is an impression clicked (pCTR), and what share of the video is watched after the
click (pCVR). Each task has a mask m_k over the weights of the fully connected layers and computes with W * m_k: some
weights are shared by both tasks, some belong to one, some to none. Embeddings, their products and biases are shared. A
mask is a winning ticket: the weights left after rounds of training from the same first weights, each of which prunes
the smallest (Algorithm 1; the rounds are in `hyperctr.training.lottery_tickets`). s-neuron masks whole units, multiview
gives pCVR its own vectors, and gradient conflict changes the weight of clicks that were hardly watched.

Where we differ from the paper, and why:
- Algorithm 1 takes the q-th quantile of all weights, masked ones too, which stays 0 as soon as q of them are masked: we
  take it of the surviving weights. It never trains the last mask, yet chooses among all: we train all n + 1.
- "Reinitialize" is a rewind to the same first weights, embeddings too, for both tasks and for the mixed training, with
  a fresh optimiser: a mask is a ticket only together with the weights from which it was found. (`rewind=False` starts
  the mixed training, as the authors' code does, from weights of its own.)
- A mask acts in the forward pass, and W itself is kept. (sNET = sNET * mask, read literally, would destroy the other
  task's weights.) A unit that has lost all inputs for a task is off for that task, bias included.
- A step for one task changes no weight outside its mask, nor its moments and step counts. A zero gradient is not
  enough, as Adam changes a weight whose moment another task has left. The authors' code has that leak.
- The paper does not give the loss of pCVR (squared error here, as the metric), its rows (all clicked ones), the weight
  of the gradient conflict (`hyperctr.layers.multitask.conflict`) and the score of a neuron (`prune_units`).
- Products of fields are taken for pairs i < j (DLRM); the history counts as one field, the mean of its clicks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Features, HasTower, Output, Tables, TrainingPlan
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_choices, check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.feature_cross import Crossed
from hyperctr.layers.mlp import glorot, mlp
from hyperctr.layers.multitask import TASKS, Weighing, click_loss, conversion_loss, measure

Masks = list[Tensor]
"""The masks of one task: True where it keeps the weight, [out, in] per fully connected layer."""


@dataclass(frozen=True, kw_only=True)
class Sharing(Weighing):
    """How tickets are found and trained, on any model; the authors' values where the paper or the code gives one."""

    table: ClassVar[str] = "wrapper"
    rounds: int = 4
    """Prunings n per task; each task is trained n + 1 times to find its mask."""
    keep: float = 0.2
    """Share of the weights (or units) left after the last pruning; each pruning keeps the same share of those left."""
    granularity: Literal["weight", "neuron"] = "weight"
    """What is pruned: single weights (s-weight) or units with all their weights (s-neuron)."""
    scope: Literal["global", "layer"] = "global"
    """Whether weights (or units) of all layers are compared with each other, or each layer keeps the same share."""
    least: float = 0.02
    """Share of a layer's weights (or units) that a task always keeps: an empty layer would cut the network."""
    round_epochs: int = 1
    """Passes over the task's rows per round."""
    steps: Literal["alternate", "cycle", "joint"] = "alternate"
    """The mixed training: batches of the two tasks in turn until both are used up; the same, but conversions start over
    until the clicks are used up; or one step for both tasks on each batch."""
    kappa: float = 1.0
    """Weight of the loss of a click with conversion 0 (gradient conflict); 1 gives all clicks the same weight."""
    below: float = 0.2
    """Conversion from which a click has weight 1."""
    masks: str = ""
    """Folder of a run whose tickets are trained again, such as yesterday's; empty: find them."""
    round: int = 0
    """Round whose masks are trained; 0: for each task the best round by validation."""
    rewind: bool = True
    """Whether masks train from the weights they were found from, as tickets; the authors' code takes new weights."""
    shuffle: bool = False
    """Draw the masks at random, with as many weights per layer as `masks` has: what tickets must beat."""

    @property
    def searches(self) -> bool:
        """Whether a run trains every round: it has no masks of another run, or draws masks and has to compare them."""
        return not self.masks or (self.shuffle and not self.round)

    def __post_init__(self):
        super().__post_init__()
        table = self.table
        check_sizes(self, "rounds", "round_epochs", table=table)
        for name in ("keep", "below"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{table}.{name} must be a share above 0, at most 1, got {getattr(self, name)}")
        if not 0 <= self.least <= self.keep:
            raise ValueError(f"{table}.least must lie in [0, {table}.keep = {self.keep}], got {self.least}")
        if not 0 <= self.round <= self.rounds:
            raise ValueError(f"{table}.round must lie in [0, {table}.rounds = {self.rounds}], got {self.round}")
        if self.shuffle and not self.masks:
            raise ValueError(f"{table}.shuffle needs {table}.masks, the run whose masks say how many weights are kept")
        if not 1 <= self.kappa < math.inf:
            raise ValueError(f"{table}.kappa must be at least 1, got {self.kappa}")
        check_choices(self, "granularity", "scope", "steps", table=table)


@dataclass(frozen=True, kw_only=True)
class Config(Sharing):
    """Sharing and the sizes of sNET."""

    table: ClassVar[str] = "model"
    dim: int = 16
    """Width of every field's vector; the paper has 32."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the fully connected layers."""
    extra: int = 0
    """Width of a second vector of every field, for conversions only (multiview; the paper has 8); 0: none."""

    def __post_init__(self):
        super().__post_init__()
        check_sizes(self, "dim", "hidden")
        if self.extra < 0:
            raise ValueError(f"model.extra must be at least 1, or 0 for none, got {self.extra}")


# --- the masked network, section 2.2 ---------------------------------------------------------------------------------


EVERY_TASK = 2 ** len(TASKS) - 1  # the owners of a weight that all tasks keep: bit k stands for task k


class Layer(nn.Module):
    """y = (W * m_k) x + b for task k.

    Weights are grouped by their owners, the set of tasks whose masks keep them. Each group is one Parameter: `weight_1`
    (clicks only), `weight_2` (conversions only), `weight_3` (both). Weights that no task keeps are in the buffer
    `rest`. A step for one task therefore leaves the other tasks' weights and Adam state untouched: they get no
    gradient, and an optimiser skips a Parameter without one. With a gradient of zero Adam would still apply momentum.

    The state dict does not know groups: it has `weight`, which is W, `worn`, which is `owners`, and `bias`.

    Args:
        linear: first weights and biases; at first every task keeps every weight.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.bias = nn.Parameter(linear.bias.detach().clone())
        self._group(linear.weight.detach(), torch.full(linear.weight.shape, EVERY_TASK, dtype=torch.uint8))

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Map [B, in] to [B, out]; a unit that the task keeps no weight of is off, bias included."""
        return F.linear(x, self.weight(task), self.bias * self.alive[task])

    def weight(self, task: int) -> Tensor:
        """Return W * m_k, [out, in]; gradients reach the groups that the task keeps, and no other."""
        return choose(self._plain_weight, self._fast_weight)(task)

    def _plain_weight(self, task: int) -> Tensor:
        weight = torch.zeros_like(self.rest)
        for owners, group in self.groups(task).items():
            weight = weight.masked_scatter(self.owners == owners, group)
        return weight

    def _fast_weight(self, task: int) -> Tensor:
        """Put all groups in place at once, in a tenth of the time on a CPU."""
        groups = list(self.groups(task).values())
        if len(groups) == 1 and groups[0].numel() == self.rest.numel():
            return groups[0].view(self.rest.shape)
        flat = self.rest.new_zeros(self.rest.numel())
        if groups:
            flat = flat.index_copy(0, self.get_buffer(f"place_{task}"), torch.cat(groups, 1)[0])
        return flat.view(self.rest.shape)

    def groups(self, task: int | None = None) -> dict[int, nn.Parameter]:
        """Return the groups, or those that a task keeps, by owners: [1, n] each, as weight decay is for matrices."""
        asked = EVERY_TASK if task is None else 1 << task
        groups = {owners: self._parameters[f"weight_{owners}"] for owners in range(1, EVERY_TASK + 1) if owners & asked}
        return {owners: group for owners, group in groups.items() if group is not None}

    def whole(self) -> Tensor:
        """Copy W, weights that no task keeps included, without gradients: [out, in]."""
        weight = self.rest.clone()
        for owners, group in self.groups().items():
            weight[self.owners == owners] = group.detach()[0]
        return weight

    def mask(self, task: int) -> Tensor:
        """Return m_k, bool [out, in]."""
        return (self.owners >> task & 1).bool()

    def set_masks(self, masks: list[Tensor]) -> None:
        """Give each task another mask; W stays, in new Parameters."""
        self.set_weight(self.whole(), sum(mask.to(torch.uint8) << task for task, mask in enumerate(masks)))

    def set_weight(self, weight: Tensor, owners: Tensor) -> None:
        """Replace W and its owners; if the owners do not change, the Parameters stay the same objects."""
        weight, owners = weight.detach().to(self.bias), owners.to(self.bias.device)
        if not torch.equal(owners, self.owners):
            self._group(weight, owners)
            return
        self.rest.copy_(weight)
        for kept_by, group in self.groups().items():
            group.data.copy_(weight[owners == kept_by])

    def _group(self, weight: Tensor, owners: Tensor) -> None:
        """Make the Parameters and buffers for these owners."""
        self.register_buffer("owners", owners.clone(), persistent=False)  # uint8, [out, in]
        self.register_buffer("rest", weight.clone(), persistent=False)  # W; read where there are no owners
        for kept_by in range(1, EVERY_TASK + 1):
            group = weight[owners == kept_by]
            self.register_parameter(f"weight_{kept_by}", nn.Parameter(group[None].clone()) if len(group) else None)
        alive = torch.stack([self.mask(task).any(1) for task in range(len(TASKS))])
        self.register_buffer("alive", alive.to(weight), persistent=False)  # [tasks, out]
        for task in range(len(TASKS)):  # places of the task's weights in W, group after group
            kept = self.owners.view(-1).masked_fill(~self.mask(task).view(-1), 0)
            place = kept.argsort(stable=True)[int((kept == 0).sum()) :]
            self.register_buffer(f"place_{task}", place, persistent=False)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        state = {"weight": self.whole(), "worn": self.owners, "bias": self.bias.detach()}
        destination.update({f"{prefix}{name}": x for name, x in state.items()})

    def _load_from_state_dict(self, state: Mapping, prefix: str, metadata, strict, missing, unexpected, errors) -> None:
        names = [f"{prefix}{name}" for name in ("weight", "worn", "bias")]
        missing += (lacking := [name for name in names if name not in state])
        if not lacking:
            weight, owners, bias = (state[name] for name in names)
            self.set_weight(weight, owners)
            self.bias.data.copy_(bias)


class Tower(nn.Module):
    """The fully connected layers, which the tasks mask, and one head per task: logit_k = head_k(h(m_k)).

    Args:
        layers: linear maps, and activations and dropout between them, which all tasks share.
    """

    def __init__(self, layers: nn.Sequential):
        super().__init__()
        self.steps = nn.ModuleList(Layer(step) if isinstance(step, nn.Linear) else step for step in layers)
        self.heads = nn.ModuleList(glorot(nn.Linear(len(self.layers[-1].bias), 1)) for _ in TASKS)

    @property
    def layers(self) -> list[Layer]:
        """The masked layers among the steps."""
        return [step for step in self.steps if isinstance(step, Layer)]

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Return the task's logit: [B, in] -> [B]."""
        for step in self.steps:
            x = step(x, task) if isinstance(step, Layer) else step(x)
        return self.heads[task](x).squeeze(1)

    def set_masks(self, masks: Mapping[str, Masks]) -> None:
        """Give every task other masks."""
        for n, layer in enumerate(self.layers):
            layer.set_masks([masks[task][n] for task in TASKS])

    def masks(self, task: str) -> Masks:
        """Return the masks of a task."""
        return [layer.mask(TASKS.index(task)) for layer in self.layers]


# --- tickets: pruning by magnitude, Algorithm 1 line 5 ---------------------------------------------------------------


def prune(
    weights: list[Tensor], masks: Masks, first: Masks, share: float, scope: str = "global", least: float = 0.0
) -> Masks:
    """Mask the smallest of the surviving weights until a share of the first ones is left.

    Args:
        weights: W of each layer, [out, in].
        masks: the weights that survive. first: the masks before any pruning.
        share: of `first` to leave, rounded to whole weights; of all layers together, or of each.
        scope: "global" or "layer".
        least: share of each layer's first weights that always stays, in scope "global".

    Returns:
        the new masks; no masked weight returns.
    """
    size = [weight.abs()[mask] for weight, mask in zip(weights, masks, strict=True)]
    kept = _largest(size, [int(mask.sum()) for mask in first], share, scope, least)
    return [m.masked_scatter(m, k) for m, k in zip(masks, kept, strict=True)]


def prune_units(
    weights: list[Tensor], masks: Masks, first: Masks, share: float, scope: str = "global", least: float = 0.0
) -> Masks:
    """Mask the units of lowest score, with all weights into and out of them; arguments as of `prune`.

    A unit's score is the mean size of its surviving incoming weights, in standard deviations from the mean of its
    layer's surviving units: layers differ in scale.
    """
    alive, score = [mask.any(1) for mask in masks], []
    for weight, mask, units in zip(weights, masks, alive, strict=True):
        mean = ((weight.abs() * mask).sum(1) / mask.sum(1).clamp(min=1))[units]
        deviation = mean.std(correction=0).clamp(min=torch.finfo(mean.dtype).tiny)
        score.append((mean - mean.mean()) / deviation)
    kept = _largest(score, [int(mask.any(1).sum()) for mask in first], share, scope, least)
    new, before = [], None
    for mask, units, k in zip(masks, alive, kept, strict=True):
        units = units.masked_scatter(units, k)
        new.append(mask & units[:, None] & (True if before is None else before))
        before = units
    return new


def _largest(scores: list[Tensor], counts: list[int], share: float, scope: str, least: float) -> list[Tensor]:
    """Mark the largest of the scores, [n] per layer: `share` of the counts in all, or of each count."""
    if scope == "layer":
        return [k for s, n in zip(scores, counts, strict=True) for k in _largest([s], [n], share, "global", 0.0)]
    ranks = [s.argsort(descending=True, stable=True).argsort() for s in scores]
    kept = torch.cat([rank < math.ceil(least * n) for rank, n in zip(ranks, counts, strict=True)])  # these must stay
    order, total = torch.cat(scores).argsort(descending=True, stable=True), round(share * sum(counts))
    if kept[order[total:]].any():
        warnings.warn("a layer would be pruned away; its largest weights stay (least)", stacklevel=4)
    others = order[~kept[order]]
    kept[others[: max(0, total - int(kept.sum()))]] = True
    return list(kept.split([len(s) for s in scores]))


# --- models ----------------------------------------------------------------------------------------------------------


class SparseSharing(nn.Module):
    """Any model whose last layers two tasks share through masks.

    Args:
        base: a model whose last layers can be taken away, see `HasTower`.
        config: how tickets are found and trained.
        tables: what the base was made from.
    """

    Config = Sharing
    reads = frozenset({"conversions"})
    tasks = TASKS
    stays = True

    @classmethod
    def plan(cls, config: Sharing, plan: TrainingPlan) -> TrainingPlan:
        """Return the plan in which both tasks are trained, in the order that the config asks for."""
        return replace(plan, tasks=TASKS, order=config.steps)

    def __init__(self, base: HasTower, config: Sharing, tables: Tables):
        super().__init__()
        if not isinstance(base, HasTower):
            raise ValueError(
                f"{type(base).__name__} has no layers that tasks could share; take lt4rec, din or hyperctr"
            )
        self.base, self.config = base, config
        self.tower = Tower(base.take_tower())

    def forward(self, batch: Batch) -> Output:
        """Return the logits of both tasks; in training with the loss of the batch's task, or of both, Eq. (2)."""
        features = self.base.features(batch)
        x, logs = features.x, features.logs
        wanted = TASKS if batch.task is None or not self.training else (batch.task,)
        logit = {task: self.tower(self.view(x, batch, task), TASKS.index(task)) for task in wanted}
        click, conversion = (logit.get(task) for task in TASKS)
        loss, losses, c = None, {}, self.config
        if self.training:
            if click is not None:
                losses["click"] = click_loss(click, batch)
            if conversion is not None:
                losses["conversion"] = conversion_loss(conversion, batch, c.conversion_loss, c.kappa, c.below)
            loss = losses.get("click", 0.0) + c.b * losses.get("conversion", 0.0)  # (2)
            logs = {**logs, **measure(**losses)}
        if click is None:
            click = torch.zeros_like(conversion)
        return Output(click, features.penalty, logs, conversion=conversion, loss=loss)

    def view(self, x: Tensor, batch: Batch, task: str) -> Tensor:
        """Return what a task's tower reads: the features."""
        return x

    def first_masks(self, task: str) -> Masks:
        """Return a task's masks before any pruning."""
        return [torch.ones(layer.owners.shape, dtype=torch.bool) for layer in self.tower.layers]

    def prune(self, task: str, masks: Masks, share: float) -> Masks:
        """Return a task's next masks: `share` of the first ones, by the current weights."""
        c, weights = self.config, [layer.whole().cpu() for layer in self.tower.layers]
        how = prune if c.granularity == "weight" else prune_units
        return how(weights, masks, self.first_masks(task), share, c.scope, c.least)

    def overlap(self) -> list[dict[str, float]]:
        """Measure how the tasks share each layer, and all layers together.

        Returns:
            for each: layer (a number, or "all"), weights; shared, click, conversion and dead: shares of the weights
            that both tasks keep, one task, none; jaccard, the part of all kept weights that is shared; ratio, shared
            to what independent masks of the same densities would share.
        """
        owners = [layer.owners.flatten() for layer in self.tower.layers]
        rows = []
        for name, kept_by in [*enumerate(owners), ("all", torch.cat(owners))]:
            dead, click, conversion, shared = (torch.bincount(kept_by, minlength=4) / len(kept_by)).tolist()
            chance = (click + shared) * (conversion + shared)
            rows.append({
                "layer": name, "weights": len(kept_by), "shared": shared, "click": click, "conversion": conversion,
                "dead": dead, "jaccard": shared / (1 - dead) if dead < 1 else math.nan,
                "ratio": shared / chance if chance else math.nan,
            })  # fmt: skip
        return rows


class SNet(nn.Module):
    """sNET up to its heads, Fig. 1: embeddings, products of all pairs of fields, fully connected layers with ReLU."""

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.crossed = Crossed(tables, config.dim)
        self.top = glorot(mlp(self.crossed.width + self.crossed.num_fields * config.extra, config.hidden))

    def features(self, batch: Batch) -> Features:
        """Return the fields and their products, [B, crossed.width]."""
        return Features(self.crossed(batch))

    def take_tower(self) -> nn.Sequential:
        """Return the fully connected layers, which this model has no more afterwards."""
        top, self.top = self.top, None
        return top


class LT4REC(SparseSharing):
    """sNET, masked by two tasks, arXiv 2008.09872 Fig. 3.

    Args:
        config: sizes, and how tickets are found.
        tables: what there is to embed.
    """

    Config = Config

    def __init__(self, config: Config, tables: Tables):
        super().__init__(SNet(config, tables), config, tables)
        self.extra = Embed(tables, config.extra) if config.extra else None
        self.tower.set_masks({task: self.first_masks(task) for task in TASKS})

    def view(self, x: Tensor, batch: Batch, task: str) -> Tensor:
        """Return the features and, with multiview, the conversions' own vectors; clicks do not look these up."""
        if self.extra is None:
            return x
        if task == "click":
            return F.pad(x, (0, self.tower.layers[0].owners.shape[1] - x.shape[1]))
        return torch.cat([x, self.extra.fields(batch).flatten(1)], 1)

    def first_masks(self, task: str) -> Masks:
        """Return all weights; for clicks, without the columns of the conversions' own vectors."""
        masks = super().first_masks(task)
        if self.config.extra and task == "click":
            masks[0][:, self.base.crossed.width :] = False
        return masks
