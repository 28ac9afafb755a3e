"""What peers remember, versions kept aside and in history, being brought up to date, and word of who can be asked again."""

from __future__ import annotations

import asyncio

import pytest

from accord.codec import encode_events
from accord.errors import IntegrityError, NoSuchVersion, PeerUnreachable, StoreFailed
from accord.model.history import Deed, Event, Remembered
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Absent, Damaged, Deleted
from accord.model.versions import EMPTY_CLOCK, Actor, Dot, Version
from accord.peers import transfers
from accord.peers.message import Message
from accord.peers.port import PeerState
from accord.peers.wire import (
    MAX_CHUNKS_PER_FRAME,
    MAX_PATHS_PER_FRAME,
    ChunkList,
    ChunksOf,
    End,
    Memories,
    Recall,
    Update,
    Updated,
)
from accord.server.peer_transfers import MEMORIES_A_FRAME
from tests.peers.by_hand import Frames, answering
from tests.peers.loopback import (
    OTHER,
    SmallChanges,
    SmallStore,
    behaving,
    digest_of,
    linked,
    listening,
    present,
    service,
    settled,
    until,
)

PATH = FilePath("notes.txt")


def remembered(number: int) -> Remembered:
    version = Version(digest_of(b"%d" % number), number, number, "Zoë")
    event = Event(Dot(Actor("server2/x"), number + 1), version, number, Deed.PUT, (), "why " * 100)
    return Remembered(event, number == 0, number % 2 == 0)


async def fetched(peers: transfers.Transfers | object, content: bytes) -> bytes:
    return b"".join([block async for block in peers.fetch(OTHER, PATH, digest_of(content))])  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 1, MEMORIES_A_FRAME, 3 * MEMORIES_A_FRAME + 1])
async def test_memories_arrive_in_order(count: int) -> None:
    store = SmallStore()
    store.histories[PATH] = [remembered(number) for number in range(count)]
    async with listening(service(store)) as port, linked(port) as peers:
        assert await peers.recall(OTHER, PATH) == store.histories[PATH]
        assert await peers.recall(OTHER, FilePath("other")) == []


@pytest.mark.parametrize(
    "memories",
    [
        Memories(b"garbage", [], []),
        Memories(encode_events([remembered(1).event]), [], [True]),
        Memories(encode_events([remembered(1).event]), [True], []),
        Memories(encode_events([]), [True], [True]),
    ],
)
async def test_memories_that_are_none(memories: Memories) -> None:
    async def confused(frames: Frames) -> None:
        assert isinstance(await frames.request(), Recall)
        frames.say(memories, End())
        await frames.request()

    async with behaving(answering(confused)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match=r"cannot be read|not asked for"):
            await peers.recall(OTHER, PATH)


async def test_a_store_that_cannot_remember_is_unreachable() -> None:
    class Broken(SmallStore):
        async def history(self, path: FilePath) -> list[Remembered]:
            raise StoreFailed("The index cannot be read.")

    async with listening(service(Broken())) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match="index cannot be read"):
            await peers.recall(OTHER, PATH)


async def test_versions_aside_and_in_history_are_fetched() -> None:
    store = SmallStore({"notes.txt": b"at the path"})
    large = bytes(5_000_000)
    for content in (b"aside", b"", large):
        store.keep("notes.txt", content)
    async with listening(service(store)) as port, linked(port) as peers:
        for content in (b"aside", b"at the path", b"", large):
            assert await fetched(peers, content) == content
        assert store.shared == [PATH]
        for answer in (Absent(), Deleted(EMPTY_CLOCK), Damaged("rot", digest_of(b"at the path"))):
            store.answers[PATH] = answer
            assert await fetched(peers, b"aside") == b"aside"
        with pytest.raises(IntegrityError, match="damaged"):
            await fetched(peers, b"at the path")
        store.answers[PATH] = present(b"at the path")
        with pytest.raises(NoSuchVersion):
            await fetched(peers, b"never heard of")
    await until(lambda: store.open_copies == 0)


async def test_a_kept_version_that_came_to_the_path_is_shared_first() -> None:
    class Quick(SmallStore):
        async def open_version(self, path: FilePath, digest: object) -> object:
            self.files[PATH], self.answers[PATH] = b"new", present(b"new")
            return await super().open(path, wait_s=0)

    store = Quick({"notes.txt": b"old"})
    async with listening(service(store)) as port, linked(port) as peers:
        assert await fetched(peers, b"new") == b"new"
    assert store.shared == [PATH]


async def test_paths_are_brought_up_to_date_in_order() -> None:
    changes = SmallChanges()
    changes.reasons[FilePath("b")] = "server3 could not be asked"
    changes.errors[FilePath("c")] = StoreFailed("The disk is broken.")
    paths = [FilePath(name) for name in ("d", "b", "c", "a")]
    async with listening(service(SmallStore(), changes=changes)) as port, linked(port) as peers:
        told = await peers.update(OTHER, paths)
        assert await peers.update(OTHER, []) == []
        with pytest.raises(ValueError):
            await peers.update(OTHER, [PATH] * (MAX_PATHS_PER_FRAME + 1))
    assert told == [None, "server3 could not be asked", "The disk is broken", None]
    assert changes.updated == ["d", "b", "a"]


async def test_an_update_may_take_longer_than_the_patience_and_is_seen_through() -> None:
    changes = SmallChanges()
    changes.gate = asyncio.Event()
    receiving = service(SmallStore(), changes=changes)
    async with listening(receiving) as port, linked(port, peer_timeout_s=0.15) as peers:
        updating = asyncio.create_task(peers.update(OTHER, [PATH, FilePath("next")]))
        done, _ = await asyncio.wait([updating], timeout=0.5)
        assert not done
        updating.cancel()
        await until(lambda: len(receiving.proven) == 1)
        changes.gate.set()
        await receiving.finish()
    assert changes.updated == [PATH]


@pytest.mark.parametrize("reasons", [[], [None], [None, None, None]])
async def test_an_update_needs_a_word_on_every_path(reasons: list[str | None]) -> None:
    async def confused(frames: Frames) -> None:
        assert isinstance(await frames.request(), Update)
        frames.say(*map(Updated, reasons), End())
        await frames.request()

    async with behaving(answering(confused)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match=r"not asked for|every path"):
            await peers.update(OTHER, [PATH, FilePath("next")])


async def test_word_is_given_whenever_a_peer_is_up() -> None:
    up: list[ServerName] = []
    async with listening(service(SmallStore())) as port:
        context = linked(port, told_up=up.append)
        peers = await context.__aenter__()
        await until(lambda: up == [OTHER])
    await settled(peers, PeerState.DOWN)
    async with listening(service(SmallStore()), port):
        await until(lambda: up == [OTHER, OTHER])
        assert (await peers.ask(PATH))[OTHER] == Absent()
        await context.__aexit__(None, None, None)
    assert up == [OTHER, OTHER]


async def test_chunks_arrive_in_order_and_proven() -> None:
    content = bytes(range(250)) * 140
    store = SmallStore({"notes.txt": content})
    async with listening(service(store)) as port, linked(port) as peers:
        told = await peers.chunks(OTHER, PATH, digest_of(content))
        assert [chunk.digest for chunk in told] == [digest_of(content[at : at + 4]) for at in range(0, len(content), 4)]
        assert sum(chunk.size for chunk in told) == len(content)
        assert len(told) > MAX_CHUNKS_PER_FRAME
        with pytest.raises(NoSuchVersion):
            await peers.chunks(OTHER, PATH, digest_of(b"another"))
        store.files[PATH] = b"rotten"
        with pytest.raises(IntegrityError, match="damaged"):
            await peers.chunks(OTHER, PATH, digest_of(content))
    assert store.open_copies == 0


@pytest.mark.parametrize(
    "told",
    [
        ChunkList([4, 4], b"d" * 32),
        ChunkList([0], b"d" * 32),
        ChunkList([4], b"d" * 31),
        Memories(b"", [], []),
    ],
)
async def test_chunks_that_are_none(told: Message) -> None:
    async def confused(frames: Frames) -> None:
        assert isinstance(await frames.request(), ChunksOf)
        frames.say(told, End())
        await frames.request()

    async with behaving(answering(confused)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable):
            await peers.chunks(OTHER, PATH, digest_of(b"x"))


async def test_more_chunks_than_anybody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "MAX_CHUNKS", 5)
    store = SmallStore({"notes.txt": b"x" * 100})
    async with listening(service(store)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable, match="more than 5 chunks"):
            await peers.chunks(OTHER, PATH, digest_of(b"x" * 100))
