"""Generated data of the paper's sizes, at tiny ones."""

import numpy as np
import polars as pl
import pytest

from benchmarks import paper_sizes
from hyperctr.data import read

TINY = paper_sizes.Counts(50, 400, 1500, 60, {"visual": 24, "textual": 5})


@pytest.fixture
def tiny(tmp_path):
    return paper_sizes.generate("kuaishou", tmp_path / "tiny", seed=1, counts=TINY)


def test_the_sizes_are_those_of_the_paper():
    assert {name: (c.users, c.items, c.events, *c.modalities.values()) for name, c in paper_sizes.PRESETS.items()} == {
        "kuaishou": (10_000, 3_239_534, 13_661_383, 2048, 128),
        "mv1.7m": (10_986, 1_704_880, 12_737_619, 128),
        "ml-10m": (71_567, 10_681, 10_000_054, 2048, 128, 100),
    }


def test_a_generated_folder_is_read_with_exactly_the_counts_asked_for(tiny):
    data = read.read(tiny)
    log = data.interactions
    assert (log.num_users, log.num_items, len(log)) == (50, 400, 1500)
    assert log.label.all() and not log.logged_non_clicks
    assert {name: (x.shape, x.dtype) for name, x in data.items.modalities.items()} == {
        "visual": ((400, 24), np.float16),
        "textual": ((400, 5), np.float16),
    }
    first, last = log.time[[0, -1]] // 10**6 - paper_sizes.START
    assert 0 <= first <= last < 60 * paper_sizes.DAY
    assert len(np.unique(log.user * 400 + log.item)) == 1500  # no user clicks an item twice


def test_the_same_seed_gives_the_same_files_and_another_one_others(tiny, tmp_path):
    def files(seed):
        made = paper_sizes.generate("kuaishou", tmp_path / f"seed{seed}", seed=seed, counts=TINY)
        return [pl.read_parquet(made / "interactions.parquet"), *(np.load(made / f"{m}.npy") for m in TINY.modalities)]

    again, other = files(1), files(2)
    assert again[0].equals(pl.read_parquet(tiny / "interactions.parquet")) and not again[0].equals(other[0])
    assert all((a == np.load(tiny / f"{m}.npy")).all() for m, a in zip(TINY.modalities, again[1:], strict=True))


def test_chunks_of_features_leave_no_seam(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(paper_sizes, "CHUNK", 64)
    x = np.load(paper_sizes.generate("kuaishou", tmp_path / "chunks", seed=1, counts=TINY) / "visual.npy")
    assert x.shape == (400, 24) and x.any(1).all() and np.isfinite(x).all()


def test_users_prefer_few_clusters_and_features_show_them(tiny):
    data = read.read(tiny)
    x, log = np.asarray(data.items.modalities["visual"], np.float32), data.interactions

    def spread(item):  # of the features of a user's items, the mean over users
        return np.mean([x[item[log.user == u]].var(0).sum() for u in range(50)])

    assert spread(log.item) < 0.97 * spread(np.random.default_rng(0).permutation(log.item))
    top = np.sort(np.bincount(log.item, minlength=400))[::-1]
    assert top[:40].sum() > 2 * top[200:240].sum()  # and popularity falls


def test_bad_requests_are_refused_and_leave_nothing(tiny, tmp_path):
    with pytest.raises(ValueError, match="unknown set 'kwai'.*kuaishou, mv1.7m, ml-10m"):
        paper_sizes.generate("kwai", tmp_path / "x")
    with pytest.raises(ValueError, match="already there"):
        paper_sizes.generate("kuaishou", tiny, counts=TINY)
    with pytest.raises(ValueError, match="at most a quarter of all pairs"):
        paper_sizes.generate("kuaishou", tmp_path / "x", counts=paper_sizes.Counts(10, 10, 99, 1, {}))
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny"]
