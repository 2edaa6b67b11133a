"""What MARN's experiments (WWW 2020, arXiv 2003.07162, section 4) report: Tables 2 to 5, and claims on Figures 4 to 6.

Its AUC is the mean over users of each user's own (Eq. 11). The figures carry no numbers in the paper's source.
"""

from __future__ import annotations

from collections.abc import Sequence

from hyperctr.studies.claims import Claim

COLUMNS = {"electro": "Amazon Electro", "clothe": "Amazon Clothe", "taobao": "Taobao"}
"""The paper's data sets, by their names on the command line; the last is private."""
ALL = ", ".join(COLUMNS.values())
"""What `--paper all` names."""
AUC = "user_auc_plain"
"""The column of results.csv that is the AUC of Eq. (11)."""

_TABLES = {  # AUC on each of COLUMNS
    "marn-table2": {
        "LR": (0.7272, 0.7143, 0.7011),
        "FM": (0.7369, 0.7224, 0.7091),
        "YoutubeNet": (0.7675, 0.7593, 0.7241),
        "xDeepFM": (0.7762, 0.7691, 0.7287),
        "DUPN": (0.7904, 0.7774, 0.7348),
        "DIEN": (0.7923, 0.7793, 0.7363),
        "DMF": (0.7924, 0.7797, 0.7371),
        "MMSS": (0.7934, 0.7806, 0.7380),
        "NAML": (0.7958, 0.7825, 0.7398),
        "MARN": (0.8034, 0.7909, 0.7486),
    },
    "marn-table3": {
        "Base+IDs": (0.7897, 0.7729, 0.7295),
        "Base+IMAGE": (0.7631, 0.7564, 0.6833),
        "Base+CONC": (0.7929, 0.7792, 0.7360),
        "Base+MAF": (0.7961, 0.7827, 0.7399),
        "Base+MAF+ADV": (0.7974, 0.7838, 0.7411),
        "Base+MAF+DDMA": (0.8013, 0.7889, 0.7463),
        "MARN": (0.8034, 0.7909, 0.7486),
    },
}
LEVELS = {
    "Base+IDs": (0.672, 0.687, 0.694, 0.717, 0.725, 0.732, 0.736, 0.739, 0.750, 0.752),
    "MARN": (0.716, 0.712, 0.716, 0.738, 0.743, 0.745, 0.742, 0.741, 0.752, 0.753),
}
"""Table 4, on Taobao: AUC by the popularity of the item, from the least to the most."""
NEAREST = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 1000)
RECALL = {
    "RANDOM": (0.0001, 0.0001, 0.0002, 0.0002, 0.0003, 0.0004, 0.0005, 0.0006, 0.0007, 0.0007, 0.0059),
    "Base+IDs": (0.0582, 0.0645, 0.1013, 0.1121, 0.1216, 0.1281, 0.1342, 0.1424, 0.1443, 0.1454, 0.2128),
    "MARN": (0.0695, 0.0797, 0.1231, 0.1363, 0.1486, 0.1534, 0.1559, 0.1575, 0.1586, 0.1599, 0.2199),
}
"""Table 5, on Taobao: share of the clicks on unseen items found among the N nearest, N of `NEAREST`."""
NEAR, TOLD = 0.002, 0.9
"""AUC by which a row of Tables 2 and 3 may lie below one that it should be above; and what a probe must reach where
the paper sees points completely separated."""
FIGURES = {
    "marn-table4": "MARN gains most over ids on unpopular items: +.044 to +.021 at levels 0 to 3, +.002 at 7 to 9",
    "marn-table5": "MARN finds unseen items that are clicked better than ids do, here up to N = 100",
    "marn-fig4": "attention follows the category: the image in clothing, shoes, jewelry, statistics in phones, grocery",
    "marn-fig5 specific": "specific features of two modalities are completely separated",
    "marn-fig5 invariant": "invariant features of two modalities are drawn close to each other by the adversary",
    "marn-fig6 loss": "the adversarial loss (-L_ADV) gradually increases while the total loss converges",
    "marn-fig6 weight": "lambda_0 = 0.05 is best of 0.01 to 1.8",
}
"""What the paper says of these tables and figures."""


def column(data: str) -> str:
    """The paper's data set that our data are named after; empty for none."""
    name = data.lower()
    return "Amazon Electro" if "electro" in name else "Amazon Clothe" if "cloth" in name else ""


def columns(bench: str, paper: str) -> tuple[str, ...]:
    """The data sets that stand beside ours in a table: those named, or all."""
    named = tuple(name for name in COLUMNS.values() if name in paper.split(", "))
    return (named or tuple(COLUMNS.values())) if bench in _TABLES else ()


def numbers(bench: str, row: str, column: str) -> float | None:
    """AUC of a row of Table 2 or 3; None where there is none."""
    found = _TABLES.get(bench, {}).get(row)
    return found[list(COLUMNS.values()).index(column)] if found else None


def claims(bench: str, rows: Sequence[str]) -> list[Claim]:
    """What the paper claims about Table 2 or 3, in terms of the rows that were run."""

    def above(ours: str, other: str, text: str, margin: float = NEAR) -> list[Claim]:
        said = f"{text}; here it may lie {margin} below" if margin else text
        return [Claim(said, (ours,), (other,), margin, AUC)] if {ours, other} <= set(rows) else []

    if bench == "marn-table2":
        neural = [row for row in rows if row not in ("popularity", "LR", "FM")]
        found = above("MARN", "NAML", "MARN is above NAML, the best baseline (by .0076 to .0088)")
        found += above("MARN", "DIEN", "MARN is above DIEN (by .0111 to .0123)")
        return found + [one for row in neural for one in above(row, "LR", f"{row} is above LR", 0.0)]
    ladder = {
        "Base+CONC": ("Base+IDs", "more modalities help"),
        "Base+MAF": ("Base+CONC", "attention is above the sum (by .0032 to .0039)"),
        "Base+MAF+ADV": ("Base+MAF", "one discriminator helps (by .0011 to .0013)"),
        "Base+MAF+DDMA": ("Base+MAF", "two discriminators help (by .0052 to .0064)"),
        "MARN": ("Base+MAF+DDMA", "APGRU helps (by .0020 to .0023)"),
    }
    found = [one for row, (other, text) in ladder.items() for one in above(row, other, f"{row}: {text}")]
    found += above("MARN", "Base+IDs", "MARN is above ids alone (by .0137 to .0191)", 0.0)
    found += above("Base+MAF+DDMA", "Base+MAF+ADV", "two discriminators are above one (by .0039 to .0052)", 0.0)
    return found + above("Base+IDs", "Base+IMAGE", "ids alone are above the image alone", 0.0)
