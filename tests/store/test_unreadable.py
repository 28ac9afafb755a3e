"""Copies that the disk cannot read: remembered as damaged, so that they are healed, and believed again once they can be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from accord.model.names import FilePath
from accord.model.verdict import Damaged, Present
from tests.store.disks import DirectoryDisk, open_disk

PATH = FilePath("hello.txt")


def failing_reads(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    inode, preadv = file.stat().st_ino, os.preadv

    def read(fd: int, *given: object) -> int:
        if os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(fd, *given)  # type: ignore[arg-type]

    monkeypatch.setattr("accord.store.hashing.os.preadv", read)


async def seen(disk: DirectoryDisk, *, reread: bool = False) -> object:
    return await disk.store.examine(PATH, wait_s=5.0, reread=reread)


async def test_a_copy_that_cannot_be_read_is_lacking_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(PATH, b"content")
        good = await seen(disk)
        assert isinstance(good, Present)
        with monkeypatch.context() as broken:
            failing_reads(broken, tmp_path / PATH)
            assert isinstance(await seen(disk, reread=True), Damaged)
            assert isinstance(disk.store.glance_answer(PATH) or await seen(disk), Damaged)
            assert await disk.store.unmended(None, 9) == [PATH]
        assert await seen(disk, reread=True) == good
        assert await disk.store.unmended(None, 9) == []


async def test_what_was_changed_and_cannot_be_read_is_a_change_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(PATH, b"content")
        await seen(disk)
        disk.write(PATH, b"what somebody wrote")
        with monkeypatch.context() as broken:
            failing_reads(broken, tmp_path / PATH)
            damaged = await seen(disk)
            assert isinstance(damaged, Damaged)
            assert damaged.digest is None
        answer = await seen(disk, reread=True)
        assert isinstance(answer, Present)
        assert len(answer.clock.current()) == 2
