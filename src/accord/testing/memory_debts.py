"""What the other servers are owed, in memory: see the end of `port.Store`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from accord.model.names import FilePath, ServerName
from accord.store.port import Debts


class MemoryDebts:
    """Of each server and path the newest number, in the order of the numbers; at most `max_paths` a server."""

    def __init__(self, max_paths: int = 100_000) -> None:
        self.max_paths = max_paths
        self._owed: dict[ServerName, dict[FilePath, int]] = {}
        self._lost: set[ServerName] = set()
        self._newest = 0

    def owe(self, path: FilePath, servers: Iterable[ServerName]) -> int:
        """The number of the change, whether anybody is owed it or not."""
        self._newest += 1
        for server in servers:
            owed = self._owed.setdefault(server, {})
            owed.pop(path, None)  # it goes to the end
            owed[path] = self._newest
            if len(owed) > self.max_paths:
                del owed[next(iter(owed))]
                self._lost.add(server)
        return self._newest

    def found(self, server: ServerName) -> None:
        """What was let go has been found in another way."""
        self._lost.discard(server)

    def standing(self) -> Mapping[ServerName, Debts]:
        return {
            server: Debts(len(owed), server in self._lost)
            for server, owed in self._owed.items()
            if owed or server in self._lost
        }

    def oldest(self, server: ServerName, limit: int, after: int) -> list[tuple[FilePath, int]]:
        owed = self._owed.get(server, {})
        return [(path, number) for path, number in owed.items() if number > after][:limit]

    def settle(self, server: ServerName, settled: Sequence[tuple[FilePath, int]]) -> None:
        owed = self._owed.get(server, {})
        for path, number in settled:
            if owed.get(path, number + 1) <= number:
                del owed[path]
