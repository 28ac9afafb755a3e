"""One change on its way to the other servers: content first, while it arrives, then the event.

A peer that fails is left out from there on, with the reason; the others and the writer never wait for it twice. What is sent is decided
in `engine.write`; that whoever was left out gets it later, in `engine.debts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from accord.errors import AccordError
from accord.model.history import Event
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Answer, Unreachable
from accord.model.versions import Clock
from accord.peers.port import Peers, Upload

T = TypeVar("T")

ADOPT_WAIT_S = 30.0
"""So long a writer waits for a peer that is alive to make a change durable."""


class Replicas:
    """The peers that one change goes to. `missing` are those that have not got it, and why. `close` it in any case."""

    def __init__(self, peers: Peers, unreachable: Mapping[ServerName, str], *, size: int | None) -> None:
        """`unreachable` are not tried."""
        self.missing = dict(unreachable)
        self._uploads = {name: peers.upload(name, size) for name in peers.names if name not in unreachable}
        self._finishing: asyncio.Future[dict[ServerName, None]] | None = None

    @property
    def alive(self) -> Sequence[ServerName]:
        return tuple(self._uploads)

    async def write(self, block: bytes | memoryview) -> None:
        await self._each(lambda upload: upload.write(block))

    def finish(self, digest: Digest) -> None:
        """That was all of the content. The peers make it durable while this server does, and `adopt` waits for them; what is small goes
        to them with the event."""
        rest = [name for name, upload in self._uploads.items() if not upload.finish_later(digest)]
        if rest:
            self._finishing = asyncio.ensure_future(self._each(lambda upload: upload.finish(digest), rest))

    async def adopt(self, path: FilePath, clock: Clock, events: Sequence[Event]) -> dict[ServerName, Answer]:
        """Returns once everybody that is still alive has it durably: what each of the peers then answers about the path."""
        if self._finishing is not None:
            await self._finishing
        answers = await self._each(lambda upload: upload.adopt(path, clock, events), limit_s=ADOPT_WAIT_S)
        return {name: answers.get(name) or Unreachable(self.missing[name]) for name in (*answers, *self.missing)}

    async def close(self) -> None:
        """What no peer has adopted is dropped there."""
        if self._finishing is not None and not self._finishing.done():
            self._finishing.cancel()
            await asyncio.wait([self._finishing])
        for upload in self._uploads.values():
            await upload.close()

    async def _each(
        self,
        step: Callable[[Upload], Awaitable[T]],
        some: Sequence[ServerName] | None = None,
        *,
        limit_s: float | None = None,
    ) -> dict[ServerName, T]:
        """What the step gave for those that it succeeded with; all are asked where not only `some` are to be."""
        names = tuple(self._uploads) if some is None else some
        if len(names) == 1:
            results = [await self._one(names[0], step, limit_s)]
        else:
            results = await asyncio.gather(*(self._one(name, step, limit_s) for name in names))
        return {name: result[0] for name, result in zip(names, results, strict=True) if result}

    async def _one(
        self, name: ServerName, step: Callable[[Upload], Awaitable[T]], limit_s: float | None
    ) -> tuple[T] | None:
        upload = self._uploads[name]
        try:
            if limit_s is None:
                return (await step(upload),)
            async with asyncio.timeout(limit_s):
                return (await step(upload),)
        except AccordError as error:
            self.missing[name] = error.detail.removesuffix(".")
        except TimeoutError:
            self.missing[name] = f"has not made it durable within {limit_s:.0f} s"
        del self._uploads[name]
        await upload.close()
        return None
