import numpy as np
import pytest

from .conftest import instants, note, rows

PAIRS = "user,item,timestamp\n2,1,1583378630552\n1,3,1583378629001\n1,1,1583378631000\n"
TITLES = '1,The cat, the dog\n3,Ein "Film"\n'


def test_pairs_titles_and_features(imported):
    files = {
        "MicroLens-100k_pairs.csv": PAIRS,
        "MicroLens-100k_title_en.csv": TITLES,
        "features/MicroLens-100k_image_features_CLIPRN50.npy": np.array([[1.0, 1], [2, 2], [3, 3]], np.float32),
        "features/MicroLens-100k_title_en_text_features_BgeM3.npy": np.array([[4.0], [5], [6]], np.float32),
    }
    data, table = imported("microlens", files)
    assert rows(data) == [(1, 3, 1), (2, 1, 1), (1, 1, 1)]
    assert instants(data)[0] == "2020-03-05T03:23:49"
    assert data.items.ids.tolist() == [1, 3] and data.items.titles.tolist() == ["The cat, the dog", 'Ein "Film"']
    assert data.items.modalities["image"].tolist() == [[1, 1], [3, 3]]
    assert data.items.modalities["title"].tolist() == [[4], [6]]
    assert "Row i of a feature file was taken for item i + 1" in note(data)


def test_sequences_give_an_order_without_times(imported):
    data, table = imported("microlens", {"MicroLens-50k_pairs.tsv": "1\t3 1 2\n2\t2 3\n"})
    assert table.rows() == [(1, 3, 0), (1, 1, 1), (1, 2, 2), (2, 2, 0), (2, 3, 1)]
    assert not data.interactions.has_time


def test_a_matrix_of_another_length_is_named(imported):
    with pytest.raises(ValueError, match="x_features_y.npy has 9 rows, but item numbers go to 3"):
        imported("microlens", {"a_pairs.csv": PAIRS, "x_features_y.npy": np.ones((9, 2), np.float32)})
