"""A directory store under test, with the hands of other programs on its files."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from accord.model.names import FilePath, ServerName
from accord.model.versions import OutsideChanges
from accord.store.directory import DirectoryStore, open_directory_store
from accord.store.records import Stat

SERVER = ServerName("server1")


def a_second_from_now() -> int:
    """With hashing dated so, no file a test has just written is racy."""
    return time.time_ns() + 1_000_000_000


class DirectoryDisk:
    def __init__(self, root: Path, store: DirectoryStore) -> None:
        self.root = root
        self.store = store

    def write(self, path: str, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.root / ".accord" / "fresh"
        fresh.write_bytes(content)
        fresh.rename(file)

    def rewrite(self, path: str, content: bytes) -> None:
        (self.root / path).write_bytes(content)

    def touch(self, path: str) -> None:
        os.utime(self.root / path, ns=(1, 1))

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def rot(self, path: str) -> None:
        """No program can flip a bit and leave the change time; so the index is told that it had seen the new stat data."""
        assert self.store._parts.indexing.ended.wait(20), "or the first hashing would take it for a change"
        file = self.root / path
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        record = self.store._index.get(FilePath(path))
        assert record is not None
        after = replace(record, stat=Stat.of(file.stat()), hashed_at_ns=a_second_from_now())
        assert self.store._index.replace(FilePath(path), record, after, durable=True)

    def content(self, path: str) -> bytes | None:
        file = self.root / path
        return file.read_bytes() if file.exists() else None


@asynccontextmanager
async def open_disk(root: Path, **options: Any) -> AsyncIterator[DirectoryDisk]:
    options = {"outside_changes": OutsideChanges.DISPUTE, "now_ns": a_second_from_now, **options}
    store = await open_directory_store(root, SERVER, **options)
    try:
        yield DirectoryDisk(root, store)
    finally:
        await store.close()
