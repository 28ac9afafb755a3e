"""Nothing outside the root is ever read, and nothing but regular files is opened; with openat2 and without."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from accord.errors import Conflict
from accord.model import versions
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Absent, Present, Unreachable
from accord.store.confinement import Confinement, NotAFile
from accord.store.port import is_answer
from accord.testing.conformance import opened, take_in, version_of

from .disks import DirectoryDisk, open_disk

SECRET = b"outside the root"


@pytest.fixture(params=[False, True], ids=["openat2", "component-walk"])
def walking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside" / "folder").mkdir(parents=True)
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
async def disk(root: Path, walking: bool) -> AsyncIterator[DirectoryDisk]:
    async with open_disk(root, component_walk=walking) as disk:
        yield disk


async def found(disk: DirectoryDisk, path: str) -> object:
    """What both ways of asking say; a glance may leave it open."""
    answer = await disk.store.examine(FilePath(path), wait_s=30)
    assert disk.store.glance(FilePath(path)) in (None, Absent())
    assert disk.store.glance_answer(FilePath(path)) in (None, Absent())
    return answer


def test_the_kernel_of_this_machine_has_openat2(root: Path) -> None:
    assert Confinement(root).in_kernel
    assert not Confinement(root, component_walk=True).in_kernel


async def test_links_are_never_followed(disk: DirectoryDisk, root: Path) -> None:
    (root / "file").symlink_to("../outside/secret")
    (root / "absolute").symlink_to(root.parent / "outside" / "secret")
    (root / "folder").symlink_to("../outside")
    (root / "dangling").symlink_to("nowhere")
    (root / "inside").write_bytes(b"x")
    (root / "to-inside").symlink_to("inside")
    for path in ("file", "absolute", "folder/secret", "folder/none", "dangling", "to-inside", "folder"):
        assert await found(disk, path) == Absent("a symbolic link"), path


async def test_what_is_no_regular_file_is_not_opened(disk: DirectoryDisk, root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(root, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        (root / "directory").mkdir()
        (root / "file").write_bytes(b"x")
        assert await found(disk, "fifo") == Absent("not a regular file")
        assert await found(disk, "socket") == Absent("not a regular file")
        assert await found(disk, "directory") == Absent("an empty folder")
        (root / "directory" / "below").mkdir()
        assert await found(disk, "directory") == Absent("an empty folder")
        os.mkfifo(root / "directory" / "below" / "fifo")
        assert await found(disk, "directory") == Absent("a folder")
        assert await found(disk, "file/below") == Absent("a file where a folder would be")


@pytest.mark.needs_root
async def test_a_device_is_not_opened(disk: DirectoryDisk, root: Path) -> None:
    os.mknod(root / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    assert await found(disk, "device") == Absent("not a regular file")


async def test_a_fifo_that_takes_a_known_files_place_blocks_nobody(disk: DirectoryDisk, root: Path) -> None:
    disk.write("file", b"x")
    copy = await opened(disk.store, FilePath("file"))
    copy.close()
    os.unlink(root / "file")
    os.mkfifo(root / "file")
    assert await found(disk, "file") == Absent("not a regular file", copy.answer.clock)


async def test_a_segment_too_long_for_the_file_system_is_absent(disk: DirectoryDisk) -> None:
    assert await found(disk, "/".join(["x" * 250] * 16)) == Absent()


_SWAP = """
import os, sys
os.chdir(sys.argv[1])
while True:
    os.rename("folder", "spare"); os.rename("other", "folder")
    os.rename("folder", "other"); os.rename("spare", "folder")
"""


def _swapping(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SWAP, str(root)])


async def test_a_link_swapped_in_never_leaks_a_byte(disk: DirectoryDisk, root: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "secret").write_bytes(b"inside")
    (root / "other").symlink_to("../outside")
    swapping = _swapping(root)
    seen = set()
    answers = 0
    try:
        while answers < 500 or not seen:
            held = disk.store.glance(FilePath("folder/secret"))
            if held is None:
                held = await disk.store.open(FilePath("folder/secret"), wait_s=30)
            if is_answer(held):
                assert isinstance(held, Absent | Unreachable), held
                answers += 1
                continue
            seen.add(await held.read(0, 100))
            held.close()
            for page in disk.store.walk(Prefix("folder"), None):
                assert [one.answer.size for one in page if isinstance(one.answer, Present)] in ([], [6])
    finally:
        swapping.kill()
        swapping.wait()
    assert seen == {b"inside"}


async def test_nothing_is_taken_in_through_a_link(disk: DirectoryDisk, root: Path) -> None:
    (root / "folder").symlink_to("../outside")
    (root / "file").write_bytes(b"x")
    for path in ("folder/new", "folder/folder/new", "file/new"):
        with pytest.raises(Conflict):
            await take_in(disk.store, versions.found(version_of(b"content")), b"content", path=FilePath(path))
    assert sorted(os.listdir(root.parent / "outside")) == ["folder", "secret"]
    assert os.listdir(root.parent / "outside" / "folder") == []


_UNPRIVILEGED = """
import asyncio, os, sys
from pathlib import Path
from accord.model.names import FilePath, ServerName
from accord.model.versions import OutsideChanges
from accord.store.directory import open_directory_store

async def main():
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    store = await open_directory_store(Path(sys.argv[1]), ServerName("server1"), outside_changes=OutsideChanges.DISPUTE)
    for path in ("unreadable", "closed/file"):
        print(await store.examine(FilePath(path), wait_s=30), file=sys.stderr)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.needs_root
def test_a_file_that_may_not_be_read_is_no_answer() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        root = Path(folder)
        (root / "closed").mkdir()
        for path in ("unreadable", "closed/file"):
            (root / path).write_bytes(b"x")
        (root / "unreadable").chmod(0)
        (root / "closed").chmod(0)
        os.chown(root, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED, folder], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [str(Unreachable("this server may not read its copy"))] * 2


def test_not_a_file_names_the_obstacle(root: Path) -> None:
    (root / "folder").mkdir()
    with pytest.raises(NotAFile, match="a folder"):
        Confinement(root).open_regular(FilePath("folder"))
