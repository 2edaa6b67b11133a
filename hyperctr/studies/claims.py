"""What a paper claims of its rows, and the verdict on it by runs paired by seed.

A verdict is reproduced, inconclusive or contradicted, by the 95 % interval of the paired difference over seeds. With
fewer than three seeds it is inconclusive, as where a row that the claim names was not run. Where what is claimed can
only be looked at, the studies say "not judged"; "not tested" where nothing was run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown

Runs = Mapping[str, list[dict]]
"""The lines of results.csv of each row's runs that are ok, by row."""


@dataclass(frozen=True)
class Claim:
    """One row is better than others: the paper's words as something that can be tested here."""

    text: str
    """What the paper says."""
    ours: tuple[str, ...]
    """Rows of which the best on validation rows must be above; a single name where there is no choice."""
    others: tuple[str, ...]
    """Rows that it must be above, each of them."""
    margin: float = 0.0
    """How far it may lie below and still hold: 0.01 for "more does not help"."""
    column: str = "auc"
    """The score that is compared."""
    interior: bool = False
    """Whether nothing is decided where the best on validation rows is one of `others`: it may lie beyond the grid."""


def best(runs: Runs, names: tuple[str, ...]) -> str | None:
    """The row with the highest mean validation AUC; test rows have no say. None where none was run."""
    valid = {name: statistics.fmean(r["valid_auc"] for r in runs[name]) for name in names if runs.get(name)}
    valid = {name: auc for name, auc in valid.items() if not math.isnan(auc)}
    return max(valid, key=valid.__getitem__) if valid else None


def judge(claim: Claim, runs: Runs) -> tuple[str, str]:
    """What was found about a claim, in words, and the verdict."""
    ours, missing = best(runs, claim.ours), [name for name in claim.others if not runs.get(name)]
    ran = [name for name in claim.others if runs.get(name)]
    if ours is None or not ran:
        return "the rows that it compares were not run", "not tested"
    chosen = f"{ours}, chosen by validation" if len(claim.ours) > 1 else ours
    if claim.interior and (top := best(runs, (*claim.ours, *claim.others))) in claim.others:
        return f"{top}, chosen by validation, lies at the edge of the grid: the best may lie beyond", "inconclusive"
    gains = {name: significance.difference(runs[ours], runs[name], claim.column) for name in ran}
    texts = [f"{markdown.format_gain(gain)} over {name}" for name, gain in gains.items()]
    shifted = [gain and Score(gain.mean + claim.margin, gain.half, gain.num) for gain in gains.values()]
    seeds = min(gain.num if gain else 0 for gain in gains.values())
    verdict = significance.judge_gains(shifted)
    notes = [f"not run: {', '.join(missing)}"] if missing else []
    if missing and verdict == "reproduced":
        verdict = "inconclusive"
    said = [f"{chosen}: {', '.join(texts)}, n={seeds}", *notes, significance.too_few_seeds(seeds)]
    return "; ".join(filter(None, said)), verdict
