"""A progress bar on stderr, where stderr is a terminal, and a sign of life while an answer is long in coming; nothing anywhere else.

Drawing is rich's; how often progress is told is the client's. Many files at a time are `cli.bar`'s.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from accord.cli.words import visible

if TYPE_CHECKING:
    from accord.client.download import Progress

    Watch = Callable[[str], AbstractContextManager[Progress | None]]
    """Watching one transfer of that title."""

PATIENCE_S: Final = 0.5
"""What takes longer than this shows that it is still going on."""


def is_watched() -> bool:
    """Whether somebody looks at stderr, on a terminal that can take a line back."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


@contextmanager
def progress_of(title: str, *, json: bool = False) -> Iterator[Progress | None]:
    """None where there is nobody to watch."""
    if json or not is_watched():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(escape(visible(title)), total=None)

        def tell(done_bytes: int, total_bytes: int | None) -> None:
            bars.update(task, completed=done_bytes, total=total_bytes)

        yield tell


@contextmanager
def waiting(title: str, *, json: bool) -> Iterator[None]:
    """For what has no bytes to count. An answer that comes at once is not announced."""
    if json or not is_watched():
        yield
        return
    over = threading.Event()
    spinner = threading.Thread(target=_spin, args=(title, over), name="accord-spinner", daemon=True)
    spinner.start()
    try:
        yield
    finally:
        over.set()
        spinner.join()


def _spin(title: str, over: threading.Event) -> None:
    if over.wait(PATIENCE_S):
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(visible(title))):
        over.wait()
