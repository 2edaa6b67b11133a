"""Score one row with something taken away: a hyperedge, a modality, a slice, a click."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from graphs import Hypergraph
from hyperctr.batch import Batch
from hyperctr.hypergraphs.recipes import Side

if TYPE_CHECKING:
    pass


class FixedState:
    """In the place of `Carried`: a state that is given, or none."""

    def __init__(self, state: Tensor | None):
        self.state = state

    def find(self, node: Tensor, slice: Tensor, only: bool = False) -> Tensor:
        return torch.zeros_like(node)

    def read(self, row: Tensor, static: Tensor, live: Sequence = ()) -> Tensor:
        return static if self.state is None else self.state.expand_as(static)


@dataclass(frozen=True)
class PerturbedRow:
    """One row to predict, what the model reads for it, and the same row with something left out.

    Attributes:
        model: HyperCTR. batch: the row alone.
        slices: of the user's and of the item's hypergraphs that the row reads; None: none.
        sides: these hypergraphs.
        states: what Eq. 5 makes of them for the user and the item, [graphs * dim]; None: nothing, no hyperedge.
        older: states that are read where these hypergraphs give none, as a row of the random split does.
    """

    model: nn.Module
    batch: Batch
    slices: tuple[int | None, ...] = (None, None)
    sides: tuple[Side | None, ...] = (None, None)
    states: tuple[Tensor | None, ...] = (None, None)
    older: tuple[Tensor | None, ...] = (None, None)

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, batch: Batch) -> PerturbedRow:
        if model.interest is not None:
            model(batch)  # joint mode: the hypergraphs are those of the weights now
        row, now = cls(model, batch), model.slice_of(batch.time)
        looks = [(now, model.config.carry == "none")]
        looks += [(now + 1, True)] if model.states.slices.own else []  # its own slice, if there is a state in it
        for k, node in enumerate((batch.user, batch.item)):
            carried = model.states.kinds[k].carried
            for at, only in looks if model.config.depth else []:
                found = carried.find(node, at, only)
                if found >= 0:
                    n = int(torch.searchsorted(carried.offset, found, right=True)) - 1
                    side = model.states.kinds[k].sides[n]
                    read = row._set(k, slices=n, sides=side, older=row.states[k]).reading(k, side.graphs)
                    row = read if row.sides[k] is None or read.states[k] is not row.states[k] else row
        return row

    def _set(self, k: int, **values: Any) -> PerturbedRow:
        """With other values for the user (0) or the item (1)."""
        pairs = {name: (*getattr(self, name)[:k], x, *getattr(self, name)[k + 1 :]) for name, x in values.items()}
        return replace(self, **pairs)

    @torch.no_grad()
    def logit(self) -> float:
        """The logit, the states taken as they are."""
        model, states = copy.copy(self.model), copy.copy(self.model.states)
        told = zip(states.kinds, self.states, strict=True)
        states.kinds = [replace(kind, carried=FixedState(state)) for kind, state in told]
        states.step = 1  # nothing is renewed
        model._modules = model._modules | {"states": states}
        return model(self.batch).logit.item()

    def local(self, k: int) -> int:
        """Number of the user (item) in its side."""
        return int(torch.searchsorted(self.sides[k].nodes, (self.batch.user, self.batch.item)[k]))

    @torch.no_grad()
    def reading(self, k: int, graphs: Sequence[Hypergraph] | None) -> PerturbedRow:
        """With other hypergraphs on the side's nodes, or none, in the place of those of the user (0) or item (1)."""
        state = self.older[k]
        if graphs is not None:
            states = self.model.states
            found = states.compacted(self.sides[k], graphs)
            place = int(found.place[self.local(k)])
            state = states.convolve(states.kinds[k], found, self.model._inputs)[-1][place] if place >= 0 else state
        return self._set(k, states=state)

    def blind(self, modality: str) -> PerturbedRow:
        """Without the features of a modality, in items and in the inputs of their hypergraphs."""
        model, name = copy.copy(self.model), f"present_{modality}"
        model._buffers = model._buffers | {name: torch.zeros_like(model._buffers[name])}
        row = replace(self, model=model)
        return row if self.states[1] is None else row.reading(1, self.sides[1].graphs)

    def clicks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Item, time and slice of the clicks of the history, oldest first."""
        past = self.batch.past
        item, time = past.item[past.mask], past.time[past.mask]
        return item.numpy(), time.numpy(), self.model.slice_of(time).numpy()

    def clicking(self, kept: np.ndarray) -> PerturbedRow:
        """With these clicks of the history alone, a mask."""
        past, kept = self.batch.past, torch.from_numpy(kept)
        size = past.mask.shape[1]

        def column(x: Tensor | None) -> Tensor | None:
            if x is None:
                return None
            left = x[past.mask][kept]
            return torch.cat([left, x.new_zeros(size - len(left))])[None]

        mask = (torch.arange(size) < kept.sum())[None]
        shorter = replace(past, item=column(past.item), time=column(past.time), type=column(past.type), mask=mask)
        return replace(self, batch=replace(self.batch, past=shorter))
