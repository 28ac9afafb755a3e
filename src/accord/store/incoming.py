"""Bytes being taken in: a temporary file in staging, hashed while it is written, synced when it is finished. Keeps `port.Incoming`.

What is small stays in memory until it is finished, and costs one turn of a thread. What becomes of it is decided by a commit.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from blake3 import blake3

from accord.errors import StoreFailed
from accord.model.names import Digest
from accord.model.versions import Version
from accord.store.outflow import Outflow
from accord.store.port import BLOCK_BYTES
from accord.store.records import Stat
from accord.store.workshop import Workshop, store_failure

if TYPE_CHECKING:
    from accord.store.port import Incoming

_TEMP_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW_FILE_MODE = 0o666
_MAX_UTIME_NS = (1 << 63) - 1
_DOING = "taking in a file"
NO_VERSIONS: Mapping[Digest, Version] = {}

T = TypeVar("T")


class InThread(Protocol):
    """Runs blocking work elsewhere."""

    def __call__(self, work: Callable[[], T], /) -> Coroutine[Any, Any, T]: ...


def new_name() -> str:
    return secrets.token_hex(16)


def refuse_what_cannot_fit(shop: Workshop, size: int | None) -> None:
    """Raises `DiskFull`, or `StoreFailed` where nothing is taken in."""
    shop.health.refuse_if_unfit()
    try:
        space = os.fstatvfs(shop.staging_fd)
        if size is not None and size > space.f_bavail * space.f_frsize:
            raise OSError(errno.ENOSPC, "")
    except OSError as error:
        raise store_failure(error, _DOING) from error


class FileIncoming:
    """Blocking, but for the methods of the port. Thread-safe: one call at a time waits for the other. `is_read_soon`: see `port`."""

    def __init__(self, shop: Workshop, in_thread: InThread, *, is_read_soon: bool = True) -> None:
        self._shop = shop
        self._in_thread = in_thread
        self._is_read_soon = is_read_soon
        self._lock = threading.Lock()
        self._hasher = blake3()
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self._fd: int | None = None
        self._outflow: Outflow | None = None
        self._has_ended = False
        self.size = 0
        self.name = new_name()
        self.finished: Digest | None = None
        """Once it is finished."""

    @property
    def digest(self) -> Digest:
        if self.finished is not None:
            return self.finished
        with self._lock:
            hasher = self._hasher.copy()
            for block in self._held:
                hasher.update(block)
            return Digest(hasher.digest())

    async def write(self, block: bytes | memoryview) -> None:
        if self._has_ended or self.finished is not None:
            raise StoreFailed("This transfer has already ended.")
        self._held_bytes += len(block)
        self.size += len(block)
        if self._held_bytes > BLOCK_BYTES or (self._fd is not None and self._held_bytes == BLOCK_BYTES):
            self._held.append(block)
            await self._in_thread(self._write_out)
        else:
            self._held.append(bytes(block))

    async def finish(self) -> Digest:
        return self.finished if self.finished is not None else await self._in_thread(self.finish_now)

    async def abort(self) -> None:
        if self._fd is None and not self._held:
            self._has_ended = True
        elif not self._has_ended:
            await self._in_thread(self.end)

    def finish_now(self, versions: Mapping[Digest, Version] = NO_VERSIONS) -> Digest:
        """`versions` are what it may be: a time and a mode that it is given before it is synced cost no second sync."""
        if self.finished is not None:
            return self.finished
        if self._has_ended:
            raise StoreFailed("These bytes have been dropped.")
        self._write_out()
        with self._lock:
            if self.finished is None:
                self._shop.health.refuse_if_unfit()
                fd = self._open()
                self._flush()
                digest = Digest(self._hasher.digest())
                version = versions.get(digest)
                if version is not None:
                    self._shop.step("dress")
                    try:
                        dress(fd, version)
                    except OSError as error:
                        raise store_failure(error, _DOING) from error
                self._shop.sync(fd)
                self.finished = digest
            return self.finished

    def fill_from(self, fd: int, clone: Callable[[int, int], bool]) -> None:
        """All bytes of an open file, cloned where `clone` can. Raises `OSError` of reading as well as `StoreFailed` of writing."""
        with self._lock:
            for block in self._poured(fd, clone):
                self._hasher.update(block)
                self.size += len(block)

    def _poured(self, fd: int, clone: Callable[[int, int], bool]) -> Iterator[bytes]:
        is_cloned, at = clone(fd, self._open()), 0
        while block := os.pread(fd, BLOCK_BYTES, at):
            if not is_cloned:
                self._put(block)
            at += len(block)
            yield block

    def become_a_copy(self, clone: Callable[[int, int], bool]) -> None:
        """Of itself: the file that it was belongs to somebody else now. Finished, like that. Raises `OSError`, `StoreFailed`; then it
        has ended."""
        with self._lock:
            fd, self._fd, self.name = self._open(), None, new_name()
            try:
                for _ in self._poured(fd, clone):
                    pass
                self._flush()
                self._shop.sync(self._open())
            except BaseException:
                self._end()
                raise
            finally:
                os.close(fd)

    def link_to(self, folder_fd: int, name: str) -> bool:
        """Be a second name of that file, instead of bytes of its own; whether the file system can."""
        with self._lock:
            self._shop.step("link")
            try:
                os.link(name, self.name, src_dir_fd=folder_fd, dst_dir_fd=self._shop.staging_fd, follow_symlinks=False)
            except OSError:
                return False
            try:
                self._fd = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._shop.staging_fd)
            except OSError:
                self._shop.drop_staged(self.name)
                return False
            return True

    def end(self) -> None:
        """Nothing is left of it in staging."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._has_ended, self.finished = True, None
        self._held.clear()
        if self._fd is not None:
            self._close(self._fd)
            self._shop.drop_staged(self.name)

    def release(self) -> None:
        """A commit has promised the staged file: it is no longer ours to drop."""
        with self._lock:
            self._has_ended = True
            if self._fd is not None:
                self._close(self._fd)

    def dress(self, version: Version, mode: int | None) -> os.stat_result:
        """The modified time and the executable bit, which travel with the version; other modes stay those of the file that is
        replaced (`mode`), or are this machine's custom. As durable as the content. Raises `OSError`, `StoreFailed`."""
        with self._lock:
            self._shop.step("dress")
            fd = self._open()
            status = dress(fd, version, mode)
            if status is None:
                self._shop.sync(fd)
                status = os.fstat(fd)
            return status

    def stat(self) -> os.stat_result:
        with self._lock:
            return os.fstat(self._open())

    def still(self, stat: Stat) -> Stat | None:
        """Its stat data now, if nobody wrote to it since: only its change time may have moved."""
        now = Stat.of(self.stat())
        return now if now._replace(ctime_ns=0) == stat._replace(ctime_ns=0) else None

    @property
    def fd(self) -> int:
        return self._open()

    def _open(self) -> int:
        if self._has_ended:
            raise StoreFailed("This transfer has already ended.")
        if self._fd is None:
            self._shop.step("create")
            try:
                self._fd = os.open(self.name, _TEMP_FLAGS, _NEW_FILE_MODE, dir_fd=self._shop.staging_fd)
            except OSError as error:
                raise store_failure(error, _DOING) from error
        return self._fd

    def _write_out(self) -> None:
        with self._lock:
            self._open()
            held, self._held, self._held_bytes = self._held, [], 0
            for block in held:
                self._hasher.update(block)
                self._put(block)

    def _put(self, block: bytes | memoryview) -> None:
        self._shop.step("write")
        if self._outflow is None:
            self._outflow = Outflow(self._shop, self.name, self._open(), stays_in_cache=self._is_read_soon)
        try:
            self._outflow.put(block)
        except OSError as error:
            raise store_failure(error, _DOING) from error

    def _flush(self) -> None:
        outflow, self._outflow = self._outflow, None
        if outflow is not None:
            try:
                outflow.flush()
            except OSError as error:
                raise store_failure(error, _DOING) from error

    def _close(self, fd: int) -> None:
        os.close(fd)
        self._fd = self._outflow = None

    def __del__(self) -> None:
        if self._fd is not None:
            with suppress(OSError):  # nobody is there to be told; in a simulation the descriptor's world may be gone
                os.close(self._fd)


def dress(fd: int, version: Version, mode: int | None = None) -> os.stat_result | None:
    """The stat data where nothing of it had to be changed."""
    status = os.fstat(fd)
    now = status.st_mode & 0o777
    wanted = now if mode is None else mode & 0o777
    wanted = wanted | (wanted & 0o444) >> 2 if version.executable else wanted & ~0o111
    if wanted != now:
        os.fchmod(fd, wanted)
    at_ns = min(max(version.modified_ns, -_MAX_UTIME_NS), _MAX_UTIME_NS)
    if status.st_mtime_ns != at_ns:
        os.utime(fd, ns=(at_ns, at_ns))
    return status if (wanted, at_ns) == (now, status.st_mtime_ns) else None


if TYPE_CHECKING:

    def _keeps_the_contract(incoming: FileIncoming) -> Incoming:
        return incoming
