"""The audit finds nothing where nothing leaks, finds planted leaks, and shows that it could have seen them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperctr import config
from hyperctr.analysis import audit
from hyperctr.batch import Output
from hyperctr.data import planted
from hyperctr.data.clock import DAY
from hyperctr.data.loader import Loader
from hyperctr.models import MODELS
from hyperctr.runs import prepare as prepare_module
from hyperctr.runs.open import open_run
from hyperctr.runs.train import train

SIZES = {"hyperctr": {"dim": 8, "depth": 1, "hidden": [8, 8]}, "mf": {"dim": 4}, "popularity": {}}
ALL = [name for name in audit.CHANGES if name != audit.PAST]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return planted.write("drift", tmp_path_factory.mktemp("audit") / "data", scale=0.04)


@pytest.fixture(scope="module")
def folder_of(data, tmp_path_factory):
    """A function that trains a run for one epoch, once each, and gives its folder."""
    home, made = tmp_path_factory.mktemp("runs"), {}

    def folder(model="hyperctr", kind="temporal", mode="pretrain"):
        name = f"{model}-{kind}-{mode}"
        if name not in made:
            tables = {
                "data": {"path": str(data), "history": 8},
                "split": {"kind": kind},
                "slices": {"every": "45d"},
                "interest": {"mode": mode, "delta_mode": "quantile", "epochs": 1},
                "model": {"name": model, **SIZES[model]},
                "train": {"epochs": 1, "batch_size": 512, "lr": 0.01, "threads": 1},
            }
            made[name] = home / name
            train(config.read_run(tables), made[name])
        return made[name]

    return folder


@pytest.fixture(scope="module")
def opened(folder_of):
    return open_run(folder_of())


@pytest.fixture(scope="module")
def honest(opened):
    return audit.audit(opened, rows=40, cuts=2)


@pytest.fixture(scope="module")
def leaky(folder_of):
    """A run that reads its user's whole history, and its audit."""
    with pytest.MonkeyPatch.context() as patch:
        opened = plant(patch, folder_of(), leaky_loader(YEARS, *HISTORY))
        return opened, audit.audit(opened, rows=20, cuts=1)


YEARS = 10**9
HISTORY = ("histories",)


def leaky_loader(ahead, *names):
    """A loader whose batches say of `names` what is true that many seconds later."""

    class Leaky(Loader):
        def make_batch(self, user, item, time, *rest):
            later = super().make_batch(user, item, time + ahead, *rest)
            made = super().make_batch(user, item, time, *rest)
            return replace(made, **{name: getattr(later, name) for name in names})

    return Leaky


def plant(monkeypatch, folder, loader):
    """The run with a leaky loader, opened."""
    monkeypatch.setattr(prepare_module, "Loader", loader)
    return open_run(folder)


def moved(found):
    return {line.change: line.moved for line in found.changes}


def test_no_change_of_the_future_moves_an_honest_run(honest):
    found = honest
    assert found.clean and found.violations == ()
    assert [line.change for line in found.changes] == ALL
    assert {line.moved for line in found.changes} == {0}
    assert {line.checked for line in found.changes} == {20 + 40}
    assert (found.rows, found.drawn) == (40, 0)
    assert len(found.moments) == 2
    assert found.early == 0
    assert found.says()[0].startswith("clean: no event at or after a moment changed any of 480 predictions")


def test_a_change_of_the_past_moves_most_predictions(honest):
    control = honest.control
    assert control.change == audit.PAST
    assert control.moved > control.checked / 2
    assert control.largest > 0


def test_own_clicks_of_the_future_are_found(leaky):
    found = leaky[1]
    assert not found.clean
    assert all(count > 0 for name, count in moved(found).items() if name != "other users' events moved")
    assert moved(found)["other users' events moved"] == 0  # nobody else's clicks are read too early
    assert found.says()[0].startswith(f"LEAK: events at or after a moment changed {len(found.violations):,} of ")
    sizes = [abs(v["after"] - v["before"]) for v in found.violations]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] > 0
    assert max(line.largest for line in found.changes) == sizes[0]


def test_a_click_at_the_very_moment_is_found(monkeypatch, folder_of):
    leaky = plant(monkeypatch, folder_of(), leaky_loader(1, *HISTORY))
    found = audit.audit(leaky, rows=20, cuts=1)
    assert not found.clean
    assert {v["time"] for v in found.violations} <= set(found.moments)


def test_a_row_that_moves_with_its_batch_alone_is_not_blamed(monkeypatch, folder_of):
    def forward(model, batch):  # every logit depends a little on all histories of the batch, as rounding may
        return Output(batch.clicks_before + 1e-3 * batch.histories.item.sum())

    folder = folder_of("popularity")
    monkeypatch.setattr(MODELS["popularity"], "forward", forward)
    leaky = plant(monkeypatch, folder, leaky_loader(1, "histories"))
    found = audit.audit(leaky, rows=20, cuts=1)
    assert {v["time"] for v in found.violations} == set(found.moments)
    assert len({v["user"] for v in found.violations}) == 1


def test_clicks_of_others_on_the_item_are_found(monkeypatch, folder_of):
    leaky = plant(monkeypatch, folder_of("popularity"), leaky_loader(YEARS, "clicks_before"))
    found = audit.audit(leaky, rows=60, cuts=4)
    assert moved(found)["users exchanged"] == 0  # how often an item is clicked does not depend on who does
    for name in ("every event deleted", "clicks added", "labels turned", "items exchanged"):
        assert moved(found)[name] > 0
    monkeypatch.undo()
    assert audit.audit(open_run(folder_of("popularity")), rows=60, cuts=4).clean


def test_hypergraphs_that_hold_the_slice_to_come_are_found(monkeypatch, folder_of):
    honest = prepare_module.slice_hypergraphs

    def early(log, *args, **kwargs):
        return honest(replace(log, time=np.maximum(log.time - 45 * DAY, log.time[0])), *args, **kwargs)

    monkeypatch.setattr(prepare_module, "slice_hypergraphs", early)
    found = audit.audit(open_run(folder_of()), rows=20, cuts=2)
    assert not found.clean
    assert moved(found)["users exchanged"] > 0


def test_a_violation_names_row_change_and_logits(leaky):
    opened, found = leaky
    first = found.violations[0]
    assert list(first) == ["user", "item", "time", "moment", "change", "before", "after"]
    user, item, time = (np.array([first[name]]) for name in ("user", "item", "time"))
    probability = opened.predict(user, item, time)[0]
    assert torch.sigmoid(torch.tensor(first["before"])).item() == pytest.approx(probability, rel=1e-5)
    assert first["time"] <= first["moment"]
    assert first["change"] in ALL


@pytest.mark.parametrize("name", ALL)
def test_a_change_leaves_every_event_before_the_moment_alone(opened, name):
    ready, rng = opened.prepared, np.random.default_rng(1)
    log, row = ready.dataset.interactions, ready.split.test[40]
    asked = audit._Audited.of(ready, ready.split.test[:3], rng)
    cut = audit._Cut(log, int(log.time[row]), asked, audit._parts(ready))
    now = audit._changed(ready, *audit.CHANGES[name](cut, rng))
    changed = now.dataset.interactions

    def events(log):
        return [column.tolist() for column in (log.user, log.item, log.time, log.label)]

    assert events(changed.upto(cut.moment)) == events(log.upto(cut.moment))
    assert events(changed) != events(log)
    assert (np.diff(changed.time) >= 0).all()
    share = (len(changed) - (log.time < cut.moment).sum()) / (log.time >= cut.moment).sum()
    shares = {"every event deleted": 0, "half of the events deleted": 0.5, "clicks added": 2}
    assert share == pytest.approx(shares.get(name, 1), abs=0.1 if shares.get(name) else 0)
    kept = np.searchsorted(ready.split.test, row)  # test rows before the moment keep their part
    assert now.split.test[:kept].tolist() == ready.split.test[:kept].tolist()
    assert now.split.train.tolist() == ready.split.train.tolist()
    assert now.grid is ready.grid and now.tables.modalities.features is ready.tables.modalities.features
    assert len(now.tables.graphs.slices) == len(ready.tables.graphs.slices)  # slices close by the clock


def test_rows_are_test_rows_and_stand_right_before_their_moment():
    test = np.arange(100, 400)
    time = 5 * np.arange(300)
    rows, moments = audit._choose(test, time, 40, 4, np.random.default_rng(0))
    assert len(np.unique(rows)) == 40 and np.isin(rows, test).all()
    assert moments == [5 * 60, 5 * 120, 5 * 180, 5 * 240]
    for last in (160, 220, 280, 340):
        assert np.isin(np.arange(last - 4, last + 1), rows).all()
    few, moments = audit._choose(test[:3], time[:3], 40, 8, np.random.default_rng(0))
    assert few.tolist() == [100, 101, 102]
    assert moments == [0, 5, 10]  # fewer than asked for


def test_a_model_that_reads_only_its_weights_is_called_unaudited(folder_of):
    found = audit.audit(open_run(folder_of("mf")), rows=10, cuts=2)
    assert found.clean
    assert found.control.moved == 0
    assert "reads only its weights and nothing from the log" in found.says()[1]


def test_rows_whose_future_was_trained_on_are_counted(folder_of):
    opened = open_run(folder_of("popularity", "random"))
    found = audit.audit(opened, rows=20, cuts=2)
    assert found.early > 0.9
    assert "predicted by weights that know their future" in found.says()[2]


def test_candidates_are_drawn_where_only_clicks_were_logged(folder_of):
    opened = open_run(folder_of("popularity"))
    data = opened.prepared.dataset
    log = data.interactions
    clicks = replace(log.take(log.clicks()), logged_non_clicks=False)
    ready = prepare_module.prepare(opened.prepared.run, replace(data, interactions=clicks))
    asked = audit._Audited.of(ready, ready.split.test[:10], np.random.default_rng(0))
    assert len(asked.item) == 20
    assert asked.time[10:].tolist() == asked.time[:10].tolist()
    assert not (asked.item[10:] == asked.item[:10]).any()


def test_interests_that_train_with_the_model_do_not_leak(folder_of):
    opened, row = open_run(folder_of(mode="joint")), np.array([3])
    found = audit.audit(opened, rows=20, cuts=1)
    assert found.clean
    assert found.control.moved > 10
    opened.model.eval()  # reads its log anew
    after = opened.predict(row, row, np.array([found.moments[0]]))
    assert after == open_run(folder_of(mode="joint")).predict(row, row, np.array([found.moments[0]]))


def test_the_random_split_of_the_papers_leaks(folder_of):
    found = audit.audit(open_run(folder_of(kind="random", mode="none")), rows=40, cuts=2)
    assert not found.clean
    assert moved(found)["only validation and test events"] == 0  # only training events enter its hypergraphs
    assert moved(found)["every event deleted"] > 0


def test_the_same_seed_gives_the_same_audit(folder_of):
    opened = open_run(folder_of("popularity"))
    first, second, other = (audit.audit(opened, rows=30, cuts=2, seed=seed).to_dict() for seed in (3, 3, 4))
    assert first == second != other


def test_fewer_than_one_row_is_refused(opened):
    with pytest.raises(ValueError, match="at least one row and one moment, got rows=0"):
        audit.audit(opened, rows=0)
    assert audit.audit(opened, rows=1, cuts=8).rows == 1  # and one moment


def test_the_command_exits_with_1_on_a_leak(hyperctr, monkeypatch, folder_of):
    words = "audit", folder_of("popularity"), "--rows", 60, "--cuts", 4
    code, out, _ = hyperctr(*words)
    assert code == 0
    assert "clean: no event at or after a moment" in out
    assert "control: changing the past changed" in out
    monkeypatch.setattr(prepare_module, "Loader", leaky_loader(YEARS, "clicks_before"))
    code, out, _ = hyperctr(*words)
    assert code == 1
    assert "LEAK:" in out and "before" in out


def test_the_command_prints_all_of_it_as_json(hyperctr, monkeypatch, folder_of):
    words = "audit", folder_of("popularity"), "--rows", 60, "--cuts", 4, "--json"
    code, out, _ = hyperctr(*words)
    found = json.loads(out)
    assert (code, found["clean"], found["violations"]) == (0, True, [])
    assert [line["change"] for line in found["changes"]] == ALL
    monkeypatch.setattr(prepare_module, "Loader", leaky_loader(YEARS, "clicks_before"))
    code, out, _ = hyperctr(*words)
    found = json.loads(out)
    assert (code, found["clean"]) == (1, False)
    assert sum(line["moved"] for line in found["changes"]) == len(found["violations"]) > 0


def test_a_folder_that_is_no_run_is_bad_input(hyperctr, tmp_path):
    code, _, err = hyperctr("audit", tmp_path)
    assert code == 2
    assert "is not a finished run" in err


@pytest.mark.parametrize("past", ["none", "all"])
def test_a_log_with_context_is_audited(tmp_path, past):
    path = Path(__file__).parents[2] / "golden" / "worlds" / "fields"
    tables = {
        "data": {"path": str(path), "history": 8, "past": past},
        "model": {"name": "deepfm", "dim": 4, "hidden": [8, 8]},
        "train": {"epochs": 1, "threads": 1},
    }
    train(config.read_run(tables), tmp_path / "run")
    found = audit.audit(open_run(tmp_path / "run"), rows=30, cuts=2)
    assert found.clean and found.control.moved > 0
