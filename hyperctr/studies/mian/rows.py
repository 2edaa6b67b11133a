"""MIAN's studies (WSDM 2021, arXiv 2012.06968, section 4): which rows they compare, and the weights of its Figure 6.

All rows train on the same rows with the same negatives and the same stopping; another model takes what the base run
changes in the settings that it shares with MIAN.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.studies import tables
from hyperctr.studies.study import TITLES, Bench, Row, carried, grid, timed

if TYPE_CHECKING:
    from hyperctr.runs.open import Opened

MODEL = "mian"
"""The model of a run that names none."""
BENCHES = {
    bench.name: bench
    for bench in (
        Bench("mian-table2", "MIAN, Table 2: MIAN and other models"),
        Bench("mian-table3", "MIAN, Table 3: MIAN without its modules"),
        Bench("mian-table4", "MIAN, Table 4: the block that reads the clicks"),
        Bench("mian-efficiency", "MIAN, section 4.5: seconds of an epoch", timed=True),
        Bench("mian-fig6", "MIAN, Figure 6: what the global attention weighs"),
    )
}
COLUMNS: dict[str, type] = {}
"""Columns of results.csv beyond those of every bench."""
TABLE2 = ("lr", "wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien")
TABLE3 = {
    "w/o IUIM": ("model.iuim=false",),
    "w/o ICIM": ("model.icim=false",),
    "w/o IBIM": ("model.ibim=false",),
    "w/o GIM": ("model.gim=false",),
    "w/o IUIM&ICIM": ("model.iuim=false", "model.icim=false"),
}
TABLE4 = {"Pre-LN": "pre_ln", "Transformer": "post_ln", "w/o both": "none"}
CASES = 14  # of Figure 6
READ = 500  # test rows over which weights and effects are averaged


def split_of(data: str) -> str:
    """The paper's split: a user's last click is tested."""
    return "leave-last-out"


def planned(
    bench: Bench, base: config.Run, values: list[str], dataset: Dataset, given: Mapping[str, Any]
) -> tuple[config.Run, list[str], list[Row], list[str]]:
    """The run that rows change, no values, the rows, and what must be said about them.

    Raises:
        ValueError: the run is of another model or wears something; values are given.
    """
    tables.check(bench, base, MODEL)
    found = grid(bench, values)
    if bench.name == "mian-fig6" and not base.model.gim:
        raise ValueError("mian-fig6 shows the global attention, which model.gim=false leaves out")
    context = list(dataset.interactions.context_names) if dataset.interactions.logged_non_clicks else []
    context += base.data.derive or ()
    notes = []
    if not dataset.users.fields:
        notes.append("the data have no fields of users: IUIM reads the user's id and what data.derive says of the user")
    if not context and bench.name != "mian-efficiency":
        notes.append("the data have no context, so there is no ICIM; data.derive makes some of the time")
    return base, found, rows(bench, base, 1 + len(dataset.items.fields) + len(dataset.items.modalities)), notes


def rows(bench: Bench, base: config.Run, parts: int) -> list[Row]:
    """The rows of a bench, popularity first but where epochs are timed.

    Args:
        bench: what is studied.
        base: what all rows share.
        parts: of an item's vector; other models add them up, so their vectors are made as wide where time is compared.
    """
    from hyperctr.models import MODELS

    def other(name: str, *sets: str) -> Row:
        return Row(TITLES[name], name, (*carried(base, MODELS[name].Config), *sets))

    popularity, mian = Row("popularity", "popularity"), Row("MIAN", MODEL)
    if bench.name == "mian-table2":
        return [popularity, *map(other, TABLE2), mian]
    if bench.name == "mian-table3":
        without = [Row(name, MODEL, sets, over="MIAN") for name, sets in TABLE3.items()]
        return [popularity, mian, *without, Row("DIEN", "dien", other("dien").sets, over="MIAN")]
    if bench.name == "mian-table4":
        blocks = [Row(name, MODEL, (f"model.encoder={kind}",), over="Pre-LN" if name != "Pre-LN" else "")
                  for name, kind in TABLE4.items()]  # fmt: skip
        return [popularity, *blocks, Row("DIN", "din", other("din").sets, over="Pre-LN")]
    if bench.name == "mian-efficiency":
        wide = f"model.dim={parts * base.model.dim}"
        return [Row("MIAN", MODEL, timed()), *(other(name, wide, *timed()) for name in ("din", "dien"))]
    return [popularity, mian]


def facts(bench: Bench, base: config.Run, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """What bench.json must hold of these studies, beside what it holds of every bench."""
    return {"over": {row.name: row.over for row in plan if row.over}}


def keep(bench: Bench, cells: Mapping[str, tuple[Row, int]], out: Path, anew: bool) -> None:
    """Keep the weights of Figure 6 in measures.json; `anew` where a run is new."""
    if bench.name == "mian-fig6":
        tables.measure({cell: row.name for cell, (row, _) in cells.items() if row.model == MODEL}, out, weights)


def weights(opened: Opened, folder: Path) -> dict[str, Any]:
    """What the global attention weighs: in `CASES` drawn test rows, and in the mean over more of them.

    Returns:
        parts: their names, [L]. heat: [L][cases]. probability: of each case. mean: the weight of each part, [L];
        faithful: by group, the rank correlation of weights and effects.
    """
    from hyperctr.analysis import mian_attention

    some, many = (mian_attention.read(opened, mian_attention.cases(opened, count)) for count in (CASES, READ))
    about = some.frame.group_by("case", maintain_order=True).first()
    return {
        "parts": list(some.parts),
        "heat": some.heat().tolist(),
        "probability": about["probability"].to_list(),
        "mean": many.heat().mean(1).tolist(),
        "faithful": {group: correlation for group, _, correlation in many.faithfulness().rows()},
    }
