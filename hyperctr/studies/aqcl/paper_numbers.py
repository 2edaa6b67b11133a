"""Keep what AQCL's paper (arXiv 2109.13921, section 5) reports: its data sets, and the AUCs of Tables 2 and 3.

RelaImpr follows from the AUCs (Eq. 9). The figures carry no numbers in the paper's source.
"""

from __future__ import annotations

from typing import Any

from hyperctr.studies.study import Numbers, Paper

SETS = {"beauty": "Amazon Beauty", "tafeng": "Ta Feng", "oncold": "Oncold"}
"""The paper's data sets, by their names on the command line; the last is private."""
PUBLIC = ("Amazon Beauty", "Ta Feng")
GROUPS = {
    "overall": "auc",
    "non-active": "non_active_auc",
    "slightly active": "slightly_active_auc",
    "highly active": "highly_active_auc",
}
"""All users, and the three groups by activity, with the column of results.csv that has their AUC."""


def like(data: str) -> str:
    """Return the paper's data set after which our data are named; "" for none."""
    name = data.lower().replace("-", "").replace("_", "")
    if "beauty" in name:
        return "Amazon Beauty"
    return "Ta Feng" if "tafeng" in name else ""


def protocol(data: str) -> dict[str, dict[str, Any]]:
    """Return the paper's protocol for a data set: each user's last click, or last day, since baskets have no hour.

    The paper does not say how many negatives a click has; DIN's, which it follows, have one.
    """
    kind = "leave-last-day-out" if like(data) == "Ta Feng" else "leave-last-out"
    return {"split": {"kind": kind}, "evaluate": {"negatives": 1, "max_positives": 0}}


PAPER = Paper(SETS, like, protocol)
TABLE2 = Numbers(tuple(SETS.values()), {  # one line per data set: all users, then the three groups
    "DIN": (
        0.6956, 0.6719, 0.7064, 0.7998,
        0.6865, 0.6783, 0.6929, 0.7009,
        0.7601, 0.7361, 0.7608, 0.7787,
    ),
    "DropoutNet": (
        0.6929, 0.6691, 0.7034, 0.7975,
        0.6812, 0.6762, 0.6843, 0.6927,
        0.7615, 0.7387, 0.7617, 0.7756,
    ),
    "DeepMCP": (
        0.7053, 0.6797, 0.7191, 0.8097,
        0.6881, 0.6791, 0.6947, 0.7057,
        0.7675, 0.7409, 0.7728, 0.7914,
    ),
    "DMR": (
        0.6982, 0.6736, 0.7087, 0.8064,
        0.6880, 0.6806, 0.6930, 0.7031,
        0.7598, 0.7365, 0.7570, 0.7778,
    ),
    "ICL": (
        0.7016, 0.6767, 0.7138, 0.8059,
        0.6914, 0.6812, 0.6931, 0.7032,
        0.7640, 0.7367, 0.7706, 0.7895,
    ),
    "AQCL": (
        0.7078, 0.6826, 0.7231, 0.8105,
        0.6931, 0.6832, 0.6969, 0.7098,
        0.7691, 0.7396, 0.7823, 0.7968,
    ),
}, tuple(GROUPS), PUBLIC)  # fmt: skip
TABLE3 = Numbers(tuple(SETS.values()), {
    "W&D": (0.6803, 0.6716, 0.7547),
    "AQCL on W&D": (0.6841, 0.6732, 0.7578),
    "DeepFM": (0.6810, 0.6721, 0.7633),
    "AQCL on DeepFM": (0.6848, 0.6768, 0.7659),
    "DIN": (0.6956, 0.6865, 0.7601),
    "AQCL on DIN": (0.7078, 0.6931, 0.7691),
}, ("overall",), PUBLIC)  # fmt: skip
