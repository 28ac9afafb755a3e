"""Doing what a commit has promised to one path: the staged file goes there, what was there goes to history. Blocking.

Written as "look, then take the next step", so that it ends rightly from whatever point a crash left it at, and start-up runs the very
same. What comes out of a path is looked at again once nobody can reach it any more: if it is not what was expected, somebody changed
it behind Accord's back, and it goes back; the promised content is then kept aside, as its rival.

    staged file not moved yet → into the free place, or in exchange for what is there
    what came out is there    → as expected: to history (damaged: to quarantine); otherwise back to its place
    neither                   → done
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from enum import Enum

from accord.errors import StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import EMPTY_FOLDER
from accord.store.intents import Intent
from accord.store.kept import Kept
from accord.store.records import Stat
from accord.store.renaming import OUT_PREFIX, exchange, move_in
from accord.store.workshop import Workshop, store_failure

_TRIES = 8
"""How often others may change what is at the path between two of our steps."""


class End(Enum):
    """How an intent came to its end."""

    DONE = "done"
    """It is as it was meant to be."""
    OVERRULED = "overruled"
    """Somebody else put something at the path, and it stays there. What was to go there is aside."""


class _Next(Enum):
    AGAIN = "again"


class Mover:
    """`keeps_history` False: what is superseded is dropped at once."""

    def __init__(self, shop: Workshop, kept: Kept, *, keeps_history: bool) -> None:
        self._shop = shop
        self._kept = kept
        self._keeps_history = keeps_history

    def finish(self, intent: Intent, *, is_new: bool = False) -> End:
        """`is_new`: nothing of it was done yet, so that the first step is known without a look. Raises `StoreFailed` or `DiskFull`;
        it may then be tried again, or left to the next start."""
        try:
            end = self._ended(intent, is_new=is_new)
            self._rescue(intent)
            return end
        except OSError as error:
            raise store_failure(error, f"putting '{intent.path}' into its place") from error

    def _ended(self, intent: Intent, *, is_new: bool) -> End:
        end = self._move_in(intent) if is_new and intent.inode else _Next.AGAIN
        for _ in range(_TRIES):
            if isinstance(end, End):
                return end
            end = self._step(intent)
        return end if isinstance(end, End) else self._overrule(intent)

    def sync_folder(self, path: FilePath) -> None:
        """Raises `OSError`, or `StoreFailed`."""
        with suppress(FileNotFoundError):
            folder = self._shop.beneath.open_folder(path.parent)
            try:
                self._shop.sync(folder)
            finally:
                os.close(folder)

    def _step(self, intent: Intent) -> End | _Next:
        inode = self._shop.staged_inode(intent.name)
        if inode is not None and inode != intent.inode:
            end = self._put_away(intent)
            self.sync_folder(intent.path)
            if not intent.inode and end is End.DONE:
                self._shop.prune_above(intent.path)
            return end
        if inode is not None:
            return self._move_in(intent)
        return End.DONE if intent.inode else self._take_out(intent)

    def _move_in(self, intent: Intent) -> End | _Next:
        shop, path = self._shop, intent.path
        if intent.was_kept and intent.digest is not None:
            self._kept.drop_name(intent.digest, intent.inode)
        try:
            folder = shop.folder_for(path)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # somebody put something else in the place of a folder
                return self._overrule(intent)
            raise
        try:
            shop.step("move in")
            if move_in(shop.staging_fd, intent.name, folder, path.name):
                shop.sync(folder)
                return End.DONE
            there = shop.seen_at(path)
            if there == EMPTY_FOLDER:
                with suppress(OSError):  # something came into it
                    shop.remove_empty_tree(path)
                return _Next.AGAIN
            if isinstance(there, str) or (there is not None and intent.old is None):
                return self._overrule(intent)
            if there is not None:
                shop.step("exchange")
                if exchange(shop.staging_fd, intent.name, folder, path.name) and self._came_out_as_expected(intent):
                    end = self._put_away(intent)
                    shop.sync(folder)
                    return end
            return _Next.AGAIN
        finally:
            os.close(folder)

    def _take_out(self, intent: Intent) -> End | _Next:
        """A deletion: what is there gets its name in staging, and is looked at there."""
        shop, path = self._shop, intent.path
        there = shop.seen_at(path)
        if not isinstance(there, Stat):
            shop.prune_above(path)
            return End.DONE
        if not _is_same(there, intent.old):
            return End.OVERRULED
        folder = shop.beneath.open_folder(path.parent)
        try:
            shop.step("take out")
            if not move_in(folder, path.name, shop.staging_fd, intent.name):
                return _Next.AGAIN
            end = self._put_away(intent)
            shop.sync(folder)
        finally:
            os.close(folder)
        if end is End.DONE:
            shop.prune_above(path)
        return end

    def _put_away(self, intent: Intent) -> End | _Next:
        """What has the name in staging came out of the path."""
        if not self._came_out_as_expected(intent):
            return self._put_back(intent)
        if intent.old_digest is None:
            self._shop.quarantine(intent.name, self._shop.staging_fd)
        else:
            self._kept.put_away(intent.name, intent.old_digest, is_kept=self._keeps_history)
        return End.DONE

    def _came_out_as_expected(self, intent: Intent) -> bool:
        status = os.stat(intent.name, dir_fd=self._shop.staging_fd, follow_symlinks=False)
        return _is_same(Stat.of(status), intent.old)

    def _put_back(self, intent: Intent) -> End | _Next:
        shop, path = self._shop, intent.path
        folder = shop.folder_for(path)
        try:
            shop.step("put back")
            if intent.inode and exchange(shop.staging_fd, intent.name, folder, path.name):
                shop.sync(folder)
                return self._overrule(intent) if shop.staged_inode(intent.name) == intent.inode else _Next.AGAIN
            if not move_in(shop.staging_fd, intent.name, folder, path.name):
                shop.quarantine(intent.name, shop.staging_fd)  # its place was taken in turn
            shop.sync(folder)
            return End.OVERRULED
        finally:
            os.close(folder)

    def _overrule(self, intent: Intent) -> End:
        """What was to go to the path is kept aside; the record says so first."""
        if intent.digest is None or self._shop.staged_inode(intent.name) != intent.inode:
            return End.OVERRULED
        self._tell_aside(intent.path, intent)
        if not self._kept.take_in(intent.name, intent.digest):
            self._shop.drop_staged(intent.name)
        self._kept.sync([intent.digest])
        return End.OVERRULED

    def _tell_aside(self, path: FilePath, intent: Intent) -> None:
        index = self._shop.index
        for _ in range(_TRIES):
            record = index.get(path)
            if record is None or intent.digest is None or intent.digest in record.aside:
                return
            after = replace(record, aside=tuple(sorted({*record.aside, intent.digest})))
            if index.replace(path, record, after, durable=True):
                return
        raise StoreFailed(f"'{path}' is changed all the time.", path=path)

    def _rescue(self, intent: Intent) -> None:
        """Where a file system knows no exchange, a crash may leave what came out under a name of its own."""
        name = OUT_PREFIX + intent.name
        if self._shop.staged_inode(name) is None:
            return
        if intent.old_digest is None:
            self._shop.quarantine(name, self._shop.staging_fd)
        else:
            self._kept.put_away(name, intent.old_digest, is_kept=self._keeps_history)


def _is_same(seen: Stat, expected: Stat | None) -> bool:
    """Whether it is the very file that was recorded: renaming moves nothing but its change time."""
    return expected is not None and seen._replace(ctime_ns=0) == expected._replace(ctime_ns=0)
