"""What a server takes of changes that are sent by hand: whatever makes no sense ends the connection and leaves nothing."""

from __future__ import annotations

import asyncio

import pytest

from accord.codec import encode_clock, encode_events
from accord.model.history import Event
from accord.model.names import ServerName
from accord.model.versions import EMPTY_CLOCK
from accord.peers.framing import MAX_FRAME_BYTES, data_header, framed
from accord.peers.wire import (
    Adopt,
    Check,
    Failed,
    Fetch,
    Ping,
    Put,
    PutEnd,
    Recall,
    Staged,
    Update,
    Working,
)
from accord.server import peer_changes
from accord.store.port import SMALL_CONTENT_BYTES
from tests.peers.by_hand import calling
from tests.peers.loopback import ADOPTED, THIRD, SmallChanges, SmallStore, digest_of, listening, service, until

CLOCK, EVENTS = encode_clock(EMPTY_CLOCK), encode_events([])
ADOPT = framed(Adopt("notes.txt", CLOCK, EVENTS, 1000))


def content(raw: bytes) -> bytes:
    return data_header(len(raw)) + raw


def put(raw: bytes, size: int | None = None) -> bytes:
    return framed(Put(size, 1000)) + content(raw) + framed(PutEnd(bytes(digest_of(raw))))


@pytest.mark.parametrize(
    "said",
    [
        content(b"without a put"),
        framed(PutEnd(b"d" * 32)),
        framed(Put(None, 1000)) + ADOPT,
        framed(Put(None, 1000)) + content(b"some") + framed(Put(None, 1000)),
        framed(Put(None, 1000)) + content(b"some") + framed(Ping(1)),
        framed(Put(None, 1000)) + content(b"some") + b"\x00\x00\x00\x05\x00hello",
        framed(Put(None, 1000)) + b"\x00\x00\x00\x05\x07hello",
        framed(Put(None, 1000)) + data_header(MAX_FRAME_BYTES + 1),
        framed(Put(3, 1000)) + content(b"more than three"),
        put(b"some") + content(b"unannounced"),
        put(b"some") + framed(Ping(1)),
        put(b"some") + framed(PutEnd(b"d" * 32)),
        put(b"some") + framed(Fetch("notes.txt", b"d" * 32, 0, None, 1000)),
        put(b"some") + ADOPT + ADOPT,
        put(b"some") * (peer_changes.MAX_CONTENTS + 1),
        put(b"some") + framed(Adopt("../notes.txt", CLOCK, EVENTS, 1000)),
        put(b"some") + framed(Adopt("", CLOCK, EVENTS, 1000)),
        put(b"some") + framed(Adopt(".accord/index", CLOCK, EVENTS, 1000)),
        put(b"some") + framed(Adopt("notes.txt", b"no clock", EVENTS, 1000)),
        put(b"some") + framed(Adopt("notes.txt", CLOCK, b"no events", 1000)),
        put(b"some") + framed(Adopt("notes.txt", CLOCK, encode_clock(EMPTY_CLOCK)[:1], 1000)),
        framed(Adopt("notes.txt", b"", b"", 1000)),
        framed(Update(["notes.txt", "../secret"], 1000)),
        framed(Recall("../secret", 1000)),
        framed(Recall("notes.txt", 1000)) + framed(Put(None, 1000)),
    ],
)
async def test_what_makes_no_sense_ends_the_connection_and_leaves_nothing(said: bytes) -> None:
    store, changes = SmallStore({"notes.txt": b"x" * 5_000_000}), SmallChanges()
    changes.gate = asyncio.Event()
    receiving = service(store, changes=changes)
    async with listening(receiving) as port, calling(port) as caller:
        caller.writer.write(said)
        await until(lambda: not receiving.proven or changes.begun)
        changes.gate.set()
        await until(lambda: not receiving.proven)
        await until(lambda: not store.staging)
    assert not changes.updated
    assert not [path for _, path, *_ in changes.adopted if path != "notes.txt"]


async def test_the_sender_is_who_it_proved_to_be() -> None:
    changes = SmallChanges()
    async with listening(service(SmallStore(), changes=changes)) as port, calling(port, THIRD) as caller:
        caller.writer.write(put(b"some"))
        assert await caller.reply() == Staged()
        caller.writer.write(ADOPT)
        assert await caller.reply() == ADOPTED
    assert changes.adopted == [(ServerName("server3"), "notes.txt", EMPTY_CLOCK, list[Event](), [b"some"])]


async def test_after_a_failure_what_still_comes_is_thrown_away() -> None:
    store = SmallStore()
    store.capacity_bytes = 3
    receiving = service(store)
    async with listening(receiving) as port, calling(port) as caller:
        caller.writer.write(put(b"four"))
        assert await caller.reply() == Failed("full", "has no space left")
        assert not store.staging
        caller.writer.write(put(b"x" * 4_000_000) * 3 + ADOPT + framed(Check(1, ["notes.txt"], 0, False)))
        await caller.writer.drain()
        assert len(receiving.proven) == 1
    await until(lambda: not receiving.proven)


async def test_whoever_stops_sending_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_changes, "STALL_LIMIT_S", 0.1)
    monkeypatch.setattr(peer_changes, "DISCARD_LIMIT_S", 0.1)
    store = SmallStore()
    receiving = service(store)
    async with listening(receiving) as port:
        for said in (framed(Put(None, 1000)), put(b"some"), framed(Put(None, 1000)) + content(b"some")[:7]):
            async with calling(port) as caller:
                caller.writer.write(said)
                while await caller.reply() is not None:
                    pass
            await until(lambda: not store.staging)
        receiving.is_finishing = True
        async with calling(port) as caller:
            caller.writer.write(put(b"some"))
            assert await caller.reply() == Failed("stopping", "is stopping")
            assert await caller.reply() is None


async def test_a_sender_is_told_that_work_goes_on_and_nothing_while_it_is_its_turn() -> None:
    store, changes = SmallStore(), SmallChanges()
    store.finish_gate, changes.gate = asyncio.Event(), asyncio.Event()
    async with listening(service(store, changes=changes)) as port, calling(port) as caller:
        long = b"some" * SMALL_CONTENT_BYTES
        caller.writer.write(framed(Put(None, 60)) + content(long))
        await until(lambda: store.staging and store.staging[0].size == len(long))
        await asyncio.sleep(0.1)
        caller.say(PutEnd(bytes(digest_of(long))))
        assert await caller.reply() == Working()
        assert await caller.reply() == Working()
        store.finish_gate.set()
        while (told := await caller.reply()) == Working():
            pass
        assert told == Staged()
        await asyncio.sleep(0.1)
        caller.writer.write(ADOPT)
        assert await caller.reply() == Working()
        changes.gate.set()
        while (told := await caller.reply()) == Working():
            pass
        assert told == ADOPTED


async def test_a_disk_that_hangs_is_not_spoken_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_changes, "DISK_LIMIT_S", 0.1)
    store = SmallStore()
    store.write_gate = asyncio.Event()
    async with listening(service(store)) as port, calling(port) as caller:
        caller.writer.write(framed(Put(None, 60)) + content(b"some"))
        heard = 0
        try:
            async with asyncio.timeout(0.5):
                while await caller.reply() == Working():
                    heard += 1
        except TimeoutError:
            pass
        assert 1 <= heard <= 6
