"""DMR's auxiliary loss: a slow loop, and that it is gone in evaluation."""

import math

import pytest
import torch
from torch import nn

from hyperctr.models.din import DIN
from hyperctr.models.dmr import DMR, Config


def worn(ids, **changed):
    torch.manual_seed(0)
    base = DIN(DIN.Config(dim=4, hidden=(6, 5), attention=(4,)), ids)
    model = DMR(base, Config(**{"negatives": 3, **changed}), ids)
    for p in model.parameters():
        nn.init.normal_(p, std=0.7)
    return model.train()


def slow(model, item, drawn):
    """-log sigmoid(u v_T) - sum_k log sigmoid(-u v_k), u by attention over all clicks but the last."""
    keys = [model.table[0](torch.tensor(i)) for i in item[:-1]]
    scores = [model.score(torch.tanh(model.key(e))).item() for e in keys]
    top = [math.exp(s) for s in scores]
    user = model.user(sum(w / sum(top) * e for w, e in zip(top, keys, strict=True)))

    def log_sigmoid(i, sign):
        return -math.log1p(math.exp(-sign * (user @ model.target(torch.tensor(i))).item()))

    return -log_sigmoid(item[-1], 1) - sum(log_sigmoid(i, -1) for i in drawn if i != item[-1])


def test_loss_agrees_with_a_slow_loop(ids, make):
    model, past = worn(ids), make(lengths=[3, 0, 5, 1, 2], padding=2).histories
    drawn = torch.randint(30, (5, 3))
    drawn[0, 1] = past.item[0, 2]  # the last click itself: no negative
    histories = [past.item[q, past.mask[q]].tolist() for q in range(5)]
    wanted = [slow(model, item, drawn[q].tolist()) for q, item in enumerate(histories) if len(item) > 1]
    assert model.loss(past.item, past.mask, drawn).item() == pytest.approx(sum(wanted) / 3, rel=1e-4)


def test_vectors_that_know_nothing_lose_log_two_each_and_short_histories_nothing(ids, make):
    model, past = worn(ids), make(lengths=[3, 4]).histories
    nn.init.zeros_(model.target.weight)
    drawn = torch.full((2, 3), 29)
    assert model.loss(past.item, past.mask, drawn).item() == pytest.approx(4 * math.log(2))
    short = make(lengths=[1, 0]).histories
    assert model.loss(short.item, short.mask, drawn).item() == 0


def test_the_loss_is_a_penalty_in_training_and_teaches_the_bases_vectors(ids, make):
    model, batch = worn(ids, w=0.5), make(lengths=[3, 2])
    out = model(batch)
    assert out.penalty.item() == pytest.approx(0.5 * out.logs["match_loss"])
    out.penalty.backward()
    touched = model.base.embed.item.weight.grad.abs().sum(1) > 0
    assert set(touched.nonzero()[:, 0].tolist()) == set(
        batch.histories.item[0, :2].tolist() + batch.histories.item[1, :1].tolist()
    )
    assert model.eval()(batch).penalty == 0 and worn(ids, w=0.0)(batch).penalty == 0


def test_negatives_have_training_rows_and_nothing_else_is_drawn(ids, make):
    model, seen = worn(ids), []
    loss = model.loss
    model.loss = lambda item, mask, drawn: seen.append(drawn) or loss(item, mask, drawn)
    torch.manual_seed(1)
    for _ in range(30):
        torch.manual_seed(1)
        wanted = model.base(make()).logit
        torch.manual_seed(1)
        assert torch.equal(model(make()).logit, wanted)
    drawn = torch.cat(seen)
    assert drawn.shape == (120, 3) and ids.ids.seen_item[drawn].all()
    assert torch.bincount(drawn.flatten(), minlength=27).min() > 0


def test_its_parts_are_not_the_bases(ids):
    model = worn(ids)
    own = {name for name in model.state_dict() if not name.startswith("base.")}
    parts = {"key.weight", "key.bias", "score.weight", "user.0.weight", "user.0.bias", "user.1.weight", "target.weight"}
    assert own == parts | {"draws.opened"}


@pytest.mark.parametrize("changed", [{"w": -1.0}, {"negatives": 0}])
def test_settings_that_cannot_be_are_refused(changed):
    with pytest.raises(ValueError, match=f"wrapper.{next(iter(changed))} must be at least"):
        Config(**changed)
