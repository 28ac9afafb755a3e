"""The one durable-write recipe: how known bytes become the copy at a path.

    temporary file on the same file system → hash while writing → fsync → clock into the index → rename → fsync of the folder
    and of every new ancestor → stat data into the index → acknowledge

The clock goes into the index, durably, *before* the rename. A crash between the two then leaves a path that knows of a version it
has not got (a lost copy, healed like any other); the other way round it would leave content of unknown origin, which would be taken
for a change made behind Accord's back. The stat data that follow only save hashing again, so they are committed with the next batch.

A failed fsync is never tried again: what the kernel did with the pages is unknown (Rebello et al., USENIX ATC 2020). Blocking.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from contextlib import suppress
from dataclasses import replace

from blake3 import blake3

from accord.errors import IntegrityError, StoreFailed
from accord.model.names import Digest, FilePath
from accord.model.verdict import Present
from accord.model.versions import Clock, Version, merge
from accord.store.records import RACY_WINDOW_NS, Record, Stat
from accord.store.workshop import REPLACING_SUFFIX, Workshop, store_failure

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_TEMP_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW_FILE_MODE = 0o666
_MAX_UTIME_NS = (1 << 63) - 1
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


class StagedFile:
    """One copy being taken in. Not thread-safe: one call at a time. After `commit` or `abort` nothing is left in staging."""

    def __init__(
        self,
        shop: Workshop,
        path: FilePath,
        version: Version,
        clock: Clock,
        seen: Stat | None,
        record: Record | None,
        *,
        overtaken: bool = False,
    ) -> None:
        """`seen` and `record` are what is to be replaced. `overtaken`: it is not what the taker was told, so that nothing will be
        committed. Raises `DiskFull` at once where the copy cannot fit."""
        shop.health.refuse_if_unfit()
        self._shop, self._path, self._version, self._clock = shop, path, version, clock
        self._seen, self._record, self._overtaken = seen, record, overtaken
        self._hasher, self._size = blake3(), 0
        self._name = secrets.token_hex(16)
        self._fd: int | None = None
        try:
            space = os.fstatvfs(shop.staging_fd)
            if version.size > space.f_bavail * space.f_frsize:
                raise OSError(errno.ENOSPC, "")
            self._fd = os.open(self._name, _TEMP_FLAGS, _NEW_FILE_MODE, dir_fd=shop.staging_fd)
        except OSError as error:
            raise store_failure(error, f"taking in '{path}'") from error

    @property
    def _open_fd(self) -> int:
        if self._fd is None:
            raise StoreFailed("This staging has already ended.", path=self._path)
        return self._fd

    def write(self, block: bytes) -> None:
        fd = self._open_fd
        if self._size + len(block) > self._version.size:
            raise IntegrityError("More bytes came than the version has.", path=self._path)
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError as error:
            raise store_failure(error, f"taking in '{self._path}'") from error
        self._hasher.update(block)
        self._size += len(block)

    def commit(self) -> Present | None:
        fd = self._open_fd
        try:
            digest = Digest(self._hasher.digest())
            if digest != self._version.digest or self._size != self._version.size:
                raise IntegrityError("The bytes that came are not those of the version.", path=self._path)
            self._shop.health.refuse_if_unfit()
            self._dress(fd)
            self._shop.sync(fd)
            return self._publish(fd, digest) if self._still_as_seen() else None
        except OSError as error:
            raise store_failure(error, f"taking in '{self._path}'") from error
        finally:
            self.abort()

    def abort(self) -> None:
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        with suppress(FileNotFoundError):  # renamed to its place
            os.unlink(self._name, dir_fd=self._shop.staging_fd)

    def _dress(self, fd: int) -> None:
        """The modified time and the executable bit, which travel with the version; the rest is this machine's custom."""
        mode = os.fstat(fd).st_mode & 0o777
        if self._version.executable:
            os.fchmod(fd, mode | (mode & 0o444) >> 2)
        at_ns = min(max(self._version.modified_ns, -_MAX_UTIME_NS), _MAX_UTIME_NS)
        os.utime(fd, ns=(at_ns, at_ns))

    def _still_as_seen(self) -> bool:
        return (
            not self._overtaken
            and self._shop.stat_of(self._path) == self._seen
            and self._shop.index.get(self._path) == self._record
        )

    def _publish(self, fd: int, digest: Digest) -> Present | None:
        shop, record = self._shop, self._record
        folder = shop.folder_for(self._path)
        try:
            promised = self._promise()
            if promised is None:
                return None
            if not (self._move_in(folder) if self._seen is None else self._exchange(folder)):
                return None
            shop.sync(folder)
        finally:
            os.close(folder)
        status = os.fstat(fd)
        record = Record(
            promised.clock,
            Stat.of(status),
            digest,
            self._vouched_from(status),
            executable=self._version.executable,
            shared=promised.shared,
        )
        shop.index.replace(self._path, promised, record, durable=False)
        return record.present()

    def _promise(self) -> Record | None:
        """The clock, durably, before there is any content; None if somebody recorded something else meanwhile."""
        record = self._record
        known = record.clock if record is not None else Clock()
        promised = replace(record or Record(known), clock=merge(known, self._clock), deleted=False)
        return promised if self._shop.index.replace(self._path, record, promised, durable=True) else None

    def _move_in(self, folder: int) -> bool:
        return _rename2(self._shop.staging_fd, self._name, folder, self._path.name, _RENAME_NOREPLACE)

    def _exchange(self, folder: int) -> bool:
        """Swap with the damaged file, see that it was that one, and put it into quarantine. No moment leaves the path empty."""
        shop, name = self._shop, self._path.name
        marked = self._name + REPLACING_SUFFIX
        os.rename(self._name, marked, src_dir_fd=shop.staging_fd, dst_dir_fd=shop.staging_fd)
        self._name = marked
        if not _rename2(shop.staging_fd, self._name, folder, name, _RENAME_EXCHANGE):
            return False
        out = Stat.of(os.stat(self._name, dir_fd=shop.staging_fd, follow_symlinks=False))
        if self._seen is None or out._replace(ctime_ns=0) != self._seen._replace(ctime_ns=0):
            _rename2(shop.staging_fd, self._name, folder, name, _RENAME_EXCHANGE)
            return False
        os.rename(self._name, self._name, src_dir_fd=shop.staging_fd, dst_dir_fd=shop.quarantine_fd)
        shop.sync(shop.quarantine_fd)
        shop.clean_quarantine()
        return True

    def _vouched_from(self, status: os.stat_result) -> int:
        """Until the rename nobody else could write to the file, and a write since then would have moved its modified time away
        from the version's: so the stat data vouch at once, unless the version itself is from this very moment."""
        now_ns = self._shop.now_ns()
        if abs(now_ns - status.st_mtime_ns) <= RACY_WINDOW_NS:
            return now_ns
        return status.st_ctime_ns + RACY_WINDOW_NS + 1


def _rename2(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> bool:
    """renameat2; False where the other side is (EEXIST) or is not (ENOENT) there against expectation. Raises `OSError`."""
    if _renameat2 is not None and _renameat2(from_fd, name.encode(), to_fd, new_name.encode(), flags) == 0:
        return True
    code = ctypes.get_errno() if _renameat2 is not None else errno.ENOSYS
    if code in (errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTEMPTY):
        return False
    if code in (errno.EINVAL, errno.ENOSYS):
        return _rename_plainly(from_fd, name, to_fd, new_name, flags)
    raise OSError(code, os.strerror(code))


def _rename_plainly(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> bool:
    """For file systems without renameat2's flags: a hard link refuses to replace; an exchange takes two steps, and a crash
    between them leaves a lost copy, which is healed like any other."""
    if flags == _RENAME_EXCHANGE:
        os.rename(new_name, "out-" + name, src_dir_fd=to_fd, dst_dir_fd=from_fd)
    try:
        os.link(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    except FileExistsError:
        return False
    os.unlink(name, dir_fd=from_fd)
    if flags == _RENAME_EXCHANGE:
        os.rename("out-" + name, name, src_dir_fd=from_fd, dst_dir_fd=from_fd)
    return True
