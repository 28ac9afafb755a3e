"""Deletions are forgotten by all servers after their time, and nobody keeps them alive by telling others of them."""

from __future__ import annotations

import pytest

from accord.engine import retention as rules
from accord.engine.retention import Retention, tombstones_kept_s
from accord.model.fingerprints import WHOLE
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Deleted
from accord.model.versions import EMPTY_CLOCK, write
from accord.store.port import Change
from accord.testing.conformance import DELETION, OTHER, delete, looked, put, take_in, theirs
from accord.testing.memory_store import MemoryStore
from tests.engine.trio import Trio, until

PATH = FilePath("notes.txt")
DAY_S = 24 * 3600
DAY_NS = DAY_S * 1_000_000_000


async def _knows_deletion(store: MemoryStore, age_s: int) -> None:
    deletion = write(theirs(b"old"), theirs(b"old").context(), OTHER, DELETION)
    assert await store.commit([Change(PATH, EMPTY_CLOCK, deletion, deleted_age_s=age_s)]) is not None


async def _age_s(store: MemoryStore) -> int:
    answer = await looked(store, PATH)
    assert isinstance(answer, Deleted)
    return answer.age_s


async def test_whoever_learns_of_a_deletion_counts_on_from_the_greatest_age() -> None:
    trio = Trio()
    await _knows_deletion(trio.second, 5 * DAY_S)
    await _knows_deletion(trio.third, 9 * DAY_S)
    assert await trio.updater.update(PATH) is None
    assert 9 * DAY_S <= await _age_s(trio.mine) < 9 * DAY_S + 60


async def test_who_had_the_content_hears_of_it_as_news() -> None:
    trio = Trio()
    await take_in(trio.mine, theirs(b"old"), b"old", path=PATH)
    await _knows_deletion(trio.second, 80 * DAY_S)
    assert await trio.updater.update(PATH) is None
    assert await _age_s(trio.mine) < 60


async def test_a_deletion_past_its_time_is_not_taken_over_by_who_knows_nothing() -> None:
    trio = Trio(keep_tombstones_s=90.0 * DAY_S)
    await _knows_deletion(trio.second, 91 * DAY_S)
    assert await trio.updater.update(PATH) is None
    assert (await looked(trio.mine, PATH)).clock == EMPTY_CLOCK


async def test_what_it_supersedes_is_deleted_however_old_it_is() -> None:
    trio = Trio(keep_tombstones_s=90.0 * DAY_S)
    await take_in(trio.mine, theirs(b"old"), b"old", path=PATH)
    await _knows_deletion(trio.second, 91 * DAY_S)
    assert await trio.updater.update(PATH) is None
    assert isinstance(await looked(trio.mine, PATH), Deleted)


async def test_retention_forgets_deletions_after_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAUSE_S", 0.001)
    monkeypatch.setattr(rules, "BETWEEN_UNITS_S", 0.0)
    monkeypatch.setattr(rules, "TOMBSTONES_AT_ONCE", 2)
    store = MemoryStore(ServerName("server1"))
    paths = [FilePath(f"{number}") for number in range(5)]
    for path in paths:
        await put(store, b"content", path)
        await delete(store, path)
    store.pass_time(89 * DAY_NS)
    await put(store, b"content", PATH)
    await delete(store, PATH)
    retention = Retention(store, keep_tombstones_s=90.0 * DAY_S, now_ns=store.now_ns)
    retention.start()
    try:
        assert len((await store.items([WHOLE], 99))[0]) == 6
        store.pass_time(2 * DAY_NS)
        await until(lambda: len(store.records) == 1)
        assert [item.path for item in (await store.items([WHOLE], 99))[0]] == [PATH]
    finally:
        await retention.close()


def test_a_deletion_is_known_for_as_long_as_the_versions_before_it_are() -> None:
    assert tombstones_kept_s(90, 30) == 90 * DAY_S
    assert tombstones_kept_s(90, 365) == 365 * DAY_S
