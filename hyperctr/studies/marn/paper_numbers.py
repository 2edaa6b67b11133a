"""Keep what MARN's paper (WWW 2020, arXiv 2003.07162, section 4) reports: its data sets, and Tables 2 to 5.

Its AUC is the mean over users of each user's own (Eq. 11). The figures carry no numbers in the paper's source.
"""

from __future__ import annotations

from hyperctr.studies.study import Numbers, Paper

SETS = {"electro": "Amazon Electro", "clothe": "Amazon Clothe", "taobao": "Taobao"}
"""The paper's data sets, by their names on the command line; the last is private."""


def like(data: str) -> str:
    """Return the paper's data set after which our data are named; "" for none."""
    name = data.lower()
    return "Amazon Electro" if "electro" in name else "Amazon Clothe" if "cloth" in name else ""


PROTOCOL = {"split": {"kind": "leave-last-out"}, "evaluate": {"negatives": 1, "max_positives": 0}}
"""Each user's last click with one negative, as the number of samples in its Table 1 says; logged non-clicks are scored
where there are some, as on Taobao."""
PAPER = Paper(SETS, like, protocol=lambda data: PROTOCOL)
TABLE2 = Numbers(tuple(SETS.values()), {
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
})  # fmt: skip
TABLE3 = Numbers(tuple(SETS.values()), {
    "Base+IDs": (0.7897, 0.7729, 0.7295),
    "Base+IMAGE": (0.7631, 0.7564, 0.6833),
    "Base+CONC": (0.7929, 0.7792, 0.7360),
    "Base+MAF": (0.7961, 0.7827, 0.7399),
    "Base+MAF+ADV": (0.7974, 0.7838, 0.7411),
    "Base+MAF+DDMA": (0.8013, 0.7889, 0.7463),
    "MARN": (0.8034, 0.7909, 0.7486),
})  # fmt: skip
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
