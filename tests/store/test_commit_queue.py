"""Commits that come at the same time: small ones share a turn and a transaction, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accord.errors import Conflict, DiskFull, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Present, keeps
from accord.model.versions import EMPTY_CLOCK, found, merge
from accord.store import commit_queue, committing, records, under_way
from accord.store.commit_queue import CommitQueue
from accord.store.directory import DirectoryStore
from accord.store.hashing import Progress
from accord.store.port import SMALL_CONTENT_BYTES, Change, Committed
from accord.testing.conformance import (
    DELETION,
    HELLO,
    MODIFIED_NS,
    bytes_of,
    change_to,
    digest_of,
    looked,
    put,
    received,
    theirs,
    version_of,
)

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


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("paths", [("x", "x/y"), ("x/y", "x"), ("a/b/c", "a")])
async def test_a_file_and_one_below_it_come_one_after_the_other(tmp_path: Path, paths: tuple[str, str]) -> None:
    async with open_disk(tmp_path) as disk:
        changes = [await change(disk.store, path, b"x") for path in paths]
        first, second = await at_once(disk.store, *changes)
        assert isinstance(first, list)
        assert isinstance(second, Conflict)
        assert await looked(disk.store, FilePath(paths[1])) != first[0].answer
        await changes[1].incoming[0].abort()
        assert list((tmp_path / ".accord" / "staging").iterdir()) == []


@pytest.mark.parametrize("is_first_long", [False, True])
async def test_nobody_overtakes_whoever_waits_for_the_same_place(is_first_long: bool) -> None:
    release, order = threading.Event(), []

    def commit_all(commits: Any) -> list[Any]:
        order.extend(change.path for changes in commits for change in changes)
        assert release.wait(60)
        return [[None] for _ in commits]

    def to(path: str, *, is_long: bool = False) -> Change:
        clock = found(version_of(b"x")) if is_long else EMPTY_CLOCK
        return Change(FilePath(path), EMPTY_CLOCK, clock)

    queue = CommitQueue(commit_all)
    some = [to("a/b", is_long=is_first_long), to("a"), to("a/c"), to("other", is_long=not is_first_long)]
    waiting = [asyncio.ensure_future(queue.commit([one])) for one in some]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*waiting)
    assert order.index(FilePath("a/b")) < order.index(FilePath("a")) < order.index(FilePath("a/c"))
    await queue.close()


@pytest.mark.usefixtures("together")
async def test_bytes_that_two_bring_are_not_taken_back_from_the_one_who_has_promised(tmp_path: Path) -> None:
    rival, spoiling = digest_of(b"rival"), []

    def step(name: str) -> None:
        if name == "promise" and spoiling:
            spoiling.pop()()

    async with open_disk(tmp_path, step=step) as disk:
        index, changes = disk.store._index, []
        for path in (FilePath("p"), FilePath("q")):
            mine = await put(disk.store, b"mine", path)
            incoming = [await received(disk.store, content) for content in (b"rival", b"mine")]
            clock = merge(mine.clock, theirs(b"rival", seen={}))
            changes.append(Change(path, mine.clock, clock, tuple(incoming)))

        def look_anew() -> None:
            record = index.get(FilePath("p"))
            assert record is not None
            after = replace(record, hashed_at_ns=record.hashed_at_ns + 1)
            assert index.replace(FilePath("p"), record, after, durable=False)

        spoiling.append(look_anew)
        late, told = await at_once(disk.store, *changes)
        assert late is None
        assert isinstance(told, list)
        assert keeps(told[0].answer, rival)
        assert await bytes_of(disk.store, rival, FilePath("q")) == b"rival"
        (again,) = await at_once(disk.store, changes[0])  # what was taken back is usable as before
        assert isinstance(again, list)
        assert await bytes_of(disk.store, rival, FilePath("p")) == b"rival"
        assert list((tmp_path / ".accord" / "staging").iterdir()) == []


@pytest.mark.usefixtures("together")
async def test_a_long_look_at_one_path_does_not_hold_the_others_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion is overruled by somebody's file, and that is to be hashed: the others are done by then."""
    async with open_disk(tmp_path) as disk:
        gone = await put(disk.store, b"x", FilePath("gone"))
        mate = await change(disk.store, "mate", b"new")
        look, seen = disk.store._examiner.hash_large, []

        def slowly(path: FilePath, progress: Progress, *, reread: bool) -> Any:
            seen.append((path, disk.content("mate"), FilePath("mate") in disk.store._under_way))
            return look(path, progress, reread=reread)

        monkeypatch.setattr(disk.store._examiner, "hash_large", slowly)
        deletion = change_to(gone.clock, DELETION, disk.store.actor, path=FilePath("gone"))
        disk.store._parts.shop.step = lambda name: disk.write("gone", b"other") if name == "promise" else None
        overruled, done = await at_once(disk.store, deletion, mate)
        assert isinstance(overruled, list)
        assert isinstance(done, list)
        assert seen == [(FilePath("gone"), b"new", False)]


@pytest.mark.usefixtures("together")
async def test_after_a_failed_sync_the_same_folder_is_not_synced_for_the_next(tmp_path: Path) -> None:
    failing = []

    def fsync(fd: int) -> None:
        if failing and os.path.samestat(os.fstat(fd), failing[0]):
            failing.pop()
            raise OSError(errno.EIO, "")
        os.fsync(fd)

    async with open_disk(tmp_path, fsync=fsync) as disk:
        await put(disk.store, b"x", FilePath("d/before"))
        changes = [await change(disk.store, path, b"x") for path in ("d/a", "d/b")]
        failing.append(os.stat(tmp_path / "d"))
        outcomes = await at_once(disk.store, *changes)
        assert [type(one) for one in outcomes] == [StoreFailed, StoreFailed]


@pytest.mark.usefixtures("together")
async def test_what_cannot_be_written_down_is_the_failure_of_one(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        good, bad, fine = [await change(disk.store, path, b"x") for path in ("good", "bad", "fine")]
        bad = replace(bad, events=(bad.events[0]._replace(at_ns=2**70),))
        outcomes = await at_once(disk.store, good, bad, fine)
        assert [type(one) for one in outcomes] == [list, OverflowError, list]
        assert (disk.content("good"), disk.content("bad"), disk.content("fine")) == (b"x", None, b"x")
        await bad.incoming[0].abort()


async def test_where_bytes_may_have_to_be_copied_a_commit_is_not_small() -> None:
    incoming: Any = SimpleNamespace(size=1)
    kept = merge(found(version_of(b"one")), found(version_of(b"two")))
    assert commit_queue._is_small([Change(HELLO, EMPTY_CLOCK, found(version_of(b"x")), (incoming,))])
    assert not commit_queue._is_small([Change(HELLO, kept, theirs(b"new", seen={}), (incoming,))])
    assert not commit_queue._is_small([Change(HELLO, EMPTY_CLOCK, found(version_of(b"x")), ())])


async def test_a_file_that_somebody_puts_in_the_place_of_the_folder_leaves_what_was_promised_aside(
    tmp_path: Path,
) -> None:
    async with open_disk(tmp_path) as disk:
        one = await change(disk.store, "d/file", b"x")

        def step(name: str) -> None:
            if name == "move in":  # never comes: the folder is looked for before
                pytest.fail("it cannot be moved there")
            if name == "promise":
                (tmp_path / "d").rmdir()
                (tmp_path / "d").write_bytes(b"in the way")

        disk.store._parts.shop.step = step
        (outcome,) = await at_once(disk.store, one)
        assert isinstance(outcome, list)
        assert keeps(outcome[0].answer, digest_of(b"x"))
        assert await bytes_of(disk.store, digest_of(b"x"), FilePath("d/file")) == b"x"
        assert list((tmp_path / ".accord" / "staging").iterdir()) == []
        disk.store._flush()
        assert disk.store._index.read(lambda db: db.execute("SELECT count(*) FROM pending").get) == 0


async def test_what_cannot_be_finished_holds_up_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"x")
        unfinished = disk.store._parts.unfinished
        monkeypatch.setattr(unfinished, "retry", lambda: (_ for _ in ()).throw(StoreFailed("It cannot be finished.")))
        with pytest.raises(StoreFailed):
            disk.store._flush()
        assert disk.store._index.read(lambda db: db.execute("SELECT count(*) FROM pending").get) == 0
        monkeypatch.undo()


async def test_bytes_that_cannot_be_copied_when_they_are_taken_back_are_of_no_more_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them must not pass for the whole."""

    def full(block: bytes) -> None:
        raise DiskFull("There is no space left.")

    async with open_disk(tmp_path) as disk:
        one = await change(disk.store, "file", b"x")
        incoming: Any = one.incoming[0]
        await incoming.finish()
        staged = tmp_path / ".accord" / "staging"
        (staged / incoming.name).rename(tmp_path / "taken")
        monkeypatch.setattr(incoming, "_put", full)
        with pytest.raises(DiskFull):
            incoming.become_a_copy(lambda source, into: False)
        (outcome,) = await at_once(disk.store, one)
        assert isinstance(outcome, StoreFailed)
        assert disk.content("file") is None
        await incoming.abort()
        assert list(staged.iterdir()) == []
