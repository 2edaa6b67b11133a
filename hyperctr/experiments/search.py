"""Search settings of a run by the loss on held-out training rows, as Eq. (7) of AQCL (arXiv 2109.13921) does.

A search reads a log without the run's validation and test rows. It trains on the first nine tenths of the training rows
and judges by the rest. All trials share the seed, the first weights, the order of rows and the drawn negatives, so that
only their settings differ. A trial that is worse than the median of the trials at its age ends early.

DIR/
    base.toml       the run that is searched, and how
    search.journal  Optuna's record of the trials: the same command continues a killed search
    trials.csv      one line per trial
    best.toml       the run with the best settings, for `hyperctr train`
    referees.csv    the loss of each referee on the same rows, or why it has none
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from graphs.optional import package
from hyperctr import config
from hyperctr.batch import Referee
from hyperctr.data.dataset import Dataset
from hyperctr.data.split import hold_out, split
from hyperctr.evaluation import metrics
from hyperctr.evaluation.evaluate import score
from hyperctr.experiments.results import POPULARITY, REFEREES
from hyperctr.experiments.space import Space, at, check, full_key, value_of
from hyperctr.files import read_csv, write_csv, write_text
from hyperctr.models import find_model, find_wrapper
from hyperctr.referees.choose import scale_of
from hyperctr.runs import parallel
from hyperctr.runs.candidates import compared
from hyperctr.runs.prepare import Prepared, build_model, prepare, read_dataset
from hyperctr.runs.referees import fit_one
from hyperctr.runs.train import torch_threads
from hyperctr.training.fit import fit

REFEREES_FILE = "referees.csv"
STARTUP = 10  # trials before the tree of Parzen estimators chooses
SPACE: Space = {"w1": (0.02, 5.0), "w2": (0.1, 4.0)}
STARTS = ({"w1": 0.02, "w2": 1.0}, {"w1": 5.0, "w2": 0.1}, {"w1": 0.7, "w2": 1.0}, {"w1": 0.7, "w2": 0.3},
          {"w1": 0.7, "w2": 3.0})  # fmt: skip
"""Points to try first: alpha near 1 for all users, near 0 for all users with clicks, and three in between."""


@dataclass(frozen=True)
class Trial:
    """One point of the search: its settings, its loss, and whether it ended early."""

    settings: dict[str, Any]
    loss: float
    pruned: bool


def search(
    run: config.Run,
    out: Path,
    trials: int = 30,
    epochs: int = 5,
    seed: int = 0,
    objective: Literal["logloss", "auc"] = "logloss",
    space: Space | None = None,
    dataset: Dataset | None = None,
    say: Callable[[str], None] = lambda line: None,
    referees: bool = True,
    how: Literal["tpe", "random"] = "tpe",
    clicks: int = 0,
    ready: Prepared | None = None,
) -> config.Run:
    """Find the settings with which the run's model predicts held-out training rows best.

    Args:
        run: what to train.
        out: the search's folder; a folder of the same search is continued.
        trials: most points to try, with the points of earlier calls. If all keys have a list of values and this is
            enough for all combinations, each is tried once.
        epochs: most passes of a trial over the training rows.
        seed: seed of the points that are tried; all trials train with the run's own seed.
        objective: the log loss, with one negative per click if negatives are drawn; or the AUC, whose negative is the
            loss.
        space: what to search, see `hyperctr.experiments.space`; default: `SPACE`, which is for AQCL. The first point
            is that of the run itself, if the space has it.
        dataset: the run's data, if they have been read already.
        say: prints one line.
        referees: whether the referees are fitted and judged too, once per folder.
        how: points by a tree of Parzen estimators, or at random.
        clicks: most clicks that a trial trains on, the latest ones with the rows between them; 0: all.
        ready: what `inner` gives for a run whose model reads the same, if it has been prepared already.

    Returns:
        the run with the best settings, as in best.toml.

    Raises:
        ValueError: the run's model is a referee, or the run searches for LT4REC's masks; a key that cannot be searched
            or a value that it cannot have; the folder has another search in it; there are too few rows.
        ImportError: Optuna is not installed.
    """
    _optuna()  # before anything is read or written
    if isinstance(find_model(run.model_name), Referee):
        raise ValueError(
            f"{run.model_name} is a referee, which chooses its own settings on validation rows: `hyperctr train` does "
            "it; a search is for models that are trained"
        )
    if run.wrapper and find_wrapper(run.wrapper_name).stays:
        raise ValueError(f"cannot search {run.wrapper_name}: a search judges the prediction of clicks only")
    space = SPACE if space is None else space
    check(run, space)
    ranges = "; ".join(f"{key} in {list(values)}" for key, values in space.items())
    what = f"a search of {ranges}; {objective}, {epochs} epochs, seed {seed}"
    what += (f", {how}" if how != "tpe" else "") + (f", the last {clicks:,} clicks" if clicks else "")
    with parallel.claim(out, run, what), torch_threads(run.train.threads):
        base = replace(run, train=replace(run.train, epochs=epochs, members=1))
        dataset = read_dataset(base) if dataset is None else dataset
        ready = inner(base, dataset, clicks=clicks) if ready is None else replace(ready, run=base)

        def trained(settings: dict[str, Any], report: Callable[[float], None]) -> float:
            other = at(base, settings)
            again = {full_key(key).partition(".")[0] for key in settings} - {
                "train",
                "wrapper",
                "model",
            } or ready.sliced
            prepared = inner(other, dataset, clicks=clicks) if again else replace(ready, run=other)
            return _train(prepared, objective, report)

        def ended(found: list[Trial]) -> None:
            lines = (trial.settings | {"loss": trial.loss, "pruned": trial.pruned} for trial in found)
            write_csv(out / "trials.csv", lines)
            last = found[-1]
            words = " ".join(f"{k}={x:.4g}" if isinstance(x, float) else f"{k}={x}" for k, x in last.settings.items())
            say(f"trial {len(found)} of {trials}: {words}, {'given up at' if last.pruned else 'loss'} {last.loss:.5f}")

        if all(isinstance(where, list) for where in space.values()):
            trials = min(trials, math.prod(len(where) for where in space.values()))
        starts = first_points(run, space, trials, seed)
        rate = round(1 / run.train.eval_every)
        found = minimise(trained, space, out / "search.journal", trials, seed, starts, rate, ended, how)
        best = min((trial for trial in found if not trial.pruned), key=lambda trial: trial.loss)
        chosen = at(run, best.settings)
        write_text(out / "best.toml", config.to_toml(chosen))
        if referees and not (out / REFEREES_FILE).exists():
            say("fitting the referees on the same rows")
            write_csv(out / REFEREES_FILE, judge_referees(ready, objective))
        for name in below(best.loss, read_referees(out)) if referees else ():
            say(f"the best trial is below {name}")
        return chosen


def first_points(run: config.Run, space: Space, trials: int, seed: int) -> list[dict[str, Any]]:
    """Return the points to try before the sampler chooses: `STARTS` for AQCL, else the run's own point and no more.

    Where all keys have a list of values, it is followed by other combinations: by all of them in order if there are
    trials for all, else by some in an order drawn by the seed, so that none is tried twice.
    """
    if given := [start for start in STARTS if start.keys() == space.keys()]:
        return given
    own = {key: value_of(run, key) for key in space}
    inside = all(x in where if isinstance(where, list) else where[0] <= x <= where[1] for x, where in zip(
        own.values(), space.values(), strict=True))  # fmt: skip
    if not all(isinstance(where, list) for where in space.values()):
        return [own] if inside else []
    points = [dict(zip(space, point, strict=True)) for point in product(*space.values())]
    if len(points) <= trials:
        return points
    drawn = [points[k] for k in np.random.default_rng(seed).permutation(len(points))]
    return [own] * inside + [point for point in drawn if point != own][:STARTUP]


def judge_referees(ready: Prepared, objective: str) -> list[dict[str, Any]]:
    """Fit the referees on the training rows of a search, and return the loss of each on the rows held out.

    Returns:
        For each its name, its loss as the trials have it (NaN where there is none), and why it has none.
    """
    found = []
    for name, title in (POPULARITY | REFEREES).items():
        row = {"referee": title, "loss": math.nan, "reason": ""}
        try:
            row["loss"] = loss_of(ready, _scored(ready, name), objective)
        except ValueError as error:
            row["reason"] = str(error)
        found.append(row)
    return found


def read_referees(out: Path) -> list[dict[str, Any]]:
    """Read what `judge_referees` wrote into the folder of a search; [] where there is none."""
    lines = read_csv(out / REFEREES_FILE)
    return [line | {"loss": float(line["loss"]) if line["loss"] else math.nan} for line in lines]


def below(loss: float, referees: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the referees whose loss is lower, with both losses in words.

    >>> below(-0.61, [{"referee": "EASE", "loss": -0.62}, {"referee": "item-kNN", "loss": -0.6}])
    ['EASE, whose loss is lower: -0.61000, EASE -0.62000']
    """
    lower = [row for row in referees if row["loss"] < loss]
    return [f"{row['referee']}, whose loss is lower: {loss:.5f}, {row['referee']} {row['loss']:.5f}" for row in lower]


def _scored(ready: Prepared, name: str) -> dict[str, np.ndarray]:
    """Fit a referee and score the rows held out; popularity gets the scale that the others choose there."""
    if name not in POPULARITY:
        own, referee, _ = fit_one(ready, name)
        return score(referee, own.evaluation_batches("valid"))
    kind = find_model(name)
    scored = score(kind(kind.Config(), ready.tables), ready.evaluation_batches("valid"))
    slope, bias = scale_of(scored["label"], scored["logit"], ready.train_ratio)
    return scored | {"logit": slope * scored["logit"] + bias}


def inner(run: config.Run, dataset: Dataset | None = None, share: float = 0.1, clicks: int = 0) -> Prepared:
    """Prepare a run on its training rows only: the last of them are its validation rows, and it has no test rows.

    Args:
        run: what to prepare.
        dataset: the run's data, if they have been read already.
        share: share of the training rows that is held out.
        clicks: most clicks among the training rows that are left, the latest ones; 0: all.
    """
    dataset = read_dataset(run) if dataset is None else dataset
    log, s = dataset.interactions, run.split
    seen, parts = hold_out(log, split(log, s.kind, s.train, s.valid, s.seed), share)
    clicked = np.flatnonzero(seen.label[parts.train] == 1)
    if clicks and len(clicked) > clicks:
        parts = replace(parts, train=parts.train[clicked[-clicks] :])
    return prepare(run, replace(dataset, interactions=seen), parts=parts)


def minimise(
    objective: Callable[[dict[str, Any], Callable[[float], None]], float],
    space: Space,
    journal: Path,
    trials: int,
    seed: int = 0,
    starts: Sequence[dict[str, Any]] = (),
    warm_up: int = 1,
    ended: Callable[[list[Trial]], None] = lambda found: None,
    how: Literal["tpe", "random"] = "tpe",
) -> list[Trial]:
    """Find where an objective is lowest, with Optuna's tree of Parzen estimators and its median pruner.

    A point depends on the seed and on the trials that ended before it. So a killed search tries its last point again
    and ends like an unbroken search.

    Args:
        objective: returns the loss at a point. It calls `report(loss)` for every loss in between, and does not catch
            what `report` raises.
        space: the keys of a point and their values.
        journal: file of the trials, made or continued.
        trials: number of trials.
        seed: seed of the points.
        starts: points to try first.
        warm_up: number of reports of a trial that are not compared with the median.
        ended: called with all trials so far when a trial ends.
        how: as of `search`.

    Returns:
        the trials, in order.

    Raises:
        ImportError: Optuna is not installed.
    """
    optuna = _optuna()
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {}
    for key, where in space.items():
        if isinstance(where, list):
            distributions[key] = CategoricalDistribution(where)
        else:
            whole = all(isinstance(bound, int) for bound in where)
            distributions[key] = (IntDistribution if whole else FloatDistribution)(*where, log=True)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal))),
        study_name="search",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=warm_up),
        load_if_exists=True,
    )

    def trials_in(*states: TrialState) -> list:
        return study.get_trials(deepcopy=False, states=states)

    def found() -> list[Trial]:
        done = trials_in(TrialState.COMPLETE, TrialState.PRUNED)
        return [Trial(dict(t.params), t.value, t.state == TrialState.PRUNED) for t in done]

    for killed in trials_in(TrialState.RUNNING):
        study.tell(killed.number, state=TrialState.FAIL)
    for number in range(len(found()), trials):
        own = seed * 100_003 + number
        study.sampler = (
            optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=True, constant_liar=False, seed=own)
            if how == "tpe"
            else optuna.samplers.RandomSampler(own)
        )
        if number < len(starts) and not trials_in(TrialState.WAITING):
            study.enqueue_trial(starts[number])
        _try(study, study.ask(distributions), objective)
        ended(found())
    return found()


def loss_of(ready: Prepared, scored: dict[str, np.ndarray], objective: str) -> float:
    """Return the loss of scored rows: the log loss, with one negative per click where they are drawn, or minus AUC."""
    scored = compared(ready, scored)
    label, logit = scored["label"], scored["logit"]
    if objective == "auc":
        return -metrics.auc(label, logit)
    return (metrics.balanced_logloss if ready.draws else metrics.logloss)(label, logit)


def _optuna() -> Any:
    return package("optuna", "pip install 'hyperctr[search]'")


def _try(study: Any, trial: Any, objective: Callable) -> None:
    """Evaluate one point, or end it early."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    steps = count()

    def report(loss: float) -> None:
        trial.report(loss, step=next(steps))
        if trial.should_prune():
            raise TrialPruned

    try:
        study.tell(trial, objective(dict(trial.params), report))
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)


def _train(ready: Prepared, objective: str, report: Callable[[float], None]) -> float:
    """Train one trial and return the lowest loss of its validations."""
    run = ready.run
    torch.manual_seed(run.train.seed)
    model = base = build_model(ready)
    if run.wrapper:
        model = find_wrapper(run.wrapper_name)(base, run.wrapper, ready.tables)
    losses = []

    def valid() -> float:
        losses.append(loss_of(ready, score(base, ready.evaluation_batches("valid")), objective))
        return -losses[-1]

    fit(model, ready.train_batches, valid, run.train, len(ready.split.train), log=lambda row: report(losses[-1]))
    return min(losses)
