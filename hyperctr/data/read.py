"""Read a data folder: interactions, items and users as .parquet or .csv, one .npy per modality, and a dataset.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.catalog import builtin_roles, find
from hyperctr.data.dataset import Dataset
from hyperctr.data.features.columns import encode_categories, tfidf_vectors
from hyperctr.data.interactions import PARTS, Interactions
from hyperctr.data.items import Items, Users, present_rows
from hyperctr.data.parse import (
    count_rows,
    first_line,
    number_by_table,
    parse_conversion,
    parse_ids,
    parse_labels,
    parse_numbers,
    parse_parts,
    seconds,
)
from hyperctr.data.roles import Roles
from hyperctr.data.tables import read_table
from hyperctr.strict import did_you_mean

TABLES = ("interactions", "items", "users")
ENDINGS = (
    ".parquet",
    *(f"{kind}{packed}" for packed in ("", ".gz", ".bz2", ".xz", ".zip") for kind in (".csv", ".tsv", ".txt")),
)
"""Endings of the names of tables in a folder; where there are several, the first is read."""


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
    return _checked(Path(path), roles, modalities)[1]


@dataclass(frozen=True)
class _Opened:
    """Tables as they are on disk, and their roles."""

    path: Path
    tables: Mapping[str, pl.DataFrame]
    files: Mapping[str, Path]
    roles: Roles
    notes: tuple[str, ...]

    @property
    def where(self) -> str:
        """The file of the interactions, for an error."""
        return str(self.files["interactions"])


def _checked(path: Path, stated: Roles | None, modalities: Sequence[str] | None) -> tuple[_Opened, Dataset]:
    try:
        opened = _open(path, stated)
        return opened, _read(opened, modalities)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"cannot read {path}: {first_line(error)}") from None


def _open(path: Path, stated: Roles | None) -> _Opened:
    notes: list[str] = []
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if path.is_dir():
        files = {}
        for table in TABLES:
            present = [file for ending in ENDINGS if (file := path / f"{table}{ending}").is_file()]
            if present:
                files[table] = present[0]
            notes += [f"{file.name} was not read: {present[0].name} is there too." for file in present[1:]]
        if "interactions" not in files:
            inside = sorted(entry.name for entry in path.iterdir())[:12]
            raise ValueError(
                f"{path} has no interactions.parquet or interactions.csv; found {', '.join(inside) or 'nothing'}; "
                "rename the table of clicks, or give the path of one file"
            )
    else:
        files = {"interactions": path}
    read_tables = {table: read_table(file) for table, file in files.items()}
    tables = {table: found.frame for table, found in read_tables.items()}
    notes += [note for found in read_tables.values() for note in found.notes]
    if not len(tables["interactions"]):
        raise ValueError(f"{files['interactions']} has no rows")
    chosen, said = _roles(path, tables, files, stated or {})
    for table, asked in role_table.columns_of(chosen).items():
        for role, column in asked:
            if table in tables and column not in tables[table].columns:
                raise ValueError(role_table.missing_column(str(files[table]), role, column, tables[table].columns))
            if table not in tables and role != "id":
                raise ValueError(f"{path}: {role} asks for column {column!r} of {table}.parquet or .csv; there is none")
    return _Opened(path, tables, files, chosen, (*notes, *said))


def _roles(path: Path, tables: Mapping, files: Mapping, stated: Roles) -> tuple[Roles, list[str]]:
    """Find the roles: from dataset.toml, built in, or guessed; `stated` entries of [interactions] replace them."""
    folder, where = (path, str(path / "dataset.toml")) if path.is_dir() else (path.parent, str(path))
    columns = {table: tables[table].columns if table in tables else [] for table in TABLES}
    said: list[str] = []
    if path.is_dir() and (path / "dataset.toml").is_file():
        chosen = role_table.read_toml(path / "dataset.toml")
    elif (chosen := builtin_roles(folder.resolve())) and _fits(chosen, columns):
        said.append("Roles are the built-in ones of this public set.")
    else:
        chosen, guessed = role_table.guess(*columns.values(), str(files["interactions"]), stated)
        said.append(guessed)
    if stated:
        replaced = set(stated)
        replaced |= {"time", "order"} if replaced & {"time", "order"} else set()
        replaced |= {"click_at_least", "non_clicks"} if "click" in replaced else set()
        kept = {role: value for role, value in chosen["interactions"].items() if role not in replaced}
        chosen = chosen | {"interactions": kept | stated}
    chosen = role_table.parse(chosen, where)
    return chosen, said + ([chosen["note"]] if "note" in chosen else [])


def _fits(roles: Roles, columns: Mapping[str, Sequence[str]]) -> bool:
    """Check that the tables have every column that the roles ask for; only an items or users table may be absent."""
    asked = role_table.columns_of(role_table.parse(roles, ""))
    return all(
        column in columns[table] for table in TABLES for role, column in asked[table] if columns[table] or role != "id"
    )


def _read(opened: _Opened, wanted: Sequence[str] | None) -> Dataset:
    """Turn opened tables into a data set; `wanted` names the modalities to load, None for all."""
    notes = list(opened.notes)
    columns = _event_columns(opened, notes)
    table, columns = _complete_rows(opened, columns, notes)
    numbers, ids = _numbered(opened, columns)
    interactions = _interactions(opened, table, columns, numbers, ids, notes)
    items, users = _items_and_users(opened, wanted, ids, notes)
    path = opened.path
    name = opened.roles.get("name", path.name if path.is_dir() else path.stem)
    return Dataset(name, interactions, items, users, tuple(notes))


def _event_columns(opened: _Opened, notes: list[str]) -> dict[str, pl.Series]:
    """Parse the user, item, time and (if any) label of each event; a missing value is null."""
    log, table, where = opened.roles["interactions"], opened.tables["interactions"], opened.where
    columns = {role: parse_ids(table, log[role], where) for role in ("user", "item")}
    columns["time"] = _times(opened, columns["user"], notes)
    if "click" in log:
        columns["label"] = parse_labels(
            table[log["click"]], log.get("click_at_least"), f"{where}, column {log['click']!r}"
        )
    return columns


def _times(opened: _Opened, user: pl.Series, notes: list[str]) -> pl.Series:
    """Parse the times; without times, number the events in the order that the roles ask for."""
    log, table, where = opened.roles["interactions"], opened.tables["interactions"], opened.where
    if "time" in log:
        if table.schema[log["time"]] == pl.String or getattr(table.schema[log["time"]], "time_zone", "") is None:
            notes.append("Times without a zone are read as UTC.")
        return seconds(table[log["time"]], f"{where}, column {log['time']!r}")
    if log.get("order") is False:
        notes.append("There are no times and no order: each user's events were shuffled, with a fixed seed.")
        return _shuffled(user)
    if "order" in log:
        notes.append(f"There are no times: {log['order']} is used as the order of events, over all users.")
        return parse_numbers(table[log["order"]], f"{where}, column {log['order']!r}").floor().cast(pl.Int64)
    notes.append("There are no times: the order of the rows is used as the order of events, over all users.")
    if len(user.rle()) == user.n_unique() < len(table):
        notes.append("But rows are grouped by user: if that is not their order, write order = false in dataset.toml.")
    return pl.Series(np.arange(len(table)))


def _complete_rows(
    opened: _Opened, columns: dict[str, pl.Series], notes: list[str]
) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Set aside the rows that miss a user, item, time or label, and count repeated rows."""
    table = opened.tables["interactions"]
    keep = np.ones(len(table), dtype=bool)
    for role, column in columns.items():
        if missing := int((keep & column.is_null().to_numpy()).sum()):
            notes.append(f"{count_rows(missing)} without a {role} {'was' if missing == 1 else 'were'} set aside.")
            keep &= column.is_not_null().to_numpy()
    if not keep.any():
        raise ValueError(f"{opened.where}: no row has a {', '.join(columns)}; all {len(table)} were set aside")
    table = table.filter(pl.Series(keep))
    flat = table.select(column for column, kind in table.schema.items() if not kind.is_nested())
    if repeated := len(flat) - flat.n_unique():
        notes.append(f"{count_rows(repeated)} {'repeats' if repeated == 1 else 'repeat'} an earlier one exactly; kept.")
    return table, {role: column.filter(pl.Series(keep)) for role, column in columns.items()}


def _numbered(opened: _Opened, columns: Mapping[str, pl.Series]) -> tuple[dict, dict]:
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
    opened: _Opened,
    table: pl.DataFrame,
    columns: Mapping[str, pl.Series],
    numbers: Mapping[str, np.ndarray],
    ids: Mapping[str, np.ndarray],
    notes: list[str],
) -> Interactions:
    """Collect the events with their labels, conversions, lengths, types and context."""
    log, where = opened.roles["interactions"], opened.where
    label = columns["label"].to_numpy() if "label" in columns else np.ones(len(table))
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
    context = [encode_categories(table[column]) for column in log.get("context", [])]
    type_codes, num_types = encode_categories(table[log["type"]]) if "type" in log else (None, 0)
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
        type=type_codes,
        num_types=num_types,
        context=np.stack([codes for codes, _ in context], axis=1) if context else None,
        context_names=tuple(log.get("context", [])),
        context_sizes=tuple(size for _, size in context),
        has_time="time" in log,
        part=part,
        logged_non_clicks=logged,
    )


def _items_and_users(
    opened: _Opened, wanted: Sequence[str] | None, ids: Mapping[str, np.ndarray], notes: list[str]
) -> tuple[Items, Users]:
    """Collect the fields, titles and modalities of items and users."""
    roles, tables = opened.roles, opened.tables
    matrices, present, said = _modalities(opened, wanted, len(ids["item"]))
    notes += said
    item_fields, item_sizes = _fields(tables.get("items"), roles.get("items", {}).get("fields", []))
    user_fields, user_sizes = _fields(tables.get("users"), roles.get("users", {}).get("fields", []))
    title = roles.get("items", {}).get("title")
    items = Items(
        num_items=len(ids["item"]),
        ids=ids["item"],
        fields=item_fields,
        sizes=item_sizes,
        modalities=matrices,
        present=present,
        titles=tables["items"][title].cast(pl.String).fill_null("").to_numpy() if title else None,
    )
    return items, Users(len(ids["user"]), ids["user"], user_fields, user_sizes)


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


def _what_parts_mean(column: str, part: np.ndarray) -> str:
    sizes = ", ".join(f"{(part == number).sum()} {name}" for number, name in enumerate(PARTS))
    without = f" and {count_rows(int((part < 0).sum()))} in no part" if (part < 0).any() else ""
    return f'The source gives a split (column {column}): {sizes} rows{without}. split.kind = "given" uses it.'


def _fields(table: pl.DataFrame | None, names: Sequence[str]) -> tuple[dict, dict]:
    """Encode the categorical fields of a table; return their codes and their numbers of categories."""
    coded = {name: encode_categories(table[name]) for name in names} if table is not None else {}
    return {name: codes for name, (codes, _) in coded.items()}, {name: size for name, (_, size) in coded.items()}


def _modalities(opened: _Opened, wanted: Sequence[str] | None, num_items: int) -> tuple[dict, dict, list[str]]:
    """Open the matrices, or make them from item columns; also return which items have each, and notes."""
    path, stated, said = opened.path, opened.roles.get("modalities"), []
    if stated is None:
        stated = {file.stem: file.name for file in sorted(path.glob("*.npy"))} if path.is_dir() else {}
        if stated:
            said.append(f"Every .npy file of the folder is a modality: {', '.join(stated)}.")
        if stated and "items" not in opened.tables:
            said.append("There is no items table: row i of a modality belongs to the i-th item id in sorted order.")
    for name in wanted or ():
        if name not in stated:
            near, known = did_you_mean(name, stated), ", ".join(stated) or "none"
            raise ValueError(f"{path}: no modality {name!r}{near and ', ' + near} (there are: {known})")
    matrices, present = {}, {}
    for name, made in stated.items():
        if wanted is not None and name not in wanted:
            continue
        if isinstance(made, str):
            where, matrix = str(path / made), _load(path / made)
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


def read_pairs(path: str | Path) -> pl.DataFrame:
    """Read rows to score: user_id, item_id and timestamp (made whole seconds); other columns are kept.

    Raises:
        ValueError: the file is unreadable, or it lacks one of the three columns, or a value in them.
    """
    file = Path(path)
    table = read_table(file).frame
    for name in ("user_id", "item_id", "timestamp"):
        if name not in table.columns:
            raise ValueError(role_table.missing_column(str(file), "a row to score", name, table.columns))
        if table[name].null_count():
            raise ValueError(f"{file}: {name} is empty in row {table[name].is_null().arg_max()} (the first is 0)")
    return table.with_columns(seconds(table["timestamp"], f"{file}, column 'timestamp'").alias("timestamp"))
