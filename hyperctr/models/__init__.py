"""Models and wrappers by name, in two dicts; what each class declares is described in `hyperctr.batch`.

`MODELS`: `Model(config, tables)`, and `model(batch) -> Output`. A run file may also name one of
`hyperctr.referees.REFEREES` as its model.
`WRAPPERS`: training-time wrappers, `Wrapper(model, config, tables)`. In evaluation they return the output of the
wrapped model, unless `stays` is True (the masks of LT4REC).
"""

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import nn

from hyperctr.batch import READS
from hyperctr.models import outside
from hyperctr.models.aqcl import AQCL, ICL, QCL
from hyperctr.models.dcn import DCN
from hyperctr.models.deepfm import DeepFM
from hyperctr.models.deepmcp import DeepMCP
from hyperctr.models.dien import DIEN
from hyperctr.models.din import DIN
from hyperctr.models.dmf import DMF
from hyperctr.models.dmr import DMR
from hyperctr.models.dropoutnet import DropoutNet
from hyperctr.models.dupn import DUPN
from hyperctr.models.esmm import ESMM
from hyperctr.models.fm import FM
from hyperctr.models.gru4rec import GRU4Rec
from hyperctr.models.hyperctr.model import HyperCTR
from hyperctr.models.lr import LR
from hyperctr.models.lt4rec import LT4REC, SparseSharing
from hyperctr.models.marn import MARN
from hyperctr.models.matrix_factorisation import MatrixFactorisation
from hyperctr.models.mian import MIAN
from hyperctr.models.mmoe import MMoE
from hyperctr.models.mmss import MMSS
from hyperctr.models.naml import NAML
from hyperctr.models.shared_bottom import SharedBottom
from hyperctr.models.wide_deep import WideDeep
from hyperctr.models.xdeepfm import XDeepFM
from hyperctr.models.youtubenet import YoutubeNet
from hyperctr.referees import REFEREES
from hyperctr.referees.popularity import Popularity
from hyperctr.strict import did_you_mean, literal

MODELS = {
    "hyperctr": HyperCTR,
    "popularity": Popularity,
    "mf": MatrixFactorisation,
    "lr": LR,
    "fm": FM,
    "wide_deep": WideDeep,
    "dcn": DCN,
    "deepfm": DeepFM,
    "xdeepfm": XDeepFM,
    "din": DIN,
    "dien": DIEN,
    "gru4rec": GRU4Rec,
    "mian": MIAN,
    "marn": MARN,
    "youtubenet": YoutubeNet,
    "dupn": DUPN,
    "dmf": DMF,
    "mmss": MMSS,
    "naml": NAML,
    "lt4rec": LT4REC,
    "shared_bottom": SharedBottom,
    "esmm": ESMM,
    "mmoe": MMoE,
}

WRAPPERS = {
    "aqcl": AQCL,
    "qcl": QCL,
    "icl": ICL,
    "dropoutnet": DropoutNet,
    "deepmcp": DeepMCP,
    "dmr": DMR,
    "lt4rec": SparseSharing,
}


def find_model(name: str) -> type:
    """Find the class of a model or referee by the name that a run file gives it: "din", "ease", "mine.py:Mine".

    Raises:
        ValueError: there is none, or a class from outside does not keep the contract; names what is wrong.
    """
    return _find("model", name, MODELS | REFEREES)


def find_wrapper(name: str) -> type:
    """Find the class of a wrapper by the name that a run file gives it, such as "aqcl" or "mine.py:Mine".

    Raises:
        ValueError: there is none, or a class from outside does not keep the contract; names what is wrong.
    """
    return _find("wrapper", name, WRAPPERS)


def _find(what: str, name: Any, known: Mapping[str, type]) -> type:
    if isinstance(name, str) and name in known:
        return known[name]
    if isinstance(name, str) and outside.is_outside(name):
        cls = outside.load(name, f"{what}.name")
        _check_declared(what, name, cls)
        return cls
    near = did_you_mean(str(name), known) or f"known: {', '.join(known) or 'none'}"
    raise ValueError(f"unknown {what} {literal(name)}, {near}")


def _check_declared(what: str, name: str, cls: Any) -> None:
    """Refuse a class from outside that lacks a part of the contract; see `hyperctr.batch.Model` and `Wrapper`."""
    parts = {
        "Config": lambda x: isinstance(x, type) and is_dataclass(x) and x.__dataclass_params__.frozen,
        "reads": lambda x: isinstance(x, frozenset) and x <= set(READS),
        "tasks": lambda x: x in (("click",), ("click", "conversion")),
    }
    works = {
        "Config": "a frozen dataclass whose fields have defaults",
        "reads": f"a frozenset of names among {', '.join(READS)}; frozenset() for none",
        "tasks": '("click",) or ("click", "conversion")',
    }
    if what == "wrapper":  # the tasks of a wrapper may be those of its model, which only an object knows
        del parts["tasks"]
        parts["stays"], works["stays"] = lambda x: isinstance(x, bool), "True or False"
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ValueError(f"{what}.name: {name} must be a class derived from torch.nn.Module")
    for part, fits in parts.items():
        if part not in dir(cls):
            raise ValueError(f"{what}.name: {name} has no {part}; give the class one: {works[part]}")
        if not fits(inspect.getattr_static(cls, part)):
            raise ValueError(f"{what}.name: {part} of {name} must be {works[part]}")
