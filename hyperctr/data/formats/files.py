"""Read the files of published sets: text tables of known columns, matrices and h5 files; never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data.parse import first_line, listed

PICKLES = (".pkl", ".pickle", ".p")
_CONVERT = {
    "npz": "import pickle, scipy.sparse; scipy.sparse.save_npz('{out}', pickle.load(open('{file}', 'rb')).tocsr())",
    "parquet": "import pandas; pandas.read_pickle('{file}').to_parquet('{out}')",
}


def refuse_pickle(file: Path, to: str = "parquet") -> ValueError:
    """Explain why a pickle is not opened, and how its owner can convert it.

    Args:
        file: the pickle.
        to: what it can be converted into: "npz" for a sparse matrix, "parquet" for a table.

    Returns:
        The error to raise.
    """
    command = _CONVERT[to].format(file=file.name, out=f"{file.stem}.{to}")
    return ValueError(
        f"{file} is a pickle: opening one can run any code, so it is never opened here; if you trust its source, "
        f'convert it yourself, at your own risk, in its folder: python -c "{command}"'
    )


def check_folder(path: Path) -> Path:
    """Return the path of a folder.

    Raises:
        ValueError: there is none, or it is a pickle or another file.
    """
    if path.suffix in PICKLES:
        raise refuse_pickle(path)
    if not path.exists():
        raise ValueError(f"there is no folder {path}")
    if not path.is_dir():
        what = "unpack it and give the folder" if path.suffix in (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar") else ""
        raise ValueError(f"{path} is a file; {what or 'give the folder that it is in'}")
    return path


def find_files(folder: Path, *patterns: str) -> list[Path]:
    """Find the files that match the first pattern with a match, in the folder or in a folder of it, sorted by name."""
    for pattern in patterns:
        if found := sorted(file for file in (*folder.glob(pattern), *folder.glob(f"*/{pattern}")) if file.is_file()):
            return found
    return []


def find_file(folder: Path, *patterns: str, what: str = "", pickled: str = "parquet") -> Path:
    """Find one file; see `find_files`.

    Raises:
        ValueError: there is none, or only a pickle of its name.
    """
    if found := find_files(folder, *patterns):
        return found[0]
    stems = {pattern.split(".")[0] for pattern in patterns}
    for file in sorted(folder.glob("*")):
        if file.stem in stems and file.suffix in (*PICKLES, ""):
            raise refuse_pickle(file, pickled)
    inside = sorted(entry.name for entry in folder.iterdir())[:12]
    raise ValueError(
        f"{folder} has no {' or '.join(patterns)}{f' ({what})' if what else ''}; found {', '.join(inside) or 'nothing'}"
    )


def read_columns(
    file: Path | bytes,
    columns: Mapping[str, type[pl.DataType]],
    separator: str = ",",
    header: bool = True,
    optional: Mapping[str, type[pl.DataType]] = {},
    quoted: bool = True,
    where: str = "",
) -> pl.DataFrame:
    """Read the named columns of a text file as the given types; an empty cell is null. A .gz file is unpacked.

    Args:
        file: the file, or its content.
        columns: name to type. Without a header: of the first columns, in order.
        separator: one character.
        header: whether the first line has the names.
        optional: further columns, read where the header has them.
        quoted: whether text may be inside double quotes.
        where: what to call the content in an error.

    Raises:
        ValueError: a column is missing, or a value is not of its type.
    """
    where = where or str(file)
    options = {
        "separator": separator,
        "quote_char": '"' if quoted else None,
        "has_header": header,
        "infer_schema": False,
    }
    try:
        found = pl.read_csv(file, n_rows=1, **options).columns
        if header:
            if missing := [name for name in columns if name not in found]:
                raise ValueError(f"{where} has no column {missing[0]!r}; found {listed(found)}")
            types = {name: kind for name, kind in {**columns, **optional}.items() if name in found}
            return pl.read_csv(file, columns=list(types), schema_overrides=types, **options)
        if len(found) < len(columns):
            raise ValueError(f"{where} has {len(found)} columns, not the {len(columns)}: {', '.join(columns)}")
        chosen = found[: len(columns)]
        types = dict(zip(chosen, columns.values(), strict=True))
        table = pl.read_csv(file, columns=chosen, schema_overrides=types, **options)
        return table.rename(dict(zip(chosen, columns, strict=True)))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"cannot read {where}: {first_line(error)}") from None


def read_matrix(file: Path) -> np.ndarray:
    """Open a .npy file of numbers as a matrix; a matrix that is not float16 or float32 becomes float32.

    Raises:
        ValueError: it is damaged, has Python objects in it (a pickle), or is no matrix.
    """
    try:
        matrix = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # a damaged header can raise almost anything
        raise ValueError(f"{file} is not a readable .npy matrix: {first_line(error)}") from None
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise ValueError(f"{file} must hold a matrix of numbers, got {matrix.dtype} {list(matrix.shape)}")
    with np.errstate(over="ignore"):  # a number too large becomes infinite, which is refused later
        return matrix if matrix.dtype in (np.float16, np.float32) else matrix.astype(np.float32)


def read_h5(file: Path) -> tuple[pl.Series, np.ndarray]:
    """Read a FuxiCTR file of embeddings: `key`, ids [n], and `value`, a matrix [n, d].

    Returns:
        The ids, Int64 or text; the matrix, float32.

    Raises:
        ValueError: h5py is not installed, or the file lacks one of the two.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{file.name} needs h5py: pip install 'hyperctr[formats]'") from None
    try:
        with h5py.File(file, "r") as opened:
            keys, values = opened["key"][:], opened["value"][:].astype(np.float32)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} is not an h5 file with key and value: {first_line(error)}") from None
    if values.ndim != 2 or keys.shape != values.shape[:1]:
        raise ValueError(f"{file}: key {list(keys.shape)} and value {list(values.shape)} do not fit together")
    if keys.dtype.kind in "iu":
        return pl.Series(keys.astype(np.int64)), values
    return pl.Series([key.decode() if isinstance(key, bytes) else str(key) for key in keys], dtype=pl.String), values


def rows_of(ids: pl.Series, keys: pl.Series, matrix: np.ndarray) -> np.ndarray:
    """Take the row of each id out of a matrix whose rows are named by keys; zeros where there is none."""
    numbered = pl.DataFrame({"key": keys, "row": np.arange(len(keys))}).unique("key", keep="first")
    joined = ids.alias("key").cast(keys.dtype).to_frame().join(numbered, on="key", how="left", maintain_order="left")
    row = joined["row"].fill_null(-1).to_numpy()
    taken = np.zeros((len(ids), matrix.shape[1]), matrix.dtype)
    taken[row >= 0] = matrix[row[row >= 0]]
    return taken
