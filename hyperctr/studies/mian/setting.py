"""Keep the setting of MIAN's studies: which runs and data they accept, what is noted, and how wide the margins are.

The rules were fixed before anything ran. A claim is reproduced where the 95 % interval over seeds is on its side of
the margin that is printed with it, contradicted where it is on the other side, and else inconclusive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperctr.studies import tables
from hyperctr.studies.study import Row, Scores, Setup

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

MODEL = "mian"
BASE = {"model": {"name": MODEL}}
SCORES = ("auc", "user_auc", "user_session_auc", "logloss_1to1", "best_epoch")
MIAN = Row("MIAN", MODEL)
NEAR, LESS = 0.002, 0.001
"""AUC that MIAN may be below the best baseline; AUC that a removed module may gain."""


def notes(setup: Setup, dataset: Dataset) -> list[str]:
    """Say what the data lack for MIAN's modules."""
    found = []
    if not dataset.users.fields:
        found.append("the data have no fields of users: IUIM reads the user's id and what data.derive says of the user")
    if not has_context(setup, dataset):
        found.append("the data have no context, so there is no ICIM; data.derive makes some of the time")
    return found


def has_context(setup: Setup, dataset: Dataset) -> bool:
    """Return whether rows have a context, in the data or derived."""
    logged = tuple(dataset.interactions.context) if dataset.interactions.logged_non_clicks else ()
    return bool(logged or setup.base.data.derive)


def caveats(scores: Scores) -> list[str]:
    """Say why the paper's tables are not quite comparable."""
    split = scores.facts["split"]
    found = ["the paper does not say how many negatives it has per click: never compare its log loss with ours"]
    if split != "leave-last-out":
        found.append(f"the paper tests each user's last click; here the split is {split}")
    return [*tables.unlearned(scores), *found]
