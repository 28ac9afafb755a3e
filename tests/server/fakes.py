"""A store and peers of plain mappings: only what the routes ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

from accord.engine.copy import Copier
from accord.engine.found import RecentFindings
from accord.engine.history import Historian
from accord.engine.peer_requests import Work
from accord.engine.read import Reader
from accord.engine.status import Gauges, Status
from accord.engine.write import Writer
from accord.errors import PeerUnreachable
from accord.model.fingerprints import Fingerprint
from accord.model.listing import Walked
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import Answer, Kind
from accord.peers.port import Peers, PeerState, PeerStatus
from accord.server.metrics import Metrics
from accord.server.services import Services
from accord.store.inventory import Difference, Scope, Space, Tally
from accord.store.port import Debts, Indexing, Store
from tests.server.verdicts import SERVER1

Held = Mapping[str, Answer]


def walked(held: Held, prefix: str = "", after: str | None = None, *, page_paths: int = 2) -> Iterator[list[Walked]]:
    paths = sorted(path for path in held if path.startswith(prefix) and path > (after or ""))
    for start in range(0, len(paths), page_paths):
        yield [Walked(FilePath(path), held[path]) for path in paths[start : start + page_paths]]


async def streamed(
    held: Held, prefix: str = "", after: str | None = None, *, failure: Exception | None = None, page_paths: int = 2
) -> AsyncIterator[Sequence[Walked]]:
    """A peer's listing; `failure` comes where its end would be."""
    for page in walked(held, prefix, after, page_paths=page_paths):
        await asyncio.sleep(0)
        yield page
    if failure is not None:
        raise failure


class FakeStore:
    def __init__(self, held: Held) -> None:
        self.held = held
        self.reason: str | None = None
        self.owed: dict[ServerName, Debts] = {}

    def walk(self, prefix: Prefix, after: FilePath | None) -> Iterator[list[Walked]]:
        return walked(self.held, prefix, after)

    def indexing(self) -> Indexing:
        return Indexing(True, 3, 30, 3)

    def debts(self) -> Mapping[ServerName, Debts]:
        return self.owed

    def degraded(self) -> str | None:
        return self.reason

    def takes_in(self) -> bool:
        return self.reason is None

    async def differences(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Difference]:
        return []

    async def count_differences(self, prefix: Prefix) -> Mapping[Kind, int]:
        return {}

    async def count(self, prefix: Prefix) -> Fingerprint:
        return Fingerprint(len(self.held))

    async def tally(self, prefix: Prefix) -> Tally:
        return Tally(0, {}, 0, 0)

    async def space(self) -> Space:
        return Space(1 << 30, 1 << 40)


class FakePeers:
    def __init__(self, held: Mapping[ServerName, Held], failures: Mapping[ServerName, Exception]) -> None:
        self._held = held
        self._failures = failures

    @property
    def names(self) -> Sequence[ServerName]:
        return list(self._held)

    def list(self, server: ServerName, prefix: Prefix, after: FilePath | None) -> AsyncIterator[Sequence[Walked]]:
        return streamed(self._held[server], prefix, after, failure=self._failures.get(server))

    async def report(self, server: ServerName, question: bytes = b"") -> bytes:
        raise self._failures.get(server) or PeerUnreachable("says nothing")

    def statuses(self) -> Sequence[PeerStatus]:
        return [
            PeerStatus(name, "http://127.0.0.1:2", PeerState.DOWN if name in self._failures else PeerState.UP)
            for name in self._held
        ]


def services(
    mine: Held, others: Mapping[ServerName, Held], failures: Mapping[ServerName, Exception] | None = None
) -> Services:
    store: Any = FakeStore(mine)
    peers: Any = FakePeers(others, failures or {})
    return Services(
        name=SERVER1,
        cluster="home",
        reader=cast("Reader", None),
        writer=cast("Writer", None),
        copier=cast("Copier", None),
        historian=cast("Historian", None),
        store=cast("Store", store),
        peers=cast("Peers", peers),
        metrics=Metrics(peers.statuses, store.debts),
        status=Status(
            SERVER1,
            "home",
            store,
            peers,
            Gauges(),
            no_orders,
            RecentFindings(),
            look_again=never_called,
            version="1",
            now_ns=lambda: 0,
        ),
    )


async def never_called(path: FilePath) -> None:
    raise AssertionError("nothing differs")


async def no_orders(work: Work, scope: Scope, number: int) -> str | None:
    return "takes no orders"
