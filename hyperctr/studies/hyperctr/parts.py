"""What each part of HyperCTR's preset `hyperctr-best` gives, one setting per row; and depth with and without links."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperctr import config
from hyperctr.evaluation import significance
from hyperctr.experiments import sweep_gains
from hyperctr.studies import tables
from hyperctr.studies.claims import Claim, Verdict, compare
from hyperctr.studies.hyperctr import entries, paper_numbers
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

WHOLE = "HyperCTR"
LINKS = ("links", "period_links", "recent_links", "nearest")
"""Parts of the past that say how the item is linked with the user's clicks."""
MODEL = {
    "no columns in Eq. (7)": ("model.fields=false",),
    "no attention over the clicks": ("model.attend=false",),
    "no second branch": ('model.branch="none"',),
    "no GRU over the clicks": ("model.gru=false",),
    "no statistics of the clicks": ("model.statistics=false",),
    "depth 0": ("model.depth=0",),
    "depth 1": ("model.depth=1",),
    "depth 3": ("model.depth=3",),
    "three members": ("train.members=3",),
}
"""What the rows of the ablation change in the model and its training, by row."""


def _without(base: config.Run, gone: Sequence[str]) -> tuple[str, ...]:
    """Return the word of `--set` that leaves parts out of the past of a run; () where it reads none of them."""
    from hyperctr.runs.past import past_parts  # imports torch

    parts = past_parts(base.data, frozenset())
    left = [part for part in parts if part not in gone]
    return (f"data.past={json.dumps(left or 'none')}",) if len(left) < len(parts) else ()


# --- one part at a time --------------------------------------------------------------------------------------------


def _ablation(setup: Setup, dataset: Dataset | None) -> list[Row]:
    base = entries.need_hyperctr(setup)
    past = {"no links": LINKS, "no counts": ("counts",)}
    past |= {"no cosines of content": ("content",)} if dataset and dataset.items.modalities else {}
    parts = {name: _without(base, gone) for name, gone in past.items()}
    parts |= MODEL
    changed = {name: words for name, words in parts.items() if config.read_run(config.to_tables(base), words) != base}
    return [Row(WHOLE), *(Row(name, sets=words, over=WHOLE) for name, words in changed.items())]


# --- depth, with and without links ---------------------------------------------------------------------------------


def _depth(setup: Setup, dataset: Dataset | None) -> list[Row]:
    base, found = entries.need_hyperctr(setup), []
    if not (none := _without(base, LINKS)):
        raise ValueError(f"{setup.study.name} compares runs with and without links, the run reads none: data.past")
    for links, past in {"links": (), "no links": none}.items():
        first = f"{links}, depth 0"
        found.append(Row(first, sets=("model.depth=0", *past), over="links, depth 0" if past else ""))
        for span in ("slice", "past"):
            found += [
                Row(_deep(links, depth, span), sets=(f"model.depth={depth}", f"slices.span={span}", *past), over=first)
                for depth in (1, 3)
            ]
    return found


def _deep(links: str, depth: int, span: str) -> str:
    return f"{links}, depth {depth}, hyperedges of {'the slice' if span == 'slice' else 'the past'}"


def _judge_depth(scores: Scores) -> list[Verdict]:
    """Judge what the paper says about depth: it has no links, and hyperedges of the slice."""
    text = "one layer is poor, three are significantly better"
    three, one = (_deep("no links", depth, "slice") for depth in (3, 1))
    return [compare(Claim(text, (three,), (one,)), scores.runs)]


# --- in words ------------------------------------------------------------------------------------------------------


def in_words(scores: Scores) -> list[str]:
    """Return a sentence per row: whether it is above the row that it is compared with, or gives nothing."""
    found = []
    for name, over in scores.facts["over"].items():
        gain = significance.difference(scores.runs.get(name, []), scores.runs.get(over, []))
        found += [sweep_gains.sentence(name, over, gain)] if gain else []
    return found


def _table(found: Findings) -> str:
    said = "\n".join(f"- {line}" for line in in_words(found.scores))
    return "\n\n".join(filter(None, [tables.table(found), said]))


ABLATION = Study(
    name="ablation",
    title="HyperCTR: what each part gives",
    rows=_ablation,
    preset="hyperctr-best",
    paper=paper_numbers.PAPER,
    seeds=5,
    ours=WHOLE,
    table=_table,
)
DEPTH = Study(
    name="depth",
    title="HyperCTR: depth with and without links, hyperedges of the slice or of the past",
    rows=_depth,
    judge=_judge_depth,
    preset="hyperctr-best",
    paper=paper_numbers.PAPER,
    seeds=5,
    words_only=True,
    table=_table,
)
