"""Several models of one run, trained on the same rows with different seeds, whose logits are averaged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output


class Members(nn.Module):
    """Average the logits of several models, of clicks and of conversions.

    Args:
        models: at least one, each trained by itself.
    """

    def __init__(self, models: Iterable[nn.Module]):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.tasks = self.models[0].tasks

    def forward(self, batch: Batch) -> Output:
        outputs = [model(batch) for model in self.models]
        conversions = [out.conversion for out in outputs if out.conversion is not None]
        return Output(_mean([out.logit for out in outputs]), conversion=_mean(conversions) if conversions else None)


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack(logits).mean(0)


def each_member(ready: Any) -> list[Any]:
    """Return a preparation for each of the `train.members`: the same, with one member and a seed of its own."""
    run, train = ready.run, ready.run.train
    trains = [replace(train, seed=train.seed + k, members=1) for k in range(train.members)]
    return [replace(ready, run=replace(run, train=one)) for one in trains]
