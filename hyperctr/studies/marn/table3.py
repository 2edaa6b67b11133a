"""Table 3 of MARN: from ids alone to MARN, one part at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hyperctr.studies.claims import Verdict
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.setting import GRU, IDS, MARN, MODEL, SUM, above
from hyperctr.studies.study import POPULARITY, Row, Scores, Setup, Study, paper_modality

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

STEPS = {
    "Base+CONC": ("Base+IDs", "more modalities help"),
    "Base+MAF": ("Base+CONC", "attention is above the sum (by .0032 to .0039)"),
    "Base+MAF+ADV": ("Base+MAF", "one discriminator helps (by .0011 to .0013)"),
    "Base+MAF+DDMA": ("Base+MAF", "two discriminators help (by .0052 to .0064)"),
    "MARN": ("Base+MAF+DDMA", "APGRU helps (by .0020 to .0023)"),
}
"""What the paper says of each row, and of which other row it says so."""


def _image(dataset: Dataset) -> str:
    """Return the modality that is an image; "" for none."""
    return next((name for name in dataset.items.modalities if paper_modality(name) == "visual"), "")


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_marn(setup, dataset)
    return rows_with(_image(dataset))


def rows_with(image: str) -> list[Row]:
    """Return the rows for data with this image modality, "" for none."""
    alone = [Row("Base+IMAGE", MODEL, (*SUM, f'model.modalities=["{image}"]'), over=IDS.name)] if image else []
    return [
        POPULARITY, IDS, *alone,
        Row("Base+CONC", MODEL, SUM, over=IDS.name),
        Row("Base+MAF", MODEL, (*GRU, "model.adversary=none"), over="Base+CONC"),
        Row("Base+MAF+ADV", MODEL, (*GRU, "model.adversary=single"), over="Base+MAF"),
        Row("Base+MAF+DDMA", MODEL, GRU, over="Base+MAF+ADV"),
        replace(MARN, over="Base+MAF+DDMA"),
    ]  # fmt: skip


def _notes(setup: Setup, dataset: Dataset) -> list[str]:
    return [] if _image(dataset) else ["the data have no image of items: there is no row Base+IMAGE"]


def _judge(scores: Scores) -> list[Verdict]:
    found = [one for row, (other, text) in STEPS.items() for one in above(scores, row, other, f"{row}: {text}")]
    found += above(scores, "MARN", "Base+IDs", "MARN is above ids alone (by .0137 to .0191)", 0.0)
    two = "two discriminators are above one (by .0039 to .0052)"
    found += above(scores, "Base+MAF+DDMA", "Base+MAF+ADV", two, 0.0)
    return found + above(scores, "Base+IDs", "Base+IMAGE", "ids alone are above the image alone", 0.0)


STUDY = Study(
    name="marn-table3",
    title="MARN, Table 3: from ids alone to MARN",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE3,
    base=setting.BASE,
    notes=_notes,
    facts=setting.facts,
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    ours=MARN.name,
    caveats=setting.caveats,
)
