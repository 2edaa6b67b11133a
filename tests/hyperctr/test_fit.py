"""The training loop: what it learns and keeps, when it stops, and that a killed training ends as an unbroken one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from hyperctr.batch import Batch, Output
from hyperctr.config import Train
from hyperctr.fit import _decay, evaluate, fit, score


class Killed(Exception):
    pass


class Toy(nn.Module):
    """One logit an item, and dropout so that the random state matters."""

    def __init__(self, items=4, dropout=0.0, penalty=None):
        super().__init__()
        self.table = nn.Embedding(items, 1)
        nn.init.zeros_(self.table.weight)
        self.drop, self.penalty = nn.Dropout(dropout), penalty

    def forward(self, batch):
        logit = self.drop(self.table(batch.item)).squeeze(1)
        return Output(logit) if self.penalty is None else Output(logit, self.penalty(self.table.weight))


def batch(item, label):
    item, label = torch.tensor(item), torch.tensor(label, dtype=torch.float32)
    n, none = len(item), torch.zeros(len(item), 1, dtype=torch.long)
    row = torch.arange(n)
    return Batch(
        user=row, item=item, time=row, query=row, first=row, history=none, history_mask=none.bool(), history_time=none,
        history_type=None, clicks_before=torch.zeros(n), shows_before=None, context=None, label=label,
    )  # fmt: skip


ITEM = [0] * 10 + [1] * 10 + [2] * 10
LABEL = [1] * 9 + [0] + [1] * 5 + [0] * 5 + [1] * 2 + [0] * 8


def shuffled(epoch):
    order = np.random.default_rng(epoch).permutation(30)
    for part in np.split(order, 3):
        yield batch([ITEM[k] for k in part], [LABEL[k] for k in part])


def scripted(scores, model=None, seen=None):
    """Validation that answers with these scores, one an epoch, and keeps copies of the weights."""
    left = iter(scores)

    def valid():
        if seen is not None:
            seen.append(model.table.weight.detach().clone())
        return next(left)

    return valid


def test_fit_finds_the_log_odds_of_each_item():
    model = Toy()
    config = Train(epochs=300, patience=300, lr=0.05, l2=0.0)
    fit(model, lambda epoch: [batch(ITEM, LABEL)], scripted(np.linspace(0.5, 0.9, 300)), config)
    wanted = [math.log(9), 0.0, math.log(2 / 8)]
    assert model.table.weight[:3, 0].tolist() == pytest.approx(wanted, abs=0.02)


def test_penalty_is_part_of_the_loss():
    model = Toy(penalty=lambda weight: 10 * (weight[3] - 2).square().sum())
    fit(model, lambda epoch: [batch(ITEM, LABEL)] * 50, scripted([0.5]), Train(epochs=1, lr=0.1, l2=0.0))
    assert model.table.weight[3].item() == pytest.approx(2, abs=0.1)


def test_fit_ends_with_the_weights_of_the_best_epoch_and_says_why_it_stopped():
    model, seen = Toy(), []
    done = fit(model, shuffled, scripted([0.6, 0.8, 0.7, 0.8, 0.9], model, seen), Train(epochs=9, patience=2, lr=0.1))
    assert (done.epoch, done.best_epoch, done.best_auc) == (4, 2, 0.8)  # an equal score is no gain
    assert done.stopped == "no gain for 2 epochs"
    assert torch.equal(model.table.weight, seen[1])
    assert not torch.equal(seen[1], seen[3])
    assert not model.training


def test_fit_stops_after_the_last_epoch_and_logs_each():
    rows = []
    done = fit(Toy(), shuffled, scripted([0.6, 0.7, 0.8]), Train(epochs=3, patience=2), log=rows.append)
    assert done.stopped == "all 3 epochs done"
    assert [(row["epoch"], row["valid_auc"], row["best_epoch"]) for row in rows] == [
        (1, 0.6, 1),
        (2, 0.7, 2),
        (3, 0.8, 3),
    ]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=0.01)


def test_loss_that_is_not_finite_names_epoch_and_step():
    def train(epoch):
        yield from shuffled(epoch)
        if epoch == 2:
            yield batch([0], [math.nan])

    with pytest.raises(FloatingPointError, match="nan in epoch 2, step 4; lower train.lr"):
        fit(Toy(), train, scripted([0.6, 0.7, 0.8]), Train(epochs=3))


SCORES = [0.6, 0.7, 0.65, 0.8, 0.7]


@pytest.mark.parametrize("where", ["log", "batches", "validation"])
def test_killed_training_ends_bit_equal_to_an_unbroken_one(tmp_path, where):
    config = Train(epochs=5, patience=3, lr=0.1, seed=3)
    whole = Toy(dropout=0.5)
    done = fit(whole, shuffled, scripted(SCORES), config)

    def batches(epoch):
        yield from list(shuffled(epoch))[:2]
        if where == "batches" and epoch == 3:
            raise Killed
        yield list(shuffled(epoch))[2]

    def log(row):
        if where == "log" and row["epoch"] == 3:
            raise Killed

    left = list(SCORES[:2] if where == "validation" else SCORES)

    def valid():
        if not left:
            raise Killed
        return left.pop(0)

    with pytest.raises(Killed):
        fit(Toy(dropout=0.5), batches, valid, config, tmp_path, log)
    again = Toy(dropout=0.5)
    torch.nn.init.normal_(again.table.weight)  # whatever it starts from
    torch.rand(7)
    resumed = fit(again, shuffled, scripted(SCORES[2:]), config, tmp_path)
    assert resumed == done
    assert torch.equal(again.table.weight, whole.table.weight)


def test_finished_training_called_again_trains_nothing(tmp_path):
    config, first, again = Train(epochs=2, lr=0.1), Toy(), Toy()
    done = fit(first, shuffled, scripted([0.7, 0.6]), config, tmp_path)
    assert fit(again, shuffled, scripted([]), config, tmp_path) == done
    assert torch.equal(first.table.weight, again.table.weight)


def test_checkpoint_is_one_safetensors_file_without_pickle(tmp_path: Path):
    fit(Toy(), shuffled, scripted([0.7]), Train(epochs=1), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.safetensors"]
    with safe_open(tmp_path / "run" / "checkpoint.safetensors", framework="pt") as file:
        assert {"model.table.weight", "best.table.weight", "adam.0.exp_avg", "adam.0.exp_avg_sq", "adam.0.step"} == set(
            file.keys()
        )


def test_decay_adds_l2_times_the_weight_to_rows_with_a_gradient_only():
    model = nn.Linear(2, 2)
    model.weight.data = torch.tensor([[2.0, 3.0], [5.0, 7.0]])
    model.weight.grad = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    model.bias.grad = torch.ones(2)
    _decay(model, 0.1)
    torch.testing.assert_close(model.weight.grad, torch.tensor([[1.2, 0.3], [0.0, 0.0]]))
    assert model.bias.grad.tolist() == [1.0, 1.0]


def test_l2_leaves_an_item_without_rows_where_it_was():
    weights = {}
    for l2 in (0.0, 0.5):
        model = Toy()
        nn.init.ones_(model.table.weight)
        fit(model, shuffled, scripted([0.5] * 20), Train(epochs=20, patience=20, lr=0.05, l2=l2, clip=0))
        weights[l2] = model.table.weight.detach()[:, 0]
    assert weights[0.5][3].item() == 1.0
    assert weights[0.5][0].item() < weights[0.0][0].item()


def test_score_and_evaluate_by_hand():
    model = Toy()
    model.table.weight.data = torch.tensor([[2.0], [1.0], [0.0], [-1.0]])
    scored = score(model, [batch([0, 1], [1, 0]), batch([2, 3], [1, 0])])
    assert scored["logit"].tolist() == [2.0, 1.0, 0.0, -1.0]
    assert scored["item"].tolist() == [0, 1, 2, 3]
    report = evaluate(scored, warm=np.array([True, True, False, False]))
    assert report["auc"] == 0.75  # of four pairs only (item 2, item 1) is in the wrong order
    assert (report["rows"], report["positives"], report["warm_share"], report["warm_auc"]) == (4, 2, 0.5, 1.0)
    losses = [math.log1p(math.exp(-2)), math.log1p(math.exp(1)), math.log(2), math.log1p(math.exp(-1))]
    assert report["logloss"] == pytest.approx(sum(losses) / 4)
    assert math.isnan(evaluate(scored, warm=np.array([True, False, False, False]))["warm_auc"])
