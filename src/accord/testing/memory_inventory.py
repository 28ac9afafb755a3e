"""What a store in memory knows of all its paths at once: `Inventory`, computed anew from its records with every question.

Going through everything (`rescan`, `scrub`) is elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from accord.codec import mark_of
from accord.errors import StoreFailed
from accord.model.findings import Finding, NameClash, Oddity
from accord.model.fingerprints import Fingerprint, Item, Span, Summary
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import DIFFERENCES, NO_DIFFERENCE, Kind
from accord.store.inventory import Difference, Space, Tally
from accord.store.records import Record
from accord.store.todo import Todo, todo_of
from accord.store.tombstones import greatest_counter
from accord.testing.memory_debts import MemoryDebts
from accord.testing.memory_hands import MemoryHands
from accord.testing.memory_history import MemoryHistory

MEMORY_BYTES = 1 << 40
SOME = 1_000_000
_BY_DEED = frozenset((Oddity.OUTSIDE, Oddity.TRUNCATED))


class MemoryInventory(MemoryHands):
    def __init__(self) -> None:
        super().__init__()
        self.floor = 0
        self._history = MemoryHistory()
        self._debts = MemoryDebts()
        self._differences: dict[FilePath, Difference] = {}
        self._findings: dict[FilePath, dict[Oddity, Finding]] = {}
        self._estranged: set[FilePath] = set()
        self._notes: dict[str, str] = {}
        self._clashes: list[NameClash] = []

    @property
    def incarnation(self) -> str:
        return f"memory{self._lives}"

    def lose_index(self) -> None:
        """As if it were deleted, and another one begun: what was kept apart cannot be told from rubbish any more."""
        self._lives += 1
        self.records, self.kept, self._history, self._debts = {}, {}, MemoryHistory(), MemoryDebts()
        self._differences, self._findings, self._estranged, self._notes, self._clashes = {}, {}, set(), {}, []

    def lose_disk(self) -> None:
        """Another one, empty, in its place."""
        self.lose_index()
        self.files.clear()

    # Comparing with another server.

    def _items(self, span: Span) -> list[Item]:
        marks = {path: mark_of(path, record.clock) for path, record in self.records.items() if span.covers(path)}
        return [Item(path, marks[path]) for path in sorted(marks) if marks[path]]

    def _sum_of(self, items: Iterable[Item]) -> Fingerprint:
        total = Fingerprint()
        for path, mark in items:
            total = total.plus(Fingerprint(1, int.from_bytes(mark), int(self.records[path].deleted)))
        return total

    async def summaries(self, spans: Sequence[Span]) -> list[Fingerprint]:
        return [self._sum_of(self._items(span)) for span in spans]

    async def cut(self, spans: Sequence[Span], parts: int) -> list[list[Summary]]:
        return [self._cut(span, parts) for span in spans]

    def _cut(self, span: Span, parts: int) -> list[Summary]:
        items = self._items(span)
        count = max(1, min(parts, len(items)))
        edges = [span.after, *(items[len(items) * number // count - 1].path for number in range(1, count)), span.upto]
        spans = [Span(after or "", upto) for after, upto in pairwise(edges)]
        return [Summary(one, self._sum_of(self._items(one))) for one in spans]

    async def items(self, spans: Sequence[Span], limit: int) -> list[list[Item]]:
        return [self._items(span)[:limit] for span in spans]

    async def count(self, prefix: Prefix) -> Fingerprint:
        return self._sum_of(item for item in self._items(Span("", None)) if item.path.startswith(prefix))

    # What is to be mended.

    def _todo(self, path: FilePath) -> Todo:
        return todo_of(replace(self.records[path], aside=tuple(sorted(self.kept.get(path, {})))))

    def _to_do(self, todo: Todo, prefix: str, after: FilePath | None, limit: int) -> list[FilePath]:
        return [path for path in _page(self.records, prefix, after, None) if self._todo(path) & todo][:limit]

    async def unmended(self, after: FilePath | None, limit: int) -> list[FilePath]:
        return self._to_do(Todo.MEND, "", after, limit)

    async def rivals(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[FilePath]:
        return self._to_do(Todo.DECIDE, prefix, after, limit)

    def note_verdict(self, path: FilePath, kind: Kind) -> None:
        if kind in DIFFERENCES:
            known = self._differences.get(path)
            self._differences[path] = Difference(path, kind, self.now_ns() if known is None else known.since_ns)
        elif kind in NO_DIFFERENCE:
            self._differences.pop(path, None)

    def is_difference(self, path: FilePath) -> bool:
        return path in self._differences

    async def differences(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Difference]:
        return [self._differences[path] for path in _page(self._differences, prefix, after, limit)]

    async def count_differences(self, prefix: Prefix) -> Mapping[Kind, int]:
        return Counter(self._differences[path].kind for path in _page(self._differences, prefix, None, None))

    # What was found.

    def note_finding(self, finding: Finding) -> None:
        known = self._findings.setdefault(finding.path, {})
        earlier = known.get(finding.oddity)
        known[finding.oddity] = finding if earlier is None else finding._replace(since_ns=earlier.since_ns)

    async def findings(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[Finding]:
        found: list[Finding] = []
        for path in _page(self._findings, prefix, after, None):
            more = sorted(self._findings[path].values(), key=lambda one: one.oddity.value)
            if found and len(found) + len(more) > limit:
                break
            found += more
        return found

    async def tally(self, prefix: Prefix) -> Tally:
        found = [one for path, known in self._findings.items() if path.startswith(prefix) for one in known]
        strange = _page(self._estranged - self.records.keys(), prefix, None, None)
        clashes = sum(one.path.startswith(prefix) for one in self._clashes)
        return Tally(len(await self.rivals(prefix, None, SOME)), Counter(found), len(strange), clashes)

    async def space(self) -> Space:
        if self.broken is not None:
            raise StoreFailed("The disk does not answer.")
        used = sum(len(file.content) for file in self.files.values())
        total = MEMORY_BYTES if self.capacity_bytes is None else self.capacity_bytes
        return Space(max(0, total - used), total)

    async def name_clashes(self, prefix: Prefix, after: FilePath | None, limit: int) -> list[NameClash]:
        found = (one for one in self._clashes if one.path.startswith(prefix) and one.path > (after or ""))
        return sorted(found)[:limit]

    def _recorded(self, path: FilePath, before: Record | None) -> None:
        """Something was recorded of the path, in place of `before`."""
        self._estranged.discard(path)
        after = self.records[path]
        if before is not None and (before.clock, before.digest) == (after.clock, after.digest):
            self._looked_good(path)
        elif not self._todo(path):
            self._findings.pop(path, None)

    def _looked_good(self, path: FilePath) -> None:
        """A look, which found nothing new, found the copy as it should be."""
        if path in self._findings and not self._todo(path):
            left = {oddity: one for oddity, one in self._findings.pop(path).items() if oddity in _BY_DEED}
            self._findings.update({path: left} if left else {})

    # Strangers.

    def deem_estranged(self, paths: Sequence[FilePath]) -> None:
        self._estranged.update(paths)

    async def is_estranged(self, path: FilePath) -> bool:
        return path in self._estranged

    async def estranged(self, after: FilePath | None, limit: int) -> list[FilePath]:
        return _page(self._estranged - self.records.keys(), "", after, limit)

    # Notes of the engine; debts; tombstones.

    def note(self, key: str, value: str | None) -> None:
        if value is None:
            self._notes.pop(key, None)
        else:
            self._notes[key] = value

    async def noted(self, key: str) -> str | None:
        return self._notes.get(key)

    def forget_debts_lost(self, server: ServerName) -> None:
        self._debts.found(server)

    async def drop_tombstones(self, older_than_ns: int, limit: int) -> int:
        known = {
            path: record.deleted_ns
            for path, record in self.records.items()
            if record.deleted_ns is not None and record.deleted_ns < older_than_ns and path not in self.files
        }
        dropped = sorted(known, key=lambda path: (known[path], path))[:limit]
        for path in dropped:
            clock = self.records.pop(path).clock
            self.floor = max(self.floor, greatest_counter(clock, self.incarnation))
            for standing in (self._differences, self._findings):
                standing.pop(path, None)
            self.kept.pop(path, None)
            self._history.forget(path)
        return len(dropped)


def _page(paths: Iterable[FilePath], prefix: str, after: FilePath | None, limit: int | None) -> list[FilePath]:
    return sorted(path for path in paths if path.startswith(prefix) and path > (after or ""))[:limit]
