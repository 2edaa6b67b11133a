"""Section 4.5 of MIAN: seconds of an epoch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import Runs, Verdict, judge_values, unless_noisy
from hyperctr.studies.figures import draw_table
from hyperctr.studies.mian import paper_numbers, setting
from hyperctr.studies.mian.paper_numbers import SECONDS
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study, one_epoch
from hyperctr.studies.tables import PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

CLAIM = "an epoch of MIAN takes less time than one of DIEN (3700 s against 4073 s; DIN 3143 s)"
OF_TIME, OVER = f"{PAPER}seconds on Amazon Books", f"{PAPER}over DIN"


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    """Return the rows. DIN and DIEN add up the parts of an item: their vectors are as wide as MIAN's side by side."""
    setup.need_model(setting.MODEL)
    parts = 1 + len(dataset.items.fields) + len(dataset.items.modalities)
    wide = f"model.dim={parts * setup.base.model.dim}"
    others = [setup.rival(name, wide, *one_epoch()) for name in ("din", "dien")]
    return [Row("MIAN", setting.MODEL, one_epoch()), *others]


def _notes(setup: Setup, dataset: Dataset) -> list[str]:
    return [note for note in setting.notes(setup, dataset) if "ICIM" not in note]


def _entries(scores: Scores) -> list[dict]:
    """Return the median seconds of an epoch, and the median of its ratio to DIN's, repeat by repeat."""
    found = []
    for name, some in scores.runs.items():
        seconds, ratios = [run["seconds"] for run in some], list(_ratios(scores.runs, name, "DIN").values())
        found.append({
            "row": name, "n": len(some), "seconds": statistics.median(seconds) if seconds else math.nan,
            "over DIN": statistics.median(ratios) if ratios else math.nan,
            "least": min(ratios, default=math.nan), "most": max(ratios, default=math.nan),
            OF_TIME: SECONDS[name], OVER: SECONDS[name] / SECONDS["DIN"],
        })  # fmt: skip
    return found


def _ratios(runs: Runs, row: str, over: str) -> dict[int, float]:
    """Return the seconds of a row over those of another, by repeat."""
    one = {run["seed"]: run["seconds"] for run in runs[over]}
    return {run["seed"]: run["seconds"] / one[run["seed"]] for run in runs[row] if run["seed"] in one}


def _judge(scores: Scores) -> list[Verdict]:
    ratios = list(_ratios(scores.runs, "DIEN", "MIAN").values())
    found = judge_values(CLAIM, ratios, 1.0, "an epoch of DIEN over one of MIAN:")
    return [unless_noisy(found, scores.facts["notes"])]


def _table(found: Findings) -> str:
    lines = [["row", "repeats", "seconds", "over DIN, median (least to most)", OF_TIME, OVER]]
    for row in found.rows:
        spread = f"{row['over DIN']:.2f} ({row['least']:.2f} to {row['most']:.2f})" if row["n"] else "no finished run"
        numbers = tables.number(row["seconds"], ".2f"), spread, f"{row[OF_TIME]:.0f}", f"{row[OVER]:.2f}"
        lines.append([row["row"], str(row["n"]), *numbers])
    return markdown.table(lines)


def _figures(found: Findings) -> dict[str, Figure]:
    shown = [(row["row"], _with_spread(row) if row["n"] else None, "no finished run") for row in found.rows]
    if not any(value for _, value, _ in shown):
        return {}
    theirs, facts = {"Amazon Books": {row["row"]: row[OVER] for row in found.rows}}, found.facts
    drawn = draw_table(shown, theirs, "MIAN", "seconds of an epoch over DIN's")
    protocol = f"{facts['data']}; {len(facts['seeds'])} repeats, bars: all of them; {facts['cores']} cores"
    return {"": tables.titled(drawn, found, protocol)}


def _with_spread(row: Mapping) -> Score:
    half = max(row["most"] - row["over DIN"], row["over DIN"] - row["least"])
    return Score(row["over DIN"], half, row["n"])


STUDY = Study(
    name="mian-efficiency",
    title="MIAN, section 4.5: seconds of an epoch",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    base=setting.BASE,
    timed=True,
    notes=_notes,
    entries=_entries,
    caveats=lambda scores: [
        "seconds are of this machine and its other work; the vectors of an item are as wide in all rows"
    ],
    table=_table,
    figures=_figures,
)
