"""How clocks and answers are written down: in the index, in frames between servers, in tokens for clients.

One encoding for all three (MessagePack, arrays, a leading format number), so that what the index holds can go on the wire as it is.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache

import msgspec

from accord.errors import IntegrityError, InvalidQuery
from accord.model.names import Digest
from accord.model.versions import Actor, Clock, Context, Entry, Version

CLOCK_FORMAT = 1
CONTEXT_FORMAT = 1
MAX_CONTEXT_TOKEN_CHARS = 8192
MAX_COUNTER = 2**53
"""No actor gets this far; a greater number is a forgery, and would use up the counters that are left."""
_CHECKSUM_BYTES = 4
_CACHED_CLOCKS = 8192
_MAX_CACHED_CLOCK_BYTES = 1024
"""Longer clocks are not kept, so that what is kept is bounded in bytes too."""

_WireVersion = tuple[bytes | None, int, int, str, bool]
_WireClock = tuple[int, list[tuple[str, int, list[_WireVersion]]]]

_clock_decoder = msgspec.msgpack.Decoder(_WireClock)
_context_decoder = msgspec.msgpack.Decoder(tuple[int, dict[str, int]])
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


def new_context_token(clocks: tuple[Clock, ...]) -> str:
    """The opaque causal token for a client that has seen `clocks`: versioned, with a checksum against truncation.

    For what is told once, as in a listing: it leaves the cache to the files that are read again and again.
    """
    # The context of merged clocks is, for each actor, the highest counter in any of them.
    seen: dict[str, int] = {}
    for clock in clocks:
        for actor, counter, _ in clock.entries:
            if counter > seen.get(actor, 0):
                seen[actor] = counter
    body = _encoder.encode((CONTEXT_FORMAT, dict(sorted(seen.items())) if len(seen) > 1 else seen))
    checksum = binascii.crc32(body).to_bytes(_CHECKSUM_BYTES, "big")
    return base64.urlsafe_b64encode(checksum + body).rstrip(b"=").decode()


context_token = lru_cache(maxsize=_CACHED_CLOCKS)(new_context_token)
"""The same, remembered."""


def read_context_token(token: str) -> Context:
    """Raises `InvalidQuery` for a token that Accord did not make, or that was cut short."""
    if len(token) > MAX_CONTEXT_TOKEN_CHARS:
        raise InvalidQuery("The Accord-Context token is too long.")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        if binascii.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
            raise InvalidQuery("The Accord-Context token is damaged.")
        form, seen = _context_decoder.decode(body)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidQuery("The Accord-Context token is not one that Accord made.") from error
    if form != CONTEXT_FORMAT:
        raise InvalidQuery(f"The Accord-Context token has format {form}; this server reads format {CONTEXT_FORMAT}.")
    if not all(0 < counter <= MAX_COUNTER for counter in seen.values()):
        raise InvalidQuery("The Accord-Context token is not one that Accord made.")
    return {Actor(actor): counter for actor, counter in seen.items()}
