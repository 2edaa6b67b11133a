"""What an AQCL study found: AUC and RelaImpr overall and by activity, verdicts on the paper's claims, and its files.

The rules were fixed before anything ran. AQCL over the bare model, paired over seeds, is reproduced from +.003 on with
the 95 % interval above 0, contradicted with it below 0, and else inconclusive. Where the paper's gap is small its sign
is judged, at p < .1. Fewer than three seeds decide nothing.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import figures, metrics, report
from hyperctr.report import Score
from hyperctr.studies import compared, files
from hyperctr.studies.aqcl import published
from hyperctr.studies.aqcl.figures import draw_gains, draw_points
from hyperctr.studies.aqcl.published import GROUPS
from hyperctr.studies.aqcl.rows import frequent
from hyperctr.studies.claims import Claim, Runs, best, judge
from hyperctr.studies.figures import draw_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 0.003  # AUC that AQCL must gain
SIZE = (0.015, 0.10)  # RelaImpr that counts as the paper's size
CHECK = (0.66, 0.74)  # where DIN's AUC lies on Amazon Beauty if the protocol is the paper's
NEAR = 0.002  # AUC that AQCL may lie below the better of ICL and QCL in the planted world
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
    return files.keep(found, _table(found), _draw(found, runs, points), out)


# --- gains ---------------------------------------------------------------------------------------------------------


def gain(runs: Runs, row: str, over: str, column: str = "auc") -> Score | None:
    """How far a row lies above another, paired by seed; None where they share no seed with this score."""
    return report.difference(runs.get(row, []), runs.get(over, []), column)


def relaimpr(runs: Runs, row: str, over: str, column: str = "auc") -> Score:
    """RelaImpr of a row over another, Eq. (9), from the mean AUCs of the seeds that they share."""
    ours, theirs = _paired(runs, row, over, column)
    return Score(*metrics.relaimpr_interval(ours, theirs), len(ours)) if ours else UNKNOWN


def p_value(value: Score) -> float:
    """Two-sided p of Student's t test that a mean over seeds is 0; its interval tells the standard error."""
    from scipy.special import stdtr, stdtrit

    if value.half == 0:
        return float(value.mean == 0)
    t = abs(value.mean) / value.half * stdtrit(value.num - 1, 0.975)
    return float(2 * stdtr(value.num - 1, -t))


def enough(value: Score) -> str:
    """The verdict on a gain that the paper finds: at least LEAST, and the 95 % interval above 0."""
    verdict = report.judged([value])
    return "inconclusive" if verdict == "reproduced" and value.mean < LEAST else verdict


def sign(value: Score) -> str:
    """The verdict on a gain so small that only its sign is judged, at p < .1."""
    if value.num < 3 or p_value(value) >= 0.1:
        return "inconclusive"
    return "reproduced" if value.mean > 0 else "contradicted"


def positive(value: Score) -> str:
    """The verdict on a gain that must be above 0, by the 95 % interval."""
    return report.judged([value])


def not_positive(value: Score) -> str:
    """The verdict on a gain that must not be above 0, by the 95 % interval."""
    if value.num < 3:
        return "inconclusive"
    return "contradicted" if report.judged([value]) == "reproduced" else "reproduced"


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
                "AUC": report.score(some, column) if some else UNKNOWN,
                "RelaImpr": relaimpr(runs, name, over, column),
                "difference": better,
            }
            for what, score in scores.items():
                entry |= {f"{group} {what}": score.mean, f"{group} {what} half": score.half}
            entry[f"{group} verdict"] = "" if math.isnan(better.half) else report.verdict(better)
        for column in ("valid_auc", "seconds"):
            entry[column] = statistics.fmean(r[column] for r in some) if some else math.nan
        for column in _columns(facts):
            theirs = published.numbers(facts["bench"], name, column)
            base = published.numbers(facts["bench"], over, column)
            for k, group in enumerate(_printed(facts)):
                ratio = metrics.relaimpr(theirs[k], base[k]) if theirs and base else math.nan
                entry |= {
                    f"paper {column} {group} AUC": theirs[k] if theirs else math.nan,
                    f"paper {column} {group} RelaImpr": ratio,
                }
        if points:
            entry |= points["vectors"][number]["silhouette"]
        found.append(entry)
    return found


def _columns(facts: Mapping) -> Sequence[str]:
    """The paper's data sets beside ours: its tables alone have numbers, and those of Table 2 are DIN's."""
    if "table" not in facts["bench"] or (facts["bench"] == "aqcl-table2" and facts["base"] != "DIN"):
        return ()
    return facts["paper"].split(", ") if facts["paper"] else published.PUBLIC


def _printed(facts: Mapping) -> Sequence[str]:
    """The groups that the paper's table has."""
    return list(GROUPS) if facts["bench"] == "aqcl-table2" else ["overall"]


def _claims(facts: Mapping, runs: Runs, points: Mapping | None) -> list[dict]:
    base, bench = facts["base"], facts["bench"]
    if bench == "aqcl-table2":
        return [
            *_protocol_check(facts, runs),
            _above(facts, runs, "AQCL", base, enough),
            _size(facts, runs),
            _above(facts, runs, "AQCL", "ICL", sign),
            *(_planted(runs, base) if facts["data"] == PLANTED else ()),
        ]
    if bench == "aqcl-table3":
        pairs = facts["over"].items()
        return [_above(facts, runs, row, over, enough if over == "DIN" else sign) for row, over in pairs]
    text = published.FIGURES[bench]
    names = tuple(name for name, _ in facts["rows"] if name not in ("popularity", base, "ICL"))
    if bench == "aqcl-tsne":
        return [{"claim": text, "here": _grouped(facts, points), "verdict": "shown" if points else "not tested"}]
    if bench in ("aqcl-dz", "aqcl-k"):
        return [_judge(text, gain(runs, *(("64", "8") if bench == "aqcl-dz" else ("5", "1"))), sign)]
    if bench == "aqcl-w":
        claim = Claim(text, names[1:-1], (names[0], names[-1]) if len(names) > 2 else (), interior=True)
    else:
        adaptive = tuple(name for name in names if name.startswith("adaptive"))
        claim = Claim(text, adaptive, tuple(name for name in names if name not in adaptive))
    here, verdict = judge(claim, runs)
    return [{"claim": text, "here": here, "verdict": verdict}]


def _judge(claim: str, value: Score | None, rule: Callable[[Score], str]) -> dict:
    """A claim about a gain, what was found, and the verdict by a rule."""
    if value is None:
        return {"claim": claim, "here": "the rows that it compares were not run", "verdict": "not tested"}
    here = f"{report.signed(value)}, n={value.num}"
    if few := report.few(value.num):
        here += f"; {few}"
    elif rule is sign:
        here += f", p={p_value(value):.2g}"
    return {"claim": claim, "here": here, "verdict": rule(value)}


def _above(facts: Mapping, runs: Runs, row: str, over: str, rule: Callable[[Score], str]) -> dict:
    """The claim that a row is above another, with the paper's own gains."""
    found = []
    for column in _columns(facts):
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
        value = report.score(runs["DIN"])
        here = f"{report.plain(value)}, n={value.num}"
        verdict = "passed" if CHECK[0] <= value.mean <= CHECK[1] else "failed: find out why before comparing"
    return [{"claim": claim, "here": here, "verdict": verdict}]


def _size(facts: Mapping, runs: Runs) -> dict:
    """Whether AQCL's RelaImpr is as large as the paper's."""
    value, found = relaimpr(runs, "AQCL", facts["base"]), []
    for column in _columns(facts):
        ours, base = (published.numbers("aqcl-table2", name, column)[0] for name in ("AQCL", "DIN"))
        found.append(f"{report.percent(metrics.relaimpr(ours, base))} on {column}")
    outside = value.mean + value.half < SIZE[0] or value.mean - value.half > SIZE[1]
    verdict = "another size" if outside else "inconclusive"
    if SIZE[0] <= value.mean <= SIZE[1]:
        verdict = "the same size"
    if value.num < 3:
        verdict = "inconclusive" if value.num else "not tested"
    claim = f"RelaImpr of AQCL over {facts['base']} ({', '.join(found) or 'no number in the paper'})"
    claim += f"; {report.percent(SIZE[0])} to {report.percent(SIZE[1])} counts as the same size"
    return {"claim": claim, "here": f"{report.percent(value.mean, value.half)}, n={value.num}", "verdict": verdict}


def _planted(runs: Runs, base: str) -> list[dict]:
    """What must hold in the world where newcomers' interests are shared and active users' are their own."""
    low, high = GROUPS["non-active"], GROUPS["highly active"]
    uneven = {name: [run | {"uneven": run[low] - run[high]} for run in some] for name, some in runs.items()}
    favours = "helps non-active users more than highly active ones"
    found = [
        _judge(f"planted: QCL {favours}", gain(uneven, "QCL", base, "uneven"), positive),
        _judge("planted: ICL does not: the reverse, or neither", gain(uneven, "ICL", base, "uneven"), not_positive),
    ]
    for group, column in list(GROUPS.items())[1:]:
        known = [name for name in ("QCL", "ICL") if gain(runs, "AQCL", name, column)]
        better = max(known, key=lambda name, column=column: report.score(runs[name], column).mean, default="QCL")
        claim = f"planted: AQCL is within {NEAR} of the better of QCL and ICL for {group} users ({better})"
        found.append(_judge(claim, gain(runs, "AQCL", better, column), near))
    return found


def near(value: Score) -> str:
    """The verdict on a gain that must not lie below -NEAR."""
    return report.judged([Score(value.mean + NEAR, value.half, value.num)])


def _grouped(facts: Mapping, points: Mapping | None) -> str:
    """Silhouettes and agreement with categories, in words."""
    if not points:
        return "a run is missing"
    bare, worn = (vectors["silhouette"] for vectors in points["vectors"])
    num = len(frequent(points["code"]))
    texts = [
        f"silhouette of AQCL's {num} most frequent interests {_plain(worn['by_interest'])} with AQCL, "
        f"{_plain(bare['by_interest'])} under {facts['base']}",
        f"of as many groups of k-means {_plain(worn['by_kmeans'])} and {_plain(bare['by_kmeans'])}",
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


# --- the table -----------------------------------------------------------------------------------------------------


def _table(found: Mapping) -> str:
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
    columns = _columns(facts) if group in _printed(facts) else ()
    over = f"over {facts['base']}" if facts["bench"] != "aqcl-table3" else "over the bare model"
    lines = [["row", "n", "AUC", f"RelaImpr {over}", f"AUC {over}", ""]]
    lines[0] += [f"the paper: {column}, AUC (RelaImpr)" for column in columns]
    for row in rows:
        value, ratio, more = (
            Score(row[f"{group} {what}"], row[f"{group} {what} half"], row["n"])
            for what in ("AUC", "RelaImpr", "difference")
        )
        texts = [report.plain(value) if row["n"] else "", "", "", "" if row["n"] else "no run is ok"]
        if row["n"] and row["over"]:
            texts[1:] = [report.percent(ratio.mean, ratio.half), report.signed(more), row[f"{group} verdict"]]
        for column in columns:
            auc, theirs = (row[f"paper {column} {group} {what}"] for what in ("AUC", "RelaImpr"))
            text = "-" if math.isnan(auc) else f"{auc:.4f}"
            texts.append(text if math.isnan(theirs) else f"{text} ({report.percent(theirs)})")
        lines.append([row["row"], str(row["n"]), *texts])
    return report.table(lines)


def _vectors(rows: Sequence[Mapping]) -> str:
    lines = [["row", "n", "AUC", "silhouette of AQCL's interests", "silhouette of k-means"]]
    for row in rows:
        value = Score(row["overall AUC"], row["overall AUC half"], row["n"])
        numbers = [_plain(row.get(name)) for name in ("by_interest", "by_kmeans")]
        lines.append([row["row"], str(row["n"]), report.plain(value) if row["n"] else "no run is ok", *numbers])
    return report.table(lines) + (
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
        texts = [f"{key} {x}" for key, x in shared.items() if x is not None]
        lines.append(f"- {kind}: {', '.join(texts)}")
    return ["### What was worn", "\n".join(lines)] if lines else []


def _plain(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


# --- the figure ----------------------------------------------------------------------------------------------------


def _draw(found: Mapping, runs: Runs, points: Mapping | None) -> Figure | None:
    """The figure of a bench, None where there is nothing to draw."""
    facts, rows = found["facts"], found["rows"]
    base, claims = facts["base"], [claim["claim"] for claim in found["claims"]]
    over_seeds = len(facts["seeds"]) > 1
    about = f"{facts['data']}, {facts['split']} split; "
    if facts["bench"] != "aqcl-table3":
        about = f"{base} on {about}"
    if facts["bench"] == "aqcl-tsne":
        if not points:
            return None
        places = {
            row["row"]: (vectors["x"], vectors["y"]) for row, vectors in zip(rows, points["vectors"], strict=True)
        }
        notes = {name: f"silhouette of the interests {_plain(vectors['silhouette']['by_interest'])}"
                 for name, vectors in zip(places, points["vectors"], strict=True)}  # fmt: skip
        figure, axes = draw_points(places, notes, points["code"], frequent(points["code"]))
        about += f"seed {facts['seeds'][0]}; {points['clicks']:,} test clicks, t-SNE"
    elif facts["axis"]:
        scores = {name: report.score(some) if some else None for name, some in runs.items()}
        names = [name for name in scores if name not in ("popularity", base)]
        if not any(scores[name] for name in names):
            return None
        place = {name: (float(name), scores[name]) for name in names}
        each = {name: [run["auc"] for run in runs[name]] for name in names}
        across = [(base, scores[base])] if scores[base] else []
        top = best(runs, tuple(names))
        figure, axes = draw_line("AQCL", place, each, across, facts["axis"], facts["log"], top, claims)
        about += "bands: 95 % over seeds" if over_seeds else "one seed; bands: 95 % from the scored rows"
    else:
        shown = [row for row in rows if row["over"] and row["row"] != "popularity"]
        if not any(row["n"] for row in shown):
            return None
        panels = {
            group: {
                row["row"]: Score(row[f"{group} RelaImpr"], row[f"{group} RelaImpr half"], row["n"]) for row in shown
            }
            for group in GROUPS
        }
        theirs = {
            column: {group: {row["row"]: row[f"paper {column} {group} RelaImpr"] for row in shown}
                     for group in _printed(facts)}
            for column in _columns(facts)
        }  # fmt: skip
        over = base if facts["bench"] != "aqcl-table3" else "the bare model"
        figure, axes = draw_gains(panels, theirs, over, {"AQCL", "adaptive", "adaptive, searched"})
        about += "bars: 95 % over seeds" if over_seeds else "one seed: no intervals"
    figures.titles(axes, facts["title"], about, report.leaky_line(facts["split"]) if facts["leaky"] else "")
    return figure
