"""The checks of `hyperctr models check`: built-in models pass them, and each finds the fault that it is for."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from hyperctr.batch import Output
from hyperctr.experiments import contract
from hyperctr.models import MODELS


@pytest.mark.parametrize("name", ["hyperctr", "din", "lt4rec", "marn", "popularity"])
def test_built_in_models_keep_the_contract(name):
    assert [wrong for _, wrong in contract.check_model(name) if wrong] == []


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


class Idle(Plain):
    def __init__(self, config, tables):
        super().__init__(config, tables)
        self.idle = nn.Linear(1, 1)


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


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (Tuple, contract.answers_an_output),
        (Wide, contract.answers_an_output),
        (Promises, contract.answers_an_output),
        (Draws, contract.repeats_itself),
        (Company, contract.scores_a_row_alone_as_in_company),
        (Padding, contract.ignores_padding),
        (KnownOnly, contract.scores_unknown_ids),
        (Divides, contract.scores_without_clicks),
        (Leaks, contract.reads_no_label),
        (Idle, contract.gives_every_weight_a_gradient),
        (Remembers, contract.is_all_in_its_weights),
        (Narrow, contract.declares_its_hidden_width),
    ],
)
def test_each_check_finds_its_fault(monkeypatch, fault, check):
    monkeypatch.setitem(MODELS, "fault", fault)
    monkeypatch.setitem(MODELS, "plain", Plain)
    check(contract.Case.of("plain"))
    with pytest.raises((AssertionError, IndexError)):
        check(contract.Case.of("fault"))
