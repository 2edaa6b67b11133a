"""What an AQCL study found: AUC and RelaImpr overall and by activity, verdicts on the paper's claims, and its files.

The rules were fixed before anything ran. AQCL over the bare model, paired over seeds, is reproduced from +.003 on with
the 95 % interval above 0, contradicted with it below 0, and else inconclusive. Where the paper's gap is small its sign
is judged, at p < .1. Fewer than three seeds decide nothing.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import files
from hyperctr.studies import tables as compared
from hyperctr.studies.aqcl import published, tables
from hyperctr.studies.aqcl.figures import draw
from hyperctr.studies.aqcl.published import GROUPS
from hyperctr.studies.aqcl.rows import frequent
from hyperctr.studies.claims import Claim, Runs, judge

LEAST = 0.003  # AUC that AQCL must gain
SIZE = (0.015, 0.10)  # RelaImpr that counts as the paper's size
CHECK = (0.66, 0.74)  # where DIN's AUC lies on Amazon Beauty if the protocol is the paper's
PLANTED = "planted-coldstart"
UNKNOWN = Score(math.nan, math.nan, 0)


def write(facts: dict, rows: list[dict], out: Path) -> dict:
    """Write table.csv, report.md, the figure, and bench.json with the scores and verdicts in it; gives the latter.

    Args:
        facts: what is compared on what, as `bench.run` remembers it.
        rows: the last line of results.csv of every run.
        out: the bench's folder.
    """
    runs, path = files.finished(facts, rows), out / "tsne.json"
    points = json.loads(path.read_text()) if facts["bench"] == "aqcl-tsne" and path.exists() else None
    found = {
        "facts": facts,
        "groups": _groups(runs),
        "rows": _rows(facts, runs, points),
        "claims": _claims(facts, runs, points),
        "warnings": _warnings(facts, runs),
        "failed": files.failed(rows),
    }
    return files.keep(found, tables.table(found), draw(found, runs, points), out)


# --- gains ---------------------------------------------------------------------------------------------------------


def gain(runs: Runs, row: str, over: str, column: str = "auc") -> Score | None:
    """How far a row lies above another, paired by seed; None where they share no seed with this score."""
    return significance.difference(runs.get(row, []), runs.get(over, []), column)


def relaimpr(runs: Runs, row: str, over: str, column: str = "auc") -> Score:
    """RelaImpr of a row over another, Eq. (9), from the mean AUCs of the seeds that they share."""
    ours, theirs = _paired(runs, row, over, column)
    return Score(*significance.relaimpr_interval(ours, theirs), len(ours)) if ours else UNKNOWN


def enough(value: Score) -> str:
    """The verdict on a gain that the paper finds: at least LEAST, and the 95 % interval above 0."""
    verdict = significance.judge_gains([value])
    return "inconclusive" if verdict == "reproduced" and value.mean < LEAST else verdict


def sign(value: Score) -> str:
    """The verdict on a gain so small that only its sign is judged, at p < .1."""
    if value.num < 3 or significance.p_value(value) >= 0.1:
        return "inconclusive"
    return "reproduced" if value.mean > 0 else "contradicted"


def _paired(runs: Runs, row: str, over: str, column: str) -> tuple[list[float], list[float]]:
    """A score of two rows, seed by seed, where both have it."""
    ours, theirs = (
        {r["seed"]: r[column] for r in runs.get(name, ()) if not math.isnan(r[column])} for name in (row, over)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]


# --- what was found ------------------------------------------------------------------------------------------------


def _groups(runs: Runs) -> list[dict]:
    """The groups by activity: most training clicks of their users (of the last: any), and share of the test rows."""
    run = next((some[0] for some in runs.values() if some), None)
    if run is None:
        return []
    groups = [(group, column.removesuffix("_auc")) for group, column in GROUPS.items() if group != "overall"]
    return [
        {"group": group, "most_clicks": run.get(f"{name}_clicks"), "share": run[f"{name}_rows"] / run["rows"]}
        for group, name in groups
    ]


def _rows(facts: Mapping, runs: Runs, points: Mapping | None) -> list[dict]:
    """One entry a row: for every group AUC, RelaImpr, difference, each with its half-width, and the paper's."""
    found = []
    for number, (name, model) in enumerate(facts["rows"]):
        over, some = facts["over"].get(name, ""), runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "over": over, "n": len(some)}
        for group, column in GROUPS.items():
            better = gain(runs, name, over, column) or UNKNOWN
            scores = {
                "AUC": significance.score(some, column) if some else UNKNOWN,
                "RelaImpr": relaimpr(runs, name, over, column),
                "difference": better,
            }
            for what, score in scores.items():
                entry |= {f"{group} {what}": score.mean, f"{group} {what} half": score.half}
            entry[f"{group} verdict"] = "" if math.isnan(better.half) else significance.verdict(better)
        for column in ("valid_auc", "seconds"):
            entry[column] = statistics.fmean(r[column] for r in some) if some else math.nan
        for column in published.columns(facts):
            theirs = published.numbers(facts["bench"], name, column)
            base = published.numbers(facts["bench"], over, column)
            for k, group in enumerate(published.printed(facts)):
                ratio = significance.relaimpr(theirs[k], base[k]) if theirs and base else math.nan
                entry |= {
                    f"paper {column} {group} AUC": theirs[k] if theirs else math.nan,
                    f"paper {column} {group} RelaImpr": ratio,
                }
        if points:
            entry |= points["vectors"][number]["silhouette"]
        found.append(entry)
    return found


def _claims(facts: Mapping, runs: Runs, points: Mapping | None) -> list[dict]:
    base, bench = facts["base"], facts["bench"]
    if bench == "aqcl-table2":
        return [
            *_protocol_check(facts, runs),
            _above(facts, runs, "AQCL", base, enough),
            _size(facts, runs),
            _above(facts, runs, "AQCL", "ICL", sign),
        ]
    if bench == "aqcl-table3":
        pairs = facts["over"].items()
        return [_above(facts, runs, row, over, enough if over == "DIN" else sign) for row, over in pairs]
    text = published.FIGURES[bench]
    names = tuple(name for name, _ in facts["rows"] if name not in ("popularity", base, "ICL"))
    if bench == "aqcl-tsne":
        return [compared.claim(text, (_grouped(facts, points), "not judged" if points else "not tested"))]
    if bench in ("aqcl-dz", "aqcl-k"):
        return [_judge(text, gain(runs, *(("64", "8") if bench == "aqcl-dz" else ("5", "1"))), sign)]
    if bench == "aqcl-w":
        claim = Claim(text, names[1:-1], (names[0], names[-1]) if len(names) > 2 else (), interior=True)
    else:
        adaptive = tuple(name for name in names if name.startswith("adaptive"))
        claim = Claim(text, adaptive, tuple(name for name in names if name not in adaptive))
    return [compared.claim(text, judge(claim, runs))]


def _judge(claim: str, value: Score | None, rule: Callable[[Score], str]) -> dict:
    """A claim about a gain, what was found, and the verdict by a rule."""
    if value is None:
        return compared.claim(claim, ("the rows that it compares were not run", "not tested"))
    here = f"{markdown.format_gain(value)}, n={value.num}"
    if few := significance.too_few_seeds(value.num):
        here += f"; {few}"
    elif rule is sign:
        here += f", p={significance.p_value(value):.2g}"
    return compared.claim(claim, (here, rule(value)))


def _above(facts: Mapping, runs: Runs, row: str, over: str, rule: Callable[[Score], str]) -> dict:
    """The claim that a row is above another, with the paper's own gains."""
    found = []
    for column in published.columns(facts):
        pair = [published.numbers(facts["bench"], name, column) for name in (row, over)]
        if all(pair):
            found.append(f"{pair[0][0] - pair[1][0]:+.4f} on {column}")
    theirs = ", ".join(found) or "no number in the paper"
    asked = f"here by at least {LEAST}" if rule is enough else "here its sign, p < .1"
    return _judge(f"{row} is above {over} ({theirs}); {asked}", gain(runs, row, over), rule)


def _protocol_check(facts: Mapping, runs: Runs) -> list[dict]:
    """Whether DIN scores as the paper's protocol lets expect; asked on Amazon Beauty alone."""
    if published.column(facts["data"]) != "Amazon Beauty" or facts["base"] != "DIN":
        return []
    claim, verdict = (
        f"protocol check: DIN's AUC lies in {CHECK[0]} to {CHECK[1]} (.6956 on Amazon Beauty)",
        "not tested",
    )
    if (facts["split"], facts["draw"]) != ("leave-last-out", "uniform"):
        here = f"it needs leave-last-out and uniform negatives, not {facts['split']} and {facts['draw']}"
    elif not runs["DIN"]:
        here = "DIN was not run"
    else:
        value = significance.score(runs["DIN"])
        here = f"{markdown.format_score(value)}, n={value.num}"
        verdict = "passed" if CHECK[0] <= value.mean <= CHECK[1] else "failed: find out why before comparing"
    return [compared.claim(claim, (here, verdict))]


def _size(facts: Mapping, runs: Runs) -> dict:
    """Whether AQCL's RelaImpr is as large as the paper's; one that may be zero is of no size yet."""
    value, found = relaimpr(runs, "AQCL", facts["base"]), []
    for column in published.columns(facts):
        ours, base = (published.numbers("aqcl-table2", name, column)[0] for name in ("AQCL", "DIN"))
        found.append(f"{markdown.percent(significance.relaimpr(ours, base))} on {column}")
    outside = value.mean + value.half < SIZE[0] or value.mean - value.half > SIZE[1]
    verdict = "another size" if outside else "inconclusive"
    if SIZE[0] <= value.mean <= SIZE[1] and value.mean > value.half:
        verdict = "the same size"
    if value.num < 3:
        verdict = "inconclusive" if value.num else "not tested"
    claim = f"RelaImpr of AQCL over {facts['base']} ({', '.join(found) or 'no number in the paper'})"
    claim += f"; {markdown.percent(SIZE[0])} to {markdown.percent(SIZE[1])} counts as the same size"
    return compared.claim(claim, (f"{markdown.percent(value.mean, value.half)}, n={value.num}", verdict))


def _grouped(facts: Mapping, points: Mapping | None) -> str:
    """Silhouettes and agreement with categories, in words."""
    if not points:
        return "a run is missing"
    bare, worn = (
        {name: compared.number(value, ".3f") for name, value in vectors["silhouette"].items()}
        for vectors in points["vectors"]
    )
    num = len(frequent(points["code"]))
    texts = [
        f"silhouette of AQCL's {num} most frequent interests {worn['by_interest']} with AQCL, {bare['by_interest']} "
        f"under {facts['base']}",
        f"of as many groups of k-means {worn['by_kmeans']} and {bare['by_kmeans']}",
    ]
    if points["agreement"]:
        found = points["agreement"]
        texts.append(
            f"NMI of interest and {points['field']}: {found['clicked']:.3f} with that of the clicked item, "
            f"{found['favourite']:.3f} with the one that the user clicked most"
        )
    else:
        texts.append("the items have no categories to compare interests with")
    return "; ".join(texts)


def _warnings(facts: Mapping, runs: Runs) -> list[str]:
    """What a reader must know before comparing with the paper."""
    found, bench = list(facts["notes"]), facts["bench"]
    if facts["data"] == PLANTED:
        found.append("a planted world of many newcomers stands in for Oncold, which is private")
    if "table" in bench and not facts["split"].startswith("leave-last"):
        found.append(f"the paper tests each user's last click or day; here the split is {facts['split']}")
    if bench == "aqcl-table2" and facts["base"] != "DIN":
        found.append(
            f"the paper's Table 2 is about DIN; here {facts['base']} wears everything, so its numbers are left out"
        )
    if bench == "aqcl-table2":
        found.append("QCL, AQCL with alpha = 1 for everybody, is not in the paper's Table 2")
    if bench == "aqcl-alpha" and "adaptive, searched" not in runs:
        found.append("no searched w1 and w2 were given, so there is no row of them: --wear best.toml of a search")
    return found + [text for row in runs for text in compared.unlearned(row, runs)]
