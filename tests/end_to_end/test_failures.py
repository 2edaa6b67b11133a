"""What goes wrong outside the data ends in one line: a full disk, a missing package, a damaged file, a huge text."""

import resource
import shutil
import sys

import polars as pl
import pytest

from hyperctr.data import planted

SHORT = ("--set", "train.epochs=2", "--set", "train.threads=1", "--set", "model.name=din", "--set", "model.dim=8")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("failures")
    planted.write("drift", home / "world", scale=0.03)
    return home


@pytest.fixture(scope="module")
def run(home):
    """A finished run, made by hand."""
    from hyperctr import config
    from hyperctr.runs import train

    tables = {"data": {"path": str(home / "world")}, "model": {"name": "din", "dim": 8}}
    train.train(config.read_run(tables | {"train": {"epochs": 1, "threads": 1}}), home / "run")
    return home / "run"


@pytest.fixture
def small_files():
    """Let no file grow above 20 kB, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_leaves_older_files(home, run, small_files, hyperctr):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    code, _, err = hyperctr("train", "--data", home / "world", *SHORT, "--out", home / "full")
    last = err.strip().splitlines()[-1]
    assert code == 2 and last.startswith("error: cannot write") and "File too large" in last, err
    assert "Traceback" not in err
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_missing_package_is_one_line_before_anything_is_written(home, monkeypatch, hyperctr):
    monkeypatch.setitem(sys.modules, "optuna", None)
    words = ("--set", "model.name=din", "--set", "wrapper.name=icl", "--over", "w=0.1,0.2")
    code, _, err = hyperctr("search", "--data", home / "world", *words, "--out", home / "search")
    assert code == 2 and "pip install 'hyperctr[search]'" in err and err.count("\n") == 1
    assert not (home / "search").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "run.toml", "report.json"])
def test_a_damaged_file_of_a_run_is_one_line(run, tmp_path, name, hyperctr):
    folder = shutil.copytree(run, tmp_path / "run")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    code, _, err = hyperctr("evaluate", folder)
    assert code == 2 and name in err and err.count("\n") == 1, err


def test_a_run_that_is_stopped_by_hand_says_how_it_continues(home, monkeypatch, hyperctr):
    from hyperctr.cli import run as commands

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    words = ("train", "--data", home / "world", *SHORT, "--out", home / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr(commands, "say_epoch", stop)
        code, _, err = hyperctr(*words)
    assert code == 130 and "stopped in epoch 2: the same command continues at epoch 2." in err, err
    code, _, err = hyperctr(*words)
    assert code == 0 and "continuing at epoch 2: " in err


def test_a_run_wrapped_with_masks_is_audited(tmp_path, hyperctr):
    planted.write("agree", tmp_path / "two", scale=0.03)
    keys = ("model.name=din", "model.hidden=[8,8]", "wrapper.name=lt4rec", "wrapper.rounds=1", "train.epochs=1")
    words = [word for key in (*keys, "train.threads=1") for word in ("--set", key)]
    code, _, err = hyperctr("train", "--data", tmp_path / "two", *words, "--out", tmp_path / "run")
    assert code == 0, err
    code, out, err = hyperctr("audit", tmp_path / "run", "--rows", 20, "--cuts", 2)
    assert code == 0, err


def test_two_processes_never_build_one_folder_of_hypergraphs(home, tmp_path, hyperctr):
    from hyperctr.files import replace_folder

    with replace_folder(tmp_path / "graphs", "graphs.json", lambda name: True, "a test") as part:
        (part / "graphs.json").write_text("{}")
        code, _, err = hyperctr("graph", "build", "--data", home / "world", "--out", tmp_path / "graphs")
        assert code == 2 and f"another process is writing to {tmp_path / 'graphs'}" in err
    assert [path.name for path in tmp_path.iterdir()] == ["graphs"]


def test_a_title_of_a_megabyte_is_cut(home, tmp_path, hyperctr):
    world = shutil.copytree(home / "world", tmp_path / "world")
    items = pl.read_parquet(world / "items.parquet")
    items.with_columns(title=pl.lit("x" * 10**6)).write_parquet(world / "items.parquet")
    text = (world / "dataset.toml").read_text()
    (world / "dataset.toml").write_text(text.replace("[items]", '[items]\ntitle = "title"', 1))
    code, out, err = hyperctr("data", "describe", world)
    assert code == 0 and len(out) < 10_000, err
    size = (
        "--set",
        "model.name=hyperctr",
        "--set",
        "model.dim=8",
        "--set",
        "model.depth=1",
        "--set",
        "train.epochs=1",
        "--set",
        "train.threads=1",
    )
    assert hyperctr("train", "--data", world, *size, "--out", tmp_path / "run")[0] == 0
    words = ("--user", 1, "--item", 1, "--top", 2, "--out", tmp_path / "why.png")
    code, out, err = hyperctr("explain", tmp_path / "run", *words)
    assert code == 0 and "(1,000,000 characters)" in out and len(out) < 20_000, err
