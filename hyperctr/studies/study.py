"""What a study is: one table or figure of a paper, and the rows that it compares."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hyperctr import config

TITLES = {
    "lr": "LR", "fm": "FM", "wide_deep": "W&D", "dcn": "DCN", "deepfm": "DeepFM", "xdeepfm": "xDeepFM", "din": "DIN",
    "dien": "DIEN", "gru4rec": "GRU4Rec", "hyperctr": "HyperCTR", "mian": "MIAN", "marn": "MARN",
    "youtubenet": "YoutubeNet", "dupn": "DUPN", "dmf": "DMF", "mmss": "MMSS", "naml": "NAML", "lt4rec": "LT4REC",
    "esmm": "ESMM", "mmoe": "MMoE", "aqcl": "AQCL", "qcl": "QCL", "icl": "ICL", "dropoutnet": "DropoutNet",
    "deepmcp": "DeepMCP", "dmr": "DMR",
}  # fmt: skip
"""What papers call the models, and what they wrapper."""
MODALITIES = {
    "visual": ("visual", "image", "images", "cover", "thumbnail", "video", "frame", "v"),
    "acoustic": ("acoustic", "audio", "sound", "a"),
    "textual": ("textual", "text", "title", "description", "t"),
}
"""What papers call three modalities, each with the names under which our data may hold it."""


@dataclass(frozen=True)
class Bench:
    """One table or figure of a paper's experiments."""

    name: str
    """Its name on the command line."""
    title: str
    """Which table or figure it is, and of what."""
    varies: str = ""
    """The key that its values go into; "" where rows differ in more than a value."""
    values: tuple[str, ...] = ()
    """The paper's grid."""
    axis: str = ""
    """What the values are."""
    log: bool = False
    """Whether they are drawn on a log axis."""
    single: bool = False
    """Whether one seed is all that it shows."""
    timed: bool = False
    """Whether it times one epoch of each row, in a process of its own, and trains no further."""


@dataclass(frozen=True)
class Row:
    """A row of the table, or a point of the curve; a model that is not there yet has a row without runs."""

    name: str
    model: str = "hyperctr"
    sets: tuple[str, ...] = ()
    """What it changes in the run of its model, as `--set` would."""
    wrapper_name: str = ""
    """What its model wears in training; "" for what the base run says."""
    wrapper: Any = None
    """The Config of that."""
    over: str = ""
    """The row that its gain is over, where that does not follow from the study."""
    tickets: str = ""
    """The row whose run, under the same seed, has the tickets that it trains anew; "" for none."""


def grid(
    bench: Bench,
    values: list[str],
    what: str = "numbers",
    kind: type = float,
    right: Callable[[float], bool] = math.isfinite,
) -> list[str]:
    """The values of a bench in order: those given, else the paper's.

    Args:
        bench: what is studied.
        values: from the command line; [] for the paper's.
        what: which numbers they must be, in words.
        kind: how they are read, int or float.
        right: whether a number is one of these.

    Raises:
        ValueError: one is no such number, or the rows are fixed.
    """
    if values and not bench.values:
        raise ValueError(f"the rows of {bench.name} are fixed, it takes no --values")
    for value in values:
        try:
            known = right(kind(value))
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"--values of {bench.name} are {what} separated by commas, got {value!r}")
    return sorted(values or bench.values, key=kind)


def modality(name: str) -> str:
    """What papers call one of our modalities; our own name where they have none."""
    return next((theirs for theirs, ours in MODALITIES.items() if name.lower() in ours), name)


def carried(base: config.Run, kind: type) -> tuple[str, ...]:
    """What the base run changes in its model's settings, for another model that has them: `--set` words."""
    known = {f.name for f in fields(kind)}
    changed = {f.name: getattr(base.model, f.name) for f in fields(base.model)}
    changed = {name: x for name, x in changed.items() if name in known and x != getattr(type(base.model)(), name)}
    return tuple(f"model.{name}={json.dumps(x)}" for name, x in changed.items())


def timed(values: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """`--set` words of a run whose one epoch is timed: next to nothing is scored."""
    few = {
        "train.epochs": 1, "train.eval_every": 1, "evaluate.negatives": 10, "evaluate.max_positives": 200,
        "evaluate.valid_negatives": 10, "evaluate.valid_positives": 200,
    }  # fmt: skip
    return tuple(f"{key}={value}" for key, value in ((values or {}) | few).items())


def noisy() -> list[str]:
    """What must be said of times where other work is running; nothing where the machine is quiet."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= 0.25 * cores:
        return []
    return [f"noisy: other work was running when this began (load {load:.1f} on {cores} cores)"]
