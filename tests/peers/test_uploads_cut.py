"""Changes that do not get where they were sent: what is left of them, and what the sender learns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from accord.errors import PeerUnreachable
from accord.peers import transfers
from accord.peers.message import Message
from accord.peers.port import PeerState
from accord.peers.uploads import REPLAY_BYTES
from accord.peers.wire import Adopt, Pong, Put, PutEnd, Staged, Working
from tests.peers.by_hand import Frames, answering
from tests.peers.loopback import (
    ADOPTED,
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


async def test_a_cancelled_upload_gives_its_turn_back() -> None:
    changes = SmallChanges()
    changes.gate = asyncio.Event()
    async with listening(service(SmallStore(), changes=changes)) as port, linked(port) as peers:
        for _ in range(3):
            tasks = [asyncio.create_task(put(peers)) for _ in range(transfers.MAX_UPLOADS + 3)]
            await until(lambda: changes.begun >= transfers.MAX_UPLOADS)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            changes.begun = 0
        changes.gate.set()
        await put(peers)


async def test_a_change_is_seen_through_when_its_sender_goes_away() -> None:
    store, changes = SmallStore(), SmallChanges()
    changes.gate = asyncio.Event()
    receiving = service(store, changes=changes)
    async with listening(receiving) as port:
        async with linked(port) as peers:
            putting = asyncio.create_task(put(peers))
            await until(lambda: changes.begun)
            putting.cancel()
            await asyncio.wait([putting])
        await until(lambda: not receiving.proven)
        finishing = asyncio.create_task(receiving.finish())
        await until(lambda: receiving.is_finishing)
        assert not finishing.done()
        changes.gate.set()
        await finishing
    assert len(changes.adopted) == 1
    assert not store.staging


async def test_a_server_that_stops_begins_no_change_and_ends_those_under_way() -> None:
    changes = SmallChanges()
    receiving = service(SmallStore(), changes=changes)
    async with listening(receiving) as port, linked(port) as peers:
        upload = peers.upload(OTHER, None)
        await sent(upload)
        finishing = asyncio.create_task(receiving.finish())
        await until(lambda: receiving.is_finishing)
        for content in (SMALL, LARGE):
            with pytest.raises(PeerUnreachable, match=r"^is stopping$"):
                await put(peers, content)
        assert not finishing.done()
        await upload.adopt(PATH, *made())
        await upload.close()
        async with asyncio.timeout(10):
            await finishing
    assert len(changes.adopted) == 1


async def test_a_server_that_closes_aborts_what_was_being_adopted() -> None:
    store, changes = SmallStore(), SmallChanges()
    changes.gate = asyncio.Event()
    async with listening(service(store, changes=changes)) as port, linked(port) as peers:
        putting = asyncio.create_task(put(peers))
        await until(lambda: changes.begun)
    with pytest.raises(PeerUnreachable):
        await putting
    assert not store.staging


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("then", ["write", "finish", "adopt"])
async def test_an_upload_that_is_cut_leaves_nothing(finished: bool, then: str) -> None:
    store, changes = SmallStore(), SmallChanges()
    receiving = service(store, changes=changes)
    async with listening(receiving) as port, linked(port, peer_timeout_s=30) as peers:
        upload = peers.upload(OTHER, None)
        await many(upload, LARGE, 4)
        if finished:
            await upload.finish(digest_of(LARGE * 4))
        await until(lambda: store.staging)
        (stream,) = peers._transfers[OTHER]._pool._streams
        await receiving.close()
        await stream.ended.wait()
        steps = {
            "write": lambda: upload.write(LARGE),
            "finish": lambda: upload.finish(digest_of(LARGE)),
            "adopt": lambda: upload.adopt(PATH, *made()),
        }
        if then != "adopt" or finished:
            with pytest.raises(PeerUnreachable, match="connection lost"):
                await steps[then]()
        await until(lambda: not store.staging)
        await upload.close()
    assert not changes.adopted


async def test_a_change_that_is_cut_off_while_it_is_adopted() -> None:
    changes = SmallChanges()
    changes.gate = asyncio.Event()
    receiving = service(SmallStore(), changes=changes)
    async with listening(receiving) as port, linked(port, peer_timeout_s=30) as peers:
        putting = asyncio.create_task(put(peers, LARGE))
        await until(lambda: changes.begun)
        await receiving.close()
        with pytest.raises(PeerUnreachable, match="connection lost"):
            await putting


async def test_a_peer_that_is_down_is_not_called() -> None:
    async with listening(service(SmallStore())) as port:
        pass
    async with linked(port) as peers:
        await settled(peers, PeerState.DOWN)
        upload = peers.upload(OTHER, None)
        for _ in range(2):
            with pytest.raises(PeerUnreachable, match=r"^refused the connection$"):
                await upload.write(SMALL)
        with pytest.raises(PeerUnreachable, match=r"^refused the connection$"):
            await peers.upload(OTHER, None).adopt(PATH, *made())


@pytest.mark.parametrize(
    "said",
    [
        [],
        [Working()],
        [Pong(1)],
        [ADOPTED],
        [Staged(), Staged()],
        [Staged(), Working()],
        [Staged(), ADOPTED, ADOPTED],
    ],
)
async def test_a_peer_that_says_the_wrong_thing_or_nothing(said: Sequence[Message]) -> None:
    async def saying(frames: Frames) -> None:
        assert isinstance(await frames.request(), Put)
        assert isinstance(await frames.request(), PutEnd)
        frames.say(*said)
        await frames.request()
        await frames.request()

    async with behaving(answering(saying)) as port, linked(port, peer_timeout_s=0.2) as peers:
        await settled(peers, PeerState.UP)
        with pytest.raises(PeerUnreachable, match=r"not asked for|said nothing for 0.2 s"):
            await put(peers)


async def test_a_reply_before_its_time_is_none() -> None:
    async def hasty(frames: Frames) -> None:
        assert isinstance(await frames.request(), Put)
        frames.say(Staged())
        await frames.request()

    async with behaving(answering(hasty)) as port, linked(port) as peers:
        upload = peers.upload(OTHER, None)
        with pytest.raises(PeerUnreachable, match="not asked for"):
            await many(upload, LARGE, 100)
        await upload.close()


async def test_a_peer_that_dies_before_acknowledging_is_unreachable_at_once() -> None:
    async def dying(frames: Frames) -> None:
        while not isinstance(await frames.request(), Adopt):
            pass
        frames.writer.transport.abort()

    async with behaving(answering(dying)) as port, linked(port, peer_timeout_s=30) as peers:
        await settled(peers, PeerState.UP)
        upload = peers.upload(OTHER, None)
        with pytest.raises(PeerUnreachable, match="connection lost"):
            await upload.adopt(PATH, *made())
        await upload.close()


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    async def deaf(frames: Frames) -> None:
        frames.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with behaving(answering(deaf)) as port, linked(port, peer_timeout_s=0.2) as peers:
        upload = peers.upload(OTHER, None)
        with pytest.raises(PeerUnreachable, match=r"^took nothing and said nothing for 0.2 s$"):
            await many(upload, LARGE, 200)
        await upload.close()


async def test_a_kept_connection_that_breaks_when_it_is_used_again_is_replaced() -> None:
    """The peer may have closed it at the very moment; a new one tells whether the peer is there."""
    for content, kept in ((SMALL, True), (b"x" * (REPLAY_BYTES - 1000), True), (b"x" * (REPLAY_BYTES + 1), False)):
        calls = 0

        async def forgetful(frames: Frames) -> None:
            nonlocal calls
            calls += 1
            while True:
                match await frames.request():
                    case PutEnd():
                        frames.say(Staged())
                    case Adopt():
                        frames.say(ADOPTED)
                        await frames.request()
                        return

        async with behaving(answering(forgetful)) as port, linked(port, ping_every_s=60) as peers:
            await settled(peers, PeerState.UP)
            await put(peers)
            assert calls == 2
            if kept:
                await put(peers, content)
                assert calls == 3
            else:
                with pytest.raises(PeerUnreachable, match="connection lost"):
                    await put(peers, content)


async def test_an_adoption_alone_is_said_again_on_a_new_connection() -> None:
    calls = 0

    async def forgetful(frames: Frames) -> None:
        nonlocal calls
        calls += 1
        assert isinstance(await frames.request(), Adopt)
        frames.say(ADOPTED)
        await frames.request()

    async with behaving(answering(forgetful)) as port, linked(port, ping_every_s=60) as peers:
        await settled(peers, PeerState.UP)
        for expected_calls in (2, 3):
            upload = peers.upload(OTHER, None)
            await upload.adopt(PATH, *made())
            await upload.close()
            assert calls == expected_calls


async def test_an_upload_while_this_server_stops() -> None:
    async with listening(service(SmallStore())) as port:
        async with linked(port) as peers:
            upload = peers.upload(OTHER, None)
            await upload.write(LARGE)
        with pytest.raises(PeerUnreachable, match=r"^this server is stopping$"):
            await upload.finish(digest_of(LARGE))
        with pytest.raises(PeerUnreachable, match="stopping"):
            await put(peers)
        await upload.close()
