"""Write the scored test rows of a run as a table: one line per row, by the data set's own ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch

from hyperctr.data.columns import Column, flat
from hyperctr.data.interactions import Interactions
from hyperctr.files import atomic
from hyperctr.runs.candidates import first_appearances
from hyperctr.runs.prepare import Prepared

ENDINGS = (".csv", ".parquet")


def check_ending(path: Path) -> None:
    """Refuse a file of another kind.

    Raises:
        ValueError: the file is neither .csv nor .parquet.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"--out writes {' or '.join(ENDINGS)}, got {path}")


def table(ready: Prepared, scored: dict[str, np.ndarray]) -> pl.DataFrame:
    """Return scored rows as a table that `hyperctr predict --input` reads.

    Args:
        ready: what the model was built from.
        scored: its test rows, as from `Prepared.scored`.

    Returns:
        User, item and time under the names of the data set (user_id, item_id and timestamp where it has none); the
        context that was scored; query, equal for rows that were scored together; label; drawn, whether the row is a
        drawn negative; first_appearance, true for it and its candidates, where it is scored apart;
        probability, float32, as `Opened.predict` computes it. Times are unix seconds, or the moments
        themselves where they have parts of seconds or the data set states another unit.
    """
    data, log = ready.dataset, ready.dataset.interactions
    row = ready.evaluation_rows("test")[scored["query"]]
    roles = data.roles.get("interactions", {})
    user, item = (names[0] if len(names := roles.get(r) or ()) == 1 else f"{r}_id" for r in ("user", "item"))
    columns = {
        user: data.users.ids[scored["user"]],
        item: data.items.ids[scored["item"]],
        roles.get("time" if log.has_time else "order") or "timestamp": _times(log, row, roles.get("time_unit")),
        **{name: column[row].series() for name, column in _scored_context(ready).items()},
        "query": scored["query"],
        "label": scored["label"].astype(np.int8),
        "drawn": (scored["label"] == 0) & ready.draws,
        **({"first_appearance": first_appearances(ready, scored)} if ready.apart else {}),
        "probability": torch.sigmoid(torch.from_numpy(scored["logit"])).numpy(),
    }
    return pl.DataFrame({name: pl.Series(name, x) for name, x in columns.items()})


def _scored_context(ready: Prepared) -> dict[str, Column]:
    """Return the context columns that evaluation reads: beside drawn negatives, none that is of the shown item."""
    columns = ready.dataset.interactions.read_context
    return {name: x for name, x in columns.items() if not (ready.draws and x.kind.of == "item")}


def _times(log: Interactions, row: np.ndarray, unit: str | None) -> pl.Series:
    """Return the times of rows, so that they are read as the same moments again."""
    time = log.time[row]
    if not log.has_time:
        return pl.Series(time)
    if unit in (None, "s") and not (time % 1_000_000).any():
        return pl.Series(time // 1_000_000)
    return pl.Series(time).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def write(ready: Prepared, scored: dict[str, np.ndarray], path: Path) -> int:
    """Write scored rows as .csv or .parquet, see `table`, and return their number.

    Raises:
        ValueError: the file has another ending, or cannot be written.
    """
    check_ending(path)
    found = table(ready, scored)
    if path.suffix == ".csv":  # lists as text
        row = ready.evaluation_rows("test")[scored["query"]]
        columns = {name: flat(column[row]).alias(name) for name, column in _scored_context(ready).items()}
        found = found.with_columns(*columns.values())
    with atomic(path) as part:
        found.write_csv(part) if path.suffix == ".csv" else found.write_parquet(part)
    return len(found)
