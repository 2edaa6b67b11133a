"""What a model wears while it trains: a run keeps the base alone, repeats when killed, and is bare at weight zero."""

from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load_file

from hyperctr import config
from hyperctr.data import planted
from hyperctr.models import MODELS, WRAPPERS
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run

TAKEN_OFF = [name for name, worn in WRAPPERS.items() if not getattr(worn, "stays", False)]  # lt4rec: test_two_tasks.py
DEEP = ["wide_deep", "deepfm", "din", "hyperctr"]
MODEL = {"hyperctr": {"dim": 8, "depth": 1, "hidden": [8, 6], "batches_per_graph": 2}}
WEAR = {"aqcl": {"codes": 12, "dim": 8, "queue": 40}, "qcl": {"codes": 12, "dim": 8}, "icl": {"dim": 8}}
ZERO = {"dropoutnet": {"share": 0.0}, "deepmcp": {"match": 0.0, "correlation": 0.0}}


class Killed(Exception):
    pass


@cache
def world():
    return planted.planted("drift", scale=0.03).dataset


def settings(base="din", wear="", path="planted", train=None, **worn):
    """A run that takes a second."""
    tables = {
        "data": {"path": str(path), "history": 8},
        "slices": {"every": "30d"},
        "interest": {"mode": "none"},
        "model": {"name": base, **MODEL.get(base, {"dim": 4, "hidden": [8, 6]})},
        "train": {"epochs": 2, "batch_size": 128, "lr": 0.01, "threads": 1, **(train or {})},
    }
    if wear:
        tables["wrapper"] = {"name": wear, **WEAR.get(wear, {}), **worn}
    return config.read_run(tables)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Report and folder of the bare model's training; every base is trained once."""

    @cache
    def trained(base, **train):
        folder = tmp_path_factory.mktemp(base)
        return training.train(settings(base, train=train), folder, world()), folder

    return trained


def assert_same(folder, other, name="weights.safetensors"):
    a, b = load_file(folder / name), load_file(other / name)
    assert a.keys() == b.keys()
    for key in a:
        assert np.array_equal(a[key], b[key]), key


def told(report):
    """A report without what may differ between two runs of the same training."""
    return str({name: x for name, x in report.items() if name not in ("seconds", "run", "wear")})


@pytest.mark.parametrize(("base", "wear"), [(base, "aqcl") for base in DEEP] + [("din", wear) for wear in TAKEN_OFF])
def test_with_weight_zero_training_is_bit_for_bit_that_of_the_bare_model(tmp_path, bare, base, wear):
    report, folder = bare(base)
    worn = training.train(settings(base, wear, **ZERO.get(wear, {"w": 0.0})), tmp_path, world())
    assert told(worn) == told(report)
    assert_same(tmp_path, folder)


@pytest.mark.parametrize("base", DEEP)
def test_a_weight_too_small_to_move_a_float_trains_the_bare_model_too(tmp_path, bare, base):
    """Both passes, the codebook and all draws are there; nothing of them reaches the base but through the gradient."""
    report, folder = bare(base, l2=0.0)  # it reaches the projector, and through the norm that is clipped all others
    worn = training.train(settings(base, "aqcl", train={"l2": 0.0}, w=1e-37), tmp_path, world())
    assert told(worn) == told(report)
    assert_same(tmp_path, folder)
    assert load_file(tmp_path / "worn.safetensors")["codebook.steps"] > 0


@pytest.mark.parametrize("wear", TAKEN_OFF)
def test_what_is_worn_changes_what_is_learned(tmp_path, bare, wear):
    training.train(settings("din", wear, train={"epochs": 1}), tmp_path, world())
    with pytest.raises(AssertionError):
        assert_same(tmp_path, bare("din", epochs=1)[1])


@pytest.mark.parametrize(("base", "wear"), [(base, "aqcl") for base in DEEP] + [("din", "dmr")])
def test_a_run_keeps_the_base_alone_and_opens_as_it(tmp_path, bare, base, wear):
    data = planted.write("drift", tmp_path / "data", scale=0.03)
    report, folder = bare(base)
    worn = training.train(settings(base, wear, path=data), tmp_path / "worn")
    assert worn["wear"] == wear and "wear" not in report
    assert worn["parameters"] == report["parameters"]
    files = [path / "weights.safetensors" for path in (folder, tmp_path / "worn")]
    assert files[0].stat().st_size == files[1].stat().st_size
    assert load_file(files[0]).keys() == load_file(files[1]).keys()
    beside = load_file(tmp_path / "worn" / "worn.safetensors")
    assert {"aqcl": "codebook.code", "dmr": "target.weight"}[wear] in beside
    assert not any(name.startswith("base.") for name in beside)
    assert not (folder / "worn.safetensors").exists()
    opened = open_run(tmp_path / "worn")
    assert type(opened.model) is MODELS[base]
    assert str(opened.prepared.scores(opened.model, "test")) == str(worn["test"])


@pytest.mark.parametrize(
    ("base", "wear", "where"),
    [("hyperctr", "aqcl", "batches"), ("din", "aqcl", "log")]
    + [("din", wear, "batches") for wear in TAKEN_OFF if wear != "qcl"],
)
def test_a_killed_training_ends_bit_equal_to_an_unbroken_one(tmp_path, base, wear, where):
    run = settings(base, wear)

    def log(row):
        if where == "log" and row["epoch"] == 2:
            raise Killed

    def progress(batches, what, total):
        for step, found in enumerate(batches):
            if where == "batches" and what == "epoch 2" and step == 3:
                raise Killed
            yield found

    whole = training.train(run, tmp_path / "whole", world())
    with pytest.raises(Killed):
        training.train(run, tmp_path / "killed", world(), log, progress)
    again = training.train(run, tmp_path / "killed", world())
    assert told(again) == told(whole)
    for name in ("weights.safetensors", "worn.safetensors"):
        assert_same(tmp_path / "whole", tmp_path / "killed", name)
    assert (tmp_path / "whole" / "history.csv").read_text() == (tmp_path / "killed" / "history.csv").read_text()


def test_a_folder_of_the_bare_model_is_not_that_of_the_worn_one(tmp_path):
    (tmp_path / "run.toml").write_text(config.to_toml(settings()))
    with pytest.raises(ValueError, match="holds another run"):
        training.train(settings("din", "icl"), tmp_path, world())
