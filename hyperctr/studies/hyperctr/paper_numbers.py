"""Keep what HyperCTR's paper (arXiv 2109.02398, section 3) reports: its data sets, and the numbers of Tables 3 and 4.

Its figures carry no numbers in the paper's source, so only claims about them can be compared.
"""

from __future__ import annotations

from hyperctr import presets
from hyperctr.studies.study import Numbers, Paper

SETS = {"kuaishou": "Kuaishou", "mv1.7m": "MV1.7M", "movielens": "MovieLens"}
"""The paper's data sets, by their names on the command line."""


def like(data: str) -> str:
    """Return the paper's data set that a reader would put next to ours; "" for none."""
    name = data.lower()
    if name.startswith(("ml-", "movielens")):
        return "MovieLens"
    if name.startswith(("mv1.7", "microvideo", "micro-video")):
        return "MV1.7M"
    return "Kuaishou" if name.startswith("kuai") else ""


PAPER = Paper(SETS, like, protocol=lambda data: presets.read_protocol("paper"))
TABLE3 = Numbers(tuple(SETS.values()), {
    "GRU4Rec": (0.7367, 0.5852, 0.7522, 0.6613, 0.7486, 0.6991),
    "THACIL": (0.6640, 0.5793, 0.6842, 0.6572, 0.6720, 0.6791),
    "DSTN": (0.7722, 0.5672, 0.7956, 0.6492, 0.8008, 0.6162),
    "MIMN": (0.7593, 0.5912, 0.7486, 0.6862, 0.7522, 0.6751),
    "ALPINE": (0.6840, 0.5632, 0.7130, 0.6591, 0.7390, 0.6163),
    "AutoFIS": (0.7870, 0.5756, 0.8010, 0.5404, 0.7983, 0.5436),
    "UBR4CTR": (0.7520, 0.5710, 0.8070, 0.5605, 0.8050, 0.5663),
    "HyperCTR": (0.8120, 0.5548, 0.8670, 0.5160, 0.8360, 0.5380),
}, ("AUC", "log loss"))  # fmt: skip
TABLE4 = Numbers(tuple(SETS.values()), {
    "all modalities": (0.8120, 0.5548, 0.8670, 0.5160, 0.8360, 0.5380),
    "visual": (0.8110, 0.5560, 0.8567, 0.5167, 0.8259, 0.5376),
    "acoustic": (None, None, 0.8260, 0.5171, 0.8134, 0.5373),
    "textual": (0.7720, 0.5756, 0.8158, 0.5175, 0.8123, 0.5364),
    "GCN, no hypergraph": (0.8034, 0.5554, 0.8137, 0.5426, 0.8064, 0.5673),
}, ("AUC", "log loss"))  # fmt: skip
