"""The command line. Heavy imports stand inside the commands, so that `--help` is instant; nothing imports this file.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 a check failed, 2 bad input (one line says
what was asked, what was found and what would work), 130 stopped by hand.
"""

from __future__ import annotations

import os
import sys
import warnings

import typer

from hyperctr.cli import analyse, data, experiment, graph, run
from hyperctr.cli.console import err, print_note

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
app.add_typer(data.app, name="data")
app.add_typer(graph.app, name="graph")
for command in (
    run.train,
    experiment.search,
    run.evaluate,
    run.predict,
    run.plan,
    run.export,
    analyse.audit,
    analyse.explain,
    experiment.sweep,
    experiment.report,
    experiment.demo,
):
    app.command()(command)
app.command(cls=experiment.BenchCommand)(experiment.bench)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2 (HYPERCTR_TRACEBACK=1 shows where it arose)."""
    warnings.showwarning = lambda message, *where, **more: print_note(f"warning: {message}")
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("HYPERCTR_TRACEBACK"):
            raise
        err.print(f"error: {' '.join(str(error).split())}", markup=False, soft_wrap=True)
        sys.exit(2)
