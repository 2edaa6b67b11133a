"""HyperCTR's studies (CIKM 2021, arXiv 2109.02398, section 3): which rows they compare."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphs.slices.grid import Granularity
from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.experiments import results
from hyperctr.files import read_csv, write_csv
from hyperctr.studies import study
from hyperctr.studies.hyperctr import published
from hyperctr.studies.study import Bench, Row, modality, timed

MODEL = "hyperctr"
"""The model of a run that names none."""
BENCHES = {
    bench.name: bench
    for bench in (
        Bench("table3", "Table 3: HyperCTR and other models"),
        Bench("table4", "Table 4: modalities, and hypergraphs against a GCN"),
        Bench("layers", "Figure 4: number of HGCN layers", "model.depth", ("0", "1", "2", "3", "4", "5"),
              "HGCN layers (0: no graph)"),
        Bench("granularity", "Figure 5: width of a time slice", "slices.every",
              ("1mo", "2mo", "3mo", "6mo", "9mo", "12mo", "15mo", "18mo"), "slice width (log scale)", True),
        Bench("dim", "Figure 6, top row: width of the embeddings", "model.dim", ("8", "16", "32", "64", "128", "256"),
              "width of the embeddings (log scale)", True),
        Bench("neighbors", "Figure 6, bottom row: sampled neighbours", "model.neighbors",
              ("5", "10", "15", "20", "25", "30", "40"), "members kept of a hyperedge, hyperedges kept of a node"),
        Bench("threads", "Figure 7: speed-up of an epoch with threads", "train.threads",
              ("1", "2", "4", "8", "16", "24"), "threads", timed=True),
        Bench("curve", "Figure 8: the learning curve", "train.eval_every", ("0.05",)),
    )
}  # fmt: skip
COLUMNS: dict[str, type] = {}
"""Columns of results.csv beyond those of every bench."""


def split_of(data: str) -> str:
    """The paper's split: rows drawn at random."""
    return "random"


def planned(
    bench: Bench, base: config.Run, values: list[str], dataset: Dataset, given: Mapping[str, Any]
) -> tuple[config.Run, list[str], list[Row], list[str]]:
    """The run that rows change, the values in order, the rows, and what must be said about them.

    Raises:
        ValueError: the run is of another model; a value cannot be.
    """
    from hyperctr.models import MODELS

    if base.model_name != MODEL:
        raise ValueError(f"{bench.name} studies {MODEL}, the run names {base.model_name}; use model.name = {MODEL}")
    found, notes = _grid(bench, values)
    return base, found, rows(bench, base, found, dataset.items.modalities, MODELS), notes


def rows(
    bench: Bench, base: config.Run, values: Iterable[str], modalities: Iterable[str], models: Mapping
) -> list[Row]:
    """The rows of a bench, popularity and static MF first.

    Args:
        bench: what is studied.
        base: the run that all rows share.
        values: of the key that is varied.
        modalities: what the data hold.
        models: the models that exist, by name.
    """
    simple = [Row(title, model) for model, title in results.BASELINES.items()]
    if bench.name == "table3":
        theirs = [Row(name, name.lower()) for name in published.models()]
        known = {row.model for row in (*simple, *theirs)}
        return [*simple, *theirs[:-1], *(Row(name, name) for name in models if name not in known), theirs[-1]]
    if bench.name == "table4":
        held = list(modalities)
        named = [(modality(name), name) for name in held if len(held) > 1]
        often = Counter(theirs for theirs, _ in named)
        single = [Row(theirs if often[theirs] == 1 else ours, sets=(f"data.modalities={json.dumps([ours])}",))
                  for theirs, ours in named]  # fmt: skip
        last = [Row("GCN, no hypergraph", sets=("model.conv=gcn",)), Row("no graph", sets=("model.depth=0",))]
        return [*simple, Row("all modalities"), *single, *last]
    if bench.name == "threads":
        return [Row(value, sets=timed({"train.threads": value})) for value in values]
    if bench.name == "curve":
        (share,) = values
        patience = round(base.train.patience / float(share))  # validations are that much closer
        return [*simple, Row("HyperCTR", sets=(f"train.eval_every={share}", f"train.patience={patience}"))]
    return [*simple, *(Row(value, sets=_sets(bench.varies, value)) for value in values)]


def facts(bench: Bench, base: config.Run, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """What bench.json must hold of these studies, beside what it holds of every bench: nothing."""
    return {}


def keep(bench: Bench, cells: Mapping[str, tuple[Row, int]], out: Path, anew: bool) -> None:
    """Gather the histories of HyperCTR's runs in curve.csv, a line a validation; `anew` where a run is new.

    Those of runs whose folders are gone stay.
    """
    if bench.name != "curve":
        return
    path, found = out / "curve.csv", []
    held = read_csv(path)
    for cell, (row, seed) in cells.items():
        history = out / "runs" / cell / "history.csv"
        if row.model == MODEL and history.exists():
            held = [line for line in held if line["seed"] != str(seed)]
            found += [{"seed": seed} | {name: p[name] for name in ("epoch", "loss", "valid_auc")}
                      for p in read_csv(history)]  # fmt: skip
    write_csv(path, [*held, *found])


def _grid(bench: Bench, values: list[str]) -> tuple[list[str], list[str]]:
    """The values in order, and what must be said about them."""
    found = values or list(bench.values)
    if bench.name == "curve":
        if len(found) != 1 or not re.fullmatch(r"0?\.\d*[1-9]\d*|1(\.0*)?", found[0]):
            raise ValueError(f"curve takes one share of an epoch, such as --values 0.05, got {','.join(found)}")
        return found, []
    if bench.name == "granularity":
        return sorted(found, key=Granularity.parse), []
    found, notes = study.grid(bench, values, "whole numbers", int, lambda number: number >= 0), []
    if bench.name != "threads":
        return found, notes
    cores = os.cpu_count() or 1
    if over := [value for value in found if int(value) > cores]:
        notes.append(f"this machine has {cores} cores: {', '.join(over)} threads were left out")
    return list(dict.fromkeys(["1", *(value for value in found if 0 < int(value) <= cores)])), notes


def _sets(key: str, value: str) -> tuple[str, ...]:
    if key != "slices.every":
        return (f"{key}={value}",)
    cut = Granularity.parse(value)
    return (f"slices.count={cut.count}",) if cut.by_count else (f'slices.every="{value}"', "slices.count=0")
