"""Prepare modality features for a model: standardise them, reduce wide ones by PCA, leave large ones on disk.

A wide or large matrix is read once, block by block. The result is written to the user's cache folder as float16, under
a digest of its inputs; later runs map that file into memory.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hyperctr.data.items import blocks
from hyperctr.data.progress import Bar, no_progress
from hyperctr.files import atomic

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset


LARGE = 2**28  # bytes; a modality larger than this as float32 stays on disk as float16
BLOCK = 2**24  # numbers per block
SAMPLE = 20_000  # most items that the principal components are computed from
VERSION = 1  # of the files in the cache; a new version makes new files


def features(
    dataset: Dataset,
    fit_items: np.ndarray,
    reduce: int = 128,
    progress: Bar = no_progress,
    cache: Path | None = None,
) -> dict[str, Tensor]:
    """Prepare every modality: mean 0 and deviation 1 over the items that have it, 0 in the rows of other items.

    Args:
        dataset: its modalities may be memory-mapped.
        fit_items: items with a training row, numbers or a mask; only they determine the principal components.
        reduce: a modality wider than this is reduced to this width by PCA; 0 reduces none.
        progress: wraps the blocks of a matrix that is read for the first time (blocks, its name, their number).
        cache: folder of the prepared files; None takes the user's cache.

    Returns:
        name to [num_items, d]: float32 in memory, or memory-mapped float16 where float32 would take more than `LARGE`
        bytes.

    Raises:
        ValueError: fewer than two training items have a modality that is to be reduced, or the cache cannot be written.
    """
    made = {}
    for name, matrix in dataset.items.modalities.items():
        present, width = np.asarray(dataset.items.present[name]), matrix.shape[1]
        narrow = not reduce or width <= reduce
        large = 4 * len(matrix) * (width if narrow else reduce) > LARGE
        if narrow and not large:
            made[name] = torch.from_numpy(_standardised(matrix, present))
            continue

        def watch(blocks: Iterable, what: str, total: int, name: str = name) -> Iterable:
            return progress(blocks, f"{what} {name}", total)

        try:
            kept = reduced(matrix, present, fit_items, 0 if narrow else reduce, cache=cache, progress=watch)
        except ValueError as error:
            raise ValueError(f"modality {name!r}: {error}") from None
        made[name] = torch.from_numpy(kept if large else np.array(kept, np.float32))
    return made


def reduced(
    matrix: np.ndarray,
    present: np.ndarray,
    fit_items: np.ndarray,
    dim: int = 0,
    seed: int = 0,
    cache: Path | None = None,
    progress: Bar = no_progress,
) -> np.memmap:
    """Standardise one modality as in `features`, reduced to `dim` principal components, through a file in the cache.

    Components are computed from at most `SAMPLE` training items that have the modality, and keep their variances. If
    there are at most `dim` such items, the result has fewer than `dim` columns.

    Args:
        matrix: floats [num_items, d], read block by block if it is memory-mapped.
        present: which items have the modality, bool [num_items].
        fit_items: items with a training row, numbers or a mask [num_items].
        dim: number of components; 0 keeps the columns as they are.
        seed: of the sample of items.
        cache: folder of the prepared files; None takes the user's cache.
        progress: wraps the blocks (blocks, "reduce" or "standardise", their number) where the file is not there yet.

    Returns:
        float16 [num_items, d], memory-mapped; writing to it changes no file.

    Raises:
        ValueError: fewer than two training items to compute components from, or a cache that cannot be written.
    """
    dim = dim if 0 < dim < matrix.shape[1] else 0
    fitted = np.zeros(len(matrix), bool)
    fitted[fit_items] = True
    fit = np.flatnonzero(present & fitted) if dim else np.flatnonzero(present)
    if dim and len(fit) < 2:
        raise ValueError(
            f"only {len(fit)} items with training rows have it, too few to reduce it to {dim}; "
            "leave it out (data.modalities) or set data.reduce=0"
        )
    cache = _cache_folder() if cache is None else Path(cache)
    kept = cache / f"{_digest(matrix, present, fitted, dim, seed)}.npy"
    if not kept.exists():
        if len(fit) > SAMPLE:
            fit = np.sort(np.random.default_rng(seed).choice(fit, SAMPLE, replace=False))
        with atomic(kept) as part:
            _write(part, matrix, present, fit, dim, progress)
    return np.lib.format.open_memmap(kept, mode="c")  # copy on write: torch does not take read-only arrays


def _write(path: Path, matrix: np.ndarray, present: np.ndarray, fit: np.ndarray, dim: int, progress: Bar) -> None:
    """Write the features in two passes: read and project the matrix, then centre and scale."""
    sample = torch.from_numpy(_rows(matrix, fit)).float()
    centre = sample.mean(0) if len(fit) else torch.zeros(matrix.shape[1])
    sample -= centre
    basis = _components(sample, dim) if dim else None
    seen = sample if basis is None else sample @ basis
    scale = 1 / max(
        float(seen.square().mean().sqrt()) if len(fit) else 1.0, 1e-6
    )  # keeps values in the range of float16
    basis = scale * basis if basis is not None else None
    width = matrix.shape[1] if basis is None else basis.shape[1]
    del sample, seen

    total, squares = torch.zeros(width, dtype=torch.float64), 0.0
    with path.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(matrix), width)}
        np.lib.format.write_array_header_1_0(file, header)
        rows = max(1, BLOCK // matrix.shape[1])
        todo = progress(blocks(matrix, BLOCK), "reduce" if dim else "standardise", -(-len(matrix) // rows))
        for start, block in todo:
            x = torch.from_numpy(block.astype(block.dtype.newbyteorder("="), copy=False)).float() - centre
            x = scale * x if basis is None else x @ basis
            x *= torch.from_numpy(present[start : start + len(x)])[:, None]
            total += x.sum(0, dtype=torch.float64)
            squares += float(x.square().sum(dtype=torch.float64))
            x.half().numpy().tofile(file)

    count = max(int(present.sum()), 1)
    mean = total / count  # per column, over all items that have it
    variance = squares / count / width - float(mean.square().mean())
    if basis is None:  # as in `_standardised`, which centres columns last
        variance += float((mean + scale * centre.double()).var(correction=0))
    deviation = max(variance, 0.0) ** 0.5
    written = np.lib.format.open_memmap(path, mode="r+")
    for start in range(0, len(written), rows):
        x = torch.from_numpy(written[start : start + rows])
        has = torch.from_numpy(present[start : start + len(x)])[:, None]
        x.copy_(torch.where(has, (x.float() - mean.float()) / max(deviation, 1e-6 * scale), 0.0))
    written.flush()


def _rows(matrix: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    """Copy some rows; a memory-mapped file gets a map of its own, so that the pages read are freed with it."""
    if isinstance(matrix, np.memmap) and isinstance(matrix.base, mmap.mmap) and matrix.flags.c_contiguous:
        matrix = np.memmap(matrix.filename, matrix.dtype, "r", matrix.offset, matrix.shape)
    return np.array(matrix[rows])


def _components(x: Tensor, dim: int) -> Tensor:
    """Compute the first principal components of centred rows, as columns: [n, d] -> [d, at most dim]."""
    from sklearn.decomposition import PCA

    # exact, and on 20,000 rows of width 2048 as fast as the randomised solver
    pca = PCA(min(dim, len(x) - 1), svd_solver="covariance_eigh").fit(x.numpy())
    return torch.from_numpy(pca.components_.T.astype(np.float32))


def _standardised(x: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Standardise a matrix in memory, as float32; the rows of items without the modality become 0."""
    x = np.array(x, np.float32)
    if present.any():
        x[present] = (x[present] - x[present].mean(0)) / np.maximum(x[present].std(), 1e-6)
    x[~present] = 0.0
    return x


def _digest(matrix: np.ndarray, present: np.ndarray, fitted: np.ndarray, dim: int, seed: int) -> str:
    """Digest the inputs into 24 hexadecimal digits; a memory-mapped file by its size, time and a sample of rows."""
    digest = hashlib.sha256(repr((VERSION, SAMPLE, dim, seed, matrix.shape, matrix.dtype.str)).encode())
    step = 1
    if isinstance(matrix, np.memmap) and matrix.filename is not None:
        stat = os.stat(matrix.filename)
        digest.update(repr((stat.st_size, stat.st_mtime_ns)).encode())
        step = max(1, len(matrix) // 1024)
    digest.update(np.ascontiguousarray(_rows(matrix, slice(None, None, step))).tobytes())
    for mask in (present, fitted) if dim else (present,):
        digest.update(np.packbits(np.asarray(mask, bool)).tobytes())
    return digest.hexdigest()[:24]


def _cache_folder() -> Path:
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("hyperctr")) / "features"
