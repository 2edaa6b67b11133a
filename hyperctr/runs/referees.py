"""Fit referees on the rows of a run: as the run's own model, again when it is opened, or beside another model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from hyperctr.batch import Batch, Referee
from hyperctr.data.progress import Bar, no_progress
from hyperctr.evaluation.evaluate import evaluate_popularity, score
from hyperctr.models import find_model
from hyperctr.referees import REFEREES
from hyperctr.runs.candidates import compared
from hyperctr.runs.past import past_parts
from hyperctr.runs.plan import counts_of, duration, gigabytes, memory
from hyperctr.runs.prepare import Prepared, prepare
from hyperctr.training.fit import Progress

LONG = 20  # seconds of a fit that are said, as opening a run takes them again


def too_large(ready: Prepared, name: str, config: Any) -> str:
    """Say in one line that a referee cannot fit in the memory of this machine; "" where it can."""
    counts, most = counts_of(ready.dataset.interactions, ready.split.train), memory()
    needed = find_model(name).memory(config, counts)
    if not most or needed <= most:
        return ""
    return (
        f"{name} cannot be fitted: {counts.clicks:,} clicks on {counts.clicked_items:,} items take "
        f"{gigabytes(needed)}, and this machine has {gigabytes(most)}; leave it out, or use data with fewer items"
    )


def check_memory(ready: Prepared) -> None:
    """Refuse a run whose own model is a referee that cannot fit in the memory of this machine.

    Raises:
        ValueError: it cannot.
    """
    run = ready.run
    if isinstance(find_model(run.model_name), Referee) and (why := too_large(ready, run.model_name, run.model)):
        raise ValueError(why)


def fit_referee(
    ready: Prepared, referee: nn.Module, log: Callable[[dict], None], score_valid: Callable[[], float]
) -> tuple[Progress, dict[str, Any]]:
    """Fit the run's own model, a referee, with the settings that its validation rows choose.

    Args:
        ready: what the referee was built from.
        referee: is fitted in place.
        log: called with the one line of history.csv.
        score_valid: gives the validation score of the fitted referee.

    Returns:
        A progress of no epochs, and what was chosen.
    """
    chosen = dict(referee.fit(partial(rows_of, ready, "train"), partial(rows_of, ready, "valid")))
    done = Progress(best_score=score_valid(), stopped="a referee is fitted once")
    log({"epoch": 0, "loss": float("nan"), "score": done.best_score, "best_epoch": 0})
    return done, chosen


def again_in_words(ready: Prepared) -> list[str]:
    """Say that an opened run fits its referee again, where that takes long."""
    run, name = ready.run, ready.run.model_name
    if name not in REFEREES:
        return []
    counts = counts_of(ready.dataset.interactions, ready.split.train)
    seconds = REFEREES[name].seconds(run.model, counts)
    if seconds < LONG:
        return []
    return [f"{name} is fitted again each time that this run is opened: up to about {duration(seconds)}"]


def fit_again(ready: Prepared, referee: nn.Module) -> None:
    """Fit an opened run's referee on its training rows, with the settings that its weights hold."""
    referee.fit(partial(rows_of, ready, "train"))


def fit_beside(ready: Prepared, progress: Bar = no_progress) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Fit every referee on the rows of a run of another model, and score its validation and test rows.

    Args:
        ready: the run's rows.
        progress: wraps the batches (batches, a word, their number) to show a bar.

    Returns:
        By name: `valid` and `test` as popularity has them, and `settings`. And a note for each that cannot be fitted.
    """
    found, notes = {}, []
    for name in [name for name in REFEREES if name != ready.run.model_name]:
        try:
            own, referee, settings = fit_one(ready, name)
        except ValueError as error:
            notes.append(str(error))
            continue
        found[name] = {"settings": settings}
        for part in ("valid", "test"):
            batches = progress(own.evaluation_batches(part), f"{name}, {part} rows", own.num_batches(part))
            scored, has_time = compared(own, score(referee, batches)), own.dataset.interactions.has_time
            found[name][part] = evaluate_popularity(scored | {"popularity": scored["logit"]}, own.draws, has_time)
    return found, notes


def fit_one(ready: Prepared, name: str) -> tuple[Prepared, nn.Module, dict[str, Any]]:
    """Fit a referee with the defaults of its Config on the rows of a run of another model.

    Returns:
        The same rows with the past that it reads, the referee, and what its validation rows chose.

    Raises:
        ValueError: it is too large for the memory of this machine, or cannot be fitted on these rows.
    """
    kind = REFEREES[name]
    config = kind.Config()
    if why := too_large(ready, name, config):
        raise ValueError(why)
    try:
        own = _made_for(ready, name, kind, config)
        referee = kind(config, own.tables)
        return own, referee, dict(referee.fit(partial(rows_of, own, "train"), partial(rows_of, own, "valid")))
    except ValueError as error:
        raise ValueError(f"{name} cannot be fitted: {error}") from None


def _made_for(ready: Prepared, name: str, kind: type, config: Any) -> Prepared:
    """Return the same rows with the past that a referee reads, where it is another one."""
    if set(past_parts(ready.run.data, ready.reads)) == kind.reads or not kind.reads:
        return ready
    run = replace(ready.run, model_name=name, model=config, wrapper_name="", wrapper=None)
    return prepare(run, ready.dataset, parts=ready.split)


def rows_of(ready: Prepared, part: str) -> Iterable[Batch]:
    """Yield the rows that a referee reads: those of the first epoch of a model, or the validation rows."""
    if part == "valid":
        return ready.evaluation_batches("valid")
    train = ready.run.train
    return ready.loader.batches(ready.split.train, train.batch_size, ready.negatives, (train.seed, 1), shuffle=True)
