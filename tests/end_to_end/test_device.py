"""Every model trains on another device, in strict mode and as on the CPU; and how much it asks of that device.

No GPU is needed: the device is pretended (`tests/builders/pretended.py`).
"""

import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from device_world import steps, world
from pretended import pretended
from safetensors.torch import load_file

import graphs
from hyperctr import config
from hyperctr.batch import Batch, History, Output
from hyperctr.cli.main import main
from hyperctr.layers import bodies
from hyperctr.models import MODELS, WRAPPERS, find_model
from hyperctr.runs.prepare import build_model, prepare
from hyperctr.runs.train import _wrapped
from hyperctr.strict import read_toml
from hyperctr.training import fit as fitting

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RUNS = {path.stem: path for path in sorted((GOLDEN / "runs").glob("*.toml"))}
DROPPED = {"model.dropout": 0, "model.id_dropout": 0, "model.neighbors": 0, "wrapper.bits": 0, "wrapper.mask": 0}
"""What is drawn by other generators on a device, and hypergraphs that are drawn, left out of a comparison."""
LOOSE = {
    "hyperctr-clusters": 2e-2,
    "hyperctr-aqcl": 2e-2,
    "hyperctr-lt4rec": 2e-2,
    "hyperctr-gcn": 2e-2,
    "din-aqcl": 2e-2,
}
"""Largest difference of a weight where a last bit can decide (codes, pruning) or grows most; elsewhere 5e-4."""


def command(*words: str) -> int:
    """Run the command line in this process and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["hyperctr", *words])
        try:
            main()
        except SystemExit as end:
            return end.code or 0
    return 0


def words_of(name: str) -> list[str]:
    """Return --set words for one short epoch in which nothing is drawn that a device draws in another way."""
    run, found = config.read_run(read_toml(RUNS[name], "run file")), ["train.epochs=1", "evaluate.max_positives=200"]
    if name.startswith(("lt4rec", "din-lt4rec", "hyperctr-lt4rec")):
        found.append(("wrapper" if run.wrapper else "model") + ".rounds=1")
    for key, value in DROPPED.items():
        table, name = key.split(".")
        if (part := getattr(run, table)) is not None and hasattr(part, name):
            found.append(f"{key}={value}")
    return [word for key in found for word in ("--set", key)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_on_a_device_as_on_the_cpu(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(GOLDEN / "worlds")
    words = ["train", str(RUNS[name]), "--json", *words_of(name)]
    with graphs.use_kernels("reference"):
        assert command(*words, "--out", str(tmp_path / "cpu"), "--device", "cpu") == 0
        with pretended():
            assert command(*words, "--out", str(tmp_path / "cuda"), "--device", "cuda") == 0
    reports = [json.loads((tmp_path / where / "report.json").read_text()) for where in ("cpu", "cuda")]
    fitted = name in ("ease", "itemknn", "transitions", "trees", "trees-links")
    assert [report["device"] for report in reports] == ["cpu", "cpu" if fitted else "cuda:0"]
    weights = [load_file(tmp_path / where / "weights.safetensors") for where in ("cpu", "cuda")]
    assert weights[0].keys() == weights[1].keys()
    most = LOOSE.get(name, 5e-4)
    for key, x in weights[0].items():
        torch.testing.assert_close(weights[1][key], x, rtol=0, atol=most, msg=lambda said, key=key: f"{key}: {said}")


# --- what a step asks for --------------------------------------------------------------------------------------------

CEILINGS = {  # operations and copies to the device of a step, HyperCTR's in the mean; nothing ever waits
    "popularity": (40, 15), "mf": (60, 15), "lr": (80, 15), "fm": (95, 15), "wide_deep": (135, 15), "dcn": (130, 15),
    "deepfm": (120, 15), "xdeepfm": (150, 15), "din": (145, 15), "dien": (4500, 15), "gru4rec": (2600, 17),
    "mian": (370, 17), "marn": (3100, 15), "youtubenet": (260, 15), "dupn": (2900, 15), "dmf": (2950, 15),
    "mmss": (2900, 15), "naml": (320, 15), "lt4rec": (200, 16), "shared_bottom": (220, 16), "esmm": (240, 16),
    "mmoe": (330, 16), "hyperctr": (720, 40),
}  # fmt: skip
"""A GRU goes step by step here; on CUDA it is a few launches."""
WRAPPED = {"aqcl": 490, "qcl": 490, "icl": 375, "dropoutnet": 175, "deepmcp": 330, "dmr": 240, "lt4rec": 200}


def run_of(model: str, wrapper: str = "") -> config.Run:
    tables = {"data": {"path": "world"}, "model": {"name": model}, "interest": {"mode": "none"}}
    tables |= {"wrapper": {"name": wrapper}} if wrapper else {}
    return config.read_run(tables, ["train.batch_size=512", "data.history=100"])


@pytest.fixture(scope="module")
def worlds():
    return {conversions: world(conversions) for conversions in (False, True)}


@pytest.mark.parametrize("model", MODELS)
def test_a_step_of_a_model_waits_for_nothing_and_stays_below_its_ceilings(model, worlds):
    found = steps(run_of(model), worlds["conversions" in find_model(model).reads], 8 if model == "hyperctr" else 3)
    operations = sum(step.operations for step in found) / len(found)
    assert max(step.waits for step in found) == 0, found[0].places
    assert operations <= CEILINGS[model][0] and max(step.copies for step in found) <= CEILINGS[model][1]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_step_of_a_wrapped_din_waits_for_nothing_and_stays_below_its_ceiling(wrapper, worlds):
    found = steps(run_of("din", wrapper), worlds[wrapper == "lt4rec"], 3)
    assert max(step.waits for step in found) == 0, found[0].places
    assert max(step.operations for step in found) <= WRAPPED[wrapper]


def test_the_pretended_device_refuses_what_cuda_refuses_and_counts_what_it_is_asked_for():
    model, x = torch.nn.Linear(3, 1), torch.ones(2, 3)
    with pretended() as seen:
        model.to("cuda")
        there = x.to("cuda")
        assert there.device.type == "cuda" and seen.copies.total() == 3
        seen.clear()
        loss = model(there).sum()
        assert seen.operations == {"addmm": 1, "sum": 1} and not seen.waits
        loss.backward()
        assert loss.item() == pytest.approx(float(model.cpu()(x).sum())) and seen.waits
        with pytest.raises(RuntimeError, match="same device"):
            there + x
        with pytest.raises(TypeError, match="convert cuda:0"):
            there.numpy()


# --- rounded products ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
@pytest.mark.parametrize("name", [*MODELS, *(f"din+{name}" for name in WRAPPERS)])
def test_a_step_with_rounded_products_is_near_one_without(name, plain, worlds, monkeypatch):
    """The plain bodies are those of a GPU."""
    monkeypatch.setattr(bodies, "PLAIN", plain)
    model, _, wrapper = name.partition("+")
    run = run_of(model, wrapper)
    ready = prepare(run, worlds[wrapper == "lt4rec" or "conversions" in find_model(model).reads])

    def loss(precision: str) -> float:
        torch.manual_seed(0)
        trained, rows = _wrapped(ready, build_model(ready)), []
        train = replace(run.train, epochs=1, precision=precision)
        fitting.fit(trained, lambda epoch: islice(ready.train_batches(epoch), 2), lambda: 0.5, train, log=rows.append)
        weights = [x for x in trained.state_dict().values() if x.is_floating_point()]
        assert all(x.dtype == torch.float32 and x.isfinite().all() for x in weights)
        return rows[0]["loss"]

    exact, rounded = loss("float32"), loss("bfloat16")
    assert rounded == pytest.approx(exact, rel=5e-3)
    assert (rounded != exact) == (model not in ("popularity", "mf"))  # which multiply no matrices


# --- which device ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_cuda_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(GOLDEN / "worlds")
    out = tmp_path / "run"
    assert command("train", str(RUNS["din"]), "--out", str(out), "--device", "cuda") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "no CUDA device here" in said[0] and not out.exists()
    assert command("train", str(RUNS["din"]), "--out", str(out), "--device", "gpu") == 2
    assert 'train.device must be auto, cpu, cuda, cuda:1 or mps, got "gpu"' in capsys.readouterr().err


def test_a_training_continues_on_another_device_only_if_told_so(tmp_path):
    batch, linear, train = _row(), torch.nn.Linear(1, 1), config.Train(epochs=2, patience=9)

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, batch):
            return Output(self.linear(batch.time[:, None].float()).squeeze(1))

    def killed(epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return [batch]

    with pytest.raises(KeyboardInterrupt):
        fitting.fit(Toy(), killed, lambda: 0.5, train, 1, tmp_path)
    with pretended():
        there = Toy().to("cuda")
        with pytest.raises(ValueError, match=r"was trained on cpu, and here is cuda.*--device cuda"):
            fitting.fit(there, lambda epoch: [batch], lambda: 0.5, train, 1, tmp_path)
        done = fitting.fit(there, lambda epoch: [batch], lambda: 0.5, replace(train, device="cuda"), 1, tmp_path)
        assert done.epoch == 2 and done.device == "cuda"


def _row() -> Batch:
    """Make a batch of one row."""
    mask, one = torch.zeros(1, 1, dtype=torch.bool), torch.tensor([0])
    past = History(mask.long(), mask, mask.long())
    return Batch(one, one, one, one, one, past, torch.zeros(1), None, None, torch.ones(1))
