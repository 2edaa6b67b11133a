"""Keep the setting of MARN's studies: which runs and data they accept, rows that several have, margins.

The rules were fixed before anything ran. A claim is reproduced where the 95 % interval over seeds is on its side of
the margin that is printed with it, contradicted where it is on the other side, and else inconclusive. AUC is the
paper's: the mean over users of each user's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperctr.studies import tables
from hyperctr.studies.claims import Claim, Verdict, compare
from hyperctr.studies.measurements import per_run
from hyperctr.studies.study import Row, Scores, Setup

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

MODEL = "marn"
BASE = {"model": {"name": MODEL}}
AUC = "user_auc_plain"
"""The column of results.csv that is the AUC of Eq. (11)."""
EXTRA = (AUC, "cold_item_auc")
"""Columns of results.csv beyond those of every study: AUC of Eq. (11), and that of items without a training row."""
SCORES = (AUC, "auc", "user_session_auc", "logloss_1to1", "cold_item_auc")
GRU = ("model.behaviour=gru",)
SUM = (*GRU, "model.fusion=sum", "model.adversary=none")
IDS = Row("Base+IDs", MODEL, (*SUM, 'model.modalities=["ids"]'))
MARN = Row("MARN", MODEL)
NEAR = 0.002
"""AUC by which a row of Tables 2 and 3 may be below one that it should be above."""


def need_marn(setup: Setup, dataset: Dataset) -> None:
    """Refuse another model, a wrapper, and data that have nothing to fuse.

    Raises:
        ValueError: run or data do not fit.
    """
    setup.need_model(MODEL)
    if not dataset.items.modalities and dataset.items.titles is None:
        raise ValueError(f"{setup.study.name} needs modalities or titles of items, {dataset.name} has neither")


def facts(setup: Setup, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """Return the first field of items, and whether non-clicks are logged."""
    return {"field": next(iter(dataset.items.categories), ""), "logged": dataset.interactions.logged_non_clicks}


def measured(of: Any) -> dict[str, Any]:
    """Return the measurement of each MARN of a study, under the name "runs"."""
    return {"runs": per_run(of, lambda row: row.model == MODEL)}


def above(scores: Scores, ours: str, other: str, text: str, margin: float = NEAR) -> list[Verdict]:
    """Judge the claim that a row is above another; [] where one of the two is not in the table."""
    if not {ours, other} <= set(scores.names):
        return []
    said = f"{text}; here it may be {margin} below" if margin else text
    return [compare(Claim(said, (ours,), (other,), margin, AUC), scores.runs)]


def caveats(scores: Scores) -> list[str]:
    """Say how training and split differ from those of the paper's Tables 2 and 3."""
    given = scores.facts
    found = [*tables.unlearned(scores), "the paper trains with AdaGrad; all models here train with Adam"]
    if not given["logged"] and given["split"] == "temporal":
        found.append(f"the paper tests each user's last click; here the split is {given['split']}")
    if given["split"].startswith("leave-last"):
        found.append("a user has one tested click here, so a user's AUC is that click against drawn negatives")
    return found
