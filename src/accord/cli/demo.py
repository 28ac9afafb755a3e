"""`accord demo`: the demonstration, from the command line.

What is shown is `demo.tour`'s; here are its options and its end.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

from cyclopts import App, Parameter

from accord.cli.exit_codes import FAILED, OK

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""A closed terminal leaves nothing behind either."""


def app_command(app: App) -> None:
    app.command(demo)


def demo(*, once: Annotated[bool, Parameter(name="--once", negative=(), show_default=False)] = False) -> int:
    """Start two servers on loopback over sample files, and show each row of the verdict table.

    Everything lives in a temporary folder that is removed at the end. Then the servers stay up for you to play with, until Ctrl-C.

    Parameters
    ----------
    once
        End after the tour; the exit code is 0 only if each row came out right.
    """
    from rich.console import Console

    from accord.demo.tour import run_demo

    def terminate(number: int, _frame: FrameType | None) -> None:
        for ending in _ENDINGS:
            signal.signal(ending, signal.SIG_IGN)  # a second one must not break off the tidying
        sys.exit(128 + number)  # unwinds, so that the servers are ended and the folder is removed

    before = {ending: signal.signal(ending, terminate) for ending in _ENDINGS}
    try:
        return OK if run_demo(Console(highlight=False, soft_wrap=True), once=once) else FAILED
    except KeyboardInterrupt:
        if once:
            raise
        return OK
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
