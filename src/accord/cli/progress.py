"""A progress bar on stderr, where stderr is a terminal; nothing anywhere else.

Drawing is rich's; how often progress is told is the client's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from accord.cli.words import visible

if TYPE_CHECKING:
    from accord.client.download import Progress

    Watch = Callable[[str], AbstractContextManager[Progress | None]]
    """Watching one transfer of that title."""


@contextmanager
def progress_of(title: str) -> Iterator[Progress | None]:
    """None where there is nobody to watch."""
    if not sys.stderr.isatty():
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
def nobody_watches(_title: str) -> Iterator[Progress | None]:
    """Where many files are under way at once, a line for each that is done tells enough."""
    yield None
