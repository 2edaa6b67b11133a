"""Popularity: how often an item was clicked before. A model below this row has learned nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from hyperctr.batch import Batch, Output, Tables

PRIOR = 10.0  # rows added to every item, clicked at the average rate, where non-clicks were logged


@dataclass(frozen=True, kw_only=True)
class Config:
    """Popularity has no settings."""

    retired: ClassVar = {"prior": (10.0, "every item is smoothed by 10 rows of the average click rate")}


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
        self.click_rate = tables.priors.click_rate
        self.log_slope = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        clicks, shows = batch.clicks_before, batch.shows_before
        if shows is None:
            score = torch.log1p(clicks)
        else:
            score = torch.logit((clicks + PRIOR * self.click_rate) / (shows + PRIOR), eps=1e-6)
        return Output(self.log_slope.exp() * score + self.bias)
