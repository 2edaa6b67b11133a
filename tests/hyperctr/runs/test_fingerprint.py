"""A run knows its data again, wherever it is opened from, and refuses others unless asked."""

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.read import read
from hyperctr.runs import fingerprint
from hyperctr.runs import train as training
from hyperctr.runs.fingerprint import changes
from hyperctr.runs.open import open_run


def run_of(path, **train):
    train = {"epochs": 2, "batch_size": 256, "threads": 1} | train
    model = {"name": "din", "dim": 4, "hidden": [8]}
    return config.read_run({"data": {"path": str(path), "history": 5}, "model": model, "train": train})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a data set and a finished run on it."""
    home = tmp_path_factory.mktemp("known")
    planted.write("fields", home / "data", scale=0.03)
    training.train(run_of(home / "data"), home / "run")
    return home


@pytest.fixture
def home(finished, tmp_path):
    """A copy, whose data may be changed."""
    shutil.copytree(finished, tmp_path / "home")
    stored = tmp_path / "home" / "run" / "data.json"
    stored.write_text(stored.read_text().replace(str(finished), str(tmp_path / "home")))
    return tmp_path / "home"


def change(folder, how):
    path = next((folder / "data").glob("interactions.*"))
    table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    table = how(table)
    table.write_parquet(path) if path.suffix == ".parquet" else table.write_csv(path)


def flipped(table):
    return table.with_columns((1 - pl.col("click")).alias("click"))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (flipped, "other clicks"),
        (lambda t: t.head(len(t) - 10), "rows, were"),
        (lambda t: t.with_columns(pl.col("timestamp") + pl.duration(seconds=1)), "other times"),
    ],
)
def test_data_that_have_changed_are_refused_and_what_changed_is_named(home, how, says, hyperctr):
    change(home, how)
    code, _, err = hyperctr("evaluate", home / "run")
    assert code == 2 and says in err and "have changed since its training began" in err and err.count("\n") == 1
    assert "--changed-data" in err
    assert hyperctr("evaluate", home / "run", "--changed-data")[0] in (0, 2)  # 2: the weights do not fit


def test_every_command_that_opens_a_run_refuses_changed_data(home, hyperctr):
    change(home, flipped)
    (home / "rows.csv").write_text("user_id,item_id,timestamp\n1,1,1800000000\n")
    rows = ("--input", home / "rows.csv", "--out", home / "scored.csv")
    for words in (("predict", *rows), ("audit",), ("explain", "--user", 1, "--item", 1), ("export",)):
        code, _, err = hyperctr(words[0], home / "run", *words[1:])
        assert code == 2 and "have changed since its training began" in err, words
    assert hyperctr("predict", home / "run", *rows, "--changed-data")[0] == 0


def test_a_killed_run_does_not_go_on_with_other_data(home):
    class Killed(Exception):
        pass

    def kill(row):
        if row["epoch"] == 2:
            raise Killed

    run = run_of(home / "data", epochs=3)
    with pytest.raises(Killed):
        training.train(run, home / "killed", log=kill)
    change(home, flipped)
    with pytest.raises(ValueError, match="other clicks; --changed-data accepts that"):
        training.train(run, home / "killed")
    assert (home / "killed" / "checkpoint.safetensors").exists() and (home / "killed" / "run.toml").exists()
    said = []
    training.train(run, home / "killed", say=said.append, changed_data=True)
    assert said[0].startswith("continuing at epoch 2: ")


def test_a_run_of_a_version_without_fingerprints_opens(home):
    (home / "run" / "data.json").unlink()
    change(home, flipped)
    open_run(home / "run")


def test_a_relative_path_is_found_from_every_working_directory(finished, tmp_path, monkeypatch, hyperctr):
    monkeypatch.chdir(finished)
    training.train(run_of("data", epochs=1), "there")
    monkeypatch.chdir(tmp_path)
    assert hyperctr("evaluate", finished / "there", "--json")[0] == 0
    code, _, err = hyperctr("train", finished / "there")
    assert code == 0, err
    assert config.read_run(finished / "there" / "run.toml").data.path == str(finished / "data")


def test_each_column_has_its_own_digest(finished):
    data = read(finished / "data")
    before = fingerprint.fingerprint(data)
    assert before == fingerprint.fingerprint(read(finished / "data"))
    for name in ("user", "item", "time", "label"):
        log = data.interactions
        column = getattr(log, name).copy()
        column[-1] = column[-2] if name != "label" else 1 - column[-1]
        if (column == getattr(log, name)).all():
            column[-1] = 0
        kept = {entry: getattr(log, entry) for entry in log.__dataclass_fields__} | {name: column}
        now = fingerprint.fingerprint(replace(data, interactions=type(log)(**kept)))
        named = fingerprint.COLUMNS[name]
        assert changes(before, now) == f"other {named}" or (name == "time" and "times" in changes(before, now))


def test_a_large_matrix_counts_by_its_shape_and_some_rows(tmp_path):
    np.save(tmp_path / "visual.npy", np.zeros((5000, 4), np.float32))
    first = fingerprint._digest(np.load(tmp_path / "visual.npy", mmap_mode="r"))
    np.save(tmp_path / "visual.npy", np.ones((5000, 4), np.float32))
    assert fingerprint._digest(np.load(tmp_path / "visual.npy", mmap_mode="r")) != first


def test_a_damaged_data_json_is_one_line(home, hyperctr):
    (home / "run" / "data.json").write_text('{"path": ')
    code, _, err = hyperctr("evaluate", home / "run")
    assert code == 2 and "data.json is damaged" in err and err.count("\n") == 1
