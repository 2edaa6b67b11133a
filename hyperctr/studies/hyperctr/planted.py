"""HyperCTR's claims on worlds whose answer is known: what must come out if HyperCTR does what it says.

Both presets are asked, and each claim says for which of them it holds. A seed is a world of its own and a training of
its own. *Way* is the share of the way from popularity to the best that can be learned from the world's own past.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.evaluation.metrics import gap_closed
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables, worlds
from hyperctr.studies.claims import Claim, Verdict, above, compare, judge
from hyperctr.studies.hyperctr import entries
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset
    from hyperctr.data.planted import World
    from hyperctr.data.split import Split

MODALITIES = ("visual", "acoustic", "textual")
NEEDED = 0.85
"""Share of the way from popularity to what can be learned."""
TURNOVER, FACTOR = 8.0, 4.0
"""Days after which half of the items of `fashion` are about something else; how far the best slice width may be off."""
WIDTHS = (1, 3, 8, 24, 64)
"""Slice widths in days."""
BASE = {
    "data": {"history": 20},
    "slices": {"every": "20d"},
    "model": {"name": "hyperctr", "dim": 32, "depth": 2},
    "train": {"epochs": 8, "lr": 2e-3, "l2": 3e-4, "batch_size": 256, "threads": 1},
}
PRESETS = {name.removeprefix("hyperctr-"): name for name in entries.PRESETS}
COMMUNITIES = (
    "slices.every=7d", "interest.mode=none", "model.dim=16", "train.epochs=4", "train.lr=4e-3", "train.l2=1e-5",
)  # fmt: skip
"""What the smaller worlds change; the modalities of an item say the same there."""
COUNTS = ("train.epochs=1", "train.lr=0.05", "train.l2=1e-5", "train.batch_size=512")
"""How popularity is trained."""

ALL = "all modalities in drift"
SINGLE = tuple(f"{name} alone in drift" for name in MODALITIES)
HYPERGRAPH, GCN = "hypergraph in group", "GCN in group"
THREE, ONE = "3 layers in multihop", "1 layer in multihop"
BY_WIDTH = {f"{days}d in fashion": days for days in WIDTHS}
NEAR = tuple(name for name, days in BY_WIDTH.items() if 1 / FACTOR <= days / TURNOVER <= FACTOR)
FAR = tuple(name for name in BY_WIDTH if name not in NEAR)
CLAIMS = (
    Claim("all modalities together are better than the best alone", (ALL,), SINGLE),
    Claim("where groups carry the signal, hypergraphs are better than a GCN on their pairs", (HYPERGRAPH,), (GCN,)),
    Claim("where the signal is two hops away, three layers are better than one", (THREE,), (ONE,)),
    Claim(f"the best slice width is inside the grid, within a factor {FACTOR:g} of the {TURNOVER:g} days after which "
          "half of the items are about something else", NEAR, FAR, interior=True),
)  # fmt: skip
VERDICTS = ("reproduced", "inconclusive", "contradicted", "not tested")
"""Of two presets, the verdict that comes first counts."""


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    settings = {
        ALL: (),
        **{name: (f'data.modalities=["{own}"]',) for name, own in zip(SINGLE, MODALITIES, strict=True)},
        HYPERGRAPH: COMMUNITIES,
        GCN: (*COMMUNITIES, "model.conv=gcn"),
        THREE: (*COMMUNITIES, "model.depth=3"),
        ONE: (*COMMUNITIES, "model.depth=1"),
        **{name: (*COMMUNITIES, f"slices.every={days}d") for name, days in BY_WIDTH.items()},
    }
    found = []
    for world in setup.study.worlds:
        found.append(Row(_popularity(world), "popularity", COUNTS, world=world))
        found += [Row(of(preset, name), sets=sets, over=_popularity(world), world=world, preset=full)
                  for preset, full in PRESETS.items()
                  for name, sets in settings.items() if _world(name) == world]  # fmt: skip
    return found


def of(preset: str, row: str) -> str:
    """Return the name of a row under a preset, "paper" or "best"."""
    return f"{preset}: {row}"


def _world(row: str) -> str:
    return row.rpartition(" in ")[2]


def _popularity(world: str) -> str:
    return f"popularity in {world}"


def known(world: World, parts: Split) -> dict[str, float]:
    """Return the AUC that can be learned from a world's own past, and the AUC of its true probabilities."""
    return {"learnable": world.learnable(parts.train, parts.test), "ceiling": world.ceiling(parts.test)}


def ways(scores: Scores, row: str) -> list[float]:
    """Return by seed the share of the way from popularity to what can be learned."""
    floors = {run["seed"]: run["auc"] for run in scores.runs.get(_popularity(_world(row)), ())}
    tops = {seed: x["learnable"] for seed, x in scores.measured["worlds"].get(_world(row), {}).items()}
    return [
        gap_closed(run["auc"], floors[run["seed"]], tops[run["seed"]])
        for run in scores.runs.get(row, ())
        if run["seed"] in floors and run["seed"] in tops and floors[run["seed"]] < tops[run["seed"]]
    ]


def _judge(scores: Scores) -> list[Verdict]:
    each = [_judge_preset(scores, preset) for preset in PRESETS]
    return [_either(verdicts) for verdicts in zip(*each, strict=True)]


def _either(verdicts: tuple[Verdict, ...]) -> Verdict:
    """Join the verdicts on one claim, one per preset, and say for which it holds."""
    pairs = dict(zip(PRESETS, verdicts, strict=True))
    holds = [preset for preset, one in pairs.items() if one.verdict == "reproduced"]
    said = [f"{preset}: {one.here} ({one.verdict})" for preset, one in pairs.items()]
    shown = f"holds for {' and '.join(holds)}" if holds else "shown for neither"
    text = f"{shown}. " + "; ".join(said)
    return Verdict(verdicts[0].claim, text, min((one.verdict for one in verdicts), key=VERDICTS.index))


def _judge_preset(scores: Scores, preset: str) -> list[Verdict]:
    def named(rows: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(of(preset, row) for row in rows)

    found = ways(scores, of(preset, ALL))
    value = Score(*significance.mean_interval(found), len(found)) if found else None

    def said(way: Score) -> str:
        half = "" if math.isnan(way.half) else f" ± {way.half:.1%}"
        return f"{way.mean:.1%}{half}, least {min(found):.1%}"

    text = f"at least {NEEDED:.0%} of the way from popularity to what can be learned, in drift"
    first = judge(text, value, above(NEEDED), said)
    claims = [replace(claim, ours=named(claim.ours), others=named(claim.others)) for claim in CLAIMS]
    return [first, *(compare(claim, scores.runs) for claim in claims), _learned(scores, preset)]


def _learned(scores: Scores, preset: str) -> Verdict:
    """Judge whether every row of a preset is above the popularity of its world, by the smallest gain."""
    text, runs = "every row is above popularity", scores.runs
    gains = {row: significance.difference(runs[row], runs[over]) for row, over in scores.facts["over"].items()
             if row.startswith(of(preset, "")) and runs[row] and runs[over]}  # fmt: skip
    ran = {row: gain for row, gain in gains.items() if gain}
    if not ran:
        return Verdict(text, "nothing was run", "not tested")
    least = min(ran, key=lambda row: ran[row].mean)
    here = f"least: {least} {markdown.format_gain(ran[least])}"
    return Verdict(text, here, significance.judge_gains(list(gains.values())))


def _entries(scores: Scores) -> list[dict]:
    found = []
    for entry in tables.entries(scores):
        way, world = ways(scores, entry["row"]), scores.measured["worlds"].get(_world(entry["row"]), {})
        entry["way"] = statistics.fmean(way) if way else math.nan
        for name in ("learnable", "ceiling"):
            entry[name] = statistics.fmean(x[name] for x in world.values()) if world else math.nan
        found.append(entry)
    return found


def _table(found: Findings) -> str:
    lines = [["row", "way to what can be learned", "what can be learned", "with the true probabilities"]]
    for row in found.rows:
        way = "-" if math.isnan(row["way"]) else f"{row['way']:.0%}"
        lines.append([row["row"], way, tables.number(row["learnable"]), tables.number(row["ceiling"])])
    return "\n\n".join([tables.table(found), "### Way to the best possible score", markdown.table(lines)])


STUDY = Study(
    name="hyperctr-planted",
    title="HyperCTR on planted worlds whose answer is known",
    rows=_rows,
    judge=_judge,
    base=BASE,
    seeds=5,
    worlds={"drift": 1.0, "group": 0.5, "multihop": 0.5, "fashion": 0.5},
    measurements={"worlds": worlds.known(known)},
    scores=("auc",),
    ours=of("best", ALL),
    entries=_entries,
    table=_table,
)
