"""What a model's Config refuses."""

from __future__ import annotations

from typing import Any


def check_sizes(config: Any, *names: str) -> None:
    """Refuse a size below 1, or a tuple of sizes that is empty or holds one."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, tuple):
            if not value or min(value) < 1:
                raise ValueError(f"model.{name} must be widths of at least 1, got {list(value)}")
        elif value < 1:
            raise ValueError(f"model.{name} must be at least 1, got {value}")


def check_shares(config: Any, *names: str) -> None:
    """Refuse what is not a share in [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"model.{name} must lie in [0, 1), got {getattr(config, name)}")
