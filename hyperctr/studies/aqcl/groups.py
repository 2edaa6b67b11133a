"""Compare rows overall and in each group of users by activity: AUC and RelaImpr, ours and the paper's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.aqcl.gains import relaimpr
from hyperctr.studies.aqcl.paper_numbers import GROUPS
from hyperctr.studies.claims import UNKNOWN, gain
from hyperctr.studies.study import Findings, Scores


def entries(scores: Scores, paper_sets: Sequence[str] = ()) -> list[dict]:
    """Return one entry per row: for every group AUC, RelaImpr, difference, with half-widths, and the paper's numbers.

    Args:
        scores: of all runs.
        paper_sets: the paper's data sets that are shown.
    """
    found, runs = [], scores.runs
    for name, model in scores.facts["rows"]:
        over, some = scores.facts["over"].get(name, ""), runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "over": over, "n": len(some)}
        for group, column in GROUPS.items():
            better = gain(runs, name, over, column)
            numbers = {
                "AUC": significance.score(some, column) if some else UNKNOWN,
                "RelaImpr": relaimpr(runs, name, over, column),
                "difference": better,
            }
            for what, score in numbers.items():
                entry |= {f"{group} {what}": score.mean, f"{group} {what} half": score.half}
            entry[f"{group} verdict"] = "" if math.isnan(better.half) else significance.verdict(better)
        for column in ("valid_auc", "seconds"):
            entry[column] = statistics.fmean(run[column] for run in some) if some else math.nan
        for data in paper_sets:
            entry |= _paper(scores, name, over, data)
        found.append(entry)
    return found


def _paper(scores: Scores, row: str, over: str, data: str) -> dict[str, float]:
    """Return the paper's AUC and RelaImpr of a row in each group."""
    numbers, found = scores.study.columns, {}
    theirs, base = numbers.of(row, data), numbers.of(over, data)
    for k, group in enumerate(numbers.what):
        ratio = significance.relaimpr(theirs[k], base[k]) if theirs and base else math.nan
        found |= {f"paper {data} {group} AUC": theirs[k] if theirs else math.nan}
        found |= {f"paper {data} {group} RelaImpr": ratio}
    return found


def groups(scores: Scores) -> dict[str, list[dict]]:
    """Return the groups by activity: most training clicks of their users, and share of the test rows."""
    run = next((some[0] for some in scores.runs.values() if some), None)
    names = [(group, column.removesuffix("_auc")) for group, column in GROUPS.items() if group != "overall"]
    found = [
        {"group": group, "most_clicks": run.get(f"{name}_clicks"), "share": run[f"{name}_rows"] / run["rows"]}
        for group, name in names if run is not None
    ]  # fmt: skip
    return {"groups": found}


def table(found: Findings, paper_sets: Sequence[str] = (), over: str = "") -> str:
    """Write one table per group of users, then the settings of the wrappers.

    Args:
        found: what the study found.
        paper_sets: the paper's data sets that are shown.
        over: what gains are over, "" for the model without a wrapper.
    """
    over, parts = over or found.facts["base"], []
    for group in GROUPS:
        columns = paper_sets if group in found.scores.study.columns.what else ()
        parts += [f"### {_head(found, group)}", _group_table(found.rows, group, columns, over)]
    return "\n\n".join([*parts, *settings(found.facts)])


def _head(found: Findings, group: str) -> str:
    """Return the heading of a group's table: who is in it."""
    head, before = group.capitalize(), None
    for entry in found.more["groups"]:
        most, share = entry["most_clicks"], f"{entry['share']:.0%} of the test rows"
        who = f"more than {before:.0f}" if most is None else f"up to {most:.0f}" if before is None else (
            f"{before + 1:.0f} to {most:.0f}")  # fmt: skip
        if entry["group"] == group:
            return f"{head}: users of {who} training clicks, {share}"
        before = most
    return head


def _group_table(rows: Sequence[Mapping], group: str, columns: Sequence[str], over: str) -> str:
    lines = [["row", "n", "AUC", f"RelaImpr over {over}", f"AUC over {over}", ""]]
    lines[0] += [f"the paper: {data}, AUC (RelaImpr)" for data in columns]
    for row in rows:
        value, ratio, more = (
            Score(row[f"{group} {what}"], row[f"{group} {what} half"], row["n"])
            for what in ("AUC", "RelaImpr", "difference")
        )
        texts = [markdown.format_score(value) if row["n"] else "", "", "", "" if row["n"] else "no finished run"]
        if row["n"] and row["over"]:
            texts[1:] = [markdown.percent(ratio.mean, ratio.half), markdown.format_gain(more), row[f"{group} verdict"]]
        for data in columns:
            auc, theirs = (row[f"paper {data} {group} {what}"] for what in ("AUC", "RelaImpr"))
            text = tables.number(auc)
            texts.append(text if math.isnan(theirs) else f"{text} ({markdown.percent(theirs)})")
        lines.append([row["row"], str(row["n"]), *texts])
    return markdown.table(lines)


def settings(facts: Mapping) -> list[str]:
    """Write the settings of the wrappers, one line per wrapper: what its rows share."""
    lines, kinds = [], {}
    for name, wrapper in facts["settings"].items():
        kinds.setdefault(wrapper["wears"], {})[name] = wrapper
    for kind, rows in kinds.items():
        first, *others = rows.values()
        shared = {key: x for key, x in first.items() if key != "wears" and all(other[key] == x for other in others)}
        texts = [
            f"{key} {x:.4g}" if isinstance(x, float) else f"{key} {x}" for key, x in shared.items() if x is not None
        ]
        lines.append(f"- {kind}: {', '.join(texts)}")
    return ["### Settings of the wrappers", "\n".join(lines)] if lines else []


def panels(found: Findings) -> tuple[dict, dict]:
    """Return RelaImpr by group and row, and the paper's by data set, group and row, as a figure takes them."""
    shown = [row for row in found.rows if row["over"] and row["row"] != "popularity"]
    ours = {
        group: {row["row"]: Score(row[f"{group} RelaImpr"], row[f"{group} RelaImpr half"], row["n"]) for row in shown}
        for group in GROUPS
    }
    what = found.scores.study.columns.what
    theirs = {
        data: {group: {row["row"]: row[f"paper {data} {group} RelaImpr"] for row in shown} for group in what}
        for data in found.scores.paper_sets if shown and f"paper {data} {what[0]} RelaImpr" in shown[0]
    }  # fmt: skip
    return (ours, theirs) if any(row["n"] for row in shown) else ({}, {})
