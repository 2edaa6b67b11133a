"""User Interest Prediction: Eq. (9) and (10) as slow loops, what a click counts for, and what is learned."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs import TimeGrid
from hyperctr.batch import Tables
from hyperctr.config import Interest
from hyperctr.data.interactions import Interactions
from hyperctr.evaluation.metrics import auc
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.training import interests
from hyperctr.training.interests import Interests, Joint, learn

USERS, ITEMS, DIM, DAY = 6, 9, 4, 86_400
QUIET = Interest(epochs=1, delta_mode="quantile")  # never warned about


def tables_of(features, num_users, present=None):
    features = {m: torch.as_tensor(x) for m, x in features.items()}
    num_items = len(next(iter(features.values())))
    present = {m: torch.ones(num_items, dtype=torch.bool) for m in features} | (present or {})
    seen = torch.ones(num_users, dtype=torch.bool), torch.ones(num_items, dtype=torch.bool)
    return Tables(num_users, num_items, features, present, *seen)


def small_tables(seed=0):
    """Item 2 lacks the text, item 7 has no modality."""
    rng = np.random.default_rng(seed)
    features = {"visual": rng.standard_normal((ITEMS, 5)), "text": rng.standard_normal((ITEMS, 3))}
    present = {"visual": torch.arange(ITEMS) != 7, "text": (torch.arange(ITEMS) != 7) & (torch.arange(ITEMS) != 2)}
    return tables_of({m: x.astype(np.float32) for m, x in features.items()}, USERS, present)


def random_interests(tables, trilinear=True, seed=0, clicks=60, scale=1.0):
    """Random vectors; users 0 to 4 and items 0 to 7 have training clicks."""
    torch.manual_seed(seed)
    vectors = {
        name: scale * torch.randn_like(x) for name, x in interests._Vectors(tables, DIM, True).state_dict().items()
    }
    rng = np.random.default_rng(seed)
    return Interests.from_weights(
        vectors, tables, rng.integers(5, size=clicks), rng.integers(8, size=clicks), trilinear
    )


def planted(seed=0, users=60, items=80, clicks=40, clusters=4):
    """Everyone cares about one of three modalities and clicks one cluster of it; gives tables, clicks, favourites."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(clusters, size=(items, 3))
    favourite, liked = rng.integers(3, size=users), rng.integers(clusters, size=users)
    user = np.repeat(np.arange(users), clicks)
    item = np.concatenate([
        rng.choice(np.flatnonzero(cluster[:, q] == c), clicks) for q, c in zip(favourite, liked, strict=True)
    ])  # fmt: skip
    centre = rng.standard_normal((3, clusters, 6))
    noise = 0.3 * rng.standard_normal((3, items, 6))
    features = {m: (centre[q, cluster[:, q]] + noise[q]).astype(np.float32) for q, m in enumerate("vat")}
    return tables_of(features, users), user, item, favourite


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
                if not (known and tables.present[m][i]):
                    assert math.isnan(score[u, i, q])
                    continue
                attribute = [
                    sum(
                        v[f"project.{m}.weight"][c, k] * tables.modalities[m][i, k]
                        for k in range(tables.modalities[m].shape[1])
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


def net_of(tables, trilinear, scale=1.0):
    torch.manual_seed(3)
    net = interests._Vectors(tables, DIM, trilinear)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(scale * torch.randn_like(p))
    return net


def rows_of(tables):
    return {m: tables.present[m].nonzero()[:, 0].numpy() for m in tables.modalities}


@pytest.mark.parametrize("trilinear", [True, False])
def test_the_loss_equals_a_slow_loop_of_eq_9(trilinear):
    tables, user, item, count = small_tables(), np.array([0, 3, 3, 5]), np.array([2, 0, 7, 8]), 3
    net, rows = net_of(tables, trilinear), rows_of(tables)
    got = interests._loss(net, tables, rows, user, item, count, trilinear, np.random.default_rng(1))
    rng, terms = np.random.default_rng(1), []
    for m, x in tables.modalities.items():
        clicks = [k for k in range(4) if tables.present[m][item[k]]]
        others = rows[m][interests._others(item[clicks], rows[m], count, rng)]
        for k, negatives in zip(clicks, others, strict=True):
            both = net.user.weight[user[k]] * (net.item.weight[item[k]] if trilinear else 1)
            own, *rest = [(both * net.interest.linear(net.project[m](x[j]))).sum() for j in (item[k], *negatives)]
            terms.append(-own + torch.log(torch.exp(own) + sum(map(torch.exp, rest))))
    assert len(terms) == 5  # visual of three clicks, text of two
    torch.testing.assert_close(got, sum(terms) / 5)


def test_equal_scores_give_the_logarithm_of_one_plus_the_negatives():
    tables = small_tables()
    net = net_of(tables, True, scale=0.0)
    two = np.array([0, 1]), np.array([0, 3])
    loss = interests._loss(net, tables, rows_of(tables), *two, 20, True, np.random.default_rng(0))
    assert loss.item() == pytest.approx(math.log(21), abs=1e-6)


def test_the_loss_is_not_negative_and_falls_as_the_own_score_rises():
    torch.manual_seed(0)
    user, item, own, others = torch.randn(5, DIM), torch.randn(5, DIM), torch.randn(5, DIM), torch.randn(5, 7, DIM)
    module = net_of(small_tables(), True).interest
    up = (user * item) @ module.linear.weight  # the direction in which an attribute's score rises
    losses = [module.loss(user, item, own + step * up, others).item() for step in (-1, 0, 1, 100)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] >= 0
    own.requires_grad_(), others.requires_grad_()
    module.loss(user, item, own, others).backward()
    assert ((own.grad * up).sum(-1) < 0).all()
    assert ((others.grad * up[:, None]).sum(-1) >= 0).all()


def test_negatives_are_uniform_over_the_others():
    pool = np.array([1, 4, 5, 9])
    drawn = pool[interests._others(np.array([4, 7, 1, 9, 11]), pool, 4000, np.random.default_rng(0))]
    for k, expected in enumerate([[1, 5, 9], pool, [4, 5, 9], [1, 4, 5], pool]):
        found, count = np.unique(drawn[k], return_counts=True)
        assert found.tolist() == list(expected)
        assert (abs(count / 4000 - 1 / len(expected)) < 0.04).all()


MODES = ("absolute", "relative", "quantile")


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
    for other, name in [
        (replace(tables, num_users=7), "user.weight"),
        (replace(tables, modalities={"visual": torch.zeros(ITEMS, 6), "text": tables.modalities["text"]}), "visual"),
        (replace(tables, modalities={**tables.modalities, "sound": torch.zeros(ITEMS, 2)}), "sound"),
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


def test_the_planted_modality_is_found():
    tables, user, item, favourite = planted()
    learned = learn(user, item, tables, 16, Interest(score="user", epochs=3))
    assert learned.losses[-1] < learned.losses[1] < learned.losses[0]
    F = learned.mean_interest(user, item, 60)
    assert auc((favourite[:, None] == np.arange(3)).ravel().astype(float), F.ravel()) > 0.85
    assert learned.variance.min() > 1e-3
    with_item = learn(user, item, tables, 16, Interest(score="trilinear", epochs=3, delta_mode="quantile"))
    F = with_item.mean_interest(user, item, 60)  # the item's vector hides it
    assert auc((favourite[:, None] == np.arange(3)).ravel().astype(float), F.ravel()) < 0.65


def test_the_same_seed_learns_the_same_and_leaves_torchs_own_draws_alone():
    tables, user, item, _ = planted(users=20)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = (learn(user, item, tables, 8, Interest(score="user", epochs=1), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(x, again.weights[name]) for name, x in first.weights.items())
    assert not torch.equal(first.weights["user.weight"], other.weights["user.weight"])


@pytest.mark.parametrize("trilinear", [True, False])
def test_large_tables_have_sparse_gradients_and_learn_alike(trilinear, monkeypatch):
    tables, user, item, _ = planted(users=20)
    tables = replace(tables, num_users=30, seen_user=torch.ones(30, dtype=torch.bool))  # ten users without clicks
    interest = Interest(score="trilinear" if trilinear else "user", epochs=2, delta_mode="quantile")
    dense = learn(user, item, tables, 8, interest)
    monkeypatch.setattr(interests, "SPARSE", 0)
    assert interests._Vectors(tables, 8, trilinear).user.sparse
    sparse = learn(user, item, tables, 8, interest)
    assert sparse.losses[-1] == pytest.approx(dense.losses[-1], abs=0.05)
    torch.manual_seed(0)
    start = interests._Vectors(tables, 8, trilinear).user.weight
    assert torch.equal(sparse.weights["user.weight"][20:30], start[20:30])
    assert not torch.isclose(sparse.weights["user.weight"][:20], start[:20]).all(1).any()
    assert not sparse.seen_user[20:].any()


def test_a_long_log_is_taken_up_where_the_pass_before_it_stopped(monkeypatch):
    tables, user, item, _ = planted(users=30)
    monkeypatch.setattr(interests, "PASS", 250)
    asked = []

    def bar(parts, what, total):
        assert len(parts) == total
        asked.append((what, np.sort(np.concatenate(parts))))
        return parts

    learned = learn(user, item, tables, 8, Interest(score="user", epochs=3), progress=bar)
    assert [what for what, _ in asked] == ["interests 1", "interests 2", "interests 3"]
    assert len(np.unique(np.concatenate([clicks for _, clicks in asked]))) == 750
    fitted = np.concatenate([clicks for _, clicks in asked])
    assert learned.seen_user.nonzero()[:, 0].tolist() == np.unique(user[fitted]).tolist()


def test_memory_mapped_float16_learns_and_scores_as_float32_does(tmp_path):
    tables, user, item, _ = planted(users=20)
    mapped, plain = {}, {}
    for m, x in tables.modalities.items():
        np.save(tmp_path / f"{m}.npy", x.numpy().astype(np.float16))
        half = np.load(tmp_path / f"{m}.npy", mmap_mode="c")
        mapped[m], plain[m] = torch.from_numpy(half), torch.from_numpy(half.astype(np.float32))
    a, b = (
        learn(user, item, replace(tables, modalities=x), 8, Interest(score="user", epochs=1)) for x in (mapped, plain)
    )
    assert all(torch.equal(x, b.weights[name]) for name, x in a.weights.items())
    assert np.array_equal(a.score(user, item), b.score(user, item))


def test_learning_stops_when_the_held_out_loss_rises_and_keeps_the_best(monkeypatch):
    tables, user, _, _ = planted(users=20)
    item = np.random.default_rng(0).integers(80, size=len(user))  # nothing to learn
    monkeypatch.setattr(interests, "LR", 0.03)
    learned = learn(user, item, tables, 8, Interest(score="user", epochs=30))
    assert 2 < len(learned.losses) < 31
    assert learned.losses[-1] > learned.losses[-2]
    assert list(learned.losses[:-1]) == sorted(learned.losses[:-1], reverse=True)
    shorter = learn(user, item, tables, 8, Interest(score="user", epochs=len(learned.losses) - 2))
    assert all(torch.equal(x, shorter.weights[name]) for name, x in learned.weights.items())


def test_nothing_learned_is_said_and_every_modality_counts(monkeypatch):
    tables, user, _, _ = planted(users=20)
    item = np.random.default_rng(0).integers(80, size=len(user))
    monkeypatch.setattr(interests, "LR", 10.0)
    with pytest.warns(UserWarning, match="nothing is learned"):
        learned = learn(user, item, tables, 8, Interest(score="user", epochs=3))
    assert learned.keep_mask(Interest(delta=2.0))(user, item).all()


def test_interests_that_are_alike_for_all_users_are_warned_about():
    tables, user, item, _ = planted(users=20)
    with pytest.warns(UserWarning, match="quantile.*relative") as caught:  # three small factors hardly move at first
        learned = learn(user, item, tables, 8, Interest(epochs=1))
    assert len(caught) == 1
    assert learned.variance.min() < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(user, item, tables, 8, Interest(epochs=1, delta_mode="quantile"))
        learn(user, item, tables, 8, Interest(score="user", epochs=1))


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


def test_there_must_be_something_to_learn_from():
    tables = small_tables()
    for user, item in ((np.empty(0, np.int64), np.empty(0, np.int64)), (np.array([0]), np.array([7]))):
        with pytest.raises(ValueError, match="cannot be learned"):
            learn(user, item, tables, 8, Interest())
    alone = replace(tables, present={m: torch.arange(ITEMS) == 3 for m in tables.modalities})
    with pytest.raises(ValueError, match="cannot be learned"):
        learn(np.array([0, 1]), np.array([3, 3]), alone, 8, Interest())
    few = learn(np.array([0, 1, 2]), np.array([1, 3, 8]), tables, 8, QUIET)  # too few to hold any out
    assert len(few.losses) == 2


@pytest.mark.parametrize("trilinear", [True, False])
def test_joint_interests_are_those_of_the_models_weights(trilinear):
    tables, user, item, _ = planted(users=20)
    model = interests._Vectors(tables, 8, trilinear=True)  # stands for a HyperCTR: the same names
    interest = Interest(mode="joint", score="trilinear" if trilinear else "user", weight=0.3, negatives=5)
    joint, built = Joint(interest, tables, user, item), []
    joint.slices(lambda **settings: built.append(settings), interest)
    joint.renewed(model)
    assert built[0] == {}  # all clicks count at first
    expected = Interests.from_weights(model.state_dict(), tables, user, item, trilinear).keep_mask(interest)(user, item)
    assert np.array_equal(built[1]["keep"](user, item), expected)
    with torch.no_grad():
        model.user.weight.neg_()
    joint.renewed(model)
    assert not np.array_equal(built[2]["keep"](user, item), expected)


@pytest.mark.parametrize("trilinear", [True, False])
def test_the_joint_loss_is_a_share_of_eq_9_and_repeats_with_torchs_seed(trilinear):
    tables = small_tables()
    model = net_of(tables, True)
    interest = Interest(mode="joint", score="trilinear" if trilinear else "user", weight=0.3, negatives=5)
    joint = Joint(interest, tables, *every_pair())
    user, item = torch.tensor([0, 1, 2]), torch.tensor([0, 3, 7])
    torch.manual_seed(0)
    loss = joint.loss(model, user, item)
    torch.manual_seed(0)
    assert torch.equal(joint.loss(model, user, item), loss)
    loss.backward()
    assert model.user.weight.grad[:2].all() and not model.user.weight.grad[2:].any()  # item 7 has no modality
    assert (model.item.weight.grad is not None) == trilinear
    with torch.no_grad():
        model.user.weight.zero_()
    assert joint.loss(model, user, item).item() == pytest.approx(0.3 * math.log(6))
    assert joint.loss(model, user[:0], item[:0]).item() == 0
    assert joint.loss(model, user[2:], item[2:]).item() == 0


def test_no_negative_is_an_item_without_a_training_row(monkeypatch):
    tables = small_tables()
    seen = torch.tensor([1, 1, 0, 1, 1, 0, 0, 1, 0], dtype=torch.bool)
    pools = []
    others = interests._others
    monkeypatch.setattr(interests, "_others", lambda item, pool, *rest: pools.append(pool) or others(item, pool, *rest))
    learn(np.arange(5), np.array([0, 1, 3, 4, 0]), replace(tables, seen_item=seen), 8, QUIET)
    assert {tuple(pool) for pool in pools} == {(0, 1, 3, 4)}


def test_a_large_catalogue_is_sampled_a_pool_a_step(monkeypatch):
    tables, user, item, favourite = planted()
    monkeypatch.setattr(interests, "POOL", 25)
    learned = learn(user, item, tables, 16, Interest(score="user", epochs=3))
    F = learned.mean_interest(user, item, 60)
    assert auc((favourite[:, None] == np.arange(3)).ravel().astype(float), F.ravel()) > 0.8


def test_a_score_equal_to_many_has_their_middle_rank():
    ranks = interests._ranks(np.array([[1.0], [2.0], [3.0]]), np.full((1, interests.RANKS), 2.0))
    assert ranks.ravel().tolist() == [0.0, 0.5, 1.0]
