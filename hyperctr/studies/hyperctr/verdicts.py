"""What a study of HyperCTR found: means with intervals, differences paired by seed, verdicts on the paper's claims."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs.slices.grid import Granularity
from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.experiments import results, sweep_report
from hyperctr.files import read_csv
from hyperctr.reporting import figures, markdown
from hyperctr.studies import files, tables
from hyperctr.studies.claims import Runs, best, judge
from hyperctr.studies.figures import draw_line, draw_table
from hyperctr.studies.hyperctr import published
from hyperctr.studies.hyperctr.figures import draw_curve, draw_threads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = ("auc", "user_auc", "positive_auc", "logloss_1to1")
SIMPLE = tuple(results.BASELINES.values())
LINEAR = 0.8
"""Share of a perfect speed-up from which on it counts as close to linear."""


def write(facts: dict, rows: list[dict], out: Path) -> dict:
    """Write table.csv, report.md, the figure, and bench.json with the scores and verdicts in it; gives the latter.

    Args:
        facts: what is compared on what, as `bench.run` remembers it.
        rows: the last line of results.csv of every run.
        out: the bench's folder.
    """
    runs, threads = files.finished(facts, rows), facts["bench"] == "threads"
    found = {
        "facts": facts,
        "rows": _speeds(runs) if threads else _rows(facts, runs),
        "claims": _speed_claim(facts, runs) if threads else _claims(facts, runs),
        "warnings": _warnings(facts, runs),
        "failed": files.failed(rows),
    }
    return files.keep(found, _speed_table(found) if threads else _score_table(found), _draw(found, runs, out), out)


# --- what was found ------------------------------------------------------------------------------------------------


def _rows(facts: Mapping, runs: Runs) -> list[dict]:
    """One entry a row of the table; a row without runs keeps its name and the paper's numbers."""
    bench, names = facts["bench"], [name for name, _ in facts["rows"]]
    reference = _reference(facts, runs)
    found = []
    for name, model in facts["rows"]:
        entry: dict[str, Any] = {"row": name, "model": model, "n": len(runs[name]), "reference": False}
        for column in (*SCORES, "valid_auc", "seconds"):
            value = significance.score(runs[name], column) if runs[name] else Score(math.nan, math.nan, 0)
            entry |= {column: value.mean, f"{column}_half": value.half}
        gain = significance.difference(runs[name], runs[reference]) if reference and runs[name] else None
        entry["reference"] = name == reference
        entry["difference"] = math.nan if gain is None else gain.mean
        entry["difference_half"] = math.nan if gain is None else gain.half
        entry["verdict"] = "" if gain is None or name == reference else significance.verdict(gain)
        above = significance.difference(runs[name], runs["popularity"]) if name != "popularity" else None
        entry["learned"] = None if above is None else above.mean > 0
        for column in [facts["paper"]] if facts["paper"] else published.COLUMNS.values():
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
        return [tables.claim(text, ("see the figure; nothing that a difference could test", "not judged"))]
    rows = [name for name, _ in facts["rows"] if facts["bench"] == "table3" or name not in SIMPLE]
    asked = published.claims(facts["bench"], rows, facts["paper"])
    return [tables.claim(claim.text, judge(claim, runs)) for claim in asked]


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
        return [tables.claim(claim, ("fewer than two thread counts were timed", "not tested"))]
    one = {r["seed"]: r["seconds"] for r in runs["1"]}
    shares = [one[r["seed"]] / r["seconds"] / most - LINEAR for r in runs[str(most)] if r["seed"] in one]
    gain = Score(*significance.mean_interval(shares), len(shares)) if shares else None
    verdict = significance.judge_gains([gain])
    noisy = any(text.startswith("noisy") for text in _warnings(facts, runs))
    share = gain and Score(gain.mean + LINEAR, gain.half, gain.num)
    here = f"speed-up with {most} threads is {markdown.format_score(share)}"
    here += f" of linear, n={len(shares)}; close to linear means at least {LINEAR}"
    if noisy:
        here, verdict = f"{here}; the machine was noisy, so no verdict", "inconclusive"
    elif verdict == "reproduced" and most < 24:
        here, verdict = f"{here}; holds up to {most} threads, the paper's claim to 24", "inconclusive"
    return [tables.claim(claim, (here, verdict))]


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
    return found + [text for row, _ in facts["rows"] for text in tables.unlearned(row, runs)]


# --- files ---------------------------------------------------------------------------------------------------------


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
            *(tables.HEADS[name] for name in shown),
            over,
            "",
            *(f"the paper: {name.removeprefix('paper ')}, AUC / log loss" for name in papers),
        ]
    ]
    for row in rows:
        texts = [markdown.format_score(Score(row[name], row[f"{name}_half"], row["n"])) for name in shown]
        gain = (
            markdown.format_gain(Score(row["difference"], row["difference_half"], row["n"])) if row["verdict"] else ""
        )
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
    return markdown.table(lines) + chosen


def _why_empty(row: Mapping) -> str:
    return "" if row["n"] else "no finished run" if row["model"] else "no model here yet"


def _speed_table(found: Mapping) -> str:
    lines = [["threads", "repeats", "seconds an epoch", "fastest to slowest", "speed-up", "share of linear"]]
    for row in found["rows"]:
        spread = f"{row['fastest']:.2f} to {row['slowest']:.2f}"
        numbers = [f"{row[name]:.2f}" for name in ("seconds", "speed-up", "share of linear")]
        lines.append([row["row"], str(row["n"]), numbers[0], spread, *numbers[1:]])
    return markdown.table(lines)


def _draw(found: Mapping, runs: Runs, out: Path) -> Figure | None:
    """The figure of a bench, None where there is nothing to draw."""
    facts, rows = found["facts"], found["rows"]
    bench, claims = facts["bench"], [claim["claim"] for claim in found["claims"]]
    scores = {name: significance.score(some) if some else None for name, some in runs.items()}
    marks = "bands: 95 % over seeds" if len(facts["seeds"]) > 1 else "one seed; bands: 95 % from the scored rows"
    if not any(value for name, value in scores.items() if name not in SIMPLE):
        return None
    if bench == "threads":
        if not runs["1"]:
            return None
        figure, axes = draw_threads({int(k): [r["seconds"] for r in v] for k, v in runs.items() if v}, claims)
        marks = f"{len(facts['seeds'])} repeats, {facts['cores']} cores"
    elif bench == "curve":
        curves: dict[int, list] = {}
        for line in read_csv(out / "curve.csv"):
            point = tuple(float(line[name]) for name in ("epoch", "loss", "valid_auc"))
            curves.setdefault(int(line["seed"]), []).append(point)
        if not curves:
            return None
        figure, axes = draw_curve(curves, claims)
        marks = "a line a seed"
    elif bench in ("table3", "table4"):
        papers = {name.removeprefix("paper ").removesuffix(" AUC"): {row["row"]: row[name] for row in rows
                  if not math.isnan(row[name])} for name in rows[0] if name.endswith(" AUC")}  # fmt: skip
        ours = "HyperCTR" if bench == "table3" else "all modalities"
        figure, axes = draw_table([(row["row"], scores[row["row"]], _why_empty(row)) for row in rows], papers, ours)
        marks = marks.replace("bands", "bars")
    else:
        names = [name for name in scores if name not in SIMPLE]
        if bench == "granularity":
            cuts = {name: Granularity.parse(name) for name in names}
            timed = {name: cut.days for name, cut in cuts.items() if not cut.by_count}
            place = timed or {name: float(cut.count) for name, cut in cuts.items()}
        else:
            place = {name: float(name) for name in names}
        points = {name: (x, scores[name]) for name, x in place.items()}
        across = [(name, scores[name]) for name in SIMPLE if scores[name]]
        top = best(runs, tuple(points))
        each = {name: [r["auc"] for r in runs[name]] for name in points}
        figure, axes = draw_line("HyperCTR", points, each, across, facts["axis"], facts["log"], top, claims)
    protocol = f"HyperCTR on {facts['data']}, {facts['split']} split; {marks}"
    figures.titles(axes, facts["title"], protocol, sweep_report.leaky_line(facts["split"]) if facts["leaky"] else "")
    return figure
