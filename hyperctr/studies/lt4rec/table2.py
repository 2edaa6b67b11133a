"""Table 2 of LT4REC: clicks and conversions on one network."""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import UNKNOWN, Verdict, judge
from hyperctr.studies.lt4rec import masks, paper_numbers, setting
from hyperctr.studies.lt4rec.figures import draw_tasks
from hyperctr.studies.lt4rec.setting import MODEL, TICKETS, from_tickets, gain, not_below, reaches
from hyperctr.studies.study import POPULARITY, Findings, Grid, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

SINGLE = ("base_ctr", "base_cvr")
"""The rows of one task each."""
KAPPA, EXTRA = 5.0, 8
"""Of gradient conflict (the authors' code), and of multiview (the paper)."""
AUC_BAND, ERROR_BAND = 0.002, 0.005
"""AUC that may be lost, and share by which the error may grow, to be "not worse"."""
TUNED_BAND = 0.005
"""AUC that tuning for conversions may cost."""
AUC_GAIN, ERROR_GAIN = 0.003, 0.0338
"""Of s-weight over single tasks in the paper."""


def one_task(setup: Setup, name: str, task: str) -> Row:
    """Return the row of a network for one task alone."""
    return setup.rival("shared_bottom", f'model.tasks="{task}"', name=name)


def single_rows(setup: Setup) -> list[Row]:
    """Return the rows of one task each, and of hard sharing."""
    alone = [one_task(setup, name, task) for name, task in zip(SINGLE, setting.TASKS, strict=True)]
    return [*alone, setup.rival("shared_bottom", name="hard_sharing")]


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_conversions(setup, dataset)
    c, left, joint, values = setup.base.model, setting.kept(setup.base), 'model.steps="joint"', setup.values
    last, conflict, again = f"model.round={c.rounds}", f"model.kappa={KAPPA}", partial(from_tickets, setup)

    def own(name: str, *sets: str) -> Row:
        return Row(name, MODEL, ('model.masks=""', *sets))

    return [
        POPULARITY, *single_rows(setup), *(setup.rival(name) for name in ("esmm", "mmoe")), TICKETS,
        again(f"s-weight at {left}", last), again(f"random masks at {left}", last, "model.shuffle=true"),
        again(f"fresh weights at {left}", last, "model.rewind=false"),
        own("s-neuron", 'model.granularity="neuron"'), again("s-weight with joint steps", joint),
        *(again(f"s-weight-taskbalance with b = {b}", joint, f"model.b={b}") for b in values),
        again("s-weight-gradientconflict", joint, conflict), own("s-weight-multiview", f"model.extra={EXTRA}"),
        own("s-weight-biggernet", f"model.hidden={[2 * width for width in c.hidden]}"),
        *(again(f"s-weight-tuning with b = {b}", joint, f"model.b={b}", conflict) for b in values),
    ]  # fmt: skip


def entries(scores: Scores) -> list[dict]:
    """Return one entry per row: both tasks' scores, differences to the models of one task, and the paper's."""
    found = []
    for name, model in scores.facts["rows"]:
        some = scores.runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "n": len(some)}
        for column in ("auc", "cvr_mse", "cvr_auc", "ctcvr_auc", "valid_auc", "valid_cvr_mse"):
            value = significance.score(some, column) if some else UNKNOWN
            entry |= {column: value.mean, f"{column}_half": value.half}
        if some and all(run["auc"] == 0.5 for run in some):  # it answers nothing about clicks
            entry |= {name: math.nan for name in ("auc", "auc_half", "valid_auc", "valid_auc_half", "ctcvr_auc")}
        for column, over in zip(("auc", "cvr_mse"), SINGLE, strict=True):
            known = name != over and not math.isnan(entry[column])
            better = gain(scores.runs, name, over, column) if known else UNKNOWN
            entry |= {f"{column}_gain": better.mean, f"{column}_gain_half": better.half}
        entry["seconds"] = statistics.fmean(run["seconds"] for run in some) if some else math.nan
        auc, error = (math.nan if x is None else x for x in paper_numbers.of(name))
        entry |= {"paper auc": auc, "paper cvr_mse": error}
        entry |= {"paper auc_gain": auc - paper_numbers.of(SINGLE[0])[0],
                  "paper cvr_mse_gain": error / paper_numbers.of(SINGLE[1])[1] - 1}  # fmt: skip
        found.append(entry)
    return found


def _judge(scores: Scores) -> list[Verdict]:
    runs, left, (click, conversion) = scores.runs, scores.facts["at"], SINGLE
    ask, last, few = partial(setting.ask, runs), f"s-weight at {left}", f"with {left} of the weights s-weight"
    neuron = f"s-neuron's error is not below s-weight's by more than {ERROR_BAND:.1%} (+2.31 % in the paper)"
    worse = gain(runs, "s-neuron", TICKETS.name, "cvr_mse")
    found = [
        ask(f"{few} loses at most {AUC_BAND} of {click}'s AUC", last, click, "auc", not_below(AUC_BAND)),
        ask(f"{few} has an error at most {ERROR_BAND:.1%} above {conversion}'s", last, conversion, "cvr_mse",
            not_below(ERROR_BAND)),
        ask(f"s-weight gains {AUC_GAIN} in AUC over {click}", TICKETS.name, click, "auc", reaches(AUC_GAIN)),
        ask(f"s-weight's error is {ERROR_GAIN:.2%} below {conversion}'s", TICKETS.name, conversion, "cvr_mse",
            reaches(ERROR_GAIN)),
        judge(neuron, worse, not_below(ERROR_BAND), setting.more),
    ]  # fmt: skip
    tuned = ("s-weight-taskbalance", "s-weight-gradientconflict")
    for row in (name for name in scores.names if name.startswith(tuned)):
        error = f"{row} has an error at most {ERROR_BAND:.1%} above s-weight's"
        cost = f"{row} costs at most {TUNED_BAND} of s-weight's AUC"
        found.append(ask(error, row, TICKETS.name, "cvr_mse", not_below(ERROR_BAND)))
        found.append(ask(cost, row, TICKETS.name, "auc", not_below(TUNED_BAND)))
    controls = {
        "random masks": "as many weights drawn at random in each layer",
        "fresh weights": "their masks on new weights",
    }
    for row, control in controls.items():
        for column, what in (("valid_auc", "AUC of clicks"), ("valid_cvr_mse", "error of conversions")):
            text = f"tickets beat {control} ({what} on validation rows)"
            found.append(ask(text, last, f"{row} at {left}", column, not_below(0.0)))
    return found


def caveats(scores: Scores) -> list[str]:
    """Say where conversions come from, and which rows have learned nothing about a task."""
    runs = scores.runs
    found = [setting.conversions(scores.facts)]
    constant = [run["cvr_variance"] for some in runs.values() for run in some if not math.isnan(run["cvr_variance"])]
    if constant:
        found.append(f"the error of conversions of the best constant, their variance, is {constant[0]:.4f}")
    for name in scores.names:
        if name != SINGLE[1] and tables.learned(runs, name) is False:
            found.append(f"row {name} is not above popularity: it has not learned")
        errors = [run["cvr_mse"] >= run["cvr_variance"] for run in runs[name] if not math.isnan(run["cvr_mse"])]
        if errors and all(errors):
            found.append(f"row {name} is no better at conversions than a constant")
    return found


def _table(found: Findings) -> str:
    return "\n\n".join([_score_table(found.rows), *masks.mask_tables(found)])


def _score_table(rows: list[dict]) -> str:
    lines = [[
        "row", "n", "AUC of clicks", f"over {SINGLE[0]}", "error of conversions", f"over {SINGLE[1]}",
        "AUC of conversions", "AUC of both", "seconds", "the paper: AUC", "the paper: error (over base_cvr)",
    ]]  # fmt: skip
    how = {
        "auc": markdown.format_score,
        "auc_gain": markdown.format_gain,
        "cvr_mse": markdown.format_score,
        "cvr_mse_gain": lambda value: markdown.percent(value.mean, value.half),
        "cvr_auc": markdown.format_score,
        "ctcvr_auc": markdown.format_score,
    }
    for row in rows:
        texts = ["no finished run", *[""] * len(how)]
        if row["n"]:
            values = {column: Score(row[column], row[f"{column}_half"], row["n"]) for column in how}
            texts = [*(how[column](value) for column, value in values.items()), f"{row['seconds']:.0f}"]
        auc, error, change = (row[f"paper {column}"] for column in ("auc", "cvr_mse", "cvr_mse_gain"))
        theirs = "-" if math.isnan(error) else f"{error:.5f}" + (f" ({change:+.2%})" if change else "")
        lines.append([row["row"], str(row["n"]), *texts, tables.number(auc, ".5f"), theirs])
    return markdown.table(lines) + (
        "\n\nThe error is the mean squared one over clicked rows, the lower the better; AUC of both is that of click "
        "times conversion by pCTR pCVR."
    )


def _figures(found: Findings) -> dict[str, Figure]:
    shown = [row for row in found.rows if row["n"] and row["row"] not in (POPULARITY.name, *SINGLE)]
    drawn = {"": tables.titled(draw_tasks(shown, SINGLE), found, setting.about(found))} if shown else {}
    rounds = masks.rounds_figure(found, "rounds", [TICKETS.name], {}, "Masks by round of pruning")
    return drawn | masks.masks_figure(found) | rounds


STUDY = Study(
    name="lt4rec-table2",
    title="LT4REC, Table 2: clicks and conversions on one network",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE2,
    base=setting.BASE,
    grid=Grid("model.b", ("3",), what="numbers above 0", allowed=lambda b: 0 < b < math.inf),
    facts=setting.facts,
    measurements=masks.MEASUREMENTS,
    extra_scores=setting.EXTRA,
    entries=entries,
    more=masks.summaries,
    caveats=caveats,
    table=_table,
    figures=_figures,
)
