"""One bar over many files, on stderr where that is a terminal: how many are done, how many bytes, how fast, and which one is under way.

Lines go past it: the bar is taken away, the line is written where it belongs, the bar is drawn again, so that the two never mix where
stdout and stderr are one terminal. What the bar looks like is rich's part; where the cursor is, is kept here, for which the bar is
exactly one line. One file alone is `cli.progress`'s.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, TextIO, TypeVar

from accord.cli import words
from accord.cli.progress import is_watched
from accord.quantities import size_text

if TYPE_CHECKING:
    from accord.client.download import Progress

File = TypeVar("File")

REDRAW_S: Final = 0.1
RATE_S: Final = 5.0
"""The rate is that of so many last seconds."""
FILE_BYTES: Final = 64 * 1024
"""What a file costs beside its bytes, told in bytes: so that the bar moves for small files, and for deletions, too."""
BAR_WIDTH: Final = 24
_AWAY: Final = "\r\x1b[2K"


class Bar:
    """Nobody watches: every method does nothing. All of them may be called from any thread."""

    def known(self, size_bytes: int = 0) -> None:
        """One more file is to be done."""

    def all_known(self) -> None:
        """No more will come."""

    def say(self, text: str) -> None:
        """What is going on while no file is under way."""

    @contextmanager
    def file(self, name: str, size_bytes: int = 0) -> Iterator[Progress | None]:
        """One file under way, to be told how far it is; done when the context ends, however it ends."""
        yield None

    def beside(self) -> AbstractContextManager[object]:
        """Within it a line may be written to the terminal."""
        return nullcontext()


class _Moving:
    """A file under way."""

    def __init__(self, name: str, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.moved_bytes = 0


class _Counts:
    """How far it all is."""

    def __init__(self) -> None:
        self.known_files = self.done_files = 0
        self.known_bytes = self.done_bytes = self.moved_bytes = 0
        self.is_all = False
        self.said = ""
        self.moving: dict[int, _Moving] = {}
        self._samples: deque[tuple[float, int]] = deque()

    def bytes_so_far(self) -> int:
        return self.done_bytes + sum(min(one.moved_bytes, one.size_bytes) for one in self.moving.values())

    def rate(self, now_s: float) -> float:
        """Bytes a second. At most one sample for each time that the bar is drawn."""
        self._samples.append((now_s, self.moved_bytes))
        while self._samples[0][0] < now_s - RATE_S:
            self._samples.popleft()
        then_s, before = self._samples[0]
        return (self.moved_bytes - before) / (now_s - then_s) if now_s > then_s else 0.0

    def numbers(self, now_s: float) -> str:
        if not self.known_files:
            return ""
        more = "" if self.is_all else "+"
        told = [f"{self.done_files:,} of {self.known_files:,}{more} file{'' if self.known_files == 1 else 's'}"]
        if self.known_bytes:
            told.append(f"{size_text(self.bytes_so_far())} of {size_text(self.known_bytes)}{more}")
        rate = self.rate(now_s)
        if rate:
            told.append(f"{size_text(int(rate))}/s")
        return "  ".join(told)

    def name(self) -> str:
        """The one that has been under way for longest: it is the large one."""
        return next((one.name for one in self.moving.values()), self.said)


class DrawnBar(Bar):
    """Draws at most every `REDRAW_S`; nothing any more once it is closed."""

    def __init__(self, stderr: TextIO, now_s: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        self._stderr, self._now_s = stderr, now_s
        self._console = Console(file=stderr)
        self._lock = threading.RLock()
        self._counts = _Counts()
        self._drawn_at_s: float | None = None
        self._line = ""
        self._is_closed = False

    def known(self, size_bytes: int = 0) -> None:
        with self._lock:
            self._counts.known_files += 1
            self._counts.known_bytes += size_bytes
            self._draw()

    def all_known(self) -> None:
        with self._lock:
            self._counts.is_all = True
            self._drawn_at_s = None  # however soon it comes: it happens once
            self._draw()

    def say(self, text: str) -> None:
        with self._lock:
            self._counts.said = text
            self._draw()

    @contextmanager
    def file(self, name: str, size_bytes: int = 0) -> Iterator[Progress | None]:
        moving = _Moving(name, size_bytes)
        with self._lock:
            self._counts.moving[id(moving)] = moving
            self._draw()
        try:
            yield lambda done_bytes, _total_bytes: self._moved(moving, done_bytes)
        finally:
            with self._lock:
                del self._counts.moving[id(moving)]
                self._counts.done_files += 1
                self._counts.done_bytes += size_bytes
                self._draw()

    def _moved(self, moving: _Moving, done_bytes: int) -> None:
        with self._lock:
            # Less than before is a new beginning.
            self._counts.moved_bytes += max(0, done_bytes - moving.moved_bytes)
            moving.moved_bytes = done_bytes
            self._draw()

    @contextmanager
    def beside(self) -> Iterator[None]:
        with self._lock:
            self._put(_AWAY if self._line else "")
            try:
                yield
            finally:
                self._put(self._line)

    def redraw(self) -> None:
        with self._lock:
            self._draw()

    def close(self) -> None:
        with self._lock:
            self._put(_AWAY if self._line else "")
            self._is_closed = True

    def _draw(self) -> None:
        now_s = self._now_s()
        if self._is_closed or (self._drawn_at_s is not None and now_s < self._drawn_at_s + REDRAW_S):
            return
        self._drawn_at_s = now_s
        self._line = self._rendered(now_s)
        self._put(_AWAY + self._line)

    def _rendered(self, now_s: float) -> str:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts = self._counts
        done = counts.bytes_so_far() + counts.done_files * FILE_BYTES
        total = counts.known_bytes + counts.known_files * FILE_BYTES if counts.is_all else None
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True)
        bar = ProgressBar(total, done, width=BAR_WIDTH, animation_time=now_s)
        line.add_row(Text(words.visible(counts.name())), bar, Text(counts.numbers(now_s)))
        with self._console.capture() as captured:
            # One column less than there are, so that no terminal goes on to the next line.
            self._console.print(line, width=max(1, self._console.width - 1))
        return captured.get().partition("\n")[0]

    def _put(self, text: str) -> None:
        if text and not self._is_closed:
            self._stderr.write(text)
            self._stderr.flush()


@contextmanager
def bar_over_files(*, json: bool) -> Iterator[Bar]:
    """The bar is gone when the context ends, by Ctrl-C too."""
    if json or not is_watched():
        yield Bar()
        return
    bar = DrawnBar(sys.stderr)
    over = threading.Event()
    threading.Thread(target=_keep_drawing, args=(bar, over), name="accord-bar", daemon=True).start()
    try:
        yield bar
    finally:
        over.set()
        bar.close()


def _keep_drawing(bar: DrawnBar, over: threading.Event) -> None:
    """What stands still is seen to stand still: the last news may have come too soon after the ones before to be drawn."""
    while not over.wait(REDRAW_S):
        bar.redraw()


def known(files: Sequence[File], bar: Bar) -> Sequence[File]:
    """The same files, all of which the bar knows now; they have no size."""
    for _ in files:
        bar.known()
    bar.all_known()
    return files


def counted(files: Iterable[File], bar: Bar, size_bytes: Callable[[File], int]) -> Iterator[File]:
    """The same files; the bar knows of each as it is handed out."""
    for file in files:
        bar.known(size_bytes(file))
        yield file
    bar.all_known()
