"""Interests: Eq. (10) as a slow loop, the modalities that a click counts for, and files."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from table_builder import change_tables, make_tables

from graphs import TimeGrid
from hyperctr.config import Interest
from hyperctr.data.interactions import Interactions
from hyperctr.hypergraphs import interests
from hyperctr.hypergraphs.interests import Interests
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.training.interests import _Vectors

USERS, ITEMS, DIM, DAY = 6, 9, 4, 86_400
MODES = ["absolute", "relative", "quantile"]


def tables_of(features, num_users, present=None):
    features = {m: torch.as_tensor(x) for m, x in features.items()}
    num_items = len(next(iter(features.values())))
    present = {m: torch.ones(num_items, dtype=torch.bool) for m in features} | (present or {})
    return make_tables(num_users, num_items, features, present)


def small_tables(seed=0):
    """Item 2 lacks the text, item 7 has no modality."""
    rng = np.random.default_rng(seed)
    features = {"visual": rng.standard_normal((ITEMS, 5)), "text": rng.standard_normal((ITEMS, 3))}
    present = {"visual": torch.arange(ITEMS) != 7, "text": (torch.arange(ITEMS) != 7) & (torch.arange(ITEMS) != 2)}
    return tables_of({m: x.astype(np.float32) for m, x in features.items()}, USERS, present)


def random_interests(tables, trilinear=True, seed=0, clicks=60, scale=1.0):
    """Random vectors; users 0 to 4 and items 0 to 7 have training clicks."""
    torch.manual_seed(seed)
    vectors = {name: scale * torch.randn_like(x) for name, x in _Vectors(tables, DIM, True).state_dict().items()}
    rng = np.random.default_rng(seed)
    return Interests.from_weights(
        vectors, tables, rng.integers(5, size=clicks), rng.integers(8, size=clicks), trilinear
    )


def every_pair():
    user, item = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    return user, item


@pytest.mark.parametrize("trilinear", [True, False])
def test_the_score_equals_a_slow_loop_of_eq_10(trilinear):
    tables = small_tables()
    learned = random_interests(tables, trilinear)
    v = {name: x.double() for name, x in learned.weights.items()}
    score = learned.score(*every_pair()).reshape(USERS, ITEMS, 2)
    for u in range(USERS):
        for i in range(ITEMS):
            for q, m in enumerate(("visual", "text")):
                known = u < 5 and (i < 8 or not trilinear)
                if not (known and tables.modalities.present[m][i]):
                    assert math.isnan(score[u, i, q])
                    continue
                attribute = [
                    sum(
                        v[f"project.{m}.weight"][c, k] * tables.modalities.features[m][i, k]
                        for k in range(tables.modalities.features[m].shape[1])
                    )
                    + v[f"project.{m}.bias"][c]
                    for c in range(DIM)
                ]
                expected = sum(
                    v["user.weight"][u, c]
                    * (v["item.weight"][i, c] if trilinear else 1)
                    * sum(v["interest.linear.weight"][c, k] * attribute[k] for k in range(DIM))
                    for c in range(DIM)
                )
                assert score[u, i, q] == pytest.approx(float(expected), rel=1e-5, abs=1e-5)


def test_unknown_numbers_have_no_score():
    learned = random_interests(small_tables(), trilinear=False)
    assert np.isnan(learned.score(np.array([USERS, 0]), np.array([0, ITEMS]))).all()
    assert learned.score(np.empty(0, np.int64), np.empty(0, np.int64)).shape == (0, 2)


@pytest.mark.parametrize("keep_argmax", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_larger_delta_adds_nothing(mode, keep_argmax):
    learned = random_interests(small_tables())
    score = learned.score(*every_pair())
    kept = [
        learned.select_modalities(score, Interest(delta=delta, delta_mode=mode, keep_argmax=keep_argmax))
        for delta in (-0.1, 0.0, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)
    ]
    for small, large in zip(kept, kept[1:], strict=False):
        assert (small | ~large).all()
    assert 0 < kept[5].sum() < kept[1].sum()


@pytest.mark.parametrize("mode", MODES)
def test_a_delta_below_zero_keeps_all_that_there_is(mode):
    learned, (user, item) = random_interests(small_tables()), every_pair()
    kept = learned.keep_mask(Interest(delta=-0.1, delta_mode=mode, keep_argmax=False))(user, item)
    assert np.array_equal(kept, np.stack([x.numpy() for x in learned.present.values()], 1)[item])


@pytest.mark.parametrize("mode", MODES)
def test_with_keep_argmax_every_click_counts_for_its_highest_modality(mode):
    learned, (user, item) = random_interests(small_tables()), every_pair()
    score = learned.score(user, item)
    kept = learned.select_modalities(score, Interest(delta=2.0, delta_mode=mode))
    known = ~np.isnan(score).all(1)
    assert (kept[known].sum(1) == 1).all()
    if mode != "quantile":
        assert (np.nanargmax(score[known], 1) == kept[known].argmax(1)).all()


def test_an_absent_modality_is_never_kept_and_an_unknown_click_counts_for_all_that_its_item_has():
    learned = random_interests(small_tables())
    edges = learned.keep_mask(Interest(delta=2.0))
    assert edges(np.array([0, 5, 5, 5]), np.array([2, 2, 0, 7])).tolist() == [
        [True, False], [True, False], [True, True], [False, False],
    ]  # fmt: skip


def test_relative_is_a_softmax_over_the_modalities_of_the_item():
    learned = random_interests(small_tables())
    score = np.log(np.array([[6, 4], [7, 3], [1, np.nan]], np.float32))
    kept = learned.select_modalities(score, Interest(delta=0.65, delta_mode="relative", keep_argmax=False))
    assert kept.tolist() == [[False, False], [True, False], [True, False]]
    huge = np.array([[1000, 0], [-1000, -1001]], np.float32)
    assert learned.select_modalities(huge, Interest(delta=0.4, delta_mode="relative", keep_argmax=False))[:, 0].all()


def test_quantile_keeps_the_given_share_of_training_clicks_whatever_the_scale():
    tables = small_tables()
    vectors = dict(random_interests(tables, clicks=1).weights)
    rng = np.random.default_rng(0)
    user, item = rng.integers(USERS, size=400), rng.integers(7, size=400)
    for scale in (1.0, 1e3):
        vectors["project.text.weight"] = scale * vectors["project.text.weight"]
        learned = Interests.from_weights(vectors, tables, user, item)
        user, item = np.divmod(np.unique(user * ITEMS + item), ITEMS)
        score = learned.score(user, item)
        for delta in (0.25, 0.8):
            kept = learned.select_modalities(score, Interest(delta=delta, delta_mode="quantile", keep_argmax=False))
            share = kept.sum(0) / (~np.isnan(score)).sum(0)
            assert share == pytest.approx([1 - delta] * 2, abs=0.03)


@pytest.mark.parametrize("mode", MODES)
def test_later_events_move_no_earlier_interest(mode):
    learned, rng = random_interests(small_tables(), scale=0.3), np.random.default_rng(5)
    interest = Interest(delta=0.5, delta_mode=mode)
    user, item = rng.integers(USERS, size=300), rng.integers(ITEMS, size=300)
    alone, kept = learned.score(user[:40], item[:40]), learned.keep_mask(interest)(user[:40], item[:40])
    assert np.array_equal(learned.score(user, item)[:40], alone, equal_nan=True)
    assert np.array_equal(learned.keep_mask(interest)(user, item)[:40], kept)

    def built(rows):
        log = Interactions(user[:rows], item[:rows], np.arange(rows) * 1000, np.ones(rows), USERS, ITEMS)
        grid = TimeGrid(every="1h", origin=0, num_slices=1)
        present = {m: x.numpy() for m, x in learned.present.items()}
        return slice_hypergraphs(log, present, grid, 300_000, keep=learned.keep_mask(interest))

    few, many = built(40), built(300)
    for n in range(40_000 // 3600):
        for a, b in ((few.users[n], many.users[n]), (few.items[n], many.items[n])):
            assert torch.equal(a.nodes, b.nodes)
            assert all(g.equals(h) for g, h in zip(a.graphs, b.graphs, strict=True))


def test_a_score_does_not_depend_on_the_clicks_beside_it(monkeypatch):
    learned, (user, item) = random_interests(small_tables()), every_pair()
    whole = learned.score(user, item)
    monkeypatch.setattr(interests, "CHUNK", 7)
    assert np.array_equal(learned.score(user, item), whole, equal_nan=True)
    one = [learned.score(user[k : k + 1], item[k : k + 1])[0] for k in range(len(user))]
    assert np.array_equal(one, whole, equal_nan=True)


def test_saved_interests_come_back(tmp_path):
    tables = small_tables()
    learned = replace(random_interests(tables), losses=(3.0, 2.5))
    learned.save(tmp_path / "interests.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["interests.safetensors"]
    back = Interests.load(tmp_path / "interests.safetensors", tables)
    assert back.weights.keys() == learned.weights.keys()
    assert np.array_equal(back.score(*every_pair()), learned.score(*every_pair()), equal_nan=True)
    quantile = Interest(delta_mode="quantile")
    assert np.array_equal(back.keep_mask(quantile)(*every_pair()), learned.keep_mask(quantile)(*every_pair()))
    assert back.losses == (3.0, 2.5)
    assert np.array_equal(back.variance, learned.variance)


def test_interests_of_other_data_are_refused(tmp_path):
    tables, path = small_tables(), tmp_path / "interests.safetensors"
    with pytest.raises(ValueError, match="no learned interests"):
        Interests.load(path, tables)
    random_interests(tables).save(path)
    features = tables.modalities.features
    for other, name in [
        (change_tables(tables, num_users=7), "user.weight"),
        (change_tables(tables, modalities=features | {"visual": torch.zeros(ITEMS, 6)}), "visual"),
        (change_tables(tables, modalities=features | {"sound": torch.zeros(ITEMS, 2)}), "sound"),
    ]:
        with pytest.raises(ValueError, match=name):
            Interests.load(path, other)


def test_f_by_user_is_the_mean_over_the_users_clicks():
    learned = random_interests(small_tables())
    user, item = np.array([0, 0, 0, 1, 5, 2]), np.array([0, 2, 3, 7, 1, 1])
    f = 1 / (1 + np.exp(-learned.score(user, item).astype(np.float64)))
    found = learned.mean_interest(user, item, USERS)
    assert found.shape == (USERS, 2)
    assert found[0] == pytest.approx([f[:3, 0].mean(), f[[0, 2], 1].mean()])
    assert found[2] == pytest.approx(f[5])
    assert np.isnan(found[[1, 3, 4, 5]]).all()  # an item without modality, no clicks, unknown


def test_the_variance_is_that_of_f_over_the_users_of_an_item():
    tables = small_tables()
    vectors = random_interests(tables).weights
    user, item = np.array([0, 1, 2, 0, 0, 3, 1]), np.array([0, 0, 0, 2, 2, 2, 5])  # user 0 clicks item 2 twice
    learned = Interests.from_weights(vectors, tables, user, item)
    f = 1 / (1 + np.exp(-learned.score(*every_pair()).astype(np.float64).reshape(USERS, ITEMS, 2)))
    assert learned.variance == pytest.approx(
        [np.mean([f[[0, 1, 2], 0, 0].var(), f[[0, 3], 2, 0].var()]), f[[0, 1, 2], 0, 1].var()], rel=1e-5
    )
    same = dict(vectors) | {"user.weight": vectors["user.weight"][:1].expand(USERS + 1, DIM)}
    assert Interests.from_weights(same, tables, user, item).variance == pytest.approx([0, 0], abs=1e-12)


def test_a_score_equal_to_many_has_their_middle_rank():
    ranks = interests._ranks(np.array([[1.0], [2.0], [3.0]]), np.full((1, interests.RANKS), 2.0))
    assert ranks.ravel().tolist() == [0.0, 0.5, 1.0]
