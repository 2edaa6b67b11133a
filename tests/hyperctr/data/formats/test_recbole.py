import numpy as np
import pytest

from .conftest import kinds, note, rows

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
LOG = INTER + "u1\t07\t5\t964982703\nu1\t8\t3\t964982224\nu2\t07\t4\t964982931\n"
ITEM = "item_id:token\ttitle:token_seq\tclass:token_seq\temb:float_seq\n07\tToy Story\tA B\t1 2\n8\tHeat\tB\t\n"


def test_typed_headers_give_columns_vectors_and_guessed_roles(imported):
    files = {"toy/toy.inter": LOG, "toy/toy.item": ITEM, "toy/toy.user": "user_id:token\tage:token\nu1\t25\nu2\t\n"}
    data, table = imported("recbole", files)
    assert rows(data) == [("u1", "8", 0), ("u1", "07", 1), ("u2", "07", 1)]
    assert str(table["timestamp"].dtype) == "Int64"
    assert data.items.titles.tolist() == ["Toy Story", "Heat"]
    assert data.items.modalities["emb"].tolist() == [[1, 2], [0, 0]]
    assert kinds(data.items) == {"class": "tags"} and kinds(data.users) == {"age": "category"}
    assert data.items.fields["class"].start.tolist() == [0, 2, 3]
    assert data.users.fields["age"].codes.tolist() == [1, 0] and "Roles guessed" in note(data)


@pytest.mark.parametrize("form", ["benchmark files", "x_label"])
def test_a_split_of_the_source_is_kept(imported, form):
    if form == "x_label":
        head = "userID:token\titemID:token\ttimestamp:float\tx_label:float\n"
        files = {"b.inter": head + "1\t5\t10\t0\n1\t6\t20\t1\n2\t5\t30\t2\n"}
    else:
        head = "user_id:token\titem_id:token\ttimestamp:float\n"
        files = {
            "b.train.inter": head + "1\t5\t10\n",
            "b.valid.inter": head + "1\t6\t20\n",
            "b.test.inter": head + "2\t5\t30\n",
        }
    data, _ = imported("recbole", files)
    assert rows(data) == [(1, 5, 1), (1, 6, 1), (2, 5, 1)] and data.interactions.part.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.inter": "user_id\titem_id:token\n1\t2\n"}, "header cell 'user_id' is not name:type with a type of token"),
        ({"a.inter": "user_id:token\titem_id:token\tt:float\n1\t2\tx\n"}, "'x' in float column t is no number"),
        ({"a.inter": LOG, "b.inter": LOG}, "several sets: a, b"),
        ({"a.item": ITEM}, "no .inter file"),
        ({"a.inter": LOG, "a.item": ITEM + "9\tX\tB\t1 2 3\n"}, "float_seq column emb needs equally many numbers"),
        ({"a.inter": "x:token\titem_id:token\n1\t2\n"}, "no column can be the user"),
    ],
)
def test_another_layout_is_named(imported, files, message):
    with pytest.raises(ValueError, match=message):
        imported("recbole", files)


def test_a_file_of_the_set_may_be_given(imported):
    assert np.array_equal(imported("recbole", {"a.inter": LOG}, path="a.inter")[0].interactions.label, [0, 1, 1])
