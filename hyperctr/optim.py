"""Adam for large embedding tables: a step costs what it looks up, not what the table holds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from hyperctr import rows as compiled
from hyperctr.layers.distinct import distinct, summed

BLOCK = 2**16  # rows of a table that `settle` moves at a time
FADED = 1e-12  # share of a move that no longer counts


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba, arXiv 1412.6980) for tables of which a step looks up a few rows, at the cost of those few.

    Under Adam a row moves at every step, with or without a gradient of its own: its mean gradient fades by beta_1 a
    step. Here a row rests until it is looked up, and then makes all these moves at once, so that whoever looks up finds
    what Adam would have left there (eps is taken as constant over a rest). `settle` moves all rows at once, for those
    who read a table otherwise. A gradient may name any rows.

    Memory is reserved for the moments of all rows, but the system hands it out only where a row has had a gradient.

    Args:
        tables: modules with sparse gradients; each look-up by one of them moves its rows first, until `release`.
        lr: step size. betas, eps: as in Adam.

    Raises:
        ValueError: beta_1 is not above 0 and below the root of beta_2: moves would not fade.
    """

    def __init__(
        self,
        tables: Iterable[nn.Embedding],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        tables = list(tables)
        super().__init__([table.weight for table in tables], {"lr": lr, "betas": betas, "eps": eps})
        self.fade = betas[0] / betas[1] ** 0.5  # of a move, a step
        if not 0 < self.fade < 1:
            raise ValueError(f"beta_1 must be above 0 and below the root of beta_2, got {betas}")
        self._moves = torch.zeros(0, dtype=torch.float64)
        self._hooks = [table.register_forward_pre_hook(self._before_look_up) for table in tables]

    def release(self) -> None:
        """Look-ups move no rows any more."""
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def settle(self) -> None:
        """Move all rows to where Adam would have them now."""
        for table in self.param_groups[0]["params"]:
            for rows in torch.arange(len(table), device=table.device).split(BLOCK):
                self._move(table, rows)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; a table without a gradient is left alone, and no time passes for it."""
        for table in self.param_groups[0]["params"]:
            if table.grad is not None:
                gradient = table.grad.coalesce()
                self._move(table, gradient.indices()[0], gradient.values())
                self.state[table]["step"] += 1

    @torch.no_grad()
    def _before_look_up(self, module: nn.Embedding, inputs: tuple[Tensor]) -> None:
        self._move(module.weight, inputs[0].flatten())

    def _move(self, table: Tensor, rows: Tensor, gradient: Tensor | None = None) -> None:
        """Move rows, some perhaps named twice, by what they owe since their last move; with a gradient, update them."""
        state, group = self.state[table], self.param_groups[0]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.int64)
            # steps of a row's last gradient and of its last move, and the moments as that gradient left them
            state["held"] = table.new_zeros(len(table), 2 + 2 * table.shape[1])
        moves = self._moves_from(int(state["step"])).to(table.device)
        if not compiled.moved(table, state, rows, gradient, group, moves):
            moved(table, state, rows, group, moves)
            if gradient is not None:
                updated(table, state, rows, gradient, group)

    def _moves_from(self, step: int) -> Tensor:
        """What rows with a gradient at step 0, 1, ... `step` and none after it would move, [step + 1] or longer.

        In units of lr mean / deviation: G(s) = sum over j > 0 of fade^j sqrt(1 - beta_2^(s+j)) / (1 - beta_1^(s+j)).
        """
        while len(self._moves) <= step:
            b1, b2 = self.param_groups[0]["betas"]
            fades = self.fade ** np.arange(1, 1 + np.log(FADED) // np.log(self.fade))
            later = np.arange(1.0, 1024 + len(fades)) + len(self._moves)
            each = np.sqrt(1 - b2**later) / (1 - b1**later)
            self._moves = torch.cat([self._moves, torch.from_numpy(np.correlate(each, fades))])
        return self._moves


def moved(table: Tensor, state: dict[str, Tensor], rows: Tensor, group: dict, moves: Tensor) -> None:
    """Move rows by what they owe: by what their last gradient left to move, less what is left now."""
    held, step, (b1, b2) = state["held"], int(state["step"]), group["betas"]
    graded, last = held[:, :2].index_select(0, rows).T
    rows = rows[(last < step) & (graded > 0)]
    held = held.index_select(0, rows)
    (graded, last), (mean, square) = held[:, :2].double().T, held[:, 2:].chunk(2, 1)
    fade = b1 / b2**0.5
    owed = moves[last.long()] * fade ** (last - graded) - moves[step] * fade ** (step - graded)
    eps = group["eps"] * ((1 - b2 ** (graded + 1)) / b2).sqrt()
    owed, eps = (x[:, None].to(table.dtype) for x in (group["lr"] * owed, eps))
    table.index_copy_(0, rows, table.index_select(0, rows).addcdiv_(mean * owed, square.sqrt() + eps, value=-1))
    state["held"][:, 1].index_fill_(0, rows, step)


def updated(table: Tensor, state: dict[str, Tensor], rows: Tensor, gradient: Tensor, group: dict) -> None:
    """Adam's step of distinct rows that have been moved: it takes their moments through the steps without a gradient."""
    step, (b1, b2) = int(state["step"]) + 1, group["betas"]
    held = state["held"].index_select(0, rows)
    rest, (mean, square) = step - held[:, :1], held[:, 2:].chunk(2, 1)
    mean.mul_(b1**rest).add_(gradient, alpha=1 - b1)
    square.mul_(b2**rest).addcmul_(gradient, gradient, value=1 - b2)
    held[:, :2] = step
    state["held"].index_copy_(0, rows, held)
    deviation = (square / (1 - b2**step)).sqrt_().add_(group["eps"])
    table.index_add_(0, rows, mean / deviation, alpha=-group["lr"] / (1 - b1**step))


def optimisers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Fused Adam for the model's parameters, and row by row for its tables with sparse gradients, if it has any."""
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse and m.weight.requires_grad]
    named = {id(table.weight) for table in tables}
    found: list[torch.optim.Optimizer] = []
    if dense := [p for p in model.parameters() if id(p) not in named]:
        found.append(torch.optim.Adam(dense, lr=lr, fused=True))
    if tables:
        found.append(RowAdam(tables, lr=lr))
    return found


def settle(optimisers: Iterable[torch.optim.Optimizer]) -> None:
    """Let all tables be as if every step had moved all their rows."""
    for adam in optimisers:
        if isinstance(adam, RowAdam):
            adam.settle()


def release(optimisers: Iterable[torch.optim.Optimizer]) -> None:
    """Training is over: `settle`, and let the model's look-ups alone."""
    settle(optimisers)
    for adam in optimisers:
        if isinstance(adam, RowAdam):
            adam.release()


def coalesce(model: nn.Module) -> None:
    """Sum the repeated rows of sparse gradients, once for all who read them."""
    for p in model.parameters():
        if p.grad is not None and p.grad.is_sparse and not p.grad.is_coalesced():
            rows, each = p.grad._indices()[0], p.grad._values()
            if not (rows.diff() > 0).all():
                found = distinct(rows)
                rows, each = found.rows, summed(each, found)
            p.grad = torch.sparse_coo_tensor(rows[None], each, p.shape, is_coalesced=True, check_invariants=False)


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
