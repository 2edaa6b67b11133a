"""Vectors of what a batch names: ids, fields, modalities, context, and the behaviour type and age of clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import LEVELS, Batch, History, Tables, places
from hyperctr.layers.bodies import choose
from hyperctr.layers.columns import column_vectors
from hyperctr.layers.table import STD, Table, take_rows

NUMBER = 8  # width of the vectors of a behaviour type and of a level of age


class Property(nn.Module):
    """p_t = [type ; age in 10 levels ; age in 100 levels]: MARN (WWW 2020), section 3.1.2.

    The age is the time from the click to the row. A log without types has one type.
    """

    width = 3 * NUMBER

    def __init__(self, tables: Tables):
        super().__init__()
        self.kind = Table(max(tables.clicks.num_types, 1), NUMBER)
        self.coarse, self.fine = Table(LEVELS // 10, NUMBER), Table(LEVELS, NUMBER)
        self.register_buffer("ages", tables.clicks.ages, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Embed the properties of the histories' clicks, [Q, T, width]; padding has arbitrary numbers."""
        past = batch.histories
        level = torch.bucketize(batch.time[batch.query_row][:, None] - past.time, self.ages)
        kind = torch.zeros_like(past.item) if past.type is None else past.type
        return torch.cat([self.kind(kind), self.coarse(level // 10), self.fine(level)], 2)


def real(x: Tensor, past: History) -> Tensor:
    """Return the values [Q, T] of the clicks alone, in order: [n].

    On a device where nobody has looked where they are, return all values, [Q * T].
    """
    if past.place is not None:
        return x.flatten()[past.place]
    return x.masked_select(past.mask) if x.is_cpu else x.flatten()


def placed(vectors: Tensor, past: History) -> Tensor:
    """Put vectors of what `real` returns back at their places, and zeros at the padding: [n, d] -> [Q, T, d]."""
    shape = *past.mask.shape, vectors.shape[1]
    if past.place is not None:
        return vectors.new_zeros(past.mask.numel(), shape[2]).index_copy(0, past.place, vectors).view(shape)
    return choose(_plain_placed, _fast_placed, vectors.is_cpu)(vectors, past.mask)


def _plain_placed(vectors: Tensor, mask: Tensor) -> Tensor:
    if len(vectors) == mask.numel():
        return vectors.view(*mask.shape, vectors.shape[1]) * mask[..., None]
    return vectors.new_zeros(*mask.shape, vectors.shape[1]).masked_scatter(mask[..., None], vectors)


def _fast_placed(vectors: Tensor, mask: Tensor) -> Tensor:
    full = len(vectors) == mask.numel()
    return vectors.view(*mask.shape, vectors.shape[1]) if full else _Placed.apply(vectors, mask)


class _Placed(torch.autograd.Function):
    """`_plain_placed` that looks for the True entries of the mask once, not in both directions."""

    @staticmethod
    def forward(ctx, vectors: Tensor, mask: Tensor) -> Tensor:
        place = places(mask)
        ctx.save_for_backward(place)
        found = vectors.new_zeros(mask.numel(), vectors.shape[1]).index_copy_(0, place, vectors)
        return found.view(*mask.shape, vectors.shape[1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return gradient.flatten(0, 1).index_select(0, place), None


class Embed(nn.Module):
    """The vectors of a batch, all of one width.

    An item has an id, columns, and modalities, each through its own linear map. A user has an id and columns.
    A moment has a context. An id without a training row has the vector zero, as in matrix factorisation: a new item has
    its fields and modalities only. A missing field or modality is zero, and so is the context of a row without one.

    Args:
        tables: sizes, fields, modalities, and which ids have training rows.
        dim: width of every vector.
    """

    def __init__(self, tables: Tables, dim: int):
        super().__init__()
        self.dim = dim
        self.user, self.item = Table(tables.ids.num_users, dim), Table(tables.ids.num_items, dim)
        self.register_buffer("seen_user", F.pad(tables.ids.seen_user, (0, 1)))
        self.register_buffer("seen_item", F.pad(tables.ids.seen_item, (0, 1)))
        fields = tables.fields
        self.user_fields, self.item_fields = column_vectors(fields.user, dim), column_vectors(fields.item, dim)
        self.context = column_vectors(fields.context, dim)
        self.modalities = list(tables.modalities.features)
        self.project = nn.ModuleList(nn.Linear(x.shape[1], dim) for x in tables.modalities.features.values())
        for linear in self.project:
            nn.init.normal_(linear.weight, std=STD)
            nn.init.zeros_(linear.bias)
        present = [F.pad(tables.modalities.present[name], (0, 1)) for name in self.modalities]
        self.register_buffer("present", torch.stack(present, 1) if present else None, persistent=False)  # [I + 1, M]
        for m, x in enumerate(tables.modalities.features.values()):  # perhaps memory-mapped
            self.register_buffer(f"feature_{m}", x, persistent=False)
        self.item_parts = 1 + len(fields.item) + len(self.modalities)
        self.num_context = len(fields.context)
        self.num_fields = self.item_parts + 1 + len(fields.user) + self.num_context

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Embed the rows and the histories.

        Returns:
            fields [B, F, d], the item's fields first; the item as one vector [B, d], the sum of its fields; and the
            history [Q, T, d], each click as such a sum, zero where the mask is False.
        """
        item, clicks = self._batch(batch, _summed)
        fields = torch.cat([item, self.user_vectors(batch.user), self.moment_vectors(batch)], 1)
        return fields, _summed(item), placed(clicks, batch.histories)

    def groups(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embed the rows and the histories, and keep the fields apart.

        Returns:
            the items' parts side by side [B, P d]: id, fields, modalities; the clicks' parts [Q, T, P d], zero where
            the mask is False; the users' id and fields [B, 1 + J, d]; and the moments' context [B, K, d].
        """
        item, clicks = self._batch(batch, _side_by_side)
        clicks = placed(clicks, batch.histories)
        return item.flatten(1), clicks, self.user_vectors(batch.user), self.moment_vectors(batch)

    def fields(self, batch: Batch) -> Tensor:
        """Embed the rows, with the mean of the history's clicks as one more, last field: [B, F + 1, d].

        The field of an empty history is zero.
        """
        fields, _, history = self(batch)
        share = batch.histories.mask / batch.histories.mask.sum(1, keepdim=True).clamp(min=1)
        mean = torch.bmm(share[:, None], history)  # [Q, 1, d]
        return torch.cat([fields, batch.expand_to_rows(mean)], 1)

    def items(self, item: Tensor) -> Tensor:
        """Embed any items, each as one vector: [...] -> [..., d]."""
        return _summed(self.item_vectors(item.flatten())).view(*item.shape, self.dim)

    def _batch(self, batch: Batch, join: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Embed the candidates' parts, [B, item_parts, d], and the real clicks, whose parts are joined, [n, width]."""
        clicks = real(batch.histories.item, batch.histories)
        alike = not batch.is_augmented  # AQCL drops other entries at every look-up of an item
        body = choose(self._plain_parts, self._fast_parts, clicks.is_cpu and self.item_parts > 1 and alike)
        return body(torch.cat([batch.item, clicks]), len(batch), join)

    def _plain_parts(self, item: Tensor, rows: int, join: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Embed the parts of the first `rows` items, and join those of the others."""
        parts = self.item_vectors(item)  # one look-up: one gradient of a whole table
        return parts[:rows], join(parts[rows:])

    def _fast_parts(self, item: Tensor, rows: int, join: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Embed and join each distinct item once: histories name the same items again and again."""
        distinct, at = _distinct(item, len(self.seen_item))
        parts = self.item_vectors(distinct)
        found = take_rows(parts.flatten(1), at[:rows]).view(rows, *parts.shape[1:])
        return found, take_rows(join(parts), at[rows:])

    def item_vectors(self, item: Tensor) -> Tensor:
        """Embed the parts of any items: [n] -> [n, item_parts, d]."""
        known = item.where(self.seen_item[item], len(self.seen_item) - 1)
        parts = [self.item(known)[:, None]]
        if self.item_fields is not None:
            parts.append(self.item_fields.of(item))
        if self.modalities:
            parts.append(choose(self._plain_modal, self._fast_modal, item.is_cpu)(item))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _plain_modal(self, item: Tensor) -> Tensor:
        """Project the modalities of items: [n] -> [n, M, d]."""
        row = item.clamp(max=len(self.seen_item) - 2)
        features = (getattr(self, f"feature_{m}")[row] for m in range(len(self.project)))
        maps = zip(self.project, features, strict=True)
        found = torch.stack([linear(x.to(linear.weight.dtype)) for linear, x in maps], 1)
        return found * self.present[item][..., None]

    def _fast_modal(self, item: Tensor) -> Tensor:
        """Project each distinct item once."""
        distinct, at = _distinct(item, len(self.seen_item))
        found = self._plain_modal(distinct)
        return take_rows(found.flatten(1), at).view(len(item), *found.shape[1:])

    def user_vectors(self, user: Tensor) -> Tensor:
        """Embed the id and fields of any users: [n] -> [n, 1 + J, d]."""
        vector = self.user(user.where(self.seen_user[user], len(self.seen_user) - 1))[:, None]
        if self.user_fields is None:
            return vector
        return torch.cat([vector, self.user_fields.of(user)], 1)

    def moment_vectors(self, batch: Batch) -> Tensor:
        """Embed the context of the rows: [B, K, d]."""
        if self.context is None:
            return self.item.weight.new_zeros(len(batch), 0, self.dim)
        return self.context(batch.context, len(batch))


def _distinct(item: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct numbers, which are below `count`, ascending, [k], and the place of each among them, [n]."""
    there = torch.zeros(count, dtype=torch.bool).index_fill_(0, item, True)
    distinct = places(there)
    return distinct, torch.empty(count, dtype=torch.long).index_copy_(0, distinct, torch.arange(len(distinct)))[item]


def _side_by_side(parts: Tensor) -> Tensor:
    """Put the parts side by side: [n, P, d] -> [n, P d]."""
    return parts.flatten(1)


def _summed(parts: Tensor) -> Tensor:
    """Sum the parts: [n, P, d] -> [n, d]."""
    return parts.sum(1) if parts.shape[1] > 1 else parts.squeeze(1)


class Profile(nn.Module):
    """The user's id and fields and the columns of the context, each `dim` wide, side by side.

    Unknown or missing parts are zero: a user without a training row, an unknown category, a missing context.

    Args:
        tables: sizes, fields, and which users have training rows.
        dim: width of each.
    """

    def __init__(self, tables: Tables, dim: int):
        super().__init__()
        self.user = Table(tables.ids.num_users, dim)
        self.register_buffer("seen_user", F.pad(tables.ids.seen_user, (0, 1)))
        self.user_fields = column_vectors(tables.fields.user, dim)
        self.context = column_vectors(tables.fields.context, dim)
        self.width = dim * (1 + len(tables.fields.user) + len(tables.fields.context))

    def forward(self, batch: Batch) -> Tensor:
        """Embed the rows' users and contexts: [B, width]."""
        parts = [self.user(batch.user.where(self.seen_user[batch.user], len(self.seen_user) - 1))]
        if self.user_fields is not None:
            parts.append(self.user_fields.of(batch.user).flatten(1))
        if self.context is not None:
            parts.append(self.context(batch.context, len(batch)).flatten(1))
        return torch.cat(parts, 1)


def id_table(base: nn.Module, kind: str, count: int) -> nn.Embedding:
    """Find the model's table of id vectors.

    Args:
        base: the model.
        kind: "user" or "item", the last word of the table's name in the model.
        count: number of known ids; the table has one row more.

    Raises:
        ValueError: the model has no such table, or more than one.
    """
    found = [
        module
        for name, module in base.named_modules()
        if isinstance(module, nn.Embedding) and name.split(".")[-1] == kind and module.num_embeddings == count + 1
    ]
    if len(found) != 1:
        raise ValueError(f"{type(base).__name__} must look {kind}s up in one table named {kind}, it has {len(found)}")
    return found[0]


def seen_masks(base: nn.Module, kind: str) -> list[Tensor]:
    """Return the buffers of a model that say which users or items have training rows, bool [count + 1] each.

    Args:
        base: the model.
        kind: "user" or "item".
    """
    return [module._buffers[f"seen_{kind}"] for module in base.modules() if f"seen_{kind}" in module._buffers]


class IdDropout:
    """Hides a random share of the ids for a while, as if they had no training row.

    Args:
        model: whose buffers `seen_user` and `seen_item` say which ids have training rows.
        share: of the ids; 0 draws nothing.
    """

    def __init__(self, model: nn.Module, share: float):
        self.share = share
        kinds = ("user", "item") if share else ()
        self.known = [[(mask, mask.clone()) for mask in seen_masks(model, kind)] for kind in kinds]

    def draw(self) -> None:
        """Hide other ids than before, the same ones in all tables of users, and of items."""
        for of_kind in filter(None, self.known):
            kept = (torch.rand(len(of_kind[0][0])) >= self.share).to(of_kind[0][0].device)
            for mask, known in of_kind:
                mask.copy_(known & kept)

    def restore(self) -> None:
        """Hide no id."""
        for mask, known in (pair for of_kind in self.known for pair in of_kind):
            mask.copy_(known)


@contextmanager
def unseen(base: nn.Module, kind: str, ids: Tensor, hidden: Tensor) -> Iterator[None]:
    """Mark some users or items as ids without a training row, inside the block.

    Args:
        base: a model whose buffers `seen_user` and `seen_item` say which ids have training rows.
        kind: "user" or "item".
        ids: numbers, [n].
        hidden: which of them are marked, bool [n].
    """
    masks = seen_masks(base, kind)
    before = [mask[ids] for mask in masks]
    for mask, held in zip(masks, before, strict=True):
        mask[ids] = held & ~hidden
    try:
        yield
    finally:
        for mask, held in zip(masks, before, strict=True):
            mask[ids] = held
