"""Table 3 of LT4REC, in replay of the log: time watched of what is ranked first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr import files
from hyperctr.data.clock import DAY
from hyperctr.evaluation import metrics
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.runs import parallel
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, judge
from hyperctr.studies.lt4rec import masks, paper_numbers, setting, table2
from hyperctr.studies.lt4rec.figures import draw_replay
from hyperctr.studies.lt4rec.paper_numbers import TABLE3
from hyperctr.studies.lt4rec.setting import TICKETS
from hyperctr.studies.measurements import read_lines
from hyperctr.studies.study import Cells, Findings, Measurement, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

RANKED = {
    "base_ctr * base_cvr * length": ("base_ctr", "base_cvr"),
    "base_ctr * hard_cvr * length": ("base_ctr", "hard_sharing"),
    "base_ctr * s_weight_cvr * length": ("base_ctr", "s-weight"),
    "s_weight_ctr * s_weight_cvr * length": ("s-weight", "s-weight"),
}
"""The paper's rankings: the rows that give pCTR and pCVR."""
TOPS = (1, 3, 5)
"""Depths; the first is judged."""


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_conversions(setup, dataset)
    log = dataset.interactions
    if log.length is None or not log.logged_non_clicks:
        raise ValueError(
            f"{setup.study.name} ranks logged impressions by pCTR pCVR length, and {dataset.name} lacks "
            + ('the latter: name its column with length = "..." under [interactions] of its dataset.toml'
               if log.length is None else "impressions without a click")
        )  # fmt: skip
    return [*table2.single_rows(setup), TICKETS]


# --- what is measured ----------------------------------------------------------------------------------------------


def _gather(cells: Cells, out: Path, new: bool) -> None:
    if new or not (out / "replay.csv").exists():
        files.write_csv(out / "replay.csv", _ranked(cells, out))


def _ranked(cells: Cells, out: Path) -> list[dict]:
    """Return the mean time watched of the test impressions ranked first among those of a user and (UTC) day.

    A line for each row of RANKED, for the length alone and for all impressions of groups that are large enough; a seed
    of which a run is missing has none.
    """
    from hyperctr.evaluation.evaluate import score
    from hyperctr.runs import prepare
    from hyperctr.runs.open import open_run

    paths: dict[int, dict[str, Path]] = {}
    for name, cell in cells.items():
        paths.setdefault(cell.seed, {})[cell.row.name] = parallel.folder_of(out, name)
    lines = []
    for seed, folders in paths.items():
        if not all((path / "report.json").exists() for path in folders.values()):
            continue
        opened = {name: open_run(path) for name, path in folders.items()}
        scored = {}
        for name, run in opened.items():
            batches = run.prepared.loader.batches(run.prepared.split.test, prepare.QUERIES)  # every row, in order
            scored[name] = score(run.model, batches)
        ready = opened[TICKETS.name].prepared
        found = ranks(ready.dataset.interactions, ready.split.test, scored)
        lines += [{"row": name, "seed": seed} | each for name, each in found.items()]
    return lines


def ranks(log: Any, test: np.ndarray, scored: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Return the mean time watched, in the unit of the lengths, of what each ranking puts first, for each of TOPS.

    Args:
        log: the interactions. test: rows, [n]. scored: logits of these rows, by model, as `evaluate.score` gives.
    """
    label, length = log.label[test], log.length[test].astype(np.float64)
    known = ~np.isnan(length) & ~((label == 1) & np.isnan(log.conversion[test]))
    watched = (label * np.nan_to_num(log.conversion[test]) * length)[known]
    _, group = np.unique(np.stack([log.user[test], log.time[test] // DAY]), axis=1, return_inverse=True)
    group = group.ravel()[known]
    order = {
        name: metrics.rank_score(scored[a]["logit"][known], scored[b]["conversion_logit"][known], length[known])
        for name, (a, b) in RANKED.items()
    }
    order["length alone"] = length[known]
    found = {name: metrics.replay(score, watched, group, TOPS) for name, score in order.items()}
    count = np.bincount(group)[group]
    found["any order"] = {top: float(_mean_of_groups(watched, group, count >= top)) for top in TOPS}
    return {name: {f"top {top}": value for top, value in each.items()} for name, each in found.items()}


def _mean_of_groups(value: np.ndarray, group: np.ndarray, kept: np.ndarray) -> float:
    """Return the mean over groups of the mean of their values: what any order is expected to put first."""
    if not kept.any():
        return math.nan
    total, count = (np.bincount(group[kept], weight) for weight in (value[kept], None))
    return (total[count > 0] / count[count > 0]).mean()


# --- what is written -----------------------------------------------------------------------------------------------


def entries(scores: Scores) -> list[dict]:
    """Return the time watched of what each ranking puts first, over seeds, and the paper's seconds."""
    columns = [f"top {top}" for top in TOPS]
    empty = {"n": 0} | {name: math.nan for column in columns for name in (column, f"{column}_half")}
    ran = {entry["row"]: entry for entry in masks.over_seeds(scores.measured["replay"], ("row",), columns)}
    return [{"row": name} | ran.get(name, empty) | {"paper": TABLE3.get(name, math.nan)}
            for name in (*RANKED, "length alone", "any order")]  # fmt: skip


def judge_order(scores: Scores) -> list[Verdict]:
    """Judge the paper's order of rankings, as the change over the first one at the top."""
    first, *names = RANKED
    at = {name: {line["seed"]: line[f"top {TOPS[0]}"] for line in scores.measured["replay"] if line["row"] == name}
          for name in RANKED}  # fmt: skip
    found = []
    for name in names:
        value, papers = setting.change(at[name], at[first]), TABLE3[name] / TABLE3[first] - 1
        text = (
            f"{name} changes the time watched by {papers:+.2%} against {first} (online); here its sign, "
            f"first of each user and day, {metrics.REPLAY}"
        )
        rule = setting.not_below(0.0)
        found.append(judge(text, value, rule if papers > 0 else lambda x, r=rule: r(setting.turned(x)), setting.more))
    return found


def _caveats(scores: Scores) -> list[str]:
    biased = f"{metrics.REPLAY}; time watched is conversion times length, in the unit of the lengths"
    return [setting.conversions(scores.facts), biased]


def _table(found: Findings) -> str:
    lines = [["ranking", "n", *(f"first {top} of a user and day" for top in TOPS), "the paper, online: seconds"]]
    for row in found.rows:
        values = [Score(row[f"top {top}"], row[f"top {top}_half"], row["n"]) for top in TOPS]
        texts = ["-" if math.isnan(v.mean) else f"{v.mean:,.1f}" + (f" ± {v.half:,.1f}" if v.half == v.half else "")
                 for v in values]  # fmt: skip
        lines.append([row["row"], str(row["n"]), *texts, tables.number(row["paper"], ".1f")])
    text = markdown.table(lines) + f"\n\nMean time watched; {metrics.REPLAY}."
    return "\n\n".join([text, *(masks.mask_tables(found)[-2:] if found.more["masks"] else ())])


def _figures(found: Findings) -> dict[str, Figure]:
    drawn = {}
    if any(row["n"] for row in found.rows):
        drawn = {"": tables.titled(draw_replay(found.rows, TOPS), found, setting.about(found))}
    return drawn | masks.masks_figure(found)


STUDY = Study(
    name="lt4rec-replay",
    title="LT4REC, Table 3: time watched of what is ranked first, in replay",
    rows=_rows,
    judge=judge_order,
    paper=paper_numbers.PAPER,
    base=setting.BASE,
    facts=setting.facts,
    measurements=masks.MEASUREMENTS | {"replay": Measurement(_gather, read_lines("replay.csv"))},
    extra_scores=setting.EXTRA,
    entries=entries,
    more=masks.summaries,
    caveats=_caveats,
    table=_table,
    figures=_figures,
)
