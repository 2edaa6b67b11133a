import tomllib

import pytest

from hyperctr.data.roles import columns_of, guess, missing_column, parse, read_toml, to_toml

LOG = {"user": "u", "item": "i"}
FULL = """
name = "shop \\"one\\" é"
note = "Ours."
[interactions]
user = ["shop", "customer"]
item = "sku"
time = "when"
click = "stars"
click_at_least = 3.5
non_clicks = "unobserved"
conversion = "bought"
type = "kind"
context = ["tab", "hour of day"]
[items]
id = "sku"
title = "label"
fields = ["genres"]
[users]
fields = []
[modalities]
visual = "visual.npy"
tags = { columns = ["tag", "author"], dim = 8 }
text = { columns = ["label"], text = true }
"""


def test_a_single_column_becomes_a_list_of_one():
    roles = parse({"interactions": {"user": "u", "item": ["a", "b"]}, "items": {"id": "i"}}, "x")
    assert roles["interactions"] == {"user": ["u"], "item": ["a", "b"]}
    assert roles["items"] == {"id": ["i"]}


def test_what_is_written_reads_back(tmp_path):
    roles = parse(tomllib.loads(FULL), "x")
    (tmp_path / "dataset.toml").write_text(to_toml(roles), encoding="utf-8")
    assert read_toml(tmp_path / "dataset.toml") == roles


@pytest.mark.parametrize("name", ['"', "\\", "a\nb", "\x7f", "\x01", "😀", "a.b", ""])
def test_odd_names_are_quoted(name):
    roles = parse({"interactions": {"user": name or "u", "item": "i", "context": [name]}}, "x")
    assert tomllib.loads(to_toml(roles)) == roles


def test_parsing_leaves_the_given_tables_alone():
    given = tomllib.loads(FULL)
    parse(given, "x")
    assert given == tomllib.loads(FULL)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"interactions": LOG, "modality": {}}, r"x: unknown key modality, did you mean modalities\?"),
        ({"interactions": {**LOG, "clik": "c"}}, r"unknown key interactions.clik, did you mean interactions.click\?"),
        ({"interactions": LOG, "items": {"feilds": []}}, r"unknown key items.feilds, did you mean items.fields\?"),
        ({"interactions": LOG, "modalities": {"v": {"column": ["a"]}}}, "did you mean modalities.v.columns"),
        ({"interactions": {"user": "u"}}, "must name the column of the item, e.g. item = \"item_id\""),
        ({}, "must name the column of the user"),
        ({"interactions": {"user": 3, "item": "i"}}, "user must be text in quotes or a list, each text .*, got 3"),
        ({"interactions": {"user": ["a", 3], "item": "i"}}, r'user must be text .*, got \["a", 3\]'),
        ({"interactions": {**LOG, "click": "c", "click_at_least": True}}, "click_at_least must be a number, got true"),
        ({"interactions": {**LOG, "context": "tab"}}, 'context must be a list, each .* or a table, got "tab"'),
        ({"interactions": "u"}, "interactions must be a table"),
        ({"interactions": {**LOG, "time": "t", "order": "o"}}, "names both time and order"),
        ({"interactions": {**LOG, "order": True}}, "order is a column, or false .*, got true"),
        ({"interactions": {**LOG, "order": 3}}, "order must be text in quotes or true or false, got 3"),
        ({"interactions": {**LOG, "click": "c", "non_clicks": "no"}}, 'one of "logged", "unobserved", got "no"'),
        ({"interactions": {**LOG, "click_at_least": 4}}, "need a click column"),
        ({"interactions": {**LOG, "non_clicks": "logged"}}, "need a click column"),
        ({"interactions": LOG, "modalities": {"v": "/etc/v.npy"}}, "'v' must be a .npy file inside the folder"),
        ({"interactions": LOG, "modalities": {"v": "../v.npy"}}, "'v' must be a .npy file inside the folder"),
        ({"interactions": LOG, "modalities": {"v": 3}}, "'v' must be a .npy file inside the folder"),
        ({"interactions": LOG, "modalities": {"a/b": "v.npy"}}, "a modality name is letters, digits"),
        ({"interactions": LOG, "modalities": {"v": {"columns": []}}}, "'v' needs columns and a dim of 1 or more"),
        ({"interactions": LOG, "modalities": {"v": {"columns": ["a"], "dim": 0}}}, "'v' needs columns and a dim"),
    ],
)  # fmt: skip
def test_wrong_roles_are_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        parse(tables, "x")


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "dataset.toml").write_text("name =")
    with pytest.raises(ValueError, match=r"dataset.toml is not TOML"):
        read_toml(tmp_path / "dataset.toml")
    (tmp_path / "dataset.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ValueError, match=r"dataset.toml is not TOML"):
        read_toml(tmp_path / "dataset.toml")
    with pytest.raises(ValueError, match=r"cannot read .*dataset.toml: Is a directory"):
        (tmp_path / "d" / "dataset.toml").mkdir(parents=True)
        read_toml(tmp_path / "d" / "dataset.toml")


def test_usual_names_are_guessed_and_said():
    roles, said = guess(
        ["UserID", "movie_id", "ts", "position", "rating", "purchase"],
        ["movie_id", "title", "genres", "budget"],
        ["userid", "age", "shoe"],
        "x.csv",
    )
    assert roles == {
        "interactions": {
            "user": ["UserID"],
            "item": ["movie_id"],
            "time": "ts",
            "click": "rating",
            "click_at_least": 4,
            "non_clicks": "unobserved",
            "conversion": "purchase",
        },
        "items": {"fields": ["genres"], "title": "title"},
        "users": {"fields": ["age"]},
    }
    for part in (
        "user = UserID",
        "item = movie_id",
        "time = ts",
        "click_at_least = 4",
        "title = title",
        "fields = age",
    ):
        assert part in said


def test_a_click_column_goes_before_ratings_and_times_before_an_order():
    log = guess(["user", "item", "position", "label", "rating"], [], [], "x")[0]["interactions"]
    assert log == {"user": ["user"], "item": ["item"], "order": "position", "click": "label"}


def test_what_is_stated_is_not_guessed():
    roles, said = guess(["who", "item", "ts", "click"], [], [], "x", {"user": ["who"]})
    assert roles["interactions"] == {"user": ["who"], "item": ["item"], "time": "ts", "click": "click"}
    assert "who" not in said


def test_a_table_without_users_names_what_it_has():
    with pytest.raises(ValueError, match=r"x.csv: no column can be the user: looked for user_id.* found label, I1, I2"):
        guess(["label", "I1", "I2"], [], [], "x.csv")
    with pytest.raises(ValueError, match=r"no column can be the item: .*and 90 more; name it with"):
        guess(["user", *(f"c{k}" for k in range(101))], [], [], "x.csv")


def test_every_column_asked_for_is_listed():
    asked = columns_of(parse(tomllib.loads(FULL), "x"))
    assert [column for _, column in asked["interactions"]] == [
        "shop", "customer", "sku", "when", "stars", "bought", "kind", "tab", "hour of day",
    ]  # fmt: skip
    assert asked["items"] == [
        ("id", "sku"), ("title", "label"), ("field", "genres"),
        ("modality tags", "tag"), ("modality tags", "author"), ("modality text", "label"),
    ]  # fmt: skip
    assert asked["users"] == [("id", "shop"), ("id", "customer")]


def test_modalities_keep_their_order():
    made = {"tags": {"columns": ["tag"]}, "visual": "visual.npy", "text": {"columns": ["title"], "text": True}}
    roles = parse({"interactions": LOG, "modalities": made}, "x")
    again = parse(tomllib.loads(to_toml(roles)), "x")
    assert again == roles and list(again["modalities"]) == ["tags", "visual", "text"]
    with pytest.raises(ValueError, match="or only a file"):
        parse({"interactions": LOG, "modalities": {"v": {"file": "v.npy", "columns": ["a"]}}}, "x")


def test_odd_column_names_stay_on_one_line():
    assert missing_column("x.csv", "user", "u", ["", "a\nb", "c"]).endswith(r"found '', 'a\nb', c")
