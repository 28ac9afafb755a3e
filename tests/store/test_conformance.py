"""The directory keeps the contract of all stores, with openat2 and without. (The one in memory: `test_memory_store`.)"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from accord.model.names import Digest
from accord.model.versions import OutsideChanges
from accord.store.directory import open_directory_store
from accord.testing.conformance import KEEP_NS, KEEP_VERSIONS
from accord.testing.store_conformance import StoreConformance

from .disks import SERVER, DirectoryDisk

_DAY_NS = 24 * 3600 * 1_000_000_000


class RestartedDisk(DirectoryDisk):
    """A directory whose store can be closed and opened again, in a time that a test may hurry on."""

    def __init__(self, root: Path, options: dict[str, Any]) -> None:
        root.mkdir()
        self.root = root
        self._options = options
        self._ahead_ns = 1_000_000_000  # with hashing dated so, no file a test has just written is racy

    async def start(self) -> None:
        self.store = await open_directory_store(
            self.root,
            SERVER,
            now_ns=self.now_ns,
            keep_versions=KEEP_VERSIONS,
            keep_days=KEEP_NS // _DAY_NS,
            **self._options,
        )

    def write(self, path: str, content: bytes, *, modified_ns: int | None = None) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.root / ".accord" / "fresh"
        fresh.write_bytes(content)
        if modified_ns is not None:
            os.utime(fresh, ns=(modified_ns, modified_ns))
        fresh.rename(file)

    def rot_version(self, path: str, digest: Digest) -> None:
        file = self.root / ".accord" / "versions" / digest.hex()[:2] / digest.hex()
        content = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    def make_folder(self, path: str) -> None:
        (self.root / path).mkdir(parents=True)

    def now_ns(self) -> int:
        return time.time_ns() + self._ahead_ns

    def pass_time(self, duration_ns: int) -> None:
        self._ahead_ns += duration_ns

    async def reopen(self, *, lose_index: bool = False) -> None:
        await self.store.close()
        if lose_index:
            for file in (self.root / ".accord").glob("index*"):
                file.unlink()
        await self.start()


@asynccontextmanager
async def directory(root: Path, policy: OutsideChanges, *, component_walk: bool) -> AsyncIterator[RestartedDisk]:
    disk = RestartedDisk(root, {"outside_changes": policy, "component_walk": component_walk})
    await disk.start()
    try:
        yield disk
    finally:
        await disk.store.close()
    assert os.listdir(root / ".accord" / "staging") == []


class TestTheDirectory(StoreConformance):
    @pytest.fixture(params=[False, True], ids=["openat2", "component-walk"])
    def component_walk(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param)

    @pytest.fixture
    async def disk(self, tmp_path: Path, component_walk: bool) -> AsyncIterator[RestartedDisk]:
        async with directory(tmp_path / "files", OutsideChanges.DISPUTE, component_walk=component_walk) as disk:
            yield disk

    @pytest.fixture
    async def adopting(self, tmp_path: Path, component_walk: bool) -> AsyncIterator[RestartedDisk]:
        async with directory(tmp_path / "adopting", OutsideChanges.ADOPT, component_walk=component_walk) as disk:
            yield disk
