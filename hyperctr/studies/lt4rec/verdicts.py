"""What an LT4REC study found: scores of both tasks, verdicts on the paper's claims, masks and ranks, and its files.

The rules were fixed before anything ran. Sizes come from the paper, allowances from what seeds do on far fewer rows
than its 297 million. A claim is reproduced if the whole 95 % interval of the paired difference keeps it, contradicted
if the whole interval breaks it, else inconclusive; a gain of the paper's own size is reproduced if the mean reaches it
and the interval lies above 0, contradicted if the interval stays below it. Fewer than three seeds decide nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import metrics, significance
from hyperctr.evaluation.significance import Score
from hyperctr.files import read_csv
from hyperctr.layers.multitask import TASKS
from hyperctr.reporting import figures, markdown
from hyperctr.studies import files, tables
from hyperctr.studies.claims import Runs
from hyperctr.studies.lt4rec import published
from hyperctr.studies.lt4rec.figures import draw_masks, draw_replay, draw_rounds, draw_tasks
from hyperctr.studies.lt4rec.rows import RANKED, SINGLE, TOPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AUC_BAND, ERROR_BAND = 0.002, 0.005  # AUC that may be lost, and share by which the error may grow, to be "not worse"
TUNED_BAND = 0.005  # AUC that tuning for conversions may cost
AUC_GAIN, ERROR_GAIN = 0.003, 0.0338  # of s-weight over single tasks in the paper
UNKNOWN = Score(math.nan, math.nan, 0)
MOST = TOPS[0]  # depth whose replay is judged
Rule = Callable[[Score, float], str]


def write(facts: dict, rows: list[dict], out: Path) -> dict:
    """Write table.csv, report.md, the figures, and bench.json with the scores and verdicts in it; gives the latter.

    Args:
        facts: what is compared on what, as `bench.run` remembers it.
        rows: the last line of results.csv of every run.
        out: the bench's folder.
    """
    runs = files.finished(facts, rows)
    masks, rounds, replay = (_read(out / f"{name}.csv") for name in ("masks", "rounds", "replay"))
    found = {
        "facts": facts,
        "rows": _replayed(replay) if facts["bench"] == "lt4rec-replay" else _rows(facts, runs),
        "claims": _claims(facts, runs, rounds, replay),
        "masks": _masks(masks),
        "rounds": _rounds(rounds),
        "warnings": _warnings(facts, runs),
        "failed": files.failed(rows),
    }
    shown = _pictures(found, out)
    return files.keep(found, _table(found, shown), _draw(found), out)


# --- differences -----------------------------------------------------------------------------------------------------


def gain(runs: Runs, row: str, over: str, column: str = "auc") -> Score:
    """How far a row's score lies above another's, paired by seed; of an error, column `..._mse`, as a share of it."""
    ours, theirs = runs.get(row, []), runs.get(over, [])
    if not column.endswith("mse"):
        return significance.difference(ours, theirs, column) or UNKNOWN
    return change(*({r["seed"]: r[column] for r in some} for some in (ours, theirs)))


def change(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Score:
    """How far values by seed lie above others, as a share of these; NaN counts as none."""
    ratios = [ours[seed] / theirs[seed] - 1 for seed in sorted(ours.keys() & theirs.keys())]
    ratios = [ratio for ratio in ratios if not math.isnan(ratio)]
    return Score(*significance.mean_interval(ratios), len(ratios)) if ratios else UNKNOWN


def not_below(value: Score, band: float) -> str:
    """The verdict on a score that may lie at most `band` below another."""
    return significance.judge_gains([Score(value.mean + band, value.half, value.num)])


def reaches(value: Score, size: float) -> str:
    """The verdict on a gain that must be as large as the paper's."""
    if value.num < 3:
        return "inconclusive"
    if value.mean >= size and value.mean > value.half:
        return "reproduced"
    return "contradicted" if value.mean + value.half < size else "inconclusive"


def turned(value: Score) -> Score:
    """The same of a score that is better the lower it is."""
    return Score(-value.mean, value.half, value.num)


# --- what was found --------------------------------------------------------------------------------------------------


def _rows(facts: Mapping, runs: Runs) -> list[dict]:
    """One entry a row of Table 2: both tasks' scores, differences to the models of one task, and the paper's."""
    found = []
    for name, model in facts["rows"]:
        some = runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "n": len(some)}
        for column in ("auc", "cvr_mse", "cvr_auc", "ctcvr_auc", "valid_auc", "valid_cvr_mse"):
            value = significance.score(some, column) if some else UNKNOWN
            entry |= {column: value.mean, f"{column}_half": value.half}
        if some and all(run["auc"] == 0.5 for run in some):  # it answers nothing about clicks
            entry |= {name: math.nan for name in ("auc", "auc_half", "valid_auc", "valid_auc_half", "ctcvr_auc")}
        for column, over in zip(("auc", "cvr_mse"), SINGLE, strict=True):
            better = gain(runs, name, over, column) if name != over and not math.isnan(entry[column]) else UNKNOWN
            entry |= {f"{column}_gain": better.mean, f"{column}_gain_half": better.half}
        entry["seconds"] = statistics.fmean(run["seconds"] for run in some) if some else math.nan
        theirs = [math.nan if x is None else x for x in published.numbers(name)]
        entry |= {"paper auc": theirs[0], "paper cvr_mse": theirs[1]}
        entry |= {"paper auc_gain": theirs[0] - published.numbers(SINGLE[0])[0],
                  "paper cvr_mse_gain": theirs[1] / published.numbers(SINGLE[1])[1] - 1}  # fmt: skip
        found.append(entry)
    return found


def _claims(facts: Mapping, runs: Runs, rounds: list[dict], replay: list[dict]) -> list[dict]:
    if facts["bench"] == "lt4rec-fig4":
        return [
            *(tables.claim(text, (_course(rounds, task), "not judged")) for task, text in published.FIGURE4.items()),
            *(_tickets_at_last(facts, rounds, task) for task in TASKS),
        ]
    if facts["bench"] == "lt4rec-replay":
        return _replay_claims(replay)
    last, names = f"s-weight at {facts['at']}", [name for name, _ in facts["rows"]]
    found = []

    def ask(claim: str, row: str, over: str, column: str, rule: Rule, amount: float) -> None:
        value = gain(runs, row, over, column)
        value = turned(value) if column.endswith("mse") else value
        found.append(tables.claim(claim, (_said(value, column), _verdict(value, rule, amount))))

    click, conversion = SINGLE
    few = f"with {facts['at']} of the weights s-weight"
    ask(f"{few} loses at most {AUC_BAND} of {click}'s AUC", last, click, "auc", not_below, AUC_BAND)
    ask(f"{few} has an error at most {ERROR_BAND:.1%} above {conversion}'s", last, conversion, "cvr_mse", not_below,
        ERROR_BAND)  # fmt: skip
    ask(f"s-weight gains {AUC_GAIN} in AUC over {click}", "s-weight", click, "auc", reaches, AUC_GAIN)
    ask(f"s-weight's error is {ERROR_GAIN:.2%} below {conversion}'s", "s-weight", conversion, "cvr_mse", reaches,
        ERROR_GAIN)  # fmt: skip
    value = gain(runs, "s-neuron", "s-weight", "cvr_mse")
    text = f"s-neuron's error is not below s-weight's by more than {ERROR_BAND:.1%} (+2.31 % in the paper)"
    found.append(tables.claim(text, (_said(value, "cvr_mse", "more"), _verdict(value, not_below, ERROR_BAND))))
    for row in (name for name in names if name.startswith(("s-weight-taskbalance", "s-weight-gradientconflict"))):
        ask(f"{row} has an error at most {ERROR_BAND:.1%} above s-weight's", row, "s-weight", "cvr_mse", not_below,
            ERROR_BAND)  # fmt: skip
        ask(f"{row} costs at most {TUNED_BAND} of s-weight's AUC", row, "s-weight", "auc", not_below, TUNED_BAND)
    controls = {
        "random masks": "as many weights drawn at random in each layer",
        "fresh weights": "their masks on new weights",
    }
    for row, control in controls.items():
        for column, what in (("valid_auc", "AUC of clicks"), ("valid_cvr_mse", "error of conversions")):
            ask(f"tickets beat {control} ({what} on validation rows)", last, f"{row} at {facts['at']}", column,
                not_below, 0.0)  # fmt: skip
    return found


def _verdict(value: Score, rule: Rule, amount: float) -> str:
    return rule(value, amount) if value.num else "not tested"


def _said(value: Score, column: str, better: str = "less") -> str:
    """A gain in words; of an error, by how much less it is."""
    if not value.num:
        return "the rows that it compares were not run"
    text = markdown.format_gain(value)
    if column.endswith("mse"):
        text = f"{markdown.percent(value.mean, value.half)} {better}"
    return "; ".join(filter(None, (f"{text}, n={value.num}", significance.too_few_seeds(value.num))))


def _read(path: Path) -> list[dict]:
    """A CSV file whose numbers are numbers; [] where there is none."""

    def parsed(text: str) -> Any:
        try:
            return float(text) if text else math.nan
        except ValueError:
            return text == "True" if text in ("True", "False") else text

    return [{name: parsed(text) for name, text in line.items()} for line in read_csv(path)]


def _over_seeds(lines: list[dict], by: Sequence[str], columns: Sequence[str]) -> list[dict]:
    """Means over seeds and their half-widths, one entry for each combination of the columns `by`."""
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in by), []).append(line)
    found = []
    for key, some in groups.items():
        entry = dict(zip(by, key, strict=True)) | {"n": len(some)}
        for column in columns:
            known = [line[column] for line in some if not math.isnan(line[column])]
            mean, half = significance.mean_interval(known) if known else (math.nan, math.nan)
            entry |= {column: mean, f"{column}_half": half}
        found.append(entry)
    return found


def _masks(lines: list[dict]) -> list[dict]:
    """How the tasks share each layer, over seeds; of rows with the same masks the first."""
    columns = ("shared", "click", "conversion", "dead", "jaccard", "ratio")
    by_row: dict[str, list[dict]] = {}
    for entry in _over_seeds(lines, ("row", "layer", "weights"), columns):
        by_row.setdefault(entry.pop("row"), []).append(entry)
    known: list[str] = []
    for row, layers in by_row.items():
        if not any(str(by_row[other]) == str(layers) for other in known):
            known.append(row)
    return [{"row": row} | entry for row in known for entry in by_row[row]]


def _rounds(lines: list[dict]) -> list[dict]:
    """Density and score of every round, over seeds, and how often its mask was the best."""
    chosen = [line | {"chosen": float(line["best"])} for line in lines]
    return _over_seeds(chosen, ("row", "task", "round"), ("density", "score", "chosen"))


def _replayed(lines: list[dict]) -> list[dict]:
    """Time watched of what each ranking puts first, over seeds, and the paper's seconds."""
    columns = [f"top {top}" for top in TOPS]
    empty = {"n": 0} | {name: math.nan for column in columns for name in (column, f"{column}_half")}
    ran = {entry["row"]: entry for entry in _over_seeds(lines, ("row",), columns)}
    return [{"row": name} | ran.get(name, empty) | {"paper": published.TABLE3.get(name, math.nan)}
            for name in (*RANKED, "length alone", "any order")]  # fmt: skip


def _course(rounds: list[dict], task: str) -> str:
    """The scores of s-weight's rounds, in words."""
    some = [r for r in _rounds(rounds) if (r["row"], r["task"]) == ("s-weight", task)]
    texts = [f"{100 * r['density']:.2f} %: {abs(r['score']):.4f}" for r in some]
    return "; ".join(texts) or "nothing was run"


def _tickets_at_last(facts: Mapping, rounds: list[dict], task: str) -> dict:
    """The claim that tickets are better than random masks when all rounds are done."""
    last = [r for r in rounds if r["task"] == task and r["round"] == facts["rounds"]]
    ours, theirs = ([r for r in last if r["row"] == name] for name in ("s-weight", "random masks"))
    value = significance.difference(ours, theirs, "score") or UNKNOWN
    what = "AUC of clicks" if task == "click" else "error of conversions, less"
    claim = f"at {facts['at']} tickets beat as many weights drawn at random in each layer ({what}; validation rows)"
    return tables.claim(claim, (_said(value, "auc"), _verdict(value, not_below, 0.0)))


def _replay_claims(lines: list[dict]) -> list[dict]:
    """The paper's order of rankings, as the change over the first one at the top."""
    names, theirs = list(RANKED), published.TABLE3
    at = {name: {line["seed"]: line[f"top {MOST}"] for line in lines if line["row"] == name} for name in names}
    found = []
    for name in names[1:]:
        value, papers = change(at[name], at[names[0]]), theirs[name] / theirs[names[0]] - 1
        kept = value if papers > 0 else turned(value)
        text = (
            f"{name} changes the time watched by {papers:+.2%} against {names[0]} (online); here its sign, "
            f"first of each user and day, {metrics.REPLAY}"
        )
        found.append(tables.claim(text, (_said(value, "mse", "more"), _verdict(kept, not_below, 0.0))))
    return found


def _warnings(facts: Mapping, runs: Runs) -> list[str]:
    """What a reader must know before comparing with the paper."""
    found = list(facts["notes"])
    found.append(f"conversions: {facts['conversion']}; the paper's log, not public, is 1,000 times as large")
    if facts["bench"] == "lt4rec-replay":
        found.append(f"{metrics.REPLAY}; time watched is conversion times length, in the unit of the lengths")
        return found
    constant = [run["cvr_variance"] for some in runs.values() for run in some if not math.isnan(run["cvr_variance"])]
    if constant:
        found.append(f"the error of conversions of the best constant, their variance, is {constant[0]:.4f}")
    for name, _ in facts["rows"]:
        found += tables.unlearned(name, runs) if name != SINGLE[1] else []
        errors = [run["cvr_mse"] >= run["cvr_variance"] for run in runs[name] if not math.isnan(run["cvr_mse"])]
        if errors and all(errors):
            found.append(f"row {name} is no better at conversions than a constant")
    return found


# --- the table -------------------------------------------------------------------------------------------------------


def _table(found: Mapping, pictures: Mapping[str, str]) -> str:
    bench = found["facts"]["bench"]
    if bench == "lt4rec-replay":
        parts = [_replay_table(found["rows"])]
    else:
        parts = [] if bench == "lt4rec-fig4" else [_score_table(found["rows"])]
        parts += ["### Rounds", _round_table(found["rounds"])] if found["rounds"] else []
    parts += ["### Masks", _mask_table(found["masks"])] if found["masks"] else []
    parts += [f"![{title}]({name})" for name, title in pictures.items()]
    return "\n\n".join(parts)


def _score_table(rows: list[dict]) -> str:
    lines = [[
        "row", "n", "AUC of clicks", f"over {SINGLE[0]}", "error of conversions", f"over {SINGLE[1]}",
        "AUC of conversions", "AUC of both", "seconds", "the paper: AUC", "the paper: error (over base_cvr)",
    ]]  # fmt: skip
    columns = ("auc", "auc_gain", "cvr_mse", "cvr_mse_gain", "cvr_auc", "ctcvr_auc")
    how = (
        markdown.format_score,
        markdown.format_gain,
        markdown.format_score,
        _percent,
        markdown.format_score,
        markdown.format_score,
    )
    for row in rows:
        texts = ["no finished run", *[""] * len(columns)]
        if row["n"]:
            values = (Score(row[column], row[f"{column}_half"], row["n"]) for column in columns)
            texts = [*(say(value) for say, value in zip(how, values, strict=True)), f"{row['seconds']:.0f}"]
        auc, error, change = (row[f"paper {column}"] for column in ("auc", "cvr_mse", "cvr_mse_gain"))
        theirs = "-" if math.isnan(error) else f"{error:.5f}" + (f" ({change:+.2%})" if change else "")
        lines.append([row["row"], str(row["n"]), *texts, "-" if math.isnan(auc) else f"{auc:.5f}", theirs])
    return markdown.table(lines) + (
        "\n\nThe error is the mean squared one over clicked rows, the lower the better; AUC of both is that of click "
        "times conversion by pCTR pCVR."
    )


def _percent(value: Score) -> str:
    return markdown.percent(value.mean, value.half)


def _round_table(rounds: list[dict]) -> str:
    lines = [["row", "task", "round", "weights left", "score on validation rows", "best in"]]
    for r in rounds:
        value = Score(abs(r["score"]), r["score_half"], r["n"])
        what = "AUC" if r["task"] == "click" else "error"
        lines.append([r["row"], r["task"], f"{r['round']:.0f}", f"{100 * r['density']:.2f} %",
                      f"{what} {markdown.format_score(value)}", f"{r['chosen'] * r['n']:.0f} of {r['n']}"])  # fmt: skip
    return markdown.table(lines)


def _mask_table(masks: list[dict]) -> str:
    lines = [["row", "layer", "weights", "both", "clicks alone", "conversions alone", "nobody", "Jaccard", "to chance"]]
    for m in masks:
        layer = m["layer"] if isinstance(m["layer"], str) else f"{m['layer'] + 1:.0f}"
        shares = [f"{m[name]:.1%}" for name in ("shared", "click", "conversion", "dead")]
        numbers = ["-" if math.isnan(m[name]) else f"{m[name]:.3f}" for name in ("jaccard", "ratio")]
        lines.append([m["row"], layer, f"{m['weights']:,.0f}", *shares, *numbers])
    return markdown.table(lines) + (
        "\n\nTo chance: weights that both wear, over what independent masks of the same densities would share."
    )


def _replay_table(rows: list[dict]) -> str:
    lines = [["ranking", "n", *(f"first {top} of a user and day" for top in TOPS), "the paper, online: seconds"]]
    for row in rows:
        values = [Score(row[f"top {top}"], row[f"top {top}_half"], row["n"]) for top in TOPS]
        texts = ["-" if math.isnan(v.mean) else f"{v.mean:,.1f}" + (f" ± {v.half:,.1f}" if v.half == v.half else "")
                 for v in values]  # fmt: skip
        theirs = "-" if math.isnan(row["paper"]) else f"{row['paper']:.1f}"
        lines.append([row["row"], str(row["n"]), *texts, theirs])
    return markdown.table(lines) + f"\n\nMean time watched; {metrics.REPLAY}."


# --- figures ---------------------------------------------------------------------------------------------------------


def _about(facts: Mapping) -> str:
    return f"{facts['data']}, {facts['split']} split; {len(facts['seeds'])} seed" + "s" * (len(facts["seeds"]) > 1)


def _draw(found: Mapping) -> Figure | None:
    """The figure of a bench, None where there is nothing to draw."""
    facts, rows = found["facts"], found["rows"]
    if facts["bench"] == "lt4rec-fig4":
        drawn = draw_rounds(found["rounds"], published.FIGURE4) if found["rounds"] else None
    elif facts["bench"] == "lt4rec-replay":
        drawn = draw_replay(rows, TOPS) if any(row["n"] for row in rows) else None
    else:
        shown = [row for row in rows if row["n"] and row["row"] not in ("popularity", *SINGLE)]
        drawn = draw_tasks(shown, SINGLE) if shown else None
    return tables.titled(drawn, facts, _about(facts))


def _pictures(found: Mapping, out: Path) -> dict[str, str]:
    """Draw the masks and, of Table 2, the rounds beside the bench's own figure: file names and titles."""
    facts, shown = found["facts"], {}
    if found["masks"] and any(m["row"] == "s-weight" for m in found["masks"]):
        name, title = f"{facts['bench']}-masks.png", "Who wears the weights of each layer (s-weight)"
        figure, axes = draw_masks([m for m in found["masks"] if m["row"] == "s-weight"])
        figures.titles(axes, title, _about(facts))
        figures.save(figure, out / name)
        shown[name] = title
    if facts["bench"] == "lt4rec-table2" and found["rounds"]:
        name, title = f"{facts['bench']}-rounds.png", "Masks by round of pruning"
        figure, axes = draw_rounds([r for r in found["rounds"] if r["row"] == "s-weight"], {})
        figures.titles(axes, title, _about(facts))
        figures.save(figure, out / name)
        shown[name] = title
    return shown
