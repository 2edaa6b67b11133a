"""Cells run in processes; one that raises or is killed is told and does not end the others."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from hyperctr import config
from hyperctr.runs import parallel

WORK = """
import os, signal, tomllib
from pathlib import Path

def work(toml, folder):
    name = Path(folder).name
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "raises":
        raise ValueError("bad cell")
    if name == "endless":
        Path(folder).with_suffix(".pid").write_text(str(os.getpid()))
        signal.pause()
    return {"pid": os.getpid(), "threads": tomllib.loads(toml)["train"]["threads"]}
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A function that a new process can import, without torch."""
    (tmp_path / "cell_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    from importlib import import_module

    return import_module("cell_work").work


def base(**train):
    return config.read_run({"data": {"path": "x"}, "model": {"name": "mf"}, "train": train})


def run_all(names, folder, work, jobs=1, ended=None, run=None, **options):
    found, seen = {}, []
    parallel.run_all(
        {name: (run or base(), folder / name) for name in names}, jobs, lambda doing, done: seen.append(done),
        ended or found.__setitem__, work, **options,
    )  # fmt: skip
    return found, seen


def test_killed_cell_is_told_and_the_others_go_on(tmp_path, work):
    found, seen = run_all(["a", "killed", "b", "raises", "c"], tmp_path, work, jobs=2)
    assert set(found) == {"a", "killed", "b", "raises", "c"}
    assert isinstance(found["killed"], RuntimeError) and not isinstance(found["killed"], BrokenProcessPool)
    assert str(found["killed"]) == "its process was killed, perhaps because memory ran out"
    assert isinstance(found["raises"], ValueError) and str(found["raises"]) == "bad cell"
    assert all(found[name]["pid"] != os.getpid() for name in "abc")
    assert seen[-1] == 5


def test_cells_share_a_process_unless_each_must_be_fresh(tmp_path, work):
    shared, _ = run_all(["a", "b"], tmp_path, work)
    fresh, _ = run_all(["a", "b"], tmp_path, work, fresh=True)
    assert shared["a"]["pid"] == shared["b"]["pid"]
    assert fresh["a"]["pid"] != fresh["b"]["pid"]


def test_cell_gets_its_share_of_the_cores_or_the_threads_it_asks_for(tmp_path, work, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert run_all(["a"], tmp_path, work, jobs=3)[0]["a"]["threads"] == 4
    assert run_all(["a"], tmp_path, work, jobs=3, run=base(threads=7))[0]["a"]["threads"] == 7
    assert run_all(["a"], tmp_path, work, jobs=50)[0]["a"]["threads"] == 1


def test_stopping_ends_the_processes_that_still_run(tmp_path, work):
    def stop(name, got):
        while not (tmp_path / "endless.pid").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(["endless", "a"], tmp_path, work, jobs=2, ended=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "endless.pid").read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see whether a process still runs")
def test_a_process_ends_with_its_killed_caller(tmp_path, work):
    call = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from cell_work import work\n"
        "from hyperctr import config; from hyperctr.runs import parallel; from hyperctr.models import MODELS\n"
        "run = config.read_run({'data': {'path': 'x'}, 'model': {'name': 'mf'}})\n"
        "if __name__ == '__main__':\n"
        "    parallel.run_all({'endless': (run, Path(sys.argv[1]) / 'endless')}, 1, print, print, work)\n"
    )
    (tmp_path / "caller.py").write_text(call)
    where = os.environ | {"PYTHONPATH": str(Path(parallel.__file__).parents[2])}
    caller = subprocess.Popen([sys.executable, tmp_path / "caller.py", tmp_path], stdout=subprocess.DEVNULL, env=where)
    try:
        pid = int(wait_for(lambda: (tmp_path / "endless.pid").exists() and (tmp_path / "endless.pid").read_text()))
    finally:
        caller.kill()
        caller.wait()
    assert wait_for(lambda: not alive(pid))


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent to hear of it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(found, seconds=60):
    for _ in range(20 * seconds):
        if value := found():
            return value
        time.sleep(0.05)


def test_finished_cell_is_read_and_not_trained_again(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"kept": 1}))
    assert parallel.train(config.to_toml(base()), str(tmp_path)) == {"kept": 1}


def test_watcher_is_told_the_last_validation(tmp_path):
    assert parallel._doing(tmp_path) == "starting"
    (tmp_path / "history.csv").write_text("epoch,loss,valid_auc\n0.05,0.7,0.5\n0.1,0.6,0.61234\n")
    assert parallel._doing(tmp_path) == "epoch 0.1, valid AUC 0.6123"


def test_folder_of_another_kind_or_base_is_refused_and_one_with_other_threads_is_not(tmp_path):
    parallel.claim(tmp_path / "out", base(), "a sweep")
    parallel.claim(tmp_path / "out", base(threads=3), "a sweep")
    with pytest.raises(ValueError, match=r"holds a sweep over another base run: "):
        parallel.claim(tmp_path / "out", base(lr=0.5), "a sweep")
    with pytest.raises(ValueError, match="holds a sweep, not the bench dim; choose another --out"):
        parallel.claim(tmp_path / "out", base(), "the bench dim")
