"""Figures 4 and 5 of MARN: attention averaged by category, probes that tell what can be told, and pictures of both."""

import numpy as np
import pytest
import torch
from table_builder import change_tables, make_tables

from hyperctr.analysis import marn_modalities
from hyperctr.batch import LEVELS, Statistics
from hyperctr.models.marn import MARN

ITEMS = 60


@pytest.fixture
def tables():
    level = torch.randint(LEVELS + 1, (4, ITEMS + 1, 2), dtype=torch.uint8)
    present = {"visual": torch.arange(ITEMS) % 3 > 0, "textual": torch.arange(ITEMS) % 5 > 0}
    return make_tables(
        num_users=4, num_items=ITEMS, modalities={name: torch.randn(ITEMS, 5) for name in present}, present=present,
        seen_user=torch.ones(4, dtype=torch.bool), seen_item=torch.ones(ITEMS, dtype=torch.bool),
        statistics=Statistics(("clicks", "recency"), torch.empty(0), torch.tensor([10, 20, 30]), level),
    )  # fmt: skip


def marn(tables, **sizes):
    return MARN(MARN.Config(dim=6, hidden=(4,), **sizes), tables)


def test_attention_is_the_mean_length_over_the_items_that_have_the_modality(tables):
    model, category = marn(tables), np.arange(ITEMS) % 4 - 1
    found = marn_modalities.attention(model, category, names=["shoes", "phones", "food"], at=25)
    assert found.categories == ("shoes", "phones", "food")
    assert found.modalities == ("ids", "visual", "textual", "statistic") and found.items.tolist() == [15, 15, 15]
    for c in range(3):
        for m in range(4):
            lengths = []
            for item in np.flatnonzero(category == c):
                parts = model.encode(torch.tensor([item]), torch.tensor([2]))  # two slices have begun at 25
                if parts.present[m, 0]:
                    lengths.append(parts.attention[m, 0].norm().item())
            assert found.strength[c, m] == pytest.approx(np.mean(lengths), rel=1e-5)
    np.testing.assert_allclose(found.relative().mean(0), 1)


def test_without_a_time_statistics_are_those_of_the_last_slice(tables):
    model, category = marn(tables), np.zeros(ITEMS, int)
    last = marn_modalities.attention(model, category, at=99).strength
    assert np.array_equal(marn_modalities.attention(model, category).strength, last)
    assert not np.allclose(marn_modalities.attention(model, category, at=25).strength[:, 3], last[:, 3])


def test_a_modality_that_a_category_lacks_has_no_strength(tables):
    found = marn_modalities.attention(marn(tables), np.where(np.arange(ITEMS) % 3 == 0, 1, 0))
    assert np.isnan(found.strength).tolist() == [[False] * 4, [False, True, False, False]]
    assert found.relative()[0, 1] == 1
    assert found.draw() is not None


def test_large_categories_are_sampled(tables):
    found = marn_modalities.attention(marn(tables), np.zeros(ITEMS, int), most=12)
    assert found.items.tolist() == [12]


def test_a_probe_tells_what_a_line_can_tell_and_nothing_else():
    rng = np.random.default_rng(0)
    x, every = rng.standard_normal((3, 400, 5)), np.ones(400, bool)
    assert marn_modalities.probe(list(x), [every] * 3) == pytest.approx(1 / 3, abs=0.08)
    assert marn_modalities.probe([x[0], x[1] + 3, x[2] - 3], [every] * 3) > 0.95
    few = np.arange(400) < 100  # classes of very different size: chance stays at one half
    assert marn_modalities.probe([x[0], x[1]], [every, few]) == pytest.approx(0.5, abs=0.12)
    assert np.isnan(marn_modalities.probe([x[0], x[1]], [every, np.zeros(400, bool)]))


def test_a_probe_is_tested_on_other_items_than_it_was_fitted_on():
    """Items whose vectors carry a mark of the group, but each item its own: memory alone would help."""
    rng = np.random.default_rng(0)
    mark = rng.standard_normal((300, 200))
    every = np.ones(300, bool)
    assert marn_modalities.probe([mark, -mark], [every, every]) == pytest.approx(0.5, abs=0.1)


def test_space_holds_the_parts_of_the_items(tables):
    model = marn(tables)
    found = marn_modalities.space(model, at=15)
    parts = model.encode(torch.arange(ITEMS), torch.ones(ITEMS, dtype=torch.long))
    for name in ("specific", "invariant", "common", "present", "degree"):
        assert np.array_equal(getattr(found, name), getattr(parts, name).detach().numpy()), name
    np.testing.assert_allclose(
        marn_modalities.space(model, np.array([5, 7]), at=15).common, found.common[[5, 7]], atol=1e-6
    )
    assert marn_modalities.space(model, most=10).common.shape == (10, 6)


def test_panels_are_of_the_items_that_have_both_modalities(tables):
    found = marn_modalities.space(marn(tables))
    panels = found.panels(("visual", "textual"))
    assert list(panels) == ["specific", "invariant", "specific and invariant"]
    both = found.present[1] & found.present[2]
    names, groups, told = panels["specific and invariant"]
    assert names == ["s visual", "s textual", "c"] and [len(x) for x in groups] == [both.sum()] * 3
    assert np.array_equal(groups[2], found.common[both]) and np.array_equal(groups[0], found.specific[1][both])
    assert 0 <= told <= 1
    assert 0 <= found.probe("invariant") <= 1 and 0 <= found.probe("specific", ("ids", "visual")) <= 1


def test_the_pictures_say_what_the_numbers_say(tables):
    model = marn(tables)
    heat = marn_modalities.attention(model, np.arange(ITEMS) % 2, names=["shoes", "food"])
    ax = heat.draw(relative=True).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["shoes", "food"]
    assert f"{heat.relative()[0, 0]:.2f}" in [t.get_text() for t in ax.texts]
    found = marn_modalities.space(model)
    axes = found.draw(("visual", "textual")).axes
    for ax, (title, (_, groups, told)) in zip(axes, found.panels(("visual", "textual")).items(), strict=True):
        assert ax.get_xlabel() == f"{title}\nprobe {told:.2f}, chance {1 / len(groups):.2f}"


def test_models_without_the_parts_are_refused(tables):
    plain = marn(tables, fusion="sum", adversary="none")
    with pytest.raises(ValueError, match='attention needs model.fusion="maf", this model has "sum"'):
        marn_modalities.attention(plain, np.zeros(ITEMS, int))
    with pytest.raises(ValueError, match='space needs invariant parts, this model has model.adversary="none"'):
        marn_modalities.space(plain)
    without = marn(change_tables(tables, statistics=None))
    assert marn_modalities.attention(without, np.zeros(ITEMS, int)).strength.shape == (1, 3)
