"""Commands about one run: train, evaluate, predict, plan, export; and what there is to run: models, config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hyperctr import presets
from hyperctr.cli.console import (
    print_json,
    print_note,
    print_scores,
    print_table,
    progress_bars,
    say_epoch,
    split_list,
    whole_number,
)
from hyperctr.cli.options import (
    ChangedData,
    Device,
    Json,
    Masks,
    Preset,
    Protocol,
    Referees,
    Scorer,
    Sets,
    data_of,
    on_device,
    run_from_options,
    with_masks,
)


def train(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file, or the folder of a killed run.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; default: runs/<name of the file or data>.")
    ] = None,
    preset: Preset = None,
    protocol: Protocol = None,
    masks: Masks = None,
    device: Device = None,
    sets: Sets = None,
    force: Annotated[bool, typer.Option("--force", help="Train even if the run will not fit in memory.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show the time of each part of a step.")] = False,
    referees: Referees = False,
    changed_data: ChangedData = False,
    as_json: Json = False,
) -> None:
    """Train and test one run. A folder with a checkpoint of the run is continued.

    A run that would take more than 80% of the memory is refused; `hyperctr plan` shows what takes how much.

    Without a run file and a model it takes the preset hyperctr-best.

        hyperctr train run.toml --out runs/first
        hyperctr train --data ml-100k --set slices.every=7d --set model.depth=2
        hyperctr train --data ml-1m --preset hyperctr-paper --protocol paper
        hyperctr train today.toml --masks runs/yesterday
        hyperctr train --data ml-100k --set model.name=ease
        hyperctr train run.toml --referees
        hyperctr train run.toml --device cuda
    """
    if run is not None and run.is_dir():
        out = out or run
        data = data or data_of(out)
    described = with_masks(run_from_options(run, data, on_device(sets, device), preset, protocol), masks)
    out = out or Path("runs") / (run.stem if run is not None else Path(described.data.path).name)
    from hyperctr.runs import plan as plans
    from hyperctr.runs import prepare
    from hyperctr.runs import train as training
    from hyperctr.training import malloc
    from hyperctr.training.profiler import StepTimer

    malloc.keep_freed_memory()
    clock = StepTimer() if profile else None
    dataset = prepare.read_dataset(described)
    if not force and not (planned := plans.check(described, dataset)).fits:
        raise ValueError(planned.refusal())
    how = {"log": say_epoch, "clock": clock, "say": print_note, "changed_data": changed_data, "referees": referees}
    try:
        with progress_bars() as bars:
            report = training.train(described, out, dataset, progress=bars, **how)
    except KeyboardInterrupt:
        print_note(training.stopped(out))
        raise typer.Exit(130) from None
    if as_json:
        return print_json(report | ({"profile": clock.table()} if clock else {}))
    print_scores(report)
    if clock:
        rows = [["  " * bool(r["of"]) + r["part"], f"{r['ms']:.2f}", f"{r['share']:.0%}"] for r in clock.table()]
        print_table(f"time of {clock.steps:,} steps", ["", "ms per step", "share"], rows)
    kept = f"kept epoch {report['best_epoch']}"
    if chosen := report.get("settings"):
        name, value = next(iter(chosen.items()))
        kept = f"chose {name} {value:g} of {', '.join(chosen['valid_auc'])}"
    kept += f" (valid AUC {report['valid']['auc']:.4f})"
    print(f"{kept}; stopped: {report['stopped']}. Run: {out}")
    for note in report["notes"]:
        print(f"note: {note}")
    careful = {"negatives": 1000, "max_positives": 0}
    if report["test"]["positive_auc_se"] == report["test"]["positive_auc_se"] and any(  # negatives were drawn
        getattr(described.evaluate, key) not in (value, 0) for key, value in careful.items()
    ):
        words = " ".join(f"--set evaluate.{key}={value}" for key, value in careful.items())
        print(f"scored {report['test']['positives']:,} clicks with {described.evaluate.negatives} negatives each; "
              f"all of them, with as many as the papers: {words}")  # fmt: skip


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of LT4REC.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the files; default: the run's own.")] = None,
    mode: Annotated[str, typer.Option(help="dense, compact, csr, or auto: the fastest on this machine.")] = "auto",
    batches: Annotated[str, typer.Option(help="Batch sizes that auto times them at.")] = "1,64,1024",
    changed_data: ChangedData = False,
    as_json: Json = False,
) -> None:
    """Write the network of each task without its zeros: click.safetensors and conversion.safetensors.

    The networks read the output of the embeddings (`hyperctr.serving.sparse`).

        hyperctr export runs/lt4rec --mode auto --batches 1,64,1024
    """
    from hyperctr.runs.open import open_run
    from hyperctr.serving import sparse

    sizes = tuple(whole_number(size, "--batches") for size in split_list(batches, "--batches"))
    found = sparse.write(open_run(run, changed_data).model, out or run, mode, sizes)
    if as_json:
        return print_json(found)
    rows = []
    for task, told in found.items():
        times = ["-" if told["timings"] is None else f"{told['timings'][told['mode']][size]:.3f}" for size in sizes]
        rows.append([task, told["mode"], f"{told['weights']:,}", f"{told['multiply_adds']:,}", f"{told['bytes']:,}",
                     f"{told['share']:.0%}", *times])  # fmt: skip
    print_table(f"networks of {run}", ["task", "mode", "weights", "multiply-adds", "bytes", "of the dense one's",
                                  *(f"ms, batch {size}" for size in sizes)], rows)  # fmt: skip


def plan(
    run: Annotated[Path | None, typer.Argument(help="The run's TOML file, or the folder of a run.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set or folder; overrides data.path.")] = None,
    preset: Preset = None,
    protocol: Protocol = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Show how much memory and time a run would take, before it starts.

    hyperctr plan run.toml
    hyperctr plan --data ml-1m --set model.propagation=full
    """
    described = run_from_options(run, data, sets, preset, protocol)
    from hyperctr.runs import plan as plans
    from hyperctr.runs import prepare

    planned = plans.check(described, prepare.read_dataset(described))
    if as_json:
        return print_json(planned.to_dict())
    size = plans.gigabytes
    rows = [[part.name, size(part.bytes), part.how] for part in planned.parts]
    rows.append(["all", size(planned.total), ""])
    print_table(f"{described.model_name} on {described.data.path}, memory", ["", "", ""], rows)
    what, takes = f"an epoch: {planned.steps:,} steps", "; `hyperctr train --profile` measures them"
    if not planned.steps:
        what, takes = f"a referee: fitted once on {planned.facts['train_rows']:,} training rows, without epochs", ""
    if planned.seconds:
        takes = f", about {' to '.join(dict.fromkeys(map(plans.duration, planned.seconds)))} on one or two cores"
    print(what + takes)
    if not planned.limit:
        print("the memory of this machine is unknown")
    else:
        print(f"fits: the limit is {size(planned.limit)}" if planned.fits else f"does not fit: {planned.refusal()}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write: each test row with its label and probability; .csv or .parquet.")
    ] = None,
    device: Scorer = "cpu",
    changed_data: ChangedData = False,
    as_json: Json = False,
) -> None:
    """Score the validation and test rows of a finished run again from its weights.

    hyperctr evaluate runs/first
    hyperctr evaluate runs/first --out scores.parquet
    """
    from hyperctr.batch import device_of
    from hyperctr.runs import report as reports
    from hyperctr.runs import rows
    from hyperctr.runs.open import open_run

    if out is not None:
        rows.check_ending(out)
    opened = open_run(run, changed_data, device)
    with progress_bars() as bars:
        found, scored = reports.scores_of(opened.prepared, opened.model, progress=bars)
    report = opened.report | found | {"device": str(device_of(opened.model))}
    if out is not None:
        count = rows.write(opened.prepared, scored, out)
        print_note(f"{out}: {count:,} test rows")
    print_json(report) if as_json else print_scores(report)


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    input: Annotated[Path, typer.Option(help="Rows to score, with the user, item and time columns of the data set.")],
    output: Annotated[
        Path,
        typer.Option("--out", "--output", help="File to write: the rows and a column `probability`; .csv or .parquet."),
    ],
    device: Scorer = "cpu",
    changed_data: ChangedData = False,
) -> None:
    """Predict click probabilities for (user, item, time); unknown users and items are scored as new ones.

    hyperctr predict runs/first --input rows.csv --out scored.csv
    """
    from hyperctr.data.rows import read_rows, write_rows
    from hyperctr.runs.open import open_run, predict_rows

    opened = open_run(run, changed_data, device)
    dataset = opened.prepared.dataset
    rows = read_rows(input, dataset)
    time = rows.time.astype("datetime64[us]") if dataset.interactions.has_time else rows.time
    probability, notes = predict_rows(opened, rows.user, rows.item, time, rows.context, rows.query)
    for note in (*rows.notes, *notes):
        print_note(note)
    column = write_rows(rows.table, probability, output)
    print(f"{output}: {len(probability)} rows" + (f", column {column}" if column != "probability" else ""))


models = typer.Typer(
    rich_markup_mode="rich",
    invoke_without_command=True,
    help="List the models, referees and wrappers, or check one of your own.",
)


@models.callback()
def list_models(context: typer.Context, as_json: Json = False) -> None:
    """List the models, referees and wrappers: paper, one line, what they read; and the presets.

    hyperctr models
    hyperctr models check mine.py:Mine
    """
    if context.invoked_subcommand is not None:
        return
    from hyperctr.models import MODELS, REFEREES, WRAPPERS
    from hyperctr.runs import reference

    kinds = {"models": MODELS, "referees": REFEREES, "wrappers": WRAPPERS}
    found = {what: reference.list_models(classes) for what, classes in kinds.items()}
    listed_presets = reference.list_presets()
    if as_json:
        return print_json(found | {"presets": listed_presets})
    for what, listed in found.items():
        rows = [[x["name"], x["paper"], x["what"], ", ".join(x["reads"])] for x in listed]
        print_table(what, ["name", "paper", "what it is", "reads"], rows)
    rows = [[x["name"], " with ".join(filter(None, (x["model"], x["wrapper"]))), x["what"]] for x in listed_presets]
    print_table("presets, for --preset", ["name", "model", "what it is"], rows)
    print('A model of your own: model.name = "mine.py:Mine"; docs/add-a-model.md shows one.')


@models.command("check")
def check_model(
    name: Annotated[str, typer.Argument(help='A class as a run file names it: "mine.py:Mine", or "din".')],
    wrapper: Annotated[bool, typer.Option("--wrapper", help="The class is a wrapper; check it around din.")] = False,
) -> None:
    """Check that a model keeps the contract: shapes, empty histories, unknown ids, no reading of labels, gradients.

    Exits with 1 if a check fails.

        hyperctr models check mine.py:Mine
        hyperctr models check mine.py:Around --wrapper
    """
    from hyperctr.experiments import contract

    found = (contract.check_wrapper if wrapper else contract.check_model)(name)
    for what, wrong in found:
        print(f"{'FAILS' if wrong else 'ok   '}  {what}" + (f"  [{wrong}]" if wrong else ""))
    if failed := sum(bool(wrong) for _, wrong in found):
        print(f"{name}: {failed} of {len(found)} checks fail")
        raise typer.Exit(1)
    print(f"{name} keeps the contract of a {'wrapper' if wrapper else 'model'}")


def config(
    model: Annotated[str | None, typer.Argument(help='"din", "mine.py:Mine", ...; default: hyperctr.')] = None,
    wrapper: Annotated[str, typer.Option(help="A wrapper whose keys to print too, such as aqcl.")] = "",
    preset: Preset = None,
) -> None:
    """Print a complete run file of a model or preset: every key, with its value and meaning.

    hyperctr config din > run.toml
    hyperctr config din --wrapper aqcl
    hyperctr config --preset hyperctr-paper
    """
    if preset is not None:
        if model or wrapper:
            raise ValueError("a preset names its model and wrapper: leave out the model and --wrapper")
        presets.read_preset(preset)  # an unknown name stops here, before torch is imported
    from hyperctr.runs import reference

    print(reference.run_file(model or "hyperctr", wrapper) if preset is None else reference.preset_file(preset), end="")
