"""Taking in: durable or refused, and a refusal says why and changes nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from accord.errors import Conflict, DiskFull, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import EMPTY_FOLDER, Absent, Damaged, Present, Unreachable
from accord.model.versions import EMPTY_CLOCK, Version, found, merge
from accord.store.port import BLOCK_BYTES, Change
from accord.store.records import Stat, is_racy
from accord.store.workshop import QUARANTINE_FILES
from accord.testing.conformance import (
    HELLO,
    WAIT_S,
    change_to,
    contents,
    delete,
    digest_of,
    digests,
    looked,
    present,
    put,
    received,
    story,
    take_in,
    theirs,
    version_of,
)

from .disks import DirectoryDisk, open_disk

NOW_NS = 1_800_000_000_000_000_000
CHANGED_AFTER_NS = 1_234_567


class Fsync:
    """Counts, and fails from the `bad`-th call on."""

    def __init__(self, bad: int | None = None) -> None:
        self.calls = 0
        self.bad = bad

    def __call__(self, fd: int) -> None:
        self.calls += 1
        if self.bad is not None and self.calls >= self.bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(fd)


class At:
    """Does something before the first step of that name."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self._name = name
        self._act = act
        self.is_armed = False

    def __call__(self, name: str) -> None:
        if self.is_armed and name == self._name:
            self.is_armed = False
            self._act()


def staged(root: Path) -> list[str]:
    return os.listdir(root / ".accord" / "staging")


def kept(root: Path) -> set[str]:
    return {file.name for file in (root / ".accord" / "versions").glob("*/*")}


async def test_the_file_its_folder_and_each_new_ancestor_are_synced(tmp_path: Path) -> None:
    fsync = Fsync()
    async with open_disk(tmp_path, fsync=fsync) as disk:
        await put(disk.store, b"x", FilePath("a/b/file"))
        assert fsync.calls == 5  # the file, its times, the root (for a), a (for b), b (for the file)
        await put(disk.store, b"x", FilePath("a/b/other"))
        assert fsync.calls == 8


async def test_a_time_that_cannot_be_set_refuses_the_write_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        incoming = await disk.store.receive(1)
        await incoming.write(b"x")
        monkeypatch.setattr(os, "utime", _no_space)
        with pytest.raises(DiskFull):
            await disk.store.commit([Change(HELLO, EMPTY_CLOCK, found(version_of(b"x")), (incoming,))])
        monkeypatch.undo()
        await incoming.abort()
        assert staged(tmp_path) == []
        assert disk.content(HELLO) is None


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_folder_that_somebody_else_made_is_synced_when_it_is_first_written_to(tmp_path: Path) -> None:
    """Nobody knows whether whoever made it has: a process that was killed may not."""
    fsync = Fsync()
    async with open_disk(tmp_path, fsync=fsync) as disk:
        (tmp_path / "a" / "b").mkdir(parents=True)
        await put(disk.store, b"x", FilePath("a/b/file"))
        assert fsync.calls == 5  # as if this server had made them
        await put(disk.store, b"x", FilePath("a/other"))
        assert fsync.calls == 8
        (tmp_path / "a" / "b").rename(tmp_path / "a" / "elsewhere")
        (tmp_path / "a" / "b").mkdir()
        await put(disk.store, b"y", FilePath("a/b/file2"))
        assert fsync.calls == 12


async def test_content_that_its_commit_finishes_is_synced_once_with_its_times(tmp_path: Path) -> None:
    fsync = Fsync()
    async with open_disk(tmp_path, fsync=fsync) as disk:
        incoming = await disk.store.receive(1)
        await incoming.write(b"x")
        clock = found(version_of(b"x"))
        assert await disk.store.commit([Change(HELLO, EMPTY_CLOCK, clock, (incoming,))])
        assert fsync.calls == 2  # the file with its times, its folder
        assert (disk.root / HELLO).stat().st_mtime_ns == version_of(b"x").modified_ns


async def test_history_costs_a_commit_no_sync_once_its_folder_is_there(tmp_path: Path) -> None:
    fsync = Fsync()
    async with open_disk(tmp_path, fsync=fsync) as disk:
        for content in (b"one", b"two", b"one", b"two"):
            await put(disk.store, content)
        disk.store._parts.unfinished.strike_out()
        before = fsync.calls
        await put(disk.store, b"one")
        assert fsync.calls == before + 3
        disk.store._parts.unfinished.strike_out()
        disk.store._index.flush()
        assert fsync.calls == before + 4  # history's own, with the next batch
        assert disk.store._index.read(lambda db: db.execute("SELECT count(*) FROM pending").get) == 0


@pytest.mark.parametrize(
    ("modified_ns", "vouches"),
    [(NOW_NS, False), (NOW_NS + CHANGED_AFTER_NS, False), (NOW_NS + 1, True), (NOW_NS - 10_000_000_000, True)],
    ids=["rounded", "the kernel's own", "a version's own", "long ago"],
)
async def test_a_time_that_a_write_now_could_leave_too_does_not_vouch_at_once(
    tmp_path: Path, modified_ns: int, vouches: bool
) -> None:
    async with open_disk(tmp_path, now_ns=lambda: NOW_NS) as disk:
        stat = Stat(1, modified_ns, NOW_NS + CHANGED_AFTER_NS, 1, 1)
        hashed_at_ns = disk.store._committer._vouched_from(stat)
    assert is_racy(stat.ctime_ns, hashed_at_ns) != vouches


async def test_a_rival_is_durable_aside_before_it_is_promised(tmp_path: Path) -> None:
    synced: list[str] = []
    before: list[str] = []

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        os.fsync(fd)

    promise = At("promise", lambda: before.extend(synced))
    async with open_disk(tmp_path, fsync=fsync, step=promise) as disk:
        mine = await put(disk.store, b"mine")
        promise.is_armed = True
        await take_in(disk.store, merge(mine.clock, theirs(b"theirs")), b"theirs")
    assert str(tmp_path / ".accord" / "versions" / digest_of(b"theirs").hex()[:2]) in before


@pytest.mark.parametrize("bad", range(1, 9))
@pytest.mark.parametrize("doing", ["new", "overwrite", "delete", "rival"])
async def test_a_failed_fsync_fails_the_write_and_is_not_tried_again(tmp_path: Path, bad: int, doing: str) -> None:
    path, fsync = FilePath("folder/file"), Fsync()
    async with open_disk(tmp_path, fsync=fsync) as disk:
        if doing != "new":
            await put(disk.store, b"old", path)
        fsync.calls, fsync.bad = 0, bad
        clock = (await looked(disk.store, path)).clock
        try:
            if doing == "delete":
                await delete(disk.store, path)
            elif doing == "rival":
                await take_in(disk.store, merge(clock, theirs(b"new")), b"new", path=path)
            else:
                await put(disk.store, b"new", path)
        except StoreFailed:
            assert "could not be made durable" in (disk.store.degraded() or "")
            with pytest.raises(StoreFailed, match="no longer takes anything in"):
                await put(disk.store, b"x", FilePath("other"))
            assert fsync.calls == bad
        else:
            assert fsync.calls < bad
            assert disk.store.degraded() is None
    async with open_disk(tmp_path) as disk:
        assert staged(tmp_path) == []
        content = disk.content(path)
        assert content in ((None, b"new") if doing == "new" else (b"old", None if doing == "delete" else b"new"))
        if doing != "new" and content != b"old":
            assert (digest_of(b"old"), False, True) in await story(disk.store, path)  # intact
        assert not any("/outside/" in dot.actor for dot, _ in (await looked(disk.store, path)).clock.current())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.needs_root
async def test_a_full_disk_refuses_clearly_and_recovers(small: Path) -> None:
    async with open_disk(small) as disk:
        disk.write(HELLO, b"sound")
        before = await present(disk.store)
        with pytest.raises(DiskFull):  # at once, before any byte has come
            await disk.store.receive(17 * BLOCK_BYTES)
        assert disk.store.degraded() is None  # that one version does not fit says nothing about the disk
        await put(disk.store, b"x", FilePath("fits"))
        ballast = small / ".accord" / "ballast"
        incoming = await disk.store.receive(None)
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(20 * BLOCK_BYTES))
        await incoming.write(bytes(BLOCK_BYTES))
        with pytest.raises(DiskFull):
            await incoming.write(bytes(BLOCK_BYTES))
        await incoming.abort()
        disk.store._parts.shop.health._free_looked_s = -1e9  # a second later
        assert disk.store.degraded() == "its disk is full"
        assert disk.store.takes_in()
        assert await present(disk.store) == before
        ballast.unlink()
        disk.store._parts.shop.health._free_looked_s = -1e9
        assert disk.store.degraded() is None
        assert staged(small) == []
        await put(disk.store, b"x", FilePath("fits too"))


@pytest.mark.needs_root
async def test_on_a_full_disk_new_files_are_answered_and_events_refused(small: Path) -> None:
    async with open_disk(small) as disk:
        disk.write(HELLO, b"known")
        known = await present(disk.store)
        for number in range(40):
            (small / f"new{number}").write_bytes(b"%d" % number)
        with pytest.raises(OSError, match="No space left"):
            (small / ".accord" / "ballast").write_bytes(bytes(20 * BLOCK_BYTES))
        for _ in range(3):
            for number in range(40):
                assert (await present(disk.store, FilePath(f"new{number}"))).digest == digest_of(b"%d" % number)
                with suppress(StoreFailed):
                    disk.store._index.flush()
        disk.store._parts.shop.health._free_looked_s = -1e9  # a second later
        assert disk.store.degraded() == "its disk is full"
        disk.store._index._db.pragma("query_only", 1)  # a full disk may still have room in the journal
        (small / HELLO).write_bytes(b"later")  # in the block that it has
        assert isinstance(await disk.store.examine(HELLO, wait_s=WAIT_S), Unreachable)
        assert disk.store._index.get(HELLO).clock == known.clock  # type: ignore[union-attr]
        (small / ".accord" / "ballast").unlink()
        disk.store._index._db.pragma("query_only", 0)
        assert contents(await present(disk.store)) == {digest_of(b"known"), digest_of(b"later")}
        assert disk.store._index.failure is None


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["mkdir", "keep", "dress", "promise"])
async def test_a_disk_that_is_full_before_the_promise_changes_nothing(tmp_path: Path, step: str) -> None:
    path, full = FilePath("folder/file"), At(step, _full)
    async with open_disk(tmp_path, step=full) as disk:
        mine = await put(disk.store, b"old")
        for where, before in ((HELLO, mine.clock), (path, (await looked(disk.store, path)).clock)):
            clock = merge(before, theirs(b"new")) if where == HELLO else theirs(b"new")
            incoming = await received(disk.store, b"new")
            kept_before = kept(tmp_path)
            full.is_armed = True
            with suppress(DiskFull):
                if await disk.store.commit([Change(where, before, clock, (incoming,))]):
                    assert full.is_armed  # there was no such step
                    continue
            if full.is_armed:
                continue
            assert (await looked(disk.store, where)).clock == before
            assert kept(tmp_path) == kept_before
            assert where == HELLO or not (tmp_path / "folder").exists()
            assert await disk.store.commit([Change(where, before, clock, (incoming,))])  # it is as usable as before
        assert digest_of(b"new") in contents(await looked(disk.store))
        assert disk.content(path) == b"new"
        assert staged(tmp_path) == []


async def test_what_cannot_be_finished_is_finished_when_there_is_room(tmp_path: Path) -> None:
    full = At("move in", _full)
    async with open_disk(tmp_path, step=full) as disk:
        full.is_armed = True
        with pytest.raises(DiskFull):
            await put(disk.store, b"new")
        await asyncio.to_thread(disk.store._flush)
        assert disk.content(HELLO) == b"new"
        assert (await present(disk.store)).digest == digest_of(b"new")
        assert await put(disk.store, b"newer")
        assert staged(tmp_path) == []


async def test_what_could_not_be_finished_is_finished_before_the_next_commit_of_the_path(tmp_path: Path) -> None:
    full = At("move in", _full)
    async with open_disk(tmp_path, step=full) as disk:
        full.is_armed = True
        with pytest.raises(DiskFull):
            await put(disk.store, b"new")
        incoming, done = await received(disk.store, b"newer"), None
        for _ in range(2):  # the first is told to look again: by then the file is in its place
            clock = (await looked(disk.store)).clock
            done = done or await disk.store.commit([change_to(clock, version_of(b"newer"), incoming=(incoming,))])
        assert done
        assert disk.content(HELLO) == b"newer"
        assert (digest_of(b"new"), False, True) in await story(disk.store)
        assert staged(tmp_path) == []


async def test_a_rival_that_comes_to_the_path_leaves_no_second_name_of_its_file(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        mine = await put(disk.store, b"mine")
        both = await take_in(disk.store, merge(mine.clock, theirs(b"theirs")), b"theirs")
        assert kept(tmp_path) == {digest_of(b"theirs").hex()}
        assert await disk.store.commit([change_to(both.clock, version_of(b"theirs"))])
        assert disk.content(HELLO) == b"theirs"
        assert (tmp_path / HELLO).stat().st_nlink == 1
        assert kept(tmp_path) == {digest_of(b"mine").hex()}


async def test_an_edit_right_after_the_rename_is_no_part_of_the_version(tmp_path: Path) -> None:
    def fsync(fd: int) -> None:
        os.fsync(fd)
        if os.readlink(f"/proc/self/fd/{fd}") == str(tmp_path) and disk.content(HELLO) == b"version":
            disk.rewrite(HELLO, b"edited!")

    async with open_disk(tmp_path, fsync=fsync) as disk:
        incoming = await received(disk.store, b"version")
        await disk.store.commit([change_to(EMPTY_CLOCK, version_of(b"version"), incoming=(incoming,))])
        assert (await present(disk.store)).digest == digest_of(b"edited!")


@pytest.mark.parametrize("step", ["promise", "move in", "exchange", "take out"])
@pytest.mark.parametrize("doing", ["new", "overwrite", "delete"])
async def test_an_edit_between_two_steps_is_not_lost(tmp_path: Path, step: str, doing: str) -> None:
    edit = At(step, lambda: disk.write(HELLO, b"edited"))
    async with open_disk(tmp_path, step=edit) as disk:
        if doing != "new":
            await put(disk.store, b"old")
        before = (await looked(disk.store)).clock
        edit.is_armed = True
        if doing == "delete":
            assert await disk.store.commit([change_to(before, Version(None, 0, 1, "me"), disk.store.actor)])
        else:
            incoming = await received(disk.store, b"new")
            version = version_of(b"new")
            assert await disk.store.commit([change_to(before, version, disk.store.actor, incoming=(incoming,))])
        if edit.is_armed:
            return  # there was no such step
        answer = await present(disk.store)
        assert disk.content(HELLO) == b"edited"
        assert answer.digest == digest_of(b"edited")
        assert contents(answer) == {digest_of(b"edited"), None if doing == "delete" else digest_of(b"new")}
        assert answer.aside == ((None,) if doing == "delete" else (digest_of(b"new"),))
        assert staged(tmp_path) == []


async def damage(disk: DirectoryDisk) -> Damaged:
    disk.write(HELLO, b"sound")
    await present(disk.store)
    disk.rot(HELLO)
    damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
    assert isinstance(damaged, Damaged)
    return damaged


async def test_a_damaged_file_goes_to_quarantine(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        damaged = await damage(disk)
        await take_in(disk.store, damaged.clock, b"sound")
        quarantine = tmp_path / ".accord" / "quarantine"
        assert [file.read_bytes() for file in quarantine.iterdir()] == [b"round"]
        assert kept(tmp_path) == set()


async def test_a_second_healing_of_the_same_damage_puts_no_good_copy_into_quarantine(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        damaged = await damage(disk)
        for _ in range(2):
            assert isinstance(await take_in(disk.store, damaged.clock, b"sound"), Present)
        assert [file.read_bytes() for file in (tmp_path / ".accord" / "quarantine").iterdir()] == [b"round"]


async def test_what_the_disk_cannot_read_is_replaced_although_its_stat_data_vouch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"sound")
        answer = await present(disk.store)
        incoming = await received(disk.store, b"sound")
        inode = (tmp_path / HELLO).stat().st_ino
        with monkeypatch.context() as patched:
            patched.setattr("accord.store.planning.hash_open_file", lambda fd: (None, 0))
            assert await disk.store.commit([Change(HELLO, answer.clock, answer.clock, (incoming,))])
        assert (tmp_path / HELLO).stat().st_ino != inode
        assert await present(disk.store)


async def test_a_damaged_file_that_was_mended_meanwhile_stays(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        damaged = await damage(disk)
        incoming = await received(disk.store, b"other")
        disk.write(HELLO, b"mended")
        change = change_to(damaged.clock, version_of(b"other"), incoming=(incoming,))
        assert await disk.store.commit([change]) is None
        assert disk.content(HELLO) == b"mended"
        await incoming.abort()


async def test_start_up_cleans_staging(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        incoming = await received(disk.store, b"half a file")
        (name,) = staged(tmp_path)
        await incoming.abort()
    (tmp_path / ".accord" / "staging" / name).write_bytes(b"half")
    async with open_disk(tmp_path):
        assert staged(tmp_path) == []


async def test_quarantine_is_bounded_in_number_and_in_days(tmp_path: Path) -> None:
    async with open_disk(tmp_path):
        pass
    quarantine = tmp_path / ".accord" / "quarantine"
    for number in range(QUARANTINE_FILES + 30):
        (quarantine / f"{number:04}").write_bytes(b"damaged")
        os.utime(quarantine / f"{number:04}", ns=(0, 0))  # its own time is the damaged file's, and says nothing
    async with open_disk(tmp_path) as disk:
        assert len(os.listdir(quarantine)) == QUARANTINE_FILES
        damaged = await damage(disk)
        await take_in(disk.store, damaged.clock, b"sound")
        contents_kept = [file.read_bytes() for file in quarantine.iterdir()]
        assert (len(contents_kept), contents_kept.count(b"round")) == (QUARANTINE_FILES, 1)
    in_31_days = time.time_ns() + 31 * 86_400 * 10**9
    async with open_disk(tmp_path, now_ns=lambda: in_31_days):
        assert os.listdir(quarantine) == []


async def test_a_version_brings_its_time_and_its_executable_bit(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        version = Version(digest_of(b"#!"), 2, 1_234_567_890_123_456_789, "server2", True)
        answer = await take_in(disk.store, found(version), b"#!")
        status = os.stat(tmp_path / HELLO)
        assert status.st_mode & 0o100
        assert status.st_mtime_ns == version.modified_ns
        assert answer == await present(disk.store)
        assert isinstance(answer, Present)
        assert answer.executable


async def test_what_was_just_written_with_the_time_of_now_is_glanced_at(tmp_path: Path) -> None:
    async with open_disk(tmp_path, now_ns=time.time_ns) as disk:
        version = version_of(b"x", modified_ns=time.time_ns() // 1000 * 1000 + 123)
        incoming = await received(disk.store, b"x")
        clock = found(version)
        assert await disk.store.commit([Change(HELLO, (await looked(disk.store)).clock, clock, (incoming,))])
        held = disk.store.glance(HELLO)
        assert held is not None
        held.close()  # type: ignore[union-attr]


async def test_other_modes_of_a_file_stay_when_it_is_overwritten(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"one")
        (tmp_path / HELLO).chmod(0o640)
        await present(disk.store)
        await put(disk.store, b"two")
        assert (tmp_path / HELLO).stat().st_mode & 0o777 == 0o640


async def test_an_overwritten_file_is_renamed_into_history_and_its_content_kept_once(tmp_path: Path) -> None:
    other = FilePath("other")
    async with open_disk(tmp_path) as disk:
        for path in (HELLO, other):
            await put(disk.store, b"the same", path)
        inode = (tmp_path / HELLO).stat().st_ino
        for path in (HELLO, other):
            await put(disk.store, b"changed", path)
        (history,) = (tmp_path / ".accord" / "versions").glob("*/*")
        assert history.stat().st_ino == inode
        assert history.stat().st_nlink == 1
        for path in (HELLO, other):
            assert (digest_of(b"the same"), False, True) in await story(disk.store, path)


async def test_a_version_of_another_path_is_not_read_by_its_digest(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        for content in (b"secret", b"replaced"):
            await put(disk.store, content)
        assert kept(tmp_path) == {digest_of(b"secret").hex()}
        assert await disk.store.open_version(FilePath("other"), digest_of(b"secret")) is None


async def test_no_history_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    async with open_disk(tmp_path, keep_versions=0) as disk:
        for content in (b"one", b"two"):
            await put(disk.store, content)
        assert kept(tmp_path) == set()


async def test_folders_that_become_empty_go_and_others_stay(tmp_path: Path) -> None:
    path = FilePath("a/b/c/file")
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"x", path)
        await put(disk.store, b"y", FilePath("a/other"))
        await delete(disk.store, path)
        assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["other"]


async def test_empty_folders_give_way_and_full_ones_do_not(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        (tmp_path / HELLO / "below" / "deeper").mkdir(parents=True)
        await put(disk.store, b"x")
        assert disk.content(HELLO) == b"x"
        with pytest.raises(Conflict):
            await put(disk.store, b"x", FilePath(HELLO + "/below"))
        await put(disk.store, b"x", FilePath("folder/file"))
        with pytest.raises(Conflict):
            await put(disk.store, b"x", FilePath("folder"))


async def test_a_folder_under_a_name_that_is_no_text_is_a_folder_like_any_other(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path / HELLO) + b"/\xff")
    async with open_disk(tmp_path) as disk:
        assert await looked(disk.store) == Absent(EMPTY_FOLDER)
        await put(disk.store, b"x")
        assert disk.content(HELLO) == b"x"


@pytest.mark.needs_root
async def test_what_is_mounted_inside_is_read_and_refused_before_anything_is_promised(small: Path) -> None:
    path, other = FilePath("small/file"), FilePath("small/new")
    (small / "file").write_bytes(b"old")
    async with open_disk(small.parent) as disk:
        before = await present(disk.store, path)
        for refused in (put(disk.store, b"new", path), put(disk.store, b"new", other), delete(disk.store, path)):
            with pytest.raises(Conflict, match="another file system"):
                await refused
        assert await present(disk.store, path) == before
        assert await looked(disk.store, other) == Absent()
        assert disk.store._index.read(lambda db: db.execute("SELECT count(*) FROM pending").get) == 0


async def test_many_writers_at_once_are_all_durable_and_share_commits(tmp_path: Path) -> None:
    commits: list[int] = []
    async with open_disk(tmp_path) as disk:
        write_jobs = disk.store._index._write_jobs

        def counted(jobs: object) -> None:
            commits.append(len(jobs))  # type: ignore[arg-type]
            write_jobs(jobs)  # type: ignore[arg-type]

        disk.store._index._write_jobs = counted  # type: ignore[method-assign,assignment]
        paths = [FilePath(f"{number}") for number in range(200)]
        await asyncio.gather(*[put(disk.store, path.encode(), path) for path in paths])
        assert sum(commits) >= len(paths)
    async with open_disk(tmp_path) as disk:
        for path in paths:
            assert contents(await present(disk.store, path)) == digests(path.encode())


async def test_what_is_kept_outlives_a_lost_index(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        mine = await put(disk.store, b"mine")
        rivals = await take_in(disk.store, merge(mine.clock, theirs(b"theirs")), b"theirs")
    (tmp_path / ".accord" / "index.db").unlink()
    async with open_disk(tmp_path) as disk:
        await present(disk.store)
        for _ in range(260):
            await disk.store.expire()
        answer = await take_in(disk.store, rivals.clock)  # told by others again; the bytes are still here
        assert isinstance(answer, Present)
        assert digest_of(b"theirs") in answer.aside
