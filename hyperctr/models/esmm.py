"""Entire Space Multi-Task Model (SIGIR 2018, arXiv 1804.07931).

Two towers on shared embeddings, trained on all impressions: pCTR on the click, and pCTCVR = pCTR pCVR on click and
conversion, Eq. (1) and (3). pCVR has no loss of its own.

Where we differ from the paper, and why: the towers read the products of the fields too, as all models of two tasks do
here. A conversion may be a share in [0, 1]; then the second loss is a squared error. Clicks whose conversion is unknown
are left out of the second loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_sizes
from hyperctr.layers.feature_cross import Crossed
from hyperctr.layers.mlp import glorot, mlp
from hyperctr.layers.multitask import TASKS, Weighing, click_loss, measure, observed


@dataclass(frozen=True, kw_only=True)
class Config(Weighing):
    """Sizes of ESMM."""

    dim: int = 16
    """Width of every field's vector."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of each tower's layers."""

    def __post_init__(self):
        super().__post_init__()
        check_sizes(self, "dim", "hidden")


class ESMM(nn.Module):
    """pCTCVR = pCTR pCVR; loss = L(y, pCTR) + b L(y z, pCTCVR), Eq. (3)."""

    Config = Config
    reads = frozenset({"conversions"})
    tasks = TASKS

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.config = config
        self.crossed = Crossed(tables, config.dim)
        self.click, self.conversion = (
            glorot(nn.Sequential(*mlp(self.crossed.width, config.hidden), nn.Linear(config.hidden[-1], 1)))
            for _ in TASKS
        )

    def forward(self, batch: Batch) -> Output:
        x = self.crossed(batch)
        click, conversion = self.click(x).squeeze(1), self.conversion(x).squeeze(1)
        if not self.training:
            return Output(click, conversion=conversion)
        clicks, both = click_loss(click, batch), self.both_loss(click, conversion, batch)
        logs = measure(click=clicks, click_conversion=both)
        return Output(click, conversion=conversion, loss=clicks + self.config.b * both, logs=logs)

    def both_loss(self, click: Tensor, conversion: Tensor, batch: Batch) -> Tensor:
        """Compute the mean loss of pCTCVR against y z, over the impressions whose y z is known; 0 if there are none."""
        clicked = observed(batch)
        known = clicked | (batch.label == 0)
        z = batch.label if batch.conversion is None else torch.where(clicked, batch.conversion, 0.0)  # y z
        log_p = F.logsigmoid(click) + F.logsigmoid(conversion)
        if self.config.conversion_loss == "mse":
            each = (log_p.exp() - z).square()
        else:
            least = torch.finfo(log_p.dtype).eps
            each = -z * log_p - (1 - z) * (-torch.expm1(log_p)).clamp(min=least).log()
        return (each * known).sum() / known.sum().clamp(min=1)
