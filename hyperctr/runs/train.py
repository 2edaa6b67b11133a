"""Train a run and leave its folder: run.toml in; report.json, weights.safetensors and history.csv out.

runs/ml-100k/
    run.toml               exactly what ran, every default filled in
    checkpoint.safetensors while it trains: a killed run continues from here (of train.members in member-0/ and so on)
    history.csv            one line per validation
    weights.safetensors    the weights of the best validation
    tickets.safetensors    LT4REC's masks, which another run can train again (model.masks)
    worn.safetensors       the wrapper's own state, such as AQCL's codebook; no prediction reads it
    interests.safetensors  the learned interests, for a model with hypergraphs
    data.json              where the data are, and a fingerprint of what was read
    report.json            scores on validation and test rows, and what they depend on; docs/report.md
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hyperctr import config
from hyperctr.batch import Batch, Referee, device_of
from hyperctr.data.dataset import Dataset
from hyperctr.data.progress import Bar, no_progress
from hyperctr.evaluation.evaluate import conversions, measure, quality, score
from hyperctr.evaluation.metrics import auc
from hyperctr.files import claim_folder, save_tensors, write_csv, write_json, write_text
from hyperctr.models import find_model, find_wrapper, outside
from hyperctr.runs import candidates, fingerprint
from hyperctr.runs import report as reports
from hyperctr.runs.checks import metrics_named, metrics_of, not_read, notes_of, parts_of, rows_in_words
from hyperctr.runs.digest import digest, read_written
from hyperctr.runs.members import Members, each_member
from hyperctr.runs.prepare import Prepared, build_model, prepare, read_dataset, stays
from hyperctr.runs.referees import again_in_words, check_memory, fit_beside, fit_referee
from hyperctr.training import lottery_tickets
from hyperctr.training.device import find_device
from hyperctr.training.fit import CHECKPOINT, Progress, epochs_done, fit
from hyperctr.training.profiler import StepTimer


def train(
    run: config.Run,
    out: str | Path | None = None,
    dataset: Dataset | None = None,
    log: Callable[[dict], None] = lambda row: None,
    progress: Bar = no_progress,
    clock: StepTimer | None = None,
    say: Callable[[str], None] = lambda line: None,
    changed_data: bool = False,
    referees: bool = False,
) -> dict[str, Any]:
    """Train and test a run, and leave its folder; a folder with a checkpoint of the same run is continued.

    Args:
        run: what to do, as `hyperctr.read_run` gives it.
        out: the run's folder; None leaves nothing.
        dataset: the data set of the run, if it has been read already.
        log: called after each validation with a dict: epoch, loss, valid_auc, best_epoch and what the model logs.
        progress: wraps the batches of an epoch (batches, a word, their number) to show a bar.
        clock: measures where the time of the training goes.
        say: prints one line, such as where a killed run continues.
        changed_data: continue a killed run although its data have changed since it began.
        referees: also fit the referees on the training rows, and report their scores on the same rows.

    Returns:
        The report, as in report.json and docs/report.md.

    Raises:
        ValueError: bad data or settings; `out` holds another run, a run on other data, or cannot be written.

    >>> import hyperctr
    >>> from hyperctr.data import planted
    >>> _ = planted.write("drift", "world", scale=0.02)
    >>> run = hyperctr.read_run({"data": {"path": "world"}, "model": {"name": "din"}, "train": {"epochs": 1}})
    >>> report = hyperctr.train(run, "runs/din")
    >>> report["model"], report["epochs"], 0 < report["test"]["auc"] < 1
    ('din', 1, True)
    """
    began, folder, device = time.perf_counter(), RunFolder(out), find_device(run.train.device)
    dataset = read_dataset(run) if dataset is None else dataset
    with folder.claimed_for(run, dataset.interactions.logged_non_clicks), torch_threads(run.train.threads):
        with folder.empty_again_on_error():
            folder.check_data(run, dataset, changed_data)
            ready = prepare(run, dataset, folder.path, progress=progress)
            check_memory(ready)
            torch.manual_seed(run.train.seed)
            model = build_model(ready)
            trained = model if run.train.members > 1 else _wrapped(ready, model)
            if not isinstance(model, Referee):
                trained.to(device)  # built on the CPU: the first weights are the same everywhere
        if done := epochs_done(folder.path):
            say(f"continuing at epoch {math.floor(done) + 1}: {folder.path} has a checkpoint of this run")
        say(rows_in_words(parts_of(ready.dataset.interactions, ready.split)))
        if line := candidates.in_words(ready):
            say(line)
        validation = Validation(ready, model, progress)
        timed = clock or nullcontext

        def watched(batches: Iterable[Batch], what: str, steps: int) -> Iterable[Batch]:
            return progress(batches if clock is None else clock.batches(batches), what, steps)

        def batches(epoch: int, ready: Prepared = ready) -> Iterable[Batch]:
            steps = -(-ready.train_rows // run.train.batch_size)
            return watched(ready.train_batches(epoch), f"epoch {epoch}", steps)

        def keep(row: dict) -> None:
            row = {"valid_auc" if key == "score" else key: x for key, x in row.items()} | validation.metrics
            folder.keep(row)
            log(row)

        if clock is not None:
            clock.watch(trained)
        tickets = None
        if ready.sharing is not None:
            tickets = _find_tickets(ready, model, validation, folder, keep, watched, timed)
            if not ready.sharing.rewind:
                torch.manual_seed(run.train.seed + lottery_tickets.OTHER_WEIGHTS)
                lottery_tickets.restart(model, build_model(ready))
        settings = {}
        if isinstance(model, Referee):
            done, settings = fit_referee(ready, model, keep, validation)
        elif run.train.members > 1:
            done = _fit_members(ready, model, validation, folder, keep, batches, timed)
        else:
            done = fit(trained, batches, validation, run.train, ready.train_rows, folder.path, keep, timed)
        beside = fit_beside(ready, progress) if referees else ({}, [])
        report = _report(ready, model, done, settings, beside, progress)
        if tickets is not None:
            report["tickets"] = {task: ticket.describe() for task, ticket in tickets.items()}
            report["searched"], report["overlap"] = ready.sharing.searches, model.overlap()
        report["seconds"] = round(time.perf_counter() - began, 2)
        report["fingerprint"] = folder.fingerprint
        folder.finish(model, trained, report)
    return report


def _wrapped(ready: Prepared, model: nn.Module) -> nn.Module:
    """Put a model into the wrapper that it is trained in, if it has one."""
    run = ready.run
    return find_wrapper(run.wrapper_name)(model, run.wrapper, ready.tables) if run.wrapper and not stays(run) else model


def _fit_members(
    ready: Prepared,
    model: Members,
    validation: Validation,
    folder: RunFolder,
    keep: Callable[[dict], None],
    batches: Callable[..., Iterable[Batch]],
    timed: Callable,
) -> Progress:
    """Train the members one after the other, each as a run of its seed; its checkpoint stays until all are done.

    Args:
        ready: of the run.
        model: gets the trained members.
        validation: scores the one member that is trained.
    """
    found = []
    for k, one in enumerate(each_member(ready)):
        torch.manual_seed(one.run.train.seed)  # as the run of this seed alone begins
        validation.model = model.models[k] = build_model(one)
        trained = _wrapped(one, model.models[k]).to(find_device(one.run.train.device))
        rows, log = partial(batches, ready=one), partial(_of_member, keep, k)
        found.append(fit(trained, rows, validation, one.run.train, one.train_rows, folder.of_member(k), log, timed))
    best = sum(done.best_epoch for done in found) / len(found)
    return Progress(max(x.epoch for x in found), round(best, 2), stopped=f"all {len(found)} members are trained")


def _of_member(keep: Callable[[dict], None], number: int, row: dict) -> None:
    keep({"member": number} | row)


def stopped(out: str | Path) -> str:
    """Say after a Ctrl-C how far a training has come and how it continues."""
    done = math.floor(epochs_done(Path(out)))
    where = f"the same command continues at epoch {done + 1}" if done else "the same command starts again"
    return f"stopped in epoch {done + 1}: {where}. Run: {out}"


class RunFolder:
    """The folder of a run: which files a run leaves, and when. Without a path nothing is kept."""

    def __init__(self, path: str | Path | None):
        self.path = None if path is None else Path(path)
        self.fingerprint: dict[str, str] = {}
        self._new = True

    def claimed_for(self, run: config.Run, logged: bool) -> ExitStack:
        """Claim the folder until the end of a `with` block: a new one, or one of the same run.

        The number of threads and the device may be others.

        Args:
            run: what the folder is for; its run.toml says which keys the run does not read.
            logged: whether the data have logged non-clicks.

        Raises:
            ValueError: the folder is of another run, is claimed by another process, or cannot be written.
        """
        if self.path is None:
            return ExitStack()

        def settings(run: config.Run) -> config.Run:
            return replace(run, train=replace(run.train, threads=0, device="auto"))

        path = self.path
        self._new = not (path / "run.toml").exists()
        with claim_folder(path) as claim:
            if not self._new:
                there = fingerprint.located(read_written(path / "run.toml"), path)
                if fingerprint.same_place(there.data.path, run.data.path):
                    there = replace(there, data=replace(there.data, path=run.data.path))
                if differs := config.difference(settings(there), settings(run)):
                    raise ValueError(f"{path} holds another run: {differs}; choose another --out or remove it")
            unread = f"# not read by this run: {', '.join(names)}\n\n" if (names := not_read(run, logged)) else ""
            write_text(path / "run.toml", unread + config.to_toml(run))
            if not self._checkpoints():
                (path / "history.csv").unlink(missing_ok=True)
            reports.read_history(path)  # a damaged file stops here
            return claim.pop_all()

    @contextmanager
    def empty_again_on_error(self) -> Iterator[None]:
        """Remove what a new run has written if its data or settings turn out to be wrong; a killed run keeps it."""
        try:
            yield
        except (ValueError, ImportError):
            if self.path is not None and self._new:
                for name in ("run.toml", fingerprint.FILE, "interests.safetensors"):
                    (self.path / name).unlink(missing_ok=True)
                if {entry.name for entry in self.path.iterdir()} <= {".lock"}:
                    (self.path / ".lock").unlink(missing_ok=True)
                    self.path.rmdir()
            raise

    def check_data(self, run: config.Run, dataset: Dataset, changed_data: bool) -> None:
        """Refuse to continue on data that are not what the run began with, and note what they are.

        Raises:
            ValueError: the data have changed, and `changed_data` does not accept it.
        """
        self.fingerprint = fingerprint.fingerprint(dataset)
        if self.path is not None:
            fingerprint.check(self.path, self.fingerprint, changed_data)
            fingerprint.keep(self.path, run, self.fingerprint)

    def keep(self, row: dict) -> None:
        """Add the line of a validation to history.csv, in place of lines that were written after the checkpoint."""
        if self.path is not None and "round" not in row:
            at = row.get("member", 0), row["epoch"]
            rows = reports.read_history(self.path)
            earlier = [old for old in rows if (int(old.get("member", 0)), float(old["epoch"])) < at]
            write_csv(self.path / "history.csv", [*earlier, row], nan="nan")

    def finish(self, model: nn.Module, trained: nn.Module, report: dict[str, Any]) -> None:
        """Write weights and report, and remove the checkpoint."""
        if self.path is None:
            return
        save_tensors(self.path / "weights.safetensors", model.state_dict())
        if trained is not model:
            own = {name: x for name, x in trained.state_dict().items() if not name.startswith("base.")}
            save_tensors(self.path / "worn.safetensors", own)
        write_json(self.path / "report.json", report)
        for checkpoint in self._checkpoints():
            checkpoint.unlink()
            if checkpoint.parent != self.path:
                checkpoint.parent.rmdir()

    def of_member(self, number: int) -> Path | None:
        """Return the folder of a member's checkpoint; None where nothing is kept."""
        if self.path is None:
            return None
        (self.path / f"member-{number}").mkdir(exist_ok=True)
        return self.path / f"member-{number}"

    def _checkpoints(self) -> list[Path]:
        return [*self.path.glob(CHECKPOINT), *self.path.glob(f"member-*/{CHECKPOINT}")]


class Validation:
    """Score the validation rows with a model: calling it gives the score that decides when training stops.

    Attributes:
        metrics: of the last call, for history.csv: valid_auc, and valid_cvr_mse for a model of conversions.
    """

    def __init__(self, ready: Prepared, model: nn.Module, progress: Bar = no_progress):
        self.ready, self.model, self.progress = ready, model, progress
        self.metrics: dict[str, float] = {}

    def __call__(self, tasks: tuple[str, ...] | None = None) -> float:
        """Return the score of some tasks, higher is better; without tasks: `train.score` of the run."""
        batches = self.progress(self.ready.evaluation_batches("valid"), "validation", self.ready.num_batches("valid"))
        scored = candidates.compared(self.ready, score(self.model, batches))
        self.metrics["valid_auc"] = auc(scored["label"], scored["logit"])
        if "conversion" in scored:
            self.metrics["valid_cvr_mse"] = conversions(scored)["cvr_mse"]
        wanted = self.ready.run.train.score
        if tasks is None and wanted != "auc":
            if wanted in config.SCORES:
                name, value = wanted, quality(scored, wanted=wanted)
            else:
                ((name, value),) = measure(scored, metrics_of([wanted], "train.score")).items()
            self.metrics[f"valid_{name}"] = value
            if math.isnan(value):
                raise ValueError(f"train.score: {wanted} is not a number on the validation rows")
            return value
        return quality(scored, tasks or self.ready.plan.tasks)


def _find_tickets(
    ready: Prepared,
    model: nn.Module,
    validation: Validation,
    folder: RunFolder,
    keep: Callable[[dict], None],
    watched: Callable[[Iterable[Batch], str, int], Iterable[Batch]],
    timed: Callable,
) -> dict[str, lottery_tickets.Ticket]:
    """Give LT4REC its masks: those of another run, or the result of a search."""
    sharing, train, given, path = ready.sharing, ready.run.train, None, folder.path
    if sharing.masks:
        given = lottery_tickets.use_masks(model, Path(sharing.masks), train.seed)
        if not sharing.searches:
            if path is not None:
                lottery_tickets.save(path / "tickets.safetensors", given, model)
            return given

    def batches(task: str, epoch: int) -> Iterable[Batch]:
        steps = -(-len(ready.rows_of(task)) // train.batch_size)
        return watched(ready.task_batches(task, epoch), f"{task} round", steps)

    def valid(task: str) -> float:
        return validation((task,))

    return lottery_tickets.find_tickets(model, batches, valid, train, path, keep, given, timed)


def _report(
    ready: Prepared,
    model: nn.Module,
    done: Progress,
    settings: dict[str, Any],
    beside: tuple[dict[str, dict[str, Any]], list[str]],
    progress: Bar,
) -> dict[str, Any]:
    """Score the finished model on validation and test rows, and say what the scores depend on.

    Args:
        ready, model, done, progress: the run, its model, and how its training ended.
        settings: what the validation rows chose, of a referee.
        beside: scores of the referees by name, and notes on those that are missing.
    """
    run, sources = ready.run, sources_of(ready.run)
    found = {
        "model": run.model_name,
        "data": ready.dataset.name,
        "split": ready.split.kind,
        "leaky": ready.split.leaky,
        "best_epoch": done.best_epoch,
        "epochs": done.epoch,
        "stopped": done.stopped,
        **reports.scores_of(ready, model, progress=progress)[0],
        **({"settings": settings} if settings else {}),
        **({"referees": beside[0]} if beside[0] else {}),
        "train_rows": len(ready.split.train),
        "parts": parts_of(ready.dataset.interactions, ready.split),
        "slices": len(ready.grid),
        "device": str(device_of(model)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "run": digest(run),
        **({"wear": run.wrapper_name} if run.wrapper else {}),
        **({"sources": sources} if sources else {}),
        **({"sampled": True} if run.evaluate.sampled else {}),
        **({"met": "yes" if ready.met else "no", "repeats": ready.repeats} if ready.draws else {}),
        **({"split_note": ready.split.note} if ready.split.note else {}),
        **({"metrics": list(metrics_of(run.evaluate.metrics))} if run.evaluate.metrics else {}),
        "versions": {"hyperctr": _version("hyperctr"), "torch": torch.__version__, "python": platform.python_version()},
    }
    notes = [*notes_of(ready), *again_in_words(ready), *beside[1]]
    return found | {"notes": [*notes, *reports.notes_of(found, ready.plan.tasks, run.train.epochs)]}


def sources_of(run: config.Run) -> dict[str, str]:
    """Return a digest of the source of each class and metric from outside the package, by its name in the run file."""
    found: dict[str, Any] = {run.model_name: find_model(run.model_name)}
    if run.wrapper:
        found[run.wrapper_name] = find_wrapper(run.wrapper_name)
    for key, names in metrics_named(run).items():
        found |= {name: outside.load(name, key) for name in names}
    return {name: outside.source_digest(cls) for name, cls in found.items() if outside.is_outside(name)}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch threads inside a `with` block; 0 changes nothing."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count:
            torch.set_num_threads(before)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
