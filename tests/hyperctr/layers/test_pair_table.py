"""When a click is entered into a table of pairs, and what is looked up then."""

import torch

from hyperctr.layers.pair_table import PairTable, versions


def table(room=100):
    asked = []

    def weigh(click):
        asked.append(click)
        return torch.arange(5.0) + 10 * click

    return PairTable(4, weigh, room=room), asked


def test_a_click_is_entered_once_as_many_candidates_have_asked_as_there_are_items():
    pairs, computed = table()
    pairs.ask(torch.tensor([2, 0]), torch.tensor([3, 1]))
    assert computed == [] and not pairs.entered.any()
    pairs.ask(torch.tensor([2, 0, 1, 1]), torch.tensor([1, 2, 2, 2]))  # 2 has been asked for by four, 1 too, 0 by three
    assert computed == [1, 2] and pairs.entered.tolist() == [False, True, True, False, False]
    pairs.ask(torch.tensor([2, 0]), torch.tensor([9, 9]))
    assert computed == [1, 2, 0]
    found = pairs.look_up(torch.tensor([[0], [1], [2]]), torch.tensor([4, 0]))
    assert found.tolist() == [[4, 0], [14, 10], [24, 20]]


def test_what_has_no_room_is_not_entered():
    pairs, computed = table(room=14)  # two rows of five
    pairs.ask(torch.tensor([4, 1, 3]), torch.tensor([4, 4, 4]))
    assert computed == [1, 3] and pairs.entered.tolist() == [False, True, False, True, False]
    pairs.ask(torch.tensor([4]), torch.tensor([50]))
    assert computed == [1, 3]
    none, computed = table(room=4)
    none.ask(torch.tensor([4]), torch.tensor([50]))
    assert computed == [] and not none.entered.any()


def test_versions_tell_a_write_and_another_tensor():
    x, y = torch.zeros(3), torch.zeros(3)
    before = versions(x, y)
    assert versions(x, y) == before != versions(x, y.clone())
    y[1] = 2
    assert versions(x, y) != before
