"""KuaiRand-1K, -Pure and -27K (Kuaishou, CIKM 2022): the folder `data` of the archive, as published.

log_standard_*.csv (several; 27K: in parts) and log_random_*.csv: user_id, video_id, date, hourmin, time_ms,
is_click, is_like, is_follow, is_comment, is_forward, is_hate, long_view, play_time_ms, duration_ms,
profile_stay_time, comment_stay_time, is_profile_enter, is_rand, tab. user_features_*.csv and
video_features_basic_*.csv (in parts): one row per user and video. Videos that no log names are left out.

video_features_statistic_*.csv is never read: it adds up clicks and plays of the whole period, of the test days too.
Source: https://kuairand.com.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from hyperctr.data.catalog import KNOWN
from hyperctr.data.formats.files import check_folder, find_file, find_files, read_columns
from hyperctr.data.formats.source import Source, only_known

HOME = "https://kuairand.com"
_LOG = {
    "user_id": pl.Int64, "video_id": pl.Int64, "time_ms": pl.Int64, "is_click": pl.Int8, "is_like": pl.Int8,
    "is_follow": pl.Int8, "long_view": pl.Int8, "duration_ms": pl.Int64, "tab": pl.Int64, "is_rand": pl.Int8,
}  # fmt: skip
_MORE = {"is_comment": pl.Int8, "is_forward": pl.Int8, "is_hate": pl.Int8, "play_time_ms": pl.Int64}
_TEXT = {"tag": pl.String, "video_type": pl.String, "upload_type": pl.String, "upload_dt": pl.String}

_ITEM = {
    "tag": {"kind": "tags", "separator": ","}, "author_id": "category", "upload_type": "category",
    "music_type": "category", "video_duration": {"kind": "number", "log": True},
}  # fmt: skip


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder with logs, and with features of users and videos where they are there.

    Raises:
        ValueError: there is no log_standard_*.csv, or a column is missing.
    """
    folder = check_folder(path)
    find_file(folder, "log_standard_*.csv")
    files = [*find_files(folder, "log_standard_*.csv"), *find_files(folder, "log_random_*.csv")]
    log = pl.concat([read_columns(file, _LOG, optional=_MORE) for file in files], how="diagonal")
    log = log.with_columns(pl.col("time_ms").cast(pl.Datetime("ms", "UTC")).alias("timestamp"))
    known = KNOWN["kuairand-pure"]
    moment = {"kind": "category", "of": "moment"}
    shown = known["interactions"] | {"item": "video_id", "context": {"tab": moment, "is_rand": moment}}
    items, users = _table(folder, "video_features_basic_*.csv"), _table(folder, "user_features_*.csv")
    roles = {"interactions": shown} | (
        {"items": {"fields": _ITEM}, "modalities": known["modalities"]} if items is not None else {}
    )
    roles |= {"users": known["users"]} if users is not None else {}
    at_random = int((log["is_rand"] == 1).sum())
    source = Source(log, roles, items, users).noted(
        "Other labels of a row: is_like, is_follow, long_view and more.",
        f"{at_random} rows were shown at random (is_rand = 1): to leave them out, take log_random_*.csv away."
        if at_random
        else "",
        "video_features_statistic is not read: it adds up the whole period, test days too."
        if find_files(folder, "video_features_statistic_*.csv")
        else "",
    )
    return only_known(source)


def _table(folder: Path, pattern: str) -> pl.DataFrame | None:
    """Read the parts of a table; whole numbers and decimals by themselves, columns of text as text."""
    files = find_files(folder, pattern)
    if not files:
        return None
    parts = [pl.read_csv(file, schema_overrides=_TEXT, infer_schema_length=None) for file in files]
    return pl.concat(parts, how="diagonal_relaxed")
