"""A server scans at start, by schedule, when it is told to, and where hints point; one run at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from accord.engine.heal_queue import Urgency
from accord.engine.runs import MAX_WAITING_ORDERS, RETRY_S, SHOWN_S
from accord.engine.scan import MAX_PATIENCE_S, QUIET_S, Scanner
from accord.model.findings import Oddity
from accord.model.names import FilePath, Prefix
from accord.store.hints import MAX_HINTS
from accord.store.hints import Told as HintsTold
from accord.testing.memory_store import MemoryStore

from .virtual import Told, now_ns, run, store_of, until

HOUR_S = 3600.0
EVERYTHING = Prefix("")


class HandMadeHints:
    """The test says what has changed."""

    def __init__(self) -> None:
        self.tell: HintsTold = lambda _: None
        self.is_closed = False

    def start(self, told: HintsTold) -> None:
        self.tell = told

    async def close(self) -> None:
        self.is_closed = True


@asynccontextmanager
async def scanning(
    store: MemoryStore, told: Told, *, every_s: float | None = HOUR_S, hints: HandMadeHints | None = None
) -> AsyncIterator[Scanner]:
    """After the scan at start."""
    scanner = Scanner(store, told, every_s=every_s, now_ns=now_ns, hints=hints, found=told.take)
    scanner.start()
    await until(lambda: scanner.progress().ended_ns, "the scan at start has ended")
    yield scanner
    await scanner.close()


def test_everything_is_scanned_at_start() -> None:
    async def story() -> None:
        store, told = store_of("a", "b"), Told()
        async with scanning(store, told) as scanner:
            progress = scanner.progress()
            assert (progress.running, progress.files, progress.error) == (False, 2, None)
            assert set(store.records) == {"a", "b"}
            assert told.suggested == [("a", Urgency.SCAN), ("b", Urgency.SCAN)], (
                "others may know more of what is new here"
            )
            assert told.looks == 1

    run(story)


def test_what_changes_is_found_by_schedule_noted_reported_and_given_to_be_healed() -> None:
    async def story() -> None:
        store, told = store_of("a", "b"), Told()
        async with scanning(store, told) as scanner:
            told.suggested.clear()
            store.remove_outside("a")
            store.put_outside("b", b"edited")
            await asyncio.sleep(HOUR_S - 60)
            assert told.found == []
            await asyncio.sleep(120)
            assert told.found == [(0, "a", Oddity.MISSING), (0, "b", Oddity.OUTSIDE)]
            assert told.suggested == [("a", Urgency.SCAN), ("b", Urgency.SCAN)]
            assert {one.path for one in await store.findings(EVERYTHING, None, 9)} == {"a", "b"}
            assert (scanner.progress().findings, scanner.progress().total_files) == (2, 2)

    run(story)


def test_who_never_scans_by_schedule_scans_at_start_and_when_told_to() -> None:
    async def story() -> None:
        store, told = store_of("a"), Told()
        async with scanning(store, told, every_s=None) as scanner:
            store.remove_outside("a")
            await asyncio.sleep(100 * HOUR_S)
            assert told.found == []
            assert scanner.order(7, EVERYTHING) is None
            await until(lambda: 7 in scanner.progress().ended_orders, "the scan has ended")
            assert told.found == [(7, "a", Oddity.MISSING)]

    run(story)


def test_orders_are_done_one_after_the_other_each_in_its_scope() -> None:
    async def story() -> None:
        store, told = store_of("a", "b/c", "d"), Told()
        async with scanning(store, told) as scanner:
            for path in ("a", "b/c", "d"):
                store.remove_outside(path)
            for number, scope in ((1, Prefix("b/")), (2, FilePath("d")), (3, EVERYTHING)):
                assert scanner.order(number, scope) is None
            await until(lambda: 3 in scanner.progress().ended_orders, "the last has ended")
            assert scanner.progress().ended_orders == (1, 2, 3)
            assert told.found == [
                (1, "b/c", Oddity.MISSING),
                (2, "d", Oddity.MISSING),
                *((3, path, Oddity.MISSING) for path in ("a", "b/c", "d")),
            ]

    run(story)


def test_too_many_orders_are_refused() -> None:
    async def story() -> None:
        async with scanning(store_of(), Told()) as scanner:
            for number in range(MAX_WAITING_ORDERS):
                assert scanner.order(number + 1, EVERYTHING) is None
            assert scanner.order(99, EVERYTHING) == f"{MAX_WAITING_ORDERS} orders are waiting already"

    run(story)


def test_an_ordered_run_that_ended_is_told_of_for_a_while() -> None:
    async def story() -> None:
        store, told = store_of("a"), Told()
        async with scanning(store, told, every_s=1.0) as scanner:
            scanner.order(5, FilePath("a"))
            await until(lambda: 5 in scanner.progress().ended_orders, "it has ended")
            await asyncio.sleep(SHOWN_S / 2)
            shown = scanner.progress()
            assert (shown.order, shown.running, shown.scope) == (5, False, "a")
            await asyncio.sleep(SHOWN_S)
            assert scanner.progress().order == 0

    run(story)


def test_a_scan_that_fails_says_why_and_is_tried_again_soon() -> None:
    async def story() -> None:
        store, told = store_of("a"), Told()
        async with scanning(store, told) as scanner:
            store.gone = "its folder was unmounted"
            store.remove_outside("a")
            await asyncio.sleep(HOUR_S + 1)
            assert "its folder was unmounted" in (scanner.progress().error or "")
            assert told.found == []
            store.gone = None
            await asyncio.sleep(RETRY_S + 1)
            assert scanner.progress().error is None
            assert told.found == [(0, "a", Oddity.MISSING)]

    run(story)


def test_a_hint_is_followed_once_the_path_is_quiet() -> None:
    async def story() -> None:
        store, told, hints = store_of("a", "b"), Told(), HandMadeHints()
        async with scanning(store, told, hints=hints):
            told.suggested.clear()
            store.put_outside("a", b"edited")
            store.put_outside("b", b"edited too, and nobody tells")
            hints.tell({"a", "not\na path", "never/there"})
            await asyncio.sleep(QUIET_S / 2)
            hints.tell({"a"})
            await asyncio.sleep(0.8 * QUIET_S)
            assert told.found == []
            await asyncio.sleep(QUIET_S)
            assert told.found == [(0, "a", Oddity.OUTSIDE)]
            assert told.suggested == [("a", Urgency.SCAN)]
        assert hints.is_closed

    run(story)


def test_a_path_that_never_is_quiet_is_looked_at_all_the_same() -> None:
    async def story() -> None:
        store, told, hints = store_of("a"), Told(), HandMadeHints()
        async with scanning(store, told, hints=hints):
            store.put_outside("a", b"edited")
            for _ in range(int(3 * MAX_PATIENCE_S / QUIET_S)):
                hints.tell({"a"})
                await asyncio.sleep(QUIET_S / 2)
                if told.found:
                    break
            assert told.found == [(0, "a", Oddity.OUTSIDE)]

    run(story)


def test_a_folder_that_hints_tell_of_is_scanned_as_a_whole() -> None:
    async def story() -> None:
        store, told, hints = store_of("a"), Told(), HandMadeHints()
        async with scanning(store, told, hints=hints):
            for path in ("new/one", "new/two/three"):
                store.put_outside(path, b"new")
            hints.tell({"new"})
            await until(lambda: len(store.records) == 3, "both are recorded", 10 * QUIET_S)

    run(story)


def test_a_folder_that_was_moved_away_as_a_whole_is_noticed() -> None:
    async def story() -> None:
        store, told, hints = store_of("a", "d/b", "d/c"), Told(), HandMadeHints()
        async with scanning(store, told, hints=hints):
            for path in ("d/b", "d/c"):
                store.remove_outside(path)
            hints.tell({"d"})
            await until(lambda: len(told.found) == 2, "both are lost", 10 * QUIET_S)

    run(story)


@pytest.mark.parametrize("too_many", [None, {f"{number}" for number in range(MAX_HINTS + 1)}])
def test_too_many_hints_are_left_to_the_next_scan(too_many: set[str] | None) -> None:
    async def story() -> None:
        store, told, hints = store_of("a"), Told(), HandMadeHints()
        async with scanning(store, told, hints=hints):
            store.put_outside("a", b"edited")
            hints.tell({"a"})
            hints.tell(too_many)
            await asyncio.sleep(HOUR_S / 2)
            assert told.found == []
            await asyncio.sleep(HOUR_S)
            assert told.found == [(0, "a", Oddity.OUTSIDE)]

    run(story)


def test_hints_of_what_is_known_already_cost_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        store, told, hints = store_of("a"), Told(), HandMadeHints()
        async with scanning(store, told, hints=hints):

            def never(*_: object) -> None:
                raise AssertionError("it was looked at")

            monkeypatch.setattr(store, "rescan", never)
            hints.tell({"a"})
            await asyncio.sleep(10 * QUIET_S)

    run(story)


def test_closing_waits_for_the_step_under_way() -> None:
    async def story() -> None:
        store, told = store_of(*(f"{number}" for number in range(100))), Told()
        scanner = Scanner(store, told, every_s=None, now_ns=now_ns)
        scanner.start()
        await until(lambda: 10 < scanner.progress().files < 90, "it is at work")
        await scanner.close()
        count = len(store.records)
        await asyncio.sleep(60)
        assert len(store.records) == count < 100

    run(story)
