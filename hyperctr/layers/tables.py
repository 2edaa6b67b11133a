"""Finding, in any base model, what it knows of ids: its tables of vectors and its masks of trained ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def id_table(base: nn.Module, kind: str, count: int) -> nn.Embedding:
    """The model's table of id vectors.

    Args:
        base: the model.
        kind: "user" or "item", the last word of the table's name in the model.
        count: how many are known; the table has one row more.

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


@contextmanager
def unseen(base: nn.Module, kind: str, ids: Tensor) -> Iterator[None]:
    """Inside the block the model takes these users or items for such that have no training row.

    Args:
        base: a model that keeps the ids with training rows in buffers `seen_user` and `seen_item`.
        kind: "user" or "item".
        ids: numbers, [n].
    """
    masks = [module._buffers[f"seen_{kind}"] for module in base.modules() if f"seen_{kind}" in module._buffers]
    before = [mask[ids] for mask in masks]
    for mask in masks:
        mask[ids] = False
    try:
        yield
    finally:
        for mask, held in zip(masks, before, strict=True):
            mask[ids] = held
