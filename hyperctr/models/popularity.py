"""Popularity: how often an item was clicked before. A model below this row has learned nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hyperctr.batch import Batch, Output, Tables


@dataclass(frozen=True, kw_only=True)
class Config:
    """Smoothing of the click rate."""

    prior: float = 10.0
    """Rows added to every item, clicked at the average rate; only where non-clicks were logged."""

    def __post_init__(self):
        if not self.prior > 0:
            raise ValueError(f"model.prior must be above 0, got {self.prior}")


class Popularity(nn.Module):
    """The logit of an item's past: its click count, or its smoothed click rate where non-clicks were logged.

    Both count events strictly before the row. The order of scores depends on the data only. Two trained scalars fit
    their scale, so that the logloss is meaningful.
    """

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.prior, self.click_rate = config.prior, tables.click_rate
        self.log_slope = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        clicks, shows = batch.clicks_before, batch.shows_before
        if shows is None:
            score = torch.log1p(clicks)
        else:
            score = torch.logit((clicks + self.prior * self.click_rate) / (shows + self.prior), eps=1e-6)
        return Output(self.log_slope.exp() * score + self.bias)
