"""A run that was not trained: its weights are random, and large enough to tell things apart."""

from dataclasses import replace

import numpy as np
import torch

from hyperctr import config
from hyperctr.analysis.asked import Asked
from hyperctr.data import planted
from hyperctr.runs.open import Opened
from hyperctr.runs.prepare import build_model, prepare

HYPERCTR = {"name": "hyperctr", "dim": 8, "depth": 1, "hidden": [8, 4], "attend": True, "branch": "numbers"}
DEEPFM = {"name": "deepfm", "dim": 4, "hidden": [8]}
DIN = {"name": "din", "dim": 4, "hidden": [8, 4]}


def opened_on(dataset, model, std=0.1, **tables):
    """Make a run of a model, by its keys, on a data set; `tables` of the run file beside [model]."""
    whole = {"data": {"path": "planted", "history": 8}, "slices": {"every": "45d"}, "interest": {"mode": "none"}}
    whole |= {"model": model, "train": {"threads": 1}}
    for name, keys in tables.items():
        whole[name] = whole.get(name, {}) | keys
    ready = prepare(config.read_run(whole), dataset)
    torch.manual_seed(1)
    made = build_model(ready)
    with torch.no_grad():
        for x in made.parameters():
            x.copy_(torch.randn_like(x) * std)
    return Opened(ready, made.eval(), {})


def world(kind="drift", scale=0.02, clicks_alone=False):
    """Make a planted world; of its clicks alone, negatives are drawn."""
    data = planted.planted(kind, scale=scale).dataset
    log = data.interactions
    if not clicks_alone:
        return data
    return replace(data, interactions=replace(log.take(log.clicks()), logged_non_clicks=False))


def asked_of(opened, k, item=None):
    """Ask for a row of the log, or for another item at its user and time."""
    log, ids = opened.prepared.dataset.interactions, opened.prepared.dataset
    when = np.datetime64(int(log.time[k]), "us") if log.has_time else int(log.time[k])
    return Asked.of(opened, ids.users.ids[log.user[k]], ids.items.ids[log.item[k] if item is None else item], when)
