"""Hard sharing: which layers are common, and what each task's loss moves."""

from dataclasses import replace

import pytest
import torch

from hyperctr.batch import plan_of
from hyperctr.models.shared_bottom import Config, SharedBottom


@pytest.fixture
def build(rich):
    def build(**config):
        torch.manual_seed(0)
        return SharedBottom(Config(dim=4, hidden=(9, 7, 5), **config), rich)

    return build


@pytest.fixture
def batch(make):
    return lambda seed=0, **columns: make(seed=seed, conversion=torch.linspace(0, 1, 8), **columns)


@pytest.mark.parametrize("shared", [0, 1, 2, 3])
def test_the_lowest_layers_are_common_and_the_others_each_task_s_own(build, batch, shared):
    model, b = build(shared=shared), batch()
    widths = [model.crossed.width, 9, 7, 5, 1]
    layers = [[m.in_features for m in part.modules() if hasattr(m, "in_features")] for part in
              (model.bottom, model.towers["click"], model.towers["conversion"])]  # fmt: skip
    assert layers == [widths[:shared], widths[shared:-1], widths[shared:-1]]
    x = model.crossed(b)
    for task, found in zip(("click", "conversion"), (lambda o: o.logit, lambda o: o.conversion), strict=True):
        h = x
        for m in [*model.bottom, *model.towers[task]]:
            h = m(h)
        torch.testing.assert_close(found(model.eval()(b)), h.squeeze(1))


def test_what_the_losses_move(build, batch):
    model, b = build(shared=1).train(), batch()
    model(b).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in [*model.bottom.parameters(), *model.towers.parameters()])
    model.zero_grad()
    model(replace(b, label=torch.zeros(8))).loss.backward()
    assert not any(p.grad.any() for p in model.towers["conversion"].parameters())


def test_a_model_of_conversions_alone_trains_on_them_and_says_nothing_of_clicks(build, batch):
    model, b = build(tasks="conversion").train(), batch(label=torch.ones(8))
    out = model(b)
    assert out.loss.item() == pytest.approx((out.conversion.sigmoid() - b.conversion).square().mean().item())
    assert (out.logit == 0).all()
    assert plan_of(SharedBottom, model.config).tasks == ("conversion",)
    out = build(tasks="click").train()(b)
    assert out.conversion is None and set(out.logs) == {"click_loss"}


def test_the_weight_of_conversions_is_b(build, batch):
    b = batch(label=torch.ones(8))
    losses = {k: build(b=k).train()(b).loss.item() for k in (1.0, 2.0, 5.0)}
    assert losses[2.0] - losses[1.0] == pytest.approx((losses[5.0] - losses[2.0]) / 3)


def test_depths_that_do_not_exist_are_refused(build):
    with pytest.raises(ValueError, match=r"model.shared must lie in \[0, 3\], one per layer, got 4"):
        build(shared=4)
    with pytest.raises(ValueError, match="model.tasks must be both, click or conversion"):
        build(tasks="like")
