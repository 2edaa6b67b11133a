"""A bench's files: the runs in results.csv that count, and what was found as table.csv, report.md and bench.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import files
from hyperctr.reporting import figures, markdown
from hyperctr.studies.claims import Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def finished(facts: Mapping, rows: list[dict]) -> Runs:
    """The runs of each row that are ok."""
    return {name: [r for r in rows if r["row"] == name and r["status"] == "ok"] for name, _ in facts["rows"]}


def failed(rows: list[dict]) -> list[str]:
    """What is said of runs that failed, a line each."""
    return [f"{r['row']}, seed {r['seed']}: {r['status']}" for r in rows if r["status"] != "ok"]


def keep(found: dict, table: str, figure: Figure | None, out: Path) -> dict:
    """Write what was found as table.csv, report.md and bench.json, and the figure; gives what bench.json holds.

    Args:
        found: facts, rows, claims, warnings, failed.
        table: the rows as Markdown.
        figure: None where there is nothing to draw.
        out: the bench's folder.
    """
    common = {name: found["facts"][name] for name in ("data", "split", "leaky")}
    files.write_csv(out / "table.csv", [common | row for row in found["rows"]])
    if figure:
        figures.save(figure, out / f"{found['facts']['bench']}.png")
    files.write_text(out / "report.md", _markdown(found, table, figure is not None))
    found = without_nan(found)
    files.write_text(out / "bench.json", json.dumps(found, indent=1))
    return found


def without_nan(value: Any) -> Any:
    """The same with None for NaN, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: without_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [without_nan(x) for x in value]
    return None if _is_nan(value) else value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _markdown(found: Mapping, table: str, drawn: bool) -> str:
    facts = found["facts"]
    parts = [f"# {facts['title']}, on {facts['data']}", _protocol(facts)]
    if facts["leaky"]:
        parts.append(
            f"**LEAKY: the {facts['split']} split lets training see clicks later than test rows. "
            "These scores are not comparable with those of a temporal split.**"
        )
    parts += ["## Verdicts", _verdicts(found)]
    parts += ["## Table", table]
    if drawn:
        parts += ["## Figure", f"![{facts['title']}]({facts['bench']}.png)"]
    for title, lines in (("Before comparing with the paper", found["warnings"]), ("Runs that failed", found["failed"])):
        parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def _protocol(facts: Mapping) -> str:
    seeds = f"seed {facts['seeds'][0]}" if len(facts["seeds"]) == 1 else f"{len(facts['seeds'])} seeds"
    leaky = "leaky" if facts["leaky"] else "not leaky"
    column = f"the paper's {facts['paper']}" if facts["paper"] else "no data set of the paper's in particular"
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    lines = [
        f"{facts['split']} split ({leaky}); {seeds}; beside it {column}.",
        "± is the 95 % t interval over n seeds, differences are paired by seed; with one seed it is the interval from "
        "the scored rows (DeLong), and no verdict is drawn.",
        f"config {facts['config']}, data files {facts['files']}, commit {facts['commit'] or 'unknown'}, "
        f"{facts['cores']} cores, {versions}.",
    ]
    if facts["bench"] in ("threads", "mian-efficiency"):
        lines[:2] = [f"One epoch a process, one process at a time, {len(facts['seeds'])} repeats, median."]
    return "\n".join(lines)


def _verdicts(found: Mapping) -> str:
    lines = [["the paper", "here", "verdict"]]
    lines += [[claim["claim"], claim["here"], f"**{claim['verdict']}**"] for claim in found["claims"]]
    if len(lines) == 1:
        return "None: these rows test nothing that the paper claims."
    quoted = "" if "Figure" not in found["facts"]["title"] else (
        "\n\nThe paper's figure carries no numbers in its source, so only its claim is compared."
    )  # fmt: skip
    return markdown.table(lines) + quoted
