"""Two tasks on one log: whether an impression is clicked, and the conversion that follows a click."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperctr.batch import Batch, Output
from hyperctr.layers.checks import check_choices

TASKS = ("click", "conversion")


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How the losses of the two tasks are computed and added."""

    table: ClassVar[str] = "model"
    """The table of its keys in a run file."""
    b: float = 1.0
    """Weight of the conversion loss; the click loss has weight 1. It matters only in steps for both tasks: Adam cancels
    the scale of a loss in parameters that no other loss changes."""
    conversion_loss: Literal["mse", "bce"] = "mse"
    """Squared error of the probability, or cross entropy with a soft label; both have the same minimum."""

    def __post_init__(self):
        if not 0 < self.b < math.inf:
            raise ValueError(f"{self.table}.b must be above 0, got {self.b}")
        check_choices(self, "conversion_loss", table=self.table)


def click_loss(logit: Tensor, batch: Batch) -> Tensor:
    """Compute the mean cross entropy over all rows."""
    return F.binary_cross_entropy_with_logits(logit, batch.label)


def observed(batch: Batch) -> Tensor:
    """Mark the rows that were clicked and whose conversion is known, [B]; a conversion of 0 is known."""
    if batch.conversion is None:
        return torch.zeros_like(batch.label, dtype=torch.bool)
    return (batch.label == 1) & ~batch.conversion.isnan()


def conversion_loss(logit: Tensor, batch: Batch, kind: str = "mse", kappa: float = 1.0, below: float = 0.2) -> Tensor:
    """Compute the mean loss of conversions over the observed rows; 0 if there are none.

    Args:
        logit: of the conversion, [B].
        batch: the rows.
        kind: "mse" or "bce", see `Weighing`.
        kappa, below: the weight of clicks with a low conversion, see `conflict`.
    """
    known = observed(batch)
    z = torch.where(known, batch.conversion, 0.0) if batch.conversion is not None else torch.zeros_like(logit)
    if kind == "mse":
        each = (torch.sigmoid(logit) - z).square()
    else:
        each = F.binary_cross_entropy_with_logits(logit, z, reduction="none")
    if kappa != 1:
        each = conflict(z, kappa, below) * each
    return (each * known).sum() / known.sum().clamp(min=1)


def conflict(z: Tensor, kappa: float, below: float) -> Tensor:
    """Weigh conversions: 1 from `below` on, and up to kappa at z = 0 along a line.

    A click with a low conversion pulls the two tasks apart.
    """
    return 1 + (kappa - 1) * (1 - z / below).clamp(min=0)


def together(click: Tensor, conversion: Tensor, batch: Batch, config: Weighing, training: bool) -> Output:
    """Make the Output of both tasks; in training with loss = L_click + b L_conversion, LT4REC Eq. (2)."""
    if not training:
        return Output(click, conversion=conversion)
    clicks, conversions = click_loss(click, batch), conversion_loss(conversion, batch, config.conversion_loss)
    return Output(
        click,
        conversion=conversion,
        loss=clicks + config.b * conversions,
        logs=measure(click=clicks, conversion=conversions),
    )


def measure(**losses: Tensor) -> dict[str, Tensor]:
    """Name the losses of tasks for the log: `measure(click=loss)` gives click_loss."""
    return {f"{task}_loss": loss.detach() for task, loss in losses.items()}
