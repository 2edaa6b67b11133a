"""The report of a run: report.json, how it is made and read, and what each of its keys means.

`KEYS` and `SCORES` are the schema; docs/report.md is `python -m hyperctr.runs.report`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.data.progress import Bar, no_progress
from hyperctr.evaluation.significance import disagreement
from hyperctr.files import read_csv, read_json

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from hyperctr.runs.prepare import Prepared

KEYS = {
    "model": "name of the model in the run file",
    "data": "name of the data set",
    "split": "kind of the split, `split.kind`",
    "split_note": "what a given split lacked and what was done; only where it lacked something",
    "leaky": "true: a training row may be later than a test row, so the scores are not comparable with others",
    "best_epoch": "epoch whose weights were kept: the best validation score",
    "epochs": "epochs trained; a fraction if the training ended inside one",
    "stopped": "why the training ended",
    "valid": "scores on the validation rows, see below",
    "test": "scores on the test rows, see below",
    "popularity": "for `valid` and `test`: `auc`, `user_auc`, `user_session_auc` and `positive_auc` of popularity on "
    "the same rows: the item's clicks before the row, or its smoothed click rate before the row where non-clicks were "
    "logged",
    "referees": "the same of each other referee on the same rows, by its name, with its `settings`; only with "
    "`train --referees`",
    "settings": "of a referee: the setting that the validation rows chose, `valid_auc` of each value tried, over all "
    "of these rows, and `cut`, the share of them with more earlier clicks than `data.history`; only of a referee",
    "train_rows": "training rows, drawn negatives not counted",
    "parts": "of `train`, `valid` and `test`: `rows`, their `share` of all three, and their `click_rate`; before rows "
    "are subsampled for evaluation, and without drawn negatives",
    "slices": "time slices of the training span",
    "device": "where the model was trained and scored: `cpu`, `cuda:0` and so on",
    "parameters": "weights of the model",
    "notes": "sentences on what is unusual: click rates that differ, a score still rising, a model below a referee, or "
    "one that raises AUC and lowers user AUC against it, or the reverse",
    "run": "digest of the run file; equal runs have equal digests",
    "wear": "name of the wrapper; only with one",
    "sources": "digest of each file outside the package that the run names; only with one",
    "sampled": "true: negatives were drawn although non-clicks were logged (`evaluate.sampled`)",
    "met": '"yes" or "no": whether drawn negatives may be items that the user has met, as `evaluate.met` decides; only '
    "where negatives are drawn",
    "repeats": "share of the training clicks that repeat a pair of user and item clicked earlier; only with `met`",
    "metrics": "names of your own metrics (`evaluate.metrics`), which are among the scores; only with one",
    "fingerprint": "digest of each column of the data that the run read; a change is refused when the run is opened",
    "versions": "of hyperctr, torch and python",
    "seconds": "seconds of the whole run",
    "tickets": "LT4REC: the rounds of each task's masks",
    "searched": "LT4REC: whether the masks were searched, or are those of another run",
    "overlap": "LT4REC: how the tasks share each layer",
}
"""What each key of a report means."""

SCORES = {
    "auc": "AUC over all rows",
    "auc_low": "lower end of its 95 % interval (DeLong, over rows)",
    "auc_high": "upper end",
    "positive_auc": "mean over clicks of the share of their own drawn negatives below them; null where none are drawn",
    "positive_auc_se": "its standard error",
    "user_auc": "AUC inside each user, weighted by the user's rows",
    "user_auc_plain": "the same, each user weighted alike",
    "users_counted": "users with rows of both labels",
    "users_skipped": "the other users",
    "user_session_auc": "AUC inside one user and session, weighted by its rows; a session is scored rows of one user "
    "at most 30 minutes apart; null without times",
    "sessions_counted": "sessions with rows of both labels",
    "sessions_skipped": "the other sessions",
    "logloss": "log loss in nats of the probabilities as they are",
    "logloss_1to1": "log loss with clicks and non-clicks weighted alike",
    "logloss_corrected": "log loss after the logits are moved from training's negatives per click to those of the rows",
    "logloss_constant": "log loss of the best constant, the click rate of these rows",
    "rows": "rows scored, drawn negatives among them",
    "positives": "clicks among them",
    "warm": "rows whose user and item both have a training row",
    "cold_user": "rows whose user has no training row",
    "cold_item": "rows whose item has no training row",
    "unclicked_item": "rows whose item was never clicked before the moment of the row",
    "first": "rows whose item no earlier event has. Where negatives are drawn, such clicks and their candidates, items "
    "that appear first at that time or next, are in no other score (`evaluate.first`)",
    "return": "rows whose user had met the item before",
    "new": "rows whose user had not met the item before",
    "non_active": "rows of users with few training clicks",
    "slightly_active": "rows of users with more training clicks",
    "highly_active": "rows of users with most training clicks",
    "cvr_mse": "mean squared error of the conversions of clicked rows",
    "cvr_variance": "the same of the best constant",
    "cvr_auc": "AUC of the conversions of clicked rows",
    "cvr_rows": "clicked rows whose conversion is known",
    "ctcvr_auc": "AUC of click times conversion by pCTR pCVR",
}
"""What each score means. A group of rows has `NAME_auc`, `NAME_rows`, and a share, clicks, or most clicks per user."""

GROUPED = ("_auc", "_rows", "_share", "_clicks", "_positives")


def read(folder: str | Path) -> dict[str, Any]:
    """Read the report of a finished run; null is NaN.

    Raises:
        ValueError: report.json is missing or damaged.
    """
    path = Path(folder) / "report.json"
    found = read_json(path, "report of a run")
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged, it is no report of a run")
    return _with_nan(found)


def read_history(folder: str | Path) -> list[dict[str, str]]:
    """Read history.csv of a run's folder, one line per validation; without the file there is none.

    Raises:
        ValueError: the file is damaged: a line or column is missing, or an epoch is no number.
    """
    path = Path(folder) / "history.csv"
    lines = read_csv(path)
    for number, line in enumerate(lines, 2):
        if missing := [name for name in ("epoch", "valid_auc") if name not in line]:
            raise ValueError(f"{path} is damaged: it has no column {missing[0]}")
        try:
            float(line["epoch"]), float(line["valid_auc"])
        except ValueError:
            raise ValueError(f"{path} is damaged: line {number} has a cell that is no number") from None
    return lines


def scores_of(
    ready: Prepared, model: nn.Module, progress: Bar = no_progress
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Score validation and test rows; return `valid`, `test`, `popularity` on the same rows, and the scored test rows.

    Args:
        ready: what the model was built from.
        model: the trained model.
        progress: wraps the batches (batches, a word, their number) to show a bar.
    """
    from hyperctr.evaluation.evaluate import evaluate_popularity
    from hyperctr.runs.candidates import compared

    found: dict[str, dict[str, Any]] = {"test": {}, "valid": {}, "popularity": {}}
    for part in ("valid", "test"):
        scored = ready.scored(model, part, progress)
        found[part] = ready.measured(scored)
        has_time = ready.dataset.interactions.has_time
        found["popularity"][part] = evaluate_popularity(compared(ready, scored), ready.draws, has_time)
    return found, scored


def notes_of(report: dict[str, Any], tasks: tuple[str, ...], epochs: int) -> list[str]:
    """Say in sentences what is unusual about the scores of a report.

    Args:
        report: with best_epoch, epochs, model, valid, test, popularity and perhaps referees and settings.
        tasks: what the model predicts; popularity is compared with clicks only.
        epochs: most epochs, `train.epochs`.
    """
    found = []
    if report["best_epoch"] == report["epochs"] >= epochs > 1:
        found.append(f"the validation score was still rising at the last epoch: try train.epochs={2 * epochs}")
    if "click" in tasks and report["valid"]["auc"] == report["test"]["auc"] == 0.5:
        why = "all its units may be zero: try a smaller train.lr"
        if report.get("settings"):
            why = "no earlier click of these users has anything to do with the item, by the training clicks"
        found.append(f"the model gives every row the same score; {why}")
    ours, referees = report["test"], {"popularity": report["popularity"], **report.get("referees", {})}
    for name, beside in referees.items() if "click" in tasks else ():
        floor = beside["test"]
        if ours["auc"] < floor["auc"] and report["model"] != name:
            found.append(f"{report['model']} is below {name}: test AUC {ours['auc']:.4f}, {name} {floor['auc']:.4f}")
        within = [scores.get("user_auc", math.nan) for scores in (ours, floor)]
        if words := disagreement(ours["auc"] - floor["auc"], within[0] - within[1]):
            found.append(f"against {name} {report['model']} {words}")
    chosen = {report["model"]: report.get("settings", {})}
    chosen |= {name: scores.get("settings", {}) for name, scores in referees.items()}
    if cut := {name: settings["cut"] for name, settings in chosen.items() if settings.get("cut")}:
        found.append(
            f"{', '.join(cut)}: histories are cut at data.history; {max(cut.values()):.1%} of the validation rows have "
            "more earlier clicks"
        )
    return found


def is_documented(score: str) -> bool:
    """Say whether `SCORES` has a score, or the group that it is a number of."""
    return score in SCORES or any(score.removesuffix(end) in SCORES for end in GROUPED if score.endswith(end))


def schema() -> str:
    """Write docs/report.md."""
    tables = []
    for head, entries in (("key", KEYS), ("score", SCORES)):
        lines = [f"| {head} | meaning |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in entries.items())]
        tables.append("\n".join(lines))
    return "\n\n".join([
        "# report.json",
        "`hyperctr train` leaves report.json in the run's folder; `train --json` and `evaluate --json` print the "
        "same. A number that cannot be known is null.",
        tables[0],
        "## Scores",
        "`valid` and `test` have these numbers. A group of rows `NAME` has `NAME_auc` and `NAME_rows`; the groups by "
        "training rows and earlier clicks have `NAME_share` of all rows too, the groups by activity `NAME_clicks`, the "
        "most training clicks of their users. `first`, `return` and `new` have `NAME_positives`, the clicks among "
        "their rows, and `NAME_share` of all clicks. Your own metrics have their names.",
        tables[1],
    ]) + "\n"  # fmt: skip


def _with_nan(value: Any) -> Any:
    """Return a value of JSON with NaN for null."""
    if isinstance(value, dict):
        return {key: _with_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_with_nan(x) for x in value]
    return math.nan if value is None else value


if __name__ == "__main__":
    print(schema(), end="")
