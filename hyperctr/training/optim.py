"""Adam for large embedding tables: a step costs what it looks up, not what the table holds."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.kernels import compile

FADES = 4096  # powers of beta_2 that are looked up, not computed


class RowAdam(torch.optim.Optimizer):
    """Adam with beta_1 = 0 (Kingma & Ba, arXiv 1412.6980) for sparse gradients, at the cost of the rows that they name.

    With a beta_1 above 0 every row moves at every step, by what is left of its mean gradient. Without it a row moves by
    a gradient's full share at once (a share that beta_1 = 0.9 spreads over the next twenty steps or so), and rests
    until its next one. What changes meanwhile is its mean square, which fades by beta_2 a step; that is caught up with
    when the row is back. So the result is that of `torch.optim.Adam(betas=(0, beta_2))`, to rounding.

    On a CPU, memory is reserved for all mean squares, but the system hands it out only where a row has had a gradient;
    and where there is a C compiler, optim.c takes the step: it asks for the memory of rows before it needs it.

    Args:
        params: tables [rows, dim], such as the weight of `nn.Embedding(..., sparse=True)`.
        lr: step size. beta2, eps: as in Adam.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "beta2": beta2, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; a table without a gradient is left alone, and no time passes for it."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.int64)
                    state["last"] = _zeros(table[:, 0], np.int32)  # step of a row's last gradient
                    state["square"] = _zeros(table, np.float32)
                state["step"] += 1
                gradient = table.grad.coalesce()
                move = _compiled if table.device.type == "cpu" and _library() else _plain
                move(table, gradient.indices()[0], gradient.values(), state["square"], state["last"],
                     int(state["step"]), group["lr"], group["beta2"], group["eps"])  # fmt: skip

    def load_state_dict(self, state_dict: dict) -> None:
        """Take the state of another one; torch makes every number of it a float."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["last"] = state["last"].int()


def _plain(
    table: Tensor, rows: Tensor, g: Tensor, square: Tensor, last: Tensor, step: int, lr: float, b2: float, eps: float
) -> None:
    fade = (b2 ** (step - last.index_select(0, rows)[:, None]).double()).to(g.dtype)
    v = square.index_select(0, rows).mul_(fade).addcmul_(g, g, value=1 - b2)
    last.index_fill_(0, rows, step)
    square.index_copy_(0, rows, v)
    deviation = v.div_(1 - b2**step).sqrt_().add_(eps)
    table.index_copy_(0, rows, table.index_select(0, rows).addcdiv_(g, deviation, value=-lr))


def _compiled(
    table: Tensor, rows: Tensor, g: Tensor, square: Tensor, last: Tensor, step: int, lr: float, b2: float, eps: float
) -> None:
    """The same for float32, without the memory that it waits for."""
    rows, g, fades = rows.contiguous(), g.contiguous(), _powers(b2)
    arrays = (x.data_ptr() for x in (rows, g, table, square, last))
    _library().step(len(rows), table.shape[1], *arrays, step, lr, b2, eps, len(fades), fades.data_ptr())


def _zeros(like: Tensor, dtype: type) -> Tensor:
    """Zeros of this shape, whose memory a CPU's system hands out as they are written: numpy's are such, not torch's."""
    return torch.from_numpy(np.zeros(tuple(like.shape), dtype)).to(like.device)


@cache
def _powers(base: float) -> Tensor:
    """base^0, base^1, ...: [FADES]."""
    return (base ** torch.arange(FADES, dtype=torch.float64)).float()


@cache
def _library() -> ctypes.CDLL | None:
    library = compile.library(Path(__file__).with_suffix(".c"))
    if library is not None:
        number, real, array = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
        beta2 = ctypes.c_double
        library.step.argtypes = [number, number, *[array] * 5, ctypes.c_int32, real, beta2, real, number, array]
        library.step.restype = None
    return library


def optimisers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Fused Adam for the model's parameters, and row by row for its tables with sparse gradients, if it has any."""
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    named = {id(table) for table in tables}
    found: list[torch.optim.Optimizer] = []
    if dense := [p for p in model.parameters() if id(p) not in named]:
        found.append(torch.optim.Adam(dense, lr=lr, fused=True))
    if tables:
        found.append(RowAdam(tables, lr=lr))
    return found


def coalesce(model: nn.Module) -> None:
    """Sum the repeated rows of sparse gradients, once for all who read them."""
    for p in model.parameters():
        if p.grad is not None and p.grad.is_sparse:
            p.grad = _coalesced(p.grad)


def _coalesced(gradient: Tensor) -> Tensor:
    """What `Tensor.coalesce` gives, in a fifth of the time on a CPU."""
    if gradient.is_coalesced() or gradient.device.type != "cpu" or not gradient._nnz():
        return gradient.coalesce()
    each = gradient._values()
    key = gradient._indices()[0].numpy() << 32 | np.arange(len(each))  # a row, and where it is named
    key.sort()
    named, order = key >> 32, key & 0xFFFFFFFF
    first = np.flatnonzero(np.diff(named, prepend=-1))
    total = F.embedding_bag(torch.from_numpy(order), each, torch.from_numpy(first), mode="sum")
    rows = torch.from_numpy(named[first])[None]
    return torch.sparse_coo_tensor(rows, total, gradient.shape, is_coalesced=True, check_invariants=False)


def decay(model: nn.Module, l2: float) -> None:
    """Add l2 times the weight to its gradient: matrices only, and only rows that this step touched."""
    if not l2:
        return
    for p in model.parameters():
        if p.grad is None or p.ndim != 2:
            continue
        g, rows = (p.grad._values(), p.grad._indices()[0]) if p.grad.is_sparse else (p.grad, slice(None))
        touched = (g.abs() @ g.new_ones(g.shape[1], 1)).sign_()  # 1 where a row has a gradient
        g.addcmul_(touched, p.detach()[rows], value=l2)


def clip(model: nn.Module, norm: float) -> None:
    """Scale all gradients down together until their norm is at most `norm`; 0 leaves them alone."""
    if not norm:
        return
    gradients = [p.grad._values() if p.grad.is_sparse else p.grad for p in model.parameters() if p.grad is not None]
    total = nn.utils.get_total_norm(gradients)
    for g in gradients:
        g.mul_((norm / (total + 1e-6)).clamp(max=1.0))
