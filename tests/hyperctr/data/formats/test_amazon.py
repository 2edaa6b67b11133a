import json

import numpy as np
import pytest

from .conftest import instants, kinds, note, rows


def review(user, item, day, stars=5.0):
    return json.dumps(
        {"reviewerID": user, "asin": item, "overall": stars, "unixReviewTime": day * 86400, "reviewText": "x"}
    )


REVIEWS = "\n".join(
    [review("U1", "B00000000A", 1), review("U1", "B00000000B", 2, 1.0), review("U2", "B00000000A", 3),
     review("U2", "B00000000B", 3), review("U3", "B00000000C", 4)]
)  # fmt: skip
META_2014 = (
    "{'asin': 'B00000000A', 'title': \"Nail 'n' file\", 'price': 3.5, 'brand': 'Acme', "
    "'related': {'also_bought': ['x']}, 'categories': [['Beauty', 'Nails'], ['Gifts']]}\n"
    "{'asin': 'B00000000B', 'title': 'Soap', 'categories': [['Beauty', 'Bath']]}\n"
    "{'asin': 'B0000000ZZ', 'title': 'Never bought'}\n"
)
META_2018 = "\n".join(
    json.dumps(x) for x in (
        {"asin": "B00000000A", "title": "File", "price": "$1,003.50", "brand": "Acme", "category": ["Beauty", "Nails"]},
        {"asin": "B00000000B", "title": "Soap", "price": "", "category": []},
    )
)  # fmt: skip


def test_reviews_of_2014_with_metadata_that_are_python_literals(imported):
    data, table = imported("amazon", {"reviews_Beauty.json.gz": REVIEWS, "meta_Beauty.json.gz": META_2014})
    assert rows(data) == [
        ("U1", "B00000000A", 1), ("U1", "B00000000B", 1), ("U2", "B00000000A", 1), ("U2", "B00000000B", 1),
        ("U3", "B00000000C", 1),
    ]  # fmt: skip
    assert instants(data)[0] == "1970-01-02T00:00:00" and table["overall"].to_list() == [5, 1, 5, 5, 5]
    assert data.items.titles.tolist() == ["Nail 'n' file", "Soap", ""]
    assert data.items.fields["brand"].codes.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(data.items.fields["price"].values, [3.5, np.nan, np.nan])
    tags = data.items.fields["categories"]
    assert tags.start.tolist() == [0, 2, 4, 4] and tags.values.to_list() == ["Bath", "Beauty", "Nails"]
    assert kinds(data.items) == {"brand": "category", "categories": "tags", "price": "number"}
    assert set(data.items.modalities) == {"titles", "categories"}
    assert "Every review is a click, at any rating" in note(data) and "1 item of the log had no row" in note(data)


def test_of_2018_prices_are_text_and_the_rating_may_be_the_click(imported):
    files = {"Beauty_5.json.gz": REVIEWS, "meta_Beauty.json.gz": META_2018}
    data, _ = imported("amazon", files, click="overall", click_at_least=4)
    assert [label for *_, label in rows(data)] == [1, 0, 1, 1, 1]
    np.testing.assert_array_equal(data.items.fields["price"].values, [1003.5, np.nan, np.nan])
    assert data.items.fields["categories"].values.to_list() == ["Beauty", "Nails"]


def test_a_two_core_leaves_users_and_items_with_two_rows_and_says_the_counts(imported):
    data, _ = imported("amazon", {"reviews_Beauty.json": REVIEWS, "meta_Beauty.json": META_2014}, k=2)
    assert len(data.interactions) == 4 and data.items.ids.tolist() == ["B00000000A", "B00000000B"]
    assert "2-core: 4 of 5 rows, 2 of 3 users and 2 of 3 items are left." in note(data)
    with pytest.raises(ValueError, match="the 9-core of 5 rows is empty: choose a smaller k"):
        imported("amazon", {}, k=9)


def test_image_features_are_found_by_asin(imported):
    record = np.dtype([("asin", "S10"), ("x", "<f4", 4096)])
    images = np.zeros(2, record)
    images["asin"], images["x"][:, 0] = [b"B00000000B", b"B0000000ZZ"], [2, 9]
    files = {"reviews_X_5.json.gz": REVIEWS, "image_features_X.b": images.tobytes()}
    data, _ = imported("amazon", files)
    assert data.items.ids.tolist() == ["B00000000A", "B00000000B", "B00000000C"]
    assert data.items.modalities["image"][:, 0].tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match="has 100 bytes, which is no multiple of 16394"):
        imported("amazon", {"image_features_X.b": b"x" * 100})


@pytest.mark.parametrize(
    "line", ["__import__('os').system('touch pwned')", "{'asin': open('x')}", "[1]", "{'a': " + "(" * 9999]
)
def test_a_line_that_is_no_literal_is_never_run(imported, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="meta_B.json: line 2 is neither a JSON object nor a Python dictionary"):
        imported("amazon", {"reviews_B.json.gz": REVIEWS, "meta_B.json": "{'asin': 'x'}\n" + line})
    assert not (tmp_path / "pwned").exists()


def test_a_cut_gzip_and_two_files_of_reviews_are_named(imported, put):
    with pytest.raises(ValueError, match="has several files: A.json, B.json; name one"):
        imported("amazon", {"A.json": REVIEWS, "B.json": REVIEWS})
    cut = put({"whole.json.gz": (REVIEWS + "\n") * 50}) / "whole.json.gz"
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(ValueError, match="cannot read .*whole.json.gz"):
        imported("amazon", {}, path="whole.json.gz")
