"""AQCL's tables: AUC and RelaImpr by group of users, silhouettes of hidden vectors, and what was worn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.aqcl import published
from hyperctr.studies.aqcl.published import GROUPS


def table(found: Mapping) -> str:
    """What bench.json holds as Markdown: a table a group of users, then what was worn."""
    facts, rows = found["facts"], found["rows"]
    parts = [_vectors(rows)] if facts["bench"] == "aqcl-tsne" else []
    for group in GROUPS if not parts else ():
        parts += [f"### {_headed(found, group)}", _group_table(facts, rows, group)]
    return "\n\n".join([*parts, *_settings(facts)])


def _headed(found: Mapping, group: str) -> str:
    """Heading of a group's table: who is in it."""
    head, before = group.capitalize(), None
    for entry in found["groups"]:
        most, share = entry["most_clicks"], f"{entry['share']:.0%} of the test rows"
        who = f"more than {before:.0f}" if most is None else f"up to {most:.0f}" if before is None else (
            f"{before + 1:.0f} to {most:.0f}")  # fmt: skip
        if entry["group"] == group:
            return f"{head}: users of {who} training clicks, {share}"
        before = most
    return head


def _group_table(facts: Mapping, rows: Sequence[Mapping], group: str) -> str:
    columns = published.columns(facts) if group in published.printed(facts) else ()
    over = f"over {facts['base']}" if facts["bench"] != "aqcl-table3" else "over the bare model"
    lines = [["row", "n", "AUC", f"RelaImpr {over}", f"AUC {over}", ""]]
    lines[0] += [f"the paper: {column}, AUC (RelaImpr)" for column in columns]
    for row in rows:
        value, ratio, more = (
            Score(row[f"{group} {what}"], row[f"{group} {what} half"], row["n"])
            for what in ("AUC", "RelaImpr", "difference")
        )
        texts = [markdown.format_score(value) if row["n"] else "", "", "", "" if row["n"] else "no finished run"]
        if row["n"] and row["over"]:
            texts[1:] = [markdown.percent(ratio.mean, ratio.half), markdown.format_gain(more), row[f"{group} verdict"]]
        for column in columns:
            auc, theirs = (row[f"paper {column} {group} {what}"] for what in ("AUC", "RelaImpr"))
            text = "-" if math.isnan(auc) else f"{auc:.4f}"
            texts.append(text if math.isnan(theirs) else f"{text} ({markdown.percent(theirs)})")
        lines.append([row["row"], str(row["n"]), *texts])
    return markdown.table(lines)


def _vectors(rows: Sequence[Mapping]) -> str:
    lines = [["row", "n", "AUC", "silhouette of AQCL's interests", "silhouette of k-means"]]
    for row in rows:
        value = Score(row["overall AUC"], row["overall AUC half"], row["n"])
        numbers = [tables.number(row.get(name), ".3f") for name in ("by_interest", "by_kmeans")]
        lines.append(
            [row["row"], str(row["n"]), markdown.format_score(value) if row["n"] else "no finished run", *numbers]
        )
    return markdown.table(lines) + (
        "\n\nSilhouettes are of the hidden vectors themselves, not of the picture, in [-1, 1]. The interests are AQCL's"
        " own, which favours its row; the groups of k-means are found in each row's own vectors."
    )


def _settings(facts: Mapping) -> list[str]:
    """What was worn, a line each: the settings that its rows share."""
    lines, kinds = [], {}
    for name, worn in facts["settings"].items():
        kinds.setdefault(worn["wears"], {})[name] = worn
    for kind, rows in kinds.items():
        first, *others = rows.values()
        shared = {key: x for key, x in first.items() if key != "wears" and all(other[key] == x for other in others)}
        texts = [
            f"{key} {x:.4g}" if isinstance(x, float) else f"{key} {x}" for key, x in shared.items() if x is not None
        ]
        lines.append(f"- {kind}: {', '.join(texts)}")
    return ["### What was worn", "\n".join(lines)] if lines else []
