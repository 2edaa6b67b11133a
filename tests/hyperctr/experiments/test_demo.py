"""The demo runs the preset hyperctr-best, and its sweep shows what granularity does to states and to links."""

from dataclasses import replace

from hyperctr import config
from hyperctr.data import catalog
from hyperctr.experiments import demo, sweep


def test_the_sweep_of_the_demo_is_the_preset_best_trained_for_fewer_steps(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "find", lambda name: tmp_path)
    base, name = demo.sweep_run(print)
    best = config.read_run({"data": {"path": str(tmp_path)}}, preset=demo.PRESET)
    assert name == "ml-100k" and base.model == best.model
    assert base.data == replace(best.data, history=20) and base.data.past == "all"
    assert base.train.epochs == 1 and base.train == replace(
        best.train, **{key: getattr(base.train, key) for key in demo.SMALL["train"]}
    )
    found = sweep.cells(base, demo.EVERY.split(","), [int(depth) for depth in demo.DEPTH.split(",")], 1, others=())
    kinds = {(cell.links, cell.depth) for cell in found}
    assert {("none", 0), ("past", 0), ("slice", 0), ("recent", 0), ("", 0), ("", 1), ("", 3)} == kinds
    assert len(found) == 3 * 3 + 1 + 3 * 3


def test_the_planted_demo_compares_popularity_mf_and_the_preset_best():
    runs = {name: demo._run("planted-drift", name, settings, 0) for name, settings in demo.RUNS.items()}
    assert {*runs} == {"popularity", "mf", "hyperctr"}
    assert (runs["hyperctr"].data.past, runs["hyperctr"].model.branch) == ("all", "fields")
    assert {runs[name].data.past for name in ("popularity", "mf")} == {"none"}
    assert len({run.evaluate for run in runs.values()}) == 1
