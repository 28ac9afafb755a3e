"""The simulated system's calls give what the real one's give: the same results, errors and trees, whatever the order."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from contextvars import copy_context
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.store import renaming
from accord.testing.simulation.descriptors import MOUNTS
from accord.testing.simulation.disk import Disk
from accord.testing.simulation.kernel import Kernel
from accord.testing.simulation.kernel_names import EXCHANGE, NOREPLACE
from accord.testing.simulation.processes import PROCESS, Process
from accord.testing.simulation.virtual_loop import VirtualLoop

FLAGS = [
    os.O_RDONLY,
    os.O_RDONLY | os.O_DIRECTORY,
    os.O_WRONLY,
    os.O_RDWR | os.O_CREAT,
    os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    os.O_WRONLY | os.O_TRUNC,
]
_HERE = -100
"""AT_FDCWD: paths are not relative to any folder."""
_CALLS_THAT_MOVE_TIMES: list[tuple[Any, ...]] = [
    ("mkdir", "d"),
    ("open", "a", os.O_WRONLY | os.O_CREAT),
    ("write", "a", b"one", 0),
    ("read", "a"),
    ("cut", "a", 1),
    ("chmod", "a", 0o755),
    ("open", "a", os.O_WRONLY | os.O_TRUNC),
    ("link", "a", "b"),
    ("unlink", "a"),
    ("rename", "b", "d/a"),
    ("open", "c", os.O_WRONLY | os.O_CREAT),
    ("exchange", "c", "d/a"),
    ("noreplace", "c", "d/b"),
    ("rename", "d/b", "d/a"),
    ("rename", "d", "e"),
    ("link", "e/a", "a"),
    ("rename", "a", "e/a"),
    ("unlink", "e/a"),
]

_path = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/a"])
_call = st.one_of(
    st.tuples(st.sampled_from(["mkdir", "rmdir", "unlink", "stat", "listdir", "read"]), _path),
    st.tuples(st.sampled_from(["link", "rename", "noreplace", "exchange"]), _path, _path),
    st.tuples(st.just("open"), _path, st.sampled_from(FLAGS)),
    st.tuples(st.just("write"), _path, st.sampled_from([b"one", b"longer"]), st.sampled_from([0, 2, 9])),
    st.tuples(st.sampled_from(["write where it is read", "cut where it is read"]), _path),
    st.tuples(st.just("cut"), _path, st.sampled_from([0, 2, 12])),
)


class System:
    """The calls of a system beneath a folder, by name; errors are told by theirs."""

    def __init__(self, calls: Any, root: str, rename2: Callable[[str, str, int], None]) -> None:
        self._os = calls
        self._root = root
        self._rename2 = rename2

    def do(self, name: str, path: str, *rest: Any) -> Any:
        try:
            return getattr(self, "_" + name.replace(" ", "_"))(self._root + path, *rest)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def tree(self) -> dict[str, Any]:
        """Each path, and what is there."""
        found: dict[str, Any] = {}
        folders = [""]
        for folder in folders:
            for name in self._os.listdir(self._root + folder):
                path = folder + name
                found[path] = self._stat(self._root + path)
                if found[path] == "folder":
                    folders.append(path + "/")
                else:
                    found[path] = (found[path], self._read(self._root + path))
        return found

    def stamps(self) -> dict[int, tuple[str, int, int]]:
        """Of each inode a name of it, when it was modified, and when it was changed at all."""
        names = ["", *self.tree()]
        of_each = {name: self._os.stat(self._root + (name or ".")) for name in names}
        return {one.st_ino: (name, one.st_mtime_ns, one.st_ctime_ns) for name, one in sorted(of_each.items())}

    def moves(self, call: tuple[Any, ...]) -> dict[str, tuple[bool, bool]]:
        """Which of the two times of what is there before and after the call it moves, by name."""
        before = self.stamps()
        self.do(*call)
        after = self.stamps()
        return {
            name: (modified != before[number][1], changed != before[number][2])
            for number, (name, modified, changed) in after.items()
            if number in before
        }

    def _mkdir(self, path: str) -> None:
        self._os.mkdir(path)

    def _rmdir(self, path: str) -> None:
        self._os.rmdir(path)

    def _unlink(self, path: str) -> None:
        self._os.unlink(path)

    def _stat(self, path: str) -> Any:
        status = self._os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return "folder"
        return oct(status.st_mode), status.st_nlink, status.st_size

    def _listdir(self, path: str) -> list[str]:
        return sorted(self._os.listdir(path))

    def _read(self, path: str) -> bytes:
        return self._with(path, os.O_RDONLY, lambda fd: self._os.read(fd, 100))

    def _link(self, path: str, other: str) -> None:
        self._os.link(path, self._root + other)

    def _rename(self, path: str, other: str) -> None:
        self._os.rename(path, self._root + other)

    def _noreplace(self, path: str, other: str) -> None:
        self._rename2(path, self._root + other, NOREPLACE)

    def _exchange(self, path: str, other: str) -> None:
        self._rename2(path, self._root + other, EXCHANGE)

    def _open(self, path: str, flags: int) -> None:
        self._with(path, flags, lambda fd: None)

    def _write(self, path: str, data: bytes, offset: int) -> int:
        return self._with(path, os.O_WRONLY, lambda fd: self._os.pwrite(fd, data, offset))

    def _cut(self, path: str, size: int) -> None:
        self._with(path, os.O_WRONLY, lambda fd: self._os.ftruncate(fd, size))

    def _write_where_it_is_read(self, path: str) -> None:
        self._with(path, os.O_RDONLY, lambda fd: self._os.pwrite(fd, b"data", 0))

    def _cut_where_it_is_read(self, path: str) -> None:
        self._with(path, os.O_RDONLY, lambda fd: self._os.ftruncate(fd, 0))

    def _chmod(self, path: str, mode: int) -> None:
        self._with(path, os.O_RDONLY, lambda fd: self._os.fchmod(fd, mode))

    def _with(self, path: str, flags: int, work: Callable[[int], Any]) -> Any:
        fd = self._os.open(path, flags, 0o640)
        try:
            return work(fd)
        finally:
            self._os.close(fd)


def real(root: Path) -> System:
    def rename2(path: str, other: str, flags: int) -> None:
        if renaming._renameat2(_HERE, path.encode(), _HERE, other.encode(), flags):
            raise OSError(ctypes.get_errno(), "renameat2")

    return System(os, f"{root}/", rename2)


def simulated() -> System:
    loop, ticks = VirtualLoop(lambda: 0.001), count()
    kernel = Kernel(Random(1))
    disk = kernel.disks[1] = Disk(1, loop.time, lambda: next(ticks))
    PROCESS.set(Process("server1", disk, loop, lambda process, power_fails: None))
    loop.close()
    return System(kernel, f"{MOUNTS}1/", lambda path, other, flags: kernel.rename2(path, other, None, None, flags))


@given(st.lists(_call, max_size=25))
@settings(max_examples=300, deadline=None)
def test_every_call_gives_what_the_real_one_gives(calls: list[tuple[Any, ...]]) -> None:
    copy_context().run(_compare, calls)


def _compare(calls: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as root:
        there, here = real(Path(root)), simulated()
        done = []
        for call in calls:
            expected, found = there.do(*call), here.do(*call)
            done.append((call, expected))
            assert found == expected, done
        assert here.tree() == there.tree(), done


def test_every_call_moves_the_times_that_the_real_one_moves(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    copy_context().run(_compare_times, real(tmp_path / "root"), tmp_path / "clock")


def _compare_times(there: System, clock: Path) -> None:
    here = simulated()
    for call in _CALLS_THAT_MOVE_TIMES:
        _tick(clock)
        assert here.moves(call) == there.moves(call), call


def _tick(clock: Path) -> None:
    """Until the system stamps files with another time: a few milliseconds."""
    clock.touch()
    began_ns = clock.stat().st_ctime_ns
    while clock.stat().st_ctime_ns == began_ns:
        clock.touch()
