"""What LT4REC's experiments (arXiv 2008.09872, section 3) report: Tables 2 and 3, and Figure 4 in words.

All are on a log of Tencent Video of 297 million impressions that is not public. The paper calls the gain of s-weight
over hard sharing 2.9 %; its own numbers give 2.48 %.
"""

from __future__ import annotations

COLUMNS = {"tencent": "Tencent Video"}
"""The paper's data set, by its name on the command line."""
ALL = ", ".join(COLUMNS.values())
"""What `--paper all` names."""

_TABLE2: dict[str, tuple[float | None, float | None]] = {  # AUC of clicks, mean squared error of conversions
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
}
TABLE3 = {  # seconds of view time online
    "base_ctr * base_cvr * length": 491.312,
    "base_ctr * hard_cvr * length": 481.651,
    "base_ctr * s_weight_cvr * length": 498.686,
    "s_weight_ctr * s_weight_cvr * length": 497.158,
}
FIGURE4 = {
    "click": "clicks are best without pruning; further on their AUC rises, then falls",
    "conversion": "the error of conversions falls with pruning, then grows again",
}
"""What the paper says of Figure 4, by task; its source carries no numbers."""


def column(data: str) -> str:
    """The paper's data set, which stands beside any of ours: it has no other."""
    return COLUMNS["tencent"]


def numbers(row: str) -> tuple[float | None, float | None]:
    """AUC of clicks and error of conversions of a row of Table 2, whatever the b in its name."""
    return _TABLE2.get(row.partition(" with b = ")[0], (None, None))
