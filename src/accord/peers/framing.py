"""Frames: how messages and content are cut out of a stream of bytes, and put into it. Pure.

A frame is a 4-byte length, a kind byte and the payload. The payload of a *message* comes out whole; that of *data* is content as it is,
handed on in whatever pieces arrive, so that nothing large is ever joined or copied. What messages mean is left to `wire`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from struct import Struct as Layout

from accord.errors import PeerUnreachable
from accord.peers.message import Message
from accord.peers.wire import encode

MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_GREETING_BYTES = 4096
"""The largest frame from somebody who has not proven to know the key."""

_HEADER = Layout(">IB")
_MESSAGE = 0
_DATA = 1


def framed(message: Message) -> bytes:
    payload = encode(message)
    return _HEADER.pack(len(payload), _MESSAGE) + payload


def data_header(length_bytes: int) -> bytes:
    """What goes before `length_bytes` of content, at most `MAX_FRAME_BYTES`."""
    return _HEADER.pack(length_bytes, _DATA)


class Deframer:
    """Cuts a stream into messages and pieces of data. `limit_bytes` is the largest frame allowed now; it may be raised later."""

    __slots__ = ("_data_left", "_partial", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._partial = bytearray()
        self._data_left = 0

    def feed(self, received: bytes) -> Iterator[tuple[bool, bytes]]:
        """(is it data, payload or piece), in order. Holds back at most one incomplete message. Raises `PeerUnreachable`.

        To be used up before the next feed; left early, the rest of `received` is lost with the stream.
        """
        at = 0
        if self._partial:
            # A message that came in parts, in the bytearray: appending costs what is appended. Never more than one frame's worth.
            at = yield from self._completed(received)
        while at < len(received):
            if self._data_left:
                piece = received if not at and len(received) <= self._data_left else received[at : at + self._data_left]
                self._data_left -= len(piece)
                at += len(piece)
                yield True, piece
                continue
            if len(received) - at < _HEADER.size:
                break
            length, is_data = self._header(received, at)
            if is_data:
                self._data_left = length
                at += _HEADER.size
                continue
            end = at + _HEADER.size + length
            if end > len(received):
                break
            yield False, received[at + _HEADER.size : end]
            at = end
        if at < len(received):
            self._partial += received[at:]

    def expected(self) -> tuple[bool, int]:
        """(is it content, how many bytes): so many come before anything else can, at least 1. Whoever reads no more than that may put
        content where it belongs, and tells of it by `passed`."""
        if self._data_left:
            return True, self._data_left
        missing = _HEADER.size - len(self._partial)
        if missing <= 0:
            missing += self._header(self._partial, 0)[0]
        return False, missing

    def passed(self, count: int) -> None:
        """So many bytes of the expected content have arrived, and are not fed."""
        self._data_left -= count

    def _completed(self, received: bytes) -> Generator[tuple[bool, bytes], None, int]:
        """Fill up the incomplete frame; the generator's value is where the rest of `received` begins."""
        partial = self._partial
        at = max(0, _HEADER.size - len(partial))
        partial += received[:at]
        if len(partial) < _HEADER.size:
            return len(received)
        length, is_data = self._header(partial, 0)
        if is_data:
            self._data_left = length
        else:
            missing = _HEADER.size + length - len(partial)
            partial += received[at : at + missing]
            if missing > len(received) - at:
                return len(received)
            at += missing
            yield False, bytes(partial[_HEADER.size :])
        partial.clear()
        return at

    def _header(self, source: bytes | bytearray, at: int) -> tuple[int, bool]:
        length, kind = _HEADER.unpack_from(source, at)
        if kind not in (_MESSAGE, _DATA):
            raise PeerUnreachable("sent something that is not the peer protocol (no such kind of frame)")
        if length > self.limit_bytes:
            raise PeerUnreachable(f"sent a frame of {length} bytes; at most {self.limit_bytes} are allowed")
        return length, kind == _DATA
