"""Score one row without one thing that it reads: a hyperedge, a modality, a slice, a click."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphs import Hypergraph
from hyperctr.batch import Batch
from hyperctr.hypergraphs.recipes import Side


@dataclass(frozen=True)
class PerturbedRow:
    """One row to predict, what the model reads for it, and the same row with something left out.

    Attributes:
        model: HyperCTR. batch: this row alone.
        slices: slice of the hypergraphs that the row reads for its user and for its item; None: none.
        sides: these hypergraphs.
        states: what Eq. 5 makes of them for the user and for the item, [graphs * dim]; None: no state.
        older: states that are read where these hypergraphs give none, as a row of the random split does.
        buffers: buffers of the model that are replaced, by name.
    """

    model: nn.Module
    batch: Batch
    slices: tuple[int | None, ...] = (None, None)
    sides: tuple[Side | None, ...] = (None, None)
    states: tuple[Tensor | None, ...] = (None, None)
    older: tuple[Tensor | None, ...] = (None, None)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, batch: Batch) -> PerturbedRow:
        """Look up the hypergraphs that a row reads, and compute its states on them."""
        if model.interest is not None:
            model(batch)  # joint mode: the hypergraphs are renewed with the current weights
        row, now = cls(model, batch), model.slice_of(batch.time)
        looks = [(now, model.config.carry == "none")]  # before which slice; whether only in the slice just before
        if model.states.slices.own:
            looks += [(now + 1, True)]  # the row's own slice, if there is a state in it
        for k, node in enumerate((batch.user, batch.item)):
            kind = model.states.kinds[k]
            for before, only in looks if model.config.depth else []:
                place = kind.carried.find(node, before, only)
                if place >= 0:
                    n = bisect_right(kind.carried.offset, int(place)) - 1
                    newer = row._set(k, slices=n, sides=kind.sides[n], older=row.states[k])
                    newer = newer.with_hypergraphs(k, kind.sides[n].graphs)
                    row = newer if row.sides[k] is None or newer.states[k] is not row.states[k] else row
        return row

    def _set(self, k: int, **values: Any) -> PerturbedRow:
        """Replace values of the user (0) or the item (1)."""
        pairs = {name: (*getattr(self, name)[:k], x, *getattr(self, name)[k + 1 :]) for name, x in values.items()}
        return replace(self, **pairs)

    @torch.no_grad()
    def logit(self) -> float:
        """Score the row, with the states as they are."""
        return functional_call(self.model, self.buffers, (self.batch,), {"states": self.states}).logit.item()

    def local(self, k: int) -> int:
        """Return the number of the user (item) in its side."""
        return int(torch.searchsorted(self.sides[k].nodes, (self.batch.user, self.batch.item)[k]))

    @torch.no_grad()
    def with_hypergraphs(self, k: int, graphs: Sequence[Hypergraph] | None) -> PerturbedRow:
        """Read other hypergraphs on the side's nodes, or none, for the user (0) or the item (1)."""
        state = self.older[k]
        if graphs is not None:
            states = self.model.states
            compacted = states.compacted(self.sides[k], graphs)
            place = int(compacted.place[self.local(k)])
            if place >= 0:
                state = states.convolve(states.kinds[k], compacted, self._inputs)[-1][place]
        return self._set(k, states=state)

    def _inputs(self, kind: int, node: Tensor) -> Tensor:
        """Return X^(0) of nodes with the row's buffers."""
        buffers = {f"model.{name}": x for name, x in self.buffers.items()}
        return functional_call(_Inputs(self.model), buffers, (kind, node))

    def without_features(self, modality: str) -> PerturbedRow:
        """Leave out the features of a modality, in items and in the inputs of their hypergraphs."""
        name = f"present_{modality}"
        row = replace(self, buffers={name: torch.zeros_like(self.model.get_buffer(name))})
        return row if self.states[1] is None else row.with_hypergraphs(1, self.sides[1].graphs)

    def clicks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return item, time and slice of the clicks of the history, oldest first."""
        past = self.batch.histories
        item, time = past.item[past.mask], past.time[past.mask]
        return item.numpy(), time.numpy(), self.model.slice_of(time).numpy()

    def with_history(self, kept: np.ndarray) -> PerturbedRow:
        """Keep only the clicks of the history where a mask is True."""
        past, kept = self.batch.histories, torch.from_numpy(kept)
        size = past.mask.shape[1]

        def column(x: Tensor | None) -> Tensor | None:
            if x is None:
                return None
            left = x[past.mask][kept]
            return torch.cat([left, x.new_zeros(size - len(left))])[None]

        mask = (torch.arange(size) < kept.sum())[None]
        shorter = replace(past, item=column(past.item), time=column(past.time), type=column(past.type), mask=mask)
        return replace(self, batch=replace(self.batch, histories=shorter))


@dataclass(frozen=True)
class PerturbedMembers:
    """One row as several members of a run read it, on the same hypergraphs; the logit is the mean of theirs.

    Attributes:
        members: the row of each. What depends on no weight is that of the first.
    """

    members: tuple[PerturbedRow, ...]

    @classmethod
    def of(cls, models: Sequence[nn.Module], batch: Batch) -> PerturbedMembers:
        """Look up what each member reads."""
        return cls(tuple(PerturbedRow.of(model, batch) for model in models))

    @property
    def model(self) -> nn.Module:
        """The first member."""
        return self.members[0].model

    @property
    def slices(self) -> tuple[int | None, ...]:
        """Slices of the hypergraphs that the row reads."""
        return self.members[0].slices

    @property
    def sides(self) -> tuple[Side | None, ...]:
        """These hypergraphs."""
        return self.members[0].sides

    @property
    def states(self) -> tuple[Tensor | None, ...]:
        """States of the first member; None where no member has one."""
        return self.members[0].states

    def logit(self) -> float:
        """Average the logits of the members."""
        return sum(member.logit() for member in self.members) / len(self.members)

    def local(self, k: int) -> int:
        """Return the number of the user (item) in its side."""
        return self.members[0].local(k)

    def clicks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return item, time and slice of the clicks of the history, oldest first."""
        return self.members[0].clicks()

    def with_hypergraphs(self, k: int, graphs: Sequence[Hypergraph] | None) -> PerturbedMembers:
        """Read other hypergraphs, as `PerturbedRow` does."""
        return PerturbedMembers(tuple(member.with_hypergraphs(k, graphs) for member in self.members))

    def without_features(self, modality: str) -> PerturbedMembers:
        """Leave out the features of a modality."""
        return PerturbedMembers(tuple(member.without_features(modality) for member in self.members))

    def with_history(self, kept: np.ndarray) -> PerturbedMembers:
        """Keep only the clicks of the history where a mask is True."""
        return PerturbedMembers(tuple(member.with_history(kept) for member in self.members))


class _Inputs(nn.Module):
    """HyperCTR's X^(0) as a module of its own, because `functional_call` takes a module."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, kind: int, node: Tensor) -> Tensor:
        return self.model.item_inputs(node) if kind else self.model.user_inputs(node)
