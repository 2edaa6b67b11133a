"""Presets and protocols: what they may set, what is taken before what, and that each one trains."""

import dataclasses
import json
import subprocess
import sys
import tomllib

import pytest

from hyperctr import config, presets, read_run, train
from hyperctr.data import planted
from hyperctr.models import MODELS, WRAPPERS
from hyperctr.runs import plan as plans

OF_A_PRESET = {"data", "slices", "interest", "model", "wrapper", "train"}
METHODS = ("hyperctr", "aqcl", "mian", "marn", "lt4rec")
WHERE = {"data": {"path": "world"}}


def test_each_method_has_a_paper_and_a_best_preset():
    assert set(presets.PRESETS) == {f"{method}-{kind}" for method in METHODS for kind in ("paper", "best")}
    assert set(presets.PROTOCOLS) == {"temporal", "paper"}
    assert presets.DEFAULT in presets.PRESETS


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_sets_a_model_its_training_and_its_past_and_no_protocol(name):
    tables = presets.read_preset(name)
    assert set(tables) <= OF_A_PRESET and set(tables["data"]) <= set(presets.OF_DATA)
    assert not set(tables["train"]) & set(presets.OF_USER)
    assert tables["model"]["name"] in MODELS and tables.get("wrapper", {"name": "aqcl"})["name"] in WRAPPERS
    assert tables["data"]["past"] == ("none" if name.endswith("-paper") else "all")
    text = presets.about(name)
    assert text and ("Where this differs from the paper:" in text) == name.endswith("-paper")


@pytest.mark.parametrize("name", presets.PROTOCOLS)
def test_a_protocol_sets_split_and_evaluate_only(name):
    assert set(presets.read_protocol(name)) == {"split", "evaluate"}


def test_a_preset_is_below_the_run_file_which_is_below_the_protocol_which_is_below_set():
    source = WHERE | {"train": {"lr": 0.5, "epochs": 7}, "split": {"kind": "leave-last-out", "seed": 3}}
    run = read_run(source, ["train.epochs=9"], preset="hyperctr-best", protocol="paper")
    assert (run.model_name, run.train.optimiser, run.data.past) == ("hyperctr", "adamw", "all")  # the preset
    assert (run.train.lr, run.split.seed) == (0.5, 3)  # the run file
    assert (run.split.kind, run.evaluate.negatives, run.evaluate.sampled) == ("random", 1000, True)  # the protocol
    assert run.train.epochs == 9  # --set
    assert read_run(source, ["split.kind=given"], "hyperctr-best", "paper").split.kind == "given"


def test_the_tables_that_are_given_stay_as_they_are():
    source, protocol = WHERE | {"model": {"name": "din"}}, {"split": {"kind": "random"}}
    run = read_run(source, ["split.seed=5", "model.dim=8"], protocol=protocol)
    assert (run.split.kind, run.split.seed, run.model.dim) == ("random", 5, 8)
    assert (source, protocol) == (WHERE | {"model": {"name": "din"}}, {"split": {"kind": "random"}})


def test_without_them_a_run_file_means_what_it_meant():
    source = WHERE | {"model": {"name": "hyperctr"}}
    run = read_run(source)
    assert run == config.Run(data=config.Data(path="world"), model_name="hyperctr", model=MODELS["hyperctr"].Config())
    assert "preset" not in config.to_toml(read_run(WHERE, preset="aqcl-best"))


def test_a_run_of_a_preset_is_complete_by_itself():
    run = read_run(WHERE, preset="aqcl-best", protocol="paper")
    assert read_run(config.to_tables(run)) == run


@pytest.mark.parametrize(
    ("source", "preset", "says"),
    [
        (
            {"model": {"name": "din"}},
            "hyperctr-best",
            'is for model.name = "hyperctr", and the run has "din": take aqcl-best or aqcl-paper or none',
        ),
        ({"wrapper": {"name": "icl"}}, "aqcl-best", 'is for wrapper.name = "aqcl", and the run has "icl": take none'),
        ({}, "hyperctr-bets", 'unknown preset "hyperctr-bets", did you mean hyperctr-best?'),
        ({"model": 3}, "hyperctr-best", "model must be a table"),
        ({"trian": {}}, "hyperctr-best", "unknown table trian, did you mean train?"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(source, preset, says):
    with pytest.raises(ValueError, match=".") as error:
        read_run(WHERE | source, preset=preset)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_model_that_set_names_is_checked_too():
    with pytest.raises(ValueError, match='the run has "din"'):
        read_run(WHERE, ["model.name=din"], preset="hyperctr-best")
    assert read_run(WHERE, ["wrapper.name=icl"], preset="hyperctr-best").wrapper_name == "icl"


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(ValueError, match='unknown protocol "papper", did you mean paper?'):
        read_run(WHERE | {"model": {"name": "din"}}, protocol="papper")


def test_paper_presets_have_what_their_papers_say():
    found = {name: read_run(WHERE, preset=f"{name}-paper") for name in METHODS}
    hyper, aqcl, mian, marn, lt4rec = (found[name] for name in METHODS)
    assert (hyper.slices.item_edges, hyper.model.dim, hyper.model.depth, hyper.model.neighbors) == ("all", 64, 3, 20)
    assert all(run.train.id_dropout == 0 and run.train.clip == 0 for run in found.values())
    assert (aqcl.model_name, aqcl.model.dropout, aqcl.train.lr) == ("din", 0.2, 1e-3)
    assert (aqcl.wrapper.codes, aqcl.wrapper.positives, aqcl.wrapper.tau1) == (128, 5, 0.1)
    assert (mian.train.batch_size, mian.model.std, mian.model.history, mian.model.heads) == (128, 0.02, 30, 8)
    assert (mian.model.l2_embedding, mian.model.l2_dense, mian.model.hidden) == (1e-3, 1e-3, (32, 8))
    assert (marn.train.optimiser, marn.train.lr, marn.train.batch_size, marn.train.l2) == ("adagrad", 0.1, 32, 0)
    assert (marn.model.dim, marn.model.weight, marn.model.dropout) == (256, 0.05, 0)
    assert (lt4rec.model.dim, lt4rec.model.rounds, lt4rec.model.keep) == (32, 4, 0.2)


def test_best_presets_share_one_training():
    found = {name: read_run(WHERE, preset=f"{name}-best") for name in METHODS[1:]}
    assert len({dataclasses.astuple(run.train) for run in found.values()}) == 1


SMALL = {
    "hyperctr": ("model.dim=8", "model.hidden=[8,8]", "interest.epochs=1"),
    "aqcl": ("model.dim=4", "model.hidden=[8,6]", "model.attention=[6]", "wrapper.codes=12", "wrapper.dim=8"),
    "mian": ("model.dim=4", "model.global_dim=8", "model.hidden=[8,4]"),
    "marn": ("model.dim=8", "model.hidden=[8,4]"),
    "lt4rec": ("model.dim=4", "model.hidden=[8,8]", "model.rounds=1"),
}
QUICK = ("train.epochs=1", "train.eval_every=1", "train.threads=1", "train.batch_size=256", "evaluate.negatives=9",
         "evaluate.valid_negatives=5", "evaluate.valid_positives=100")  # fmt: skip


@pytest.fixture(scope="module")
def worlds():
    found = {name: planted.planted(name, scale=0.015).dataset for name in ("drift", "agree")}
    return {method: found["agree" if method == "lt4rec" else "drift"] for method in METHODS}


@pytest.mark.filterwarnings("ignore:the interest f hardly differs", "ignore:the loss of the interests rose")
@pytest.mark.parametrize("protocol", [None, "paper"])
@pytest.mark.parametrize("name", presets.PRESETS)
def test_each_preset_trains_with_and_without_the_papers_protocol(name, protocol, worlds):
    method = name.partition("-")[0]
    run = read_run(WHERE, (*QUICK, *SMALL[method]), name, protocol)
    report = train(run, dataset=worlds[method])
    assert report["leaky"] is (protocol == "paper") and 0 < report["test"]["auc"] < 1
    if protocol:
        assert report["test"]["rows"] == 10 * report["test"]["positives"]  # negatives are drawn though some are logged


def test_the_wheel_has_every_file():
    """The wheel takes whole packages, so a file is left out only if it is excluded, or ignored by git."""
    root = presets.FOLDER.parents[1]
    build = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "hyperctr" in build["packages"] and set(build) == {"packages"}
    files = [*presets.PRESETS.values(), *presets.PROTOCOLS.values()]
    assert all(path.is_relative_to(root / "hyperctr") for path in files)
    if (root / ".git").exists():
        ignored = subprocess.run(
            ["git", "-C", root, "check-ignore", "--no-index", *files], capture_output=True, text=True
        )
        assert ignored.stdout == ""


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("drift", tmp_path_factory.mktemp("world") / "world", scale=0.015)


def tiny(*more):
    return [word for key in (*QUICK, *more) for word in ("--set", key)]


@pytest.mark.filterwarnings("ignore:the interest f hardly differs", "ignore:the loss of the interests rose")
def test_without_run_file_and_model_the_best_preset_is_taken_and_said(hyperctr, world, tmp_path):
    out = tmp_path / "run"
    code, _, err = hyperctr("train", "--data", world, "--out", out, *tiny(*SMALL["hyperctr"]))
    assert code == 0, err
    assert err.count("no run file and no model.name: the preset hyperctr-best") == 1
    where = {"data": {"path": str(world)}}
    assert config.read_run(out / "run.toml") == read_run(where, (*QUICK, *SMALL["hyperctr"]), "hyperctr-best")
    assert "preset" not in (out / "run.toml").read_text()
    code, _, err = hyperctr("train", out, "--preset", "hyperctr-best")
    assert code == 2 and "states every key: leave out --preset" in err


@pytest.mark.parametrize(
    ("words", "model", "past"),
    [
        ([], "hyperctr", "all"),
        (["--set", "model.name=din"], "din", "none"),
        (["--preset", "mian-paper"], "mian", "none"),
        (["--preset", "marn-best", "--set", "data.past=counts"], "marn", "counts"),
    ],
)
def test_plan_takes_preset_and_protocol(hyperctr, world, monkeypatch, words, model, past):
    seen = []
    check = plans.check
    monkeypatch.setattr(plans, "check", lambda run, dataset: seen.append(run) or check(run, dataset))
    code, _, err = hyperctr("plan", "--data", world, "--protocol", "paper", *words)
    assert code == 0, err
    (run,) = seen
    assert (run.model_name, run.data.past, run.split.kind, run.evaluate.negatives) == (model, past, "random", 1000)
    assert ("no run file" in err) is (words == [])


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("train", ["--preset", "aqcl-bets"], "did you mean aqcl-best?"),
        ("plan", ["--protocol", "temporl"], "did you mean temporal?"),
        ("sweep", ["--preset", "mian-best"], "use model.name = hyperctr"),
        ("search", ["--preset", "aqcl-best", "--set", "model.name=dcn"], 'model.name = "din", and the run has "dcn"'),
    ],
)
def test_bad_words_are_one_line(hyperctr, world, tmp_path, command, words, says):
    out = [] if command == "plan" else ["--out", tmp_path / "out"]
    code, _, err = hyperctr(command, "--data", world, *out, *words)
    assert (code, err.count("\n")) == (2, 1) and says in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", presets.PRESETS)
def test_config_prints_a_preset_whole(hyperctr, name):
    code, out, err = hyperctr("config", "--preset", name)
    assert code == 0, err
    assert all(line in out for line in presets.about(name).splitlines())
    tables = tomllib.loads(out)
    tables["data"]["path"] = "world"
    assert config.read_run(tables) == read_run(WHERE, preset=name)


def test_a_preset_has_its_own_model(hyperctr):
    code, _, err = hyperctr("config", "din", "--preset", "aqcl-best")
    assert code == 2 and "a preset names its model and wrapper" in err


def test_models_lists_the_presets(hyperctr):
    listed = json.loads(hyperctr("models", "--json")[1])["presets"]
    assert [entry["name"] for entry in listed] == [*presets.PRESETS]
    assert ("aqcl-best", "din", "aqcl") in [(entry["name"], entry["model"], entry["wrapper"]) for entry in listed]
    assert all(name in hyperctr("models")[1] for name in presets.PRESETS)


def test_the_help_of_a_command_needs_no_torch():
    script = "import sys\nfrom hyperctr.cli.main import app\nsys.argv = ['hyperctr', 'train', '--help']\n"
    script += "try:\n    app()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "False" and "--preset" in done.stdout and "--protocol" in done.stdout


def test_a_width_stated_above_a_count_takes_its_place():
    """slices.count is taken before slices.every; a lower layer's count would make the stated width mean nothing."""
    data = {"data": {"path": "x"}}

    def cut(tables, sets=(), preset="hyperctr-best"):
        slices = config.read_run(data | tables, sets, preset).slices
        return slices.count, slices.every

    assert cut({}) == (8, "30d")
    assert cut({}, ["slices.every=7d"]) == (0, "7d")
    assert cut({"slices": {"every": "7d"}}) == (0, "7d")
    assert cut({"slices": {"every": "7d", "count": 4}}) == (4, "7d")
    assert cut({"slices": {"every": "7d"}}, ["slices.count=4"]) == (4, "7d")
    assert cut({"slices": {"count": 4}, "model": {"name": "din"}}, ["slices.every=1d"], None) == (0, "1d")
    assert cut({"slices": {"span": "past"}}, ["slices.every=1d", "slices.count=2"]) == (2, "1d")
