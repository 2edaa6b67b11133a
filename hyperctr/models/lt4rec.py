"""LT4REC: A Lottery Ticket Hypothesis Based Multi-task Practice for Video Recommendation System (arXiv 2008.09872).

One network, sNET, answers two questions: is an impression clicked (pCTR), and how much of the video is watched after
the click (pCVR). Each task wears a mask m_k over the weights of the fully connected layers and computes with W * m_k,
so that some weights are both tasks', some are one's own, and some are nobody's; embeddings, their products and biases
are shared. A mask is a winning ticket: what is left of W after rounds of training from the same first weights and
pruning the smallest (Algorithm 1, the rounds stand in `hyperctr.lottery`). s-neuron masks whole units, multiview gives
pCVR vectors of its own, gradient conflict weighs clicks that were hardly watched.

Where we differ from the paper, and why:
- Algorithm 1 takes the q-th quantile of all weights, masked ones too, which stays 0 as soon as q of them are masked: we
  take it of the surviving ones. It never trains the last mask, yet chooses among all: we train all n + 1.
- "Reinitialize" is a rewind to the same first weights, embeddings too, for both tasks and for the mixed training, with
  a fresh optimiser: a mask is a ticket only together with the weights it was found from. (`rewind=False` starts
  the mixed training, as the authors' code does, from weights of its own.)
- A mask is worn in the forward pass, W itself is kept (sNET = sNET * mask, read literally, would destroy the other
  task's weights). A unit that a task has lost all inputs of is off for it, bias included.
- A step of one task moves no weight outside its mask, moments and step counts included; a zero gradient is not enough,
  as Adam moves a weight whose moment another task has left. The authors' code has that leak.
- Not given are the loss of pCVR (squared error here, as the metric), its rows (the clicked ones, those watched to 0
  too), the weight of the gradient conflict (`hyperctr.layers.tasks.conflict`) and a neuron's score (`prune_units`).
- The products of the fields are those of pairs i < j (DLRM); the history counts as one field, the mean of its clicks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.feature_cross import Crossed
from hyperctr.layers.mlp import glorot, mlp
from hyperctr.layers.multitask import TASKS, Weighing, click_loss, conversion_loss, measure

Masks = list[Tensor]
"""What one task wears: True where it has the weight, [out, in] for each fully connected layer."""


@dataclass(frozen=True, kw_only=True)
class Sharing(Weighing):
    """How tickets are found and trained, on any model; the authors' values where paper or code gives one."""

    table: ClassVar[str] = "wrapper"
    rounds: int = 4
    """Prunings n a task; each task is trained n + 1 times to find its mask."""
    keep: float = 0.2
    """Share of the weights (or units) left after the last pruning; each one prunes the same share of what is left."""
    granularity: Literal["weight", "neuron"] = "weight"
    """What is pruned: single weights, s-weight, or units with all their weights, s-neuron."""
    scope: Literal["global", "layer"] = "global"
    """Whether weights (or units) of all layers are compared with each other, or each layer is pruned alike."""
    least: float = 0.02
    """Share of a layer's weights (or units) that a task always keeps: a layer without any would cut the network."""
    round_epochs: int = 1
    """Passes over the task's rows in a round."""
    steps: Literal["alternate", "cycle", "joint"] = "alternate"
    """The mixed training: a batch of one task and one of the other in turn until both are used up; the same, but with
    conversions starting over until the clicks are used up; or one step for both on each batch."""
    kappa: float = 1.0
    """Weight of the loss of a click that nothing followed (gradient conflict); 1 weighs all alike."""
    below: float = 0.2
    """Conversion from which on a click has weight 1."""
    masks: str = ""
    """Folder of a run whose tickets are trained anew, such as yesterday's; empty: find them."""
    round: int = 0
    """Round whose masks are trained; 0: of each task the best one by validation."""
    rewind: bool = True
    """Whether masks train with the weights they were found from, as tickets; the authors' code takes new ones."""
    shuffle: bool = False
    """Wear masks drawn at random, with as many weights of each layer as those of `masks`: what tickets must beat."""

    @property
    def searches(self) -> bool:
        """Whether a run trains every round: it has no masks of another's, or draws its own and has to compare them."""
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
            raise ValueError(f"{table}.shuffle needs {table}.masks, the run whose masks say how many weights are worn")
        if not 1 <= self.kappa < math.inf:
            raise ValueError(f"{table}.kappa must be at least 1, got {self.kappa}")
        for name, kinds in (
            ("granularity", ("weight", "neuron")), ("scope", ("global", "layer")),
            ("steps", ("alternate", "cycle", "joint")),
        ):  # fmt: skip
            if getattr(self, name) not in kinds:
                raise ValueError(f"{table}.{name} must be {' or '.join(kinds)}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Config(Sharing):
    """Sharing, and the sizes of sNET."""

    table: ClassVar[str] = "model"
    dim: int = 16
    """Width of every field's vector; the paper has 32."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the fully connected layers."""
    extra: int = 0
    """Width of a second vector of every field, for conversions alone (multiview; the paper has 8); 0: none."""

    def __post_init__(self):
        super().__post_init__()
        check_sizes(self, "dim", "hidden")
        if self.extra < 0:
            raise ValueError(f"model.extra must be at least 1, or 0 for none, got {self.extra}")


# --- the masked network, section 2.2 ---------------------------------------------------------------------------------


EVERY_TASK = 2 ** len(TASKS) - 1  # the owners of a weight that all tasks keep: bit k stands for task k


class Layer(nn.Module):
    """y = (W * m_k) x + b for task k.

    Weights are grouped by their owners, the set of tasks whose masks keep them. Each group is one Parameter; weights
    that no task keeps are in the buffer `rest`. A step for one task therefore leaves the other tasks' weights and Adam
    state untouched: the other groups get no gradient, and an optimiser skips a Parameter without one. A gradient of
    zero would not do, as Adam moves a weight by the momentum of earlier steps.

    With two tasks the groups are `weight_1` (clicks alone), `weight_2` (conversions alone) and `weight_3` (both). The
    state dict does not know groups: it has `weight`, which is W, `worn`, which is `owners`, and `bias`.

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
        found = {owners: self._parameters[f"weight_{owners}"] for owners in range(1, EVERY_TASK + 1)}
        kept = EVERY_TASK if task is None else 1 << task
        return {owners: group for owners, group in found.items() if group is not None and owners & kept}

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
        weight = weight.detach().to(self.bias)
        if not torch.equal(owners, self.owners):
            self._group(weight, owners)
            return
        with torch.no_grad():
            self.rest.copy_(weight)
            for kept_by, group in self.groups().items():
                group.copy_(weight[owners == kept_by])

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
        lacking = [f"{prefix}{name}" for name in ("weight", "worn", "bias") if f"{prefix}{name}" not in state]
        missing += lacking
        if not lacking:
            self.set_weight(state[f"{prefix}weight"], state[f"{prefix}worn"])
            with torch.no_grad():
                self.bias.copy_(state[f"{prefix}bias"])


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
    """Mask the smallest of the surviving weights until a share of the first ones is left; none comes back.

    Args:
        weights: W of each layer, [out, in].
        masks: the weights that survive. first: those that there were before any pruning.
        share: of `first` to leave, rounded to whole weights; of all layers together, or of each.
        scope: "global" or "layer".
        least: share of each layer's first weights that always stays, in scope "global".

    Returns:
        the new masks.
    """
    size = [weight.abs()[mask] for weight, mask in zip(weights, masks, strict=True)]
    kept = _largest(size, [int(mask.sum()) for mask in first], share, scope, least)
    return [m.masked_scatter(m, k) for m, k in zip(masks, kept, strict=True)]


def prune_units(
    weights: list[Tensor], masks: Masks, first: Masks, share: float, scope: str = "global", least: float = 0.0
) -> Masks:
    """The same with units: one that goes takes all weights into it and out of it along.

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
    """Which of the scores, [n] a layer, are among the largest: `share` of the counts in all, or of each count."""
    if scope == "layer":
        return [k for s, n in zip(scores, counts, strict=True) for k in _largest([s], [n], share, "global", 0.0)]
    flat, sizes = torch.cat(scores), [len(s) for s in scores]
    order = flat.argsort(descending=True, stable=True)
    guarded = flat.new_zeros(len(flat), dtype=torch.bool)  # the largest of each layer, that must stay
    for s, n, start in zip(scores, counts, [0, *torch.tensor(sizes).cumsum(0).tolist()], strict=False):
        guarded[start + s.argsort(descending=True, stable=True)[: math.ceil(least * n)]] = True
    total = round(share * sum(counts))
    if guarded[order[total:]].any():
        warnings.warn("a layer would be pruned away; its largest weights stay (least)", stacklevel=4)
    others = order[~guarded[order]]
    kept = guarded.clone()
    kept[others[: max(0, total - int(guarded.sum()))]] = True
    return list(kept.split(sizes))


# --- models ----------------------------------------------------------------------------------------------------------


class SparseSharing(nn.Module):
    """Any model whose last layers two tasks share through masks.

    Args:
        base: gives `features(batch)`, what its last layers read, [B, n], with a penalty and numbers to log; and
            `take_tower()`, these layers, which it then has no more.
        config: how tickets are found and trained.
        tables: what the base was made from.
    """

    Config = Sharing
    reads_conversions = True
    stays = True  # in evaluation too
    tasks = TASKS

    def __init__(self, base: nn.Module, config: Sharing, tables: Tables):
        super().__init__()
        if not hasattr(base, "take_tower"):
            raise ValueError(
                f"{type(base).__name__} has no layers that tasks could share; take lt4rec, din or hyperctr"
            )
        self.base, self.config = base, config
        self.tower = Tower(base.take_tower())

    def forward(self, batch: Batch) -> Output:
        """Answer for both tasks; in training with the loss of the batch's task, or of both, Eq. (2)."""
        x, penalty, logs = self.base.features(batch)
        wanted = TASKS if batch.task is None or not self.training else (batch.task,)
        logit = {task: self.tower(self.view(x, batch, task), TASKS.index(task)) for task in wanted}
        click, conversion = (logit.get(task) for task in TASKS)
        loss = None
        if self.training:
            c = self.config
            losses = {}
            if click is not None:
                losses["click"] = click_loss(click, batch)
            if conversion is not None:
                losses["conversion"] = conversion_loss(conversion, batch, c.conversion_loss, c.kappa, c.below)
            loss = losses.get("click", 0.0) + c.b * losses.get("conversion", 0.0)  # (2)
            logs = {**logs, **measure(**losses)}
        if click is None:
            click = torch.zeros_like(conversion)
        return Output(click, penalty, logs, conversion=conversion, loss=loss)

    def view(self, x: Tensor, batch: Batch, task: str) -> Tensor:
        """What a task's tower reads: the features."""
        return x

    def first_masks(self, task: str) -> Masks:
        """All that a task could wrapper."""
        return [torch.ones_like(layer.owners, dtype=torch.bool) for layer in self.tower.layers]

    def prune(self, task: str, masks: Masks, share: float) -> Masks:
        """The next of a task's masks: `share` of the first one, by the weights now."""
        c = self.config
        weights = [layer.whole() for layer in self.tower.layers]
        how = prune if c.granularity == "weight" else prune_units
        return how(weights, masks, self.first_masks(task), share, c.scope, c.least)

    def overlap(self) -> list[dict[str, float]]:
        """How the tasks share each layer, and last all of them.

        Returns:
            for each: layer (a number, or "all"), weights; shared, click, conversion and dead: shares of the weights
            that both wear, one alone, none; jaccard, the shared ones of those that anyone wears; ratio, shared to what
            independent masks of the same densities would share.
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

    def features(self, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        """The fields and their products, [B, crossed.width]."""
        return self.crossed(batch), 0.0, {}

    def take_tower(self) -> nn.Sequential:
        """The fully connected layers."""
        top, self.top = self.top, None
        return top


class LT4REC(SparseSharing):
    """sNET worn by two tasks, arXiv 2008.09872 Fig. 3.

    Args:
        config: sizes, and how tickets are found.
        tables: what there is to embed.
    """

    Config = Config
    reads_slices = False

    def __init__(self, config: Config, tables: Tables):
        super().__init__(SNet(config, tables), config, tables)
        self.extra = Embed(tables, config.extra) if config.extra else None
        self.tower.set_masks({task: self.first_masks(task) for task in TASKS})

    def view(self, x: Tensor, batch: Batch, task: str) -> Tensor:
        """The features and, with multiview, the conversions' own vectors; clicks do not look these up."""
        if self.extra is None:
            return x
        if task == "click":
            return F.pad(x, (0, self.tower.layers[0].owners.shape[1] - x.shape[1]))
        return torch.cat([x, self.extra.fields(batch).flatten(1)], 1)

    def first_masks(self, task: str) -> Masks:
        """All weights; of clicks, none of the columns that conversions have for themselves."""
        masks = super().first_masks(task)
        if self.config.extra and task == "click":
            masks[0][:, self.base.crossed.width :] = False
        return masks
