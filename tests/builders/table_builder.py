"""The one way in which tests make `Tables`: by the names of the columns, whatever groups they belong to."""

from dataclasses import fields, replace

import torch
import torch.nn.functional as F

from hyperctr.batch import Clicks, Columns, Fields, Graphs, Ids, ItemModalities, Priors, Tables, Titles, Values

GROUPS = {
    "ids": Ids, "modalities": ItemModalities, "fields": Fields, "priors": Priors, "clicks": Clicks, "titles": Titles,
    "graphs": Graphs,
}  # fmt: skip
SHORT = {"modalities": "features", "titles": "words"}
"""Names of columns that their groups call otherwise."""


def make_tables(num_users, num_items, modalities=None, present=None, **columns):
    """Make tables; users and items whose `seen_user` and `seen_item` are not given all have training rows."""
    seen = {"seen_user": torch.ones(num_users).bool(), "seen_item": torch.ones(num_items).bool()}
    features = {"modalities": modalities or {}, "present": present or {}}
    empty = Tables(Ids(num_users, num_items, **seen))
    return change_tables(empty, **features, **columns)


def change_tables(tables, **columns):
    """Return the tables with other columns."""
    names = {SHORT.get(name, name): x for name, x in columns.items()}
    for side in ("user", "item", "context"):
        if {f"{side}_fields", f"{side}_sizes"} & names.keys():
            codes, sizes = names.pop(f"{side}_fields", {}), names.pop(f"{side}_sizes", {})
            values = Values(torch.stack([codes[name] for name in sizes], 1)) if sizes and codes else None
            names[side] = Columns(sizes, values=values)
    if "titles" in columns and columns["titles"] is None:
        tables, _ = replace(tables, titles=None), names.pop("words")
    changed = {}
    for group, record in GROUPS.items():
        own = {f.name: names.pop(f.name) for f in fields(record) if f.name in names}
        if own:
            old = getattr(tables, group)
            changed[group] = record(**own) if old is None else replace(old, **own)
    return replace(tables, **changed, **names)


def every_kind(sizes, count=None):
    """Make columns of every kind: the categories, a piecewise and a periodic number, tags and a vector.

    Args:
        sizes: number of values of each category.
        count: users or items whose values are drawn, and an unknown one is added; None: without values.
    """
    columns = Columns(
        dict(sizes), {"price": torch.tensor([-1.0, 0.0, 0.5]), "age": torch.empty(0)}, {"words": 6}, {"look": 3}
    )
    if count is None:
        return columns
    known = draw_values(columns, count)
    codes = torch.cat([known.codes, torch.tensor([[*sizes.values()]])])
    numbers = F.pad(known.numbers, (0, 0, 0, 1), value=float("nan"))
    tags = F.pad(known.tags, (0, 0, 0, 0, 0, 1), value=-1)
    return replace(columns, values=Values(codes, numbers, tags, tuple(F.pad(x, (0, 0, 0, 1)) for x in known.vectors)))


def draw_values(columns, count, draw=None, codes=None):
    """Draw the values of `count` rows, all known but for a number in six rows and some tags."""
    if codes is None:
        codes = torch.stack([torch.randint(size, (count,), generator=draw) for size in columns.sizes.values()], 1)
    numbers = torch.randn(count, len(columns.numbers), generator=draw)
    missing = torch.arange(count)[:, None] % 6 == torch.arange(numbers.shape[1])
    numbers[missing] = float("nan")
    tags = [torch.randint(-1, size, (count, 3), generator=draw) for size in columns.tags.values()]
    vectors = tuple(torch.randn(count, width, generator=draw) for width in columns.vectors.values())
    return Values(codes, numbers, torch.stack(tags, 1), vectors)
