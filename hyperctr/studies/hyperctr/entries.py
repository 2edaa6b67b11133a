"""Compare the rows of HyperCTR's tables with one reference row, next to the paper's AUC and log loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hyperctr import config
from hyperctr.evaluation import significance
from hyperctr.experiments import results
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import UNKNOWN
from hyperctr.studies.study import Findings, Row, Scores, Setup

MODEL = "hyperctr"
PRESETS = ("hyperctr-paper", "hyperctr-best")
SCORES = ("auc", "user_auc", "user_session_auc", "positive_auc", "logloss_1to1")
SIMPLE = tuple(results.BASELINES.values())
ANOTHER = {
    "ml-100k": "ML-100K is a hundredth of the paper's MovieLens 10M, from other users and years",
    "ml-1m": "ML-1M is a tenth of the paper's MovieLens 10M, from other users and years",
    "kuai": "the paper's Kuaishou is the challenge set of 10,000 users and 3.2 million micro-videos, not KuaiRand",
    "microvideo": "the public MV1.7M has one modality, the cover image; the paper's has three",
}
"""How a data set differs from the paper's data set next to it, by the beginning of its name."""
ABSOLUTE = (
    "The authors of THACIL, whose AUC is .6842 in Table 3, released a checkpoint named model-0.6844-0.5727: that number"
    " looks like logged clicks against logged non-clicks, not like 1000 sampled negatives per click. On the public"
    " splits of that kind DIN is reported at AUC .7495 (KuaiVideo_x1) and .7360 (MicroVideo1.7M_x1).",
    "Popularity alone reaches AUC .853 on ML-100K under a random split with uniform unobserved negatives, above the"
    " .836 that the paper reports for HyperCTR on ML-10M. A model below the popularity row has not learned.",
    "The paper's log loss of .51 to .57 fits about one negative per click (a constant gives .69), not the 1000 of its"
    " protocol (a constant gives .008); ours is at one negative per click.",
)
"""Why the paper's absolute numbers are not comparable with ours; printed with its tables."""


def need_hyperctr(setup: Setup) -> config.Run:
    """Return the shared run, which must be of HyperCTR.

    Raises:
        ValueError: it is of another model.
    """
    base = setup.base
    if base.model_name != MODEL:
        name = setup.study.name
        raise ValueError(f"{name} studies {MODEL}, the run names {base.model_name}; use model.name = {MODEL}")
    return base


def preset_rows(setup: Setup) -> list[Row]:
    """Return the rows of HyperCTR's presets, without the one whose settings the shared run has."""
    return [Row(name, MODEL, preset=name) for name in PRESETS if setup.of_preset(name) != setup.base]


def preset_notes(setup: Setup, row: str) -> list[str]:
    """Say which preset the shared run is, and which rows read more or less of the past than the others.

    Args:
        setup: the call.
        row: the name of the row of HyperCTR with the settings of the shared run.
    """
    runs, found = {name: setup.of_preset(name) for name in PRESETS}, []
    found += [f"{row} is {name}, whose settings all rows share" for name, run in runs.items() if run == setup.base]
    shared = setup.base.data.past
    other = {name: run.data.past for name, run in runs.items() if run.data.past != shared}
    for name, past in other.items():
        found.append(f'{name} reads data.past = "{past}" by definition; the shared run has "{shared}"')
    return found


def simple_rows() -> list[Row]:
    """Return the rows of popularity and static MF."""
    return [Row(title, model) for model, title in results.BASELINES.items()]


def another(scores: Scores) -> list[str]:
    """Say how the data differ from the paper's, and which rows have not learned."""
    name = scores.facts["data"].lower()
    return [*(text for start, text in ANOTHER.items() if name.startswith(start)), *tables.unlearned(scores)]


def entries(scores: Scores, reference: str, ours: str = "") -> list[dict]:
    """Return one entry per row; a row without runs keeps its name and the paper's numbers.

    Args:
        scores: of all runs.
        reference: the row over which gains are measured; one without runs gives none.
        ours: the row whose numbers in the paper hyperctr-paper has too.
    """
    found, runs, numbers = [], scores.runs, scores.study.columns
    for name, model in scores.facts["rows"]:
        some = runs[name]
        entry: dict[str, Any] = {"row": name, "model": model, "n": len(some), "reference": False}
        for column in tables.recorded([*SCORES, "valid_auc", "seconds"], runs):
            value = significance.score(some, column) if some else UNKNOWN
            entry |= {column: value.mean, f"{column}_half": value.half}
        gain = significance.difference(some, runs[reference]) if runs.get(reference) and some else None
        entry["reference"] = bool(runs.get(reference)) and name == reference
        entry |= {"difference": math.nan if gain is None else gain.mean}
        entry |= {"difference_half": math.nan if gain is None else gain.half}
        entry["verdict"] = "" if gain is None or name == reference else significance.verdict(gain)
        entry["learned"] = tables.learned(runs, name)
        for data in scores.paper_sets:
            pair = numbers.of(ours if name == PRESETS[0] else name, data) or (math.nan, math.nan)
            entry |= {f"paper {data} {what}": x for what, x in zip(numbers.what, pair, strict=True)}
        found.append(entry)
    return found


def over_popularity(scores: Scores) -> list[dict]:
    """Return one entry per row, compared with popularity."""
    return entries(scores, "popularity")


def table(found: Findings, over: str = "") -> str:
    """Write the entries as Markdown.

    Args:
        found: what the study found.
        over: heads the column of gains; "" for one that names the reference row.
    """
    rows, paper_sets = found.rows, found.scores.paper_sets
    shown = [name for name in SCORES if any(not math.isnan(row.get(name, math.nan)) for row in rows)]
    reference = next((row["row"] for row in rows if row["reference"]), "")
    heads = [over or (f"over {reference}" if reference else "compared"), ""]
    lines = [["row", "n", *(tables.HEADS[name] for name in shown), *heads]]
    lines[0] += [f"the paper: {data}, AUC / log loss" for data in paper_sets]
    for row in rows:
        texts = [markdown.format_score(tables.of(row, name)) for name in shown]
        gain, note = markdown.format_gain(tables.of(row, "difference")) if row["verdict"] else "", row["verdict"]
        if not row["n"]:
            texts, note = ["" for _ in shown], why_empty(row)
        elif row["learned"] is False:
            note = "has not learned"
        pairs = [(row[f"paper {data} AUC"], row[f"paper {data} log loss"]) for data in paper_sets]
        numbers = ["-" if math.isnan(auc) else f"{auc:.4f} / {loss:.4f}" for auc, loss in pairs]
        lines.append([row["row"], str(row["n"]), *texts, gain, note, *numbers])
    return markdown.table(lines)


def why_empty(row: Mapping) -> str:
    """Say why a row has no scores; "" where it has some."""
    return "" if row["n"] else "no finished run" if row["model"] else "no model here yet"


def paper_aucs(found: Findings) -> dict[str, dict[str, float]]:
    """Return the paper's AUCs by data set and row, as a figure takes them."""
    return {
        data: {row["row"]: x for row in found.rows if not math.isnan(x := row[f"paper {data} AUC"])}
        for data in found.scores.paper_sets
    }


def protocol(found: Findings, marks: str = "bands") -> str:
    """Say below a figure's title what was trained on what."""
    facts = found.facts
    seeds = f"{marks}: 95 % over seeds"
    if len(facts["seeds"]) == 1:
        seeds = f"one seed; {marks}: 95 % from the scored rows"
    return f"HyperCTR on {facts['data']}, {facts['split']} split; {seeds}"
