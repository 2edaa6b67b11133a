"""Run many cells in parallel, each in its own process and its own folder, for sweeps, searches and studies.

A cell is a run and its folder. The caller hears of a cell that raises or whose process is killed, and the other cells
go on. A folder with a report is not run again; a folder with a checkpoint is continued.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import tomllib
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hyperctr import config
from hyperctr.files import claim_folder, write_text
from hyperctr.runs import report
from hyperctr.runs.digest import read_written

Cells = Mapping[str, tuple[config.Run, Path]]
"""Cells by name: the run and its folder."""


def run_all(
    cells: Cells,
    jobs: int,
    watch: Callable[[dict[str, str], int], None],
    ended: Callable[[str, dict | BaseException], None],
    work: Callable[[str, str], dict] | None = None,
    fresh: bool = False,
) -> None:
    """Run every cell, `jobs` at a time; a cell without a number of threads gets its share of the cores.

    Args:
        cells: what to run; started in this order.
        jobs: processes at a time.
        watch: called about once a second with what each running cell does and how many have ended.
        ended: called as each cell ends, with its name and what `work` returned or the error that it raised.
        work: a function of a module, called in the process with the run as TOML and the folder; default: `train`.
        fresh: whether every cell gets a new process; otherwise a process runs one cell after another.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting, running, done = deque(cells.items()), {}, 0
    idle: list[ProcessPoolExecutor] = []  # with one process each, so that a killed process names its cell
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, (run, folder) = waiting.popleft()
                run = replace(run, train=replace(run.train, threads=run.train.threads or threads))
                process = idle.pop() if idle else _process()
                future = process.submit(work or train, config.to_toml(run), str(folder))
                running[future] = name, folder, process
            for future in wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done:
                name, _, process = running.pop(future)
                done += 1
                if fresh or isinstance(future.exception(), BrokenProcessPool):
                    process.shutdown()
                else:
                    idle.append(process)
                ended(name, _outcome(future))
            watch({name: _doing(folder) for name, folder, _ in running.values()}, done)
    finally:
        for _, _, process in running.values():  # only if stopped by hand or by an error of the caller
            for child in list(process._processes.values()):  # private, as of Python 3.11
                child.terminate()
            process.shutdown(cancel_futures=True)
        for process in idle:
            process.shutdown()


def train(run_toml: str, folder: str) -> dict:
    """Train one cell and return its report."""
    from hyperctr.runs import train as runs
    from hyperctr.training import malloc

    warnings.simplefilter("ignore")  # a warning of the training is a note of its report
    malloc.keep_freed_memory()
    path = Path(folder)
    if (path / "report.json").exists():  # finished, but the caller was stopped before it noted the result
        return report.read(path)
    return runs.train(config.read_run(tomllib.loads(run_toml)), path)


def folder_of(out: Path, name: str) -> Path:
    """Return the folder of a cell in the folder of a sweep or a bench: as an earlier version named it, or a plain name.

    >>> folder_of(Path("sweep"), "din every=30d depth=2 seed=0").as_posix()
    'sweep/runs/din-every-30d-depth-2-seed-0'
    """
    old = out / "runs" / name
    return old if old.exists() else out / "runs" / re.sub("[ =]+", "-", name)


def claim(out: Path, base: config.Run, what: str) -> ExitStack:
    """Claim the folder of a sweep or a bench, until the end of a `with` block.

    Args:
        out: the folder, a new one or one of the same sweep or bench.
        base: the run that all cells share.
        what: what it is, such as "a sweep".

    Raises:
        ValueError: the folder has something else or another base run, or cannot be written; or another process is
            writing to it.
    """
    base, path = replace(base, train=replace(base.train, threads=0, device="auto")), out / "base.toml"
    with claim_folder(out) as claim:
        if path.exists():
            title = path.read_text(encoding="utf-8").partition("\n")[0]
            if title.startswith("# ") and title != f"# {what}":
                raise ValueError(f"{out} holds {title[2:]}, not {what}; choose another --out")
            if differs := _difference(path, base):
                raise ValueError(f"{out} holds {what} over another base run: {differs}; choose another --out")
        else:
            write_text(path, f"# {what}\n{config.to_toml(base)}")
        return claim.pop_all()


def _difference(path: Path, base: config.Run) -> str:
    """Say in which keys a base.toml, of this version or an earlier one, differs from a run; "" where it does not."""
    try:
        return config.difference(read_written(path), base)
    except ValueError as error:
        return f"its base.toml cannot be read ({error})"


def _process() -> ProcessPoolExecutor:
    """Start a process that ends with its caller; only the caller hears Ctrl-C and then ends the process."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(caller: multiprocessing.process.BaseProcess) -> None:
    """Exit when the caller is gone: a killed caller cannot end its processes, and nobody would see them go on."""
    caller.join()
    os._exit(1)


def _outcome(future: Future) -> dict | BaseException:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        return RuntimeError("its process was killed, perhaps because memory ran out")
    return error or future.result()


def _doing(folder: Path) -> str:
    """Return the last line of a cell's history in words."""
    lines = report.read_history(folder)
    if not lines:
        return "starting"
    return f"epoch {lines[-1]['epoch']}, valid AUC {float(lines[-1]['valid_auc']):.4f}"
