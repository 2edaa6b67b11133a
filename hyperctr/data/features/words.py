"""Vectors of the words of a text, fitted once and kept for later texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class FittedText:
    """TF-IDF of words and an SVD, fitted on the distinct texts of a column and kept for the texts of later rows.

    Attributes:
        tfidf: the fitted vectorizer of scikit-learn.
        svd: the fitted SVD; None where there are no more words than numbers per vector.

    >>> words = FittedText.fit(["red hat", "red shoe", None], dim=4)
    >>> words.vectors(["a red hat", None]).astype(bool).tolist()
    [[True, True, False], [False, False, False]]
    """

    tfidf: Any
    svd: Any

    @classmethod
    def fit(cls, texts: Sequence[str | None], dim: int, seed: int = 0) -> FittedText:
        """Fit on the distinct texts; words of one text alone are left out where there are more words than `dim`.

        Raises:
            ValueError: there is no word, or there are more than `dim` and no two texts share one.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        distinct = sorted({text for text in texts if text})
        count = len({word for text in distinct for word in words_of(text)})
        try:
            tfidf = TfidfVectorizer(analyzer=words_of, min_df=2 if count > dim else 1)
            matrix = tfidf.fit_transform(distinct)
        except ValueError:
            found = f"{count} words, each of a single text" if count else "no words"
            raise ValueError(f"{found}; choose another kind or a larger dim") from None
        if matrix.shape[1] <= dim:
            return cls(tfidf, None)
        return cls(tfidf, TruncatedSVD(min(dim, len(distinct)), random_state=seed).fit(matrix))

    def vectors(self, texts: Sequence[str | None]) -> np.ndarray:
        """Return one vector per text, float32 [n, d]; zero where there is no known word."""
        distinct, place = np.unique([text or "" for text in texts], return_inverse=True)
        width = len(self.tfidf.vocabulary_) if self.svd is None else self.svd.n_components
        if not len(distinct):
            return np.zeros((0, width), np.float32)
        matrix = self.tfidf.transform(distinct)
        found = matrix.toarray() if self.svd is None else self.svd.transform(matrix)
        return found.astype(np.float32)[place]


def words_of(value: object) -> list[str]:
    """Return the lower-case words of a text, or of a list of texts.

    >>> words_of("Red Shoe, red!")
    ['red', 'shoe', 'red']
    """
    text = " ".join(str(x) for x in value if x is not None) if isinstance(value, list) else str(value or "")
    return re.findall(r"\w+", text.lower())
