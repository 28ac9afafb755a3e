"""Looking at one path of a store in memory: what is there, and what the real store's rules (`store.records`) make of it."""

from __future__ import annotations

from accord.model.names import Digest, FilePath
from accord.model.placement import current_contents, others
from accord.model.verdict import Absent, Answer, Damaged, Deleted, Present
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, server_actor
from accord.store.port import Copy
from accord.store.records import Judge, Record, Seen, age_s
from accord.testing.memory_bytes import MemoryCopy, MemoryFile, digest_of
from accord.testing.memory_inventory import MemoryInventory


class MemoryLooks(MemoryInventory):
    _judge: Judge
    open_copies: int
    open_stagings: int

    @property
    def actor(self) -> Actor:
        return server_actor(*self._judge.life)

    def _look(self, path: FilePath, *, reread: bool = False) -> Copy | Answer:
        file, before = self.files.get(path), self.records.get(path)
        if file is None:
            self._keep_aside(path, None)
            return self._nothing(path)
        if before is not None and not reread:
            if before.damaged is not None and before.stat == file.stat:
                return self._damaged(path, before)
            if before.vouching() == file.stat:
                self._looked_good(path)
                return self._copy(path, file, before)
        seen = Seen(file.stat, digest_of(file.content), file.executable, self._hashing_time(file))
        is_past = before is not None and seen.digest in self._history.superseded(path, before.clock)
        after = self.records[path] = self._judge.record(before, seen, is_past=is_past)
        if before is not None:
            self._remember(path, before.clock, after.clock)
        if before is not None and after.digest != before.digest:
            self._keep_aside(path, after.digest)
        self._recorded(path, before)
        if after != before:
            self._came_upon(path, before, after)
        return self._damaged(path, after) if after.damaged is not None else self._copy(path, file, after)

    def _keep_aside(self, path: FilePath, there: Digest | None) -> None:
        """The bytes of current versions that the path lost, where another path keeps them."""
        for digest in current_contents(self._clock(path)).keys() - {there, *self.kept.get(path, {})}:
            found = next((kept[digest] for kept in self.kept.values() if digest in kept), None)
            if found is not None:
                self.kept.setdefault(path, {})[digest] = found

    def _came_upon(self, path: FilePath, before: Record | None, after: Record) -> None:
        """A look has recorded something else than it knew."""
        raise NotImplementedError

    def _clock(self, path: FilePath) -> Clock:
        record = self.records.get(path)
        return EMPTY_CLOCK if record is None else record.clock

    def _others(self, path: FilePath, clock: Clock, there: Digest | None) -> tuple[Digest | None, ...]:
        return others(clock, self.kept.get(path, {}), there=there)

    def _nothing(self, path: FilePath) -> Absent | Deleted:
        clock = self._clock(path)
        obstacle = self.obstacle(path)
        if obstacle is None and clock.current() and not current_contents(clock):
            return Deleted(clock, age_s(self.records[path], self.now_ns()))
        return Absent(obstacle, clock, self._others(path, clock, None))

    def _forced(self, path: FilePath) -> Answer:
        answer = self._answers[path]
        if isinstance(answer, Absent) and answer.clock == EMPTY_CLOCK:
            return Absent(answer.obstacle, self._clock(path), self._others(path, self._clock(path), None))
        return answer

    def _damaged(self, path: FilePath, record: Record) -> Damaged:
        return Damaged(record.damaged or "", record.digest, record.clock, self._others(path, record.clock, None))

    def _copy(self, path: FilePath, file: MemoryFile, record: Record) -> MemoryCopy:
        assert record.digest is not None
        return MemoryCopy(self, path, self._present(path, file, record.digest), file)

    def _present(self, path: FilePath, file: MemoryFile, digest: Digest) -> Present:
        clock, stat = self._clock(path), file.stat
        there = self.records[path].digest if path in self.files else None
        aside = self._others(path, clock, there)
        return Present(digest, stat.size, stat.mtime_ns, clock, file.executable, aside)

    def _remember(self, path: FilePath, before: Clock, after: Clock) -> None:
        self._history.remember(path, before, after, now_ns=self.now_ns(), outside=f"{self.actor}/outside/")


def closed(copy: Copy) -> Present:
    copy.close()
    return copy.answer
