import numpy as np
import polars as pl
import pytest

from hyperctr.data.features.tfidf import tfidf_vectors


def test_tokens_are_values_split_on_bars_and_commas_and_lists():
    items = pl.DataFrame({"tag": ["a|b", "a, b", "c", None], "more": [["x"], [], None, ["", None]]})
    x = tfidf_vectors(items, ["tag", "more"])
    # tokens tag=a tag=b tag=c more=x, sorted: more=x tag=a tag=b tag=c
    assert x.shape == (4, 4) and x.dtype == np.float32
    assert (x > 0).tolist() == [
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
        [False] * 4,
    ]


def test_tfidf_by_hand():
    # idf = ln((1 + n) / (1 + df)) + 1 over n = 3 items: a in two, b and c in one; rows have length one
    x = tfidf_vectors(pl.DataFrame({"tag": ["a|b", "a", "c"]}), ["tag"])
    a, b = np.log(4 / 3) + 1, np.log(4 / 2) + 1
    np.testing.assert_allclose(x[0], np.array([a, b, 0]) / np.hypot(a, b), rtol=1e-6)
    np.testing.assert_allclose(x[1:], [[1, 0, 0], [0, 0, 1]], rtol=1e-6)


def test_equal_values_of_two_columns_are_two_tokens():
    assert tfidf_vectors(pl.DataFrame({"tag": [1, 2], "author": [2, 1]}), ["tag", "author"]).shape == (2, 4)


def test_words_are_lower_case_and_shared_between_columns():
    items = pl.DataFrame({"title": ["Red Shoe", "blue-shoe", None], "text": ["", "RED", None]})
    x = tfidf_vectors(items, ["title", "text"], text=True)
    assert (x > 0).tolist() == [[False, True, True], [True, True, True], [False] * 3]  # blue red shoe


def test_many_words_are_reduced_to_dim_and_alike_items_stay_alike():
    rng = np.random.default_rng(0)
    topics = [[f"w{topic}_{k}" for k in range(20)] for topic in range(3)]
    titles = [" ".join(rng.choice(topics[i % 3], 6)) for i in range(60)] + ["unheard of", None]
    x = tfidf_vectors(pl.DataFrame({"title": titles}), ["title"], text=True, dim=3)
    assert x.shape == (62, 3)
    assert not x[60:].any()  # only words of a single item, or none: the modality is missing
    near = x[:60] @ x[:60].T
    same = np.arange(60)[:, None] % 3 == np.arange(60) % 3
    assert near[same].mean() > 5 * abs(near[~same].mean())
    np.testing.assert_array_equal(x, tfidf_vectors(pl.DataFrame({"title": titles}), ["title"], text=True, dim=3))


def test_columns_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match="the columns tag have no values"):
        tfidf_vectors(pl.DataFrame({"tag": [None, ""]}), ["tag"])
    with pytest.raises(ValueError, match="have 5 values, each of a single item; choose others or a larger dim"):
        tfidf_vectors(pl.DataFrame({"tag": [1, 2, 3, 4, 5]}), ["tag"], dim=2)
