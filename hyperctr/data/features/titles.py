"""Titles as numbers of words: a table looked up by item, for models that read words rather than a finished vector."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import torch
from torch import Tensor

LENGTH = 20  # words of a title that count
WORDS = 30_000  # words that are known, at most


def tokens(titles: np.ndarray, fit_items: np.ndarray) -> tuple[Tensor, int]:
    """Number the words of every title.

    Words are lower-case runs of letters, digits and underscores. Known are those that stand in the titles of at least
    two items with training rows, the most frequent first; others are skipped.

    Args:
        titles: text, [I], "" where unknown.
        fit_items: items with a training row, numbers or a mask.

    Returns:
        int32 [I + 1, LENGTH], padded at the end with the number of known words, and that number; the last row is that
        of an unknown item. No known word: a row of padding.
    """
    words = [re.findall(r"\w+", str(title).lower()) for title in titles]
    fitted = np.arange(len(words))[fit_items]
    seen = Counter(word for i in fitted for word in dict.fromkeys(words[i]))
    known = [word for word, count in seen.most_common() if count > 1][:WORDS]
    number = {word: k for k, word in enumerate(known)}
    found = np.full((len(words) + 1, LENGTH), len(known), np.int32)
    for row, title in zip(found, words, strict=False):
        kept = [number[word] for word in title if word in number][:LENGTH]
        row[: len(kept)] = kept
    return torch.from_numpy(found), len(known)
