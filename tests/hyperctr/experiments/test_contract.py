"""The checks of `hyperctr models check`: each finds the fault that it is for. The tests of models run them on all."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from hyperctr.batch import Features, Output
from hyperctr.experiments import contract
from hyperctr.models import MODELS, WRAPPERS


@dataclass(frozen=True)
class Config:
    pass


class Plain(nn.Module):
    """A sound model, from which the faulty ones differ in one thing."""

    Config, reads, tasks = Config, frozenset(), ("click",)

    def __init__(self, config, tables):
        super().__init__()
        self.item = nn.Embedding(tables.ids.num_items + 1, 4)
        self.out = nn.Linear(4, 1)

    def forward(self, batch):
        past = batch.histories
        clicks = (self.item(past.item) * past.mask[:, :, None]).sum(1)
        return Output(self.out(batch.expand_to_rows(clicks) * self.item(batch.item)).squeeze(1))


class Tuple(Plain):
    def forward(self, batch):
        return super().forward(batch).logit


class Wide(Plain):
    def forward(self, batch):
        return Output(super().forward(batch).logit[:, None])


class Promises(Plain):
    tasks = ("click", "conversion")


class Draws(Plain):
    def forward(self, batch):
        return Output(super().forward(batch).logit + torch.rand(len(batch)))


class Company(Plain):
    def forward(self, batch):
        logit = super().forward(batch).logit
        return Output(logit - logit.mean())


class Queries(Plain):
    def forward(self, batch):
        return Output(super().forward(batch).logit + batch.query)


class Padding(Plain):
    def forward(self, batch):
        clicks = self.item(batch.histories.item).sum(1)
        return Output(self.out(batch.expand_to_rows(clicks)).squeeze(1) + super().forward(batch).logit)


class KnownOnly(Plain):
    def __init__(self, config, tables):
        super().__init__(config, tables)
        self.item = nn.Embedding(tables.ids.num_items, 4)


class Divides(Plain):
    def forward(self, batch):
        count = batch.expand_to_rows(batch.histories.mask.sum(1))
        return Output(super().forward(batch).logit / count * count)


class Leaks(Plain):
    def forward(self, batch):
        return Output(super().forward(batch).logit + batch.label)


class ReadsSteps(Plain):
    def forward(self, batch):
        return Output(super().forward(batch).logit + batch.is_augmented)


class Idle(Plain):
    def __init__(self, config, tables):
        super().__init__(config, tables)
        self.idle = nn.Linear(1, 1)


class Zero(Plain):
    def forward(self, batch):
        return Output(super().forward(batch).logit, penalty=0 * self.out.bias.sum() + self.idle.sum() * 0)

    def __init__(self, config, tables):
        super().__init__(config, tables)
        self.idle = nn.Parameter(torch.ones(2))


class Remembers(Plain):
    def __init__(self, config, tables):
        super().__init__(config, tables)
        self.secret = torch.rand(())

    def forward(self, batch):
        return Output(super().forward(batch).logit + self.secret)


class Narrow(Plain):
    hidden_dim = 7

    def forward(self, batch):
        return replace(super().forward(batch), hidden=torch.zeros(len(batch), 3))


class Shapeless(Plain):
    def features(self, batch):
        return Features(torch.zeros(len(batch), 4))

    def take_tower(self):
        return nn.Sequential(nn.Linear(5, 2))


class Plans(Plain):
    @classmethod
    def plan(cls, config, plan):
        return replace(plan, tasks=("click", "conversion"))


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (Tuple, contract.answers_an_output),
        (Wide, contract.answers_an_output),
        (Promises, contract.answers_an_output),
        (Draws, contract.repeats_itself),
        (Company, contract.scores_a_row_alone_as_in_company),
        (Queries, contract.scores_a_row_alone_as_in_company),
        (Padding, contract.ignores_padding),
        (KnownOnly, contract.scores_unknown_ids),
        (Divides, contract.scores_without_clicks),
        (Leaks, contract.reads_no_label),
        (ReadsSteps, contract.reads_no_label),
        (Idle, contract.gives_every_weight_a_gradient),
        (Zero, contract.gives_every_weight_a_gradient),
        (Remembers, contract.is_all_in_its_weights),
        (Narrow, contract.declares_its_hidden_width),
        (Shapeless, contract.gives_up_its_tower),
        (Plans, contract.plans_its_training),
    ],
)
def test_each_check_finds_its_fault(monkeypatch, fault, check):
    monkeypatch.setitem(MODELS, "fault", fault)
    monkeypatch.setitem(MODELS, "plain", Plain)
    check(contract.Case.of("plain"))
    with pytest.raises((AssertionError, IndexError, RuntimeError)):
        check(contract.Case.of("fault"))


class Around(nn.Module):
    """A sound wrapper, from which the faulty ones differ in one thing."""

    Config, reads, stays = Config, frozenset(), False

    def __init__(self, base, config, tables):
        super().__init__()
        self.base, self.tasks = base, base.tasks
        self.own = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        out = self.base(batch)
        return replace(out, penalty=self.own * out.logit.square().mean()) if self.training else out


class Stays(Around):
    def forward(self, batch):
        out = self.base(batch)
        return replace(out, logit=out.logit * self.own + 1)


class Redraws(Around):
    def __init__(self, base, config, tables):
        super().__init__(base, config, tables)
        nn.init.ones_(next(base.parameters()))


class Both(Around):
    def __init__(self, base, config, tables):
        super().__init__(base, config, tables)
        self.tasks = ("click", "conversion")


class Unused(Around):
    def forward(self, batch):
        return self.base(batch)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (Stays, contract.is_the_model_in_evaluation),
        (Redraws, contract.is_the_model_in_evaluation),
        (Both, contract.answers_like_its_model),
        (Unused, contract.gives_every_weight_a_gradient),
    ],
)
def test_each_check_of_wrappers_finds_its_fault(monkeypatch, fault, check):
    monkeypatch.setitem(MODELS, "plain", Plain)
    for name, wrapper in (("around", Around), ("fault", fault)):
        monkeypatch.setitem(WRAPPERS, name, wrapper)
    check(contract.Case.of("plain", "around"))
    with pytest.raises(AssertionError):
        check(contract.Case.of("plain", "fault"))
