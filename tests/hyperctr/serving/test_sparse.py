"""What is exported answers as the masked network does, is smaller, and comes back from its file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from table_builder import make_tables
from torch import nn

from hyperctr.batch import Batch, Features, History, Values
from hyperctr.layers.mlp import PReLU
from hyperctr.layers.multitask import TASKS
from hyperctr.models.lt4rec import LT4REC, Config, SparseSharing
from hyperctr.serving import sparse
from hyperctr.serving.sparse import MODES, Halves, Network, Step, clock, compact, export

USERS, ITEMS = 9, 11
SIZES = (1, 2, 3, 7, 16, 17, 33, 64, 65, 200)  # around what the kernel takes at a time


def tables():
    draw = torch.Generator().manual_seed(0)
    return make_tables(
        num_users=USERS, num_items=ITEMS, modalities={"visual": torch.randn(ITEMS, 4, generator=draw)},
        present={"visual": torch.arange(ITEMS) % 4 > 0}, seen_user=torch.arange(USERS) > 0,
        seen_item=torch.arange(ITEMS) > 1, user_fields={"age": torch.arange(USERS + 1) % 4}, user_sizes={"age": 3},
        item_fields={"kind": torch.arange(ITEMS + 1) % 3}, item_sizes={"kind": 2}, context_sizes={"tab": 2, "hour": 3},
    )  # fmt: skip


def trained(seed=0, share=0.2, **config):
    """A network with weights of some size, pruned."""
    torch.manual_seed(seed)
    model = LT4REC(Config(**{"dim": 4, "hidden": (24, 20, 12)} | config), tables())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed" in name or "extra" in name:
                p.normal_()
            elif name.endswith("bias"):
                p.normal_(std=0.3)
    shares = {"click": share, "conversion": 0.4}
    model.tower.set_masks({task: model.prune(task, model.first_masks(task), shares[task]) for task in TASKS})
    return model.eval()


def answers(model, x, task):
    return model.tower(x, TASKS.index(task)).detach()


@pytest.fixture(params=["compiled", "compiled, many tiles", "torch"])
def kernel(request, monkeypatch):
    """The kernel that is built here, if it can be, and what stands in for it."""
    if request.param == "torch":
        monkeypatch.setattr(sparse, "_library", lambda: None)
    elif sparse._library() is None:
        pytest.skip("the compiled network was not checked: no C compiler")
    elif "tiles" in request.param:
        monkeypatch.setattr(sparse, "TILE", 8)
    return request.param


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
@pytest.mark.parametrize("task", TASKS)
def test_every_mode_answers_as_the_masked_network(kernel, task, granularity):
    model = trained(granularity=granularity)
    networks = [export(model, task, mode) for mode in MODES]
    for size in SIZES:
        x = torch.randn(size, model.base.crossed.width)
        for network in networks:
            found = network(x)
            assert found.shape == (size,)
            torch.testing.assert_close(found, answers(model, x, task), rtol=1e-5, atol=1e-5)
    assert networks[0](torch.empty(0, model.base.crossed.width)).shape == (0,)
    assert networks[2](torch.empty(0, model.base.crossed.width)).shape == (0,)


def test_the_compiled_kernel_reads_rows_that_do_not_lie_side_by_side(kernel):
    model = trained()
    x = torch.randn(40, 2 * model.base.crossed.width)[:, ::2]
    torch.testing.assert_close(export(model, "click", "csr")(x), answers(model, x, "click"), rtol=1e-5, atol=1e-5)


def test_units_that_are_off_are_gone():
    model = trained(granularity="neuron")
    full, small = (export(model, "click", mode) for mode in ("dense", "compact"))
    alive = [int(mask.any(1).sum()) for mask in model.tower.masks("click")]
    assert sum(alive) == round(0.2 * 56)
    assert [len(step.bias) for step in small.steps] == [*alive, 1]
    assert small.describe()["multiply_adds"] < 0.35 * full.describe()["multiply_adds"]


def test_compact_folds_constants_and_drops_what_nothing_reads_until_nothing_changes():
    steps = (
        Step(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]), torch.tensor([0.1, 0.7, -0.2]), 0.0),
        Step(torch.tensor([[1.0, 2.0, 0.0], [0.0, 5.0, 1.0]]), torch.tensor([0.5, 0.5]), 0.0),
        Step(torch.tensor([[4.0, 0.0]]), torch.tensor([1.0]), 1.0),
    )
    small = compact(Network(steps))
    # unit 1 of the first layer is always 0.7; unit 1 of the second goes nowhere, and then unit 2 of the first, and x[1]
    assert [step.weight.tolist() for step in small.steps] == [[[1.0, 2.0]], [[1.0]], [[4.0]]]
    assert [step.bias.tolist() for step in small.steps] == [
        pytest.approx([0.1]), pytest.approx([0.5 + 2 * 0.7]), pytest.approx([1.0])
    ]  # fmt: skip
    assert small.inputs.tolist() == [0, 2]
    x = torch.randn(30, 3)
    torch.testing.assert_close(small(x), Network(steps)(x))
    again = compact(small)
    assert [step.weight.shape for step in again.steps] == [step.weight.shape for step in small.steps]
    torch.testing.assert_close(again(x), small(x))


def test_a_network_that_reads_nothing_is_its_constant():
    steps = (
        Step(torch.zeros(2, 3), torch.tensor([1.0, -1.0]), 0.0),
        Step(torch.tensor([[2.0, 9.0]]), torch.zeros(1), 1.0),
    )
    for mode in MODES:
        network = replace(compact(Network(steps)), mode=mode)
        assert network(torch.randn(70, 3)).tolist() == [2.0] * 70


@pytest.mark.parametrize("mode", MODES)
def test_a_saved_network_is_the_same_again_and_its_file_is_small(mode, tmp_path):
    model = trained(hidden=(128, 64))
    network = export(model, "click", mode)
    network.save(tmp_path / "click.safetensors")
    again = Network.load(tmp_path / "click.safetensors")
    x = torch.randn(9, model.base.crossed.width)
    assert again.mode == mode and torch.equal(again(x), network(x))
    assert [path.name for path in tmp_path.iterdir()] == ["click.safetensors"]
    dense = sum(4 * (layer.owners.numel() + len(layer.bias)) for layer in model.tower.layers)
    size = (tmp_path / "click.safetensors").stat().st_size
    assert size < 0.4 * dense and abs(size - network.describe()["bytes"]) < 2500  # names, shapes and timings


def test_auto_takes_the_fastest_and_remembers_the_times(monkeypatch, tmp_path):
    model, asked = trained(), []

    def slow(forms, x):
        asked.append(tuple(x.shape))
        return {name: np.array([99.0, {"dense": 3.0, "compact": 1.0, "csr": 2.0}[name] * len(x)]) for name in forms}

    monkeypatch.setattr(sparse, "clock", slow)
    network = export(model, "conversion", batches=(1, 8))
    assert network.mode == "compact" and network.timings["csr"] == {1: 2.0, 8: 16.0}
    assert asked == [(size, model.base.crossed.width) for size in (1, 8)]
    network.save(tmp_path / "network.safetensors")
    assert Network.load(tmp_path / "network.safetensors").timings == network.timings


def test_forms_are_timed_in_turn():
    called = []
    forms = {name: lambda x, name=name: called.append((name, len(x))) for name in "ab"}
    times = clock(forms, torch.zeros(3, 2), seconds=0.0)
    assert called == [("a", 3), ("a", 3), ("b", 3), ("b", 3)] * 7  # the first of two is not timed
    assert {name: len(found) for name, found in times.items()} == {"a": 7, "b": 7}


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(ValueError, match="a task of click, conversion and a mode of dense, compact, csr or auto"):
        export(trained(), "like")
    with pytest.raises(ValueError, match="a mode of dense"):
        export(trained(), "click", "sparse")

    class Base(nn.Module):
        def __init__(self, activation):
            super().__init__()
            self.activation = activation

        def features(self, batch):
            return Features(batch)

        def take_tower(self):
            return nn.Sequential(nn.Linear(5, 7), self.activation, nn.Linear(7, 4), self.activation)

    bent = PReLU()
    torch.nn.init.constant_(bent.weight, 0.25)
    model, x = SparseSharing(Base(bent), Config(), tables()).eval(), torch.randn(50, 5)
    for mode in MODES:
        torch.testing.assert_close(export(model, "click", mode)(x), answers(model, x, "click"), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="only layers with ReLU or PReLU can be exported, these have Tanh"):
        export(SparseSharing(Base(nn.Tanh()), Config(), tables()), "click")


def request(seed=0, rows=23, context=True):
    """Rows of some queries, unknown users and items and an empty history among them."""
    draw = torch.Generator().manual_seed(seed)
    query = torch.cat([torch.arange(5), torch.randint(5, (rows - 5,), generator=draw)]).sort().values
    first = torch.searchsorted(query, torch.arange(5))
    user, past = torch.tensor([0, 3, USERS, 5, 3])[query], torch.randint(ITEMS + 1, (5, 4), generator=draw)
    label = torch.zeros(rows)
    return Batch(
        user=user, item=torch.randint(ITEMS + 1, (rows,), generator=draw), time=query, query=query, query_row=first,
        histories=History(past, torch.arange(4) < torch.tensor([4, 0, 2, 1, 3])[:, None], past), clicks_before=label,
        shows_before=None, label=label,
        context=Values(torch.randint(2, (rows, 2), generator=draw)) if context else None,
    )  # fmt: skip


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_the_first_layer_in_halves_gives_the_same_scores(mode, context):
    model, b = trained(), request(context=context)
    found, whole = Halves(model, mode).score(b), model(b)
    torch.testing.assert_close(found.logit, whole.logit.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.conversion, whole.conversion.detach(), rtol=1e-5, atol=1e-5)


def test_halves_need_features_that_both_tasks_share():
    with pytest.raises(ValueError, match=r"model.extra is not served in halves"):
        Halves(trained(extra=2))
    model = trained(extra=2)
    b = request()
    x = model.view(model.base.features(b).x, b, "conversion")
    torch.testing.assert_close(
        export(model, "conversion", "csr")(x), model(b).conversion.detach(), rtol=1e-5, atol=1e-5
    )
