"""One training step as `hyperctr train` takes it, for benchmarks that time a step by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import nn

from hyperctr.batch import Batch
from hyperctr.training.optim import clip, coalesce, decay, optimisers


def step_of(model: nn.Module, lr: float = 1e-3, l2: float = 1e-5, norm: float = 5.0) -> Callable[[Batch], None]:
    """Return a function that takes one step on a batch; the keys are those of `[train]`, `norm` is `clip`."""
    model.train()
    adams = optimisers(model, lr)

    def take(batch: Batch) -> None:
        out = model(batch)
        loss = F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty
        for adam in adams:
            adam.zero_grad()
        loss.backward()
        coalesce(model)
        decay(model, l2)
        clip(model, norm)
        for adam in adams:
            adam.step()

    return take
