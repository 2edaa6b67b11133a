"""The modalities of items as vectors of one width: MARN (WWW 2020), section 3.1.1, for all models that fuse them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import LEVELS, Batch, Tables
from hyperctr.layers.columns import column_vectors
from hyperctr.layers.embedding import placed, real
from hyperctr.layers.table import Table

ID, FIELD, NUMBER, WORD, FILTERS = 32, 16, 8, 32, 32
"""Widths of an id, a categorical field, a level of a statistic, and a word, and filters per window of words.
The paper has 32 for ids; 24, 24 and 16 for fields; 8 for levels; 300 for words, pretrained. It gives no filters."""
WINDOWS = (2, 3, 4)  # words that a filter reads at once


@dataclass(frozen=True)
class BatchItems:
    """The distinct (item, statistics snapshot) pairs of a batch, so that each is encoded once.

    Attributes:
        item, snapshot: [U] each.
        count: how often the pair occurs in the batch, as the candidate of a row or a click of a query, [U].
        row: position in `item` of the rows' candidates, [B].
        click: position in `item` of the clicks of the histories, [Q, T]; arbitrary where the mask is False.
    """

    item: Tensor
    snapshot: Tensor
    count: Tensor
    row: Tensor
    click: Tensor

    @classmethod
    def of(cls, batch: Batch, snapshot: Tensor, num_items: int) -> BatchItems:
        """Find the pairs of a batch whose rows read these snapshots, [B]; a history reads the snapshot of its query."""
        past = batch.histories
        own = real(snapshot[batch.query_row][:, None].expand_as(past.item), past)
        clicked = real(past.item, past)
        if not own.is_cpu:  # to find what is distinct would make the host wait: every click is a pair of its own
            item, every = torch.cat([batch.item, clicked]), torch.cat([snapshot, own])
            at = torch.arange(len(item), device=item.device)
            count = F.pad(real(past.mask, past).long(), (len(batch), 0), value=1)
            click = placed(at[len(batch) :, None], past).squeeze(2)
            return cls(item, every, count, at[: len(batch)], click)
        keys = torch.cat([snapshot, own]) * (num_items + 1) + torch.cat([batch.item, clicked])
        distinct, place, count = keys.unique(return_inverse=True, return_counts=True)
        click = torch.zeros_like(past.item)
        click[past.mask] = place[len(batch) :]
        at = torch.div(distinct, num_items + 1, rounding_mode="floor")
        return cls(distinct - at * (num_items + 1), at, count, place[: len(batch)], click)

    def spread(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Gather vectors of the pairs [U, d] for the rows [B, d] and the histories [Q, T, d]."""
        clicks = vector.index_select(0, self.click.flatten())
        return vector.index_select(0, self.row), clicks.view(*self.click.shape, vector.shape[1])


class Modalities(nn.Module):
    """e^m = P_m x^m: every modality of an item through its own linear map to one width.

    x^m is, for `ids`, the id and each categorical field side by side; for `statistic`, each number in two
    granularities; for `title`, Kim's convolutions over its words; for any other, the data's features, of unit length.

    An item without a training row and without a known field lacks `ids`. An item without a known word lacks `title`. An
    item lacks features where the data have none. No item lacks `statistic`: "no history" is one of its levels.

    Args:
        tables: the items' ids, fields, features, titles and statistics.
        names: modalities to read; empty takes all: ids first, then the data's, title and statistic.
        dim: the one width, d.

    Raises:
        ValueError: a name that the tables do not have.
    """

    def __init__(self, tables: Tables, names: Sequence[str], dim: int):
        super().__init__()
        made = {"ids": lambda: _Ids(tables)}
        made |= {name: lambda name=name: _Features(tables, name) for name in tables.modalities.features}
        made |= {"title": lambda: _Title(tables)} if tables.titles is not None else {}
        made |= {"statistic": lambda: Levels(tables)} if tables.statistics is not None else {}
        if unknown := [name for name in names if name not in made]:
            raise ValueError(f"model.modalities: there is no {unknown[0]!r} here; there are {', '.join(made)}")
        self.names, self.dim, self.num_items = tuple(names) or tuple(made), dim, tables.ids.num_items
        self.raw = nn.ModuleList(made[name]() for name in self.names)
        self.project = nn.ModuleList(nn.Linear(raw.width, dim) for raw in self.raw)
        for linear in self.project:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        starts = tables.statistics.starts if "statistic" in self.names else torch.empty(0, dtype=torch.long)
        self.register_buffer("starts", starts, persistent=False)

    def __len__(self) -> int:
        return len(self.names)

    def snapshot(self, time: Tensor) -> Tensor:
        """Find the snapshot of the statistics that a row of this time reads; 0 for all if none are read."""
        return torch.bucketize(time, self.starts, right=True)

    def distinct(self, batch: Batch) -> BatchItems:
        """Find the distinct (item, snapshot) pairs of a batch."""
        return BatchItems.of(batch, self.snapshot(batch.time), self.num_items)

    def forward(self, item: Tensor, snapshot: Tensor) -> tuple[Tensor, Tensor]:
        """Embed items [U], with the statistics of the snapshots [U].

        Returns:
            the vectors [M, U, d], zero where the modality is absent; and whether it is present, [M, U].
        """
        vectors, present = [], []
        for raw, project in zip(self.raw, self.project, strict=True):
            x, there = raw(item, snapshot)
            vectors.append(project(x) * there[:, None])
            present.append(there)
        return torch.stack(vectors), torch.stack(present)


class Maps(nn.Module):
    """One linear map per modality, of M; first weights by Xavier: [M, U, d] -> [M, U, width]."""

    def __init__(self, count: int, dim: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim, width))
        self.bias = nn.Parameter(torch.zeros(count, 1, width))
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x W_m + b_m."""
        return torch.baddbmm(self.bias, x, self.weight)


class _Ids(nn.Module):
    """The id, zero without a training row, and the fields, each zero where unknown."""

    def __init__(self, tables: Tables):
        super().__init__()
        self.item = Table(tables.ids.num_items, ID)
        self.register_buffer("seen_item", F.pad(tables.ids.seen_item, (0, 1)))
        self.fields = column_vectors(tables.fields.item, FIELD)
        self.width = ID + FIELD * len(tables.fields.item)

    def forward(self, item: Tensor, snapshot: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.seen_item[item]
        x = self.item(item.where(seen, len(self.seen_item) - 1))
        if self.fields is None:
            return x, seen
        return torch.cat([x, self.fields.of(item).flatten(1)], 1), seen | self.fields.known[item]


class _Features(nn.Module):
    """A modality of the data, of unit length; its features may be memory-mapped."""

    def __init__(self, tables: Tables, name: str):
        super().__init__()
        self.register_buffer("feature", tables.modalities.features[name], persistent=False)
        self.register_buffer("present", F.pad(tables.modalities.present[name], (0, 1)), persistent=False)
        self.width = self.feature.shape[1]

    def forward(self, item: Tensor, snapshot: Tensor) -> tuple[Tensor, Tensor]:
        x = self.feature[item.clamp(max=len(self.feature) - 1)]
        x = x.float() if x.dtype == torch.float16 else x
        return F.normalize(x, dim=1), self.present[item]


class _Title(nn.Module):
    """Filters over windows of 2, 3 and 4 words, ReLU, and their maximum over the title (Kim, EMNLP 2014)."""

    def __init__(self, tables: Tables):
        super().__init__()
        self.register_buffer("titles", tables.titles.words, persistent=False)
        self.word = Table(tables.titles.num_words, WORD)
        self.filters = nn.ModuleList(nn.Conv1d(WORD, FILTERS, n) for n in WINDOWS)
        for conv in self.filters:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        self.width = FILTERS * len(WINDOWS)

    def forward(self, item: Tensor, snapshot: Tensor) -> tuple[Tensor, Tensor]:
        words = self.titles[item].long()
        x = self.word(words).transpose(1, 2)  # [U, WORD, L]
        there = (words < self.word.num_embeddings - 1).any(1)
        return torch.cat([conv(x).relu().amax(2) for conv in self.filters], 1), there


class Levels(nn.Module):
    """Every statistic of a snapshot, as a level among ten and a level among a hundred."""

    def __init__(self, tables: Tables):
        super().__init__()
        self.register_buffer("level", tables.statistics.level, persistent=False)  # [S + 1, num_items + 1, K]
        count = self.level.shape[2]
        coarse, fine = LEVELS // 10 + 1, LEVELS + 1  # the last is no history
        self.coarse, self.fine = Table(count * coarse, NUMBER), Table(count * fine, NUMBER)
        self.register_buffer("first", torch.arange(count)[:, None] * torch.tensor([coarse, fine]), persistent=False)
        self.width = 2 * NUMBER * count

    def forward(self, item: Tensor, snapshot: Tensor) -> tuple[Tensor, Tensor]:
        """Embed items [U] at snapshots [U].

        Returns:
            the vectors [U, width]; and True for each item, as none lacks them.
        """
        level = self.level[snapshot, item].long()  # [U, K]
        coarse, fine = self.coarse(level // 10 + self.first[:, 0]), self.fine(level + self.first[:, 1])
        return torch.cat([coarse, fine], 2).flatten(1), torch.ones_like(item, dtype=torch.bool)


class ClickLevels(nn.Module):
    """The statistics of the items of a history at the start of the row's slice, one vector per click.

    They say how often all users had clicked the item by then, and how long before: what the item is by now, not what it
    was when this user clicked it.
    """

    def __init__(self, tables: Tables):
        super().__init__()
        self.levels = Levels(tables)
        self.register_buffer("starts", tables.statistics.starts, persistent=False)
        self.width = self.levels.width

    def forward(self, batch: Batch) -> Tensor:
        """Embed the clicks of the histories, [Q, T, width], zero where the mask is False."""
        past = batch.histories
        snapshot = torch.bucketize(batch.time[batch.query_row], self.starts, right=True)
        of_click = real(snapshot[:, None].expand_as(past.item), past)
        return placed(self.levels(real(past.item, past), of_click)[0], past)
