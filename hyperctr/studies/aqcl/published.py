"""What AQCL's experiments (arXiv 2109.13921, section 5) report: AUCs of Tables 2 and 3, and claims on Figures 5 to 7.

RelaImpr follows from the AUCs (Eq. 9). The figures carry no numbers in the paper's source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COLUMNS = {"beauty": "Amazon Beauty", "tafeng": "Ta Feng", "oncold": "Oncold"}
"""The paper's data sets, by their names on the command line; the last is private."""
ALL = ", ".join(COLUMNS.values())
"""What `--paper all` names."""
PUBLIC = ("Amazon Beauty", "Ta Feng")
GROUPS = {
    "overall": "auc",
    "non-active": "non_active_auc",
    "slightly active": "slightly_active_auc",
    "highly active": "highly_active_auc",
}
"""All users, and the three groups by activity, with the column of results.csv that has their AUC."""

_TABLE2 = {  # a line a data set: all users, then the three groups
    "DIN": (
        (0.6956, 0.6719, 0.7064, 0.7998),
        (0.6865, 0.6783, 0.6929, 0.7009),
        (0.7601, 0.7361, 0.7608, 0.7787),
    ),
    "DropoutNet": (
        (0.6929, 0.6691, 0.7034, 0.7975),
        (0.6812, 0.6762, 0.6843, 0.6927),
        (0.7615, 0.7387, 0.7617, 0.7756),
    ),
    "DeepMCP": (
        (0.7053, 0.6797, 0.7191, 0.8097),
        (0.6881, 0.6791, 0.6947, 0.7057),
        (0.7675, 0.7409, 0.7728, 0.7914),
    ),
    "DMR": (
        (0.6982, 0.6736, 0.7087, 0.8064),
        (0.6880, 0.6806, 0.6930, 0.7031),
        (0.7598, 0.7365, 0.7570, 0.7778),
    ),
    "ICL": (
        (0.7016, 0.6767, 0.7138, 0.8059),
        (0.6914, 0.6812, 0.6931, 0.7032),
        (0.7640, 0.7367, 0.7706, 0.7895),
    ),
    "AQCL": (
        (0.7078, 0.6826, 0.7231, 0.8105),
        (0.6931, 0.6832, 0.6969, 0.7098),
        (0.7691, 0.7396, 0.7823, 0.7968),
    ),
}
_TABLE3 = {  # a number a data set
    "W&D": (0.6803, 0.6716, 0.7547),
    "AQCL on W&D": (0.6841, 0.6732, 0.7578),
    "DeepFM": (0.6810, 0.6721, 0.7633),
    "AQCL on DeepFM": (0.6848, 0.6768, 0.7659),
    "DIN": (0.6956, 0.6865, 0.7601),
    "AQCL on DIN": (0.7078, 0.6931, 0.7691),
}

FIGURES = {
    "aqcl-alpha": "an alpha that falls with activity is above every constant one",
    "aqcl-dz": "z must have a width of at least 32; here: 64 is above 8",
    "aqcl-w": "too small and too large a weight hurt: the best lies inside the grid",
    "aqcl-k": "one positive interest is too few; here: K = 5 is above K = 1",
    "aqcl-tsne": "with AQCL the hidden vectors fall roughly into groups, without it they do not (on Oncold)",
}
"""What the paper says of Figures 5, 7 and 6."""


def column(data: str) -> str:
    """The paper's data set that our data are named after; empty for none."""
    name = data.lower().replace("-", "").replace("_", "")
    if "beauty" in name:
        return "Amazon Beauty"
    return "Ta Feng" if "tafeng" in name else ""


def numbers(bench: str, row: str, column: str) -> tuple[float, ...] | None:
    """AUCs of a row of "aqcl-table2" (one for each of GROUPS) or "aqcl-table3" (overall); None where there is none."""
    place = list(COLUMNS.values()).index(column)
    if bench == "aqcl-table2":
        return _TABLE2[row][place] if row in _TABLE2 else None
    if bench == "aqcl-table3":
        return (_TABLE3[row][place],) if row in _TABLE3 else None
    return None


def columns(facts: Mapping) -> Sequence[str]:
    """The paper's data sets beside ours: its tables alone have numbers, and those of Table 2 are DIN's."""
    if "table" not in facts["bench"] or (facts["bench"] == "aqcl-table2" and facts["base"] != "DIN"):
        return ()
    return facts["paper"].split(", ") if facts["paper"] else PUBLIC


def printed(facts: Mapping) -> Sequence[str]:
    """The groups that the paper's table has."""
    return list(GROUPS) if facts["bench"] == "aqcl-table2" else ["overall"]
