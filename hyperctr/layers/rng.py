"""Random draws that leave torch's own as they are: what wears a model must not change what the model draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class RandomStream(nn.Module):
    """A second random stream, of one's own, for whatever is drawn inside `stream()`.

    It depends on the seed that torch had when this was made and on how often it was opened. The count is part of the
    state, so that a resumed training draws as an unbroken one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = torch.initial_seed()
        self.register_buffer("opened", torch.zeros((), dtype=torch.long))

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Seed torch's CPU generator anew, and put it back behind the block as it was before."""
        before = torch.get_rng_state()
        torch.default_generator.manual_seed((self.seed * 1_000_003 + int(self.opened)) % 2**63)
        self.opened += 1
        try:
            yield
        finally:
            torch.set_rng_state(before)
