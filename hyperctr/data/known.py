"""Built-in roles of public data sets whose columns a guess cannot get right; the shape is that of dataset.toml."""

from __future__ import annotations

from pathlib import Path

from hyperctr.data.roles import Roles

_MOVIES = {
    "interactions": {
        "user": ["user_id"], "item": ["item_id"], "time": "timestamp",
        "click": "rating", "click_at_least": 4, "non_clicks": "unobserved",
    },
    "items": {"title": "title", "fields": ["genres"]},
    "users": {"fields": ["gender", "age", "occupation"]},
}  # fmt: skip
_SHORT_VIDEO = {
    "interactions": {
        "user": ["user_id"], "item": ["item_id"], "time": "timestamp",
        "click": "is_click", "non_clicks": "logged", "conversion": "long_view", "context": ["tab"],
    },
    "items": {"fields": ["tag", "author_id", "upload_type", "music_type", "video_duration"]},
    "users": {
        "fields": [
            "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num_range", "fans_user_num_range",
            "friend_user_num_range", "register_days_range", *(f"onehot_feat{k}" for k in range(12)),
        ]
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
            "conversion": "cvr_label", "context": ["FEA_ORDER", "FEA_ALGID"],
        },
        "items": {"fields": ["FEA_ICAT1", "FEA_ICAT2", "FEA_CP", "FEA_COVERQUALITY"]},
        "modalities": {"tags": {"columns": ["FEA_STAG", "FEA_IXFTAG"]}, "keywords": {"columns": ["FEA_IKEYWORD"]}},
    },
    "open-bandit": {
        "note": "The set has no user ids: rows with the same four user features count as one user.",
        "interactions": {
            "user": [f"user_feature_{k}" for k in range(4)], "item": ["campaign", "item_id"], "time": "timestamp",
            "click": "click", "non_clicks": "logged", "context": ["position", "policy"],
        },
        "items": {"fields": [f"item_feature_{k}" for k in range(4)]},
        "modalities": {"features": {"columns": [f"item_feature_{k}" for k in range(4)]}},
    },
    "ta-feng": {
        "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
        "items": {"fields": ["product_subclass"]},
        "users": {"fields": ["age_group", "pin_code"]},
        "modalities": {"subclass": {"columns": ["product_subclass"]}},
    },
    "tiktok": {
        "note": "The source's own split (column split) is not used, and its rows are sorted by user and item.",
        "interactions": {"user": ["user_id"], "item": ["item_id"], "order": False},
    },
    "microlens-50k": {
        "interactions": {"user": ["user_id"], "item": ["item_id"], "order": "position"},
        "items": {"title": "title"},
    },
    "frappe": {
        "interactions": {
            "user": ["user_id"], "item": ["item_id"],
            "context": ["daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city"],
        },
        "items": {"title": "name", "fields": ["category", "language", "price"]},
        "modalities": {"description": {"columns": ["description"], "text": True}},
    },
    "amazon-beauty-5core": {
        "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
        "modalities": {"attributes": {"columns": ["attributes"]}},
    },
    "amazon-grocery": {
        "note": "The complement and substitute lists are not used: they were made from purchases of the whole period.",
        "interactions": {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"},
        "items": {"fields": ["i_category"]},
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


def known(path: Path) -> Roles | None:
    """Return the built-in roles of the public set that a folder is named after, or None."""
    return KNOWN.get(path.name) or KNOWN.get(f"{path.parent.name}/{path.name}")
