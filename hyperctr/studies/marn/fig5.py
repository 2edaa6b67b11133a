"""Figure 5 of MARN: specific and invariant features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.reporting import figures, markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, judge_values
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.setting import MARN, MODEL
from hyperctr.studies.measurements import mean_known, pairs
from hyperctr.studies.study import POPULARITY, Findings, Row, Scores, Setup, Study, paper_modality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

SPECIFIC = "specific features of two modalities are completely separated"
INVARIANT = "invariant features of two modalities are drawn close to each other by the adversary"
NAMED = 0.9
"""What a probe must reach where the paper sees points completely separated."""
NONE = Row("lambda_0 = 0", MODEL, ("model.weight=0.0",))
POINTS = 500
"""Items of each group in the figure."""


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_marn(setup, dataset)
    return [POPULARITY, NONE, MARN]


def probes(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return how often a probe names the modality of `specific` and `invariant` parts, by `chance`; of two, `panels`.

    A panel has a title, groups, their points in two dimensions, and the accuracy of a probe.
    """
    from hyperctr.analysis import marn_modalities

    space = marn_modalities.space(opened.model)
    found = {part: space.probe(part) for part in ("specific", "invariant")} | {"chance": 1 / len(space.modalities)}
    panels = [
        {"title": title, "groups": groups, "probe": probe, "points": [x.round(3).tolist() for x in points]}
        for title, (groups, points, probe) in space.flat(pair_of(space.modalities), POINTS).items()
    ]
    return found | {"panels": panels}


def pair_of(names: tuple[str, ...]) -> tuple[str, str]:
    """Return the image and the title, or the nearest to them: features before words, words before ids and numbers."""
    theirs = {"visual": 0, "title": 1, "textual": 1, "statistic": 3, "ids": 4}
    order = sorted(names, key=lambda name: theirs.get(paper_modality(name) if name not in theirs else name, 2))
    return order[0], order[1]


def _judge(scores: Scores) -> list[Verdict]:
    measured = scores.measured["runs"]
    ours = measured.get(MARN.name, [])
    specific = judge_values(f"{SPECIFIC}; here a probe names {NAMED} of them", [run["specific"] for run in ours], NAMED,
                            "a linear probe names the modality:")  # fmt: skip
    closer = [without["invariant"] - run["invariant"] for without, run in pairs(measured, NONE.name, MARN.name)]
    how = "a probe names the modality less often than without the adversary by"
    if ours:
        with_it = mean_known([run["invariant"] for run in ours])
        how = f"{with_it:.3f} with it, chance {ours[0]['chance']:.3f}; {how}"
    return [specific, judge_values(INVARIANT, closer, 0.0, how)]


def _table(found: Findings) -> str:
    lines = [["row", "seed", "probe of specific", "probe of invariant", "chance"]]
    for row, some in found.scores.measured["runs"].items():
        for run in some:
            numbers = (run[name] for name in ("specific", "invariant", "chance"))
            lines.append([row, str(run["seed"]), *(tables.number(x, ".3f") for x in numbers)])
    head = "### How often a linear probe names the modality of a vector"
    return "\n\n".join([tables.table(found), head, markdown.table(lines)])


def _figures(found: Findings) -> dict[str, Figure]:
    ours = found.scores.measured["runs"].get(MARN.name)
    return space_figure(found, "", ours[0]) if ours else {}


def space_figure(found: Findings, end: str, run: dict) -> dict[str, Figure]:
    """Draw the features of a run in two dimensions."""
    protocol = f"{found.facts['data']}, seed {run['seed']}; t-SNE is a picture, the probe is the test"
    return {end: tables.titled(figures.draw_groups(run["panels"]), found, protocol)}


STUDY = Study(
    name="marn-fig5",
    title="MARN, Figure 5: specific and invariant features",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=setting.BASE,
    facts=setting.facts,
    measurements=setting.measured(probes),
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    table=_table,
    figures=_figures,
)
