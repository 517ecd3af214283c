"""Records as rows: cells and CSV."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import attrs
import pytest

from marketplace_async._core.rows import cell, csv_lines, field_names, get


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("text", "text"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (Decimal("1000000.0"), "1000000.0"),
        (Decimal("1E+3"), "1000"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))),
            "2026-01-02T02:04:05Z",
        ),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        ((), "[]"),
    ],
)
def test_a_cell_is_text(value: object, text: str) -> None:
    assert cell(value) == text


def test_csv_has_lf_line_ends_and_quotes_as_in_rfc_4180() -> None:
    rows = [
        ["plain", 'double "quote"', "comma,"],
        ["LF\n", "CR\r", "CR LF\r\n"],
        ["", " space ", "single 'quote'"],
    ]
    text = csv_lines(rows)
    assert text == (
        'plain,"double ""quote""","comma,"\n"LF\n","CR\r","CR LF\r\n"\n, space ,single \'quote\'\n'
    )
    assert list(csv.reader(io.StringIO(text, newline=""))) == rows


def test_a_row_with_one_empty_cell_is_not_an_empty_line() -> None:
    assert csv_lines([[""]]) == '""\n'


def test_fields_come_from_attrs_values_and_mappings() -> None:
    @attrs.frozen
    class Record:
        sid: str

    assert field_names(Record) == ("sid",)
    assert get(Record("XE"), "sid") == get({"sid": "XE"}, "sid") == "XE"
    assert get({}, "sid") is None
