"""Make the table and the figure of a study from scores, where the study has none of its own.

A row has its scores, means with intervals; how far it is above another row, paired by seed; and the paper's numbers,
in columns of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.experiments import sweep_report
from hyperctr.experiments.results import LATER
from hyperctr.reporting import figures as look
from hyperctr.reporting import markdown
from hyperctr.studies.claims import UNKNOWN
from hyperctr.studies.figures import draw_table
from hyperctr.studies.study import TITLES, Findings, Runs, Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS = {
    "auc": "AUC",
    "user_auc": "user AUC",
    "user_session_auc": "user session AUC",
    "positive_auc": "per-positive AUC",
    "logloss_1to1": "log loss 1:1",
    "user_auc_plain": "AUC, mean over users",
    "best_epoch": "epochs to the best",
    "cold_item_auc": "AUC, unseen items",
    "cvr_mse": "error of conversions",
}
PAPER = "the paper: "
"""How a column of the paper's numbers begins."""


def entries(scores: Scores) -> list[dict]:
    """Return one entry per row: its scores, its gain in the first of them over another row, and the paper's numbers."""
    study, facts, runs = scores.study, scores.facts, scores.runs
    chosen, first = study.over(scores) if study.over else facts.get("over", {}), study.scores[0]
    found = []
    for name, model in facts["rows"]:
        over, some = chosen.get(name, ""), runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "over": over, "n": len(some)}
        for column in recorded([*study.scores, "valid_auc", "best_epoch", "seconds"], runs):
            entry |= _with_half(column, significance.score(some, column) if some else UNKNOWN)
        gain = significance.difference(some, runs.get(over, []), first) if over else None
        entry |= _with_half("difference", gain or UNKNOWN)
        entry["verdict"] = significance.verdict(gain) if gain else ""
        entry["learned"] = learned(runs, name) is not False
        for data in scores.paper_sets:
            theirs = study.columns.of(name, data) or [None] * len(study.columns.what)
            for what, x in zip(study.columns.what, theirs, strict=True):
                entry[f"{PAPER}{data}, {what}"] = math.nan if x is None else x
        found.append(entry)
    return found


def recorded(columns: Iterable[str], runs: Runs) -> list[str]:
    """Return the columns without those that results.csv of an older version lacks."""
    rows = [row for some in runs.values() for row in some]
    return [name for name in dict.fromkeys(columns) if name not in LATER or all(name in row for row in rows)]


def _with_half(column: str, value: Score) -> dict[str, float]:
    return {column: value.mean, f"{column}_half": value.half}


def of(entry: Mapping, column: str) -> Score:
    """Return a score of an entry."""
    return Score(entry[column], entry[f"{column}_half"], entry["n"])


def table(found: Findings) -> str:
    """Write the entries as Markdown."""
    rows = found.rows
    shown = [name for name in found.scores.study.scores if any(not math.isnan(row.get(name, math.nan)) for row in rows)]
    heads = [name for name in rows[0] if name.startswith(PAPER)]
    overs = list(dict.fromkeys(row["over"] for row in rows if row["over"]))
    gains = [] if not overs else ["over" if len(overs) > 1 else f"over {overs[0]}", ""]
    lines = [["row", "n", *(HEADS.get(name, name) for name in shown), *gains, *heads]]
    for row in rows:
        texts = [markdown.format_score(of(row, name)) for name in shown]
        more = ["", ""] if overs else []
        if not row["n"]:
            texts, more = ["" for _ in shown], ["", "no finished run"] if overs else more
        elif row["verdict"]:
            gain = markdown.format_gain(of(row, "difference"))
            more = [f"{row['over']}: {gain}" if len(overs) > 1 else gain, row["verdict"]]
        if row["n"] and not row["learned"] and overs:
            more[1] = "has not learned"
        lines.append([row["row"], str(row["n"]), *texts, *more, *(number(row[head]) for head in heads)])
    return markdown.table(lines)


def number(value: float | None, form: str = ".4f") -> str:
    """Write a number, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def figures(found: Findings) -> dict[str, Figure]:
    """Draw the first score of each row with its interval, and the paper's in a panel of its own; {} without a run."""
    study, rows = found.scores.study, found.rows
    score, what = study.scores[0], study.columns.what[0]
    if not any(row["n"] for row in rows if row["row"] != "popularity"):
        return {}
    shown = [(row["row"], of(row, score) if row["n"] else None, "no finished run") for row in rows]
    theirs = {
        data: {row["row"]: x for row in rows if not math.isnan(x := row[f"{PAPER}{data}, {what}"])}
        for data in found.scores.paper_sets
    }
    drawn = draw_table(shown, theirs, study.ours, HEADS.get(score, score))
    return {"": titled(drawn, found, protocol(found))}


def protocol(found: Findings) -> str:
    """Say below a title what was trained on what; of a single seed, only the AUC over all rows has an interval."""
    facts, study = found.facts, found.scores.study
    model = study.base["model"]["name"]
    single = "bars: 95 % from the scored rows" if study.scores[0] == "auc" else "no intervals"
    seeds = "bars and bands: 95 % over seeds" if len(facts["seeds"]) > 1 else f"one seed; {single}"
    return f"{TITLES.get(model, model)} on {facts['data']}, {facts['split']} split; {seeds}"


def titled(drawn: tuple[Figure, Any], found: Findings, protocol: str, title: str = "") -> Figure:
    """Write the title, the protocol and whether the split is leaky above the axes; return the figure."""
    (figure, axes), facts = drawn, found.facts
    leaky = sweep_report.leaky_line(facts["split"]) if facts.get("leaky") else ""
    look.titles(axes, title or facts["title"], protocol, leaky)
    return figure


def learned(runs: Mapping[str, list[dict]], row: str) -> bool | None:
    """Return whether a row is above popularity; None for popularity itself, and where the two cannot be compared."""
    if row == "popularity":
        return None
    gain = significance.difference(runs.get(row, []), runs.get("popularity", []))
    return None if gain is None else gain.mean > 0


def unlearned(scores: Scores) -> list[str]:
    """Return a line for each row that is not above popularity."""
    rows = [row for row in scores.names if learned(scores.runs, row) is False]
    return [f"row {row} is not above popularity: it has not learned" for row in rows]


def torn(scores: Scores) -> list[str]:
    """Return a line for each row that raises AUC and lowers user AUC against popularity, or the reverse."""
    base = scores.runs.get("popularity", [])
    words = {row: significance.torn(scores.runs.get(row, []), base) for row in scores.names}
    return [f"row {row} {said} against popularity" for row, said in words.items() if said]
