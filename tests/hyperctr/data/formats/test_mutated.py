"""Damaged files of every format end in one line and leave nothing; HYPERCTR_MUTATIONS=100 tries more per case."""

import gzip
import io
import os
import random

import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from hyperctr.data.formats.convert import convert

from . import (
    test_amazon,
    test_fuxictr,
    test_kuairand,
    test_kuaivideo,
    test_lt4rec,
    test_microlens,
    test_microvideo,
    test_mmssl,
    test_movielens,
    test_recbole,
    test_tafeng,
)


def npz(part):
    made = io.BytesIO()
    save_npz(made, csr_matrix(np.array(part, np.float32)))
    return made.getvalue()


CASES = {
    "movielens 10M": test_movielens.ML_10M,
    "movielens 25M": test_movielens.ML_25M,
    "kuaivideo x1": test_kuaivideo.X1,
    "kuaivideo challenge": test_kuaivideo.CHALLENGE,
    "microvideo": test_microvideo.THACIL,
    "kuairand": test_kuairand.FILES,
    "amazon 2014": {"reviews_Beauty.json.gz": test_amazon.REVIEWS, "meta_Beauty.json.gz": test_amazon.META_2014},
    "amazon 2018": {"Beauty.json": test_amazon.REVIEWS, "meta_Beauty.json": test_amazon.META_2018},
    "tafeng merged": {"ta_feng_all_months_merged.csv": test_tafeng.MERGED},
    "tafeng months": {"D11": test_tafeng.NOVEMBER, "D01": test_tafeng.JANUARY},
    "mmssl npz": test_mmssl.FEATURES | {f"{name}_mat.npz": npz(part) for name, part in test_mmssl.PARTS.items()},
    "mmssl json": {"train.json": '{"0": [1, 2], "1": [0]}', "test.json": '{"0": [3]}'},
    "microlens pairs": {"a_pairs.csv": test_microlens.PAIRS, "a_title_en.csv": test_microlens.TITLES},
    "microlens sequences": {"b_pairs.tsv": "1\t3 1 2\n2\t2 3\n", "x_features_y.npy": np.ones((3, 2), np.float32)},
    "lt4rec gz": {"part-r-1.gz": test_lt4rec.RECORDS},
    "lt4rec": {"part-r-1": test_lt4rec.RECORDS},
    "recbole": {"toy.inter": test_recbole.LOG, "toy.item": test_recbole.ITEM},
    "fuxictr": test_fuxictr.FILES,
}
CELLS = (b"", b"NaN", b"inf", b"-5", b"abc", b"9" * 25, b"1.5", b"\xc3", b"null", b"\x00", b"1e400", b'"')


def content(made):
    if isinstance(made, np.ndarray):
        file = io.BytesIO()
        np.save(file, made)
        return file.getvalue()
    return made.encode() if isinstance(made, str) else made


def damaged(whole, rng):
    """Cut, overwrite, insert, remove; or change lines and cells."""
    at, how = rng.randrange(len(whole)), rng.randrange(8)
    if how == 0:
        return whole[:at]
    if how == 1:
        return whole[:at] + rng.randbytes(rng.randrange(1, 6)) + whole[at + 3 :]
    if how == 2:
        return whole[:at] + rng.randbytes(rng.randrange(1, 40)) + whole[at:]
    if how == 3:
        return whole[:at] + whole[at + rng.randrange(1, 30) :]
    lines = whole.split(b"\n")
    at = rng.randrange(len(lines))
    if how == 4:
        rng.shuffle(lines)
    elif how == 5:
        lines.insert(at, lines[at] * 2)
    elif how == 6:
        lines[at] = rng.choice(CELLS)
    else:
        for separator in (b",", b"\t", b";", b"::"):
            cells = lines[at].split(separator)
            cells[rng.randrange(len(cells))] = rng.choice(CELLS)
            lines[at] = separator.join(cells)
    return b"\n".join(lines)


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_file_is_read_or_refused_in_one_line(case, tmp_path, capfd):
    rng = random.Random(case)
    for number in range(int(os.environ.get("HYPERCTR_MUTATIONS", "6"))):
        folder, out = tmp_path / f"files{number}", tmp_path / f"out{number}"
        target = rng.choice(sorted(CASES[case]))
        for name, made in CASES[case].items():
            whole, packed = content(made), name.endswith(".gz")
            inside = rng.random() < 0.5
            if name == target and (inside or not packed):
                whole = damaged(whole, rng)
            whole = gzip.compress(whole, mtime=0) if packed else whole
            if name == target and packed and not inside:
                whole = damaged(whole, rng)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(whole)
        try:
            convert(case.split()[0], folder, out, {"item": "adgroup_id"} if case == "fuxictr" else {})
        except ValueError as error:
            assert str(error) and "\n" not in str(error).strip(), (number, str(error))
            assert not out.exists() and not list(tmp_path.glob(f".out{number}*")), number
    assert "panicked" not in capfd.readouterr().err
