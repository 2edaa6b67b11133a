"""A separate random stream, so that a wrapper does not change the random numbers of the model inside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class RandomStream(nn.Module):
    """A second random stream, for all that is drawn inside `stream()`.

    It depends on torch's seed when the object was made, and on how often `stream` was opened since. That count is part
    of the state dict, so that a resumed training draws the same numbers as an unbroken one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = torch.initial_seed()
        self.register_buffer("opened", torch.zeros((), dtype=torch.long))

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Seed torch's CPU generator for the block, and restore its state afterwards."""
        before = torch.get_rng_state()
        torch.default_generator.manual_seed((self.seed * 1_000_003 + int(self.opened)) % 2**63)
        self.opened += 1
        try:
            yield
        finally:
            torch.set_rng_state(before)
