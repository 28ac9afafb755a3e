"""Resumable uploads on this server's disk: the bytes that have come, and what is to become of them, under `.accord/uploads/`.

    <id>         the content so far
    <id>.json    what is known of it; its offset counts only bytes that are durable

What a restart finds is what was acknowledged: bytes behind the offset are cut off before more are added. How uploads are spoken of is
left to `server.uploads`; the file that comes of one is written by the engine, like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from accord.background import begun, ended
from accord.errors import AccordError, DiskFull, NoSuchUpload, StoreFailed, UploadBusy

EXPIRES_AFTER_S = 24 * 60 * 60
"""Since the last byte that came."""
SWEEP_S = 600.0
PATIENCE_S = 1.0
"""How long a request waits for another one to let go of an upload."""
ID_BYTES = 24
BLOCK_BYTES = 1024 * 1024

_ID = re.compile(r"[A-Za-z0-9_-]{32}\Z")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_log = structlog.get_logger("accord.uploads")


class Upload(msgspec.Struct):
    """One upload. `fields` are the header fields of the write that it is to become, `metadata` is Upload-Metadata as it was given,
    `touched_s` since the epoch. `done`: it has become a file, and these are the fields that tell of it."""

    id: str
    length: int
    path: str
    fields: dict[str, str]
    metadata: str
    touched_s: float
    offset: int = 0
    done: dict[str, str] | None = None

    @property
    def expires_s(self) -> float:
        return self.touched_s + EXPIRES_AFTER_S

    @property
    def is_complete(self) -> bool:
        return self.offset == self.length


class UploadFiles:
    """All uploads of one server. The folder is made with the first. `now_s` is since the epoch. What is
    `async` is for the event loop's thread; the other methods wait for the disk: run them in another."""

    def __init__(self, folder: Path, *, now_s: Callable[[], float] = time.time, patience_s: float = PATIENCE_S) -> None:
        self._folder = folder
        self._now_s = now_s
        self._patience_s = patience_s
        self._taken: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None

    # --- in the background ---

    def start(self) -> None:
        self._task = begun(self._work(), name="uploads")

    async def close(self) -> None:
        await ended(self._task)

    async def _work(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.sweep)
            except StoreFailed as error:
                _log.warning("expired uploads could not be removed", reason=error.detail)
            await asyncio.sleep(SWEEP_S)

    @asynccontextmanager
    async def taken(self, id: str) -> AsyncIterator[None]:
        """Raises `UploadBusy` while another request has it, and goes on having it."""
        if not await self.is_free(id):
            raise UploadBusy("Another request is adding to this upload. Try again when it has ended.")
        released = self._taken[id] = asyncio.Event()
        try:
            yield
        finally:
            del self._taken[id]
            released.set()

    async def is_free(self, id: str) -> bool:
        """Whether nobody has it, after waiting a moment for who is about to let it go: a client whose connection was cut comes back
        before the server has put away what it got."""
        end_s = asyncio.get_running_loop().time() + self._patience_s
        try:
            async with asyncio.timeout_at(end_s):
                while id in self._taken:
                    await self._taken[id].wait()
        except TimeoutError:
            return False
        return True

    # --- on the disk ---

    def max_bytes(self) -> int:
        """What a new upload may have: while it becomes a file there are two of it."""
        folder = self._folder if self._folder.exists() else self._folder.parent
        with _disk():
            return shutil.disk_usage(folder).free // 2

    def create(self, length: int, path: str, fields: dict[str, str], metadata: str) -> Upload:
        upload = Upload(secrets.token_urlsafe(ID_BYTES), length, path, fields, metadata, self._now_s())
        with _disk():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._folder.parent)
            os.close(os.open(self._data(upload.id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self.save(upload)
        return upload

    def load(self, id: str) -> Upload:
        """Raises `NoSuchUpload`."""
        if not _ID.match(id):
            raise NoSuchUpload("There is no such upload.")
        try:
            with _disk():
                upload = msgspec.json.decode(self._state(id).read_bytes(), type=Upload)
        except msgspec.DecodeError:
            raise NoSuchUpload("This upload cannot be read any more.") from None
        if upload.expires_s <= self._now_s():
            raise NoSuchUpload("This upload has expired.")
        return upload

    def save(self, upload: Upload) -> None:
        """Durable before it returns, as a whole; where that fails, what was saved before stays."""
        state = self._state(upload.id)
        new = state.with_suffix(".new")
        with _disk():
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _write_all(fd, msgspec.json.encode(upload))
                os.fsync(fd)
            except OSError:
                new.unlink(missing_ok=True)
                raise
            finally:
                os.close(fd)
            os.rename(new, state)
            _sync_folder(self._folder)

    def appending(self, upload: Upload) -> Appending:
        return Appending(self, upload, self._data(upload.id))

    def reading(self, upload: Upload) -> Iterator[bytes]:
        with _disk(), open(self._data(upload.id), "rb", buffering=0) as data:
            while block := data.read(BLOCK_BYTES):
                yield block

    def finish(self, upload: Upload, done: dict[str, str]) -> None:
        """It has become a file: its bytes are let go, and what became of it is remembered until it expires."""
        upload.done, upload.touched_s = done, self._now_s()
        self.save(upload)
        with _disk():
            self._data(upload.id).unlink(missing_ok=True)

    def remove(self, id: str) -> None:
        with _disk():
            for file in (self._state(id), self._state(id).with_suffix(".new"), self._data(id)):
                file.unlink(missing_ok=True)

    def touch(self, upload: Upload) -> None:
        upload.touched_s = self._now_s()

    def sweep(self) -> int:
        """Remove what has expired, and what a crash left over. Says how many."""
        removed = 0
        with _disk():
            names = {name.partition(".")[0] for name in os.listdir(self._folder)} if self._folder.is_dir() else set()
        for id in names - set(self._taken):
            if not _ID.match(id) or not self._is_over(id):
                continue
            self.remove(id)
            removed += 1
        return removed

    def _is_over(self, id: str) -> bool:
        try:
            self.load(id)
        except NoSuchUpload:
            # A state that is just being written for the first time is not there yet.
            with contextlib.suppress(OSError):
                return self._state(id).exists() or self._now_s() - self._data(id).stat().st_mtime > SWEEP_S
            return True
        return False

    def _data(self, id: str) -> Path:
        return self._folder / id

    def _state(self, id: str) -> Path:
        return self._folder / f"{id}.json"


class Appending:
    """More bytes of one upload; every method waits for the disk. `close` it in any case; what was not `kept` is dropped."""

    def __init__(self, files: UploadFiles, upload: Upload, data: Path) -> None:
        self._files = files
        self._upload = upload
        self.written_bytes = 0
        with _disk():
            self._fd = os.open(data, os.O_WRONLY | os.O_CLOEXEC)
            os.ftruncate(self._fd, upload.offset)
            os.lseek(self._fd, upload.offset, os.SEEK_SET)

    def write(self, block: bytes) -> None:
        with _disk():
            _write_all(self._fd, block)
        self.written_bytes += len(block)

    def keep(self) -> None:
        """What was written is durable, and counts."""
        if not self.written_bytes:
            return
        with _disk():
            os.fsync(self._fd)
        # They stay from here on, counted or not: what failed may have been the very last of saving that they count.
        kept_bytes, self.written_bytes = self.written_bytes, 0
        self._upload.offset += kept_bytes
        self._files.touch(self._upload)
        try:
            self._files.save(self._upload)
        except AccordError:
            self._upload.offset -= kept_bytes
            raise

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self.written_bytes:
                os.ftruncate(self._fd, self._upload.offset)
        os.close(self._fd)


def _write_all(fd: int, content: bytes) -> None:
    """A nearly full disk takes a part of what it is given, and says so."""
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _disk() -> Iterator[Any]:
    try:
        yield
    except FileNotFoundError:
        raise NoSuchUpload("There is no such upload: it was ended, or has expired.") from None
    except OSError as error:
        kind = DiskFull if error.errno in _FULL else StoreFailed
        raise kind(f"The upload cannot be kept on this server's disk: {error.strerror}.") from error
