"""Judge AQCL's gains by rules that were fixed before anything ran.

AQCL over the model without a wrapper, paired over seeds, is reproduced from +.003 on with the 95 % interval above 0,
contradicted with it below 0, and else inconclusive. Where the paper's gap is small its sign is judged, at p < .1.
Fewer than three seeds decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies.claims import UNKNOWN, Runs, Verdict, gain, judge
from hyperctr.studies.study import Scores

LEAST = 0.003
"""AUC that AQCL must gain."""


def relaimpr(runs: Runs, row: str, over: str, column: str = "auc") -> Score:
    """Return RelaImpr of a row over another, Eq. (9), from the mean AUCs of the seeds that they share."""
    ours, theirs = (
        {run["seed"]: run[column] for run in runs.get(name, ()) if not math.isnan(run[column])} for name in (row, over)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    pairs = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    return Score(*significance.relaimpr_interval(*pairs), len(seeds)) if seeds else UNKNOWN


def enough(value: Score) -> str:
    """Return the verdict on a gain that the paper finds: at least LEAST, and the 95 % interval above 0."""
    verdict = significance.judge_gains([value])
    return "inconclusive" if verdict == "reproduced" and value.mean < LEAST else verdict


def sign(value: Score) -> str:
    """Return the verdict on a gain so small that only its sign is judged, at p < .1."""
    if value.num < 3 or significance.p_value(value) >= 0.1:
        return "inconclusive"
    return "reproduced" if value.mean > 0 else "contradicted"


def with_p(value: Score) -> str:
    """Write a gain with the p of its sign."""
    return markdown.format_gain(value) + (f", p={significance.p_value(value):.2g}" if value.num >= 3 else "")


def above(scores: Scores, row: str, over: str, rule: Callable[[Score], str], paper_sets: tuple[str, ...]) -> Verdict:
    """Judge the claim that a row is above another, with the paper's own gains in its text.

    Args:
        scores: of all runs.
        row, over: the two.
        rule: `enough` or `sign`.
        paper_sets: the paper's data sets that are shown.
    """
    found = []
    for data in paper_sets:
        pair = [scores.study.columns.of(name, data) for name in (row, over)]
        if all(pair):
            found.append(f"{pair[0][0] - pair[1][0]:+.4f} on {data}")
    theirs = ", ".join(found) or "no number in the paper"
    asked = f"here by at least {LEAST}" if rule is enough else "here its sign, p < .1"
    text, value = f"{row} is above {over} ({theirs}); {asked}", gain(scores.runs, row, over)
    return judge(text, value, rule, with_p if rule is sign else markdown.format_gain)
