"""Changes that another server sends: content taken in while it arrives, and then the change that it belongs to.

One conversation on a connection, which does nothing else meanwhile:

    Put, data …, PutEnd   →  Staged        any number of times, or not at all; untold where the sender does not wait for it
    Adopt                 →  Adopted       and that was it
    at any time           →  Failed        the sender ends the connection; what it still sends is thrown away

What was taken in and not adopted is dropped, however the conversation ends. What a change does to a path is left to the engine
(`engine.changes`), where bytes are kept to the store; what is read ahead is bounded by the inbox, which holds up the sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from accord.codec import decode_clock, decode_events
from accord.engine.changes import ChangeHandler
from accord.errors import AccordError, IntegrityError, PeerUnreachable
from accord.model.history import Event
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Answer
from accord.model.versions import Clock
from accord.peers.answers import encode_answer
from accord.peers.failures import failed, reason_of
from accord.peers.wire import (
    Adopt,
    Adopted,
    End,
    Failed,
    Failure,
    Put,
    PutEnd,
    Staged,
    Update,
    Updated,
    decode,
    requests,
)
from accord.server.peer_checks import path_of
from accord.server.peer_intake import ChangeInbox
from accord.server.peer_signs import Outlet, Signs
from accord.store.port import SMALL_CONTENT_BYTES, Incoming, Store

MAX_CONTENTS = 256
"""So many contents may wait for one `Adopt`."""
STALL_LIMIT_S = 600.0
"""So long a sender may send nothing: its own client may be slow."""
DISCARD_LIMIT_S = 30.0
"""... and so long when nothing that it could send is of any use."""
DISK_LIMIT_S = 30.0
"""The sender is told that work goes on while one block is written for no longer than this; it then gives up on this server."""
WORK_LIMIT_S = 3600.0
"""Likewise while a whole is made durable, or a change adopted: other content may have to be fetched for it."""

T = TypeVar("T")


class Keep(Protocol):
    """Runs work that is seen through even if the sender goes away."""

    def __call__(self, work: Coroutine[object, object, T], /) -> asyncio.Task[T]: ...


@dataclass(frozen=True, slots=True)
class Receiving:
    """What all conversations of one server share."""

    store: Store
    changes: ChangeHandler
    keep: Keep


class Conversation:
    """One change, from its first request to its adoption. `inbox` has what comes after that request."""

    def __init__(self, receiving: Receiving, outlet: Outlet, inbox: ChangeInbox, sender: ServerName) -> None:
        self._receiving = receiving
        self._outlet = outlet
        self._inbox = inbox
        self._sender = sender
        self._coming: Incoming | None = None
        self._staged: list[Incoming] = []

    async def conduct(self, request: Put | Adopt) -> bool:
        """Whether the change was adopted; otherwise the sender was told why not. Raises `PeerUnreachable` for what makes no sense."""
        signs = Signs(self._outlet, request.patience_ms)
        try:
            while isinstance(request, Put):
                if await self._take_in(request, signs):
                    self._outlet.send(Staged())
                request = await self._next_request(signs)
            answer = await self._adopt(request, signs)
        except _Failed as failure:
            self._outlet.send(failure.told)
            return False
        finally:
            signs.end()
            await self._drop()
        if not self._inbox.is_empty:
            raise PeerUnreachable("did not wait for the answer")
        self._outlet.send(Adopted(encode_answer(answer)))
        return True

    async def _take_in(self, put: Put, signs: Signs) -> bool:
        """One content, up to its end; whether the sender waits to hear of that."""
        if len(self._staged) >= MAX_CONTENTS:
            raise PeerUnreachable("sent too many contents for one change")
        try:
            signs.begin(DISK_LIMIT_S)
            coming = self._coming = await self._receiving.store.receive(put.size, is_read_soon=False)
            while True:
                is_data, payload = await self._next(signs)
                if not is_data:
                    break
                if put.size is not None and coming.size + len(payload) > put.size:
                    raise PeerUnreachable("sent more than it had announced")
                await coming.write(payload)
            end = decode(requests, payload)
            if not isinstance(end, PutEnd):
                raise PeerUnreachable("did not end the content it had begun")
            if put.size not in (None, coming.size):
                raise PeerUnreachable("sent less than it had announced")
            signs.begin(WORK_LIMIT_S)
            came = coming.digest if coming.size <= SMALL_CONTENT_BYTES else await coming.finish()
        except PeerUnreachable:
            raise
        except AccordError as error:
            raise _Failed(failed(error)) from error
        if came != Digest(end.digest):
            raise _Failed(Failed(Failure.DAMAGED.value, "got other bytes than were meant"))
        self._staged.append(coming)
        self._coming = None
        return end.is_awaited

    async def _next(self, signs: Signs) -> tuple[bool, bytes | memoryview]:
        if self._inbox.is_empty:
            signs.rest()
        received = await self._inbox.next(STALL_LIMIT_S)
        signs.begin(DISK_LIMIT_S)
        return received

    async def _next_request(self, signs: Signs) -> Put | Adopt:
        is_data, payload = await self._next(signs)
        if is_data:
            raise PeerUnreachable("sent content that it had not announced")
        request = decode(requests, payload)
        if not isinstance(request, Put | Adopt):
            raise PeerUnreachable("began something else in the middle of a change")
        return request

    async def _adopt(self, adopt: Adopt, signs: Signs) -> Answer:
        path = path_of(adopt.path)
        clock, events = _known(adopt)
        signs.begin(WORK_LIMIT_S)
        incoming, self._staged = self._staged, []
        adopting = self._receiving.changes.adopt(self._sender, path, clock, events, incoming)
        try:
            return await asyncio.shield(self._receiving.keep(adopting))
        except AccordError as error:
            raise _Failed(failed(error)) from error

    async def _drop(self) -> None:
        coming = [*self._staged, *([self._coming] if self._coming is not None else [])]
        self._staged, self._coming = [], None
        for incoming in coming:
            await incoming.abort()


class _Failed(Exception):
    """The conversation ends here, and the sender is told why."""

    def __init__(self, told: Failed) -> None:
        super().__init__(told.detail)
        self.told = told


def _known(adopt: Adopt) -> tuple[Clock, Sequence[Event]]:
    try:
        return decode_clock(adopt.clock), decode_events(adopt.events)
    except IntegrityError as error:
        raise PeerUnreachable(f"sent a change that cannot be read ({error.detail})") from error


async def discard(inbox: ChangeInbox) -> None:
    """Throw away whatever comes, until the connection ends. It is not ended here at once: what was said last would not arrive.
    Raises `PeerUnreachable` when nothing comes any more."""
    while True:
        await inbox.next(DISCARD_LIMIT_S)


async def update(receiving: Receiving, outlet: Outlet, request: Update) -> None:
    """Bring paths up to date, one after the other, and say of each what became of it. Raises `PeerUnreachable` for what is no path."""
    paths = [path_of(text) for text in request.paths]
    signs = Signs(outlet, request.patience_ms)
    signs.begin(WORK_LIMIT_S)
    try:
        for path in paths:
            outlet.send(Updated(await _updated(receiving, path)))
            signs.begin(WORK_LIMIT_S)
    finally:
        signs.end()
    outlet.send(End())


async def _updated(receiving: Receiving, path: FilePath) -> str | None:
    reasons: list[str | None] = []

    async def bring_up_to_date() -> None:
        reasons.append(await receiving.changes.update(path, is_news=True))

    try:
        await asyncio.shield(receiving.keep(bring_up_to_date()))
    except AccordError as error:
        return reason_of(error)
    return reasons[0]
