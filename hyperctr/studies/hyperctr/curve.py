"""Figure 8 of HyperCTR: the learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import files
from hyperctr.runs import parallel
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, look
from hyperctr.studies.hyperctr import entries, paper_numbers
from hyperctr.studies.hyperctr.figures import draw_curve
from hyperctr.studies.measurements import keep_lines, read_lines
from hyperctr.studies.study import Cells, Findings, Grid, Measurement, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

CLAIM = "the AUC of HyperCTR rises over the training; a unit of the x axis is 5 % of the training rows"
OURS = "HyperCTR"


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    base = entries.need_hyperctr(setup)
    if len(setup.values) != 1:
        raise ValueError(f"curve takes one share of an epoch, such as --values 0.05, got {','.join(setup.values)}")
    (share,) = setup.values
    patience = round(base.train.patience / float(share))  # validations are that much closer
    return [*entries.simple_rows(), Row(OURS, sets=(f"train.eval_every={share}", f"train.patience={patience}"))]


def _gather(cells: Cells, out: Path, new: bool) -> None:
    """Gather the histories of HyperCTR's runs in curve.csv, one line per validation."""
    found: list[dict[str, Any]] = []
    read = set()
    for name, cell in cells.items():
        history = parallel.folder_of(out, name) / "history.csv"
        if cell.row.name == OURS and history.exists():
            read.add((str(cell.seed),))
            found += [{"seed": cell.seed} | {key: line[key] for key in ("epoch", "loss", "valid_auc")}
                      for line in files.read_csv(history)]  # fmt: skip
    keep_lines(out / "curve.csv", found, read, ("seed",))


def _judge(scores: Scores) -> list[Verdict]:
    return [look(CLAIM, "see the figure; nothing that a difference could test")]


def _figures(found: Findings) -> dict[str, Figure]:
    curves: dict[int, list] = {}
    for line in found.scores.measured["curve"]:
        curves.setdefault(int(line["seed"]), []).append((line["epoch"], line["loss"], line["valid_auc"]))
    if not curves:
        return {}
    facts = found.facts
    protocol = f"HyperCTR on {facts['data']}, {facts['split']} split; one line per seed"
    return {"": tables.titled(draw_curve(curves, [CLAIM]), found, protocol)}


STUDY = Study(
    name="curve",
    title="HyperCTR, Figure 8: the learning curve",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    grid=Grid("train.eval_every", ("0.05",), what="shares of an epoch", allowed=lambda share: 0 < share <= 1),
    measurements={"curve": Measurement(_gather, read_lines("curve.csv"))},
    entries=entries.over_popularity,
    caveats=entries.another,
    table=entries.table,
    figures=_figures,
)
