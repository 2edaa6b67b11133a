"""What a file is, recognised before it is parsed."""

import bz2
import gzip
import io
import lzma
import zipfile

import polars as pl
import pytest

from hyperctr.data.read import read
from hyperctr.data.sniff import sniff
from hyperctr.data.tables import read_table

LOG = "user_id,item_id,timestamp,click\n7,b,30,1\n5,a,10,0\n7,a,20,1\n"
RIGHT = {"user_id": [7, 5, 7], "item_id": ["b", "a", "a"], "timestamp": [30, 10, 20], "click": [1, 0, 1]}


def table_of(tmp_path, content, name="log.csv"):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(tmp_path / name)


def gzipped(content):
    return gzip.compress(content, mtime=0)  # parts of test names: every worker must make the same bytes


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def parquet():
    made = io.BytesIO()
    pl.DataFrame(RIGHT).write_parquet(made)
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LOG, ""),
        (LOG.replace("\n", "\r\n"), ""),
        (b"\xef\xbb\xbf" + LOG.encode(), ""),
        (LOG.replace("\n", "\r"), "lines end in CR"),
        (LOG.replace(",", "\t"), "cells are separated by tabs"),
        (LOG.replace(",", ";"), 'cells are separated by ";"'),
        (LOG.replace(",", "|"), 'cells are separated by "|"'),
        (LOG.replace(",", "::"), 'cells are separated by "::"'),
        (LOG.replace(",", " "), "cells are separated by blanks"),
        (LOG.replace(",", "   "), "cells are separated by blanks"),
        (LOG.replace(",", ", "), "blanks around cells are left out"),
        (LOG.encode("utf-16"), "this is UTF-16"),
        (gzipped(LOG.encode()), "unpacked with gzip"),
        (bz2.compress(LOG.encode()), "unpacked with bz2"),
        (lzma.compress(LOG.encode()), "unpacked with xz"),
        (gzipped(LOG.replace(",", ";").encode()), 'unpacked with gzip; cells are separated by ";"'),
        (zipped(**{"clicks/log.csv": LOG}), "unpacked clicks/log.csv from the zip"),
        (parquet(), "this is Parquet"),
        (gzipped(parquet()), "unpacked with gzip"),
    ],
)
def test_one_table_in_every_dress(tmp_path, content, said):
    table = table_of(tmp_path, content)
    assert table.frame.to_dict(as_series=False) == RIGHT
    assert table.notes == ((f"log.csv: {said}.",) if said else ())


@pytest.mark.parametrize(
    ("content", "columns", "header"),
    [
        ("1::1193::5::978300760\n1::661::3::978302109\n", "column_1 column_2 column_3 column_4", False),
        ("1::Toy Story (1995)::Animation|Comedy\n2::Heat: a film, 1995::Action\n", "column_1 column_2 column_3", False),
        ("ann,book,2020-01-01\nben,film,2020-01-02\n", "column_1 column_2 column_3", False),
        ("1,2,3\n", "column_1 column_2 column_3", False),
        ("user,item,2020\n1,book,1\n2,film,0\n", "user item 2020", True),
        ("user,item\nann,book\nben,film\n", "user item", True),
        ("user_id,item_id\n", "user_id item_id", True),
        ("title\nToy Story\nHeat\n", "title", True),
        (",user,item\n0,1,2\n1,1,3\n", " user item", True),
    ],
)
def test_a_missing_header_is_seen_and_said(tmp_path, content, columns, header):
    (tmp_path / "log.dat").write_text(content)
    found = sniff(tmp_path / "log.dat")
    assert " ".join(found.columns) == columns and found.header == header
    assert ("there is no header" in " ".join(found.notes)) == (not header)


def test_columns_without_a_header_get_their_roles_by_number(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n2::661::3::978302109\n")
    roles = {"user": "column_1", "item": "column_2", "click": "column_3", "click_at_least": 4, "time": "column_4"}
    data = read(tmp_path / "ratings.dat", roles=roles)
    assert data.interactions.label.tolist() == [1, 0] and data.items.ids.tolist() == [661, 1193]
    assert data.notes[0].startswith('ratings.dat: cells are separated by "::"; there is no header')


def test_decimal_commas_are_read_where_commas_separate_nothing(tmp_path):
    table = table_of(tmp_path, "user;item;time;price;seats\n1;2;1,5;10,25;1,500\n1;3;2;7;2,250\n")
    assert table.frame["time"].to_list() == [1.5, 2] and table.frame["price"].to_list() == [10.25, 7]
    assert table.frame["seats"].to_list() == ["1,500", "2,250"]  # thousands or decimals: nobody knows
    assert "log.csv: column price has decimal commas." in table.notes


def test_text_becomes_numbers_only_where_nothing_is_lost(tmp_path):
    rows = ["007,1.0,true,,1e3,12345678901234567,+1,-0", "8,2.5,False,,5,3,2,1"]
    table = table_of(tmp_path, "\n".join(["a,b,c,d,e,f,g,h", *rows]))
    assert table.frame.row(0) == ("007", 1.0, True, None, 1000.0, 12345678901234567, 1.0, 0.0)
    assert [str(kind) for kind in table.frame.dtypes] == [
        "String", "Float64", "Boolean", "Int64", "Float64", "Int64", "Float64", "Float64"
    ]  # fmt: skip


def test_a_column_whose_blocks_differ_is_what_it_is_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperctr.data.tables.ROWS", 100)
    lines = ["a,b,c,d", *(f"{k},{k},{k},{'' if k < 3000 else k}" for k in range(4000)), "007,0.5,,5", "1,1,x,5"]
    frame = table_of(tmp_path, "\n".join(lines)).frame
    assert frame["a"][:2].to_list() == ["0", "1"] and frame["a"][-2] == "007"
    assert frame["b"].dtype == pl.Float64 and frame["b"][-2:].to_list() == [0.5, 1]
    assert frame["c"][-2:].to_list() == [None, "x"] and frame["d"].dtype == pl.Int64
    assert len(frame) == 4002
    kept = read_table(tmp_path / "log.csv", text=["b"]).frame
    assert kept["b"][-2:].to_list() == ["0.5", "1"]


def test_quotes_and_line_ends_inside_cells(tmp_path):
    frame = table_of(tmp_path, 'user,title\n1,"a, b"\n2,"two\nlines"\n3,"say ""so"""\n').frame
    assert frame["title"].to_list() == ["a, b", "two\nlines", 'say "so"']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read .*log.csv: it is empty$"),
        (b"\n\n  \n", "it has only blank lines"),
        ("user,item\n1,2\n3,4\n5,6,7\n", "log.csv, line 4: 3 cells where the header has 2; .* by commas"),
        ("user;item\n1;2\n3\n5;6\n", 'log.csv, line 3: 1 cells where the header has 2; .* by ";"'),
        ('user,item\n1,"x\ny"\n3\n5,6\n', "log.csv, line 4: 1 cells where the header has 2"),
        ("1::2::3\n1::2\n4::5::6\n", 'log.csv, line 2: 2 cells where the first line has 3; .*"::"'),
        (
            "user,item\n1,caf\xe9\n".encode("latin-1"),
            "line 2: byte 0xe9 is not UTF-8, the encoding .* `iconv -f LATIN1",
        ),
        ("user,item\n1,\u56fe\u4e66\n".encode("gbk"), r"line 2: byte 0x.* is not UTF-8, .*GBK"),
        ("user,item\n1,2\n".encode("utf-16-le"), "line 1 has a byte 0; UTF-16 is read if .* `iconv -f UTF-16LE"),
        (b"\xff\xfeu\x00s\x00e", "begins as UTF-16, but byte"),
        ("user,item,user\n1,2,3\n", "column 'user' is there twice"),
        ('{"user": 1, "item": 2}\n', "holds JSON, no table"),
        (b"PAR1abc", "begins as Parquet, but its end is missing; it was cut short"),
        (parquet()[:-30], "begins as Parquet, but its end is missing"),
        (b"PAR1" + b"\xff" * 300 + b"PAR1", "cannot read .*log.csv"),
        (gzipped(LOG.encode())[:-20], "cannot unpack .*log.csv: it is damaged or cut short"),
        (gzipped(b""), "what is packed in it is empty"),
        (lzma.compress(LOG.encode())[:40], "cannot unpack .*log.csv: it is damaged or cut short"),
        (zipped(**{"a.csv": LOG, "b.csv": LOG}), r"is a zip of 2 files \(a.csv, b.csv\); unpack it and name one file"),
        (zipped(**{"xl/workbook.xml": "x", "b": "y"}), "is an Excel workbook; save the sheet as .csv"),
        (zipped(**{"a.csv": LOG})[:50], "cannot unpack"),
        (b"\x28\xb5\x2f\xfdxxxx", "is packed with zstd.*zstd -d"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, no table"),
        (b"\x93NUMPY\x01\x00", "is a .npy matrix, no table"),
        (b"\x80\x04\x95xxxx", "is a pickle, .* never opened"),
    ],
)
def test_what_cannot_be_read_with_certainty_is_one_line_with_a_remedy(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        table_of(tmp_path, content)
    assert "\n" not in str(error.value)


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder; a file is needed here"):
        read_table(tmp_path)
    with pytest.raises(ValueError, match="there is no file .*none.csv"):
        read_table(tmp_path / "none.csv")


def test_a_packed_file_that_grows_beyond_belief_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperctr.data.sniff.LEAST", 2**20)
    with pytest.raises(ValueError, match="unpacks to more than 1,048,576 bytes, 200 times its size"):
        table_of(tmp_path, gzipped(b"user,item\n" + b"1,2\n" * 10**6))


def test_damaged_parquet_never_panics_and_writes_nothing_to_stderr(tmp_path, capfd):
    whole = parquet()
    for at in range(4, len(whole) - 8, 7):
        damaged = bytearray(whole)
        damaged[at : at + 3] = b"\xff\x7f\xff"
        try:
            table_of(tmp_path, bytes(damaged))
        except ValueError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


def test_a_folder_may_have_packed_tables(tmp_path):
    (tmp_path / "interactions.csv.gz").write_bytes(gzipped(LOG.encode()))
    (tmp_path / "items.tsv").write_text("item_id\ttitle\nb\tBee\na\t\n")
    data = read(tmp_path)
    assert data.items.titles.tolist() == ["Bee", ""] and len(data.interactions) == 3
