"""Keep what MIAN's paper (WSDM 2021, arXiv 2012.06968, section 4) reports: data sets, Tables 2 to 4, an epoch's time.

Its data have more negatives per click than it says, another number in each set, so its log loss is not comparable.
"""

from __future__ import annotations

from hyperctr.studies.study import Numbers, Paper

SETS = {"books": "Amazon Books", "electronics": "Amazon Electronics", "commercial": "commercial"}
"""The paper's data sets, by their names on the command line; the last is private."""
PUBLIC = ("Amazon Books", "Amazon Electronics")
WHAT = ("AUC", "log loss")


def like(data: str) -> str:
    """Return the paper's data set after which our data are named; "" for none."""
    name = data.lower()
    return "Amazon Books" if "book" in name else "Amazon Electronics" if "electro" in name else ""


PROTOCOL = {"split": {"kind": "leave-last-out"}, "evaluate": {"negatives": 1, "max_positives": 0}}
"""Each user's last click, with one negative where no non-clicks are logged; the paper does not say how many it has."""
PAPER = Paper(SETS, like, protocol=lambda data: PROTOCOL)
TABLE2 = Numbers(tuple(SETS.values()), {
    "LR": (0.7876, 0.4401, 0.8214, 0.2116, 0.7584, 0.3334),
    "W&D": (0.7932, 0.4228, 0.8385, 0.2033, 0.7611, 0.3299),
    "DCN": (0.7995, 0.4236, 0.8540, 0.1824, 0.7646, 0.3197),
    "DeepFM": (0.8067, 0.4188, 0.8636, 0.1708, 0.7609, 0.3297),
    "xDeepFM": (0.8089, 0.4174, 0.8683, 0.1662, 0.7610, 0.3301),
    "DIN": (0.8145, 0.4113, 0.8807, 0.1273, 0.7612, 0.3205),
    "DIEN": (0.8159, 0.4100, 0.8836, 0.1225, 0.7634, 0.3151),
    "MIAN": (0.8209, 0.4018, 0.8913, 0.1136, 0.7674, 0.3097),
}, WHAT, PUBLIC)  # fmt: skip
TABLE3 = Numbers(PUBLIC, {
    "MIAN": (0.8209, 0.4018, 0.8913, 0.1136),
    "w/o IUIM": (0.8187, 0.4066, 0.8875, 0.1197),
    "w/o ICIM": (0.8194, 0.4058, 0.8902, 0.1141),
    "w/o IBIM": (0.8154, 0.4104, 0.8843, 0.1214),
    "w/o GIM": (0.8189, 0.4060, 0.8872, 0.1186),
    "w/o IUIM&ICIM": (0.8166, 0.4079, 0.8846, 0.1220),
    "DIEN": (0.8159, 0.4100, 0.8836, 0.1225),
}, WHAT)  # fmt: skip
TABLE4 = Numbers(("commercial",), {
    "Pre-LN": (0.7674, 0.3097),
    "Transformer": (0.7662, 0.3103),
    "w/o both": (0.7612, 0.3205),
}, WHAT)  # fmt: skip
SECONDS = {"DIN": 3143.0, "MIAN": 3700.0, "DIEN": 4073.0}
"""Seconds of an epoch on Amazon Books, four K80."""
