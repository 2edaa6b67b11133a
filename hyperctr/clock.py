"""Where the time of a training goes: what `hyperctr train --profile` prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from graphs import HGCN
from hyperctr.batch import Batch

WATCHED = {"look-ups": nn.Embedding, "hypergraphs": HGCN}  # modules whose share of the forward pass is told


class Clock:
    """Adds up the seconds of each part of a training.

    `with clock("backward"):` times a part. On a GPU, work counts where the CPU waits for it.

    Args:
        now: seconds, from whenever.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self.now, self.seconds, self.steps = now, {}, 0
        self._running: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside the block towards a part."""
        began = self.now()
        try:
            yield
        finally:
            self._add(part, self.now() - began)

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches on, a step each; what making them takes is the part "batches"."""
        source = iter(batches)
        while True:
            with self("batches"):
                batch = next(source, None)
            if batch is None:
                return
            self.steps += 1
            yield batch

    def watch(self, model: nn.Module) -> None:
        """Tell apart what `WATCHED` modules take in training."""
        for name, kind in WATCHED.items():
            for module in (m for m in model.modules() if isinstance(m, kind)):
                module.register_forward_pre_hook(lambda module, given, name=name: self._enter(module, name))
                module.register_forward_hook(lambda module, given, found, name=name: self._leave(module, name))

    def table(self) -> list[dict[str, Any]]:
        """One row a part, in the order of their first end: part, of (the part that holds it), ms a step, share of all.

        Parts of a part do not count in the whole once more. No step gives no row.
        """
        if not self.steps:
            return []
        whole = sum(s for part, s in self.seconds.items() if part not in WATCHED)
        rows = [
            {"part": part, "of": "forward" if part in WATCHED else "", "ms": 1e3 * s / self.steps, "share": s / whole}
            for part, s in self.seconds.items()
        ]
        parts = [row for row in rows if not row["of"]]
        return [row for part in parts for row in (part, *(r for r in rows if r["of"] == part["part"]))]

    def _enter(self, module: nn.Module, name: str) -> None:
        if module.training:
            self._running[name] = self.now()

    def _leave(self, module: nn.Module, name: str) -> None:
        if module.training:
            self._add(name, self.now() - self._running[name])

    def _add(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds
