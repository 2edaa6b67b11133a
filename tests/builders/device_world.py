"""The world in which waits and launches of a training step are counted, and the count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from pretended import pretended

import graphs
from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.data.planted import planted
from hyperctr.runs.prepare import build_model, prepare
from hyperctr.runs.train import _wrapped
from hyperctr.training.fit import fit


def world(conversions: bool = False) -> Dataset:
    """Make the world: 1,200 users, 720 items of three modalities, logged non-clicks, four behaviour types."""
    found = planted("drift", scale=1.2).dataset
    rng, log = np.random.default_rng(0), found.interactions
    log = replace(log, type=rng.integers(0, 4, len(log)), num_types=4)
    if conversions:
        log = replace(log, conversion=np.where(log.label == 1, rng.random(len(log)), np.nan).astype(np.float32))
    titles = np.array([f"word{k % 50} word{k % 7}" for k in range(log.num_items)])
    return replace(found, interactions=log, items=replace(found.items, titles=titles))


@dataclass
class Step:
    """What one training step asked of the device."""

    operations: int
    waits: int
    copies: int
    places: dict


def steps(run: config.Run, dataset: Dataset, count: int = 8) -> list[Step]:
    """Train `count` steps on the pretended device and return what each but the first asked for."""
    ready, found = prepare(run, dataset), []
    torch.manual_seed(0)
    model = build_model(ready)
    trained = _wrapped(ready, model)

    def note(*_) -> None:
        """Note what was asked for since the last forward pass began."""
        found.append(Step(seen.operations.total(), seen.waits.total(), seen.copies.total(), dict(seen.waits)))
        seen.clear()

    with pretended() as seen, graphs.use_kernels("reference"):
        trained.to("cuda").register_forward_pre_hook(note)
        train = replace(run.train, epochs=1, eval_every=1.0)
        fit(trained, lambda epoch: islice(ready.train_batches(epoch), count + 1), lambda: 0.5, train, ready.train_rows)
    return found[2:]  # without what comes before the first step, and the first step
