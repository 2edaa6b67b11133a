"""What studies that compare models have in common: their rows as a table and a picture, and what a trained row tells.

A row is its scores, means with intervals; how far it lies above another row, paired by seed; and the paper's numbers,
in columns of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import config, files
from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.experiments import sweep_report
from hyperctr.reporting import figures, markdown
from hyperctr.studies import claims
from hyperctr.studies.claims import Runs
from hyperctr.studies.figures import draw_table
from hyperctr.studies.study import Bench

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.runs.open import Opened


Measured = Mapping[str, list[dict]]
"""What was measured of each row's runs, by row."""
HEADS = {
    "auc": "AUC",
    "user_auc": "user AUC",
    "positive_auc": "per-positive AUC",
    "logloss_1to1": "log loss 1:1",
    "user_auc_plain": "AUC, mean over users",
    "best_epoch": "epochs to the best",
    "cold_item_auc": "AUC, unseen items",
}
PAPER = "the paper: "
"""How a column of the paper's numbers begins."""


def check(bench: Bench, base: config.Run, model: str) -> None:
    """Raise a ValueError unless the run is of this model and wears nothing."""
    if base.model_name != model:
        raise ValueError(f"{bench.name} studies {model}, the run names {base.model_name}; use model.name = {model}")
    if base.wrapper_name:
        raise ValueError(f"{bench.name} compares models that wear nothing, the run wears {base.wrapper_name}")


def measure(cells: Mapping[str, str], out: Path, of: Callable[[Opened, Path], dict]) -> None:
    """Measure the runs of a bench that have ended, and gather it in measures.json: {row: [of each run]}.

    What was measured of runs whose folders are gone stays.

    Args:
        cells: row by the name of its run.
        out: the bench's folder.
        of: what is asked of a run and its folder; kept beside it, so that it is asked once.
    """
    from hyperctr.runs.open import open_run

    path = out / "measures.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    found = {row: {each["seed"]: each for each in some} for row, some in held.items()}
    for cell, row in cells.items():
        folder = out / "runs" / cell
        kept = folder / "measures.json"
        if not (folder / "report.json").exists():
            continue
        if not kept.exists():
            opened = open_run(folder)
            files.write_text(kept, json.dumps({"seed": opened.prepared.run.train.seed} | of(opened, folder)))
        each = json.loads(kept.read_text())
        found.setdefault(row, {})[each["seed"]] = each
    files.write_text(path, json.dumps({row: [some[seed] for seed in sorted(some)] for row, some in found.items()}))


def measured(facts: Mapping, out: Path) -> Measured:
    """What `measure` found of each row, of the seeds of the bench."""
    path = out / "measures.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {row: [each for each in found.get(row, []) if each["seed"] in facts["seeds"]] for row, _ in facts["rows"]}


def judged(values: Sequence[float], needed: float, what: str) -> tuple[str, str]:
    """What was found of a number by seed that must be above another, in words, and the verdict by its 95 % interval."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return "nothing that it compares was run", "not tested"
    score = Score(*significance.mean_interval(values), len(values))
    here = f"{what} {score.mean:.3f}" + ("" if math.isnan(score.half) else f" ± {score.half:.3f}") + f", n={score.num}"
    if few := significance.too_few_seeds(score.num):
        here += f"; {few}"
    return here, significance.judge_gains([Score(score.mean - needed, score.half, score.num)])


def claim(text: str, found: tuple[str, str]) -> dict:
    """A claim, what was found of it, and the verdict."""
    return {"claim": text, "here": found[0], "verdict": found[1]}


def entries(
    facts: Mapping, runs: Runs, scores: Sequence[str], paper: Mapping[str, Callable[[str], float | None]]
) -> list[dict]:
    """One entry a row: its scores, its gain in the first of them over another row, and the paper's numbers.

    Args:
        facts: what is compared on what.
        runs: by row.
        scores: columns of results.csv.
        paper: by the head of its column, a number for the name of a row.
    """
    found = []
    for name, model in facts["rows"]:
        over, some = facts["over"].get(name, ""), runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "over": over, "n": len(some)}
        for column in dict.fromkeys([*scores, "valid_auc", "best_epoch", "seconds"]):
            value = significance.score(some, column) if some else Score(math.nan, math.nan, 0)
            entry |= {column: value.mean, f"{column}_half": value.half}
        gain = significance.difference(some, runs.get(over, []), scores[0]) if over else None
        entry |= {"difference": math.nan, "difference_half": math.nan, "verdict": ""}
        if gain is not None:
            entry |= {"difference": gain.mean, "difference_half": gain.half, "verdict": significance.verdict(gain)}
        above = significance.difference(some, runs["popularity"]) if name != "popularity" else None
        entry["learned"] = above is None or above.mean > 0
        for head, of in paper.items():
            number = of(name)
            entry[PAPER + head] = math.nan if number is None else number
        found.append(entry)
    return found


def table(rows: Sequence[Mapping], scores: Sequence[str]) -> str:
    """The entries as Markdown."""
    shown = [name for name in scores if any(not math.isnan(row[name]) for row in rows)]
    heads = [name for name in rows[0] if name.startswith(PAPER)]
    several = len({row["over"] for row in rows if row["over"]}) > 1
    over = next((row["over"] for row in rows if row["over"]), "")
    gains = [] if not over else ["over" if several else f"over {over}", ""]
    lines = [["row", "n", *(HEADS[name] for name in shown), *gains, *heads]]
    for row in rows:
        texts = [markdown.format_score(Score(row[name], row[f"{name}_half"], row["n"])) for name in shown]
        more = ["", ""] if over else []
        if not row["n"]:
            texts, more = ["" for _ in shown], ["", "no finished run"] if over else more
        elif row["verdict"]:
            gain = markdown.format_gain(Score(row["difference"], row["difference_half"], row["n"]))
            more = [f"{row['over']}: {gain}" if several else gain, row["verdict"]]
        if row["n"] and not row["learned"] and over:
            more[1] = "has not learned"
        lines.append([row["row"], str(row["n"]), *texts, *more, *(number(row[head]) for head in heads)])
    return markdown.table(lines)


def number(value: float, form: str = ".4f") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else format(value, form)


def picture(rows: Sequence[Mapping], score: str, ours: str, paper: Mapping[str, str]) -> tuple[Figure, Any] | None:
    """The score of each row with its interval, the paper's in a panel of its own; None without a run.

    Args:
        rows: entries.
        score: a column of results.csv.
        ours: the row to bring out.
        paper: data set by the head of its column.
    """
    if not any(row["n"] for row in rows if row["row"] != "popularity"):
        return None
    shown = [
        (row["row"], Score(row[score], row[f"{score}_half"], row["n"]) if row["n"] else None, "no finished run")
        for row in rows
    ]
    theirs = {
        name: {row["row"]: row[PAPER + head] for row in rows if not math.isnan(row[PAPER + head])}
        for head, name in paper.items()
    }
    return draw_table(shown, theirs, ours, HEADS[score])


def best(runs: Runs, names: Sequence[str]) -> str:
    """The row with the highest mean validation AUC; "" where none was run."""
    return claims.best(runs, tuple(names)) or ""


def warnings(facts: Mapping, runs: Runs) -> list[str]:
    """What a reader must know of any of these studies before comparing with the paper."""
    return [*facts["notes"], *(text for row, _ in facts["rows"] for text in unlearned(row, runs))]


def unlearned(row: str, runs: Runs) -> list[str]:
    """What is said of a row that is not above popularity; nothing of one that is, or that cannot be compared."""
    if row == "popularity":
        return []
    gain = significance.difference(runs.get(row, []), runs.get("popularity", []))
    return [f"row {row} is not above popularity: it has not learned"] if gain is not None and gain.mean <= 0 else []


def about(facts: Mapping, model: str, score: str = "auc") -> str:
    """What a figure says below its title; of a single seed, only the AUC over all rows has an interval."""
    alone = "bars: 95 % from the scored rows" if score == "auc" else "no intervals"
    seeds = "bars and bands: 95 % over seeds" if len(facts["seeds"]) > 1 else f"one seed; {alone}"
    return f"{model} on {facts['data']}, {facts['split']} split; {seeds}"


def titled(found: tuple[Figure, Any] | None, facts: Mapping, protocol: str) -> Figure | None:
    """The figure with its title and protocol above the axes."""
    if found is None:
        return None
    figure, axes = found
    figures.titles(axes, facts["title"], protocol, sweep_report.leaky_line(facts["split"]) if facts["leaky"] else "")
    return figure
