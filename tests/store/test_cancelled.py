"""Whoever asks a store may go away meanwhile: what was opened or copied for them is let go of."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from accord.store.directory import DirectoryStore
from accord.testing.conformance import HELLO, WAIT_S, digest_of, present, put

from .disks import open_disk

Asking = Callable[[DirectoryStore], Coroutine[Any, Any, object]]


@pytest.mark.parametrize(
    "asking",
    [
        lambda store: store.examine(HELLO, wait_s=WAIT_S),
        lambda store: store.open(HELLO, wait_s=WAIT_S),
        lambda store: store.open_version(HELLO, digest_of(b"old")),
        lambda store: store.open_version(HELLO, digest_of(b"new")),
        lambda store: store.duplicate(HELLO, digest_of(b"new")),
        lambda store: store.duplicate(None, digest_of(b"old")),
    ],
    ids=["examine", "open", "open what is kept", "open what is current", "duplicate", "duplicate what is kept"],
)
async def test_what_nobody_waits_for_any_more_is_let_go_of(tmp_path: Path, asking: Asking) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"old")
        await put(disk.store, b"new")
        await present(disk.store)
        before = len(os.listdir("/proc/self/fd"))
        gate, is_in = threading.Event(), threading.Event()
        threads = disk.store._threads
        real = threads.submit

        def submit(work: Callable[[], object], /, *args: object) -> Any:
            def waiting() -> object:
                done = work(*args)
                is_in.set()
                gate.wait(20)
                return done

            return real(waiting)

        threads.submit = submit  # type: ignore[assignment, method-assign]
        asked = asyncio.ensure_future(asking(disk.store))
        await asyncio.to_thread(is_in.wait, 20)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        threads.submit = real  # type: ignore[method-assign]
        gate.set()
        await asyncio.get_running_loop().run_in_executor(threads, gate.wait)
        async with asyncio.timeout(20):
            while len(os.listdir("/proc/self/fd")) > before or os.listdir(tmp_path / ".accord" / "staging"):  # noqa: ASYNC110
                await asyncio.sleep(0)
