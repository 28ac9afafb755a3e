"""A terminal for commands under test: what was written to it, and what a person sees on it in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.conftest import ACCORD, environment

DEADLINE_S = 60.0
COLUMNS = 100
_PIECES = re.compile(r"\r\n|\r|\x1b\[(\d*)([A-Za-z])|\x1b\[\?25[hl]|[^\r\x1b]")


class Terminal:
    """`process` has its stderr here, and its stdout too if the test wants that."""

    def __init__(self, process: subprocess.Popen[str], descriptor: int) -> None:
        self.process = process
        self.written = ""
        self._descriptor = descriptor
        self._is_open = True

    def reads(self, pattern: str) -> None:
        """Waits until `pattern` has been written."""
        end_s = time.monotonic() + DEADLINE_S
        while not re.search(pattern, self.written):
            assert self._is_open, f"{pattern!r} was never written: {self.written!r}"
            assert time.monotonic() < end_s, f"{pattern!r} was not written in time: {self.written!r}"
            self._read(end_s)

    def ends(self) -> tuple[int, str]:
        """Waits for the end; the exit code, and what went to stdout where that is a pipe."""
        end_s = time.monotonic() + DEADLINE_S
        while self._is_open:
            assert time.monotonic() < end_s, f"no end: {self.written!r}"
            self._read(end_s)
        told = self.process.stdout.read() if self.process.stdout is not None else ""
        return self.process.wait(DEADLINE_S), told

    def _read(self, end_s: float) -> None:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, end_s - time.monotonic()))
        if not ready:
            return
        try:
            block = os.read(self._descriptor, 65536)
        except OSError:  # so Linux says that nobody has the other end any more
            block = b""
        self._is_open = bool(block)
        self.written += block.decode(errors="replace")

    def screen(self) -> list[str]:
        """The lines that are to be seen now."""
        assert self.written.count("\x1b[?25l") == self.written.count("\x1b[?25h"), "the cursor was left hidden"
        lines, row, column = [""], 0, 0
        for piece in _PIECES.finditer(self.written):
            match piece[0], piece[2]:
                case "\r\n", _:
                    row, column = row + 1, 0
                    lines += [""] * (row + 1 - len(lines))
                case "\r", _:
                    column = 0
                case _, "K":
                    lines[row] = ""
                case _, "A":
                    row = max(0, row - int(piece[1] or 1))
                case text, None if len(text) == 1:
                    lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + 1 :]
                    column += 1
        return [line.rstrip() for line in lines if line.strip()]


@contextmanager
def terminal(*words: str, url: str, cwd: Path, with_stdout: bool = False) -> Iterator[Terminal]:
    """`accord` with these words, at a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [ACCORD, *words],
        cwd=cwd,
        env=environment(url) | {"TERM": "xterm", "COLUMNS": str(COLUMNS)},
        stdin=subprocess.DEVNULL,
        stdout=theirs if with_stdout else subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        os.close(ours)
