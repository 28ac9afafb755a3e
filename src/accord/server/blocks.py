"""Memory for long content while it arrives: a few blocks, filled in order, handed out in order, and filled again.

A socket is read straight into them, and a disk may be written straight from them, as they begin at a page: nothing is copied in
between. The price is a rule: whoever takes a block is done with it by the time of the second call after that. `server.body` and
`server.peer_intake` fill them.
"""

from __future__ import annotations

from collections import deque
from mmap import mmap

from accord.store.port import BLOCK_BYTES

BLOCKS = 4
"""Two are with whoever took them last; two are filled meanwhile. More were no faster."""
_LENT = 2


class Blocks:
    """`BLOCKS` blocks of `BLOCK_BYTES`; memory that is not needed is never touched. After `cut` the next byte begins another block."""

    __slots__ = ("_filled_bytes", "_filling", "_full", "_lent", "_made", "_spare")

    def __init__(self) -> None:
        self._made = 0
        self._spare: list[memoryview] = []
        self._filling: memoryview | None = None
        self._filled_bytes = 0
        self._full: deque[memoryview] = deque()
        self._lent: deque[memoryview] = deque()

    def room(self) -> memoryview | None:
        """Where the next bytes belong; None as long as no block is free."""
        if self._filling is None:
            self._filling = self._fresh()
        return None if self._filling is None else self._filling[self._filled_bytes :]

    def filled(self, count: int) -> bool:
        """So many bytes are in that room. Whether that completes a block."""
        assert self._filling is not None
        self._filled_bytes += count
        if self._filled_bytes < BLOCK_BYTES:
            return False
        return self.cut()

    def put(self, piece: memoryview) -> memoryview:
        """Copy what there is room for; the rest."""
        while piece and (room := self.room()) is not None:
            count = min(len(room), len(piece))
            room[:count] = piece[:count]
            self.filled(count)
            piece = piece[count:]
        return piece

    def cut(self) -> bool:
        """That was the end of one content: what has come of its last block is handed out as it is. Whether anything has."""
        if self._filling is None or not self._filled_bytes:
            return False
        self._full.append(self._filling[: self._filled_bytes])
        self._filling, self._filled_bytes = None, 0
        return True

    @property
    def count(self) -> int:
        """So many can be taken."""
        return len(self._full)

    def take(self) -> memoryview:
        """The oldest block that was not taken yet. It stays as it is until the second call after this one."""
        block = self._full.popleft()
        self._lent.append(block)
        if len(self._lent) > _LENT:
            self._spare.append(_whole(self._lent.popleft()))
        return block

    def _fresh(self) -> memoryview | None:
        if self._spare:
            return self._spare.pop()
        if self._made == BLOCKS:
            return None
        self._made += 1
        return memoryview(mmap(-1, BLOCK_BYTES))


def _whole(block: memoryview) -> memoryview:
    """All of the memory that a cut block lies in."""
    return memoryview(block.obj)
