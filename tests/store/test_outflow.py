"""Long content that nobody is about to read passes the page cache; it is as whole, and a failing disk as clear, as with any other."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.errors import DiskFull, StoreFailed
from accord.store.incoming import FileIncoming
from accord.store.outflow import DIRECT_FROM_BYTES
from accord.store.port import BLOCK_BYTES
from accord.testing.conformance import digest_of

from .disks import DirectoryDisk, open_disk

LONG = os.urandom(DIRECT_FROM_BYTES + 3 * BLOCK_BYTES + 12_345)
ODD_BYTES = 700_001
"""Blocks of it end nowhere in particular."""


class Disk:
    """Stands in for the system's write: counts what passes the page cache, and refuses or cuts short what a test wants."""

    def __init__(self) -> None:
        self.past_cache_bytes = 0
        self.error: int | None = None
        self.is_short = False
        self._write = os.pwrite

    def __call__(self, fd: int, block: memoryview | bytes, at: int) -> int:
        if not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            return self._write(fd, block, at)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        count = self._write(fd, memoryview(block)[: BLOCK_BYTES // 4] if self.is_short else block, at)
        self.past_cache_bytes += count
        return count


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "pwrite", disk)
    return disk


async def taken_in(disk: DirectoryDisk, content: bytes, *, is_read_soon: bool = False) -> FileIncoming:
    incoming = await disk.store.receive(None, is_read_soon=is_read_soon)
    for at in range(0, len(content), ODD_BYTES):
        await incoming.write(content[at : at + ODD_BYTES])
    assert await incoming.finish() == digest_of(content)
    return incoming


async def _all_of(incoming: FileIncoming) -> None:
    for at in range(0, len(LONG), ODD_BYTES):
        await incoming.write(LONG[at : at + ODD_BYTES])
    await incoming.finish()


async def _is_whole(disk: DirectoryDisk, content: bytes, *, is_read_soon: bool = False) -> None:
    incoming = await taken_in(disk, content, is_read_soon=is_read_soon)
    assert incoming.stat().st_size == len(content)
    assert os.pread(incoming.fd, len(content) + 1, 0) == content
    await incoming.abort()
    assert os.listdir(disk.root / ".accord" / "staging") == []


@pytest.mark.parametrize("beyond", [-1, 0, 1, 4096, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 12_345])
async def test_content_of_any_length_is_whole_on_the_disk(tmp_path: Path, beyond: int) -> None:
    async with open_disk(tmp_path) as disk:
        await _is_whole(disk, LONG[: DIRECT_FROM_BYTES + beyond])


async def test_only_what_is_long_and_not_read_soon_passes_the_cache(tmp_path: Path, system: Disk) -> None:
    async with open_disk(tmp_path) as disk:
        await _is_whole(disk, LONG, is_read_soon=True)
        await _is_whole(disk, LONG[:DIRECT_FROM_BYTES])
        assert system.past_cache_bytes == 0
        await _is_whole(disk, LONG)
        assert system.past_cache_bytes == 3 * BLOCK_BYTES


async def test_a_file_system_that_refuses_is_asked_once(tmp_path: Path, system: Disk) -> None:
    system.error = errno.EINVAL
    async with open_disk(tmp_path) as disk:
        await _is_whole(disk, LONG)
        assert not disk.store._parts.shop.can_pass_cache
        system.error = errno.EIO
        await _is_whole(disk, LONG)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Path]:
    """A file system that has nothing but the page cache."""
    folder = tmp_path / "refusing"
    folder.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.needs_root
async def test_memory_takes_long_content_too(refusing: Path) -> None:
    async with open_disk(refusing) as disk:
        await _is_whole(disk, LONG)
        assert not disk.store._parts.shop.can_pass_cache


async def test_what_the_disk_takes_only_in_part_is_completed(tmp_path: Path, system: Disk) -> None:
    system.is_short = True
    async with open_disk(tmp_path) as disk:
        await _is_whole(disk, LONG)
        assert system.past_cache_bytes == BLOCK_BYTES // 4


@pytest.mark.parametrize(("error", "raised"), [(errno.EIO, StoreFailed), (errno.ENOSPC, DiskFull)])
async def test_a_write_that_fails_in_its_own_thread_fails_the_content(
    tmp_path: Path, system: Disk, error: int, raised: type[StoreFailed]
) -> None:
    async with open_disk(tmp_path) as disk:
        system.error = error
        incoming = await disk.store.receive(None, is_read_soon=False)
        with pytest.raises(raised):
            await _all_of(incoming)
        await incoming.abort()
        assert os.listdir(tmp_path / ".accord" / "staging") == []
        assert disk.store.takes_in()
        system.error = None
        await _is_whole(disk, LONG)


async def test_the_very_last_write_that_fails_is_not_taken_for_durable(tmp_path: Path, system: Disk) -> None:
    """It is still under way when the content ends."""
    async with open_disk(tmp_path) as disk:
        system.error = errno.EIO
        incoming = await disk.store.receive(None, is_read_soon=False)
        await incoming.write(LONG[: DIRECT_FROM_BYTES + BLOCK_BYTES])
        with pytest.raises(StoreFailed):
            await incoming.finish()
        await incoming.abort()


async def test_dropped_in_the_middle_it_leaves_nothing(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        incoming = await disk.store.receive(None, is_read_soon=False)
        await incoming.write(LONG)
        await incoming.abort()
        assert os.listdir(tmp_path / ".accord" / "staging") == []
