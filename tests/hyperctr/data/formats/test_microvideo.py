import numpy as np
import pytest

from .conftest import note, rows

HEADER = "user_id,item_id,cate_id,is_click,timestamp\n"
THACIL = {
    "train_data.csv": HEADER + "0,0,4,1,10\n0,1,5,0,20\n1,0,4,0,30\n1,2,5,1,40\n",
    "test_data.csv": HEADER + "0,0,5,1,50\n1,1,4,0,60\n",
    "train_cover_image_feature.npy": np.array([[1.0, 2], [3, 4], [5, 6], [0, 0]], np.float32),
    "test_cover_image_feature.npy": np.array([[7.0, 8], [9, 1]], np.float32),
}


def test_items_of_the_test_file_are_others_than_those_of_the_training_file(imported):
    data, _ = imported("microvideo", THACIL)
    assert rows(data) == [
        (0, "train-0", 1), (0, "train-1", 0), (1, "train-0", 0), (1, "train-2", 1), (0, "test-0", 1), (1, "test-1", 0)
    ]  # fmt: skip
    assert data.interactions.part.tolist() == [0, 0, 0, 0, 2, 2]
    covers = dict(zip(data.items.ids.tolist(), data.items.modalities["cover"].tolist(), strict=True))
    assert covers == {"train-0": [1, 2], "train-1": [3, 4], "train-2": [5, 6], "test-0": [7, 8], "test-1": [9, 1]}
    category = dict(zip(data.items.ids.tolist(), data.items.fields["cate_id"].codes.tolist(), strict=True))
    assert category["train-1"] == category["train-2"] == category["test-0"] != category["train-0"]
    assert "train-5 is not test-5" in note(data)


def test_an_item_without_a_cover_row_is_named(imported):
    short = THACIL | {"test_cover_image_feature.npy": THACIL["test_cover_image_feature.npy"][:1]}
    with pytest.raises(ValueError, match=r"item 1 of test_data.csv has no row in test_cover_image_feature.npy"):
        imported("microvideo", short)


def test_the_x1_form_has_one_numbering(imported):
    x1 = {"train.csv": THACIL["train_data.csv"], "test.csv": HEADER + "0,7,5,1,50\n1,8,4,0,60\n"}
    data, _ = imported("microvideo", x1)
    assert data.items.ids.tolist() == [0, 1, 2, 7, 8] and "There are no files of cover vectors." in note(data)


def test_a_matrix_of_objects_is_never_unpickled(imported):
    with pytest.raises(ValueError, match="train_cover_image_feature.npy is not a readable .npy matrix"):
        imported("microvideo", THACIL | {"train_cover_image_feature.npy": np.array([{}, 1], object)})
