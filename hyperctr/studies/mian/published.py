"""What MIAN's experiments (WSDM 2021, arXiv 2012.06968, section 4) report: Tables 2 to 4, an epoch's time, claims.

Its data hold more negatives a click than is said, other ones in each set, so its log loss is not comparable with ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from hyperctr.studies.claims import Claim

COLUMNS = {"books": "Amazon Books", "electronics": "Amazon Electronics", "commercial": "commercial"}
"""The paper's data sets, by their names on the command line; the last is private."""
ALL = ", ".join(COLUMNS.values())
"""What `--paper all` names."""

_TABLE2 = {  # AUC and log loss on each of COLUMNS
    "LR": (0.7876, 0.4401, 0.8214, 0.2116, 0.7584, 0.3334),
    "W&D": (0.7932, 0.4228, 0.8385, 0.2033, 0.7611, 0.3299),
    "DCN": (0.7995, 0.4236, 0.8540, 0.1824, 0.7646, 0.3197),
    "DeepFM": (0.8067, 0.4188, 0.8636, 0.1708, 0.7609, 0.3297),
    "xDeepFM": (0.8089, 0.4174, 0.8683, 0.1662, 0.7610, 0.3301),
    "DIN": (0.8145, 0.4113, 0.8807, 0.1273, 0.7612, 0.3205),
    "DIEN": (0.8159, 0.4100, 0.8836, 0.1225, 0.7634, 0.3151),
    "MIAN": (0.8209, 0.4018, 0.8913, 0.1136, 0.7674, 0.3097),
}
_TABLE3 = {  # the first two of them
    "MIAN": (0.8209, 0.4018, 0.8913, 0.1136),
    "w/o IUIM": (0.8187, 0.4066, 0.8875, 0.1197),
    "w/o ICIM": (0.8194, 0.4058, 0.8902, 0.1141),
    "w/o IBIM": (0.8154, 0.4104, 0.8843, 0.1214),
    "w/o GIM": (0.8189, 0.4060, 0.8872, 0.1186),
    "w/o IUIM&ICIM": (0.8166, 0.4079, 0.8846, 0.1220),
    "DIEN": (0.8159, 0.4100, 0.8836, 0.1225),
}
_TABLE4 = {  # the last
    "Pre-LN": (0.7674, 0.3097),
    "Transformer": (0.7662, 0.3103),
    "w/o both": (0.7612, 0.3205),
}
SECONDS = {"DIN": 3143.0, "MIAN": 3700.0, "DIEN": 4073.0}
"""An epoch on Amazon Books, four K80."""
NEAR, LESS, LR = 0.002, 0.001, 0.005
"""AUC that MIAN may lie below the best baseline; that a removal may gain; that DIN and DIEN must be above LR."""
FIGURES = {
    "mian-efficiency": "an epoch of MIAN takes less time than one of DIEN (3700 s against 4073 s; DIN 3143 s)",
    "mian-fig6": "in most cases the interactions R weigh more than candidate, clicks, user and context as they were",
}


def column(data: str) -> str:
    """The paper's data set that our data are named after; empty for none."""
    name = data.lower()
    return "Amazon Books" if "book" in name else "Amazon Electronics" if "electro" in name else ""


def columns(bench: str, paper: str) -> tuple[str, ...]:
    """The data sets that stand beside ours: those named, or the public ones; of Table 4 the only one that it is on."""
    here = {"mian-table2": (0, 1, 2), "mian-table3": (0, 1), "mian-table4": (2,)}.get(bench, ())
    held = [name for k, name in enumerate(COLUMNS.values()) if k in here]
    named = [name for name in held if name in paper.split(", ")]
    return tuple(named or (held if len(held) == 1 else held[:2]))


def numbers(bench: str, row: str, column: str) -> tuple[float, float] | None:
    """AUC and log loss of a row of a table; None where there are none."""
    place = list(COLUMNS.values()).index(column)
    found = {"mian-table2": _TABLE2, "mian-table3": _TABLE3}.get(bench, {}).get(row)
    if bench == "mian-table4" and column == "commercial":
        return _TABLE4.get(row)
    pair = found[2 * place : 2 * place + 2] if found else ()
    return (pair[0], pair[1]) if pair else None


def claims(bench: str, rows: Sequence[str]) -> list[Claim]:
    """What the paper claims about a table, in terms of the rows that were run."""
    others = tuple(row for row in rows if row not in ("popularity", "MIAN"))
    if bench == "mian-table2":
        best = f"MIAN is above every baseline; here it may lie {NEAR} below"
        deep = [Claim(f"{row} is above LR (by .027 and more on Amazon); here by {LR}", (row,), ("LR",), -LR)
                for row in ("DIN", "DIEN")]  # fmt: skip
        return [Claim(best, ("MIAN",), others, NEAR), *deep]
    if bench == "mian-table3":
        found = [
            Claim(f"every module helps: {row} is worse; here it may gain {LESS}", ("MIAN",), (row,), LESS)
            for row in others if row != "DIEN"
        ]  # fmt: skip
        both = f"without IUIM and ICIM it is worse than without one; here it may gain {LESS}"
        found += [Claim(f"{both}: {row}", (row,), ("w/o IUIM&ICIM",), LESS) for row in ("w/o IUIM", "w/o ICIM")]
        return [*found, Claim(f"MIAN is above DIEN; here it may lie {NEAR} below", ("MIAN",), ("DIEN",), NEAR)]
    if bench == "mian-table4":
        return [
            Claim(f"the Pre-LN Transformer is better than none; here none may gain {LESS}", ("Pre-LN",), ("w/o both",),
                  LESS),
        ]  # fmt: skip
    return []
