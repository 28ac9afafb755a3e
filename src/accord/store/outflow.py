"""How the bytes of one file get to the disk while they arrive: through the page cache, or past it once the file is long.

What passes the page cache (O_DIRECT) costs the kernel no memory and nearly no time, takes no place from what is read, and leaves the
sync at the end little to do; but its first reader waits for the disk. So it is for what nobody is about to read here. For the rest,
and where the file system refuses, the kernel is told to begin to write out. What is durable is decided by fsync alone; what an error
means is left to `incoming`. Blocking; raises `OSError`. Figures: docs/decisions/0008-direct-io.md
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from concurrent.futures import Future
from mmap import PAGESIZE, mmap

from accord.store.port import BLOCK_BYTES
from accord.store.workshop import Workshop
from accord.store.writeback import STEP_BYTES, begin_writeback

DIRECT_FROM_BYTES = 8 * BLOCK_BYTES
"""The beginning of any file goes through the page cache: a short one is likely to be read soon, and never pays for buffers."""
BUFFER_BYTES = BLOCK_BYTES
"""A long file has two of these: one is filled while the disk takes the other. Larger ones were no faster. Like `DIRECT_FROM_BYTES` a
multiple of any disk's sector."""

_O_DIRECT = getattr(os, "O_DIRECT", 0)
_REOPEN_FLAGS = os.O_WRONLY | _O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW


class Outflow:
    """Appends to the file `name` in staging, open as `fd` and empty, which nobody else writes to. `flush` before it is synced."""

    __slots__ = ("_at", "_fd", "_handed_over", "_name", "_past_cache", "_shop", "_stays_in_cache")

    def __init__(self, shop: Workshop, name: str, fd: int, *, stays_in_cache: bool) -> None:
        self._shop = shop
        self._stays_in_cache = stays_in_cache
        self._name = name
        self._fd = fd
        self._at = self._handed_over = 0
        """Bytes put through the page cache; and those of them that the kernel was told to write out."""
        self._past_cache: _PastCache | None = None

    def put(self, block: bytes | memoryview) -> None:
        """Tells of an error at the latest when it is flushed. See `port.Incoming.write` on memory that may change."""
        rest = memoryview(block)
        if self._is_to_leave_cache(len(rest)):
            rest = rest[self._through_cache(rest[: DIRECT_FROM_BYTES - self._at]) :]
            self._past_cache = self._beginning_past_cache()
        if self._past_cache is not None:
            self._past_cache.put(rest)
        else:
            self._through_cache(rest)

    def flush(self) -> None:
        if self._past_cache is not None:
            self._past_cache.flush()

    def _is_to_leave_cache(self, more_bytes: int) -> bool:
        if self._stays_in_cache or self._past_cache is not None or not self._shop.can_pass_cache:
            return False
        return self._at <= DIRECT_FROM_BYTES < self._at + more_bytes

    def _through_cache(self, block: memoryview) -> int:
        _write(self._fd, block, self._at)
        self._at += len(block)
        if self._at - self._handed_over >= STEP_BYTES:
            begin_writeback(self._fd, self._handed_over, self._at)
            self._handed_over = self._at
        return len(block)

    def _beginning_past_cache(self) -> _PastCache | None:
        try:
            fd = os.open(self._name, _REOPEN_FLAGS, dir_fd=self._shop.staging_fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._shop.can_pass_cache = False
            return None
        return _PastCache(self._shop, fd, self._at)


class _PastCache:
    """Writes from `at` on, in whole buffers, each in a thread of its own while the next one is filled, or comes: a block that a disk
    can read from is written as it is, any other is copied. `fd` is its own handle: so what is under way when the file is dropped ends
    in a file that nobody sees any more, and never in another one."""

    __slots__ = ("_at", "_buffers", "_fd", "_filled", "_is_direct", "_shop", "_under_way")

    def __init__(self, shop: Workshop, fd: int, at: int) -> None:
        self._shop = shop
        self._fd = fd
        self._at = at
        self._buffers: list[memoryview] = []
        """The one that is being filled, and the one after it; made when something has to be copied."""
        self._filled = 0
        self._under_way: Future[None] | None = None
        self._is_direct = True

    def put(self, rest: memoryview) -> None:
        while rest:
            if not self._filled and len(rest) >= BUFFER_BYTES and _begins_at_a_page(rest):
                self._hand_over(rest[:BUFFER_BYTES])
                rest = rest[BUFFER_BYTES:]
                continue
            piece = rest[: BUFFER_BYTES - self._filled]
            self._filling[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            rest = rest[len(piece) :]
            if self._filled == BUFFER_BYTES:
                self._hand_over(self._filling)
                self._buffers.reverse()
                self._filled = 0

    def flush(self) -> None:
        """The end of a file is rarely as long as whole sectors: it goes through the page cache."""
        self._wait()
        self._go_through_cache()
        if self._filled:
            _write(self._fd, self._filling[: self._filled], self._at)
            self._at += self._filled
            self._filled = 0

    @property
    def _filling(self) -> memoryview:
        if not self._buffers:
            # Maps of their own, as memory that a disk is to read from begins at a page.
            self._buffers = [memoryview(mmap(-1, BUFFER_BYTES)) for _ in range(2)]
        return self._buffers[0]

    def _hand_over(self, whole: memoryview) -> None:
        self._wait()
        self._under_way = self._shop.disk.submit(self._pour, whole, self._at)
        self._at += BUFFER_BYTES

    def _wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _pour(self, whole: memoryview, at: int) -> None:
        try:
            written = os.pwrite(self._fd, whole, at)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._is_direct:
                raise
            self._shop.can_pass_cache = False
            written = 0
        if written < len(whole):
            # Refused, or cut short: what is left may begin anywhere, and may be what there is no room for.
            self._go_through_cache()
            _write(self._fd, whole[written:], at + written)

    def _go_through_cache(self) -> None:
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~_O_DIRECT)
        self._is_direct = False

    def __del__(self) -> None:
        os.close(self._fd)


def _begins_at_a_page(block: memoryview) -> bool:
    return not block.readonly and ctypes.addressof(ctypes.c_char.from_buffer(block)) % PAGESIZE == 0


def _write(fd: int, rest: memoryview, at: int) -> None:
    while rest:
        count = os.pwrite(fd, rest, at)
        at += count
        rest = rest[count:]
