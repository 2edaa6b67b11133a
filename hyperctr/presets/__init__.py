"""Presets of the methods and protocols: TOML files of some tables of a run file, which `config.read_run` merges.

A preset has one model, with its wrapper, training, slices, interests, and how much of the past is read. A protocol has
the split and what is scored. `paper` presets are what the papers say; `best` presets are what works.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hyperctr.strict import did_you_mean, literal, read_toml

FOLDER = Path(__file__).parent
PRESETS = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
"""The file of each preset by its name, such as "hyperctr-best"."""
PROTOCOLS = {path.stem: path for path in sorted((FOLDER / "protocols").glob("*.toml"))}
"""The file of each protocol: "paper" is HyperCTR's, "temporal" reads nothing that happens later."""
OF_DATA = ("history", "titles", "past", "past_every", "user_rates", "crosses")
"""The keys of [data] that a preset may set: how much of titles and of the past is read."""
OF_USER = ("seed", "threads", "device", "members")
"""The keys of [train] that no preset sets."""
DEFAULT = "hyperctr-best"
"""The preset of a command that is given neither a run file nor a model."""


def read_preset(name: str) -> dict[str, Any]:
    """Read the tables of a preset.

    Raises:
        ValueError: there is no such preset; names the one that is spelled most alike.

    >>> read_preset("aqcl-paper")["model"]
    {'name': 'din', 'dropout': 0.2}
    """
    return _read("preset", name, PRESETS)


def read_protocol(name: str) -> dict[str, Any]:
    """Read the tables of a protocol.

    Raises:
        ValueError: there is no such protocol; names the one that is spelled most alike.

    >>> read_protocol("paper")["split"]
    {'kind': 'random', 'train': 0.7, 'valid': 0.2}
    """
    return _read("protocol", name, PROTOCOLS)


def about(name: str) -> str:
    """Return the comments at the beginning of a preset: what it is, and where it differs from its paper.

    >>> about("aqcl-best")
    'AQCL around DIN, with numbers and links of the past and the training that works with them.'
    """
    found = []
    for line in PRESETS[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        found.append(line[2:])
    return "\n".join(found)


def _read(what: str, name: str, known: dict[str, Path]) -> dict[str, Any]:
    if name not in known:
        near = did_you_mean(name, known) or f"known: {', '.join(known)}"
        raise ValueError(f"unknown {what} {literal(name)}, {near}")
    return read_toml(known[name], what)
