"""Commands that train many runs: sweep, search, bench, report, demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperctr.cli.console import (
    num_jobs,
    print_json,
    print_note,
    print_report,
    progress_bars,
    split_list,
    watch_cells,
    whole_number,
)
from hyperctr.cli.options import Json, Masks, Seed, Sets, run_from_options, with_masks


def search(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file; default: DIN.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW:HIGH",
            help=r"A key of \[wrapper] and its bounds, or KEY=A,B,C: values to choose from; "
            "repeatable. Default: w1=0.02:5 and w2=0.1:4, AQCL's Eq. (7).",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(help="Points to try, those of a killed search among them.", min=1)] = 30,
    epochs: Annotated[int, typer.Option(help="Most passes of a trial over the training rows.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Of the points; all trials train with the run's own.", min=0)] = 0,
    objective: Annotated[str, typer.Option(help="What a trial is judged by: logloss or auc.")] = "logloss",
    out: Annotated[Path, typer.Option(help="The search's folder; a killed search in it goes on.")] = Path("search"),
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Search what a model wears by rows held out of the training rows; validation and test rows are never read.

    Leaves best.toml, a run for `hyperctr train` and for `hyperctr bench aqcl-... --wear`, and trials.csv.

        hyperctr search --data amazon-beauty-5core --set wrapper.name=aqcl --out search
        hyperctr search run.toml --over w=0.01:0.5 --over positives=1,5,10 --trials 40
    """
    described = run_from_options(run, data, sets, "din")
    if objective not in ("logloss", "auc"):
        raise ValueError(f"--objective is logloss or auc, got {objective!r}")
    space = dict(_space(word) for word in over) if over else None
    from hyperctr.experiments import search as tune

    best = tune.search(described, out, trials, epochs, seed, objective, space, say=print_note)
    if as_json:
        return print_json(vars(best.wrapper))
    names = tune.SPACE if space is None else space
    found = ", ".join(f"{key} = {getattr(best.wrapper, key):.4g}" for key in names)
    print(f"best: {found}. Run: {out / 'best.toml'}; trials: {out / 'trials.csv'}")


def _space(word: str) -> tuple[str, tuple[float, float] | list]:
    """What a word of --over says: `w1=0.02:5`, bounds on a log scale, or `positives=1,5,10`, values."""
    key, _, text = word.partition("=")
    try:
        if ":" not in text:
            return key, [json.loads(value) for value in split_list(text, "--over")]
        low, high = (float(value) for value in text.split(":"))
        if 0 < low < high:
            return key, (low, high)
    except ValueError:
        pass
    raise ValueError(f"--over takes KEY=LOW:HIGH with 0 < LOW < HIGH, or KEY=A,B,C, got {word!r}")


def sweep(
    data: Annotated[str | None, typer.Option(help="Data set or folder.")] = None,
    every: Annotated[
        str, typer.Option(help="Granularities, e.g. 1d,7d,1mo; q8 cuts eight slices of equal counts.")
    ] = "7d,30d,90d",
    depth: Annotated[str, typer.Option(help="Numbers of HGCN layers, e.g. 1,2,3; 0 is no graph.")] = "1,2,3",
    seeds: Annotated[int, typer.Option(help="Runs a cell; intervals need three or more.", min=1)] = 1,
    out: Annotated[Path, typer.Option(help="The sweep's folder.")] = Path("sweep"),
    base: Annotated[Path | None, typer.Option(help="A run's TOML file that all cells share.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time; 0: one a core, at most four.", min=0)] = 0,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Run granularity x depth x seeds; leave results.csv, report.md, a heat map and line plots.

    Stopped and called again, it does only what is missing.

        hyperctr sweep --data ml-100k --every 7d,30d,90d --depth 1,2,3 --seeds 3 --out sweep
    """
    rows = _sweep(run_from_options(base, data, sets), every, depth, seeds, out, jobs)
    if as_json:
        return print_json(rows)
    print((out / "report.md").read_text())
    print(f"table and figures: {out}")
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


def _sweep(base: Any, every: str, depth: str, seeds: int, out: Path, jobs: int) -> list[dict]:
    from hyperctr.experiments import sweep as sweeps

    widths, depths = split_list(every, "--every"), [whole_number(x, "--depth") for x in split_list(depth, "--depth")]
    with watch_cells("sweep") as watch:
        return sweeps.sweep(base, widths, depths, seeds, out, num_jobs(jobs), watch, print_note)


def bench(
    name: Annotated[str, typer.Argument(help="One of the studies below.")],
    data: Annotated[str | None, typer.Option(help="Data set or folder.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="temporal, or paper: HyperCTR's random one, LT4REC's by time, the others' last click (or day) of each "
            "user; the random and the last ones are leaky. Default: the run's."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs a row; a verdict needs three. Of threads: repeats.", min=1)] = 3,
    out: Annotated[Path | None, typer.Option(help="The bench's folder; default: bench/NAME.")] = None,
    values: Annotated[str | None, typer.Option(help="Grid instead of the paper's, e.g. 1d,7d or 16,32.")] = None,
    rows: Annotated[
        str | None, typer.Option(help="Run these rows alone, e.g. DIN,AQCL; a later call can run the others.")
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            help="Its data set beside ours: movielens, kuaishou, mv1.7m, all; AQCL's: beauty, tafeng, oncold, all; "
            "MIAN's: books, electronics, commercial, all; MARN's: electro, clothe, taobao, all; LT4REC's: tencent. "
            "Default: by name."
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="A run's TOML file that all rows share; default: of the paper's model, for AQCL of DIN."),
    ] = None,
    wear: Annotated[
        list[Path] | None,
        typer.Option(help="AQCL: a run's TOML file whose table wear a row takes, as a search's best.toml; repeatable."),
    ] = None,
    masks: Masks = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time; 0: one a core, at most four.", min=0)] = 0,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Run one table or figure of a paper's experiments: ours beside the paper's, never merged, with a verdict.

    \b
    table3       HyperCTR, other models, popularity, static MF
    table4       modalities, a GCN instead of hypergraphs, no graph
    layers       Figure 4: HGCN layers 0 to 5
    granularity  Figure 5: slices of 1 to 18 months
    dim          Figure 6: width 8 to 256
    neighbors    Figure 6: 5 to 40 sampled neighbours
    threads      Figure 7: speed-up of one epoch
    curve        Figure 8: validation AUC while it learns
    aqcl-table2  AQCL's Table 2: what a model wears: DropoutNet, DeepMCP, DMR, ICL, QCL, AQCL
    aqcl-table3  AQCL's Table 3: AQCL on Wide & Deep, DeepFM, DIN, HyperCTR
    aqcl-alpha   AQCL's Figure 5: alpha by activity, or 0, .3, .6, 1 for all
    aqcl-dz      AQCL's Figure 7: width of z 8 to 128
    aqcl-w       AQCL's Figure 7: weight of the loss .01 to .5
    aqcl-k       AQCL's Figure 7: 1 to 20 positive interests
    aqcl-tsne    AQCL's Figure 6: hidden vectors of test clicks; one seed
    mian-table2  MIAN's Table 2: LR, W&D, DCN, DeepFM, xDeepFM, DIN, DIEN, MIAN
    mian-table3  MIAN's Table 3: without each of its modules, and DIEN
    mian-table4  MIAN's Table 4: Pre-LN Transformer, Transformer, neither
    mian-efficiency  MIAN's section 4.5: seconds of an epoch of DIN, MIAN, DIEN
    mian-fig6    MIAN's Figure 6: weights of the global attention
    marn-table2  MARN's Table 2: LR, FM, YoutubeNet, xDeepFM, DUPN, DIEN, DMF, MMSS, NAML, MARN
    marn-table3  MARN's Table 3: from ids alone to MARN
    marn-table4  MARN's Table 4: AUC by the popularity of items
    marn-table5  MARN's Table 5: recall of unseen items
    marn-fig4    MARN's Figure 4: attention to each modality by category
    marn-fig5    MARN's Figure 5: t-SNE of specific and invariant features, with probes
    marn-fig6    MARN's Figure 6: losses, and lambda_0 .01 to 1.8
    lt4rec-table2  LT4REC's Table 2: clicks and conversions on one network, and other models of both
    lt4rec-fig4  LT4REC's Figure 4: masks by round of pruning, against random ones
    lt4rec-replay  LT4REC's Table 3, in replay of the log: what is ranked first
    lt4rec-speed  LT4REC's section 2.2: time and size of a pruned network; needs no data

    Leaves results.csv, table.csv, report.md, bench.json and NAME.png. Stopped and called again, it does only what is
    missing. A verdict is drawn from the 95 % interval of the paired difference over seeds.

        hyperctr bench table4 --data ml-1m --seeds 5
        hyperctr bench granularity --data ml-100k --values 1d,7d,30d
        hyperctr bench layers --data ml-100k --split paper --out leaky
        hyperctr bench aqcl-table2 --data amazon-beauty-5core --split paper --seeds 5
        hyperctr bench lt4rec-table2 --base kuairand.toml --seeds 5
    """
    from hyperctr.studies import bench as benches

    benches.find(name)
    out = out or Path("bench") / name
    column = None if paper is None else benches.column_of(paper, name)
    grid = split_list(values, "--values") if values is not None else []
    if name in benches.UNTRAINED:
        if data or base or sets or split or rows:
            raise ValueError(f"{name} needs no data and no run to train: --masks names a finished one to time")
        found = benches.UNTRAINED[name].run(grid, seeds, out, masks, print_note)
        return print_json(found) if as_json else print_report(out)
    described = benches.on_split(run_from_options(base, data, sets, benches.model_of(name)), name, split)
    described = with_masks(described, masks)
    given = {}
    for path in wear or ():
        run = run_from_options(path, None, None)
        if not run.wrapper_name:
            raise ValueError(f"--wear takes a run that wears something; {path} has no [wrapper]")
        given[run.wrapper_name] = run.wrapper
    only = split_list(rows, "--rows") if rows is not None else []
    with watch_cells(name) as watch:
        found = benches.run(name, described, grid, seeds, out, num_jobs(jobs), column, watch, print_note, given, only)
    print_json(found) if as_json else print_report(out)
    if found["failed"]:
        raise typer.Exit(1)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep or a bench.")], as_json: Json = False
) -> None:
    """Draw the table and figures of a sweep or a bench again from its results.csv; nothing is trained.

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
        bool, typer.Option("--sweep", help="Sweep real ML-100K instead: 3 granularities x 3 depths.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the sweep.")] = Path("demo"),
    seed: Seed = 0,
) -> None:
    """Train on a planted world and check the result against the best possible score: offline, under a minute.

    Exits with 1 if the order popularity < HyperCTR <= ceiling does not hold.

        hyperctr demo --seed 1
    """
    from hyperctr.experiments import demo as demos

    if not sweep:
        with progress_bars() as bars:
            passed = demos.planted(seed, print, bars)
        if not passed:
            raise typer.Exit(1)
        return
    base, name = demos.sweep_run(print_note)
    _sweep(base, demos.EVERY[name], "1,2,3", 1, out / name, 0)
    print((out / name / "report.md").read_text())
    print(f"table and figures: {out / name}")
