"""Run LT4REC's sparse networks faster: without their zeros, or with the items' part of the first layer precomputed.

    network = export(model, "click")          # the fastest of three exact forms on this machine
    network(model.base.crossed(batch))        # logits [B], no gradients
    Halves(model).score(batch)                # logits of both tasks: the user's half per request, the rest per row

`dense` also multiplies by the zeros. `compact` leaves out units and inputs without incoming or outgoing weights, which
pays for masks of whole units. `csr` keeps only the nonzero weights, and runs a compiled kernel, or torch's CSR without
a C compiler.

The kernel, sparse.c, pays for masks of single weights. With 20 % of the weights of the paper's network, it is 4.7 times
as fast as the dense network at batches of 64 and 1,024 on two free cores, and 2.9 and 2.2 times on a busy machine
(benchmarks/README.md). torch's CSR is slower than the dense network at batches of 1 and 1,024. At batch 1 the kernel is
1.01 to 2.3 times as fast, depending on the machine. `timings` has the milliseconds of this machine.
"""

from __future__ import annotations

import ctypes
import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.dropout import Dropout
from graphs.kernels import compile
from hyperctr.batch import Batch, Output
from hyperctr.files import load_tensors, save_tensors
from hyperctr.layers.mlp import PReLU
from hyperctr.layers.multitask import TASKS
from hyperctr.models.lt4rec import LT4REC, Layer, SparseSharing
from hyperctr.training.lottery_tickets import packed, unpacked
from hyperctr.training.profiler import times_in_turn

Mode = Literal["dense", "compact", "csr"]
MODES: tuple[Mode, ...] = ("dense", "compact", "csr")
BLOCK = 64  # numbers per unit in the two tables of the kernel
TILE = 192  # inputs per tile, so that most of a tile stays in a first-level cache of 48 KB


@dataclass(frozen=True)
class Step:
    """y = act(W x + b) with act(y) = max(y, 0) + slope min(y, 0): slope 0 is ReLU, 1 no activation."""

    weight: Tensor
    bias: Tensor
    slope: float


@dataclass(frozen=True, eq=False)
class Network:
    """The layers of one task, the head last, and the mode that runs them.

    Attributes:
        steps: the layers.
        inputs: the feature columns that the first layer reads, [n]; None: all.
        mode: how the network is run.
        timings: milliseconds of the fastest call of each mode that was tried, by batch size.
    """

    steps: tuple[Step, ...]
    inputs: Tensor | None = None
    mode: Mode = "dense"
    timings: dict[str, dict[int, float]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_run", _csr(self.steps) if self.mode == "csr" else _dense(self.steps))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Compute logits from features: [B, width] -> [B]."""
        return self._run(x if self.inputs is None else x.index_select(1, self.inputs))

    def describe(self) -> dict[str, int]:
        """Count the nonzero weights, the multiply-adds per row in this mode, and the bytes of the file."""
        nonzero = sum(int(step.weight.count_nonzero()) for step in self.steps)
        full = sum(step.weight.numel() for step in self.steps)
        size = sum(packed(step.weight != 0).numel() + 4 * len(step.bias) for step in self.steps) + 4 * nonzero
        return {"weights": nonzero, "multiply_adds": nonzero if self.mode == "csr" else full, "bytes": size}

    def save(self, path: Path) -> None:
        """Write the nonzero weights, and one bit per weight for their places."""
        tensors = {} if self.inputs is None else {"inputs": self.inputs.int()}
        for n, step in enumerate(self.steps):
            nonzero = step.weight != 0
            tensors |= {f"value.{n}": step.weight[nonzero], f"mask.{n}": packed(nonzero), f"bias.{n}": step.bias}
        header = {
            "mode": self.mode,
            "shapes": [list(step.weight.shape) for step in self.steps],
            "slopes": [step.slope for step in self.steps],
            "timings": self.timings,
        }
        save_tensors(path, tensors, {"network": json.dumps(header)})

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read what `save` wrote."""
        tensors, texts = load_tensors(path, "write it again with `hyperctr export`")
        header, steps = json.loads(texts["network"]), []
        for n, (shape, slope) in enumerate(zip(header["shapes"], header["slopes"], strict=True)):
            weight = torch.zeros(*shape)
            weight[unpacked(tensors[f"mask.{n}"], shape)] = tensors[f"value.{n}"]
            steps.append(Step(weight, tensors[f"bias.{n}"], slope))
        inputs = tensors["inputs"].long() if "inputs" in tensors else None
        timings = header["timings"] and {
            mode: {int(batch): ms for batch, ms in times.items()} for mode, times in header["timings"].items()
        }
        return cls(tuple(steps), inputs, header["mode"], timings)


def export(
    model: SparseSharing,
    task: str,
    mode: Mode | Literal["auto"] = "auto",
    batches: tuple[int, ...] = (1, 64, 1024),
) -> Network:
    """Export the network of one task from a trained model.

    Args:
        model: LT4REC, or a model wrapped in it, with ReLU or PReLU between the layers.
        task: "click" or "conversion".
        mode: "dense", "compact" or "csr"; "auto" times them at several batch sizes and takes the mode whose times have
            the lowest product.
        batches: the batch sizes to time.

    Raises:
        ValueError: an unknown task or mode, or layers with other activations.
    """
    if task not in TASKS or mode not in (*MODES, "auto"):
        raise ValueError(f"export takes a task of {', '.join(TASKS)} and a mode of {', '.join(MODES)} or auto")
    full = Network(_steps(model, task))
    if mode == "dense":
        return full
    small = compact(full)
    forms: dict[Mode, Network] = {"dense": full, "compact": small, "csr": replace(small, mode="csr")}
    if mode != "auto":
        return forms[mode]
    timings: dict[str, dict[int, float]] = {name: {} for name in forms}
    for size in batches:
        times = clock(forms, torch.randn(size, full.steps[0].weight.shape[1]))
        for name in forms:
            timings[name][size] = float(times[name].min())
    best = min(forms, key=lambda name: math.prod(timings[name].values()))
    return replace(forms[best], timings=timings)


def write(model: SparseSharing, out: Path, mode: Mode | Literal["auto"], batches: tuple[int, ...]) -> dict[str, dict]:
    """Export the networks of both tasks to click.safetensors and conversion.safetensors in a folder.

    Returns:
        Per task: mode, timings, weights, multiply_adds, bytes, and share (bytes of the file per byte of all weights).

    Raises:
        ValueError: a model without masks, or what `export` raises.
    """
    if not isinstance(model, SparseSharing):
        raise ValueError(
            f"only lt4rec, or a model wrapped in it, has networks to export; this is {type(model).__name__}"
        )
    reports = {}
    for task in TASKS:
        network = export(model, task, mode, batches)
        network.save(out / f"{task}.safetensors")
        full = sum(4 * (step.weight.numel() + len(step.bias)) for step in _steps(model, task))
        size = (out / f"{task}.safetensors").stat().st_size
        reports[task] = {"mode": network.mode, "timings": network.timings} | network.describe() | {"bytes": size}
        reports[task]["share"] = size / full
    return reports


def compact(network: Network) -> Network:
    """Remove the units and inputs without effect; the function stays the same up to the order of sums.

    A unit without incoming weights is a constant and is added to the next biases. A unit or input without outgoing
    weights is left out. This is repeated until nothing changes.
    """
    steps = list(network.steps)
    changed = True
    while changed:
        changed = False
        for n in range(len(steps) - 1):
            step, after = steps[n], steps[n + 1]
            keep = step.weight.any(1) & after.weight.any(0)
            if keep.all():
                continue
            changed = True
            constant = torch.where(step.weight.any(1), 0.0, _activated(step.bias, step.slope))
            steps[n] = Step(step.weight[keep], step.bias[keep], step.slope)
            steps[n + 1] = Step(after.weight[:, keep], after.bias + after.weight @ constant, after.slope)
    used, inputs = steps[0].weight.any(0), network.inputs
    if not used.all():
        steps[0] = replace(steps[0], weight=steps[0].weight[:, used])
        inputs = used.nonzero()[:, 0] if inputs is None else inputs[used]
    return replace(network, steps=tuple(steps), inputs=inputs, mode="compact")


def clock(
    forms: Mapping[str, Callable[[Tensor], Tensor]],
    x: Tensor,
    seconds: float = 0.1,
    timer: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Time several forms of a network in turn, every second call of each; milliseconds by name.

    The untimed call before loads the weights into the caches, as they would be in a service.

    Args:
        forms: networks by name.
        x: features, [B, width].
        seconds: seconds in all; each form is called at least seven times.
        timer: reads the time; `time.thread_time` for a single thread, as it excludes the time of other processes.
    """
    return times_in_turn(forms, [x], 7, seconds, timer, twice=True)


def _steps(model: SparseSharing, task: str) -> tuple[Step, ...]:
    """Return W * m_k and b of each layer, and the head."""
    number, steps = TASKS.index(task), []
    for step in model.tower.steps:
        if isinstance(step, Layer):
            weight, bias = step.weight(number), step.bias * step.alive[number]
            steps.append(Step(weight.detach().clone(), bias.detach(), 1.0))
        elif isinstance(step, nn.ReLU | PReLU):
            steps[-1] = replace(steps[-1], slope=step.weight.item() if isinstance(step, PReLU) else 0.0)
        elif not isinstance(step, Dropout):
            raise ValueError(f"only layers with ReLU or PReLU can be exported, these have {type(step).__name__}")
    head = model.tower.heads[number]
    return (*steps, Step(head.weight.detach().clone(), head.bias.detach().clone(), 1.0))


def _activated(y: Tensor, slope: float) -> Tensor:
    return y if slope == 1 else F.relu(y) if slope == 0 else F.leaky_relu(y, slope)


def _dense(steps: tuple[Step, ...]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = _activated(F.linear(x, step.weight, step.bias), step.slope)
        return x.squeeze(1)

    return run


def _csr(steps: tuple[Step, ...]) -> Callable[[Tensor], Tensor]:
    """Return a function that runs the compiled kernel, or torch's product with CSR matrices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: CSR support is in beta
        matrices = [step.weight.to_sparse_csr() for step in steps]
    library = _library() if max(step.weight.shape[1] for step in steps) < 2**16 else None
    if library is not None:
        return _Kernel(steps, matrices, library)
    parts = [(m.crow_indices().int(), m.col_indices().int(), m.values()) for m in matrices]
    matrices = [
        torch.sparse_csr_tensor(*part, size=step.weight.shape, check_invariants=False)
        for part, step in zip(parts, steps, strict=True)
    ]

    def run(x: Tensor) -> Tensor:
        x = x.T.contiguous()
        for step, matrix in zip(steps, matrices, strict=True):
            x = _activated(torch.sparse.mm(matrix, x).add_(step.bias[:, None]), step.slope)
        return x.squeeze(0)

    return run


class _Layer(ctypes.Structure):
    """The struct `Layer` of sparse.c."""

    _fields_ = (
        ("inputs", ctypes.c_int64), ("outputs", ctypes.c_int64), ("tiles", ctypes.c_int64), ("begin", ctypes.c_void_p),
        ("indices", ctypes.c_void_p), ("value", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("slope", ctypes.c_float),
    )  # fmt: skip


class _Kernel:
    """sparse.c on one network; several threads may call it at once."""

    def __init__(self, steps: tuple[Step, ...], matrices: list[Tensor], library: ctypes.CDLL):
        self._library, self._count, self._mine = library, len(steps), threading.local()
        self._held, layers = [], (_Layer * len(steps))()
        for n, (step, matrix) in enumerate(zip(steps, matrices, strict=True)):
            first, ends = matrix.crow_indices()[:-1], range(TILE, max(1, step.weight.shape[1]) + TILE, TILE)
            begin = [first, *(first + (step.weight[:, :end] != 0).sum(1) for end in ends)]
            parts = (
                torch.stack(begin).int(), matrix.col_indices().to(torch.uint16), matrix.values().contiguous(),
                step.bias.float().contiguous(),
            )  # fmt: skip
            self._held.append(parts)
            sizes = step.weight.shape[1], step.weight.shape[0], len(ends)
            layers[n] = _Layer(*sizes, *(x.data_ptr() for x in parts), step.slope)
        self._layers, self._width = layers, max(max(step.weight.shape) for step in steps)

    def __call__(self, x: Tensor) -> Tensor:
        if not hasattr(self._mine, "tables"):
            self._mine.tables = torch.empty(2 * self._width * BLOCK + 16)
        x, out = x.float().contiguous(), torch.empty(len(x))
        one = (self._mine.tables.data_ptr() + 63) // 64 * 64
        other = one + 4 * self._width * BLOCK
        self._library.forward(self._layers, self._count, x.data_ptr(), len(x), out.data_ptr(), one, other)
        return out


@cache
def _library() -> ctypes.CDLL | None:
    library = compile.library(Path(__file__).with_suffix(".c"))
    if library is not None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        library.forward.argtypes = [pointer, number, pointer, number, pointer, pointer, pointer]
        library.forward.restype = None
    return library


class Halves:
    """Both tasks of LT4REC with the first layer split: W [user; item; rest] = W_u user + W_i item + W_r rest.

    A feature column is a field or a product of two fields. It belongs to the item if all its fields are item fields, to
    the request if all are fields of the user or the history, and otherwise to the row. The items' part is computed
    once, here; the request's part once per request. Exact up to the order of sums, with and without masks.

    Args:
        model: LT4REC; later changes of its weights have no effect.
        mode: how the layers above the first are run.

    Raises:
        ValueError: the model has separate vectors for conversions.
    """

    @torch.no_grad()
    def __init__(self, model: LT4REC, mode: Mode = "csr"):
        crossed = model.base.crossed
        embed, count, dim = crossed.embed, crossed.num_fields, crossed.embed.dim
        if model.extra is not None:
            raise ValueError("a model with model.extra is not served in halves: conversions have separate features")
        self._embed, self._pairs = embed, crossed.pairs
        parts, moments = embed.item_parts, embed.num_context
        item, moment = torch.arange(count) < parts, torch.zeros(count, dtype=torch.bool)
        moment[count - 1 - moments : count - 1] = True  # the history is the last field
        side = torch.where(item, 0, torch.where(moment, 2, 1))  # [F] of the item, of the request, of the row
        i, j = side[crossed.pairs[0]], side[crossed.pairs[1]]
        of_pair = torch.where(i == j, i, 2)
        owner = torch.cat([side.repeat_interleave(dim), of_pair])
        self._mixed = (of_pair == 2).nonzero()[:, 0]
        self._item_vectors = embed.item_vectors(torch.arange(len(embed.seen_item)))  # [num_items + 1, parts, d]
        self._items = self._item_vectors.sum(1)  # as clicks in a history
        items = self._features(self._item_vectors)
        self._first, self._rest, self._of_item = {}, {}, {}
        for task in TASKS:
            network = export(model, task, "dense")
            first = network.steps[0]
            self._first[task] = first.slope, [first.weight[:, owner == k].contiguous() for k in (1, 2)]
            self._of_item[task] = F.linear(items, first.weight[:, owner == 0], first.bias)
            self._rest[task] = replace(compact(Network(network.steps[1:])), mode=mode)

    @torch.no_grad()
    def score(self, batch: Batch) -> Output:
        """Compute the logits of click and conversion."""
        embed, past = self._embed, batch.histories
        item = self._item_vectors[batch.item]
        user = embed.user_vectors(batch.user[batch.query_row])
        clicks = self._items[past.item.where(past.mask, len(embed.seen_item) - 1)]
        share = past.mask / past.mask.sum(1, keepdim=True).clamp(min=1)
        request = torch.cat([user, torch.bmm(share[:, None], clicks)], 1)  # [Q, 2 + J, d]
        moments = embed.moment_vectors(batch)
        spread = batch.expand_to_rows(request)
        every = torch.cat([item, spread[:, :-1], moments, spread[:, -1:]], 1)
        products = torch.bmm(every, every.transpose(1, 2))
        i, j = self._pairs[:, self._mixed]
        rest = torch.cat([moments.flatten(1), products[:, i, j]], 1)
        features, logit = self._features(request), {}
        for task in TASKS:
            slope, (of_request, of_row) = self._first[task]
            y = self._of_item[task][batch.item] + batch.expand_to_rows(F.linear(features, of_request))
            logit[task] = self._rest[task](_activated(torch.addmm(y, rest, of_row.T), slope))
        return Output(logit["click"], conversion=logit["conversion"])

    def _features(self, x: Tensor) -> Tensor:
        """Join the fields of one side and their products, in the order of the columns: [n, fields, d] -> [n, width]."""
        i, j = torch.triu_indices(x.shape[1], x.shape[1], 1)
        return torch.cat([x.flatten(1), torch.bmm(x, x.transpose(1, 2))[:, i, j]], 1)
