"""Write Markdown tables, and the numbers in them."""

from __future__ import annotations

import math

from hyperctr.evaluation.significance import Score
from hyperctr.strict import cut


def table(lines: list[list[str]]) -> str:
    """Format cells as a Markdown table whose columns align in plain text; the first line is the header.

    >>> print(table([["model", "AUC"], ["din", "0.71"]]))
    | model | AUC  |
    | ----- | ---- |
    | din   | 0.71 |
    """
    lines = [[cut(text, 500).replace("|", "\\|") for text in line] for line in lines]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def format_score(value: Score) -> str:
    """Format a mean and the half-width of its interval; "-" where the mean is unknown.

    >>> format_score(Score(0.71234, 0.002, 5))
    '0.7123 ± 0.0020'
    """
    if math.isnan(value.mean):
        return "-"
    return f"{value.mean:.4f}" + ("" if math.isnan(value.half) else f" ± {value.half:.4f}")


def format_gain(value: Score | None) -> str:
    """Format a difference as `format_score` does, with its sign; "-" for None."""
    return "-" if value is None else ("+" if value.mean >= 0 else "") + format_score(value)


def percent(share: float, half: float = math.nan) -> str:
    """Format a share in percent with its sign, and the half-width of its interval if it is known.

    >>> percent(0.0123, 0.004)
    '+1.23 ± 0.40 %'
    """
    if math.isnan(share):
        return "-"
    return f"{100 * share:+.2f} %" if math.isnan(half) else f"{100 * share:+.2f} ± {100 * half:.2f} %"
