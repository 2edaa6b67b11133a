"""What a MIAN study found: its rows beside the paper's, verdicts on the paper's claims, and its files.

The rules were fixed before anything ran. A claim is reproduced where the 95 % interval over seeds lies on its side of
the margin that is printed with it, contradicted where it lies on the other, and else inconclusive.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import significance
from hyperctr.reporting import markdown
from hyperctr.studies import files, tables
from hyperctr.studies.claims import Runs, judge
from hyperctr.studies.figures import draw_table
from hyperctr.studies.mian import published
from hyperctr.studies.tables import PAPER, claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = ("auc", "user_auc", "logloss_1to1", "best_epoch")
OF_TIME = f"{PAPER}seconds on Amazon Books"


def write(facts: dict, rows: list[dict], out: Path) -> dict:
    """Write table.csv, report.md, the figure, and bench.json with the scores and verdicts in it; gives the latter.

    Args:
        facts: what is compared on what, as `bench.run` remembers it.
        rows: the last line of results.csv of every run.
        out: the bench's folder.
    """
    runs, bench = files.finished(facts, rows), facts["bench"]
    read = tables.measured(facts, out)["MIAN"] if bench == "mian-fig6" else []
    found = {
        "facts": facts,
        "rows": _speeds(runs) if bench == "mian-efficiency" else _rows(facts, runs),
        "claims": _claims(facts, runs, read),
        "warnings": [*tables.warnings(facts, runs), *_puzzles(facts)],
        "failed": files.failed(rows),
    }
    return files.keep(found, _table(found, read), _draw(found, read), out)


# --- what was found ------------------------------------------------------------------------------------------------


def _paper(facts: Mapping) -> dict[str, str]:
    """Data set of the paper by the head of its column of AUCs."""
    return {f"{name}, AUC": name for name in published.columns(facts["bench"], facts["paper"])}


def _rows(facts: Mapping, runs: Runs) -> list[dict]:
    bench, theirs = facts["bench"], {}
    for head, name in _paper(facts).items():
        for what, k in ((head, 0), (head.replace("AUC", "log loss"), 1)):
            theirs[what] = lambda row, name=name, k=k: (published.numbers(bench, row, name) or (None, None))[k]
    if bench == "mian-table2":  # which baseline is best, validation says
        over = tables.best(runs, [row for row in runs if row not in ("MIAN", "popularity")])
        facts = facts | {"over": {"MIAN": over}}
    return tables.entries(facts, runs, SCORES, theirs)


def _speeds(runs: Runs) -> list[dict]:
    """Median seconds of an epoch, and the median of its ratio to DIN's, repeat by repeat."""
    found = []
    for name, some in runs.items():
        seconds, ratios = [run["seconds"] for run in some], list(_ratios(runs, name, "DIN").values())
        found.append({
            "row": name, "n": len(some), "seconds": statistics.median(seconds) if seconds else math.nan,
            "over DIN": statistics.median(ratios) if ratios else math.nan,
            "least": min(ratios, default=math.nan), "most": max(ratios, default=math.nan),
            OF_TIME: published.SECONDS[name],
            f"{PAPER}over DIN": published.SECONDS[name] / published.SECONDS["DIN"],
        })  # fmt: skip
    return found


def _ratios(runs: Runs, row: str, over: str) -> dict[int, float]:
    """Seconds of a row over those of another, by repeat."""
    one = {run["seed"]: run["seconds"] for run in runs[over]}
    return {run["seed"]: run["seconds"] / one[run["seed"]] for run in runs[row] if run["seed"] in one}


def _claims(facts: Mapping, runs: Runs, read: list[dict]) -> list[dict]:
    bench = facts["bench"]
    if bench == "mian-efficiency":
        ratios = list(_ratios(runs, "DIEN", "MIAN").values())
        here, verdict = tables.judged(ratios, 1.0, "an epoch of DIEN takes so many of MIAN's:")
        if any(note.startswith("noisy") for note in facts["notes"]):
            here, verdict = f"{here}; the machine was noisy, so no verdict", "inconclusive"
        return [claim(published.FIGURES[bench], (here, verdict))]
    if bench == "mian-fig6":
        return [_interactions(read)]
    claims = published.claims(bench, [row for row, _ in facts["rows"]])
    found = [claim(one.text, judge(one, runs)) for one in claims]
    if bench == "mian-table4" and all(runs[row] for row in ("Pre-LN", "Transformer")):
        epochs = {row: statistics.fmean(run["best_epoch"] for run in runs[row]) for row in ("Pre-LN", "Transformer")}
        here = ", ".join(f"{row} {epoch:.1f}" for row, epoch in epochs.items())
        text = "Pre-LN trains more stably and converges sooner than the Transformer"
        found.append(claim(text, (f"epochs to the best validation AUC: {here}", "not judged")))
    return found


def _interactions(read: list[dict]) -> dict:
    """The weight of the interactions against their number among the parts."""
    shares, evens = [], []
    for run in read:
        own = [part.startswith("R_") for part in run["parts"]]
        shares.append(sum(weight for weight, one in zip(run["mean"], own, strict=True) if one))
        evens.append(sum(own) / len(own))
    excess = [share - even for share, even in zip(shares, evens, strict=True)]
    here, verdict = tables.judged(excess, 0.0, "weight of the interactions beyond their share of the parts")
    if read:
        here = f"{statistics.fmean(shares):.3f} of the weight, {evens[0]:.3f} of the parts; {here}"
    return claim(published.FIGURES["mian-fig6"], (here, verdict))


def _puzzles(facts: Mapping) -> list[str]:
    found = []
    if "table" in facts["bench"]:
        found.append("how many negatives the paper has a click it does not say: never compare its log loss with ours")
    if "table" in facts["bench"] and facts["split"] != "leave-last-out":
        found.append(f"the paper tests each user's last click; here the split is {facts['split']}")
    if facts["bench"] == "mian-table4":
        found.append("the paper's row without a block has the numbers of DIN in its Table 2, to the last digit")
    if facts["bench"] == "mian-efficiency":
        found.append("seconds are of this machine and its other work; the vectors of an item are as wide in all rows")
    if facts["bench"] == "mian-fig6":
        found.append("a weight is a share of attention, bounded by tanh, and no effect: see the rank correlations")
    return found


# --- files ---------------------------------------------------------------------------------------------------------


def _table(found: Mapping, read: list[dict]) -> str:
    rows, bench = found["rows"], found["facts"]["bench"]
    if bench == "mian-efficiency":
        lines = [["row", "repeats", "seconds", "over DIN, median (least to most)", OF_TIME, f"{PAPER}over DIN"]]
        for row in rows:
            spread = "no finished run"
            if row["n"]:
                spread = f"{row['over DIN']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
            numbers = tables.number(row["seconds"], ".2f"), spread, f"{row[OF_TIME]:.0f}"
            lines.append([row["row"], str(row["n"]), *numbers, f"{row[f'{PAPER}over DIN']:.2f}"])
        return markdown.table(lines)
    text = tables.table(rows, SCORES)
    if bench == "mian-table2" and rows[-1]["over"]:
        text += f"\n\nThe best baseline, by validation AUC, is {rows[-1]['over']}."
    if read:
        lines = [["part", "mean weight"]]
        lines += [[part, f"{weight:.3f}"] for part, weight in zip(read[0]["parts"], read[0]["mean"], strict=True)]
        text += f"\n\n### Weights of the first seed\n\n{markdown.table(lines)}"
        lines = [["group", "rank correlation of weight and effect"]]
        lines += [[group, tables.number(value, "+.2f")] for group, value in read[0]["faithful"].items()]
        text += f"\n\n{markdown.table(lines)}"
    return text


def _draw(found: Mapping, read: list[dict]) -> Figure | None:
    """The figure of a bench, None where there is nothing to draw."""
    from hyperctr.analysis import mian_attention

    facts, rows = found["facts"], found["rows"]
    protocol, picture = tables.about(facts, "MIAN"), None
    if facts["bench"] == "mian-fig6":
        if not read:
            return None
        picture = mian_attention.draw_heat(read[0]["parts"], read[0]["heat"], read[0]["probability"])
        protocol = f"{facts['data']}, {facts['split']} split, seed {read[0]['seed']}; test rows drawn at random"
    elif facts["bench"] == "mian-efficiency":
        shown: list[tuple[str, Any, str]] = []
        for row in rows:
            half = max(row["most"] - row["over DIN"], row["over DIN"] - row["least"])
            value = significance.Score(row["over DIN"], half, row["n"]) if row["n"] else None
            shown.append((row["row"], value, "no finished run"))
        theirs = {"Amazon Books": {row["row"]: row[f"{PAPER}over DIN"] for row in rows}}
        if any(value for _, value, _ in shown):
            picture = draw_table(shown, theirs, "MIAN", "seconds of an epoch over DIN's")
        protocol = f"{facts['data']}; {len(facts['seeds'])} repeats, bars: all of them; {facts['cores']} cores"
    else:
        ours = "Pre-LN" if facts["bench"] == "mian-table4" else "MIAN"
        picture = tables.picture(rows, "auc", ours, _paper(facts))
    return tables.titled(picture, facts, protocol)
