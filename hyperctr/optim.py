"""Adam for large embedding tables: a step costs what it touches, not what the table holds."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class RowAdam(torch.optim.Optimizer):
    """Adam on the rows that a sparse gradient names; all other rows, their moments included, stay as they are.

    Kingma & Ba, arXiv 1412.6980, row by row: a row's moments are corrected by how often that row was touched. Memory is
    reserved for the moments of all rows, but the system hands it out only where a row is touched.

    Args:
        params: tables [rows, dim], such as the weight of `nn.Embedding(..., sparse=True)`.
        lr: step size. betas, eps: as in Adam.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; a table without a gradient is left alone."""
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state["mean"], state["square"] = torch.zeros_like(table), torch.zeros_like(table)
                    state["touched"] = torch.zeros(len(table), dtype=torch.int32)
                gradient = table.grad.coalesce()
                rows, g = gradient.indices()[0], gradient.values()
                touched = state["touched"].index_select(0, rows) + 1
                mean = state["mean"].index_select(0, rows).lerp_(g, 1 - b1)
                square = state["square"].index_select(0, rows).mul_(b2).addcmul_(g, g, value=1 - b2)
                for name, new in (("touched", touched), ("mean", mean), ("square", square)):
                    state[name].index_copy_(0, rows, new)
                times = touched[:, None].double()  # in float32, 1 - 0.999 has four digits
                one, two = ((1 - b**times).to(g.dtype) for b in (b1, b2))
                deviation = (square / two).sqrt_().add_(group["eps"])
                table.index_add_(0, rows, (mean / one).div_(deviation), alpha=-lr)


def optimisers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Fused Adam for the model's parameters, and row by row for its tables with sparse gradients, if it has any."""
    sparse = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    named = {id(p) for p in sparse}
    found: list[torch.optim.Optimizer] = []
    if dense := [p for p in model.parameters() if id(p) not in named]:
        found.append(torch.optim.Adam(dense, lr=lr, fused=True))
    if sparse:
        found.append(RowAdam(sparse, lr=lr))
    return found


def coalesce(model: nn.Module) -> None:
    """Sum the repeated rows of sparse gradients, once for all who read them."""
    for p in model.parameters():
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()


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
