"""Table 4 of HyperCTR: modalities, and hypergraphs against a GCN."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hyperctr.studies.claims import Claim, Verdict, compare
from hyperctr.studies.hyperctr import entries, paper_numbers, table3
from hyperctr.studies.study import Row, Scores, Setup, Study, paper_modality

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

ALL, GCN, NONE = "all modalities", "GCN, no hypergraph", "no graph"


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    entries.need_hyperctr(setup)
    return [*rows_of(dataset.items.modalities), *entries.preset_rows(setup)]


def rows_of(modalities: Iterable[str]) -> list[Row]:
    """Return the rows for data with these modalities: all, each alone, a GCN, and no graph."""
    ours = list(modalities)
    named = [(paper_modality(name), name) for name in ours if len(ours) > 1]
    often = Counter(theirs for theirs, _ in named)
    single = [Row(theirs if often[theirs] == 1 else own, sets=(f"data.modalities={json.dumps([own])}",))
              for theirs, own in named]  # fmt: skip
    last = [Row(GCN, sets=("model.conv=gcn",)), Row(NONE, sets=("model.depth=0",))]
    return [*entries.simple_rows(), Row(ALL), *single, *last]


def _judge(scores: Scores) -> list[Verdict]:
    others = (*entries.SIMPLE, ALL, GCN, NONE, *entries.PRESETS)
    single = tuple(name for name in scores.names if name not in others)
    visual = tuple(name for name in single if name == "visual")
    claims = [
        Claim("all modalities together are better than each alone", (ALL,), single),
        Claim("hypergraphs are better than a GCN on the same events", (ALL,), (GCN,)),
        Claim("the visual modality is the best single one", visual, tuple(x for x in single if x != "visual")),
    ]
    return [compare(claim, scores.runs) for claim in claims if claim.ours and claim.others]


STUDY = Study(
    name="table4",
    title="HyperCTR, Table 4: modalities, and hypergraphs against a GCN",
    rows=_rows,
    notes=lambda setup, dataset: entries.preset_notes(setup, ALL),
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE4,
    entries=lambda scores: entries.entries(scores, ALL, ALL),
    caveats=lambda scores: [*entries.ABSOLUTE, *entries.another(scores)],
    table=entries.table,
    figures=lambda found: table3.draw(found, ALL),
)
