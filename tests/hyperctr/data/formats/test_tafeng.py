import pytest

from .conftest import instants, note, rows

MERGED = (
    '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"\n'
    '"11/1/2000","00038317",">65","115","130315","4714981010038","2","56","48"\n'
    '"11/30/2000","00045902","","115","110217","4710265849066","1","180","135"\n'
    '"1/2/2001","00038317",">65","115","110217","4710265849066","1","180","135"\n'
)
HEADER = "日期;會員卡號;年齡;區域;商品分類;商品編碼;數量;成本;銷售\n".encode("big5")
NOVEMBER = HEADER + b"2000-11-01 00:00:00;00038317  ;J ;E ;130315;4714981010038;2;56;48;\r\n"
NOVEMBER += b"2000-11-30 00:00:00;00045902  ;K ;E ;110217;4710265849066;1;180;135;\r\n"
JANUARY = HEADER + b"90/01/02;00038317  ;J ;E ;110217;4710265849066;1;180;135\n"


def check(data):
    assert rows(data) == [
        ("00038317", "4714981010038", 1), ("00045902", "4710265849066", 1), ("00038317", "4710265849066", 1)
    ]  # fmt: skip
    assert [x[:10] for x in instants(data)] == ["2000-11-01", "2000-11-30", "2001-01-02"]
    assert data.users.ids.tolist() == ["00038317", "00045902"]
    assert data.users.fields["age_group"].codes.tolist() == [1, 0]
    assert data.users.fields["pin_code"].codes.tolist() == [1, 1]
    assert data.items.fields["product_subclass"].codes.tolist() == [2, 1]


def test_the_merged_file(imported):
    data, table = imported("tafeng", {"ta_feng_all_months_merged.csv": MERGED})
    check(data)
    assert table["sales_price"].to_list() == [48, 135, 135]
    check(imported("tafeng", {}, path="ta_feng_all_months_merged.csv")[0])


def test_the_months_give_the_same_rows_with_dates_of_either_calendar(imported):
    data, _ = imported("tafeng", {"D11": NOVEMBER, "D01": JANUARY})
    check(data)
    assert "Only 2 of the four months are there." in note(data)


def test_another_date_is_named(imported):
    with pytest.raises(ValueError, match="D11: '2000-13-01' in row 1 .line 2 of a text with a header. is no date"):
        imported("tafeng", {"D11": HEADER + b"2000-13-01;1;A;E;1;2;1;1;1\n"})
    with pytest.raises(ValueError, match="D11 has 3 columns, not the 9"):
        imported("tafeng", {"D11": HEADER + b"2000-11-01;1;A\n"})
