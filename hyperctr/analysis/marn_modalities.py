"""Analyse MARN's fusion: how strongly each category attends to each modality, and where the parts of items are.

`attention` is Figure 4 of the paper (arXiv 2003.07162), `space` is Figure 5. A t-SNE is only a picture. So each panel
also shows the accuracy of a linear probe that names the modality of a vector, on items that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from hyperctr.models.marn import MARN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST = 10_000  # items per category, or per picture
PROBED = 2_000  # most items that a probe is fitted and tested on


@dataclass(frozen=True)
class Attention:
    """Mean length of the attention vectors of Eq. (3), one row per category.

    Attributes:
        categories, modalities: their names.
        strength: mean length, in [0, sqrt(d)], [C, M]; NaN where no item of the category has the modality.
        items: number of items averaged, [C].
    """

    categories: tuple[str, ...]
    modalities: tuple[str, ...]
    strength: np.ndarray
    items: np.ndarray

    def relative(self) -> np.ndarray:
        """Divide the strength by its mean over categories, [C, M]; above 1 a category attends more than the average.

        Modalities differ in their overall strength. This shows which modality a category prefers.
        """
        return self.strength / np.nanmean(self.strength, 0)

    def draw(self, relative: bool = False) -> Figure:
        """Draw the heat map of the strength, or of `relative`."""
        from hyperctr.reporting import figures

        shown = self.relative() if relative else self.strength
        what = "strength over its mean over categories" if relative else "mean length of the attention vector"
        figure, axes = figures.draw_strength(shown, self.categories, self.modalities, what)
        figures.titles(axes, "Attention to each modality", f"{self.items.sum():,} items")
        return figure


def attention(
    model: MARN, category: np.ndarray, names: Sequence[str] = (), at: int | None = None, most: int = MOST, seed: int = 0
) -> Attention:
    """Average the length of the attention over items of each category.

    Args:
        model: a MARN with `fusion="maf"`.
        category: number of each item's category, [num_items]; an item below 0 is left out.
        names: names of the categories; empty takes their numbers.
        at: microseconds; the statistics of its slice are read. None: of the last slice.
        most: most items per category, drawn by the seed.
        seed: of the draw.

    Raises:
        ValueError: the model has no attention.
    """
    if model.config.fusion != "maf":
        raise ValueError(f'attention needs model.fusion="maf", this model has "{model.config.fusion}"')
    means, rng = [], np.random.default_rng(seed)
    numbers = np.unique(category[category >= 0])
    for number in numbers:
        item = np.flatnonzero(category == number)
        item = np.sort(rng.choice(item, most, replace=False)) if len(item) > most else item
        parts = _parts(model, item, at)
        length, present = parts.attention.norm(dim=2).numpy(), parts.present.numpy()
        total, count = (length * present).sum(1), present.sum(1)
        means.append((np.where(count, total / np.maximum(count, 1), np.nan), len(item)))
    strength, items = zip(*means, strict=True)
    labels = tuple(str(names[number]) for number in numbers) if len(names) else tuple(map(str, numbers))
    return Attention(labels, model.modalities.names, np.stack(strength), np.array(items))


@dataclass(frozen=True)
class Space:
    """The parts of some items; M modalities, n items.

    Attributes:
        modalities: their names.
        specific: s^m, [M, n, d].
        invariant: c^m, [M, n, d].
        common: c, [n, d].
        present: whether the item has the modality, [M, n].
        degree: w^m, [M, n]: how much of the modality is shared with other modalities, by D0.
    """

    modalities: tuple[str, ...]
    specific: np.ndarray
    invariant: np.ndarray
    common: np.ndarray
    present: np.ndarray
    degree: np.ndarray

    def probe(self, part: str, among: Sequence[str] = ()) -> float:
        """Measure how well a linear probe names the modality of a vector: from 1 / M (chance) to 1.

        Args:
            part: "specific" or "invariant".
            among: the modalities to choose from; empty takes all.
        """
        chosen = [self.modalities.index(name) for name in among or self.modalities]
        return probe([getattr(self, part)[m] for m in chosen], [self.present[m] for m in chosen])

    def panels(self, pair: tuple[str, str]) -> dict[str, tuple[list[str], list[np.ndarray], float]]:
        """Return the three panels of Figure 5 for two modalities: title -> names, vectors of items with both, probe."""
        one, two = (self.modalities.index(name) for name in pair)
        both = self.present[one] & self.present[two]
        s, c = ([part[m][both] for m in (one, two)] for part in (self.specific, self.invariant))
        groups = {
            "specific": ([f"s {name}" for name in pair], s),
            "invariant": ([f"c {name}" for name in pair], c),
            "specific and invariant": ([*(f"s {name}" for name in pair), "c"], [*s, self.common[both]]),
        }
        present = np.ones(int(both.sum()), bool)
        return {title: (names, x, probe(x, [present] * len(x))) for title, (names, x) in groups.items()}

    def flat(self, pair: tuple[str, str], most: int = 500, seed: int = 0) -> dict[str, tuple[list[str], list, float]]:
        """Project the panels to two dimensions by t-SNE, at most `most` items: title -> names, [n, 2] each, probe."""
        from sklearn.manifold import TSNE

        panels = {}
        for title, (names, groups, accuracy) in self.panels(pair).items():
            shown = [group[:most] for group in groups]
            perplexity = min(30, (sum(map(len, shown)) - 1) / 3)  # t-SNE needs it below the number of points
            place = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=seed).fit_transform(
                np.concatenate(shown)
            )
            panels[title] = names, np.split(place.astype(float), np.cumsum([len(x) for x in shown])[:-1]), accuracy
        return panels

    def draw(self, pair: tuple[str, str], most: int = 500, seed: int = 0) -> Figure:
        """Draw Figure 5: the panels of `flat`, with the accuracy of the probe below each."""
        from hyperctr.reporting import figures

        panels = [
            {"title": title, "groups": names, "points": points, "probe": accuracy}
            for title, (names, points, accuracy) in self.flat(pair, most, seed).items()
        ]
        figure, axes = figures.draw_groups(panels)
        figures.titles(axes, f"{pair[0]} and {pair[1]}", "t-SNE is a picture, the probe is the test")
        return figure


def space(
    model: MARN, items: np.ndarray | None = None, at: int | None = None, most: int = MOST, seed: int = 0
) -> Space:
    """Compute the parts of items.

    Args:
        model: a MARN with an adversary.
        items: numbers of the items; None takes all.
        at: microseconds; the statistics of its slice are read. None: of the last slice.
        most: most items; more are drawn by the seed.
        seed: of the draw.

    Raises:
        ValueError: the model has no invariant parts.
    """
    if model.config.adversary == "none":
        raise ValueError('space needs invariant parts, this model has model.adversary="none"')
    items = np.arange(model.modalities.num_items) if items is None else np.asarray(items)
    if len(items) > most:
        items = np.sort(np.random.default_rng(seed).choice(items, most, replace=False))
    parts = _parts(model, items, at)
    names = ("specific", "invariant", "common", "present", "degree")
    return Space(model.modalities.names, *(getattr(parts, name).numpy() for name in names))


def probe(groups: Sequence[np.ndarray], present: Sequence[np.ndarray], seed: int = 0) -> float:
    """Measure how well a logistic regression names the group of a vector, on items that it was not fitted on.

    Args:
        groups: vectors of the same n items, [n, d] each.
        present: which of them count, bool [n] each.
        seed: of the choice of items, at most `PROBED`; half of them are for fitting.

    Returns:
        The balanced accuracy, 1 / len(groups) at chance; NaN where a group has fewer than two items in either half.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = np.random.default_rng(seed).permutation(len(groups[0]))[:PROBED]
    halves = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        kept = [half[mask[half]] for mask in present]
        if min(map(len, kept)) < 2:
            return float("nan")
        x = np.concatenate([group[rows] for group, rows in zip(groups, kept, strict=True)])
        halves.append((x, np.repeat(np.arange(len(groups)), [len(rows) for rows in kept])))
    (x, y), (test_x, test_y) = halves
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")).fit(x, y)
    return float(balanced_accuracy_score(test_y, fitted.predict(test_x)))


@torch.no_grad()
def _parts(model: MARN, item: np.ndarray, at: int | None):
    """Encode items with the statistics of the slice of a time, or of the last slice."""
    starts = model.modalities.starts
    snapshot = len(starts) if at is None else int(model.modalities.snapshot(torch.tensor(at)))
    number = torch.from_numpy(np.asarray(item, np.int64))
    return model.eval().encode(number, torch.full_like(number, snapshot))
