"""Both stores keep the one contract: the directory (with openat2 and without) and the one in memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from accord.model.names import FilePath, ServerName
from accord.testing.memory_store import MemoryStore
from accord.testing.store_conformance import StoreConformance

from .disks import DirectoryDisk, open_disk


class MemoryDisk:
    def __init__(self) -> None:
        self.store = MemoryStore(ServerName("server1"))

    def write(self, path: str, content: bytes) -> None:
        self.store.put_outside(path, content)

    def rewrite(self, path: str, content: bytes) -> None:
        self.store.put_outside(path, content, in_place=True)

    def touch(self, path: str) -> None:
        self.store.put_outside(path, self.store.files[FilePath(path)].content, in_place=True)

    def remove(self, path: str) -> None:
        self.store.remove_outside(path)

    def rot(self, path: str) -> None:
        self.store.rot(path)

    def content(self, path: str) -> bytes | None:
        file = self.store.files.get(FilePath(path))
        return None if file is None else file.content


class TestTheStoreInMemory(StoreConformance):
    @pytest.fixture
    async def disk(self) -> AsyncIterator[MemoryDisk]:
        disk = MemoryDisk()
        yield disk
        assert disk.store.open_copies == 0
        assert disk.store.open_stagings == 0


class TestTheDirectory(StoreConformance):
    @pytest.fixture(params=[False, True], ids=["openat2", "component-walk"])
    async def disk(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DirectoryDisk]:
        async with open_disk(tmp_path, component_walk=request.param) as disk:
            yield disk
            await disk.store.close()
            assert os.listdir(tmp_path / ".accord" / "staging") == []
