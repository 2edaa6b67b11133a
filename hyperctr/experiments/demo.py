"""Run `hyperctr demo`: train models and referees on a planted world, and compare them with the best possible score."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hyperctr import config
from hyperctr.data import catalog, download
from hyperctr.data import planted as synthetic
from hyperctr.evaluation.metrics import gap_closed
from hyperctr.experiments.results import REFEREES
from hyperctr.experiments.sweep import BASELINES

NEEDED = 0.75  # share of the way from popularity to the learnable ceiling
EVERY, DEPTH = "7d,30d,90d", "0,1,3"
PRESET = "hyperctr-best"
RUNS = {
    "popularity": BASELINES["popularity"],
    "mf": BASELINES["mf"],
    "hyperctr": {"train": {"epochs": 2, "eval_every": 1.0, "lr": 4e-3, "batch_size": 256}, "model": {"depth": 1}},
}
SMALL = {"train": {"epochs": 1, "eval_every": 1.0, "warmup": 20, "lr": 4e-3, "batch_size": 256}, "model": {}}
"""What the demo's sweep changes in the preset: it trains a few steps and scores few rows, to end in minutes."""


def planted(seed: int, say: Callable[[str], None], bars: Callable, device: str = "auto") -> bool:
    """Train popularity, static MF, HyperCTR and the referees on the world `drift`.

    Args:
        seed: seed of the world and of the trainings.
        say: prints one line.
        bars: shows progress over batches, as in `runs.train`.
        device: where HyperCTR trains, as `train.device`.

    Returns:
        Whether the order of popularity, static MF, HyperCTR and the ceiling is as it must be.
    """
    from hyperctr.runs.prepare import prepare
    from hyperctr.runs.train import train

    began = time.perf_counter()
    world = synthetic.planted("drift", seed, scale=0.8)
    data = world.dataset
    log = data.interactions
    say(f"model      HyperCTR is the preset {PRESET}, trained shortly")
    say(f"data       planted 'drift': {log.num_users:,} users, {log.num_items:,} items, {len(log):,} impressions, "
        f"{len(data.items.modalities)} modalities, no network used")  # fmt: skip
    reports: dict[str, Any] = {}
    for name, settings in (RUNS | {name: {"model": {}, "train": {}} for name in REFEREES}).items():
        run = _run(
            "planted-drift", name, settings, seed, threads=1, device=device
        )  # steps are small: two threads mostly wait
        reports[name] = train(run, dataset=data, progress=bars)
    parts = prepare(_run("planted-drift", "popularity", RUNS["popularity"], seed), data).split
    ceiling, learnable = world.ceiling(parts.test), world.learnable(parts.train, parts.test)
    floor = reports["popularity"]["test"]["auc"]
    say(f"split      by time: {len(parts.train):,} train, {len(parts.valid):,} valid, {len(parts.test):,} test rows")
    say(
        f"{'':11} {'AUC':>14} {'user AUC':>9} {'in session':>10} {'logloss':>8} {'way to learnable':>17} {'seconds':>8}"
    )
    for name, report in reports.items():
        s = report["test"]
        say(f"{name:11} {s['auc']:.4f} ± {(s['auc_high'] - s['auc_low']) / 2:.4f} {s['user_auc']:9.4f} "
            f"{s['user_session_auc']:10.4f} {s['logloss']:8.4f} {gap_closed(s['auc'], floor, learnable):17.0%} "
            f"{report['seconds']:8.1f}")  # fmt: skip
    say(
        f"{'learnable':11} {learnable:.4f}   an oracle that knows the item clusters and learns users from the same rows"
    )
    say(f"{'ceiling':11} {ceiling:.4f}   the true probabilities: no model can do better")
    got = reports["hyperctr"]["test"]
    share = gap_closed(got["auc"], floor, learnable)
    checks = {
        f"HyperCTR closes {share:.0%} of the way from popularity to the learnable score (needed {NEEDED:.0%})": share
        >= NEEDED,
        "HyperCTR is above static MF": got["auc"] > reports["mf"]["test"]["auc"],
        "HyperCTR is not above the ceiling": got["auc_low"] <= ceiling,
    }
    for text, holds in checks.items():
        say(f"{'ok' if holds else 'WRONG':11} {text}")
    for name in REFEREES:
        if got["auc"] < (referee := reports[name]["test"]["auc"]):
            say(f"{'below':11} HyperCTR is below {name}: AUC {got['auc']:.4f}, {name} {referee:.4f}")
    say(f"{time.perf_counter() - began:.0f} s")
    return all(checks.values())


def sweep_run(say: Callable[[str], None], device: str = "auto") -> tuple[config.Run, str]:
    """Make the base run of the demo's sweep, on ML-100K, or on the planted world if ML-100K cannot be fetched."""
    name = "ml-100k"
    try:
        path = catalog.find(name)
    except ValueError:
        try:
            path = download.get(name, None, say=say)
        except (ValueError, OSError) as error:
            say(f"ML-100K cannot be fetched here ({error}): sweeping the planted world instead")
            name = "planted-drift"
            path = download.get("planted", None, preset="drift", say=say)
    run = _run(str(path), "hyperctr", SMALL, 0, device=device)
    few = {"max_positives": 4_000, "valid_positives": 1_000, "valid_negatives": 20}
    return replace(run, evaluate=replace(run.evaluate, **few)), name


def _run(path: str, model: str, settings: dict, seed: int, threads: int = 0, device: str = "auto") -> config.Run:
    tables = {
        "data": {"path": path, "history": 1 if model in BASELINES else 20},
        "slices": {"every": "20d"},
        "model": {"name": model, **settings["model"]},
        "train": {**settings["train"], "seed": seed, "threads": threads, "device": device},
        "evaluate": {"negatives": 20, "max_positives": 10_000},
    }
    return config.read_run(tables, preset=PRESET if model == "hyperctr" else None)
