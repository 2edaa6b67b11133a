"""Turn text and values into vectors: TF-IDF, reduced by an SVD."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from hyperctr.data.columns import Category
from hyperctr.data.features.words import words_of


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
        nested = isinstance(table[name].dtype, pl.List | pl.Array)
        column = table[name] if nested else Category.read(table[name], bins=True).series()
        for document, value in zip(documents, column.to_list(), strict=True):
            document += words_of(value) if text else [f"{name}={token}" for token in _tokens(value)]
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


def _texts(entry: list | None) -> list[str]:
    return [str(value) for value in entry or () if value is not None]


def _tokens(value: object) -> list[str]:
    if value is None:
        return []
    parts = _texts(value) if isinstance(value, list) else re.split(r"[|,]", str(value))
    return [part.strip() for part in parts if part.strip()]
