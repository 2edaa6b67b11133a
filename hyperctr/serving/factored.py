"""MIAN's scores of many candidates for one user at one moment, equal to the plain forward and a fraction of its work.

The Transformer never sees the candidate, so it runs once a request. Besides, all is linear up to the first ReLU on top
but for the weights of attention: R of Eq. (9), (11), (13) is what the candidate adds and a sum of what the keys add,
and so are the scores and the first layer's sums. So every map is applied beforehand, to the items once a model
(`Factored`), to the user once a request (`Side`). What is left of a candidate are the softmaxes, a sum of rows as wide
as the first layer, and the layers behind it.
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

BLOCK = 2**14  # items at a time
LEAST = 0.3  # below the sum of the powers of any one key: without keys nothing is divided by nothing


@dataclass(frozen=True)
class Side:
    """What one user at one moment adds, whoever the candidate is: n keys of i interactions, and r parts without one.

    Attributes:
        own: to the score of each key, Eq. (8), [n].
        belongs: 1 where a key is of an interaction, 0 for clicks that there are not, [n, i].
        keys: the keys, mapped, [n, h + 1].
        raw: e_c, e_b and e_u, mapped, [r, h + 1].
    """

    own: Tensor
    belongs: Tensor
    keys: Tensor
    raw: Tensor


class Factored:
    """A trained MIAN taken apart; after another training step, make it anew.

    A part r_l of Eq. (14) is *mapped* by its map of Eq. (15) and the first layer of Eq. (16) in one: to h sums in front
    of the ReLU and, last, its score in front of the tanh.

    Args:
        model: in any configuration.

    Attributes:
        table: what each item adds to the scores of the n keys; then, mapped, what it adds as e_i and as the front of
            each interaction. [num_items + 1, n + (1 + i) (h + 1)], the last row any unknown item's.
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
        self.interactions = {part: found for part, found in every.items() if part in model.parts}
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
        """The user's side of a batch of one query, whatever its candidates.

        Raises:
            ValueError: there are several queries.
        """
        if len(batch.query_row) != 1:
            raise ValueError(f"a request is one user at one moment, this batch has {len(batch.query_row)} queries")
        nothing = batch.item.new_tensor([len(self.table) - 1])  # no candidate: theirs are in the table
        context = None if batch.context is None else batch.context[:1]
        asked = replace(batch, user=batch.user[:1], item=nothing, query=batch.query[:1], context=context)
        model, groups = self.model, self.model.groups(asked)
        states, mean = model.read(groups)
        user, context = groups.user, groups.context
        found = {"R_ibim": states[:, groups.mask[0]], "R_iuim": user, "R_icim": context}
        belongs = mean.new_zeros(sum(count for _, count in self.interactions.values()), len(self.interactions))
        width = len(self.maps["e_i"][1])
        own, keys, start = [mean.new_empty(0)], [mean.new_empty(0, width)], 0
        for k, (part, (attention, count)) in enumerate(self.interactions.items()):
            real, weight = found[part].shape[1], self.maps[part][0]
            x = F.pad(found[part], (0, 0, 0, count - real))
            own.append(attention.of_keys(x)[0])
            keys.append(F.linear(x[0], weight[:, weight.shape[1] - x.shape[2] :]))
            belongs[start : start + real, k] = 1.0
            start += count
        raw = {"e_c": context.flatten(1), "e_b": mean, "e_u": user.flatten(1)}
        mapped = [F.linear(raw[part], *self.maps[part]) for part in model.parts if part in raw]
        return Side(torch.cat(own), belongs, torch.cat(keys), torch.cat([mean.new_empty(0, width), *mapped]))

    @torch.no_grad()
    def logit(self, side: Side, item: Tensor) -> Tensor:
        """The logits of candidates [C] beside this side: those of `model` on a batch of them, [C]."""
        count, interactions = side.belongs.shape
        row = self.table.index_select(0, item)
        front = row[:, count:].view(len(item), 1 + interactions, side.keys.shape[1])  # [C, 1 + i, h + 1]
        power = torch.tanh(row[:, :count] + side.own).exp()  # (8), and (7) is its share: tanh bounds it from 1/e to e
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
        """Eq. (15): the weights of the parts that hold the candidate [C, 1 + i], and of those that do not [C, r]."""
        if self.model.gim is None:
            return front.new_ones(front.shape[:2]), front.new_ones(len(front), len(side.raw))
        of_keys = power @ (side.belongs * side.keys[:, -1:]) / total
        near = torch.cat([front[:, :1, -1], front[:, 1:, -1] + of_keys], 1)
        near, far = torch.tanh(near).exp(), torch.tanh(side.raw[:, -1]).exp()
        total = near.sum(1, keepdim=True) + far.sum()
        return near / total, far / total


def _maps(model: MIAN) -> dict[str, tuple[Tensor, Tensor]]:
    """Weight [h + 1, width] and bias [h + 1] by which each part is mapped; without GIM there are no scores."""
    first, found = model.top[0].weight, {}
    if model.gim is None:
        for part, weight in zip(model.parts, first.split([*model.widths.values()], 1), strict=True):
            found[part] = F.pad(weight, (0, 0, 0, 1)), first.new_zeros(len(first) + 1)
        return found
    for part, linear, vector, bias in zip(model.parts, model.gim.maps, model.gim.vector, model.gim.bias, strict=True):
        both = torch.cat([first, vector[None]])
        found[part] = both @ linear.weight, both @ linear.bias + F.pad(bias[None], (len(first), 0))
    return found


class Server:
    """Scores candidates by the data set's own ids.

    Args:
        opened: a trained run of MIAN.

    Raises:
        ValueError: the run's model is another one.
    """

    def __init__(self, opened: Opened):
        if not isinstance(opened.model, MIAN):
            raise ValueError(f"what is served in factors is MIAN, this run's model is {opened.prepared.run.model_name}")
        self.ready, self.factored = opened.prepared, Factored(opened.model)
        data = self.ready.dataset
        self._user, self._item = ({str(x): n for n, x in enumerate(ids)} for ids in (data.users.ids, data.items.ids))

    def probabilities(
        self, user: Any, items: Sequence, at: int | None = None, context: Mapping[str, int] | None = None
    ) -> np.ndarray:
        """Click probabilities of candidates for one user at one moment; unknown ids count as new ones.

        Args:
            user, items: ids, also as text; [C] items.
            at: seconds; only events strictly before it are read. None: right after the last event of the log.
            context: number of each logged column of it that is known, by name.

        Returns:
            [C].

        Raises:
            ValueError: a column that the model does not read, or a number that it does not have.
        """
        number = [self._item.get(str(x), len(self._item)) for x in items]
        side = self.factored.side(request(self.ready, self._user.get(str(user), len(self._user)), [0], at, context))
        parts = torch.tensor(number, dtype=torch.long).split(BLOCK)
        return torch.cat([self.factored.logit(side, some) for some in parts]).sigmoid().numpy()
