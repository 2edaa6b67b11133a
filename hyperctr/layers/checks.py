"""What the Config of a model or of a wrapper refuses; `table` is the table of its keys in a run file."""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints


def check_sizes(config: Any, *names: str, table: str = "model") -> None:
    """Refuse a size below 1, and a tuple of sizes that is empty or has one below 1."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, tuple):
            if not value or min(value) < 1:
                raise ValueError(f"{table}.{name} must be widths of at least 1, got {list(value)}")
        elif value < 1:
            raise ValueError(f"{table}.{name} must be at least 1, got {value}")


def check_shares(config: Any, *names: str, table: str = "model") -> None:
    """Refuse a number outside [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{table}.{name} must lie in [0, 1), got {getattr(config, name)}")


def check_weights(config: Any, *names: str, table: str = "wrapper") -> None:
    """Refuse the weight of a loss that is below 0 or not finite."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{table}.{name} must be at least 0, got {getattr(config, name)}")


def check_choices(config: Any, *names: str, table: str = "model") -> None:
    """Refuse a value that is not among those of the field's `Literal`."""
    kinds = get_type_hints(type(config))
    for name in names:
        *others, last = map(str, get_args(kinds[name]))
        if getattr(config, name) not in get_args(kinds[name]):
            raise ValueError(f"{table}.{name} must be {', '.join(others)} or {last}, got {getattr(config, name)}")
