"""The tiny runs whose numbers are golden: how each is made, what is kept of it, and how two are compared.

All ways into the code stand here, below the imports, and nowhere else in this folder.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from graphs import Hypergraph
from hyperctr import config
from hyperctr.cli.main import main
from hyperctr.data import planted as synthetic
from hyperctr.data.columns import Category, Column, Number
from hyperctr.evaluation.evaluate import score
from hyperctr.models import MODELS, REFEREES, WRAPPERS  # noqa: F401
from hyperctr.runs import report as reports
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run

HERE = Path(__file__).resolve().parent
GOLDEN, RUNS, WORLDS, OLD = HERE / "golden.json", HERE / "runs", HERE / "worlds", HERE / "old"
RTOL, ATOL = 1e-3, 3e-4  # between machines; another order of draws moves numbers further
LOOSE = dict.fromkeys(
    ("hyperctr-clusters", "hyperctr-aqcl", "din-aqcl", "aqcl-table2", "hyperctr-random", "hyperctr-lt4rec"), 2e-2
)
"""ATOL where a last bit can decide (clusters, codes) or grows most; another seed moves some number by over 1."""

SWEEP = ("sweep", "--base", RUNS / "hyperctr.toml", "--every", "30d", "--depth", "0,2", "--seeds", "2")
TABLE4 = ("bench", "table4", "--base", RUNS / "hyperctr.toml", "--rows", "popularity,all modalities,no graph")
AQCL = ("bench", "aqcl-table2", "--base", RUNS / "din-aqcl.toml", "--rows", "popularity,DIN,AQCL")
MIAN = ("bench", "mian-table2", "--base", RUNS / "mian.toml", "--rows", "popularity,W&D,MIAN")
MARN = ("bench", "marn-table3", "--base", RUNS / "marn.toml", "--rows", "Base+IDs,MARN")
TICKETS = "base_cvr,s-weight,random masks at 20 %"
LT4REC = ("bench", "lt4rec-table2", "--base", RUNS / "lt4rec.toml", "--rows", TICKETS)
ONE_EPOCH = ("--set", "train.epochs=1", "--jobs", "1", "--no-referees")
TABLES = {"sweep": (*SWEEP, *ONE_EPOCH)} | {
    bench[1]: (*bench, "--seeds", "2", *ONE_EPOCH) for bench in (TABLE4, AQCL, MIAN, MARN, LT4REC)
}
"""The sweep and one study of each paper, as the command line takes them; --out is left to the caller."""


# --- ways into the code --------------------------------------------------------------------------------------------


def read_run(path: Path) -> Any:
    """Read a run file."""
    return config.read_run(path)


def train(path: Path, out: Path, **how: Any) -> dict:
    """Train the run of a file, or continue it, and give its report."""
    return training.train(read_run(path), out, **how)


def scored(folder: Path) -> dict[str, np.ndarray]:
    """Score the test rows with a finished run, opened from its folder; times in whole seconds, as they were golden."""
    opened = open_run(folder)
    found = score(opened.model, opened.prepared.evaluation_batches("test"))
    return found | {"time": found["time"] // 10**6}


def scores(folder: Path, part: str) -> dict[str, float]:
    """Evaluate a finished run, opened from its folder."""
    opened = open_run(folder)
    return opened.prepared.scores(opened.model, part)


def planted(preset: str) -> dict[str, np.ndarray]:
    """Make a small planted world and give its columns."""
    world = synthetic.planted(preset, scale=0.02)
    data = world.dataset
    held = {
        "probability": world.probability,
        **{name: getattr(data.interactions, name) for name in ("user", "item", "label")},
        **{name: getattr(data.interactions, name) for name in ("conversion", "length")},
        "time": data.interactions.time // 10**6,
        **context(data.interactions.context),
        **{f"modality {name}": x for name, x in data.items.modalities.items()},
        **{f"item {name}": x.codes for name, x in data.items.fields.items()},
        **{f"user {name}": x.codes for name, x in data.users.fields.items()},
    }
    return {name: np.asarray(x) for name, x in held.items() if x is not None}


def context(columns: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """Give the categories side by side, and every other column by its name."""
    codes = [x.codes for x in columns.values() if isinstance(x, Category)]
    others = {f"context {n}": x for n, x in columns.items() if not isinstance(x, Category)}
    arrays = {name: x.values if isinstance(x, Number) else x.codes for name, x in others.items()}
    return ({"context": np.stack(codes, 1)} if codes else {}) | arrays


PRESETS = synthetic.PRESETS


def hypergraph(path: Path) -> Hypergraph:
    """Read a saved hypergraph."""
    return Hypergraph.load(path)


def command(*words: object) -> str:
    """Call the command line in this process and give what it prints.

    Raises:
        AssertionError: its exit code is not 0.
    """
    held, out, err, code = sys.argv, io.StringIO(), io.StringIO(), 0
    sys.argv = ["hyperctr", *map(str, words)]
    try:
        with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as exit:
        code = exit.code or 0
    finally:
        sys.argv = held
    assert code == 0, f"{' '.join(map(str, words))}\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue()


# --- what is kept --------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """Name every run file."""
    return sorted(path.stem for path in RUNS.glob("*.toml"))


@contextmanager
def among_worlds() -> Iterator[None]:
    """Stand in the folder of the data: run files name them from there, so no digest holds a path of a machine."""
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(WORLDS)
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(action="ignore"):  # so small a world teaches little of interests
            yield
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)


def make_run(name: str, out: Path) -> dict:
    """Train a run file in a new folder and give what is golden of it."""
    with among_worlds():
        train(RUNS / f"{name}.toml", out)
        return kept(out)


def kept(folder: Path) -> dict:
    """What is golden of a finished run: its tensors, the scores of its test rows, and the numbers of its report."""
    files = {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    files["scored"] = scored(folder)
    report = reports.read(folder)
    found = {"report": numbers(report), "history": numbers(lines(folder / "history.csv"))}
    return found | tensors(files)


def tensors(files: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """Digest every file of arrays, and give sum and norm of each array."""
    sums = {name: {key: summary(x) for key, x in sorted(file.items())} for name, file in files.items()}
    return {"sums": sums, "sha256": {name: digest(file) for name, file in files.items()}}


def make_table(name: str, out: Path) -> dict:
    """Run a sweep or a study in a new folder and give what is golden of it."""
    with among_worlds():
        command(*TABLES[name], "--out", out)
    return {path.name: numbers(lines(path)) for path in sorted(out.glob("*.csv"))} | {
        path.name: numbers(json.loads(path.read_text())) for path in sorted(out.glob("*.json"))
    }


def make_world(preset: str) -> dict:
    """Make a planted world and give what is golden of it."""
    return tensors({"columns": planted(preset)})


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over sorted names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name, x in sorted(arrays.items()):
        found.update(f"{name} {x.dtype.str} {x.shape}\n".encode() + np.ascontiguousarray(x).tobytes())
    return found.hexdigest()


def summary(x: np.ndarray) -> list[float]:
    """Sum and L2 norm of an array, each divided by the root of its size, so that rounding weighs alike in all."""
    x = np.nan_to_num(x.astype(np.float64))
    return [float(f"{value / math.sqrt(max(x.size, 1)):.9g}") for value in (x.sum(), np.linalg.norm(x))]


SKIPPED = re.compile(
    r"(^|\.)(facts|seconds|paper [^.]*|versions|run|cores|ms|fingerprint|parts|popularity\.(valid|test))(\.|$)|seconds"
    r"|unclicked_item|logloss_constant|user_session_auc|sessions|repeats|(first|return|new)_(auc|rows|positives|share)"
)
"""Times, what depends on the machine, and what reports have had only since golden.json was made."""


def numbers(value: Any, at: str = "") -> dict[str, float]:
    """Give every number below a JSON value by its path, but for times and what depends on the machine."""
    if isinstance(value, Mapping):
        inner: Iterable = ((str(key), x) for key, x in value.items())
    elif isinstance(value, list | tuple):
        inner = ((str(key), x) for key, x in enumerate(value))
    elif isinstance(value, bool | int | float):
        return {at: value}
    elif isinstance(value, str):
        try:
            return {at: float(value)}
        except ValueError:
            return {}
    else:
        return {}
    found: dict[str, float] = {}
    for key, x in inner:
        path = f"{at}.{key}" if at else key
        if not SKIPPED.search(path):
            found |= numbers(x, path)
    return found


def lines(path: Path) -> dict[str, dict[str, str]]:
    """Read a CSV file, each line under the words in it that say what it is, in an order of its own."""
    found: dict[str, dict[str, str]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            which = [line.get(key) for key in ("row", "model", "every", "depth", "task", "layer", "round", "seed")]
            which.append(line.get("epoch"))
            key = " ".join(part for part in which if part).replace(".", ",") or "line"
            while key in found:
                key += "+"
            found[key] = line
    return dict(sorted(found.items()))


# --- comparing -----------------------------------------------------------------------------------------------------


def fingerprint() -> dict[str, str]:
    """What must be equal for two runs to be equal in every bit."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", cpu.read_text()) if cpu.exists() else None
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cpu": found[1] if found else platform.processor(),
    }


def golden() -> dict:
    """Read golden.json."""
    return json.loads(GOLDEN.read_text())


def exactly(made_on: Mapping[str, str] | None = None) -> bool:
    """Whether this machine must give every bit of golden.json, or of an entry of it that was renewed on another."""
    return (made_on or golden()["fingerprint"]) == fingerprint()


DERIVED = re.compile("half|RelaImpr|difference")
"""Gains in percent and intervals over few rows: where bits differ, the scores that they are made of are compared."""


def differences(wanted: Any, found: Any, exact: bool, atol: float = ATOL, at: str = "") -> list[str]:
    """Say where two results differ: in any bit, or between machines by more than RTOL and `atol`, digests aside."""
    if not exact and (at.endswith(".sha256") or DERIVED.search(at)):
        return []
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        gone = [f"{at}: lacks {key}" for key in wanted if key not in found]
        new = [f"{at}: has {key} too" for key in found if key not in wanted]
        both = [differences(wanted[key], found[key], exact, atol, f"{at}.{key}") for key in wanted if key in found]
        return [*gone, *new, *(line for part in both for line in part)]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        both = [differences(a, b, exact, atol, at) for a, b in zip(wanted, found, strict=True)]
        return [line for part in both for line in part]
    numeric = all(isinstance(x, bool | int | float) for x in (wanted, found))
    if numeric and math.isclose(wanted, found, rel_tol=0 if exact else RTOL, abs_tol=0 if exact else atol):
        return []
    if numeric and math.isnan(wanted) and math.isnan(found):
        return []
    return [] if not numeric and wanted == found else [f"{at}: {wanted} was golden, now {found}"]


def compare(name: str, wanted: Any, found: Any, most: float | None = None) -> None:
    """Compare as closely as this machine can, or within `most`, and say on stdout how closely that was.

    Raises:
        AssertionError: something differs.
    """
    wanted = dict(wanted)
    exact, atol = exactly(wanted.pop("fingerprint", None)), LOOSE.get(name, ATOL) if most is None else most
    print("compared bit by bit" if exact else f"compared with rtol {RTOL}, atol {atol}: {fingerprint()} is another")
    wrong = differences(wanted, found, exact, atol)
    assert not wrong, "\n".join([f"{name} differs in {len(wrong)} places", *wrong[:20]])
