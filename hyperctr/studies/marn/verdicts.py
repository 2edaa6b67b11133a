"""What a MARN study found: its rows beside the paper's, verdicts on the paper's claims, and its files.

The rules were fixed before anything ran. A claim is reproduced where the 95 % interval over seeds lies on its side of
the margin that is printed with it, contradicted where it lies on the other, and else inconclusive. AUC is that of the
paper, the mean over users of each user's own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import figures, markdown
from hyperctr.studies import files, tables
from hyperctr.studies.claims import Runs, judge
from hyperctr.studies.figures import draw_series
from hyperctr.studies.marn import published
from hyperctr.studies.marn.figures import draw_adversary
from hyperctr.studies.marn.published import AUC, FIGURES, LEVELS, NEAREST, RECALL
from hyperctr.studies.tables import claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.studies.tables import Measured

SCORES = (AUC, "auc", "logloss_1to1", "cold_item_auc")
NONE = "lambda_0 = 0"  # the row of Figure 5 without an adversary
UNPOPULAR, POPULAR = slice(0, 4), slice(7, 10)  # levels of Table 4


def write(facts: dict, rows: list[dict], out: Path) -> dict:
    """Write table.csv, report.md, the figure, and bench.json with the scores and verdicts in it; gives the latter.

    Args:
        facts: what is compared on what, as `bench.run` remembers it.
        rows: the last line of results.csv of every run.
        out: the bench's folder.
    """
    runs, told = files.finished(facts, rows), tables.measured(facts, out)
    theirs = {
        head: lambda row, name=name: published.numbers(facts["bench"], row, name)
        for head, name in _paper(facts).items()
    }
    over = facts["over"]
    if facts["bench"] == "marn-table2":  # which baseline is best, validation says
        over = {"MARN": tables.best(runs, [row for row in runs if row not in ("MARN", "popularity")])}
    found = {
        "facts": facts,
        "rows": tables.entries(facts | {"over": over}, runs, SCORES, theirs),
        "claims": _claims(facts, runs, told),
        "warnings": [*tables.warnings(facts, runs), *_puzzles(facts, runs)],
        "failed": files.failed(rows),
    }
    return files.keep(found, _table(found, told), _draw(found, runs, told), out)


def _paper(facts: Mapping) -> dict[str, str]:
    """Data set of the paper by the head of its column."""
    return {f"{name}, AUC": name for name in published.columns(facts["bench"], facts["paper"])}


# --- claims --------------------------------------------------------------------------------------------------------


def _claims(facts: Mapping, runs: Runs, told: Measured) -> list[dict]:
    bench, ours = facts["bench"], told.get("MARN", [])
    if bench == "marn-table4":
        gaps = [_mean(gap[UNPOPULAR]) - _mean(gap[POPULAR]) for gap in _gaps(told)]
        text = "gain over ids at levels 0 to 3, less that at 7 to 9:"
        return [claim(FIGURES[bench], tables.judged(gaps, 0.0, text))]
    if bench == "marn-table5":
        few = len([n for n in NEAREST if n <= 100])
        pairs = _paired(told, "MARN", "Base+IDs")
        gains = [_mean(a["recall"][:few]) - _mean(b["recall"][:few]) for a, b in pairs]
        said = tables.judged(gains, 0.0, "recall above that of ids, mean over N:")
        return [claim(FIGURES[bench], said), *_random(ours)]
    if bench == "marn-fig4":
        return [claim(FIGURES[bench], (_favourites(ours), "not judged" if ours else "not tested"))]
    if bench == "marn-fig5":
        least = published.TOLD
        told_apart = tables.judged([run["specific"] for run in ours], least, "a linear probe names the modality:")
        pairs = _paired(told, NONE, "MARN")
        closer = [without["invariant"] - run["invariant"] for without, run in pairs]
        how = "a probe names the modality less often than without the adversary by"
        if ours:
            how = f"{_mean([run['invariant'] for run in ours]):.3f} with it, chance {ours[0]['chance']:.3f}; {how}"
        return [
            claim(f"{FIGURES['marn-fig5 specific']}; here {least} told", told_apart),
            claim(FIGURES["marn-fig5 invariant"], tables.judged(closer, 0.0, how)),
        ]
    if bench == "marn-fig6":
        return _of_training(facts, runs, told)
    claims = published.claims(bench, [row for row, _ in facts["rows"]])
    return [claim(one.text, judge(one, runs)) for one in claims]


def _of_training(facts: Mapping, runs: Runs, told: Measured) -> list[dict]:
    """Both panels of Figure 6."""
    row = _best_known(facts)
    rises = [run["adversarial"][-1] - run["adversarial"][0] for run in told.get(row, [])]
    rise = tables.judged(rises, 0.0, f"lambda_0 = {row}: the loss at the end, less that of the first validation:")
    top = tables.best(runs, facts["values"])
    here = f"{top} is best by validation AUC" if top else "nothing was run"
    return [
        claim(FIGURES["marn-fig6 loss"], rise),
        claim(FIGURES["marn-fig6 weight"], (here, "not judged" if top else "not tested")),
    ]


def _best_known(facts: Mapping) -> str:
    """The weight of the grid that is nearest to the paper's best."""
    return min(facts["values"], key=lambda value: abs(math.log(max(float(value), 1e-9) / 0.05)))


def _random(ours: list[dict]) -> list[dict]:
    """Whether vectors drawn at random find what chance finds, as they must where recall is counted rightly."""
    text = "RANDOM finds N of the unseen items by chance; here within 3 standard deviations"
    far = []
    for run in ours:
        for n, share in zip(NEAREST, run["random"], strict=False):
            chance = n / run["unseen"]
            far.append((share - chance) / math.sqrt(chance * (1 - chance) / run["clicks"]))
    if not far:
        return [claim(text, ("nothing that it compares was run", "not tested"))]
    worst = max(map(abs, far))
    here = f"at most {worst:.1f} away, {ours[0]['unseen']:,} unseen items, {ours[0]['clicks']:,} clicks on them"
    return [claim(text, (here, "passed" if worst < 3 else "failed: find out why before comparing"))]


def _favourites(ours: list[dict]) -> str:
    """The category that attends to each modality most, over what the others do, in words."""
    if not ours:
        return "nothing was run"
    found, lines = ours[0], []
    for k, name in enumerate(found["modalities"]):
        column = [line[k] for line in found["strength"] if line[k] is not None]
        if column:
            place = max(range(len(found["strength"])), key=lambda c, k=k: found["strength"][c][k] or 0.0)
            ratio = found["strength"][place][k] / statistics.fmean(column)
            lines.append(f"{name} in {found['categories'][place]} ({ratio:.2f} of its mean)")
    return "highest: " + ", ".join(lines)


def _paired(told: Measured, row: str, other: str) -> list[tuple[dict, dict]]:
    """What was measured of two rows, seed by seed, where both have it."""
    theirs = {run["seed"]: run for run in told.get(other, [])}
    return [(run, theirs[run["seed"]]) for run in told.get(row, []) if run["seed"] in theirs]


def _gaps(told: Measured) -> list[list[float | None]]:
    """What MARN gains over ids at each level, by seed."""
    return [
        [None if None in pair else pair[0] - pair[1] for pair in zip(a["levels"], b["levels"], strict=True)]
        for a, b in _paired(told, "MARN", "Base+IDs")
    ]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else math.nan


def _puzzles(facts: Mapping, runs: Runs) -> list[str]:
    found = []
    if facts["bench"] in ("marn-table2", "marn-table3"):
        found.append("the paper trains with AdaGrad; all models here train with Adam")
        if not facts["logged"] and facts["split"] == "temporal":
            found.append(f"the paper tests each user's last click; here the split is {facts['split']}")
        if facts["split"].startswith("leave-last"):
            found.append("a user has one tested click here, so a user's AUC is that click against drawn negatives")
    if facts["bench"] == "marn-table2":
        found.append(
            "the paper's LR and FM read ids alone, here features too; xDeepFM and DIEN read no title and no statistic"
        )
    if facts["bench"] == "marn-fig4" and facts["field"]:
        found.append(f"categories are the largest values of the field {facts['field']}, by number")
    return found


# --- files ---------------------------------------------------------------------------------------------------------


def _table(found: Mapping, told: Measured) -> str:
    bench, parts = found["facts"]["bench"], [tables.table(found["rows"], SCORES)]
    if bench == "marn-table4":
        rows = ("Base+IDs", "MARN")
        lines = [["level", *rows, "gap", *(f"the paper, Taobao: {row}" for row in rows), "gap"]]
        for k in range(10):
            here = [_mean([run["levels"][k] for run in told.get(row, [])]) for row in rows]
            theirs = [LEVELS[row][k] for row in rows]
            numbers = [*here, here[1] - here[0], *theirs, theirs[1] - theirs[0]]
            lines.append([str(k), *(tables.number(x, ".3f") for x in numbers)])
        parts += ["### AUC by popularity in training, from the least to the most", markdown.table(lines)]
    if bench == "marn-table5" and (at := _asked(told)):
        series = _recalls(told)
        lines = [["N", *series, *(f"the paper, Taobao: {row}" for row in RECALL)]]
        for k, n in enumerate(at):
            here = [_mean([recall[k] for recall in recalls]) for recalls in series.values()]
            lines.append([str(n), *(tables.number(x) for x in (*here, *(RECALL[row][k] for row in RECALL)))])
        parts += ["### Share of the clicks on unseen items that are among the N nearest", markdown.table(lines)]
    if bench == "marn-fig5":
        lines = [["row", "seed", "probe of specific", "probe of invariant", "chance"]]
        for row, some in told.items():
            for run in some:
                numbers = (run[name] for name in ("specific", "invariant", "chance"))
                lines.append([row, str(run["seed"]), *(tables.number(x, ".3f") for x in numbers)])
        parts += ["### How often a linear probe names the modality of a vector", markdown.table(lines)]
    return "\n\n".join(parts)


def _asked(told: Measured) -> list[int]:
    """The N of Table 5 that every run was asked for."""
    counts = [len(run["recall"]) for some in told.values() for run in some]
    return list(NEAREST[: min(counts, default=0)])


def _recalls(told: Measured) -> dict[str, list[list[float]]]:
    """Recall by row and seed; RANDOM is that of MARN's runs."""
    found = {row: [run["recall"] for run in told[row]] for row in ("Base+IDs", "MARN") if told.get(row)}
    return {"RANDOM": [run["random"] for run in told.get("MARN", [])]} | found


def _draw(found: Mapping, runs: Runs, told: Measured) -> Figure | None:
    """The figure of a bench, None where there is nothing to draw."""
    facts, ours = found["facts"], told.get("MARN", [])
    bench, protocol, picture = facts["bench"], tables.about(facts, "MARN", AUC), None
    if bench in ("marn-table2", "marn-table3"):
        picture = tables.picture(found["rows"], AUC, "MARN", _paper(facts))
    elif bench == "marn-table4" and ours:
        here = {row: _points(range(10), [run["levels"] for run in told.get(row, [])]) for row in LEVELS}
        theirs = {row: [(k, Score(x, math.nan, 1)) for k, x in enumerate(LEVELS[row])] for row in LEVELS}
        axis = "popularity of the item in training, in tenths of the items"
        picture = draw_series(here, {"Taobao": theirs}, axis, "test AUC")
    elif bench == "marn-table5" and (at := _asked(told)):
        here = {row: _points(at, recalls) for row, recalls in _recalls(told).items()}
        theirs = {
            row: [(n, Score(x, math.nan, 1)) for n, x in zip(NEAREST, RECALL[row], strict=True)] for row in RECALL
        }
        picture = draw_series(here, {"Taobao": theirs}, "N nearest items", "recall of clicked unseen items", True)
    elif bench == "marn-fig4" and ours:
        strength = [[math.nan if x is None else x for x in line] for line in ours[0]["strength"]]
        names = [f"{facts['field']} {name}" for name in ours[0]["categories"]]
        picture = figures.draw_strength(strength, names, ours[0]["modalities"], "mean length of the attention vector")
        protocol = f"{facts['data']}, seed {ours[0]['seed']}; ten thousand items a category at most"
    elif bench == "marn-fig5" and ours:
        picture = figures.draw_groups(ours[0]["panels"])
        protocol = f"{facts['data']}, seed {ours[0]['seed']}; t-SNE is a picture, the probe is the test"
    elif bench == "marn-fig6" and any(told.values()):
        picture = _draw_training(facts, runs, told)
    return tables.titled(picture, facts, protocol)


def _points(at: Sequence[int], values: list[list[float | None]]) -> list[tuple[float, Score]]:
    """Means over seeds with their intervals at each place, where they are known."""
    found = []
    for k, x in enumerate(at):
        known = [one[k] for one in values if one[k] is not None]
        if known:
            found.append((float(x), Score(*significance.mean_interval(known), len(known))))
    return found


def _draw_training(facts: Mapping, runs: Runs, told: Measured) -> tuple[Figure, Any]:
    row = _best_known(facts)
    curves = {run["seed"]: (run["epoch"], run["loss"], run["adversarial"]) for run in told.get(row, [])}
    points = {v: (float(v), significance.score(runs[v], AUC) if runs[v] else None) for v in facts["values"]}
    each = {v: [run[AUC] for run in runs[v]] for v in facts["values"]}
    return draw_adversary(curves, row, points, each, facts["axis"], tables.best(runs, facts["values"]))
