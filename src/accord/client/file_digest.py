"""The digest of a file of this machine, read in blocks. Sending it is `client.source`'s."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from blake3 import blake3

from accord.client.source import BLOCK_BYTES, Progress, has_changed, unreadable
from accord.errors import AccordError, UsageError
from accord.model.names import Digest


def digest_of_file(path: Path, progress: Progress | None = None) -> Digest:
    """Of a regular file; a link is not followed. Raises `AccordError` for what cannot be read, or changes meanwhile."""
    hasher: Any = blake3()
    done_bytes = 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise UsageError(f"{path} is no regular file.")
            while piece := file.read(BLOCK_BYTES):
                hasher.update(piece)
                done_bytes += len(piece)
                if progress is not None:
                    progress(done_bytes, before.st_size)
            after = os.fstat(descriptor)
    except OSError as error:
        raise unreadable(path, error) from error
    if done_bytes != before.st_size or has_changed(before, after):
        raise AccordError(f"{path} was changed while it was read.")
    return Digest(hasher.digest())
