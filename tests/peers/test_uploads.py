"""Changes on their way to a peer, over real sockets: content arrives, within bounds, and what the peer says of it."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import AsyncExitStack

import pytest

from accord.errors import Conflict, DiskFull, PeerFailed, PeerUnreachable, StoreFailed
from accord.model.names import FilePath
from accord.model.verdict import Present
from accord.peers import transfers
from accord.peers.answers import encode_answer
from accord.peers.inbox import MAX_BUFFERED_BYTES, Inbox
from accord.peers.port import PeerState
from accord.peers.stream import WRITE_BUFFER_BYTES
from accord.peers.uploads import HELD_BACK_BYTES
from accord.peers.wire import Adopted, Staged
from accord.server import peer_intake
from accord.server.peer_intake import LongInbox
from accord.store.port import BLOCK_BYTES
from tests.peers.by_hand import Frames, answering
from tests.peers.loopback import (
    ME,
    OTHER,
    SmallChanges,
    SmallStore,
    behaving,
    digest_of,
    linked,
    listening,
    service,
    settled,
    until,
)
from tests.peers.sending import LARGE, PATH, SMALL, made, many, put, sent
from tests.server.watched_blocks import kept, watched_blocks


@pytest.mark.parametrize("content", [b"", SMALL, b"x" * HELD_BACK_BYTES, LARGE])
@pytest.mark.parametrize("piece_bytes", [1024, 100_000, BLOCK_BYTES, len(LARGE)])
async def test_content_and_change_arrive(content: bytes, piece_bytes: int) -> None:
    changes = SmallChanges()
    store = SmallStore()
    async with listening(service(store, changes=changes)) as port, linked(port) as peers:
        await put(peers, content, piece_bytes=piece_bytes, size=len(content))
    assert changes.adopted == [(ME, PATH, *made(content), [content])]
    assert not store.staging


async def test_a_change_needs_no_content_and_may_have_several() -> None:
    changes = SmallChanges()
    async with listening(service(SmallStore(), changes=changes)) as port, linked(port) as peers:
        upload = peers.upload(OTHER, None)
        await upload.adopt(PATH, *made(None))
        await sent(upload, b"one")
        await sent(upload, LARGE)
        await sent(upload, b"")
        await upload.adopt(PATH, *made())
        await upload.close()
    assert [contents for *_, contents in changes.adopted] == [[], [b"one", LARGE, b""]]


async def test_the_size_is_told_where_it_is_known() -> None:
    store = SmallStore()
    async with listening(service(store)) as port, linked(port) as peers:
        known, unknown = peers.upload(OTHER, 3), peers.upload(OTHER, None)
        await sent(known, b"abc")
        await sent(unknown, b"abc")
        assert sorted(str(one.announced) for one in store.staging) == ["3", "None"]
        await known.close()
        await unknown.close()
        await until(lambda: not store.staging)


async def test_a_small_content_travels_in_one_write() -> None:
    pieces: list[int] = []

    async def counting(frames: Frames) -> None:
        # Nothing is read before all is here: what came in one segment comes out of one read.
        raw = await frames._reader.read(65536)
        pieces.append(len(raw))
        frames.say(Staged())
        await frames.request()

    async with behaving(answering(counting)) as port, linked(port, ping_every_s=60) as peers:
        await settled(peers, PeerState.UP)
        upload = peers.upload(OTHER, len(SMALL))
        await sent(upload, SMALL, piece_bytes=4)
        await upload.close()
    assert len(pieces) == 1
    assert pieces[0] > len(SMALL) + 32


async def test_a_small_content_that_nobody_waits_for_travels_with_its_change() -> None:
    """One write, one answer."""
    pieces: list[bytes] = []

    async def counting(frames: Frames) -> None:
        pieces.append(await frames._reader.read(65536))
        answer = encode_answer(Present(digest_of(SMALL), len(SMALL), 7, made()[0]))
        frames.say(Adopted(answer))
        await frames.request()

    async with behaving(answering(counting)) as port, linked(port, ping_every_s=60) as peers:
        await settled(peers, PeerState.UP)
        upload = peers.upload(OTHER, len(SMALL))
        await upload.write(SMALL)
        assert upload.finish_later(digest_of(SMALL))
        assert not pieces
        answer = await upload.adopt(PATH, *made())
        await upload.close()
    assert isinstance(answer, Present)
    assert answer.digest == digest_of(SMALL)
    assert len(pieces) == 1
    assert SMALL in pieces[0]
    assert PATH.encode() in pieces[0]


async def test_a_content_that_goes_with_its_change_is_adopted_and_proven() -> None:
    store, changes = SmallStore(), SmallChanges()
    async with listening(service(store, changes=changes)) as port, linked(port) as peers:
        for content in (SMALL, b"x" * (HELD_BACK_BYTES - 64)):
            upload = peers.upload(OTHER, len(content))
            await upload.write(content)
            assert upload.finish_later(digest_of(content))
            await upload.adopt(PATH, *made(content))
            await upload.close()
        wrong = peers.upload(OTHER, len(SMALL))
        await wrong.write(SMALL)
        assert wrong.finish_later(digest_of(b"something else"))
        with pytest.raises(PeerFailed, match=r"^got other bytes than were meant$"):
            await wrong.adopt(PATH, *made())
        await wrong.close()
        await until(lambda: not store.staging)
    assert [contents for *_, contents in changes.adopted] == [[SMALL], [b"x" * (HELD_BACK_BYTES - 64)]]


async def test_what_is_on_its_way_or_was_never_begun_cannot_be_finished_later() -> None:
    async with listening(service(SmallStore())) as port, linked(port) as peers:
        upload = peers.upload(OTHER, None)
        assert not upload.finish_later(digest_of(b""))
        await upload.write(LARGE)
        assert not upload.finish_later(digest_of(LARGE))
        await upload.finish(digest_of(LARGE))
        await upload.adopt(PATH, *made(LARGE))
        await upload.close()
        assert not upload.finish_later(digest_of(LARGE))


async def test_uploads_use_connections_again() -> None:
    receiving = service(SmallStore())
    async with listening(receiving) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        for _ in range(5):
            await put(peers)
        assert len(receiving.proven) == 2


async def test_what_is_not_adopted_is_dropped() -> None:
    store = SmallStore()
    receiving = service(store)
    async with listening(receiving) as port, linked(port) as peers:
        for stage in range(3):
            upload = peers.upload(OTHER, None)
            await upload.write(LARGE)
            if stage:
                await upload.finish(digest_of(LARGE))
            if stage > 1:
                await upload.write(LARGE)
            await until(lambda stage=stage: len(store.staging) == max(1, stage))
            await upload.close()
            await until(lambda: not store.staging)
            with pytest.raises(PeerUnreachable, match="closed"):
                await upload.write(b"more")
        await until(lambda: len(receiving.proven) == 1)


async def test_an_upload_that_began_nothing_costs_nothing() -> None:
    receiving = service(SmallStore())
    async with listening(receiving) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        upload = peers.upload(OTHER, None)
        await upload.write(b"less than is worth a connection")
        await upload.close()
        await upload.close()
        assert len(receiving.proven) == 1


async def test_wrong_bytes_are_not_staged() -> None:
    store, changes = SmallStore(), SmallChanges()
    async with listening(service(store, changes=changes)) as port, linked(port) as peers:
        upload = peers.upload(OTHER, None)
        await upload.write(SMALL)
        with pytest.raises(PeerFailed, match=r"^got other bytes than were meant$"):
            await upload.finish(digest_of(b"something else"))
        with pytest.raises(PeerFailed, match="other bytes"):
            await upload.adopt(PATH, *made())
        await upload.close()
        await until(lambda: not store.staging)
    assert not changes.adopted


@pytest.mark.parametrize("capacity_bytes", [0, 5, BLOCK_BYTES + 1])
async def test_a_full_disk_is_noticed_while_sending(capacity_bytes: int) -> None:
    store = SmallStore()
    store.capacity_bytes = capacity_bytes
    async with listening(service(store)) as port, linked(port) as peers:
        upload = peers.upload(OTHER, None)
        with pytest.raises(PeerFailed, match=r"^has no space left$") as raised:
            await many(upload, LARGE, 1000)
        assert not isinstance(raised.value, PeerUnreachable)
        await upload.close()
        await until(lambda: not store.staging)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (Conflict("There is a folder at 'folder/notes.txt'."), Conflict, "folder at"),
        (DiskFull("There is no space left."), PeerFailed, "has no space left"),
        (StoreFailed("The disk is broken."), PeerFailed, "its disk failed (The disk is broken)"),
        (PeerUnreachable("server3 did not answer"), PeerFailed, "server3 did not answer"),
    ],
)
async def test_why_a_change_was_not_taken_over(error: Exception, kind: type[Exception], reason: str) -> None:
    store, changes = SmallStore(), SmallChanges()
    changes.errors[PATH] = error
    async with listening(service(store, changes=changes)) as port, linked(port) as peers:
        with pytest.raises(kind) as raised:
            await put(peers)
        assert reason in str(raised.value)
        assert isinstance(raised.value, Conflict) or type(raised.value) is PeerFailed
        await until(lambda: not store.staging)


async def test_a_peer_that_works_for_long_is_waited_for() -> None:
    store, changes = SmallStore(), SmallChanges()
    store.write_gate, store.finish_gate, changes.gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with listening(service(store, changes=changes)) as port, linked(port, peer_timeout_s=0.15) as peers:
        putting = asyncio.create_task(put(peers, LARGE * 3))
        for gate in (store.write_gate, store.finish_gate, changes.gate):
            done, _ = await asyncio.wait([putting], timeout=0.5)
            assert not done
            gate.set()
        await putting
    assert len(changes.adopted) == 1


@pytest.mark.parametrize("block_bytes", [10_000, 100_000, BLOCK_BYTES])
async def test_memory_may_change_once_as_much_again_was_sent(block_bytes: int) -> None:
    """Also when the receiver takes nothing for long, so that nothing leaves before it has to."""
    content = b"".join(bytes([number]) * 50_000 for number in range(200)) * 3
    size, written = len(content), 0
    store, changes = SmallStore(), SmallChanges()
    store.write_gate = asyncio.Event()
    receiving = service(store, changes=changes)
    async with listening(receiving) as port, linked(port) as peers:
        upload = peers.upload(OTHER, size)

        async def write_from_two_blocks() -> None:
            nonlocal written
            before, now = bytearray(block_bytes), bytearray(block_bytes)
            for at in range(0, size, block_bytes):
                block = content[at : at + block_bytes]
                now[: len(block)] = block
                await upload.write(memoryview(now)[: len(block)])
                written += len(block)
                if len(block) == block_bytes:
                    before[:] = b"?" * block_bytes
                before, now = now, before
            await upload.finish(digest_of(content))

        writing = asyncio.create_task(write_from_two_blocks())
        await until(lambda: any(one._is_full for one in receiving.proven))
        held = -1
        while held != written:
            held = written
            await asyncio.sleep(0.1)
        assert written < size
        store.write_gate.set()
        await writing
        await upload.adopt(PATH, *made(content))
        await upload.close()
    assert changes.adopted == [(ME, PATH, *made(content), [content])]


async def test_after_a_long_content_the_connection_serves_others() -> None:
    changes = SmallChanges()
    async with listening(service(SmallStore(), changes=changes)) as port, linked(port) as peers:
        for content in (LARGE, SMALL, LARGE[: 2 * BLOCK_BYTES], b"", LARGE):
            await put(peers, content, size=len(content))
        assert len(peers._transfers[OTHER]._pool._streams) == 1
    assert [contents for *_, contents in changes.adopted] == [
        [LARGE],
        [SMALL],
        [LARGE[: 2 * BLOCK_BYTES]],
        [b""],
        [LARGE],
    ]


async def test_a_connection_that_rests_holds_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = SmallChanges()
    async with listening(service(SmallStore(), changes=changes)) as port, linked(port) as peers:
        with watched_blocks(peer_intake, monkeypatch) as made:
            await put(peers, LARGE, size=len(LARGE))
            assert made
            await until(lambda: not kept(made))


@pytest.mark.parametrize("told_bytes", [None, 64 * BLOCK_BYTES])
async def test_a_slow_receiver_holds_the_sender_up_within_bounds(told_bytes: int | None) -> None:
    store = SmallStore()
    store.write_gate = asyncio.Event()
    receiving = service(store)
    block = bytes(BLOCK_BYTES)
    async with listening(receiving) as port, linked(port) as peers:
        upload = peers.upload(OTHER, told_bytes)
        written = 0

        async def write_much() -> None:
            nonlocal written
            for _ in range(64):
                await upload.write(block)
                written += len(block)

        writing = asyncio.create_task(write_much())
        await until(lambda: any(one._is_full for one in receiving.proven))
        (endpoint,) = [one for one in receiving.proven if one._inbox is not None]
        held = -1
        while held != written:
            held = written
            await asyncio.sleep(0.1)
        assert not writing.done()
        if isinstance(endpoint._inbox, LongInbox):
            assert endpoint._inbox._blocks.room() is None
        else:
            assert isinstance(endpoint._inbox, Inbox)
            assert endpoint._inbox._buffered_bytes <= MAX_BUFFERED_BYTES + 512 * 1024
        (stream,) = peers._transfers[OTHER]._pool._streams
        assert stream.unsent_bytes <= WRITE_BUFFER_BYTES + BLOCK_BYTES
        store.write_gate.set()
        await writing
        await upload.finish(digest_of(block * 64))
        await upload.close()


async def test_a_large_content_passes_with_bounded_memory() -> None:
    store, changes = SmallStore(), SmallChanges()
    store.forgets = True
    block = bytes(BLOCK_BYTES)
    async with listening(service(store, changes=changes)) as port, linked(port) as peers:
        tracemalloc.start()
        try:
            upload = peers.upload(OTHER, 200 * BLOCK_BYTES)
            for _ in range(200):
                await upload.write(block)
            await upload.finish(digest_of(b""))
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        await upload.close()
    assert peak_bytes < 24 * BLOCK_BYTES


async def test_many_uploads_share_a_bounded_number_of_connections() -> None:
    changes = SmallChanges()
    receiving = service(SmallStore(), changes=changes)
    async with listening(receiving) as port, linked(port, peer_timeout_s=10) as peers:
        await asyncio.gather(*(put(peers, b"%d" % number) for number in range(300)))
        assert len(receiving.proven) <= transfers.MAX_UPLOADS + 1
    assert sorted(int(content) for *_, (content,) in changes.adopted) == list(range(300))


async def test_waiting_uploads_hold_no_fetch_up() -> None:
    store = SmallStore({"big": LARGE})
    async with listening(service(store)) as port, linked(port) as peers, AsyncExitStack() as stalled:
        for _ in range(transfers.MAX_UPLOADS):
            upload = peers.upload(OTHER, None)
            stalled.push_async_callback(upload.close)
            await upload.write(LARGE)
        async with asyncio.timeout(5):
            blocks = [block async for block in peers.fetch(OTHER, FilePath("big"), digest_of(LARGE))]
    assert b"".join(blocks) == LARGE
