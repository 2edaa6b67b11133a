"""Click-through rate prediction with multi-modal, time-aware hypergraphs.

The public names are loaded when they are first used, so that `import hyperctr` is instant:

    load_dataset   read a public data set or a folder of your own
    read_run       read a run file, or the nested dict of one
    train          train and test a run
    open_run       open the folder of a finished run, to predict with it
    Batch, Output  what a model reads and what it answers
    Model          the contract of a model of your own
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperctr.batch import Batch, Model, Output
    from hyperctr.config import read_run
    from hyperctr.data.read import load_dataset
    from hyperctr.runs.open import open_run
    from hyperctr.runs.train import train

__version__ = "0.1.0"

__all__ = ["Batch", "Model", "Output", "load_dataset", "open_run", "read_run", "train"]

_HOMES = {
    "Batch": "hyperctr.batch",
    "Model": "hyperctr.batch",
    "Output": "hyperctr.batch",
    "load_dataset": "hyperctr.data.read",
    "open_run": "hyperctr.runs.open",
    "read_run": "hyperctr.config",
    "train": "hyperctr.runs.train",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hyperctr' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
