"""Commands that train many runs: sweep, search, bench, report, demo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hyperctr.cli.console import (
    num_jobs,
    print_json,
    print_note,
    print_report,
    print_table,
    progress_bars,
    split_list,
    watch_cells,
    whole_number,
)
from hyperctr.cli.options import (
    Device,
    Json,
    Masks,
    Preset,
    Protocol,
    Referees,
    Seed,
    Sets,
    on_device,
    run_from_options,
    with_masks,
)


def search(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    preset: Preset = None,
    protocol: Protocol = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW:HIGH",
            help="A key of the run file and its bounds, on a log scale, or KEY=A,B,C: values to choose from; "
            "repeatable. Default: wrapper.w1=0.02:5 and wrapper.w2=0.1:4, AQCL's Eq. (7).",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option("--budget", "--trials", help="Points to try, with the points of a killed search.", min=1)
    ] = 30,
    how: Annotated[
        str, typer.Option(help="How points are chosen: tpe or random; values alone are tried once each.")
    ] = "tpe",
    clicks: Annotated[int, typer.Option(help="Most clicks that a trial trains on, the latest; 0: all.", min=0)] = 0,
    epochs: Annotated[int, typer.Option(help="Most passes of a trial over the training rows.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the points; all trials train with the run's own seed.", min=0)] = 0,
    objective: Annotated[str, typer.Option(help="Score of a trial: logloss or auc.")] = "logloss",
    out: Annotated[Path, typer.Option(help="The search's folder; a killed search is continued.")] = Path("search"),
    referees: Referees = True,
    device: Device = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Search settings of a run on held-out training rows; validation and test rows are never read.

    Writes trials.csv, referees.csv (the referees on the same rows) and best.toml, a run for `hyperctr train` and for
    `hyperctr bench aqcl-... --wear`.

        hyperctr search --data amazon-beauty-5core --preset aqcl-paper --out search
        hyperctr search run.toml --over wrapper.w=0.01:0.5 --over wrapper.positives=1,5,10 --budget 40
        hyperctr search --data ml-100k --over model.dim=16,32,64 --over train.lr=log:1e-4:1e-2 --budget 6 --clicks 50000
    """
    described = run_from_options(run, data, on_device(sets, device), preset, protocol)
    if objective not in ("logloss", "auc"):
        raise ValueError(f"--objective is logloss or auc, got {objective!r}")
    if how not in ("tpe", "random"):
        raise ValueError(f"--how is tpe or random, got {how!r}")
    space = dict(_space(word) for word in over) if over else None
    from hyperctr.experiments import search as tune
    from hyperctr.experiments.settings import keys_of
    from hyperctr.experiments.space import value_of
    from hyperctr.training import malloc

    malloc.keep_freed_memory()
    if "train.epochs" in keys_of(sets):
        print_note(f"trials train at most {epochs} epochs (--epochs); train.epochs is for {out / 'best.toml'}")
    given = {"say": print_note, "referees": referees, "how": how, "clicks": clicks}
    best = tune.search(described, out, trials, epochs, seed, objective, space, **given)
    found = {key: value_of(best, key) for key in (tune.SPACE if space is None else space)}
    if as_json:
        return print_json(found)
    if judged := tune.read_referees(out) if referees else []:
        rows = [[row["referee"], row["reason"] or f"{row['loss']:.5f}"] for row in judged]
        print_table("referees on the same rows", ["", "minus AUC" if objective == "auc" else "log loss"], rows)
    words = ", ".join(f"{key} = {x:.4g}" if isinstance(x, float) else f"{key} = {x}" for key, x in found.items())
    print(f"best: {words}. Run: {out / 'best.toml'}; trials: {out / 'trials.csv'}")


def _space(word: str) -> tuple[str, Any]:
    """Read a word of --over: `train.lr=log:1e-4:1e-2` has bounds on a log scale, `model.dim=16,32` has values."""
    from hyperctr.experiments.space import read_range

    key, _, text = word.partition("=")
    try:
        return key, read_range(text)
    except ValueError:
        wants = "KEY=LOW:HIGH with 0 < LOW < HIGH, on a log scale, or KEY=A,B,C"
        raise ValueError(f"--over takes {wants}, got {word!r}") from None


def sweep(
    data: Annotated[str | None, typer.Option(help="Data set or folder.")] = None,
    every: Annotated[
        str, typer.Option(help="Granularities, e.g. 1d,7d,1mo; q8 cuts eight slices of equal counts.")
    ] = "7d,30d,90d",
    depth: Annotated[str, typer.Option(help="Numbers of HGCN layers, e.g. 0,1,3; 0 is no graph.")] = "0,1,3",
    seeds: Annotated[int, typer.Option(help="Runs per cell; intervals need three or more.", min=1)] = 1,
    out: Annotated[Path, typer.Option(help="The sweep's folder.")] = Path("sweep"),
    base: Annotated[Path | None, typer.Option(help="A run's TOML file that all cells share.")] = None,
    preset: Preset = None,
    protocol: Protocol = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time; 0: one per core, at most four.", min=0)] = 0,
    referees: Referees = True,
    device: Device = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Run granularity x depth x seeds; write results.csv, report.md, a heat map and line plots.

    A sweep that was stopped and is called again runs only what is missing.

        hyperctr sweep --data ml-100k --every 7d,30d,90d --depth 1,2,3 --seeds 3 --out sweep
    """
    from hyperctr.experiments.results import REFEREES

    sets = on_device(sets, device)
    described = run_from_options(base, data, sets, preset, protocol)
    rows = _sweep(described, every, depth, seeds, out, jobs, sets, referees)
    if as_json:
        return print_json(rows)
    print((out / "report.md").read_text())
    print(f"table and figures: {out}")
    if any(row["status"] != "ok" for row in rows if row["model"] not in REFEREES):  # the table says why one is missing
        raise typer.Exit(1)


def _sweep(
    base: Any,
    every: str,
    depth: str,
    seeds: int,
    out: Path,
    jobs: int,
    sets: Sequence[str] = (),
    referees: bool = True,
) -> list[dict]:
    from hyperctr.experiments import sweep as sweeps

    widths, depths = split_list(every, "--every"), [whole_number(x, "--depth") for x in split_list(depth, "--depth")]
    with watch_cells("sweep") as watch:
        return sweeps.sweep(base, widths, depths, seeds, out, num_jobs(jobs), watch, print_note, sets, referees)


class BenchCommand(TyperCommand):
    """The command `bench`, whose help lists the studies there are."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with a line for each study."""
        from hyperctr.studies import STUDIES

        width = max(map(len, STUDIES))
        lines = "\n".join(f"{study.name:{width}}  {study.title}" for study in STUDIES.values())
        self.help = (self.help or "").replace("STUDIES", lines)
        super().format_help(ctx, formatter)


def bench(
    name: Annotated[str, typer.Argument(help="One of the studies below, or FILE.py:NAME, a Study of your own.")],
    data: Annotated[str | None, typer.Option(help="Data set or folder.")] = None,
    preset: Preset = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="temporal|paper",
            help="Split and scored rows: by time, or those of the study's paper, which are leaky where it splits at "
            "random or tests the last click of each user. Default: the run's.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Another name of --protocol.")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Runs per row, or repeats of what is timed; a verdict needs three. Default: the study's.", min=1
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The study's folder; default: bench/NAME.")] = None,
    values: Annotated[str | None, typer.Option(help="Grid instead of the paper's, e.g. 1d,7d or 16,32.")] = None,
    rows: Annotated[
        str | None, typer.Option(help="Run only these rows, e.g. DIN,AQCL; a later call can run other rows.")
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            help="The paper's data set beside ours, e.g. movielens, or all. Default: by the name of the data."
        ),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="A run's TOML file that all rows share; default: of the paper's model.")
    ] = None,
    wear: Annotated[
        list[Path] | None,
        typer.Option(
            help=r"AQCL: a run's TOML file whose table \[wrapper] a row takes, as best.toml of a search; repeatable."
        ),
    ] = None,
    masks: Masks = None,
    scale: Annotated[float, typer.Option(help="Planted studies: factor of the users of every world.", min=0.01)] = 1.0,
    jobs: Annotated[int, typer.Option(help="Processes at a time; 0: one per core, at most four.", min=0)] = 0,
    referees: Referees = True,
    device: Device = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Run one table or figure of a paper's experiments: ours beside the paper's, never merged, with a verdict.

    \b
    STUDIES

    Leaves results.csv, table.csv, report.md, bench.json and NAME.png. Stopped and called again, it does only what is
    missing. A verdict is drawn from the 95 % interval of the paired difference over seeds. A planted study makes its
    own data, one world per seed, whose answer is known.

        hyperctr bench table4 --data ml-1m --seeds 5
        hyperctr bench granularity --data ml-100k --values 1d,7d,30d
        hyperctr bench table3 --data ml-1m --preset hyperctr-best
        hyperctr bench layers --data ml-100k --protocol paper --out leaky
        hyperctr bench aqcl-table2 --data amazon-beauty-5core --protocol paper --seeds 5
        hyperctr bench lt4rec-table2 --base kuairand.toml --seeds 5
        hyperctr bench mian-table2 --data microlens-50k --no-referees
        hyperctr bench hyperctr-planted --rows "paper: hypergraph in group,paper: GCN in group"
        hyperctr bench mine.py:STUDY --data ml-1m
    """
    from hyperctr.studies import bench as benches
    from hyperctr.studies import find

    study, sets = find(name), on_device(sets, device)
    out = out or Path("bench") / study.name
    paper_set = None if paper is None else benches.data_set(study, paper)
    if protocol and split:
        raise ValueError("--split is another name of --protocol: give one of them")
    protocol = protocol or split
    if (study.untrained or study.worlds) and (data or base or preset or protocol):
        raise ValueError(f"{study.name} makes its own data: it takes no --data, --base, --preset and no --protocol")
    if study.untrained and (sets or rows):
        raise ValueError(f"{study.name} trains nothing, it takes no --set and no --rows: --masks names a run to time")
    described = None
    if study.worlds:
        described = benches.planted_run(study, sets)
    elif not study.untrained:
        preset = preset or (study.preset if base is None else "") or None
        described = run_from_options(base, data, sets, preset, default=benches.default_base(study))
        described = with_masks(benches.on_protocol(study, described, protocol, sets), masks)
    options = benches.Options(
        values=split_list(values, "--values") if values is not None else (),
        seeds=seeds or 0,
        paper_set=paper_set,
        wrappers=_wrappers(wear or ()),
        rows=split_list(rows, "--rows") if rows is not None else (),
        scale=scale,
        masks=masks,
        jobs=num_jobs(jobs),
        sets=tuple(sets),
        referees=referees,
    )
    with watch_cells(study.name) as watch:
        found = benches.run(study, described, out, options, watch, print_note)
    print_json(found) if as_json else print_report(out)
    if found["failed"]:
        raise typer.Exit(1)


def _wrappers(paths: Iterable[Path]) -> dict[str, Any]:
    """Return the settings of the wrappers of run files, by name."""
    found = {}
    for path in paths:
        run = run_from_options(path, None, None)
        if not run.wrapper_name:
            raise ValueError(f"--wear takes a run with a wrapper; {path} has no [wrapper]")
        found[run.wrapper_name] = run.wrapper
    return found


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep or a bench.")], as_json: Json = False
) -> None:
    """Write the report and figures of a sweep or a bench again from its results.csv, without training.

    hyperctr report sweep
    """
    from hyperctr.experiments import sweep as sweeps
    from hyperctr.studies import bench as benches

    if not (folder / "results.csv").exists():
        raise ValueError(f"{folder} holds no sweep and no bench: there is no results.csv")
    redraw = benches.redraw if (folder / "bench.json").exists() else sweeps.redraw
    found = redraw(folder)
    print_json(found) if as_json else print_report(folder)


def demo(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Sweep real ML-100K instead: 3 granularities x 3 depths, and links.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the sweep.")] = Path("demo"),
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Train on a planted world and check the result against the best possible score: offline, in minutes.

    Exits with 1 if the order popularity < HyperCTR <= ceiling does not hold.

        hyperctr demo --seed 1
    """
    from hyperctr.experiments import demo as demos

    if not sweep:
        with progress_bars() as bars:
            passed = demos.planted(seed, print, bars, device or "auto")
        if not passed:
            raise typer.Exit(1)
        return
    base, name = demos.sweep_run(print_note, device or "auto")
    _sweep(base, demos.EVERY, demos.DEPTH, 1, out / name, 0)
    print((out / name / "report.md").read_text())
    print(f"table and figures: {out / name}")
