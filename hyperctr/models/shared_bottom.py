"""Hard sharing (Caruana 1997), as in LT4REC's Fig. 2, and the single-task models that LT4REC compares it with.

Both tasks read the same embeddings and their products. The first `shared` layers above them are common too; each task
has its own layers above those. With one task there is nothing to share: LT4REC's base_ctr and base_cvr.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from hyperctr.batch import Batch, Output, Tables, TrainingPlan
from hyperctr.layers.checks import check_choices, check_sizes
from hyperctr.layers.feature_cross import Crossed
from hyperctr.layers.mlp import glorot, mlp
from hyperctr.layers.multitask import TASKS, Weighing, click_loss, conversion_loss, measure, together


@dataclass(frozen=True, kw_only=True)
class Config(Weighing):
    """Sizes of the network, and how much is shared."""

    tasks: Literal["both", "click", "conversion"] = "both"
    """What is learned. A model of conversions is trained on the clicked rows, and its click logit is 0."""
    dim: int = 16
    """Width of every field's vector."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the fully connected layers."""
    shared: int = 0
    """Number of layers that both tasks share, from below."""

    def __post_init__(self):
        super().__post_init__()
        check_sizes(self, "dim", "hidden")
        check_choices(self, "tasks")
        if not 0 <= self.shared <= len(self.hidden):
            raise ValueError(f"model.shared must lie in [0, {len(self.hidden)}], one per layer, got {self.shared}")


class SharedBottom(nn.Module):
    """logit_k = tower_k(bottom([fields; products]))."""

    Config = Config
    reads = frozenset({"conversions"})
    tasks = TASKS

    @classmethod
    def plan(cls, config: Config, plan: TrainingPlan) -> TrainingPlan:
        """Return the plan in which only the tasks of the config are trained."""
        return replace(plan, tasks=_tasks(config))

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.config = config
        self.crossed = Crossed(tables, config.dim)
        widths = (self.crossed.width, *config.hidden)
        self.bottom = glorot(mlp(widths[0], config.hidden[: config.shared]))
        self.towers = nn.ModuleDict()
        for task in _tasks(config):
            own = mlp(widths[config.shared], config.hidden[config.shared :])
            self.towers[task] = glorot(nn.Sequential(*own, nn.Linear(widths[-1], 1)))

    def forward(self, batch: Batch) -> Output:
        x = self.bottom(self.crossed(batch))
        logit = {task: tower(x).squeeze(1) for task, tower in self.towers.items()}
        if len(logit) == 2:
            return together(logit["click"], logit["conversion"], batch, self.config, self.training)
        if "click" in logit:
            loss = click_loss(logit["click"], batch)
            return Output(logit["click"], loss=loss, logs=measure(click=loss))
        logit = logit["conversion"]
        loss = conversion_loss(logit, batch, self.config.conversion_loss)
        return Output(torch.zeros_like(logit), conversion=logit, loss=loss, logs=measure(conversion=loss))


def _tasks(config: Config) -> tuple[str, ...]:
    return TASKS if config.tasks == "both" else (config.tasks,)
