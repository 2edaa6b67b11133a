"""Commands that look into a trained run: audit, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hyperctr.cli.console import (
    err,
    print_json,
    print_note,
    print_table,
    progress_bars,
    progress_lines,
)
from hyperctr.cli.options import ChangedData, Json, Seed


def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    rows: Annotated[int, typer.Option(help="Test rows to predict again.", min=1)] = 200,
    cuts: Annotated[int, typer.Option(help="Moments from which on the log is changed.", min=1)] = 8,
    seed: Seed = 0,
    changed_data: ChangedData = False,
    as_json: Json = False,
) -> None:
    """Change the future of a run's log in many ways, and report every prediction that moved by a single bit.

    Exits with 1 if an event at or after a moment moved a prediction up to that moment: the run leaks.

        hyperctr audit runs/first
        hyperctr audit runs/first --rows 1000 --json
    """
    from hyperctr.analysis.audit import audit as audit_run
    from hyperctr.runs.open import open_run

    opened = open_run(run, changed_data)
    with progress_bars() as bars:
        found = audit_run(opened, rows, cuts, seed, bars if err.is_terminal else progress_lines)
    if as_json:
        print_json(found.to_dict())
    else:
        _audited(found)
    if not found.clean:
        raise typer.Exit(1)


def _audited(found: Any) -> None:
    lines = [[x.change, f"{x.checked:,}", f"{x.moved:,}", f"{x.largest:.3g}"] for x in (*found.changes, found.control)]
    drawn = f" ({found.drawn:,} of them drawn candidates)" if found.drawn else ""
    title = f"{found.run}: {found.rows:,} rows{drawn}, {len(found.moments)} moments"
    print_table(title, ["changed at and after a moment", "predictions up to it", "moved", "largest move"], lines)
    for sentence in found.says():
        print(sentence)
    if found.violations:
        rows = [[f"{x:.6f}" if isinstance(x, float) else str(x) for x in v.values()] for v in found.violations[:10]]
        title = f"the largest {len(rows)} moves of {len(found.violations):,}, logits before and after"
        print_table(title, list(found.violations[0]), rows)


def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    user: Annotated[str, typer.Option(help="A user, by the data's own id.")],
    item: Annotated[str, typer.Option(help="An item, by the data's own id.")],
    at: Annotated[
        str | None, typer.Option(help="When: 2024-05-01T06:00 or unix seconds; default: right after the log's end.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.")] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Lines per list (5), and hyperedges a side and clicks to leave out of HyperCTR (20).", min=1),
    ] = None,
    changed_data: ChangedData = False,
    as_json: Json = False,
) -> None:
    """Say what moved one prediction, by leaving out one thing at a time and predicting again.

    Of every run: which clicks; through which links, and which users make them; which numbers of the past and which
    columns. Of a run of HyperCTR also: hyperedges, modalities and slices. Of a run of MIAN also: parts, clicks, fields
    of the user and context, each with its weight beside its effect.

    hyperctr explain runs/first --user 42 --item 7 --out why.png
    hyperctr explain runs/first --user 42 --item 7 --at 1998-03-01 --json
    """
    import numpy as np

    from hyperctr.analysis import mian_attention
    from hyperctr.analysis.asked import Asked
    from hyperctr.analysis.explain import HEADS
    from hyperctr.analysis.explain import explain as explain_row
    from hyperctr.data import clock
    from hyperctr.runs.open import open_run

    opened = open_run(run, changed_data)
    has_time = opened.prepared.dataset.interactions.has_time
    time = None if at is None else clock.option(at, "--at", has_time)
    time = np.datetime64(time, "us") if at is not None and has_time else time
    found = explain_row(opened, user, item, time, top or 20)
    if opened.prepared.run.model_name == "mian":
        attended = mian_attention.read(opened, Asked.of(opened, user, item, time).batch)
        return _attended(attended, found, out, top, as_json)
    if as_json:
        print_json(found.to_dict())
    else:
        if lines := found.lines(10):
            print_table(found.title, [*HEADS], lines)
        else:
            print(found.title)
        for note in found.notes:
            print(f"note: {note}")
        _print_parts(found, top)
    if out is not None:
        import matplotlib

        matplotlib.use("Agg")  # no display is needed
        found.save(out)
        print_note(f"picture: {out}")


def _print_parts(found: Any, top: int | None) -> None:
    """Print the clicks, links and numbers of an explanation."""
    for tables, notes in found.parts(top or 5):
        for title, heads, lines in tables:
            print(f"\n{title}")
            print_table("", heads, lines)
        for note in notes:
            print(f"note: {note}")


def _attended(found: Any, rest: Any, out: Path | None, top: int | None, as_json: bool) -> None:
    """Print what one prediction of MIAN attends to, as a picture too, and the numbers and columns that it reads."""
    from hyperctr.analysis import mian_attention
    from hyperctr.reporting import figures

    first, clicks = found.frame.row(0, named=True), top or 20
    if as_json:
        about = {name: first[name] for name in ("case", "user", "item", "probability")} | {"days": None, "weight": None}
        lines = [  # MIAN reads columns by name itself
            about | {"group": f"{x['kind']}s", "place": n} | {k: x[k] for k in ("name", "value", "rank", "effect")}
            for n, x in enumerate(rest.numbers.frame.to_dicts(), 1) if x["kind"] != "column"
        ]  # fmt: skip
        print_json(found.frame.to_dicts() + lines)
    else:
        rows = [
            [f"{x['group']}: {x['name']} {x['value']}".rstrip(), f"{x['weight']:.3f}", f"{x['effect']:+.3f}"]
            for x in found.frame.to_dicts() if x["group"] != "clicks" or x["place"] <= clicks
        ]  # fmt: skip
        title = f"{first['user']}, {first['item']}: click probability {first['probability']:.3f}"
        print_table(title, ["", "weight", "effect on the logit"], rows)
        print(f"note: {mian_attention.NOTE}")
        _print_parts(rest, top)
    if out is not None:
        figures.save(found.draw_case(most=clicks), out)
        print_note(f"picture: {out}")
