import numpy as np
import polars as pl
import pytest

from hyperctr.data import read
from hyperctr.data.catalog import KNOWN
from hyperctr.data.roles import parse
from hyperctr.data.split import split

# name: whether it has times, whether non-clicks were logged, its modalities
SETS = {
    "amazon-beauty-5core": (True, False, {"attributes"}),
    "amazon-grocery": (True, False, {"category"}),
    "bundle-amazon/clothing": (True, False, {"titles", "categories"}),
    "bundle-amazon/electronic": (True, False, {"titles", "categories"}),
    "bundle-amazon/food": (True, False, {"titles", "categories"}),
    "frappe": (False, False, {"description"}),
    "kuairand-demo": (True, True, {"tags", "author", "format"}),
    "kuairand-pure": (True, True, {"tags", "author", "format"}),
    "kuairand27k-likehate": (True, True, set()),
    "lt4rec-sample": (True, True, {"tags", "keywords"}),
    "microlens-50k": (False, False, {"textual"}),
    "ml-100k": (True, False, {"textual", "visual", "trailer"}),
    "ml-1m": (True, False, {"textual", "visual", "trailer"}),
    "open-bandit": (True, True, {"features"}),
    "ta-feng": (True, False, {"subclass"}),
    "tiktok": (False, False, {"visual", "acoustic"}),
}


@pytest.fixture
def real(data_home):
    """A function that gives the path of a real set or file, or skips the test."""

    def path_of(name):
        if not (path := data_home / name).exists():
            pytest.skip(f"{name} not checked: {data_home} does not hold it")
        return path

    return path_of


@pytest.mark.parametrize("name", KNOWN)
def test_built_in_roles_are_right_in_form(name):
    parse(KNOWN[name], name)


@pytest.mark.parametrize("name", SETS)
def test_every_real_set_is_read_by_its_built_in_roles_and_splits(real, name):
    path = real(name)
    data = read.read(path)
    log, raw = data.interactions, pl.read_parquet(path / "interactions.parquet")
    assert (log.has_time, log.logged_non_clicks, set(data.items.modalities)) == SETS[name]
    assert len(log) == len(raw)
    assert log.num_items == len(pl.read_parquet(path / "items.parquet"))
    user = [f"user_feature_{k}" for k in range(4)] if name == "open-bandit" else ["user_id"]
    users = path / "users.parquet"
    assert log.num_users == (len(pl.read_parquet(users)) if users.exists() else raw.select(user).n_unique())
    assert "Roles are the built-in ones of this public set." in data.notes
    assert not any("set aside" in note for note in data.notes)
    parts = split(log)
    assert log.time[parts.train[-1]] < log.time[parts.test[0]]


def test_each_role_reads_its_own_column(real):
    path = real("kuairand-demo")
    log, raw = read.read(path).interactions, pl.read_parquet(path / "interactions.parquet")
    np.testing.assert_array_equal(log.time, 10**6 * raw["timestamp"].to_numpy())
    np.testing.assert_array_equal(log.label, raw["is_click"])
    np.testing.assert_array_equal(log.conversion, raw["long_view"])
    length = raw["duration_ms"].to_numpy()
    np.testing.assert_array_equal(log.length, np.where(length == 0, np.nan, length))  # 0 is unknown
    assert list(log.context) == ["tab"]
    np.testing.assert_array_equal(log.context["tab"].codes, raw["tab"].rank("dense"))


def test_films_have_their_titles_and_vectors(real):
    path = real("ml-100k")
    films, raw = read.read(path).items, pl.read_parquet(path / "items.parquet")
    assert films.titles.tolist() == raw["title"].to_list()
    assert films.present["visual"].tolist() == raw["has_visual"].to_list()
    assert films.present["trailer"].tolist() == raw["has_trailer"].to_list()


@pytest.mark.parametrize(
    "file",
    [
        "fuxictr/tiny_csv/train_sample.csv",
        "torch-rechub/amazon-electronics/amazon_electronics_sample.csv",
        "torch-rechub/ali-ccp/ali_ccp_train_sample.csv",
        "deepctr-torch/movielens_sample.txt",
    ],
)
def test_a_single_file_of_users_and_items_is_read(real, file):
    path = real(f"ctr-samples/{file}")
    assert len(read.read(path).interactions) == len(path.read_text().splitlines()) - 1


@pytest.mark.parametrize(
    "file",
    ["criteo/criteo_sample.csv", "avazu/train_sample.csv", "census-income/census_income_train_sample.csv"],
)
def test_a_file_without_users_ends_in_one_clear_line(real, file):
    path = real(f"ctr-samples/torch-rechub/{file}")
    with pytest.raises(ValueError, match=r"no column can be the user: looked for .* found .* name it with"):
        read.read(path)
    with pytest.raises(ValueError, match=r"has no interactions.parquet or interactions.csv; found "):
        read.read(path.parent)
