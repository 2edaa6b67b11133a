"""Rows of a sweep and the files made of them."""

import math

import pytest

from hyperctr.evaluation import significance
from hyperctr.experiments import results, sweep_report

EVERY, DEPTHS = ("30d", "7d", "90d"), (1, 3)


def row(model="hyperctr", every="7d", depth=1, seed=0, auc=0.7, valid=None, **changes):
    whole = {
        "data": "ml-100k", "split": "temporal", "leaky": False, "model": model, "every": every, "depth": depth,
        "seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "user_auc": auc - 0.05, "logloss": 0.2,
        "logloss_1to1": 0.6, "valid_auc": auc if valid is None else valid, "best_epoch": 4, "seconds": 2.5,
        "rows": 5000, "status": "ok",
    }  # fmt: skip
    return whole | changes


def sweep(seeds=3, **changes):
    """30d is best and depth 3 beats depth 1 by .01, a little different with each seed."""
    rows = []
    for seed in range(seeds):
        drift = 0.001 * seed
        rows.append(row("popularity", "", "", seed, 0.60 + drift / 2, **changes))
        rows.append(row("mf", "", "", seed, 0.62, **changes))
        for every in EVERY:
            for depth in DEPTHS:
                auc = {"7d": 0.68, "30d": 0.70, "90d": 0.69}[every] + 0.005 * (depth - 1) + drift * (depth == 3) / 2
                rows.append(row(every=every, depth=depth, seed=seed, auc=auc, **changes))
    return rows


def written(rows, folder, note=""):
    sweep_report.write(rows, folder, note)
    return (folder / "report.md").read_text()


def cells_of(text, first):
    """The cells of the table lines that begin with this cell."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [line for line in lines if line[0] == first]


def test_rows_come_back_as_they_were(tmp_path):
    rows = [row(), row("mf", "", "", 3, leaky=True, status='failed: "a", b'), row(every="q8", depth=0, auc=1 / 3)]
    for each in rows:
        results.append_result(tmp_path / "results.csv", each)
    assert results.read_results(tmp_path / "results.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_a_file_of_an_older_version_goes_on_without_the_column_that_came_later(tmp_path):
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    results.append_result(old, row())
    header = old.read_text().splitlines()[0]
    assert "user_session_auc" not in header
    later = row(seed=1, user_session_auc=0.625, sessions=712.0, links="slice")
    results.append_result(old, later)
    results.append_result(new, later)
    assert old.read_text().splitlines()[0] == header and results.read_results(old)[1] == row(seed=1)
    assert results.read_results(new) == [later]
    assert new.read_text().splitlines()[0] == ",".join(results.COLUMNS)
    results.append_result(new, row(seed=2))
    assert math.isnan(results.read_results(new)[1]["user_session_auc"])
    between = tmp_path / "between.csv"
    results.append_result(between, row(user_session_auc=0.625))
    results.append_result(between, later)
    assert results.read_results(between)[1] == row(seed=1, user_session_auc=0.625)


def test_a_sessions_auc_stands_beside_the_others_where_it_is_known(tmp_path):
    text = written(sweep(user_session_auc=0.61, sessions=1712.0), tmp_path)
    assert "User session AUC is over 1,712 sessions with rows of both labels." in text
    line = next(line for line in cells_of(text, "7d") if line[1] == "3")
    assert cells_of(text, "every")[1][3:7] == ["test AUC", "user AUC", "user session AUC", "log loss 1:1"]
    assert line[3].startswith("0.6905") and line[5:7] == ["0.6100 ± 0.0000", "0.6000 ± 0.0000"]
    assert line[7:9] == ["+0.0900 ± 0.0000", "better"]
    assert "user session AUC" not in written(sweep(user_session_auc=math.nan), tmp_path)


def test_a_cell_that_raises_auc_and_lowers_user_auc_is_said(tmp_path):
    assert "Against popularity" not in written(sweep(), tmp_path)
    torn = [x | {"user_auc": 0.5} if (x["every"], x["depth"]) == ("30d", 1) else x for x in sweep()]
    said = "Against popularity, the cell slices of 30d, depth 1 raises AUC by 0.0995 and lowers user AUC by 0.0505."
    text = written(torn, tmp_path)
    assert said in text and text.count("Against popularity") == 1


def test_nan_survives_the_file(tmp_path):
    results.append_result(tmp_path / "results.csv", row(auc=math.nan))
    assert math.isnan(results.read_results(tmp_path / "results.csv")[0]["auc"])


def test_a_file_with_other_columns_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("data,auc\nx,0.5\n")
    for act in (lambda: results.read_results(path), lambda: results.append_result(path, row())):
        with pytest.raises(
            ValueError, match="results.csv has the columns data,auc; this version writes data,split,leaky"
        ):
            act()
    assert path.read_text() == "data,auc\nx,0.5\n"
    with pytest.raises(ValueError, match="cannot read .*none.csv: No such file"):
        results.read_results(tmp_path / "none.csv")


def test_a_line_that_does_not_parse_is_named(tmp_path):
    path = tmp_path / "results.csv"
    results.append_result(path, row())
    good = path.read_text()
    path.write_text(good.replace("0.7,", "high,", 1))
    with pytest.raises(ValueError, match="results.csv, line 2: could not convert string to float: 'high'"):
        results.read_results(path)
    path.write_text(good + "ml-100k,temporal\n")
    with pytest.raises(ValueError, match="line 3: 2 values, 18 expected"):
        results.read_results(path)


def test_a_row_with_other_keys_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"missing \['auc'\]"):
        results.append_result(tmp_path / "results.csv", {"AUC" if k == "auc" else k: v for k, v in row().items()})
    assert not (tmp_path / "results.csv").exists()


def test_a_report_is_four_files_and_no_leftovers(tmp_path):
    sweep_report.write(sweep(), tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "depth.png",
        "granularity.png",
        "heat.png",
        "report.md",
    ]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "new").glob("*.png"))


def test_the_table_holds_means_and_intervals_by_hand(tmp_path):
    text = written(sweep(), tmp_path)
    # depth 3 at 7d: .690, .6905, .691: sd .0005, t(2) = 4.3027, half = 4.3027 * .0005 / sqrt(3) = .00124
    assert cells_of(text, "7d")[0] == ["7d", "0.6800 ± 0.0000, n=3", "0.6900 ± 0.0012, n=3".replace("0.6900", "0.6905")]
    assert cells_of(text, "popularity")[0] == ["popularity"] + ["0.6005 ± 0.0012, n=3"] * 2
    assert cells_of(text, "static MF")[0] == ["static MF"] + ["0.6200 ± 0.0000, n=3"] * 2
    order = [line[0] for line in (cells_of(text, every)[0] for every in ("7d", "30d", "90d"))]
    assert [text.index(f"\n| {every}") for every in order] == sorted(text.index(f"\n| {every}") for every in order)


def test_the_difference_to_popularity_is_paired_by_seed(tmp_path):
    # .6905 - .6005 with equal drift in both, so the paired interval is 0 where the unpaired one is not
    line = next(line for line in cells_of(written(sweep(), tmp_path), "7d") if line[1] == "3")
    assert line[6:8] == ["+0.0900 ± 0.0000", "better"]


@pytest.mark.parametrize(
    ("ours", "base", "expected"),
    [
        ([0.70, 0.71, 0.72], [0.60, 0.61, 0.62], "better"),
        ([0.50, 0.51, 0.52], [0.60, 0.61, 0.62], "worse"),
        ([0.60, 0.65, 0.61], [0.60, 0.61, 0.62], "inconclusive"),
        ([0.70], [0.60], "better (one seed)"),
        ([0.61], [0.60], "inconclusive (one seed)"),
        ([], [0.60], "not compared"),
    ],
)
def test_verdicts(ours, base, expected):
    rows, others = ([row(seed=seed, auc=auc) for seed, auc in enumerate(side)] for side in (ours, base))
    assert significance.verdict(significance.difference(rows, others)) == expected


def test_only_seeds_that_both_have_are_paired():
    ours = [row(seed=seed, auc=0.7) for seed in (0, 1, 2)]
    base = [row("popularity", "", "", seed, auc=0.6) for seed in (1, 2, 5)]
    assert significance.difference(ours, base) == significance.Score(pytest.approx(0.1), pytest.approx(0, abs=1e-12), 2)


def test_one_seed_falls_back_on_the_interval_of_the_scored_rows_and_says_so(tmp_path):
    text = written(sweep(seeds=1), tmp_path)
    assert "One seed: no interval over seeds; ± is then the 95 % interval from the scored rows (DeLong)." in text
    assert cells_of(text, "7d")[0][1] == "0.6800 ± 0.0100, n=1"
    assert cells_of(text, "7d")[1][6:8] == ["+0.0800 ± 0.0141", "better (one seed)"]  # .01 * sqrt 2
    assert "| inconclusive" in text.split("## What the paper says")[1]


def test_the_best_cell_is_chosen_by_validation_and_reported_on_test(tmp_path):
    rows = sweep()
    for each in rows:
        if (each["every"], each["depth"]) == ("90d", 1):
            each["valid_auc"] = 0.9
    text = written(rows, tmp_path)
    assert "Chosen by validation AUC (0.9000): slices of 90d, depth 1. Test AUC 0.6900" in text
    assert cells_of(text, "90d")[0][1].startswith("**0.6900")


def test_baselines_that_did_not_run_still_have_their_row(tmp_path):
    text = written([r for r in sweep() if r["model"] == "hyperctr"], tmp_path)
    assert cells_of(text, "popularity")[0] == ["popularity", "not run", "not run"]
    assert "popularity was not run; static MF was not run" in text
    assert cells_of(text, "7d")[1][6:8] == ["-", "not compared"]


def test_failed_runs_are_listed_and_do_not_count(tmp_path):
    rows = sweep()
    for each in rows:
        if each["every"] == "7d" and each["depth"] == 3 and each["seed"] > 0:
            each.update(status="failed: the loss\nbecame nan", auc=math.nan, valid_auc=math.nan)
        if each["every"] == "90d" and each["depth"] == 1:
            each.update(status="failed: killed", auc=math.nan)
    text = written(rows, tmp_path)
    assert "- hyperctr, every 7d, depth 3, seed 2: failed: the loss became nan\n" in text
    assert cells_of(text, "7d")[0][2] == "0.6900 ± 0.0100, n=1"
    assert cells_of(text, "90d")[0][1] == "none ok"
    assert "nan" not in text.split("## Runs that failed")[0]


def test_a_later_row_of_the_same_run_replaces_the_earlier(tmp_path):
    text = written([row(auc=math.nan, status="failed: killed"), row(auc=0.66)], tmp_path)
    assert "failed" not in text and cells_of(text, "7d")[0][1] == "**0.6600 ± 0.0100, n=1**"


def test_a_leaky_split_is_stamped(tmp_path):
    assert "LEAKY" not in written(sweep(), tmp_path)
    assert "**LEAKY: the random split" in written(sweep(split="random", leaky=True), tmp_path)


def test_the_papers_claims_stand_in_a_column_of_their_own(tmp_path):
    text = written(sweep(), tmp_path, note="On a laptop.")
    assert "\n\nOn a laptop.\n\n" in text
    depth, width = cells_of(text, "HGCN depth (Figure 4)")[0], cells_of(text, "slice width (Figure 5)")[0]
    assert depth[1].startswith("one layer is poor")
    assert depth[2:] == ["slices of 30d, depth 3 over depth 1: +0.0105 ± 0.0012, n=3", "reproduced"]
    assert width[2:] == [
        "chosen 30d at depth 3; over 7d +0.0200 ± 0.0000, n=3; over 90d +0.0100 ± 0.0000, n=3",
        "reproduced",
    ]
    worse = [r | {"auc": r["auc"] - 0.02} if r["depth"] == 3 else r for r in sweep()]
    assert cells_of(written(worse, tmp_path), "HGCN depth (Figure 4)")[0][3] == "contradicted"


def test_an_optimum_at_the_edge_decides_nothing(tmp_path):
    rows = [r | {"valid_auc": 0.9} if r["every"] == "90d" else r for r in sweep()]
    assert cells_of(written(rows, tmp_path), "slice width (Figure 5)")[0][3] == "inconclusive"


def test_all_runs_failed_gives_a_report_without_figures(tmp_path):
    text = written([row(status="failed: killed", auc=math.nan)], tmp_path)
    assert "No run of the model is finished" in text and "failed: killed" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_rows_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        sweep_report.write([], tmp_path)
    for other in (row(data="ml-1m"), row(split="random", leaky=True), row("din")):
        with pytest.raises(ValueError, match="one model, data set and split"):
            sweep_report.write([row(), other], tmp_path)


def test_granularities_are_ordered_by_width():
    mixed = ["q4", "1y", "6h", "2w", "1mo", "q16", "30d", "1d"]
    assert sorted(mixed, key=sweep_report.granularity) == ["6h", "1d", "2w", "30d", "1mo", "1y", "q16", "q4"]


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_figures_show_the_numbers_of_the_table():
    whole = sweep_report.Sweep(sweep(), "hyperctr")
    heat = sweep_report.draw_heat(whole).axes[0]
    values = heat.images[0].get_array()
    assert [tick.get_text() for tick in heat.get_yticklabels()] == ["7d", "30d", "90d"]
    assert values.ravel().tolist() == pytest.approx([0.68, 0.6905, 0.70, 0.7105, 0.69, 0.7005])
    assert {"0.7105", "± 0.0012"} <= {text.get_text() for text in heat.texts}

    depth = lines_of(sweep_report.draw_depth(whole).axes[0])
    assert list(depth) == ["7d", "30d", "90d", "popularity", "static MF"]
    assert depth["30d"].get_xydata().ravel().tolist() == pytest.approx([1, 0.70, 3, 0.7105])
    assert depth["popularity"].get_ydata()[0] == pytest.approx(0.6005)

    axes = sweep_report.draw_granularity(whole).axes[0]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["7d", "30d", "90d"]
    assert lines_of(axes)["3"].get_xydata().ravel().tolist() == pytest.approx([7, 0.6905, 30, 0.7105, 90, 0.7005])


def test_figures_show_the_best_referee_by_validation_alone():
    rows = [row("ease", "", "", 0, 0.72, valid_auc=0.6), row("trees", "", "", 0, 0.71, valid_auc=0.7)]
    whole = sweep_report.Sweep([*sweep(), *rows], "hyperctr")
    shown = list(lines_of(sweep_report.draw_depth(whole).axes[0]))
    assert shown[3:] == ["popularity", "static MF", "best referee: trees on counts"]
    label = sweep_report.draw_heat(whole).axes[0].get_xlabel()
    assert label.splitlines()[-1].endswith("best referee: trees on counts 0.7100")


def test_slices_of_equal_counts_have_an_axis_of_their_own():
    only = [row(every=every, depth=1) for every in ("q8", "q4")]
    axes = sweep_report.draw_granularity(sweep_report.Sweep(only, "hyperctr")).axes[0]
    assert lines_of(axes)["1"].get_xdata().tolist() == [4, 8]
    mixed = sweep_report.draw_granularity(
        sweep_report.Sweep([*only, row(every="7d"), row(every="1y")], "hyperctr")
    ).axes[0]
    assert lines_of(mixed)["1"].get_xdata().tolist() == [7, 365.25]


def test_metrics_of_the_users_own_are_columns_behind_the_others(tmp_path):
    path = tmp_path / "results.csv"
    results.append_result(path, row() | {"precision": 0.25})
    assert path.read_text().splitlines()[0].endswith(",status,precision")
    assert results.read_results(path) == [row() | {"precision": 0.25}]
    with pytest.raises(ValueError, match="results.csv has the metrics precision of evaluate.metrics"):
        results.append_result(path, row())


def test_referees_that_ran_have_rows_and_are_compared(tmp_path):
    rows = [row(name, "", "", seed, 0.75) for name in results.REFEREES for seed in range(3)]
    text = written([*sweep(), *rows], tmp_path)
    assert [cell[0].partition(" ")[0] for cell in cells_of(text, "EASE")] == ["EASE"] * 2  # the grid, and every cell
    assert "over EASE: worse" in text and "over item-kNN: worse" in text
    assert "EASE" not in written(sweep(), tmp_path)


# --- what depth, granularity and links give --------------------------------------------------------------------------


def linked(seeds=3):
    """A sweep whose links of the whole past gain .02, and those per slice nothing."""
    rows = sweep(seeds)
    for seed in range(seeds):
        rows.append(row(every="", depth=1, seed=seed, auc=0.66, links="none"))
        for every in EVERY:
            rows.append(row(every=every, depth=1, seed=seed, auc=0.68 + (every == "7d") / 1000, links="past"))
            rows.append(row(every=every, depth=1, seed=seed, auc=0.66 + (seed - 1) / 100, links="slice"))
    return rows


def test_depth_and_granularity_that_give_nothing_are_said_to(tmp_path):
    rows = [r | {"auc": 0.71 + r["seed"] / 1000} if r["depth"] == 1 and r["every"] == "30d" else r for r in sweep()]
    text = written(rows, tmp_path)
    # .71 + seed * .0005 less .71 + seed * .001: mean -.0005, half-width 4.3027 * .0005 / sqrt(3) = .00124
    assert "- depth 3 gives nothing over depth 1: -0.0005 [-0.0017, +0.0007], n=3\n" in text
    assert "- granularity 7d is worse than 30d: -0.0200 [-0.0200, -0.0200], n=3" in text
    assert "- granularity 30d is better than 90d: +0.0100 [+0.0100, +0.0100], n=3" in text
    assert "Links of the past" not in text and not (tmp_path / "links.png").exists()


def test_links_have_a_table_and_a_figure_and_no_say_in_the_grid_of_states(tmp_path):
    text = written(linked(), tmp_path)
    assert cells_of(text, "none")[0][1:] == ["0.6600 ± 0.0000, n=3"] * 3
    assert cells_of(text, "of the whole past")[0][1] == "**0.6810 ± 0.0000, n=3**"  # 7d
    assert cells_of(text, "7d")[0][1] == "0.6800 ± 0.0000, n=3"
    assert "- reading links of the whole past by 7d is better than reading none: +0.0210 [+0.0210, +0.0210]" in text
    assert "- reading links per slice by 30d gives nothing over reading none: +0.0000 [-0.0248, +0.0248], n=3" in text
    assert "- reading links per slice by 30d gives nothing over reading links of the whole past by 30d: -0.0200" in text
    assert "- reading links of the whole past by 30d is worse than by 7d: -0.0010" in text
    assert cells_of(text, "links per slice by 90d")[0][1:3] == ["1", "3"]
    assert (tmp_path / "links.png").read_bytes()[:4] == b"\x89PNG"
    drawn = lines_of(sweep_report.draw_links(sweep_report.Sweep(linked(), "hyperctr")).axes[0])
    assert list(drawn) == ["of the whole past", "per slice", "no links", "popularity", "static MF"]
    assert drawn["of the whole past"].get_xdata().tolist() == [7, 30, 90]


def test_a_cell_of_the_links_that_is_below_a_referee_is_said(tmp_path):
    rows = [*linked(1), row("ease", "", "", 0, 0.675)]
    assert "- links per slice by 30d: below EASE" in written(rows, tmp_path)
