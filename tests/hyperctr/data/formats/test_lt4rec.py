import gzip
import struct

import numpy as np
import pytest

from .conftest import instants, note, rows


def varint(n):
    n &= 2**64 - 1
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values):
    if isinstance(values[0], str):
        return field(1, b"".join(field(1, x.encode()) for x in values))
    if isinstance(values[0], float):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(3, field(1, b"".join(map(varint, values))))


def record(**features):
    entries = b"".join(field(1, field(1, name.encode()) + field(2, feature(x))) for name, x in features.items())
    example = field(1, entries)
    return struct.pack("<Q", len(example)) + b"\0" * 4 + example + b"\0" * 4


def shown(user, item, ms, click, watched, place="0"):
    return record(
        FEA_UID=[user], FEA_VID=[item], seqnum=[f"****ab@{ms}@36"], label=[click], cvrlabel=[watched],
        FEA_ORDER=[place],
        FEA_STAG=["11", "12"], FEA_CP=["7" + item], FEA_ICAT1=["1"], FEA_UCAT=["5"],
    )  # fmt: skip


RECORDS = shown("u1", "a", 1602428425858, 1, 0.5) + shown("u2", "b", 1602428424857, 0, 0.0, "1")
RECORDS += shown("u1", "b", 1602428500000, 1, 1.0)


@pytest.mark.parametrize("name", ["part-r-00002.gz", "part-r-00002"])
def test_records_are_decoded_field_by_field(imported, name):
    data, table = imported("lt4rec", {name: RECORDS})
    assert rows(data) == [("u2", "b", 0), ("u1", "a", 1), ("u1", "b", 1)]
    np.testing.assert_allclose(data.interactions.conversion, [0, 0.5, 1])
    assert instants(data)[0] == "2020-10-11T15:00:24" and table["FEA_UCAT"].to_list() == [["5"]] * 3
    assert data.interactions.context["FEA_ORDER"].codes.tolist() == [2, 1, 1]
    assert data.items.ids.tolist() == ["a", "b"]
    assert data.items.fields["FEA_CP"].codes.tolist() == [1, 2]
    assert "An item's columns are those of its first row" in note(data)


@pytest.mark.parametrize(
    "content", [RECORDS[:-9], RECORDS[:5], b"\xff" * 40, b"\x08" + b"\0" * 30, b"text, not records at all"]
)
def test_damaged_records_are_one_line(imported, content):
    with pytest.raises(ValueError, match="part-r-1.* is not a readable TFRecord file of examples: "):
        imported("lt4rec", {"part-r-1": content})


def test_a_cut_gzip_and_a_record_without_a_time_are_named(imported, put):
    file = put({"x/part-r-1.gz": b""}) / "x" / "part-r-1.gz"
    file.write_bytes(gzip.compress(RECORDS)[:-20])
    with pytest.raises(ValueError, match="part-r-1.gz is not a readable TFRecord file"):
        imported("lt4rec", {}, path="x")
    with pytest.raises(ValueError, match="seqnum 'abc' has no time in milliseconds after its first @"):
        imported("lt4rec", {"y/part-r-1": record(FEA_UID=["u"], FEA_VID=["v"], label=[1], seqnum=["abc"])}, path="y")


def test_negative_numbers_keep_their_sign(put):
    from hyperctr.data.formats.lt4rec import examples

    (found,) = examples(put({"f": record(x=[-3, 5], y=[1.5], z=["ä", ""])}) / "f")
    assert found == {"x": [-3, 5], "y": [1.5], "z": ["ä".encode(), b""]}
