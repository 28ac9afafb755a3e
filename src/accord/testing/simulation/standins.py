"""What the store's modules are given in the place of the operating system: files, threads, time and chance, all of the simulation.

The store is the real one. The names by which its modules reach the world outside (`os`, `time`, `threading`, `secrets`, `fcntl`,
`apsw`) are bound to stand-ins while a simulation runs, and so are the few sizes and waits that would make it slow: a block is 4 KiB
then, so that content of several blocks costs nothing. Nothing of the product knows of any of this.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import pkgutil
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from random import Random
from typing import Any, TypeVar

import apsw

import accord.engine
import accord.store
from accord.store import confinement, renaming, writeback
from accord.store.confinement import require_regular
from accord.testing.simulation.descriptors import MOUNTS
from accord.testing.simulation.disk import Folder
from accord.testing.simulation.index_connection import IndexConnection
from accord.testing.simulation.kernel import Kernel
from accord.testing.simulation.kernel_values import failing
from accord.testing.simulation.processes import PROCESS
from accord.testing.simulation.threads import Pool, Threads
from accord.testing.simulation.virtual_loop import VirtualLoop

BLOCK_BYTES = 4096
_SCALED = {
    ("BLOCK_BYTES", 1 << 20): BLOCK_BYTES,
    ("SMALL_BYTES", 1 << 20): BLOCK_BYTES,
    ("SMALL_CONTENT_BYTES", 64 << 10): 1024,
    ("TINY_BYTES", 64 << 10): 1024,
    ("INLINE_BYTES", 64 << 10): 1 << 20,
    ("PROMPT_READ_BYTES", 64 << 10): 1024,
    ("MAX_STEP_BYTES", 8 << 20): 8 * BLOCK_BYTES,
    ("MIN_DELTA_BYTES", 4 << 20): 3 * BLOCK_BYTES,
    ("BATCH_S", 0.5): 3.0,
}
"""Names that are scaled down where they have this value: (name, value) → what it is in a simulation."""

T = TypeVar("T")


class SimulatedPath(PosixPath):
    """A path on a simulated disk."""

    kernel: Kernel

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        return self.kernel.stat(self)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        try:
            self.stat()
        except OSError:
            return False
        return True


class Beneath:
    """As `confinement.Confinement`, where nothing but files and folders is to be met."""

    in_kernel = True

    def __init__(self, kernel: Kernel, root: Path) -> None:
        self._kernel = kernel
        process = PROCESS.get()
        assert process is not None
        self._process = process
        self._root = process.disk.root
        self.root_fd = kernel.open(f"{MOUNTS}{process.disk.number}/.", os.O_RDONLY)

    def open_cached(self, path: str) -> int:
        try:
            return self._open(path)
        except OSError as error:
            return -(error.errno or errno.EIO)

    probe_cached = open_cached

    def probe(self, path: str) -> int:
        return self._open(path)

    def let_go(self, fd: int) -> None:
        self._kernel.close(fd)

    def open_regular(self, path: str) -> int:
        inode = self._kernel.beneath(self._root, path)
        require_regular(inode.mode)
        return self._kernel.give(self._process, self._process.disk, inode)

    def open_folder(self, folder: str) -> int:
        self._process.require_alive()
        inode = self._kernel.beneath(self._root, folder)
        if not isinstance(inode, Folder):
            raise failing(errno.ENOTDIR)
        return self._kernel.give(self._process, self._process.disk, inode)

    def is_on_another_mount(self, path: str) -> bool:
        return self.inode_here(path) is None

    def inode_here(self, path: str) -> int | None:
        return self._kernel.beneath(self._root, path).number

    def close(self) -> None:
        self._kernel.close(self.root_fd)

    def _open(self, path: str) -> int:
        self._process.require_alive()
        return self._kernel.give(self._process, self._process.disk, self._kernel.beneath(self._root, path))


class Clock:
    """Stands in for the module `time`."""

    def __init__(self, loop: VirtualLoop, now_ns: Callable[[], int]) -> None:
        self.monotonic = loop.time
        self.perf_counter = loop.time
        self.time_ns = now_ns
        self.sleep = loop.advance


class Chance:
    """Stands in for the module `secrets`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def token_hex(self, length_bytes: int) -> str:
        return self._random.randbytes(length_bytes).hex()


class FileControl:
    """Stands in for the module `fcntl`: a disk is used by one server, and clones nothing."""

    LOCK_EX, LOCK_NB, LOCK_UN, F_GETFL, F_SETFL = 2, 4, 8, 3, 4

    def flock(self, fd: int, operation: int) -> None:
        """The process is the only one."""

    def fcntl(self, fd: int, command: int, argument: int = 0) -> int:
        raise failing(errno.EINVAL)

    def ioctl(self, fd: int, request: int, argument: Any = 0) -> int:
        raise failing(errno.EOPNOTSUPP)


class Sqlite:
    """Stands in for the module `apsw`."""

    Connection = IndexConnection

    def __getattr__(self, name: str) -> Any:
        return getattr(apsw, name)


def _modules() -> list[Any]:
    """All of the store and the engine, and what the answering side has of its own."""
    for package in (accord.store, accord.engine):
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            importlib.import_module(info.name)
    names = sorted(
        name for name in sys.modules if name.startswith(("accord.store.", "accord.engine.", "accord.server.peer_"))
    )
    return [sys.modules[name] for name in names]


@contextmanager
def installed(loop: VirtualLoop, kernel: Kernel, random: Random, now_ns: Callable[[], int], log: Any) -> Iterator[None]:
    """The stand-ins, in the place of the real ones, as long as the context lasts. One at a time in a process."""
    stand_ins: dict[Any, Any] = {
        os: kernel,
        time: Clock(loop, now_ns),
        threading: Threads(loop),
        secrets: Chance(random),
        fcntl: FileControl(),
        apsw: Sqlite(),
    }
    by_name = {module.__name__: (module, stand_in) for module, stand_in in stand_ins.items()}
    replaced: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: Any) -> None:
        replaced.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    for module in _modules():
        for name, value in list(vars(module).items()):
            if name in by_name and value is by_name[name][0]:
                put(module, name, by_name[name][1])
            elif isinstance(value, int | float) and (name, value) in _SCALED:
                put(module, name, _SCALED[name, value])
            elif name == "_log":
                put(module, name, log)
            elif name == "Confinement" and module is not confinement:
                put(module, name, lambda root, *, component_walk=False: Beneath(kernel, root))
            elif name == "HashingPool" and module.__name__ != "accord.store.hashing":
                put(module, name, lambda: Pool(loop, random.random))
            elif name == "_buffers":
                put(module, name, threading.local())
    put(renaming, "_rename2", lambda *call: _rename2(kernel, *call))
    put(writeback, "_sync_file_range", None)
    SimulatedPath.kernel = kernel
    try:
        yield
    finally:
        for module, name, value in reversed(replaced):
            setattr(module, name, value)


def _rename2(kernel: Kernel, from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> bool:
    try:
        kernel.rename2(name, new_name, from_fd, to_fd, flags)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTEMPTY):
            return False
        raise
    return True
