"""A full disk undoes what the index had batched; it is written once there is room, as everybody has gone on believing it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from accord.model.names import FilePath
from accord.store.index import Index
from accord.store.index_rows import GET, record_of
from accord.store.records import Record
from tests.store.disks import open_disk

PATH = FilePath("hello.txt")


def row(index: Index) -> Record:
    return index.read(lambda db: record_of(db.execute(GET, (PATH,)).fetchone()))


async def test_what_was_undone_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk(tmp_path) as disk:
        disk.write(PATH, b"content")
        await disk.store.examine(PATH, wait_s=5.0)
        index = disk.store._index
        index.flush()
        before = index.get(PATH)
        assert before is not None
        after = replace(before, hashed_at_ns=before.hashed_at_ns + 1)
        assert index.replace(PATH, before, after, durable=False)
        index._fail(apsw.FullError("database or disk is full"))
        assert row(index) == before
        index.flush()
        assert row(index) == after == index.get(PATH)
