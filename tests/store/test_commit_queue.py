"""Commits that come at the same time: small ones share a turn and a transaction, and nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from accord.errors import Conflict, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Present
from accord.model.versions import EMPTY_CLOCK
from accord.store import commit_queue, committing, records, under_way
from accord.store.commit_queue import CommitQueue
from accord.store.directory import DirectoryStore
from accord.store.port import SMALL_CONTENT_BYTES, Change, Committed
from accord.testing.conformance import MODIFIED_NS, change_to, looked, put, version_of

from .disks import open_disk

Outcome = list[Committed] | None | BaseException


async def change(store: DirectoryStore, path: str, content: bytes, modified_ns: int = MODIFIED_NS) -> Change:
    incoming = await store.receive(len(content))
    await incoming.write(content)
    version = version_of(content, modified_ns=modified_ns)
    return change_to(EMPTY_CLOCK, version, store.actor, path=FilePath(path), incoming=(incoming,))


async def at_once(store: DirectoryStore, *changes: Change) -> list[Outcome]:
    return await asyncio.gather(*(store.commit([one]) for one in changes), return_exceptions=True)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in one turn of the event loop is one batch."""
    monkeypatch.setattr(commit_queue, "BATCHES", 0)
    monkeypatch.setattr(commit_queue, "MAX_TOGETHER", 100)


@pytest.mark.usefixtures("together")
async def test_each_of_a_batch_has_an_end_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"in the way")
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"before", FilePath("late"))
        changes = [await change(disk.store, path, b"x") for path in ("one", "late", "folder", "two")]
        one, late, conflict, two = await at_once(disk.store, *changes)
        assert late is None
        assert isinstance(conflict, Conflict)
        for path, outcome in (("one", one), ("two", two)):
            assert isinstance(outcome, list)
            assert isinstance(outcome[0].answer, Present)
            assert outcome[0].answer == await looked(disk.store, FilePath(path))
            assert disk.content(path) == b"x"
        assert disk.content("late") == b"before"
        for left in changes[1:3]:
            await left.incoming[0].abort()
        assert list((tmp_path / ".accord" / "staging").iterdir()) == []


@pytest.mark.usefixtures("together")
async def test_a_batch_is_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk(tmp_path) as disk:
        changes = [await change(disk.store, f"file{number}", b"x") for number in range(10)]
        write, transactions = disk.store._index._write_jobs, []
        monkeypatch.setattr(
            disk.store._index, "_write_jobs", lambda jobs: (transactions.append(len(jobs)), write(jobs))
        )
        assert all(isinstance(one, list) for one in await at_once(disk.store, *changes))
        assert transactions == [10]


@pytest.mark.usefixtures("together")
async def test_two_of_one_path_come_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has to look at the path once more: with the second under way, it would wait for that."""
    monkeypatch.setattr(under_way, "PATIENCE_S", 3600)
    for module in (committing, records):
        monkeypatch.setattr(module, "RACY_WINDOW_NS", 3600 * 10**9)  # so that the stat data of what is new do not vouch
    async with open_disk(tmp_path, now_ns=time.time_ns) as disk:
        now_ns = time.time_ns() // 10**6 * 10**6
        changes = [await change(disk.store, "file", content, now_ns) for content in (b"first", b"second")]
        first, second = await at_once(disk.store, *changes)
        assert isinstance(first, list)
        assert second is None, "it was decided on what is not there any more"
        assert disk.content("file") == b"first"
        await changes[1].incoming[0].abort()


async def test_what_is_long_holds_up_nobody(tmp_path: Path) -> None:
    release, is_held = threading.Event(), threading.Event()

    def step(name: str) -> None:
        if name == "promise" and threading.current_thread().name in holding:
            is_held.set()
            assert release.wait(60)

    holding: set[str] = set()
    async with open_disk(tmp_path, step=step) as disk:
        long = await change(disk.store, "long", b"x" * (SMALL_CONTENT_BYTES + 1))
        short = await change(disk.store, "short", b"x")
        holding.update(f"accord-commit_{number}" for number in range(commit_queue.THREADS))
        waiting = asyncio.ensure_future(disk.store.commit([long]))
        assert await asyncio.to_thread(is_held.wait, 60)
        holding.clear()
        assert await disk.store.commit([short])
        assert not waiting.done()
        release.set()
        assert await waiting


async def test_on_a_slow_disk_all_threads_are_used() -> None:
    release = threading.Event()
    busy = threading.Semaphore(0)

    def commit_all(commits: Any) -> list[Any]:
        busy.release()
        assert release.wait(60)
        return [[commit] for commit in commits]

    queue = CommitQueue(commit_all)
    some: list[Any] = [[]] * 100
    waiting = [asyncio.ensure_future(queue.commit(one)) for one in some]
    for _ in range(commit_queue.THREADS):
        assert await asyncio.to_thread(busy.acquire, timeout=60)
    assert not busy.acquire(blocking=False)
    release.set()
    assert len(await asyncio.gather(*waiting)) == 100
    await queue.close()


async def test_what_nobody_waits_for_any_more_is_not_made() -> None:
    release, seen = threading.Event(), []

    def commit_all(commits: Any) -> list[Any]:
        seen.extend(commits)
        assert release.wait(60)
        return [[commit] for commit in commits]

    queue = CommitQueue(commit_all)
    capacity = commit_queue.THREADS * commit_queue.MAX_TOGETHER
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(queue.commit([])) for _ in range(capacity)]
    await asyncio.sleep(0)
    left = asyncio.ensure_future(queue.commit([]))
    await asyncio.sleep(0)
    left.cancel()
    release.set()
    await asyncio.gather(*waiting)
    assert (len(seen), left.cancelled()) == (capacity, True)
    await queue.close()


async def test_a_failure_that_nobody_meant_is_told_to_all_who_wait() -> None:
    def commit_all(commits: Any) -> list[Any]:
        raise ZeroDivisionError

    queue = CommitQueue(commit_all)
    waiting = [asyncio.ensure_future(queue.commit([])) for _ in range(3)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [ZeroDivisionError] * 3
    await queue.close()


async def test_closing_waits_for_all_that_has_come_and_takes_nothing_more(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        changes = [await change(disk.store, f"file{number}", b"x") for number in range(40)]
        more = await change(disk.store, "more", b"x")
        waiting = [asyncio.ensure_future(disk.store.commit([one])) for one in changes]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(disk.store.close())
        assert all([await one for one in waiting])
        await closing
        with pytest.raises(StoreFailed):
            await disk.store.commit([more])
        assert not disk.content("more")
