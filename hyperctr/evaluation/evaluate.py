"""Score rows with a model, and compute every number of a report from the scores.

With 1000 negatives per click a test set has millions of rows: few bytes are kept per row, and each metric sorts once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, xlog1py, xlogy
from torch import nn

from hyperctr.batch import Batch, Moved, Output, moved_in_turn
from hyperctr.evaluation import metrics

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""A metric of your own: labels, click probabilities and users of the rows, [n] each -> a number."""

ACTIVITY = ("non_active", "slightly_active", "highly_active")  # users by training clicks, metrics.activity_groups


@torch.no_grad()
def score(
    model: nn.Module,
    batches: Iterable[Batch],
    popularity: Callable[[Batch], Output] | None = None,
    moved: Moved = moved_in_turn,
) -> dict[str, np.ndarray]:
    """Score all rows: return user, item, time, query, label and logit, each [n].

    `query` is numbered over all batches: a click and the negatives drawn for it have one number. For a model of
    conversions there are also `conversion` (NaN where unknown) and `conversion_logit`.

    Args:
        model: answers an `Output` for a batch.
        batches: the rows.
        popularity: a second model. There are then `popularity`, its logit, and `clicks_before`, the item's earlier
            clicks.
        moved: brings batches to the model's device, `hyperctr.training.prefetch.prefetched` or one after another.
    """
    model.eval()
    columns: dict[str, _Column] = defaultdict(_Column)
    queries = 0
    for batch, there in moved(batches, model):
        out = model(there)
        found = {
            "user": batch.user.int(), "item": batch.item.int(), "time": batch.time, "label": batch.label,
            "query": batch.query.int() + queries, "logit": out.logit,
        }  # fmt: skip
        if "conversion" in model.tasks:
            unknown = torch.full_like(batch.label, math.nan)
            found["conversion"] = unknown if batch.conversion is None else batch.conversion
            found["conversion_logit"] = unknown if out.conversion is None else out.conversion
        if popularity is not None:
            found |= {"popularity": popularity(batch).logit, "clicks_before": batch.clicks_before}
        for name, values in found.items():
            columns[name].add(values.cpu().numpy())
        queries += len(batch.query_row)
    return {name: column.values for name, column in columns.items()}


class _Column:
    """Values that are added piece by piece, in one block of memory: small pieces that stay would scatter the heap."""

    def __init__(self):
        self._held, self._count = None, 0

    def add(self, values: np.ndarray) -> None:
        """Add values behind those that are there."""
        end = self._count + len(values)
        if self._held is None or end > len(self._held):
            held = np.empty(max(end, 2 * self._count), values.dtype)
            if self._held is not None:
                held[: self._count] = self.values
            self._held = held
        self._held[self._count : end] = values
        self._count = end

    @property
    def values(self) -> np.ndarray:
        """All values."""
        return self._held[: self._count]


@dataclass(frozen=True)
class Novelty:
    """What of the scored rows is new, bool [n] each.

    Args:
        first: the row's query asks for an item that no earlier event has. A drawn candidate has the flag of its click.
        met: the user had met the row's item before the row.
        apart: whether `first` rows are left out of every other score, as where their candidates are drawn among items
            that are as new.
    """

    first: np.ndarray
    met: np.ndarray
    apart: bool = False

    def compared(self, scored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the scored rows that the main scores compare: all, or those that are no first appearances."""
        return {name: x[~self.first] for name, x in scored.items()} if self.apart else scored


def evaluate(
    scored: dict[str, np.ndarray],
    seen: tuple[np.ndarray, np.ndarray] | None = None,
    negatives: float | None = None,
    activity: np.ndarray | None = None,
    novelty: Novelty | None = None,
    has_time: bool = True,
) -> dict[str, float]:
    """Compute every metric of scored rows; a metric that cannot be known is NaN.

    Args:
        scored: rows of both labels, as from `score`.
        seen: which users and which items had training rows, bool [num_users] and [num_items].
        negatives: negatives drawn per positive in training; None where non-clicks were logged, and none were drawn.
        activity: training clicks of each user, [num_users].
        novelty: which rows are first appearances, and which are returns. First appearances that stand apart are in
            none of the numbers below but first_auc, ....
        has_time: whether the times of the rows are a clock (`Interactions.has_time`).

    Returns:
        auc, auc_low, auc_high: over all rows, with the 95 % interval from the rows (DeLong).
        positive_auc, positive_auc_se: mean over clicks of the share of their own drawn negatives below them, and its
            standard error; NaN where non-clicks were logged.
        user_auc, user_auc_plain: AUC inside each user, weighted by the user's rows and not; users_counted,
            users_skipped: with rows of both labels, and the others.
        user_session_auc: AUC inside one user and session, weighted by its rows; a session is scored rows of one user at
            most 30 minutes apart. sessions_counted, sessions_skipped: with rows of both labels, and the others. NaN
            where `has_time` is False, or the rows have no time.
        logloss: of the logits as they are, in nats; it depends on how many negatives were drawn.
        logloss_1to1: at one negative per click, by weight.
        logloss_constant: of the best constant, the click rate of these rows; a logloss above it has no use.
        logloss_corrected: after the logits are moved from training's negatives per click to those of these rows; where
            non-clicks were logged nothing is moved.
        warm_auc, cold_user_auc, cold_item_auc: over the rows whose user and item both had training rows, whose user had
            none, whose item had none; NaN where such rows lack a label. With warm_rows, ..., and warm_share, ... of all
            rows. Only with `seen`.
        unclicked_item_auc, unclicked_item_rows, unclicked_item_share: over the rows whose item had never been clicked
            before the moment of the row. Only with `clicks_before` in `scored`.
        non_active_auc, slightly_active_auc, highly_active_auc: over the rows of the users in each group of
            `metrics.activity_groups`, and non_active_rows, .... With non_active_clicks and slightly_active_clicks, the
            most training clicks of their users. Only with `activity`.
        first_auc, first_rows, first_positives, first_share: over the rows whose item no earlier event has, and the
            candidates of such rows; first_share is the share of all clicks. return_auc, ... and new_auc, ...: over the
            rows whose user had met the item before, and the others. Only with `novelty`.
        rows, positives: how many rows, and how many of them clicks.
        cvr_mse, cvr_auc: of the conversions of clicked rows, their AUC being `metrics.concordance`; cvr_variance, the
            error of the best constant, and cvr_rows. ctcvr_auc: of click times conversion by pCTR pCVR, over all rows
            where that is known. Only of a model of conversions; of one of them alone auc is one half.

    Raises:
        ValueError: there is no row of one of the labels, or a logit is NaN.
    """
    apart = _novel(scored, novelty) if novelty is not None else {}
    if novelty is not None:
        scored = novelty.compared(scored)
    label, logit = scored["label"], scored["logit"]
    area, half = metrics.auc(label, logit), metrics.auc_interval(label, logit)
    positives = int(label.sum())
    own, error = (math.nan, math.nan) if negatives is None else metrics.positive_auc(label, logit, scored["query"])
    weighted, plain, counted, skipped = metrics.user_auc(label, logit, scored["user"])
    within, sessions, without = _sessions(scored, logit, has_time)
    raw = corrected = metrics.logloss(label, logit)
    if negatives is not None:
        found = (len(label) - positives) / positives
        corrected = metrics.logloss(label, metrics.calibrate_shift(logit, negatives, found)) if negatives else math.nan
    report = {
        "auc": area,
        "auc_low": area - half,
        "auc_high": area + half,
        "positive_auc": own,
        "positive_auc_se": error,
        "user_auc": weighted,
        "user_auc_plain": plain,
        "users_counted": counted,
        "users_skipped": skipped,
        "user_session_auc": within,
        "sessions_counted": sessions,
        "sessions_skipped": without,
        "logloss": raw,
        "logloss_1to1": metrics.balanced_logloss(label, logit),
        "logloss_constant": -float(xlogy(rate := positives / len(label), rate) + xlog1py(1 - rate, -rate)),
        "logloss_corrected": corrected,
        "rows": len(label),
        "positives": positives,
    }
    groups = {}
    if seen is not None:
        user, item = seen[0][scored["user"]], seen[1][scored["item"]]
        groups = {"warm": user & item, "cold_user": ~user, "cold_item": ~item}
    if "clicks_before" in scored:
        groups["unclicked_item"] = scored["clicks_before"] == 0
    for name, part in groups.items():
        clicks, count = int(label[part].sum()), int(part.sum())
        report[f"{name}_auc"] = metrics.auc(label[part], logit[part]) if 0 < clicks < count else math.nan
        report[f"{name}_share"] = count / len(label)
        report[f"{name}_rows"] = count
    if activity is not None:
        cuts = metrics.activity_groups(activity)
        group = np.searchsorted(cuts, activity)[scored["user"]]
        for k, area in enumerate(metrics.group_auc(label, logit, group, len(ACTIVITY))):
            report |= {f"{ACTIVITY[k]}_auc": area, f"{ACTIVITY[k]}_rows": int((group == k).sum())}
        report |= {f"{name}_clicks": cut for name, cut in zip(ACTIVITY, cuts, strict=False)}
    if "conversion" in scored:
        report |= conversions(scored)
    return report | apart


def _sessions(scored: dict[str, np.ndarray], logit: np.ndarray, has_time: bool) -> tuple[float, int, int]:
    """Return `metrics.user_session_auc` of scored rows; NaN and no session where there are no times."""
    if not has_time or "time" not in scored:
        return math.nan, 0, 0
    within, counted, skipped = metrics.user_session_auc(scored["label"], logit, scored["user"], scored["time"])
    return within if counted else math.nan, counted, skipped


def _novel(scored: dict[str, np.ndarray], novelty: Novelty) -> dict[str, float]:
    """Compute AUC, rows, clicks and share of the clicks of first appearances, of returns and of new pairs."""
    label, logit, found = scored["label"], scored["logit"], {}
    main = ~novelty.first if novelty.apart else np.ones(len(label), bool)
    parts = {"first": novelty.first, "return": main & novelty.met, "new": main & ~novelty.met}
    for name, part in parts.items():
        clicks, count = int(label[part].sum()), int(part.sum())
        of = int(label.sum() if name == "first" else label[main].sum())
        found[f"{name}_auc"] = metrics.auc(label[part], logit[part]) if 0 < clicks < count else math.nan
        found[f"{name}_share"] = clicks / of if of else math.nan
        found[f"{name}_rows"], found[f"{name}_positives"] = count, clicks
    return found


def evaluate_popularity(scored: dict[str, np.ndarray], drawn: bool, has_time: bool = True) -> dict[str, float]:
    """Compute auc, user_auc, user_session_auc and positive_auc of popularity, as `evaluate` does for the model.

    Args:
        scored: as from `score` with `popularity`.
        drawn: whether the negatives were drawn; else positive_auc is NaN.
        has_time: as in `evaluate`.
    """
    label, logit = scored["label"], scored["popularity"]
    return {
        "auc": metrics.auc(label, logit),
        "user_auc": metrics.user_auc(label, logit, scored["user"])[0],
        "user_session_auc": _sessions(scored, logit, has_time)[0],
        "positive_auc": metrics.positive_auc(label, logit, scored["query"])[0] if drawn else math.nan,
    }


def conversions(scored: dict[str, np.ndarray]) -> dict[str, float]:
    """Compute the metrics of conversions, see `evaluate`; NaN where the model or the rows have none."""
    click, both = scored["label"], scored["label"] * np.nan_to_num(scored["conversion"])
    known = ~np.isnan(scored["conversion"]) & ~np.isnan(scored["conversion_logit"])
    clicked, rows = known & (click == 1), (known | (click == 0)) & ~np.isnan(scored["conversion_logit"])
    z, logit = scored["conversion"][clicked].astype(np.float64), scored["conversion_logit"][clicked].astype(np.float64)
    return {
        "cvr_mse": float(np.square(expit(logit) - z).mean()) if len(z) else math.nan,
        "cvr_variance": float(z.var()) if len(z) else math.nan,
        "cvr_auc": metrics.concordance(z, logit),
        "cvr_rows": len(z),
        "ctcvr_auc": metrics.concordance(
            both[rows], metrics.rank_score(scored["logit"][rows], scored["conversion_logit"][rows], np.ones(rows.sum()))
        ),
    }


def quality(scored: dict[str, np.ndarray], tasks: tuple[str, ...] = ("click",), wanted: str = "auc") -> float:
    """Return the early-stopping score: AUC of clicks minus mean squared error of conversions.

    Args:
        scored: as from `score`.
        tasks: what counts, of "click" and "conversion".
        wanted: "auc"; or "user_auc" or "user_session_auc", which count clicks alone and are NaN if they are unknown.
    """
    if wanted == "user_auc":
        return metrics.user_auc(scored["label"], scored["logit"], scored["user"])[0]
    if wanted == "user_session_auc":
        return _sessions(scored, scored["logit"], has_time=True)[0]
    clicks = metrics.auc(scored["label"], scored["logit"]) if "click" in tasks else 0.0
    return clicks - (conversions(scored)["cvr_mse"] if "conversion" in tasks else 0.0)


def measure(scored: dict[str, np.ndarray], metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return further metrics of scored rows by name, such as those of `evaluate.metrics` in a run file.

    Args:
        scored: as from `score`.
        metrics: functions of labels, click probabilities and users, [n] each, by name.

    Raises:
        ValueError: a metric fails, or returns something else than a number.

    >>> scored = {"label": np.array([1.0, 0.0]), "logit": np.array([2.0, -2.0]), "user": np.array([0, 0])}
    >>> measure(scored, {"clicks": lambda labels, scores, users: labels.sum()})
    {'clicks': 1.0}
    """
    found, probability = {}, expit(scored["logit"])
    for name, metric in metrics.items():
        try:
            found[name] = float(metric(scored["label"], probability, scored["user"]))
        except Exception as error:
            raise ValueError(f"the metric {name} failed: {type(error).__name__}: {error}") from error
    return found
