"""Multi-gate Mixture-of-Experts (KDD 2018): experts that all tasks share, and one gate per task that mixes them.

Where we differ from the paper: experts, gates and towers read the products of the fields too, as all models of two
tasks do here; conversions are learned from the clicked rows only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_sizes
from hyperctr.layers.feature_cross import Crossed
from hyperctr.layers.mlp import glorot, mlp
from hyperctr.layers.multitask import TASKS, Weighing, together


@dataclass(frozen=True, kw_only=True)
class Config(Weighing):
    """Sizes of MMoE."""

    dim: int = 16
    """Width of every field's vector."""
    experts: int = 4
    """Networks that all tasks share."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of an expert's layers."""
    tower: tuple[int, ...] = (64,)
    """Widths of each task's own layers."""

    def __post_init__(self):
        super().__post_init__()
        check_sizes(self, "dim", "experts", "hidden", "tower")


class MMoE(nn.Module):
    """logit_k = h_k(sum_i g_k(x)_i f_i(x)) with g_k(x) = softmax(W_gk x), Eq. (6)-(8)."""

    Config = Config
    reads = frozenset({"conversions"})
    tasks = TASKS

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.config = config
        self.crossed = Crossed(tables, config.dim)
        self.experts = nn.ModuleList(glorot(mlp(self.crossed.width, config.hidden)) for _ in range(config.experts))
        self.gates = nn.ModuleDict({k: nn.Linear(self.crossed.width, config.experts, bias=False) for k in TASKS})
        self.towers = nn.ModuleDict()
        for task in TASKS:
            tower = nn.Sequential(*mlp(config.hidden[-1], config.tower), nn.Linear(config.tower[-1], 1))
            self.towers[task] = glorot(tower)
            nn.init.xavier_normal_(self.gates[task].weight)

    def forward(self, batch: Batch) -> Output:
        x = self.crossed(batch)
        found = torch.stack([expert(x) for expert in self.experts], 1)  # f_i(x), [B, E, hidden[-1]]
        click, conversion = (self.towers[k](self.mix(x, found, k)).squeeze(1) for k in TASKS)
        return together(click, conversion, batch, self.config, self.training)

    def mix(self, x: Tensor, found: Tensor, task: str) -> Tensor:
        """Add up the experts' outputs [B, E, n], weighted by the task's gate: [B, n]."""
        gate = self.gates[task](x).softmax(1)  # (8)
        return torch.bmm(gate[:, None], found).squeeze(1)  # (6), (7)
