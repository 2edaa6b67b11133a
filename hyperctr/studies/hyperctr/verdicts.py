"""What a bench found: means with intervals, differences paired by seed, verdicts on the paper's claims; and its files.

A verdict is reproduced, inconclusive or contradicted, by the 95 % interval of the paired difference over seeds. With
fewer than three seeds it is inconclusive, as where a row that the claim names was not run.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import figures, report
from hyperctr.report import Score
from hyperctr.studies.hyperctr import published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = ("auc", "user_auc", "positive_auc", "logloss_1to1")
HEADS = {"auc": "AUC", "user_auc": "user AUC", "positive_auc": "per-positive AUC", "logloss_1to1": "log loss 1:1"}
SIMPLE = tuple(report.BASELINES.values())
LINEAR = 0.8
"""Share of a perfect speed-up from which on it counts as close to linear."""

Runs = Mapping[str, list[dict]]


def write(facts: dict, rows: list[dict], out: Path) -> dict:
    """Write table.csv, report.md, the figure, and bench.json with the scores and verdicts in it; gives the latter.

    Args:
        facts: what is compared on what, as `bench.run` remembers it.
        rows: the last line of results.csv of every run.
        out: the bench's folder.
    """
    runs, threads = finished(facts, rows), facts["bench"] == "threads"
    found = {
        "facts": facts,
        "rows": _speeds(runs) if threads else _rows(facts, runs),
        "claims": _speed_claim(facts, runs) if threads else _claims(facts, runs),
        "warnings": _warnings(facts, runs),
        "failed": failed(rows),
    }
    return keep(found, _speed_table(found) if threads else _score_table(found), _draw(found, runs, out), out)


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
    report.put_csv(out / "table.csv", [common | row for row in found["rows"]])
    if figure:
        figures.save(figure, out / f"{found['facts']['bench']}.png")
    report.put(out / "report.md", _markdown(found, table, figure is not None))
    found = without_nan(found)
    report.put(out / "bench.json", json.dumps(found, indent=1))
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- what was found ------------------------------------------------------------------------------------------------


def best(runs: Runs, names: tuple[str, ...]) -> str | None:
    """The row with the highest mean validation AUC; test rows have no say. None where none was run."""
    valid = {name: statistics.fmean(r["valid_auc"] for r in runs[name]) for name in names if runs.get(name)}
    valid = {name: auc for name, auc in valid.items() if not math.isnan(auc)}
    return max(valid, key=valid.__getitem__) if valid else None


def judge(claim: published.Claim, runs: Runs) -> tuple[str, str]:
    """What was found about a claim, in words, and the verdict."""
    ours, missing = best(runs, claim.ours), [name for name in claim.others if not runs.get(name)]
    ran = [name for name in claim.others if runs.get(name)]
    if ours is None or not ran:
        return "the rows that it compares were not run", "not tested"
    chosen = f"{ours}, chosen by validation" if len(claim.ours) > 1 else ours
    if claim.interior and (top := best(runs, (*claim.ours, *claim.others))) in claim.others:
        return f"{top}, chosen by validation, lies at the edge of the grid: the best may lie beyond", "inconclusive"
    gains = {name: report.difference(runs[ours], runs[name], claim.column) for name in ran}
    texts = [f"{report.signed(gain)} over {name}" for name, gain in gains.items()]
    shifted = [gain and Score(gain.mean + claim.margin, gain.half, gain.num) for gain in gains.values()]
    seeds = min(gain.num if gain else 0 for gain in gains.values())
    verdict = report.judged(shifted)
    notes = [f"not run: {', '.join(missing)}"] if missing else []
    if missing and verdict == "reproduced":
        verdict = "inconclusive"
    said = [f"{chosen}: {', '.join(texts)}, n={seeds}", *notes, report.few(seeds)]
    return "; ".join(filter(None, said)), verdict


def _rows(facts: Mapping, runs: Runs) -> list[dict]:
    """One entry a row of the table; a row without runs keeps its name and the paper's numbers."""
    bench, names = facts["bench"], [name for name, _ in facts["rows"]]
    reference = _reference(facts, runs)
    found = []
    for name, model in facts["rows"]:
        entry: dict[str, Any] = {"row": name, "model": model, "n": len(runs[name]), "reference": False}
        for column in (*SCORES, "valid_auc", "seconds"):
            value = report.score(runs[name], column) if runs[name] else Score(math.nan, math.nan, 0)
            entry |= {column: value.mean, f"{column}_half": value.half}
        gain = report.difference(runs[name], runs[reference]) if reference and runs[name] else None
        entry["reference"] = name == reference
        entry["difference"] = math.nan if gain is None else gain.mean
        entry["difference_half"] = math.nan if gain is None else gain.half
        entry["verdict"] = "" if gain is None or name == reference else report.verdict(gain)
        above = report.difference(runs[name], runs["popularity"]) if name != "popularity" else None
        entry["learned"] = None if above is None else above.mean > 0
        for column in [facts["paper"]] if facts["paper"] else published.COLUMNS:
            pair = published.numbers(bench, name, column) or (math.nan, math.nan)
            if any(published.numbers(bench, row, column) for row in names):
                entry |= {f"paper {column} AUC": pair[0], f"paper {column} log loss": pair[1]}
        found.append(entry)
    return found


def _reference(facts: Mapping, runs: Runs) -> str | None:
    """The row that the others are compared with: the best baseline, all modalities together, or popularity."""
    names = tuple(name for name, _ in facts["rows"])
    if facts["bench"] == "table3":
        return best(runs, tuple(name for name in names if name != "HyperCTR"))
    wanted = "all modalities" if facts["bench"] == "table4" else "popularity"
    return wanted if runs.get(wanted) else None


def _claims(facts: Mapping, runs: Runs) -> list[dict]:
    if facts["bench"] in published.FIGURES:
        text = published.FIGURES[facts["bench"]]
        return [{"claim": text, "here": "see the figure; nothing that a difference could test", "verdict": "shown"}]
    rows = [name for name, _ in facts["rows"] if facts["bench"] == "table3" or name not in SIMPLE]
    found = []
    for claim in published.claims(facts["bench"], rows, facts["paper"]):
        here, verdict = judge(claim, runs)
        found.append({"claim": claim.text, "here": here, "verdict": verdict})
    return found


def _speeds(runs: Runs) -> list[dict]:
    """Median seconds of an epoch by threads, and the speed-up over one thread."""
    one = [r["seconds"] for r in runs["1"]]
    found = []
    for name, timed in runs.items():
        seconds = statistics.median(r["seconds"] for r in timed) if timed else math.nan
        speed = statistics.median(one) / seconds if one and timed else math.nan
        row = {
            "row": name,
            "n": len(timed),
            "seconds": seconds,
            "speed-up": speed,
            "share of linear": speed / int(name),
        }
        found.append(row | {"fastest": min((r["seconds"] for r in timed), default=math.nan),
                            "slowest": max((r["seconds"] for r in timed), default=math.nan)})  # fmt: skip
    return found


def _speed_claim(facts: Mapping, runs: Runs) -> list[dict]:
    """Close to linear: the speed-up with most threads is above LINEAR of their number, repeat by repeat."""
    counts = [int(name) for name in runs if runs[name]]
    claim, most = published.FIGURES["threads"], max(counts, default=0)
    if most < 2 or 1 not in counts:
        return [{"claim": claim, "here": "fewer than two thread counts were timed", "verdict": "not tested"}]
    one = {r["seed"]: r["seconds"] for r in runs["1"]}
    shares = [one[r["seed"]] / r["seconds"] / most - LINEAR for r in runs[str(most)] if r["seed"] in one]
    gain = Score(*report.mean_interval(shares), len(shares)) if shares else None
    verdict = report.judged([gain])
    noisy = any(text.startswith("noisy") for text in _warnings(facts, runs))
    here = f"speed-up with {most} threads is {report.plain(gain and Score(gain.mean + LINEAR, gain.half, gain.num))}"
    here += f" of linear, n={len(shares)}; close to linear means at least {LINEAR}"
    if noisy:
        here, verdict = f"{here}; the machine was noisy, so no verdict", "inconclusive"
    elif verdict == "reproduced" and most < 24:
        here, verdict = f"{here}; holds up to {most} threads, the paper's claim to 24", "inconclusive"
    return [{"claim": claim, "here": here, "verdict": verdict}]


def _warnings(facts: Mapping, runs: Runs) -> list[str]:
    """What a reader must know before comparing with the paper."""
    found = list(facts["notes"])
    if facts["bench"] == "threads":
        for name, timed in runs.items():
            seconds = [r["seconds"] for r in timed]
            if seconds and max(seconds) > 1.1 * min(seconds):
                spread = max(seconds) / min(seconds) - 1
                found.append(f"noisy: the repeats with {name} thread{'s' * (name != '1')} differ by {spread:.0%}")
        return found
    name = facts["data"].lower()
    found += [text for start, text in published.ANOTHER.items() if name.startswith(start)]
    if facts["bench"] in ("table3", "table4"):
        found += published.PUZZLES
    low = [row for row, _ in facts["rows"] if row != "popularity" and _below_popularity(runs, row)]
    found += [f"row {row} is not above popularity: it has not learned" for row in low]
    return found


def _below_popularity(runs: Runs, row: str) -> bool:
    gain = report.difference(runs[row], runs["popularity"])
    return gain is not None and gain.mean <= 0


# --- files ---------------------------------------------------------------------------------------------------------


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
    return report.table(lines) + quoted


def _score_table(found: Mapping) -> str:
    rows = found["rows"]
    shown = [name for name in SCORES if any(not math.isnan(row[name]) for row in rows)]
    papers = [name.removesuffix(" AUC") for name in rows[0] if name.startswith("paper ") and name.endswith(" AUC")]
    reference = next((row["row"] for row in rows if row["reference"]), None)
    over = {None: "compared", "all modalities": "over all modalities"}.get(reference, f"over {reference}")
    if found["facts"]["bench"] == "table3" and reference:
        over = f"over {reference}, the best baseline"
    lines = [
        [
            "row",
            "n",
            *(HEADS[name] for name in shown),
            over,
            "",
            *(f"the paper: {name.removeprefix('paper ')}, AUC / log loss" for name in papers),
        ]
    ]
    for row in rows:
        texts = [report.plain(Score(row[name], row[f"{name}_half"], row["n"])) for name in shown]
        gain = report.signed(Score(row["difference"], row["difference_half"], row["n"])) if row["verdict"] else ""
        note = row["verdict"]
        if not row["n"]:
            texts, note = ["" for _ in shown], _why_empty(row)
        elif row["learned"] is False:
            note = "has not learned"
        pairs = [(row[f"{name} AUC"], row[f"{name} log loss"]) for name in papers]
        numbers = ["-" if math.isnan(auc) else f"{auc:.4f} / {loss:.4f}" for auc, loss in pairs]
        lines.append([row["row"], str(row["n"]), *texts, gain, note, *numbers])
    chosen = "" if found["facts"]["bench"] != "table3" or not reference else (
        "\n\nThe best baseline is the one with the highest validation AUC."
    )  # fmt: skip
    return report.table(lines) + chosen


def _why_empty(row: Mapping) -> str:
    return "" if row["n"] else "no run is ok" if row["model"] else "no model here yet"


def _speed_table(found: Mapping) -> str:
    lines = [["threads", "repeats", "seconds an epoch", "fastest to slowest", "speed-up", "share of linear"]]
    for row in found["rows"]:
        spread = f"{row['fastest']:.2f} to {row['slowest']:.2f}"
        numbers = [f"{row[name]:.2f}" for name in ("seconds", "speed-up", "share of linear")]
        lines.append([row["row"], str(row["n"]), numbers[0], spread, *numbers[1:]])
    return report.table(lines)


def _draw(found: Mapping, runs: Runs, out: Path) -> Figure | None:
    """The figure of a bench, None where there is nothing to draw."""
    facts, rows = found["facts"], found["rows"]
    bench, claims = facts["bench"], [claim["claim"] for claim in found["claims"]]
    scores = {name: report.score(some) if some else None for name, some in runs.items()}
    marks = "bands: 95 % over seeds" if len(facts["seeds"]) > 1 else "one seed; bands: 95 % from the scored rows"
    if not any(value for name, value in scores.items() if name not in SIMPLE):
        return None
    if bench == "threads":
        if not runs["1"]:
            return None
        figure, axes = figures.draw_threads({int(k): [r["seconds"] for r in v] for k, v in runs.items() if v}, claims)
        marks = f"{len(facts['seeds'])} repeats, {facts['cores']} cores"
    elif bench == "curve":
        curves: dict[int, list] = {}
        for line in read_csv(out / "curve.csv") if (out / "curve.csv").exists() else ():
            point = tuple(float(line[name]) for name in ("epoch", "loss", "valid_auc"))
            curves.setdefault(int(line["seed"]), []).append(point)
        if not curves:
            return None
        figure, axes = figures.draw_curve(curves, claims)
        marks = "a line a seed"
    elif bench in ("table3", "table4"):
        papers = {name.removeprefix("paper ").removesuffix(" AUC"): {row["row"]: row[name] for row in rows
                  if not math.isnan(row[name])} for name in rows[0] if name.endswith(" AUC")}  # fmt: skip
        ours = "HyperCTR" if bench == "table3" else "all modalities"
        figure, axes = figures.draw_table(
            [(row["row"], scores[row["row"]], _why_empty(row)) for row in rows], papers, ours
        )
        marks = marks.replace("bands", "bars")
    else:
        names = [name for name in scores if name not in SIMPLE]
        place = {name: (report.days(name) or float(name.removeprefix("q"))) for name in names}
        if bench == "granularity" and len({bool(report.days(name)) for name in names}) > 1:
            place = {name: x for name, x in place.items() if report.days(name)}
        points = {name: (x, scores[name]) for name, x in place.items()}
        across = [(name, scores[name]) for name in SIMPLE if scores[name]]
        top = best(runs, tuple(points))
        each = {name: [r["auc"] for r in runs[name]] for name in points}
        figure, axes = figures.draw_line("HyperCTR", points, each, across, facts["axis"], facts["log"], top, claims)
    protocol = f"HyperCTR on {facts['data']}, {facts['split']} split; {marks}"
    figures.titles(axes, facts["title"], protocol, report.leaky_line(facts["split"]) if facts["leaky"] else "")
    return figure


def without_nan(value: Any) -> Any:
    """The same with None for NaN, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: without_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [without_nan(x) for x in value]
    return None if _is_nan(value) else value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
