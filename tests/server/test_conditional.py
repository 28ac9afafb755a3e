"""Conditional requests go by RFC 9110 section 13."""

from __future__ import annotations

import calendar
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.server.conditional import Outcome, evaluate, parse_http_date
from tests.server.verdicts import NOW_S

ETAG = b'"blake3:aa"'
MODIFIED_S = NOW_S - 1000
SAME = formatdate(MODIFIED_S, usegmt=True).encode()
EARLIER = formatdate(MODIFIED_S - 1, usegmt=True).encode()
GO, SAME_AS_YOURS, STOP = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.PRECONDITION_FAILED

MATCH, NONE_MATCH = b"if-match", b"if-none-match"
MODIFIED, UNMODIFIED = b"if-modified-since", b"if-unmodified-since"


def outcome(*headers: tuple[bytes, bytes], method: bytes = b"GET", etag: bytes | None = ETAG) -> Outcome:
    return evaluate(list(headers), method=method, etag=etag, modified_s=MODIFIED_S, now_s=NOW_S).outcome


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], GO),
        ([(MATCH, ETAG)], GO),
        ([(MATCH, b'"x", ' + ETAG)], GO),
        ([(MATCH, b'"x"')], STOP),
        ([(MATCH, b"*")], GO),
        ([(MATCH, b"W/" + ETAG)], STOP),
        ([(MATCH, b"blake3:aa")], STOP),
        ([(MATCH, b"")], STOP),
        ([(NONE_MATCH, ETAG)], SAME_AS_YOURS),
        ([(NONE_MATCH, b"W/" + ETAG)], SAME_AS_YOURS),
        ([(NONE_MATCH, b'"a,b",, ' + ETAG)], SAME_AS_YOURS),
        ([(NONE_MATCH, b'"x"'), (NONE_MATCH, ETAG)], SAME_AS_YOURS),
        ([(NONE_MATCH, b"*")], SAME_AS_YOURS),
        ([(NONE_MATCH, b'"x"')], GO),
        ([(NONE_MATCH, b'"x" ' + ETAG)], GO),
        ([(NONE_MATCH, b'"x')], GO),
        ([(MODIFIED, SAME)], SAME_AS_YOURS),
        ([(MODIFIED, EARLIER)], GO),
        ([(MODIFIED, b"yesterday")], GO),
        ([(MODIFIED, SAME), (MODIFIED, SAME)], GO),
        ([(UNMODIFIED, SAME)], GO),
        ([(UNMODIFIED, EARLIER)], STOP),
        ([(UNMODIFIED, b"yesterday")], GO),
        # What goes before what: If-Match hides If-Unmodified-Since, If-None-Match hides If-Modified-Since.
        ([(MATCH, ETAG), (UNMODIFIED, EARLIER)], GO),
        ([(MATCH, b'"x"'), (NONE_MATCH, ETAG)], STOP),
        ([(MATCH, ETAG), (NONE_MATCH, ETAG)], SAME_AS_YOURS),
        ([(NONE_MATCH, b'"x"'), (MODIFIED, SAME)], GO),
        ([(NONE_MATCH, ETAG), (MODIFIED, EARLIER)], SAME_AS_YOURS),
        ([(UNMODIFIED, EARLIER), (NONE_MATCH, ETAG)], STOP),
    ],
)
def test_the_conditions_of_a_read(headers: list[tuple[bytes, bytes]], expected: Outcome) -> None:
    assert outcome(*headers) is expected
    assert outcome(*headers, method=b"HEAD") is expected


def test_a_write_is_stopped_where_a_read_is_not_modified() -> None:
    assert outcome((NONE_MATCH, b"*"), method=b"PUT") is STOP
    assert outcome((NONE_MATCH, b"*"), method=b"PUT", etag=None) is GO
    assert outcome((MATCH, b"*"), method=b"PUT", etag=None) is STOP
    assert outcome((MODIFIED, SAME), method=b"PUT") is GO


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        (None, True),
        (ETAG, True),
        (b" " + ETAG, True),
        (b'"x"', False),
        (b"W/" + ETAG, False),
        (ETAG + b", " + ETAG, False),
        (SAME, False),
        (b"", False),
    ],
)
def test_a_range_applies_only_to_exactly_the_version_it_is_for(condition: bytes | None, applies: bool) -> None:
    headers = [(b"range", b"bytes=0-1")] + ([(b"if-range", condition)] if condition is not None else [])
    decision = evaluate(headers, method=b"GET", etag=ETAG, modified_s=MODIFIED_S, now_s=NOW_S)
    assert decision == (GO, b"bytes=0-1" if applies else None)
    assert evaluate(headers, method=b"HEAD", etag=ETAG, modified_s=MODIFIED_S, now_s=NOW_S).range is None


def test_two_range_fields_are_none() -> None:
    headers = [(b"range", b"bytes=0-1"), (b"range", b"bytes=2-3")]
    assert evaluate(headers, method=b"GET", etag=ETAG, modified_s=MODIFIED_S, now_s=NOW_S).range is None


def test_hostile_lists_cost_little_and_match_nothing() -> None:
    for field in (b"," * 8000, b'"a",' * 2000 + ETAG, b" \t" * 4000, b'"' * 8000, b"W/" * 4000):
        assert outcome((NONE_MATCH, field)) is GO
        assert outcome((MATCH, field)) is STOP


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
    ],
)
def test_the_three_forms_of_a_date(text: str) -> None:
    assert parse_http_date(text.encode(), now_s=NOW_S) == 784111777


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_http_date(text.encode(), now_s=NOW_S) is None


def test_a_short_year_is_at_most_fifty_years_ahead() -> None:
    now_s = calendar.timegm((2023, 6, 1, 0, 0, 0))
    for short, year in (("73", 2073), ("74", 1974), ("23", 2023), ("00", 2000)):
        parsed = parse_http_date(f"Monday, 01-Jan-{short} 00:00:00 GMT".encode(), now_s=now_s)
        assert parsed == calendar.timegm((year, 1, 1, 0, 0, 0))


@given(st.integers(0, 253402300799))
def test_every_second_is_read_back(second: int) -> None:
    assert parse_http_date(formatdate(second, usegmt=True).encode(), now_s=NOW_S) == second
