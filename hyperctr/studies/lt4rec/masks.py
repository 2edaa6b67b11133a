"""Gather what LT4REC's runs say of masks: how the tasks share each layer, and the score of every round's mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.runs import parallel, report
from hyperctr.studies import tables
from hyperctr.studies.lt4rec import setting
from hyperctr.studies.lt4rec.figures import draw_masks, draw_rounds
from hyperctr.studies.lt4rec.setting import TICKETS
from hyperctr.studies.measurements import keep_lines, read_lines
from hyperctr.studies.study import Cells, Findings, Measurement, Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _gather_masks(cells: Cells, out: Path, new: bool) -> None:
    """Write masks.csv: how the tasks share each layer, one line per run and layer."""
    lines, read = [], set()
    for where, found in _reports(cells, out):
        read.add((where["row"], str(where["seed"])))
        lines += [where | layer for layer in found["overlap"]]
    keep_lines(out / "masks.csv", lines, read)


def _gather_rounds(cells: Cells, out: Path, new: bool) -> None:
    """Write rounds.csv: the score of every round's mask, of the runs that searched for masks."""
    lines, read = [], set()
    for where, found in _reports(cells, out):
        read.add((where["row"], str(where["seed"])))
        if not found["searched"]:
            continue  # the rounds are those of the run whose masks it uses
        for task, ticket in found["tickets"].items():
            lines += [where | {"task": task} | each | {"best": each["round"] == ticket["best"]}
                      for each in ticket["rounds"]]  # fmt: skip
    keep_lines(out / "rounds.csv", lines, read)


def _reports(cells: Cells, out: Path) -> list[tuple[dict, dict]]:
    """Return row and seed, and the report, of LT4REC's runs whose folders are there."""
    found = []
    for name, cell in cells.items():
        path = parallel.folder_of(out, name) / "report.json"
        if cell.row.model == setting.MODEL and path.exists():
            found.append(({"row": cell.row.name, "seed": cell.seed}, report.read(path.parent)))
    return found


MEASUREMENTS = {
    "masks": Measurement(_gather_masks, read_lines("masks.csv")),
    "rounds": Measurement(_gather_rounds, read_lines("rounds.csv")),
}


def summaries(scores: Scores) -> dict[str, list[dict]]:
    """Return masks and rounds over seeds, for bench.json."""
    return {"masks": over_rows(scores.measured["masks"]), "rounds": over_rounds(scores.measured["rounds"])}


def over_seeds(lines: list[dict], by: Sequence[str], columns: Sequence[str]) -> list[dict]:
    """Return means over seeds and their half-widths, one entry per combination of the columns `by`."""
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in by), []).append(line)
    found = []
    for key, some in groups.items():
        entry: dict[str, Any] = dict(zip(by, key, strict=True)) | {"n": len(some)}
        for column in columns:
            known = [line[column] for line in some if not math.isnan(line[column])]
            mean, half = significance.mean_interval(known) if known else (math.nan, math.nan)
            entry |= {column: mean, f"{column}_half": half}
        found.append(entry)
    return found


def over_rows(lines: list[dict]) -> list[dict]:
    """Return how the tasks share each layer, over seeds; of rows with the same masks only the first."""
    columns = ("shared", "click", "conversion", "dead", "jaccard", "ratio")
    by_row: dict[str, list[dict]] = {}
    for entry in over_seeds(lines, ("row", "layer", "weights"), columns):
        by_row.setdefault(entry.pop("row"), []).append(entry)
    known: list[str] = []
    for row, layers in by_row.items():
        if not any(str(by_row[other]) == str(layers) for other in known):
            known.append(row)
    return [{"row": row} | entry for row in known for entry in by_row[row]]


def over_rounds(lines: list[dict]) -> list[dict]:
    """Return density and score of every round, over seeds, and how often its mask was the best."""
    chosen = [line | {"chosen": float(line["best"])} for line in lines]
    return over_seeds(chosen, ("row", "task", "round"), ("density", "score", "chosen"))


def mask_tables(found: Findings) -> list[str]:
    """Write rounds and masks, each with a heading."""
    parts = ["### Rounds", _round_table(found.more["rounds"])] if found.more["rounds"] else []
    return [*parts, *(["### Masks", _mask_table(found.more["masks"])] if found.more["masks"] else ())]


def _round_table(rounds: list[dict]) -> str:
    lines = [["row", "task", "round", "weights left", "score on validation rows", "best in"]]
    for r in rounds:
        value = Score(abs(r["score"]), r["score_half"], r["n"])
        what = "AUC" if r["task"] == setting.TASKS[0] else "error"
        lines.append([r["row"], r["task"], f"{r['round']:.0f}", f"{100 * r['density']:.2f} %",
                      f"{what} {markdown.format_score(value)}", f"{r['chosen'] * r['n']:.0f} of {r['n']}"])  # fmt: skip
    return markdown.table(lines)


def _mask_table(masks: list[dict]) -> str:
    lines = [["row", "layer", "weights", "both", "clicks alone", "conversions alone", "nobody", "Jaccard", "to chance"]]
    for m in masks:
        layer = m["layer"] if isinstance(m["layer"], str) else f"{m['layer'] + 1:.0f}"
        shares = [f"{m[name]:.1%}" for name in ("shared", "click", "conversion", "dead")]
        numbers = [tables.number(m[name], ".3f") for name in ("jaccard", "ratio")]
        lines.append([m["row"], layer, f"{m['weights']:,.0f}", *shares, *numbers])
    return markdown.table(lines) + (
        "\n\nTo chance: weights that both tasks keep, over what independent masks of the same densities would share."
    )


def masks_figure(found: Findings) -> dict[str, Figure]:
    """Draw which task keeps the weights of each layer, in the row that looks for tickets."""
    layers = [m for m in found.more["masks"] if m["row"] == TICKETS.name]
    title = f"Which task keeps the weights of each layer ({TICKETS.name})"
    return {"masks": tables.titled(draw_masks(layers), found, setting.about(found), title)} if layers else {}


def rounds_figure(found: Findings, end: str, rows: Sequence[str], claims: dict[str, str], title: str) -> dict:
    """Draw the score of every round's mask.

    Args:
        found: what the study found.
        end: of the file's name.
        rows: which rows.
        claims: what the paper says, by task.
        title: "" for the study's.
    """
    rounds = [r for r in found.more["rounds"] if r["row"] in rows]
    return {end: tables.titled(draw_rounds(rounds, claims), found, setting.about(found), title)} if rounds else {}
