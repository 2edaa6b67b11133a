"""Put the referees beside the rows of a study: their rows on the same data, their table, and which rows are below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.experiments.results import POPULARITY, REFEREES
from hyperctr.reporting import markdown
from hyperctr.studies.claims import UNKNOWN, Runs
from hyperctr.studies.study import Row, Scores

SHOWN = {"auc": "AUC", "user_auc": "user AUC", "user_session_auc": "user session AUC"}
QUICK = ("train.epochs=1", "train.lr=0.05")
"""How popularity is trained where a planted study lacks it: its order of rows depends on the data only."""


def rows_of(plan: Sequence[Row]) -> list[Row]:
    """Return the rows of the referees that a study lacks, in each of its worlds."""
    there = {(row.model, row.world) for row in plan}
    worlds = list(dict.fromkeys(row.world for row in plan))
    return [
        Row(
            f"{title} in {world}" if len(worlds) > 1 else title,
            model,
            QUICK if world and model in POPULARITY else (),
            world=world,
        )
        for world in worlds
        for model, title in (POPULARITY | REFEREES).items()
        if (model, world) not in there
    ]


def facts_of(plan: Sequence[Row], referees: Sequence[Row]) -> list[list[Any]]:
    """Return name and model of each referee, and the names of the rows of a study that it is compared with."""
    own = [row for row in plan if row.model in POPULARITY | REFEREES]
    models = [row for row in plan if row.model not in ("", *POPULARITY, *REFEREES)]
    return [
        [row.name, row.model, [other.name for other in models if other.world == row.world]]
        for row in sorted([*own, *referees], key=lambda row: [*POPULARITY, *REFEREES].index(row.model))
    ]


def entries(scores: Scores, failed: Mapping[str, str]) -> list[dict]:
    """Return one entry per referee: its scores, the rows below it, and why it has none.

    Args:
        scores: of all runs.
        failed: why the runs of a row failed, by its name.
    """
    found = []
    for name, model, others in scores.facts.get("referees", []):
        some = scores.beside[name]
        entry: dict[str, Any] = {"row": name, "model": model, "n": len(some)}
        for column in SHOWN:
            known = some and all(column in run for run in some)
            value = significance.score(some, column) if known else UNKNOWN
            entry |= {column: value.mean, f"{column}_half": value.half}
        gains = {other: significance.difference(scores.runs.get(other, []), some) for other in others}
        entry["below"] = [
            [other, gain.mean, gain.half]
            for other, gain in gains.items()
            if gain is not None and gain.mean < 0 and _of_clicks(scores.runs[other])
        ]
        entry["reason"] = "" if some else failed.get(name, "no finished run")
        found.append(entry)
    return found


def _of_clicks(some: Sequence[Mapping]) -> bool:
    """Return whether a row says anything about clicks; the score of a model of conversions alone is one half."""
    return any(run["auc"] != 0.5 for run in some)


def section(found: Sequence[Mapping]) -> str:
    """Write the entries as a Markdown table, and a line for each row that is below a referee; "" without referees."""
    if not found:
        return ""
    shown = [column for column in SHOWN if any(not math.isnan(entry[column]) for entry in found)] or ["auc"]
    lines = [["referee", "n", *(SHOWN[column] for column in shown), ""]]
    for entry in found:
        texts = [markdown.format_score(Score(entry[name], entry[f"{name}_half"], entry["n"])) for name in shown]
        lines.append([entry["row"], str(entry["n"]), *texts, entry["reason"]])
    return "\n\n".join(["### Referees on the same rows", markdown.table(lines), *words(found)])


def words(found: Sequence[Mapping]) -> list[str]:
    """Say in a sentence per row which referees it is below, one list as Markdown; [] where no row is."""
    below: dict[str, list[str]] = {}
    for entry in found:
        for row, mean, half in entry["below"]:
            below.setdefault(row, []).append(f"{entry['row']} ({markdown.format_gain(Score(mean, half, 1))})")
    return ["\n".join(f"- {row} is below {', '.join(some)}" for row, some in below.items())] if below else []


def failures(facts: Mapping, lines: Sequence[Mapping]) -> dict[str, str]:
    """Return why the runs of each referee failed, from the lines of results.csv."""
    names = {name for name, _, _ in facts.get("referees", [])}
    bad = [line for line in lines if line["row"] in names and line["status"] != "ok"]
    return {line["row"]: line["status"].removeprefix("failed: ") for line in bad}


def finished(facts: Mapping, lines: Sequence[dict]) -> Runs:
    """Return the lines of results.csv that are ok, by referee."""
    return {
        name: [line for line in lines if line["row"] == name and line["status"] == "ok"]
        for name, _, _ in facts.get("referees", [])
    }
