"""`accord demo`: the demonstration, from the command line.

What is shown is `demo.tour`'s; here are its options and its end.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

from cyclopts import App, Parameter

_EXIT_TERMINATED = 128 + signal.SIGTERM


def app_command(app: App) -> None:
    app.command(demo)


def demo(*, once: Annotated[bool, Parameter(name="--once", negative=())] = False) -> int:
    """Start two servers on loopback over sample files, and show each row of the verdict table.

    Everything lives in a temporary folder that is removed at the end. Then the servers stay up for you to play with, until Ctrl-C.

    Parameters
    ----------
    once
        End after the tour; the exit code is 0 only if each row came out right.
    """
    from rich.console import Console

    from accord.demo.tour import run_demo

    def terminate(_number: int, _frame: FrameType | None) -> None:
        sys.exit(_EXIT_TERMINATED)  # unwinds, so that the servers are ended and the folder is removed

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        return 0 if run_demo(Console(highlight=False, soft_wrap=True), once=once) else 1
    except KeyboardInterrupt:
        if once:
            raise
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
