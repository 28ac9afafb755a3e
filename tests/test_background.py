"""What goes on in the background never dies unheard."""

from __future__ import annotations

import asyncio

import structlog

from accord.background import begun, ended


async def test_what_dies_is_in_the_log_with_its_name() -> None:
    async def dying() -> None:
        raise LookupError("nobody thought of that")

    with structlog.testing.capture_logs() as logs:
        await asyncio.wait([begun(dying(), name="scanning")])
        await asyncio.sleep(0)
    (line,) = logs
    assert (line["log_level"], line["what"]) == ("error", "scanning")
    assert isinstance(line["exc_info"], LookupError)


async def test_what_is_ended_has_ended_and_is_no_news() -> None:
    cleaned_up = []

    async def working() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    with structlog.testing.capture_logs() as logs:
        task = begun(working(), name="scrubbing")
        await asyncio.sleep(0)
        await ended(None, task)
    assert cleaned_up
    assert logs == []
