import zipfile

import numpy as np
import pytest

from hyperctr.data.formats.convert import convert
from hyperctr.data.read import read

from .conftest import instants, note, rows

ML_10M = {
    "ml-10M100K/ratings.dat": "1::122::5::838985046\n1::185::3.5::838983525\n2::122::4.5::868244777\n",
    "ml-10M100K/movies.dat": "122::Boomerang (1992)::Comedy|Romance\n185::Net, The (1995)::Action\n9::Été (1)::Drama\n",
    "ml-10M100K/tags.dat": "15::4973::excellent!::1215184630\n",
}
ML_25M = {
    "ml-25m/ratings.csv": (
        "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n1,306,3.5,1147868817\n2,306,4.0,1147868828\n"
    ),
    "ml-25m/movies.csv": (
        'movieId,title,genres\n296,"Pulp, or ""Fiction"" (1994)",Comedy|Crime\n306,Rouge,(no genres listed)\n'
    ),
    "ml-25m/genome-scores.csv": "movieId,tagId,relevance\n1,1,0.02875\n",
}


def test_ten_million_has_half_stars_and_no_users(imported):
    data, _ = imported("movielens", ML_10M)
    assert rows(data) == [(1, 185, 0), (1, 122, 1), (2, 122, 1)]
    assert instants(data)[0] == "1996-08-02T10:58:45"
    assert data.items.titles.tolist() == ["Boomerang (1992)", "Net, The (1995)", "Été (1)"]
    assert not data.users.fields and "Tags of users" in note(data)
    assert not data.interactions.logged_non_clicks


def test_csv_releases_are_read_from_a_folder_and_from_the_zip(imported, put, tmp_path):
    data, _ = imported("movielens", ML_25M)
    with zipfile.ZipFile(tmp_path / "ml-25m.zip", "w") as archive:
        for name, content in ML_25M.items():
            archive.writestr(name, content)
    again = read(convert("movielens", tmp_path / "ml-25m.zip", tmp_path / "zipped"))
    for found in (data, again):
        assert rows(found) == [(1, 306, 0), (2, 306, 1), (1, 296, 1)]
        assert found.items.titles.tolist() == ['Pulp, or "Fiction" (1994)', "Rouge"]
        assert "tag genome" in note(found)
    assert np.array_equal(data.interactions.time, again.interactions.time)


def test_a_folder_without_ratings_is_named(imported, put, tmp_path):
    with pytest.raises(ValueError, match=r"has no u.data, ratings.dat or ratings.csv; found movies.csv"):
        imported("movielens", {"movies.csv": "movieId,title,genres\n"})
    broken = tmp_path / "ml.zip"
    broken.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="ml.zip is not readable as movielens"):
        convert("movielens", broken, tmp_path / "never")
    assert not (tmp_path / "never").exists() and not (tmp_path / "out").exists()
