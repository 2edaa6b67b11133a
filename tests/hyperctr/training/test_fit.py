"""The training loop: what it learns and keeps, when it stops, and that a killed training ends as an unbroken one."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from hyperctr.batch import Batch, History, Output, Step
from hyperctr.config import Train
from hyperctr.training.fit import fit
from hyperctr.training.profiler import StepTimer


class Killed(Exception):
    pass


class Toy(nn.Module):
    """One logit an item, and dropout so that the random state matters."""

    def __init__(self, items=4, dropout=0.0, penalty=None, sparse=False, logs=None):
        super().__init__()
        self.table = nn.Embedding(items, 1, sparse=sparse)
        nn.init.zeros_(self.table.weight)
        self.drop, self.penalty, self.logs = nn.Dropout(dropout), penalty, logs or (lambda: {})

    def forward(self, batch):
        logit = self.drop(self.table(batch.item)).squeeze(1)
        return Output(logit, 0.0 if self.penalty is None else self.penalty(self.table.weight), self.logs())


class Biased(Toy):
    """A table of sparse gradients beside a dense parameter: each has an optimiser of its own."""

    def __init__(self):
        super().__init__(sparse=True)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return Output(self.table(batch.item).squeeze(1) + self.bias)


class Rounds(Toy):
    """As HyperCTR draws its neighbours: anew whenever training goes on after an evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rounds", torch.zeros((), dtype=torch.long))

    def train(self, mode=True):
        if mode and not self.training:
            self.rounds += 1
        return super().train(mode)

    def forward(self, batch):
        return Output(self.table((batch.item + self.rounds) % 4).squeeze(1))


def batch(item, label, last=True):
    item, label = torch.tensor(item), torch.tensor(label, dtype=torch.float32)
    n, none = len(item), torch.zeros(len(item), 1, dtype=torch.long)
    row = torch.arange(n)
    return Batch(
        user=row, item=item, time=row, query=row, query_row=row, histories=History(none, none.bool(), none),
        clicks_before=torch.zeros(n), shows_before=None, context=None, label=label, step=Step(closes_group=last),
    )  # fmt: skip


ITEM = [0] * 10 + [1] * 10 + [2] * 10
LABEL = [1] * 9 + [0] + [1] * 5 + [0] * 5 + [1] * 2 + [0] * 8


def shuffled(epoch):
    return shuffled_by(10, epoch)


def shuffled_by(size, epoch):
    order = np.random.default_rng(epoch).permutation(30)
    for part in np.split(order, 30 // size):
        yield batch([ITEM[k] for k in part], [LABEL[k] for k in part])


def scripted(scores, model=None, seen=None):
    """Validation that answers with these scores, one after the other, and keeps copies of the weights."""
    left = iter(scores)

    def valid():
        if seen is not None:
            seen.append(model.table.weight.detach().clone())
        return next(left)

    return valid


def test_fit_finds_the_log_odds_of_each_item():
    model = Toy()
    config = Train(epochs=120, patience=120, lr=0.1, l2=0.0)
    fit(model, lambda epoch: [batch(ITEM, LABEL)], scripted(np.linspace(0.5, 0.9, 120)), config)
    wanted = [math.log(9), 0.0, math.log(2 / 8)]
    assert model.table.weight[:3, 0].tolist() == pytest.approx(wanted, abs=0.02)


def test_penalty_is_part_of_the_loss():
    model = Toy(penalty=lambda weight: 10 * (weight[3] - 2).square().sum())
    fit(model, lambda epoch: [batch(ITEM, LABEL)] * 50, scripted([0.5]), Train(epochs=1, lr=0.1, l2=0.0))
    assert model.table.weight[3].item() == pytest.approx(2, abs=0.1)


def sizes_of(config, folder=None, scores=(0.5, 0.6, 0.7, 0.8), log=lambda row: None):
    """The size of every step: Adam moves a weight whose gradient hardly changes by about lr."""
    model, seen = Toy(), []

    def train(epoch):
        for _ in range(3):
            seen.append(model.table.weight[0].item())
            yield batch([0] * 10, [1] * 10)

    fit(model, train, scripted(scores), config, rows=30, folder=folder, log=log)
    return np.diff([*seen, model.table.weight[0].item()])


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1] * 12),
        ("halved", 0, [1, 1, 1, 1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8]),
        ("cosine", 0, [0.5 + 0.5 * math.cos(math.pi * k / 12) for k in range(12)]),
        ("constant", 6, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 1, 1, 1, 1]),
        ("halved", 4, [1 / 4, 2 / 4, 3 / 4, 1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8]),
    ],
)
def test_steps_warm_up_and_follow_the_schedule(schedule, warmup, expected):
    config = Train(epochs=4, lr=0.001, l2=0.0, clip=0.0, schedule=schedule, warmup=warmup, patience=9)
    assert sizes_of(config) / 0.001 == pytest.approx(expected, rel=0.02)


def test_ids_are_hidden_while_steps_are_taken_and_known_when_it_validates():
    class Seen(Toy):
        def __init__(self):
            super().__init__(items=99)
            self.register_buffer("seen_item", torch.ones(100, dtype=torch.bool))
            self.shares = []

        def forward(self, batch):
            self.shares.append(float(self.seen_item.float().mean()))
            return super().forward(batch)

    model, validated = Seen(), []

    def valid():
        validated.append(bool(model.seen_item.all()))
        return 0.5

    fit(model, shuffled, valid, Train(epochs=2, id_dropout=0.4, eval_every=0.5), rows=30)
    assert validated == [True] * 4 and model.seen_item.all()
    assert len(set(model.shares)) > 1 and all(0.4 < share < 0.8 for share in model.shares)


def test_adamw_decays_in_the_step_and_not_in_the_gradient():
    ends = {}
    for optimiser in ("adam", "adamw"):
        model = Toy()
        with torch.no_grad():
            model.table.weight.fill_(1.0)
        config = Train(epochs=1, lr=0.1, l2=0.5, clip=0.0, optimiser=optimiser)
        fit(model, lambda epoch: [batch([0, 0], [1, 0])], scripted([0.5]), config)
        ends[optimiser] = model.table.weight.squeeze(1).tolist()
    assert ends["adam"] == pytest.approx([0.9, 1.0, 1.0, 1.0], abs=1e-4)  # a step of lr, of the row with a gradient
    assert ends["adamw"] == pytest.approx([0.85, 0.95, 0.95, 0.95], abs=1e-4)  # each weight less lr l2 of it


def test_a_killed_training_goes_on_in_its_schedule(tmp_path):
    config = Train(epochs=4, lr=0.001, l2=0.0, clip=0.0, schedule="halved", warmup=5, patience=9)

    def kill(row):
        if row["epoch"] == 3:
            raise Killed

    with pytest.raises(Killed):
        sizes_of(config, tmp_path, log=kill)
    assert sizes_of(config, tmp_path, scores=(0.7, 0.8))[-3:] == pytest.approx(sizes_of(config)[-3:], rel=1e-6)


def test_fit_ends_with_the_weights_of_the_best_epoch_and_says_why_it_stopped():
    model, seen = Toy(), []
    done = fit(model, shuffled, scripted([0.6, 0.8, 0.7, 0.8, 0.9], model, seen), Train(epochs=9, patience=2, lr=0.1))
    assert (done.epoch, done.best_epoch, done.best_score) == (4, 2, 0.8)  # an equal score is no gain
    assert done.stopped == "no gain for 2 validations"
    assert torch.equal(model.table.weight, seen[1])
    assert not torch.equal(seen[1], seen[3])
    assert not model.training


def test_fit_stops_after_the_last_epoch_and_logs_each():
    rows = []
    done = fit(Toy(), shuffled, scripted([0.6, 0.7, 0.8]), Train(epochs=3, patience=2), log=rows.append)
    assert done.stopped == "all 3 epochs done"
    assert [(row["epoch"], row["score"], row["best_epoch"]) for row in rows] == [
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
        fit(Toy(dropout=0.5), batches, valid, config, 30, tmp_path, log)
    again = Toy(dropout=0.5)
    torch.nn.init.normal_(again.table.weight)  # whatever it starts from
    torch.rand(7)
    resumed = fit(again, shuffled, scripted(SCORES[2:]), config, 30, tmp_path)
    assert resumed == done
    assert torch.equal(again.table.weight, whole.table.weight)


def test_a_share_of_an_epoch_is_validated_at_the_right_rows():
    rows, steps = [], []

    def train(epoch):
        for k, part in enumerate(shuffled_by(3, epoch)):
            steps.append((epoch, k, len(rows)))
            yield part

    config = Train(epochs=2, patience=9, eval_every=0.25)
    done = fit(Toy(), train, scripted(np.linspace(0.5, 0.6, 8)), config, 30, log=rows.append)
    assert [row["epoch"] for row in rows] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert (done.epoch, done.best_epoch, done.stopped) == (2, 2, "all 2 epochs done")
    # a batch is 3 of 30 rows: 7.5, 15 and 22.5 rows are passed by the 3rd, 5th and 8th
    assert [logged for epoch, _, logged in steps if epoch == 1] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert [logged for epoch, _, logged in steps if epoch == 2] == [4, 4, 4, 5, 5, 6, 6, 6, 7, 7]


def test_the_logged_loss_and_what_the_model_measures_are_means_since_the_last_validation():
    values = iter([1.0, math.nan, 3.0, 10.0, math.nan, math.nan])
    rows = []
    model = Toy(logs=lambda: {"staleness": next(values)})
    fit(model, lambda epoch: shuffled_by(5, 1), scripted([0.5] * 2), Train(epochs=1, eval_every=0.5, l2=0.0), 30,
        log=rows.append)  # fmt: skip
    assert [row["staleness"] for row in rows] == [2.0, 10.0]
    losses, model = [], Toy()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for part in shuffled_by(5, 1):  # the same steps by hand
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(part).logit, part.label)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert [row["loss"] for row in rows] == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:])], rel=1e-6)


def test_what_was_not_measured_is_not_logged():
    rows = []
    fit(Toy(logs=lambda: {"drift": math.nan}), shuffled, scripted([0.5]), Train(epochs=1), 30, log=rows.append)
    assert set(rows[0]) == {"epoch", "loss", "score", "best_epoch"}


def test_patience_counts_validations_and_training_stops_within_an_epoch():
    model, seen, steps = Toy(), [], []

    def train(epoch):
        for part in shuffled_by(3, epoch):
            steps.append(epoch)
            yield part

    config = Train(epochs=9, patience=2, eval_every=0.25, lr=0.1)
    done = fit(model, train, scripted([0.5, 0.6, 0.7, 0.65, 0.8, 0.7, 0.6], model, seen), config, 30)
    assert (done.epoch, done.best_epoch, done.best_score) == (1.75, 1.25, 0.8)
    assert done.stopped == "no gain for 2 validations"
    assert torch.equal(model.table.weight, seen[4]) and not torch.equal(seen[4], seen[6])
    assert steps.count(1) == 10 and steps.count(2) == 8


def test_training_goes_on_in_training_mode_after_a_validation():
    modes, model = [], Toy(logs=lambda: modes.append(model.training) or {})
    config = Train(epochs=2, eval_every=0.25, patience=9)
    fit(model, lambda epoch: shuffled_by(3, epoch), scripted([0.5] * 8), config, 30)
    assert modes == [True] * 20


@pytest.mark.parametrize("rows", [0, 30])
def test_without_a_share_or_without_rows_validation_comes_once_an_epoch(rows):
    logged, share = [], 1.0 if rows else 0.25
    fit(Toy(), shuffled, scripted([0.5, 0.6]), Train(epochs=2, eval_every=share), rows, log=logged.append)
    assert [row["epoch"] for row in logged] == [1, 2]


def test_validation_waits_for_the_last_of_the_batches_that_share_a_propagation():
    """What they owe to the shared states is paid with the last, and evaluation would forget it."""
    waiting, when = [True], []

    def train(epoch):
        for k, part in enumerate(shuffled_by(3, epoch)):
            waiting[0] = k % 4 != 3 and k != 9
            yield replace(part, step=Step(closes_group=not waiting[0]))

    def valid():
        when.append(waiting[0])
        return 0.5

    logged = []
    fit(Toy(), train, valid, Train(epochs=1, eval_every=0.25), 30, log=logged.append)
    assert when == [False] * len(when)
    assert [row["epoch"] for row in logged] == [0.25, 0.75, 1]  # the 8th batch passed 0.5 and 0.75


@pytest.mark.parametrize("where", ["log", "batches", "validation"])
@pytest.mark.parametrize("kind", ["dropout", "sparse", "rounds"])
def test_a_training_killed_between_validations_repeats_its_epoch(tmp_path, where, kind):
    def make():
        torch.manual_seed(0)
        return {"dropout": lambda: Toy(dropout=0.5), "sparse": Biased, "rounds": Rounds}[kind]()

    scores = [0.6, 0.7, 0.65, 0.8, 0.7, 0.9, 0.7, 0.7, 0.8, 0.85, 0.9, 0.9]
    config = Train(epochs=3, patience=7, lr=0.1, seed=3, eval_every=0.25, l2=0.01)

    def train(epoch):
        return shuffled_by(3, epoch)

    whole, rows = make(), []
    done = fit(whole, train, scripted(scores), config, 30, log=rows.append)
    assert done.best_epoch == 1.5

    def batches(epoch):
        for k, part in enumerate(train(epoch)):
            if where == "batches" and (epoch, k) == (2, 6):
                raise Killed
            yield part

    def log(row):
        if where == "log" and row["epoch"] == 1.75:
            raise Killed

    left = list(scores[:6] if where == "validation" else scores)

    def valid():
        if not left:
            raise Killed
        return left.pop(0)

    with pytest.raises(Killed):
        fit(make(), batches, valid, config, 30, tmp_path, log)
    again, rows_again = make(), []
    nn.init.normal_(again.table.weight)  # whatever it starts from
    torch.rand(7)
    resumed = fit(again, train, scripted(scores[4:]), config, 30, tmp_path, rows_again.append)
    assert resumed == done
    assert rows_again == rows[4:]
    assert torch.equal(again.table.weight, whole.table.weight)


def test_finished_training_called_again_trains_nothing(tmp_path):
    config, first, again = Train(epochs=2, lr=0.1), Toy(), Toy()
    done = fit(first, shuffled, scripted([0.7, 0.6]), config, 30, tmp_path)
    assert fit(again, shuffled, scripted([]), config, 30, tmp_path) == done
    assert torch.equal(first.table.weight, again.table.weight)


def test_checkpoint_is_one_safetensors_file_without_pickle(tmp_path: Path):
    fit(Toy(), shuffled, scripted([0.7]), Train(epochs=1), 30, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.safetensors"]
    with safe_open(tmp_path / "run" / "checkpoint.safetensors", framework="pt") as file:
        adam = {f"adam.0.0.{name}" for name in ("exp_avg", "exp_avg_sq", "step")}
        assert {"model.table.weight", "best.table.weight"} | adam == set(file.keys())


def test_l2_leaves_an_item_without_rows_where_it_was():
    weights = {}
    for l2 in (0.0, 0.5):
        model = Toy()
        nn.init.ones_(model.table.weight)
        fit(model, shuffled, scripted([0.5] * 20), Train(epochs=20, patience=20, lr=0.05, l2=l2, clip=0))
        weights[l2] = model.table.weight.detach()[:, 0]
    assert weights[0.5][3].item() == 1.0
    assert weights[0.5][0].item() < weights[0.0][0].item()


def test_a_clock_sees_every_part_of_every_step_and_changes_nothing():
    config = Train(epochs=2, eval_every=0.5, patience=9, seed=3)

    def trained(clock=None):
        model = Toy(dropout=0.5, sparse=True)
        watched = {} if clock is None else {"clock": clock}
        if clock is not None:
            clock.watch(model)
        made = shuffled if clock is None else lambda epoch: clock.batches(shuffled(epoch))
        fit(model, made, lambda: 0.5, config, len(ITEM), **watched)
        return model.table.weight

    clock = StepTimer()
    assert torch.equal(trained(clock), trained())
    assert clock.steps == 6
    parts = [row["part"] for row in clock.table()]
    assert parts == ["batches", "forward", "look-ups", "backward", "gradients", "optimiser", "validation"]
    assert sum(row["share"] for row in clock.table() if not row["of"]) == pytest.approx(1)
