"""Keep the setting of LT4REC's studies: which runs and data they accept, and rules that were fixed before.

Sizes come from the paper, allowances from what seeds do on far fewer rows than its 297 million. A claim is reproduced
if the whole 95 % interval of the paired difference keeps it, contradicted if the whole interval breaks it, else
inconclusive. A gain of the paper's own size is reproduced if the mean reaches it and the interval is above 0,
contradicted if the interval stays below it. Fewer than three seeds decide nothing.

All rows learn from the same rows of the log with the same settings. Those that start from tickets of s-weight take the
ones that s-weight found under the same seed, or those of the run that model.masks of the shared run names; s-neuron,
multiview and biggernet have layers or masks of another kind and look for their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hyperctr import config
from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import claims
from hyperctr.studies.claims import UNKNOWN, Runs, Verdict, judge
from hyperctr.studies.study import Findings, Row, Setup

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

MODEL = "lt4rec"
BASE = {"model": {"name": MODEL}}
TASKS = ("click", "conversion")
EXTRA = ("cvr_mse", "cvr_auc", "ctcvr_auc", "cvr_variance", "valid_cvr_mse")
"""Columns of results.csv beyond those of every study."""
TICKETS = Row("s-weight", MODEL)
"""The row that looks for tickets."""


def need_conversions(setup: Setup, dataset: Dataset) -> None:
    """Refuse another model, a wrapper, and data without conversions, before anything is trained.

    Raises:
        ValueError: run or data do not fit.
    """
    setup.need_model(MODEL)
    if dataset.interactions.conversion is None and setup.base.data.conversion is None:
        raise ValueError(
            f"{setup.study.name} needs what follows a click, of which {dataset.name} says nothing: name its column "
            'with data.conversion, or with conversion = "..." under [interactions] of its dataset.toml'
        )


def from_tickets(setup: Setup, name: str, *sets: str) -> Row:
    """Return the row that trains the tickets of s-weight, or those of the run that model.masks names."""
    return Row(name, MODEL, sets, after={} if setup.base.model.masks else {"model.masks": TICKETS.name})


def kept(base: config.Run) -> str:
    """Return what is left after the last pruning, as "20 %"."""
    return f"{100 * base.model.keep:g} %"


def facts(setup: Setup, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """Return what is left after the last pruning, the rounds, and where conversions come from."""
    conversion = setup.base.data.conversion or "as the data's roles name it"
    return {"at": kept(setup.base), "rounds": setup.base.model.rounds, "conversion": conversion}


def conversions(given: Mapping[str, Any]) -> str:
    """Say where conversions come from."""
    return f"conversions: {given['conversion']}; the paper's log, not public, is 1,000 times as large"


def about(found: Findings) -> str:
    """Say below a figure's title what was trained on what."""
    given, seeds = found.facts, len(found.facts["seeds"])
    return f"{given['data']}, {given['split']} split; {seeds} seed{'s' * (seeds > 1)}"


# --- differences and rules -----------------------------------------------------------------------------------------


def gain(runs: Runs, row: str, over: str, column: str = "auc") -> Score:
    """Return how far a row's score is above another's, paired by seed; of an error, `..._mse`, as a share of it."""
    if not column.endswith("mse"):
        return claims.gain(runs, row, over, column)
    return change(*({run["seed"]: run[column] for run in runs.get(name, [])} for name in (row, over)))


def change(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Score:
    """Return how far values by seed are above others, as a share of these; NaN counts as none."""
    ratios = [ours[seed] / theirs[seed] - 1 for seed in sorted(ours.keys() & theirs.keys())]
    ratios = [ratio for ratio in ratios if not math.isnan(ratio)]
    return Score(*significance.mean_interval(ratios), len(ratios)) if ratios else UNKNOWN


def not_below(band: float) -> Callable[[Score], str]:
    """Return the rule of a score that may be at most `band` below another."""
    return claims.above(-band)


def reaches(size: float) -> Callable[[Score], str]:
    """Return the rule of a gain that must be as large as the paper's."""

    def rule(value: Score) -> str:
        if value.num < 3:
            return "inconclusive"
        if value.mean >= size and value.mean > value.half:
            return "reproduced"
        return "contradicted" if value.mean + value.half < size else "inconclusive"

    return rule


def turned(value: Score) -> Score:
    """Return the same of a score that is better the lower it is."""
    return Score(-value.mean, value.half, value.num)


def ask(runs: Runs, text: str, row: str, over: str, column: str, rule: Callable[[Score], str]) -> Verdict:
    """Judge how far a row's score is above another's; how far its error is below, where the column is an error."""
    value = gain(runs, row, over, column)
    return judge(text, turned(value), rule, less) if column.endswith("mse") else judge(text, value, rule)


def less(value: Score) -> str:
    """Write by what share an error is less."""
    return f"{markdown.percent(value.mean, value.half)} less"


def more(value: Score) -> str:
    """Write by what share a number is more."""
    return f"{markdown.percent(value.mean, value.half)} more"
