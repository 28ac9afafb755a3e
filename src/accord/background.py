"""Tasks that go on in the background until they are ended. Nobody waits for what comes of them: one that dies says so in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

_log = structlog.get_logger("accord.background")


def begun(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    """A task of the running loop. `name` is what stands in the log."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_say_whether_it_died)
    return task


async def ended(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel them, and wait until they have ended; None: was never begun."""
    waited = [task for task in tasks if task is not None]
    for task in waited:
        task.cancel()
    if waited:
        await asyncio.wait(waited)


def _say_whether_it_died(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("what goes on in the background has died", what=task.get_name(), exc_info=error)
