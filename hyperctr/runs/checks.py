"""Check a run against its data, and say what is unusual about its rows.

`ready` is a `hyperctr.runs.prepare.Prepared`, which imports this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr import config
from hyperctr.batch import Referee, TrainingPlan, plan_of
from hyperctr.data.check import future, predicting
from hyperctr.evaluation.evaluate import Metric
from hyperctr.hypergraphs.interests import Interests
from hyperctr.models import find_model, find_wrapper, outside
from hyperctr.models.lt4rec import Sharing
from hyperctr.runs.past import by_period, past_notes, past_parts
from hyperctr.training.interests import flaw

if TYPE_CHECKING:
    from hyperctr.data.interactions import Interactions
    from hyperctr.data.split import Split

FACTOR = 2.0  # click rates of training, validation and test rows that differ by more are said
READ_BY_REFEREES = ("batch_size", "negatives", "seed", "threads")  # of [train]
TRIED = 1000  # rows of a part for which a negative is drawn, to see whether there is any


def metrics_of(names: Iterable[str], key: str = "evaluate.metrics") -> dict[str, Metric]:
    """Load metrics such as "mine.py:metric", by the name of the function.

    Args:
        names: as in a run file.
        key: the key of the run file, for an error.

    Raises:
        ValueError: there is no such file, module or function.
    """
    return {name.rpartition(":")[2]: outside.load(name, key) for name in names}


def metrics_named(run: config.Run) -> dict[str, tuple[str, ...]]:
    """Return the names of the metrics from outside the package, by the key of the run file that has them."""
    return {"evaluate.metrics": run.evaluate.metrics, "train.score": (run.train.score,) * (":" in run.train.score)}


def plan_of_run(run: config.Run) -> TrainingPlan:
    """Return how the run's model is trained, inside its wrapper where it has one."""
    wrapper = find_wrapper(run.wrapper_name) if run.wrapper else None
    return plan_of(find_model(run.model_name), run.model, wrapper, run.wrapper)


def reads_of(run: config.Run) -> frozenset[str]:
    """Return what the run's model and its wrapper read, names of `hyperctr.batch.READS`."""
    found = find_model(run.model_name).reads | (find_wrapper(run.wrapper_name).reads if run.wrapper else frozenset())
    return found | {"statistics"} if plan_of_run(run).statistics else found


def not_read(run: config.Run, logged: bool) -> list[str]:
    """Name the tables and keys of a run file that have no effect on this run.

    Args:
        run: the run.
        logged: whether the data have logged non-clicks.
    """
    model, reads = find_model(run.model_name), reads_of(run)
    wanted = past_parts(run.data, reads)
    periods, stated = by_period(run.data, wanted), run.data.past_every
    found = [] if reads & {"slices", "statistics"} or (periods and not stated) else ["[slices]"]
    found += [] if "slices" in reads else ["[interest]"]
    found += ["data.past_every (nothing is read by period)"] if stated and not periods else []
    if "counts" not in wanted:
        stated = (key for key in ("user_rates", "crosses") if getattr(run.data, key))
        found += [f"data.{key} (data.past has no counts)" for key in stated]
    if run.data.past != "none" and not reads_numbers(run):
        found.append(f"data.past ({run.model_name} reads no numbers)")
    if isinstance(model, Referee):
        *names, last = (entry.name for entry in fields(run.train) if entry.name not in READ_BY_REFEREES)
        found.append(f"train.{', '.join(names)} and {last} (a referee takes no steps)")
    if logged:
        found.append("train.negatives (non-clicks were logged)")
        if not run.evaluate.sampled:
            found.append("evaluate.negatives, evaluate.valid_negatives, evaluate.draw, evaluate.met and evaluate.first")
    found += {"temporal": ["split.seed"], "random": [], "given": ["split.train"]}.get(
        run.split.kind, ["split.train, split.valid and split.seed"]
    )
    return found


def reads_numbers(run: config.Run) -> bool:
    """Say whether a run's model reads the numbers of the past that `data.past` asks for."""
    kind = find_model(run.model_name)
    if isinstance(kind, Referee):
        return bool(kind.reads)
    return run.model_name not in ("popularity", "mf") and (run.model_name != "hyperctr" or run.model.fields)


def check_referee(run: config.Run) -> None:
    """Refuse a wrapper around a referee.

    Raises:
        ValueError: the run names both.
    """
    if run.wrapper and isinstance(find_model(run.model_name), Referee):
        raise ValueError(
            f"{run.wrapper_name} changes how a model is trained; {run.model_name} is a referee, which is fitted once: "
            "leave out [wrapper], or name another model"
        )


def check_members(run: config.Run) -> None:
    """Refuse several members of what is not trained by steps from a seed.

    Raises:
        ValueError: the model is a referee, or searches for tickets.
    """
    if run.train.members == 1:
        return
    if isinstance(find_model(run.model_name), Referee):
        has_own = any(entry.name == "members" for entry in fields(run.model))
        instead = "use model.members" if has_own else "leave it out"
        raise ValueError(f"train.members averages models that are trained; {run.model_name} is a referee: {instead}")
    if any(isinstance(part, Sharing) for part in (run.model, run.wrapper)):
        raise ValueError("train.members averages models; the masks of lt4rec are found for one: leave it out")


def check_conversions(ready: Any) -> None:
    """Refuse a model of conversions on data without conversions.

    Raises:
        ValueError: there are none, or none in a part; or the wrapper cannot train the model with them.
    """
    run, log = ready.run, ready.dataset.interactions
    if "conversions" not in ready.reads:
        return
    name = run.model_name if "conversions" in find_model(run.model_name).reads else run.wrapper_name
    if log.conversion is None:
        raise ValueError(
            f"{name} learns clicks and conversions; {ready.dataset.name} has no conversions: name their column with "
            'data.conversion, or with conversion = "..." under [interactions] of its dataset.toml'
        )
    for part in ("train", "valid"):
        if len(getattr(ready.split, part)) and not len(ready.rows_of("conversion", part)):
            raise ValueError(f"no click among the {part} rows of {ready.dataset.name} has a known conversion")
    if ready.sliced and ready.plan.order != "joint":
        raise ValueError(f'{run.model_name} propagates once for several batches: set wrapper.steps = "joint"')


def check_score(run: config.Run, log: Interactions, name: str) -> None:
    """Refuse an early-stopping score that the data cannot have.

    Raises:
        ValueError: the score is `user_session_auc`, and the data have no times.
    """
    if run.train.score == "user_session_auc" and not log.has_time:
        raise ValueError(
            f'train.score = "user_session_auc" needs times, and {name} has only an order: use "auc" or "user_auc"'
        )


def check_draws(ready: Any) -> None:
    """Refuse to draw negatives where the users have met every item, or where every item is new.

    Raises:
        ValueError: none of some validation or test rows has an item left to draw, or all are first appearances.
    """
    log, rng = ready.dataset.interactions, np.random.default_rng(0)
    for part in ("valid", "test") if ready.draws else ():
        rows = getattr(ready.split, part)
        if not len(rows):
            continue
        if ready.apart:
            rows = rows[~ready.loader.is_first(log.item[rows], log.time[rows])]
            if not len(rows):
                raise ValueError(
                    f"every {part} click of {ready.dataset.name} is the first event of its item, so none can be "
                    'compared with items that have appeared; use evaluate.first = "among" or another split'
                )
        rows = rng.choice(rows, TRIED) if len(rows) > TRIED else rows
        drawn = ready.loader.negatives(log.user[rows], log.time[rows], 1, rng, item=log.item[rows])[:, 0]
        if ((drawn < 0) | (drawn == log.item[rows])).all():
            raise ValueError(
                f"no negative can be drawn for the {part} rows of {ready.dataset.name}: their users have met all "
                f"{log.num_items:,} items; give a log that has its non-clicks, or more items"
            )


def parts_of(log: Interactions, parts: Split) -> dict[str, dict[str, float]]:
    """Return rows, their share of all parts, and the click rate of each part of a split, for the report."""
    rows = {part: getattr(parts, part) for part in ("train", "valid", "test")}
    total = max(sum(map(len, rows.values())), 1)
    return {
        part: {"rows": len(some), "share": len(some) / total, "click_rate": float(log.label[some].mean())}
        for part, some in rows.items() if len(some)
    }  # fmt: skip


def rows_in_words(parts: dict[str, dict[str, float]]) -> str:
    """Say how many rows each part has, from `parts_of`.

    >>> rows_in_words({"train": {"rows": 7000, "share": 0.7, "click_rate": 0.04}})
    'rows: train 7,000 (70.0%, 4.0% clicks)'
    """
    all_clicks = all(x["click_rate"] == 1 for x in parts.values())
    what = "clicks" if all_clicks else "rows"
    rates = {part: "" if all_clicks else f", {x['click_rate']:.1%} clicks" for part, x in parts.items()}
    return f"{what}: " + ", ".join(f"{p} {x['rows']:,} ({x['share']:.1%}{rates[p]})" for p, x in parts.items())


def notes_of(ready: Any) -> list[str]:
    """Say in sentences what is unusual about the rows of a run.

    The click rates of training, validation and test rows differ by more than a factor of two, where non-clicks were
    logged; context is not read, or gives the label away; most slices of equal counts lie before the first training row;
    or the learned interests tell little. And at the start of which periods links are read.
    """
    log, interests = ready.dataset.interactions, ready.tables.graphs.interests
    found = [text] if isinstance(interests, Interests) and (text := flaw(interests, ready.run.interest)) else []
    rates = {part: each["click_rate"] for part, each in parts_of(log, ready.split).items()}
    if log.logged_non_clicks and max(rates.values()) > FACTOR * min(rates.values()):
        said = ", ".join(f"{rate:.1%} of the {part} rows" for part, rate in rates.items())
        found.append(
            f"the click rates differ by more than a factor of {FACTOR:g}: {said} are clicks; rows that were logged in "
            "another way, such as histories of clicks alone, can be history only (use under [interactions])"
        )
    if later := future(ready.dataset):
        found.append(f"times from the future: {later}; test rows may be among them (`hyperctr data check`)")
    if ready.run.data.past != "none" and not reads_numbers(ready.run):
        found.append(f"{ready.run.model_name} reads no numbers of the past: data.past has no effect")
    if unread := [name for name in log.context if name not in log.read_context]:
        found.append(
            f"context {', '.join(unread)} is not read, as negatives are drawn and it is not of the moment "
            "(of under [interactions.context])"
        )
    rows = np.arange(len(log))
    if leaks := predicting(ready.dataset, {name: (column, rows) for name, column in log.read_context.items()}):
        found.append(f"context predicts the label by itself: {leaks}; leave out what is known only after the click")
    if ready.run.slices.count and "slices" in ready.reads and len(ready.split.train):
        before = int(ready.grid.slice_of(log.time[ready.split.train[:1]])[0])
        if before > len(ready.grid) / 2:
            found.append(f"{before} of {len(ready.grid)} slices lie before the first training row (slices.count)")
    return found + past_notes(ready)
