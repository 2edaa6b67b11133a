"""A random stream of one's own leaves torch's as it was."""

import torch

from hyperctr.layers.rng import RandomStream


def drawn(draws):
    with draws.stream():
        return torch.rand(3)


def seeded(seed):
    torch.manual_seed(seed)
    return RandomStream()


def test_what_is_drawn_depends_on_seed_and_count_alone():
    first = seeded(3)
    a, b = drawn(first), drawn(first)
    assert not torch.equal(a, b)
    again = seeded(3)
    torch.rand(11)
    assert torch.equal(drawn(again), a) and torch.equal(drawn(again), b)
    assert not torch.equal(drawn(seeded(4)), a)


def test_the_count_is_state():
    first, later = seeded(3), seeded(3)
    drawn(first)
    later.load_state_dict(first.state_dict())
    assert torch.equal(drawn(later), drawn(first))
    assert list(first.state_dict()) == ["opened"]


def test_torch_draws_as_if_nothing_had_been_drawn():
    torch.manual_seed(5)
    wanted = torch.rand(2)
    draws = seeded(5)
    drawn(draws)
    assert torch.equal(torch.rand(2), wanted)
    torch.manual_seed(5)
    try:
        with draws.stream():
            torch.rand(9)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.rand(2), wanted)
