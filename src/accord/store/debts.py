"""What the other servers are owed: rows of the index, and the same in memory, which answers without the disk.

A debt is written in the transaction of the change that it is for. What is settled is struck out with a later transaction; forgetting
that in a crash means telling a server once more. Numbers only grow, also across restarts: a bound above all of them is kept, a
thousand ahead, so that most changes do not have to write it. Thread-safe; statements run within the index's transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import apsw

from accord.model.names import FilePath, ServerName
from accord.store.port import Debts

MAX_DEBTS = 100_000
"""So many paths are owed to one server; beyond that the oldest are let go (and a comparison of everything finds them)."""
_AHEAD = 1_000
_CEILING, _LOST = "debts", "lost:"
_PUT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

Owed = tuple[FilePath, tuple[ServerName, ...], int]


class Struck(NamedTuple):
    """What one transaction wrote of what was noted: so many debts as settled, and of these servers whether debts were let go."""

    settled: int
    lost: dict[ServerName, bool]


class Ledger:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owed: dict[ServerName, dict[FilePath, int]] = {}  # in the order of the numbers
        self._lost: set[ServerName] = set()
        self._struck: list[tuple[ServerName, FilePath, int]] = []
        self._unwritten_lost: set[ServerName] = set()
        self._newest = self._ceiling = 0

    def load(self, db: apsw.Connection) -> None:
        """What an earlier run left."""
        with self._lock:
            for server, path, number in db.execute("SELECT server, path, number FROM debts ORDER BY number"):
                self._add(ServerName(server), FilePath.trusted(path), number)
            for (key,) in db.execute("SELECT key FROM meta WHERE key GLOB ?", (f"{_LOST}*",)):
                self._lost.add(server := ServerName(key.removeprefix(_LOST)))
                self._owed.setdefault(server, {})
            ceiling = db.execute("SELECT value FROM meta WHERE key = ?", (_CEILING,)).get
            self._newest = max(self._newest, int(ceiling or 0))

    def begin_anew(self) -> None:
        """The rows are gone, with the index. What is in memory goes on being owed; a restart will know that something is lost."""
        with self._lock:
            self._struck.clear()
            self._ceiling = 0
            self._lost.update(server for server, owed in self._owed.items() if owed)
            self._unwritten_lost.update(self._lost)

    def write(self, db: apsw.Connection, path: FilePath, servers: Sequence[ServerName]) -> int:
        """Rows for a change of `path`; says its number. `confirm` when they are durable."""
        with self._lock:
            self._newest += 1
            number = self._newest
            if servers and number > self._ceiling:
                self._ceiling = number + _AHEAD
                db.execute(_PUT_META, (_CEILING, str(self._ceiling)))
        for server in servers:
            db.execute("INSERT OR REPLACE INTO debts VALUES (?, ?, ?)", (server, path, number))
        return number

    def undone(self) -> None:
        """A transaction was rolled back, and the bound with it, perhaps."""
        with self._lock:
            self._ceiling = 0

    def confirm(self, changes: Sequence[Owed]) -> None:
        with self._lock:
            for path, servers, number in changes:
                for server in servers:
                    self._add(server, path, number)

    def _add(self, server: ServerName, path: FilePath, number: int) -> None:
        owed = self._owed.setdefault(server, {})
        owed.pop(path, None)
        owed[path] = number
        if len(owed) > MAX_DEBTS:
            oldest = next(iter(owed))
            self._struck.append((server, oldest, owed.pop(oldest)))
            self._lost.add(server)
            self._unwritten_lost.add(server)

    def settle(self, server: ServerName, settled: Sequence[tuple[FilePath, int]]) -> None:
        with self._lock:
            owed = self._owed.get(server, {})
            for path, number in settled:
                if owed.get(path, number + 1) <= number:
                    del owed[path]
                    self._struck.append((server, path, number))

    def found(self, server: ServerName) -> None:
        """What debts to `server` were let go, a comparison of everything has found."""
        with self._lock:
            if server in self._lost:
                self._lost.remove(server)
                self._unwritten_lost.add(server)

    @property
    def is_unwritten(self) -> bool:
        return bool(self._struck or self._unwritten_lost)

    def strike_out(self, db: apsw.Connection) -> Struck:
        """Write what was settled. Gives what `struck` takes when that is durable."""
        with self._lock:
            struck, changed, lost = list(self._struck), set(self._unwritten_lost), set(self._lost)
        db.executemany("DELETE FROM debts WHERE server = ? AND path = ? AND number <= ?", struck)
        db.executemany(_PUT_META, [(_LOST + server, "1") for server in changed & lost])
        db.executemany("DELETE FROM meta WHERE key = ?", [(_LOST + server,) for server in changed - lost])
        return Struck(len(struck), {server: server in lost for server in changed})

    def struck(self, written: Struck) -> None:
        with self._lock:
            del self._struck[: written.settled]
            self._unwritten_lost -= {one for one, was_lost in written.lost.items() if (one in self._lost) == was_lost}

    def standing(self) -> Mapping[ServerName, Debts]:
        with self._lock:
            return {
                server: Debts(len(owed), server in self._lost)
                for server, owed in self._owed.items()
                if owed or server in self._lost
            }

    def oldest(self, server: ServerName, limit: int, after: int) -> list[tuple[FilePath, int]]:
        with self._lock:
            later = ((path, number) for path, number in self._owed.get(server, {}).items() if number > after)
            return list(islice(later, limit))
