"""Going through everything in a store in memory: `rescan` and `scrub`, a path a step, by the real store's words for what is odd.

Folders that cannot be read, and a directory that is gone, are the test's to say (`MemoryHands.closed_folders`, `gone`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from accord.errors import StoreFailed
from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Absent, Damaged, Unreachable
from accord.store.inventory import ScanStep, Scope, ScrubStep
from accord.store.oddities import oddity_of
from accord.store.port import is_answer
from accord.store.records import Record
from accord.store.survey import collisions
from accord.testing.memory_bytes import digest_of
from accord.testing.memory_looks import MemoryLooks


class MemoryScan(MemoryLooks):
    def rescan(self, scope: Scope) -> Iterator[ScanStep]:
        self._require_there()
        for folder in sorted(self.closed_folders):
            if _is_in(scope, folder):
                yield ScanStep(folder, 0, 0, (self._unreadable(FilePath(folder), None, "it cannot be read"),))
        for path in sorted({*self.files, *self.records, *self._answers}):
            if _is_in(scope, path) and not self._is_closed(path):
                yield self._rescanned(path)
        self._require_there()
        for path in [path for path in self._findings if _is_in(scope, path)]:
            if path not in self.closed_folders and path not in self._answers:
                self._can_be_read(path)
        if scope == Prefix(""):
            self._clashes = self._clashing()

    def _rescanned(self, path: FilePath) -> ScanStep:
        before, file = self.records.get(path), self.files.get(path)
        forced = self._answers.get(path)
        if isinstance(forced, Damaged | Unreachable):
            finding: Finding | None = self._unreadable(path, before, forced.reason)
            return ScanStep(path.parent, 1, 0, () if finding is None else (finding,))
        if file is None or isinstance(forced, Absent):
            finding = self._lost(path, before)
            return ScanStep(path.parent, 0, 0, () if finding is None else (finding,))
        if path in self._hashing_held:
            return ScanStep(path.parent, 1)
        held = self._look(path)
        if not is_answer(held):
            held.close()
        after = self.records[path]
        finding = self._odd(path, before, after)
        is_new = (path,) if before is None else ()
        read_bytes = 0 if after == before else file.stat.size
        return ScanStep(path.parent, 1, read_bytes, () if finding is None else (finding,), is_new)

    def _lost(self, path: FilePath, record: Record | None) -> Finding | None:
        if record is None or (record.stat is None and record.digest is None):
            return None
        self._require_there()
        digest = None if record.deleted else record.digest
        self.records[path] = replace(record, stat=None, digest=digest, damaged=None)
        self._recorded(path, record)
        if record.deleted:
            return None
        obstacle = self.obstacle(path)
        detail = f"there is {obstacle} in its place" if obstacle is not None else ""
        return Finding(path, Oddity.MISSING, self.now_ns(), None, record.digest, detail)

    def _came_upon(self, path: FilePath, before: Record | None, after: Record) -> None:
        finding = self._odd(path, before, after)
        if finding is not None:
            self.note_finding(finding)

    def _odd(self, path: FilePath, before: Record | None, after: Record) -> Finding | None:
        oddity = oddity_of(before, after)
        if oddity is None:
            return None
        if oddity is Oddity.OUTSIDE and before is not None and self._is_truncated(path, before):
            oddity = Oddity.TRUNCATED
        there = after.digest if after.damaged is None else None
        recorded = before.digest if before is not None else after.digest
        return Finding(path, oddity, self.now_ns(), there, recorded, after.damaged or "")

    def _is_truncated(self, path: FilePath, before: Record) -> bool:
        content = self.files[path].content
        if before.stat is None or len(content) >= before.stat.size:
            return False
        witnesses = [
            file.content for kept in self.kept.values() for digest, file in kept.items() if digest == before.digest
        ]
        witnesses += [
            file.content
            for other, file in self.files.items()
            if other in self.records and self.records[other].digest == before.digest
        ]
        return not content or any(
            digest_of(whole) == before.digest and whole.startswith(content) for whole in witnesses
        )

    def _clashing(self) -> list[NameClash]:
        names: dict[str, set[str]] = {}
        for path in self.files:
            segments = path.segments
            for depth, name in enumerate(segments):
                names.setdefault("".join(f"{one}/" for one in segments[:depth]), set()).add(name)
        pairs = [(folder, pair) for folder, some in names.items() for pair in collisions(sorted(some))]
        return sorted(NameClash(folder + one, folder + other) for folder, (one, other) in pairs)

    def scrub(self, scope: Scope, after: FilePath | None) -> Iterator[ScrubStep]:
        self._require_there()
        for path in sorted({*self.files, *self.records}):
            if _is_in(scope, path) and (after is None or path > after):
                yield self._scrubbed(path)

    def _scrubbed(self, path: FilePath) -> ScrubStep:
        record, file = self.records.get(path), self.files.get(path)
        read_bytes, findings = 0, []
        if isinstance(forced := self._answers.get(path), Damaged | Unreachable):
            findings.append(self._unreadable(path, record, forced.reason))
        elif record is not None and file is not None and path not in self._hashing_held:
            held = self._look(path, reread=record.vouching() == file.stat)
            if not is_answer(held):
                held.close()
            read_bytes += file.stat.size
            finding = self._odd(path, record, self.records[path])
            findings += [] if finding is None else [finding]
        for digest, kept in sorted(self.kept.get(path, {}).items()):
            read_bytes += kept.stat.size
            if digest_of(kept.content) != digest:
                findings.append(self._condemned(path, digest))
        return ScrubStep(path, int(file is not None), read_bytes, tuple(findings))

    def _condemned(self, path: FilePath, digest: Digest) -> Finding:
        is_rival = path in self.records and any(
            version.digest == digest for _, version in self.records[path].clock.current()
        )
        self.quarantine.append(self.kept[path].pop(digest).content)
        what = "a rival" if is_rival else "a former version"
        return Finding(path, Oddity.ROT, self.now_ns(), None, digest, f"the bytes that are kept of {what}")

    def _unreadable(self, path: FilePath, record: Record | None, reason: str) -> Finding:
        return Finding(path, Oddity.UNREADABLE, self.now_ns(), None, record.digest if record else None, reason)

    def _can_be_read(self, path: FilePath) -> None:
        if Oddity.UNREADABLE in self._findings[path]:
            del self._findings[path][Oddity.UNREADABLE]
        if not self._findings[path]:
            del self._findings[path]

    def _is_closed(self, path: FilePath) -> bool:
        return any(path.startswith(f"{folder}/") for folder in self.closed_folders)

    def _require_there(self) -> None:
        if self.gone is not None:
            raise StoreFailed(f"This server no longer takes anything in: {self.gone}.")


def _is_in(scope: Scope, path: str) -> bool:
    if isinstance(scope, FilePath):
        return path == scope or path.startswith(f"{scope}/")
    return path.startswith(scope)
