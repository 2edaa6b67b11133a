"""The folder format: interactions, items and users as .parquet or .csv, one <modality>.npy each, and a dataset.toml."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.content import categories, vectors
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users, present_rows
from hyperctr.data.known import known
from hyperctr.data.roles import Roles

TABLES = ("interactions", "items", "users")
MARK = "# written by hyperctr"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as read: its tables, and one sentence for each thing that the reader assumed or set aside."""

    name: str
    interactions: Interactions
    items: Items
    users: Users
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {self.interactions!r}, {self.items!r}, {self.users!r}, {len(self.notes)} notes)"


# --- reading -------------------------------------------------------------------------------------------------------


def read(path: str | Path, modalities: Sequence[str] | None = None, roles: Roles | None = None) -> Dataset:
    """Read a folder, or a single table of interactions.

    Which column plays which role comes from the folder's dataset.toml; without one from the built-in roles of the
    public set that the folder is named after; else it is guessed from the usual column names and said in the notes.

    Args:
        path: a folder with interactions.parquet or .csv, or one .parquet, .csv, .tsv or .txt file.
        modalities: names of the modalities to load; all when left out. An empty list loads none.
        roles: entries of [interactions] that go before the folder's own, such as {"user": "uid"}.

    Returns:
        The data set, rows in time order. Matrices are memory-mapped, not loaded.

    Raises:
        ValueError: one line that says what was asked, what was found and what would work.
    """
    return _checked(Path(path), roles, modalities)[1]


@dataclass(frozen=True)
class _Opened:
    """Tables as they lie on disk, and their roles."""

    path: Path
    tables: Mapping[str, pl.DataFrame]
    files: Mapping[str, Path]
    roles: Roles
    notes: tuple[str, ...]


def _checked(path: Path, stated: Roles | None, modalities: Sequence[str] | None) -> tuple[_Opened, Dataset]:
    try:
        opened = _open(path, stated)
        return opened, _read(opened, modalities)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"cannot read {path}: {_line(error)}") from None


def _open(path: Path, stated: Roles | None) -> _Opened:
    notes: list[str] = []
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if path.is_dir():
        files = {}
        for table in TABLES:
            found = [file for suffix in (".parquet", ".csv") if (file := path / f"{table}{suffix}").is_file()]
            if found:
                files[table] = found[0]
            if len(found) > 1:
                notes.append(f"{found[1].name} was not read: {found[0].name} is there too.")
        if "interactions" not in files:
            inside = sorted(entry.name for entry in path.iterdir())[:12]
            raise ValueError(
                f"{path} holds no interactions.parquet or interactions.csv; found {', '.join(inside) or 'nothing'}; "
                "rename the table of clicks, or give the path of one file"
            )
    else:
        files = {"interactions": path}
    tables = {table: read_table(file) for table, file in files.items()}
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
    """Find the roles: dataset.toml, else the built-in ones, else a guess; `stated` ones of [interactions] go first."""
    folder, where = (path, str(path / "dataset.toml")) if path.is_dir() else (path.parent, str(path))
    columns = {table: tables[table].columns if table in tables else [] for table in TABLES}
    said: list[str] = []
    if path.is_dir() and (path / "dataset.toml").is_file():
        chosen = role_table.read_toml(path / "dataset.toml")
    elif (chosen := known(folder.resolve())) and _fits(chosen, columns):
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
    """Whether the tables that are there hold every column that the roles ask for."""
    asked = role_table.columns_of(role_table.parse(roles, ""))
    return all(
        column in columns[table] for table in TABLES for role, column in asked[table] if columns[table] or role != "id"
    )


def _read(opened: _Opened, wanted: Sequence[str] | None) -> Dataset:
    roles, tables, path = opened.roles, opened.tables, opened.path
    where = str(opened.files["interactions"])
    log, table = roles["interactions"], tables["interactions"]
    notes = list(opened.notes)

    columns: dict[str, pl.Series] = {role: _ids(table, log[role], where) for role in ("user", "item")}
    if "time" in log:
        columns["time"] = seconds(table[log["time"]], f"{where}, column {log['time']!r}")
        if table.schema[log["time"]] == pl.String or getattr(table.schema[log["time"]], "time_zone", "") is None:
            notes.append("Times without a zone are read as UTC.")
    elif log.get("order") is False:
        columns["time"] = _drawn(columns["user"])
        notes.append("There are no times and no order: each user's events were put in a random one, always the same.")
    elif "order" in log:
        columns["time"] = _numbers(table[log["order"]], f"{where}, column {log['order']!r}").floor().cast(pl.Int64)
        notes.append(f"There are no times: {log['order']} is taken as the order of events, of all users alike.")
    else:
        columns["time"] = pl.Series(np.arange(len(table)))
        notes.append("There are no times: the order of the rows is taken as the order of events, of all users alike.")
        if len(columns["user"].rle()) == columns["user"].n_unique() < len(table):
            notes.append("But rows are grouped by user: if that order is none, say order = false in dataset.toml.")
    if "click" in log:
        columns["label"] = _labels(table[log["click"]], log.get("click_at_least"), f"{where}, column {log['click']!r}")

    keep = np.ones(len(table), dtype=bool)
    for role, column in columns.items():
        if without := int((keep & column.is_null().to_numpy()).sum()):
            notes.append(f"{_rows(without)} without a {role} {'was' if without == 1 else 'were'} set aside.")
            keep &= column.is_not_null().to_numpy()
    if not keep.any():
        raise ValueError(f"{where}: no row has a {', '.join(columns)}; all {len(table)} were set aside")
    table = table.filter(pl.Series(keep))
    columns = {role: column.filter(pl.Series(keep)) for role, column in columns.items()}
    flat = table.select(column for column, kind in table.schema.items() if not kind.is_nested())
    if repeated := len(flat) - flat.n_unique():
        notes.append(f"{_rows(repeated)} {'repeats' if repeated == 1 else 'repeat'} an earlier one exactly; kept.")

    number, ids = {}, {}
    for role, other in (("user", "users"), ("item", "items")):
        listed = None
        if other in tables:
            listed = _ids(tables[other], roles.get(other, {}).get("id", log[role]), str(opened.files[other]))
        number[role], ids[role] = _numbered(columns[role], listed, role, where, str(opened.files.get(other)))

    label = columns["label"].to_numpy() if "label" in columns else np.ones(len(table))
    logged = log.get("non_clicks") == "logged"
    if "non_clicks" not in log and "click_at_least" not in log:
        logged = bool((label == 0).any())
    notes.append(_what_labels_mean(log, label, logged))
    context = [categories(table[column]) for column in log.get("context", [])]
    conversion = None
    if "conversion" in log:
        conversion = _numbers(table[log["conversion"]], f"{where}, column {log['conversion']!r}", 0, 1)
        conversion = conversion.cast(pl.Float32).fill_null(np.nan).to_numpy()
    type_codes, num_types = categories(table[log["type"]]) if "type" in log else (None, 0)
    interactions = Interactions(
        user=number["user"],
        item=number["item"],
        time=columns["time"].to_numpy(),
        label=label,
        num_users=len(ids["user"]),
        num_items=len(ids["item"]),
        conversion=conversion,
        type=type_codes,
        num_types=num_types,
        context=np.stack([codes for codes, _ in context], axis=1) if context else None,
        context_names=tuple(log.get("context", [])),
        context_sizes=tuple(size for _, size in context),
        has_time="time" in log,
        logged_non_clicks=logged,
    )
    matrices, present, said = _modalities(opened, wanted, len(ids["item"]))
    item_fields, item_sizes = _fields(tables.get("items"), roles.get("items", {}).get("fields", []))
    user_fields, user_sizes = _fields(tables.get("users"), roles.get("users", {}).get("fields", []))
    title = roles.get("items", {}).get("title")
    return Dataset(
        name=roles.get("name", path.name if path.is_dir() else path.stem),
        interactions=interactions,
        items=Items(
            num_items=len(ids["item"]),
            ids=ids["item"],
            fields=item_fields,
            sizes=item_sizes,
            modalities=matrices,
            present=present,
            titles=tables["items"][title].cast(pl.String).fill_null("").to_numpy() if title else None,
        ),
        users=Users(len(ids["user"]), ids["user"], user_fields, user_sizes),
        notes=(*notes, *said),
    )


def _drawn(user: pl.Series) -> pl.Series:
    """Places 0, 1, .. of each user's rows in an order drawn at random, the same at every call."""
    draw = np.random.default_rng(0).permutation(len(user))
    table = pl.DataFrame({"user": user, "draw": draw})
    return table.select(pl.col("draw").rank("ordinal").over("user").cast(pl.Int64) - 1)["draw"]


def _ids(table: pl.DataFrame, names: Sequence[str], where: str) -> pl.Series:
    """One id a row: int64, or text; several columns are joined by "|". Missing ones are null."""
    parts = []
    for name in names:
        column = table[name]
        if column.dtype.is_nested() or column.dtype == pl.Binary:
            raise ValueError(f"{where}: column {name!r} cannot be an id, it holds {column.dtype}")
        if column.dtype.is_float():
            column = column.fill_nan(None)
            if not (column.drop_nulls() == column.drop_nulls().round()).all():
                raise ValueError(f"{where}: column {name!r} cannot be an id, it holds fractions such as {column[0]}")
            column = column.cast(pl.Int64)
        fits = column.dtype.is_integer() and (column.max() or 0) < 2**63
        parts.append(column.cast(pl.Int64 if fits else pl.String).alias(name))
    if len(parts) == 1:
        return parts[0].alias("id")
    for part in parts:
        if part.dtype == pl.String and part.str.contains("|", literal=True).any():
            raise ValueError(f'{where}: column {part.name!r} holds "|", which joins the ids of {", ".join(names)}')
    return table.select(pl.concat_str(parts, separator="|").alias("id")).to_series()


def _numbered(column: pl.Series, listed: pl.Series | None, role: str, where: str, other: str):
    """Number ids by their row in the users or items table; without a table by their sorted order."""
    if listed is None:
        listed = column.unique().sort()
    if listed.null_count():
        raise ValueError(f"{other}: row {listed.is_null().arg_max()} (the first is 0) has no id")
    if listed.dtype != column.dtype:
        listed, column = listed.cast(pl.String), column.cast(pl.String)
    if listed.n_unique() < len(listed):
        twice = listed.filter(listed.is_duplicated())[0]
        raise ValueError(f"{other}: {role} id {twice!r} stands there more than once; every {role} needs one row")
    index = pl.DataFrame({"id": listed, "number": np.arange(len(listed))})
    number = column.alias("id").to_frame().join(index, on="id", how="left", maintain_order="left")["number"]
    if unknown := number.null_count():
        first = column[int(number.is_null().arg_max())]
        raise ValueError(
            f"{where}: {role} id {first!r} is not in {other} ({_rows(unknown)} of such {role}s); "
            f"add {'it' if unknown == 1 else 'them'} there or take the rows out"
        )
    return number.to_numpy().astype(np.int64), listed.to_numpy()


def seconds(column: pl.Series, where: str) -> pl.Series:
    """Turn a column of times into whole seconds since 1970 UTC; fractions are cut off, nulls stay.

    Args:
        column: unix seconds, ISO 8601 text, or dates. Times without a zone count as UTC.
        where: file and column, for an error.

    Raises:
        ValueError: text that is no ISO time (the first is named), or numbers that look like milliseconds or yyyymmdd.
    """
    if column.dtype.is_temporal() and column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None))).dt.epoch("us") // 1_000_000
    if column.dtype == pl.String:
        texts = column.drop_nulls().unique(maintain_order=True)
        parsed = {text: _iso_seconds(text) for text in texts}
        if bad := next((text for text, value in parsed.items() if value is None), None):
            row = (column == bad).arg_max()
            raise ValueError(f"{where}: {bad!r} in row {row} (the first is 0) is neither unix seconds nor an ISO time")
        column = column.replace_strict(parsed, default=None, return_dtype=pl.Int64)
    column = _numbers(column, where).floor().cast(pl.Int64)
    if column.abs().max() is not None and column.abs().max() > 1e11:
        raise ValueError(
            f"{where}: {column.drop_nulls()[0]} looks like milliseconds or finer; divide by 1000 so that it is seconds"
        )
    if column.min() is not None and column.min() >= 19_000_101 and column.max() <= 21_001_231:
        raise ValueError(f"{where}: {column.drop_nulls()[0]} looks like a date yyyymmdd; write it as text yyyy-mm-dd")
    return column


def _iso_seconds(text: str) -> int | None:
    text = text.strip()
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit() and len(text) != 8:
            return int(float(text) // 1)
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        return None


def _numbers(column: pl.Series, where: str, low: float = -1e18, high: float = 1e18) -> pl.Series:
    """Check a column of numbers and return it as float64; NaN becomes null."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise ValueError(f"{where} must hold numbers, found {column.drop_nulls()[0]!r} ({column.dtype})")
    numbers = column.cast(pl.Float64).fill_nan(None)
    wrong = ((numbers < low) | (numbers > high)).fill_null(False)
    if wrong.any():
        row = wrong.arg_max()
        raise ValueError(f"{where}: {numbers[row]:g} in row {row} (the first is 0) is not within [{low:g}, {high:g}]")
    return numbers


def _labels(column: pl.Series, at_least: float | None, where: str) -> pl.Series:
    numbers = _numbers(column, where)
    if at_least is not None:
        return (numbers >= at_least).cast(pl.Float32)
    wrong = ((numbers != 0) & (numbers != 1)).fill_null(False)
    if wrong.any():
        found = f"{numbers[wrong.arg_max()]:g} in row {wrong.arg_max()} (the first is 0)"
        raise ValueError(f"{where} must hold 0 and 1, found {found}; click_at_least = ... makes clicks of ratings")
    return numbers.cast(pl.Float32)


def _what_labels_mean(log: Mapping, label: np.ndarray, logged: bool) -> str:
    others = _rows(int((label == 0).sum()))
    if "click" not in log:
        return "Every row is a click; negatives have to be drawn."
    click = log["click"] if "click_at_least" not in log else f"{log['click']} >= {log['click_at_least']:g}"
    if logged:
        return f"A click is {click}; {others} without one were shown and not clicked."
    return f"A click is {click}; {others} without one are neither samples nor history, and negatives have to be drawn."


def _fields(table: pl.DataFrame | None, names: Sequence[str]) -> tuple[dict, dict]:
    coded = {name: categories(table[name]) for name in names} if table is not None else {}
    return {name: codes for name, (codes, _) in coded.items()}, {name: size for name, (_, size) in coded.items()}


def _modalities(opened: _Opened, wanted: Sequence[str] | None, num_items: int) -> tuple[dict, dict, list[str]]:
    """Open or make the matrices; only those wanted."""
    path, stated, said = opened.path, opened.roles.get("modalities"), []
    if stated is None:
        stated = {file.stem: file.name for file in sorted(path.glob("*.npy"))} if path.is_dir() else {}
        if stated:
            said.append(f"Every .npy file of the folder is a modality: {', '.join(stated)}.")
        if stated and "items" not in opened.tables:
            said.append("There is no items table: row i of a modality belongs to the i-th item id in sorted order.")
    for name in wanted or ():
        if name not in stated:
            known = ", ".join(stated) or "none"
            raise ValueError(f"{path}: no modality {name!r}{role_table.nearest(name, stated)} (there are: {known})")
    matrices, present = {}, {}
    for name, made in stated.items():
        if wanted is not None and name not in wanted:
            continue
        if isinstance(made, str):
            where, matrix = str(path / made), _load(path / made)
        else:
            where = f"{path}: modality {name!r}"
            try:
                matrix = vectors(opened.tables["items"], **made)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            said.append(f"Modality {name} was made from the item columns {', '.join(made['columns'])}.")
        present[name] = present_rows(matrix, num_items, where)
        matrices[name] = matrix
    return matrices, present, said


def _load(file: Path) -> np.ndarray:
    """Memory-map a .npy file; open_memmap knows plain arrays only, so nothing can be unpickled."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except FileNotFoundError:
        raise ValueError(f"there is no file {file}") from None
    except Exception as error:  # a damaged header can raise almost anything
        raise ValueError(f"{file} is not a readable .npy matrix: {_line(error)}") from None


def read_table(file: Path) -> pl.DataFrame:
    """Read a .parquet file, or text with a header: .csv, .tsv, .txt, parted by commas or tabs.

    Text becomes numbers only where that changes nothing, so that the id 007 stays as it is; an empty cell is null.

    Raises:
        ValueError: the file is missing or unreadable, or of another kind.
    """
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file, glob=False)
        if file.suffix not in (".csv", ".tsv", ".txt"):
            raise ValueError(f"{file} must be a .parquet, .csv, .tsv or .txt file")
        with file.open("rb") as lines:
            header = lines.readline()
        separator = "\t" if header.count(b"\t") > header.count(b",") else ","
        table = pl.read_csv(file, separator=separator, infer_schema=False, glob=False)
        return table.select(_narrowed(column) for column in table)
    except FileNotFoundError:
        raise ValueError(f"there is no file {file}") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"cannot read {file}: {_line(error)}") from None


def _narrowed(column: pl.Series) -> pl.Series:
    """Turn text into whole numbers, decimals or true/false where every cell allows it and nothing is lost."""
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() == column.null_count() and (whole.cast(pl.String) == column).fill_null(True).all():
        return whole
    if (column.str.to_lowercase().is_in(["true", "false"])).fill_null(True).all():
        return column.str.to_lowercase() == "true"
    decimal = column.cast(pl.Float64, strict=False)
    exact = not column.str.contains(r"^[+-]?(0\d|\d{16,}$)").fill_null(False).any()  # 007, or more digits than fit
    return decimal if exact and decimal.null_count() == column.null_count() else column


def read_pairs(path: str | Path) -> pl.DataFrame:
    """Read rows to score: user_id, item_id and timestamp, the last as whole seconds; other columns are kept.

    Raises:
        ValueError: the file is unreadable, or lacks one of the three columns or a value in them.
    """
    file = Path(path)
    table = read_table(file)
    for name in ("user_id", "item_id", "timestamp"):
        if name not in table.columns:
            raise ValueError(role_table.missing_column(str(file), "a row to score", name, table.columns))
        if table[name].null_count():
            raise ValueError(f"{file}: {name} is empty in row {table[name].is_null().arg_max()} (the first is 0)")
    return table.with_columns(seconds(table["timestamp"], f"{file}, column 'timestamp'").alias("timestamp"))


# --- writing -------------------------------------------------------------------------------------------------------


def write(
    path: str | Path,
    roles: Roles,
    interactions: pl.DataFrame,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    modalities: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a folder that `read` reads: parquet tables, one .npy a modality, dataset.toml.

    It is written beside its final name and moved there. A folder that this function wrote earlier is replaced.

    Args:
        path: the folder; its parents are made.
        roles: the content of dataset.toml; see hyperctr.data.roles.
        interactions, items, users: the tables, columns as named in `roles`.
        modalities: matrices [I, d] whose row i belongs to row i of `items`; written as <name>.npy.

    Returns:
        The folder.

    Raises:
        ValueError: the folder cannot be written, or holds something that was not written here.
    """
    path = Path(path)
    roles = role_table.parse(roles, f"roles for {path}")
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        if refused := _not_ours(path):
            raise ValueError(f"{path} is already there and {refused}; choose another folder or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        for name, table in zip(TABLES, (interactions, items, users), strict=True):
            if table is not None:
                table.write_parquet(part / f"{name}.parquet", compression="zstd")
        for name, matrix in (modalities or {}).items():
            np.save(part / f"{name}.npy", matrix, allow_pickle=False)
        (part / "dataset.toml").write_text(f"{MARK}\n{role_table.to_toml(roles)}", encoding="utf-8")
        if path.exists():
            path.rename(old)
        part.rename(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"cannot write {path}: {_line(error)}") from None
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
    return path


def write_folder(
    dataset: Dataset, path: str | Path, extra_interactions: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Write a data set that was made in memory; `read` gives it back.

    Field, type and context numbers are written as they are, 0 as missing. Rows of a modality that are not present are
    written as zeros.

    Args:
        dataset: what to write.
        path: the folder.
        extra_interactions: further columns, one value a row, that play no role.

    Raises:
        ValueError: an extra column has the name of a written one, or what `write` raises.
    """
    log, items, users = dataset.interactions, dataset.items, dataset.users
    clock = "timestamp" if log.has_time else "position"
    table = {
        "user_id": _id_column(users.ids)[log.user],
        "item_id": _id_column(items.ids)[log.item],
        clock: pl.Series(log.time),
        "click": pl.Series(log.label.astype(np.int8)),
    }
    chosen = {"user": "user_id", "item": "item_id", "time" if log.has_time else "order": clock, "click": "click"}
    chosen["non_clicks"] = "logged" if log.logged_non_clicks else "unobserved"
    if log.conversion is not None:
        table["conversion"] = pl.Series(log.conversion, nan_to_null=True)
        chosen["conversion"] = "conversion"
    if log.type is not None:
        table["type"] = _codes(log.type)
        chosen["type"] = "type"
    for k, name in enumerate(log.context_names):
        table[name] = _codes(log.context[:, k])
    if log.context_names:
        chosen["context"] = list(log.context_names)
    for name, column in (extra_interactions or {}).items():
        if name in table:
            raise ValueError(f"extra column {name!r} has the name of a written one ({', '.join(table)})")
        table[name] = pl.Series(column)

    item_table = {"item_id": _id_column(items.ids)} | {name: _codes(column) for name, column in items.fields.items()}
    item_roles: dict = {"id": "item_id", "fields": list(items.fields)}
    if items.titles is not None:
        item_table["title"] = pl.Series([str(title) for title in items.titles], dtype=pl.String)
        item_roles["title"] = "title"
    user_table = {"user_id": _id_column(users.ids)} | {name: _codes(column) for name, column in users.fields.items()}
    matrices = {}
    for name, matrix in items.modalities.items():
        absent = ~np.asarray(items.present[name])
        if np.asarray(matrix[absent]).any():
            matrix = np.where(absent[:, None], np.zeros(1, matrix.dtype), matrix)
        matrices[name] = matrix
    roles = {
        "name": dataset.name,
        "interactions": chosen,
        "items": item_roles,
        "users": {"id": "user_id", "fields": list(users.fields)},
        "modalities": {name: f"{name}.npy" for name in matrices},
    }
    if dataset.notes:
        roles["note"] = " ".join(dataset.notes)
    return write(path, roles, *(pl.DataFrame(columns) for columns in (table, item_table, user_table)), matrices)


def import_log(source: str | Path, out: str | Path, roles: Roles | None = None) -> Path:
    """Check somebody's log and write it as a folder, all its columns kept and every role spelled out in dataset.toml.

    Args:
        source: what `read` reads.
        out: another folder.
        roles: entries of [interactions], such as {"user": "uid", "click_at_least": 3}; the others as `read` finds them.

    Raises:
        ValueError: what `read` and `write` raise, or `out` is the source.
    """
    source, out = Path(source), Path(out)
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the folder to import; choose another one to write")
    opened, dataset = _checked(source, roles, None)
    stated = opened.roles.get("modalities", {name: f"{name}.npy" for name in dataset.items.modalities})
    files = {name for name, made in stated.items() if isinstance(made, str)}
    spelled = opened.roles | {"name": dataset.name}
    if stated:
        spelled["modalities"] = {name: f"{name}.npy" if name in files else made for name, made in stated.items()}
    if "click" in spelled["interactions"]:
        logged = "logged" if dataset.interactions.logged_non_clicks else "unobserved"
        spelled["interactions"] = spelled["interactions"] | {"non_clicks": logged}
    matrices = {name: matrix for name, matrix in dataset.items.modalities.items() if name in files}
    return write(out, spelled, *(opened.tables.get(table) for table in TABLES), matrices)


def write_pairs(table: pl.DataFrame, probability: np.ndarray, output: str | Path) -> Path:
    """Write scored rows with a column `probability`, beside the final name and moved there; .csv or .parquet.

    Raises:
        ValueError: another suffix, or the file cannot be written.
    """
    output = Path(output)
    writers: dict[str, Callable] = {".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    if output.suffix not in writers:
        raise ValueError(f"{output} must end in .csv or .parquet")
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        writers[output.suffix](table.with_columns(pl.Series("probability", probability)), part)
        part.replace(output)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"cannot write {output}: {_line(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return output


def _not_ours(path: Path) -> str | None:
    """Say why a folder must not be replaced, or None."""
    if not path.exists() and not path.is_symlink():
        return None
    if not path.is_dir() or path.is_symlink():
        return "is a link" if path.is_symlink() else "is no folder"
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return None
    toml = path / "dataset.toml"
    if not toml.is_file() or not toml.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        return "was not written by hyperctr"
    ours = {"dataset.toml", *(f"{table}.parquet" for table in TABLES)}
    foreign = [name for name in names if name not in ours and not name.endswith(".npy")]
    return f"holds {foreign[0]}, which was not written by hyperctr" if foreign else None


def _id_column(ids: np.ndarray) -> pl.Series:
    ids = np.asarray(ids)
    return pl.Series(ids) if ids.dtype.kind in "iu" else pl.Series([str(entry) for entry in ids], dtype=pl.String)


def _codes(column: np.ndarray) -> pl.Series:
    return pl.Series([None, *range(1, int(column.max(initial=0)) + 1)], dtype=pl.Int64)[column]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _line(error: Exception) -> str:
    """The first line of an error, without Python's own decoration."""
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().split("\n")[0] or type(error).__name__
