"""Turn item columns into numbers: categories for fields, and TF-IDF vectors for modalities."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

MOST_VALUES = 32  # a float column with more distinct values is cut into quantile bins
NUM_BINS = 16


def encode_categories(column: pl.Series) -> tuple[np.ndarray, int]:
    """Number the values of a column: 0 is missing, then 1, 2, ... in sorted order.

    A list counts as one value, its entries joined by "|". A float column of more than 32 distinct values is first cut
    into 16 quantile bins.

    Returns:
        int64 [n], and the number of categories including "missing"; ([0, 0, ...], 1) when all values are missing.

    >>> codes, size = encode_categories(pl.Series(["film", None, "book", "film"]))
    >>> codes.tolist(), size
    ([2, 0, 1, 2], 3)
    """
    if isinstance(column.dtype, pl.List | pl.Array):
        column = pl.Series(column.name, ["|".join(_texts(entry)) or None for entry in column.to_list()], pl.String)
    column = _plain(column)
    codes = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    return codes, int(codes.max(initial=0)) + 1


def tfidf_vectors(
    table: pl.DataFrame, columns: list[str], text: bool = False, dim: int = 64, seed: int = 0
) -> np.ndarray:
    """Turn item columns into one vector per item: TF-IDF, reduced by an SVD when there are more tokens than `dim`.

    A token is a value of a column ("a|b", "a,b" and lists have several), or a lower-case word with `text=True`. Before
    an SVD, tokens of a single item are dropped, as no other item shares them.

    Args:
        table: one row per item.
        columns: the columns to read.
        text: read words instead of values.
        dim: the largest width of a vector.
        seed: of the SVD.

    Returns:
        float32 [I, d] with d <= dim; a row of zeros where the item has no token.

    Raises:
        ValueError: no column has a token, or there are more than `dim` and no two items share one.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents: list[list[str]] = [[] for _ in range(len(table))]
    for name in columns:
        column = table[name] if isinstance(table[name].dtype, pl.List | pl.Array) else _plain(table[name])
        for document, value in zip(documents, column.to_list(), strict=True):
            document += _words(value) if text else [f"{name}={token}" for token in _tokens(value)]
    count = len({token for document in documents for token in document})
    try:
        tfidf = TfidfVectorizer(analyzer=lambda document: document, min_df=2 if count > dim else 1)
        matrix = tfidf.fit_transform(documents)
    except ValueError:
        what = "words" if text else "values"
        found = f"{count} {what}, each of a single item" if count else f"no {what}"
        raise ValueError(f"the columns {', '.join(columns)} have {found}; choose others or a larger dim") from None
    if matrix.shape[1] <= dim:
        return matrix.toarray().astype(np.float32)
    return TruncatedSVD(min(dim, len(documents)), random_state=seed).fit_transform(matrix).astype(np.float32)


def _plain(column: pl.Series) -> pl.Series:
    """Return a column of sortable values whose missing ones are null."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if column.n_unique() > MOST_VALUES:
            values = column.to_numpy()
            known = np.isfinite(values)
            edges = np.quantile(values[known], np.arange(1, NUM_BINS) / NUM_BINS)
            bins = pl.Series(column.name, np.searchsorted(edges, values, side="right"), pl.Int64)
            return bins.to_frame().select(pl.when(pl.Series(known)).then(pl.col(column.name))).to_series()
        return column
    if column.dtype.is_integer():
        return column
    column = column.cast(pl.String)
    return column.to_frame().select(pl.when(pl.col(column.name) != "").then(pl.col(column.name))).to_series()


def _texts(entry: list | None) -> list[str]:
    return [str(value) for value in entry or () if value is not None]


def _tokens(value: object) -> list[str]:
    if value is None:
        return []
    parts = _texts(value) if isinstance(value, list) else re.split(r"[|,]", str(value))
    return [part.strip() for part in parts if part.strip()]


def _words(value: object) -> list[str]:
    text = " ".join(_texts(value)) if isinstance(value, list) else str(value or "")
    return re.findall(r"\w+", text.lower())
