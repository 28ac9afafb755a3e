"""Servers on loopback for these tests: a store in a dictionary, the real endpoint behind a minimal header reader, and bad peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from blake3 import blake3

from accord.engine.peer_requests import Work
from accord.errors import AccordError, DiskFull, IntegrityError
from accord.model.chunks import Chunk
from accord.model.fingerprints import Reply, Summary
from accord.model.history import Event, Remembered
from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Answer, Checking, Damaged, Present
from accord.model.versions import Clock, Version, found
from accord.peers.answers import encode_answer
from accord.peers.breaker import Backoff
from accord.peers.cluster import PeerLinks
from accord.peers.port import PeerState, PeerStatus
from accord.peers.wire import Adopted
from accord.server.peer_service import PeerService
from accord.store.inventory import Scope
from accord.store.port import BLOCK_BYTES, Copy, Incoming

KEY = b"a key for these tests"
ME, OTHER, THIRD = ServerName("server1"), ServerName("server2"), ServerName("server3")
QUICK = Backoff(first_s=0.02, last_s=0.1, last_refused_s=0.1)


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).digest())


def present(content: bytes) -> Present:
    version = Version(digest_of(content), len(content), 1, str(OTHER))
    return Present(digest_of(content), len(content), 1, found(version))


class SmallCopy:
    """An open copy of content in memory. `waits` makes reading wait for the disk."""

    def __init__(self, store: SmallStore, path: FilePath, answer: Present, kept: bytes | None = None) -> None:
        self.path = path
        self.answer = answer
        self._store = store
        self._kept = kept
        store.open_copies += 1

    def _content(self) -> bytes:
        return self._store.content(self.path) if self._kept is None else self._kept

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._content()[offset : offset + length]

    async def read(self, offset: int, length: int) -> bytes:
        return self._content()[offset : offset + length]

    def unchanged(self) -> bool:
        return self.path not in self._store.changed

    def again(self) -> SmallCopy:
        return SmallCopy(self._store, self.path, self.answer, self._kept)

    async def block_digests(self) -> tuple[Digest, ...]:
        if self._store.proof_gate is not None:
            await self._store.proof_gate.wait()
        content = self._content()
        if digest_of(content) != self.answer.digest:
            raise IntegrityError("rot")
        return tuple(digest_of(content[at : at + BLOCK_BYTES]) for at in range(0, len(content), BLOCK_BYTES))

    async def chunks(self) -> tuple[Chunk, ...]:
        """Of four bytes each."""
        await self.block_digests()
        content = self._content()
        return tuple(
            Chunk(len(part), digest_of(part)) for at in range(0, len(content), 4) if (part := content[at : at + 4])
        )

    def close(self) -> None:
        self._store.open_copies -= 1


class SmallIncoming:
    """Bytes being taken in. The store counts what was not ended, and lets writing wait."""

    def __init__(self, store: SmallStore, announced: int | None) -> None:
        self.announced = announced
        self.content = bytearray()
        self.size = 0
        self._store = store
        store.staging.append(self)

    @property
    def digest(self) -> Digest:
        return digest_of(bytes(self.content))

    async def write(self, block: bytes) -> None:
        if self._store.write_gate is not None:
            await self._store.write_gate.wait()
        self.size += len(block)
        if self._store.capacity_bytes is not None and self.size > self._store.capacity_bytes:
            raise DiskFull("There is no space left.")
        if not self._store.forgets:
            self.content += block

    async def finish(self) -> Digest:
        if self._store.finish_gate is not None:
            await self._store.finish_gate.wait()
        return self.digest

    async def abort(self) -> None:
        if self in self._store.staging:
            self._store.staging.remove(self)


class SmallStore:
    """What the endpoint needs of `Store`, over a dictionary. Paths in `slow` are examined only once their event is set."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files = {FilePath(path): content for path, content in (files or {}).items()}
        self.answers: dict[FilePath, Answer] = {path: present(content) for path, content in self.files.items()}
        self.slow: dict[FilePath, asyncio.Event] = {}
        self.changed: set[FilePath] = set()
        self.proof_gate: asyncio.Event | None = None
        self.open_copies = 0
        self.rereads: list[FilePath] = []
        self.walks_closed = 0
        self.shared: list[FilePath] = []
        self.versions: dict[tuple[FilePath, Digest], bytes] = {}
        """What is kept aside and in history."""
        self.histories: dict[FilePath, list[Remembered]] = {}
        self.staging: list[SmallIncoming] = []
        self.write_gate: asyncio.Event | None = None
        self.finish_gate: asyncio.Event | None = None
        self.capacity_bytes: int | None = None
        self.forgets = False
        """What is written is counted, and not kept: for large contents."""

    def keep(self, path: str, content: bytes) -> Digest:
        """Aside, or in history."""
        self.versions[FilePath(path), digest_of(content)] = content
        return digest_of(content)

    async def receive(self, size: int | None, *, is_read_soon: bool = True) -> Incoming:
        return SmallIncoming(self, size)

    async def open_version(self, path: FilePath, digest: Digest) -> Copy | None:
        content = self.versions.get((path, digest))
        return None if content is None else SmallCopy(self, path, present(content), content)

    async def history(self, path: FilePath) -> list[Remembered]:
        return self.histories.get(path, [])

    def content(self, path: FilePath) -> bytes:
        return self.files[path]

    def glance(self, path: FilePath) -> Copy | Absent | None:
        answer = self.glance_answer(path)
        return SmallCopy(self, path, answer) if isinstance(answer, Present) else None

    def glance_answer(self, path: FilePath) -> Answer | None:
        return None if path in self.slow else self.answers.get(path, Absent())

    async def open(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Copy | Answer:
        answer = await self.examine(path, wait_s=wait_s, reread=reread)
        return SmallCopy(self, path, answer) if isinstance(answer, Present) else answer

    async def examine(self, path: FilePath, *, wait_s: float, reread: bool = False) -> Answer:
        if reread:
            self.rereads.append(path)
        if path in self.slow:
            try:
                async with asyncio.timeout(wait_s):
                    await self.slow[path].wait()
            except TimeoutError:
                return Checking(1, 2)
        return self.answers.get(path, Absent())

    async def share(self, copy: Copy) -> None:
        self.shared.append(copy.path)

    async def find_damage(self, copy: Copy) -> Answer:
        self.answers[copy.path] = Damaged("rot", copy.answer.digest)
        return self.answers[copy.path]

    def walk(self, prefix: Prefix, after: FilePath | None) -> Iterator[list[Walked]]:
        paths = sorted(path for path in self.answers if path.startswith(prefix) and path > (after or ""))
        try:
            for at in range(0, len(paths), PAGE_PATHS):
                yield [Walked(path, self.answers[path]) for path in paths[at : at + PAGE_PATHS]]
        finally:
            self.walks_closed += 1


ADOPTED = Adopted(encode_answer(Absent()))
"""What a peer says whose engine is `SmallChanges`."""


class SmallChanges:
    """The engine's side of changes: remembers what it was asked, and does what `errors` and `gate` say."""

    def __init__(self) -> None:
        self.adopted: list[tuple[ServerName, FilePath, Clock, list[Event], list[bytes]]] = []
        self.begun = 0
        self.updated: list[FilePath] = []
        self.errors: dict[FilePath, Exception] = {}
        self.reasons: dict[FilePath, str] = {}
        self.gate: asyncio.Event | None = None

    async def adopt(
        self, sender: ServerName, path: FilePath, clock: Clock, events: Sequence[Event], incoming: Sequence[Incoming]
    ) -> Answer:
        self.begun += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            if path in self.errors:
                raise self.errors[path]
            contents = [bytes(one.content) for one in incoming if isinstance(one, SmallIncoming)]
            self.adopted.append((sender, path, clock, list(events), contents))
            return Absent()
        finally:
            for one in incoming:
                await one.abort()

    async def update(self, path: FilePath, *, is_news: bool = False) -> str | None:
        self.begun += 1
        if self.gate is not None:
            await self.gate.wait()
        if path in self.errors:
            raise self.errors[path]
        self.updated.append(path)
        return self.reasons.get(path)


class SmallRequests:
    """The engine's side of small requests: says what it was asked, as `replies`, `errors` and `gate` have it."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[tuple[ServerName, list[Summary]]] = []
        self.ordered: list[tuple[Work, Scope, int]] = []
        self.reason: str | None = None
        self.report_bytes = b"{}"
        self.error: AccordError | None = None
        self.gate: asyncio.Event | None = None

    async def compare(self, sender: ServerName, asked: Sequence[Summary]) -> list[Reply]:
        await self._ready()
        self.asked.append((sender, list(asked)))
        return self.replies

    async def report(self, question: bytes = b"") -> bytes:
        await self._ready()
        return question or self.report_bytes

    async def order(self, work: Work, scope: Scope, number: int) -> str | None:
        await self._ready()
        self.ordered.append((work, scope, number))
        return self.reason

    async def _ready(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


class _Head(asyncio.Protocol):
    """Reads until the empty line, then hands the connection over, as the HTTP protocol does."""

    def __init__(self, accept: Callable[[], asyncio.Protocol]) -> None:
        self._accept = accept
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, found_end, rest = self._head.partition(b"\r\n\r\n")
        if found_end:
            assert head.startswith(b"GET /peer/stream HTTP/1.1\r\n")
            endpoint = self._accept()
            self._transport.set_protocol(endpoint)
            endpoint.connection_made(self._transport)
            if rest:
                endpoint.data_received(rest)


def service(store: Any, **changes: Any) -> PeerService:
    """The answering side of `server2`."""
    given = {"me": OTHER, "cluster": "home", "key": KEY, "known": [ME, THIRD], "changes": SmallChanges()} | changes
    given = {"requests": SmallRequests()} | given
    return PeerService(given.pop("me"), given.pop("cluster"), given.pop("key"), given.pop("known"), store, **given)


@asynccontextmanager
async def listening(answering: PeerService, port: int = 0) -> AsyncIterator[int]:
    """The endpoint on a port of loopback."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Head(answering.accept), "127.0.0.1", port, reuse_address=True)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await answering.close()


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def behaving(behaviour: Behaviour) -> AsyncIterator[int]:
    """A peer that does as `behaviour` says."""
    tasks: set[asyncio.Task[None]] = set()

    async def conduct(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(conduct, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def linked(
    ports: Mapping[ServerName, int] | int, *, told_up: Callable[[ServerName], None] | None = None, **changes: Any
) -> AsyncIterator[PeerLinks]:
    """The asking side of `server1`, connected to peers on these ports. `told_up` is called when one is up."""
    ports = {OTHER: ports} if isinstance(ports, int) else ports
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    given = {"me": ME, "cluster": "home", "key": KEY, "peer_timeout_s": 1.0, "backoff": QUICK} | changes
    peers = PeerLinks(given.pop("me"), given.pop("cluster"), given.pop("key"), urls, **given)
    if told_up is not None:
        peers.on_up(told_up)
    await peers.start()
    try:
        yield peers
    finally:
        await peers.close()


async def until(condition: Callable[[], Any], *, within_s: float = 10.0) -> None:
    """Wait for something that has no event of its own. Fails the test when it does not come."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def settled(peers: PeerLinks, state: PeerState, name: ServerName = OTHER) -> PeerStatus:
    def status() -> PeerStatus:
        return next(status for status in peers.statuses() if status.name == name)

    await until(lambda: status().state is state)
    return status()
