"""What HyperCTR knows of a batch before it reads a weight: distinct pairs, and which clicks are attended together.

All of it follows from integers: items, times and masks. For a GPU it is computed on the host, before the batch is
moved (`hyperctr.batch.HasLayout`): how many there are of something makes the host wait otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperctr.batch import Batch, Movable, places


@dataclass(frozen=True)
class Groups(Movable):
    """Groups of tokens that attend to one another, padded to the longest.

    Attributes:
        token: numbers of each group's tokens, 0 at the padding, [G, longest].
        real: True where a token is, [G, longest].
        place: where the tokens are in the flattened `real`, group after group, [N].
        last: number of each group's last token, [G].
    """

    token: Tensor
    real: Tensor
    place: Tensor
    last: Tensor

    @classmethod
    def of(cls, start: Tensor, size: Tensor) -> Groups:
        """Make groups from the first token and the number of tokens of each, [G] each; none is empty."""
        at = torch.arange(int(size.max()), device=size.device)
        real = at < size[:, None]
        token = torch.where(real, start[:, None] + at, 0)
        return cls(token, real, places(real), start + size - 1)


@dataclass(frozen=True)
class Segments(Movable):
    """The clicks of each row cut by slices: a segment is a run of one row's clicks in one slice.

    Attributes:
        token: number of each click that is read, segment after segment, [N].
        row: the row of each, [N].
        within: the clicks of each segment.
        first: first token of each segment, and N, [S + 1].
        age: slices between a segment and the row, 1 for the open slice, [S].
        across: the segments of each row that has one.
        known: whether a row has a segment, [R].
        at: number of the row's group in `across`, 0 for none, [R].
    """

    token: Tensor
    row: Tensor
    within: Groups
    first: Tensor
    age: Tensor
    across: Groups
    known: Tensor
    at: Tensor

    @classmethod
    def of(cls, row: Tensor, slice: Tensor, now: Tensor, slices: int, clicks: int) -> Segments | None:
        """Cut the clicks of R rows; None where there is no click.

        Args:
            row: which row a click belongs to, ascending, each row's in time order, [N].
            slice: the slice of each click, [N].
            now: the slice of each row, [R]; clicks in it form the open slice.
            slices: latest closed slices that are read. clicks: latest clicks that are read per slice.
        """
        if not len(row):
            return None
        rows, new = len(now), torch.ones_like(row, dtype=torch.bool)
        new[1:] = (row[1:] != row[:-1]) | (slice[1:] != slice[:-1])
        start = new.nonzero()[:, 0]
        end = torch.cat([start[1:], start.new_tensor([len(row)])])
        of_row, of_slice = row[start], slice[start]
        # drop segments beyond the last S closed ones of a row, and clicks beyond the last l of a segment
        last = F.pad(torch.bincount(of_row, minlength=rows).cumsum(0), (1, 0))
        is_open = row.new_zeros(rows).index_add_(0, of_row, (of_slice == now[of_row]).long())
        keep = last[of_row + 1] - torch.arange(len(start), device=row.device) <= slices + is_open[of_row]
        start, end, of_row, of_slice = (x[keep] for x in (torch.maximum(start, end - clicks), end, of_row, of_slice))
        size = end - start
        first = F.pad(size.cumsum(0), (1, 0))
        token = torch.arange(int(first[-1]), device=row.device) + torch.repeat_interleave(start - first[:-1], size)
        count = torch.bincount(of_row, minlength=rows)
        known = count > 0
        across = Groups.of((count.cumsum(0) - count)[known], count[known])
        at = torch.where(known, known.cumsum(0) - 1, 0)
        age = now[of_row] - of_slice + 1
        return cls(token, row[token], Groups.of(first[:-1], size), first, age, across, known, at)


@dataclass(frozen=True)
class Layout(Movable):
    """Everything that HyperCTR knows of a batch before it reads a weight.

    Attributes:
        now: the slice of each row, [B]. earliest: the first of them, 0 for no row.
        item, when: each distinct (candidate, slice), [pairs]; a candidate's vector depends on nothing else.
        of_row: the pair of each row, [B].
        vector: distinct items among the pairs and the clicks, [unique].
        of_item: which of these is the item of each pair, [pairs]. click: and of each click, [n].
        segments: the clicks as attention reads them; None where there is none.
        place: where the clicks are in the flattened histories, [n].
        later: those of them that follow another click, [later].
    """

    now: Tensor
    earliest: int
    item: Tensor
    when: Tensor
    of_row: Tensor
    vector: Tensor
    of_item: Tensor
    click: Tensor
    segments: Segments | None
    place: Tensor
    later: Tensor

    @classmethod
    def of(cls, batch: Batch, starts: Tensor, slices: int, clicks: int) -> Layout:
        """Look at a batch, on its device.

        Args:
            starts: of the slices. slices, clicks: as in `Segments.of`.
        """
        past, every = batch.histories, len(starts)
        now = slice_of(batch.time, starts)
        pair, of_row = (batch.item * every + now).unique(return_inverse=True)
        item, when = pair // every, pair % every
        place = places(past.mask)
        width = max(past.mask.shape[1], 1)
        clicked = past.item.flatten()[place]
        vector, where = torch.cat([item, clicked]).unique(return_inverse=True)
        slice = slice_of(past.time.flatten()[place], starts)
        segments = Segments.of(place // width, slice, now[batch.query_row], slices, clicks)
        earliest = int(now.min()) if len(now) else 0
        later = place[place % width > 0]  # clicks come first
        return cls(now, earliest, item, when, of_row, vector, where[: len(item)], where[len(item) :], segments, place,
                   later)  # fmt: skip


def slice_of(time: Tensor, starts: Tensor) -> Tensor:
    """Find the slice of each time; all times after the last closed slice are in the open one."""
    return (torch.bucketize(time, starts, right=True) - 1).clamp(min=0)
