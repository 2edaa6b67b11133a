"""Figures 4 to 6 of HyperCTR: layers, slice width, width of embeddings, sampled neighbours; one key each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation import significance
from hyperctr.studies import tables
from hyperctr.studies.claims import Claim, Verdict, best_row, compare
from hyperctr.studies.figures import draw_line
from hyperctr.studies.hyperctr import entries, paper_numbers
from hyperctr.studies.study import Findings, Grid, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from graphs.slices.grid import Granularity
    from hyperctr.data.dataset import Dataset

Ask = Callable[[Sequence[str], str], list[Claim]]
"""Gives the claims on a grid's values, in order, and the paper's data set, "" for none."""


def _sets(key: str, value: str) -> tuple[str, ...]:
    return (f"{key}={value}",)


def _width(value: str) -> Granularity:
    """Read a slice width, such as 7d, or q8 for eight slices of equal counts."""
    from graphs.slices.grid import Granularity

    return Granularity.parse(value)


def _slices(key: str, value: str) -> tuple[str, ...]:
    cut = _width(value)
    return (f"slices.count={cut.count}",) if cut.by_count else (f'{key}="{value}"', "slices.count=0")


def _places(grid: Grid, names: Sequence[str]) -> dict[str, float]:
    """Return where the values are on the axis: widths in days, without slices of equal counts where both are there."""
    if grid.read is not _width:
        return {name: float(name) for name in names}
    cuts = {name: _width(name) for name in names}
    timed = {name: cut.days for name, cut in cuts.items() if not cut.by_count}
    return timed or {name: float(cut.count) for name, cut in cuts.items()}


# --- what the paper claims -----------------------------------------------------------------------------------------


def layers(values: Sequence[str], data: str) -> list[Claim]:
    """Return what the paper says about the number of HGCN layers."""
    three, more = _among(values, 3, 3), _among(values, 4, 99)
    found = [Claim("one layer is poor, three are significantly better", three, _among(values, 1, 1))]
    if data == "MovieLens":
        found.append(Claim("on MovieLens more than three layers help further", more, three))
    elif data:
        found.append(Claim(f"on {data} three layers are enough: more gain less than .01 here", three, more, 0.01))
    return found


def granularity(values: Sequence[str], data: str) -> list[Claim]:
    """Return what the paper says about the width of a time slice."""
    best = {"Kuaishou": "half a year", "MovieLens": "almost one year", "MV1.7M": "about three months"}
    where = f"{best[data]} of 1 to 18 months" if data else "3 to 12 of 1 to 18 months, by data set"
    text = f"the best slice width is inside the grid ({where}); finer and coarser ones are worse"
    ends = (values[0], values[-1]) if len(values) > 2 else ()
    return [Claim(text, tuple(values[1:-1]), ends, interior=True)]


def dim(values: Sequence[str], data: str) -> list[Claim]:
    """Return what the paper says about the width of the embeddings."""
    good, stable = _among(values, 64, 128), "beyond that it is stable or slightly worse: gains less than .01 here"
    return [
        Claim("AUC rises with the width of the embeddings", good, _among(values, 1, 63)[:1]),
        Claim(stable, good, _among(values, 129, 1e9)[-1:], 0.01),
    ]


def neighbors(values: Sequence[str], data: str) -> list[Claim]:
    """Return what the paper says about the number of sampled neighbours."""
    good = _among(values, 15, 25)
    text = "15 to 25 sampled neighbours are best: more help at first, too many harm slowly"
    return [Claim(text, good, tuple(x for x in values if x not in good))]


def _among(values: Sequence[str], low: float, high: float) -> tuple[str, ...]:
    """Return the values that are numbers from low to high."""
    return tuple(value for value in values if low <= float(value) <= high)


# --- the studies ---------------------------------------------------------------------------------------------------


def _draw(found: Findings) -> dict[str, Figure]:
    scores, facts = found.scores, found.facts
    aucs = {name: significance.score(some) if some else None for name, some in scores.runs.items()}
    names = [name for name in aucs if name not in entries.SIMPLE]
    if not any(aucs[name] for name in names):
        return {}
    points = {name: (x, aucs[name]) for name, x in _places(scores.study.grid, names).items()}
    across = [(name, aucs[name]) for name in entries.SIMPLE if aucs.get(name)]
    each = {name: [run["auc"] for run in scores.runs[name]] for name in points}
    top, claims = best_row(scores.runs, tuple(points)) or None, [verdict.claim for verdict in found.verdicts]
    drawn = draw_line("HyperCTR", points, each, across, facts["axis"], facts["log"], top, claims)
    return {"": tables.titled(drawn, found, entries.protocol(found))}


def _study(name: str, title: str, grid: Grid, ask: Ask, sets: Callable[[str, str], tuple[str, ...]] = _sets) -> Study:
    """Return the study of one key, with a row per value, popularity and static MF."""

    def rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
        entries.need_hyperctr(setup)
        return [*entries.simple_rows(), *(Row(value, sets=sets(grid.key, value)) for value in setup.values)]

    def judge(scores: Scores) -> list[Verdict]:
        values = [name for name in scores.names if name not in entries.SIMPLE]
        data = scores.facts["paper"] if scores.facts["paper"] in paper_numbers.SETS.values() else ""
        return [compare(claim, scores.runs) for claim in ask(values, data) if claim.ours and claim.others]

    return Study(
        name=name, title=title, rows=rows, judge=judge, paper=paper_numbers.PAPER, grid=grid, words_only=True,
        entries=entries.over_popularity, caveats=entries.another, table=entries.table, figures=_draw,
    )  # fmt: skip


_COUNTS: dict[str, Any] = {"read": int, "what": "whole numbers", "allowed": lambda number: number >= 0}

LAYERS = _study(
    "layers", "HyperCTR, Figure 4: number of HGCN layers",
    Grid("model.depth", ("0", "1", "2", "3", "4", "5"), "HGCN layers (0: no graph)", **_COUNTS), layers,
)  # fmt: skip
GRANULARITY = _study(
    "granularity", "HyperCTR, Figure 5: width of a time slice",
    Grid("slices.every", ("1mo", "2mo", "3mo", "6mo", "9mo", "12mo", "15mo", "18mo"), "slice width (log scale)", True,
         _width, "widths such as 7d or 3mo", lambda width: True),
    granularity, _slices,
)  # fmt: skip
DIM = _study(
    "dim", "HyperCTR, Figure 6, top row: width of the embeddings",
    Grid("model.dim", ("8", "16", "32", "64", "128", "256"), "width of the embeddings (log scale)", True, **_COUNTS),
    dim,
)  # fmt: skip
NEIGHBORS = _study(
    "neighbors", "HyperCTR, Figure 6, bottom row: sampled neighbours",
    Grid("model.neighbors", ("5", "10", "15", "20", "25", "30", "40"),
         "members kept per hyperedge, hyperedges kept per node", **_COUNTS),
    neighbors,
)  # fmt: skip
