"""Name a run by a digest of its settings: results.csv and report.json say by it which run they are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from hyperctr import config
from hyperctr.strict import literal, read_toml

INTRODUCED: dict[str, Any] = {
    "evaluate.negatives": 1000,
    "evaluate.max_positives": 20_000,
    "evaluate.valid_negatives": 100,
    "evaluate.met": config.CANDIDATES_0_1["met"],
    "evaluate.first": config.CANDIDATES_0_1["first"],
    "model.hyperctr.fields": False,
    "model.hyperctr.types": False,
}
"""The default that a key was introduced with, where its default is another one today: "train.lr" or "model.din.dim".

A digest leaves out a key at the default that it was introduced with. So a new key leaves the digests of older runs as
they are, and a default that is changed later gives another digest. A key that changes what a run does by default is
listed from its first day, with the value that older runs had without it.
"""

KEYS_0_1 = {
    "data": "path history modalities reduce conversion ties derive",
    "split": "kind train valid seed",
    "slices": "every count graphs item_edges augment target_edge",
    "interest": "mode score delta delta_mode keep_argmax epochs negatives weight",
    "model.hyperctr": "dim depth conv within across fusion rank carry read propagation batches_per_graph refresh heads "
    "slices clicks neighbors hidden dropout id_dropout",
    "model.popularity": "prior",
    "model.mf": "dim",
    "model.lr": "",
    "model.fm": "dim",
    "model.wide_deep": "dim cross hidden dropout",
    "model.dcn": "version dim depth hidden dropout",
    "model.deepfm": "dim hidden dropout",
    "model.xdeepfm": "dim maps hidden dropout",
    "model.din": "dim attention softmax activation hidden dropout",
    "model.dien": "dim auxiliary hidden dropout",
    "model.gru4rec": "dim depth hidden dropout",
    "model.mian": "dim history encoder heads weights global_dim hidden std dropout l2_embedding l2_dense ibim iuim "
    "icim gim keep_raw",
    "model.marn": "modalities dim fusion adversary behaviour weight hidden dropout",
    "model.youtubenet": "modalities dim hidden dropout",
    "model.dupn": "modalities dim state hidden dropout",
    "model.dmf": "modalities dim depth hidden dropout",
    "model.mmss": "modalities dim hidden dropout",
    "model.naml": "modalities dim hidden dropout",
    "model.lt4rec": "b conversion_loss rounds keep granularity scope least round_epochs steps kappa below masks round "
    "rewind shuffle dim hidden extra",
    "model.shared_bottom": "b conversion_loss tasks dim hidden shared",
    "model.esmm": "b conversion_loss dim hidden",
    "model.mmoe": "b conversion_loss dim experts hidden tower",
    "train": "epochs batch_size lr l2 patience eval_every negatives clip seed threads",
    "evaluate": "negatives draw max_positives valid_negatives valid_positives seed",
    "wrapper.aqcl": "w tau1 dim mask bits negatives same_user w1 w2 alpha codes positives tau2 tau3 epsilon iterations "
    "lr queue",
    "wrapper.qcl": "w tau1 dim mask bits negatives same_user w1 w2 alpha codes positives tau2 tau3 epsilon iterations "
    "lr queue",
    "wrapper.icl": "w tau1 dim mask bits negatives same_user",
    "wrapper.dropoutnet": "share",
    "wrapper.deepmcp": "match correlation window negatives hidden",
    "wrapper.dmr": "w negatives",
    "wrapper.lt4rec": "b conversion_loss rounds keep granularity scope least round_epochs steps kappa below masks "
    "round rewind shuffle",
}
"""The keys of version 0.1 in its order, which its digests depend on."""


def read_written(path: Path) -> config.Run:
    """Read a run file that a run, sweep or study wrote into its folder.

    Raises:
        ValueError: as `config.read_run`; the message names the file.
    """
    tables = read_toml(path, "run file")
    try:
        return config.read_run(completed(tables))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def completed(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Add the keys that are younger than the version that wrote a run file, as it states every key that it knew.

    >>> completed({"model": {"name": "hyperctr", "dim": 8}})["model"]
    {'name': 'hyperctr', 'dim': 8, 'fields': False, 'types': False}
    """
    found = dict(tables)
    for key, value in INTRODUCED.items():
        table, *name, key = key.split(".")
        content = found.get(table)
        if isinstance(content, Mapping) and (not name or content.get("name") == name[0]):
            found[table] = {**content, key: content.get(key, value)}
    return found


def digest(run: config.Run) -> str:
    """Return 12 hexadecimal digits that are equal for equal runs, on every machine and in later versions.

    A run that states nothing that version 0.1 did not know has the digest that version 0.1 gave it.
    """
    text = _text_0_1(run)
    if text is None:
        tables = {table: content for table, content in _tables(run).items() if content}
        text = json.dumps(tables, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _text_0_1(run: config.Run) -> str | None:
    """Return the run file that version 0.1 wrote; None if the run states what that version did not know."""
    stated, blocks = _tables(run), []
    for table in stated:
        part, name = getattr(run, table), getattr(run, f"{table}_name", "")
        keys = KEYS_0_1.get(f"{table}.{name}" if name else table)
        if keys is None or set(stated[table]) - {"name", *keys.split()}:
            return None
        lines = [f"[{'wear' if table == 'wrapper' else table}]", *([f"name = {literal(name)}"] if name else [])]
        own = {entry.name for entry in fields(part)}
        for key in keys.split():
            value = getattr(part, key) if key in own else type(part).retired[key][0]
            lines += [] if value is None else [f"{key} = {literal(value)}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _tables(run: config.Run) -> dict[str, dict[str, Any]]:
    """Return the tables of a run without the keys that have the default they were introduced with."""
    found = {}
    for table, content in config.to_tables(run).items():
        defaults = {entry.name: _default(table, content, entry) for entry in fields(getattr(run, table))}
        found[table] = {key: _plain(x) for key, x in content.items() if key not in defaults or x != defaults[key]}
    return found


def _default(table: str, content: dict[str, Any], entry: Field) -> Any:
    """Return the default that a key was introduced with; MISSING if it has none."""
    key = ".".join([table, *([content["name"]] if "name" in content else []), entry.name])
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    return INTRODUCED.get(key, default)


def _plain(value: Any) -> Any:
    """Write equal values alike: a list for a tuple, a whole number for a float without a fraction."""
    if isinstance(value, tuple):
        return [_plain(x) for x in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
