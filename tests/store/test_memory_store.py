"""The store in memory keeps the contract of all stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from accord.model.names import Digest, FilePath, ServerName
from accord.model.versions import OutsideChanges
from accord.testing.conformance import KEEP_NS, KEEP_VERSIONS
from accord.testing.memory_store import MemoryStore
from accord.testing.store_conformance import StoreConformance


class MemoryDisk:
    def __init__(self, policy: OutsideChanges) -> None:
        self.store = MemoryStore(
            ServerName("server1"), outside_changes=policy, keep_versions=KEEP_VERSIONS, keep_ns=KEEP_NS
        )
        self.store.capacity_bytes = 1 << 40

    def write(self, path: str, content: bytes, *, modified_ns: int | None = None) -> None:
        self.store.put_outside(path, content, modified_ns=modified_ns)

    def rewrite(self, path: str, content: bytes) -> None:
        self.store.put_outside(path, content, in_place=True)

    def touch(self, path: str) -> None:
        self.store.put_outside(path, self.store.files[FilePath(path)].content, in_place=True)

    def remove(self, path: str) -> None:
        self.store.remove_outside(path)

    def rot(self, path: str) -> None:
        self.store.rot(path)

    def rot_version(self, path: str, digest: Digest) -> None:
        self.store.rot_version(path, digest)

    def make_folder(self, path: str) -> None:
        self.store.make_folder(path)

    def content(self, path: str) -> bytes | None:
        file = self.store.files.get(FilePath(path))
        return None if file is None else file.content

    def now_ns(self) -> int:
        return self.store.now_ns()

    def pass_time(self, duration_ns: int) -> None:
        self.store.pass_time(duration_ns)

    async def reopen(self, *, lose_index: bool = False) -> None:
        if lose_index:
            self.store.lose_index()


@asynccontextmanager
async def memory(policy: OutsideChanges) -> AsyncIterator[MemoryDisk]:
    disk = MemoryDisk(policy)
    yield disk
    assert disk.store.open_copies == 0
    assert disk.store.open_stagings == 0


class TestTheStoreInMemory(StoreConformance):
    @pytest.fixture
    async def disk(self) -> AsyncIterator[MemoryDisk]:
        async with memory(OutsideChanges.DISPUTE) as disk:
            yield disk

    @pytest.fixture
    async def adopting(self) -> AsyncIterator[MemoryDisk]:
        async with memory(OutsideChanges.ADOPT) as disk:
            yield disk
