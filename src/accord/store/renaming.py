"""Renaming that says what it found: into a place where nothing is, or in exchange for what is there (renameat2). Blocking."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
OUT_PREFIX = "out-"
"""Where a file system knows no exchange, what comes out of a path has this before its name for a moment."""

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def move_in(from_fd: int, name: str, to_fd: int, new_name: str) -> bool:
    """Rename; False if something is there already. Raises `OSError`."""
    return _rename2(from_fd, name, to_fd, new_name, _RENAME_NOREPLACE)


def exchange(from_fd: int, name: str, to_fd: int, new_name: str) -> bool:
    """Swap two files, so that no moment leaves either place empty; False if one of them is not there. Raises `OSError`."""
    return _rename2(from_fd, name, to_fd, new_name, _RENAME_EXCHANGE)


def _rename2(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> bool:
    if _renameat2 is not None and _renameat2(from_fd, name.encode(), to_fd, new_name.encode(), flags) == 0:
        return True
    code = ctypes.get_errno() if _renameat2 is not None else errno.ENOSYS
    if code in (errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENOTEMPTY):
        return False
    if code in (errno.EINVAL, errno.ENOSYS):
        return _rename_plainly(from_fd, name, to_fd, new_name, flags)
    raise OSError(code, os.strerror(code))


def _rename_plainly(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> bool:
    """For file systems without renameat2's flags: a hard link refuses to replace; an exchange takes two steps, and a crash
    between them is mended at the next start."""
    out = OUT_PREFIX + name
    if flags == _RENAME_EXCHANGE:
        try:
            os.rename(new_name, out, src_dir_fd=to_fd, dst_dir_fd=from_fd)
        except FileNotFoundError:
            return False
    try:
        os.link(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        return False
    except OSError:
        if flags == _RENAME_EXCHANGE:
            _put_back(from_fd, out, to_fd, new_name)
        raise
    os.unlink(name, dir_fd=from_fd)
    if flags == _RENAME_EXCHANGE:
        os.rename(out, name, src_dir_fd=from_fd, dst_dir_fd=from_fd)
    return True


def _put_back(from_fd: int, out: str, to_fd: int, new_name: str) -> None:
    """Where that fails too, it keeps its name in staging, until whoever tries again finds it."""
    with suppress(OSError):
        os.link(out, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        os.unlink(out, dir_fd=from_fd)
