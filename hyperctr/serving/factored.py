"""Score many candidates for one user at one time with MIAN, equal to its forward at a fraction of the work.

The Transformer does not read the candidate, so it runs once per request. Everything else up to the first ReLU of the
top is linear, except for the attention weights: R of Eq. (9), (11), (13) is a sum of a term of the candidate and terms
of the keys, and so are the attention scores and the sums of the first layer. So every linear map is applied in advance:
to the items once per model (`Factored`), and to the user once per request (`Side`). Per candidate there remain the
softmaxes, a sum of rows as wide as the first layer, and the layers after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperctr.batch import Batch
from hyperctr.models.mian import MIAN
from hyperctr.runs.open import Opened, request

BLOCK = 2**14  # items per block
LEAST = 0.3  # less than the exponential of any one score; without keys it avoids 0 / 0


@dataclass(frozen=True)
class Side:
    """The terms of one user at one time, for any candidate: n keys of i interactions, and r parts without a candidate.

    Attributes:
        own: term of each key's score, Eq. (8), [n].
        belongs: 1 where a key belongs to an interaction, 0 for padding, [n, i].
        keys: the mapped keys, [n, h + 1].
        raw: the mapped e_c, e_b and e_u, [r, h + 1].
    """

    own: Tensor
    belongs: Tensor
    keys: Tensor
    raw: Tensor


class Factored:
    """A trained MIAN with its linear maps applied to all items; make a new one after another training step.

    *Mapped* means: a part r_l of Eq. (14) goes through its map of Eq. (15) and the first layer of Eq. (16) in one step.
    The result is h sums before the ReLU and, last, its score before the tanh.

    Args:
        model: a MIAN in any configuration.

    Attributes:
        table: per item, its terms of the scores of the n keys; then its mapped terms as e_i and as the first half of
            each interaction. [num_items + 1, n + (1 + i) (h + 1)]; the last row is for an unknown item.
    """

    @torch.no_grad()
    def __init__(self, model: MIAN):
        self.model = model.eval()
        self.maps = _maps(model)
        every = {
            "R_ibim": (model.ibim, model.config.history),
            "R_iuim": (model.iuim, len(model.user_fields)),
            "R_icim": (model.icim, len(model.context_fields)),
        }
        self.interactions = {part: pair for part, pair in every.items() if part in model.parts}
        item = torch.arange(len(model.embed.seen_item), device=model.out.weight.device)
        self.table = torch.cat([self._rows(some) for some in item.split(BLOCK)])

    def _rows(self, item: Tensor) -> Tensor:
        x = self.model.widen(self.model.embed.item_vectors(item).flatten(1))
        scores = [F.linear(x, attention.of_item.expand(count, -1)) for attention, count in self.interactions.values()]
        fronts = []
        for part in ("e_i", *self.interactions):
            weight, bias = self.maps[part]
            fronts.append(F.linear(x, weight[:, : x.shape[1]], bias))
        return torch.cat([*scores, *fronts], 1)

    @torch.no_grad()
    def side(self, batch: Batch) -> Side:
        """Compute the user's side of a batch of one query; its candidates do not matter.

        Raises:
            ValueError: there are several queries.
        """
        if len(batch.query_row) != 1:
            raise ValueError(f"a request is one user at one time, this batch has {len(batch.query_row)} queries")
        unknown = batch.item.new_tensor([len(self.table) - 1])  # the terms of the candidates are in the table
        context = None if batch.context is None else batch.context[:1]
        one = replace(batch, user=batch.user[:1], item=unknown, query=batch.query[:1], context=context)
        model, groups = self.model, self.model.groups(one)
        states, mean = model.read(groups)
        user, context = groups.user, groups.context
        of_user = {"R_ibim": states[:, groups.mask[0]], "R_iuim": user, "R_icim": context}
        belongs = mean.new_zeros(sum(count for _, count in self.interactions.values()), len(self.interactions))
        width = len(self.maps["e_i"][1])
        own, keys, start = [mean.new_empty(0)], [mean.new_empty(0, width)], 0
        for k, (part, (attention, count)) in enumerate(self.interactions.items()):
            real, weight = of_user[part].shape[1], self.maps[part][0]
            x = F.pad(of_user[part], (0, 0, 0, count - real))
            own.append(attention.of_keys(x)[0])
            keys.append(F.linear(x[0], weight[:, weight.shape[1] - x.shape[2] :]))
            belongs[start : start + real, k] = 1.0
            start += count
        raw = {"e_c": context.flatten(1), "e_b": mean, "e_u": user.flatten(1)}
        mapped = [F.linear(raw[part], *self.maps[part]) for part in model.parts if part in raw]
        return Side(torch.cat(own), belongs, torch.cat(keys), torch.cat([mean.new_empty(0, width), *mapped]))

    @torch.no_grad()
    def logit(self, side: Side, item: Tensor) -> Tensor:
        """Compute the logits of candidates [C] for a side: the logits of `model` on a batch of them, [C]."""
        count, interactions = side.belongs.shape
        row = self.table.index_select(0, item)
        front = row[:, count:].view(len(item), 1 + interactions, side.keys.shape[1])  # [C, 1 + i, h + 1]
        power = torch.tanh(
            row[:, :count] + side.own
        ).exp()  # Eq. (8); Eq. (7) is its share; tanh bounds it by 1/e and e
        total = (power @ side.belongs).clamp(min=LEAST)
        near, far = self._shares(side, front, power, total)
        power = power * ((near[:, 1:] / total) @ side.belongs.T)
        of_user = torch.cat([power, far], 1) @ torch.cat([side.keys, side.raw])[:, :-1]
        first, *rest = self.model.top
        x = of_user + (near[:, :, None] * front[..., :-1]).sum(1) + first.bias
        for layer in rest:
            x = layer(x)
        return self.model.out(x).squeeze(1)

    def _shares(self, side: Side, front: Tensor, power: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Compute Eq. (15): the weights of the parts with the candidate, [C, 1 + i], and without it, [C, r]."""
        if self.model.gim is None:
            return front.new_ones(front.shape[:2]), front.new_ones(len(front), len(side.raw))
        of_keys = power @ (side.belongs * side.keys[:, -1:]) / total
        near = torch.cat([front[:, :1, -1], front[:, 1:, -1] + of_keys], 1)
        near, far = torch.tanh(near).exp(), torch.tanh(side.raw[:, -1]).exp()
        total = near.sum(1, keepdim=True) + far.sum()
        return near / total, far / total


def _maps(model: MIAN) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the weight [h + 1, width] and bias [h + 1] that map each part; without GIM there are no scores."""
    first, maps = model.top[0].weight, {}
    if model.gim is None:
        for part, weight in zip(model.parts, first.split([*model.widths.values()], 1), strict=True):
            maps[part] = F.pad(weight, (0, 0, 0, 1)), first.new_zeros(len(first) + 1)
        return maps
    for part, linear, vector, bias in zip(model.parts, model.gim.maps, model.gim.vector, model.gim.bias, strict=True):
        both = torch.cat([first, vector[None]])
        maps[part] = both @ linear.weight, both @ linear.bias + F.pad(bias[None], (len(first), 0))
    return maps


class Server:
    """A server that scores candidates by the data's own ids.

    Args:
        opened: a trained run of MIAN.

    Raises:
        ValueError: the run has another model.
    """

    def __init__(self, opened: Opened):
        if not isinstance(opened.model, MIAN):
            raise ValueError(f"only MIAN is served in factors, this run's model is {opened.prepared.run.model_name}")
        self.ready, self.factored = opened.prepared, Factored(opened.model)

    def probabilities(
        self, user: Any, items: Sequence, at: Any = None, context: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Predict the click probabilities of candidates for one user at one time; an unknown id counts as a new one.

        Args:
            user, items: ids, also as text; [C] items.
            at: a time as `Opened.predict` takes it; only events strictly before it are read. None: right after
                the last event of the log.
            context: value of each known context column, by name, as in the data set.

        Returns:
            Probabilities, [C].

        Raises:
            ValueError: a column that the model does not read, or a number that the column does not have.
        """
        data = self.ready.dataset
        side = self.factored.side(request(self.ready, int(data.user_ids.numbers([user])[0]), [0], at, context))
        parts = torch.from_numpy(data.item_ids.numbers(items)).split(BLOCK)
        return torch.cat([self.factored.logit(side, some) for some in parts]).sigmoid().numpy()
