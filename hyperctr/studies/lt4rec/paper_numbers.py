"""Keep what LT4REC's paper (arXiv 2008.09872, section 3) reports: its data set, and Tables 2 and 3.

All are on a log of Tencent Video of 297 million impressions that is not public. The paper calls the gain of s-weight
over hard sharing 2.9 %; its own numbers give 2.48 %. Figure 4 carries no numbers in the paper's source.
"""

from __future__ import annotations

from hyperctr.studies.study import Numbers, Paper

SETS = {"tencent": "Tencent Video"}
"""The paper's data set, by its name on the command line."""
PROTOCOL = {"split": {"kind": "temporal"}, "evaluate": {"sampled": False, "max_positives": 0}}
"""By time, on all impressions of the test rows, clicked or not; no negatives are drawn."""
PAPER = Paper(SETS, like=lambda data: SETS["tencent"], protocol=lambda data: PROTOCOL)
TABLE2 = Numbers(tuple(SETS.values()), {
    "base_ctr": (0.78572, None),
    "base_cvr": (None, 0.13688),
    "hard_sharing": (0.78808, 0.13563),
    "s-weight": (0.78874, 0.13226),
    "s-neuron": (0.78346, 0.13531),
    "s-weight-taskbalance": (0.78740, 0.13193),
    "s-weight-gradientconflict": (0.78801, 0.13181),
    "s-weight-multiview": (0.78762, 0.13242),
    "s-weight-biggernet": (0.78525, 0.13251),
    "s-weight-tuning": (0.78689, 0.13171),
}, ("AUC of clicks", "squared error of conversions"))  # fmt: skip
TABLE3 = {
    "base_ctr * base_cvr * length": 491.312,
    "base_ctr * hard_cvr * length": 481.651,
    "base_ctr * s_weight_cvr * length": 498.686,
    "s_weight_ctr * s_weight_cvr * length": 497.158,
}
"""Seconds of view time online."""


def of(row: str) -> tuple[float | None, float | None]:
    """Return the AUC of clicks and the error of conversions of a row of Table 2, for any b in its name."""
    return TABLE2.of(row.partition(" with b = ")[0], SETS["tencent"]) or (None, None)
