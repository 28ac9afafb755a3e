"""The peers in memory keep the promises that those over the network keep, as far as changes go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from accord.errors import Conflict, NoSuchVersion, PeerFailed, PeerUnreachable, StoreFailed
from accord.model.names import FilePath, ServerName
from accord.model.versions import EMPTY_CLOCK
from accord.testing.memory_peers import MemoryPeers
from tests.peers.loopback import ME, OTHER, SmallChanges, SmallStore, digest_of, linked, listening, service, until

PATH = FilePath("notes.txt")
CONTENT = b"some content"


class Two:
    """This server's peers, and the store and the engine of the only one."""

    def __init__(self, peers: Any, store: SmallStore, changes: SmallChanges) -> None:
        self.peers, self.store, self.changes = peers, store, changes


@pytest.fixture(params=["network", "memory"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    store, changes = SmallStore({"notes.txt": b"at the path"}), SmallChanges()
    if request.param == "memory":
        memory = MemoryPeers({OTHER: store}, me=ME)  # type: ignore[dict-item]
        memory.handlers[OTHER] = changes
        yield Two(memory, store, changes)
    else:
        async with listening(service(store, changes=changes)) as port, linked(port) as peers:
            yield Two(peers, store, changes)
    assert (store.staging, store.open_copies) == ([], 0)


async def test_content_and_change(two: Two) -> None:
    upload = two.peers.upload(OTHER, None)
    await upload.write(CONTENT[:4])
    await upload.write(CONTENT[4:])
    await upload.finish(digest_of(CONTENT))
    await upload.finish(digest_of(b""))
    await upload.adopt(PATH, EMPTY_CLOCK, [])
    await upload.adopt(PATH, EMPTY_CLOCK, [])
    await upload.close()
    assert two.changes.adopted == [
        (ME, PATH, EMPTY_CLOCK, [], [CONTENT, b""]),
        (ME, PATH, EMPTY_CLOCK, [], []),
    ]


async def test_what_is_not_adopted_is_dropped(two: Two) -> None:
    upload = two.peers.upload(OTHER, None)
    await upload.write(CONTENT)
    await upload.finish(digest_of(CONTENT))
    await upload.write(CONTENT)
    await upload.close()
    with pytest.raises(PeerUnreachable):
        await upload.write(CONTENT)
    await until(lambda: not two.store.staging)


async def test_wrong_bytes_and_full_disks(two: Two) -> None:
    for capacity_bytes, reason in ((None, "got other bytes than were meant"), (3, "has no space left")):
        two.store.capacity_bytes = capacity_bytes
        upload = two.peers.upload(OTHER, None)
        with pytest.raises(PeerFailed, match=f"^{reason}$"):  # noqa: PT012  # either may be the one that notices
            await upload.write(CONTENT)
            await upload.finish(digest_of(b"other content"))
        with pytest.raises(PeerFailed, match=f"^{reason}$"):
            await upload.adopt(PATH, EMPTY_CLOCK, [])
        await upload.close()
        await until(lambda: not two.store.staging)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (Conflict("There is a folder."), Conflict, r"cannot put it in its place \(There is a folder\)"),
        (StoreFailed("The disk is broken."), PeerFailed, r"its disk failed \(The disk is broken\)"),
    ],
)
async def test_changes_that_are_not_taken_over(two: Two, error: Exception, kind: type[Exception], reason: str) -> None:
    two.changes.errors[PATH] = error
    upload = two.peers.upload(OTHER, None)
    for _ in range(2):
        with pytest.raises(kind, match=f"^{reason}$"):
            await upload.adopt(PATH, EMPTY_CLOCK, [])
    await upload.close()


async def test_versions_and_updates(two: Two) -> None:
    kept = two.store.keep("notes.txt", CONTENT)
    assert [block async for block in two.peers.fetch(OTHER, PATH, kept)] == [CONTENT]
    assert [block async for block in two.peers.fetch(OTHER, PATH, digest_of(b"at the path"))] == [b"at the path"]
    assert two.store.shared == [PATH]
    with pytest.raises(NoSuchVersion):
        [block async for block in two.peers.fetch(OTHER, PATH, digest_of(b"elsewhere"))]
    two.changes.reasons[PATH] = "not now"
    assert await two.peers.update(OTHER, [PATH, FilePath("other")]) == ["not now", None]
    assert await two.peers.recall(OTHER, PATH) == []


async def test_faults_in_memory() -> None:
    store, changes = SmallStore(), SmallChanges()
    peers = MemoryPeers({OTHER: store}, me=ME)  # type: ignore[dict-item]
    peers.handlers[OTHER] = changes
    faults, up = peers.faults[OTHER], list[ServerName]()
    peers.on_up(up.append)
    faults.break_after_bytes = 20
    upload = peers.upload(OTHER, None)
    await upload.write(CONTENT)
    with pytest.raises(PeerUnreachable, match="connection lost"):
        await upload.write(CONTENT)
    assert not store.staging
    faults.loses_answers = True
    with pytest.raises(PeerUnreachable, match="connection lost"):
        await peers.upload(OTHER, None).adopt(PATH, EMPTY_CLOCK, [])
    assert len(changes.adopted) == 1
    faults.down = "is away"
    for doing in (
        peers.upload(OTHER, None).finish(digest_of(b"")),
        peers.recall(OTHER, PATH),
        peers.update(OTHER, [PATH]),
    ):
        with pytest.raises(PeerUnreachable, match=r"^is away$"):
            await doing
    peers.came_up(OTHER)
    assert up == [OTHER]
    assert await peers.update(OTHER, [PATH]) == [None]
