"""Folders that older code left: they still open, score what they scored, and go on where they were stopped.

Those in old/ were written at commit e72f2af from the run files in runs/ and the data in worlds/; they are never made
anew. `hyperctr`, `din-aqcl` and `lt4rec` are finished runs, `killed-*` were stopped in their second epoch. `sweep`,
`table4` and `aqcl-table2` lack one run each, whose line of results.csv stands in `*.missing.csv`. How a killed run
ended then stands in `*.ended.json`, where later code starts such a run from other weights.
"""

import json
import shutil

import golden_runs as golden
import numpy as np
import pytest

FINISHED = ["hyperctr", "din-aqcl", "lt4rec"]
KILLED = ["hyperctr-clusters", "din-qcl"]
GO_ON = {
    "sweep": ("sweep", "--base", golden.RUNS / "hyperctr.toml", "--every", "30d", "--depth", "0,1"),
    "table4": (*golden.TABLE4, "--seeds", "1"),
    "aqcl-table2": (*golden.AQCL, "--seeds", "1"),
}
OLDER = {"fingerprint": {"code": "e72f2af"}}
"""Added to what is wanted: later code takes sums in another order and decays more weights, so no bits are compared."""


@pytest.fixture(autouse=True)
def _standing_among_worlds():
    with golden.among_worlds():
        yield


@pytest.fixture
def old(tmp_path):
    """Copy a folder of old/, so that the original stays as it is."""

    def copy(name):
        return shutil.copytree(golden.OLD / name, tmp_path / name)

    return copy


def of(value):
    """Numbers for a comparison, in which what is unknown equals itself."""
    return {name: pytest.approx(x, rel=1e-5, abs=1e-5, nan_ok=True) for name, x in golden.numbers(value).items()}


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_opens_and_scores_what_it_scored(name, part, old):
    folder = old(name)
    wanted = json.loads((folder / "report.json").read_text())[part]
    found = golden.numbers(golden.scores(folder, part))
    assert {name: found[name] for name in golden.numbers(wanted)} == of(wanted)  # later versions have more scores


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_the_one_that_its_run_file_makes(name, old):
    golden.compare(name, golden.golden()["runs"][name] | OLDER, golden.kept(old(name)), most=2e-2)


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(name, old):
    folder, epochs = old(f"killed-{name}"), []
    assert not (folder / "report.json").exists()
    golden.train(golden.RUNS / f"{name}.toml", folder, log=lambda row: epochs.append(row["epoch"]))
    assert epochs == [2]  # the first is not trained again
    assert not (folder / "checkpoint.safetensors").exists()
    ended = golden.OLD / f"killed-{name}.ended.json"
    wanted = json.loads(ended.read_text()) if ended.exists() else golden.golden()["runs"][name]
    golden.compare(name, wanted | OLDER, golden.kept(folder))


def test_a_killed_run_goes_on_from_its_folder_alone(old):
    folder = old("killed-din-qcl")
    golden.command("train", folder)
    assert "test" in json.loads((folder / "report.json").read_text())


def test_a_folder_of_another_run_is_still_refused(old):
    with pytest.raises(AssertionError, match="holds another run"):
        golden.command("train", golden.RUNS / "din-icl.toml", "--out", old("din-aqcl"))


@pytest.mark.parametrize("name", GO_ON)
def test_a_sweep_or_study_does_what_is_missing_and_nothing_else(name, old):
    folder = old(name)
    had = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in _held(folder)}
    base, results = (folder / "base.toml").read_text(), (folder / "results.csv").read_text()
    golden.command(*GO_ON[name], *golden.ONE_EPOCH, "--out", folder)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in had} == had
    assert (folder / "base.toml").read_text() == base
    now = (folder / "results.csv").read_text()
    assert now.startswith(results) and len(now.splitlines()) == len(results.splitlines()) + 1
    assert len(list((folder / "runs").iterdir())) == len(now.splitlines()) - 1
    (wanted,) = golden.lines(golden.OLD / f"{name}.missing.csv").items()
    found = golden.lines(folder / "results.csv")[wanted[0]]
    golden.compare(name, golden.numbers(wanted[1]) | OLDER, golden.numbers(found))
    assert (found.get("run"), found["status"]) == (wanted[1].get("run"), "ok")
    golden.command(*GO_ON[name], *golden.ONE_EPOCH, "--out", folder)
    assert (folder / "results.csv").read_text() == now  # nothing is missing any more
    assert (folder / "report.md").exists()


def _held(folder):
    return [path for path in (folder / "runs").rglob("*") if path.is_file()]


def test_hypergraphs_of_a_folder_are_read_and_built_the_same_anew(old, tmp_path):
    folder, wanted = old("graph"), json.loads((golden.OLD / "graph.described.json").read_text())
    assert json.loads(golden.command("graph", "describe", folder, "--json")) == wanted | {"empty": 0}
    golden.command("graph", "build", "--data", "shown", "--every", "30d", "--out", tmp_path / "anew")
    assert {p.name for p in (tmp_path / "anew").iterdir()} == {p.name for p in folder.iterdir()}
    for path in folder.glob("*.npz"):
        a, b = (dict(np.load(where / path.name)) for where in (folder, tmp_path / "anew"))
        assert golden.digest(a) == golden.digest(b), path.name


def test_a_saved_hypergraph_is_read():
    rows = json.loads((golden.OLD / "graph" / "graphs.json").read_text())["hypergraphs"]
    row = next(row for row in rows if row["file"] == "0-users-group.npz")
    h = golden.hypergraph(golden.OLD / "hypergraph.npz")
    sizes = h.num_nodes, h.num_hyperedges, h.num_incidences
    assert sizes == (row["num_nodes"], row["num_hyperedges"], row["num_incidences"])
    assert min(sizes) > 0
