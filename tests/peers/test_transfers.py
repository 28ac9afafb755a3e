"""Fetching and listing over real sockets: the right bytes, bounded, and broken off visibly."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import IntegrityError, NoSuchVersion, PeerUnreachable
from accord.model.listing import Walked
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Absent, Checking, Damaged
from accord.peers import pool, transfers
from accord.peers.inbox import MAX_BUFFERED_BYTES
from accord.peers.port import PeerState
from accord.server.peer_doubts import MAX_QUEUED, Doubts
from accord.server.peer_transfers import PAGE_FRAME_BYTES, _frames
from accord.store.port import BLOCK_BYTES
from tests.peers.loopback import OTHER, SmallStore, digest_of, linked, listening, present, service, settled, until

BIG = FilePath("big")
CONTENT = bytes(range(251)) * (3 * BLOCK_BYTES // 251) + b"the end"
DIGEST = digest_of(CONTENT)


async def _exhausted(blocks: AsyncIterator[bytes]) -> None:
    async for _ in blocks:
        pass


async def fetched(peers: Any, **span: int) -> bytes:
    return b"".join([block async for block in peers.fetch(OTHER, BIG, DIGEST, **span)])


async def test_content_arrives_whole_and_from_anywhere_on() -> None:
    async with listening(service(SmallStore({"big": CONTENT}))) as port, linked(port) as peers:
        assert await fetched(peers) == CONTENT
        for start in (1, BLOCK_BYTES - 1, BLOCK_BYTES, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 5):
            assert await fetched(peers, start=start) == CONTENT[start:]


async def test_ranges_arrive() -> None:
    store = SmallStore({"big": CONTENT})
    edges = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 1, len(CONTENT)]
    async with listening(service(store)) as port, linked(port) as peers:
        for start, stop in itertools.combinations_with_replacement(edges, 2):
            assert await fetched(peers, start=start, stop=stop) == CONTENT[start:stop]
        with pytest.raises(ValueError):
            peers.fetch(OTHER, BIG, DIGEST, start=2, stop=1)
    assert store.open_copies == 0


async def test_an_empty_file_has_an_end() -> None:
    async with listening(service(SmallStore({"empty": b""}))) as port, linked(port) as peers:
        blocks = [block async for block in peers.fetch(OTHER, FilePath("empty"), digest_of(b""))]
    assert blocks == []


async def test_connections_are_kept_for_the_next_transfer() -> None:
    answering = service(SmallStore({"big": CONTENT}))
    async with listening(answering) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        for _ in range(5):
            await fetched(peers)
        assert len(answering.proven) == 2


async def test_a_kept_connection_that_the_peer_closed_is_replaced() -> None:
    store = SmallStore({"big": CONTENT})
    async with listening(service(store)) as port:
        context = linked(port)
        peers = await context.__aenter__()
        await fetched(peers)
    await settled(peers, PeerState.DOWN)
    async with listening(service(store), port):
        await settled(peers, PeerState.UP)
        assert await fetched(peers) == CONTENT
        await context.__aexit__(None, None, None)


async def test_many_transfers_share_a_bounded_number_of_connections() -> None:
    answering = service(SmallStore({"big": CONTENT}))
    async with listening(answering) as port, linked(port, peer_timeout_s=10) as peers:
        contents = await asyncio.gather(*(fetched(peers) for _ in range(40)))
        assert all(content == CONTENT for content in contents)
        assert len(answering.proven) <= transfers.MAX_FETCHES + 1


async def test_another_version_is_no_such_version() -> None:
    async with listening(service(SmallStore({"big": b"other"}))) as port, linked(port) as peers:
        with pytest.raises(NoSuchVersion, match=r"^no longer holds that version$"):
            await fetched(peers)


async def test_no_file_is_no_such_version() -> None:
    async with listening(service(SmallStore())) as port, linked(port) as peers:
        with pytest.raises(NoSuchVersion):
            await fetched(peers)


async def test_a_copy_still_being_hashed_is_unreachable() -> None:
    store = SmallStore({"big": CONTENT})
    store.slow[BIG] = asyncio.Event()
    store.answers[BIG] = Checking(1, 2)
    async with listening(service(store, hash_wait_s=0.05)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match="being hashed"):
            await fetched(peers)


async def test_opening_may_take_longer_than_the_patience() -> None:
    store = SmallStore({"big": CONTENT})
    store.slow[BIG] = asyncio.Event()
    async with listening(service(store)) as port, linked(port, peer_timeout_s=0.2) as peers:
        asyncio.get_running_loop().call_later(0.6, store.slow[BIG].set)
        assert await fetched(peers) == CONTENT


async def test_a_file_changed_while_it_was_read_never_ends_well() -> None:
    store = SmallStore({"big": CONTENT})
    store.changed.add(BIG)
    async with listening(service(store)) as port, linked(port) as peers:
        with pytest.raises(NoSuchVersion, match="changed while it was read"):
            await fetched(peers)
    assert store.open_copies == 0


async def test_a_file_that_shrank_never_ends_well() -> None:
    store = SmallStore({"big": CONTENT})
    store.files[BIG] = CONTENT[: BLOCK_BYTES + 5]
    async with listening(service(store)) as port, linked(port) as peers:
        with pytest.raises(NoSuchVersion, match="changed while it was read"):
            await fetched(peers)


async def test_a_rotten_copy_is_found_by_the_server_that_sends_it() -> None:
    store = SmallStore({"big": CONTENT})
    store.files[BIG] = CONTENT[:-1] + b"!"
    async with listening(service(store)) as port, linked(port) as peers:
        with pytest.raises(IntegrityError, match=r"^its copy is damaged \(rot\)$"):
            await fetched(peers)
        answer = (await peers.ask(BIG))[OTHER]
    assert isinstance(answer, Damaged)
    assert store.open_copies == 0


async def test_a_small_rotten_copy_is_found_too() -> None:
    store = SmallStore({"big": b"sound"})
    store.files[BIG] = b"tound"
    async with listening(service(store)) as port, linked(port) as peers:
        with pytest.raises(IntegrityError):
            await _exhausted(peers.fetch(OTHER, BIG, digest_of(b"sound"), stop=5))


async def test_a_range_is_sent_without_a_pass_over_the_whole() -> None:
    store = SmallStore({"big": CONTENT})
    store.proof_gate = asyncio.Event()
    async with listening(service(store)) as port, linked(port, peer_timeout_s=0.2) as peers:
        assert await fetched(peers, start=5, stop=10) == CONTENT[5:10]


async def test_a_doubted_copy_is_read_anew() -> None:
    store = SmallStore({"big": CONTENT})
    async with listening(service(store)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        peers.doubt(OTHER, BIG)
        await until(lambda: store.rereads == [BIG])


async def test_doubts_are_bounded_and_read_one_at_a_time() -> None:
    store = SmallStore({"big": CONTENT})
    store.slow[BIG] = asyncio.Event()
    doubts = Doubts(store, wait_s=30)  # type: ignore[arg-type]
    for number in range(MAX_QUEUED + 10):
        doubts.take(FilePath(f"{number}"))
        doubts.take(BIG)
    assert len(doubts._queued) == MAX_QUEUED
    await until(lambda: BIG in store.rereads)
    assert len(store.rereads) == 2
    await doubts.close()


async def test_stalled_listings_hold_no_fetch_up() -> None:
    store = SmallStore({f"{number:05}": b"x" for number in range(20_000)} | {"big": CONTENT})
    async with listening(service(store)) as port, linked(port) as peers, AsyncExitStack() as stalled:
        for _ in range(transfers.MAX_LISTINGS):
            pages = await stalled.enter_async_context(aclosing(peers.list(OTHER, Prefix(""), None)))  # type: ignore[type-var]
            await anext(pages)
        async with asyncio.timeout(pool.MAX_WAIT_S / 2):
            assert await fetched(peers) == CONTENT


async def test_a_server_that_stops_ends_its_transfers_first() -> None:
    content = CONTENT * 20
    answering = service(SmallStore({"big": content}))
    async with listening(answering) as port, linked(port) as peers:
        async with aclosing(peers.fetch(OTHER, BIG, digest_of(content))) as blocks:  # type: ignore[type-var]
            received = len(await anext(blocks))
            finishing = asyncio.create_task(answering.finish())
            await until(lambda: answering.is_finishing)
            with pytest.raises(PeerUnreachable, match=r"^is stopping$"):
                await _exhausted(peers.fetch(OTHER, BIG, digest_of(content)))
            assert not finishing.done()
            async for block in blocks:
                received += len(block)
        assert received == len(content)
        async with asyncio.timeout(10):
            await finishing


async def test_a_slow_reader_holds_the_sender_up_within_bounds() -> None:
    size = 64 * BLOCK_BYTES
    content = bytes(size)
    store = SmallStore({"huge": content})
    answering = service(store)
    async with listening(answering) as port, linked(port) as peers:
        async with aclosing(peers.fetch(OTHER, FilePath("huge"), digest_of(content))) as blocks:  # type: ignore[type-var]
            taken = len(await anext(blocks))
            (sender,) = [one for one in answering.proven if one._transferring]
            await until(lambda: not sender._writable.is_set())
            (inbox,) = [stream.receiver for stream in peers._transfers[OTHER]._pool._streams]
            held = -1
            while held != inbox._buffered_bytes:
                held = inbox._buffered_bytes
                await asyncio.sleep(0.05)
            assert held <= MAX_BUFFERED_BYTES + 256 * 1024
            assert sender._transport.get_write_buffer_size() <= 4 * BLOCK_BYTES
            async for block in blocks:
                taken += len(block)
        assert taken == size


async def test_leaving_early_ends_the_connection_and_closes_the_copy() -> None:
    store = SmallStore({"big": CONTENT * 20})
    answering = service(store)
    async with listening(answering) as port, linked(port) as peers:
        async with aclosing(peers.fetch(OTHER, BIG, digest_of(CONTENT * 20))) as blocks:  # type: ignore[type-var]
            await anext(blocks)
            assert store.open_copies == 1
        await until(lambda: store.open_copies == 0)
        await until(lambda: len(answering.proven) == 1)


async def test_a_peer_killed_in_the_middle_of_a_fetch() -> None:
    store = SmallStore({"big": CONTENT * 20})
    answering = service(store)
    async with listening(answering) as port, linked(port, peer_timeout_s=30) as peers:
        blocks = peers.fetch(OTHER, BIG, digest_of(CONTENT * 20))
        await anext(blocks)
        await answering.close()
        with pytest.raises(PeerUnreachable, match="connection lost"):
            await _exhausted(blocks)
        await until(lambda: store.open_copies == 0)


async def test_a_peer_that_is_down_is_not_called() -> None:
    async with listening(service(SmallStore())) as port:
        pass
    async with linked(port) as peers:
        status = await settled(peers, PeerState.DOWN)
        with pytest.raises(PeerUnreachable, match=r"^refused the connection$"):
            await fetched(peers)
        assert status.reason


async def test_a_listing_arrives_page_by_page_in_order() -> None:
    store = SmallStore({f"folder/{number:05}": b"%d" % number for number in range(2500)} | {"outside": b"x"})
    async with listening(service(store)) as port, linked(port) as peers:
        pages = [page async for page in peers.list(OTHER, Prefix("folder"), None)]
        rest = [page async for page in peers.list(OTHER, Prefix(""), FilePath("folder/02499"))]
        none = [page async for page in peers.list(OTHER, Prefix("nowhere"), None)]
    assert [len(page) for page in pages] == [1000, 1000, 500]
    walked = [one for page in pages for one in page]
    assert walked == [Walked(path, store.answers[path]) for path in store.files if path != "outside"]
    assert rest == [[Walked(FilePath("outside"), present(b"x"))]]
    assert none == []
    await until(lambda: store.walks_closed == 3)


async def test_leaving_a_listing_early_closes_the_walk() -> None:
    store = SmallStore({f"{number:05}": b"x" for number in range(20_000)})
    async with listening(service(store)) as port, linked(port) as peers:
        async with aclosing(peers.list(OTHER, Prefix(""), None)) as pages:  # type: ignore[type-var]
            await anext(pages)
        await until(lambda: store.walks_closed == 1)


@given(st.lists(st.integers(1, 3), max_size=30))
def test_a_page_is_cut_into_frames_that_fit(sizes: list[int]) -> None:
    page = [Walked(FilePath(f"{number:03}"), Absent("x" * 300)) for number in range(len(sizes))]
    frames = list(_frames(page))
    assert [path for frame in frames for path in frame.paths] == [path for path, _ in page]
    assert all(sum(map(len, frame.answers)) <= PAGE_FRAME_BYTES for frame in frames)
