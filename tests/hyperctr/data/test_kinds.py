"""Kinds as dataset.toml states them, and as they are guessed by content."""

import polars as pl
import pytest

from hyperctr.data.kinds import Kind, guess, likely, line, parse_stated
from hyperctr.data.opened import open_tables
from hyperctr.data.read import read


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("tags", Kind("tags")),
        ({"kind": "category", "min_count": 5}, Kind("category", min_count=5)),
        ({"kind": "number", "log": True, "embedding": "periodic"}, Kind("number", log=True, embedding="periodic")),
        ({"kind": "bucket", "boundaries": [18, 25.5]}, Kind("bucket", boundaries=(18.0, 25.5))),
        ({"kind": "hash", "buckets": 100, "of": "moment"}, Kind("hash", buckets=100, of="moment")),
    ],
)
def test_what_is_stated_is_read_and_written_back(value, kind):
    assert Kind.parse("x", value, context=True) == kind
    assert Kind.parse("x", kind.stated(), context=True) == kind
    assert parse_stated(f"x={line('', kind).removeprefix(' = ')}") == ("x", kind.stated())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tag", 'items.fields.x: no kind "tag", did you mean tags'),
        (3, 'items.fields.x must be a kind such as "number"'),
        ({"log": True}, "must be a kind such as"),
        ({"kind": "number", "knot": 3}, "number has no option knot, did you mean knots"),
        ({"kind": "number", "knots": 1}, "x.knots must be at least 2, got 1"),
        ({"kind": "number", "log": "yes"}, 'x.log must be true or false, got "yes"'),
        ({"kind": "category", "of": "moment"}, "category has no option of .*of is for context"),
        ({"kind": "category", "min_count": 0}, "min_count must be at least 1"),
        ({"kind": "bucket", "boundaries": [3, 2]}, "boundaries must be ascending numbers"),
        ({"kind": "hash"}, "buckets must be stated for a hash, at least 1, got 0"),
        ({"kind": "tags", "separator": ""}, "separator must be at least one character"),
    ],
)
def test_a_wrong_kind_is_one_line(value, message):
    with pytest.raises(ValueError, match=message):
        Kind.parse("items.fields.x", value)


@pytest.mark.parametrize("text", ["genres", "=tags", "genres=", 'price={kind="number"'])
def test_a_wrong_option_is_one_line(text):
    with pytest.raises(ValueError, match="--kind"):
        parse_stated(text)


LONG = ["a film about a small boat at sea", "two friends lose a dog in the rain", "the last train out of a cold town"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a|b", "b|c", "c", "a"], Kind("tags")),
        (["a;b", "b;c", "c;a", "a;c;b"], Kind("tags", separator=";")),
        (["1,2", "2,3", "3", "1"], Kind("tags", separator=",")),
        ([["a"], ["b", "a"]], Kind("tags")),
        ([[1], [2]], Kind("tags")),
        ([[0.5, 1.0], [1.0, 2.0]], Kind("vector")),
        ([0.5, 1.0], Kind("number")),
        ([1.0, None, 3.0], Kind()),
        ([1, 2, 3], Kind()),
        ([True, False], Kind()),
        (LONG, Kind("text")),
        (["Smith, J", "Doe, A", "Roe, B"], Kind()),
        (["a", "b", ""], Kind()),
        ([None, None], Kind()),
    ],
)
def test_kinds_are_guessed_by_content(values, kind):
    assert guess(pl.Series("x", values)) == kind


def test_a_plain_list_is_told_what_is_likely():
    assert likely("genres", pl.Series(["a|b", "b|c", "c", "a"])) == 'genres looks like tags: genres = "tags"'
    assert likely("age", pl.Series([3, 4])) == ""


@pytest.fixture
def folder(tmp_path):
    """A folder of text files without a dataset.toml."""
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp,tab\n1,5,30,a\n1,6,10,b\n")
    (tmp_path / "items.csv").write_text("item_id,genre,cost\n5,a|b,0.5\n6,b|c,1.25\n7,c|a,3\n8,a|b|c,2\n")
    return tmp_path


def test_a_folder_without_roles_has_guessed_kinds_and_says_so(folder):
    data = read(folder)
    assert data.items.fields["genre"].kind == Kind("tags")
    assert 'Kinds guessed by content: genre = "tags". [items.fields] of dataset.toml, or --kind' in " ".join(data.notes)


def test_stated_kinds_replace_guesses_and_give_columns_a_role(folder):
    kinds = {"genre": "category", "cost": {"kind": "number", "log": True}, "tab": {"kind": "category", "of": "moment"}}
    roles = open_tables(folder, kinds=kinds).roles
    assert roles["items"]["fields"] == {"genre": "category", "cost": {"kind": "number", "log": True}}
    assert roles["interactions"]["context"] == {"tab": {"kind": "category", "of": "moment"}}
    with pytest.raises(ValueError, match="no column 'genr' to give a kind: no table has it; did you mean genre"):
        open_tables(folder, kinds={"genr": "tags"})
    with pytest.raises(ValueError, match="no column 'item_id' to give a kind: several tables have it"):
        open_tables(folder, kinds={"item_id": "hash"})


def test_fields_that_are_asked_for_say_which_others_they_replace(folder):
    said = "The fields asked for take the place of those found before: genre not read."
    opened = open_tables(folder, fields=["cost"])
    assert [*opened.roles["items"]["fields"]] == ["cost"] and said in opened.notes
    assert not any(note.startswith(said[:30]) for note in open_tables(folder, fields=["cost", "genre"]).notes)


def test_a_list_keeps_its_codes_and_says_what_is_likely(folder):
    (folder / "dataset.toml").write_text(
        '[interactions]\nuser = "user_id"\nitem = "item_id"\ntime = "timestamp"\ncontext = ["tab"]\n'
        '[items]\nfields = ["genre", "cost"]\n'
    )
    data = read(folder)
    assert data.items.fields["genre"].codes.tolist() == [1, 3, 4, 2]
    notes = " ".join(data.notes)
    assert (
        'genre looks like tags: genre = "tags"; cost looks like number: cost = "number" under [items.fields]' in notes
    )
    assert "Context that is not read, as negatives have to be drawn: tab." in notes


def test_an_import_writes_the_kinds(folder, hyperctr):
    out = folder / "out"
    code, _, _ = hyperctr(
        "data", "import", folder, "--kind", 'cost={kind="number", log=true}', "--kind", "tab=category", "--out", out
    )
    data = read(out)
    assert code == 0 and data.items.fields["cost"].kind == Kind("number", log=True)
    assert data.items.fields["genre"].kind == Kind("tags") and data.interactions.context["tab"].kind == Kind()
    code, _, said = hyperctr("data", "import", folder, "--user", "nobody", "--out", out)
    assert code == 2 and f"note: {out} is replaced if the import succeeds, with all that it holds: dataset.toml" in said
    code, _, said = hyperctr("data", "import", folder, "--kind", "cost=numbr", "--out", folder / "no")
    assert code == 2 and "no kind" in said and "did you mean number" in said and not (folder / "no").exists()


def test_infinite_numbers_count_as_missing_and_are_said(folder):
    (folder / "items.csv").write_text("item_id,genre,cost\n5,a,0.5\n6,b,inf\n")
    data = read(folder)
    opened = open_tables(folder, kinds={"cost": "number"})
    assert opened.roles["items"]["fields"]["cost"] == "number" and "cost" not in data.items.fields
    (folder / "dataset.toml").write_text(
        '[interactions]\nuser = "user_id"\nitem = "item_id"\ntime = "timestamp"\n[items.fields]\ncost = "number"\n'
    )
    data = read(folder)
    assert data.items.fields["cost"].missing.tolist() == [False, True]
    assert "1 row with an infinite cost counts as missing." in data.notes
