"""Print for the command line: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from hyperctr.files import to_json
from hyperctr.strict import cut

err = Console(stderr=True, highlight=False)


def print_report(folder: Path) -> None:
    """Print the report.md of a folder and the folder's name."""
    print((folder / "report.md").read_text())
    print(f"table and figures: {folder}")


def num_jobs(jobs: int) -> int:
    """Return the number of processes for --jobs; 0 means one per core, at most 4."""
    return jobs or min(4, os.cpu_count() or 1)


def watch_cells(title: str) -> Any:
    """Return a context whose value shows the state of a sweep: (what each running cell does, cells done, all cells)."""
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


def progress_bars() -> Any:
    """Return a context whose value wraps (batches, what, total) with a progress bar on a terminal."""
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def show() -> Any:
        with Progress(console=err, disable=not err.is_terminal, transient=True) as bar:

            def track(batches: Iterable, what: str, total: int) -> Iterable:
                task = bar.add_task(what, total=total)
                try:
                    for batch in batches:
                        yield batch
                        bar.advance(task)
                finally:
                    bar.remove_task(task)

            yield track

    return show()


def progress_lines(batches: Iterable, what: str, total: int) -> Iterable:
    """Wrap batches so that each tenth of them prints a line on stderr, if there is no terminal for a bar."""
    for done, batch in enumerate(batches, 1):
        yield batch
        if 10 * done // total > 10 * (done - 1) // total:
            print_note(f"{what}: {done:,} of {total:,}")


def print_note(text: str) -> None:
    """Print one line on stderr, however long."""
    err.print(text, markup=False, soft_wrap=True)


def say_epoch(row: dict) -> None:
    """Print one line per validation on stderr."""
    valid = f"valid AUC {row['valid_auc']:.4f}"
    if not math.isnan(row.get("valid_cvr_mse", math.nan)):
        valid += f", squared error of conversions {row['valid_cvr_mse']:.4f}"
    if "round" in row:
        err.print(f"{row['task']}, round {row['round']}, {row['density']:.0%} of the weights  ", end="")
    if not row["epoch"]:
        return err.print(f"fitted  {valid}")
    member = f"member {row['member']}  " if "member" in row else ""
    err.print(f"{member}epoch {row['epoch']}  loss {row['loss']:.4f}  {valid}  best epoch {row['best_epoch']}")


def print_scores(report: dict) -> None:
    """Print the scores of a report as tables."""
    stamp = "  [leaky split: not comparable with scores of a temporal split]" if report["leaky"] else ""
    rows = []
    for part, s in [("valid", report["valid"]), ("test", report["test"])]:
        half = (s["auc_high"] - s["auc_low"]) / 2
        own = "-" if math.isnan(s["positive_auc"]) else f"{s['positive_auc']:.4f} ± {s['positive_auc_se']:.4f}"
        losses = [f"{s[name]:.4f}" for name in LOSSES if name in s]
        sessions = f" ({s['sessions_counted']:,})" if s.get("sessions_counted") else ""
        within = [f"{s['user_auc']:.4f}", _known(s.get("user_session_auc")) + sessions]
        rows.append([part, f"{s['auc']:.4f} ± {half:.4f}", own, *within, *losses, f"{s['rows']:,}"])
        for name in [name for name in PARTS if f"{name}_auc" in s]:
            blank, share = [""] * (3 + len(losses)), s[f"{name}_share"]
            rows.append([f"  {PARTS[name]}", _known(s[f"{name}_auc"]), *blank, f"{s[f'{name}_rows']:,} ({share:.1%})"])
        for name in [name for name in NOVEL if s.get("first_rows" if name == "first" else "return_rows")]:
            blank, share = [""] * (3 + len(losses)), f"{s[f'{name}_share']:.1%} of clicks"
            rows.append([f"  {NOVEL[name]}", _known(s[f"{name}_auc"]), *blank, f"{s[f'{name}_rows']:,} ({share})"])
        for name, scores in ({"popularity": report.get("popularity", {})} | report.get("referees", {})).items():
            if beside := scores.get(part):
                own = "-" if math.isnan(beside["positive_auc"]) else f"{beside['positive_auc']:.4f}"
                within = [f"{beside['user_auc']:.4f}", _known(beside.get("user_session_auc"))]
                row = [f"  {name}", f"{beside['auc']:.4f}", own, *within]
                rows.append([*row, *[""] * len(losses), f"{s['rows']:,}"])
    sampled = ", negatives drawn though non-clicks are logged" if report.get("sampled") else ""
    title = f"{report['model']} on {report['data']}, {report['split']} split{sampled}{stamp}"
    losses = [head for name, head in LOSSES.items() if name in report["test"]]
    print_table(title, ["", "AUC ± 95 %", "AUC of a click's\nnegatives ± SE", *WITHIN, *losses, "rows"], rows)
    if note := report.get("split_note"):
        print_note(note)
    if names := report.get("metrics", []):
        rows = [[part, *(f"{report[part][name]:.4f}" for name in names)] for part in ("valid", "test")]
        print_table("own metrics", ["", *names], rows)
    names = ("cvr_mse", "cvr_variance", "cvr_auc", "ctcvr_auc")
    rows = [[part, *(f"{report[part][name]:.4f}" for name in names), f"{report[part]['cvr_rows']:,}"]
            for part in ("valid", "test") if report[part].get("cvr_rows")]  # fmt: skip
    if rows:
        heads = ["squared error", "of the best constant", "AUC", "AUC of both", "clicks"]
        print_table("conversions; of both: click times conversion, by pCTR pCVR", ["", *heads], rows)


def _known(value: float | None) -> str:
    """Write a score, or a dash where it is unknown."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


WITHIN = ("user AUC", "user and\nsession AUC\n(sessions)")
NOVEL = {
    "first": "first appearances of items",
    "return": "returns: items met before",
    "new": "new pairs",
}
PARTS = {
    "warm": "users and items with training rows",
    "cold_user": "users without a training row",
    "cold_item": "items without a training row",
    "unclicked_item": "items never clicked before the row",
}
LOSSES = {
    "logloss": "logloss",
    "logloss_constant": "of the best\nconstant",
    "logloss_1to1": "logloss\n1:1",
    "logloss_corrected": "logloss\ncorrected",
}


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(*head, title=escape(title), title_justify="left", box=None, show_header=any(head), pad_edge=False)
    for row in rows:
        table.add_row(*(escape(cut(cell, 500)) for cell in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def as_text(value: Any, grouped: bool = True) -> str:
    """Write a value for reading; `grouped` separates thousands, which is wrong for ids."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {as_text(v, grouped)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(as_text(v, grouped) for v in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if grouped and type(value) is int else cut(str(value), 500)


def split_list(text: str, option: str) -> list[str]:
    """Split the value of an option at its commas.

    Raises:
        ValueError: it has no values, or one of them twice.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{option} takes distinct values separated by commas, got {text!r}")
    return found


def whole_number(text: str, option: str) -> int:
    """Read a whole number from the value of an option.

    Raises:
        ValueError: the text is no whole number.
    """
    if not text.isdigit():
        raise ValueError(f"{option} takes whole numbers separated by commas, got {text!r}")
    return int(text)


def print_json(value: Any) -> None:
    """Print a value as strictly valid JSON."""
    print(to_json(value))
