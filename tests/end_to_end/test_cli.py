"""The command line: bad input is one line and exit code 2, help needs nothing heavy, and the commands fit together."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperctr.cli import console, run
from hyperctr.data import planted

SMALL = [
    "model.name=hyperctr",
    "train.epochs=1",
    "train.batch_size=256",
    "model.dim=8",
    "model.depth=1",
    "data.history=5",
]
OF_HYPERCTR = ["--set", "model.name=hyperctr"]
SETS = [part for key in SMALL for part in ("--set", key)]
ROLES = """
[interactions]
user = "user_id"
item = "item_id"
time = "timestamp"
click = "click"

[items]
id = "item_id"
"""


@pytest.fixture
def shop(tmp_path):
    """A folder of one's own: 300 impressions of 10 users on 12 items, each with a picture."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "shop"
    folder.mkdir()
    log = {
        "user_id": rng.integers(10, size=300),
        "item_id": 100 + rng.integers(12, size=300),
        "timestamp": 1_700_000_000 + 3600 * np.arange(300),
        "click": rng.integers(2, size=300),
    }
    pl.DataFrame(log).write_csv(folder / "interactions.csv")
    pl.DataFrame({"item_id": 100 + np.arange(12)}).write_csv(folder / "items.csv")
    np.save(folder / "visual.npy", rng.standard_normal((12, 3)).astype(np.float32))
    (folder / "dataset.toml").write_text(ROLES)
    return folder


def edited(table, **columns):
    pl.read_csv(table).with_columns(**columns).write_csv(table)


def wrong_column(shop):
    (shop / "dataset.toml").write_text(ROLES.replace('"user_id"', '"uid"'))


def misspelt_role(shop):
    (shop / "dataset.toml").write_text(ROLES.replace("click =", "clik ="))


def nan_in_a_picture(shop):
    matrix = np.load(shop / "visual.npy")
    matrix[3, 1] = np.nan
    np.save(shop / "visual.npy", matrix)


def too_few_pictures(shop):
    np.save(shop / "visual.npy", np.ones((7, 3), np.float32))


def unknown_item(shop):
    edited(shop / "interactions.csv", item_id=pl.col("item_id").replace(105, 999))


def text_in_a_time(shop):
    edited(shop / "interactions.csv", timestamp=pl.col("timestamp").cast(pl.String).replace("1700036000", "yesterday"))


def no_rows(shop):
    pl.read_csv(shop / "interactions.csv").head(0).write_csv(shop / "interactions.csv")


def no_clicks(shop):
    edited(shop / "interactions.csv", click=pl.lit(0))


def one_time(shop):
    edited(shop / "interactions.csv", timestamp=pl.lit(1_700_000_000))


def one_row(shop):
    pl.read_csv(shop / "interactions.csv").head(1).write_csv(shop / "interactions.csv")


def one_line(outcome):
    code, _, err = outcome
    lines = err.strip().splitlines()
    assert code == 2, err
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (wrong_column, "'uid'"),
        (misspelt_role, "clik"),
        (nan_in_a_picture, "visual"),
        (too_few_pictures, "visual"),
        (unknown_item, "999"),
        (text_in_a_time, "'yesterday'"),
        (no_rows, "no rows"),
        (no_clicks, "click"),
        (one_time, ""),
        (one_row, ""),
    ],
)
def test_bad_data_is_one_line_and_exit_code_2(hyperctr, tmp_path, shop, spoil, says):
    spoil(shop)
    assert says in one_line(hyperctr("train", "--data", shop, "--out", tmp_path / "run", *SETS))


def test_the_unspoilt_shop_trains(hyperctr, tmp_path, shop):
    code, out, err = hyperctr("train", "--data", shop, "--out", tmp_path / "run", *SETS, "--json")
    assert code == 0, err
    assert json.loads(out)["model"] == "hyperctr"


def test_log_of_one_user_trains(hyperctr, tmp_path, shop):
    edited(shop / "interactions.csv", user_id=pl.lit(1))
    code, out, err = hyperctr("train", "--data", shop, "--out", tmp_path / "run", *SETS, "--json")
    assert code == 0, err
    assert json.loads(out)["test"]["users_counted"] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "train.lr"], "--set wants table.key=value"),
        (["--set", "train.epoch=3"], "did you mean train.epochs?"),
        (["--set", "train.epochs=many"], "train.epochs must be a whole number"),
        (["--set", "model.name=hyprctr"], "did you mean hyperctr?"),
        (["--set", "slices.every=7x"], "slices.every must be like"),
        (["--set", "data=3"], "data must be a table"),
        (["--set", "model.heads=3"], "model.heads must divide"),
    ],
)
def test_bad_setting_is_one_line_and_exit_code_2(hyperctr, tmp_path, shop, words, says):
    assert says in one_line(hyperctr("train", "--data", shop, "--out", tmp_path / "run", *words))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[data]\npath = "SHOP"\n[trian]\nlr = 1', "did you mean train?"),
        ('[data]\npth = "SHOP"\n[model]\nname = "mf"', "did you mean data.path?"),
        ('data = "SHOP"\n[model]\nname = "mf"', "data must be a table"),
        ("[data\n", "is not TOML"),
        ('[model]\nname = "mf"', "missing key data.path"),
    ],
)
def test_bad_run_file_is_one_line_and_exit_code_2(hyperctr, tmp_path, shop, text, says):
    (tmp_path / "run.toml").write_text(text.replace("SHOP", str(shop)))
    words = ["train", tmp_path / "run.toml", "--out", tmp_path / "run"]
    assert says in one_line(hyperctr(*words))
    if "missing" not in says:
        assert says in one_line(hyperctr(*words, "--data", shop))


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_folder_that_cannot_be_written_is_one_line(hyperctr, tmp_path, shop, command):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    assert "cannot write to" in one_line(hyperctr(command, "--data", shop, "--out", out, *OF_HYPERCTR))


@pytest.mark.parametrize("command", [["train", "--data"], ["sweep", "--data"], ["data", "describe"], ["data", "get"]])
def test_unknown_data_set_is_one_line_and_names_the_nearest(hyperctr, command):
    line = one_line(hyperctr(*command, "ml-100"))
    assert "'ml-100'" in line and "did you mean ml-100k?" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--depth", "1,x"], "--depth takes whole numbers"),
        (["--depth", "-1"], "--depth takes whole numbers"),
        (["--depth", "1,1"], "distinct"),
        (["--depth", ""], "--depth takes"),
        (["--every", "7d,7x"], "a granularity is like"),
        (["--set", "model.name=mf"], "use model.name = hyperctr"),
    ],
)
def test_bad_sweep_is_one_line_and_exit_code_2(hyperctr, tmp_path, shop, words, says):
    assert says in one_line(hyperctr("sweep", "--data", shop, "--out", tmp_path / "out", *OF_HYPERCTR, *words))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["train"], ["evaluate", "nowhere"], ["predict", "a", "--input", "b", "--output", "c"]]
)
def test_missing_input_is_one_line(hyperctr, words):
    one_line(hyperctr(*words))


def test_unknown_option_is_a_usage_error_that_names_the_nearest(hyperctr):
    code, out, err = hyperctr("train", "--dta", "x")
    assert code == 2
    assert "--data" in err and "Traceback" not in err


def test_training_that_diverges_is_one_line_and_not_a_traceback(hyperctr, tmp_path, shop, monkeypatch):
    from hyperctr.models.matrix_factorisation import MatrixFactorisation

    forward = MatrixFactorisation.forward

    def broken(self, batch):
        out = forward(self, batch)
        return type(out)(out.logit * torch.nan)

    monkeypatch.setattr(MatrixFactorisation, "forward", broken)
    words = ["--set", "model.name=mf", "--set", "train.epochs=1"]
    code, _, err = hyperctr("train", "--data", shop, "--out", tmp_path / "run", *words)
    assert code == 2
    assert err.splitlines()[1:] == ["error: the loss became nan in epoch 1, step 1; lower train.lr"]


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_scores_all_rows_alike_is_said_to(hyperctr, tmp_path, shop, monkeypatch, tied):
    from hyperctr.models.matrix_factorisation import MatrixFactorisation

    forward = MatrixFactorisation.forward

    def off(self, batch):
        return replace(out := forward(self, batch), logit=out.logit * 0)

    if tied:
        monkeypatch.setattr(MatrixFactorisation, "forward", off)
    words = ["--set", "model.name=mf", "--set", "train.epochs=1"]
    code, out, err = hyperctr("train", "--data", shop, "--out", tmp_path / "run", *words)
    assert code == 0 and ("note: the model gives every row the same score" in out) == tied, err


def test_weights_of_other_sizes_are_one_line(hyperctr, tmp_path, shop):
    words = ["--set", "model.name=mf", "--set", "train.epochs=1"]
    assert hyperctr("train", "--data", shop, "--out", tmp_path / "run", *words)[0] == 0
    held = load_file(tmp_path / "run" / "weights.safetensors")
    save_file({name: x for name, x in held.items() if name != "bias"}, tmp_path / "run" / "weights.safetensors")
    assert "bias" in one_line(hyperctr("evaluate", tmp_path / "run"))


def test_train_evaluate_predict_round_trip(hyperctr, tmp_path):
    data, run = planted.write("drift", tmp_path / "data", scale=0.03), tmp_path / "run"
    code, out, err = hyperctr("train", "--data", data, "--out", run, *SETS, "--json")
    assert code == 0, err
    trained = json.loads(out)
    assert "epoch 1" in err and "epoch" not in out.split("{")[0]

    code, out, _ = hyperctr("evaluate", run, "--json")
    assert code == 0
    assert json.loads(out)["test"]["auc"] == trained["test"]["auc"]
    code, out, _ = hyperctr("evaluate", run)
    assert f"{trained['test']['auc']:.4f}" in out

    rows = pl.read_parquet(data / "interactions.parquet").tail(20).select("user_id", "item_id", "timestamp")
    rows = rows.with_columns(pl.col("timestamp").dt.epoch("s"))  # CSV has no datetimes
    rows.write_csv(tmp_path / "rows.csv")
    code, out, _ = hyperctr("predict", run, "--input", tmp_path / "rows.csv", "--output", tmp_path / "scored.csv")
    scored = pl.read_csv(tmp_path / "scored.csv")
    assert code == 0 and "20 rows" in out
    assert scored.columns == ["user_id", "item_id", "timestamp", "probability"]
    assert scored.select(rows.columns).equals(rows)
    assert scored["probability"].is_between(0, 1).all() and scored["probability"].n_unique() > 1

    rows.drop("timestamp").write_csv(tmp_path / "rows.csv")
    line = one_line(hyperctr("predict", run, "--input", tmp_path / "rows.csv", "--output", tmp_path / "scored.csv"))
    assert "timestamp" in line


def test_profile_tells_where_the_time_of_a_step_went(hyperctr, tmp_path, shop):
    words = ["--data", shop, "--set", "model.name=din", "--set", "train.epochs=1", "--profile"]
    code, out, err = hyperctr("train", *words, "--out", tmp_path / "a")
    assert code == 0, err
    printed = out[out.index("time of ") :]
    parts = ["batches", "forward", "  look-ups", "backward", "gradients", "optimiser", "validation"]
    places = [printed.index(f"\n{part} ") for part in parts]
    assert places == sorted(places)
    code, out, _ = hyperctr("train", *words, "--out", tmp_path / "b", "--json")
    assert code == 0
    assert [row["part"] for row in json.loads(out)["profile"]] == [part.strip() for part in parts]
    assert "profile" not in json.loads((tmp_path / "b" / "report.json").read_text())


def test_killed_run_is_continued_by_its_folder(hyperctr, tmp_path, shop, monkeypatch):
    def stop(row):
        raise KeyboardInterrupt

    words = ["--data", shop, "--out", tmp_path / "run", "--set", "model.name=mf", "--set", "train.epochs=2"]
    with monkeypatch.context() as patch:
        patch.setattr(run, "say_epoch", stop)
        code, _, err = hyperctr("train", *words)
    assert code == 130, err
    assert hyperctr("train", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "report.json").exists()


def test_data_list_as_json(hyperctr):
    code, out, _ = hyperctr("data", "list", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {"ml-100k", "planted"} <= {row["name"] for row in rows}
    assert all({"name", "here", "what", "terms"} <= row.keys() for row in rows)


def test_planted_world_is_made_and_described(hyperctr, tmp_path):
    words = ["--preset", "drift", "--scale", "0.02", "--out", tmp_path / "world"]
    code, out, _ = hyperctr("data", "get", "planted", *words)
    assert code == 0 and out.strip() == str(tmp_path / "world")
    code, out, _ = hyperctr("data", "describe", tmp_path / "world")
    assert code == 0
    assert "1,500" in out and "sample user:" in out
    code, out, _ = hyperctr("data", "describe", tmp_path / "world", "--json")
    assert json.loads(out)["name"] == "planted-drift"
    assert "drift, multihop" in one_line(
        hyperctr("data", "get", "planted", "--preset", "drft", "--out", tmp_path / "w")
    )


def test_ids_of_the_sample_are_printed_as_they_are(hyperctr, shop):
    edited(shop / "interactions.csv", user_id=pl.col("user_id") + 1_234_560)
    out = hyperctr("data", "describe", shop)[1]
    assert "sample user: 123456" in out
    assert console.as_text({"count": 1500, "share": 0.25, "flag": True}) == "count 1,500, share 0.25, flag True"


@pytest.mark.parametrize(
    "command",
    [
        "data get",
        "data import",
        "train",
        "evaluate",
        "predict",
        "sweep",
        "demo",
        "export",
        "data describe",
        "data list",
    ],
)
def test_help_of_every_command_shows_an_example(hyperctr, command):
    code, out, _ = hyperctr(*command.split(), "--help")
    assert code == 0
    assert any(line.strip().startswith(f"hyperctr {command}") for line in out.splitlines())


def test_help_imports_nothing_heavy():
    heavy = ("torch", "polars", "matplotlib", "numpy", "scipy", "sklearn")
    code = (
        "import sys; sys.argv = ['hyperctr', '--help']\n"
        "from hyperctr.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "sweep" in done.stdout
    assert done.stderr.strip() == "[]"


def test_module_runs_from_the_shell_and_exits_with_2():
    words = [sys.executable, "-m", "hyperctr", "data", "describe", "no-such-data"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_the_version_is_printed(hyperctr):
    from hyperctr import __version__

    assert hyperctr("--version") == (0, f"hyperctr {__version__}\n", "")


def test_models_are_listed_with_paper_and_what_they_read(hyperctr):
    from hyperctr.models import MODELS, WRAPPERS

    code, out, _ = hyperctr("models", "--json")
    found = json.loads(out)
    assert code == 0 and [x["name"] for x in found["models"]] == list(MODELS)
    assert [x["name"] for x in found["wrappers"]] == list(WRAPPERS)
    assert {x["name"]: x["reads"] for x in found["models"]}["hyperctr"] == ["slices"]
    assert all(x["paper"] and x["what"] for x in found["models"] + found["wrappers"])
    assert "[CIN(v); MLP(v)]" in hyperctr("models")[1]  # brackets are no markup


@pytest.mark.parametrize(("model", "wrapper"), [("hyperctr", ""), ("din", "aqcl"), ("lt4rec", "")])
def test_a_run_file_of_every_key_is_printed_and_read_back_as_all_defaults(hyperctr, model, wrapper):
    import tomllib

    from hyperctr.config import read_run, to_tables
    from hyperctr.runs.reference import field_docs

    code, out, _ = hyperctr("config", model, *(["--wrapper", wrapper] if wrapper else []))
    tables = tomllib.loads(out.replace('path = ""', 'path = "shop"'))
    least = {"data": {"path": "shop"}, "model": {"name": model}} | ({"wrapper": {"name": wrapper}} if wrapper else {})
    assert code == 0 and read_run(tables) == read_run(least)
    run = read_run(least)
    for table, content in to_tables(run).items():
        texts = field_docs(type(getattr(run, table)))
        for key in content.keys() - {"name"}:
            assert f"\n{key} =" in out or f"\n# {key} =" in out, key
            assert texts[key].split()[0] in out, key
