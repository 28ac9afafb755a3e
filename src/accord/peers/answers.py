"""Answers as bytes: what one server says about one path, on the wire.

Pure. An answer is encoded and decoded on its own, so that both sides can keep what they have seen before: most questions are about
files that did not change since they were last asked about.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from accord.codec import decode_clock, encode_clock
from accord.errors import IntegrityError, PeerUnreachable
from accord.model.names import Digest
from accord.model.verdict import Absent, Answer, Checking, Claim, Damaged, Deleted, Present, Unreachable
from accord.model.versions import Clock
from accord.peers.message import DigestBytes, Message, Natural
from accord.peers.wire import decode, encode

MAX_ANSWER_BYTES = 1024 * 1024
MAX_REASON_CHARS = 300
_CACHED = 8192
_MAX_CACHED_BYTES = 1024
"""Longer answers are not kept, so that what is kept is bounded in bytes too."""
_MAX_CACHED_ENTRIES = 16


_Aside = tuple[DigestBytes | None, ...]


class _Present(Message, tag=0):
    digest: DigestBytes
    size: Natural
    modified_ns: int
    clock: bytes
    executable: bool
    aside: _Aside


class _Absent(Message, tag=1):
    obstacle: str | None
    clock: bytes
    aside: _Aside


class _Deleted(Message, tag=2):
    clock: bytes
    age_s: Natural


class _Damaged(Message, tag=3):
    reason: str
    digest: DigestBytes | None
    clock: bytes
    aside: _Aside


class _Checking(Message, tag=4):
    hashed_bytes: Natural
    total_bytes: Natural


class _Unreachable(Message, tag=5):
    reason: str


_answers: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    _Present | _Absent | _Deleted | _Damaged | _Checking | _Unreachable
)
# A store hands out the same clock objects again and again; their bytes cost several times what the lookup does.
_kept_clock_bytes = lru_cache(maxsize=_CACHED)(encode_clock)


def encode_answer(answer: Answer) -> bytes:
    """One answer, at most `MAX_ANSWER_BYTES`; a longer one becomes `Unreachable` with a reason."""
    raw = encode(_message(answer))
    if len(raw) > MAX_ANSWER_BYTES:
        return encode(
            _Unreachable(f"its answer would be {len(raw)} bytes long; at most {MAX_ANSWER_BYTES} are allowed")
        )
    return raw


def _message(answer: Answer) -> Message:
    match answer:
        case Present(digest, size, modified_ns, clock, executable, aside):
            return _Present(bytes(digest), size, modified_ns, _clock_bytes(clock), executable, _plain(aside))
        case Absent(obstacle, clock, aside):
            return _Absent(obstacle, _clock_bytes(clock), _plain(aside))
        case Deleted(clock, age_s):
            return _Deleted(_clock_bytes(clock), age_s)
        case Damaged(reason, digest, clock, aside):
            known = None if digest is None else bytes(digest)
            return _Damaged(reason[:MAX_REASON_CHARS], known, _clock_bytes(clock), _plain(aside))
        case Checking(hashed_bytes, total_bytes):
            return _Checking(hashed_bytes, total_bytes)
        case Unreachable(reason):
            return _Unreachable(reason[:MAX_REASON_CHARS])


def _plain(aside: tuple[Claim, ...]) -> _Aside:
    return tuple([None if claim is None else bytes(claim) for claim in aside]) if aside else ()


def _claims(aside: _Aside) -> tuple[Claim, ...]:
    return tuple([None if raw is None else Digest(raw) for raw in aside]) if aside else ()


def _clock_bytes(clock: Clock) -> bytes:
    short = len(clock.entries) + sum(len(entry.versions) for entry in clock.entries) <= _MAX_CACHED_ENTRIES
    return _kept_clock_bytes(clock) if short else encode_clock(clock)


def decode_answer(raw: bytes) -> Answer:
    """Raises `PeerUnreachable` for bytes that are no answer, or that hold a clock this release cannot read."""
    return _kept_answer(raw) if len(raw) <= _MAX_CACHED_BYTES else _decoded(raw)


def _decoded(raw: bytes) -> Answer:
    try:
        match decode(_answers, raw):
            case _Present(digest, size, modified_ns, clock, executable, aside):
                return Present(Digest(digest), size, modified_ns, decode_clock(clock), executable, _claims(aside))
            case _Absent(obstacle, clock, aside):
                in_the_way = None if obstacle is None else obstacle[:MAX_REASON_CHARS]
                return Absent(in_the_way, decode_clock(clock), _claims(aside))
            case _Deleted(clock, age_s):
                return Deleted(decode_clock(clock), age_s)
            case _Damaged(reason, digest, clock, aside):
                known = None if digest is None else Digest(digest)
                return Damaged(reason[:MAX_REASON_CHARS], known, decode_clock(clock), _claims(aside))
            case _Checking(hashed_bytes, total_bytes):
                return Checking(hashed_bytes, total_bytes)
            case _Unreachable(reason):
                return Unreachable(reason[:MAX_REASON_CHARS])
            case other:
                raise AssertionError(f"the decoder let through {other!r}")
    except IntegrityError as error:
        raise PeerUnreachable(f"sent a clock that cannot be read ({error.detail})") from error


_kept_answer = lru_cache(maxsize=_CACHED)(_decoded)
