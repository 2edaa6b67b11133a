"""From a run file to data, split, tables and loader: everything that training and evaluation read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.special import logit
from torch import nn

from graphs import TimeGrid
from hyperctr import config
from hyperctr.batch import (
    Batch,
    Clicks,
    Fields,
    Graphs,
    Ids,
    ItemModalities,
    JointInterests,
    LearnedInterests,
    Priors,
    Tables,
    Titles,
    TrainingPlan,
)
from hyperctr.data import catalog, read
from hyperctr.data.dataset import Dataset
from hyperctr.data.features import item_statistics
from hyperctr.data.features.encoders import Encoders
from hyperctr.data.features.modalities import features
from hyperctr.data.features.past.scores import NormalScores
from hyperctr.data.features.titles import tokens
from hyperctr.data.interactions import Interactions, doubt_of_ties
from hyperctr.data.loader import Loader
from hyperctr.data.progress import Bar, no_progress
from hyperctr.data.split import Split, check_negatives, split
from hyperctr.evaluation.evaluate import evaluate, measure, score
from hyperctr.hypergraphs.interests import Interests
from hyperctr.hypergraphs.recipes import cluster_codes, slice_hypergraphs, time_grid
from hyperctr.layers.embedding import seen_masks
from hyperctr.layers.multitask import TASKS
from hyperctr.models import find_model, find_wrapper
from hyperctr.models.lt4rec import Sharing
from hyperctr.referees.popularity import Popularity
from hyperctr.runs import candidates, checks
from hyperctr.runs.fields import fields_of
from hyperctr.runs.members import Members, each_member
from hyperctr.runs.past import past_grid, past_of, past_parts, read_by_scores
from hyperctr.training import lottery_tickets
from hyperctr.training.interests import Joint, learn
from hyperctr.training.prefetch import prefetched

PAIRS, QUERIES = 2**16, 1024  # most rows and most queries of a batch in evaluation
AVERAGE_ROWS = 50  # that smooth the click rate of an item


@dataclass(frozen=True)
class Prepared:
    """A data set made ready for one run: split, loader, time grid, and the tables its model is built from."""

    run: config.Run
    dataset: Dataset
    split: Split
    grid: TimeGrid
    loader: Loader
    tables: Tables
    encoders: Encoders
    """How the context columns of a row are read."""
    codes: dict[str, np.ndarray] | None = None
    """Cluster of each item in each modality, where S2-cluster asks for it."""
    edges: np.ndarray | None = None
    """Edges between the levels of the items' statistics, where the model reads them."""
    past_grid: TimeGrid | None = None
    """Periods at whose start links and the user's own rates are read, where they are."""
    normal: NormalScores | None = None
    """How the numbers of the past are read, where they are (`data.past`)."""
    met: bool = False
    """Whether drawn negatives may be items that the user has met: `evaluate.met`, decided."""
    repeats: float = 0.0
    """Share of the training clicks that repeat a pair of user and item clicked earlier."""

    @property
    def reads(self) -> frozenset[str]:
        """What the run's model and its wrapper read, names of `hyperctr.batch.READS`."""
        return checks.reads_of(self.run)

    @property
    def plan(self) -> TrainingPlan:
        """How the run's model is trained, inside its wrapper."""
        return checks.plan_of_run(self.run)

    @property
    def sharing(self) -> Sharing | None:
        """How LT4REC finds its tickets, where LT4REC is the run's model or its wrapper."""
        return next((c for c in (self.run.model, self.run.wrapper) if isinstance(c, Sharing)), None)

    @property
    def negatives(self) -> int:
        """Negatives drawn per training row: none where non-clicks were logged."""
        return 0 if self.dataset.interactions.logged_non_clicks else self.run.train.negatives

    @property
    def draws(self) -> bool:
        """Whether evaluation draws its negatives: non-clicks were not logged, or `evaluate.sampled` asks for it."""
        return self.run.evaluate.sampled or not self.dataset.interactions.logged_non_clicks

    @property
    def apart(self) -> bool:
        """Whether evaluation scores first appearances on a line of their own, against items that are as new."""
        return self.draws and self.run.evaluate.first == "apart" and not self.split.leaky

    @property
    def train_ratio(self) -> float:
        """Non-clicks per click in training: drawn ones, or logged ones."""
        log, rows = self.dataset.interactions, self.split.train
        clicks = max(float(log.label[rows].sum()), 1.0)
        return (len(rows) - clicks) / clicks if log.logged_non_clicks else self.run.train.negatives

    @property
    def train_rows(self) -> int:
        """Rows of an epoch of `train_batches`, drawn negatives not counted."""
        plan = self.plan
        if plan.order != "joint":
            clicks, conversions = (len(self.rows_of(task)) for task in TASKS)
            return clicks + (conversions if plan.order == "alternate" else clicks)
        return len(self.rows_of("conversion" if plan.tasks == ("conversion",) else "click"))

    def train_batches(self, epoch: int) -> Iterable[Batch]:
        """Yield the shuffled batches of an epoch, in the order of `plan`.

        Each batch is within one time slice if the model reads slices or statistics.
        """
        plan = self.plan
        if plan.order == "alternate":
            return lottery_tickets.alternate_batches(*(self.task_batches(task, epoch) for task in TASKS))
        if plan.order == "cycle":
            again = partial(self.task_batches, "conversion", epoch)
            return lottery_tickets.cycle_batches(self.task_batches("click", epoch), again)
        if plan.tasks == ("conversion",):
            return self.task_batches("conversion", epoch)
        return self._batches(self.split.train, self.negatives, (self.run.train.seed, epoch))

    def task_batches(self, task: str, epoch: int, time: int = 0) -> Iterable[Batch]:
        """Yield the batches of one task; each `time` gives another order."""
        number, negatives = TASKS.index(task), self.negatives if task == "click" else 0
        for batch in self._batches(self.rows_of(task), negatives, (self.run.train.seed, epoch, number, time)):
            yield replace(batch, step=replace(batch.step, task=task))

    def rows_of(self, task: str, part: str = "train") -> np.ndarray:
        """Return the rows of a task: of "click" all rows, of "conversion" the clicks whose conversion is known."""
        rows, log = getattr(self.split, part), self.dataset.interactions
        if task == "conversion":
            rows = rows[(log.label[rows] == 1) & ~np.isnan(log.conversion[rows])]
        return rows

    def _batches(self, rows: np.ndarray, negatives: int, seed: tuple[int, ...]) -> Iterable[Batch]:
        group = self.grid.slice_of(self.dataset.interactions.time[rows]) if self.sliced else None
        shared = self.plan.batches_per_graph
        return self.loader.batches(rows, self.run.train.batch_size, negatives, seed, True, group, per_group=shared)

    def evaluation_batches(self, part: str) -> Iterable[Batch]:
        """Yield the batches of "valid" or "test".

        If there are more than `max_positives` clicks (of "valid", `valid_positives`), clicks and non-clicks are
        subsampled at the same rate, with a fixed seed.
        """
        e, rows = self.run.evaluate, self.evaluation_rows(part)
        negatives = {"valid": e.valid_negatives, "test": e.negatives}[part] if self.draws else 0
        return self.loader.batches(
            rows, queries_per_batch(negatives), negatives, seed=(e.seed, part == "test"), draw=e.draw, apart=self.apart
        )

    def num_batches(self, part: str) -> int:
        """Return the number of `evaluation_batches`."""
        negatives = {"valid": self.run.evaluate.valid_negatives, "test": self.run.evaluate.negatives}[part]
        return -(-len(self.evaluation_rows(part)) // queries_per_batch(negatives if self.draws else 0))

    def evaluation_rows(self, part: str) -> np.ndarray:
        """Return the rows of the log that `evaluation_batches` scores, in its order: one query each."""
        log, e = self.dataset.interactions, self.run.evaluate
        rows = getattr(self.split, part)
        if not len(rows):
            raise ValueError(f"there are no {part} rows: a search has set them aside")
        most = {"valid": e.valid_positives, "test": e.max_positives}[part]
        if e.sampled:
            rows = rows[log.label[rows] == 1]
        positives = int(log.label[rows].sum())
        if most and positives > most:
            rng = np.random.default_rng(e.seed)
            rows = np.sort(rng.choice(rows, round(len(rows) * most / positives), replace=False))
        return rows

    def scored(self, model: nn.Module, part: str, progress: Bar = no_progress) -> dict[str, np.ndarray]:
        """Score "valid" or "test" rows with the model and with popularity; see `hyperctr.evaluation.evaluate.score`."""
        batches = progress(self.evaluation_batches(part), f"{part} rows", self.num_batches(part))
        return score(model, batches, Popularity(Popularity.Config(), self.tables), prefetched)

    @property
    def queries(self) -> int:
        """Queries per batch when test rows are scored."""
        return queries_per_batch(self.run.evaluate.negatives if self.draws else 0)

    def scores(self, model: nn.Module, part: str) -> dict[str, float]:
        """Return every metric of the model on "valid" or "test"; see `hyperctr.evaluation.evaluate.evaluate`."""
        return self.measured(self.scored(model, part))

    def measured(self, scored: dict[str, np.ndarray]) -> dict[str, float]:
        """Return every metric of rows that `scored` gave, those of `evaluate.metrics` among them.

        Raises:
            ValueError: a metric of `evaluate.metrics` fails, or has the name of another number.
        """
        drawn = self.train_ratio if self.draws else None
        seen = self.tables.ids.seen_user.numpy(), self.tables.ids.seen_item.numpy()
        log, new = self.dataset.interactions, candidates.novelty(self, scored)
        report = evaluate(scored, seen, drawn, _clicks(log, self.split.train), new, log.has_time)
        own = measure(new.compared(scored), checks.metrics_of(self.run.evaluate.metrics))
        if taken := sorted(own.keys() & report.keys()):
            raise ValueError(f"evaluate.metrics: the report has a number called {taken[0]}; rename the function")
        return report | own

    @property
    def sliced(self) -> bool:
        """Whether a batch must lie within one time slice."""
        return bool(self.reads & {"slices", "statistics"})


def queries_per_batch(negatives: int) -> int:
    """Return how many queries are scored together, each a click and its negatives, or one logged row."""
    return max(1, min(QUERIES, PAIRS // (1 + negatives)))


def read_dataset(run: config.Run) -> Dataset:
    """Read the data set that a run names, with the modalities it asks for."""
    stated = {role: column for role in ("click", "conversion") if (column := getattr(run.data, role))} or None
    dataset = read.read(catalog.find(run.data.path), run.data.modalities or None, stated)
    log = dataset.interactions
    if run.evaluate.met == "no" or (run.evaluate.met == "auto" and candidates.repeats(log) < candidates.REPEATS):
        check_negatives(log, dataset.name)
    if run.data.ties is not None:
        notes = ["Events of one user at one time follow each other in file order, 1 microsecond apart (data.ties)."]
        if doubt := doubt_of_ties(log, dataset.items.ids):
            notes.append(doubt)
            warnings.warn(doubt, stacklevel=2)
        dataset = replace(dataset, interactions=log.in_order(), notes=(*dataset.notes, *notes))
    log = dataset.interactions
    if run.split.kind == "given" and log.part is not None and not log.has_time:
        note = "There are no times: validation rows follow the training rows, and test rows follow both (split.kind)."
        dataset = replace(dataset, interactions=log.in_parts(), notes=(*dataset.notes, note))
    return dataset


def prepare(
    run: config.Run,
    dataset: Dataset | None = None,
    out: Path | None = None,
    fixed: Prepared | None = None,
    progress: Bar = no_progress,
    parts: Split | None = None,
) -> Prepared:
    """Split the data, cut the time slices, learn the interests, and build the hypergraphs and tables.

    Under the temporal split every event enters the hypergraphs once its slice has closed, so a row at time t reads
    slices that ended at or before t (`rolling`). Under the other splits, and with `frozen` graphs, only training events
    enter. Under the random split, as in the paper, a row also reads the hypergraphs of its own slice, and only training
    rows are history. Under a given split without times, too, only training rows and rows without a part are history.
    Under all other splits every click strictly before a row is history.

    Args:
        run: what to do.
        dataset: the run's data, if it has been read already.
        out: the run's folder. Interests learned before are read from it, and new ones are kept there.
        fixed: a preparation of this run, whose split numbers the rows of `dataset`. What it fitted is kept: grid,
            features, interests, known ids. Only what reads the log is made: histories, counts and hypergraphs.
        progress: wraps long iterables (batches, a word, their number) to show a bar.
        parts: the rows of each part, if they are not those of the run's split.

    Raises:
        ValueError: nothing to train or test on, or slices by time on data without times.
    """
    checks.check_referee(run)
    checks.check_members(run)
    for key, names in checks.metrics_named(run).items():
        checks.metrics_of(names, key)  # a mistake in a name stops here
    dataset = read_dataset(run) if dataset is None else dataset
    log = dataset.interactions
    checks.check_score(run, log, dataset.name)
    if fixed is not None:
        return _with_log(replace(fixed, dataset=dataset), until=int(fixed.dataset.interactions.time[-1]))
    if parts is None:
        parts = split(log, run.split.kind, run.split.train, run.split.valid, run.split.seed)
        if parts.note:
            dataset = replace(dataset, notes=(*dataset.notes, parts.note))
    grid, train = _grid(run, dataset, parts), log.take(parts.train)
    fields, encoders, notes = fields_of(dataset, parts.train, run.data.derive or (), run.data.titles)
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    tables = _tables(run, dataset, parts, fields, progress)
    codes, edges, reads = None, None, checks.reads_of(run)
    if "statistics" in reads:
        edges = item_statistics.fit(train, grid)
    if "slices" in reads:
        tables = replace(tables, graphs=Graphs(interests=_interests(run, train, tables, out, progress)))
        if "S2-cluster" in run.slices.augment:
            items, seen = tables.modalities, tables.ids.seen_item.numpy()
            codes = cluster_codes(items.features, items.present, seen, seed=run.train.seed)
    met, repeats = candidates.decide(run, log, parts)
    periods = past_grid(run, log, parts, past_parts(run.data, reads), dataset.name)
    ready = Prepared(run, dataset, parts, grid, None, tables, encoders, codes, edges, periods, met=met, repeats=repeats)
    checks.check_conversions(ready)
    ready = _with_log(ready)
    checks.check_draws(ready)
    if past_parts(run.data, reads):
        normal, fields = read_by_scores(ready.loader, fields, parts.train, ready.negatives > 0)
        ready = replace(ready, normal=normal, tables=replace(ready.tables, fields=fields))
    if edges is None:
        return ready
    clicks = replace(tables.clicks, ages=item_statistics.ages(ready.loader, parts.train))
    return replace(ready, tables=replace(ready.tables, clicks=clicks))


def _grid(run: config.Run, dataset: Dataset, parts: Split) -> TimeGrid:
    """Cut the timeline; a model that reads no slices needs none, so that a log without times is one slice to it."""
    log, slices = dataset.interactions, run.slices
    if not log.has_time and not checks.reads_of(run) & {"slices", "statistics"}:
        slices = replace(slices, count=1)
    return time_grid(log, parts, slices, dataset.name)


def _tables(run: config.Run, dataset: Dataset, parts: Split, fields: Fields, progress: Callable) -> Tables:
    """Build the tables that the training rows decide; hypergraphs, statistics and ages are still missing."""
    log = dataset.interactions
    label = log.label[parts.train]
    seen_user, seen_item = np.zeros(log.num_users, bool), np.zeros(log.num_items, bool)
    seen_user[log.user[parts.train]] = seen_item[log.item[parts.train]] = True
    titles = None
    matrices = features(dataset, np.flatnonzero(seen_item), run.data.reduce, progress)
    present = {name: torch.from_numpy(np.array(x)) for name, x in dataset.items.present.items()}
    priors = Priors(
        click_rate=float(label.mean()),
        item_log_odds=torch.from_numpy(_log_odds(log.take(parts.train))),
        clicks_per_user=float(label.sum()) / max(int(seen_user.sum()), 1),
    )
    if "titles" in checks.reads_of(run) and dataset.items.titles is not None:
        titles = Titles(*tokens(dataset.items.titles, seen_item))
    return Tables(
        ids=Ids(log.num_users, log.num_items, torch.from_numpy(seen_user), torch.from_numpy(seen_item)),
        modalities=ItemModalities(matrices, present),
        fields=fields,
        priors=priors,
        clicks=Clicks(log.num_types),
        titles=titles,
        steps=run.train.epochs * -(-len(parts.train) // run.train.batch_size),
    )


def _log_odds(log: Interactions) -> np.ndarray:
    """Return the log odds of a click on each item minus those on an average item, [num_items].

    Where negatives are drawn, every item is drawn equally often: the odds are the clicks, plus one per item. Otherwise
    `AVERAGE_ROWS` average rows are added per item: the rate holds the label of each training row itself, which would
    teach a model to trust it too much.
    """
    clicks = np.bincount(log.item[log.label == 1], minlength=log.num_items)
    if not log.logged_non_clicks:
        return np.log((clicks + 1) / (clicks.mean() + 1)).astype(np.float32)
    rows, rate = np.bincount(log.item, minlength=log.num_items), log.label.mean().clip(1e-6, 1 - 1e-6)
    return (logit((clicks + AVERAGE_ROWS * rate) / (rows + AVERAGE_ROWS)) - logit(rate)).astype(np.float32)


def _interests(
    run: config.Run, log: Interactions, tables: Tables, out: Path | None, progress: Callable
) -> LearnedInterests | JointInterests | None:
    """Return what decides which modalities a click counts for: learned interests, joint ones, or None."""
    clicks, path = log.take(log.clicks()), out and out / "interests.safetensors"
    if run.interest.mode == "none" or not tables.modalities.features:
        return None
    if run.interest.mode == "joint":
        return Joint(run.interest, tables, clicks.user, clicks.item)
    if path and path.exists():
        return Interests.load(path, tables)
    learned = learn(clicks.user, clicks.item, tables, run.model.dim, run.interest, run.train.seed, progress=progress)
    if path:
        learned.save(path)
    return learned


def _with_log(ready: Prepared, until: int = 0) -> Prepared:
    """Make the hypergraphs, statistics and loader of the log; slices close by the clock, at its end or `until`."""
    run, log, parts = ready.run, ready.dataset.interactions, ready.split
    slices = levels = None
    learned = np.union1d(parts.train, log.history_alone())
    learned = learned if parts.kind != "given" else np.union1d(learned, np.flatnonzero(log.part < 0))
    known = log if not parts.leaky else log.take(learned)
    upto = int(log.time.max(initial=until)) + 1
    if ready.edges is not None:
        levels = item_statistics.snapshots(known, ready.grid, upto, ready.edges, log.time)
    if "slices" in ready.reads:
        entering = log.take(learned) if run.slices.graphs == "frozen" else known
        build = partial(
            slice_hypergraphs, entering, ready.dataset.items.present, ready.grid, upto,
            item_edges=run.slices.item_edges, augment=run.slices.augment, own=parts.kind == "random",
            target_edge=run.slices.target_edge, codes=ready.codes, span=run.slices.span,
            typed=ready.plan.typed_hypergraphs and log.type is not None,
        )  # fmt: skip
        interests = ready.tables.graphs.interests
        slices = interests.slices(build, run.interest) if interests else build()
    untimed = parts.kind == "random" or (parts.kind == "given" and not log.has_time)
    before = known if untimed else log  # under other splits, each row looks back in time only
    before = before if parts.leaky else None
    wanted = past_parts(run.data, ready.reads)
    past = past_of(run.data, wanted, ready.dataset, log if before is None else before, ready.past_grid, ready.normal)
    loader = Loader(log, run.data.history, before, run.data.derive or (), ready.encoders, past, ready.met)
    graphs = replace(ready.tables.graphs, slices=slices)
    return replace(ready, loader=loader, tables=replace(ready.tables, graphs=graphs, statistics=levels))


def build_model(ready: Prepared) -> nn.Module:
    """Build the run's model with its first weights, inside its wrapper if that stays; or all `train.members` of it."""
    run = ready.run
    if run.train.members > 1:
        return Members(build_model(one) for one in each_member(ready))
    model = find_model(run.model_name)(run.model, ready.tables)
    if run.train.id_dropout == 1:
        for mask in (*seen_masks(model, "user"), *seen_masks(model, "item")):
            mask.zero_()
    return find_wrapper(run.wrapper_name)(model, run.wrapper, ready.tables) if stays(run) else model


def stays(run: config.Run) -> bool:
    """Return whether the run has a wrapper that is part of its finished model."""
    return bool(run.wrapper) and find_wrapper(run.wrapper_name).stays


def _clicks(log: Interactions, rows: np.ndarray) -> np.ndarray:
    """Count the clicks of each user among the rows, [num_users]."""
    return np.bincount(log.user[rows][log.label[rows] == 1], minlength=log.num_users)
