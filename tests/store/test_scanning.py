"""A scan of a directory finds what happened behind Accord's back, reads only what changed, and never takes doubt for loss."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import StoreFailed
from accord.model.findings import Oddity
from accord.model.names import FilePath, Prefix
from accord.store import scanning
from accord.store.confinement import Confinement
from accord.store.port import BLOCK_BYTES
from accord.store.records import Stat
from accord.store.scanning import PORTION_ROWS
from accord.store.walk import SIGHTED_FILES, Sighted
from accord.testing.conformance import HELLO, contents, digest_of, digests, opened, present, put
from accord.testing.scan_conformance import EVERYTHING, noted, scanned, told

from .disks import DirectoryDisk, open_disk


def hashed(disk: DirectoryDisk) -> None:
    assert disk.store._parts.indexing.ended.wait(60)


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, path: str, code: int) -> None:
    """Opening `path` fails, as it would for a server that is not root, or has a bad disk."""
    before = getattr(Confinement, method)

    def refused(self: Confinement, wanted: str) -> int:
        if wanted == path:
            raise OSError(code, os.strerror(code))
        fd: int = before(self, wanted)
        return fd

    monkeypatch.setattr(Confinement, method, refused)


async def test_of_an_unchanged_tree_no_content_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(b"content")
    async with open_disk(tmp_path) as disk:
        hashed(disk)

        def never(*_: object) -> None:
            raise AssertionError("a file was read")

        monkeypatch.setattr("accord.store.examining.hash_open_file", never)
        monkeypatch.setattr(Confinement, "open_regular", never)
        assert scanned(disk.store) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
async def test_what_is_in_a_folder_that_cannot_be_read_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for name in ("a", "closed/file", "closed/deep/file", "z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        with monkeypatch.context() as broken:
            refuse(broken, "open_folder", "closed", code)
            refuse(broken, "open_regular", "closed/file", code)
            (finding,) = scanned(disk.store)
            disk.store.note_finding(finding)
        assert (finding.path, finding.oddity, finding.detail) == ("closed", Oddity.UNREADABLE, os.strerror(code))
        assert await disk.store.unmended(None, 9) == []
        assert await noted(disk.store) == [("closed", Oddity.UNREADABLE)]
        assert scanned(disk.store, Prefix("closed/")) == []
        assert await noted(disk.store) == [], "it can be read again"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
async def test_a_changed_file_that_cannot_be_read_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / HELLO).write_bytes(b"content")
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        disk.touch(HELLO)
        with monkeypatch.context() as broken:
            refuse(broken, "open_regular", HELLO, code)
            assert told(scanned(disk.store)) == told(scanned(disk.store)) == [(HELLO, Oddity.UNREADABLE)]
            for finding in scanned(disk.store):
                disk.store.note_finding(finding)
        assert await noted(disk.store) == [(HELLO, Oddity.UNREADABLE)]
        assert scanned(disk.store) == []
        assert await noted(disk.store) == []


async def test_of_a_directory_that_is_not_in_its_place_nothing_is_missing(tmp_path: Path) -> None:
    root, aside = tmp_path / "root", tmp_path / "aside"
    root.mkdir()
    (root / HELLO).write_bytes(b"content")
    async with open_disk(root) as disk:
        hashed(disk)
        root.rename(aside)
        root.mkdir()
        with pytest.raises(StoreFailed, match="its folder was removed, moved or mounted over"):
            scanned(disk.store)
        root.rmdir()
        aside.rename(root)
        assert scanned(disk.store) == []
        assert await disk.store.unmended(None, 9) == []


async def test_a_directory_that_is_removed_while_it_is_scanned_lost_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / HELLO).write_bytes(b"content")
    async with open_disk(root) as disk:
        hashed(disk)
        steps = disk.store.rescan(EVERYTHING)
        sightings = scanning.sightings

        def removed_before(*given: object) -> object:
            shutil.rmtree(root)
            return sightings(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(scanning, "sightings", removed_before)
        with pytest.raises(StoreFailed, match="no longer takes anything in"):
            list(steps)
        record = disk.store._index.get(HELLO)
        assert record is not None
        assert record.stat is not None


async def test_a_top_folder_that_cannot_be_read_fails_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / HELLO).write_bytes(b"content")
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        refuse(monkeypatch, "open_folder", "", errno.EIO)
        with pytest.raises(StoreFailed, match="The folder of the files cannot be read"):
            scanned(disk.store)


async def test_what_a_commit_puts_there_meanwhile_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk came too early for it, the index did not."""
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")

        def blind(*_: object) -> Sequence[list[Sighted]]:
            return iter(())  # type: ignore[return-value]

        monkeypatch.setattr(scanning, "sightings", blind)
        assert scanned(disk.store) == []
        assert await disk.store.unmended(None, 9) == []


async def test_a_file_that_changed_too_close_to_its_hashing_is_hashed_again(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
        disk.rewrite(HELLO, b"changed")
        record, stat = disk.store._index.get(HELLO), Stat.of((tmp_path / HELLO).stat())
        assert record is not None
        racy = replace(record, stat=stat, hashed_at_ns=stat.ctime_ns)
        assert disk.store._index.replace(HELLO, record, racy, durable=True)
        assert told(scanned(disk.store)) == [(HELLO, Oddity.OUTSIDE)]
        assert sum(step.hashed_bytes for step in disk.store.rescan(EVERYTHING)) == 0


async def test_a_long_file_that_changed_is_hashed_beside_other_steps(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"1" * (3 * BLOCK_BYTES))
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        disk.rewrite("large", b"2" * (3 * BLOCK_BYTES))
        steps = await asyncio.to_thread(lambda: list(disk.store.rescan(EVERYTHING)))
        assert sum(step.hashed_bytes for step in steps) == 3 * BLOCK_BYTES
        assert told([one for step in steps for one in step.findings]) == [("large", Oddity.OUTSIDE)]


async def test_a_long_beginning_is_proven_by_the_digests_of_its_blocks(tmp_path: Path) -> None:
    content = os.urandom(3 * BLOCK_BYTES)
    for path in ("known", "unknown"):
        (tmp_path / path).write_bytes(content + path.encode())
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        copy = await opened(disk.store, FilePath("known"))
        await copy.block_digests()
        copy.close()
        for path in ("known", "unknown"):
            os.truncate(tmp_path / path, 2 * BLOCK_BYTES)
        found = await asyncio.to_thread(scanned, disk.store)
        assert told(found) == [("known", Oddity.TRUNCATED), ("unknown", Oddity.OUTSIDE)]


async def test_a_tree_of_many_lost_files_is_gone_through_in_portions(tmp_path: Path) -> None:
    count = PORTION_ROWS + 100
    (tmp_path / "many").mkdir()
    for number in range(count):
        (tmp_path / "many" / f"{number:06}").touch()
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        shutil.rmtree(tmp_path / "many")
        steps = await asyncio.to_thread(lambda: list(disk.store.rescan(EVERYTHING)))
        assert sum(len(step.findings) for step in steps) == count
        assert max(len(step.findings) for step in steps) < 2 * SIGHTED_FILES
        assert len(await disk.store.unmended(None, 2 * count)) == count


async def test_who_reads_an_edit_first_makes_it_known(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
        disk.rewrite(HELLO, b"edited")
        await present(disk.store)
        assert await noted(disk.store) == [(HELLO, Oddity.OUTSIDE)]
        assert scanned(disk.store) == []
        assert await noted(disk.store) == [(HELLO, Oddity.OUTSIDE)]


async def test_what_was_edited_while_the_server_was_down_is_known_after_the_first_hashing(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
    (tmp_path / HELLO).write_bytes(b"edited")
    async with open_disk(tmp_path) as disk:
        hashed(disk)
        assert await noted(disk.store) == [(HELLO, Oddity.OUTSIDE)]


paths = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "d-", "e/a", "é"])
edits = st.lists(st.tuples(paths, st.sampled_from([b"", b"one", b"two", None])), max_size=8)


@settings(max_examples=25)
@given(edits, edits)
async def test_after_a_scan_the_index_is_as_the_tree_is(
    before: list[tuple[str, bytes | None]], after: list[tuple[str, bytes | None]]
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        async with open_disk(root) as disk:
            hashed(disk)
            there: dict[str, bytes] = {}
            known: set[str] = set()
            for some in (before, after):
                for path, content in some:
                    if content is None:
                        (root / path).unlink(missing_ok=True)
                        there.pop(path, None)
                    else:
                        disk.write(path, content)
                        there[path] = content
                found = scanned(disk.store)
                missing = {one.path for one in found if one.oddity is Oddity.MISSING}
                assert missing == known - there.keys()
                known |= there.keys()
                for path, content in there.items():
                    record = disk.store._index.get(FilePath(path))
                    assert record is not None
                    assert (record.digest, record.stat is not None) == (digest_of(content), True)
                    assert digests(content) <= contents(await present(disk.store, FilePath(path)))
    finally:
        shutil.rmtree(root)
