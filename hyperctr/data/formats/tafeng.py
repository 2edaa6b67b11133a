"""Ta Feng, purchases of a supermarket from November 2000 to February 2001: either of its two published forms.

- ta_feng_all_months_merged.csv: TRANSACTION_DT (month/day/year), CUSTOMER_ID, AGE_GROUP, PIN_CODE, PRODUCT_SUBCLASS,
  PRODUCT_ID, AMOUNT, ASSET, SALES_PRICE.
- D11, D12, D01, D02: a first line in Big5, then nine fields of the same meaning, separated by ";" and padded with
  blanks. The date is yyyy-mm-dd with a time that means nothing, or counts years from 1911. Age groups are A to J and
  areas A to H; here they get the words of the merged file.

The time of a purchase is its day. Every row is a purchase. Source: the README of the four files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from hyperctr.data.formats.files import check_folder, find_file, find_files, read_columns
from hyperctr.data.formats.source import Source
from hyperctr.data.values import row_in_words

HOME = "https://www.kaggle.com/datasets/chiranjivdas09/ta-feng-grocery-dataset"
_COLUMNS = (
    "date", "user_id", "age_group", "pin_code", "product_subclass", "item_id", "amount", "asset", "sales_price"
)  # fmt: skip
_MERGED = (
    "TRANSACTION_DT", "CUSTOMER_ID", "AGE_GROUP", "PIN_CODE", "PRODUCT_SUBCLASS", "PRODUCT_ID", "AMOUNT", "ASSET",
    "SALES_PRICE",
)  # fmt: skip
_AGES = {
    "A": "<25", "B": "25-29", "C": "30-34", "D": "35-39", "E": "40-44", "F": "45-49", "G": "50-54", "H": "55-59",
    "I": "60-64", "J": ">65",
}  # fmt: skip
_AREAS = {
    "A": "105", "B": "106", "C": "110", "D": "114", "E": "115", "F": "221", "G": "Others", "H": "Unknown"
}  # fmt: skip


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder of either form, or the merged file.

    Raises:
        ValueError: neither form is there, or a date cannot be read.
    """
    file = path if path.is_file() and path.suffix == ".csv" else None
    if file is None:
        folder = check_folder(path)
        months = [found for name in ("D11", "D12", "D01", "D02") for found in find_files(folder, name, f"{name}.*")[:1]]
        if months:
            log = pl.concat([_month(month) for month in months])
            return _source(log).noted("" if len(months) == 4 else f"Only {len(months)} of the four months are there.")
        file = find_file(folder, "ta_feng_all_months_merged.csv", "*merged.csv", what="or D11, D12, D01, D02")
    log = read_columns(file, dict.fromkeys(_MERGED, pl.String)).rename(dict(zip(_MERGED, _COLUMNS, strict=True)))
    return _source(log.with_columns(_date(log["date"], r"^(?<m>\d+)/(?<d>\d+)/(?<y>\d+)", file)))


def _month(file: Path) -> pl.DataFrame:
    lines = file.read_bytes().split(b"\n", 1)
    if len(lines) < 2 or not lines[1].strip():
        raise ValueError(f"{file} has no rows below its first line")
    types = dict.fromkeys(_COLUMNS, pl.String)
    log = read_columns(lines[1], types, ";", header=False, quoted=False, where=str(file))
    log = log.with_columns(pl.all().str.strip_chars())
    return log.with_columns(
        _date(log["date"], r"^(?<y>\d+)[-/](?<m>\d+)[-/](?<d>\d+)", file),
        pl.col("age_group").replace_strict(_AGES, default=None),
        pl.col("pin_code").replace_strict(_AREAS, default=None),
    )


def _date(column: pl.Series, pattern: str, file: Path) -> pl.Series:
    """Parse dates; a year below 1911 is counted from 1911, as in Taiwan."""
    parts = column.str.extract_groups(pattern).struct.unnest().select(pl.all().cast(pl.Int32))
    year = pl.when(pl.col("y") < 1911).then(pl.col("y") + 1911).otherwise(pl.col("y"))
    text = parts.select(pl.format("{}-{}-{}", year, pl.col("m"), pl.col("d"))).to_series()
    dates = text.str.to_date("%Y-%m-%d", strict=False).alias("date")
    if (wrong := dates.is_null() & column.is_not_null()).any():
        raise ValueError(f"{file}: {column[wrong.arg_max()]!r} in {row_in_words(wrong.arg_max())} is no date")
    return dates


def _source(log: pl.DataFrame) -> Source:
    log = log.with_columns(pl.col("amount", "asset", "sales_price").cast(pl.Float64))
    users = log.group_by("user_id", maintain_order=True).agg(
        pl.col(name).drop_nulls().first() for name in ("age_group", "pin_code")
    )
    items = log.group_by("item_id", maintain_order=True).agg(pl.col("product_subclass").drop_nulls().first())
    roles = {
        "interactions": {"user": "user_id", "item": "item_id", "time": "date"},
        "items": {"fields": ["product_subclass"]},
        "users": {"fields": ["age_group", "pin_code"]},
        "modalities": {"subclass": {"columns": ["product_subclass"]}},
    }
    return Source(log.drop("age_group", "pin_code", "product_subclass"), roles, items, users).noted(
        "An age group, area or subclass that changes is the first one of the file."
    )
