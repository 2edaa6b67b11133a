"""Write the report of a sweep from its rows: report.md, heat.png, depth.png, granularity.png and, of links, links.png.

A row is one run: the model at one granularity, depth and seed, or a baseline ("popularity", "mf") or referee, whose
`every` and `depth` are "". A later row of the same run replaces an earlier row. Intervals are 95 %: over seeds
(Student's t) if a cell has two or more, otherwise over the rows that were scored (DeLong). The report and the figures
say which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.evaluation.significance import Score, difference, judge_gains, score, torn, verdict
from hyperctr.experiments import sweep_gains
from hyperctr.experiments.results import BASELINES, LINKS, REFEREES, sessions_in_words
from hyperctr.experiments.sweep_gains import in_words
from hyperctr.files import write_text
from hyperctr.reporting import figures
from hyperctr.reporting.markdown import format_gain, format_score, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from graphs.slices.grid import Granularity

Cells = Mapping[tuple[str, int], list[dict]]


def write(rows: Iterable[Mapping[str, Any]], folder: str | Path, note: str = "") -> None:
    """Write report.md and, if a run of the model is ok, the figures.

    Args:
        rows: rows as `read_results` returns them, of one data set and split, and of one model and the baselines.
        folder: the folder of the files; it is made if it is missing.
        note: a paragraph to print below the protocol.

    Raises:
        ValueError: there is no row, or there are rows of several data sets, splits or models.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("a report needs at least one row, got none")
    models = sorted({row["model"] for row in rows} - {*BASELINES, *REFEREES})
    protocols = sorted({(row["data"], row["split"], row["leaky"]) for row in rows})
    if len(models) > 1 or len(protocols) > 1:
        raise ValueError(f"a report is about one model, data set and split, got {models} on {protocols}")
    keys = ("model", "every", "depth", "links", "seed")
    latest = list({tuple(row.get(key, "") for key in keys): dict(row) for row in rows}.values())
    sweep = Sweep(latest, models[0] if models else "")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {"heat.png": draw_heat, "depth.png": draw_depth, "granularity.png": draw_granularity}
    drawings |= {"links.png": draw_links} if any(every for _, every in sweep.links) else {}
    for name, draw in drawings.items() if sweep.cells else ():
        figures.save(draw(sweep), folder / name)
    write_text(folder / "report.md", _markdown(sweep, note))


class Sweep:
    """The rows of one sweep in the order of its tables."""

    def __init__(self, rows: list[dict], model: str):
        rows = [{"links": ""} | row for row in rows]
        first, good = rows[0], [row for row in rows if row["status"] == "ok"]
        self.model, self.data, self.split, self.leaky = model, first["data"], first["split"], first["leaky"]
        self.failed = [row for row in rows if row["status"] != "ok" and row["model"] not in REFEREES]
        self.reasons = {row["model"]: row["status"] for row in rows if row["status"] != "ok"}
        there = {row["model"] for row in rows}
        self.titles = BASELINES | {name: title for name, title in REFEREES.items() if name in there}
        self.baselines = {name: [row for row in good if row["model"] == name] for name in self.titles}
        self.cells: dict[tuple[str, int], list[dict]] = {}
        self.links: dict[tuple[str, str], list[dict]] = {}
        """Runs by the links that they read and the width of their periods, at one depth."""
        for row in good:
            if row["model"] == model and row["links"]:
                self.links.setdefault((row["links"], row["every"]), []).append(row)
            elif row["model"] == model:
                self.cells.setdefault((row["every"], row["depth"]), []).append(row)
        asked = [row for row in rows if row["model"] == model and not row["links"]]
        self.every = sorted({row["every"] for row in asked}, key=granularity)
        self.depths = sorted({row["depth"] for row in asked})
        self.num_seeds = len({row["seed"] for row in asked})
        self.num_rows = sorted({row["rows"] for row in good})

    def best(self) -> tuple[str, int] | None:
        """Return the cell with the highest mean validation AUC; None if no cell has one."""
        order = ((every, depth) for every in self.every for depth in self.depths)
        return sweep_gains.chosen({cell: self.cells[cell] for cell in order if cell in self.cells})

    def named(self) -> dict[str, list[dict]]:
        """Return the runs of each cell of both grids, by what it is in words."""
        found = {f"slices of {every}, depth {depth}": rows for (every, depth), rows in self.cells.items()}
        return found | {f"links {in_words(*cell)}": rows for cell, rows in self.links.items()}

    def interval(self) -> str:
        """Return in words what the intervals of this sweep are."""
        counts = {len(rows) for rows in self.cells.values()}
        over_seeds = f"over {max(counts)} seeds" if len(counts) == 1 else "over the seeds of a cell"
        return "from the scored rows (DeLong), one seed" if counts == {1} else over_seeds


def _markdown(sweep: Sweep, note: str) -> str:
    parts = [f"# Granularity x depth: {sweep.model or 'baselines'} on {sweep.data}", _protocol(sweep)]
    if sweep.leaky:
        parts.append(
            f"**LEAKY: the {sweep.split} split lets training see clicks later than test rows. "
            "These scores are not comparable with those of a temporal split.**"
        )
    parts += [note] if note else []
    best = sweep.best()
    if best:
        parts.append(_headline(sweep, best))
    if sweep.model:
        parts += ["## Test AUC", _grid(sweep, best)]
    if best and (gains := sweep_gains.of_states(sweep.cells, best)):
        parts += ["\n".join(f"- {gain}" for gain in gains)]
    if sweep.links:
        parts += ["## Links of the past", _links(sweep)]
    parts += ["## Every cell", _every_cell(sweep, best)]
    if sweep.cells:
        drawn = [("heat.png", "Test AUC by granularity and depth"), ("depth.png", "Test AUC against HGCN depth")]
        drawn += [("granularity.png", "Test AUC against slice width")]
        drawn += [("links.png", "Test AUC against the periods of the links")] if len(sweep.links) > 1 else []
        parts += ["## Figures", *(f"![{title}]({name})" for name, title in drawn)]
        widths = [every for every in sweep.every if granularity(every).by_count]
        if widths and len(widths) < len(sweep.every):
            parts.append(
                f"granularity.png leaves out {', '.join(widths)}: slices of equal counts have no width in days."
            )
    else:
        parts.append("No run of the model is finished, so there are no figures.")
    if sweep.failed:
        parts += [
            "## Runs that failed",
            "\n".join(f"- {_run_name(row)}: {' '.join(row['status'].split())}" for row in sweep.failed),
        ]
    if best:
        parts += ["## What the paper says", _paper(sweep, best)]
    return "\n\n".join(parts) + "\n"


def _protocol(sweep: Sweep) -> str:
    rows = " or ".join(f"{count:,}" for count in sweep.num_rows) or "no"
    cells = f"{len(sweep.every)} granularities x {len(sweep.depths)} depths x {sweep.num_seeds} seeds"
    leaky = "leaky" if sweep.leaky else "not leaky"
    lines = [f"{sweep.split} split ({leaky}); {cells}; {rows} test rows per run."]
    if any(len(runs) == 1 for runs in sweep.cells.values()):
        lines.append("One seed: no interval over seeds; ± is then the 95 % interval from the scored rows (DeLong).")
    if any(len(runs) > 1 for runs in sweep.cells.values()):
        lines.append("± is the 95 % t interval over n seeds; differences are paired by seed.")
    return "\n".join(lines)


def _headline(sweep: Sweep, best: tuple[str, int]) -> str:
    rows = sweep.cells[best]
    valid = math.fsum(row["valid_auc"] for row in rows) / len(rows)
    compared = []
    for name, title in sweep.titles.items():
        gain = difference(rows, sweep.baselines[name])
        compared.append(f"{format_gain(gain)} over {title}: {verdict(gain)}" if gain else f"{title} was not run")
    return (
        f"**Chosen by validation AUC ({valid:.4f}): slices of {best[0]}, depth {best[1]}. "
        f"Test AUC {format_score(score(rows))}, n={len(rows)}; {'; '.join(compared)}.**"
    )


def _grid(sweep: Sweep, best: tuple[str, int] | None) -> str:
    """Write the table of granularity x depth; the baselines have neither, so their rows repeat one value."""
    lines = [["every", *(f"depth {depth}" for depth in sweep.depths)]]
    for every in sweep.every:
        texts = [_with_num(sweep.cells.get((every, depth))) for depth in sweep.depths]
        lines.append(
            [every, *(f"**{x}**" if (every, d) == best else x for x, d in zip(texts, sweep.depths, strict=True))]
        )
    for name, title in sweep.titles.items():
        lines.append([title, *[_with_num(sweep.baselines[name], "not run")] * len(sweep.depths)])
    return table(lines) + "\n\nBold: the cell chosen by validation AUC."


def _links(sweep: Sweep) -> str:
    """Write the table of links x width of their periods, and what each gives."""
    widths = [every for every in sweep.every if any(cell[1] == every for cell in sweep.links)]
    best = sweep_gains.chosen(sweep.links)
    lines = [["links", *widths]]
    for kind, title in LINKS.items():
        cells = [(kind, "" if kind == "none" else every) for every in widths]
        texts = [_with_num(sweep.links.get(cell)) for cell in cells]
        lines.append([title, *(f"**{x}**" if cell == best else x for x, cell in zip(texts, cells, strict=True))])
    depths = sorted({row["depth"] for rows in sweep.links.values() for row in rows})
    said = (
        f"Links are read as of the start of periods of each width, at depth {depths[0]}, with the base run's slices. "
        "In the table above all cells have one kind of periods. Bold: chosen by validation AUC."
    )
    return "\n\n".join([table(lines), said, "\n".join(f"- {gain}" for gain in sweep_gains.of_links(sweep.links))])


def _every_cell(sweep: Sweep, best: tuple[str, int] | None) -> str:
    popularity = sweep.baselines["popularity"]
    every_row = [row for rows in (*sweep.baselines.values(), *sweep.named().values()) for row in rows]
    known = any(not math.isnan(row.get("user_session_auc", math.nan)) for row in every_row)
    shown = {"auc": "test AUC", "user_auc": "user AUC", "user_session_auc": "user session AUC"}
    shown |= {"logloss_1to1": "log loss 1:1"}
    heads = {column: head for column, head in shown.items() if known or column != "user_session_auc"}
    lines = [["every", "depth", "n", *heads.values(), "over popularity", "verdict", "epoch", "seconds"]]
    for name, title in sweep.titles.items():
        base = None if name == "popularity" else popularity
        lines.append([title, "", *_scores(sweep.baselines[name], base, heads, sweep.reasons.get(name, "none ok"))])
    for every in sweep.every:
        for depth in sweep.depths:
            mark = " *" if (every, depth) == best else ""
            lines.append([every + mark, str(depth), *_scores(sweep.cells.get((every, depth), []), popularity, heads)])
    for cell, rows in sweep.links.items():
        lines.append([f"links {in_words(*cell)}", str(rows[0]["depth"]), *_scores(rows, popularity, heads)])
    star = "\n\n\\* chosen by validation AUC. " if best else "\n\n"
    apart = [
        f"\n\nAgainst popularity, the cell {name} {words}."
        for name, rows in sweep.named().items()
        if (words := torn(rows, popularity))
    ]
    told = "epoch and seconds are means over seeds; epoch is the one kept."
    told += f" {sessions_in_words(every_row)}" if known else ""
    return table(lines) + star + told.rstrip() + "".join(apart) + _below(sweep)


def _below(sweep: Sweep) -> str:
    """Say in a line per cell which referees it is below; "" where none is."""
    lines = []
    for cell, rows in sweep.named().items():
        gains = {name: difference(rows, some) for name, some in sweep.baselines.items() if name != "mf" and some}
        below = {sweep.titles[name]: gain for name, gain in gains.items() if gain is not None and gain.mean < 0}
        if below:
            said = ", ".join(f"{title} ({format_gain(gain)})" for title, gain in below.items())
            lines.append(f"- {cell}: below {said}")
    return "\n\n" + "\n".join(lines) if lines else ""


def _scores(rows: list[dict], base: list[dict] | None, shown: Iterable[str], why: str = "none ok") -> list[str]:
    """Write the cells of a row from its number of runs on.

    Args:
        rows: the runs. base: those of popularity, for the gain over it.
        shown: the scores that have a column.
        why: there is no run.
    """
    if not rows:
        return ["0", why, *[""] * (len([*shown]) + 3)]
    gain = difference(rows, base) if base is not None else None
    means = [sum(row[column] for row in rows) / len(rows) for column in ("best_epoch", "seconds")]
    compared = [format_gain(gain), verdict(gain)] if base is not None else ["", ""]
    rows = [{"user_session_auc": math.nan} | row for row in rows]
    columns = [format_score(score(rows, column)) for column in shown]
    return [str(len(rows)), *columns, *compared, f"{means[0]:.1f}", f"{means[1]:.1f}"]


def _paper(sweep: Sweep, best: tuple[str, int]) -> str:
    """Write the claims of HyperCTR's Figures 4 and 5 and what was found, in two columns."""
    every, depth = best
    three, one = sweep.cells.get((every, 3)), sweep.cells.get((every, 1))
    gain = difference(three, one) if three and one else None
    found = (
        f"slices of {every}, depth 3 over depth 1: {format_gain(gain)}, n={gain.num}"
        if gain
        else "1 and 3 not both run"
    )
    lines = [["question", "the paper", "here", "verdict"]]
    claim = "one layer is poor on all three data sets, three are clearly better; more help on MovieLens only"
    lines.append(["HGCN depth (Figure 4)", claim, found, judge_gains([gain]) if gain else "not tested"])

    claim = "best near 6 months (Kuaishou), 3 (MV1.7M), 12 (MovieLens), of 1 to 18; worse on either side"
    widths = [width for width in sweep.every if (width, depth) in sweep.cells]
    if len(widths) < 3:
        found, outcome = "fewer than three widths were run", "not tested"
    elif every in (widths[0], widths[-1]):
        found, outcome = f"chosen {every}, at the edge of what was tried: the best may lie beyond", "inconclusive"
    else:
        gains = {width: difference(sweep.cells[best], sweep.cells[width, depth]) for width in (widths[0], widths[-1])}
        texts = [f"over {width} {format_gain(gain)}, n={gain.num if gain else 0}" for width, gain in gains.items()]
        found, outcome = f"chosen {every} at depth {depth}; {'; '.join(texts)}", judge_gains(list(gains.values()))
    lines.append(["slice width (Figure 5)", claim, found, outcome])
    return table(lines) + (
        "\n\nThe paper's figures carry no numbers, and its data and random split are not those here: only the claims"
        " are compared. Under a random split popularity alone reaches AUC 0.853 on ML-100K, more than the 0.836 that"
        " the paper reports for HyperCTR on MovieLens, so a model below the popularity row has not learned."
    )


def _with_num(rows: list[dict] | None, empty: str = "none ok") -> str:
    return f"{format_score(score(rows))}, n={len(rows)}" if rows else empty


def _run_name(row: Mapping[str, Any]) -> str:
    cell = "" if row["depth"] == "" else f", every {row['every']}, depth {row['depth']}"
    cell = f", links {in_words(row['links'], row['every'])}" if row["links"] else cell
    return f"{row['model']}{cell}, seed {row['seed']}"


def granularity(every: str) -> Granularity:
    """Return the granularity that a cell of results.csv names."""
    from graphs.slices.grid import Granularity  # imports torch, which reading results.csv does not need

    return Granularity.parse(every)


def draw_heat(sweep: Sweep) -> Figure:
    """Draw mean and interval by granularity and depth, with a frame around the cell chosen by validation."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.patches import Rectangle

    shape = len(sweep.every), len(sweep.depths)
    means = np.full(shape, np.nan)
    for (every, depth), rows in sweep.cells.items():
        means[sweep.every.index(every), sweep.depths.index(depth)] = score(rows).mean
    figure, axes = figures.canvas(max(7.2, 2.6 + 1.25 * shape[1]), 2.1 + 0.72 * shape[0])
    low, high = np.nanmin(means), np.nanmax(means)
    norm = Normalize(low, high if high > low else low + 1e-3)
    shades = colormaps["YlGnBu"](np.linspace(0.06, 0.82, 64))
    colours = LinearSegmentedColormap.from_list("sea", shades).with_extremes(bad=figures.NONE)
    image = axes.imshow(np.ma.masked_invalid(means), cmap=colours, norm=norm, aspect="auto")
    for y, every in enumerate(sweep.every):
        for x, depth in enumerate(sweep.depths):
            rows = sweep.cells.get((every, depth))
            if not rows:
                axes.text(x, y, "none ok", ha="center", va="center", color=figures.GREY, fontsize=9, style="italic")
                continue
            value = score(rows)
            style = {"textcoords": "offset points", "ha": "center", "va": "center"}
            style["color"] = "white" if figures.luminance(colours(norm(value.mean))) < 0.25 else figures.INK
            axes.annotate(f"{value.mean:.4f}", (x, y), (0, 5), fontsize=11.5, weight="bold", **style)
            if not math.isnan(value.half):
                axes.annotate(f"± {value.half:.4f}", (x, y), (0, -9), fontsize=8.5, **style)
    if best := sweep.best():
        corner = sweep.depths.index(best[1]) - 0.5, sweep.every.index(best[0]) - 0.5
        frame = {"fill": False, "edgecolor": figures.ORANGE, "linewidth": 3, "zorder": 4, "clip_on": False}
        axes.add_patch(Rectangle(corner, 1, 1, **frame))
    axes.set_xticks(range(shape[1]), sweep.depths)
    axes.set_yticks(range(shape[0]), sweep.every)
    axes.set_xticks(np.arange(shape[1] - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(shape[0] - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("slice width")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03, aspect=22)
    bar.set_label("test AUC", color=figures.GREY)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=figures.GREY, labelsize=8.5)
    baselines = [f"{title} {value.mean:.4f}" for title, value in _across(sweep)]
    axes.set_xlabel("HGCN depth\nframed: chosen by validation\n" + " · ".join(baselines))
    _titles(axes, sweep, "Test AUC by granularity and depth", "±")
    return figure


def draw_depth(sweep: Sweep) -> Figure:
    """Draw AUC against depth with one line per granularity, as in HyperCTR's Figure 4."""
    figure, axes = figures.canvas(7.2, 4.4)
    series = [(every, [(depth, _score_at(sweep, every, depth)) for depth in sweep.depths]) for every in sweep.every]
    figures.lines(axes, series, _across(sweep), "slice width")
    axes.set_xticks(sweep.depths)
    axes.set_xlim(min(sweep.depths) - 0.25, max(sweep.depths) + 0.25)
    axes.set_xlabel("HGCN depth")
    _titles(axes, sweep, "Test AUC against HGCN depth")
    return figure


def draw_granularity(sweep: Sweep) -> Figure:
    """Draw AUC against slice width on a log axis with one line per depth, as in HyperCTR's Figure 5.

    If every cell has slices of equal counts, the axis is the number of slices.
    """
    series = {str(depth): {every: sweep.cells.get((every, depth)) for every in sweep.every} for depth in sweep.depths}
    timed = any(not granularity(every).by_count for every in sweep.every)
    figure, axes = _against_width(sweep, series, "HGCN depth", "slice width" if timed else "number of slices")
    _titles(axes, sweep, "Test AUC against slice width" if timed else "Test AUC against the number of slices")
    return figure


def draw_links(sweep: Sweep) -> Figure:
    """Draw AUC against the width of the periods of the links, with one line per kind of links."""
    series = {
        title: {every: sweep.links.get((kind, every)) for every in sweep.every}
        for kind, title in LINKS.items()
        if kind != "none"
    }
    timed = any(not granularity(every).by_count for every in sweep.every)
    what = "width of the links' periods" if timed else "number of the links' periods"
    none = sweep.links.get(("none", ""))
    figure, axes = _against_width(sweep, series, "links", what, [("no links", score(none))] if none else [])
    _titles(axes, sweep, f"Test AUC against the {what}")
    return figure


def _against_width(
    sweep: Sweep,
    series: Mapping[str, Mapping[str, list[dict] | None]],
    title: str,
    what: str,
    across: Sequence[tuple[str, Score]] = (),
) -> tuple[Figure, Axes]:
    """Draw runs by width, one line per name; counts have an axis where there are no widths by the clock."""
    figure, axes = figures.canvas(7.2, 4.4)
    cuts = {every: granularity(every) for every in sweep.every}
    timed = [every for every, cut in cuts.items() if not cut.by_count]
    widths = {every: cuts[every].days or float(cuts[every].count) for every in timed or sweep.every}
    place = dict(sorted(widths.items(), key=lambda pair: pair[1]))
    lines = [
        (name, [(x, score(cells[every]) if cells.get(every) else None) for every, x in place.items()])
        for name, cells in series.items()
    ]
    figures.lines(axes, lines, [*across, *_across(sweep)], title)
    figures.log_ticks(axes, {every if timed else str(cuts[every].count): x for every, x in place.items()})
    axes.set_xlabel(f"{what} (log scale)" if timed else f"{what}, equal counts (log scale)")
    return figure, axes


def _score_at(sweep: Sweep, every: str, depth: int) -> Score | None:
    rows = sweep.cells.get((every, depth))
    return score(rows) if rows else None


def _across(sweep: Sweep) -> list[tuple[str, Score]]:
    """Return what is drawn beside the model: the baselines, and of the referees the best by validation AUC."""
    found = [(title, score(sweep.baselines[name])) for name, title in BASELINES.items() if sweep.baselines[name]]
    valid = {name: score(some, "valid_auc").mean for name, some in sweep.baselines.items() if name in REFEREES and some}
    known = {name: mean for name, mean in valid.items() if not math.isnan(mean)}
    if known:
        best = max(known, key=known.__getitem__)
        found.append((f"best referee: {sweep.titles[best]}", score(sweep.baselines[best])))
    return found


def _titles(axes: Axes, sweep: Sweep, title: str, marks: str = "bands") -> None:
    protocol = f"{sweep.model} on {sweep.data}, {sweep.split} split; {marks}: 95 %, {sweep.interval()}"
    figures.titles(axes, title, protocol, leaky_line(sweep.split) if sweep.leaky else "")


def leaky_line(split: str) -> str:
    """Write the line for a figure whose scores come from a leaky split."""
    return f"LEAKY: {split} split, not comparable with a temporal one"
