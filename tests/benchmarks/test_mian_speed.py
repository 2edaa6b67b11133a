"""The benchmark of MIAN's speed: what it compares gives the same, and a ratio is of what ran side by side."""

import torch

from benchmarks import mian_speed


def test_rows_of_their_own_are_the_same_rows():
    asked = mian_speed.batch(3, 4, seed=1)
    apart = mian_speed.alone(asked)
    assert len(apart.query_row) == 12 and torch.equal(apart.histories.item, asked.histories.item[asked.query])
    model = mian_speed.built("mian", dim=4).eval()
    torch.testing.assert_close(model(apart).logit, model(asked).logit)


def test_a_ratio_is_of_what_ran_side_by_side():
    took = {"a": iter([2.0, 4.0, 6.0]), "b": iter([1.0, 2.0, 3.0])}
    assert mian_speed.ratio(*(torch.tensor([*x]).numpy() for x in took.values())) == "2.00 (2.00 to 2.00)"
    calls = []
    what = {"a": lambda x: calls.append(("a", x)), "b": lambda x: calls.append(("b", x))}
    found = mian_speed.in_turn(what, [7, 8], 2, 1)
    assert calls == [("a", 7), ("b", 7), ("a", 8), ("b", 8), ("a", 7), ("b", 7)]
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}
