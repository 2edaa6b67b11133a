"""Find the device that a model trains and scores on: `train.device` of a run, `--device` of a command."""

from __future__ import annotations

import torch

from hyperctr.config import check_device

CPU = torch.device("cpu")


def find_device(name: str = "auto") -> torch.device:
    """Find the device of this name on this machine.

    Args:
        name: "cpu", "cuda" (the first GPU), "cuda:1", "mps", or "auto": the first GPU that CUDA finds, else the CPU.

    Raises:
        ValueError: there is no device of this name, or torch was built without it; says what was found.

    >>> find_device("cpu")
    device(type='cpu')
    """
    check_device(name)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError(f"train.device: there is no Apple GPU that torch {torch.__version__} can use; use cpu")
        return torch.device("mps", 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        built = torch.version.cuda
        why = f"is built for CUDA {built}, but finds no GPU" if built else "is built for the CPU alone"
        raise ValueError(f"train.device: no CUDA device here: torch {torch.__version__} {why}; use cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        found = ", ".join(f"cuda:{k}" for k in range(count))
        raise ValueError(f"train.device: there is no {name}, there are {found}")
    return torch.device("cuda", index)
