"""Figure 7 of HyperCTR: the speed-up of an epoch with threads."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, above, judge, unless_noisy
from hyperctr.studies.hyperctr import entries, paper_numbers
from hyperctr.studies.hyperctr.figures import draw_threads
from hyperctr.studies.study import Findings, Grid, Row, Scores, Setup, Study, one_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

CLAIM = "the speed-up of an epoch is very close to linear from 1 to 24 threads (24 cores, 512 GiB)"
LINEAR = 0.8
"""Share of a perfect speed-up from which on it counts as close to linear."""


def counts(values: Sequence[str]) -> list[str]:
    """Return the numbers of threads that this machine has cores for, beginning with one."""
    return list(dict.fromkeys(["1", *(value for value in values if 0 < int(value) <= (os.cpu_count() or 1))]))


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    entries.need_hyperctr(setup)
    return [Row(value, sets=one_epoch({"train.threads": value})) for value in counts(setup.values)]


def _notes(setup: Setup, dataset: Dataset | None) -> list[str]:
    cores = os.cpu_count() or 1
    over = [value for value in setup.values if int(value) > cores]
    return [f"this machine has {cores} cores: {', '.join(over)} threads were left out"] if over else []


def _entries(scores: Scores) -> list[dict]:
    """Return the median seconds of an epoch by threads, and the speed-up over one thread."""
    one = [run["seconds"] for run in scores.runs["1"]]
    found = []
    for name, timed in scores.runs.items():
        seconds = statistics.median(run["seconds"] for run in timed) if timed else math.nan
        speed = statistics.median(one) / seconds if one and timed else math.nan
        row = {"row": name, "n": len(timed), "seconds": seconds, "speed-up": speed}
        row |= {"share of linear": speed / int(name)}
        found.append(row | {"fastest": min((r["seconds"] for r in timed), default=math.nan),
                            "slowest": max((r["seconds"] for r in timed), default=math.nan)})  # fmt: skip
    return found


def _judge(scores: Scores) -> list[Verdict]:
    """Judge whether the speed-up with most threads is above LINEAR times their number, repeat by repeat."""
    runs = scores.runs
    timed = [int(name) for name in runs if runs[name]]
    most = max(timed, default=0)
    if most < 2 or 1 not in timed:
        return [Verdict(CLAIM, "fewer than two thread counts were timed", "not tested")]
    one = {run["seed"]: run["seconds"] for run in runs["1"]}
    shares = [one[run["seed"]] / run["seconds"] / most for run in runs[str(most)] if run["seed"] in one]
    share = Score(*significance.mean_interval(shares), len(shares)) if shares else None
    found = judge(CLAIM, share, above(LINEAR), lambda value: (
        f"speed-up with {most} threads is {markdown.format_score(value)} of linear; close to linear means at least "
        f"{LINEAR}"))  # fmt: skip
    judged = unless_noisy(found, [*scores.facts["notes"], *_spread(scores)])
    if judged.verdict == "reproduced" and most < 24:
        here = f"{found.here}; it is so up to {most} threads, the paper's claim is up to 24"
        return [Verdict(CLAIM, here, "inconclusive")]
    return [judged]


def _spread(scores: Scores) -> list[str]:
    """Return a line for each number of threads whose repeats differ by more than a tenth."""
    found = []
    for name, timed in scores.runs.items():
        seconds = [run["seconds"] for run in timed]
        if seconds and max(seconds) > 1.1 * min(seconds):
            spread = max(seconds) / min(seconds) - 1
            found.append(f"noisy: the repeats with {name} thread{'s' * (name != '1')} differ by {spread:.0%}")
    return found


def _table(found: Findings) -> str:
    lines = [["threads", "repeats", "seconds per epoch", "fastest to slowest", "speed-up", "share of linear"]]
    for row in found.rows:
        spread = f"{row['fastest']:.2f} to {row['slowest']:.2f}"
        numbers = [f"{row[name]:.2f}" for name in ("seconds", "speed-up", "share of linear")]
        lines.append([row["row"], str(row["n"]), numbers[0], spread, *numbers[1:]])
    return markdown.table(lines)


def _figures(found: Findings) -> dict[str, Figure]:
    facts, runs = found.facts, found.scores.runs
    if not runs["1"]:
        return {}
    times = {int(name): [run["seconds"] for run in some] for name, some in runs.items() if some}
    drawn = draw_threads(times, [CLAIM])
    marks = f"{len(facts['seeds'])} repeats, {facts['cores']} cores"
    return {"": tables.titled(drawn, found, f"HyperCTR on {facts['data']}, {facts['split']} split; {marks}")}


STUDY = Study(
    name="threads",
    title="HyperCTR, Figure 7: speed-up of an epoch with threads",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    grid=Grid("train.threads", ("1", "2", "4", "8", "16", "24"), "threads", read=int, what="whole numbers",
              allowed=lambda number: number >= 0),
    timed=True,
    notes=_notes,
    entries=_entries,
    caveats=_spread,
    table=_table,
    figures=_figures,
)  # fmt: skip
