"""Table 3 of HyperCTR: the model and its rivals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.studies import tables
from hyperctr.studies.claims import Claim, Verdict, best_row, compare
from hyperctr.studies.figures import draw_table
from hyperctr.studies.hyperctr import entries, paper_numbers
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

OURS = "HyperCTR"
ROWS = (OURS, *entries.PRESETS)
"""The rows of HyperCTR: with the settings of the shared run, and with those of its presets."""


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    from hyperctr.models import MODELS

    entries.need_hyperctr(setup)
    return [*rows_among(MODELS), *entries.preset_rows(setup)]


def rows_among(models: dict) -> list[Row]:
    """Return popularity, static MF, the paper's rows, and our other models before HyperCTR."""
    simple = entries.simple_rows()
    *theirs, last = (Row(name, name.lower() if name.lower() in models else "") for name in paper_numbers.TABLE3.rows)
    known = {row.model for row in (*simple, *theirs, last)}
    return [*simple, *theirs, *(Row(name, name) for name in models if name not in known), last]


def _entries(scores: Scores) -> list[dict]:
    return entries.entries(scores, best_row(scores.runs, [name for name in scores.names if name not in ROWS]), OURS)


def _judge(scores: Scores) -> list[Verdict]:
    """Judge each HyperCTR against the paper's baselines, and ours: a model below popularity has nothing to claim."""
    known = (*paper_numbers.TABLE3.rows, *entries.SIMPLE)
    baselines = tuple(name for name in scores.names if name in known and name not in ROWS)
    ours = [name for name in ROWS if name in scores.names]
    return [compare(Claim(f"{name} is above every baseline", (name,), baselines), scores.runs) for name in ours]


def _table(found: Findings) -> str:
    best = next((row["row"] for row in found.rows if row["reference"]), "")
    text = entries.table(found, f"over {best}, the best baseline" if best else "")
    return text + "\n\nThe best baseline is the one with the highest validation AUC." * bool(best)


def _figures(found: Findings) -> dict[str, Figure]:
    return draw(found, OURS)


def draw(found: Findings, ours: str) -> dict[str, Figure]:
    """Draw the AUC of each row next to the paper's; {} where only simple models were run."""
    runs = found.scores.runs
    scores = {name: significance.score(some) if some else None for name, some in runs.items()}
    if not any(value for name, value in scores.items() if name not in entries.SIMPLE):
        return {}
    shown = [(row["row"], scores[row["row"]], entries.why_empty(row)) for row in found.rows]
    drawn = draw_table(shown, entries.paper_aucs(found), ours)
    return {"": tables.titled(drawn, found, entries.protocol(found, "bars"))}


STUDY = Study(
    name="table3",
    title="HyperCTR, Table 3: HyperCTR and other models",
    rows=_rows,
    notes=lambda setup, dataset: entries.preset_notes(setup, OURS),
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE3,
    entries=_entries,
    caveats=lambda scores: [*entries.ABSOLUTE, *entries.another(scores)],
    table=_table,
    figures=_figures,
)
