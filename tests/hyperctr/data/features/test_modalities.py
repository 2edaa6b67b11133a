"""Features: principal components of the training items alone, kept on disk, and equal to what fits in memory."""

import warnings

import numpy as np
import pytest
import torch

from hyperctr.data.dataset import Dataset
from hyperctr.data.features import modalities as reduce
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users


def wide(rows=300, width=40, rank=4):
    """Rows of rank 4 and a little noise; every seventh item has none."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, width)) * 3 + rng.standard_normal(width) * 5
    x += 0.05 * rng.standard_normal(x.shape)
    x[::7] = 0.0
    return x.astype(np.float16)


def half(matrix):
    """The first half of the items has training rows."""
    return np.arange(len(matrix)) < len(matrix) // 2


def data(**modalities):
    count = len(next(iter(modalities.values())))
    none = np.empty(0, np.int64)
    return Dataset("toy", Interactions(none, none, none, none, 1, count), Items(count, modalities=modalities), Users(1))


@pytest.fixture
def on_disk(tmp_path):
    """A matrix in a file, memory-mapped."""
    np.save(tmp_path / "visual.npy", wide())
    return np.lib.format.open_memmap(tmp_path / "visual.npy", mode="r")


def by_hand(matrix, fit, dim):
    """Scores on the eigenvectors of the covariance of the training items, then mean 0 and deviation 1 of all."""
    x, present = matrix.astype(np.float64), matrix.any(1)
    centre = x[present & fit].mean(0)
    _, vectors = np.linalg.eigh(np.cov(x[present & fit].T))
    y = (x - centre) @ vectors[:, ::-1][:, :dim]
    y -= y[present].mean(0)
    y /= y[present].std()
    y[~present] = 0
    return y


def test_components_are_those_of_the_covariance_by_hand(on_disk, tmp_path):
    found = np.array(reduce.reduced(on_disk, on_disk.any(1), half(on_disk), 4, cache=tmp_path / "c"), np.float64)
    expected = by_hand(np.array(on_disk), half(on_disk), 4)
    sign = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * sign, expected, atol=3e-3, rtol=2e-3)
    assert not found[::7].any()


def test_the_basis_does_not_change_with_items_that_have_no_training_row(tmp_path):
    matrix, fit = wide().astype(np.float32), half(wide())
    other = matrix.copy()
    other[~fit & matrix.any(1), ::2] *= 1.7  # standardisation moves, directions do not
    x, y = (np.array(reduce.reduced(m, m.any(1), fit, 3, cache=tmp_path), np.float64) for m in (matrix, other))
    seen = fit & matrix.any(1)
    slope = [np.polyfit(x[seen, c], y[seen, c], 1, full=True) for c in range(3)]
    assert all(left[0] < 1e-3 for _, left, *_ in slope)  # each column is the same column, shifted and scaled
    assert np.ptp([line[0] for line, *_ in slope]) < 2e-3
    moved = np.array(reduce.reduced(other, other.any(1), np.ones_like(fit), 3, cache=tmp_path), np.float64)
    assert any(np.polyfit(x[seen, c], moved[seen, c], 1, full=True)[1][0] > 1e-3 for c in range(3))


def test_a_second_call_reads_what_the_first_one_wrote_and_equals_a_fresh_build(on_disk, tmp_path):
    args, began = (on_disk, on_disk.any(1), half(on_disk), 8), []

    def watch(blocks, what, total):
        began.append((what, total))
        return blocks

    first = np.array(reduce.reduced(*args, cache=tmp_path / "a", progress=watch))
    by_number = (*args[:2], np.flatnonzero(args[2]), 8)
    hit = np.array(reduce.reduced(*by_number, cache=tmp_path / "a", progress=watch))
    fresh = np.array(reduce.reduced(*args, cache=tmp_path / "b", progress=watch))
    assert began == [("reduce", 1), ("reduce", 1)]
    np.testing.assert_array_equal(first, hit)
    np.testing.assert_array_equal(first, fresh)
    assert [f.suffix for f in (tmp_path / "a").iterdir()] == [".npy"]


@pytest.mark.parametrize("change", ["a row", "presence", "training items", "dim", "seed"])
def test_what_the_result_depends_on_is_in_the_name_of_its_file(tmp_path, change):
    matrix = wide()
    present, fit, dim, seed = matrix.any(1), half(matrix), 8, 0
    reduce.reduced(matrix, present, fit, dim, seed, cache=tmp_path)
    if change == "a row":
        matrix[5, 3] += 1
    elif change == "presence":
        present[1] = False
    elif change == "training items":
        fit = ~fit
    else:
        dim, seed = (9, 0) if change == "dim" else (8, 1)
    reduce.reduced(matrix, present, fit, dim, seed, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_blocks_make_no_difference(on_disk, tmp_path, monkeypatch):
    args = (on_disk, on_disk.any(1), half(on_disk), 8)
    whole = np.array(reduce.reduced(*args, cache=tmp_path / "a"), np.float32)
    monkeypatch.setattr(reduce, "BLOCK", 40 * 7)
    parts = np.array(reduce.reduced(*args, cache=tmp_path / "b"), np.float32)
    np.testing.assert_allclose(whole, parts, atol=2e-3)


def test_a_large_narrow_modality_stays_on_disk_as_float16_close_to_the_one_in_memory(tmp_path, monkeypatch):
    dataset = data(visual=wide(), textual=wide(width=6))
    small = reduce.features(dataset, half(wide()), 0, cache=tmp_path)
    monkeypatch.setattr(reduce, "LARGE", 300 * 20 * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that cannot be written
        large = reduce.features(dataset, half(wide()), 0, cache=tmp_path)
    assert small["visual"].dtype == large["textual"].dtype == torch.float32 and large["visual"].dtype == torch.float16
    np.testing.assert_allclose(large["visual"].float(), small["visual"], atol=4e-3, rtol=2e-3)
    torch.testing.assert_close(large["textual"], small["textual"])


def test_small_features_have_mean_0_and_deviation_1_and_touch_no_disk(tmp_path):
    found = reduce.features(data(visual=wide(width=6)), half(wide()), 128, cache=tmp_path / "none")["visual"]
    x, present = wide(width=6), np.arange(300) % 7 != 0
    assert abs(found[present].mean(0)).max() < 1e-5 and x.shape == found.shape and not found[~present].any()
    assert not (tmp_path / "none").exists()


def test_a_wide_modality_of_a_small_set_is_reduced_into_memory(tmp_path):
    found = reduce.features(data(visual=wide()), half(wide()), 8, cache=tmp_path)["visual"]
    present = np.arange(300) % 7 != 0
    assert found.dtype == torch.float32 and found.shape == (300, 8)
    assert abs(found[present].mean(0)).max() < 1e-3
    assert abs(float(found[present].square().mean()) - 1) < 1e-2


def test_what_torch_writes_into_features_reaches_no_file(on_disk, tmp_path):
    args = (on_disk, on_disk.any(1), half(on_disk), 8)
    torch.from_numpy(reduce.reduced(*args, cache=tmp_path / "c")).zero_()
    assert reduce.reduced(*args, cache=tmp_path / "c").any()


def test_a_modality_that_no_training_item_has_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="modality 'visual': only 0 items with training rows.*data.reduce=0"):
        reduce.features(data(visual=wide()), np.zeros(300, bool), 8, cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write .*file"):
        reduce.features(data(visual=wide()), half(wide()), 8, cache=tmp_path / "file")
