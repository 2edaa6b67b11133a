"""Batches that a thread makes ahead: their order, their device, errors, and what runs beside it."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretended import pretended

from hyperctr.batch import Batch, History, Output, Values
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.evaluation.evaluate import score
from hyperctr.training.prefetch import prefetched


def batch(number):
    past = History(torch.tensor([[number, 0]]), torch.tensor([[True, False]]), torch.tensor([[3, 0]]))
    one, context = torch.tensor([number]), Values(vectors=(torch.full((1, 2), float(number)),))
    return Batch(one, one, one, one * 0, one * 0, past, one.float(), None, context, one.float())


class OnDevice(torch.nn.Module):
    """A model with a weight, and a layout that is made on the host."""

    def __init__(self, device):
        super().__init__()
        self.weight, self.threads = torch.nn.Parameter(torch.zeros(1)), []
        self.to(device)

    def layout(self, batch):
        assert batch.item.is_cpu
        self.threads.append(threading.current_thread().name)
        return replace(batch.histories, item=batch.histories.item + 1)


def test_batches_come_in_order_on_the_device_with_what_the_model_asked_for():
    with pretended():
        model = OnDevice("cuda")
        given, found = zip(*prefetched(map(batch, range(5)), model), strict=True)
        assert [x.item.item() for x in given] == list(range(5)) and {x.item.device.type for x in given} == {"cpu"}
        assert {x.item.device.type for x in found} == {x.context.vectors[0].device.type for x in found} == {"cuda"}
        assert [x.item.item() for x in found] == [x.context.vectors[0][0, 1].item() for x in found] == list(range(5))
        assert [x.layout.item[0, 0].item() for x in found] == [1, 2, 3, 4, 5]
        assert [x.histories.place.tolist() for x in found] == [[0]] * 5
    assert len(model.threads) == 5 and all(name.startswith("batches") for name in model.threads)


def test_on_a_cpu_no_thread_is_started_and_no_layout_is_made():
    model = OnDevice("cpu")
    before = threading.active_count()
    found = [(x.item.item(), threading.active_count(), x.layout) for _, x in prefetched(map(batch, range(3)), model)]
    assert found == [(n, before, None) for n in range(3)] and model.threads == []


def test_one_batch_is_made_ahead():
    made = []

    def source():
        for number in range(4):
            made.append(number)
            yield batch(number)

    with pretended():
        coming = prefetched(source(), OnDevice("cuda"))
        next(coming)
        coming.close()  # waits for what is under way
    assert made == [0, 1]


def test_an_error_of_the_loader_is_raised_where_the_batch_is_asked_for():
    def source():
        yield batch(0)
        raise ValueError("a damaged row")

    with pretended():
        coming = prefetched(source(), OnDevice("cuda"))
        assert next(coming)[1].item.item() == 0
        with pytest.raises(ValueError, match="a damaged row"):
            next(coming)


def test_two_threads_read_the_sources_of_a_loader_one_after_the_other():
    class Slow:
        def __init__(self):
            self.inside, self.most = 0, 0

        def read(self, rows):
            self.inside += 1
            self.most = max(self.most, self.inside)
            threading.Event().wait(0.01)
            self.inside -= 1
            return Values(numbers=torch.zeros(len(rows.item), 1))

    log = Interactions(user=[0, 0], item=[1, 0], time=[5, 7], label=[1, 1], num_users=1, num_items=2)
    loader, slow = Loader(log), Slow()
    loader.sources = [slow]
    threads = [threading.Thread(target=lambda: list(loader.batches(np.arange(2), 1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slow.most == 1


def test_each_reaches_every_tensor():
    seen = []
    there = batch(3).each(lambda x: seen.append(x) or x + 1)
    assert len(seen) == 7 + 3 + 1  # of the batch, its histories, its context
    assert there.item.item() == 4 and there.context.vectors[0].tolist() == [[4, 4]]


def test_scoring_has_the_same_thread_and_reads_its_columns_of_the_host():
    class Scores(OnDevice):
        tasks = ("click",)

        def forward(self, batch):
            assert batch.item.device.type == "cuda" and not self.training
            return Output(batch.item * 2.0 + self.weight)

    with pretended():
        model = Scores("cuda")
        found = score(model, map(batch, range(4)), moved=prefetched)
    assert found["item"].tolist() == [0, 1, 2, 3] and found["logit"].tolist() == [0, 2, 4, 6]
    assert len(model.threads) == 4 and all(name.startswith("batches") for name in model.threads)
