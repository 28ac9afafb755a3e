"""Ranges of paths and their fingerprints as messages, and back: `model.fingerprints` on the wire.

Pure. What a peer sends is checked here against what it was asked: parts that cover the range in order, items that are in it and in
order. Anything else is `PeerUnreachable`. Who asks for which ranges is left to `engine.sync`.
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.errors import InvalidPath, PeerUnreachable
from accord.model.fingerprints import MARK_BYTES, SUM_MODULUS, Cut, Fingerprint, Item, Named, Reply, Same, Span, Summary
from accord.model.names import FilePath
from accord.peers.call_messages import AskedRange, ComparedRange, CutRange, NamedRange, SameRange


def asked_ranges(asked: Sequence[Summary]) -> list[AskedRange]:
    """How many of the paths are deleted is not told: it follows from the marks."""
    return [
        AskedRange(
            str(span.after),
            None if span.upto is None else str(span.upto),
            fingerprint.paths,
            _sum_bytes(fingerprint.total),
        )
        for span, fingerprint in asked
    ]


def summaries(told: Sequence[AskedRange]) -> list[Summary]:
    """Raises `PeerUnreachable` for what is no range."""
    return [
        Summary(_span(one.after, one.upto), Fingerprint(one.paths, int.from_bytes(one.total, "big"))) for one in told
    ]


def compared_range(reply: Reply) -> ComparedRange:
    match reply:
        case Same():
            return SameRange()
        case Named(items):
            return NamedRange([str(item.path) for item in items], b"".join(item.mark for item in items))
        case Cut(parts):
            ends = [str(part.span.upto) for part in parts[:-1]]
            totals = b"".join(_sum_bytes(part.fingerprint.total) for part in parts)
            return CutRange(ends, [part.fingerprint.paths for part in parts], totals)


def reply(asked: Span, told: ComparedRange) -> Reply:
    """Raises `PeerUnreachable` for what is no answer to `asked`."""
    match told:
        case SameRange():
            return Same()
        case NamedRange(paths, marks):
            return Named(tuple(_items(asked, paths, marks)))
        case CutRange(ends, paths, totals):
            return Cut(tuple(_parts(asked, ends, paths, totals)))


def _items(asked: Span, paths: list[str], marks: bytes) -> list[Item]:
    if len(marks) != MARK_BYTES * len(paths):
        raise PeerUnreachable("did not give every path its mark")
    last, items = asked.after, []
    for number, text in enumerate(paths):
        if text <= last or not asked.covers(text):
            raise PeerUnreachable("named paths that are not in order, or not in the range")
        try:
            items.append(Item(FilePath(text), marks[number * MARK_BYTES : (number + 1) * MARK_BYTES]))
        except InvalidPath as error:
            raise PeerUnreachable(f"named something that is no path ({error.detail})") from error
        last = text
    return items


def _parts(asked: Span, ends: list[str], paths: list[int], totals: bytes) -> list[Summary]:
    if len(ends) + 1 != len(paths) or len(totals) != MARK_BYTES * len(paths):
        raise PeerUnreachable("cut a range into parts that do not fit together")
    after, parts = asked.after, []
    for number, upto in enumerate([*ends, asked.upto]):
        if upto is not None and upto <= after:
            raise PeerUnreachable("cut a range into parts that are not in order")
        total = int.from_bytes(totals[number * MARK_BYTES : (number + 1) * MARK_BYTES], "big")
        parts.append(Summary(_span(after, upto), Fingerprint(paths[number], total)))
        after = upto or after
    return parts


def _span(after: str, upto: str | None) -> Span:
    """Ends of ranges need not be paths; but they must be text that sorts as its bytes do."""
    try:
        after.encode()
        (upto or "").encode()
    except UnicodeEncodeError as error:
        raise PeerUnreachable("sent a range that is no text") from error
    if upto is not None and upto <= after:
        raise PeerUnreachable("sent a range that ends before it begins")
    return Span(after, upto)


def _sum_bytes(total: int) -> bytes:
    return (total % SUM_MODULUS).to_bytes(MARK_BYTES, "big")
