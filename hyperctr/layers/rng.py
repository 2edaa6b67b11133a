"""A separate random stream, so that a wrapper does not change the random numbers of the model inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Counting(nn.Module):
    """A module with whole numbers in its state dict that stay on the host: to read one does not wait for a device.

    Attributes:
        counts: their names. The numbers are plain attributes, set in `__init__`.
    """

    counts: ClassVar[tuple[str, ...]] = ()

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: torch.tensor(getattr(self, name)) for name in self.counts})

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, metadata: Any, strict: bool, missing: list, *rest: Any
    ) -> None:
        others = dict(state_dict)
        for name in self.counts:
            value = others.pop(prefix + name, None)
            if value is not None:
                setattr(self, name, int(value))
            elif strict:
                missing.append(prefix + name)
        super()._load_from_state_dict(others, prefix, metadata, strict, missing, *rest)


class RandomStream(Counting):
    """A second random stream, for all that is drawn inside `stream()`.

    It depends on torch's seed when the object was made, and on how often `stream` was opened since. That count is part
    of the state dict, so that a resumed training draws the same numbers as an unbroken one.
    """

    counts = ("opened",)

    def __init__(self) -> None:
        super().__init__()
        self.seed, self.opened = torch.initial_seed(), 0

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Seed torch's generators for the block, and restore their states afterwards."""
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed((self.seed * 1_000_003 + self.opened) % 2**63)
            self.opened += 1
            yield
