"""Data of the sizes of the paper's three sets, made here: to see that a machine can hold and train them.

HyperCTR (arXiv 2109.02398), Table 1. Neither Kuaishou nor MV1.7M is published whole, so their counts are kept and
everything else is invented: popularity and activity fall by power laws, every user has a few favourite clusters of
items, and features show the clusters. Nothing that a model scores here says anything about the real sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data.progress import Bar, no_progress
from hyperctr.data.write import write
from hyperctr.files import replace_folder

START, DAY = 1_546_300_800, 86_400  # 2019-01-01 00:00 UTC; seconds
CHUNK = 2**15  # rows of features made at a time
CLUSTERS, FAVOURITES, FAITHFUL, RANK = 64, 3, 0.8, 32


@dataclass(frozen=True)
class Counts:
    """Sizes of a data set; `modalities` maps names to widths."""

    users: int
    items: int
    events: int
    days: int
    modalities: Mapping[str, int]


PRESETS = {
    "kuaishou": Counts(10_000, 3_239_534, 13_661_383, 548, {"visual": 2048, "textual": 128}),
    "mv1.7m": Counts(10_986, 1_704_880, 12_737_619, 548, {"visual": 128}),
    "ml-10m": Counts(71_567, 10_681, 10_000_054, 5110, {"visual": 2048, "acoustic": 128, "textual": 100}),
}


def generate(
    name: str,
    folder: str | Path,
    seed: int = 0,
    progress: Bar = no_progress,
    counts: Counts | None = None,
) -> Path:
    """Write a folder with exactly the users, items and events of one of the paper's sets; every event is a click.

    Features are made `CHUNK` rows at a time and events held at some 40 bytes each, so that writing takes less than a
    gigabyte of memory.
    The folder is written beside its name and moved into place.

    Args:
        name: "kuaishou", "mv1.7m" or "ml-10m".
        folder: where; it must not exist yet.
        seed: of everything random; the same seed gives the same files.
        progress: wraps the chunks of a matrix (chunks, its name, their number) to show a bar.
        counts: other sizes than those of `name`, for a small one of the same kind.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown name, counts with more events than a quarter of all pairs, or a folder that is there
            already or cannot be written.
    """
    folder = Path(folder)
    if name not in PRESETS:
        raise ValueError(f"unknown set {name!r}; the sizes known are {', '.join(PRESETS)}")
    if folder.exists():
        raise ValueError(f"{folder} is already there; choose another folder or remove it")
    size = counts or PRESETS[name]
    if 4 * size.events > size.users * size.items:
        raise ValueError(
            f"{size.events} events among {size.users} users and {size.items} items are too many: "
            "no user clicks an item twice, and at most a quarter of all pairs can be drawn"
        )
    cluster = np.random.default_rng((seed, 0)).integers(CLUSTERS, size=size.items)
    user, item, time = _events(size, cluster, np.random.default_rng((seed, 1)))
    roles = {
        "name": f"{name}-sized",
        "note": f"Generated in the size of {name}, seed {seed}: nothing in it is real.",
        "interactions": {"user": "user_id", "item": "item_id", "time": "timestamp"},
        "items": {"id": "item_id"},
        "users": {"id": "user_id"},
        "modalities": {modality: f"{modality}.npy" for modality in size.modalities},
    }
    with replace_folder(folder, "dataset.toml", lambda name: False, "this benchmark") as part:
        log = pl.DataFrame({"user_id": user, "item_id": item, "timestamp": time})
        ids = (pl.DataFrame({f"{kind}_id": np.arange(n)}) for kind, n in (("item", size.items), ("user", size.users)))
        write(part, roles, log, *ids)
        del user, item, time, log
        for number, (modality, width) in enumerate(size.modalities.items(), 2):
            chunks = progress(_features(cluster, width, (seed, number)), modality, -(-size.items // CHUNK))
            with (part / f"{modality}.npy").open("wb") as file:
                header = {"descr": "<f2", "fortran_order": False, "shape": (size.items, width)}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    chunk.tofile(file)
    return folder


def _events(size: Counts, cluster: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users and items int32 and times int64 of all events, in order of time; no user clicks an item twice."""
    activity = np.cumsum(_power_law(size.users, 0.6, rng))
    favourite = rng.integers(CLUSTERS, size=(size.users, FAVOURITES))
    order = np.argsort(cluster, kind="stable")
    popularity = np.concatenate([[0.0], np.cumsum(_power_law(size.items, 0.8, rng)[order])])
    border = popularity[np.searchsorted(cluster[order], np.arange(CLUSTERS + 1))]

    def draw(count: int) -> np.ndarray:
        """Pairs as user * items + item: mostly an item of one of the user's favourite clusters, else any."""
        user = np.minimum(np.searchsorted(activity, rng.random(count) * activity[-1]), size.users - 1)
        wanted = favourite[user, rng.integers(FAVOURITES, size=count)]
        any_item = (rng.random(count) >= FAITHFUL) | (border[wanted] == border[wanted + 1])  # or the cluster is empty
        low = np.where(any_item, 0.0, border[wanted])
        high = np.where(any_item, popularity[-1], border[wanted + 1])
        place = np.searchsorted(popularity, low + rng.random(count) * (high - low), side="right") - 1
        return user * size.items + order[np.minimum(place, size.items - 1)]

    pairs = np.empty(0, np.int64)
    while (missing := size.events - len(pairs)) > 0:
        at_once = min(2**18, missing + 100)
        pairs = np.concatenate([pairs, *(draw(at_once) for _ in range(0, 5 * missing // 4, at_once))])
        pairs.sort()  # np.unique takes a hundred times as long
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    rng.shuffle(pairs)
    user, item = (part.astype(np.int32) for part in np.divmod(pairs[: size.events], size.items))
    return user, item, START + np.sort(rng.integers(size.days * DAY, size=size.events))


def _power_law(count: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Weights (rank + 20)^-exponent in random order."""
    return rng.permutation((np.arange(count) + 20.0) ** -exponent)


def _features(cluster: np.ndarray, width: int, seed: tuple[int, int]) -> Iterable[np.ndarray]:
    """Chunks of float16 [CHUNK, width]: the cluster's and the item's own place in a space of low rank, and noise."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((CLUSTERS, RANK), dtype=np.float32)
    shown = rng.standard_normal((RANK, width), dtype=np.float32) / np.float32(RANK**0.5)
    for start in range(0, len(cluster), CHUNK):
        latent = centre[cluster[start : start + CHUNK]]
        latent += 0.5 * rng.standard_normal(latent.shape, dtype=np.float32)
        x = rng.random((len(latent), width), dtype=np.float32)
        x -= 0.5
        x += latent @ shown
        yield x.astype(np.float16)
