"""The other servers without a network: a `Peers` over stores in the same process, with faults to switch on, for tests of the engine.

Answers and content come from the stores themselves; nothing is batched, timed or authenticated here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from accord.engine.changes import ChangeHandler
from accord.engine.comparing import compared
from accord.engine.peer_requests import PeerRequests, Work
from accord.errors import AccordError, IntegrityError, NoSuchVersion, PeerUnreachable
from accord.model.chunks import Chunk
from accord.model.fingerprints import Reply, Summary
from accord.model.history import Remembered
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix, ServerName
from accord.model.verdict import Answer, Damaged, Unreachable
from accord.peers.port import PeerState, PeerStatus
from accord.store.port import BLOCK_BYTES, Copy, Store, is_answer
from accord.testing.memory_faults import Faults
from accord.testing.memory_uploads import MemoryUpload, Target

DEFAULT_WAIT_S = 0.5
DEFAULT_ME = ServerName("server1")


class MemoryPeers:
    """Implements `accord.peers.port.Peers`, as `me` sees the others. `faults` has an entry for every server; `fetched` counts the
    fetches begun, `compared` the ranges that were asked for, `updated` has what was asked to be updated. `handlers` and `requests` are
    the engines of the servers: to be set by tests in which anything is adopted or updated, or ordered or reported."""

    def __init__(self, stores: Mapping[ServerName, Store], *, me: ServerName = DEFAULT_ME) -> None:
        self._me = me
        self._stores = dict(stores)
        self.handlers: dict[ServerName, ChangeHandler] = {}
        self.requests: dict[ServerName, PeerRequests] = {}
        self._told: list[Callable[[ServerName], None]] = []
        self.faults = {name: Faults() for name in stores}
        self.fetched: list[tuple[ServerName, FilePath, int, int | None]] = []
        self.compared: list[tuple[ServerName, int]] = []
        self.updated: list[tuple[ServerName, FilePath]] = []
        self.suggested: list[tuple[ServerName, FilePath]] = []
        self.doubted: list[tuple[ServerName, FilePath]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> Sequence[ServerName]:
        return tuple(self._stores)

    def ask(
        self, path: FilePath, *, reread: bool = False, wait_s: float | None = None
    ) -> asyncio.Future[Mapping[ServerName, Answer]]:
        answered: asyncio.Future[Mapping[ServerName, Answer]] = asyncio.get_running_loop().create_future()
        if not self._stores:
            answered.set_result({})
            return answered
        task = asyncio.create_task(self._ask(answered, path, reread, DEFAULT_WAIT_S if wait_s is None else wait_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answered

    def suggest(self, server: ServerName, path: FilePath) -> None:
        self.suggested.append((server, path))

    def doubt(self, server: ServerName, path: FilePath) -> None:
        """The server reads its copy anew, in a task of its own."""
        self.doubted.append((server, path))
        task = asyncio.create_task(self._examine_anew(server, path))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def fetch(
        self, server: ServerName, path: FilePath, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        self.fetched.append((server, path, start, stop))
        self.faults[server].check()
        held = await self._version(server, path, digest)
        try:
            async with aclosing(_content(held, start, held.answer.size if stop is None else stop)) as blocks:
                offset = start
                async for block in blocks:
                    self.faults[server].check()
                    left = self._left(server, offset - start)
                    yield self._spoilt(server, block, offset)[:left]
                    if left is not None and left < len(block):
                        if self.faults[server].ends_there:
                            return
                        raise PeerUnreachable("connection lost", path=path)
                    offset += len(block)
            if start == 0 and offset == held.answer.size:
                await self._prove_sent(server, held)
        finally:
            held.close()

    async def list(
        self, server: ServerName, prefix: Prefix, after: FilePath | None
    ) -> AsyncGenerator[Sequence[Walked], None]:
        self.faults[server].check()
        for page in self._stores[server].walk(prefix, after):
            self.faults[server].check()
            yield page

    def upload(self, server: ServerName, size: int | None) -> MemoryUpload:
        target = Target(self._stores[server], self.faults[server], partial(self.handlers.__getitem__, server))
        return MemoryUpload(self._me, target, size)

    async def recall(self, server: ServerName, path: FilePath) -> Sequence[Remembered]:
        await self.faults[server].reach()
        return await self._stores[server].history(path)

    async def update(self, server: ServerName, paths: Sequence[FilePath]) -> Sequence[str | None]:
        reasons: list[str | None] = []
        for path in paths:
            await self.faults[server].reach()
            self.updated.append((server, path))
            try:
                reasons.append(await self.handlers[server].update(path, is_news=True))
            except AccordError as error:
                reasons.append(error.detail.removesuffix("."))
        await self.faults[server].reach()
        return reasons

    async def compare(self, server: ServerName, asked: Sequence[Summary]) -> Sequence[Reply]:
        await self.faults[server].reach()
        self.compared.append((server, len(asked)))
        engine = self.requests.get(server)
        replies = await (compared(self._stores[server], asked) if engine is None else engine.compare(self._me, asked))
        await self.faults[server].reach()
        return replies

    async def report(self, server: ServerName, question: bytes = b"") -> bytes:
        await self.faults[server].reach()
        return await self.requests[server].report(question)

    async def order(self, server: ServerName, work: str, scope: str, number: int) -> str | None:
        await self.faults[server].reach()
        limited = FilePath(scope) if scope and not scope.endswith("/") else Prefix(scope)
        return await self.requests[server].order(Work(work), limited, number)

    async def chunks(self, server: ServerName, path: FilePath, digest: Digest) -> Sequence[Chunk]:
        await self.faults[server].reach()
        held = await self._version(server, path, digest)
        try:
            return await held.chunks()
        except IntegrityError:
            await self._stores[server].find_damage(held)
            raise IntegrityError("its copy is damaged", path=path) from None
        finally:
            held.close()

    def on_up(self, told: Callable[[ServerName], None]) -> None:
        self._told.append(told)

    def came_up(self, server: ServerName) -> None:
        """The test's word that the server can be asked (again): whoever wants to know is told."""
        self.faults[server].down = None
        for told in self._told:
            told(server)

    def statuses(self) -> Sequence[PeerStatus]:
        return [
            PeerStatus(name, f"memory:{name}", PeerState.DOWN if faults.down else PeerState.UP, faults.down)
            for name, faults in self.faults.items()
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _version(self, server: ServerName, path: FilePath, digest: Digest) -> Copy:
        store = self._stores[server]
        held = await store.open(path, wait_s=DEFAULT_WAIT_S)
        if not is_answer(held):
            if held.answer.digest == digest:
                try:
                    await store.share(held)
                except AccordError:
                    held.close()
                    raise
                return held
            held.close()
        kept = await store.open_version(path, digest)
        if kept is not None:
            return kept
        if isinstance(held, Damaged):
            raise IntegrityError("its copy is damaged", path=path)
        raise NoSuchVersion("no longer holds that version", path=path)

    async def _examine_anew(self, server: ServerName, path: FilePath) -> None:
        await self._stores[server].examine(path, wait_s=DEFAULT_WAIT_S, reread=True)

    async def _ask(
        self, answered: asyncio.Future[Mapping[ServerName, Answer]], path: FilePath, reread: bool, wait_s: float
    ) -> None:
        answers = await asyncio.gather(*(self._answer(name, path, reread, wait_s) for name in self._stores))
        if not answered.done():
            answered.set_result(dict(zip(self._stores, answers, strict=True)))

    async def _answer(self, server: ServerName, path: FilePath, reread: bool, wait_s: float) -> Answer:
        faults = self.faults[server]
        if faults.hold is not None:
            await faults.hold.wait()
        if faults.down is not None:
            return Unreachable(faults.down)
        if path in faults.answers:
            return faults.answers[path]
        try:
            return await self._stores[server].examine(path, wait_s=wait_s, reread=reread)
        except AccordError as error:
            return Unreachable(error.detail)

    async def _prove_sent(self, server: ServerName, copy: Copy) -> None:
        """As a sender does that hashed the whole on its way (what `flip_at` does happens later, and it knows nothing of it)."""
        try:
            await copy.block_digests()
        except IntegrityError:
            await self._stores[server].find_damage(copy)
            raise IntegrityError("its copy is damaged", path=copy.path) from None

    def _left(self, server: ServerName, sent_bytes: int) -> int | None:
        limit = self.faults[server].break_after_bytes
        return None if limit is None else max(0, limit - sent_bytes)

    def _spoilt(self, server: ServerName, block: bytes, offset: int) -> bytes:
        flip_at = self.faults[server].flip_at
        if flip_at is None or not offset <= flip_at < offset + len(block):
            return block
        at = flip_at - offset
        return block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]


async def _content(copy: Copy, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    stop = min(stop, copy.answer.size)
    while start < stop:
        block = await copy.read(start, min(BLOCK_BYTES, stop - start))
        if not block:
            raise NoSuchVersion("its copy was changed while it was read", path=copy.path)
        yield block
        start += len(block)


if TYPE_CHECKING:
    from accord.peers.port import Peers, Upload

    def _keeps_the_contract(peers: MemoryPeers, upload: MemoryUpload) -> tuple[Peers, Upload]:
        return peers, upload
