"""What only a real directory shows: large files, rewriting while hashing, racy files, waiting and not waiting."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from accord.errors import ChangedWhileReading, IntegrityError
from accord.model.names import FilePath
from accord.model.verdict import Absent, Checking, Damaged, Present
from accord.store.hashing import HashingPool, hash_open_file
from accord.store.port import BLOCK_BYTES, is_answer
from accord.testing.conformance import HELLO, WAIT_S, digest_of, listed, opened, present

from .disks import open_disk

BIG = FilePath("big")


async def test_a_large_file_is_checking_until_it_is_hashed(tmp_path: Path) -> None:
    content = os.urandom(BLOCK_BYTES) * 64
    (tmp_path / BIG).write_bytes(content)
    async with open_disk(tmp_path) as disk:
        waits = [disk.store.examine(BIG, wait_s=WAIT_S) for _ in range(20)]
        at_once = await disk.store.examine(BIG, wait_s=0)
        assert isinstance(at_once, Checking | Present)
        answers = await asyncio.gather(*waits)
        assert {answer.digest for answer in answers if isinstance(answer, Present)} == {digest_of(content)}
        assert len(set(map(type, answers))) == 1


async def test_a_small_file_does_not_wait_for_large_ones(tmp_path: Path) -> None:
    """Every hashing thread is held; small files are answered all the same, and large ones say that they wait."""
    (tmp_path / BIG).write_bytes(bytes(2 * BLOCK_BYTES))
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        release = threading.Event()
        pool = disk.store._parts.pool
        jobs = [pool.submit(release.wait, urgent=True) for _ in range(50)]
        disk.write(HELLO, b"small")
        disk.write(BIG, bytes(3 * BLOCK_BYTES))
        assert (await present(disk.store)).digest == digest_of(b"small")
        assert await disk.store.examine(BIG, wait_s=0) == Checking(0, 3 * BLOCK_BYTES)
        release.set()
        assert (await present(disk.store, BIG)).size == 3 * BLOCK_BYTES
        assert all(job.future.result() for job in jobs)


def test_the_background_never_takes_every_thread_and_the_urgent_go_first() -> None:
    pool = HashingPool(3)
    release = threading.Event()
    order: list[str] = []
    for _ in range(10):
        pool.submit(release.wait, urgent=False)
    hurried = pool.submit(lambda: order.append("hurried"), urgent=False)
    pool.submit(lambda: order.append("urgent"), urgent=True).future.result(timeout=30)
    pool.hurry(hurried)
    hurried.future.result(timeout=30)
    assert order == ["urgent", "hurried"]
    release.set()
    pool.close()


_REWRITE = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
turn = 0
while True:
    turn += 1
    os.pwrite(fd, bytes([65 + turn % 2]) * int(sys.argv[2]), 0)
    os.fsync(fd)
    if turn % 4 == 0:
        sys.stdin.readline()
"""


def _rewriting(file: Path, size: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _REWRITE, str(file), str(size)], stdin=subprocess.PIPE)


@pytest.mark.parametrize("size", [BLOCK_BYTES, 8 * BLOCK_BYTES])
async def test_rewriting_while_hashing_never_makes_a_version_of_a_mixture(tmp_path: Path, size: int) -> None:
    """Each content is one byte repeated, written by one call; a digest of anything else would be of a mixture."""
    contents = [bytes([value]) * size for value in (65, 66)]
    (tmp_path / BIG).write_bytes(contents[0])
    async with open_disk(tmp_path, now_ns=time.time_ns) as disk:
        writer = _rewriting(tmp_path / BIG, size)
        assert writer.stdin is not None
        try:
            for _ in range(60):
                writer.stdin.write(b"go on\n")
                writer.stdin.flush()
                answer = await disk.store.examine(BIG, wait_s=WAIT_S)
                assert isinstance(answer, Present | Checking), answer
                if isinstance(answer, Present):
                    made = {version.digest for _, version in answer.clock.current()}
                    assert made <= {digest_of(content) for content in contents}
        finally:
            writer.kill()
            writer.wait()
            writer.stdin.close()


async def test_a_racy_file_is_hashed_again(tmp_path: Path) -> None:
    """With the clock standing at the file's own change time, its stat data vouch for nothing."""
    now_ns = [0]
    async with open_disk(tmp_path, now_ns=lambda: now_ns[0]) as disk:
        disk.write(HELLO, b"x")
        now_ns[0] = (tmp_path / HELLO).stat().st_ctime_ns + 1
        await present(disk.store)
        assert disk.store.glance(HELLO) is None
        (tmp_path / HELLO).write_bytes(b"y")
        assert [one.answer.digest for one in listed(disk.store) if isinstance(one.answer, Present)] == [digest_of(b"y")]
        now_ns[0] += 1_000_000_000
        await present(disk.store)
        held = disk.store.glance(HELLO)
        assert held is not None
        assert not is_answer(held)
        held.close()


async def test_an_outside_change_is_durable_before_it_is_told(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"one")
        await present(disk.store)
        disk.write(HELLO, b"two")
        await present(disk.store)
        assert not disk.store._index._db.in_transaction


async def test_a_reread_of_a_large_file_finds_rot(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(BIG, bytes(3 * BLOCK_BYTES))
        await present(disk.store, BIG)
        disk.rot(BIG)
        assert isinstance(await disk.store.examine(BIG, wait_s=WAIT_S, reread=True), Damaged)
        assert isinstance(await disk.store.examine(BIG, wait_s=WAIT_S), Damaged)


async def test_block_digests_are_not_given_for_other_bytes(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(BIG, bytes(3 * BLOCK_BYTES))
        await present(disk.store, BIG)
        disk.rot(BIG)
        copy = await opened(disk.store, BIG)
        error = await asyncio.gather(copy.block_digests(), return_exceptions=True)
        assert isinstance(error[0], IntegrityError)
        disk.touch(BIG)
        error = await asyncio.gather(copy.block_digests(), return_exceptions=True)
        assert isinstance(error[0], ChangedWhileReading)
        copy.close()


async def test_reading_now_gives_what_reading_gives(tmp_path: Path) -> None:
    content = os.urandom(3 * BLOCK_BYTES + 77)
    (tmp_path / BIG).write_bytes(content)
    async with open_disk(tmp_path) as disk:
        copy = await opened(disk.store, BIG)
        for offset, length in [(0, 10), (5, BLOCK_BYTES), (BLOCK_BYTES, 3 * BLOCK_BYTES), (len(content), 1)]:
            expected = content[offset : offset + length]
            assert await copy.read(offset, length) == expected
            assert copy.read_now(offset, length) in (None, expected)
        copy.close()


def test_hashing_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / BIG).write_bytes(bytes(2 * BLOCK_BYTES))
    give_up = threading.Event()
    give_up.set()
    with open(tmp_path / BIG, "rb") as file:
        assert hash_open_file(file.fileno(), None, give_up)[1] == 0
        assert hash_open_file(file.fileno())[0] == digest_of(bytes(2 * BLOCK_BYTES))


async def test_no_file_descriptor_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / BIG).write_bytes(bytes(2 * BLOCK_BYTES))
    before = len(os.listdir("/proc/self/fd"))
    async with open_disk(tmp_path) as disk:
        for path in (BIG, HELLO, FilePath("none/at/all")):
            await disk.store.examine(path, wait_s=WAIT_S)
            disk.store.glance_answer(path)
        copy = await opened(disk.store, BIG)
        await copy.block_digests()
        copy.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_glance_never_opens_what_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of a FIFO would take that for a reader, and lose what it writes."""
    fifo = FilePath("fifo")
    async with open_disk(tmp_path) as disk:
        assert await disk.store.examine(fifo, wait_s=WAIT_S) == Absent()
        os.mkfifo(tmp_path / fifo)
        monkeypatch.setattr(disk.store._beneath, "open_cached", lambda path: pytest.fail(f"'{path}' was opened"))
        assert disk.store.glance(fifo) is None
        assert await disk.store.examine(fifo, wait_s=WAIT_S) == Absent("not a regular file")


_WRITE_TO_FIFO = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
os.write(fd, b"for its reader")
os.close(fd)
"""


def _writing_to(fifo: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITE_TO_FIFO, str(fifo)])


async def test_a_fifo_in_the_place_of_a_known_file_keeps_its_writer_and_what_is_written(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"known")
        clock = (await present(disk.store)).clock
        disk.remove(HELLO)
        os.mkfifo(tmp_path / HELLO)
        for _ in range(1000):  # a glance gives up before it opens anything where the kernel would have to wait
            assert disk.store.glance(HELLO) is None
            if disk.store._fifos:
                break
        assert disk.store.glance(HELLO) is None
        assert len(disk.store._fifos) == 1
        writer = _writing_to(tmp_path / HELLO)
        assert disk.store.glance(HELLO) is None
        assert await disk.store.examine(HELLO, wait_s=WAIT_S) == Absent("not a regular file", clock)
        assert await asyncio.to_thread(writer.wait, 60) == 0
        assert disk.store.glance(HELLO) is None
        reader = os.open(tmp_path / HELLO, os.O_RDONLY | os.O_NONBLOCK)
        assert os.read(reader, 100) == b"for its reader"
        os.close(reader)
        disk.remove(HELLO)
        disk.write(HELLO, b"known")
        await present(disk.store)
        held = disk.store.glance(HELLO)
        assert held is not None
        assert not is_answer(held)
        held.close()


async def test_a_modified_time_out_of_all_bounds_is_glanced_at_like_any_other(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"from the future")
        try:
            os.utime(tmp_path / HELLO, (10**10, 10**10))  # the year 2286
        except OverflowError:
            pytest.skip("this system has no such times")
        if (tmp_path / HELLO).stat().st_mtime < 10**10:
            pytest.skip("this file system has no such times")
        answer = await present(disk.store)
        held = disk.store.glance(HELLO)
        assert held is not None
        assert not is_answer(held)
        held.close()
        assert disk.store.glance_answer(HELLO) == answer
