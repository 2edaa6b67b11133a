"""Adam for large embedding tables: the cost of a step depends on the rows that it looks up, not on the table's size."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.kernels import compile
from hyperctr.layers.bodies import choose

DECAYS = 4096  # powers of beta2 that are looked up, not computed


class RowAdam(torch.optim.Optimizer):
    """Adam with beta1 = 0 (Kingma & Ba, arXiv 1412.6980) for sparse gradients, at the cost of the rows that they name.

    With beta1 above 0 every row changes at every step, because its mean gradient decays slowly. With beta1 = 0 a row
    changes only when it has a gradient. Its second moment still decays by beta2 per step; the missed decay is applied
    at its next gradient. So the result equals `torch.optim.Adam(betas=(0, beta2))`, up to rounding.
    (`torch.optim.SparseAdam` does not apply the missed decay, so it is not Adam.)

    On a CPU, memory is reserved for all second moments, but the system provides it only for rows that have had a
    gradient.

    Args:
        params: tables [rows, dim], such as the weight of `nn.Embedding(..., sparse=True)`.
        lr: step size. beta2, eps: as in Adam.
        shrink: share of lr by which a row that has a gradient shrinks first, as in AdamW; other rows do not.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, beta2: float = 0.999, eps: float = 1e-8, shrink: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "beta2": beta2, "eps": eps, "shrink": shrink})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; a table without a gradient stays as it is, and its step count too."""
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
                if table.grad.layout == torch.strided:
                    sizes = (group[name] for name in ("lr", "beta2", "eps", "shrink"))
                    step_table(table, table.grad, state["square"], state["last"], int(state["step"]), *sizes)
                    continue
                gradient = table.grad.coalesce()
                rows = gradient.indices()[0]
                if group["shrink"]:
                    table.index_copy_(0, rows, table[rows] * (1 - group["lr"] * group["shrink"]))
                step_rows(table, rows, gradient.values(), state["square"], state["last"],
                     int(state["step"]), group["lr"], group["beta2"], group["eps"])  # fmt: skip

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a saved state; torch turns every number into a float, and row steps must be integers."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["last"] = state["last"].int()


def step_table(
    table: Tensor, g: Tensor, square: Tensor, last: Tensor, step: int, lr: float, b2: float, eps: float, shrink: float
) -> None:
    """Take the step of `step_rows` for the rows of a dense gradient [n, dim] that are not all zero, in place."""
    square.mul_((b2 ** (step - last)).to(g.dtype)[:, None]).addcmul_(g, g, value=1 - b2)
    last.fill_(step)
    if shrink:
        table.mul_(1 - lr * shrink * _touched(g))
    table.addcdiv_(g, (square / (1 - b2**step)).sqrt_().add_(eps), value=-lr)


def step_rows(
    table: Tensor, rows: Tensor, g: Tensor, square: Tensor, last: Tensor, step: int, lr: float, b2: float, eps: float
) -> None:
    """Take a step of Adam, without momentum, for some rows of a table, in place.

    Args:
        table: [n, dim].
        rows: numbers of the rows that have a gradient, ascending, [k]. g: their gradients, [k, dim].
        square: second moments, [n, dim]. last: step of each row's last gradient, int32 [n].
        step: number of this step, from 1. lr, b2, eps: as in Adam.
    """
    compiled = table.is_cpu and _library() is not None
    body = choose(_plain_step_rows, _fast_step_rows, compiled)
    body(table, rows, g, square, last, step, lr, b2, eps)


def _plain_step_rows(
    table: Tensor, rows: Tensor, g: Tensor, square: Tensor, last: Tensor, step: int, lr: float, b2: float, eps: float
) -> None:
    missed_decay = (b2 ** (step - last.index_select(0, rows)[:, None]).double()).to(g.dtype)
    v = square.index_select(0, rows).mul_(missed_decay).addcmul_(g, g, value=1 - b2)
    last.index_fill_(0, rows, step)
    square.index_copy_(0, rows, v)
    deviation = v.div_(1 - b2**step).sqrt_().add_(eps)
    table.index_copy_(0, rows, table.index_select(0, rows).addcdiv_(g, deviation, value=-lr))


def _fast_step_rows(
    table: Tensor, rows: Tensor, g: Tensor, square: Tensor, last: Tensor, step: int, lr: float, b2: float, eps: float
) -> None:
    """Call optim.c, for float32 on a CPU: it asks for the memory of rows before it needs it."""
    rows, g, decays = rows.contiguous(), g.contiguous(), _powers(b2)
    arrays = (x.data_ptr() for x in (rows, g, table, square, last))
    _library().step(len(rows), table.shape[1], *arrays, step, lr, b2, eps, len(decays), decays.data_ptr())


def _zeros(like: Tensor, dtype: type) -> Tensor:
    """Return zeros of this shape from numpy: the system provides their memory when it is written, unlike torch's."""
    return torch.from_numpy(np.zeros(tuple(like.shape), dtype)).to(like.device)


@cache
def _powers(base: float) -> Tensor:
    """Return base^0, base^1, ...: [DECAYS]."""
    return (base ** torch.arange(DECAYS, dtype=torch.float64)).float()


@cache
def _library() -> ctypes.CDLL | None:
    library = compile.library(Path(__file__).with_suffix(".c"))
    if library is not None:
        number, real, array = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
        beta2 = ctypes.c_double
        library.step.argtypes = [number, number, *[array] * 5, ctypes.c_int32, real, beta2, real, number, array]
        library.step.restype = None
    return library


def optimisers(model: nn.Module, lr: float, name: str = "adam", shrink: float = 0.0) -> list[torch.optim.Optimizer]:
    """Return an optimiser for the model's parameters, and one for its tables with sparse gradients, if there are any.

    Adam is fused, and `RowAdam` for tables. AdamW is Loshchilov & Hutter, ICLR 2019 (arXiv 1711.05101). Adagrad and SGD
    without momentum take sparse gradients as they are.

    Args:
        model: what is trained.
        lr: step size.
        name: "adam", "adamw", "adagrad" or "sgd".
        shrink: weight decay of AdamW; the others have theirs in the gradient, see `decay`.
    """
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    named = {id(table) for table in tables}
    dense = [p for p in model.parameters() if id(p) not in named]
    of_dense, of_tables = {
        "adam": (partial(torch.optim.Adam, fused=True), RowAdam),
        "adamw": (
            partial(torch.optim.AdamW, weight_decay=shrink, fused=True),
            partial(RowAdam, shrink=shrink),
        ),
        "adagrad": (torch.optim.Adagrad, torch.optim.Adagrad),
        "sgd": (torch.optim.SGD, torch.optim.SGD),
    }[name]
    return [make(some, lr=lr) for make, some in ((of_dense, dense), (of_tables, tables)) if some]


def coalesce(model: nn.Module) -> None:
    """Sum the repeated rows of all sparse gradients, before they are decayed, clipped and stepped."""
    for p in model.parameters():
        if p.grad is not None and p.grad.is_sparse:
            p.grad = coalesced(p.grad)


def coalesced(gradient: Tensor) -> Tensor:
    """Return a sparse gradient [n, dim] with its repeated rows summed, in ascending order."""
    pays = gradient.is_cpu and not gradient.is_coalesced() and gradient._nnz() > 0
    return choose(_plain_coalesced, _fast_coalesced, pays)(gradient)


def _plain_coalesced(gradient: Tensor) -> Tensor:
    return gradient.coalesce()


def _fast_coalesced(gradient: Tensor) -> Tensor:
    """Sort rows and positions in one integer, in a fifth of the time on a CPU."""
    each = gradient._values()
    key = gradient._indices()[0].numpy() << 32 | np.arange(len(each))  # a row, and where it is named
    key.sort()
    named, order = key >> 32, key & 0xFFFFFFFF
    first = np.flatnonzero(np.diff(named, prepend=-1))
    total = F.embedding_bag(torch.from_numpy(order), each, torch.from_numpy(first), mode="sum")
    rows = torch.from_numpy(named[first])[None]
    return torch.sparse_coo_tensor(rows, total, gradient.shape, is_coalesced=True, check_invariants=False)


def decay(model: nn.Module, l2: float) -> None:
    """Add l2 times the weight to its gradient: matrices only, and of tables only the rows that this step touched."""
    if not l2:
        return
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.grad is not None and p.ndim == 2]
    if others := [p for p in matrices if id(p) not in tables]:
        torch._foreach_add_([p.grad for p in others], [p.detach() for p in others], alpha=l2)
    for p in (p for p in matrices if id(p) in tables):
        g, rows = (p.grad._values(), p.grad._indices()[0]) if p.grad.is_sparse else (p.grad, slice(None))
        g.addcmul_(_touched(g), p.detach()[rows], value=l2)


def _touched(g: Tensor) -> Tensor:
    """Return 1 for the rows of a gradient [n, dim] that are not all zero, 0 for the others: [n, 1]."""
    return (g.abs() @ g.new_ones(g.shape[1], 1)).sign_() if g.is_cpu else g.any(1, keepdim=True).to(g.dtype)


def clip(model: nn.Module, norm: float) -> None:
    """Scale all gradients by one factor so that their norm is at most `norm`; 0 leaves them as they are."""
    if not norm:
        return
    gradients = [p.grad._values() if p.grad.is_sparse else p.grad for p in model.parameters() if p.grad is not None]
    if gradients:
        total = nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (norm / (total + 1e-6)).clamp(max=1.0))
