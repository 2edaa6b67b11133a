"""Check that a model keeps the contract of `hyperctr.batch.Model`: what `hyperctr models check mine.py:Mine` runs.

Each check is a function of a `Case`: a model with first weights, and batches of a small planted world. It raises an
AssertionError whose text says what is wrong; its docstring says what a model must do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr import config
from hyperctr.batch import Batch, HasHidden, Output
from hyperctr.data import planted
from hyperctr.runs.prepare import Prepared, build_model, prepare

ROWS, CLOSE = 24, 1e-5


@dataclass(frozen=True)
class Case:
    """A model to check, and rows to check it on.

    Attributes:
        ready: the small world, made ready for the model.
        batch: test rows.
    """

    ready: Prepared
    batch: Batch

    @classmethod
    def of(cls, name: str, preset: str = "conflict") -> Case:
        """Make the case of a model by its name in a run file, with the defaults of its Config.

        Raises:
            ValueError: there is no such model, or its class lacks a declared part of the contract.
        """
        tables = {"data": {"path": "planted", "history": 6}, "model": {"name": name}, "slices": {"every": "7d"}}
        run = config.read_run(tables)
        ready = prepare(run, planted.planted(preset, scale=0.02).dataset)
        return cls(ready, ready.loader.batch(ready.split.test[:ROWS]))

    @cached_property
    def model(self) -> nn.Module:
        """The model in evaluation, with the first weights of seed 0."""
        torch.manual_seed(0)
        return build_model(self.ready).eval()

    def logit(self, batch: Batch) -> Tensor:
        """Score a batch in evaluation."""
        with torch.no_grad():
            return self.model.eval()(batch).logit

    def rows(self, rows: np.ndarray) -> Batch:
        """Take other test rows."""
        return self.ready.loader.batch(self.ready.split.test[rows])


def answers_an_output(case: Case) -> None:
    """Answer a batch with an Output whose logit has one finite number per row."""
    with torch.no_grad():
        out = case.model(case.batch)
    assert isinstance(out, Output), f"it answered {type(out).__name__}, not Output"
    assert out.logit.shape == (ROWS,), f"logit has shape {list(out.logit.shape)}, not [{ROWS}]"
    assert out.logit.isfinite().all(), "a logit is not finite"
    filled = out.conversion is not None
    assert filled == ("conversion" in case.model.tasks), f"tasks are {case.model.tasks}; conversion filled: {filled}"


def repeats_itself(case: Case) -> None:
    """Repeat the scores of a batch in evaluation: no dropout, no draws."""
    assert torch.equal(case.logit(case.batch), case.logit(case.batch)), "two calls gave two answers"


def scores_a_row_alone_as_in_company(case: Case) -> None:
    """Score a row the same in any company and in any order of rows."""
    together = case.logit(case.batch)
    order = np.arange(ROWS)[::-1].copy()
    _assert_close(case.logit(case.rows(order)), together[order], "another order of rows")
    alone = torch.cat([case.logit(case.rows(np.array([row]))) for row in range(3)])
    _assert_close(alone, together[:3], "a row alone")


def scores_no_rows(case: Case) -> None:
    """Score a batch without rows with an empty logit."""
    assert case.logit(case.rows(np.arange(0))).shape == (0,), "an empty batch must give an empty logit"


def scores_without_clicks(case: Case) -> None:
    """Score rows without any earlier click."""
    past = case.batch.histories
    empty = replace(
        past, mask=torch.zeros_like(past.mask), length=None if past.length is None else torch.zeros_like(past.length)
    )
    assert case.logit(replace(case.batch, histories=empty)).isfinite().all(), "a logit is not finite"


def ignores_padding(case: Case) -> None:
    """Ignore what is stored behind the clicks of a history, where its mask is False."""
    past = case.batch.histories
    other = replace(past, item=past.item.where(past.mask, 1), time=past.time.where(past.mask, 7))
    _assert_close(case.logit(replace(case.batch, histories=other)), case.logit(case.batch), "other padding")


def scores_unknown_ids(case: Case) -> None:
    """Score unknown users and items, numbers num_users and num_items."""
    tables, batch = case.ready.dataset.interactions, case.batch
    unknown = replace(
        batch,
        user=torch.full_like(batch.user, tables.num_users),
        item=torch.full_like(batch.item, tables.num_items),
    )
    assert case.logit(unknown).isfinite().all(), "a logit is not finite"


def reads_no_label(case: Case) -> None:
    """Read neither the label nor the conversion of a row in evaluation."""
    other = replace(case.batch, label=1 - case.batch.label, conversion=None)
    assert torch.equal(case.logit(other), case.logit(case.batch)), "the score depends on the label: it leaks"


def gives_every_weight_a_gradient(case: Case) -> None:
    """Give every parameter a gradient within an epoch."""
    torch.manual_seed(0)
    model = build_model(case.ready).train()
    reached = {name: False for name, p in model.named_parameters() if p.requires_grad}
    for number, batch in enumerate(case.ready.train_batches(1), 1):
        out = model(batch)
        loss = F.binary_cross_entropy_with_logits(out.logit, batch.label) if out.loss is None else out.loss
        loss = loss + out.penalty
        assert torch.isfinite(loss), f"the loss of step {number} is {loss.item()}"
        loss.backward()
        for name, p in model.named_parameters():
            reached[name] = reached.get(name, False) or p.grad is not None
        if all(reached.values()):
            break
    missed = [name for name, got in reached.items() if not got]
    assert not missed, f"no gradient reaches {', '.join(missed[:3])}"


def is_all_in_its_weights(case: Case) -> None:
    """Keep all that it learns in its weights: a copy by state_dict scores the same."""
    torch.manual_seed(1)
    other = build_model(case.ready)
    other.load_state_dict(case.model.state_dict())
    with torch.no_grad():
        _assert_close(other.eval()(case.batch).logit, case.logit(case.batch), "a copy by state_dict")


def declares_its_hidden_width(case: Case) -> None:
    """Fill Output.hidden, [B, hidden_dim], where the class declares `hidden_dim`."""
    if isinstance(case.model, HasHidden):
        with torch.no_grad():
            hidden = case.model(case.batch).hidden
        wide = case.model.hidden_dim
        assert hidden is not None and hidden.shape == (ROWS, wide), f"hidden must be [B, {wide}]"


CHECKS: tuple[Callable[[Case], None], ...] = (
    answers_an_output,
    repeats_itself,
    scores_a_row_alone_as_in_company,
    scores_no_rows,
    scores_without_clicks,
    ignores_padding,
    scores_unknown_ids,
    reads_no_label,
    gives_every_weight_a_gradient,
    is_all_in_its_weights,
    declares_its_hidden_width,
)


def check_model(name: str) -> list[tuple[str, str]]:
    """Run every check on a model by its name in a run file.

    Returns:
        For each check what must hold, and what is wrong; "" where it holds.

    Raises:
        ValueError: there is no such model, or its class lacks a declared part of the contract.
    """
    case, found = Case.of(name), []
    for check in CHECKS:
        try:
            check(case)
            wrong = ""
        except Exception as error:
            wrong = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        found.append((" ".join(check.__doc__.split()), wrong))
    return found


def _assert_close(got: Tensor, wanted: Tensor, what: str) -> None:
    apart = (got - wanted).abs().max().item() if len(wanted) else 0.0
    assert apart <= CLOSE, f"{what} moves a logit by {apart:.2g}"
