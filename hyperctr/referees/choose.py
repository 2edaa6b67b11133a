"""Choose a setting on validation rows, and the scalars that turn a score into the logit of a click."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from hyperctr.batch import Batch
from hyperctr.evaluation.metrics import auc

UNIT = 0.1  # of a score, in standard deviations of the scores
STEPS, SMALLEST = 50, 1e-3  # steps of Newton's method at most; smallest slope, per standard deviation of the scores


class Setting(nn.Module):
    """What a referee keeps of its validation rows: the chosen value of one setting, and the scale of its scores.

    Attributes:
        value: of the setting, float64; NaN before it is chosen.
        unit, slope, bias: the logit of a score is slope * asinh(score / unit) + bias, float64; the slope is above 0.
            Sums over a history are many times their spread for users with many clicks: asinh grows like a logarithm.
    """

    def __init__(self):
        super().__init__()
        for name, start in (("value", math.nan), ("unit", 1.0), ("slope", 1.0), ("bias", 0.0)):
            self.register_buffer(name, torch.tensor(start, dtype=torch.float64))

    def logit(self, score: Tensor) -> Tensor:
        """Return the logits of scores, float32."""
        return (self.slope * torch.asinh(score / self.unit) + self.bias).float()

    def choose(
        self,
        name: str,
        values: Sequence[float],
        use: Callable[[float], None],
        score: Callable[[Batch], Tensor],
        valid: Callable[[], Iterable[Batch]] | None,
        non_clicks: float,
    ) -> dict[str, Any]:
        """Try values on the validation rows, keep the one of highest AUC, and fit the scale of its scores there.

        Args:
            name: of the setting.
            values: to try; of equal AUCs the first counts.
            use: makes the referee score by a value; called last with the chosen one.
            score: the scores of a batch, float64.
            valid: gives the batches of the validation rows; None: the value is the one that is kept already.
            non_clicks: per click in training; the logits are those of rows with as many, as a model's are.

        Returns:
            The chosen value by its name; `valid_auc`, the AUC of each value; and `cut`, the share of the validation
            rows with more earlier clicks than their history has. {} without `valid`.

        Raises:
            ValueError: the validation rows lack clicks or non-clicks.
        """
        if valid is None:
            use(self.value.item())
            return {}
        areas, best = {}, None
        for value in values:
            use(value)
            label, scores, cut = _scored(score, valid())
            if not 0 < label.sum() < len(label):
                raise ValueError(f"{name} is chosen on validation rows of both labels; they have one label alone")
            areas[value] = auc(label, scores)
            if best is None or areas[value] > areas[best[0]]:
                best = value, label, scores, cut
        chosen, label, scores, cut = best
        if chosen != values[-1]:
            use(chosen)
        self.value.fill_(chosen)
        self.unit.fill_(UNIT * scores.std() or 1.0)
        slope, bias = scale_of(label, np.arcsinh(scores / self.unit.item()), non_clicks)
        self.slope.fill_(slope)
        self.bias.fill_(bias)
        return {name: chosen, "valid_auc": {f"{value:g}": area for value, area in areas.items()}, "cut": cut}


def scale_of(label: np.ndarray, score: np.ndarray, non_clicks: float = 0.0) -> tuple[float, float]:
    """Return slope and bias of the logistic regression of labels on one score; the slope is above 0.

    Args:
        label, score: [n] each; rows of both labels.
        non_clicks: rows without a click are weighted so that there are as many per click; 0: as there are.

    >>> slope, bias = scale_of(np.array([1.0, 0, 0, 1, 0, 0]), np.array([1.0, 1, 1, 0, 0, 0]))
    >>> round(bias, 2), slope < 0.01  # the score says nothing: log(1 / 2) remains
    (-0.69, True)
    """
    clicks, middle, spread = label.sum(), score.mean(), score.std() or 1.0
    weight = np.where(label == 1, 1.0, non_clicks * clicks / (len(label) - clicks) if non_clicks else 1.0)
    x = np.stack([(score - middle) / spread, np.ones(len(score))])
    found, ridge = np.zeros(2), np.diag([1e-6 * weight.sum(), 0.0])  # finite where the score tells all labels apart
    for free in ([0, 1], [1]):  # a slope that would turn the order around is held at the smallest
        for _ in range(STEPS):
            p = expit(found @ x)
            gradient = (x * weight) @ (label - p) - ridge @ found
            step = np.zeros(2)
            step[free] = np.linalg.solve(
                ((x * (weight * p * (1 - p))) @ x.T + ridge)[np.ix_(free, free)], gradient[free]
            )
            found += np.clip(step, -4, 4)
            if np.abs(step).max() < 1e-10:
                break
        if found[0] >= SMALLEST:
            break
        found[0] = SMALLEST
    return float(found[0] / spread), float(found[1] - found[0] * middle / spread)


def _scored(score: Callable[[Batch], Tensor], batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray, float]:
    """Return labels and scores of all rows, and the share of rows whose history is cut."""
    labels, scores, cut = [], [], 0
    for batch in batches:
        past = batch.histories
        labels.append(batch.label.double().numpy())
        scores.append(score(batch).numpy())
        if past.length is not None:
            cut += int(batch.expand_to_rows(past.length > past.mask.sum(1)).sum())
    label = np.concatenate([*labels, np.empty(0)])
    return label, np.concatenate([*scores, np.empty(0)]), cut / max(len(label), 1)
