"""A sweep runs every cell once, goes on where it was stopped, and turns a broken cell into a row."""

import json
import math
from dataclasses import replace

import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.experiments import results, settings, sweep
from hyperctr.experiments.sweep import BASELINES, Cell, cells, run_of
from hyperctr.referees import REFEREES
from hyperctr.runs import parallel

EVERY, DEPTHS = ["30d", "q3"], [0, 1]
BLOCKED = Cell("hyperctr", "q3", 1, 0)


def base(path="planted", model="hyperctr", **train):
    sizes = {"dim": 8, "depth": 1, "hidden": [8, 8]} if model == "hyperctr" else {}
    tables = {
        "data": {"path": str(path), "history": 5},
        "model": {"name": model, **sizes},
        "train": {"epochs": 1, "batch_size": 512, "lr": 0.01} | train,
    }
    return config.read_run(tables)


def run(base_run, out, every=EVERY, depths=DEPTHS, seeds=1, referees=False):
    """Sweep in one process; gives the rows and the lines said, but for the notes on single runs."""
    said = []
    rows = sweep.sweep(
        base_run, every, depths, seeds, out, 1, lambda doing, done, total: None, said.append, referees=referees
    )
    return rows, [line for line in said if not line.startswith("note (")]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished 2 x 2 sweep whose last cell could not be written at first."""
    home = tmp_path_factory.mktemp("sweep")
    data = planted.write("drift", home / "data", scale=0.03)
    (home / "out" / "runs").mkdir(parents=True)
    blocked = home / "out" / "runs" / BLOCKED.name
    blocked.write_text("in the way")
    first = run(base(data), home / "out")
    blocked.unlink()
    return base(data), home / "out", first, run(base(data), home / "out")


def stamps(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*/report.json")}


def test_cells_are_the_baselines_and_the_grid_of_every_seed():
    found = cells(base(seed=5), ["1d", "7d"], [1, 2, 3], seeds=2)
    assert len(found) == len(set(found)) == 2 * (2 + 2 * 3)
    assert {cell.seed for cell in found} == {5, 6}
    assert sum(cell.model in ("popularity", "mf") for cell in found) == 4
    assert Cell("hyperctr", "7d", 3, 6).name == "hyperctr every=7d depth=3 seed=6"
    assert Cell("mf", "", None, 5).name == "mf seed=5"


def test_referees_run_on_the_rows_of_the_base_run_with_its_histories():
    found = cells(base(), ["7d"], [1], 1, [*BASELINES, *REFEREES])
    assert [cell.model for cell in found] == ["popularity", "mf", *REFEREES, "hyperctr"]
    assert {*results.REFEREES} == {*REFEREES}
    run = run_of(base(), Cell("ease", "", None, 0))
    assert run.model == REFEREES["ease"].Config() and run.data == base().data
    asked = replace(base(), data=replace(base().data, past="all"))
    assert {run_of(asked, Cell(name, "", None, 0)).data.past for name in ("ease", "trees", "mf")} == {"none"}


@pytest.mark.parametrize("name", BASELINES)
def test_popularity_and_static_mf_are_trained_alike_whatever_the_base_run_has(name):
    plain, tuned = base(), config.read_run({"data": {"path": base().data.path}}, preset="hyperctr-best")
    tuned = replace(tuned, train=replace(tuned.train, seed=plain.train.seed, threads=plain.train.threads))
    one, other = (run_of(run, Cell(name, "", None, 0)) for run in (plain, tuned))
    assert one.train == other.train and one.model == other.model


def test_a_sweep_runs_the_referees_unless_it_is_told_not_to(tmp_path, monkeypatch):
    def run_all(cells, jobs, watch, ended):
        for name, (run, _) in cells.items():
            auc = {"ease": 0.8, "mf": 0.4}.get(run.model_name, 0.6)
            scores = {key: auc for key in ("auc", "auc_low", "auc_high", "user_auc", "logloss", "logloss_1to1")}
            report = {"data": "x", "split": "temporal", "leaky": False, "best_epoch": 1, "seconds": 1.0}
            failed = ValueError("itemknn cannot be fitted here") if run.model_name == "itemknn" else None
            ended(name, failed or report | {"test": scores | {"rows": 9}, "valid": {"auc": auc}})

    monkeypatch.setattr(parallel, "run_all", run_all)
    rows = sweep.sweep(base(), ["30d"], [1], 1, tmp_path / "all", 1, lambda *how: None, lambda line: None)
    assert [row["model"] for row in rows] == [*BASELINES, *REFEREES, "hyperctr"]
    text = (tmp_path / "all" / "report.md").read_text()
    assert "- slices of 30d, depth 1: below EASE (-0.2000" in text
    assert "failed: itemknn cannot be fitted here" in text and "Runs that failed" not in text
    rows, _ = run(base(), tmp_path / "few", ["30d"], [1])
    assert [row["model"] for row in rows] == [*BASELINES, "hyperctr"]


def test_run_of_a_cell_changes_granularity_depth_and_seed_alone():
    start = base(seed=1)
    found = run_of(start, Cell("hyperctr", "3mo", 4, 9))
    assert (found.slices.every, found.slices.count, found.model.depth) == ("3mo", 0, 4)
    assert found.train.seed == found.split.seed == found.evaluate.seed == 9
    undone = replace(
        found, model=start.model, slices=start.slices, train=start.train, split=start.split, evaluate=start.evaluate
    )
    assert undone == start
    assert replace(found.train, seed=1) == start.train
    assert run_of(start, Cell("hyperctr", "q8", 1, 0)).slices.count == 8
    frozen = replace(start, slices=replace(start.slices, graphs="frozen", count=4))
    assert run_of(frozen, Cell("hyperctr", "7d", 1, 0)).slices == replace(frozen.slices, every="7d", count=0)


def best(**data):
    tables = {"data": {"path": "planted", **data}}
    return config.read_run(tables, preset="hyperctr-best")


def test_links_have_a_grid_of_their_own_where_the_base_run_reads_links():
    found = cells(best(), ["7d", "30d"], [0, 3], seeds=2, others=())
    states, links = ([cell for cell in found if bool(cell.links) is of_links] for of_links in (False, True))
    assert len(states) == 2 * 4 and len(links) == 2 * (1 + 3 * 2) and {cell.depth for cell in links} == {0}
    assert Cell("hyperctr", "7d", 0, 1, "slice").name == "hyperctr links=slice every=7d depth=0 seed=1"
    assert Cell("hyperctr", "", 0, 1, "none").name == "hyperctr links=none depth=0 seed=1"
    assert not any(cell.links for past in ("none", "counts") for cell in cells(best(past=past), ["7d"], [0], 1))


@pytest.mark.parametrize(
    ("past", "links", "reads"),
    [("all", "none", ("counts", "content")), ("all", "slice", ("counts", "content", "period_links")),
     ("links", "none", "none"), (["nearest", "links"], "recent", ("nearest", "recent_links")),
     (["period_links"], "past", ("links",))],
)  # fmt: skip
def test_a_cell_of_the_links_changes_the_links_and_their_periods_alone(past, links, reads):
    start = best(past=past)
    found = run_of(start, Cell("hyperctr", "" if links == "none" else "7d", 3, 0, links))
    assert {*found.data.past} == {*reads} and found.data.past_every == (None if links == "none" else "7d")
    assert found.slices == start.slices and found.model == replace(start.model, depth=3)


def test_all_cells_of_granularity_and_depth_read_the_same_links():
    runs = [run_of(best(), cell) for cell in cells(best(), ["7d", "90d"], [0], 1, others=())[:2]]
    assert [run.slices.every for run in runs] == ["7d", "90d"]
    assert [(run.data.past, run.data.past_every) for run in runs] == [("all", None)] * 2
    assert run_of(best(past_every="1d"), Cell("hyperctr", "7d", 0, 0)).data.past_every == "1d"


def test_baseline_scores_the_same_rows_as_the_model():
    start = base()
    found = run_of(start, Cell("mf", "", None, 2))
    assert found.model_name == "mf"
    assert (found.split, found.evaluate) == (replace(start.split, seed=2), replace(start.evaluate, seed=2))
    assert found.data.path == start.data.path


def test_cell_that_fails_becomes_a_row_and_the_others_go_on(swept):
    rows, said = swept[2]
    failed = [row for row in rows if row["status"] != "ok"]
    assert len(rows) == 6
    assert [(row["model"], row["every"], row["depth"]) for row in failed] == [("hyperctr", "q3", 1)]
    assert failed[0]["status"].startswith("failed: cannot write to")
    assert math.isnan(failed[0]["auc"])
    assert any(line.startswith(f"{BLOCKED.name}: failed: cannot write to") for line in said)


def test_failed_cell_alone_is_run_again(swept):
    rows, said = swept[3]
    assert said[0] == "5 of 6 runs are done already, 1 to go"
    assert len(said) == 2 and said[1].startswith(f"{BLOCKED.name}: test AUC")
    assert [row["status"] for row in rows] == ["ok"] * 6


def test_sweep_leaves_table_report_and_figures(swept):
    _, out, _, (rows, _) = swept
    names = {"base.toml", "results.csv", "report.md", "heat.png", "depth.png", "granularity.png", "runs"}
    assert names <= {path.name for path in out.iterdir()}
    assert {row["model"] for row in results.read_results(out / "results.csv")} == {"popularity", "mf", "hyperctr"}
    assert len({(row["rows"], row["data"]) for row in rows}) == 1  # all are scored on the same rows
    assert "popularity" in (out / "report.md").read_text()
    for name in ("heat", "depth", "granularity"):
        assert (out / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_row_of_results_is_the_report_of_the_cells_folder(swept):
    _, out, _, (rows, _) = swept
    for row in rows:
        name = Cell(row["model"], row["every"], row["depth"] if row["depth"] != "" else None, row["seed"]).name
        found = json.loads((parallel.folder_of(out, name) / "report.json").read_text())
        assert (row["auc"], row["valid_auc"]) == (found["test"]["auc"], found["valid"]["auc"])


def test_finished_sweep_called_again_runs_nothing(swept):
    start, out, _, (rows, _) = swept
    before, table = stamps(out), (out / "results.csv").read_text()
    again, said = run(start, out)
    assert again == rows
    assert said == ["6 of 6 runs are done already, 0 to go"]
    assert stamps(out) == before
    assert (out / "results.csv").read_text() == table


def test_row_that_was_deleted_is_the_only_one_done_again(swept):
    start, out, _, (rows, _) = swept
    before = stamps(out)
    lines = (out / "results.csv").read_text().splitlines(keepends=True)
    gone = next(k for k, line in enumerate(lines) if "hyperctr,30d,1" in line)
    (out / "results.csv").write_text("".join(lines[:gone] + lines[gone + 1 :]))
    again, said = run(start, out)
    assert said[0] == "5 of 6 runs are done already, 1 to go"
    assert len(said) == 2 and said[1].startswith("hyperctr every=30d depth=1 seed=0: test AUC")
    assert again == rows
    assert stamps(out) == before  # its folder's report was read


def test_folder_of_a_sweep_over_another_base_is_refused(swept):
    start, out, _, _ = swept
    with pytest.raises(ValueError, match="holds a sweep over another base run: train.lr is 0.01 there and 0.5 here;"):
        run(replace(start, train=replace(start.train, lr=0.5)), out)


@pytest.mark.parametrize("key", ["slices.every=2d", "slices.count=8", "model.depth=3"])
def test_a_setting_that_the_sweep_varies_is_refused(tmp_path, key):
    option = "--depth 0,1" if "depth" in key else "--every 30d,q3"
    with pytest.raises(ValueError, match=f"--set {key.partition('=')[0]} and {option} name two values of what the"):
        sweep.sweep(base(), EVERY, DEPTHS, 1, tmp_path / "out", 1, lambda *how: None, print, [key])
    assert not (tmp_path / "out").exists()


def test_settings_that_do_not_reach_the_reference_rows_are_said():
    start = base(epochs=1, patience=2)
    rows = {cell.model: run_of(start, cell) for cell in cells(start, ["7d"], [1], 1)}
    words = ["train.epochs=1", "model.dim=8", "data.history=5", "evaluate.negatives=10", "train.seed=3"]
    assert settings.say_not_taken(start, rows, words) == [
        "train.epochs does not reach popularity, mf, which have settings of their own",
        "model.dim does not reach popularity, mf, which have settings of their own",
        "data.history does not reach popularity, mf, which have settings of their own",
    ]


@pytest.mark.parametrize("every", ["7x", "q0", "q", "-1d", "7"])
def test_granularity_that_does_not_parse_stops_before_anything_is_written(tmp_path, every):
    with pytest.raises(
        ValueError, match="a granularity is like 6h, 7d, 2w, 3mo, 1y, or q8 for 8 slices of equal counts, got"
    ):
        run(base(), tmp_path / "out", every=["7d", every])
    assert not (tmp_path / "out").exists()


def test_model_without_depth_cannot_be_swept(tmp_path):
    with pytest.raises(ValueError, match="mf has not; use model.name = hyperctr"):
        run(base(model="mf"), tmp_path)


def test_folder_that_cannot_be_made_is_a_value_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to"):
        run(base(), tmp_path / "file" / "out")
