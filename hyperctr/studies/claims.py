"""Say what a paper claims of its rows, and judge a claim by runs that are paired by seed.

A verdict is reproduced, inconclusive or contradicted, by the 95 % interval of the paired difference over seeds. With
fewer than three seeds it is inconclusive, and also where a row that the claim names was not run. "not judged" is for
what a reader can only look at, "not tested" for what was not run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown

Runs = Mapping[str, list[dict]]
"""The lines of results.csv of each row's finished runs, by row."""
NOT_RUN = "the rows that it compares were not run"
UNKNOWN = Score(math.nan, math.nan, 0)


@dataclass(frozen=True)
class Verdict:
    """A claim, what was found here, and the verdict on it."""

    claim: str
    here: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """One row is better than other rows: the paper's words as something that can be tested here."""

    text: str
    """What the paper says."""
    ours: tuple[str, ...]
    """Rows of which the best on validation rows must be above; a single name where there is no choice."""
    others: tuple[str, ...]
    """Rows that it must be above, each of them."""
    margin: float = 0.0
    """How far it may be below and still pass: 0.01 for "more does not help"; below 0: how far it must be above."""
    column: str = "auc"
    """The score that is compared."""
    interior: bool = False
    """Whether nothing is decided where the best on validation rows is one of `others`: it may be beyond the grid."""


def best_row(runs: Runs, names: Sequence[str]) -> str:
    """Return the row with the highest mean validation AUC, "" where none was run; test rows have no say."""
    valid = {name: statistics.fmean(run["valid_auc"] for run in runs[name]) for name in names if runs.get(name)}
    valid = {name: auc for name, auc in valid.items() if not math.isnan(auc)}
    return max(valid, key=valid.__getitem__) if valid else ""


def gain(runs: Runs, row: str, over: str, column: str = "auc") -> Score:
    """Return how far a row's score is above another's, paired by seed; of no seed where they share none."""
    return significance.difference(runs.get(row, []), runs.get(over, []), column) or UNKNOWN


def compare(claim: Claim, runs: Runs) -> Verdict:
    """Judge a claim about rows by the 95 % intervals of the differences between them."""
    ours, missing = best_row(runs, claim.ours), [name for name in claim.others if not runs.get(name)]
    ran = [name for name in claim.others if runs.get(name)]
    if not ours or not ran:
        return Verdict(claim.text, NOT_RUN, "not tested")
    chosen = f"{ours}, chosen by validation" if len(claim.ours) > 1 else ours
    if claim.interior and (top := best_row(runs, (*claim.ours, *claim.others))) in claim.others:
        here = f"{top}, chosen by validation, is at the edge of the grid: the best may be beyond"
        return Verdict(claim.text, here, "inconclusive")
    gains = {name: significance.difference(runs[ours], runs[name], claim.column) for name in ran}
    texts = [f"{markdown.format_gain(each)} over {name}" for name, each in gains.items()]
    shifted = [each and Score(each.mean + claim.margin, each.half, each.num) for each in gains.values()]
    seeds = min(each.num if each else 0 for each in gains.values())
    verdict = significance.judge_gains(shifted)
    notes = [f"not run: {', '.join(missing)}"] if missing else []
    if missing and verdict == "reproduced":
        verdict = "inconclusive"
    said = [f"{chosen}: {', '.join(texts)}, n={seeds}", *notes, significance.too_few_seeds(seeds)]
    return Verdict(claim.text, "; ".join(filter(None, said)), verdict)


def above(least: float) -> Callable[[Score], str]:
    """Return the rule that a number must be above `least`, by its whole 95 % interval."""
    return lambda value: significance.judge_gains([Score(value.mean - least, value.half, value.num)])


POSITIVE = above(0.0)


def judge(
    text: str,
    value: Score | None,
    rule: Callable[[Score], str] = POSITIVE,
    said: Callable[[Score], str] = markdown.format_gain,
) -> Verdict:
    """Judge a claim about one number over seeds.

    Args:
        text: the claim.
        value: the number; of no seed, or None, where nothing was run.
        rule: gives the verdict on it.
        said: writes it in words.
    """
    if value is None or not value.num:
        return Verdict(text, NOT_RUN, "not tested")
    here = "; ".join(filter(None, (f"{said(value)}, n={value.num}", significance.too_few_seeds(value.num))))
    return Verdict(text, here, rule(value))


def judge_values(text: str, values: Sequence[float], least: float, what: str) -> Verdict:
    """Judge a claim that a number, one value per seed, is above `least`.

    Args:
        text: the claim.
        values: the number by seed; NaN counts as not measured.
        least: what it must be above.
        what: which number it is, in words.
    """
    values = [value for value in values if not math.isnan(value)]
    score = Score(*significance.mean_interval(values), len(values)) if values else None
    return judge(text, score, above(least), lambda value: f"{what} {number(value, 3)}")


def number(value: Score, digits: int = 4) -> str:
    """Write a mean with its half-width, where it is known."""
    return f"{value.mean:.{digits}f}" + ("" if math.isnan(value.half) else f" ± {value.half:.{digits}f}")


def look(text: str, here: str) -> Verdict:
    """Return the verdict on what can only be looked at; `here` is "" where nothing was run."""
    return Verdict(text, here or "nothing was run", "not judged" if here else "not tested")


def unless_noisy(verdict: Verdict, notes: Sequence[str]) -> Verdict:
    """Return a verdict on times, "inconclusive" where a note says that the machine was noisy."""
    if not any(note.startswith("noisy") for note in notes):
        return verdict
    return Verdict(verdict.claim, f"{verdict.here}; the machine was noisy, so no verdict", "inconclusive")
