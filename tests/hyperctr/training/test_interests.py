"""User Interest Prediction: Eq. (9) as a slow loop, what is learned, and joint mode."""

import math
import warnings

import numpy as np
import pytest
import torch
from table_builder import change_tables, make_tables

from hyperctr.config import Interest
from hyperctr.evaluation.metrics import auc
from hyperctr.hypergraphs.interests import Interests
from hyperctr.training import interests
from hyperctr.training.interests import Joint, learn

USERS, ITEMS, DIM, DAY = 6, 9, 4, 86_400
QUIET = Interest(epochs=1, delta_mode="quantile")  # never warned about


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


def net_of(tables, trilinear, scale=1.0):
    torch.manual_seed(3)
    net = interests._Vectors(tables, DIM, trilinear)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(scale * torch.randn_like(p))
    return net


def rows_of(tables):
    return {m: tables.modalities.present[m].nonzero()[:, 0].numpy() for m in tables.modalities.features}


@pytest.mark.parametrize("trilinear", [True, False])
def test_the_loss_equals_a_slow_loop_of_eq_9(trilinear):
    tables, user, item, count = small_tables(), np.array([0, 3, 3, 5]), np.array([2, 0, 7, 8]), 3
    net, rows = net_of(tables, trilinear), rows_of(tables)
    got = interests._loss(net, tables, rows, user, item, count, trilinear, np.random.default_rng(1))
    rng, terms = np.random.default_rng(1), []
    for m, x in tables.modalities.features.items():
        clicks = [k for k in range(4) if tables.modalities.present[m][item[k]]]
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
    tables = change_tables(tables, num_users=30, seen_user=torch.ones(30, dtype=torch.bool))  # ten users without clicks
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
    for m, x in tables.modalities.features.items():
        np.save(tmp_path / f"{m}.npy", x.numpy().astype(np.float16))
        half = np.load(tmp_path / f"{m}.npy", mmap_mode="c")
        mapped[m], plain[m] = torch.from_numpy(half), torch.from_numpy(half.astype(np.float32))
    a, b = (
        learn(user, item, change_tables(tables, modalities=x), 8, Interest(score="user", epochs=1))
        for x in (mapped, plain)
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


def test_there_must_be_something_to_learn_from():
    tables = small_tables()
    for user, item in ((np.empty(0, np.int64), np.empty(0, np.int64)), (np.array([0]), np.array([7]))):
        with pytest.raises(ValueError, match="cannot be learned"):
            learn(user, item, tables, 8, Interest())
    alone = change_tables(tables, present={m: torch.arange(ITEMS) == 3 for m in tables.modalities.features})
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
    learn(np.arange(5), np.array([0, 1, 3, 4, 0]), change_tables(tables, seen_item=seen), 8, QUIET)
    assert {tuple(pool) for pool in pools} == {(0, 1, 3, 4)}


def test_a_large_catalogue_is_sampled_a_pool_a_step(monkeypatch):
    tables, user, item, favourite = planted()
    monkeypatch.setattr(interests, "POOL", 25)
    learned = learn(user, item, tables, 16, Interest(score="user", epochs=3))
    F = learned.mean_interest(user, item, 60)
    assert auc((favourite[:, None] == np.arange(3)).ravel().astype(float), F.ravel()) > 0.8
