"""Compute some rows at a time, where all at once would take too much memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hyperctr.batch import Batch, History
from hyperctr.layers.bodies import choose

NUMBERS = 2**23  # that the rows of one block may take without gradients, 32 MB
ON_DEVICE = 2**28  # the same away from the CPU, 1 GB
CACHED = 3 * 2**18  # of which a core's second-level cache takes most
CANDIDATES = 64  # per query, from which on it pays to take one query after the other


def blockwise(
    compute: Callable[..., Tensor], numbers: int | Tensor, *inputs: Tensor, training: int = sys.maxsize
) -> Tensor:
    """Return `compute(*inputs)`, computed on as many rows at a time as fit.

    An evaluation scores a thousand candidates per click, far more rows than a training step.

    Args:
        compute: gives one row per row of its inputs, each by itself.
        numbers: how many it takes per row; or one count per row, rising, [n], where every row of a block takes as many
            as the last one.
        inputs: [n, ...] each.
        training: how many numbers fit where gradients are wanted; all rows do by default. `CACHED` is faster for long
            chains of cheap operations.
    """
    return choose(_plain_blockwise, _fast_blockwise)(compute, numbers, *inputs, training=training)


def _plain_blockwise(
    compute: Callable[..., Tensor], numbers: int | Tensor, *inputs: Tensor, training: int = sys.maxsize
) -> Tensor:
    return compute(*inputs)


def _fast_blockwise(
    compute: Callable[..., Tensor], numbers: int | Tensor, *inputs: Tensor, training: int = sys.maxsize
) -> Tensor:
    cpu = inputs[0].is_cpu
    training, evaluation = (training, NUMBERS) if cpu else (sys.maxsize, ON_DEVICE)
    room = training if torch.is_grad_enabled() else evaluation
    rows = _rising(numbers, room) if isinstance(numbers, Tensor) else max(1, room // numbers)
    parts = list(zip(*(x.split(rows) for x in inputs), strict=True))
    return compute(*inputs) if len(parts) < 2 else torch.cat([compute(*part) for part in parts])


def _rising(numbers: Tensor, room: int) -> list[int]:
    """Count the rows of each block: as many as fit if all take as much as the last one, and at least one."""
    sizes, rows = [], numbers.clamp(min=1)
    while len(rows):
        taken = rows * torch.arange(1, len(rows) + 1, device=rows.device)
        sizes.append(max(1, int(torch.searchsorted(taken, room, right=True))))
        rows = rows[sizes[-1] :]
    return sizes


def by_length(
    pool: Callable[[Tensor, Tensor, Tensor], Tensor],
    histories: History,
    item: Tensor,
    history: Tensor,
    query: Tensor,
    numbers: int,
    training: int = sys.maxsize,
) -> Tensor:
    """Pool each row's history by its candidate, in blocks of rows whose histories are about equally long.

    Args:
        pool: candidates [n, d], clicks [n, T, d] and their mask [n, T] to [n, ...], each row by itself. What it gives
            does not depend on the clicks where the mask is False.
        histories: the clicks of Q queries.
        item: the rows' candidates, [B, d].
        history: the clicks as vectors, [Q, T, d].
        query: of each row, [B].
        numbers: how many `pool` takes per click.
        training: how many fit where gradients are wanted, as in `blockwise`.

    Returns:
        [B, ...], in the order of the rows.
    """
    body = choose(_plain_by_length, _fast_by_length, item.is_cpu)  # on a GPU, to ask for lengths makes the host wait
    return body(pool, histories, item, history, query, numbers, training)


def _plain_by_length(
    pool: Callable[[Tensor, Tensor, Tensor], Tensor],
    histories: History,
    item: Tensor,
    history: Tensor,
    query: Tensor,
    numbers: int,
    training: int = sys.maxsize,
) -> Tensor:
    def gather_and_pool(item: Tensor, query: Tensor) -> Tensor:
        return pool(item, history.index_select(0, query), histories.mask[query])

    return blockwise(gather_and_pool, history.shape[1] * (numbers + history.shape[2]), item, query)


def _fast_by_length(
    pool: Callable[[Tensor, Tensor, Tensor], Tensor],
    histories: History,
    item: Tensor,
    history: Tensor,
    query: Tensor,
    numbers: int,
    training: int = sys.maxsize,
) -> Tensor:
    """Sort the rows by the length of their histories, so that a block has little padding."""
    mask = histories.mask
    length, order = mask.sum(1)[query].sort(stable=True)
    item, query = item[order], query[order]
    taken = numbers * length + history.shape[1] * history.shape[2]  # by `pool`, and by the gathered clicks

    def pool_longest(item: Tensor, clicks: Tensor, mask: Tensor) -> Tensor:
        longest = max(1, int(mask.any(0).sum()))  # of the block; real clicks come first
        return pool(item, clicks[:, :longest], mask[:, :longest])

    def gather_and_pool(item: Tensor, query: Tensor) -> Tensor:
        return pool_longest(item, history.index_select(0, query), mask[query])

    if torch.is_grad_enabled():  # gathered for all rows: each gradient of a gather is as large as all histories
        clicks = history.index_select(0, query)
        pooled = blockwise(pool_longest, taken, item, clicks, mask[query], training=training)
    else:
        pooled = blockwise(gather_and_pool, taken, item, query)
    return pooled.index_select(0, order.argsort())


def has_many_candidates(batch: Batch) -> bool:
    """Tell whether a batch is scored on a CPU, with `CANDIDATES` rows per query or more: `each_query` pays."""
    scores = batch.item.is_cpu and not torch.is_grad_enabled()
    return scores and len(batch) >= CANDIDATES * len(batch.query_row)


def each_query(batch: Batch) -> Iterator[tuple[int, Tensor, int]]:
    """Yield the number of each query, its rows, and its number of clicks."""
    queries = len(batch.histories.mask)
    rows = batch.query.argsort(stable=True).split(torch.bincount(batch.query, minlength=queries).tolist())
    yield from zip(range(queries), rows, batch.histories.mask.sum(1).tolist(), strict=True)
