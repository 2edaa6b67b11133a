"""Make the rows of AQCL's studies: one model on the same rows of data, with different wrappers in training.

ICL and QCL share AQCL's weight, temperatures and views, unless they are given settings of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from hyperctr import config
from hyperctr.studies.aqcl.paper_numbers import GROUPS
from hyperctr.studies.study import TITLES, Row, Setup, shared_settings

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

BASE = {"model": {"name": "din"}}
SCORES = tuple(
    f"{column.removesuffix('auc')}{what}"
    for column in list(GROUPS.values())[1:]
    for what in ("auc", "rows", "clicks")[: 2 if column.startswith("highly") else 3]
)
"""Columns of results.csv: AUC and rows of the groups by activity, and the most clicks of all groups but the last."""


def plain(base: config.Run) -> str:
    """Return the name of the row of the shared run's model without a wrapper."""
    return TITLES.get(base.model_name, base.model_name)


def bare(setup: Setup) -> Row:
    """Return the row of the model without a wrapper.

    Raises:
        ValueError: the model has no hidden vector that a wrapper could read.
    """
    from hyperctr.batch import HasHidden
    from hyperctr.models import MODELS, find_model

    name = setup.base.model_name
    if not isinstance(find_model(name), HasHidden):
        fit = ", ".join(name for name, model in MODELS.items() if isinstance(model, HasHidden))
        raise ValueError(f"{setup.study.name} needs a model with a hidden vector ({fit}), the run names {name}")
    return Row(plain(setup.base), name)


def popularity(setup: Setup) -> Row:
    """Return the row of popularity, compared with the model without a wrapper."""
    return Row("popularity", "popularity", over=plain(setup.base))


def wrapped(setup: Setup, name: str, title: str, model: str = "", **changes: Any) -> Row:
    """Return the row of a model with a wrapper.

    Args:
        setup: the call.
        name: of the wrapper. title: of the row.
        model: "" for that of the shared run.
        changes: settings of the wrapper in this row.
    """
    from hyperctr.models import find_model

    base = setup.base
    model = model or base.model_name
    sets = () if model == base.model_name else shared_settings(base, find_model(model).Config)
    return Row(title, model, sets, name, replace(settings(name, setup.wrappers), **changes), plain(base))


def settings(name: str, given: Mapping[str, Any]) -> Any:
    """Return the Config of a wrapper: as given, or its defaults with, for ICL and QCL, what they share with AQCL's.

    AQCL's alpha always follows activity here: a constant alpha is a row of Figure 5.
    """
    from hyperctr.models import WRAPPERS

    kind, icl = WRAPPERS[name].Config, WRAPPERS["icl"].Config
    if name in given:
        return replace(given[name], alpha=None) if name == "aqcl" else given[name]
    if "aqcl" not in given or not issubclass(kind, icl):
        return kind()
    shared = {f.name for f in fields(kind)} - {"alpha"}
    return kind(**{key: value for key, value in vars(given["aqcl"]).items() if key in shared})


def facts(setup: Setup, plan: list[Row], dataset: Dataset | None) -> dict[str, Any]:
    """Return the model, how negatives are drawn, and the settings of every wrapper."""
    return {
        "base": plain(setup.base),
        "draw": setup.base.evaluate.draw,
        "settings": {row.name: {"wears": row.wrapper_name, **vars(row.wrapper)} for row in plan if row.wrapper_name},
    }
