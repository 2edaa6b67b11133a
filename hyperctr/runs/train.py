"""Train one run in its folder: run.toml in; report.json, weights.safetensors and history.csv out.

runs/ml-100k/
    run.toml               exactly what ran, every default filled in
    checkpoint.safetensors while it trains: a killed run continues from here
    history.csv            one line an epoch
    weights.safetensors    the best epoch's weights
    tickets.safetensors    LT4REC's masks, which another run can train anew (model.masks)
    worn.safetensors       what the model wore while it trained, such as AQCL's codebook; no prediction reads it
    interests.safetensors  the learned interests, for a model with hypergraphs
    report.json            scores on validation and test rows, seconds, versions, the leaky stamp
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hyperctr import config
from hyperctr.batch import Batch
from hyperctr.data.dataset import Dataset
from hyperctr.data.progress import Bar, no_progress
from hyperctr.evaluation.evaluate import conversions, quality, score
from hyperctr.evaluation.metrics import auc
from hyperctr.files import claim_folder, read_csv, save_tensors, write_csv, write_text
from hyperctr.models import WRAPPERS
from hyperctr.runs.digest import digest
from hyperctr.runs.prepare import Prepared, build_model, prepare, stays
from hyperctr.training import lottery_tickets
from hyperctr.training.fit import Progress, fit
from hyperctr.training.profiler import StepTimer


def train(
    run: config.Run,
    out: Path | None = None,
    dataset: Dataset | None = None,
    log: Callable[[dict], None] = lambda row: None,
    progress: Bar = no_progress,
    clock: StepTimer | None = None,
) -> dict[str, Any]:
    """Train and test one run, and leave its folder; a folder with a checkpoint of the same run is continued.

    Args:
        run: what to do.
        out: the run's folder; None leaves nothing.
        dataset: if it has been read already.
        log: called after each validation.
        progress: wraps the batches of an epoch (batches, a word, their number) to show a bar.
        clock: measures where the time of the training goes.

    Returns:
        the report, as in report.json.

    Raises:
        ValueError: bad data or settings; `out` holds another run, or cannot be written.
    """
    with nullcontext() if out is None else _claim(out, run):
        return _train(run, out, dataset, log, progress, clock)


def _train(
    run: config.Run,
    out: Path | None,
    dataset: Dataset | None,
    log: Callable,
    progress: Callable,
    clock: StepTimer | None,
) -> dict[str, Any]:
    """Train and test one run whose folder is claimed."""
    began = time.perf_counter()
    if run.train.threads:
        torch.set_num_threads(run.train.threads)
    ready = prepare(run, dataset, out, progress=progress)
    torch.manual_seed(run.train.seed)
    worn = model = build_model(ready)
    if run.wrapper and not stays(run):
        worn = WRAPPERS[run.wrapper_name](model, run.wrapper, ready.tables)
    measured: dict[str, float] = {}

    def watched(made: Iterable[Batch], what: str, steps: int) -> Iterable[Batch]:
        return progress(made if clock is None else clock.batches(made), what, steps)

    def batches(epoch: int) -> Iterable[Batch]:
        steps = -(-ready.train_rows // run.train.batch_size)
        return watched(ready.train_batches(epoch), f"epoch {epoch}", steps)

    def keep(row: dict) -> None:
        row = row | measured
        if out is not None and "round" not in row:
            _append(out / "history.csv", row)
        log(row)

    def valid(tasks: tuple[str, ...] = ready.plan.tasks) -> float:
        scored = score(model, ready.evaluation_batches("valid"))
        measured["valid_auc"] = auc(scored["label"], scored["logit"])
        if "conversion" in scored:
            measured["valid_cvr_mse"] = conversions(scored)["cvr_mse"]
        return quality(scored, tasks)

    if clock is not None:
        clock.watch(worn)
    timed = clock or nullcontext
    tickets = _tickets(ready, model, valid, out, keep, watched, timed) if ready.sharing is not None else None
    if tickets is not None and not ready.sharing.rewind:
        torch.manual_seed(run.train.seed + lottery_tickets.OTHER_WEIGHTS)
        lottery_tickets.restart(model, build_model(ready))
    done = fit(worn, batches, valid, run.train, ready.train_rows, out, keep, timed)
    report = _report(ready, model, done)
    if tickets is not None:
        report["tickets"] = {task: ticket.describe() for task, ticket in tickets.items()}
        report["searched"], report["overlap"] = ready.sharing.searches, model.overlap()
    report["seconds"] = round(time.perf_counter() - began, 2)
    if out is not None:
        save_tensors(out / "weights.safetensors", model.state_dict())
        if worn is not model:
            own = {name: x for name, x in worn.state_dict().items() if not name.startswith("base.")}
            save_tensors(out / "worn.safetensors", own)
        write_text(out / "report.json", json.dumps(report, indent=1))
        (out / "checkpoint.safetensors").unlink(missing_ok=True)
    return report


def _tickets(
    ready: Prepared,
    model: nn.Module,
    valid: Callable[[tuple[str, ...]], float],
    out: Path | None,
    keep: Callable[[dict], None],
    watched: Callable[[Iterable[Batch], str, int], Iterable[Batch]],
    clock: Callable,
) -> dict[str, lottery_tickets.Ticket]:
    """Let LT4REC wear its tickets: those of another run, or such as are looked for."""
    sharing, train, given = ready.sharing, ready.run.train, None
    if sharing.masks:
        given = lottery_tickets.use_masks(model, Path(sharing.masks), train.seed)
        if not sharing.searches:
            if out is not None:
                lottery_tickets.save(out / "tickets.safetensors", given, model)
            return given

    def batches(task: str, epoch: int) -> Iterable[Batch]:
        steps = -(-len(ready.rows_of(task)) // train.batch_size)
        return watched(ready.task_batches(task, epoch), f"{task} round", steps)

    return lottery_tickets.find_tickets(model, batches, lambda task: valid((task,)), train, out, keep, given, clock)


def _report(ready: Prepared, model: nn.Module, done: Progress) -> dict[str, Any]:
    """Scores of the finished model on validation and test rows, and what they depend on."""
    run = ready.run
    scores = {part: ready.scores(model, part) for part in ("valid", "test")}
    return {
        "model": run.model_name,
        "data": ready.dataset.name,
        "split": ready.split.kind,
        "leaky": ready.split.leaky,
        "best_epoch": done.best_epoch,
        "epochs": done.epoch,
        "stopped": done.stopped,
        "test": scores["test"],
        "valid": scores["valid"],
        "train_rows": len(ready.split.train),
        "slices": len(ready.grid),
        "parameters": sum(p.numel() for p in model.parameters()),
        "run": digest(run),
        **({"wear": run.wrapper_name} if run.wrapper else {}),
        "versions": {"hyperctr": _version("hyperctr"), "torch": torch.__version__, "python": platform.python_version()},
    }


def _claim(out: Path, run: config.Run) -> ExitStack:
    """Claim the run's folder, new or of the same run, on however many threads; refuse one of another run."""

    def what(run: config.Run) -> config.Run:
        return replace(run, train=replace(run.train, threads=0))

    with claim_folder(out) as claim:
        if (out / "run.toml").exists() and what(config.read_run(out / "run.toml")) != what(run):
            raise ValueError(f"{out} holds another run (its run.toml differs); choose another --out or remove it")
        write_text(out / "run.toml", config.to_toml(run))
        if not (out / "checkpoint.safetensors").exists():
            (out / "history.csv").unlink(missing_ok=True)
        return claim.pop_all()


def _append(path: Path, row: dict) -> None:
    """Add an epoch's line; lines from it on, of a training that was killed before its checkpoint, go."""
    earlier = [old for old in read_csv(path) if float(old["epoch"]) < row["epoch"]]
    write_csv(path, [*earlier, row], nan="nan")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
