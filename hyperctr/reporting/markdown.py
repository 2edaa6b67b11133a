"""Markdown tables, and how numbers are written in them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hyperctr.evaluation.significance import (
    Score,
)

if TYPE_CHECKING:
    pass


def table(lines: list[list[str]]) -> str:
    """A Markdown table whose columns line up when it is read as plain text."""
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def format_score(value: Score) -> str:
    if math.isnan(value.mean):
        return "-"
    return f"{value.mean:.4f}" + ("" if math.isnan(value.half) else f" ± {value.half:.4f}")


def format_gain(value: Score | None) -> str:
    return "-" if value is None else ("+" if value.mean >= 0 else "") + format_score(value)


def percent(share: float, half: float = math.nan) -> str:
    """A share in percent with its sign, and the half-width of its interval where there is one."""
    if math.isnan(share):
        return "-"
    return f"{100 * share:+.2f} %" if math.isnan(half) else f"{100 * share:+.2f} ± {100 * half:.2f} %"
