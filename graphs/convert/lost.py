"""A warning that names what a conversion leaves out, where something is really lost."""

from __future__ import annotations

import warnings

from graphs.incidence import Incidence

WEIGHTS, IDS = ("hyperedge_weight", "node_weight"), ("node_ids", "hyperedge_ids")


def warn_of_lost(h: Incidence, method: str, *parts: str) -> None:
    """Warn if h has one of the parts: names of its fields, "attributes" among them."""
    lost = [part for part in parts if getattr(h, part) is not None and (part != "attributes" or h.attributes)]
    if lost:
        warnings.warn(f"{method} has no place for {', '.join(lost)} of {h}: left out", stacklevel=3)
