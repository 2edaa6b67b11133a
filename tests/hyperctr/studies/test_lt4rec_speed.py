"""The speed bench of LT4REC: what is timed, when a speed-up counts, what is done again."""

import csv

import pytest
import torch

from hyperctr.reporting import figures
from hyperctr.serving.sparse import Network, Step
from hyperctr.studies import bench
from hyperctr.studies.bench import Options
from hyperctr.studies.lt4rec import speed


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(speed, "WIDTHS", (60, 24, 16, 8))
    monkeypatch.setattr(speed, "BATCHES", (1, 64))
    monkeypatch.setattr(speed, "ASKED", (1, 64))
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    monkeypatch.setattr(figures, "save", lambda figure, path: path.write_bytes(b"png"))


def line(form, repeat, fastest, **changes):
    found = {"repeat": repeat, "masks": "weights", "density": 0.2, "batch": 64, "form": form, "fastest": fastest}
    found |= {"p50": fastest, "p95": fastest, "multiply_adds": 10, "bytes": 30 if form == "csr" else 100, "apart": 0.0}
    return found | changes


def test_all_forms_of_all_masks_are_timed_once_and_told(quick, tmp_path):
    said = []
    found = bench.run(speed.STUDY, None, tmp_path, Options(values=["1", "0.2"], seeds=2), say=said.append)
    lines = [*csv.DictReader((tmp_path / "results.csv").open())]
    keys = {(r["repeat"], r["masks"], float(r["density"]), r["batch"], r["form"]) for r in lines}
    masks = [("weights", 1.0), ("weights", 0.2), ("units", 0.2)]  # all units are all weights
    assert keys == {(k, name, density, batch, form) for k in "01" for name, density in masks for batch in ("1", "64")
                    for form in ("dense", "compact", "csr")}  # fmt: skip
    assert len(lines) == len(keys) and max(float(r["apart"]) for r in lines) < 1e-5
    by = {(r["masks"], r["density"], r["form"]): r for r in found["rows"]}
    full = 60 * 24 + 24 * 16 + 16 * 8 + 8
    assert by["weights", 1.0, "dense"]["multiply_adds"] == full
    assert by["weights", 0.2, "csr"]["multiply_adds"] == pytest.approx(0.2 * full, abs=8)
    assert by["units", 0.2, "compact"]["multiply_adds"] <= 0.2 * full + 8
    text = (tmp_path / "report.md").read_text()
    assert "at least 2 times as fast as dense" in text and (tmp_path / "lt4rec-speed.png").exists()
    assert len(found["claims"]) == 6
    before = (tmp_path / "results.csv").read_text()
    bench.run(speed.STUDY, None, tmp_path, Options(values=["1", "0.2"], seeds=2), say=said.append)
    assert (tmp_path / "results.csv").read_text() == before  # nothing is timed again
    assert bench.redraw(tmp_path)["rows"] == found["rows"]


def test_a_speed_up_is_over_the_dense_time_of_its_own_repeat():
    lines = [line("dense", 0, 4.0), line("csr", 0, 1.0), line("dense", 1, 30.0), line("csr", 1, 15.0)]
    dense, csr = speed.summed(lines)
    assert (dense["speed"], csr["speed"], csr["n"]) == (1.0, 3.0, 2) and csr["share"] == 0.3


@pytest.mark.parametrize(
    ("speeds", "verdict"),
    [((2.2, 2.25, 2.3), "reproduced"), ((1.5, 2.2, 2.9), "inconclusive"), ((1.5, 1.6, 1.7), "contradicted"),
     ((2.5, 2.6), "inconclusive")],
)  # fmt: skip
def test_twice_as_fast_is_judged_over_repeats_by_the_best_form(speeds, verdict):
    lines = [x for k, speed in enumerate(speeds) for x in
             (line("dense", k, speed), line("csr", k, 1.0), line("compact", k, 9.0))]  # fmt: skip
    claim, file = speed.judge_speed(speed.summed(lines))
    assert claim.verdict == verdict and claim.here.startswith("csr: ")
    assert (file.here, file.verdict) == ("30.0%", "reproduced")


def test_masks_of_units_leave_at_most_the_share_of_weights_asked_for(quick):
    made = {(name, density): network for name, density, network in speed.networks([1.0, 0.5, 0.2])}
    for name, density in made:
        left = sum(int(step.weight.count_nonzero()) for step in made[name, density].steps[:-1])
        total = 60 * 24 + 24 * 16 + 16 * 8
        assert left == round(density * total) if name == "weights" else 0.05 * total < left <= density * total


def test_a_dense_file_is_counted_as_its_numbers():
    torch.manual_seed(0)
    steps = (Step(torch.randn(4, 6), torch.zeros(4), 0.0), Step(torch.randn(1, 4), torch.zeros(1), 1.0))
    dense, *_ = speed.timed(Network(steps), 3, 0.0)
    assert dense["bytes"] == 4 * (24 + 4 + 4 + 1) and dense["fastest"] <= dense["p50"] <= dense["p95"]


@pytest.mark.parametrize("value", ["0", "1.5", "x"])
def test_densities_that_are_none_are_refused(value, tmp_path):
    with pytest.raises(ValueError, match=rf"--values of lt4rec-speed are shares in \(0, 1\] .*, got '{value}'"):
        bench.run(speed.STUDY, None, tmp_path, Options(values=[value]))


def test_a_folder_of_something_else_is_refused(quick, tmp_path):
    (tmp_path / "bench.json").write_text('{"facts": {"bench": "layers"}}')
    with pytest.raises(ValueError, match="has another study, or one of other masks"):
        bench.run(speed.STUDY, None, tmp_path, Options(values=["1"]))
    with pytest.raises(ValueError, match="give --masks or --values"):
        bench.run(speed.STUDY, None, tmp_path / "new", Options(values=["1"], masks=tmp_path))
