"""Byte ranges: RFC 9110 section 14, decided on values.

A Range field and a size give the spans to send, the whole, or a refusal. Asking for much work with few bytes is refused, not ignored:
ignoring would answer such a request with the whole file, the dearest answer there is (RFC 9110 leaves the choice, sections 14.2 and
17.15).
Whether the Range applies at all is `server.conditional`'s to say; reading the bytes is left to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from accord.server.multipart import Framing, framed

MAX_FIELD_BYTES = 1024
MAX_RANGES = 16
MAX_STEPS_BACK = 2
"""How often a list of ranges may go backwards: a reader that wants head, tail, then middle does it once."""
COALESCED_GAP_BYTES = 80
"""A gap smaller than this costs less than the head of another part (section 15.3.7.2)."""

_RANGE = re.compile(rb"(\d*)-(\d*)", re.ASCII)


class Selection(Enum):
    """What a Range field selects, where it is not a list of spans."""

    WHOLE = "whole"
    """No Range, or one that makes no sense and is ignored: 200."""
    NOT_SATISFIABLE = "not satisfiable"
    """Nothing of it exists, or it asks for too much work: 416."""


class Span(NamedTuple):
    """The bytes [start, stop)."""

    start: int
    stop: int


Selected = Selection | tuple[Span, ...]


def select(field: bytes | None, size: int) -> Selected:
    """The spans of a content of `size` bytes, never empty, never overlapping, in the order asked for.

    A malformed field or another unit is WHOLE; more than `MAX_RANGES` ranges, or ranges in wild order, are NOT_SATISFIABLE.
    """
    if field is None:
        return Selection.WHOLE
    unit, found, wanted = field.strip(b" \t").partition(b"=")
    if not found or unit.lower() != b"bytes":
        return Selection.WHOLE
    if len(field) > MAX_FIELD_BYTES or wanted.count(b",") >= MAX_RANGES:
        return Selection.NOT_SATISFIABLE
    pieces = [piece.strip(b" \t") for piece in wanted.split(b",")]
    ranges = [_RANGE.fullmatch(piece) for piece in pieces if piece]
    spans = [span for found in ranges if found and (span := _span(found[1], found[2], size)) is not None]
    if not ranges or None in ranges or any(_nonsense(found[1], found[2]) for found in ranges if found):
        return Selection.WHOLE
    if not spans:
        return Selection.WHOLE if size == 0 and _only_suffixes(pieces) else Selection.NOT_SATISFIABLE
    steps_back = sum(later.start < earlier.start for earlier, later in pairwise(spans))
    return Selection.NOT_SATISFIABLE if steps_back > MAX_STEPS_BACK else _coalesced(spans)


def content_range(span: Span | None, size: int) -> bytes:
    """The Content-Range field of a part; of a 416 answer where `span` is None."""
    if span is None:
        return b"bytes */%d" % size
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)


def byteranges(spans: Sequence[Span], size: int, content_type: bytes, boundary: str) -> Framing:
    """The multipart/byteranges framing (section 14.6) of two or more spans."""
    return framed(
        "byteranges",
        boundary,
        (
            (
                ((b"Content-Type", content_type), (b"Content-Range", content_range(span, size))),
                span.stop - span.start,
            )
            for span in spans
        ),
    )


def _nonsense(first: bytes, last: bytes) -> bool:
    return (not first and not last) or bool(first and last and int(last) < int(first))


def _only_suffixes(pieces: list[bytes]) -> bool:
    """Whether only `-N` were asked for: the last N bytes of an empty content are all of it (section 14.1.2)."""
    return all(piece.startswith(b"-") and int(piece[1:]) > 0 for piece in pieces if piece)


def _span(first: bytes, last: bytes, size: int) -> Span | None:
    """One range, cut to the content; None where it lies outside."""
    if first:
        start, stop = int(first), int(last) + 1 if last else size
    elif last:
        start, stop = max(0, size - int(last)), size
    else:
        return None
    stop = min(stop, size)
    return Span(start, stop) if start < stop else None


def _coalesced(spans: list[Span]) -> tuple[Span, ...]:
    """Join what overlaps or nearly touches; each joined span stands where the first of its ranges stood."""
    joined: list[tuple[int, Span]] = []
    for place, span in sorted(enumerate(spans), key=lambda one: one[1]):
        if joined and span.start - joined[-1][1].stop < COALESCED_GAP_BYTES:
            first, before = joined[-1]
            joined[-1] = (min(first, place), Span(before.start, max(before.stop, span.stop)))
        else:
            joined.append((place, span))
    return tuple(span for _, span in sorted(joined))
