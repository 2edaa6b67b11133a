"""Section 2.2 of LT4REC: how fast its pruned networks answer on one CPU thread, against the dense network.

    DIR/results.csv   one line per repeat, mask, density, batch and form; called again, only what is missing is timed
    DIR/bench.json, table.csv, report.md, lt4rec-speed.png

The network has the paper's sizes (20 fields of width 32) with weights and masks made here: what it answers means
nothing. Or it is the network of a finished run. Time is the time of the core, which stops while other processes have
it; the forms are called in turn, again and again. A form's time is that of its fastest call, and a speed-up is the
dense form's time over it.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score, mean_interval
from hyperctr.experiments import results
from hyperctr.files import claim_folder, read_json, write_json
from hyperctr.reporting import markdown
from hyperctr.studies import files, tables
from hyperctr.studies.claims import Verdict
from hyperctr.studies.lt4rec import paper_numbers, setting
from hyperctr.studies.lt4rec.figures import draw_speed
from hyperctr.studies.study import Findings, Grid, Scores, Study, Untrained, noise

if TYPE_CHECKING:
    from hyperctr.serving.sparse import Network

WIDTHS = (1040, 512, 256, 128)  # 20 fields of 32, their 400 products, and the authors' layers
BATCHES = (1, 16, 64, 256, 1024)
ASKED, AT, FILE = (1, 64, 1024), 0.2, 0.4  # batches and density of which a speed-up of TWICE is asked; share of bytes
TWICE = 2.0
SECONDS = 1.0  # for each mask, density and batch of a repeat
FORMS = ("dense", "compact", "csr")
COLUMNS: dict[str, type] = {
    "repeat": int, "masks": str, "density": float, "batch": int, "form": str, "fastest": float, "p50": float,
    "p95": float, "multiply_adds": int, "bytes": int, "apart": float,
}  # fmt: skip
"""Columns of results.csv; times in milliseconds, apart: largest difference to the dense answer, of its size."""


def run(options: Any, out: Path, say: Callable[[str], None]) -> dict:
    """Time what is missing, then write table, report and figure; return the content of bench.json.

    Args:
        options: of the call: densities, repeats, and a finished run whose networks are timed as they are.
        out: the study's folder.
        say: prints one line.

    Raises:
        ValueError: a value that cannot be, or a folder that has something else.
    """
    import torch

    masks, repeats = options.masks, options.seeds or STUDY.seeds
    if masks and options.values:
        raise ValueError("a run's networks have the densities that they have: give --masks or --values")
    densities = sorted({float(share) for share in STUDY.values(options.values)}, reverse=True)  # the dense one first
    facts = {
        "bench": STUDY.name, "title": STUDY.title, "masks": str(masks) if masks else "", "densities": densities,
        "repeats": repeats, "notes": noise(), "cores": os.cpu_count(), "torch": torch.__version__,
    }  # fmt: skip
    with claim_folder(out):
        return _run(out, facts, repeats, densities, say)


def _run(out: Path, facts: dict[str, Any], repeats: int, densities: list[float], say: Callable[[str], None]) -> dict:
    """Time what is missing in a folder that is claimed."""
    import torch

    masks = Path(facts["masks"]) if facts["masks"] else None
    before = read_json(out / "bench.json")["facts"] if (out / "bench.json").exists() else facts
    if (before.get("bench"), before.get("masks")) != (STUDY.name, facts["masks"]):
        raise ValueError(f"{out} has another study, or one of other masks; choose another --out")
    write_json(out / "bench.json", {"facts": facts})
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
    """Return one line per form of a network: how long it takes, how large it is, how near its answers are to the dense.

    Args:
        network: as `export` gives it, dense.
        batch: rows per call.
        seconds: how long all forms together are timed.
    """
    import torch

    from hyperctr.serving.sparse import clock, compact

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
            size = (Path(folder) / "network").stat().st_size
        if name == "dense":
            size = sum(4 * (step.weight.numel() + len(step.bias)) for step in form.steps)  # as its numbers alone
        found.append({
            "form": name, "fastest": float(fastest), "p50": float(p50), "p95": float(p95),
            "multiply_adds": form.describe()["multiply_adds"], "bytes": size,
            "apart": float((answers[name] - answers["dense"]).abs().max()) / size,
        })  # fmt: skip
    return found


def networks(densities: Sequence[float]) -> list[tuple[str, float, Network]]:
    """Return networks of WIDTHS with pruned weights and with pruned units, at every density of weights."""
    import torch

    from hyperctr.models.lt4rec import prune
    from hyperctr.serving.sparse import Network, Step

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
    """Return masks of units that leave at most this share of the weights."""
    from hyperctr.models.lt4rec import prune_units

    total = sum(mask.numel() for mask in first)
    for share in np.linspace(1, 0, 101)[1:]:
        masks = prune_units(weights, first, first, float(share))
        if sum(int(mask.sum()) for mask in masks) <= density * total:
            return masks
    return masks


def _of_run(path: Path) -> list[tuple[str, float, Network]]:
    """Return both tasks' networks of a finished run."""
    import torch

    from hyperctr.runs.open import open_run
    from hyperctr.serving.sparse import export

    model, found = open_run(path).model, []
    for task in setting.TASKS:
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
    """Write table, report and figure again from bench.json and results.csv; return the content of bench.json."""
    facts = read_json(out / "bench.json")["facts"]
    rows = summed(_results(out))
    found = Findings(Scores(STUDY, facts, {}), rows, judge_speed(rows), warnings=facts["notes"])
    figure = tables.titled(draw_speed(rows, TWICE), found, _timed_what(facts))
    return files.write(found, _table(rows), {"": figure}, out)


def _timed_what(facts: Mapping) -> str:
    return f"{facts['masks'] or 'x'.join(map(str, WIDTHS))}, one thread, {facts['repeats']} repeats"


def summed(lines: list[dict]) -> list[dict]:
    """Return one entry for each mask, density, batch and form: medians over repeats, speed-up and its interval."""
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        groups.setdefault((line["masks"], line["density"], line["batch"], line["form"]), []).append(line)
    found = []
    for (masks, density, batch, form), some in groups.items():
        dense = {line["repeat"]: line["fastest"] for line in groups[masks, density, batch, "dense"]}
        speed = mean_interval([dense[line["repeat"]] / line["fastest"] for line in some])
        dense_bytes = groups[masks, density, batch, "dense"][0]["bytes"]
        entry = {"masks": masks, "density": density, "batch": batch, "form": form, "n": len(some)}
        entry |= {name: statistics.median(line[name] for line in some) for name in ("fastest", "p50", "p95")}
        entry |= {"speed": speed[0], "speed_half": speed[1], "multiply_adds": some[0]["multiply_adds"]}
        found.append(
            entry | {"bytes": some[0]["bytes"], "share": some[0]["bytes"] / dense_bytes, "apart": some[0]["apart"]}
        )
    return found


def judge_speed(rows: list[dict]) -> list[Verdict]:
    """Judge whether a network is twice as fast at AT of the weights, for every kind of masks; and its file small."""
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
            found.append(Verdict(text, here, significance.judge_gains([value])))
        share = min((r["share"] for r in some), default=math.nan)
        verdict = "reproduced" if share <= FILE else "contradicted"
        text = f"{what}: a file of at most {FILE:.0%} of the dense one's"
        found.append(Verdict(text, f"{share:.1%}", verdict))
    return found


def _table(rows: list[dict]) -> str:
    lines = [["masks", "weights left", "batch", *(f"{form}, ms" for form in FORMS), "compact: speed-up",
              "csr: speed-up", "multiply-adds: compact, csr", "file: compact, csr", "apart"]]  # fmt: skip
    for masks, density, batch in dict.fromkeys((r["masks"], r["density"], r["batch"]) for r in rows):
        forms = {r["form"]: r for r in rows if (r["masks"], r["density"], r["batch"]) == (masks, density, batch)}
        sparse = [forms[form] for form in FORMS[1:]]
        speeds = [f"{r['speed']:.2f}" + ("" if math.isnan(r["speed_half"]) else f" ± {r['speed_half']:.2f}")
                  for r in sparse]  # fmt: skip
        lines.append([
            masks, f"{density:.3g}", str(batch), *(f"{forms[form]['fastest']:.3f}" for form in FORMS), *speeds,
            ", ".join(f"{r['multiply_adds']:,}" for r in sparse), ", ".join(f"{r['share']:.0%}" for r in sparse),
            f"{max(r['apart'] for r in sparse):.0e}",
        ])  # fmt: skip
    return markdown.table(lines) + (
        "\n\nTimes are milliseconds of a core in the fastest call; a speed-up is the dense network's over it, ± its "
        "95 % t interval over repeats. Bytes are those of the file. Apart: largest difference to the dense answer, "
        "as a share of the largest one."
    )


STUDY = Study(
    name="lt4rec-speed",
    title="LT4REC, section 2.2: how long a pruned network takes",
    paper=paper_numbers.PAPER,
    grid=Grid("density", ("1", "0.67", "0.45", "0.3", "0.2", "0.1", "0.05"), "weights left", what="shares in (0, 1]",
              allowed=lambda share: 0 < share <= 1),
    about=lambda facts: [_timed_what(facts)],
    untrained=Untrained(run, redraw),
)  # fmt: skip
