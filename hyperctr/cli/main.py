"""Run the command line. Commands import heavy packages themselves, so that `--help` is instant.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 a check failed, 2 bad input (one line says
what was asked, what was found and what would work), 130 stopped by hand. Nothing imports this file.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from hyperctr import __version__
from hyperctr.cli import analyse, data, experiment, graph, run
from hyperctr.cli.console import err, print_note

app = typer.Typer(
    name="hyperctr",
    help="Click-through rate prediction with time-sliced hypergraphs.\n\n"
    "Start here: [bold]hyperctr demo[/] (offline, about a minute), then [bold]hyperctr data get ml-100k[/] and "
    "[bold]hyperctr sweep --data ml-100k --every 7d,30d --depth 1,2,3 --out sweep[/].",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(graph.app, name="graph")
app.add_typer(run.models, name="models")
for command in (
    run.train,
    experiment.search,
    run.evaluate,
    run.predict,
    run.plan,
    run.export,
    run.config,
    analyse.audit,
    analyse.explain,
    experiment.sweep,
    experiment.report,
    experiment.demo,
):
    app.command()(command)
app.command(cls=experiment.BenchCommand)(experiment.bench)


def print_version(asked: bool) -> None:
    """Print the version and end, where the option asks for it."""
    if asked:
        print(f"hyperctr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2 (HYPERCTR_TRACEBACK=1 shows where it arose)."""
    sys.path.append(os.getcwd())  # classes that a run file names by "package.module:Class"
    warnings.showwarning = lambda message, *where, **more: print_note(f"warning: {message}")
    try:
        app()
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if os.environ.get("HYPERCTR_TRACEBACK"):
            raise
        err.print(f"error: {' '.join(str(error).split())}", markup=False, soft_wrap=True)
        sys.exit(2)
