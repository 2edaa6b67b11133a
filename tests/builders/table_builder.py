"""The one way in which tests make `Tables`: by the names of the columns, whatever groups they belong to."""

from dataclasses import fields, replace

import torch

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
