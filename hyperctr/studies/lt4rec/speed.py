"""How fast LT4REC's pruned networks answer: every exact form of them against the dense one, on one CPU thread.

    DIR/results.csv   a line for each repeat, mask, density, batch and form; called again, only what is missing is timed
    DIR/bench.json, table.csv, report.md, lt4rec-speed.png

The network is that of the paper's sizes (20 fields of width 32) with weights and masks made here: what it answers means
nothing. Or it is a finished run's own. Time is that of the core, which stands while other processes have it; the forms
are called in turn, again and again. A form's time is that of its fastest call, and a speed-up the dense one's over it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score, mean_interval
from hyperctr.experiments import results
from hyperctr.files import write_csv, write_text
from hyperctr.layers.multitask import TASKS
from hyperctr.models.lt4rec import prune, prune_units
from hyperctr.reporting import figures, markdown
from hyperctr.serving.sparse import MODES, Network, Step, clock, compact, export
from hyperctr.studies import files, tables
from hyperctr.studies.lt4rec.figures import draw_speed
from hyperctr.studies.study import Bench, grid, noisy

BENCH = Bench("lt4rec-speed", "LT4REC, section 2.2: how long a pruned network takes", "density",
              ("1", "0.67", "0.45", "0.3", "0.2", "0.1", "0.05"), "weights left")  # fmt: skip
WIDTHS = (1040, 512, 256, 128)  # 20 fields of 32, their 400 products, and the authors' layers
BATCHES = (1, 16, 64, 256, 1024)
ASKED, AT, FILE = (1, 64, 1024), 0.2, 0.4  # batches and density of which a speed-up of TWICE is asked; share of bytes
TWICE = 2.0
SECONDS = 1.0  # for each mask, density and batch of a repeat
COLUMNS: dict[str, type] = {
    "repeat": int, "masks": str, "density": float, "batch": int, "form": str, "fastest": float, "p50": float,
    "p95": float, "multiply_adds": int, "bytes": int, "apart": float,
}  # fmt: skip
"""Columns of results.csv; times in milliseconds, apart: largest difference to the dense answer, of its size."""


def run(
    values: list[str], repeats: int, out: Path, masks: Path | None = None, say: Callable[[str], None] = print
) -> dict:
    """Time what is missing, then write table, report and figure; gives what bench.json holds.

    Args:
        values: densities instead of BENCH's; [] for these.
        repeats: how often everything is timed.
        out: the bench's folder.
        masks: a finished run of LT4REC whose networks are timed as they are.
        say: prints one line.

    Raises:
        ValueError: a value that cannot be, or a folder that holds something else.
    """
    if masks and values:
        raise ValueError("a run's networks have the densities that they have: give --masks or --values")
    shares = grid(BENCH, values, "shares in (0, 1]", right=lambda share: 0 < share <= 1)
    densities = sorted({float(share) for share in shares}, reverse=True)  # the dense network first
    facts = {
        "bench": BENCH.name, "title": BENCH.title, "masks": str(masks) if masks else "", "densities": densities,
        "repeats": repeats, "notes": noisy(), "cores": os.cpu_count(), "torch": torch.__version__,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    held = json.loads((out / "bench.json").read_text())["facts"] if (out / "bench.json").exists() else facts
    if (held.get("bench"), held.get("masks")) != (BENCH.name, facts["masks"]):
        raise ValueError(f"{out} holds another bench, or one of other masks; choose another --out")
    write_text(out / "bench.json", json.dumps({"facts": facts}, indent=1))
    made = _of_run(masks) if masks else networks(densities)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for repeat in range(repeats):
            for name, density, network in made:
                for batch in BATCHES:
                    key = (repeat, name, density, batch)
                    if key not in {(r["repeat"], r["masks"], r["density"], r["batch"]) for r in _results(out)}:
                        for line in timed(network, batch, SECONDS):
                            line |= {"repeat": repeat, "masks": name, "density": density, "batch": batch}
                            results.append_result(out / "results.csv", line, COLUMNS)
                say(f"repeat {repeat + 1} of {repeats}: {name}, {density:.3g} of the weights")
    finally:
        torch.set_num_threads(threads)
    return redraw(out)


def timed(network: Network, batch: int, seconds: float) -> list[dict[str, Any]]:
    """A line for each form of a network: how long it takes, how large it is, how near its answers are to the dense's.

    Args:
        network: as `export` gives it, dense.
        batch: rows at a time.
        seconds: how long all forms together are timed.
    """
    small = compact(network)
    forms = {"dense": network, "compact": small, "csr": replace(small, mode="csr")}
    x = torch.randn(batch, network.steps[0].weight.shape[1], generator=torch.Generator().manual_seed(0))
    answers, times = {name: form(x) for name, form in forms.items()}, clock(forms, x, seconds, time.thread_time)
    size = float(answers["dense"].abs().max()) or 1.0
    found = []
    for name, form in forms.items():
        fastest, p50, p95 = np.quantile(times[name], [0, 0.5, 0.95])
        with tempfile.TemporaryDirectory() as folder:
            form.save(Path(folder) / "network")
            held = (Path(folder) / "network").stat().st_size
        if name == "dense":
            held = sum(4 * (step.weight.numel() + len(step.bias)) for step in form.steps)  # as anyone would keep it
        found.append({
            "form": name, "fastest": float(fastest), "p50": float(p50), "p95": float(p95),
            "multiply_adds": form.describe()["multiply_adds"], "bytes": held,
            "apart": float((answers[name] - answers["dense"]).abs().max()) / size,
        })  # fmt: skip
    return found


def networks(densities: Sequence[float]) -> list[tuple[str, float, Network]]:
    """Networks of WIDTHS with pruned weights and with pruned units, at every density (that of units: of weights)."""
    torch.manual_seed(0)
    shapes = [*zip(WIDTHS[1:], WIDTHS, strict=False)]
    weights = [torch.nn.init.xavier_normal_(torch.empty(shape)) for shape in shapes]
    biases, head = [0.1 * torch.randn(n) for n, _ in shapes], torch.randn(1, WIDTHS[-1])
    first = [torch.ones(shape, dtype=torch.bool) for shape in shapes]
    found = []
    for name in ("weights", "units"):
        for density in densities:
            masks = first
            if density < 1:
                masks = prune(weights, first, first, density) if name == "weights" else _units(weights, first, density)
            layers = zip(weights, masks, biases, strict=True)
            steps = [Step(weight * mask, bias * mask.any(1), 0.0) for weight, mask, bias in layers]
            network = Network((*steps, Step(head, torch.zeros(1), 1.0)))
            if (name, density) != ("units", 1.0):  # the same as with weights
                found.append((name, density, network))
    return found


def _units(weights: list, first: list, density: float) -> list:
    """Masks of units that leave at most this share of the weights."""
    total = sum(mask.numel() for mask in first)
    for share in np.linspace(1, 0, 101)[1:]:
        masks = prune_units(weights, first, first, float(share))
        if sum(int(mask.sum()) for mask in masks) <= density * total:
            return masks
    return masks


def _of_run(path: Path) -> list[tuple[str, float, Network]]:
    """Both tasks' networks of a finished run."""
    from hyperctr.runs.open import open_run

    model, found = open_run(path).model, []
    for task in TASKS:
        network = export(model, task, "dense")
        layers = network.steps[:-1]
        left, total = (sum(f(step.weight) for step in layers) for f in (torch.count_nonzero, torch.numel))
        found.append((task, round(int(left) / total, 4), network))
    return found


def _results(out: Path) -> list[dict]:
    path = out / "results.csv"
    return results.read_results(path, COLUMNS) if path.exists() else []


# --- what was found --------------------------------------------------------------------------------------------------


def redraw(out: Path) -> dict:
    """Write table, report and figure again from bench.json and results.csv; gives what bench.json holds."""
    facts, lines = json.loads((out / "bench.json").read_text())["facts"], _results(out)
    rows = summed(lines)
    found = {"facts": facts, "rows": rows, "claims": _claims(rows), "warnings": facts["notes"], "failed": []}
    write_csv(out / "table.csv", rows)
    figure, axes = draw_speed(rows, TWICE)
    about = f"{facts['masks'] or 'x'.join(map(str, WIDTHS))}, one thread, {facts['repeats']} repeats"
    figures.titles(axes, facts["title"], about)
    figures.save(figure, out / f"{BENCH.name}.png")
    claims = [["claim", "here", "verdict"], *([c["claim"], c["here"], f"**{c['verdict']}**"] for c in found["claims"])]
    parts = [f"# {facts['title']}", about, "## Verdicts", markdown.table(claims), "## Table", _table(rows),
             "Times are milliseconds of a core in the fastest call; a speed-up is the dense network's over it, "
             "± its 95 % t interval over repeats. Bytes are those of the file. Apart: largest difference to the dense "
             "answer, as a share of the largest one.",
             f"![{facts['title']}]({BENCH.name}.png)"]  # fmt: skip
    parts += ["## Before comparing", "\n".join(f"- {line}" for line in found["warnings"])] if found["warnings"] else []
    write_text(out / "report.md", "\n\n".join(parts) + "\n")
    write_text(out / "bench.json", json.dumps(files.without_nan(found), indent=1))
    return found


def summed(lines: list[dict]) -> list[dict]:
    """One entry for each mask, density, batch and form: medians over repeats, speed-up and its interval."""
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        groups.setdefault((line["masks"], line["density"], line["batch"], line["form"]), []).append(line)
    found = []
    for (masks, density, batch, form), some in groups.items():
        dense = {line["repeat"]: line["fastest"] for line in groups[masks, density, batch, "dense"]}
        speed = mean_interval([dense[line["repeat"]] / line["fastest"] for line in some])
        held = groups[masks, density, batch, "dense"][0]["bytes"]
        entry = {"masks": masks, "density": density, "batch": batch, "form": form, "n": len(some)}
        entry |= {name: statistics.median(line[name] for line in some) for name in ("fastest", "p50", "p95")}
        entry |= {"speed": speed[0], "speed_half": speed[1], "multiply_adds": some[0]["multiply_adds"]}
        found.append(entry | {"bytes": some[0]["bytes"], "share": some[0]["bytes"] / held, "apart": some[0]["apart"]})
    return found


def _claims(rows: list[dict]) -> list[dict]:
    """Twice as fast at AT of the weights and each of ASKED, for every kind of masks; and small enough a file."""
    found = []
    for masks in dict.fromkeys(row["masks"] for row in rows):
        known = sorted({row["density"] for row in rows if row["masks"] == masks}, key=lambda x: abs(x - AT))
        some = [r for r in rows if (r["masks"], r["density"]) == (masks, known[0]) and r["form"] != "dense"]
        what = f"masks of {masks}, {known[0]:.3g} of the weights"
        for batch in ASKED:
            best = max((r for r in some if r["batch"] == batch), key=lambda r: r["speed"], default=None)
            if best is None:
                continue
            value = Score(best["speed"] - TWICE, best["speed_half"], best["n"])
            half = "" if math.isnan(best["speed_half"]) else f" ± {best['speed_half']:.2f}"
            text = f"{what}, batch {batch}: at least {TWICE:g} times as fast as dense"
            here = f"{best['form']}: {best['speed']:.2f}{half} times, n={best['n']}"
            found.append(tables.claim(text, (here, significance.judge_gains([value]))))
        share = min((r["share"] for r in some), default=math.nan)
        verdict = "reproduced" if share <= FILE else "contradicted"
        text = f"{what}: a file of at most {FILE:.0%} of the dense one's"
        found.append(tables.claim(text, (f"{share:.1%}", verdict)))
    return found


def _table(rows: list[dict]) -> str:
    lines = [["masks", "weights left", "batch", *(f"{form}, ms" for form in MODES), "compact: speed-up",
              "csr: speed-up", "multiply-adds: compact, csr", "file: compact, csr", "apart"]]  # fmt: skip
    for masks, density, batch in dict.fromkeys((r["masks"], r["density"], r["batch"]) for r in rows):
        forms = {r["form"]: r for r in rows if (r["masks"], r["density"], r["batch"]) == (masks, density, batch)}
        sparse = [forms[form] for form in MODES[1:]]
        speeds = [f"{r['speed']:.2f}" + ("" if math.isnan(r["speed_half"]) else f" ± {r['speed_half']:.2f}")
                  for r in sparse]  # fmt: skip
        lines.append([
            masks, f"{density:.3g}", str(batch), *(f"{forms[form]['fastest']:.3f}" for form in MODES), *speeds,
            ", ".join(f"{r['multiply_adds']:,}" for r in sparse), ", ".join(f"{r['share']:.0%}" for r in sparse),
            f"{max(r['apart'] for r in sparse):.0e}",
        ])  # fmt: skip
    return markdown.table(lines)
