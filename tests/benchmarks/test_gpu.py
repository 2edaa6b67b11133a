"""The benchmark of a GPU, run without one: tiny sizes on the CPU and on a pretended device, and made-up figures."""

import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pretended import pretended
from typer.testing import CliRunner

import graphs
from benchmarks import gpu, gpu_report
from hyperctr.files import read_json

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
TINY = gpu.Sizes(
    graphs={"S": (60, 50, 400), "L": (80, 20, 300)}, dim=8, rounds=3, together=0, copied=2**10, scale=0.1,
    batches=(128,), warm=0, seconds=0.01, kept=2, before=0, steps=1, users=300,
)  # fmt: skip
NOWHERE = Path("nowhere")


@pytest.fixture
def section():
    return gpu.Section(end=time.time() + 600)


class Watch:
    """A clock that goes on by a second per look."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        self.time += 1
        return self.time


def missing(section):
    return {row["what"]: row["why"] for row in section.found["missing"]}


# --- time ------------------------------------------------------------------------------------------------------------


def test_sections_end_one_after_the_other_and_share_the_whole_budget():
    ends = gpu.schedule(list(gpu.SECTIONS), begin=1000.0)
    assert list(ends) == list(gpu.SECTIONS) == list(gpu.SHARES) and sorted(ends.values()) == list(ends.values())
    assert max(ends.values()) == 1000 + gpu.BUDGET and gpu.BUDGET + gpu.GRACE < 8 * 60
    assert gpu.schedule(["kernels"], begin=0.0) == {"kernels": gpu.BUDGET}


def test_what_does_not_fit_is_listed_and_what_fails_stops_nothing(tmp_path):
    section = gpu.Section(end=4.5, path=tmp_path / "section.json", now=Watch())
    assert section.measure("first", lambda: 1) == 1
    assert section.measure("broken", lambda: 1 / 0) is None
    assert section.measure("wrong", lambda: sys.exit("PyG is wrong by 1\nand more")) is None
    section.keep({"what": "kept"})
    assert section.measure("fourth", lambda: 4) == 4
    assert section.measure("late", lambda: 5) is None
    assert missing(section) == {
        "broken": "ZeroDivisionError: division by zero",
        "wrong": "SystemExit: PyG is wrong by 1",
        "late": "time",
    }
    assert read_json(tmp_path / "section.json") == section.found and section.found["rows"] == [{"what": "kept"}]


def test_a_race_that_runs_out_of_time_names_what_was_not_timed():
    section = gpu.Section(end=10, now=Watch())
    gpu.measure_kernels(section, CPU, TINY, NOWHERE)
    assert {name: why for name, why in missing(section).items() if name in "SL"} == {"S": "time", "L": "time"}


def stub(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "ending, why",
    [("time.sleep(60)", "time"), ("sys.exit('out of memory')", "its process ended with 1: out of memory")],
)
def test_a_killed_section_keeps_what_it_has_measured(ending, why, tmp_path, monkeypatch):
    script = """
import json, sys, time
name, path, end = json.loads(sys.argv[2])
open(path, "w").write('{"rows": [{"graph": "S"}], "missing": []}')
"""
    monkeypatch.setattr(gpu, "__file__", str(stub(tmp_path / "section.py", script + ending)))
    monkeypatch.setattr(gpu, "GRACE", 1)
    found = gpu.in_a_process("kernels", time.time(), NOWHERE, tmp_path / "kernels.json")
    assert found["rows"] == [{"graph": "S"}] and found["missing"] == [{"what": "the rest", "why": why}]


# --- the sections ----------------------------------------------------------------------------------------------------


def test_kernels_are_checked_timed_and_compared(section, monkeypatch):
    monkeypatch.setitem(gpu.CONTENDERS, gpu.AUTOGRAD, (lambda h: 1 / 0, torch.float32))
    gpu.measure_kernels(section, CPU, TINY, NOWHERE)
    copied, *rows = section.found["rows"]
    assert copied["copy"] > 0 and [row["graph"] for row in rows] == ["S", "L"]
    assert missing(section)["S, cuSPARSE, autograd"] == "ZeroDivisionError: division by zero"
    for row in rows:
        for name in (gpu.STORED, gpu.OURS, gpu.HALF):
            assert len(row["forward"][name]) == len(row["both"][name]) == 3 and row["same_bits"][name]
        assert gpu_report.speedup(row, gpu.OURS, gpu.STORED) > 0
        assert gpu_report.speedup(row, gpu.OURS, gpu.AUTOGRAD) is None
    assert rows[0]["bytes"]["needed"] == 2 * (4 * 8 * 2 * (60 + 50) + 2 * 4 * 400)
    assert rows[0]["bytes"]["moved"] == 2 * (4 * 8 * (60 + 50) + 2 * 400 * (4 * 8 + 4))


def test_a_wrong_contender_is_not_timed(section, monkeypatch):
    monkeypatch.setitem(
        gpu.CONTENDERS, gpu.PYG, (lambda h: lambda x: 1.001 * h.propagate(x, norm="row"), torch.float32)
    )
    gpu.measure_kernels(section, CPU, TINY, NOWHERE)
    assert missing(section)["S, PyG"] == "ValueError: PyG is wrong by 1.0e-03"
    assert all(gpu.PYG not in row["both"] and gpu.OURS in row["both"] for row in section.found["rows"][1:])


def test_on_a_device_the_reference_kernels_are_not_taken_for_ours():
    with pretended(), graphs.use_kernels("reference"):
        h = gpu.kernels.power_law(20, 10, 50).to(CUDA)
        with pytest.raises(ImportError, match="triton is not installed: graphs.kernels.reference"):
            gpu.ours(h)


def test_hyperctr_trains_on_a_device_and_on_the_cpu(section, monkeypatch):
    kept = {"hyperctr-best": gpu.RUNS["hyperctr-best"]}
    monkeypatch.setattr(gpu, "RUNS", kept)
    with pretended() as seen, graphs.use_kernels("reference"):
        gpu.measure_training(section, CUDA, TINY, NOWHERE)
    assert missing(section) == {} and seen.operations
    found = {(row["model"], row["device"]): row for row in section.found["rows"]}
    assert set(found) == {(name, where) for name in kept for where in ("cuda", "cpu")}
    for row in found.values():
        for kind in ("with_loader", "without_loader"):
            assert row[kind]["steps"] > 0 and gpu_report.rows_per_second(row[kind]) > 0
    text = "\n".join(gpu_report.table_of_training({"sections": {"training": section.found}}))
    assert text.count("\n") == 1 + len(kept) and "| hyperctr-best | 128 |" in text


def test_every_run_can_be_prepared_and_answers(section):
    dataset = gpu.world(0.1)
    for name in gpu.RUNS:
        ready = gpu.with_batch(gpu.made_ready(name, dataset), 64)
        batches = gpu.first_groups(ready.train_batches(1), 2)
        assert batches[-1].closes_group and len(batches) >= 2
        assert gpu.model_on(CPU, ready)(batches[0]).logit.isfinite().all()


def test_steps_are_profiled(section):
    gpu.profile_step(section, CPU, TINY, NOWHERE)
    assert missing(section) == {} and len(section.found["rows"]) == 1
    for row in section.found["rows"]:
        assert len(row["operations"]) == 15 and row["operations"][0]["ms"] >= row["operations"][1]["ms"] > 0
    assert "shown below" in gpu_report.table_of_profile({"sections": {"profile": section.found}})[0]


def test_a_profile_on_a_device_is_of_the_step_and_not_of_the_thread_that_makes_batches():
    ready = gpu.with_batch(gpu.made_ready("hyperctr-best", gpu.world(TINY.scale)), 64)
    with pretended(), graphs.use_kernels("reference"):
        rows = gpu.profiled(gpu.Section(math.inf), gpu.model_on(CUDA, ready), ready, replace(TINY, steps=2))
    assert len(rows) == 2
    assert all("aten::mm" in {op["name"] for op in row["operations"]} for row in rows)


def test_launches_waits_and_device_time_of_a_profile():
    class Event:
        def __init__(self, key, count, device, host_us=0, device_us=0):
            self.key, self.count, self.self_cpu_time_total, self.self_device_time_total = key, count, host_us, device_us
            self.device_type = getattr(gpu.DeviceType, device)

    events = [
        Event("aten::mm", 3, "CPU", 900, 40), Event("graphs::propagate", 1, "CPU", 10, 70),
        Event("aten::view", 9, "CPU", 50), Event("gemm", 3, "CUDA", 0, 40), Event("_sum_segments", 2, "CUDA", 0, 70),
        Event("cudaLaunchKernel", 3, "CPU", 9), Event("cuLaunchKernelEx", 2, "CPU", 9),
        Event("cudaMemcpyAsync", 4, "CPU"), Event("cudaStreamSynchronize", 1, "CPU"),
        Event("cudaDeviceSynchronize", 2, "CPU"),
    ]  # fmt: skip
    found = gpu.summary(events)
    assert [op["name"] for op in found.pop("operations")] == ["graphs::propagate", "aten::mm"]
    assert found == {"launches": 5, "waits": 1, "copies": 4, "device_ms": 0.11, "times_of": "device"}


def test_without_fuxictr_one_line_says_so(section, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    gpu.measure_fuxictr(section, CPU, TINY, NOWHERE)
    assert missing(section)["FuxiCTR"].startswith("fuxictr is not installed") and not section.found["rows"]


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for the other Python")
def test_fuxictr_runs_in_its_environment(section, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.training, "TEST", 200)
    said = """#!/bin/sh
case "$*" in *" din "*) echo "no memory" >&2; exit 1;; esac
echo "$@" >&2
echo '{"samples_per_second": [1, 100.0, 90.0]}'
"""
    stub(tmp_path / "fuxictr" / "bin" / "python", said)
    gpu.measure_fuxictr(section, CPU, TINY, tmp_path)
    assert missing(section) == {"din, batch 128, FuxiCTR": "RuntimeError: no memory"}
    din, deepfm = section.found["rows"]
    assert din["fuxictr"] is None and din["ours"]["steps"] > 0 and deepfm["fuxictr"]["samples_per_second"][1] == 100
    text = gpu_report.table_of_fuxictr({"sections": {"fuxictr": section.found}})[0]
    assert "| din | 128 |" in text and "| 100 |" in text


def test_the_gpu_tests_are_counted(tmp_path):
    lines = ["import pytest", "pytestmark = pytest.mark.gpu", "def test_a(): pass", "def test_b(): assert 0"]
    lines += ["def test_c(): pytest.skip('no device')"]
    (tmp_path / "test_it.py").write_text("\n".join(lines))
    found = gpu.outcome([tmp_path / "test_it.py"], 60)
    assert found == {"passed": 1, "failed": 1, "skipped": 1, "failures": ["test_b"]}


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_one_line_and_nothing_written(tmp_path):
    done = CliRunner().invoke(gpu.app, ["--out", str(tmp_path / "gpu")])
    assert done.exit_code == 2 and not (tmp_path / "gpu").exists()
    assert len(done.output.strip().splitlines()) == 1 and "no CUDA device here" in done.output


def kernel_row(graph, both):
    return {
        "graph": graph, "same_bits": dict.fromkeys(both, True), "errors": {}, "l2": 1,
        "forward": {name: [x / 2] for name, x in both.items()}, "both": {name: [x] for name, x in both.items()},
        "bytes": {"needed": 3e9, "moved": 6e9},
    }  # fmt: skip


MADE_UP = {
    "tests": {"rows": [{"passed": 40, "failed": 0, "skipped": 1, "failures": []}], "missing": []},
    "kernels": {
        "rows": [
            {"copy": 4e12, "seconds": []},
            kernel_row("M_items", {gpu.STORED: 0.003, gpu.OURS: 0.002, gpu.HALF: 0.002, gpu.PYG: 0.02}),
            kernel_row("L", {gpu.STORED: 0.003, gpu.OURS: 0.002}),
        ],
        "missing": [{"what": "L, ours, bfloat16", "why": "OutOfMemoryError: 3 GiB | 1 GiB"}],
    },
}


def test_a_made_up_report_is_written_and_what_is_missed_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "describe_machine", lambda: {"gpu": "made up", "driver": None, "torch": "2.9"})
    monkeypatch.setattr(gpu, "in_a_process", lambda name, *_: MADE_UP[name] | {"seconds": 1.0})
    monkeypatch.setattr(gpu.kernels, "GRAPHS", dict.fromkeys(("M_items", "L")))
    words = ["--only", "tests,kernels", "--out", str(tmp_path)]
    assert CliRunner().invoke(gpu.app, words).exit_code == 1
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "table.md"}
    report, text = read_json(tmp_path / "report.json"), (tmp_path / "table.md").read_text()
    reached = {v["what"]: v["reached"] for v in report["verdicts"]}
    assert reached == {
        "gpu tests": True,
        "M_items: ours, float32 than cuSPARSE, stored transpose": True,
        "M_items: ours, bfloat16 than cuSPARSE, stored transpose": False,
        "M_items: ours, float32 than PyG": True,
        "M_items: ours, bfloat16 than PyG": False,
        "M_items: bits of two runs": True,
        "L: ours, float32 than cuSPARSE, stored transpose": True,
        "L: ours, bfloat16 than cuSPARSE, stored transpose": None,
        "L: bytes moved": True,
        "L: bits of two runs": True,
    }
    for line in (
        "gpu made up, torch 2.9.",
        "40 passed, 0 failed, 1 skipped.",
        "| M_items: ours, float32 than PyG | 7 times | 10.00 times | reached |",
        "| M_items: ours, bfloat16 than PyG | 13 times | 10.00 times | NOT REACHED |",
        "| L: ours, bfloat16 than cuSPARSE, stored transpose | 2 times |  | not measured |",
        "| L: bytes moved | 60% of a copy | 75% | reached |",
        "| ours, bfloat16 | 1.000 / 2.000 | not measured |",
        "| ours, float32 than cuSPARSE, stored transpose | 1.50 | 1.50 |",
        "| bytes if everything counts once | 38% | 38% |",
        "| kernels | L, ours, bfloat16 | OutOfMemoryError: 3 GiB / 1 GiB |",
    ):
        assert line in text
    assert CliRunner().invoke(gpu.app, ["--only", "tests", "--out", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(gpu.app, ["--only", "speed"]).exit_code == 2
