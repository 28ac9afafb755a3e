"""What others missed is replayed when they come up, in order, and what cannot be settled does not hold up the rest."""

from __future__ import annotations

import asyncio

import pytest

from accord.engine import debts
from accord.engine.deciding import Wish
from accord.errors import StoreFailed
from accord.model.history import Deed
from accord.model.names import FilePath
from accord.model.verdict import FOLDER, Absent
from tests.engine.servers import PATH, servers
from tests.engine.trio import until

OTHER = FilePath("other.txt")


async def test_a_server_that_comes_up_gets_what_it_missed_in_order() -> None:
    async with servers(2) as some:
        some.down(1)
        for path in (OTHER, PATH, OTHER):
            await some[0].put(path.encode(), path)
        some.up(1)
        some[0].peers.came_up(some[1].name)
        await until(lambda: not some[0].store.debts())
        assert some[0].peers.updated == [(some[1].name, PATH), (some[1].name, OTHER)]
        assert {path: file.content for path, file in some[1].store.files.items()} == {
            PATH: PATH.encode(),
            OTHER: OTHER.encode(),
        }


async def test_who_broke_off_and_is_up_again_at_once_need_not_come_up_to_get_it() -> None:
    async with servers(2) as some:
        some[0].peers.faults[some[1].name].break_after_bytes = 0
        written = await some[0].put(b"one")
        assert [one.name for one in written.missing] == ["server2"]
        await until(lambda: not some[0].store.debts())
        assert some[1].store.files[PATH].content == b"one"


async def test_what_cannot_be_settled_stays_owed_and_holds_up_nothing() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one", PATH)
        await some[0].put(b"two", OTHER)
        some.up(1)
        some[1].store.answer_always(PATH, Absent(FOLDER))
        await some.replay()
        assert some[0].store.debts()["server2"].paths == 1
        assert some[1].store.files[OTHER].content == b"two"
        some[1].store.answer_always(PATH, None)
        await some.replay()
        assert not some[0].store.debts()


async def test_content_that_has_no_place_is_not_fetched_with_every_try() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one")
        some.up(1)
        some[1].store.answer_always(PATH, Absent(FOLDER))
        await some.replay()
        assert some[0].store.debts()["server2"].paths == 1
        assert not some[1].peers.fetched


async def test_more_debts_than_fit_into_one_question() -> None:
    async with servers(2) as some:
        some.down(1)
        for number in range(debts.PATHS_AT_ONCE + 3):
            await some[0].put(b"x", FilePath(f"{number}"))
        some.up(1)
        await some.replay()
        assert len(some[1].store.files) == debts.PATHS_AT_ONCE + 3
        assert not some[0].store.debts()


async def test_debts_of_before_are_replayed_at_the_start() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one")
        some.up(1)
        some[0].payer.start()
        await until(lambda: not some[0].store.debts())
        assert some[1].store.files[PATH].content == b"one"


async def test_who_was_away_learns_what_happened_and_why_too() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one", wish=Wish(message="the first"))
        some.up(1)
        await some.replay()
        (chapter,) = await some[1].store.history(PATH)
        assert (chapter.event.deed, chapter.event.message) == (Deed.PUT, "the first")


async def test_who_cannot_be_told_stays_owed() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one")
        await some[0].payer.replay(some[1].name)
        assert some[0].store.debts()["server2"].paths == 1


async def test_a_write_that_is_promised_and_then_fails_on_this_disk_reaches_the_others() -> None:
    async with servers(2) as some:
        some[0].store.fails_after_promise = True
        with pytest.raises(StoreFailed):
            await some[0].put(b"one")
        await until(lambda: not some[0].store.debts())
        assert some[1].store.files[PATH].content == b"one"


async def test_what_is_owed_in_the_moment_the_last_debt_was_settled_is_not_forgotten() -> None:
    async with servers(2) as some:
        name = some[1].name
        some[0].payer.pay(name)
        await asyncio.sleep(0)  # it has found nothing, and has only just ended
        some[0].store._debts.owe(PATH, [name])
        some[0].payer.pay(name)
        await until(lambda: not some[0].store.debts())
