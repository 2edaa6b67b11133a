import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from .conftest import note

PARTS = {
    "train": [[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0]],
    "val": [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]],
    "test": [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]],
}
FEATURES = {"image_feat.npy": np.arange(8.0).reshape(4, 2), "text_feat.npy": np.ones((4, 3), np.float16)}


def pairs(data):
    log = data.interactions
    return sorted(zip(log.part.tolist(), log.user.tolist(), log.item.tolist(), strict=True))


EXPECTED = sorted((k, u, i) for k, part in enumerate(PARTS.values()) for u, i in np.argwhere(part).tolist())


def test_sparse_matrices_and_json_give_the_sources_own_split(imported, put):
    folder = put(FEATURES)
    for name, part in PARTS.items():
        save_npz(folder / f"{name}_mat.npz", csr_matrix(np.array(part, np.float32)))
    data, _ = imported("mmssl", {})
    assert pairs(data) == EXPECTED and len(EXPECTED) == 10
    assert not data.interactions.has_time and not data.interactions.logged_non_clicks
    assert data.items.modalities["image"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert data.items.modalities["image"].dtype == np.float32 and data.items.modalities["text"].dtype == np.float16
    assert "6 train, 2 valid, 2 test rows" in note(data)


def test_json_is_read_as_it_is_published(imported):
    files = {
        f"{name}.json": "{" + ", ".join(f'"{u}": {np.flatnonzero(x).tolist()}' for u, x in enumerate(part)) + "}"
        for name, part in PARTS.items()
    }
    data, _ = imported("mmssl", FEATURES | files)
    assert pairs(data) == EXPECTED


def test_pickles_are_explained_and_never_opened(imported, tmp_path):
    bomb = b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "exploded").encode()
    for name in ("train_mat", "trnMat.pkl"):
        with pytest.raises(ValueError, match=rf"{name} is a pickle: .* never opened here.*save_npz\('{name[:6]}"):
            imported("mmssl", {f"{name[:3]}/{name}": bomb}, path=name[:3])
    with pytest.raises(ValueError, match="train.npz is not a sparse matrix that scipy.sparse.save_npz wrote"):
        imported("mmssl", {"train.npz": bomb, "test.npz": bomb})
    assert not (tmp_path / "exploded").exists()


def test_features_need_one_row_per_item(imported):
    with pytest.raises(ValueError, match="text_feat.npy has 3 rows, there are 4 items"):
        imported(
            "mmssl",
            {"train.json": '{"0": [3]}', "test.json": '{"1": [0]}', "text_feat.npy": np.ones((3, 2), np.float32)},
        )
