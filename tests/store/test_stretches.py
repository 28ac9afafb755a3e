"""Fingerprints of ranges are those of the index's rows, whatever was done to these, and however it ended."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
import structlog

from accord.codec import encode_clock, found_forms, mark_of
from accord.errors import StoreFailed
from accord.model.fingerprints import WHOLE, Fingerprint, Item, Span, summed
from accord.model.names import FilePath
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, found, write
from accord.store import index_connection as index_rules
from accord.store import stretches as rules
from accord.store.index import Index
from accord.store.index_file import open_index
from accord.store.index_rows import found_row, row_of
from accord.store.marked_rows import items
from accord.store.promises import Put
from accord.store.records import Record, Stat
from accord.testing.conformance import DELETION, digest_of, version_of

ACTOR = Actor("server1/life")
STAT = Stat(1, 2, 3, 4, 5)
NAMES = [FilePath(f"{folder}/{number:02}") for folder in ("a", "a-b", "b", "é") for number in range(30)]


def record_of(number: int) -> Record:
    """Of all kinds: found, written, deleted, and one that knows of nothing."""
    content = version_of(b"%d" % number)
    clock: Clock = found(content)
    if number % 3 == 1:
        clock = write(clock, clock.context(), ACTOR, version_of(b"written %d" % number))
    if number % 3 == 2:
        clock = write(clock, clock.context(), ACTOR, DELETION)
        return Record(clock, deleted_ns=number)
    return Record(EMPTY_CLOCK) if number % 7 == 0 else Record(clock, STAT, content.digest, 6)


class Twins:
    """An index, and the dumb account of its rows. `known` is what the rows are, in memory; `durable`, what a crash leaves."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.index = open_index(root, is_new_store=True)
        self.known: dict[FilePath, Record] = {}
        self.durable: dict[FilePath, Record] = {}

    def some(self, count: int = 1) -> list[FilePath]:
        return sorted(self.random.sample(NAMES, count))

    def commit(self) -> None:
        (path,) = self.some()
        record = record_of(self.random.randrange(99))
        put = Put(path, self.index.get(path), record)
        assert self.index.commit([put], 0) is not None
        self.known[path] = record
        self.durable = dict(self.known)

    def replace(self) -> None:
        (path,) = self.some()
        record = record_of(self.random.randrange(99))
        assert self.index.replace(path, self.index.get(path), record, durable=False)
        self.known[path] = record

    def add(self) -> None:
        self._add(self.some(self.random.randrange(1, 30)))

    def add_run(self) -> None:
        start, count = self.random.randrange(len(NAMES)), self.random.randrange(1, 60)
        self._add(sorted(NAMES)[start : start + count])

    def _add(self, paths: list[FilePath]) -> None:
        records = {path: record_of(3 * self.random.randrange(99)) for path in paths}
        self.index.add([row_of(path, record) for path, record in records.items()])
        self.known = {**records, **self.known}

    def drop_tombstones(self) -> None:
        count = self.index.drop_tombstones(50, 2)
        gone = [path for path in self.known if path not in self.rows()]
        assert len(gone) == count
        for path in gone:
            assert self.known.pop(path).deleted

    def break_a_row(self) -> None:
        """A record that cannot be read is dropped as soon as somebody reads it; which makes all durable."""
        if self.known:
            path = self.random.choice(sorted(self.known))
            self.index._db.execute("UPDATE files SET clock = x'00' WHERE path = ?", (path,))
            self.index._cache.clear()
            assert self.index.get(path) is None
            del self.known[path]
            self.durable = dict(self.known)

    def fail(self) -> None:
        """The disk is full, in the middle of a commit of several paths: what was batched before is undone too."""
        first, second = self.some(2)
        when = f"WHEN new.path = '{second}' BEGIN SELECT RAISE(FAIL, 'full'); END"
        self.index._db.execute(f"CREATE TEMP TRIGGER full BEFORE INSERT ON files {when}")
        try:
            with pytest.raises(StoreFailed):
                self.index.commit([Put(path, self.index.get(path), record_of(1)) for path in (first, second)], 0)
        finally:
            self.index._db.execute("DROP TRIGGER IF EXISTS full")
        self.undone()

    def undone(self) -> None:
        self.known = dict(self.durable)
        self.index._cache.clear()

    def flush(self) -> None:
        self.index.flush()
        self.durable = dict(self.known)

    def crash(self) -> None:
        if self.index._db.in_transaction:
            self.index._db.execute("ROLLBACK")
        self.index._db.close(True)
        self.index = open_index(self.root)
        self.known = dict(self.durable)

    def restart(self) -> None:
        self.index.close()
        self.index = open_index(self.root)
        self.durable = dict(self.known)

    def lose(self) -> None:
        self.index.close()
        for file in self.root.glob("index.db*"):
            file.unlink()
        self.index = open_index(self.root)
        self.known, self.durable = {}, {}

    def rows(self) -> set[str]:
        return {path for (path,) in self.index.read(lambda db: db.execute("SELECT path FROM files").fetchall())}

    def check(self) -> None:
        held = {path: mark_of(path, record.clock) for path, record in self.known.items() if record.clock.entries}
        expected = [Item(path, held[path]) for path in sorted(held, key=lambda one: one.encode())]
        assert self.index.ask(lambda db: items(db, WHOLE, 10_000)) == expected
        edges = self.random.sample(["", "a", "a/", "zz", *NAMES], 5)
        spans = [WHOLE, *(Span(after, upto) for after in edges for upto in (*edges, None))]
        stretches = self.index.stretches
        together = self.index.ask(lambda db: stretches.fingerprints(db, spans))
        assert together == [self.sum_of([item for item in expected if span.covers(item.path)]) for span in spans]
        for span in spans:
            told = self.index.ask(lambda db, span=span: stretches.fingerprints(db, [span])[0])  # type: ignore[misc]
            assert told == self.sum_of([item for item in expected if span.covers(item.path)]), span
            parts = self.index.ask(lambda db, span=span: stretches.cut(db, span, 4))  # type: ignore[misc]
            assert summed(part.fingerprint for part in parts) == told
            assert len(parts) <= 4
            assert len(parts) > 1 or told.paths < 2
        sizes = [one.paths for one in stretches._prints]
        assert max(sizes) <= rules.MAX_PATHS
        assert len(sizes) <= 1 + 2 * len(held) / rules.MIN_PATHS, "small ones were joined"

    def sum_of(self, told: list[Item]) -> Fingerprint:
        return summed(Fingerprint(1, int.from_bytes(one.mark), int(self.known[one.path].deleted)) for one in told)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("STRETCH_PATHS", 8), ("MAX_PATHS", 16), ("MIN_PATHS", 2)):
        monkeypatch.setattr(rules, name, size)
    monkeypatch.setattr(index_rules, "BATCH_S", 3600.0)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("seed", range(12))
def test_fingerprints_are_those_of_the_rows_whatever_happens(tmp_path: Path, seed: int) -> None:
    twins = Twins(tmp_path, seed)
    deeds: list[tuple[Callable[[], None], int]] = [
        (twins.commit, 8),
        (twins.replace, 8),
        (twins.add, 3),
        (twins.add_run, 3),
        (twins.drop_tombstones, 4),
        (twins.break_a_row, 2),
        (twins.fail, 2),
        (twins.flush, 2),
        (twins.crash, 2),
        (twins.restart, 1),
    ]
    with structlog.testing.capture_logs() as logs:
        for deed in twins.random.choices([one for one, _ in deeds], [weight for _, weight in deeds], k=60):
            deed()
            twins.check()
        twins.lose()
        twins.check()
        twins.add_run()
        twins.check()
    twins.index.close()
    assert not [line for line in logs if "made anew" in line["event"]], "they were right, and not only set right"


def test_a_fresh_start_reads_the_stretches_and_not_the_rows(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    _fill(index, 20_000)
    (whole, count) = index.ask(lambda db: (index.stretches.whole(db), len(index.stretches)))
    index.close()
    index = open_index(tmp_path)
    index._db.execute("SELECT 1").fetchall()
    read: list[int] = []
    index._db.trace_v2(apsw.SQLITE_TRACE_STMT | apsw.SQLITE_TRACE_ROW, lambda event: read.append(1))
    assert index.ask(index.stretches.whole) == whole == Fingerprint(20_000, whole.total, 0)
    assert len(read) < count + 20 * rules.MAX_PATHS
    read.clear()
    index.ask(lambda db: index.stretches.fingerprints(db, [Span(PATH.format(55), PATH.format(19_555))]))
    assert len(read) < 3 * rules.MAX_PATHS
    index._db.trace_v2(0, None)
    index.close()


PATH = "folder/{:06}"


def _fill(index: Index, count: int) -> None:
    for start in range(0, count, 1000):
        paths = [PATH.format(number) for number in range(start, start + 1000)]
        index.add(
            [found_row(path, STAT, 6, bytes(digest_of(path.encode())), "server1", executable=False) for path in paths]
        )


def test_where_few_paths_are_left_few_stretches_are(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    clock = write(EMPTY_CLOCK, {}, ACTOR, DELETION)
    for start in range(0, 5_000, 500):
        index.add([row_of(PATH.format(one), Record(clock, deleted_ns=one)) for one in range(start, start + 500)])
    most = index.ask(lambda db: len(index.stretches))
    assert most >= 5_000 / rules.MAX_PATHS
    assert index.drop_tombstones(4_900, 10_000) == 4_900
    (whole, count) = index.ask(lambda db: (index.stretches.whole(db), len(index.stretches)))
    assert (whole.paths, whole.deleted) == (100, 100)
    assert count <= 2
    index.close()


def test_stretches_that_do_not_fit_the_rows_are_made_anew(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    _fill(index, 3_000)
    whole = index.ask(index.stretches.whole)
    index.flush()
    index._db.execute("UPDATE stretches SET paths = paths + 1 WHERE after = ''")
    index.close()
    index = open_index(tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert index.ask(index.stretches.whole) == whole
    assert [line["event"] for line in logs] == ["the index's fingerprints do not fit its records; they are made anew"]
    index.close()
    index = open_index(tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert index.ask(index.stretches.whole) == whole
    assert logs == []
    index.close()


def test_the_row_of_a_file_seen_for_the_first_time_is_the_row_of_its_record() -> None:
    version = version_of(b"content", executable=True)._replace(
        author="server1", modified_ns=STAT.mtime_ns, size=STAT.size
    )
    assert version.digest is not None
    record = Record(found(version), STAT, version.digest, 99, executable=True)
    row = found_row("ünf/x", STAT, 99, bytes(version.digest), "server1", executable=True)
    assert row == row_of("ünf/x", record)
    forms = found_forms("ünf/x", bytes(version.digest), version.size, version.modified_ns, "server1", True)
    assert forms == (encode_clock(record.clock), mark_of("ünf/x", record.clock))
