"""The index outlives crashes and damage, belongs to one server, and is never read by an older release."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
import structlog

from accord.errors import ConfigError, StoreFailed
from accord.model.fingerprints import WHOLE
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Deleted, Present
from accord.model.versions import EMPTY_CLOCK, Actor, found, merge, write
from accord.store import debts as debt_rules
from accord.store import known_records, promises
from accord.store import stretches as stretch_rules
from accord.store.index_file import open_index
from accord.store.index_rows import row_of
from accord.store.port import Debts
from accord.store.promises import Job, Put
from accord.store.records import Record, Stat
from accord.testing.conformance import (
    DELETION,
    delete,
    digest_of,
    listed,
    looked,
    present,
    put,
    take_in,
    theirs,
    version_of,
)

from .crashes import Crash
from .disks import a_second_from_now, open_disk

FILES = {"hello.txt": b"This is a test", "folder/other.txt": b"other"}


def write_files(root: Path) -> None:
    for path, content in FILES.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(content)


async def clocks(root: Path) -> dict[str, object]:
    async with open_disk(root) as disk:
        return {path: (await present(disk.store, FilePath(path))).clock for path in FILES}


async def test_it_is_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    write_files(tmp_path)
    async with open_disk(tmp_path) as disk:
        before = [await present(disk.store, FilePath(path)) for path in FILES]
        incarnation = disk.store._index.incarnation
    async with open_disk(tmp_path) as disk:
        assert [disk.store._index.get(FilePath(path)).present() for path in FILES] == before  # type: ignore[union-attr]
        assert disk.store._index.incarnation == incarnation


def _delete(file: Path) -> None:
    file.unlink()


def _overwrite(file: Path) -> None:
    file.write_bytes(b"garbage" * 5000)


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _scratch(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [_delete, _overwrite, _truncate, _scratch])
async def test_a_lost_or_broken_index_is_rebuilt_from_the_files(tmp_path: Path, harm: object) -> None:
    write_files(tmp_path)
    before = await clocks(tmp_path)
    harm(tmp_path / ".accord" / "index.db")  # type: ignore[operator]
    with structlog.testing.capture_logs() as logs:
        assert await clocks(tmp_path) == before
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "index is" in warnings[0]
    assert "rebuilt from the files" in warnings[0]
    with structlog.testing.capture_logs() as logs:
        assert await clocks(tmp_path) == before
    assert [line for line in logs if line["log_level"] == "warning"] == []


async def test_a_rebuilt_index_is_a_new_life(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        before = disk.store._index.incarnation
    _overwrite(tmp_path / ".accord" / "index.db")
    async with open_disk(tmp_path) as disk:
        assert disk.store._index.incarnation != before


async def test_a_write_after_a_restored_backup_never_looks_like_one_that_was_made_since(tmp_path: Path) -> None:
    root, backup = tmp_path / "root", tmp_path / "backup"
    root.mkdir()
    async with open_disk(root) as disk:
        await put(disk.store, b"one")
    shutil.copytree(root, backup)
    async with open_disk(root) as disk:
        lost = await put(disk.store, b"two")
    shutil.rmtree(root)
    shutil.copytree(backup, root)
    async with open_disk(root) as disk:
        after = await put(disk.store, b"two after all")
    assert {dot for dot, _ in lost.clock.current()}.isdisjoint(dot for dot, _ in after.clock.current())
    assert len(merge(lost.clock, after.clock).current()) == 2


async def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with open_disk(tmp_path):
        pass
    with apsw.Connection(str(tmp_path / ".accord" / "index.db")) as db:
        db.pragma("user_version", 99)
    with pytest.raises(ConfigError, match="newer release"):
        async with open_disk(tmp_path):
            pass
    assert apsw.Connection(str(tmp_path / ".accord" / "index.db")).pragma("user_version") == 99


async def test_two_servers_never_share_a_store(tmp_path: Path) -> None:
    async with open_disk(tmp_path):
        with pytest.raises(ConfigError, match=rf"Another server \(process {os.getpid()}\) uses"):
            async with open_disk(tmp_path):
                pass
    async with open_disk(tmp_path):
        pass


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    stat = Stat(1 << 50, -5, 1 << 60, (1 << 63) - 1, 7)
    clock = found(version_of(b"x"))
    kept = {
        FilePath("a"): Record(clock, stat, digest_of(b"x"), 99, executable=True),
        FilePath("b"): Record(clock, stat, digest_of(b"x"), 99, damaged="rot"),
        FilePath("c"): Record(write(clock, clock.context(), Actor("server2/life"), DELETION)),
        FilePath("d"): Record(EMPTY_CLOCK),
        FilePath("e"): Record(clock, stat, digest_of(b"x"), 99, aside=(digest_of(b"y"), digest_of(b"z"))),
    }
    for path, record in kept.items():
        assert index.replace(path, None, record, durable=False)
        assert not index.replace(path, None, record, durable=False)
    index.close()
    index = open_index(tmp_path)
    assert {path: index.get(path) for path in kept} == kept
    assert dict(index.between("a", "c")) == {path: kept[path] for path in (FilePath("b"), FilePath("c"))}
    index.close()


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_records, "CACHED_RECORDS", 10)
    index = open_index(tmp_path, is_new_store=True)
    record = Record(found(version_of(b"x")))
    index.add([row_of(f"{number:03}", record) for number in range(100)])
    for number in range(100):
        assert index.known(f"{number:03}") is None
        assert index.get(FilePath(f"{number:03}")) == record
        assert index.known(f"{number:03}") is not None
        assert len(index._cache) <= 10
    index.close()


async def test_the_first_hashing_goes_through_the_whole_tree(tmp_path: Path) -> None:
    for number in range(700):
        (tmp_path / f"{number}").write_bytes(b"%d" % number)
    (tmp_path / "large").write_bytes(b"x" * 3_000_000)
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        progress = disk.store.indexing()
        assert (progress.done, progress.hashed_files, progress.found_files) == (True, 701, 701)
        assert all(isinstance(one.answer, Present) for one in listed(disk.store))
        digests = {one.path: one.answer.digest for one in listed(disk.store) if isinstance(one.answer, Present)}
        assert digests[FilePath("large")] == digest_of(b"x" * 3_000_000)
        assert all(digests[FilePath(f"{number}")] == digest_of(b"%d" % number) for number in range(700))
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        assert disk.store.indexing().hashed_files == 0


_CHILD = """
import asyncio, sys
from pathlib import Path
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Absent
from accord.model.versions import OutsideChanges
from accord.store.directory import open_directory_store
from accord.testing.conformance import take_in, version_of
from accord.model.versions import found

async def main():
    store = await open_directory_store(Path(sys.argv[1]), ServerName("server1"), outside_changes=OutsideChanges.DISPUTE)
    print("open", flush=True)
    for number in range(100_000):
        content = b"%d " % number * 30_000
        clock = found(version_of(content))
        await take_in(store, clock, content, path=FilePath(f"taken/{number % 3}/{number}"))
        print(number, flush=True)

asyncio.run(main())
"""


def _killed_after(root: Path, lines: int) -> list[int]:
    """What a server had acknowledged when it was killed."""
    with subprocess.Popen([sys.executable, "-c", _CHILD, str(root)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        seen = [line for line in (child.stdout.readline() for _ in range(lines)) if "hash" not in line]
        child.send_signal(signal.SIGKILL)
        seen += [line for line in child.stdout if line.endswith("\n")]
    return [int(line) for line in seen if line.strip().isdigit()]


@pytest.mark.parametrize("lines", [1, 2, 9, 40])
async def test_kill_9_leaves_the_old_or_the_new(tmp_path: Path, lines: int) -> None:
    for number in range(2000):
        (tmp_path / f"{number:04}").write_bytes(b"found %d" % number)
    acknowledged = _killed_after(tmp_path, lines)
    with structlog.testing.capture_logs() as logs:
        async with open_disk(tmp_path) as disk:
            assert os.listdir(tmp_path / ".accord" / "staging") == []
            for number in range(max(acknowledged, default=0) + 2):
                content = b"%d " % number * 30_000
                answer = await disk.store.examine(FilePath(f"taken/{number % 3}/{number}"), wait_s=30)
                if number in acknowledged or answer != Absent():
                    assert isinstance(answer, Present)
                    assert answer.digest == digest_of(content)
                    assert answer.clock == found(version_of(content))
            assert (await present(disk.store, FilePath("1999"))).digest == digest_of(b"found 1999")
    assert not [line for line in logs if "rebuilt" in line["event"]]


_SCHEMA_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, dev INTEGER,
    hashed_at_ns INTEGER NOT NULL,
    digest BLOB,
    clock BLOB NOT NULL,
    executable INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    damaged TEXT,
    shared INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE blocks (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, blocks BLOB NOT NULL) STRICT;
INSERT INTO meta VALUES ('incarnation', 'an earlier life');
PRAGMA user_version = 1;
"""


async def test_an_index_of_the_first_format_is_carried_over(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / ".accord").mkdir()
    database = apsw.Connection(str(tmp_path / ".accord" / "index.db"))
    database.execute(_SCHEMA_1)
    records = {}
    for path, content in FILES.items():
        stat = Stat.of((tmp_path / path).stat())
        # Another author than a new look would find, so that it shows that nothing was hashed anew.
        records[path] = Record(found(version_of(content)), stat, digest_of(content), stat.ctime_ns + (1 << 40))
        row = row_of(path, records[path])[:13]
        database.execute(f"INSERT INTO files VALUES ({', '.join('?' * len(row))})", row)
    database.close()
    async with open_disk(tmp_path) as disk:
        assert disk.store._index.incarnation == "an earlier life"
        for path, record in records.items():
            assert await present(disk.store, FilePath(path)) == record.present()
        for content in (b"changed", b"once more"):
            await put(disk.store, content, FilePath("hello.txt"))
        told = await disk.store.history(FilePath("hello.txt"))
        assert [one.event.version.digest for one in told if one.is_current] == [digest_of(b"once more")]
        assert digest_of(FILES["hello.txt"]) in {one.event.version.digest for one in told if one.is_kept}
    async with open_disk(tmp_path) as disk:
        assert len(await disk.store.history(FilePath("hello.txt"))) == 3


def _as_format_2(file: Path) -> None:
    """What the release before this one would have left."""
    database = apsw.Connection(str(file))
    for index in ("files_mend", "files_decide", "files_deleted"):
        database.execute(f"DROP INDEX {index}")
    for column in ("mark", "todo", "deleted_ns"):
        database.execute(f"ALTER TABLE files DROP COLUMN {column}")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
    for table in tables - {"meta", "files", "blocks", "events", "pending", "debts"}:
        database.execute(f"DROP TABLE {table}")
    database.pragma("user_version", 2)
    database.close()


async def test_an_index_of_the_second_format_is_carried_over(tmp_path: Path) -> None:
    deleted, rivals, lost = FilePath("deleted"), FilePath("rivals"), FilePath("lost")
    async with open_disk(tmp_path) as disk:
        for path in (deleted, rivals, lost):
            await put(disk.store, b"content", path)
        await delete(disk.store, deleted)
        mine = await looked(disk.store, rivals)
        await take_in(disk.store, merge(mine.clock, theirs(b"theirs")), b"theirs", path=rivals)
        await take_in(disk.store, theirs(b"never came", (await looked(disk.store, lost)).clock), path=lost)
        before = [await looked(disk.store, path) for path in (deleted, rivals, lost)]
        items = (await disk.store.items([WHOLE], 9))[0]
        told = (await disk.store.summaries([WHOLE]), await disk.store.unmended(None, 9))
        incarnation = disk.store._index.incarnation
    for file in (tmp_path / ".accord").glob("index.db"):
        _as_format_2(file)
    async with open_disk(tmp_path) as disk:
        assert [await looked(disk.store, path) for path in (deleted, rivals, lost)] == before
        assert (await disk.store.items([WHOLE], 9))[0] == items
        assert (await disk.store.summaries([WHOLE]), await disk.store.unmended(None, 9)) == told
        assert await disk.store.rivals(Prefix(""), None, 9) == [rivals]
        assert disk.store._index.incarnation == incarnation
        answer = await looked(disk.store, deleted)
        assert isinstance(answer, Deleted)
        assert answer.age_s < 60, "it counts as just learnt"
        assert await disk.store.drop_tombstones(a_second_from_now() + 60_000_000_000, 9) == 1


def test_a_crash_while_it_is_carried_over_leaves_the_old_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(tmp_path, is_new_store=True)
    index.add([row_of(f"{number:03}", Record(found(version_of(b"%d" % number)))) for number in range(300)])
    whole = index.ask(index.stretches.whole)
    index.close()
    _as_format_2(tmp_path / "index.db")

    def crash(self: object, db: apsw.Connection) -> None:
        raise Crash("while stretches are made")

    with monkeypatch.context() as broken:
        broken.setattr(stretch_rules.Stretches, "make_anew", crash)
        with pytest.raises(Crash):
            open_index(tmp_path)
    database = apsw.Connection(str(tmp_path / "index.db"))
    assert database.pragma("user_version") == 2
    database.close()
    index = open_index(tmp_path)
    assert index.ask(index.stretches.whole) == whole
    index.close()


def test_a_commit_that_fails_fails_no_other_that_shared_its_transaction(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    record = Record(found(version_of(b"x")))
    index._db.execute(
        "CREATE TRIGGER no BEFORE INSERT ON files WHEN new.path = 'bad' BEGIN SELECT RAISE(FAIL, 'no'); END"
    )
    good, bad = (Job([Put(FilePath(path), None, record)], 0) for path in ("good", "bad"))
    index._waiting += [good]
    with pytest.raises(StoreFailed, match="no"):
        index.commit(bad.puts, 0)
    assert good.done
    assert good.result is not None
    index._waiting.clear()
    index.close()
    index = open_index(tmp_path)
    assert index.get(FilePath("good")) == record
    assert index.get(FilePath("bad")) is None
    index.close()


def test_several_commits_share_one_transaction_and_each_sees_those_before(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    record, path = Record(found(version_of(b"x"))), FilePath("path")
    first, second = (Job([Put(path, None, record)], 0) for _ in range(2))
    index._waiting += [first, second]
    assert index.commit([Put(FilePath("other"), None, record)], 0) is not None
    assert (first.done, second.done) == (True, True)
    assert first.result is not None
    assert second.result is None  # it came too late
    index._waiting.clear()
    index.close()


def test_a_broken_record_does_not_end_the_transaction_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped before that begins: a crash in between would otherwise keep half of a commit."""
    index = open_index(tmp_path, is_new_store=True)
    record, path = Record(found(version_of(b"x"))), FilePath("broken")
    assert index.commit([Put(path, None, record)], 0)
    index.read(lambda db: db.execute("UPDATE files SET clock = x'ff' WHERE path = 'broken'"))
    index._cache.clear()
    real, ends = promises.write_puts, []

    def write_puts(db: apsw.Connection, *rest: Any) -> Any:
        done = real(db, *rest)
        ends.append(db.in_transaction)
        return done

    monkeypatch.setattr("accord.store.index.write_puts", write_puts)
    jobs = index.commit_all([[Put(path, record, record)], [Put(FilePath(name), None, record) for name in "ab"]], 0)
    assert [job.result is not None for job in jobs] == [False, True]
    assert ends == [True, True]
    index.close()


def test_a_put_that_comes_too_late_keeps_all_of_its_commit_back(tmp_path: Path) -> None:
    index = open_index(tmp_path, is_new_store=True)
    record = Record(found(version_of(b"x")))
    assert index.commit([Put(FilePath("a"), None, record)], 0)
    assert index.commit([Put(FilePath("b"), None, record), Put(FilePath("a"), None, record)], 0) is None
    assert index.get(FilePath("b")) is None
    index.close()


def test_too_many_debts_let_the_oldest_go_and_that_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debt_rules, "MAX_DEBTS", 3)
    server, record = ServerName("server2"), Record(found(version_of(b"x")))
    index = open_index(tmp_path, is_new_store=True)
    numbers = []
    for number in range(5):
        promised = index.commit([Put(FilePath(f"{number}"), None, record, owed=(server,))], 0)
        assert promised is not None
        numbers.append(promised[0].debt)
    for _ in range(2):
        assert index.debts.standing() == {server: Debts(3, lost=True)}
        assert index.debts.oldest(server, 9, 0) == [(FilePath(f"{at}"), numbers[at]) for at in (2, 3, 4)]
        index.close()
        index = open_index(tmp_path)
        index.read(index.debts.load)
    promised = index.commit([Put(FilePath("new"), None, record, owed=(server,))], 0)
    assert promised is not None
    assert promised[0].debt > numbers[-1]
    index.debts.found(server)
    for _ in range(2):
        assert index.debts.standing() == {server: Debts(3, lost=False)}
        index.close()
        index = open_index(tmp_path)
        index.read(index.debts.load)
    index.close()
