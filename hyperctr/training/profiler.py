"""Where time goes: in a training, which `hyperctr train --profile` prints, and in several ways to do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import nn

from graphs import HGCN
from hyperctr.batch import Batch

WATCHED = {"look-ups": nn.Embedding, "hypergraphs": HGCN}  # modules whose share of the forward pass is told


class StepTimer:
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


def times_in_turn(
    ways: Mapping[str, Callable[[Any], Any]],
    given: Sequence[Any],
    rounds: int,
    seconds: float = 0.0,
    now: Callable[[], float] = time.perf_counter,
    twice: bool = False,
) -> dict[str, np.ndarray]:
    """Milliseconds of each of several ways to do the same, called in turn: other work falls on all alike.

    Args:
        ways: functions of one argument, by name.
        given: arguments; a round takes the next one, the first again after the last.
        rounds: at least so many.
        seconds: more rounds until so many have passed in all.
        now: seconds, from whenever: `time.process_time` and `time.thread_time` stand while others have the core.
        twice: whether each call follows one that is not timed.

    Returns:
        [rounds done] for each way.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    began, done = time.perf_counter(), 0
    while done < rounds or time.perf_counter() - began < seconds:
        one = given[done % len(given)]
        for name, do in ways.items():
            if twice:
                do(one)
            start = now()
            do(one)
            found[name].append(1e3 * (now() - start))
        done += 1
    return {name: np.array(times) for name, times in found.items()}
