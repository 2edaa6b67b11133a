"""`hyperctr explain`: what moved one prediction: hyperedges, modalities, slices, clicks, links and numbers.

Every run is explained by its clicks (`explain_clicks`), the links that it reads (`explain_links`), and its numbers and
columns (`explain_numbers`). A run of HyperCTR is also explained by what its hypergraphs do, which is the rest of this
file. All is done by leaving one thing out and scoring again.

An effect is the logit as it is minus the logit without one thing, both computed in full: no gradient stands in for it.
Effects do not add up to the logit, because things work together; two hyperedges that say the same have little effect
each.

Each effect leaves out one of these:
- a *hyperedge* of a modality, among those that contain the user in the slice whose user-interest hypergraphs the row
  reads, or the item in its item-homogeneous ones: out of the hypergraph of its modality, and with it out of the group;
- a *modality*: all of its hypergraphs that the row reads ("hypergraphs"), or the features of every item ("features");
- a *slice*: the user's own clicks of it, out of the history; or all hyperedges of the user (the item) in the slice
  whose hypergraphs the row reads, so that its own vector stands for its state, or zero where `model.residual` is off;
- a *history click*: out of the history alone. The hyperedges that it made stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphs import Hypergraph
from graphs.build import subhypergraph, union
from hyperctr.analysis import explain_draw
from hyperctr.analysis.asked import Asked, Bars, Table, score, short
from hyperctr.analysis.asked import item_name as _item
from hyperctr.analysis.asked import when as _when
from hyperctr.analysis.explain_clicks import NOTE, Clicks, of_clicks
from hyperctr.analysis.explain_links import LinkParts, of_links
from hyperctr.analysis.explain_numbers import Numbers, of_numbers
from hyperctr.analysis.perturb import PerturbedMembers, PerturbedRow
from hyperctr.data import clock
from hyperctr.data.dataset import Dataset
from hyperctr.models.hyperctr.model import HyperCTR
from hyperctr.reporting import figures
from hyperctr.runs.members import Members
from hyperctr.runs.open import Opened

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


KINDS = ("modality", "slice", "hyperedge", "history click")
COLUMNS = ("kind", "side", "slice", "modality", "name", "size", "logit", "effect")
SIDES = ("users", "items")
HEADS = ("", "left out", "effect on the logit")
GROUPS = {
    ("modality", ""): "modalities",
    ("slice", ""): "slices",
    ("hyperedge", "users"): "hyperedges of the user",
    ("hyperedge", "items"): "hyperedges of the item",
    ("history click", ""): "history clicks",
}
"""What a picture puts together: kind and side, "" for any."""


@dataclass(frozen=True)
class Explanation:
    """The effects of everything that one prediction reads.

    Attributes:
        user, item: their names; a title where the data has one.
        time: seconds since 1970, with decimals where it is no whole second; a position in data without times.
        when: the time in words.
        logit: as it is.
        frame: one line per thing left out, grouped by kind, largest effects first: kind (see `KINDS`), side (users
            or items, "" for both), slice (null for all), modality ("" where it is none), name, size (members of a
            hyperedge, clicks of a slice, hyperedges behind a state, items with a modality), logit (without it), effect
            (with it minus without). Empty for a model without hypergraphs.
        clicks, links, numbers: which click, through which hyperedges, which number.
        notes: what of the hypergraphs could not be left out, and why.
    """

    user: str
    item: str
    time: int | float
    when: str
    logit: float
    frame: pl.DataFrame
    clicks: Clicks
    links: LinkParts
    numbers: Numbers
    notes: tuple[str, ...] = ()

    @property
    def probability(self) -> float:
        """Click probability as it is."""
        return float(1 / (1 + np.exp(-self.logit)))

    @property
    def title(self) -> str:
        """The prediction in one line."""
        return f"{self.user}, {self.item}, {self.when}: probability {self.probability:.3f}, logit {self.logit:+.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in types that JSON has."""
        about = {"user": self.user, "item": self.item, "time": self.time, "when": self.when}
        found = {"logit": self.logit, "probability": self.probability, "notes": list(self.notes)}
        parts = {name: getattr(self, name).to_dict() for name in ("clicks", "links", "numbers")}
        return about | found | {"effects": self.frame.to_dicts()} | parts

    def draw(self, most: int = 7) -> Figure:
        """Draw effects as bars, at most `most` of each kind (to the right what speaks for the click), and the links."""
        return explain_draw.draw_bars(self.title, [*self.bars(most)], [*self.links.bars(most)], self.notes)

    def save(self, path: str | Path) -> Path:
        """Write the picture: .png, .svg or .pdf.

        Raises:
            ValueError: another kind of file.
        """
        figures.save(self.draw(), Path(path))
        return Path(path)

    def lines(self, most: int = 5) -> list[list[str]]:
        """List the largest effects of each kind in words: group, what was left out, effect."""
        return [
            [name, _label(line), f"{line['effect']:+.4f}"]
            for (kind, side), name in GROUPS.items()
            for line in _part(self.frame, kind, side).head(most).iter_rows(named=True)
        ]

    def bars(self, most: int) -> Iterator[Bars]:
        """Yield the groups of bars of the picture; clicks are there twice only where numbers are made of them."""
        for (kind, side), name in GROUPS.items():
            part = _part(self.frame, kind, side)
            yield name, len(part), [(x["effect"], _label(x)) for x in part.head(most).iter_rows(named=True)]
        if self.clicks.reads or not len(self.frame):
            yield from self.clicks.bars(most)
        yield from self.numbers.bars(most)

    def parts(self, most: int) -> Iterator[tuple[list[Table], tuple[str, ...]]]:
        """Yield the tables of the clicks, of the links and of the numbers in words, and what is to say about each."""
        if self.clicks.adds or not len(self.frame):
            notes = (NOTE,) if len(self.clicks.frame) else ()
            yield [*self.clicks.tables(most)], (*notes, *self.clicks.notes)
        yield [*self.links.tables(most)], self.links.notes
        yield [*self.numbers.tables(most)], self.numbers.notes

    def _repr_html_(self) -> str:
        from html import escape

        def table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
            rows = "".join("<tr>" + "".join(f"<td>{escape(x)}</td>" for x in line) + "</tr>" for line in lines)
            heads = "".join(f"<th>{escape(x)}</th>" for x in head)
            return f"<p>{escape(title)}</p><table><tr>{heads}</tr>{rows}</table>"

        found = [table(self.title, HEADS, self.lines()), *(f"<p>{escape(note)}</p>" for note in self.notes)]
        for tables, notes in self.parts(5):
            found += [*(table(*x) for x in tables), *(f"<p>{escape(note)}</p>" for note in notes)]
        return "".join(found)


def explain(opened: Opened, user: Any, item: Any, at: Any = None, top: int = 20) -> Explanation:
    """Leave out each thing that the prediction of (user, item, time) reads, and predict again without it.

    The context is that of the row of the log with this user and time, if there is one, as evaluation reads it.

    Args:
        opened: a trained run.
        user, item: by the data set's own ids, also as text.
        at: a time as `Opened.predict` takes it; only events strictly before it are read. None: right after the last
            event of the log.
        top: most hyperedges per side, and most clicks, that are left out of HyperCTR: the hyperedges with the largest
            share in the node's row of Eq. 5 (heavy ones, and ones whose members are in few others), and the latest
            clicks.

    Raises:
        ValueError: the data has no such user or item.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    asked = Asked.of(opened, user, item, at)
    data, model = opened.prepared.dataset, opened.model
    who = f"user {data.users.ids[asked.user]}", _item(data, asked.item)
    lines: list[Line] = []
    notes: list[str] = []
    models = list(model.models) if isinstance(model, Members) else [model]
    same = len(models) == 1 or opened.prepared.run.interest.mode != "joint"  # as hypergraphs of all members
    if same and all(isinstance(x, HyperCTR) for x in models):
        row = PerturbedMembers.of(models, asked.batch) if len(models) > 1 else PerturbedRow.of(model, asked.batch)
        logit = row.logit()
        lines = [*_modalities(row, data), *_slices(row, data), *_hyperedges(row, data, top), *_clicks(row, data, top)]
        notes = [*_notes(row, data, who, top)]
    else:
        logit = float(score(model, asked.batch).logit[0])
        if opened.prepared.tables.graphs.slices is not None:
            notes = ["hypergraphs cannot be left out inside masks, or where each member has hypergraphs of its own"]
    time, parts = clock.seconds(asked.time, data.interactions.has_time), (of_clicks, of_links, of_numbers)
    answers = (part(asked) for part in parts)
    return Explanation(*who, time, _when(data, asked.time), logit, _frame(lines, logit), *answers, tuple(notes))


Line = tuple[str, str, int | None, str, str, int, float]
"""COLUMNS but for the effect."""
Row = PerturbedRow | PerturbedMembers


def _modalities(row: Row, data: Dataset) -> Iterator[Line]:
    for m, name in enumerate(row.model.modalities, 1):
        size = int(data.items.present[name].sum())
        emptied = row
        for k, side in enumerate(row.sides):
            if side is not None:
                every = np.ones(side.graphs[m].num_hyperedges, bool)
                emptied = emptied.with_hypergraphs(k, _without(row, side.graphs, m, every))
        yield "modality", "", None, name, "hypergraphs", size, emptied.logit()
        yield "modality", "", None, name, "features", size, row.without_features(name).logit()


def _slices(row: Row, data: Dataset) -> Iterator[Line]:
    for k, state in enumerate(row.states):
        if state is not None:
            name = f"all hyperedges of the {SIDES[k][:-1]} from {_start(row, data, row.slices[k])}"
            yield "slice", SIDES[k], row.slices[k], "", name, len(_held(row, k)), row.with_hypergraphs(k, None).logit()
    at = row.clicks()[2]
    for n in np.unique(at)[::-1].tolist():
        name = f"own clicks from {_start(row, data, n)}"
        yield "slice", "users", n, "", name, int((at == n).sum()), row.with_history(at != n).logit()


def _hyperedges(row: Row, data: Dataset, top: int) -> Iterator[Line]:
    for k, side in enumerate(row.sides):
        for m, e in _held(row, k)[:top]:
            h = side.graphs[m]
            logit = row.with_hypergraphs(k, _without(row, side.graphs, m, np.arange(h.num_hyperedges) == e)).logit()
            modality = row.model.states.slices.names[m] if m else ""
            yield "hyperedge", SIDES[k], row.slices[k], modality, _called(data, k, h, e), len(h.members(e)), logit


def _clicks(row: Row, data: Dataset, top: int) -> Iterator[Line]:
    item, time, at = row.clicks()
    for c in range(len(item))[: -top - 1 : -1]:
        name = f"{_item(data, item[c])}, {_when(data, time[c])}"
        yield "history click", "users", int(at[c]), "", name, 1, row.with_history(np.arange(len(item)) != c).logit()


def _held(row: Row, k: int) -> list[tuple[int, int]]:
    """The hyperedges of the row's user or item, as (graph, hyperedge); what weighs most in its row of Eq. 5 first."""
    if row.states[k] is None:
        return []
    found = []
    graphs = row.sides[k].graphs
    for m in range(min(1, len(graphs) - 1), len(graphs)):  # the group only where there is no modality
        h = row.model.states.weighted(graphs[m])
        scale = torch.where(h.isolated, 0.0, h.degree().clamp(min=1e-9) ** -0.5)
        for e in h.hyperedges(row.local(k)).tolist():
            weight = 1.0 if h.hyperedge_weight is None else float(h.hyperedge_weight[e])
            found.append((-weight * float(scale[h.members(e)].mean()), m, e))
    return [(m, e) for _, m, e in sorted(found)]


def _without(row: Row, graphs: Sequence[Hypergraph], m: int, gone: np.ndarray) -> list[Hypergraph]:
    """The hypergraphs of a side without some hyperedges of graph m, and without their part in the group."""
    rest = list(graphs)
    rest[m] = subhypergraph(graphs[m], hyperedges=~gone)
    if m:
        rest[0] = union(*rest[1:], merge=not row.model.states.slices.own, warn=False)  # as it was built
    return rest


def _start(row: Row, data: Dataset, slice: int) -> str:
    """The first day of a slice."""
    return _when(data, row.model.states.slices.grid.start(slice))


def _notes(row: Row, data: Dataset, who: tuple[str, str], top: int) -> Iterator[str]:
    """What could not be left out, and why."""
    if not row.model.config.depth:
        yield "the run has depth 0: it reads no hypergraph"
        return
    instead = "its own vector stands" if row.model.config.residual else "zero stands"
    for k, name in enumerate(who):
        held = len(_held(row, k))
        if row.slices[k] is None:
            yield f"{name} was in no slice that the row reads, so {instead} for its hyperedges"
        elif not held:
            since = _start(row, data, row.slices[k])
            yield f"{name} was in no hyperedge of its last slice, from {since}, so {instead} for them"
        elif held > top:
            yield f"of the {held:,} hyperedges of {name}, the {top} of most weight were left out"
    if not len(row.clicks()[0]):
        yield f"{who[0]} had no click before"


def _called(data: Dataset, k: int, h: Hypergraph, e: int) -> str:
    """What a hyperedge stands for, an item on the users' side and a user on the items'; how many were merged with it.

    Numbers from the last item (user) on are those of the recipes S2-cluster and S2-couser.
    """
    found, users, items = int(h.hyperedge_ids[e]), data.users.num_users, len(data.items)
    if k == 0:
        name = _item(data, found) if found < items else f"cluster {found - items}"
    else:
        name = f"user {data.users.ids[found]}" if found < users else f"users like those of {_item(data, found - users)}"
    alike = 0 if h.hyperedge_weight is None else round(float(h.hyperedge_weight[e])) - 1
    return f"{name} and {alike} alike" if alike else name


def _frame(lines: list[Line], logit: float) -> pl.DataFrame:
    import polars as pl

    kinds = dict(
        zip(COLUMNS, (pl.String, pl.String, pl.Int64, pl.String, pl.String, pl.Int64, pl.Float64), strict=False)
    )
    frame = pl.DataFrame(lines, {**kinds, "logit": pl.Float64}, orient="row")
    frame = frame.with_columns(effect=logit - pl.col("logit"))
    order = pl.col("kind").replace_strict({kind: n for n, kind in enumerate(KINDS)})
    return frame.sort(order, -pl.col("effect").abs(), maintain_order=True)


def _part(frame: pl.DataFrame, kind: str, side: str) -> pl.DataFrame:
    """The lines of one of GROUPS."""
    return frame.filter(kind=kind, side=side) if side else frame.filter(kind=kind)


def _label(line: dict) -> str:
    """A bar's name, short enough for a margin."""
    name = line["name"]
    if line["kind"] == "modality":
        return f"{line['modality']}: {name}"
    if line["kind"] == "history click":
        title, day = name.rsplit(", ", 1)
        return f"{short(title)}, {day}"
    if line["kind"] == "hyperedge":
        return f"{short(name)} ({line['modality']}{', ' if line['modality'] else ''}{line['size']} {line['side']})"
    return f"{name} ({line['size']})"
