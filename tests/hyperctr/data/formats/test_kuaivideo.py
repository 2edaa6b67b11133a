import sys

import numpy as np
import pytest

from .conftest import note, rows

HEADER = "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items\n"
X1 = {
    "train.csv": HEADER + "10,7,3,1,0,0,,\n20,7,1,0,0,0,3,\n30,8,3,1,1,0,,\n40,8,2,0,0,0,3,1^2\n",
    "test.csv": HEADER + "50,7,2,1,0,1,3,1\n60,8,1,0,0,0,3,2\n",
}
CHALLENGE = {
    "train/train_interaction.txt": "7\t3\t1\t0\t0\t10\t5\t20\n7\t1\t0\t0\t0\t20\t0\t0\n8\t3\t1\t1\t0\t30\t9\t20\n",
    "train/train_face.txt": "3\t[[0.5, 1, 20, 60], [0.1, 0, 30, 70]]\n1\t0\n",
    "train/train_text.txt": "3\t11,12,11\n1\t0\n",
    "test/test_interaction.txt": "7\t2\t50\t10\n",
}


def test_x1_keeps_its_split_its_flags_and_the_vectors_of_its_items(imported, put):
    h5py = pytest.importorskip("h5py")
    with h5py.File(put(X1) / "item_visual_emb_dim64.h5", "w") as made:
        made["key"], made["value"] = [3, 9, 1], np.array([[3.0, 0], [9, 9], [1, 0]])
    data, table = imported("kuaivideo", {})
    assert rows(data) == [(7, 3, 1), (7, 1, 0), (8, 3, 1), (8, 2, 0), (7, 2, 1), (8, 1, 0)]
    assert data.interactions.part.tolist() == [0, 0, 0, 0, 2, 2] and data.interactions.logged_non_clicks
    assert data.items.ids.tolist() == [1, 2, 3]
    assert data.items.modalities["visual"].tolist() == [[1, 0], [0, 0], [3, 0]]
    assert data.items.present["visual"].tolist() == [True, False, True]
    assert table["is_like"].to_list() == [0, 0, 1, 0, 0, 0] and table["is_follow"].sum() == 1
    assert "pos_items" not in table.columns and "pos_items and neg_items are not read" in note(data)


def test_without_h5py_the_command_is_named(imported, put, monkeypatch):
    put(X1 | {"item_visual_emb_dim64.h5": b"x"})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"needs h5py: pip install 'hyperctr\[formats\]'"):
        imported("kuaivideo", {})


def test_a_damaged_h5_and_a_pickled_set_are_explained(imported, put):
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match="is not an h5 file with key and value"):
        imported("kuaivideo", X1 | {"item_visual_emb_dim64.h5": b"x"})
    with pytest.raises(
        ValueError, match=r"dataset.pkl is a pickle: .* never opened here.*to_parquet\('dataset.parquet'\)"
    ):
        imported("kuaivideo", {"dataset.pkl": b"\x80\x04."}, path="dataset.pkl")


def test_the_challenge_gives_flags_lengths_faces_and_words(imported):
    data, table = imported("kuaivideo", CHALLENGE)
    assert rows(data) == [(7, 3, 1), (7, 1, 0), (8, 3, 1)]
    np.testing.assert_array_equal(data.interactions.length, [20, np.nan, 20])
    np.testing.assert_allclose(data.items.modalities["face"], [[0] * 5, [2, 0.3, 0.5, 25, 65]], rtol=1e-6)
    assert data.items.modalities["caption"].shape[0] == 2 and not data.items.present["caption"][0]
    assert table["is_like"].to_list() == [0, 0, 1] and data.interactions.part is None
    assert "its labels were never published" in note(data)


def test_a_line_of_faces_that_is_no_list_is_named(imported):
    with pytest.raises(ValueError, match=r"train_face.txt: line 1 is neither 0 nor a list of faces: '\[\[1,2'"):
        imported("kuaivideo", CHALLENGE | {"train/train_face.txt": "3\t[[1,2\n"})
