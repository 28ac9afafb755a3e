"""How a peer cuts a version: told in order, in several frames; and what cannot be believed is not taken."""

from __future__ import annotations

import pytest

from accord.errors import IntegrityError, NoSuchVersion, PeerUnreachable
from accord.model.chunks import MAX_CHUNK_BYTES, Chunk
from accord.model.names import DIGEST_BYTES, FilePath
from accord.peers import transfers
from accord.peers.wire import MAX_CHUNKS_PER_FRAME, ChunkList, ChunksOf, End
from tests.peers.by_hand import Frames, answering
from tests.peers.loopback import OTHER, SmallStore, behaving, digest_of, linked, listening, service

PATH = FilePath("disk.img")


@pytest.mark.parametrize("count", [0, 1, MAX_CHUNKS_PER_FRAME, MAX_CHUNKS_PER_FRAME + 1])
async def test_chunks_arrive_in_order(count: int) -> None:
    content = b"".join(b"%04x" % number for number in range(count))
    store = SmallStore({PATH: content})
    async with listening(service(store)) as port, linked(port) as peers:
        told = await peers.chunks(OTHER, PATH, digest_of(content))
        assert list(told) == [Chunk(4, digest_of(content[at : at + 4])) for at in range(0, len(content), 4)]
    assert store.open_copies == 0


async def test_of_a_version_that_is_not_there_nothing_is_told() -> None:
    async with listening(service(SmallStore({PATH: b"one"}))) as port, linked(port) as peers:
        with pytest.raises(NoSuchVersion):
            await peers.chunks(OTHER, PATH, digest_of(b"two"))


async def test_of_a_rotten_copy_nothing_is_told() -> None:
    store = SmallStore({PATH: b"sound"})
    store.files[PATH] = b"rotten"
    async with listening(service(store)) as port, linked(port) as peers:
        with pytest.raises(IntegrityError):
            await peers.chunks(OTHER, PATH, digest_of(b"sound"))
    assert store.open_copies == 0


@pytest.mark.parametrize(
    "told",
    [
        ChunkList([1], b""),
        ChunkList([], bytes(DIGEST_BYTES)),
        ChunkList([1, 2], bytes(DIGEST_BYTES)),
        ChunkList([MAX_CHUNK_BYTES + 1], bytes(DIGEST_BYTES)),
        ChunkList([2**60], bytes(DIGEST_BYTES)),
        ChunkList([0], bytes(DIGEST_BYTES)),
        ChunkList([1, 1, 1, 1], bytes(4 * DIGEST_BYTES)),
    ],
    ids=["no digest", "no size", "too few digests", "too long", "far too long", "empty", "too many"],
)
async def test_chunks_that_are_none(told: ChunkList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "MAX_CHUNKS", 3)

    async def confused(frames: Frames) -> None:
        assert isinstance(await frames.request(), ChunksOf)
        frames.say(told, End())
        await frames.request()

    async with behaving(answering(confused)) as port, linked(port) as peers:
        with pytest.raises(PeerUnreachable):
            await peers.chunks(OTHER, PATH, digest_of(b"any"))
