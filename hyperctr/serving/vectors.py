"""Encode all items of a trained MARN as a table of vectors, once per time slice, for scoring and look-up.

The vector of an item depends only on the item and on the statistics at the start of a slice, not on the user or the
request. So a server reads the table for candidates and clicks, and runs only the user's side of the model. A table
records its snapshot; another slice, other weights or another log give another snapshot.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperctr.batch import Batch
from hyperctr.files import atomic
from hyperctr.models.marn import MARN
from hyperctr.runs.open import Opened, moment

BLOCK = 2**14  # items encoded per block
LAST = 10  # latest clicks whose mean is a user's vector, for look-up


@dataclass(frozen=True)
class ItemVectors:
    """The vectors of all items as of one slice.

    Attributes:
        ids: the data's own ids, [num_items].
        vector: float32 [num_items + 1, d]; the last row is for an unknown item.
        snapshot: 16 hexadecimal digits that digest the weights and the statistics of the slice.
        number: number of the snapshot of the statistics, 0 before all slices.
    """

    ids: np.ndarray
    vector: Tensor
    snapshot: str
    number: int

    @torch.no_grad()
    def logit(self, model: MARN, batch: Batch) -> Tensor:
        """Compute the logits of a batch with items looked up in the table; equal to `model(batch)`, [B].

        Raises:
            ValueError: a row of the batch reads another snapshot.
        """
        needed = model.modalities.snapshot(batch.time).unique().tolist()
        if needed != [self.number]:
            raise ValueError(
                f"these vectors are of snapshot {self.number}, rows of the batch read {needed}; make new vectors"
            )
        clicks = self.vector[batch.histories.item]
        return model.out(model.eval().read(batch, self.vector[batch.item], clicks)).squeeze(1)

    def save(self, path: str | Path) -> Path:
        """Write a .parquet table of item_id, snapshot and vector; the last row, without an id, is the unknown item.

        Raises:
            ValueError: another suffix, or a file that cannot be written.
        """
        import polars as pl

        path = Path(path)
        if path.suffix != ".parquet":
            raise ValueError(f"a table of vectors is a .parquet file, got {path}")
        number = self.ids.dtype.kind in "iu"
        ids = pl.Series(self.ids) if number else pl.Series([str(x) for x in self.ids], dtype=pl.String)
        table = pl.DataFrame(
            {
                "item_id": ids.extend(pl.Series([None], dtype=ids.dtype)),
                "snapshot": pl.Series([f"{self.number}-{self.snapshot}"] * len(self.vector)),
                "vector": pl.Series(self.vector.numpy(), dtype=pl.Array(pl.Float32, self.vector.shape[1])),
            }
        )
        with atomic(path) as part:
            table.write_parquet(part, compression="zstd")
        return path

    @classmethod
    def load(cls, path: str | Path) -> ItemVectors:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is missing, or it is not such a table.
        """
        import polars as pl

        try:
            table = pl.read_parquet(path)
            number, snapshot = table["snapshot"][0].split("-")
            vector = torch.from_numpy(table["vector"].to_numpy().copy())
            return cls(table["item_id"][:-1].to_numpy(), vector, snapshot, int(number))
        except (OSError, pl.exceptions.PolarsError, ValueError) as error:
            raise ValueError(f"{path} is not a table of item vectors: {str(error).splitlines()[0]}") from None


@torch.no_grad()
def item_vectors(opened: Opened, at: Any = None) -> ItemVectors:
    """Encode all items of a run's data set.

    Args:
        opened: a trained run of MARN.
        at: a time as `Opened.predict` takes it; the statistics at the start of its slice are read. None:
            right after the last event of the log.

    Raises:
        ValueError: the run has another model.
    """
    model, ready = opened.model, opened.prepared
    if not isinstance(model, MARN):
        raise ValueError(f"only MARN has item vectors, this run's model is {ready.run.model_name}")
    number = int(model.modalities.snapshot(torch.tensor(moment(ready.dataset.interactions, at))))
    item = torch.arange(ready.tables.ids.num_items + 1)
    parts = [model.eval().vectors(some, torch.full_like(some, number)) for some in item.split(BLOCK)]
    return ItemVectors(ready.dataset.items.ids, torch.cat(parts), _digest(model, number), number)


def unseen(opened: Opened, vectors: ItemVectors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Collect the arguments of `metrics.unseen_recall`: test clicks on items without a training row, Table 5 of MARN.

    The paper does not say how candidates are found. Here a user is the mean vector of the last ten clicks, and the pool
    is all items without a training row. Clicks of users without an earlier click are left out.

    Returns:
        Users [n, d], the row of the pool that each user clicked [n], and the vectors of the pool [P, d].
    """
    ready = opened.prepared
    log, cold = ready.dataset.interactions, ~ready.tables.ids.seen_item.numpy()
    rows = ready.split.test
    rows = rows[(log.label[rows] == 1) & cold[log.item[rows]]]
    place = np.cumsum(cold) - 1
    users, clicked = [np.empty((0, vectors.vector.shape[1]), np.float32)], [np.empty(0, np.int64)]
    for start in range(0, len(rows), 1024):
        some = rows[start : start + 1024]
        past = ready.loader.batch(some).histories
        late = past.mask & (past.mask.sum(1, keepdim=True) - torch.arange(past.mask.shape[1]) <= LAST)
        total = (vectors.vector[past.item] * late[:, :, None]).sum(1)
        any_click = late.any(1)
        users.append((total / late.sum(1, keepdim=True).clamp(min=1))[any_click].numpy())
        clicked.append(place[log.item[some]][any_click.numpy()])
    return np.concatenate(users), np.concatenate(clicked), vectors.vector[:-1][cold].numpy()


def _digest(model: MARN, number: int) -> str:
    """Digest the weights and the statistics of a snapshot into 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, x in sorted(model.state_dict().items()):
        digest.update(name.encode() + x.contiguous().numpy().tobytes())
    for raw in model.modalities.raw:
        for level in (x for name, x in raw.named_buffers() if name == "level"):
            digest.update(level[number].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
