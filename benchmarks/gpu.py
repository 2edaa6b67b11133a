"""Measure what a GPU gives, in less than eight minutes: tests, kernels, a step of HyperCTR, training, FuxiCTR.

    python benchmarks/gpu.py                                  everything; report.json and table.md in results/gpu
    python benchmarks/gpu.py --only tests,kernels             some sections; each gets more time
    python benchmarks/peers/environments.py --out envs --only fuxictr      once, for the comparison with FuxiCTR

Long because it is one command with five sections. `gpu_report.py` compares and writes what they measured.

Each section has a process of its own and a share of the time; what a section leaves goes to those behind it. What did
not fit, failed or is not installed is listed with its reason, and the others go on. A killed section keeps what it had
measured. The exit code is 2 without a GPU; 1 where an expected figure was not reached or not measured; else 0.

Kernels: medians over interleaved rounds of as many calls as take 20 ms, between CUDA events, with warm caches. Bytes
moved count X and Y, hyperedges' rows, indices, and every gathered row where the matrix it is gathered from is larger
than the L2 cache; where the matrix fits, its rows count once. Training is `fit` over the batches of a run, as `hyperctr
train` has them, on a planted world with columns; interests, which are learned before it, are left out.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import count, cycle
from pathlib import Path
from typing import Annotated, Any, TypeVar
from xml.etree import ElementTree

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor, nn
from torch.autograd.profiler import DeviceType
from torch.profiler import ProfilerActivity, profile, supported_activities

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import kernels, training
from benchmarks.gpu_report import AUTOGRAD, HALF, OURS, PYG, STORED, STORED_HALF, table, verdicts
from graphs import Hypergraph, kernels_for, use_kernels
from hyperctr import config
from hyperctr.batch import Batch
from hyperctr.data.columns import Category
from hyperctr.data.dataset import Dataset
from hyperctr.data.items import Users
from hyperctr.data.planted import planted
from hyperctr.files import read_json, write_json, write_text
from hyperctr.runs.prepare import Prepared, build_model, prepare
from hyperctr.training import malloc
from hyperctr.training.fit import fit

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 460  # seconds for all sections; with the end of the last one and the table, less than eight minutes
GRACE = 12  # seconds after its end in which a section may finish what it measures
SHARES = {"tests": 50, "kernels": 130, "profile": 40, "training": 180, "fuxictr": 60}
RUNS = {  # of the training: tables, preset
    "DeepFM": ({"model": {"name": "deepfm"}}, None),
    "DIN": ({"model": {"name": "din"}}, None),
    "MIAN": ({"model": {"name": "mian"}}, None),
    "hyperctr-best": ({}, "hyperctr-best"),
    "hyperctr-paper": ({"interest": {"mode": "none"}}, "hyperctr-paper"),
}
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")  # cudaDeviceSynchronize is our own
COPIES = ("cudaMemcpyAsync",)

T = TypeVar("T")
log = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Sizes:
    """How large everything is; a test makes it small."""

    graphs: dict[str, tuple[int, int, int]] = field(default_factory=lambda: kernels.GRAPHS)
    dim: int = 64
    rounds: int = 9
    together: float = 0.02  # seconds of calls that are timed together
    copied: int = 2**28  # numbers of the copy that gives the bandwidth
    scale: float = 12.0  # of the planted world: 12,000 users, 900,000 rows
    batches: tuple[int, ...] = (512, 4096, 16_384)
    warm: float = 1.5  # seconds of a training that do not count
    seconds: float = 2.0  # and of those that do
    kept: int = 16  # finished batches, for a training without its loader
    before: int = 20  # steps that warm up before the profile
    steps: int = 8  # profiled
    users: int = 60_000  # and items, beside FuxiCTR


# --- time, and what is missing ---------------------------------------------------------------------------------------


class TimeUp(Exception):
    """The time of a section is up."""


class Section:
    """What one section has measured and what it has not, written to a file after each measurement.

    Args:
        end: when its time is up, on the clock `now`.
        path: the file; None keeps it in memory.
        now: seconds, from any start.
    """

    def __init__(self, end: float, path: Path | None = None, now: Callable[[], float] = time.time):
        self.end, self.path, self.now = end, path, now
        self.found: dict[str, list[dict]] = {"rows": [], "missing": []}

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - self.now()

    def check(self) -> None:
        """Raise TimeUp where no time is left."""
        if self.left() <= 0:
            raise TimeUp

    def measure(self, what: str, how: Callable[[], T]) -> T | None:
        """Return what `how` gives; where time is up or it fails, note why and return None."""
        try:
            self.check()
            return how()
        except (TimeUp, subprocess.TimeoutExpired):
            self.miss(what, "time")
        except (Exception, SystemExit) as error:  # one that fails must not end the others
            self.miss(what, in_one_line(error))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return None

    def keep(self, row: dict) -> None:
        """Keep a row of figures."""
        self.found["rows"].append(row)
        self.write()

    def miss(self, what: str, why: str) -> None:
        """Note that something was not measured."""
        self.found["missing"].append({"what": what, "why": why})
        log.print(f"  {what}: not measured: {why}")
        self.write()

    def write(self) -> None:
        """Write the file."""
        if self.path is not None:
            write_json(self.path, self.found)


def in_one_line(error: BaseException) -> str:
    """Return the first line of an error, with its kind."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:300].removesuffix(": ")


def schedule(names: list[str], begin: float) -> dict[str, float]:
    """Return when the time of each section ends: shares one after the other, stretched to the whole budget.

    >>> schedule(["tests", "training"], begin=0.0)
    {'tests': 100.0, 'training': 460.0}
    """
    ends, seconds = {}, 0.0
    for name in names:
        seconds += SHARES[name]
        ends[name] = seconds
    return {name: begin + BUDGET * end / seconds for name, end in ends.items()}


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


# --- tests -----------------------------------------------------------------------------------------------------------


def run_tests(section: Section, device: torch.device, sizes: Sizes, envs: Path) -> None:
    """Run the tests that need a GPU."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    if row := section.measure("tests", lambda: outcome(files, section.left())):
        section.keep(row)


def outcome(files: list[Path], seconds: float, marked: str = "gpu") -> dict:
    """Run the marked tests of these files in a process of their own and count how they end."""
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "junit.xml"
        words = [
            "-m",
            marked,
            "-q",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
            f"--junitxml={xml}",
            *map(str, files),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds
        )
        if done.returncode not in (0, 1) or not xml.exists():
            raise RuntimeError(f"pytest ended with {done.returncode}: {last_line(done.stdout + done.stderr)}")
        cases = list(ElementTree.parse(xml).iter("testcase"))
    ends = {name: [c for c in cases if c.find(name) is not None] for name in ("failure", "error", "skipped")}
    bad = {case.get("name", "") for case in ends["failure"] + ends["error"]}
    counts = {"failed": len(bad), "skipped": len(ends["skipped"])}
    return {"passed": len(cases) - sum(counts.values())} | counts | {"failures": sorted(bad)}


def last_line(text: str) -> str:
    """Return the last line of a text that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


# --- kernels ---------------------------------------------------------------------------------------------------------


class _Stored(torch.autograd.Function):
    """Products with two matrices, whose gradient reads stored transposes."""

    @staticmethod
    def forward(ctx, x: Tensor, there: Tensor, back: Tensor, there_t: Tensor, back_t: Tensor) -> Tensor:
        ctx.transposed = there_t, back_t
        return back @ (there @ x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        there_t, back_t = ctx.transposed
        return there_t @ (back_t @ gradient), *[None] * 4


def stored(h: Hypergraph, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return torch.sparse products with H and H^T, each stored by rows, so that no pass transposes."""
    left, middle, right = h.scales("sym", torch.float32)
    there = kernels.csr_matrix(h.by_hyperedge, middle, right, h.num_nodes).to(dtype)
    there_t = kernels.csr_matrix(h.by_node, right, middle, h.num_hyperedges).to(dtype)
    back = kernels.csr_matrix(h.by_node, left, None, h.num_hyperedges).to(dtype)
    back_t = kernels.csr_matrix(h.by_hyperedge, None, left, h.num_nodes).to(dtype)
    return lambda x: _Stored.apply(x, there, back, there_t, back_t)


def ours(h: Hypergraph) -> Callable[[Tensor], Tensor]:
    """Return `h.propagate`, which must not fall back to the reference kernels."""
    chosen = kernels_for(torch.empty(0, 1, device=h.device)).__name__
    if h.device.type == "cuda" and chosen != "graphs.kernels.gpu":
        raise ImportError(f"triton is not installed: {chosen} would be measured")
    return h.propagate


CONTENDERS: dict[str, tuple[Callable[[Hypergraph], Callable[[Tensor], Tensor]], torch.dtype]] = {
    PYG: (kernels.pyg, torch.float32),
    AUTOGRAD: (kernels.torch_csr, torch.float32),
    STORED: (lambda h: stored(h, torch.float32), torch.float32),
    STORED_HALF: (lambda h: stored(h, torch.bfloat16), torch.bfloat16),
    OURS: (ours, torch.float32),
    HALF: (ours, torch.bfloat16),
}


def measure_kernels(section: Section, device: torch.device, sizes: Sizes, envs: Path) -> None:
    """Time forward and backward of every contender on every hypergraph, and the bandwidth of a copy."""
    if found := section.measure("copy bandwidth", lambda: copy_bandwidth(device, sizes)):
        section.keep(found)
    for name, shape in sizes.graphs.items():
        h = section.measure(name, lambda shape=shape: kernels.power_law(*shape).to(device))
        if h is not None and (row := section.measure(name, lambda h=h, name=name: race(section, name, h, sizes))):
            section.keep(row)


def copy_bandwidth(device: torch.device, sizes: Sizes) -> dict:
    """Measure the bytes per second that a large copy within the device reads and writes."""
    source = torch.zeros(sizes.copied, device=device)
    target = torch.empty_like(source)
    seconds = [kernels.timed(lambda: target.copy_(source), device.type) for _ in range(23)][3:]
    return {"copy": 2 * source.nbytes / statistics.median(seconds), "seconds": seconds}


def race(section: Section, graph: str, h: Hypergraph, sizes: Sizes) -> dict | None:
    """Check every contender on one hypergraph, then time them in turn."""
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(h.num_nodes, sizes.dim, generator=generator).to(h.device) for _ in range(2))
    runs, calls, row = {}, {}, {"graph": graph, "errors": {}, "same_bits": {}}

    def ready(name: str) -> None:
        make, dtype = CONTENDERS[name]
        step, given = make(h), (x.to(dtype), gradient.to(dtype))
        row["errors"][name] = error_of(name, kernels.forward_backward(step, *given), exact(name, h, *given))
        leaf = given[0].clone().requires_grad_()
        whole = lambda: kernels.forward_backward(step, *given)  # noqa: E731
        row["same_bits"][name] = all(torch.equal(a, b) for a, b in zip(whole(), whole(), strict=True))
        runs[name] = {"forward": lambda: step(leaf), "both": whole}
        calls[name] = {}
        for part, run in runs[name].items():
            run()
            took = kernels.timed(run, h.device.type)
            calls[name][part] = int(min(50, max(1, sizes.together / max(took, 1e-9))))

    for name in CONTENDERS:
        section.measure(f"{graph}, {name}", lambda name=name: ready(name))
    times: dict[str, dict[str, list[float]]] = {part: {name: [] for name in runs} for part in ("forward", "both")}
    for number in range(sizes.rounds):
        if number >= 3:
            if section.left() <= 0:
                break
        else:
            section.check()
        for name, parts in runs.items():
            for part, run in parts.items():
                many = calls[name][part]
                times[part][name].append(kernels.timed(repeated(run, many), h.device.type) / many)
    shape = {"nodes": h.num_nodes, "hyperedges": h.num_hyperedges, "incidences": h.num_incidences, "dim": sizes.dim}
    cache = torch.cuda.get_device_properties(h.device).L2_cache_size if h.device.type == "cuda" else 0
    index = h.by_node.indices.element_size()
    amount = {kind: 2 * bytes_of(shape, 4, index, fits) for kind, fits in (("needed", None), ("moved", cache))}
    return row | shape | times | {"calls": calls, "l2": cache, "bytes": amount}


def exact(name: str, h: Hypergraph, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return result and gradient of the first columns by the reference kernels in float64."""
    with use_kernels("reference"):
        few = (a[:, :4].double() for a in (x, gradient))
        return kernels.forward_backward(lambda x: h.propagate(x, norm=kernels.norm_of(name)), *few)


def error_of(name: str, found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> float:
    """Return the largest error of result and gradient, relative to the largest entry; raise where it is wrong."""
    pairs = [(a[:, :4].double(), b) for a, b in zip(found, expected, strict=True)]
    error = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
    allowed = 2e-2 if found[0].dtype == torch.bfloat16 else 1e-5
    if not error < allowed:
        raise ValueError(f"{name} is wrong by {error:.1e}")
    return error


def repeated(run: Callable[[], object], many: int) -> Callable[[], None]:
    """Return a function that calls another several times and keeps nothing."""

    def calls() -> None:
        for _ in range(many):
            run()

    return calls


def bytes_of(shape: dict, item: int, index: int, cache: int | None) -> int:
    """Count the bytes of one pass there and back; gathered rows count once if their matrix fits the cache, or if None.

    >>> bytes_of({"nodes": 3, "hyperedges": 2, "incidences": 5, "dim": 4}, item=4, index=4, cache=None)
    200
    >>> bytes_of({"nodes": 3, "hyperedges": 2, "incidences": 5, "dim": 4}, item=4, index=4, cache=40)
    232
    """
    row, total = shape["dim"] * item, 0
    for source, target in (("nodes", "hyperedges"), ("hyperedges", "nodes")):
        held = shape[source] * row
        read = held if cache is None or held <= cache else shape["incidences"] * row
        total += read + shape[target] * row + shape["incidences"] * index
    return total


# --- training --------------------------------------------------------------------------------------------------------


def world(scale: float) -> Dataset:
    """Make the planted world `drift`, with titles and three columns of users that say nothing."""
    found, rng = planted("drift", scale=scale).dataset, np.random.default_rng(0)
    columns = {"gender": 3, "age": 8, "occupation": 22}
    users = Users(
        found.interactions.num_users,
        fields={
            n: Category.plain(rng.integers(1, size, found.interactions.num_users), size) for n, size in columns.items()
        },
    )
    titles = np.array([f"word{k % 50} word{k % 7}" for k in range(found.interactions.num_items)])
    return replace(found, users=users, items=replace(found.items, titles=titles))


def made_ready(name: str, dataset: Dataset) -> Prepared:
    """Prepare one of RUNS as `hyperctr train` does."""
    tables, preset = RUNS[name]
    return prepare(config.read_run({"data": {"path": "planted"}} | tables, preset=preset), dataset)


def with_batch(ready: Prepared, batch: int) -> Prepared:
    """Return the same run with another batch size."""
    return replace(ready, run=replace(ready.run, train=replace(ready.run.train, batch_size=batch)))


def model_on(device: torch.device, ready: Prepared) -> nn.Module:
    """Build the run's model on the CPU, and move it."""
    torch.manual_seed(ready.run.train.seed)
    return build_model(ready).to(device)


def endless(batches: Callable[[int], Iterable[Batch]]) -> Iterator[Batch]:
    """Yield the batches of one epoch after the other."""
    return (batch for epoch in count(1) for batch in batches(epoch))


def rate(section: Section, model: nn.Module, source: Iterator[Batch], train: config.Train, sizes: Sizes) -> dict:
    """Train for some seconds and count the rows; from one propagation's last batch to another's last.

    Steps are counted as forward passes begin: on a GPU batches are made ahead, by a thread.
    """
    device, found, now = next(model.parameters()).device, {}, time.perf_counter
    began, rows, steps, loading, first, closed = None, 0, 0, 0.0, now(), False

    def batches(epoch: int) -> Iterator[Batch]:
        nonlocal loading
        while not found:
            section.check()
            asked = now()
            batch = next(source)
            loading += now() - asked
            yield batch

    def note(_: nn.Module, given: tuple[Batch]) -> None:
        nonlocal began, rows, steps, loading, closed
        if closed and began is None and steps >= 3 and now() - first >= sizes.warm:
            synchronize(device)
            began, rows, steps, loading = now(), 0, 0, 0.0
        elif closed and began is not None and now() - began >= sizes.seconds and not found:
            synchronize(device)
            found.update(rows=rows, steps=steps, seconds=now() - began, loading=loading)
        rows, steps, closed = rows + len(given[0]), steps + 1, given[0].closes_group

    model.register_forward_pre_hook(note)
    fit(model, batches, lambda: 0.5, replace(train, epochs=1, eval_every=1.0))
    return found


def first_groups(batches: Iterable[Batch], least: int) -> list[Batch]:
    """Return at least this many batches where there are as many, up to the end of a propagation."""
    found: list[Batch] = []
    for batch in batches:
        found.append(batch)
        if len(found) >= least and batch.closes_group:
            break
    return found


def measure_training(section: Section, device: torch.device, sizes: Sizes, envs: Path) -> None:
    """Count training rows per second of every model and batch size, on the device and then on the CPU."""
    dataset, ready = world(sizes.scale), {}
    for where in (device, torch.device("cpu")):
        for batch in sizes.batches:
            for name in RUNS:
                if where == device and name not in ready:
                    ready[name] = section.measure(f"{name}, prepared", lambda name=name: made_ready(name, dataset))
                if ready.get(name) is not None:
                    one_training(section, where, name, with_batch(ready[name], batch), sizes)


def one_training(section: Section, device: torch.device, name: str, ready: Prepared, sizes: Sizes) -> None:
    """Measure one model, batch size and device, with and without the loader."""
    train = ready.run.train
    row = {"model": name, "batch": train.batch_size, "device": device.type}
    what = f"{name}, batch {train.batch_size}, {'the CPU' if device.type == 'cpu' else 'the GPU'}"
    source = endless(ready.train_batches)
    found = section.measure(what, lambda: rate(section, model_on(device, ready), source, train, sizes))
    if found is None:
        return
    if device.type == "cpu":  # where nothing runs beside the loader
        without = found | {"seconds": found["seconds"] - found["loading"]}
    else:
        again = lambda: cycle(first_groups(ready.train_batches(1), sizes.kept))  # noqa: E731
        how = lambda: rate(section, model_on(device, ready), again(), train, sizes)  # noqa: E731
        without = section.measure(f"{what}, without the loader", how)
    section.keep(row | {"with_loader": found, "without_loader": without})


# --- beside FuxiCTR --------------------------------------------------------------------------------------------------


def measure_fuxictr(section: Section, device: torch.device, sizes: Sizes, envs: Path) -> None:
    """Count training rows per second of DeepFM and DIN, ours and FuxiCTR's, on the same rows and sizes."""
    python = peer_python(envs)
    if python is None:
        section.miss("FuxiCTR", "fuxictr is not installed; benchmarks/peers/environments.py makes its environment")
        return
    made = training.world(sizes.users, sizes.users, training.HISTORY, 4 * max(sizes.batches), time.perf_counter)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        training.save_rows(made, rows)
        for batch in sizes.batches:
            for name in training.SIZES:
                row = {"model": name, "batch": batch, "device": device.type}
                train = replace(training.BARE, batch_size=batch)
                source = endless(
                    lambda n, batch=batch: made.loader.batches(made.train, batch, seed=(0, n), shuffle=True)
                )
                our = lambda name=name, train=train, source=source: rate(  # noqa: E731
                    section, training.built(name, made).to(device), source, train, sizes
                )
                mine = section.measure(f"{name}, batch {batch}, ours", our)
                theirs = section.measure(
                    f"{name}, batch {batch}, FuxiCTR",
                    lambda name=name, batch=batch: peer_report(python, name, rows, batch, device, section.left()),
                )
                if mine or theirs:
                    section.keep(row | {"ours": mine, "fuxictr": theirs})


def peer_python(envs: Path) -> str | None:
    """Return the Python that has FuxiCTR: of its environment, or this one."""
    found = envs / "fuxictr" / "bin" / "python"
    if found.exists():
        return str(found)
    return sys.executable if find_spec("fuxictr") else None


def peer_report(python: str, model: str, rows: Path, batch: int, device: torch.device, seconds: float) -> dict:
    """Train three epochs with FuxiCTR in a process of its own and return what it reports."""
    words = ["fuxictr", model, rows, "--epochs", 3, "--threads", torch.get_num_threads(), "--batch", batch]
    words += ["--gpu", device.index or 0] if device.type == "cuda" else []
    script = ROOT / "benchmarks" / "peers" / "train.py"
    done = subprocess.run([python, script, *map(str, words)], capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise RuntimeError(last_line(done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


# --- one step of HyperCTR --------------------------------------------------------------------------------------------


def profile_step(section: Section, device: torch.device, sizes: Sizes, envs: Path) -> None:
    """Profile some steps of HyperCTR, each apart."""
    ready = section.measure("profile", lambda: with_batch(made_ready("hyperctr-best", world(sizes.scale)), 512))
    if ready is None:
        return
    rows = section.measure("profile", lambda: profiled(section, model_on(device, ready), ready, sizes))
    for row in rows or ():
        section.keep(row)


def profiled(section: Section, model: nn.Module, ready: Prepared, sizes: Sizes) -> list[dict]:
    """Profile steps after some that warm up; the first profile, which starts the profiler, does not count."""
    device, found = next(model.parameters()).device, []
    wanted = {ProfilerActivity.CPU, ProfilerActivity.CUDA} if device.type == "cuda" else {ProfilerActivity.CPU}
    activities = wanted & supported_activities()

    running, began, rows, number = None, 0.0, 0, 0

    def batches(epoch: int) -> Iterator[Batch]:
        for batch in endless(ready.train_batches):
            section.check()
            if len(found) > sizes.steps:
                return
            yield batch

    def note(_: nn.Module, given: tuple[Batch]) -> None:
        """End the profile of the step before, and begin that of this step: on a GPU a thread makes batches ahead."""
        nonlocal running, began, rows, number
        synchronize(device)
        if running is not None:
            took = time.perf_counter() - began
            running.stop()
            found.append({"rows": rows, "seconds": took} | summary(running.key_averages()))
            running = None
        if number >= sizes.before and len(found) <= sizes.steps:
            running, rows = profile(activities=activities), len(given[0])
            running.start()
            began = time.perf_counter()
        number += 1

    model.register_forward_pre_hook(note)
    try:
        fit(model, batches, lambda: 0.5, replace(ready.run.train, epochs=1, eval_every=1.0))
    finally:
        if running is not None:
            running.stop()
    return found[1:]


def summary(events: Iterable[Any]) -> dict:
    """Count launches, waits and copies of a profile, and list the 15 operations that took longest on the device."""
    events = list(events)
    of_kernels = sum(e.self_device_time_total for e in events if e.device_type == DeviceType.CUDA)
    host = [e for e in events if e.device_type == DeviceType.CPU]
    spent = lambda e: e.self_device_time_total if of_kernels else e.self_cpu_time_total  # noqa: E731
    top = sorted((e for e in host if spent(e) > 0), key=spent, reverse=True)[:15]

    def calls(names: tuple[str, ...]) -> int:
        return sum(e.count for e in host if e.key in names)

    return {
        "launches": calls(LAUNCHES), "waits": calls(WAITS), "copies": calls(COPIES), "device_ms": of_kernels / 1e3,
        "times_of": "device" if of_kernels else "host",
        "operations": [{"name": e.key, "calls": e.count, "ms": spent(e) / 1e3} for e in top],
    }  # fmt: skip


SECTIONS = {
    "tests": run_tests,
    "kernels": measure_kernels,
    "profile": profile_step,
    "training": measure_training,
    "fuxictr": measure_fuxictr,
}


# --- the command -----------------------------------------------------------------------------------------------------


def describe_machine() -> dict:
    """Describe the machine and the versions of what was measured."""
    try:
        import triton

        has_triton = triton.__version__
    except ImportError:
        has_triton = "not installed"
    changed = asked("git", "status", "--porcelain", "--untracked-files=no")
    commit = asked("git", "rev-parse", "--short", "HEAD")
    return {
        "gpu": torch.cuda.get_device_name(0), "driver": asked("nvidia-smi", "--query-gpu=driver_version",
        "--format=csv,noheader", "--id=0"), "cuda": torch.version.cuda, "torch": torch.__version__,
        "triton": has_triton, "python": platform.python_version(), "cpus": os.cpu_count(), "threads": all_threads(),
        "commit": f"{commit} with changes" if commit and changed else commit,
    }  # fmt: skip


def asked(*words: str) -> str | None:
    """Return what a command prints, or None where it fails."""
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def all_threads() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_a_process(name: str, end: float, envs: Path, path: Path) -> dict:
    """Run one section in a process of its own and return what it left; one that overruns its time is killed."""
    words = [sys.executable, __file__, "--child", json.dumps([name, str(path), end]), "--envs", str(envs)]
    why, began = "", time.time()
    with (path.with_suffix(".log")).open("w+") as said:
        try:
            done = subprocess.run(words, stderr=said, stdout=said, timeout=max(1.0, end + GRACE - began))
            if done.returncode:
                said.seek(0)
                why = f"its process ended with {done.returncode}: {last_line(said.read())}"
        except subprocess.TimeoutExpired:
            why = "time"
    found = read_json(path) if path.exists() else {"rows": [], "missing": []}
    if why:
        found["missing"].append({"what": "the rest", "why": why})
    return found | {"seconds": time.time() - began}


def child(name: str, path: str, end: float, envs: Path) -> None:
    """Measure one section in this process."""
    torch.set_num_threads(all_threads())
    malloc.keep_freed_memory()
    section = Section(end, Path(path))
    section.measure(name, lambda: SECTIONS[name](section, torch.device("cuda", 0), Sizes(), envs))
    section.write()


@app.command(help=__doc__)
def main(
    only: Annotated[str, typer.Option(help="Which sections, by comma: " + ", ".join(SECTIONS))] = ",".join(SECTIONS),
    envs: Annotated[Path, typer.Option(help="Folder that peers/environments.py has made")] = Path("envs"),
    out: Annotated[Path, typer.Option(help="Folder of report.json and table.md")] = ROOT / "benchmarks/results/gpu",
    child_of: Annotated[str, typer.Option("--child", hidden=True)] = "",
) -> None:
    if child_of:
        child(*json.loads(child_of), envs)
        return
    names = only.split(",")
    if unknown := set(names) - set(SECTIONS):
        log.print(f"unknown section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
        raise typer.Exit(2)
    if not torch.cuda.is_available():
        log.print(f"no CUDA device here (torch {torch.__version__}): nothing was measured")
        raise typer.Exit(2)
    began = time.time()
    report: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), "sections": {}}
    report["graphs"] = list(kernels.GRAPHS)
    with tempfile.TemporaryDirectory() as folder:
        for name, end in schedule(names, began).items():
            log.print(f"{name}: {end - time.time():.0f} s at most")
            found = report["sections"][name] = in_a_process(name, end, envs, Path(folder) / f"{name}.json")
            log.print(f"  {found['seconds']:.0f} s, {len(found['missing'])} not measured")
    report |= {"verdicts": verdicts(report), "seconds": time.time() - began}
    write_json(out / "report.json", report)
    write_text(out / "table.md", text := table(report))
    print(text)
    if not all(v["reached"] for v in report["verdicts"]):
        log.print("not everything that was expected was reached")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
