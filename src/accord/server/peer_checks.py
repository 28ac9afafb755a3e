"""Answering other servers' questions on one connection: quickly what the store can say without waiting, the rest as it becomes known.

No task and no future for a path that needs no disk. What the answers are is left to the store, what they amount to, to who asks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import NamedTuple

from accord.errors import AccordError, InvalidPath, PeerUnreachable
from accord.model.names import FilePath
from accord.model.verdict import Answer, Checking, Unreachable
from accord.peers.answers import encode_answer
from accord.peers.wire import Answers, Check
from accord.store.port import Store

MAX_EXAMINERS = 64
"""So many paths of one connection are examined at once."""
MAX_QUEUED = 8192
"""So many wait for that; more are answered as busy."""
ANSWERS_FRAME_BYTES = 1024 * 1024
"""A frame of answers is sent once it has about this many bytes."""
DISK_GRACE_S = 0.25
"""An examination may take this much longer than it was told to wait; then the disk is said not to answer."""


class _Slow(NamedTuple):
    """A question that cannot be answered at a glance; hashing for it may go on until `deadline_s`."""

    id: int
    path: FilePath
    deadline_s: float
    reread: bool


class Checks:
    """The questions of one connection. `spawn` runs a coroutine until it ends or the connection does."""

    def __init__(
        self,
        store: Store,
        send: Callable[[Answers], None],
        spawn: Callable[[Coroutine[object, object, None]], None],
        *,
        max_wait_s: float,
    ) -> None:
        self._store = store
        self._send = send
        self._spawn = spawn
        self._max_wait_s = max_wait_s
        self._slow: deque[_Slow] = deque()
        self._examiners = 0
        self._known: list[tuple[int, bytes]] = []
        self._now = asyncio.get_running_loop().time

    def take(self, check: Check) -> None:
        """Raises `PeerUnreachable` when one of the paths is none."""
        ids: list[int] = []
        answers: list[bytes] = []
        size_bytes = 0
        glance = self._store.glance_answer
        for id, text in enumerate(check.paths, check.first):
            path = path_of(text)
            answer = None if check.reread else glance(path)
            if answer is None:
                self._examine_later(id, path, check)
                continue
            raw = encode_answer(answer)
            ids.append(id)
            answers.append(raw)
            size_bytes += len(raw)
            if size_bytes > ANSWERS_FRAME_BYTES:
                self._send(Answers(ids, answers))
                ids, answers, size_bytes = [], [], 0
        if ids:
            self._send(Answers(ids, answers))

    def _examine_later(self, id: int, path: FilePath, check: Check) -> None:
        if len(self._slow) >= MAX_QUEUED:
            self._tell(id, Unreachable("is busy: too many questions wait for its disk"))
            return
        wait_s = min(check.wait_ms / 1000, self._max_wait_s)
        self._slow.append(_Slow(id, path, self._now() + wait_s, check.reread))
        if self._examiners < MAX_EXAMINERS:
            self._examiners += 1
            self._spawn(self._examine())

    async def _examine(self) -> None:
        """One of the examiners: works until nothing is queued."""
        try:
            while self._slow:
                slow = self._slow.popleft()
                self._tell(slow.id, await self._examined(slow))
        finally:
            self._examiners -= 1

    async def _examined(self, slow: _Slow) -> Answer:
        wait_s = max(0.0, slow.deadline_s - self._now())
        try:
            async with asyncio.timeout(wait_s + DISK_GRACE_S):
                return await self._store.examine(slow.path, wait_s=wait_s, reread=slow.reread)
        except TimeoutError:
            return Checking() if slow.reread else Unreachable("its disk does not answer")
        except AccordError as error:
            return Unreachable(error.detail.removesuffix("."))

    def _tell(self, id: int, answer: Answer) -> None:
        """What becomes known in one turn of the event loop goes out in one frame."""
        if not self._known:
            asyncio.get_running_loop().call_soon(self._flush)
        self._known.append((id, encode_answer(answer)))

    def _flush(self) -> None:
        known, self._known = self._known, []
        while known:
            ids: list[int] = []
            answers: list[bytes] = []
            size_bytes = 0
            while known and size_bytes <= ANSWERS_FRAME_BYTES:
                id, raw = known.pop()
                ids.append(id)
                answers.append(raw)
                size_bytes += len(raw)
            self._send(Answers(ids, answers))


def path_of(text: str) -> FilePath:
    """Raises `PeerUnreachable`: whoever sends what is no path does not speak the protocol."""
    try:
        return FilePath(text)
    except InvalidPath as error:
        raise PeerUnreachable(f"sent something that is no path ({error.detail})") from error
