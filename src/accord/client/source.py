"""The content of a write: where it is read from, in which pieces, and its digest, known beforehand or made as it passes.

A source that can begin again may be offered to another server when the first one could not take it. What is done with the pieces is
left to `client.writing`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from blake3 import blake3

from accord.client.given import checked_local
from accord.errors import AccordError, UsageError
from accord.model.names import Digest

BLOCK_BYTES: Final = 1024 * 1024
"""How much is handed over at once. Also the size up to which content is hashed beforehand and sent without asking for leave."""

Progress = Callable[[int, int | None], None]


class Source:
    """`size` in bytes, None if nobody knows; `digest` once it is known; `modified` is RFC 3339 text. Not usable for two writes.

    `has_begun`: a first piece was asked for; `has_ended`: all pieces have left, so that a server may have the whole.
    """

    can_restart = True
    is_file = False
    size: int | None = None
    digest: Digest | None = None
    modified: str | None = None
    executable = False
    has_begun = False
    has_ended = False

    def body(self, progress: Progress | None) -> Iterable[bytes] | AsyncIterable[bytes]:
        """All of it, from its beginning. Raises `AccordError` when it changes meanwhile."""
        return self._passing(self.pieces(), progress)

    def pieces(self) -> Iterator[bytes]:
        raise NotImplementedError

    @property
    def is_small(self) -> bool:
        return self.size is not None and self.size <= BLOCK_BYTES

    def hash_if_small(self) -> None:
        """What is small is read twice, so that the server hears of its digest first."""
        if self.is_small and self.can_restart and self.digest is None:
            self.digest = Digest(blake3(b"".join(self.pieces())).digest())

    def _passing(self, pieces: Iterator[bytes], progress: Progress | None) -> Iterator[bytes]:
        passing = Passing(self, progress)
        for piece in pieces:
            for block in passing.cut(piece):
                yield block
                passing.passed(block)
        passing.end()


class Passing:
    """One reading of a source: counts and hashes what passes. The digest is known at the end, unless it was before."""

    def __init__(self, source: Source, progress: Progress | None) -> None:
        self._source, self._progress = source, progress
        self._hasher: Any = None if source.digest is not None else blake3()
        self._done_bytes = 0
        source.has_begun, source.has_ended = True, False

    def cut(self, piece: bytes) -> Iterator[bytes]:
        """Huge pieces are handed over in blocks; empty ones mean nothing."""
        view = memoryview(_bytes(piece))
        for start in range(0, len(view), BLOCK_BYTES):
            block = bytes(view[start : start + BLOCK_BYTES]) if len(view) > BLOCK_BYTES else piece
            if self._hasher is not None:
                self._hasher.update(block)
            yield block

    def passed(self, block: bytes) -> None:
        self._done_bytes += len(block)
        if self._progress is not None:
            self._progress(self._done_bytes, self._source.size)

    def end(self) -> None:
        self._source.has_ended = True
        if self._hasher is not None:
            self._source.digest = Digest(self._hasher.digest())


class BytesSource(Source):
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def pieces(self) -> Iterator[bytes]:
        yield self._content


class FileSource(Source):
    """A regular file. Should it change while it is read, the reading ends before its last byte: no mixture is ever stored."""

    is_file = True

    def __init__(self, path: Path, *, follow: bool = True, digest: Digest | None = None) -> None:
        self._path = path
        self._flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        self.digest = digest
        self._seen = self._look()
        self.size = self._seen.st_size
        self.modified = rfc3339(self._seen.st_mtime_ns)
        self.executable = bool(self._seen.st_mode & stat.S_IXUSR)

    def _look(self) -> os.stat_result:
        descriptor = self._open()
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, self._flags)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
        except OSError as error:
            raise unreadable(self._path, error) from error
        raise UsageError(f"{self._path} is no regular file.")

    def pieces(self) -> Iterator[bytes]:
        with open(self._open(), "rb", buffering=0) as file:
            before, done, held = os.fstat(file.fileno()), 0, b""
            while True:
                try:
                    piece = file.read(BLOCK_BYTES)
                except OSError as error:
                    raise unreadable(self._path, error) from error
                done += len(piece)
                after = os.fstat(file.fileno())
                if done > self._seen.st_size or has_changed(self._seen, before) or has_changed(before, after):
                    raise self._changed()
                if not piece:
                    break
                if held:
                    yield held
                held = piece
            if done != self._seen.st_size:
                raise self._changed()
            if held:
                yield held

    def _changed(self) -> AccordError:
        return AccordError(f"{self._path} was changed while it was read.")


class StreamSource(Source):
    """An open file, a pipe or the like, from where it stands."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start: int | None = None
        self.can_restart = False
        try:
            if file.seekable() and not _is_special(file):
                self._start = file.tell()
                self.size = file.seek(0, os.SEEK_END) - self._start
                file.seek(self._start)
                self.can_restart = True
        except (OSError, AttributeError):
            self.size = None

    def pieces(self) -> Iterator[bytes]:
        try:
            if self._start is not None:
                self._file.seek(self._start)
            while piece := self._file.read(BLOCK_BYTES):
                yield _bytes(piece)
        except OSError as error:
            raise unreadable(getattr(self._file, "name", "the content"), error) from error


class IterableSource(Source):
    can_restart = False

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        return iter(self._pieces)


class AsyncIterableSource(Source):
    """For the client with a loop only."""

    can_restart = False

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces

    def body(self, progress: Progress | None) -> AsyncIterable[bytes]:
        return self._passing_by(progress)

    async def _passing_by(self, progress: Progress | None) -> AsyncIterator[bytes]:
        passing = Passing(self, progress)
        async for piece in self._pieces:
            for block in passing.cut(piece):
                yield block
                passing.passed(block)
        passing.end()


Content = Source | bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]


def source_of(content: Content) -> Source:
    """Bytes are content; a `Path` names a file; anything else is read. Text is refused: it might be meant as either.

    Raises `AccordError` for what cannot be read."""
    match content:
        case Source():
            return content
        case bytes() | bytearray() | memoryview():
            return BytesSource(bytes(content))
        case str():
            raise UsageError("Text is no content: encode it, or name a file with pathlib.Path.")
        case os.PathLike():
            path = checked_local(content)
            return FileSource(path) if path.is_file() or not path.exists() else _special(path)
        case AsyncIterable():
            return AsyncIterableSource(content)
        case _ if hasattr(content, "read"):
            return StreamSource(cast(BinaryIO, content))
        case Iterable():
            return IterableSource(content)
    raise UsageError(
        f"Content is bytes, a path, an open file or pieces of bytes, and not of the type {type(content).__name__}."
    )


def rfc3339(at_ns: int) -> str:
    """In UTC with all nine digits."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def unreadable(name: object, error: OSError) -> AccordError:
    return AccordError(f"{name}: {error.strerror or error}.", extra={"errno": error.errno})


def _bytes(piece: object) -> bytes:
    """Also of a file that was opened for text, where the type said otherwise."""
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise UsageError(f"Content is read in pieces of bytes, and not of the type {type(piece).__name__}.")
    return piece  # type: ignore[return-value]


def _is_special(file: BinaryIO) -> bool:
    """Some devices say that they can seek, and are 0 bytes long."""
    try:
        return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (OSError, AttributeError):  # no file of the system's: it knows itself whether it can seek
        return False


def _special(path: Path) -> Source:
    """A pipe or a device is read as it comes; of a folder there is nothing to read."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder.")
    try:
        return StreamSource(path.open("rb", buffering=0))
    except OSError as error:
        raise unreadable(path, error) from error


def has_changed(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns, one.st_ino, one.st_dev) != (
        other.st_size,
        other.st_mtime_ns,
        other.st_ino,
        other.st_dev,
    )
