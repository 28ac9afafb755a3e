"""The contract of file-system hints: who says that something may have changed in the tree, so that a scan need not wait for its time.

A hint promises nothing: it may come late, twice, for nothing, or not at all. The walk is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

MAX_HINTS = 1_000
"""More at a time are not told one by one."""

Told = Callable[[Collection[str] | None], None]
"""Called in the event loop's thread, with paths of files or folders that may have changed or vanished; None: there was too much to
tell, or hints have failed."""


class Hints(Protocol):
    def start(self, told: Told) -> None:
        """Begin to watch, without waiting."""
        ...

    async def close(self) -> None: ...
