"""Through which hyperedges: the links between a candidate and the user's clicks, and the users who make the strongest.

A link is an entry of the hypergraph operator, with one hyperedge per user over the whole past up to the start of the
row's period. It is a sum with one part per user who has both items. Undirected, a user with |e| items adds
1 / (|e| - 1); directed, a user who went from the click to the candidate adds gap^-1/2. Both are divided by the root of
the two items' degrees. See `graphs.links`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr.analysis.asked import Asked, Bars, Table, item_name, short, when
from hyperctr.data.features.past.links import PastLinks, PastNearest
from hyperctr.runs.checks import reads_numbers
from hyperctr.runs.past_facts import LINKS, PERIODS

if TYPE_CHECKING:
    import polars as pl

LETTERS = {"like": "K", "like_step": "W", "next": "T", "next_step": "V"}  # as the pages of definitions call them


@dataclass(frozen=True)
class LinkParts:
    """The links of a row, and what the strongest of each kind is made of.

    Attributes:
        entries: one line per kind of link and click that is linked, the strongest first: link (its name), letter,
            meaning, place (1 is the latest click), item (the id of the clicked item), name, when, value.
        users: one line per kind of link and user who has both items of its strongest pair: link, item, name (of the
            clicked item), user, value, share (of the entry), size (items of the user's hyperedge; directed: how often
            the candidate came after the click), gap (directed: fewest places from one to the other, 0 else), own
            (whether it is the row's user).
        clicks: how many clicks were looked up.
        notes: since when, and what cannot be shown.
    """

    entries: pl.DataFrame
    users: pl.DataFrame
    clicks: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in types that JSON has."""
        return {"entries": self.entries.to_dicts(), "users": self.users.to_dicts(), "notes": [*self.notes]}

    def tables(self, most: int) -> Iterator[Table]:
        """Yield the strongest links of each kind in words, and the users behind the strongest pair.

        An item that was clicked several times is listed once, at its latest click. Users are listed once where two
        kinds of link have one strongest pair and the same shares.
        """
        lines = []
        for part in self._by_link():
            for line in part.head(most).iter_rows(named=True):
                letter = f"{line['letter']}: " if line["letter"] else ""
                lines.append([f"{letter}{line['meaning']}", line["name"], line["when"], f"{line['value']:.4g}"])
        if lines:
            title = f"through which links: the strongest of each kind between the item and {self.clicks} clicks"
            yield title, ["", "click", "when", "link"], lines
        shown = []
        for _, part in self.users.group_by("link", maintain_order=True):
            key = part["item"][0], part["user"].to_list(), part["gap"].max() > 0
            if key in shown:
                continue
            shown.append(key)
            yield _users(part, most)

    def _by_link(self) -> Iterator[pl.DataFrame]:
        """Yield the entries of each kind of link, one per item."""
        for _, part in self.entries.group_by("link", maintain_order=True):
            yield part.unique("item", keep="first", maintain_order=True)

    def bars(self, most: int) -> Iterator[Bars]:
        """Yield the strongest links of each kind for a picture."""
        for part in self._by_link():
            lines = [
                (line["value"], f"{short(line['name'])}, {line['when']}")
                for line in part.head(most).iter_rows(named=True)
            ]
            first = part.row(0, named=True)
            yield first["letter"] or first["link"], len(part), lines


def _users(part: pl.DataFrame, most: int) -> Table:
    directed = part["gap"].max() > 0
    users, total = part["user"].n_unique(), part["value"].sum()
    lines = []
    for line in part.head(most).iter_rows(named=True):
        who = f"user {line['user']}" + " (of this row)" * line["own"]
        what = f"{line['gap']}" if directed else f"{line['size']:,} items"
        lines.append([who, what, f"{line['value']:.4g}", f"{line['share']:.1%}"])
    what, link = "went from it to the item" if directed else "clicked both", part["link"][0]
    title = f"who makes the strongest link {LETTERS.get(link, link)}, with {part['name'][0]}"
    title = f"{title}: {users:,} who {what} (parts add up to {total:.4g})"
    return title, ["", "places from click to item" if directed else "hyperedge of", "part", "share"], lines


def of_links(asked: Asked) -> LinkParts:
    """Look up the links between the row's item and the user's latest clicks, and take the strongest apart."""
    import polars as pl

    data, entries, users, notes, clicks = asked.ready.dataset, [], [], [], 0
    parts = () if asked.past is None else asked.past.parts
    times = asked.clicks.time[0].numpy()[asked.clicks.mask[0].numpy()][::-1]
    for part in (x for x in parts if isinstance(x, PastLinks | PastNearest)):
        looked_up, clicked, count = part.entries(asked.rows)
        clicks = int(count[0])
        for name, entry in looked_up.items():
            about = name, *_words(name)
            order = np.argsort(-entry[0, :clicks], kind="stable")
            order = order[entry[0, order] != 0]
            for c in order.tolist():
                item = int(clicked[0, c])
                named = c + 1, str(data.items.ids[item]), item_name(data, item), when(data, times[c])
                entries.append((*about, *named, float(entry[0, c])))
            if isinstance(part, PastLinks) and len(order):
                users += _shares(asked, part, name, int(clicked[0, order[0]]))
        if isinstance(part, PastLinks) and not notes:
            start = part.begins(asked.time)
            notes.append(
                f"links are made of the clicks strictly before {when(data, start)}, where the period of the row begins"
            )
    if not any(isinstance(x, PastLinks | PastNearest) for x in parts):
        notes.append("the run reads no links (data.past): there are none to take apart")
    elif not reads_numbers(asked.ready.run):
        notes.append(f"{asked.ready.run.model_name} reads no links: they move nothing")
    elif not clicks:
        notes.append(f"user {data.users.ids[asked.user]} had no click before: the item is linked with none")
    elif not entries:
        notes.append(f"none of the {clicks} latest clicks is linked with the item")
    text, number, whole = pl.String, pl.Float64, pl.Int64
    schema = dict(zip(
        ("link", "letter", "meaning", "place", "item", "name", "when", "value"),
        (text, text, text, whole, text, text, text, number), strict=True,
    ))  # fmt: skip
    shares = dict(zip(
        ("link", "item", "name", "user", "value", "share", "size", "gap", "own"),
        (text, text, text, text, number, number, whole, whole, pl.Boolean), strict=True,
    ))  # fmt: skip
    frames = (pl.DataFrame(lines, kinds, orient="row") for lines, kinds in ((entries, schema), (users, shares)))
    return LinkParts(*frames, clicks, tuple(notes))


def _words(name: str) -> tuple[str, str]:
    """Return the letter of a link and what it means."""
    if name.startswith("nearest_"):
        return "", f"cosine of {name.removeprefix('nearest_')}, among the nearest items"
    begin = next((begin for begin in PERIODS if name.startswith(begin)), "")
    name = name.removeprefix(begin)
    return LETTERS[name], LINKS[name] + PERIODS.get(begin, "")


def _shares(asked: Asked, part: PastLinks, link: str, item: int) -> Iterator[tuple]:
    """Yield what each user adds to the link of the row's item with a clicked one."""
    data, found = asked.ready.dataset, part.parts(link, asked.item, item, asked.time)
    total = found.value.sum()
    columns = zip(*(x.tolist() for x in found), strict=True)
    for user, value, size, gap in columns:
        named = link, str(data.items.ids[item]), item_name(data, item), str(data.users.ids[user])
        yield *named, value, value / total, size, gap, user == asked.user
