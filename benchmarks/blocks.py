"""Would masks of whole blocks be a middle way for LT4REC, between single weights and whole units? Not with libraries.

    python benchmarks/blocks.py

The network of `hyperctr bench lt4rec-speed` at 20 % of its weights: single ones through our kernel, whole units as
small dense layers, and blocks of neighbouring weights through torch's BSR matrices (MKL) and SciPy's. Everything is
called in turn on one thread, whose time is counted; a speed-up is the dense network's median over a form's.
"""

import sys
import time
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hyperctr.reporting import markdown
from hyperctr.serving.sparse import Network, Step, clock, compact
from hyperctr.studies.lt4rec.speed import WIDTHS, networks

LEFT, BLOCKS, BATCHES = 0.2, (4, 8, 16), (1, 64, 1024)

app = typer.Typer(add_completion=False)


def network(weights: list[Tensor]) -> Network:
    head = Step(torch.randn(1, WIDTHS[-1]), torch.zeros(1), 1.0)
    return Network((*(Step(w, torch.zeros(len(w)), 0.0) for w in weights), head))


def of_blocks(weights: list[Tensor], side: int) -> list[Tensor]:
    """The blocks of the largest mean size stay, of each layer alike."""
    kept = []
    for w in weights:
        size = w.abs().unfold(0, side, side).unfold(1, side, side).mean((2, 3))
        stays = size >= size.flatten().kthvalue(round((1 - LEFT) * size.numel()) + 1).values
        kept.append(w * stays.repeat_interleave(side, 0).repeat_interleave(side, 1))
    return kept


def in_torch(of: Network, side: int):
    *layers, head = of.steps
    matrices = [step.weight.to_sparse_bsr((side, side)) for step in layers]

    def run(x: Tensor) -> Tensor:
        x = x.T.contiguous()
        for matrix in matrices:
            x = (matrix @ x).relu_()
        return (head.weight @ x).squeeze(0)

    return run


def in_scipy(of: Network, side: int):
    *layers, head = of.steps
    matrices = [sp.bsr_array(step.weight.numpy(), blocksize=(side, side)) for step in layers]

    def run(x: Tensor) -> Tensor:
        x = np.ascontiguousarray(x.numpy().T)
        for matrix in matrices:
            x = np.maximum(matrix @ x, 0)
        return torch.from_numpy(head.weight.numpy() @ x).squeeze(0)

    return run


@app.command()
def main(seconds: Annotated[float, typer.Option(min=0.0, help="For all forms at one batch size.")] = 10.0) -> None:
    """Print each form's speed-up over the dense network."""
    warnings.filterwarnings("ignore", message="Sparse BSR")
    torch.set_num_threads(1), torch.manual_seed(0)
    (_, _, full), (_, _, single), (_, _, units) = networks((1.0, LEFT))
    single, weights = compact(single), [step.weight for step in full.steps[:-1]]
    forms = {"dense": full, "single weights, compiled kernel": Network(single.steps, single.inputs, "csr"),
             "whole units, small dense layers": compact(units)}  # fmt: skip
    for size in BLOCKS:
        dense = network(of_blocks(weights, size))
        for name, form in (("torch", in_torch(dense, size)), ("SciPy", in_scipy(dense, size))):
            x = torch.randn(5, WIDTHS[0])
            torch.testing.assert_close(form(x), dense(x), rtol=1e-3, atol=1e-3)
            forms[f"blocks of {size} x {size}, {name}"] = form
    lines = [["at 20 % of the weights", *(f"batch {batch}" for batch in BATCHES)]]
    times = {batch: clock(forms, torch.randn(batch, WIDTHS[0]), seconds, time.thread_time) for batch in BATCHES}
    for name in forms:
        speed = [np.median(times[batch]["dense"]) / np.median(times[batch][name]) for batch in BATCHES]
        lines.append([name, *(f"{x:.2f}" for x in speed)])
    print(markdown.table(lines))


if __name__ == "__main__":
    app()
