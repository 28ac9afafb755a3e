"""What goes wrong while a store runs is mended, or said: never hidden behind an answer that is ready."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
import structlog

from accord.errors import DiskFull, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Present
from accord.model.versions import found
from accord.store.index_file import open_index
from accord.store.records import Record
from accord.testing.conformance import HELLO, contents, digest_of, listed, present, take_in, version_of

from .disks import DirectoryDisk, open_disk


def forget(disk: DirectoryDisk) -> None:
    """Nothing of the index is in memory any more, as after long and varied use."""
    index = disk.store._index
    index.flush()
    index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    index._db.execute("PRAGMA shrink_memory")
    index._cache.clear()


def spoil(disk: DirectoryDisk, what: str) -> None:
    """Once the first hashing has gone past it, which would mend it."""
    assert disk.store._parts.indexing.ended.wait(60)
    index = disk.store._index
    index.flush()
    index._db.execute(f"UPDATE files SET {what} WHERE path = ?", (HELLO,))
    forget(disk)


@pytest.mark.parametrize("what", ["clock = x'ff00'", "clock = x''", "digest = x'1234'"])
@pytest.mark.parametrize("by", ["reading", "listing"])
async def test_a_broken_record_is_no_record(tmp_path: Path, what: str, by: str) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"content")
        disk.write("other", b"other")
        before = await present(disk.store)
        await present(disk.store, FilePath("other"))
        life = disk.store._index.incarnation
        spoil(disk, what)
        with structlog.testing.capture_logs() as logs:
            if by == "listing":
                assert [one.path for one in listed(disk.store)] == [HELLO, "other"]
            assert await present(disk.store) == before
            assert await present(disk.store) == before
            assert listed(disk.store)[0].answer == before
        broken = [line for line in logs if line["event"].startswith("a record in the index is broken")]
        assert [line["path"] for line in broken] == [HELLO]
        assert disk.store._index.incarnation != life  # the counters that its clock had used must not come again
        assert disk.store.degraded() is None
    async with open_disk(tmp_path) as disk:
        assert await present(disk.store) == before


async def test_the_first_hashing_survives_a_broken_record(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(HELLO, b"content")
        await present(disk.store)
        spoil(disk, "clock = x'ff00'")
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        assert disk.store.indexing().hashed_files == 1
        assert (await present(disk.store)).digest == digest_of(b"content")


async def test_an_event_after_a_broken_record_has_a_counter_of_its_own(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            told = await present(disk.store)
        spoil(disk, "clock = x'ff00'")
        for content in (b"zero", b"two"):
            disk.write(HELLO, content)
            later = await present(disk.store)
        actors = [{dot.actor for dot, one in answer.clock.current() if dot.actor[0] != "="} for answer in (told, later)]
        assert actors[0].isdisjoint(actors[1])


def _scratch(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    file.write_bytes(content)


def _garbage(file: Path) -> None:
    file.write_bytes(b"garbage!" * (file.stat().st_size // 8))


@pytest.mark.parametrize("harm", [_scratch, _garbage])
async def test_an_index_that_breaks_while_it_is_used_is_rebuilt_at_once(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}").write_bytes(b"%d" % number)
    async with open_disk(tmp_path) as disk:
        indexing = disk.store._parts.indexing
        assert indexing.ended.wait(60)
        life = disk.store._index.incarnation
        forget(disk)
        harm(tmp_path / ".accord" / "index.db")
        with structlog.testing.capture_logs() as logs:
            for number in range(0, 300, 50):
                path = FilePath(f"{number:03}")
                assert (await present(disk.store, path)).digest == digest_of(b"%d" % number)
            assert indexing.ended.wait(60)
        assert [line["event"] for line in logs].count("index is damaged; it is rebuilt from the files") == 1
        assert disk.store._index.incarnation != life
        assert disk.store.indexing().hashed_files >= 290
        assert all(isinstance(one.answer, Present) for one in listed(disk.store))
        assert disk.store.degraded() is None
        assert len(list((tmp_path / ".accord").glob("index.db.broken-*"))) >= 1


async def test_an_index_that_cannot_be_written_shows_until_it_can(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        pages = disk.store._index._db.pragma("page_count")
        disk.store._index._db.pragma("max_page_count", pages)
        for number in range(300):
            (tmp_path / f"{number}").write_bytes(b"%d" % number)
            answer = await present(disk.store, FilePath(f"{number}"))
            assert answer.digest == digest_of(b"%d" % number)  # the digest is known, and no event needs the disk
        assert "its index cannot be used" in (disk.store.degraded() or "")
        disk.store._index._db.pragma("max_page_count", 10_000)
        disk.store._index.flush()
        assert disk.store.degraded() is None


async def test_a_digest_that_could_not_be_written_is_not_taken_again_for_each_read(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)  # or it might read the file as well
        (tmp_path / HELLO).write_bytes(b"x")
        index = disk.store._index
        index._db.execute("PRAGMA query_only = 1")
        answer = await present(disk.store)
        known = index.known(HELLO)
        assert known is not None
        assert known.present == answer
        index._db.execute("PRAGMA query_only = 0")


def test_a_commit_that_cannot_be_synced_is_never_tried_again(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC
    tries = []

    def work() -> None:
        tries.append(1)
        raise error

    with pytest.raises(StoreFailed):
        index._guarded(work)
    assert (len(tries), index.unsound) == (1, "a write could not be made durable")
    with pytest.raises(StoreFailed, match="could not be made durable"):
        index.replace(HELLO, None, Record(found(version_of(b"x"))), durable=True)
    index.close()


async def test_a_version_that_does_not_fit_is_refused_and_nothing_else(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        with pytest.raises(DiskFull):
            await disk.store.receive(1 << 60)
        assert disk.store.degraded() is None
        assert disk.store.takes_in()
        assert await take_in(disk.store, found(version_of(b"fits")), b"fits") == await present(disk.store)


async def _degraded_after(disk: DirectoryDisk, harm: Callable[[], object]) -> str:
    disk.write(HELLO, b"content")
    await present(disk.store)
    disk.store._parts.shop.health.look()
    assert disk.store.degraded() is None
    harm()
    disk.store._parts.shop.health.look()
    assert not disk.store.takes_in()
    with pytest.raises(StoreFailed, match="no longer takes anything in"):
        await take_in(disk.store, found(version_of(b"x")), b"x", path=FilePath("late"))
    return disk.store.degraded() or ""


async def test_a_private_folder_that_is_removed_is_noticed(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        told = await _degraded_after(disk, lambda: shutil.rmtree(tmp_path / ".accord"))
        assert told == "its private folder was removed while it ran; restart it"
    async with open_disk(tmp_path) as disk:
        assert contents(await present(disk.store)) == {digest_of(b"content")}


async def test_an_index_that_is_removed_is_noticed(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        told = await _degraded_after(disk, (tmp_path / ".accord" / "index.db").unlink)
        assert told == "its index was removed while it ran; restart it"


async def test_another_folder_in_the_place_of_the_root_is_noticed_and_putting_it_back_too(tmp_path: Path) -> None:
    root, aside = tmp_path / "root", tmp_path / "aside"
    root.mkdir()

    def replace() -> None:
        root.rename(aside)
        root.mkdir()

    async with open_disk(root) as disk:
        told = await _degraded_after(disk, replace)
        assert told.startswith("its folder was removed, moved or mounted over while it ran")
        root.rmdir()
        aside.rename(root)
        disk.store._parts.shop.health.look()
        assert disk.store.degraded() is None
        assert disk.store.takes_in()
