"""Ranges select the bytes that naive slicing does, and nobody gets much work done for few bytes."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.server.ranges import (
    COALESCED_GAP_BYTES,
    MAX_RANGES,
    Selection,
    Span,
    byteranges,
    content_range,
    select,
)

WHOLE, REFUSED = Selection.WHOLE, Selection.NOT_SATISFIABLE


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, WHOLE),
        (b"bytes=0-0", ((0, 1),)),
        (b"bytes=0-", ((0, 1000),)),
        (b"bytes=-1", ((999, 1000),)),
        (b"bytes=-5000", ((0, 1000),)),
        (b"bytes=990-5000", ((990, 1000),)),
        (b"BYTES = 0-1", WHOLE),
        (b"Bytes=0-1", ((0, 2),)),
        (b"bytes= 0-1 ,\t, 500-600", ((0, 2), (500, 601))),
        (b"bytes=500-600,0-1", ((500, 601), (0, 2))),
        (b"bytes=0-99,100-199", ((0, 200),)),
        (b"bytes=900-999,0-9,800-950", ((800, 1000), (0, 10))),
        (b"bytes=0-9,89-99", ((0, 100),)),
        (b"bytes=0-9,90-99", ((0, 10), (90, 100))),
        (b"bytes=1000-", REFUSED),
        (b"bytes=-0", REFUSED),
        (b"bytes=5000-6000,7000-", REFUSED),
        (b"bytes=0-1,5000-", ((0, 2),)),
        (b"bytes=2-1", WHOLE),
        (b"bytes=0-1,2-1", WHOLE),
        (b"bytes=", WHOLE),
        (b"bytes=,", WHOLE),
        (b"bytes=-", WHOLE),
        (b"bytes=a-b", WHOLE),
        (b"bytes=0-1-2", WHOLE),
        (b"bytes=0x0-1", WHOLE),
        (b"bytes=+1-2", WHOLE),
        (b"bytes 0-1", WHOLE),
        (b"lines=0-1", WHOLE),
        (b"", WHOLE),
        ("bytes=٠-١".encode(), WHOLE),
        (b"bytes=0-" + b"9" * 500, ((0, 1000),)),
        (b"bytes=" + b",".join([b"0-0"] * MAX_RANGES), ((0, 1),)),
        (b"bytes=" + b",".join([b"0-0"] * (MAX_RANGES + 1)), REFUSED),
        (b"bytes=" + b",".join(b"%d-" % n for n in range(10_000)), REFUSED),
        (b"bytes=800-801,600-601,400-401,200-201", REFUSED),
    ],
)
def test_what_a_range_selects_of_a_thousand_bytes(field: bytes | None, expected: object) -> None:
    assert select(field, 1000) == expected


def test_ranges_of_an_empty_file() -> None:
    assert select(b"bytes=0-", 0) is REFUSED
    assert select(b"bytes=-1", 0) is WHOLE
    assert select(b"bytes=-0", 0) is REFUSED


ranges = st.one_of(
    st.tuples(st.integers(0, 1200), st.integers(0, 1200)).map(lambda ends: f"{min(ends)}-{max(ends)}"),
    st.integers(0, 1200).map(lambda first: f"{first}-"),
    st.integers(0, 1200).map(lambda last: f"-{last}"),
)


def naive(text: str, content: range) -> set[int]:
    first, _, last = text.partition("-")
    if not first:
        return set(content[-int(last) :]) if int(last) else set()
    return set(content[int(first) : int(last) + 1 if last else None])


@given(st.lists(ranges, min_size=1, max_size=MAX_RANGES), st.integers(0, 1000))
def test_spans_cover_what_slicing_gives_and_little_more(texts: list[str], size: int) -> None:
    wanted = set().union(*(naive(text, range(size)) for text in texts))
    spans = select(f"bytes={','.join(texts)}".encode(), size)
    if isinstance(spans, Selection):
        # Nothing there, or out of order too often.
        assert not wanted or len(texts) > 3
        return
    covered = [position for span in spans for position in range(*span)]
    assert len(covered) == len(set(covered)), "no byte twice"
    assert wanted <= set(covered)
    assert len(covered) - len(wanted) < COALESCED_GAP_BYTES * len(texts)
    assert all(0 <= span.start < span.stop <= size for span in spans)


@given(st.binary(max_size=200), st.integers(0, 10**15))
def test_any_field_has_an_outcome(field: bytes, size: int) -> None:
    for given_field in (field, b"bytes=" + field):
        spans = select(given_field, size)
        assert isinstance(spans, Selection) or spans


def test_the_content_range_counts_inclusively() -> None:
    assert content_range(Span(0, 500), 1234) == b"bytes 0-499/1234"
    assert content_range(None, 1234) == b"bytes */1234"


@given(st.sets(st.integers(0, 9), min_size=2))
def test_a_multipart_body_has_the_announced_length_and_the_right_bytes(tenths: set[int]) -> None:
    content = bytes(n % 256 for n in range(2000))
    spans = [Span(n * 200, n * 200 + 100) for n in sorted(tenths, reverse=True)]
    framing = byteranges(spans, len(content), b"image/png", "b" * 32)
    body = (
        b"".join(head + content[slice(*span)] for head, span in zip(framing.heads, spans, strict=True))
        + framing.closing
    )
    assert len(body) == framing.total_bytes
    parsed = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + framing.content_type + b"\r\n\r\n" + body)
    parts = list(parsed.iter_parts())
    assert [part["Content-Range"].encode() for part in parts] == [content_range(span, 2000) for span in spans]
    assert [part.get_payload(decode=True) for part in parts] == [content[slice(*span)] for span in spans]


def test_an_unfit_boundary_is_refused() -> None:
    for boundary in ("", "short", "a" * 71, 'quote"quote', "line\r\nbreak"):
        with pytest.raises(ValueError, match="boundary"):
            byteranges([Span(0, 1), Span(2, 3)], 9, b"text/plain", boundary)
