"""A download in progress on disk: the part file, its lock, and the one step that makes it the destination.

A part is called `.NAME.DIGEST.accord-part` and lies beside its destination, so that the final rename stays on one file system; its
name says which version it holds the beginning of, so that no second file can contradict it. Everything here blocks; where it runs,
and where the bytes come from, is left to `client.download`.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from blake3 import blake3

from accord.client.given import checked_local
from accord.client.transfer import Held
from accord.errors import AccordError, AlreadyThere, NotSaved, UsageError
from accord.model.names import Digest

PART_SUFFIX: Final = ".accord-part"
MAX_NAME_BYTES: Final = 160
"""So much of the destination's name goes into the part's: with the digest, it stays below the 255 bytes of most file systems."""
BLOCK_BYTES: Final = 1024 * 1024
MAX_BUFFERS: Final = 1024
"""So many the system takes in one call (IOV_MAX of Linux and of macOS); what arrives in small pieces is more."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_FRACTION = re.compile(r"\.(\d{7,9})")
_READABLE = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
"""Whoever may read may run: the umask decided already who that is."""
_PART = re.compile(r"\.(?P<hex>[0-9a-f]{64})\.accord-part\Z")


def is_part(name: str) -> bool:
    """Whether a file of that name is what an unfinished download left."""
    return name.startswith(".") and _PART.search(name) is not None


class Part:
    """An open, locked part file of one version. Close it; `finish` makes it the destination and `drop` removes it."""

    def __init__(self, path: Path, digest: Digest, descriptor: int) -> None:
        self.path = path
        self.digest = digest
        self._descriptor = descriptor
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="accord-part")
        self._writing: Future[None] | None = None
        """The newest append. A failed one stays, so that whoever comes after it hears of it and adds nothing behind the gap."""
        self._size_bytes = 0

    @classmethod
    def open(cls, destination: Path, digest: Digest) -> Self:
        """Raises `StoreFailed`, and `AccordError` while another process downloads the same."""
        path = _part_path(destination, digest)
        with translated(path):
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Another process may have finished it between our open and our lock: then this is no longer the part.
                    if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                        return cls(path, digest, descriptor)
                except BlockingIOError:
                    os.close(descriptor)
                    raise AccordError(f"{destination} is already being downloaded by another process.") from None
                os.close(descriptor)

    def held(self) -> Held:
        """What is there, hashed again; the last byte is given up, so that there is always something left to ask for."""
        with translated(self.path):
            size = max(0, os.fstat(self._descriptor).st_size - 1)
            os.ftruncate(self._descriptor, size)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            hasher: Any = blake3()
            while block := os.read(self._descriptor, BLOCK_BYTES):
                hasher.update(block)
            self._size_bytes = size
            return Held(self.digest, size, hasher)

    def rewind(self) -> None:
        with translated(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._size_bytes = 0

    def write(self, blocks: list[bytes]) -> None:
        """Append, in the background: while the disk takes these, the next can be received. Raises what became of the last ones; once
        one append failed, all that follow do."""
        self._written()
        self._writing = self._writer.submit(self._append, blocks)

    def _append(self, blocks: list[bytes]) -> None:
        try:
            for start in range(0, len(blocks), MAX_BUFFERS):
                self._append_together(blocks[start : start + MAX_BUFFERS])
        except OSError:
            # What a refused call left behind is nobody's word: only what was taken for certain is kept.
            os.ftruncate(self._descriptor, self._size_bytes)
            raise

    def _append_together(self, blocks: list[bytes]) -> None:
        written = os.writev(self._descriptor, blocks)
        self._size_bytes += written
        if written < sum(map(len, blocks)):
            rest = memoryview(b"".join(blocks))[written:]
            while rest:
                written = os.write(self._descriptor, rest)
                self._size_bytes += written
                rest = rest[written:]

    def _written(self) -> None:
        if self._writing is not None:
            try:
                with translated(self.path):
                    self._writing.result()
            except NotSaved as error:
                raise self._kept(error) from error

    def _kept(self, error: NotSaved) -> NotSaved:
        """The error, with what becomes of the bytes that are there."""
        kept = os.fstat(self._descriptor).st_size
        if not kept:
            return error
        return NotSaved(
            f"{error.detail} The {kept} bytes that arrived are kept in that file; the next download continues them.",
            extra={**error.extra, "part": str(self.path), "kept_bytes": kept},
        )

    def finish(self, destination: Path, modified: str | None, *, executable: bool, clobber: bool) -> None:
        """Time and executable bit, fsync, rename, fsync of the folder: the destination is the old file or the whole new one, also
        after a crash."""
        self._written()
        with translated(destination):
            if modified is not None:
                at_ns = _nanoseconds(modified)
                os.utime(self._descriptor, ns=(at_ns, at_ns))
            if executable:
                mode = os.fstat(self._descriptor).st_mode
                os.fchmod(self._descriptor, stat.S_IMODE(mode) | (mode & _READABLE) >> 2)
            os.fsync(self._descriptor)
            if clobber:
                os.replace(self.path, destination)
            else:
                try:
                    os.link(self.path, destination)
                except FileExistsError:
                    raise exists(destination) from None
                os.unlink(self.path)
            folder = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def drop(self) -> None:
        with translated(self.path):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Waits for what is still being written: it need not come again. A part that holds nothing is removed."""
        self._writer.shutdown()
        if self._descriptor < 0:
            return
        try:
            if os.fstat(self._descriptor).st_size == 0:
                self.drop()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1


def newest_part(destination: Path) -> Digest | None:
    """Which version an interrupted download to `destination` was of, if there was one."""
    with translated(destination.parent):
        found = [(path.stat().st_mtime_ns, path) for path in _parts(destination) if path.is_file()]
    if not found:
        return None
    match = _PART.search(max(found)[1].name)
    return Digest(bytes.fromhex(match["hex"])) if match else None


def drop_other_parts(destination: Path, digest: Digest) -> None:
    """What is left of versions that are not wanted any more."""
    keep = _part_path(destination, digest)
    with translated(destination.parent):
        for path in _parts(destination):
            if path != keep:
                path.unlink(missing_ok=True)


def settle(destination: str | os.PathLike[str], name: str) -> Path:
    """Where a file called `name` goes: into a folder, through a link, or just there. Raises `UsageError`, `StoreFailed`."""
    path = checked_local(destination)
    with translated(path):
        if path.is_dir():
            path = path / name
        elif str(destination).endswith("/"):
            raise UsageError(f"{destination} is not a folder.")
        if path.is_symlink():
            path = Path(os.path.realpath(path))
        if path.is_dir():
            raise UsageError(f"{path} is a folder.")
        if not path.parent.is_dir():
            raise UsageError(f"The folder {path.parent} does not exist.")
    return path


def _nanoseconds(modified: str) -> int:
    """All nine digits, of which a datetime keeps six."""
    whole = (datetime.fromisoformat(modified) - _EPOCH) // timedelta(microseconds=1) * 1000
    digits = _FRACTION.search(modified)
    return whole + (int(digits[1].ljust(9, "0")[6:9]) if digits else 0)


def exists(destination: Path) -> AlreadyThere:
    return AlreadyThere(
        f"{destination} is there already, and was not overwritten.", extra={"destination": str(destination)}
    )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """The operating system's refusals as `NotSaved`, with its own words."""
    try:
        yield
    except OSError as error:
        raise NotSaved(f"{path}: {error.strerror or error}.", extra={"errno": error.errno}) from error


def _prefix(destination: Path) -> str:
    """The destination's name as far as it fits, never cut inside a character."""
    return "." + os.fsencode(destination.name)[:MAX_NAME_BYTES].decode(errors="ignore")


def _part_path(destination: Path, digest: Digest) -> Path:
    return destination.parent / f"{_prefix(destination)}.{digest.hex()}{PART_SUFFIX}"


def _parts(destination: Path) -> Iterator[Path]:
    prefix = _prefix(destination)
    for entry in os.scandir(destination.parent):
        if entry.name.startswith(prefix) and _PART.fullmatch(entry.name[len(prefix) :]):
            yield destination.parent / entry.name
