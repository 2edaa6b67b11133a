"""`hyperctr graph`: build, look at, draw and export the hypergraphs of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hyperctr.cli.console import (
    as_text,
    err,
    print_json,
    print_note,
    print_table,
    progress_bars,
    progress_lines,
)
from hyperctr.cli.options import Every, Json

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Build, look at, draw and export a data set's hypergraphs."
)
Graphs = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `hyperctr graph build` wrote.")]
Which = Annotated[str, typer.Option("--side", help="Nodes: users (user-interest) or items (item-homogeneous).")]
Modality = Annotated[str, typer.Option(help="A modality of the data, or group: all of them together.")]


@app.command("build")
def build(
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


@app.command("describe")
def describe(
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

    from hyperctr.hypergraphs import folder as graph

    if (folder is None) == (data is None) or (folder and every):
        raise ValueError("name either a folder that `hyperctr graph build` wrote, or --data and perhaps --every")
    if folder is not None:
        facts = graph.describe(graph.read(folder))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            facts = graph.describe(_build_graphs(data, every or "30d", Path(scratch) / "graphs"))
    print_json(facts) if as_json else _slice_table(facts)


@app.command("draw")
def draw(
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

    from hyperctr.hypergraphs.draw import draw
    from hyperctr.hypergraphs.folder import read

    matplotlib.use("Agg")  # no display is needed
    for path in draw(read(folder), out, number, side, modality, print_note):
        print(path)


@app.command("export")
def export(
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
    from hyperctr.hypergraphs import export as export_module
    from hyperctr.hypergraphs.folder import read

    print(export_module.export(read(folder), file, to, number, side, modality))


def _build_graphs(data: str, every: str, out: Path, upto: str | None = None) -> Any:
    from hyperctr.data import catalog

    catalog.find(data)  # an unknown data set stops here, before torch is imported
    from hyperctr.hypergraphs import folder as graph

    with progress_bars() as bars:
        return graph.build(data, every, out, upto, bars if err.is_terminal else progress_lines, print_note)


def _slice_table(facts: dict) -> None:
    names = list(facts["totals"][0]["hyperedges"])
    head = ["slice", "start", "side", "nodes", "isolated", *(f"hyperedges\n{name}" for name in names)]
    rows = []
    for row in [*facts["slices"], *({"slice": "all", "date": ""} | total for total in facts["totals"])]:
        shares = ["" if row.get(name) is None else f"{row[name]:.0%}" for name in ("returning", "overlap")]
        counts = [row["nodes"], row.get("isolated", ""), *row["hyperedges"].values(), row["incidences"]["group"]]
        size = f"{row['median']:,g} / {row['max']:,}"
        rows.append([str(row["slice"]), row["date"], row["side"], *map(as_text, counts), size, *shares])
    title = f"{facts['data']}, every {facts['every']}; incidences and sizes are those of the group"
    if facts["empty"]:
        title += f"; {facts['empty']:,} slices without clicks have no row"
    print_table(title, [*head, "incidences", "size\nmedian / max", "returning", "overlap"], rows)
