"""What HyperCTR's experiments (arXiv 2109.02398, section 3) report: Tables 3 and 4, and claims on Figures 4 to 8.

The figures carry no numbers in the paper's source, so of them only claims can be compared. Which of its three data
sets stands beside ours is `column`; the paper's numbers are never merged with ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from hyperctr.studies.claims import Claim

COLUMNS = {"kuaishou": "Kuaishou", "mv1.7m": "MV1.7M", "movielens": "MovieLens"}
"""The paper's data sets, by their names on the command line."""
ALL = ""
"""What `--paper all` names: none in particular, so that each has its columns."""

_TABLE3 = {
    "GRU4Rec": (0.7367, 0.5852, 0.7522, 0.6613, 0.7486, 0.6991),
    "THACIL": (0.6640, 0.5793, 0.6842, 0.6572, 0.6720, 0.6791),
    "DSTN": (0.7722, 0.5672, 0.7956, 0.6492, 0.8008, 0.6162),
    "MIMN": (0.7593, 0.5912, 0.7486, 0.6862, 0.7522, 0.6751),
    "ALPINE": (0.6840, 0.5632, 0.7130, 0.6591, 0.7390, 0.6163),
    "AutoFIS": (0.7870, 0.5756, 0.8010, 0.5404, 0.7983, 0.5436),
    "UBR4CTR": (0.7520, 0.5710, 0.8070, 0.5605, 0.8050, 0.5663),
    "HyperCTR": (0.8120, 0.5548, 0.8670, 0.5160, 0.8360, 0.5380),
}
_TABLE4 = {
    "all modalities": (0.8120, 0.5548, 0.8670, 0.5160, 0.8360, 0.5380),
    "visual": (0.8110, 0.5560, 0.8567, 0.5167, 0.8259, 0.5376),
    "acoustic": (None, None, 0.8260, 0.5171, 0.8134, 0.5373),
    "textual": (0.7720, 0.5756, 0.8158, 0.5175, 0.8123, 0.5364),
    "GCN, no hypergraph": (0.8034, 0.5554, 0.8137, 0.5426, 0.8064, 0.5673),
}
PUZZLES = (
    "The authors of THACIL, whose AUC is .6842 in Table 3, released a checkpoint named model-0.6844-0.5727: that number"
    " looks like logged clicks against logged non-clicks, not like 1000 sampled negatives a click. On the public splits"
    " of that kind others report DIN at AUC .7495 (KuaiVideo_x1) and .7360 (MicroVideo1.7M_x1).",
    "Popularity alone reaches AUC .853 on ML-100K under a random split with uniform unobserved negatives, above the"
    " .836 that the paper reports for HyperCTR on ML-10M. A model below the popularity row has not learned.",
    "The paper's log loss of .51 to .57 fits about one negative a click (a constant gives .69), not the 1000 of its"
    " protocol (a constant gives .008); ours is at one negative a click.",
)
"""Why the paper's absolute numbers are not comparable with ours; printed with every table."""

ANOTHER = {
    "ml-100k": "ML-100K is a hundredth of the paper's MovieLens 10M, from other users and years",
    "ml-1m": "ML-1M is a tenth of the paper's MovieLens 10M, from other users and years",
    "kuai": "the paper's Kuaishou is the challenge set of 10,000 users and 3.2 million micro-videos, not KuaiRand",
    "microvideo": "the public MV1.7M has one modality, the cover image; the paper's has three",
}
"""How a data set differs from the paper's that is shown beside it, by the beginning of its name."""


def column(data: str) -> str:
    """The paper's data set that a reader would set beside ours; empty for none."""
    name = data.lower()
    if name.startswith(("ml-", "movielens")):
        return "MovieLens"
    if name.startswith(("mv1.7", "microvideo", "micro-video")):
        return "MV1.7M"
    return "Kuaishou" if name.startswith("kuai") else ""


def numbers(table: str, row: str, column: str) -> tuple[float, float] | None:
    """AUC and log loss of a row of "table3" or "table4"; None where the paper has none."""
    found = {"table3": _TABLE3, "table4": _TABLE4}.get(table, {}).get(row)
    auc, loss = found[2 * list(COLUMNS.values()).index(column) :][:2] if found else (None, None)
    return None if auc is None else (auc, loss)


def models() -> tuple[str, ...]:
    """The rows of Table 3 in its order, HyperCTR last."""
    return tuple(_TABLE3)


def claims(bench: str, rows: Sequence[str], column: str) -> list[Claim]:
    """What the paper claims about a table or figure, in terms of the rows that were run; [] if nothing can be tested.

    Args:
        bench: table3, table4, layers, granularity, dim or neighbors.
        rows: names of the rows in order, narrow to wide; without popularity and static MF except in table3.
        column: the paper's data set, "" for none.
    """
    found = {
        "table3": _overall, "table4": _modalities, "layers": _layers, "granularity": _granularity, "dim": _dim,
        "neighbors": _neighbors,
    }[bench](tuple(rows), column)  # fmt: skip
    return [claim for claim in found if claim.ours and claim.others]


def _overall(rows: tuple[str, ...], column: str) -> list[Claim]:
    """Popularity and static MF are ours, but a model that is not above them has nothing to claim."""
    baselines = tuple(x for x in rows if x in (*_TABLE3, "popularity", "static MF") and x != "HyperCTR")
    return [Claim("HyperCTR is above every baseline", ("HyperCTR",), baselines)]


def _modalities(rows: tuple[str, ...], column: str) -> list[Claim]:
    fixed = ("all modalities", "GCN, no hypergraph", "no graph")
    single = tuple(x for x in rows if x not in fixed)
    visual = tuple(x for x in single if x == "visual")
    return [
        Claim("all modalities together are better than each alone", ("all modalities",), single),
        Claim("hypergraphs are better than a GCN on the same events", ("all modalities",), ("GCN, no hypergraph",)),
        Claim("the visual modality is the best single one", visual, tuple(x for x in single if x != "visual")),
    ]


def _layers(rows: tuple[str, ...], column: str) -> list[Claim]:
    three, more = _among(rows, 3, 3), _among(rows, 4, 99)
    found = [Claim("one layer is poor, three are significantly better", three, _among(rows, 1, 1))]
    if column == "MovieLens":
        found.append(Claim("on MovieLens more than three layers help further", more, three))
    elif column:
        found.append(Claim(f"on {column} three layers are enough: more gain less than .01 here", three, more, 0.01))
    return found


def _granularity(rows: tuple[str, ...], column: str) -> list[Claim]:
    best = {"Kuaishou": "half a year", "MovieLens": "almost one year", "MV1.7M": "about three months"}
    best = f"{best[column]} of 1 to 18 months" if column else "3 to 12 of 1 to 18 months, by data set"
    text = f"the best slice width lies inside the grid ({best}); finer and coarser ones are worse"
    ends = (rows[0], rows[-1]) if len(rows) > 2 else ()
    return [Claim(text, rows[1:-1], ends, interior=True)]


def _dim(rows: tuple[str, ...], column: str) -> list[Claim]:
    good = _among(rows, 64, 128)
    return [
        Claim("AUC rises with the width of the embeddings", good, _among(rows, 1, 63)[:1]),
        Claim("beyond that it is stable or slightly worse: gains less than .01 here", good, _among(rows, 129, 1e9)[-1:],
              0.01),
    ]  # fmt: skip


def _neighbors(rows: tuple[str, ...], column: str) -> list[Claim]:
    good = _among(rows, 15, 25)
    text = "15 to 25 sampled neighbours are best: more help at first, too many harm slowly"
    return [Claim(text, good, tuple(x for x in rows if x not in good))]


def _among(rows: tuple[str, ...], low: float, high: float) -> tuple[str, ...]:
    """Rows whose name is a number from low to high."""
    return tuple(name for name in rows if low <= float(name) <= high)


FIGURES = {
    "threads": "the speed-up of an epoch is very close to linear from 1 to 24 threads (24 cores, 512 GiB)",
    "curve": "the AUC of HyperCTR rises over the training; a unit of the x axis is 5 % of the training rows",
}
"""What the paper says of Figures 7 and 8."""
