"""A folder of BARS or FuxiCTR: train.csv, valid.csv (often missing) and test.csv, the source's own split.

Such a file has a label, users, items and everything else that is known of a row as columns. Which is the user, item,
time and click is guessed from the usual names; `--user`, `--item`, `--time` and `--click` state it. All other
columns become context, but for sequences ("12^7^3", made by the source from earlier clicks) and columns of a single
value. Sets without users or items, such as Criteo, cannot be read. Source: the FuxiCTR documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.formats.files import check_folder, find_file, find_files
from hyperctr.data.formats.source import Source, with_split
from hyperctr.data.parse import first_line, listed
from hyperctr.data.tables import narrowed

HOME = "https://github.com/reczoo/Datasets"


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder.

    Raises:
        ValueError: train.csv or test.csv is missing, their headers differ, or no column can be the user, item or click.
    """
    folder = check_folder(path)
    names = {part: (f"{part}.csv", f"{part}_sample.csv") for part in ("train", "valid", "test")}
    files = {part: find_file(folder, *names[part]) for part in ("train", "test")}
    if valid := find_files(folder, *names["valid"]):
        files["valid"] = valid[0]
    tables = {part: _text(files[part]) for part in ("train", "valid", "test") if part in files}
    header = tables["train"].columns
    for part, table in tables.items():
        if table.columns != header:
            raise ValueError(f"{files[part]} has other columns than {files['train'].name}")
    column = "split" if "split" not in header else "split_of_source"
    log = with_split(tables, column)
    log = log.with_columns(narrowed(log[name]) for name in header)
    roles, said = role_table.guess(header, [], [], str(folder), {**stated, "split": column})
    shown = roles["interactions"]
    if "click" not in shown:
        raise ValueError(f"{folder}: no column can be the click; name it with --click; found {listed(header)}")
    used = {
        name for value in shown.values() if value is not True for name in ([value] if isinstance(value, str) else value)
    }
    rest = [name for name in header if name not in used]
    sequences = [
        name for name in rest if log.schema[name] == pl.String and log[name].str.contains("^", literal=True).any()
    ]
    constant = [name for name in rest if name not in sequences and log[name].n_unique() < 2]
    context = [name for name in rest if name not in {*sequences, *constant}]
    if "context" not in stated and context:
        shown["context"] = context
    shown.setdefault("non_clicks", "logged")
    return Source(log, roles).noted(
        said,
        f"Sequences are not read, histories are made from the log: {', '.join(sequences)}." if sequences else "",
        f"Columns of a single value are not read: {', '.join(constant)}." if constant else "",
        "" if "valid" in files else "There is no valid.csv.",
    )


def _text(file: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(file, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot read {file}: {first_line(error)}") from None
