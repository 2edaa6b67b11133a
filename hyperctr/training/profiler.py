"""Measure time: per part of a training step, for `hyperctr train --profile`, and of several functions in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import nn

from graphs import HGCN
from hyperctr.batch import Batch

WATCHED = {"look-ups": nn.Embedding, "hypergraphs": HGCN}  # modules whose share of the forward pass is measured


class StepTimer:
    """A clock that sums the seconds of each part of a training.

    `with clock("backward"):` times a part. On a GPU, work counts where the CPU waits for it, and on CUDA a thread makes
    batches beside the other parts.

    Args:
        now: returns seconds, from any start.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self.now, self.seconds, self.steps = now, {}, 0
        self._running: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add the time inside the `with` block to a part."""
        began = self.now()
        try:
            yield
        finally:
            self._add(part, self.now() - began)

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches on and count one step per batch; the time to make them is the part "batches"."""
        source = iter(batches)
        while True:
            with self("batches"):
                batch = next(source, None)
            if batch is None:
                return
            self.steps += 1
            yield batch

    def watch(self, model: nn.Module) -> None:
        """Measure the modules of `WATCHED` as parts of their own, in training mode."""
        for name, kind in WATCHED.items():
            for module in (m for m in model.modules() if isinstance(m, kind)):
                module.register_forward_pre_hook(lambda module, given, name=name: self._enter(module, name))
                module.register_forward_hook(lambda module, given, output, name=name: self._leave(module, name))

    def table(self) -> list[dict[str, Any]]:
        """Return one row per part: part, of (the part that contains it), ms per step, and share of the whole.

        Parts are in the order in which they first ended. A part of a part is not counted in the whole again. Without a
        step there are no rows.
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
    """Time several functions in turn, so that other work on the machine affects all of them equally.

    Args:
        ways: functions of one argument, by name.
        given: arguments; each round takes the next one, and starts again after the last.
        rounds: the fewest rounds.
        seconds: rounds continue until this time has passed.
        now: returns seconds, from any start; `time.process_time` and `time.thread_time` do not count time in which
            other processes use the core.
        twice: whether each timed call follows an untimed call with the same argument.

    Returns:
        Milliseconds per call, [rounds done], by name.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    began, done = time.perf_counter(), 0
    while done < rounds or time.perf_counter() - began < seconds:
        one = given[done % len(given)]
        for name, do in ways.items():
            if twice:
                do(one)
            start = now()
            do(one)
            times[name].append(1e3 * (now() - start))
        done += 1
    return {name: np.array(each) for name, each in times.items()}
