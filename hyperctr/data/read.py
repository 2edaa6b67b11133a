"""Read a data folder: interactions, items and users as .parquet or .csv, one .npy per modality, and a dataset.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.catalog import find
from hyperctr.data.columns import Category, Column, Number, Vectors, read_column
from hyperctr.data.dataset import Dataset
from hyperctr.data.features.tfidf import tfidf_vectors
from hyperctr.data.interactions import PARTS, Interactions
from hyperctr.data.items import Items, Users, present_rows
from hyperctr.data.kinds import Kind, likely
from hyperctr.data.opened import Opened, open_tables
from hyperctr.data.parse import (
    count_repeats,
    count_rows,
    first_line,
    number_by_table,
    parse_conversion,
    parse_ids,
    parse_labels,
    parse_numbers,
    parse_order,
    parse_parts,
)
from hyperctr.data.roles import Roles
from hyperctr.data.times import parse_times
from hyperctr.strict import did_you_mean


def load_dataset(name_or_path: str | Path, modalities: Sequence[str] | None = None) -> Dataset:
    """Read a public data set by its name, or a folder of your own.

    Args:
        name_or_path: a name that `hyperctr data list` prints, or what `read` takes.
        modalities: names of the modalities to load; all when left out.

    Raises:
        ValueError: in one line, what was asked, what was found and what would work.

    >>> import hyperctr
    >>> from hyperctr.data import planted
    >>> _ = planted.write("drift", "world", scale=0.02)
    >>> dataset = hyperctr.load_dataset("world")
    >>> dataset.name, dataset.interactions.num_users, list(dataset.items.modalities)
    ('planted-drift', 20, ['visual', 'acoustic', 'textual'])
    """
    return read(find(name_or_path), modalities)


def read(path: str | Path, modalities: Sequence[str] | None = None, roles: Roles | None = None) -> Dataset:
    """Read a folder, or a single table of interactions.

    The role of each column comes from the folder's dataset.toml. Without that file it comes from the built-in roles of
    the public set that the folder is named after. Otherwise it is guessed from the usual column names, and the guess is
    written in the notes.

    Args:
        path: a folder with interactions.parquet or .csv, or one file: Parquet or text, see `sniff`.
        modalities: names of the modalities to load; all when left out. An empty list loads none.
        roles: entries of [interactions] that replace the folder's own, such as {"user": "uid"}.

    Returns:
        The data set, rows in time order. Matrices are memory-mapped, not loaded.

    Raises:
        ValueError: in one line, what was asked, what was found and what would work.

    >>> from pathlib import Path
    >>> file = Path("clicks.csv")
    >>> _ = file.write_text("user,item,timestamp\\nann,book,5\\nben,book,7\\nann,film,9\\n")
    >>> dataset = read(file)
    >>> dataset.interactions
    Interactions(3 rows, 3 clicks, 2 users, 2 items, 1970-01-01 to 1970-01-01)
    >>> dataset.users.ids.tolist(), dataset.interactions.user.tolist()
    (['ann', 'ben'], [0, 1, 0])
    >>> print(dataset.notes[0])
    Roles guessed from column names: user = user; item = item; time = timestamp. A dataset.toml can say otherwise.
    """
    return dataset_of(open_tables(Path(path), roles), modalities)


def dataset_of(opened: Opened, wanted: Sequence[str] | None = None) -> Dataset:
    """Turn opened tables into a data set; the table of interactions is taken out of `opened`, to free its memory.

    Args:
        opened: what `open_tables` returns.
        wanted: names of the modalities to load; None for all.

    Raises:
        ValueError: in one line, what was asked, what was found and what would work.
    """
    try:
        notes = list(opened.notes)
        columns = _event_columns(opened, notes)
        rows = len(opened.tables["interactions"])
        table, columns = _complete_rows(opened, columns, notes)
        with _saying_what_is_not_counted(rows - len(table)):
            numbers, ids = _numbered(opened, columns)
            interactions = _interactions(opened, table, columns, numbers, ids, notes)
        notes += _what_ties_mean(interactions)
        items, users = _items_and_users(opened, wanted, ids, notes)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"cannot read {opened.path}: {first_line(error)}") from None
    path = opened.path
    name = opened.roles.get("name", path.name if path.is_dir() else path.stem)
    return Dataset(name, interactions, items, users, tuple(notes), opened.roles)


@contextmanager
def _saying_what_is_not_counted(aside: int) -> Iterator[None]:
    """Add to an error that rows were set aside before: the rows and lines that it names are counted without them."""
    try:
        yield
    except ValueError as error:
        if not aside:
            raise
        verb = "was" if aside == 1 else "were"
        raise ValueError(f"{error} ({count_rows(aside)} {verb} set aside before and not counted here)") from None


def _event_columns(opened: Opened, notes: list[str]) -> dict[str, pl.Series]:
    """Parse the user, item, time and (if any) label of each event; a missing value is null."""
    log, table, where = opened.roles["interactions"], opened.tables["interactions"], opened.where
    columns = {role: parse_ids(table, log[role], where) for role in ("user", "item")}
    columns["time"] = _times(opened, columns["user"], notes)
    if "click" in log:
        columns["label"] = parse_labels(
            table[log["click"]], log.get("click_at_least"), f"{where}, column {log['click']!r}"
        )
    return columns


def _times(opened: Opened, user: pl.Series, notes: list[str]) -> pl.Series:
    """Parse the times; without times, number the events in the order that the roles ask for."""
    log, table, where = opened.roles["interactions"], opened.tables["interactions"], opened.where
    if "time" in log:
        times, said = parse_times(table[log["time"]], f"{where}, column {log['time']!r}", log.get("time_unit"))
        notes += said
        return times
    if log.get("order") is False:
        notes.append("There are no times and no order: each user's events were shuffled, with a fixed seed.")
        return _shuffled(user)
    if "order" in log:
        notes.append(f"There are no times: {log['order']} is used as the order of events, over all users.")
        return parse_order(table[log["order"]], f"{where}, column {log['order']!r}")
    notes.append("There are no times: the order of the rows is used as the order of events, over all users.")
    if len(user.rle()) == user.n_unique() < len(table):
        notes.append("But rows are grouped by user: if that is not their order, write order = false in dataset.toml.")
    return pl.Series(np.arange(len(table)))


def _complete_rows(
    opened: Opened, columns: dict[str, pl.Series], notes: list[str]
) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Set aside the rows that miss a user, item, time or label, and count repeated rows.

    Returns:
        The columns that have yet to be read, and the parsed ones, of the rows that are left.
    """
    table = opened.tables.pop("interactions")
    keep = None
    for role, column in columns.items():
        there = column.is_not_null() if column.null_count() else None
        if there is not None and (missing := int((~there if keep is None else keep & ~there).sum())):
            without = f"without {'an' if role == 'item' else 'a'} {role}"
            notes.append(f"{count_rows(missing)} {without} {'was' if missing == 1 else 'were'} set aside.")
            keep = there if keep is None else keep & there
    if keep is not None and not keep.any():
        raise ValueError(f"{opened.where}: no row has a {', '.join(columns)}; all {len(table)} were set aside")
    if keep is not None:
        table = table.filter(keep)
        columns = {role: column.filter(keep) for role, column in columns.items()}
    if repeated := count_repeats(table):
        notes.append(f"{count_rows(repeated)} {'repeats' if repeated == 1 else 'repeat'} an earlier one exactly; kept.")
    asked = dict.fromkeys(
        column
        for role, column in role_table.columns_of(opened.roles)["interactions"]
        if role not in ("user", "item", "time", "order", "click")
    )
    return table.select(list(asked)), columns


def _numbered(opened: Opened, columns: Mapping[str, pl.Series]) -> tuple[dict, dict]:
    """Number the users and items of the events; also return the original ids in the order of their numbers."""
    log, numbers, ids = opened.roles["interactions"], {}, {}
    for role, table in (("user", "users"), ("item", "items")):
        listed = None
        if table in opened.tables:
            names = opened.roles.get(table, {}).get("id", log[role])
            listed = parse_ids(opened.tables[table], names, str(opened.files[table]))
        other = str(opened.files.get(table))
        numbers[role], ids[role] = number_by_table(columns[role], listed, role, opened.where, other)
    return numbers, ids


def _interactions(
    opened: Opened,
    table: pl.DataFrame,
    columns: Mapping[str, pl.Series],
    numbers: Mapping[str, np.ndarray],
    ids: Mapping[str, np.ndarray],
    notes: list[str],
) -> Interactions:
    """Collect the events with their labels, conversions, lengths, types and context."""
    log, where = opened.roles["interactions"], opened.where
    label = columns["label"].to_numpy() if "label" in columns else np.ones(len(columns["user"]), np.float32)
    _check_labels(log, label, f"{where}, column {log.get('click')!r}")
    logged = log.get("non_clicks") == "logged"
    if "non_clicks" not in log and "click_at_least" not in log:
        logged = bool((label == 0).any())
    notes.append(_what_labels_mean(log, label, logged))
    conversion = length = None
    if "conversion" in log:
        conversion, said = parse_conversion(table, role_table.share(log["conversion"]), where)
        notes += said
    if "length" in log:
        column = parse_numbers(table[log["length"]], f"{where}, column {log['length']!r}", 0)
        length = column.set(column == 0, None).cast(pl.Float32).fill_null(np.nan).to_numpy()
    context = _columns(table, log.get("context", []), where, "interactions.context", notes)
    if left := [name for name, column in context.items() if not logged and column.kind.of != "moment"]:
        notes.append(
            f"Context that is not read, as negatives have to be drawn: {', '.join(left)}. State what is of the moment: "
            'NAME = { kind = "category", of = "moment" } under [interactions.context] of dataset.toml.'
        )
    types = _types(table, log["type"], where, notes) if "type" in log else None
    part = None
    if "split" in log:
        part = parse_parts(table[log["split"]], f"{where}, column {log['split']!r}")
        notes.append(_what_parts_mean(log["split"], part))
    return Interactions(
        user=numbers["user"],
        item=numbers["item"],
        time=columns["time"].to_numpy(),
        label=label,
        num_users=len(ids["user"]),
        num_items=len(ids["item"]),
        conversion=conversion,
        length=length,
        type=types and types.codes,
        num_types=types.size if types else 0,
        context=context,
        has_time="time" in log,
        part=part,
        scored=_scored(log, table, columns["time"], label, where, notes) if "use" in log else None,
        logged_non_clicks=logged,
    )


def _items_and_users(
    opened: Opened, wanted: Sequence[str] | None, ids: Mapping[str, np.ndarray], notes: list[str]
) -> tuple[Items, Users]:
    """Collect the fields, titles and modalities of items and users."""
    roles, tables = opened.roles, opened.tables
    fields = {}
    for name in ("items", "users"):
        stated, where = roles.get(name, {}).get("fields", []), str(opened.files.get(name))
        fields[name] = _columns(tables[name], stated, where, f"{name}.fields", notes) if name in tables else {}
    made = {name: column.matrix for name, column in fields["items"].items() if isinstance(column, Vectors)}
    matrices, present, said = _modalities(opened, wanted, len(ids["item"]), made)
    notes += said
    title = roles.get("items", {}).get("title")
    items = Items(
        num_items=len(ids["item"]),
        ids=ids["item"],
        fields={name: column for name, column in fields["items"].items() if name not in made},
        modalities=matrices,
        present=present,
        titles=tables["items"][title].cast(pl.String).fill_null("").to_numpy() if title else None,
    )
    return items, Users(len(ids["user"]), ids["user"], fields["users"])


def _types(table: pl.DataFrame, stated: str | Sequence[str], where: str, notes: list[str]) -> Category:
    """Read the behaviour type of each row: a column, or the combination of several flags."""
    if isinstance(stated, str):
        return Category.read(table[stated], bins=True)
    flags = {name: parse_labels(table[name], None, f"{where}, column {name!r}") == 1 for name in stated}
    words = [pl.when(name).then(pl.lit(name)).alias(name) for name in stated]
    joined = pl.concat_str(words, separator="+", ignore_nulls=True)
    types = Category.read(pl.DataFrame(flags).select(joined).to_series())
    counts = np.bincount(types.codes, minlength=types.size)
    said = ", ".join(f"{name} {count}" for name, count in zip(["none", *types.values], counts, strict=True) if count)
    notes.append(f"The behaviour type is the combination of {', '.join(stated)}: {said}.")
    return types


def _scored(
    log: Mapping, table: pl.DataFrame, time: pl.Series, label: np.ndarray, where: str, notes: list[str]
) -> np.ndarray:
    """Read which rows may be trained on and scored: a column of true and false, or a span of time."""
    use = log["use"]
    if isinstance(use, str):
        scored = (parse_labels(table[use], None, f"{where}, column {use!r}") == 1).fill_null(False).to_numpy()
    else:
        scored = np.ones(len(time), bool)
        for end, value in use.items():
            if value in ("", None):
                continue
            bound = pl.Series([value])
            told = f"interactions.use.{end}"
            at = parse_times(bound, told, log.get("time_unit"))[0] if "time" in log else parse_numbers(bound, told)
            scored &= (time >= at[0] if end == "from" else time < at[0]).to_numpy()
    if not scored.any():
        raise ValueError(f"{where}: no row is to be trained on or scored, by use = {use!r}; all would be history alone")
    if alone := int((~scored).sum()):
        notes.append(
            f"{count_rows(alone)} {'is' if alone == 1 else 'are'} history alone (use): in histories, counts and "
            "hypergraphs, but never trained on or scored."
        )
        clicks, all_clicks = int(label[~scored].sum()), int(label.sum())
        if clicks > all_clicks / 2:
            notes.append(
                f"They have {clicks} of the {all_clicks} clicks, and most slices of equal counts (slices.count)."
            )
    return scored


def _shuffled(user: pl.Series) -> pl.Series:
    """Number each user's rows 0, 1, ... in a random order that is the same at every call."""
    draw = np.random.default_rng(0).permutation(len(user))
    table = pl.DataFrame({"user": user, "draw": draw})
    return table.select(pl.col("draw").rank("ordinal").over("user").cast(pl.Int64) - 1)["draw"]


def _what_labels_mean(log: Mapping, label: np.ndarray, logged: bool) -> str:
    others = count_rows(int((label == 0).sum()))
    if "click" not in log:
        return "Every row is a click; negatives have to be drawn."
    click = log["click"] if "click_at_least" not in log else f"{log['click']} >= {log['click_at_least']:g}"
    if logged:
        return f"A click is {click}; {others} without one were shown and not clicked."
    return f"A click is {click}; {others} without one are neither samples nor history, and negatives have to be drawn."


def _what_ties_mean(log: Interactions) -> list[str]:
    """Count the rows that have the time of another row, in one sentence; nothing without times or such rows."""
    same = np.append(np.diff(log.time) == 0, False)
    same |= np.roll(same, 1)
    if not log.has_time or not (count := int(same.sum())):
        return []
    return [f"{count_rows(count)} have the time of another one and keep the order of the file, which training follows."]


def _check_labels(log: Mapping, label: np.ndarray, where: str) -> None:
    """Refuse a log without clicks, and one whose logged non-clicks are none."""
    if not label.any():
        asked = f"{log['click_at_least']:g} or more" if "click_at_least" in log else "1"
        raise ValueError(f"{where}: no row is a click ({asked}); name another column or another click_at_least")
    if log.get("non_clicks") == "logged" and label.all():
        raise ValueError(
            f'{where}: every row is a click, but non_clicks = "logged" says that the rows without one are here; '
            'with non_clicks = "unobserved" negatives are drawn'
        )


def _what_parts_mean(column: str, part: np.ndarray) -> str:
    sizes = ", ".join(f"{(part == number).sum()} {name}" for number, name in enumerate(PARTS))
    without = f" and {count_rows(int((part < 0).sum()))} in no part" if (part < 0).any() else ""
    return f'The source gives a split (column {column}): {sizes} rows{without}. split.kind = "given" uses it.'


def _columns(
    table: pl.DataFrame, stated: Sequence[str] | Mapping[str, Any], where: str, key: str, notes: list[str]
) -> dict[str, Column]:
    """Read the columns that a list or table of dataset.toml names; `key` is its name there, for a note."""
    found, better = {}, []
    for name in stated:
        kind = Kind.parse(name, stated[name], key.endswith("context")) if isinstance(stated, Mapping) else None
        found[name] = read_column(table[name], kind, f"{where}, column {name!r}")
        if isinstance(found[name], Number) and (infinite := int(found[name].unknown.sum())):
            notes.append(
                f"{count_rows(infinite)} with an infinite {name} {'counts' if infinite == 1 else 'count'} as missing."
            )
        better += [hint] if kind is None and (hint := likely(name, table[name])) else []
    if better:
        notes.append(f"Each value is a category, but {'; '.join(better)} under [{key}] of dataset.toml says so.")
    return found


def _modalities(
    opened: Opened, wanted: Sequence[str] | None, num_items: int, columns: Mapping[str, np.ndarray]
) -> tuple[dict, dict, list[str]]:
    """Open the matrices, or make them from item columns; also return which items have each, and notes.

    `columns` are item columns of the kinds vector and text, each a modality of the column's name.
    """
    path, stated, said = opened.path, opened.roles.get("modalities"), []
    if stated is None:
        stated = {file.stem: file.name for file in sorted(path.glob("*.npy"))} if path.is_dir() else {}
        if stated:
            said.append(f"Every .npy file of the folder is a modality: {', '.join(stated)}.")
        if stated and "items" not in opened.tables:
            said.append("There is no items table: row i of a modality belongs to the i-th item id in sorted order.")
    for name in columns:
        if name in stated:
            raise ValueError(f"{path}: {name!r} is an item column of vectors and a modality; rename one of them")
    for name in wanted or ():
        if name not in (every := [*stated, *columns]):
            near, known = did_you_mean(name, every), ", ".join(every) or "none"
            raise ValueError(f"{path}: no modality {name!r}{near and ', ' + near} (there are: {known})")
    matrices = {name: matrix for name, matrix in columns.items() if wanted is None or name in wanted}
    present = {name: matrix.any(1) for name, matrix in matrices.items()}
    for name, made in stated.items():
        if wanted is not None and name not in wanted:
            continue
        if isinstance(made, str):
            file = opened.matrices.get(name, path / made)
            where, matrix = str(file), _load(file)
        else:
            where = f"{path}: modality {name!r}"
            try:
                matrix = tfidf_vectors(opened.tables["items"], **made)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            said.append(f"Modality {name} was made from the item columns {', '.join(made['columns'])}.")
        present[name] = present_rows(matrix, num_items, where)
        matrices[name] = matrix
    return matrices, present, said


def _load(file: Path) -> np.ndarray:
    """Memory-map a .npy file. open_memmap reads plain arrays only, so nothing can be unpickled."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except FileNotFoundError:
        raise ValueError(f"there is no file {file}") from None
    except Exception as error:  # a damaged header can raise almost anything
        raise ValueError(f"{file} is not a readable .npy matrix: {first_line(error)}") from None
