"""Content that only other servers hold: it comes whole and right from whoever has it, or visibly not at all."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from accord.engine.holders import MAX_DOUBTS, Holders
from accord.engine.read import find_version
from accord.errors import IntegrityError, PeerFailed, StillChecking
from accord.model.names import DigestPrefix, FilePath
from accord.model.verdict import Damaged, Kind, Present, State
from accord.model.versions import Actor, Clock, Entry, Version
from accord.store.port import BLOCK_BYTES
from accord.testing.memory_peers import MemoryPeers
from accord.testing.memory_store import MemoryCopy, MemoryStore, digest_of
from tests.engine.trio import LARGE, PATH, SECOND, SMALL, THIRD, Trio, trio, until
from tests.verdicts import state_of


async def rotten_at_second(servers: Trio, content: bytes) -> None:
    """server1 lacks the file, server2's copy is rotten under unchanged stat data, server3's is good; all of them know its digest."""
    for store in (servers.second, servers.third):
        store.put_outside(PATH, content)
        await store.examine(PATH, wait_s=1)
    servers.second.rot(PATH)


@pytest.mark.parametrize("content", [LARGE, SMALL])
async def test_a_rotten_copy_does_not_stand_before_a_good_one_for_ever(content: bytes) -> None:
    async with trio() as servers:
        await rotten_at_second(servers, content)
        servers.mine.broken = "nothing is healed here"
        got = []
        for _ in range(3):
            try:
                got.append(await servers.get())
            except IntegrityError:
                assert len(content) > BLOCK_BYTES, "a small one is never handed on before it is proven"
        assert len(got) >= 2
        assert set(got) == {content}
        reading, _ = await servers.body()
        assert state_of(reading.verdict, SECOND) is State.DAMAGED, "the rotten copy was found out"
        assert isinstance(reading.answers[SECOND], Damaged)


@pytest.mark.parametrize("content", [LARGE, SMALL])
async def test_a_holder_whose_bytes_arrive_wrong_is_told_and_comes_last(content: bytes) -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        for store in (servers.second, servers.third):
            store.put_outside(PATH, content)
        servers.peers.faults[SECOND].flip_at = 3  # its copy is good, and what it sends is not
        for _ in range(2):
            try:
                assert await servers.get() == content
            except IntegrityError:
                assert len(content) > BLOCK_BYTES
        assert servers.peers.doubted == [(SECOND, PATH)]
        servers.peers.fetched.clear()
        for _ in range(4):
            assert await servers.get() == content
        assert {server for server, *_ in servers.peers.fetched} == {THIRD}


async def test_a_holder_that_sends_right_bytes_again_takes_its_turns_again() -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        servers.second.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].flip_at = 3
        with pytest.raises(IntegrityError, match="What server2 sent did not match its digest"):
            await servers.get()
        servers.peers.faults[SECOND].flip_at = None
        assert await servers.get() == LARGE
        servers.third.put_outside(PATH, LARGE)
        servers.peers.fetched.clear()
        for _ in range(2):
            await servers.get()
        assert {server for server, *_ in servers.peers.fetched} == {SECOND, THIRD}


async def test_the_load_is_spread_over_the_holders() -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        for store in (servers.second, servers.third):
            store.put_outside(PATH, SMALL)
        for _ in range(6):
            await servers.get()
        asked = [server for server, *_ in servers.peers.fetched]
        assert asked.count(SECOND) == asked.count(THIRD) == 3


def test_doubts_are_bounded() -> None:
    holders = Holders(MemoryPeers({SECOND: MemoryStore(SECOND)}))
    for number in range(MAX_DOUBTS + 5):
        holders.damaged(SECOND, FilePath(f"{number}"), digest_of(SMALL))
    assert len(holders._doubts) == MAX_DOUBTS


@pytest.mark.parametrize("died_at", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, len(LARGE) - 1])
async def test_a_holder_that_dies_midway_is_followed_at_the_byte_where_it_stopped(died_at: int) -> None:
    async with trio() as servers:
        for store in (servers.second, servers.third):
            store.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].break_after_bytes = died_at
        assert await servers.get() == LARGE
        assert servers.peers.fetched == [(SECOND, PATH, 0, None), (THIRD, PATH, died_at, None)]


async def test_when_the_last_holder_dies_the_reader_is_told_who_it_was() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].break_after_bytes = BLOCK_BYTES
        with pytest.raises(PeerFailed, match=r"^server2 did not deliver the content: connection lost\.$"):
            await servers.get()


# --- parts ---


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (5, BLOCK_BYTES + 5), (BLOCK_BYTES, 2 * BLOCK_BYTES), (len(LARGE) - 3, len(LARGE))]
)
async def test_a_part_is_what_it_is(start: int, stop: int) -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        assert await servers.part(start, stop) == LARGE[start:stop]


async def test_the_first_part_heals_and_later_ones_ask_nobody() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        assert await servers.part(10, 20) == LARGE[10:20]
        await servers.healer.settle()
        assert servers.healed() == LARGE
        servers.peers.fetched.clear()
        assert await servers.part(30, 40) == LARGE[30:40]
        assert servers.peers.fetched == []


async def test_what_was_proven_on_the_way_in_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        await servers.part(10, 20)
        await servers.healer.settle()
        monkeypatch.delattr(MemoryCopy, "block_digests")
        assert await servers.part(30, 40) == LARGE[30:40]


async def test_a_part_costs_the_whole_only_once_and_then_its_blocks() -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        servers.second.put_outside(PATH, LARGE)
        await servers.part(10, 20)
        servers.peers.fetched.clear()
        assert await servers.part(BLOCK_BYTES + 1, BLOCK_BYTES + 2) == LARGE[BLOCK_BYTES + 1 : BLOCK_BYTES + 2]
        assert servers.peers.fetched == [(SECOND, PATH, BLOCK_BYTES, 2 * BLOCK_BYTES)]


async def test_no_byte_of_a_part_is_taken_on_trust() -> None:
    """The holder proves nothing and sends a wrong byte, the first time as later."""
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        servers.second.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].flip_at = 15
        with pytest.raises(IntegrityError):
            await servers.part(10, 20)
        servers.peers.faults[SECOND].flip_at = None
        assert await servers.part(10, 20) == LARGE[10:20]
        servers.peers.faults[SECOND].flip_at = 15
        servers.peers.doubted.clear()
        with pytest.raises(IntegrityError, match="What server2 sent"):
            await servers.part(10, 20)
        assert servers.peers.doubted == [(SECOND, PATH)]


async def test_wrong_bytes_of_a_part_are_replaced_by_another_server_s() -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        servers.third.put_outside(PATH, LARGE)
        await servers.part(10, 20)
        servers.second.put_outside(PATH, LARGE)
        servers.peers.faults[SECOND].flip_at = BLOCK_BYTES + 15
        for _ in range(2):
            assert await servers.part(10, 2 * BLOCK_BYTES) == LARGE[10 : 2 * BLOCK_BYTES]
        assert servers.peers.doubted == [(SECOND, PATH)]


async def test_a_part_that_one_server_cut_short_is_completed_by_the_next() -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        for store in (servers.second, servers.third):
            store.put_outside(PATH, LARGE)
        await servers.part(10, 20)
        servers.peers.faults[SECOND].break_after_bytes = BLOCK_BYTES + 9
        for _ in range(2):
            assert await servers.part(10, len(LARGE)) == LARGE[10:]
        servers.peers.faults[THIRD].break_after_bytes = 9
        with pytest.raises(PeerFailed, match="connection lost"):
            await servers.part(10, len(LARGE))
        servers.peers.faults[THIRD].ends_there = True
        with pytest.raises(PeerFailed):
            await servers.part(10, len(LARGE))
        assert servers.peers.doubted == [], "what was cut short is not wrong"


async def test_whoever_waits_too_long_for_a_part_is_told_to_come_back_while_it_goes_on() -> None:
    async with trio(hash_wait_s=0) as servers:
        servers.second.put_outside(PATH, LARGE)
        with pytest.raises(StillChecking, match=rf"of {len(LARGE)} bytes") as told:
            await servers.part(10, 20)
        assert told.value.retry_after_s
        await until(lambda: not servers.reader._proofs._passes)
        await servers.healer.settle()
        assert servers.healed() == LARGE


async def test_many_who_want_parts_share_one_transfer() -> None:
    async with trio() as servers:
        servers.mine.broken = "nothing is healed here"
        servers.second.put_outside(PATH, LARGE)
        parts = await asyncio.gather(*(servers.part(at, at + 1) for at in range(20)))
        assert b"".join(parts) == LARGE[:20]
        assert [fetch for fetch in servers.peers.fetched if fetch[3] is None] == [(SECOND, PATH, 0, None)]


async def test_all_of_a_file_asked_for_as_a_range_is_streamed_as_the_whole_is() -> None:
    async with trio() as servers:
        servers.second.put_outside(PATH, LARGE)
        assert await servers.part(0, len(LARGE)) == LARGE
        assert servers.peers.fetched == [(SECOND, PATH, 0, None)]


async def test_an_older_version_is_not_taken_in_for_the_current_one() -> None:
    old, new = (Version(digest_of(text), len(text), at, "server2") for at, text in enumerate((b"old", b"new")))
    actor = Actor("a")
    async with trio() as servers:
        for store, text, clock in (
            (servers.second, b"new", Clock((Entry(actor, 2, (new,)),))),
            (servers.third, b"old", Clock((Entry(actor, 1, (old,)),))),
        ):
            store.put_outside(PATH, text)
            store.records[PATH] = store.recorded(store.files[PATH], clock)
        reading = await servers.reader.read(PATH)
        assert reading.verdict.kind is Kind.STALE
        held = find_version(reading, DigestPrefix(str(digest_of(b"old"))))
        body = servers.reader.body(reading, held)
        async with aclosing(body.blocks()) as blocks:  # type: ignore[type-var]
            assert await anext(blocks) == b"old"
            assert servers.mine.open_stagings == 0


async def test_a_rival_elsewhere_is_proven_and_not_taken_in() -> None:
    async with trio() as servers:
        servers.mine.put_outside(PATH, SMALL)
        servers.second.put_outside(PATH, LARGE)
        reading = await servers.reader.read(PATH)
        assert reading.verdict.kind is Kind.DIVERGED
        (rival,) = [held for held in reading.verdict.versions if held.servers == (SECOND,)]
        body = servers.reader.body(reading, rival)
        async with aclosing(body.part(10, 20)) as blocks:  # type: ignore[type-var]
            assert [block async for block in blocks] == [LARGE[10:20]]
        reading.close()
        await servers.healer.settle()
        answer = await servers.mine.examine(PATH, wait_s=1)
        assert isinstance(answer, Present)
        assert answer.digest == digest_of(SMALL)
