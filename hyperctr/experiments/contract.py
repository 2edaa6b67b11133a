"""Check that a model keeps the contract of `hyperctr.batch`: what `hyperctr models check mine.py:Mine` runs.

Each check is a function of a `Case`: a model with first weights, and rows of a small planted world. It raises an
AssertionError whose text says what is wrong; its docstring says what a model must do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr import config
from hyperctr.batch import Batch, Features, HasHidden, HasTower, Output, Referee, Step, TrainingPlan
from hyperctr.data import planted
from hyperctr.models import find_wrapper
from hyperctr.runs.prepare import Prepared, build_model, prepare
from hyperctr.runs.referees import fit_again, rows_of

QUERIES, EACH, CLOSE = 8, 3, 1e-5
ROWS = QUERIES * EACH


@dataclass(frozen=True)
class Case:
    """A model to check, and rows to check it on: some queries with several candidates each.

    Attributes:
        ready: the small world, made ready for the model.
        user, time: of the queries, [QUERIES].
        item, query: of the rows, [ROWS]. row: of the log, whose context each has, [ROWS].
    """

    ready: Prepared
    user: np.ndarray
    time: np.ndarray
    item: np.ndarray
    query: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, name: str, wrapper: str = "", preset: str = "conflict") -> Case:
        """Make the case of a model, and of its wrapper if one is named, by their names in a run file.

        Both have the defaults of their Config.

        Raises:
            ValueError: there is no such model or wrapper, or its class lacks a declared part of the contract.
        """
        tables = {"data": {"path": "planted", "history": 6}, "slices": {"every": "30d"}, "interest": {"mode": "none"}}
        tables |= {"model": {"name": name}} | ({"wrapper": {"name": wrapper}} if wrapper else {})
        ready = prepare(config.read_run(tables), planted.planted(preset, scale=0.02).dataset)
        log, rows = ready.dataset.interactions, ready.split.test[:QUERIES]
        items = np.random.default_rng(0).integers(log.num_items, size=(QUERIES, EACH))
        items[:, 0] = log.item[rows]
        query = np.repeat(np.arange(QUERIES), EACH)
        return cls(ready, log.user[rows], log.time[rows], items.ravel(), query, rows[query])

    def rows(self, rows: np.ndarray) -> Batch:
        """Make a batch of some of the rows, in the given order."""
        queries, query = np.unique(self.query[rows], return_inverse=True)
        label = (rows % 2).astype(np.float32)
        loader = self.ready.loader
        return loader.make_batch(self.user[queries], self.item[rows], self.time[queries], label, query, self.row[rows])

    @cached_property
    def batch(self) -> Batch:
        """A batch of all rows."""
        return self.rows(np.arange(ROWS))

    @cached_property
    def model(self) -> nn.Module:
        """The model in evaluation, with the first weights of seed 0; a referee is fitted."""
        return self.made()

    def made(self, seed: int = 0) -> nn.Module:
        """Build the model in evaluation, inside its wrapper if that stays, with the first weights of a seed.

        A referee is fitted.
        """
        torch.manual_seed(seed)
        model = build_model(self.ready).eval()
        if isinstance(model, Referee):
            model.fit(partial(rows_of, self.ready, "train"), partial(rows_of, self.ready, "valid"))
        return model

    def wrapped(self, seed: int = 0) -> nn.Module:
        """Build the model inside its wrapper, as it is trained."""
        run, model = self.ready.run, self.made(seed)
        wrapper = find_wrapper(run.wrapper_name) if run.wrapper else None
        return model if wrapper is None or wrapper.stays else wrapper(model, run.wrapper, self.ready.tables)

    def logit(self, batch: Batch) -> Tensor:
        """Score a batch in evaluation."""
        with torch.no_grad():
            return self.model.eval()(batch).logit


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
    order = np.random.default_rng(1).permutation(ROWS)
    _assert_close(case.logit(case.rows(order)), together[order], "another order of rows")
    alone = torch.cat([case.logit(case.rows(np.array([row]))) for row in range(2 * EACH)])
    _assert_close(alone, together[: 2 * EACH], "a row alone")


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
    """Read neither the label nor the conversion of a row in evaluation, nor the step of the batch."""
    batch, scores = case.batch, case.logit(case.batch)
    other = replace(batch, label=1 - batch.label, conversion=torch.rand(len(batch)))
    assert torch.equal(case.logit(other), scores), "the score depends on the label: it leaks"
    other = replace(batch, step=Step("click", closes_group=False, is_augmented=True))
    assert torch.equal(case.logit(other), scores), "the score depends on the training step"


def gives_every_weight_a_gradient(case: Case) -> None:
    """Give every parameter a gradient that is not zero within an epoch; a referee has no parameter."""
    if isinstance(case.model, Referee):
        assert not list(case.model.parameters()), "a referee is fitted once and takes no steps: use buffers"
        return
    model = case.wrapped().train()
    descent = torch.optim.SGD(model.parameters(), lr=0.01)  # steps: weights that start at zero stop others' gradients
    missed = {name for name, p in model.named_parameters() if p.requires_grad}
    for number, batch in enumerate(case.ready.train_batches(1), 1):
        out = model(batch)
        loss = F.binary_cross_entropy_with_logits(out.logit, batch.label) if out.loss is None else out.loss
        loss = loss + out.penalty
        assert torch.isfinite(loss), f"the loss of step {number} is {loss.item()}"
        descent.zero_grad()
        loss.backward()
        descent.step()
        missed -= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.to_dense().any()}
        if not missed:
            break
    assert not missed, f"no gradient reaches {', '.join(sorted(missed)[:3])}"


def is_all_in_its_weights(case: Case) -> None:
    """Keep all that it learns in its weights: a copy by state_dict scores the same. A referee is fitted again."""
    other = case.made(seed=1)
    other.load_state_dict(case.model.state_dict())
    if isinstance(other, Referee):
        fit_again(case.ready, other)
    with torch.no_grad():
        _assert_close(other(case.batch).logit, case.logit(case.batch), "a copy by state_dict")


def declares_its_hidden_width(case: Case) -> None:
    """Fill Output.hidden, [B, hidden_dim], where the class declares `hidden_dim`."""
    if isinstance(case.model, HasHidden):
        with torch.no_grad():
            hidden = case.model(case.batch).hidden
        wide = case.model.hidden_dim
        assert hidden is not None and hidden.shape == (ROWS, wide), f"hidden must be [B, {wide}]"


def gives_up_its_tower(case: Case) -> None:
    """Give up a tower that reads what `features` gives, where the class declares `take_tower`."""
    if isinstance(case.model, HasTower):
        model = case.made()
        tower = model.take_tower()
        with torch.no_grad():
            features = model.features(case.batch)
        assert isinstance(features, Features), f"features gave {type(features).__name__}, not Features"
        assert isinstance(tower, nn.Sequential), f"take_tower gave {type(tower).__name__}, not nn.Sequential"
        with torch.no_grad():
            assert len(tower(features.x)) == ROWS, "the tower must give one vector per row"


def plans_its_training(case: Case) -> None:
    """Plan the training of its own tasks, or of some of them, in a `TrainingPlan`."""
    plan = case.ready.plan
    assert isinstance(plan, TrainingPlan), f"plan gave {type(plan).__name__}, not TrainingPlan"
    assert plan.tasks and set(plan.tasks) <= set(case.model.tasks), f"plan has the tasks {plan.tasks}"


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
    gives_up_its_tower,
    plans_its_training,
)


def is_the_model_in_evaluation(case: Case) -> None:
    """Return the output of the model in evaluation and keep its weights, unless the wrapper stays."""
    wrapped = case.wrapped().eval()
    if not wrapped.stays:
        with torch.no_grad():
            out = wrapped(case.batch)
        assert torch.equal(out.logit, case.logit(case.batch)), "the wrapper moves a logit in evaluation"
        weights = {f"base.{name}": x for name, x in case.made().state_dict().items()}
        found = wrapped.state_dict()
        missing = [name for name, x in weights.items() if name not in found or not torch.equal(found[name], x)]
        assert not missing, f"the model must be `self.base`, with its own weights; {missing[0]} is not"


def answers_like_its_model(case: Case) -> None:
    """Answer the tasks that the wrapped model declares, in evaluation and in a training step."""
    wrapped = case.wrapped()
    for training in (False, True):
        out = wrapped.train(training)(case.batch)
        assert isinstance(out, Output), f"it answered {type(out).__name__}, not Output"
        assert out.logit.shape == (ROWS,) and out.logit.isfinite().all(), "logit must be one finite number per row"
        filled = out.conversion is not None
        assert filled == ("conversion" in wrapped.tasks), f"tasks are {wrapped.tasks}; conversion filled: {filled}"


WRAPPER_CHECKS: tuple[Callable[[Case], None], ...] = (
    is_the_model_in_evaluation,
    answers_like_its_model,
    gives_every_weight_a_gradient,
    plans_its_training,
)


def check_model(name: str) -> list[tuple[str, str]]:
    """Run every check on a model by its name in a run file.

    Returns:
        For each check what must hold, and what is wrong; "" where it holds.

    Raises:
        ValueError: there is no such model, or its class lacks a declared part of the contract.
    """
    return _run(CHECKS, Case.of(name))


def check_wrapper(name: str, model: str = "din") -> list[tuple[str, str]]:
    """Run every check of wrappers on a wrapper around a model, both by their names in a run file.

    Returns, Raises: as `check_model`.
    """
    return _run(WRAPPER_CHECKS, Case.of(model, name))


def _run(checks: tuple[Callable[[Case], None], ...], case: Case) -> list[tuple[str, str]]:
    found = []
    for check in checks:
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
