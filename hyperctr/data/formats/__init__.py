"""Published formats of data sets: one file per format, for `hyperctr data import --format NAME`."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from hyperctr.strict import did_you_mean

FORMATS = {
    "movielens": "MovieLens 100K, 1M, 10M, 20M, 25M: a folder or zip of GroupLens",
    "kuaivideo": "Kuaishou: KuaiVideo_x1 (csv and h5), or the text files of the MM 2018 challenge",
    "microvideo": "MicroVideo-1.7M: THACIL's csv files and cover vectors",
    "kuairand": "KuaiRand-1K, -Pure and -27K: a folder of logs and features",
    "amazon": "Amazon reviews of 2014 and 2018: json.gz, with metadata and image features",
    "tafeng": "Ta Feng: the merged csv, or D01, D02, D11, D12",
    "mmssl": "TikTok, baby, sports, allrecipes of MMSSL and DiffMM: npz or json, and .npy features",
    "microlens": "MicroLens: pairs, titles and .npy features",
    "lt4rec": "the sample of LT4REC's authors: TFRecord files",
    "recbole": "RecBole's atomic files: .inter, .item, .user",
    "fuxictr": "a BARS or FuxiCTR folder: train.csv, valid.csv, test.csv",
}
"""What each format is, in one line; the module of the same name reads it."""


def find_format(name: str) -> ModuleType:
    """Find the module of a format: it has HOME, an address, and `read(path, stated) -> Source`.

    Raises:
        ValueError: there is no such format; the nearest is named.

    >>> find_format("recbole").HOME
    'https://recbole.io/atomic_files.html'
    >>> find_format("movilens")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: unknown format 'movilens', did you mean movielens? (known: movielens, kuaivideo, ...)
    """
    if name not in FORMATS:
        near = did_you_mean(name, FORMATS)
        raise ValueError(f"unknown format {name!r}{near and ', ' + near} (known: {', '.join(FORMATS)})")
    return import_module(f"hyperctr.data.formats.{name}")
