"""How clocks and answers are written down: in the index, in frames between servers, in tokens for clients.

One encoding for all three (MessagePack, arrays, a leading format number), so that what the index holds can go on the wire as it is.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
from blake3 import blake3

from accord.errors import IntegrityError, InvalidQuery
from accord.model.fingerprints import MARK_BYTES
from accord.model.history import Deed, Event
from accord.model.names import Digest
from accord.model.versions import Actor, Clock, Context, Dot, Entry, Version, found_actor

CLOCK_FORMAT = 1
CONTEXT_FORMAT = 1
PACKED_CONTEXT_FORMAT = 2
"""Of a context that is long: compressed. One made of many rivals has the same few names in it again and again."""
EVENTS_FORMAT = 1
MAX_CONTEXT_TOKEN_CHARS = 16 * 1024
"""Of any token, made here or read: half of what a request's header may have in all."""
MAX_COUNTER = 2**53
"""No actor gets this far; a greater number is a forgery, and would use up the counters that are left."""
_MAX_COLUMN = 2**63 - 1
"""Parts of events are columns of the index, where integers have 64 bits with their sign."""
_CHECKSUM_BYTES = 4
_MAX_CONTEXT_BYTES = MAX_CONTEXT_TOKEN_CHARS * 3 // 4 - _CHECKSUM_BYTES
_LONG_CONTEXT_BYTES = 1024
_MAX_UNPACKED_BYTES = 1024 * 1024
_CACHED_CLOCKS = 8192
_MAX_CACHED_CLOCK_BYTES = 1024
"""Longer clocks are not kept, so that what is kept is bounded in bytes too."""

_WireVersion = tuple[bytes | None, int, int, str, bool]
_WireClock = tuple[int, list[tuple[str, int, list[_WireVersion]]]]

_clock_decoder = msgspec.msgpack.Decoder(_WireClock)
_context_decoder = msgspec.msgpack.Decoder(tuple[int, dict[str, int] | bytes])
_seen_decoder = msgspec.msgpack.Decoder(dict[str, int])
_encoder = msgspec.msgpack.Encoder()


def encode_clock(clock: Clock) -> bytes:
    entries = [
        (
            str(actor),
            counter,
            [_wire_version(one) for one in versions],
        )
        for actor, counter, versions in clock.entries
    ]
    return _encoder.encode((CLOCK_FORMAT, entries))


def _wire_version(one: Version) -> _WireVersion:
    digest = None if one.digest is None else bytes(one.digest)
    return digest, one.size, one.modified_ns, str(one.author), one.executable


def mark_of(path: str, clock: Clock) -> bytes:
    """The digest of what has happened to the path, as far as is known: `MARK_BYTES` long; empty for a clock that knows of nothing.

    Of the events and of what is current, not of what is remembered of them (times, authors, the executable bit): one event may be
    remembered differently on two servers that agree.
    """
    entries = clock.entries
    if not entries:
        return b""
    # A plain loop: the first indexing does this once a file.
    told = [
        (actor, counter, [one.digest and bytes(one.digest) for one in versions]) for actor, counter, versions in entries
    ]
    return blake3(_encoder.encode((str(path), told))).digest(MARK_BYTES)


def found_forms(
    path: str, digest: bytes, size: int, modified_ns: int, author: str, executable: bool
) -> tuple[bytes, bytes]:
    """`encode_clock` and `mark_of` of the clock of content that was found, without making the clock: for the first indexing."""
    actor = found_actor(digest)
    clock = _encoder.encode((CLOCK_FORMAT, ((actor, 1, ((digest, size, modified_ns, author, executable),)),)))
    return clock, blake3(_encoder.encode((path, ((actor, 1, (digest,)),)))).digest(MARK_BYTES)


def decode_clock(raw: bytes) -> Clock:
    """Raises `IntegrityError` for bytes that are no clock of this format."""
    return _kept_clock(raw) if len(raw) <= _MAX_CACHED_CLOCK_BYTES else _decoded_clock(raw)


def _decoded_clock(raw: bytes) -> Clock:
    try:
        form, entries = _clock_decoder.decode(raw)
        if form != CLOCK_FORMAT:
            raise IntegrityError(f"A clock is written in format {form}; this release reads format {CLOCK_FORMAT}.")
        # Plain loops: a listing decodes two clocks a file, of hundreds of thousands.
        clock = Clock(tuple([Entry(Actor(actor), n, _versions(told)) for actor, n, told in entries]))
        _check_clock(clock)
        return clock
    except (msgspec.DecodeError, ValueError) as error:
        raise IntegrityError(f"A clock cannot be read: {error}") from error


def _versions(told: list[_WireVersion]) -> tuple[Version, ...]:
    return tuple([Version(None if d is None else Digest(d), size, at, by, x) for d, size, at, by, x in told])


_kept_clock = lru_cache(maxsize=_CACHED_CLOCKS)(_decoded_clock)


def _check_clock(clock: Clock) -> None:
    """The rules that `merge` relies on: entries in order, one an actor, and no more versions than events."""
    before = None
    for actor, counter, versions in clock.entries:
        if before is not None and before >= actor:
            raise ValueError("its actors are not in order")
        if not max(1, len(versions)) <= counter <= MAX_COUNTER:
            raise ValueError("an actor's counter does not fit its versions")
        before = actor


_WireEvent = tuple[str, int, _WireVersion, int, str, list[tuple[str, int]], str, str]
_events_decoder = msgspec.msgpack.Decoder(tuple[int, list[_WireEvent]])
_DEEDS = {deed.value: deed for deed in Deed}


def encode_events(events: Sequence[Event]) -> bytes:
    told = [
        (str(dot.actor), dot.counter, _wire_version(version), at_ns, deed.value, list(supersedes), message, source)
        for dot, version, at_ns, deed, supersedes, message, source in events
    ]
    return _encoder.encode((EVENTS_FORMAT, told))


def decode_events(raw: bytes) -> list[Event]:
    """Raises `IntegrityError` for bytes that are no events of this format."""
    try:
        form, told = _events_decoder.decode(raw)
        if form != EVENTS_FORMAT:
            raise IntegrityError(f"Events are written in format {form}; this release reads format {EVENTS_FORMAT}.")
        return [_event(*one) for one in told]
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise IntegrityError(f"Events cannot be read: {error}") from error


def _event(
    actor: str,
    counter: int,
    version: _WireVersion,
    at_ns: int,
    deed: str,
    supersedes: list[tuple[str, int]],
    message: str,
    source: str,
) -> Event:
    if not all(0 < number <= MAX_COUNTER for number in (counter, *(number for _, number in supersedes))):
        raise ValueError("an event has no number")
    _, size, modified_ns, *_ = version
    if not all(-_MAX_COLUMN <= number <= _MAX_COLUMN for number in (size, modified_ns, at_ns)):
        raise ValueError("a number does not fit the index")
    before = tuple(Dot(Actor(other), number) for other, number in supersedes)
    (made,) = _versions([version])
    return Event(Dot(Actor(actor), counter), made, at_ns, _DEEDS[deed], before, message, source)


def new_context_token(clocks: tuple[Clock, ...], path: str) -> str:
    """The opaque causal token for a client that has seen `clocks` of `path`: versioned, with a checksum against truncation and
    against use for another path, where the same counters stand for what its reader has never seen.

    For what is told once, as in a listing: it leaves the cache to the files that are read again and again.
    """
    # The context of merged clocks is, for each actor, the highest counter in any of them.
    seen: dict[str, int] = {}
    for clock in clocks:
        for actor, counter, _ in clock.entries:
            if counter > seen.get(actor, 0):
                seen[actor] = counter
    return seen_token(seen, path, clocks)


def seen_token(seen: Mapping[str, int], path: str, clocks: Sequence[Clock]) -> str:
    """The same for one context, of a reader of `clocks`."""
    body = _encoder.encode((CONTEXT_FORMAT, dict(sorted(seen.items())) if len(seen) > 1 else seen))
    if len(body) > _LONG_CONTEXT_BYTES:
        body = _packed_context(seen, clocks)
    checksum = _checksum(body, path)
    return base64.urlsafe_b64encode(checksum + body).rstrip(b"=").decode()


def _packed_context(seen: Mapping[str, int], clocks: Sequence[Clock]) -> bytes:
    """Where it is too long all the same, a part of it: whoever tells less of what he has seen supersedes less, and what he did not
    supersede is shown to him as a rival. The actors of what is current are told first, as a choice among rivals is to cover those."""
    current = {actor for clock in clocks for actor, _, versions in clock.entries if versions}
    told = sorted(seen, key=lambda actor: (actor not in current, actor))
    while True:
        content = _encoder.encode({actor: seen[actor] for actor in sorted(told)})
        body = _encoder.encode((PACKED_CONTEXT_FORMAT, zlib.compress(content)))
        if len(content) <= _MAX_UNPACKED_BYTES and len(body) <= _MAX_CONTEXT_BYTES:
            return body
        del told[len(told) * 3 // 4 :]


context_token = lru_cache(maxsize=_CACHED_CLOCKS)(new_context_token)
"""The same, remembered."""


def _checksum(body: bytes, path: str) -> bytes:
    return binascii.crc32(body, binascii.crc32(path.encode())).to_bytes(_CHECKSUM_BYTES, "big")


def _unpacked(packed: bytes) -> dict[str, int]:
    """Raises `ValueError`, `msgspec.DecodeError` or `zlib.error`."""
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(packed, _MAX_UNPACKED_BYTES)
    if not unpacking.eof:
        raise ValueError("it is longer than any that is made here, or cut short")
    return _seen_decoder.decode(content)


def read_context_token(token: str, path: str) -> Context:
    """Raises `InvalidQuery` for a token that Accord did not make for `path`, or that was cut short."""
    if len(token) > MAX_CONTEXT_TOKEN_CHARS:
        raise InvalidQuery("The Accord-Context token is too long.")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        if _checksum(body, path) != checksum:
            raise InvalidQuery("The Accord-Context token is damaged, or that of another path.")
        form, told = _context_decoder.decode(body)
        if form not in (CONTEXT_FORMAT, PACKED_CONTEXT_FORMAT):
            raise InvalidQuery(
                f"The Accord-Context token has format {form}; this server reads formats {CONTEXT_FORMAT} and {PACKED_CONTEXT_FORMAT}."
            )
        seen = _unpacked(told) if isinstance(told, bytes) else told
        if isinstance(told, bytes) != (form == PACKED_CONTEXT_FORMAT):
            raise ValueError("the format is that of another form")
    except (ValueError, msgspec.DecodeError, zlib.error) as error:
        raise InvalidQuery("The Accord-Context token is not one that Accord made.") from error
    if not all(0 < counter <= MAX_COUNTER for counter in seen.values()):
        raise InvalidQuery("The Accord-Context token is not one that Accord made.")
    return {Actor(actor): counter for actor, counter in seen.items()}
