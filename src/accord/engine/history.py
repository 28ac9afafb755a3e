"""The history of a path: what all servers remember of it, put together, and where the bytes of its versions are.

How histories are united is decided in `model.history`; what they look like, in `server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accord.engine.read import Reading, find_version
from accord.errors import AccordError, InvalidQuery, NoSuchVersion, UnknownState
from accord.model.history import Event, Remembered, united
from accord.model.names import DigestPrefix, FilePath, ServerName
from accord.model.verdict import HeldVersion
from accord.model.versions import Dot
from accord.peers.port import Peers
from accord.store.port import Store


@dataclass(frozen=True, slots=True)
class Chapter:
    """One version of a path. `is_current`: somebody knows it, and nobody who knows it has seen it superseded. `servers` keep its
    bytes."""

    event: Event
    is_current: bool
    servers: tuple[ServerName, ...]


@dataclass(frozen=True, slots=True)
class PathHistory:
    """Newest first. `silent` are the servers that could not be asked, each with the reason."""

    path: FilePath
    chapters: tuple[Chapter, ...]
    silent: tuple[tuple[ServerName, str], ...]


class Historian:
    """Tells histories for one server."""

    def __init__(self, name: ServerName, store: Store, peers: Peers) -> None:
        self._name = name
        self._store = store
        self._peers = peers

    async def history(self, path: FilePath) -> PathHistory:
        """Asks every server. Raises `StoreFailed` if this server cannot say; others that cannot are `silent`."""
        asked = [asyncio.ensure_future(self._recalled(peer, path)) for peer in self._peers.names]
        told: dict[ServerName, Sequence[Remembered]] = {self._name: await self._store.history(path)}
        theirs = await asyncio.gather(*asked)
        silent = []
        for peer, recalled in zip(self._peers.names, theirs, strict=True):
            if isinstance(recalled, AccordError):
                silent.append((peer, recalled.detail.removesuffix(".")))
            else:
                told[peer] = recalled
        return PathHistory(path, _chapters(told), tuple(silent))

    async def find(self, reading: Reading, wanted: DigestPrefix) -> HeldVersion:
        """The version of the path that `wanted` names, current or not, with the servers that keep it.

        Raises `NoSuchVersion` when every server said that it does not have it, `UnknownState` when somebody did not say, and
        `InvalidQuery` when the prefix fits several.
        """
        found = find_version(reading, wanted)
        if found is not None:
            return found
        history = await self.history(reading.verdict.path)
        kept = [one for one in history.chapters if one.servers and one.event.version.digest is not None]
        fitting = [one for one in kept if one.event.version.digest and wanted.matches(one.event.version.digest)]
        if len({one.event.version.digest for one in fitting}) > 1:
            raise InvalidQuery(f"'{wanted}' fits several versions: write more of the digest.", path=history.path)
        if fitting:
            servers = tuple(sorted({server for one in fitting for server in one.servers}))
            return HeldVersion(fitting[0].event.version, servers, servers)
        if history.silent:
            names = ", ".join(name for name, _ in history.silent)
            raise UnknownState(f"Nobody who answered has that version, and {names} did not answer.", path=history.path)
        raise NoSuchVersion(f"No server has a version '{wanted}' of this file.", path=history.path)

    async def _recalled(self, peer: ServerName, path: FilePath) -> Sequence[Remembered] | AccordError:
        try:
            return await self._peers.recall(peer, path)
        except AccordError as error:
            return error


def _chapters(told: Mapping[ServerName, Sequence[Remembered]]) -> tuple[Chapter, ...]:
    current: set[Dot] = set()
    superseded: set[Dot] = set()
    keepers: dict[Dot, list[ServerName]] = {}
    for server, remembered in sorted(told.items()):
        for event, is_current, is_kept in remembered:
            (current if is_current else superseded).add(event.dot)
            if is_kept:
                keepers.setdefault(event.dot, []).append(server)
    events = united([one.event for one in remembered] for remembered in told.values())
    return tuple(
        Chapter(event, event.dot in current - superseded, tuple(keepers.get(event.dot, ()))) for event in events
    )
