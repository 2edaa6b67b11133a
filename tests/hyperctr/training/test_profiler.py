"""The clock: seconds by hand."""

import pytest
import torch
from torch import nn

from hyperctr.training import profiler
from hyperctr.training.profiler import StepTimer, times_in_turn


class Hands:
    """A time that passes when it is told to."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def table(hands):
    """A look-up takes half a second."""

    class Slow(nn.Embedding):
        def forward(self, index):
            hands.at += 0.5
            return super().forward(index)

    return Slow(4, 2)


def test_parts_add_up_over_steps_and_parts_of_parts_stand_below_theirs(hands, table):
    clock = StepTimer(hands)
    clock.watch(nn.Sequential(table))

    def made():
        for _ in range(2):
            hands.at += 1
            yield torch.tensor([1, 2])

    for item in clock.batches(made()):
        with clock("forward"):
            table(item)
            table(item)
            hands.at += 1
        with clock("backward"):
            hands.at += 7
    assert clock.steps == 2
    assert clock.table() == [
        {"part": "batches", "of": "", "ms": 1000, "share": 0.1},
        {"part": "forward", "of": "", "ms": 2000, "share": 0.2},
        {"part": "look-ups", "of": "forward", "ms": 1000, "share": 0.1},
        {"part": "backward", "of": "", "ms": 7000, "share": 0.7},
    ]


def test_a_part_that_fails_is_counted_and_fails(hands):
    clock = StepTimer(hands)
    with pytest.raises(KeyError), clock("forward"):
        hands.at += 3
        raise KeyError
    assert clock.seconds == {"forward": 3}


def test_look_ups_of_an_evaluation_do_not_count(hands, table):
    clock = StepTimer(hands)
    clock.watch(table)
    table.eval()(torch.tensor([1]))
    assert clock.seconds == {}


def test_without_a_step_there_is_no_row(hands):
    clock = StepTimer(hands)
    assert list(clock.batches([])) == []
    assert clock.table() == []


def test_ways_to_do_the_same_are_timed_in_turn_on_one_argument_after_the_other(hands):
    called = []

    def way(name, seconds):
        def do(x):
            hands.at += seconds * x
            called.append((name, x))

        return do

    times = times_in_turn({"a": way("a", 0.5), "b": way("b", 0.25)}, [1, 2], 3, now=hands)
    assert called == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 1), ("b", 1)]
    assert times["a"].tolist() == [500, 1000, 500] and times["b"].tolist() == [250, 500, 250]


def test_a_call_may_follow_one_that_is_not_timed(hands):
    passes = iter([3.0, 1.0])

    def do(_):
        hands.at += next(passes)

    assert times_in_turn({"a": do}, [0], 1, now=hands, twice=True)["a"].tolist() == [1000]


def test_rounds_go_on_until_the_seconds_have_passed(hands, monkeypatch):
    def do(_):
        hands.at += 1

    monkeypatch.setattr(profiler.time, "perf_counter", hands)
    assert len(times_in_turn({"a": do}, [0], 1, seconds=2.5)["a"]) == 3
