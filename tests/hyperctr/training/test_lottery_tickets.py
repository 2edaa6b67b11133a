"""Tickets: their files, how a killed search goes on, the orders of two tasks' batches, and masks drawn at random."""

from itertools import islice

import pytest
import torch
from table_builder import make_tables

from hyperctr.batch import Batch, History, Step
from hyperctr.config import Train
from hyperctr.layers.multitask import TASKS
from hyperctr.models.lt4rec import LT4REC, Config
from hyperctr.training import lottery_tickets
from hyperctr.training.lottery_tickets import (
    Ticket,
    alternate_batches,
    cycle_batches,
    find_tickets,
    packed,
    shuffled,
    unpacked,
)

USERS, ITEMS = 9, 11


class Killed(Exception):
    pass


def batch(seed, task, rows=12):
    draw = torch.Generator().manual_seed(seed)
    query, none = torch.arange(rows), torch.zeros(rows, 1, dtype=torch.long)
    user, item = (torch.randint(n, (rows,), generator=draw) for n in (USERS, ITEMS))
    label = (torch.rand(rows, generator=draw) < 0.7).float()
    return Batch(
        user=user, item=item, time=query, query=query, query_row=query, histories=History(none, none.bool(), none),
        clicks_before=label, shows_before=None, context=None, label=label, conversion=torch.rand(rows, generator=draw),
        step=Step(task=task),
    )  # fmt: skip


def made(**config):
    torch.manual_seed(0)
    sizes = {"dim": 4, "hidden": (10, 6), "rounds": 2, "round_epochs": 2}
    return LT4REC(Config(**sizes | config), make_tables(USERS, ITEMS))


def search(model, folder=None, die=None, log=lambda row: None, given=None):
    """Find tickets; `die` = (task, round, epoch, step) kills it there."""
    at = {task: 0 for task in TASKS}

    def train(task, epoch):
        for step in range(2):
            if die == (task, at[task], epoch, step):
                raise Killed
            yield batch(17 * epoch + step, task)
        at[task] += epoch == model.config.round_epochs

    def valid(task):
        with torch.no_grad():
            out = model.eval()(batch(99, None))
        return -float((out.logit if task == "click" else out.conversion).square().mean())

    return find_tickets(model, train, valid, Train(epochs=9, lr=0.01, l2=0.0), folder, log, given)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for task in one:
        assert one[task].scores == other[task].scores
        for a, b in zip(one[task].masks, other[task].masks, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("die", [("click", 1, 2, 1), ("conversion", 0, 1, 0), ("conversion", 2, 2, 0)])
def test_a_killed_search_goes_on_to_the_same_tickets(tmp_path, die):
    model = made()
    whole = search(model, tmp_path / "whole")
    with pytest.raises(Killed):
        search(made(), tmp_path / "killed", die)
    again = made()
    assert_same(whole, search(again, tmp_path / "killed"))
    for name, x in model.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["tickets.safetensors"]


def test_what_was_found_is_not_found_again(tmp_path):
    rows = []
    first = search(made(), tmp_path, log=rows.append)
    assert {(row["task"], row["round"]) for row in rows} == {(task, i) for task in TASKS for i in range(3)}
    assert [row["density"] for row in rows if row["task"] == "click"][::2] == [
        first["click"].density(i) for i in range(3)
    ]
    with pytest.raises(Killed):
        search(made(), tmp_path / "other", ("click", 0, 1, 0))
    assert_same(first, search(made(), tmp_path, ("click", 0, 1, 0)))  # nothing is trained


def test_another_run_wears_the_tickets_with_the_weights_they_were_found_from(tmp_path):
    model = made()
    tickets = search(model, tmp_path)
    torch.manual_seed(5)
    other = LT4REC(model.config, make_tables(USERS + 3, ITEMS))
    assert_same(tickets, lottery_tickets.use_masks(other, tmp_path))
    for a, b in zip(model.tower.layers, other.tower.layers, strict=True):
        assert torch.equal(a.owners, b.owners) and torch.equal(a.whole(), b.whole())
    with pytest.raises(ValueError, match=r"are for layers of 10x\d+, 6x10 weights, the model has 8x\d+, 6x8"):
        lottery_tickets.use_masks(made(hidden=(8, 6)), tmp_path)
    with pytest.raises(ValueError, match="there are no tickets in"):
        lottery_tickets.use_masks(made(), tmp_path / "nothing")


def test_a_run_may_ask_for_the_masks_of_one_round_or_for_as_many_weights_at_random(tmp_path):
    tickets = search(made(), tmp_path)
    for task, number in (("click", 1), ("conversion", 2)):
        model = made(round=number)
        lottery_tickets.use_masks(model, tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(model.tower.masks(task), tickets[task].masks[number], strict=True))
    model = made(round=2, masks=str(tmp_path), shuffle=True)
    drawn = lottery_tickets.use_masks(model, tmp_path, seed=3)
    for task in TASKS:
        for found, mask, own in zip(model.tower.masks(task), tickets[task].masks[2], drawn[task].masks[2], strict=True):
            assert torch.equal(found, own) and found.sum() == mask.sum() and not torch.equal(found, mask)
    kept = [[mask[0].flatten() for mask in drawn[task].masks[1:]] for task in TASKS]
    assert not (kept[0][0] <= kept[1][0]).all() and not (kept[1][0] <= kept[0][0]).all()  # the tasks draw apart
    with pytest.raises(ValueError, match="model.round = 4, but the tickets have 2 rounds"):
        lottery_tickets.use_masks(made(rounds=4, round=4), tmp_path)


def test_masks_that_were_given_are_scored_anew(tmp_path):
    tickets = search(made(), tmp_path)
    model = made(masks=str(tmp_path), shuffle=True)
    given = lottery_tickets.use_masks(model, tmp_path)
    again = search(model, given=given)
    for task in TASKS:
        assert all(torch.equal(a, b) for a, b in zip(again[task].masks[2], given[task].masks[2], strict=True))
        assert again[task].scores[0] == tickets[task].scores[0] and again[task].scores[1:] != tickets[task].scores[1:]
    with pytest.raises(ValueError, match="model.rounds = 3, but the tickets have 2 rounds"):
        search(made(rounds=3), given=given)


def test_a_mask_in_bits_is_the_mask_again():
    for shape in [(7, 9), (1, 1), (3, 8), (2, 17)]:
        mask = torch.rand(shape) < 0.4
        bits = packed(mask)
        assert bits.dtype == torch.uint8 and len(bits) == -(-mask.numel() // 8)
        assert torch.equal(unpacked(bits, shape), mask)


def test_a_shuffled_ticket_has_as_many_weights_a_layer_and_others():
    first = [torch.ones(20, 10, dtype=torch.bool), torch.ones(5, 20, dtype=torch.bool)]
    first[0][:, 7:] = False  # what the task never could wear
    mask = [(torch.rand(m.shape) < 0.3) & m for m in first]
    ticket = Ticket((first, mask), (0.1, 0.2))
    drawn = shuffled(ticket, seed=1)
    assert drawn.scores == ticket.scores and drawn.best == 1
    for new, old, among in zip(drawn.mask(), mask, first, strict=True):
        assert new.sum() == old.sum() and not torch.equal(new, old) and (new <= among).all()
    assert all(torch.equal(a, b) for a, b in zip(drawn.masks[0], first, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(drawn.mask(), shuffled(ticket, seed=1).mask(), strict=True))
    assert not torch.equal(drawn.mask()[0], shuffled(ticket, seed=2).mask()[0])


def test_tasks_take_turns_until_each_is_used_up():
    assert list(alternate_batches("abc", "x")) == ["a", "x", "b", "c"]
    assert list(alternate_batches("a", "xyz")) == ["a", "x", "y", "z"]
    assert list(alternate_batches("", "xy")) == ["x", "y"]


def test_the_shorter_task_starts_over_in_another_order():
    again = [lambda: "xy", lambda: "yx"]
    assert list(cycle_batches("abcd", lambda time: again[time % 2]())) == ["a", "x", "b", "y", "c", "y", "d", "x"]
    assert list(islice(cycle_batches("ab", lambda time: "xyz"), 9)) == ["a", "x", "b", "y"]


def test_density_is_the_share_of_what_the_task_could_wear():
    first = made(extra=2).first_masks("click")
    assert not first[0].all()
    masks = [mask.clone() for mask in first]
    masks[0][:5], masks[1][:, 0] = False, False
    ticket, all_there = Ticket((first, masks)), int(first[0].sum()) + 60
    assert ticket.density(0) == 1
    assert ticket.density(1) == pytest.approx((int(first[0].sum()) / 2 + 54) / all_there)
