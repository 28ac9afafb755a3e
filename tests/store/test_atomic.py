"""Taking in: durable or refused, and a refusal says why."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from accord.errors import DiskFull, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Absent, Damaged, Unreachable
from accord.model.versions import Version, found
from accord.store.port import BLOCK_BYTES
from accord.store.workshop import QUARANTINE_FILES
from accord.testing.store_conformance import HELLO, WAIT_S, contents, digest_of, present, take_in, version_of

from .disks import open_disk


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


async def test_the_file_its_folder_and_each_new_ancestor_are_synced(tmp_path: Path) -> None:
    fsync = Fsync()
    async with open_disk(tmp_path, fsync=fsync) as disk:
        await take_in(disk.store, FilePath("a/b/file"), b"x", Absent())
        assert fsync.calls == 4  # the file, the root (for a), a (for b), b (for the file)
        await take_in(disk.store, FilePath("a/b/other"), b"x", Absent())
        assert fsync.calls == 6


@pytest.mark.parametrize("bad", [1, 2])
async def test_a_failed_fsync_fails_the_write_and_is_not_tried_again(tmp_path: Path, bad: int) -> None:
    fsync = Fsync(bad)
    async with open_disk(tmp_path, fsync=fsync) as disk:
        assert disk.store.degraded() is None
        with pytest.raises(StoreFailed):
            await take_in(disk.store, HELLO, b"x", Absent())
        assert "could not be made durable" in (disk.store.degraded() or "")
        with pytest.raises(StoreFailed, match="no longer takes anything in"):
            await take_in(disk.store, FilePath("other"), b"x", Absent())
        assert fsync.calls == bad
        assert os.listdir(tmp_path / ".accord" / "staging") == []
    async with open_disk(tmp_path) as disk:
        answer = await disk.store.examine(HELLO, wait_s=WAIT_S)
        if answer != Absent():
            assert (await present(disk.store)).clock == found(version_of(b"x"))


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
        content = os.urandom(17 * BLOCK_BYTES)
        with pytest.raises(DiskFull):  # at once, before any byte has come
            await disk.store.stage(FilePath("big"), version_of(content), found(version_of(content)), replacing=Absent())
        assert disk.store.degraded() is None  # that one version does not fit says nothing about the disk
        assert await take_in(disk.store, FilePath("fits"), b"x", Absent()) is not None
        ballast = small / ".accord" / "ballast"
        staging = await disk.store.stage(
            FilePath("big"), version_of(content[:BLOCK_BYTES]), found(version_of(content)), replacing=Absent()
        )
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(20 * BLOCK_BYTES))
        with pytest.raises(DiskFull):
            await staging.write(content[:BLOCK_BYTES])
        await staging.abort()
        disk.store._parts.shop.health._free_looked_s = -1e9  # a second later
        assert disk.store.degraded() == "its disk is full"
        assert disk.store.takes_in()
        assert await present(disk.store) == before
        ballast.unlink()
        disk.store._parts.shop.health._free_looked_s = -1e9
        assert disk.store.degraded() is None
        assert await take_in(disk.store, FilePath("fits too"), b"x", Absent()) is not None


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


async def test_a_damaged_file_goes_to_quarantine(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
        assert isinstance(damaged, Damaged)
        await take_in(disk.store, HELLO, b"sound", damaged)
        quarantine = tmp_path / ".accord" / "quarantine"
        assert [file.read_bytes() for file in quarantine.iterdir()] == [b"round"]


async def test_a_second_healing_of_the_same_damage_comes_too_late(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
        assert isinstance(damaged, Damaged)
        assert await take_in(disk.store, HELLO, b"sound", damaged) is not None
        assert await take_in(disk.store, HELLO, b"sound", damaged) is None
        assert [file.read_bytes() for file in (tmp_path / ".accord" / "quarantine").iterdir()] == [b"round"]


async def test_a_damaged_file_that_was_mended_meanwhile_stays(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
        staging = await disk.store.stage(HELLO, version_of(b"other"), found(version_of(b"other")), replacing=damaged)
        await staging.write(b"other")
        disk.write(HELLO, b"mended")
        assert await staging.commit() is None
        assert disk.content(HELLO) == b"mended"


async def test_start_up_cleans_staging_and_keeps_what_was_being_replaced(tmp_path: Path) -> None:
    async with open_disk(tmp_path):
        pass
    private = tmp_path / ".accord"
    (private / "staging" / "half").write_bytes(b"half a file")
    staged = await _half_received(tmp_path)
    assert not staged.endswith(".replacing")
    (private / "staging" / "bad.replacing").write_bytes(b"a damaged file")
    async with open_disk(tmp_path):
        assert os.listdir(private / "staging") == []
        assert os.listdir(private / "quarantine") == ["bad.replacing"]


async def _half_received(root: Path) -> str:
    """What is in staging while a damaged copy's replacement comes in; left there, as a crash leaves it."""
    async with open_disk(root) as disk:
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
        staging = await disk.store.stage(HELLO, version_of(b"sound"), found(version_of(b"sound")), replacing=damaged)
        await staging.write(b"so")
        (name,) = os.listdir(root / ".accord" / "staging")
        await staging.abort()
    (root / ".accord" / "staging" / name).write_bytes(b"so")
    return name


async def test_quarantine_is_bounded_in_number_and_in_days(tmp_path: Path) -> None:
    async with open_disk(tmp_path):
        pass
    quarantine = tmp_path / ".accord" / "quarantine"
    for number in range(QUARANTINE_FILES + 30):
        (quarantine / f"{number:04}").write_bytes(b"damaged")
        os.utime(quarantine / f"{number:04}", ns=(0, 0))  # its own time is the damaged file's, and says nothing
    async with open_disk(tmp_path) as disk:
        assert len(os.listdir(quarantine)) == QUARANTINE_FILES
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
        assert isinstance(damaged, Damaged)
        await take_in(disk.store, HELLO, b"sound", damaged)
        kept = [file.read_bytes() for file in quarantine.iterdir()]
        assert (len(kept), kept.count(b"round")) == (QUARANTINE_FILES, 1)
    in_31_days = time.time_ns() + 31 * 86_400 * 10**9
    async with open_disk(tmp_path, now_ns=lambda: in_31_days):
        assert os.listdir(quarantine) == []


async def test_what_was_overtaken_before_it_began_is_not_committed(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"early")
        version = version_of(b"late")
        staging = await disk.store.stage(HELLO, version, found(version), replacing=Absent())
        await staging.write(b"late")
        disk.remove(HELLO)  # and yet: the taker acted on an answer that was no longer true
        assert await staging.commit() is None
        assert disk.content(HELLO) is None


async def test_a_version_brings_its_time_and_its_executable_bit(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        version = Version(digest_of(b"#!"), 2, 1_234_567_890_123_456_789, "server2", True)
        staging = await disk.store.stage(HELLO, version, found(version), replacing=Absent())
        await staging.write(b"#!")
        answer = await staging.commit()
        status = os.stat(tmp_path / HELLO)
        assert status.st_mode & 0o100
        assert status.st_mtime_ns == version.modified_ns
        assert answer == await present(disk.store)
        assert answer is not None
        assert answer.executable
        held = disk.store.glance(HELLO)  # what Accord wrote itself need not be hashed again
        assert held is not None
        held.close()  # type: ignore[union-attr]


async def test_a_crash_between_rename_and_record_makes_no_event(tmp_path: Path) -> None:
    """The clock was promised to the index before the rename; so the content is a known version afterwards."""
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"old")
        await present(disk.store)
        disk.remove(HELLO)
        answer = await take_in(disk.store, HELLO, b"new", Absent())
        assert answer is not None
        from dataclasses import replace

        record = disk.store._index.get(HELLO)
        assert record is not None
        promised = replace(record, stat=None, digest=digest_of(b"old"))
        assert disk.store._index.replace(HELLO, record, promised, durable=True)
    async with open_disk(tmp_path) as disk:
        assert (await present(disk.store)).clock == answer.clock
