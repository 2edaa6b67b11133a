import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.read import read
from hyperctr.data.tables import read_table
from hyperctr.data.write import import_log, write_folder

LOG = "user_id,item_id,timestamp,click\n7,b,30,1\n5,a,10,0\n7,a,20,1\n"
ITEMS = "item_id,title,genres\nb,Bee,x|y\na,,x\nc,Sea,\n"
USERS = "user_id,gender\n5,F\n7,\n"


@pytest.fixture
def shop(tmp_path):
    """A function that writes text and matrices into a folder and gives its path; a file given as None is removed."""

    def write(**files):
        path = tmp_path / "shop"
        path.mkdir(exist_ok=True)
        for name, content in {"interactions.csv": LOG, **files}.items():
            if content is None:
                (path / name).unlink()
            elif isinstance(content, np.ndarray):
                np.save(path / name, content)
            else:
                (path / name).write_text(content, encoding="utf-8")
        return path

    return lambda **files: write(**{name.replace("__", "."): content for name, content in files.items()})


def log_of(path, **options):
    return read(path, **options).interactions


def notes_of(path):
    return " ".join(read(path).notes)


# --- what is read --------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_time_order_and_numbered_as_its_tables_are(shop):
    visual = np.array([[1, 2], [0, 0], [3, 4]], np.float16)
    data = read(shop(items__csv=ITEMS, users__csv=USERS, visual__npy=visual))
    log = data.interactions
    assert log.time.tolist() == [10_000_000, 20_000_000, 30_000_000]
    assert log.user.tolist() == [0, 1, 1]
    assert log.item.tolist() == [1, 1, 0]
    assert log.label.tolist() == [0, 1, 1]
    assert (log.num_users, log.num_items, log.has_time, log.logged_non_clicks) == (2, 3, True, True)
    assert data.name == "shop"
    assert data.users.ids.tolist() == [5, 7] and data.items.ids.tolist() == ["b", "a", "c"]
    assert data.items.titles.tolist() == ["Bee", "", "Sea"]
    assert data.items.fields["genres"].codes.tolist() == [2, 1, 0] and data.items.fields["genres"].size == 3
    assert data.users.fields["gender"].codes.tolist() == [1, 0]
    assert data.items.present["visual"].tolist() == [True, False, True]
    assert isinstance(data.items.modalities["visual"], np.memmap)
    assert repr(data).startswith("Dataset(shop: Interactions(3 rows")


def test_without_tables_ids_are_numbered_in_sorted_order(shop):
    data = read(shop(text__npy=np.ones((2, 3), np.float32)))
    assert data.users.ids.tolist() == [5, 7] and data.items.ids.tolist() == ["a", "b"]
    assert data.interactions.item.tolist() == [0, 0, 1]
    assert "There is no items table: row i of a modality belongs to the i-th item id in sorted order." in data.notes


def test_parquet_csv_and_tsv_are_one_format(shop, tmp_path):
    from_csv = log_of(shop())
    table = read_table(shop() / "interactions.csv").frame
    table.write_parquet(tmp_path / "shop" / "interactions.parquet")
    assert "interactions.csv was not read: interactions.parquet is there too." in read(shop()).notes
    (tmp_path / "log.tsv").write_text(LOG.replace(",", "\t"))
    for path in (shop(), tmp_path / "log.tsv", shop() / "interactions.csv"):
        other = log_of(path)
        for name in ("user", "item", "time", "label"):
            np.testing.assert_array_equal(getattr(other, name), getattr(from_csv, name))


def test_every_guess_is_said(shop):
    notes = notes_of(shop(items__csv=ITEMS, visual__npy=np.ones((3, 2), np.float32)))
    for part in ("user = user_id", "item = item_id", "time = timestamp", "click = click", "title = title", "visual"):
        assert part in notes
    assert "1 row without one were shown and not clicked" in notes


def test_ratings_are_clicks_from_four_on_and_the_rest_is_no_impression(shop):
    log = log_of(shop(interactions__csv="user,item,time,rating\n1,1,1,5\n1,2,2,3.5\n1,3,3,4\n"))
    assert log.label.tolist() == [1, 0, 1]
    assert not log.logged_non_clicks


def test_a_click_column_without_non_clicks_means_that_they_were_not_logged(shop):
    assert not log_of(shop(interactions__csv="user,item,time,click\n1,1,1,1\n1,2,2,1\n")).logged_non_clicks


def test_without_a_click_column_every_row_is_a_click(shop):
    path = shop(interactions__csv="user,item,time\n1,1,1\n1,2,2\n")
    assert log_of(path).label.tolist() == [1, 1]
    assert "Every row is a click" in notes_of(path)


@pytest.mark.parametrize(("header", "values", "order"), [("position", "2,0,1", [1, 2, 0]), ("pad", "9,9,9", [0, 1, 2])])
def test_without_times_a_position_or_the_row_is_the_order(shop, header, values, order):
    rows = [f"1,{row},{value}" for row, value in enumerate(values.split(","))]
    path = shop(interactions__csv="\n".join([f"user,item,{header}", *rows]))
    assert log_of(path).item.tolist() == order
    assert not log_of(path).has_time
    assert "There are no times" in notes_of(path)


def test_rows_in_no_order_get_a_random_place_among_their_users_always_the_same(shop):
    rows = [f"{user},{item}" for user in (1, 2) for item in range(50)]  # sorted by user and item, as matrices come
    toml = '[interactions]\nuser = "user"\nitem = "item"\norder = false\n'
    path = shop(interactions__csv="\n".join(["user,item", *rows]), dataset__toml=toml)
    first, again = log_of(path), log_of(path)
    assert np.array_equal(first.item, again.item) and np.array_equal(first.user, again.user)
    for user in (0, 1):
        assert first.time[first.user == user].tolist() == list(range(50))
        assert abs(np.corrcoef(first.item[first.user == user], np.arange(50))[0, 1]) < 0.4
    assert not np.array_equal(first.item[first.user == 0], first.item[first.user == 1])
    assert not first.has_time
    assert "each user's events were shuffled, with a fixed seed" in notes_of(path)


@pytest.mark.parametrize(("users", "grouped"), [("1122", True), ("1212", False), ("1234", False)])
def test_rows_grouped_by_user_are_no_order_of_events_and_the_note_says_so(shop, users, grouped):
    path = shop(interactions__csv="\n".join(["user,item", *(f"{user},{k}" for k, user in enumerate(users))]))
    assert ("But rows are grouped by user" in notes_of(path)) == grouped


def test_a_dataset_toml_says_which_column_plays_which_role(shop):
    path = shop(
        interactions__csv="who,sub,what,when,stars,bought,kind,tab\n1,a,x,2,3,1,view,t1\n1,b,y,1,2,,buy,\n1,a,y,3,1,0.5,,t2\n",
        items__csv="what,label,tag,about\nx,Ex,p|q,Red shoe\ny,Why,q,red hat\n",
        users__csv="who,sub,age\n1,b,30\n1,a,20\n",
        looks__npy=np.ones((2, 5), np.float16),
        other__npy=np.ones((99, 5), np.float16),
        dataset__toml="""
            name = "mine"
            note = "A note."
            [interactions]
            user = ["who", "sub"]
            item = "what"
            time = "when"
            click = "stars"
            click_at_least = 2
            non_clicks = "logged"
            conversion = "bought"
            type = "kind"
            context = ["tab"]
            [items]
            title = "label"
            fields = ["tag"]
            [users]
            fields = ["age"]
            [modalities]
            visual = "looks.npy"
            tags = { columns = ["tag"] }
            text = { columns = ["about"], text = true }
        """,
    )
    data = read(path)
    log = data.interactions
    assert data.name == "mine" and "A note." in data.notes
    assert data.users.ids.tolist() == ["1|b", "1|a"]
    assert log.user.tolist() == [0, 1, 1] and log.item.tolist() == [1, 0, 1]
    assert log.label.tolist() == [1, 1, 0] and log.logged_non_clicks
    np.testing.assert_array_equal(log.conversion, [np.nan, 1, 0.5])
    assert log.type.tolist() == [1, 2, 0] and log.num_types == 3
    assert log.context["tab"].codes.tolist() == [0, 1, 2] and log.context["tab"].size == 3
    assert data.users.fields["age"].codes.tolist() == [2, 1]
    assert {name: matrix.shape for name, matrix in data.items.modalities.items()} == {
        "visual": (2, 5), "tags": (2, 2), "text": (2, 3),
    }  # fmt: skip
    assert "Modality text was made from the item columns about." in data.notes


def test_only_the_modalities_asked_for_are_opened(shop):
    path = shop(items__csv=ITEMS, visual__npy=np.ones((3, 2), np.float32), broken__npy="no matrix")
    assert list(read(path, modalities=["visual"]).items.modalities) == ["visual"]
    assert not read(path, modalities=[]).items.modalities
    with pytest.raises(ValueError, match=r"no modality 'visuel', did you mean visual\? \(there are: broken, visual\)"):
        read(path, modalities=["visuel"])


def test_ids_are_kept_as_they_are_written(shop):
    big = "18446744073709551615"
    log = f"user_id,item_id,time\n007,{big},1\n7,18446744073709551614,2\n"
    data = read(shop(interactions__csv=log))
    assert data.users.ids.tolist() == ["007", "7"]
    assert data.items.ids.tolist() == ["18446744073709551614", big]
    table = pl.DataFrame({"user_id": [1.0, 2.0], "item_id": pl.Series([2**64 - 1, 3], dtype=pl.UInt64)})
    table.write_parquet(shop() / "interactions.parquet")
    data = read(shop())
    assert data.users.ids.tolist() == [1, 2] and data.items.ids.tolist() == [big, "3"]


def test_numbers_meet_the_same_numbers_written_as_text(shop):
    path = shop(items__csv="item_id\n1\nx\n", interactions__csv="user_id,item_id\n4,1\n")
    assert log_of(path).item.tolist() == [0]


def test_rows_without_a_role_are_set_aside_and_said(shop):
    path = shop(
        interactions__csv="user_id,item_id,time,click\n1,1,1,1\n,2,2,1\n,,3,0\n1,1,,1\n1,3,5,\n1,4,6,NaN\n2,4,7,0\n"
    )
    data = read(path)
    assert data.interactions.time.tolist() == [1_000_000, 7_000_000]
    assert data.items.ids.tolist() == [1, 4]
    said = " ".join(data.notes)
    assert "2 rows without a user were set aside." in said
    assert "1 row without a time was set aside." in said
    assert "2 rows without a label were set aside." in said


def test_exact_repeats_are_kept_and_said(shop):
    path = shop(interactions__csv=LOG + "7,a,20,1\n7,a,20,1\n7,a,20,0\n")
    assert len(log_of(path)) == 6
    assert "2 rows repeat an earlier one exactly; kept." in notes_of(path)


def test_rows_of_one_time_are_counted(shop):
    log = "user_id,item_id,time\n1,a,5\n2,b,5\n1,c,5\n2,c,6\n1,b,8\n2,a,8\n"
    assert "5 rows have the time of another one and keep the order of the file" in notes_of(shop(interactions__csv=log))
    apart = shop(interactions__csv="user_id,item_id,time\n1,a,5\n2,b,6\n1,c,7\n")
    assert "order of the file" not in notes_of(apart)
    one = shop(interactions__csv="user_id,item_id,time\n1,a,5\n")
    assert "order of the file" not in notes_of(one)


def test_built_in_roles_need_their_columns(shop, tmp_path):
    (tmp_path / "open-bandit").mkdir()
    (tmp_path / "open-bandit" / "interactions.csv").write_text(LOG)
    assert "guessed" in notes_of(tmp_path / "open-bandit")
    (tmp_path / "tiktok").mkdir()
    (tmp_path / "tiktok" / "interactions.csv").write_text("split," + LOG.replace("\n", "\ntrain,")[:-6])
    assert log_of(tmp_path / "tiktok").label.sum() == 3  # its roles name no click column
    (tmp_path / "tiktok" / "dataset.toml").write_text(
        'interactions = { user = "user_id", item = "item_id", click = "click" }'
    )
    assert log_of(tmp_path / "tiktok").label.sum() == 2


# --- errors --------------------------------------------------------------------------------------------------------

TOML = 'interactions = { user = "user_id", item = "item_id" }\n'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"interactions__csv": "user_id,item_id\n"}, r"interactions.csv has no rows$"),
        ({"interactions__csv": ""}, r"cannot read .*interactions.csv: it is empty"),
        ({"interactions__csv": "user_id,item_id\n1,2,3\n"}, r"csv, line 2: 3 cells .* header has 2; .* commas$"),
        ({"interactions__csv": "user_id,item_id\n,2\n3,\n"}, r"no row has a user, item.*; all 2 were set aside"),
        ({"interactions__csv": "usr,item_id\n1,2\n"}, r"no column can be the user: .* found usr, item_id; name"),
        ({"interactions__parquet": "PAR1 nonsense"}, r"cannot read .*interactions.parquet: .* its end is missing"),
        ({"items__csv": "sku,title\na,A\n"}, r"items.csv: no column 'item_id' \(for id\); found sku, title$"),
        ({"items__csv": "item_id\na\nb\na\n"}, r"items.csv: item id 'a' is there more than once"),
        ({"items__csv": "item_id,x\na,1\n,2\nb,3\n"}, r"items.csv: row 2 \(line 3 of a text with a header\) has no id"),
        ({"items__csv": "item_id\na\n"}, r"item id 'b' is not in .*items.csv \(1 row of such items\)"),
        ({"users__csv": "user_id\n5\n"}, r"user id 7 is not in .*users.csv \(2 rows of such users\); add them"),
        ({"dataset__toml": TOML.replace("user_id", "userid")}, r"no column 'userid' \(for user\).*mean user_id\?"),
        ({"dataset__toml": TOML + "item = {}"}, r"dataset.toml: unknown key item, did you mean items\?"),
        ({"dataset__toml": TOML + 'items = {title = "x"}'}, r"title asks for column 'x' of items.parquet or .csv"),
        (
            {"dataset__toml": TOML + 'modalities = { tags = { columns = ["tag"] } }'},
            r"modality tags asks for column 'tag' of items.parquet or .csv; there is none",
        ),
        (
            {"items__csv": ITEMS, "dataset__toml": TOML + 'modalities = { tags = { columns = ["tags"] } }'},
            r"items.csv: no column 'tags' \(for modality tags\)",
        ),
        (
            {"items__csv": "item_id,tag\na,\nb,\n", "dataset__toml": TOML + 'modalities = {t = {columns = ["tag"]}}'},
            r"shop: modality 't': the columns tag have no values",
        ),
        ({"dataset__toml": TOML + 'modalities = { v = "v.npy" }'}, r"there is no file .*v.npy$"),
        ({"v__npy": "text"}, r"v.npy is not a readable .npy matrix: "),
        ({"v__npy": np.ones((5, 2), np.float16)}, r"v.npy must have 2 rows, one per item, got shape \[5, 2\]"),
        ({"v__npy": np.array([[1, 2], [np.inf, 0]])}, r"v.npy holds NaN or infinity, first in row 2"),
        ({"v__npy": np.ones((2, 2), int)}, r"v.npy must hold floats"),
        ({"interactions__csv": LOG.replace("30", "so")}, r"'timestamp': 'so' in row 1 \(line 2 .* is neither"),
        ({"interactions__csv": "user_id,item_id,timestamp\n1,2,1650812741436\n1,2,1650812741\n"},
         r"1650812741 in row 2 .* looks like seconds and 1650812741436 in row 1 .*like milliseconds; .*--time-unit"),
        ({"interactions__csv": LOG.replace("30", "inf")}, r"'timestamp': inf in row 1 .* is no time"),
        ({"interactions__csv": LOG.replace(",0\n", ",2\n")}, r"'click' must hold 0 and 1, found 2 in row 2 "),
        ({"interactions__csv": LOG.replace(",0\n", ",no\n")}, r"'click' must hold numbers, found 'no' .* in row 2 "),
        ({"interactions__csv": LOG.replace("click", "bought").replace(",0\n", ",7\n")}, r"'bought': 7 in row 2.*, 1\]"),
        ({"interactions__csv": "user_id,item_id\n1.5,2\n"}, r"'user_id' cannot be an id.* fractions such as 1.5"),
        (
            {"dataset__toml": 'interactions = { user = ["user_id", "item_id"], item = "item_id" }',
             "interactions__csv": "user_id,item_id\na|b,c\n"},
            r"column 'user_id' holds \"\|\", which joins the ids of user_id, item_id",
        ),
    ],
)  # fmt: skip
def test_a_wrong_folder_ends_in_one_clear_line(shop, files, message):
    with pytest.raises(ValueError, match=message) as error:
        read(shop(**files))
    assert "\n" not in str(error.value)


def test_lists_cannot_be_ids(shop):
    pl.DataFrame({"user_id": [[1], [2]], "item_id": [1, 2]}).write_parquet(shop() / "interactions.parquet")
    with pytest.raises(ValueError, match=r"column 'user_id' cannot be an id, it holds List"):
        read(shop())


def test_a_missing_path_an_empty_folder_and_another_kind_of_file_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file or folder .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no interactions.parquet or interactions.csv; found nothing"):
        read(tmp_path)
    (tmp_path / "clicks.xlsx").write_bytes(b"\x80\x04x")
    with pytest.raises(ValueError, match=r"found clicks.xlsx; rename the table of clicks"):
        read(tmp_path)
    with pytest.raises(
        ValueError, match=r"clicks.xlsx is a pickle, no table of text or Parquet; pickles are never opened"
    ):
        read(tmp_path / "clicks.xlsx")


def test_nothing_is_ever_unpickled(shop, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = shop()
    np.save(path / "v.npy", np.array([[Bomb()], [Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"v.npy is not a readable .npy matrix"):
        read(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("names", ["train dev Test", "0 1 2", "0.0 1.0 2.0"])
def test_a_split_of_the_source_is_read_by_its_usual_names(shop, names):
    train, valid, test = names.split()
    log = f"user_id,item_id,timestamp,split\n1,5,30,{test}\n1,6,10,{train}\n2,5,20,{valid}\n2,6,5,\n"
    roles = '[interactions]\nuser = "user_id"\nitem = "item_id"\ntime = "timestamp"\nsplit = "split"\n'
    path = shop(interactions__csv=log, dataset__toml=roles)
    assert log_of(path).part.tolist() == [-1, 0, 1, 2]
    assert "(column split): 1 train, 1 valid, 1 test rows and 1 row in no part." in notes_of(path)


def test_another_word_in_a_split_is_named(shop):
    log = "user_id,item_id,timestamp,fold\n1,5,30,train\n1,6,10,holdout\n"
    path = shop(interactions__csv=log)
    with pytest.raises(ValueError, match="column 'fold' must hold train, valid and test.*found 'holdout' in row 2"):
        read(path, roles={"split": "fold"})
    shop(interactions__csv=log.replace("1,5,30,train\n", "1,5,30,train\n,5,30,train\n"))
    with pytest.raises(ValueError, match=r"in row 2 .*\(1 row was set aside before and not counted here\)"):
        read(path, roles={"split": "fold"})
    with pytest.raises(ValueError, match=r"no column 'fould' \(for split\).*did you mean fold"):
        read(path, roles={"split": "fould"})


# --- rows that are history alone, and several labels of one row ----------------------------------------------------

USE = (
    "user_id,item_id,timestamp,click,liked,shown\n"
    "1,5,10,1,0,0\n1,6,20,1,1,0\n2,5,30,0,0,1\n2,6,40,1,1,1\n1,6,50,0,0,1\n"
)


@pytest.mark.parametrize(
    "use", ['"shown"', '{ from = "1970-01-01T00:00:30Z" }', '"1970-01-01T00:00:30Z.."', "{ from = 30, until = 100 }"]
)
def test_rows_may_be_history_alone(shop, use):
    roles = '[interactions]\nuser = "user_id"\nitem = "item_id"\ntime = "timestamp"\nclick = "click"\ntime_unit = "s"\n'
    path = shop(interactions__csv=USE, dataset__toml=f"{roles}use = {use}\n")
    log = log_of(path)
    assert log.scored.tolist() == [False, False, True, True, True]
    assert log.samples().tolist() == [2, 3, 4] and log.history_alone().tolist() == [0, 1]
    assert log.clicks().tolist() == [0, 1, 3]
    assert "2 rows are history alone (use)" in notes_of(path)
    assert "They have 2 of the 3 clicks, and most slices of equal counts (slices.count)." in notes_of(path)


def test_what_use_cannot_be_is_one_line(shop):
    roles = '[interactions]\nuser = "user_id"\nitem = "item_id"\ntime = "timestamp"\n'
    for use, message in (
        ("{ form = 3 }", "use is a column, or a span"),
        ('".."', "use is a column, or a span"),
        ('"click_at"', "no column 'click_at'"),
        ('"user_id"', "column 'user_id' must hold 0 and 1"),
        ('{ from = "2030-01-01" }', "no row is to be trained on or scored"),
        ('{ from = "soon" }', "interactions.use.from"),
    ):
        with pytest.raises(ValueError, match=message):
            read(shop(interactions__csv=USE, dataset__toml=f"{roles}use = {use}\n"))


def test_flags_of_a_row_are_behaviour_types_by_their_combinations(shop):
    roles = '[interactions]\nuser = "user_id"\nitem = "item_id"\ntime = "timestamp"\nclick = "liked"\n'
    path = shop(interactions__csv=USE, dataset__toml=roles + 'type = ["click", "liked"]\n')
    log = log_of(path)
    assert log.type.tolist() == [1, 2, 0, 2, 0] and log.num_types == 3 and log.label.tolist() == [0, 1, 0, 1, 0]
    assert "combination of click, liked: none 2, click 1, click+liked 2." in notes_of(path)


def test_an_import_takes_use_and_types(shop, tmp_path, hyperctr):
    path = shop(interactions__csv=USE)
    code, _, _ = hyperctr("data", "import", path, "--use", "shown", "--type", "click,liked", "--out", tmp_path / "out")
    log = log_of(tmp_path / "out")
    assert code == 0 and log.scored.sum() == 3 and log.num_types == 3


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def made():
    """A data set made in memory: 3 users, 2 items, one of them without its modality."""
    log = Interactions(
        user=[2, 0, 2], item=[1, 0, 1], time=[5, 6, 7], label=[1, 0, 1], num_users=3, num_items=2,
        conversion=[0.5, np.nan, 1], length=[30, 2.5, np.nan], type=[1, 0, 2], part=[0, -1, 2], scored=[1, 0, 1],
        context={"tab": [1, 0, 2], "hour": [0, 2, 1]},
    )  # fmt: skip
    items = Items(
        2, ids=np.array(["x", "y"]), fields={"genre": np.array([1, 2])},
        modalities={"visual": np.array([[1, 2], [3, 4]], np.float16)}, present={"visual": np.array([True, False])},
        titles=np.array(["Ex", "Why"]),
    )  # fmt: skip
    users = Users(3, ids=np.array([10, 5, 7]), fields={"age": np.array([0, 2, 1])})
    return Dataset("made", log, items, users, ("Made up.",))


@pytest.mark.parametrize("changed", [{}, {"has_time": False}, {"logged_non_clicks": False}])
def test_what_is_written_reads_back(made, tmp_path, changed):
    log = Interactions(**{**vars(made.interactions), **changed})
    path = write_folder(replace(made, interactions=log), tmp_path / "new" / "made")
    data = read(path)
    assert data.notes[0] == "Made up."
    for name, value in vars(log).items():
        found = getattr(data.interactions, name)
        if name == "context":
            found, value = ({key: x.codes.tolist() for key, x in columns.items()} for columns in (found, value))
        np.testing.assert_array_equal(found, value, err_msg=name)
    assert data.name == "made"
    assert data.items.ids.tolist() == ["x", "y"] and data.users.ids.tolist() == [10, 5, 7]
    assert data.items.titles.tolist() == ["Ex", "Why"]
    assert data.items.fields["genre"].codes.tolist() == [1, 2] and data.users.fields["age"].codes.tolist() == [0, 2, 1]
    assert data.items.modalities["visual"].tolist() == [[1, 2], [0, 0]]
    assert data.items.modalities["visual"].dtype == np.float16
    assert data.items.present["visual"].tolist() == [True, False]
    assert made.items.modalities["visual"].tolist() == [[1, 2], [3, 4]]


def test_a_conversion_may_be_the_share_of_a_whole(tmp_path):
    table = {"user_id": [1, 1, 2, 2, 2], "item_id": [3, 4, 3, 4, 3], "timestamp": [1, 2, 3, 4, 5],
             "is_click": [1, 0, 1, 1, 1], "played": [20, 0, 90, None, 5], "long": [40, 50, 60, 70, 0]}  # fmt: skip
    pl.DataFrame(table).write_parquet(tmp_path / "interactions.parquet")
    data = read(tmp_path, roles={"conversion": "played / long", "length": "long"})
    np.testing.assert_allclose(data.interactions.conversion, [0.5, 0, 1, np.nan, np.nan])
    np.testing.assert_array_equal(data.interactions.length, [40, 50, 60, 70, np.nan])
    assert "A conversion is played / long; 1 row above 1 is 1." in data.notes
    with pytest.raises(ValueError, match=r"no column 'longer' \(for conversion\).*did you mean long"):
        read(tmp_path, roles={"conversion": "played/longer"})
    with pytest.raises(ValueError, match=r"column 'played'.*: 20 in row 1 .* is not within \[0, 1\]"):
        read(tmp_path, roles={"conversion": "played"})


def test_extra_columns_play_no_role(made, tmp_path):
    path = write_folder(made, tmp_path / "w", extra_interactions={"truth": np.array([0.1, 0.2, 0.3])})
    assert pl.read_parquet(path / "interactions.parquet")["truth"].to_list() == [0.1, 0.2, 0.3]
    assert len(read(path).interactions) == 3
    with pytest.raises(ValueError, match="extra column 'click' has the name of a written one"):
        write_folder(made, tmp_path / "w", extra_interactions={"click": np.zeros(3)})


def test_only_a_folder_that_was_written_here_is_replaced(made, tmp_path):
    path = write_folder(made, tmp_path / "w")
    write_folder(made, path)
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is already there and contains thesis.txt, which was not written by hyperctr"):
        write_folder(made, path)
    other = tmp_path / "other"
    other.mkdir()
    write_folder(made, other)  # an empty folder is nobody's
    (other / "dataset.toml").write_text("name = 'by hand'")
    with pytest.raises(ValueError, match="is already there and was not written by hyperctr; choose another folder"):
        write_folder(made, other)
    with pytest.raises(ValueError, match="is already there and is no folder"):
        write_folder(made, path / "thesis.txt")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ValueError, match="is already there and is a link"):
        write_folder(made, tmp_path / "link")


def test_a_failed_write_leaves_the_old_folder_and_nothing_else(made, tmp_path, monkeypatch):
    path = write_folder(made, tmp_path / "w")
    before = {file.name: file.read_bytes() for file in path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for fails in ("numpy.save", "pathlib.Path.write_text"):
        with monkeypatch.context() as patched:
            patched.setattr(fails, full)
            with pytest.raises(ValueError, match=r"cannot write .*w: No space left on device"):
                write_folder(made, path)
    rename = type(path).rename

    def second_fails(self, target):
        return full() if self.name.endswith(".part") else rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", second_fails)
        with pytest.raises(ValueError, match="No space left"):
            write_folder(made, path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["w"]


def test_a_folder_that_cannot_be_written_is_said(made, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"cannot write .*file/sub/w: "):
        write_folder(made, tmp_path / "file" / "sub" / "w")


def test_an_import_keeps_every_column_and_spells_the_roles_out(shop, tmp_path):
    source = shop(
        interactions__csv="who,sku,when,stars,shop\n1,007,2020-01-01,5,north\n2,7,2020-01-02,2,\n",
        items__csv="sku,genres\n007,x|y\n7,y\n",
        visual__npy=np.ones((2, 3), np.float32),
    )
    stated = {"user": "who", "item": "sku", "time": "when", "click": "stars", "click_at_least": 3}
    import_log(source, tmp_path / "out", stated)
    data = read(tmp_path / "out")
    assert data.interactions.label.tolist() == [1, 0] and not data.interactions.logged_non_clicks
    assert data.items.ids.tolist() == ["007", "7"] and "visual" in data.items.modalities
    assert not any("guessed" in note for note in data.notes)
    kept = pl.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert kept.columns == ["who", "sku", "when", "stars", "shop"]
    with pytest.raises(ValueError, match="is the folder to import; choose another one to write"):
        import_log(source, source)
    with pytest.raises(ValueError, match=r"no column 'hwo' \(for user\); .*did you mean who\?"):
        import_log(source, tmp_path / "out", {**stated, "user": "hwo"})


def test_an_import_takes_tables_fields_context_and_matrices_from_anywhere(shop, tmp_path):
    log = "user_id,item_id,timestamp,click,tab,price\n7,b,30,1,x,2\n5,a,10,0,y,3\n7,a,20,1,x,4\n"
    source = shop(interactions__csv=log, goods__csv=ITEMS.replace("genres", "kind"), people__csv=USERS)
    np.save(source / "m.npy", np.ones((3, 2), np.float32))
    data = import_log(
        source / "interactions.csv", tmp_path / "out", {"context": ["tab"]},
        source / "goods.csv", source / "people.csv", ["kind", "gender"], {"looks": source / "m.npy"},
    )  # fmt: skip
    for dataset in (data, read(tmp_path / "out")):
        assert list(dataset.interactions.context) == ["tab"]
        assert list(dataset.items.fields) == ["kind"] and list(dataset.users.fields) == ["gender"]
        assert list(dataset.items.modalities) == ["looks"]
        assert any(note.startswith("Unused columns of interactions: price. The role context") for note in dataset.notes)
    with pytest.raises(ValueError, match="no field 'size' of either items or users alone; found items: item_id"):
        import_log(source / "interactions.csv", tmp_path / "out", {}, source / "goods.csv", fields=["size"])
    with pytest.raises(ValueError, match="m.npy must have 2 rows, one per item, got shape"):
        import_log(source / "interactions.csv", tmp_path / "new", {}, modalities={"looks": source / "m.npy"})
    assert not (tmp_path / "new").exists()


def test_an_import_states_and_guesses_kinds(shop, tmp_path):
    log = "user_id,item_id,timestamp,click,tab,price\n7,b,30,1,x,2.5\n5,a,10,0,y,3\n7,a,20,1,x,4\n"
    items = "item_id,genres\nb,x|y\na,y|z\nc,z|x\nd,x\n"
    source = shop(interactions__csv=log, items__csv=items, users__csv="user_id,age\n5,20\n7,31\n")
    stated = {"age": "number", "price": {"kind": "bucket", "quantiles": 2, "of": "moment"}}
    data = import_log(source, tmp_path / "out", {"context": ["tab", "price"]}, fields=["genres", "age"], kinds=stated)
    for dataset in (data, read(tmp_path / "out")):
        kinds = dataset.interactions.context | dataset.items.fields | dataset.users.fields
        assert {name: str(column.kind) for name, column in kinds.items()} == {
            "tab": "category", "price": 'bucket, quantiles=2, of="moment"', "genres": "tags", "age": "number",
        }  # fmt: skip
    assert any(note.startswith("Kinds guessed by content") and 'genres = "tags"' in note for note in data.notes)
    for kinds, message in [
        ({"agee": "number"}, "no column 'agee' to give a kind: no table has it; did you mean age"),
        ({"age": "numbr"}, 'users.fields.age: no kind "numbr", did you mean number'),
    ]:
        with pytest.raises(ValueError, match=message):
            import_log(source, tmp_path / "other", {}, fields=["genres", "age"], kinds=kinds)
    assert not (tmp_path / "other").exists()


def test_columns_without_a_role_are_named(shop):
    path = shop(
        interactions__csv="user_id,item_id,timestamp,click,price\n7,b,30,1,2\n5,a,10,0,3\n",
        items__csv=ITEMS.replace("genres", "size"),
    )
    assert "Unused columns of interactions: price. The role context, or --context of data import, reads them." in (
        read(path).notes
    )
    assert "Unused columns of items: size. The role fields, or --fields of data import, reads them." in read(path).notes


@pytest.mark.parametrize(
    ("labels", "roles", "message"),
    [
        ("0 0", {}, r"'click': no row is a click \(1\); name another column"),
        ("2 3", {"click": "click", "click_at_least": 4}, r"no row is a click \(4 or more\)"),
        (
            "1 1",
            {"click": "click", "non_clicks": "logged"},
            "every row is a click, but .*negatives are drawn",
        ),
        ("1 0", {"click": "click", "click_at_least": float("nan")}, "click_at_least must be a finite number, got nan"),
    ],
)
def test_labels_that_no_model_can_learn_are_refused_with_their_cause(shop, tmp_path, labels, roles, message):
    rows = "\n".join(f"{k},{k},{k},{x}" for k, x in enumerate(labels.split()))
    path = shop(interactions__csv=f"user,item,time,click\n{rows}\n")
    with pytest.raises(ValueError, match=message):
        import_log(path, tmp_path / "out", roles)
    assert not (tmp_path / "out").exists()


def test_float32_ratings_are_compared_as_float32(tmp_path):
    for kind in (pl.Float32, pl.Float64):
        table = pl.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "rating": pl.Series([4.1, 4.0, 4.2], dtype=kind)})
        table.write_parquet(tmp_path / "log.parquet")
        roles = {"click": "rating", "click_at_least": 4.1}
        assert read(tmp_path / "log.parquet", roles=roles).interactions.label.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("kind", "most", "message"),
    [
        (pl.Float32, 2**24 - 1, ""),
        (pl.Float32, 2**24, r"'user' cannot be an id: 16777216.0 in row 2 .* Float32 tells them apart below 2\^24"),
        (pl.Float64, 2**53 - 1, ""),
        (pl.Float64, 2**53, r"as Float64 tells them apart below 2\^53 only; write whole numbers or text"),
        (pl.Float64, float("inf"), "may stand for several"),
        (pl.Float64, 1.5, "holds fractions such as 1.5"),
    ],
)
def test_floats_are_ids_only_where_each_is_one_whole_number(tmp_path, kind, most, message):
    pl.DataFrame({"user": pl.Series([1, most], dtype=kind), "item": [1, 2]}).write_parquet(tmp_path / "log.parquet")
    if not message:
        assert read(tmp_path / "log.parquet").users.ids.tolist() == [1, most]
    else:
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "log.parquet")


def test_decimals_of_an_order_stay_apart(tmp_path):
    table = pl.DataFrame({"user": [1, 1, 1], "item": [1, 2, 3], "position": [0.5, 0.25, 0.75]})
    table.write_parquet(tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet").interactions.item.tolist() == [1, 0, 2]
    assert read(tmp_path / "log.parquet").interactions.time.tolist() == [0, 1, 2]


def test_stated_roles_replace_those_of_the_folder(shop):
    path = shop(
        interactions__csv="user_id,item_id,timestamp,position,rating,liked\n1,1,1,2,5,0\n1,2,2,1,1,1\n",
        dataset__toml="""
            [interactions]
            user = "user_id"
            item = "item_id"
            time = "timestamp"
            click = "rating"
            click_at_least = 4
            non_clicks = "unobserved"
        """,
    )
    log = log_of(path, roles={"click": "liked"})
    assert log.label.tolist() == [0, 1] and log.logged_non_clicks and log.has_time
    log = log_of(path, roles={"order": "position"})
    assert log.item.tolist() == [1, 0] and not log.has_time
