"""The bytes kept apart from the paths, under `.accord/versions/`: rivals, and what was superseded. One file a digest, whatever path it
is of: `versions/<first 2 hex>/<64 hex>`.

Which of them are needed is known from the index (`history_rows.is_needed`); what is needed no more is dropped here. What a commit is
about to promise is guarded meanwhile. Files get here by renaming, never by a second link to a file at a path: writing into that one
would change the other. Thread-safe. Blocking.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from accord.model.names import Digest, FilePath
from accord.store.confinement import FOLDER_FLAGS
from accord.store.hashing import hash_open_file
from accord.store.history_rows import is_needed
from accord.store.incoming import FileIncoming, InThread, refuse_what_cannot_fit
from accord.store.renaming import move_in
from accord.store.workshop import Workshop, store_failure

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_FICLONE = 0x40049409
FOLDERS = 256


class Kept:
    def __init__(self, shop: Workshop, versions_fd: int) -> None:
        self._shop = shop
        self._fd = versions_fd
        self._lock = threading.Lock()
        self._guarded: Counter[Digest] = Counter()

    @contextmanager
    def guarding(self, digests: Collection[Digest]) -> Iterator[None]:
        """Meanwhile they are needed, whatever the index says."""
        with self._lock:
            self._guarded.update(digests)
        try:
            yield
        finally:
            with self._lock:
                self._guarded.subtract(digests)
                self._guarded += Counter()  # without those at zero

    def has(self, digest: Digest) -> bool:
        return self.inode(digest) is not None

    def inode(self, digest: Digest) -> int | None:
        """Of the file that is kept under it."""
        try:
            return os.stat(_place(digest), dir_fd=self._fd, follow_symlinks=False).st_ino
        except OSError:
            return None

    def open(self, digest: Digest) -> int | None:
        """A file descriptor for reading, or None where it is not kept. Raises `StoreFailed`."""
        try:
            return self.open_or_raise(digest)
        except OSError as error:
            raise store_failure(error, "reading a kept version") from error

    def open_or_raise(self, digest: Digest) -> int | None:
        """As `open`, for those who tell errors apart. Raises `OSError`."""
        with suppress(FileNotFoundError):
            return os.open(_place(digest), _READ_FLAGS, dir_fd=self._fd)
        return None

    def take_in(self, name: str, digest: Digest) -> bool:
        """Move a staged file here; False if it is kept already. Raises `OSError`."""
        with self._lock:
            self._make_folder(digest)
            self._shop.step("keep")
            return move_in(self._shop.staging_fd, name, self._fd, _place(digest))

    def give_back(self, incoming: FileIncoming, digest: Digest, guards: int) -> None:
        """To staging again, as it was; a copy, where somebody else has come to count on what is here. `guards` are the caller's own.
        Raises `OSError`, `StoreFailed`."""
        with self._lock:
            self._shop.step("give back")
            if self._guarded[digest] <= guards and not self.is_needed(digest):
                os.rename(_place(digest), incoming.name, src_dir_fd=self._fd, dst_dir_fd=self._shop.staging_fd)
                return
        incoming.become_a_copy(clone)

    def sync(self, digests: Iterable[Digest]) -> None:
        """Make their names durable. Raises `StoreFailed`."""
        for folder in sorted({_folder(digest) for digest in digests}):
            try:
                fd = os.open(folder, FOLDER_FLAGS, dir_fd=self._fd)
            except OSError as error:
                raise store_failure(error, "syncing history") from error
            try:
                self._shop.sync(fd)
            finally:
                os.close(fd)

    def put_away(self, name: str, digest: Digest, *, is_kept: bool) -> None:
        """What came out of a path, under that name in staging: into history. `is_kept` False: history keeps nothing."""
        if not is_kept or not self.take_in(name, digest):
            self._shop.drop_staged(name)

    def drop_name(self, digest: Digest, inode: int) -> None:
        """The file has a second name, which goes to a path: it loses this one. Idempotent. Raises `OSError`."""
        with suppress(FileNotFoundError):
            if os.stat(_place(digest), dir_fd=self._fd, follow_symlinks=False).st_ino == inode:
                self._shop.step("unkeep")
                os.unlink(_place(digest), dir_fd=self._fd)

    def is_needed(self, digest: Digest, *, but_at: FilePath | None = None) -> bool:
        return self._shop.index.read(lambda db: is_needed(db, digest, but_at))

    def drop_unneeded(self, digests: Collection[Digest]) -> int:
        """Of these, drop what nothing needs any more; says how many were."""
        count = 0
        for digest in digests:
            with self._lock:
                if self._guarded[digest] or self.is_needed(digest):
                    continue
                self._shop.step("forget")
                with suppress(FileNotFoundError):
                    os.unlink(_place(digest), dir_fd=self._fd)
                    count += 1
        return count

    def sweep(self, number: int, before_ns: int) -> int:
        """Look through one of the `FOLDERS` for what nothing needs, as far as the index knows, and was brought here before that time:
        crashes leave such. Not at once, as an index that had to be begun anew knows of nothing, and this may be all there is."""
        try:
            fd = os.open(f"{number:02x}", FOLDER_FLAGS, dir_fd=self._fd)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise store_failure(error, "looking through the kept versions") from error
        old = []
        try:
            for name in os.listdir(fd):
                with suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=fd, follow_symlinks=False).st_ctime_ns < before_ns:
                        old.append(name)
        finally:
            os.close(fd)
        return self.drop_unneeded([digest for name in old if (digest := _digest_of(name)) is not None])

    def condemn(self, digest: Digest) -> None:
        """Its bytes are not what they should be: out of the way, into quarantine."""
        with self._lock, suppress(FileNotFoundError):
            name = digest.hex()
            os.rename(_place(digest), name, src_dir_fd=self._fd, dst_dir_fd=self._shop.staging_fd)
            self._shop.quarantine(name, self._shop.staging_fd)

    def copied(self, fd: int, digest: Digest, in_thread: InThread) -> FileIncoming | None:
        """All bytes of an open file as a finished incoming; None if they are not those of `digest`, or cannot be read."""
        refuse_what_cannot_fit(self._shop, None)
        incoming = FileIncoming(self._shop, in_thread)
        is_right = False
        try:
            incoming.fill_from(fd, clone)
            is_right = incoming.finish_now() == digest
        except OSError:  # of reading: writing raises `StoreFailed`
            is_right = False
        finally:
            if not is_right:
                incoming.end()
        return incoming if is_right else None

    def second_name(self, digest: Digest, in_thread: InThread) -> FileIncoming | None:
        """The kept file under a second name in staging, finished; None where the file system has no links, or it is gone."""
        incoming = FileIncoming(self._shop, in_thread)
        if not incoming.link_to(self._fd, _place(digest)):
            return None
        try:
            told, count = hash_open_file(incoming.fd)
        except OSError:
            told, count = None, 0
        if told != digest:
            incoming.end()
            return None
        incoming.finished, incoming.size = digest, count
        return incoming

    def _make_folder(self, digest: Digest) -> None:
        try:
            os.stat(_folder(digest), dir_fd=self._fd)
        except FileNotFoundError:
            self._shop.step("mkdir")
            with suppress(FileExistsError):
                os.mkdir(_folder(digest), 0o700, dir_fd=self._fd)
            self._shop.sync(self._fd)


def clone(source: int, into: int) -> bool:
    """Share the blocks of a file where the file system can (FICLONE): whether it did."""
    try:
        fcntl.ioctl(into, _FICLONE, source)
    except OSError:
        return False
    return True


def _folder(digest: Digest) -> str:
    return f"{digest[0]:02x}"


def _place(digest: Digest) -> str:
    return f"{digest[0]:02x}/{digest.hex()}"


def _digest_of(name: str) -> Digest | None:
    try:
        return Digest(bytes.fromhex(name))
    except ValueError:
        return None
