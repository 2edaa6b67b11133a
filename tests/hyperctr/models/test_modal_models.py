"""What MARN and the baselines of its Table 2 hold to: beyond the contract, whatever fuses the modalities."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables
from torch import nn

from hyperctr.evaluation.metrics import auc
from hyperctr.models import MODELS
from hyperctr.training.optim import coalesce, optimisers

NAMES = ["marn", "youtubenet", "dupn", "dmf", "mmss", "naml"]
PROPERTY = {"marn", "dupn"}


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_kind_and_age_of_clicks_are_read_by_those_that_say_so(whole, make, name, built):
    model, batch = built(name, whole), make(lengths=(5, 5, 4, 3))
    for past in (
        replace(batch.histories, type=torch.ones_like(batch.histories.item)),
        replace(batch.histories, time=batch.histories.time - 40),
    ):
        same = torch.allclose(model(replace(batch, histories=past)).logit, model(batch).logit, rtol=1e-3, atol=1e-4)
        assert same == (name not in PROPERTY)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_those_of_the_rows_slice(whole, make, name, built):
    model, batch = built(name, whole), make(lengths=(4, 4))
    later = replace(batch, time=batch.time + 2, histories=replace(batch.histories, time=batch.histories.time + 2))
    assert not torch.allclose(model(later).logit, model(batch).logit, rtol=1e-3, atol=1e-4)
    without = built(name, change_tables(whole, statistics=None))
    close(without(later).logit, without(batch).logit)


def test_a_column_that_is_unknown_adds_nothing_and_the_others_stay(whole, make, built):
    """As where a request knows the hour and not the tab: -1, each column in the place of its own."""
    model, batch = built("marn", whole), make()
    codes, width = batch.context.codes, model.profile.context.embedding_dim
    hour_only = replace(batch.context, codes=torch.stack([torch.full_like(codes[:, 0], -1), codes[:, 1]], 1))
    expected = model.profile(batch).clone()
    first = expected.shape[1] - width * len(whole.fields.context)  # the tab's vector is the first of the context
    expected[:, first : first + width] = 0.0
    close(model.profile(replace(batch, context=hour_only)), expected)
    numbers, none = batch.context.numbers, replace(batch.context, codes=torch.full_like(codes, -1))
    neither = replace(none, numbers=torch.full_like(numbers, math.nan), tags=torch.full_like(none.tags, -1),
                      vectors=tuple(torch.zeros_like(x) for x in none.vectors))  # fmt: skip
    nn.init.zeros_(model.profile.context.numbers.missing)
    close(model.profile(replace(batch, context=neither)), model.profile(replace(batch, context=None)))


@pytest.mark.parametrize("name", NAMES)
def test_a_click_of_like_kind_is_learned(name, ids, of_like_kind):
    """Two kinds of items; users click what is of the kind of their last clicks."""
    torch.manual_seed(0)
    sound = {"modalities": {"sound": torch.randn(30, 3)}, "present": {"sound": torch.ones(30, dtype=torch.bool)}}
    cls = MODELS[name]
    model = cls(cls.Config(dim=8, hidden=(16, 8)), change_tables(ids, **sound, steps=60)).train()
    adams, train, test = optimisers(model, 0.03), of_like_kind(400, 0), of_like_kind(400, 1)
    for _ in range(50):
        out = model(train)
        model.zero_grad()
        (F.binary_cross_entropy_with_logits(out.logit, train.label) + out.penalty).backward()
        coalesce(model)
        for adam in adams:
            adam.step()
    assert auc(test.label.numpy(), model.eval()(test).logit.detach().numpy()) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_modalities_are_chosen_by_name_and_a_wrong_one_is_named(whole, make, name, built):
    few = built(name, whole, modalities=("sound", "ids"))
    assert few.modalities.names == ("sound", "ids") and few(make()).logit.isfinite().all()
    assert built(name, whole).modalities.names == ("ids", "visual", "sound", "title", "statistic")
    says = "model.modalities: there is no 'image' here; there are ids, visual, sound, title, statistic"
    with pytest.raises(ValueError, match=says):
        built(name, whole, modalities=("image",))


def test_words_stand_before_a_finished_vector_of_the_title(whole, built):
    named = {"modalities": {"title": torch.randn(30, 4)}, "present": {"title": torch.ones(30, dtype=torch.bool)}}
    assert built("naml", change_tables(whole, **named)).modalities.raw[1].width == 96  # three windows of 32 filters
    dense = built("naml", change_tables(whole, titles=None, **named))
    assert dense.modalities.names == ("ids", "title", "statistic") and dense.modalities.raw[1].width == 4


@pytest.mark.parametrize(
    ("modalities", "text", "images"),
    [
        ((), "title", ["visual", "sound"]),
        (("visual", "ids", "statistic"), "ids", ["visual"]),
        (("visual", "sound"), "visual", ["sound"]),
    ],
)
def test_pictures_are_filtered_by_the_words(whole, modalities, text, images, built):
    model = built("mmss", whole, modalities=modalities)
    names = model.modalities.names
    assert names[model.fusion.text] == text and [names[m] for m in model.fusion.images] == images
