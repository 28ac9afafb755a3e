"""A scrub reads everything now and then, slowly, goes on where it was after a restart, and lets what was ordered go first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from accord.engine.heal_queue import Urgency
from accord.engine.runs import RETRY_S
from accord.engine.scrub import NOTE, Scrubber
from accord.model.findings import Oddity
from accord.model.names import FilePath, Prefix
from accord.store.inventory import Scope, ScrubStep
from accord.testing.memory_store import MemoryStore

from .virtual import Told, now_ns, run, store_of, until

DAY_S = 86_400.0
EVERYTHING = Prefix("")
PATHS = tuple(f"{number:02}" for number in range(50))
SLOW_BYTES_PER_S = 2.0
"""The names are the contents: each file takes a second."""


class Watched(MemoryStore):
    """Tells which paths were read. To be made by `watched`."""

    read: list[str]

    def scrub(self, scope: Scope, after: FilePath | None) -> Iterator[ScrubStep]:
        for step in super().scrub(scope, after):
            self.read.append(str(step.at))
            yield step


async def watched(*paths: str) -> Watched:
    store = store_of(*paths)
    store.__class__ = Watched
    assert isinstance(store, Watched)
    store.read = []
    for _ in store.rescan(EVERYTHING):
        pass
    return store


@asynccontextmanager
async def scrubbing(
    store: MemoryStore,
    told: Told,
    *,
    every_s: float | None = 30 * DAY_S,
    bytes_per_s: float = 1e9,
) -> AsyncIterator[Scrubber]:
    scrubber = Scrubber(
        store, told, every_s=every_s, bytes_per_s=bytes_per_s, share=1.0, now_ns=now_ns, found=told.take
    )
    scrubber.start()
    yield scrubber
    await scrubber.close()


def test_everything_is_read_when_it_is_due_and_not_before() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        store.rot("07")
        async with scrubbing(store, told) as scrubber:
            await asyncio.sleep(29.9 * DAY_S)
            assert store.read == []
            await asyncio.sleep(0.2 * DAY_S)
            assert store.read == list(PATHS)
            assert told.found == [(0, "07", Oddity.ROT)]
            assert told.suggested == [("07", Urgency.SCRUB)]
            assert told.looks == 1
            (finding,) = await store.findings(EVERYTHING, None, 9)
            assert finding.path == "07"
            progress = scrubber.progress()
            assert (progress.files, progress.bytes, progress.findings, progress.error) == (50, 100, 1, None)
            await asyncio.sleep(29.9 * DAY_S)
            assert len(store.read) == 50

    run(story)


def test_a_restart_does_not_put_off_what_is_due() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        for _ in range(4):
            async with scrubbing(store, told):
                await asyncio.sleep(10 * DAY_S)
        assert store.read == list(PATHS)

    run(story)


def test_it_goes_on_after_a_restart_with_its_figures() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        store.rot("03")
        async with scrubbing(store, told, bytes_per_s=SLOW_BYTES_PER_S) as scrubber:
            scrubber.order(9, EVERYTHING)
            await until(lambda: scrubber.progress().files == 20, "some is done")
            began_ns = scrubber.progress().began_ns
        assert store.read == list(PATHS[:20])
        async with scrubbing(store, told, bytes_per_s=SLOW_BYTES_PER_S) as scrubber:
            await until(lambda: 9 in scrubber.progress().ended_orders, "it has ended")
            progress = scrubber.progress()
        assert store.read == list(PATHS)
        assert (progress.order, progress.files, progress.total_files, progress.findings) == (9, 50, 50, 1)
        assert progress.began_ns == began_ns

    run(story)


def test_how_the_last_one_ended_is_known_after_a_restart() -> None:
    async def story() -> None:
        store, told = await watched("a"), Told()
        async with scrubbing(store, told) as scrubber:
            scrubber.order(9, EVERYTHING)
            await until(lambda: 9 in scrubber.progress().ended_orders, "it has ended")
            before = scrubber.progress()
        async with scrubbing(store, told) as scrubber:
            await until(lambda: scrubber.progress().ended_ns, "it is remembered")
            assert (scrubber.progress().files, scrubber.progress().ended_ns) == (1, before.ended_ns)

    run(story)


@pytest.mark.parametrize("note", ["", "{}", '{"runs": 7}', "null"])
def test_a_note_that_makes_no_sense_is_none(note: str) -> None:
    async def story() -> None:
        store, told = await watched("a"), Told()
        store.note(NOTE, note)
        async with scrubbing(store, told) as scrubber:
            scrubber.order(1, EVERYTHING)
            await until(lambda: 1 in scrubber.progress().ended_orders, "it has ended")
            assert store.read == ["a"]

    run(story)


def test_it_is_no_faster_than_it_may_be() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        async with scrubbing(store, told, bytes_per_s=SLOW_BYTES_PER_S) as scrubber:
            began_s = asyncio.get_running_loop().time()
            for number in (1, 2):  # that another one waits does not hurry it
                scrubber.order(number, EVERYTHING)
            await until(lambda: 2 in scrubber.progress().ended_orders, "both have ended")
            assert 100 <= asyncio.get_running_loop().time() - began_s <= 101

    run(story)


def test_an_order_goes_before_the_run_by_schedule_which_then_goes_on() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        async with scrubbing(store, told, every_s=DAY_S, bytes_per_s=SLOW_BYTES_PER_S) as scrubber:
            await asyncio.sleep(DAY_S - 1)
            await until(lambda: scrubber.progress().files == 10, "it is under way", 60)
            scrubber.order(4, FilePath("40"))
            await until(lambda: 4 in scrubber.progress().ended_orders, "what was ordered is done", 3.0)
            assert store.read[:11] == [*PATHS[:10], "40"]
            await until(lambda: len(store.read) == 51, "the rest is done")
            assert store.read == [*PATHS[:10], "40", *PATHS[10:]]
            await asyncio.sleep(60)
            progress = scrubber.progress()
            assert (progress.order, progress.running, progress.files) == (0, False, 50)

    run(story)


def test_an_order_of_everything_does_what_the_run_by_schedule_was_to_do() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        async with scrubbing(store, told, every_s=DAY_S, bytes_per_s=SLOW_BYTES_PER_S) as scrubber:
            await asyncio.sleep(DAY_S - 1)
            await until(lambda: scrubber.progress().files == 10, "it is under way", 60)
            scrubber.order(4, EVERYTHING)
            await until(lambda: 4 in scrubber.progress().ended_orders, "it has ended")
            await asyncio.sleep(DAY_S / 2)
            assert store.read == [*PATHS[:10], *PATHS]

    run(story)


def test_a_store_that_fails_ends_an_order_and_only_holds_up_the_schedule() -> None:
    async def story() -> None:
        store, told = await watched(*PATHS), Told()
        async with scrubbing(store, told, every_s=DAY_S) as scrubber:
            store.gone = "its folder was unmounted"
            scrubber.order(4, EVERYTHING)
            await until(lambda: 4 in scrubber.progress().ended_orders, "it has ended")
            assert "its folder was unmounted" in (scrubber.progress().error or "")
            await asyncio.sleep(DAY_S + 5)
            assert "its folder was unmounted" in (scrubber.progress().error or "")
            assert scrubber.progress().running
            store.gone = None
            await asyncio.sleep(RETRY_S + 5)
            assert store.read == list(PATHS)
            assert (scrubber.progress().running, scrubber.progress().error) == (False, None)

    run(story)


def test_who_never_scrubs_by_schedule_does_so_when_told_to() -> None:
    async def story() -> None:
        store, told = await watched("a"), Told()
        async with scrubbing(store, told, every_s=None) as scrubber:
            await asyncio.sleep(1000 * DAY_S)
            assert store.read == []
            scrubber.order(1, Prefix(""))
            await until(lambda: store.read == ["a"], "it was read")

    run(story)
