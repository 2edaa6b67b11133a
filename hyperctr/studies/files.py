"""Read and write a study's files: results.csv, and what was found as table.csv, report.md, bench.json and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperctr import files
from hyperctr.experiments.results import sessions_in_words
from hyperctr.reporting import figures, markdown
from hyperctr.studies import beside
from hyperctr.studies.claims import Runs, Verdict
from hyperctr.studies.study import Findings


def finished(facts: Mapping, rows: list[dict]) -> Runs:
    """Return the lines of results.csv that are ok, by row."""
    return {name: [r for r in rows if r["row"] == name and r["status"] == "ok"] for name, _ in facts["rows"]}


def failed(rows: list[dict]) -> list[str]:
    """Return a line for each run that failed."""
    return [f"{r['row']}, seed {r['seed']}: {r['status']}" for r in rows if r["status"] != "ok"]


def write(found: Findings, table: str, drawn: Mapping[str, Any], out: Path) -> dict:
    """Write table.csv, report.md, bench.json and the figures; return the content of bench.json.

    Args:
        found: what the study found.
        table: its table as Markdown.
        drawn: its figures, "" the main one, others by the end of their file names.
        out: the study's folder.
    """
    facts = found.facts
    common = {name: facts[name] for name in ("data", "split", "leaky") if name in facts}
    referees = [{key: x for key, x in entry.items() if key != "below"} for entry in found.referees if entry["n"]]
    added = [row for row in referees if row["row"] not in {own["row"] for own in found.rows}]
    files.write_csv(out / "table.csv", [common | row for row in (*found.rows, *added)])
    names = {f"{facts['bench']}{f'-{end}' if end else ''}.png": figure for end, figure in drawn.items()}
    for name, figure in names.items():
        figures.save(figure, out / name)
    files.write_text(out / "report.md", _markdown(found, table, list(names)))
    kept = {"facts": dict(facts), "rows": found.rows, "claims": [vars(verdict) for verdict in found.verdicts]}
    kept |= {"referees": list(found.referees)} if found.referees else {}
    kept = without_nan(kept | dict(found.more) | {"warnings": list(found.warnings), "failed": list(found.failed)})
    files.write_json(out / "bench.json", kept)
    return kept


def without_nan(value: Any) -> Any:
    """Return the same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [without_nan(x) for x in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def about(facts: Mapping) -> list[str]:
    """Say on what the rows were trained, and what the intervals are."""
    seeds = f"seed {facts['seeds'][0]}" if len(facts["seeds"]) == 1 else f"{len(facts['seeds'])} seeds"
    leaky = "leaky" if facts["leaky"] else "not leaky"
    column = f"numbers of the paper are those on {facts['paper']}" if facts["paper"] else "no data set of the paper's"
    return [
        f"{facts['split']} split ({leaky}); {seeds}; {column}.",
        "± is the 95 % t interval over n seeds, differences are paired by seed; with one seed it is the interval from "
        "the scored rows (DeLong), and no verdict is drawn.",
    ]


def about_times(facts: Mapping) -> list[str]:
    """Say how epochs were timed."""
    return [f"One epoch per process, one process at a time, {len(facts['seeds'])} repeats, median."]


def _markdown(found: Findings, table: str, pictures: list[str]) -> str:
    facts, study = found.facts, found.scores.study
    lines = (study.about or (about_times if study.timed else about))(facts)
    parts = [f"# {facts['title']}" + (f", on {facts['data']}" if "data" in facts else "")]
    parts.append("\n".join([*lines, _made_by(facts)]))
    if facts.get("leaky"):
        parts.append(
            f"**LEAKY: the {facts['split']} split lets training see clicks later than test rows. "
            "These scores are not comparable with those of a temporal split.**"
        )
    parts += ["## Verdicts", _verdicts(found.verdicts)]
    if found.verdicts and study.words_only:
        parts.append("The paper's figure carries no numbers in its source, so only its claim is compared.")
    runs = [run for some in (found.scores.runs, found.scores.beside) for each in some.values() for run in each]
    sessions = sessions_in_words(runs) if "user_session_auc" in study.scores else ""
    parts += ["## Table", table, *filter(None, [beside.section(found.referees), sessions])]
    if pictures:
        parts += ["## Figure", *(f"![{facts['title']}]({name})" for name in pictures)]
    for title, some in (("Before comparing with the paper", found.warnings), ("Runs that failed", found.failed)):
        parts += [f"## {title}", "\n".join(f"- {line}" for line in some)] if some else []
    return "\n\n".join(parts) + "\n"


def _made_by(facts: Mapping) -> str:
    """Say by which code, on which machine and of which files the report was made."""
    texts = [
        f"{what} {facts[name] or 'unknown'}"
        for name, what in (("config", "config"), ("files", "data files"), ("commit", "commit"), ("cores", "cores"))
        if name in facts
    ]
    return ", ".join([*texts, *(f"{name} {number}" for name, number in facts.get("versions", {}).items())]) + "."


def _verdicts(verdicts: list[Verdict]) -> str:
    if not verdicts:
        return "None: these rows test nothing that the paper claims."
    lines = [["claim", "here", "verdict"]]
    return markdown.table([*lines, *([v.claim, v.here, f"**{v.verdict}**"] for v in verdicts)])
