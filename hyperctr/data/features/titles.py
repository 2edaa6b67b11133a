"""Number the words of titles, for models that read words and not a ready-made vector: a table, or a column of tags."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hyperctr.data.columns import TagLists

LENGTH = 20  # words per title; further ones are cut off
WORDS = 30_000  # most words in the vocabulary


def tokens(titles: np.ndarray, fit_items: np.ndarray) -> tuple[Tensor, int]:
    """Number the words of every title.

    Words are lower-case runs of letters, digits and underscores. The vocabulary has the words in the titles of at least
    two items with training rows, the most frequent first. Other words are skipped.

    Args:
        titles: text, [I], "" where unknown.
        fit_items: items with a training row, numbers or a mask.

    Returns:
        int32 [I + 1, LENGTH], padded at the end with the size of the vocabulary, and that size. The last row stands for
        an unknown item. A title without known words is a row of padding.

    >>> words, size = tokens(np.array(["Red shoes", "red hat", ""]), np.array([0, 1]))
    >>> words[:, :2].tolist(), size
    ([[0, 1], [0, 1], [1, 1], [1, 1]], 1)
    """
    words, known = _known_words(titles, fit_items)
    number = {word: k for k, word in enumerate(known)}
    numbers = np.full((len(words) + 1, LENGTH), len(known), np.int32)
    for row, title in zip(numbers, words, strict=False):
        kept = [number[word] for word in title if word in number][:LENGTH]
        row[: len(kept)] = kept
    return torch.from_numpy(numbers), len(known)


def words_of(titles: np.ndarray, fit_items: np.ndarray) -> TagLists:
    """Read the words of titles as a column of tags: the words that `tokens` numbers, each once per title.

    Args:
        titles, fit_items: as of `tokens`.

    >>> column = words_of(np.array(["Red shoes", "red hat", "", "red, red"]), np.array([0, 1]))
    >>> column.start.tolist(), column.values.to_list()
    ([0, 1, 2, 2, 3], ['red'])
    """
    words, known = _known_words(titles, fit_items)
    kept = [[word for word in dict.fromkeys(title) if word in known][:LENGTH] for title in words]
    return TagLists.read(pl.Series(kept, dtype=pl.List(pl.String)))


def _known_words(titles: np.ndarray, fit_items: np.ndarray) -> tuple[list[list[str]], dict[str, None]]:
    """Return the words of every title, and the vocabulary in order."""
    words = [re.findall(r"\w+", str(title).lower()) for title in titles]
    fitted = np.arange(len(words))[fit_items]
    seen = Counter(word for i in fitted for word in dict.fromkeys(words[i]))
    return words, dict.fromkeys([word for word, count in seen.most_common() if count > 1][:WORDS])
