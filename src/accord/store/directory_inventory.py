"""What a directory store knows of all its paths at once: `Inventory`, answered from the index. The words are in `inventory`.

Going through the tree (`rescan`) and through the bytes (`scrub`) is done elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import apsw

from accord.model.findings import Finding, NameClash
from accord.model.fingerprints import Fingerprint, Item, Span, Summary
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import Kind
from accord.store import standing_rows
from accord.store.index import Index
from accord.store.inventory import Difference, Tally
from accord.store.marked_rows import items
from accord.store.todo import Todo

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LAST_NAME = "\U0010ffff" * 64
"""Sorts after every segment."""


class _OfSpan(Protocol[T_co]):
    def __call__(self, db: apsw.Connection, /, *, span: Span) -> T_co: ...


class DirectoryInventory:
    """Part of `DirectoryStore`."""

    _index: Index
    _now_ns: Callable[[], int]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        raise NotImplementedError

    async def _asked(self, work: Callable[[apsw.Connection], T]) -> T:
        return await self._in_thread(partial(self._index.ask, work))

    # Comparing with another server.

    async def summaries(self, spans: Sequence[Span]) -> list[Fingerprint]:
        return await self._asked(partial(self._index.stretches.fingerprints, spans=spans))

    async def cut(self, spans: Sequence[Span], parts: int) -> list[list[Summary]]:
        return await self._asked_of_each(spans, partial(self._index.stretches.cut, parts=parts))

    async def items(self, spans: Sequence[Span], limit: int) -> list[list[Item]]:
        return await self._asked_of_each(spans, partial(items, limit=limit))

    async def _asked_of_each(self, spans: Sequence[Span], work: _OfSpan[T]) -> list[T]:
        """In one turn of a thread; in between, the index is free for others."""
        ask = self._index.ask
        return await self._in_thread(lambda: [ask(partial(work, span=span)) for span in spans])

    # What is to be mended.

    async def unmended(self, after: FilePath | None, limit: int) -> list[FilePath]:
        return await self._to_do(Todo.MEND, "files_mend", after or "", LAST_NAME, limit)

    async def rivals(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[FilePath]:
        return await self._to_do(Todo.DECIDE, "files_decide", *below(prefix, after), limit)

    async def _to_do(self, todo: Todo, index: str, after: str, end: str, limit: int) -> list[FilePath]:
        query = (
            f"SELECT path FROM files INDEXED BY {index} WHERE todo & {todo.value} AND path > ? AND path < ? "
            "ORDER BY path LIMIT ?"
        )
        return await self._asked(
            lambda db: [FilePath.trusted(path) for (path,) in db.execute(query, (after, end, limit))]
        )

    def note_verdict(self, path: FilePath, kind: Kind) -> None:
        self._index.standing.note_verdict(path, kind, self._now_ns())

    def is_difference(self, path: FilePath) -> bool:
        return self._index.standing.may_stand(path)

    async def differences(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Difference]:
        low, end = below(prefix, after)
        return await self._asked(lambda db: standing_rows.differences(db, low, end, limit))

    async def count_differences(self, prefix: Prefix) -> Mapping[Kind, int]:
        if not prefix:
            return await self._asked(lambda _: self._index.standing.counted())
        low, end = below(prefix, None)
        return await self._asked(lambda db: standing_rows.count_differences(db, low, end))

    async def count(self, prefix: Prefix) -> Fingerprint:
        low, end = below(prefix, None)
        (count,) = await self.summaries([Span(low, end if prefix else None)])
        return count

    # What was found.

    def note_finding(self, finding: Finding) -> None:
        self._index.standing.note_finding(finding)

    async def findings(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Finding]:
        low, end = below(prefix, after)
        return await self._asked(lambda db: standing_rows.findings(db, low, end, limit))

    async def tally(self, prefix: Prefix) -> Tally:
        return await self._asked(partial(_tally, prefix=prefix))

    async def name_clashes(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[NameClash]:
        low, end = below(prefix, after)
        return await self._asked(lambda db: standing_rows.clashes(db, low, end, limit))

    # Strangers.

    def deem_estranged(self, paths: Sequence[FilePath]) -> None:
        self._index.standing.deem_estranged(paths)

    async def is_estranged(self, path: FilePath) -> bool:
        if not self._index.standing.may_stand(path):
            return False
        return await self._asked(lambda db: standing_rows.is_estranged(db, path))

    async def estranged(self, after: FilePath | None, limit: int) -> list[FilePath]:
        return await self._asked(lambda db: standing_rows.estranged(db, after or "", limit))

    # Notes of the engine.

    def note(self, key: str, value: str | None) -> None:
        self._index.standing.note(key, value)

    async def noted(self, key: str) -> str | None:
        return await self._asked(lambda db: standing_rows.noted(db, key))

    def forget_debts_lost(self, server: ServerName) -> None:
        self._index.debts.found(server)

    async def drop_tombstones(self, older_than_ns: int, limit: int) -> int:
        return await self._in_thread(partial(self._index.drop_tombstones, older_than_ns, limit))


def _tally(db: apsw.Connection, prefix: Prefix) -> Tally:
    low, end = below(prefix, None)
    query = (
        f"SELECT count(*) FROM files INDEXED BY files_decide WHERE todo & {Todo.DECIDE.value} AND path > ? AND path < ?"
    )
    rivals = int(db.execute(query, (low, end)).get)
    found, strange = standing_rows.count_findings(db, low, end), standing_rows.count_estranged(db, low, end)
    return Tally(rivals, found, strange, standing_rows.count_clashes(db, low, end))


def below(prefix: Prefix, after: FilePath | None) -> tuple[str, str]:
    """The paths below `prefix` that come after `after`: those between the two."""
    return max(prefix, after or ""), prefix + LAST_NAME
