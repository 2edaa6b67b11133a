"""DUPN, Deep User Perception Network (KDD 2018, arXiv 1805.10727): an LSTM whose gates read each click's property.

Where we differ from the paper, and why:
- A click log has no search query: in the attention, the candidate takes its place.
- There is one task, the click; the paper's other four tasks have no labels here.
- Modalities are put side by side, as in MARN's Table 2; an absent one is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.attention import Relevance
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Profile, Property
from hyperctr.layers.fusion import FIELD, Modalities
from hyperctr.layers.mlp import Linear, mlp


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of DUPN."""

    modalities: tuple[str, ...] = ()
    """Modalities to read: ids, title, statistic and the data's own by name; empty takes all that the data has."""
    dim: int = 16
    """Width of each modality's vector."""
    state: int = 64
    """Width of the LSTM's state."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the network on top."""
    dropout: float = 0.0
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "state", "hidden")
        check_shares(self, "dropout")


class PropertyLSTM(nn.Module):
    """An LSTM whose input, forget and output gates read a click's property too; the new content does not.

    Blocks are in torch's order: input, forget, new content, output.
    """

    def __init__(self, dim: int, state: int, property: int):
        super().__init__()
        self.item, self.state = nn.Linear(dim, 4 * state), nn.Linear(state, 4 * state)
        self.property = nn.Linear(property, 3 * state, bias=False)

    def forward(self, clicks: Tensor, property: Tensor) -> Tensor:
        """Return the state after each click: [Q, T, d] and [Q, T, p] -> [Q, T, state]."""
        return choose(self._plain_forward, self._fast_forward)(clicks, property)

    def _plain_forward(self, clicks: Tensor, property: Tensor) -> Tensor:
        h = c = clicks.new_zeros(len(clicks), self.state.in_features)
        states = []
        for x, p in zip(clicks.unbind(1), property.unbind(1), strict=True):
            enter, forget, content, leave = (self.item(x) + self.state(h)).chunk(4, 1)
            of_enter, of_forget, of_leave = self.property(p).chunk(3, 1)
            c = (forget + of_forget).sigmoid() * c + (enter + of_enter).sigmoid() * content.tanh()
            h = (leave + of_leave).sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, 1)

    def _fast_forward(self, clicks: Tensor, property: Tensor) -> Tensor:
        """Call torch's LSTM on [x; p]; the columns of the new content that read p are zero."""
        width = self.state.in_features
        gates = self.property.weight
        of_property = torch.cat([gates[: 2 * width], torch.zeros_like(gates[:width]), gates[2 * width :]])
        matrices = [torch.cat([self.item.weight, of_property], 1), self.state.weight, self.item.bias, self.state.bias]
        start = clicks.new_zeros(1, len(clicks), width)
        x = torch.cat([clicks, property], 2)
        return torch.lstm(x, [start, start], matrices, True, 1, 0.0, self.training, False, True)[0]


class DUPN(nn.Module):
    """logit = w^T MLP[sum_t a_t h_t ; candidate ; profile] + b, with a from [h_t ; p_t] and the candidate."""

    Config = Config
    reads = frozenset({"statistics", "titles"})
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.modalities = Modalities(tables, config.modalities, config.dim)
        width = len(self.modalities) * config.dim
        self.property = Property(tables)
        self.lstm = PropertyLSTM(width, config.state, Property.width)
        self.relevance = Relevance(config.state + Property.width, width)
        self.profile = Profile(tables, FIELD)
        self.top = mlp(config.state + width + self.profile.width, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        items = self.modalities.distinct(batch)
        vectors, _ = self.modalities(items.item, items.snapshot)
        item, clicks = items.spread(vectors.transpose(0, 1).flatten(1))
        property = self.property(batch)
        states = self.lstm(clicks, property)
        user = self.relevance(torch.cat([states, property], 2), item, batch.histories.mask, batch.query, states)
        hidden = self.top(torch.cat([user, item, self.profile(batch)], 1))
        return Output(self.out(hidden).squeeze(1), hidden=hidden)
