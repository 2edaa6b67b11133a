"""MARN, Multimodal Adversarial Representation Network (WWW 2020, arXiv 2003.07162): specific and invariant parts.

Every modality of an item is split into a specific part, which only this modality says, and an invariant part, which
all modalities say. Specific parts are added up, weighted by an attention that depends on them only. Invariant parts are
trained against a discriminator that must not recognise their modality, and joined by their maximum. There are two
discriminators. D0 measures how well a modality can be recognised by its invariant part: the better, the lower the
weight of that part. D1 is confused by the invariant parts, and recognises the specific ones. The clicks are read by a
GRU whose update gate reads each click's behaviour type and age (APGRU), and by an attention of the candidate.

Four objectives (Eq. 10) have one backward pass. Cuts in the graph decide which weights each of them trains:

| objective       | trains                                         | is kept from                     |
|-----------------|------------------------------------------------|----------------------------------|
| L_CTR           | everything but the discriminators              | D0 (w is a constant), D1         |
| lambda * L_Ds   | D1 and the specific projections S_m            | the embeddings E                 |
| L_D0            | D0                                             | the invariant projection I, E    |
| lambda * L_ADV  | D1, and I with the gradient reversed           | E, D0                            |

Where we differ from the paper, and why:
- Eq. (7) and (9) write log D1 without a class: here the class is the modality. Sums over modalities are means over the
  present (item, modality) pairs; an item counts as often as it occurs in the batch.
- The degrees w multiply the likelihood, as in Eq. (7) and its optimum (8), not the features before D1, as the sentence
  above Eq. (7) says. In the maximum they multiply the features.
- D_s, whose matrix the paper shares with D1, is D1. A discriminator is a linear map; S_m and I are a linear map and a
  ReLU.
- "CONC" adds the projected modalities up (`fusion="sum"`), as the paper's text says, in spite of its name.
- An absent modality takes no part in the sum, the maximum and the losses. Title vectors are learned, because no data
  set here has pretrained words. Statistics are taken at the start of the row's time slice, so an item's vector depends
  on the item and the slice only.
- The network on top reads the user's id and fields and the context too, as the other models here do.
- The optimiser is Adam, as for all models here; the paper has AdaGrad with step size 0.1. Set `train.l2` to 0 as in the
  paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.attention import Relevance
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_choices, check_shares, check_sizes
from hyperctr.layers.chunked import blockwise
from hyperctr.layers.embedding import Profile, Property
from hyperctr.layers.fusion import FIELD, BatchItems, Maps, Modalities
from hyperctr.layers.mlp import Linear, mlp
from hyperctr.layers.recurrent import LastState, gru
from hyperctr.layers.rng import Counting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of MARN, and the switches of its Table 3."""

    modalities: tuple[str, ...] = ()
    """Modalities to fuse: ids, title, statistic and the data's own by name; empty takes all that the data has."""
    dim: int = 64
    """Width of e, s, c, of an item's vector and of the GRU's state; the paper has 256."""
    fusion: Literal["sum", "maf"] = "maf"
    """Modalities added up (CONC), or their specific parts weighted by attention (MAF), Eq. (2)-(3)."""
    adversary: Literal["none", "single", "double"] = "double"
    """No invariant part; one learned against D1 only (ADV); or with D0's degrees (DDMA). Needs MAF."""
    behaviour: Literal["gru", "apgru"] = "apgru"
    """The last state of a GRU (BaseModel), or a GRU that reads each click's property, and attention (APGRU)."""
    weight: float = 0.05
    """lambda_0, the final value of lambda; the paper's best of 0.01 to 1.8."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the network on top; the paper's for Amazon, (512, 256) for Taobao."""
    dropout: float = 0.0
    """Share of activations dropped in the network on top; the paper mentions none."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")
        check_choices(self, "fusion", "adversary", "behaviour")
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"model.weight must be a number, at least 0, got {self.weight}")
        if self.fusion == "sum" and self.adversary != "none":
            raise ValueError('model.fusion="sum" has no invariant parts, use it with model.adversary="none"')


def reversed_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """Return x, but multiply its gradient by -scale: the gradient reversal layer between I and D1."""
    same = x.view_as(x)
    if same.requires_grad:
        same.register_hook(lambda gradient: -scale * gradient)
    return same


def ramp(progress: float) -> float:
    """Compute lambda / lambda_0 = 2 / (1 + e^(-10 p)) - 1, from 0 at p = 0 to 1 at p = 1: section 4.1."""
    return 2 / (1 + math.exp(-10 * min(progress, 1.0))) - 1


@dataclass(frozen=True)
class Parts:
    """The parts of U items with M modalities; None where an ablation has no such part.

    Attributes:
        present: whether the item has the modality, [M, U].
        embedded: e^m, [M, U, d].
        specific: s^m, [M, U, d]. attention: Eq. (3), in (-1, 1), [M, U, d].
        invariant: c^m, [M, U, d]. degree: w^m, in [0, 1], [M, U].
        own: s, the weighted sum, [U, d]. common: c, the maximum, [U, d].
        vector: rep, [U, d].
    """

    present: Tensor
    embedded: Tensor
    specific: Tensor | None
    attention: Tensor | None
    invariant: Tensor | None
    degree: Tensor | None
    own: Tensor
    common: Tensor | None
    vector: Tensor


class APGRU(nn.Module):
    """A GRU with an update gate that also reads a click's property, section 3.4.1.

    h_t = (1 - u) h_(t-1) + u n with u = sigma(W^u rep + P^u p + U^u h + b^u). torch's gate z is 1 - u, which changes
    the signs of W^u, P^u, U^u and b^u. Blocks are in torch's order: reset, z, new state.
    """

    def __init__(self, dim: int, property: int):
        super().__init__()
        self.item, self.state = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim)
        self.property = nn.Linear(property, dim, bias=False)
        for linear in (self.item, self.state):
            nn.init.zeros_(linear.bias)
            for block in linear.weight.chunk(3):
                nn.init.xavier_uniform_(block)
        nn.init.xavier_uniform_(self.property.weight)

    def forward(self, clicks: Tensor, property: Tensor) -> Tensor:
        """Return the state after each click: [Q, T, d] and [Q, T, p] -> [Q, T, d]."""
        return choose(self._plain_forward, self._fast_forward)(clicks, property)

    def _plain_forward(self, clicks: Tensor, property: Tensor) -> Tensor:
        h, states = torch.zeros_like(clicks[:, 0]), []
        for rep, p in zip(clicks.unbind(1), property.unbind(1), strict=True):
            of_item, of_state = self.item(rep).chunk(3, 1), self.state(h).chunk(3, 1)
            reset = (of_item[0] + of_state[0]).sigmoid()
            z = (of_item[1] + of_state[1] + self.property(p)).sigmoid()  # 1 - u
            new = (of_item[2] + reset * of_state[2]).tanh()
            h = z * h + (1 - z) * new
            states.append(h)
        return torch.stack(states, 1)

    def _fast_forward(self, clicks: Tensor, property: Tensor) -> Tensor:
        """Call a GRU on [rep; p]; the columns that read p are zero but for the update gate."""
        d = clicks.shape[2]
        weight = torch.cat([self.item.weight, F.pad(self.property.weight, (0, 0, d, d))], 1)
        return gru(torch.cat([clicks, property], 2), weight, self.state.weight, self.item.bias, self.state.bias)


class MARN(Counting):
    """logit = w^T MLP[u ; rep ; profile] + b, with rep the candidate's vector and u the user's."""

    Config = Config
    reads = frozenset({"statistics", "titles"})
    tasks = ("click",)
    counts = ("step",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        d, self.config, self.steps = config.dim, config, tables.steps
        self.modalities = Modalities(tables, config.modalities, d)  # E
        m = len(self.modalities)
        if config.fusion == "maf":
            self.specific, self.weigh = Maps(m, d, d), Maps(m, d, d)  # S_m; W_m of Eq. (3)
        if config.adversary != "none":
            self.invariant, self.second = _xavier(d, d), _xavier(d, m)  # I, D1 and D_s
        if config.adversary == "double":
            self.first = _xavier(d, m)  # D0
        if config.behaviour == "apgru":
            self.property, self.gru, self.relevance = Property(tables), APGRU(d, Property.width), Relevance(d, d)
        else:
            self.gru = LastState(d, d)
        self.profile = Profile(tables, FIELD)
        self.top = mlp(2 * d + self.profile.width, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)
        self.step = 0  # of training so far

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        items = self.modalities.distinct(batch)
        if not self._learns(batch):
            hidden = self.read(batch, *items.spread(self.vectors(items.item, items.snapshot)))
            return Output(self.out(hidden).squeeze(1), hidden=hidden)
        parts = self.encode(items.item, items.snapshot)
        hidden = self.read(batch, *items.spread(parts.vector))
        penalty, logs = self._penalty(parts, items)
        return Output(self.out(hidden).squeeze(1), penalty, logs, hidden)

    # --- an item -----------------------------------------------------------------------------------------------------

    def vectors(self, item: Tensor, snapshot: Tensor) -> Tensor:
        """Compute rep of items [U] for snapshots [U] of the statistics: [U, d]."""

        def encode(item: Tensor, snapshot: Tensor) -> Tensor:
            return self.encode(item, snapshot).vector

        return blockwise(encode, 8 * len(self.modalities) * self.config.dim, item, snapshot)

    def encode(self, item: Tensor, snapshot: Tensor) -> Parts:
        """Compute all parts of items [U], from their modalities to their vectors."""
        e, present = self.modalities(item, snapshot)
        there = present[:, :, None]
        if self.config.fusion == "sum":
            vector = e.sum(0)  # absent ones are zero
            return Parts(present, e, None, None, None, None, vector, None, vector)
        s = self.specific(e).relu()
        attention = self.weigh(s).tanh()  # (3)
        own = (attention * s * there).sum(0)  # (2)
        if self.config.adversary == "none":
            return Parts(present, e, s, attention, None, None, own, None, own)
        c = self.invariant(e).relu()
        degree = self._degree(c)
        common = (degree[:, :, None] * c * there).amax(0)  # none is below 0: an absent one is never the maximum
        return Parts(present, e, s, attention, c, degree, own, common, own + common)

    def _degree(self, c: Tensor) -> Tensor:
        """Compute w^m = 1 - D0^m(c^m), without gradients: [M, U, d] -> [M, U]."""
        if self.config.adversary == "single":
            return c.new_ones(c.shape[:2])
        return 1 - _of_own(self.first(c.detach()).softmax(2)).detach()

    # --- the objectives ----------------------------------------------------------------------------------------------

    def objectives(self, parts: Parts, count: Tensor) -> dict[str, Tensor]:
        """Compute L_Ds, L_D0 and -L_ADV of Eq. (10), without lambda: means over present modalities of items.

        Args:
            parts: of U items.
            count: how often each item occurs in the batch, which is its weight, [U].
        """
        weight = parts.present * count
        weight = weight / weight.sum().clamp(min=1)
        e, found = parts.embedded.detach(), {}
        found["specific"] = _recognition(self.second(self.specific(e).relu()), weight)
        if self.config.adversary == "double":
            found["first"] = _recognition(self.first(parts.invariant.detach()), weight)
        invariant = reversed_gradient(self.invariant(e).relu())
        found["adversarial"] = _recognition(self.second(invariant), weight * parts.degree)
        return found

    def _learns(self, batch: Batch) -> bool:
        return self.training and self.config.adversary != "none" and not batch.is_augmented

    def _penalty(self, parts: Parts, items: BatchItems) -> tuple[Tensor, dict[str, float]]:
        """Compute lambda L_Ds + L_D0 - lambda L_ADV and numbers to log; advance lambda by one step."""
        share = self.config.weight * ramp(self.step / max(self.steps, 1))
        self.step += 1
        found = self.objectives(parts, items.count)
        penalty = share * (found["specific"] + found["adversarial"]) + found.get("first", 0.0)
        return penalty, {name: x.detach() for name, x in found.items()} | {"lambda": share}

    # --- a user and a candidate --------------------------------------------------------------------------------------

    def read(self, batch: Batch, item: Tensor, clicks: Tensor) -> Tensor:
        """Return the last hidden vector for given vectors of candidates [B, d] and of clicks [Q, T, d]."""
        user = self.user(batch, item, clicks)
        return self.top(torch.cat([user, item, self.profile(batch)], 1))

    def user(self, batch: Batch, item: Tensor, clicks: Tensor) -> Tensor:
        """Compute the user's vector for each candidate, section 3.4.1: [B, d]; zero without a click."""
        if self.config.behaviour == "gru":
            return batch.expand_to_rows(self.gru(clicks, batch.histories.mask))
        states = self.gru(clicks, self.property(batch))
        return self.relevance(states, item, batch.histories.mask, batch.query, states)


def _xavier(dim: int, width: int) -> nn.Linear:
    linear = nn.Linear(dim, width)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _of_own(x: Tensor) -> Tensor:
    """Take each modality's number for its own class: [M, U, M] -> [M, U]."""
    return x.diagonal(dim1=0, dim2=2).T


def _recognition(score: Tensor, weight: Tensor) -> Tensor:
    """Sum the cross entropy of recognising each modality by its scores [M, U, M], weighted by [M, U]."""
    return -(_of_own(score.log_softmax(2)) * weight).sum()
