"""A commit of a store in memory: where everything goes is `model.placement`'s, what it then is, `store.records`'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from accord.errors import Conflict
from accord.model.names import Digest, FilePath
from accord.model.placement import Placement, current_contents, place
from accord.model.verdict import EMPTY_FOLDER, Absent, Damaged, is_known
from accord.model.versions import EMPTY_CLOCK, Clock, Version, merge
from accord.store.port import Change, Committed, is_answer
from accord.store.records import Record, dated
from accord.testing.memory_bytes import MemoryFile, MemoryIncoming
from accord.testing.memory_looks import MemoryLooks, closed


class MemoryChanges(MemoryLooks):
    def _plan(self, change: Change, contents: Mapping[Digest, bytes]) -> Placement | None:
        """Where everything goes, or None where somebody was faster. Raises `Conflict`."""
        path = change.path
        forced = self._forced(path) if path in self._answers else None
        if forced is None:
            file, record = self.files.get(path), self.records.get(path)
            if path in self._hashing_held or (file is not None and (record is None or record.stat != file.stat)):
                return None
            told = self._clock(path)
        else:
            told = forced.clock if is_known(forced) else EMPTY_CLOCK
        if told != change.before:
            return None
        held = {*self.kept.get(path, {}), *contents}
        there = self._good(path)
        clock = merge(merge(told, self._clock(path)), change.clock)
        placement = place(clock, there, held, damaged=self._damaged_there(path))
        obstacle = forced.obstacle if isinstance(forced, Absent) else self.obstacle(path)
        if placement.at_path not in (None, there) and obstacle not in (None, EMPTY_FOLDER):
            raise Conflict(f"There is {obstacle} at '{path}'.", path=path)
        return placement

    def _good(self, path: FilePath) -> Digest | None:
        """The digest of a good copy at the path."""
        record = self.records.get(path)
        is_good = path in self.files and record is not None and record.damaged is None and path not in self._answers
        return record.digest if is_good and record is not None else None

    def _damaged_there(self, path: FilePath) -> Digest | None:
        record, forced = self.records.get(path), self._answers.get(path)
        if isinstance(forced, Damaged):
            return forced.digest
        return record.digest if path in self.files and record is not None and record.damaged is not None else None

    def _make(self, change: Change, placement: Placement, contents: Mapping[Digest, bytes]) -> Committed:
        path, there, before = change.path, self._good(change.path), self._clock(change.path)
        clock = merge(merge(change.before, before), change.clock)
        record = self.records.get(path)
        deleted_ns = dated(clock, record, self.now_ns(), change.deleted_age_s)
        self._rearrange(path, placement, before, clock, contents)
        self.records[path] = replace(self.records[path], deleted_ns=deleted_ns)
        for one in change.incoming:
            if isinstance(one, MemoryIncoming):
                one.end()
        self._history.learn(path, change.events)
        self._remember(path, before, clock)
        if placement.retires:
            self._history.retire(path, there, self.now_ns())
        self._recorded(path, record)
        held = self._look(path)
        now = held if is_answer(held) else closed(held)
        assert is_known(now)
        return Committed(now, self._debts.owe(path, change.owed))

    def _rearrange(
        self, path: FilePath, placement: Placement, before: Clock, clock: Clock, contents: Mapping[Digest, bytes]
    ) -> None:
        there, was_shared = self._good(path), path in self.records and self.records[path].shared
        kept, versions = self.kept.setdefault(path, {}), current_contents(clock)
        for digest in placement.aside - kept.keys():
            kept[digest] = self._dressed(contents[digest], versions[digest])
        if placement.at_path != there:
            gone = self.files.pop(path, None)
            if gone is not None and there is not None:
                kept[there] = gone
            elif gone is not None:
                self.quarantine.append(gone.content)
            if placement.at_path is not None:
                self._put(path, placement.at_path, versions[placement.at_path], contents)
        elif there is None and not versions and path in self.files:
            self.quarantine.append(self.files.pop(path).content)  # deleted, damaged as it was
        elif there in versions and versions[there] not in current_contents(before).values():
            self._put(path, there, versions[there], {there: self.files[path].content})
        forced = self._answers.get(path)
        if not isinstance(forced, Absent) or forced.obstacle == EMPTY_FOLDER:
            self._answers.pop(path, None)
        file, record = self.files.get(path), self.records.get(path)
        if file is not None and record is not None and record.stat == file.stat:
            self.records[path] = replace(record, clock=clock)  # the file stays, damaged as it may be
        else:
            self.records[path] = replace(self.recorded(file, clock) if file else Record(clock), shared=was_shared)

    def _put(self, path: FilePath, digest: Digest, version: Version, contents: Mapping[Digest, bytes]) -> None:
        """At the path; what was kept apart is moved there."""
        moved = self.kept[path].pop(digest, None)
        content = moved.content if moved is not None and digest not in contents else contents[digest]
        self.files[path] = self._dressed(content, version)

    def _dressed(self, content: bytes, version: Version) -> MemoryFile:
        return self.new_file(content, version.modified_ns, executable=version.executable)
