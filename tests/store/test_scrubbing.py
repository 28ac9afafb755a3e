"""A scrub reads every byte, in bounded steps, believes no cache, blames nobody who is innocent, and puts away what rotted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from accord.errors import StoreFailed
from accord.model.findings import Oddity
from accord.model.names import Digest, FilePath
from accord.model.verdict import Damaged, Present
from accord.model.versions import merge
from accord.store import scrubbing
from accord.store.inventory import MAX_STEP_BYTES
from accord.store.port import BLOCK_BYTES
from accord.testing.conformance import HELLO, bytes_of, digest_of, looked, put, take_in, theirs
from accord.testing.scan_conformance import EVERYTHING, noted, scanned, scrubbed, told

from .disks import open_disk
from .test_scanning import hashed, refuse


def kept_file(root: Path, digest: Digest) -> Path:
    return root / ".accord" / "versions" / digest.hex()[:2] / digest.hex()


def rot_kept(root: Path, content: bytes) -> None:
    file = kept_file(root, digest_of(content))
    file.chmod(0o600)
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def quarantined(root: Path) -> list[bytes]:
    return [file.read_bytes() for file in (root / ".accord" / "quarantine").iterdir()]


Reading = Generator[object, None, scrubbing._Read]


def misreading(monkeypatch: pytest.MonkeyPatch, harm: Callable[[scrubbing._Read], scrubbing._Read]) -> None:
    """What comes from the disk is another thing than what is there."""
    read = scrubbing._read

    def misread(fd: int, tally: scrubbing._Tally) -> Reading:
        return harm((yield from read(fd, tally)))

    monkeypatch.setattr(scrubbing, "_read", misread)


async def test_a_long_file_is_read_in_several_steps_and_may_be_left_in_its_middle(tmp_path: Path) -> None:
    size = 2 * MAX_STEP_BYTES + 5
    (tmp_path / "large").write_bytes(b"x" * size)
    (tmp_path / "small").write_bytes(b"x")
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        before = len(os.listdir("/proc/self/fd"))
        steps = disk.store.scrub(EVERYTHING, None)
        assert next(steps).at is None, "nothing is done yet: begin again"
        del steps
        assert len(os.listdir("/proc/self/fd")) == before
        whole = list(disk.store.scrub(EVERYTHING, None))
        assert sum(step.read_bytes for step in whole) == size + 1
        assert max(step.read_bytes for step in whole) <= MAX_STEP_BYTES + BLOCK_BYTES
        assert (whole[-1].at, sum(step.files for step in whole)) == ("small", 2)


async def test_a_file_that_is_changed_while_it_is_read_is_no_rot(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"1" * (2 * MAX_STEP_BYTES))
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        steps = disk.store.scrub(EVERYTHING, None)
        next(steps)
        disk.rewrite("large", b"2" * (2 * MAX_STEP_BYTES))
        assert [finding for step in steps for finding in step.findings] == []


async def test_rot_is_found_although_news_of_the_history_come_meanwhile(tmp_path: Path) -> None:
    content = b"1" * (2 * MAX_STEP_BYTES)
    async with open_disk(tmp_path) as disk:
        before = await put(disk.store, content)
        disk.rot(HELLO)
        steps = disk.store.scrub(EVERYTHING, None)
        next(steps)
        await take_in(disk.store, merge(before.clock, theirs(content)))
        assert [finding.oddity for step in steps for finding in step.findings] == [Oddity.ROT]
        assert isinstance(await looked(disk.store), Damaged)


async def test_a_file_that_is_replaced_while_it_is_read_is_no_rot(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        before = await put(disk.store, b"1" * (2 * MAX_STEP_BYTES))
        disk.rot(HELLO)
        steps = disk.store.scrub(EVERYTHING, None)
        next(steps)
        await take_in(disk.store, theirs(b"theirs", before.clock), b"theirs")
        assert [one for step in steps for one in step.findings if one.recorded != before.digest] == []
        assert isinstance(await looked(disk.store), Present)


async def test_what_was_only_misread_is_no_rot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk(tmp_path) as disk:
        for content in (b"former", b"current"):
            await put(disk.store, content)
        readings = []

        def once(read: scrubbing._Read) -> scrubbing._Read:
            readings.append(read)
            return read._replace(digest=digest_of(b"noise")) if len(readings) < 3 else read

        misreading(monkeypatch, once)
        assert scrubbed(disk.store) == []
        assert await bytes_of(disk.store, digest_of(b"former")) == b"former"
        assert quarantined(tmp_path) == []


async def test_a_rotten_copy_stays_until_a_good_one_comes_and_then_goes_to_quarantine(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        before = await put(disk.store, b"content")
        disk.rot(HELLO)
        rotten = (tmp_path / HELLO).read_bytes()
        assert told(scrubbed(disk.store)) == [(HELLO, Oddity.ROT)]
        assert (tmp_path / HELLO).read_bytes() == rotten
        assert quarantined(tmp_path) == []
        await take_in(disk.store, before.clock, b"content")
        assert (tmp_path / HELLO).read_bytes() == b"content"
        assert quarantined(tmp_path) == [rotten]


async def test_kept_bytes_that_rot_go_to_quarantine_at_once(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        for content in (b"former", b"current"):
            await put(disk.store, content)
        rot_kept(tmp_path, b"former")
        assert told(scrubbed(disk.store)) == [(HELLO, Oddity.ROT)]
        assert quarantined(tmp_path) == [b"gormer"]
        assert scrubbed(disk.store) == []


async def test_a_rival_whose_bytes_are_gone_is_missing(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"mine")
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        kept_file(tmp_path, digest_of(b"theirs")).unlink()
        assert told(scrubbed(disk.store)) == [(HELLO, Oddity.MISSING)]
        assert await disk.store.unmended(None, 9) == [HELLO]


async def test_all_paths_that_had_the_rotten_bytes_as_a_rival_lack_them(tmp_path: Path) -> None:
    paths = [FilePath("a"), FilePath("b")]
    async with open_disk(tmp_path) as disk:
        for path in paths:
            await put(disk.store, b"mine", path)
            await take_in(disk.store, theirs(b"theirs"), b"theirs", path=path)
        rot_kept(tmp_path, b"theirs")
        scrubbed(disk.store)
        assert await disk.store.unmended(None, 9) == paths


async def test_what_the_history_of_many_paths_has_is_read_once(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        for path in (FilePath("a"), FilePath("b"), FilePath("c")):
            await put(disk.store, b"the same history", path)
            await put(disk.store, b"now", path)
        steps = list(disk.store.scrub(EVERYTHING, None))
        assert sum(step.read_bytes for step in steps) == 3 * len(b"now") + len(b"the same history")
        alone = list(disk.store.scrub(FilePath("b"), None))
        assert sum(step.read_bytes for step in alone) == len(b"now") + len(b"the same history")


def failing_reads(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """The disk cannot read that file."""
    inode, preadv = file.stat().st_ino, os.preadv

    def read(fd: int, *given: object) -> int:
        if os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(fd, *given)  # type: ignore[arg-type]

    monkeypatch.setattr("accord.store.scrubbing.os.preadv", read)


async def test_a_file_that_the_disk_cannot_read_is_said_to_be_so_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
        with monkeypatch.context() as broken:
            failing_reads(broken, tmp_path / HELLO)
            (finding,) = scrubbed(disk.store)
            disk.store.note_finding(finding)
            assert (finding.oddity, finding.detail) == (
                Oddity.UNREADABLE,
                f"the disk cannot read it ({os.strerror(errno.EIO)})",
            )
            assert await disk.store.unmended(None, 9) == [HELLO], "another server may have a copy that can be read"
            assert told(scrubbed(disk.store)) == [(HELLO, Oddity.UNREADABLE)]
        assert scrubbed(disk.store) == []
        assert await noted(disk.store) == []
        assert await disk.store.unmended(None, 9) == []


async def test_a_file_that_may_not_be_opened_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
        refuse(monkeypatch, "open_regular", HELLO, errno.EACCES)
        (finding,) = scrubbed(disk.store)
        assert (finding.oddity, finding.detail) == (Oddity.UNREADABLE, os.strerror(errno.EACCES))


async def test_kept_bytes_that_the_disk_cannot_read_are_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"mine")
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        failing_reads(monkeypatch, kept_file(tmp_path, digest_of(b"theirs")))
        assert told(scrubbed(disk.store)) == [(HELLO, Oddity.UNREADABLE)]
        assert await disk.store.unmended(None, 9) == [HELLO]


async def test_a_vanished_file_is_left_to_the_scan(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
        disk.remove(HELLO)
        assert scrubbed(disk.store) == []
        assert told(scanned(disk.store)) == [(HELLO, Oddity.MISSING)]


async def test_nothing_is_scrubbed_that_is_not_in_its_place(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with open_disk(root) as disk:
        await put(disk.store, b"content")
        root.rename(tmp_path / "aside")
        with pytest.raises(StoreFailed, match="its folder was removed, moved or mounted over"):
            scrubbed(disk.store)


def in_memory(file: Path) -> bool:
    fd = os.open(file, os.O_RDONLY)
    try:
        return scrubbing._is_in_memory(fd, 0)
    finally:
        os.close(fd)


def drop(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


async def test_what_was_in_memory_stays_there_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("hot", "cold", "looked at"):
        (tmp_path / name).write_bytes(os.urandom(3 * BLOCK_BYTES))
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        for name in ("hot", "cold", "looked at"):
            drop(tmp_path / name)
        if in_memory(tmp_path / "looked at"):  # a look brings some of it in, so that it is of no use for the rest
            pytest.skip("this file system keeps everything in memory, or cannot say")
        (tmp_path / "hot").read_bytes()
        assert scrubbed(disk.store) == []
        assert (in_memory(tmp_path / "hot"), in_memory(tmp_path / "cold")) == (True, False)
