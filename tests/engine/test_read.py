"""One read: who is asked, how far the copies are trusted, and which version a digest names."""

from __future__ import annotations

import asyncio

import pytest

from accord.engine.history import Historian
from accord.engine.read import NOT_ASKED, Verify, find_version
from accord.engine.transfer import CopyFailed
from accord.errors import DamagedEverywhere, InvalidQuery, NoSuchVersion, UnknownState
from accord.model.names import Digest, DigestPrefix, FilePath
from accord.model.verdict import Absent, Checking, Damaged, Kind, Present, State
from accord.model.versions import Version, found
from accord.testing.memory_store import MemoryStore, digest_of
from tests.engine.trio import ME, PATH, SECOND, SMALL, THIRD, Trio, trio
from tests.verdicts import state_of


async def everywhere(servers: Trio, content: bytes = SMALL) -> None:
    for store in (servers.mine, servers.second, servers.third):
        store.put_outside(PATH, content)
        await store.examine(PATH, wait_s=1)


async def test_stat_data_vouch_for_the_replicas_by_default() -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.third.rot(PATH)
        reading = await servers.reader.read(PATH)
        assert reading.verdict.kind is Kind.IDENTICAL
        reading.close()


async def test_with_verify_content_every_copy_is_read_anew() -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.mine.rot(PATH)
        servers.third.rot(PATH)
        reading = await servers.reader.read(PATH, Verify.CONTENT)
        assert [report.state for report in reading.verdict.servers] == [State.DAMAGED, State.CURRENT, State.DAMAGED]
        assert reading.mine is None
        reading.close()


async def test_with_verify_none_nobody_is_asked() -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.peers.faults[SECOND].hold = asyncio.Event()  # asking it would never end
        async with asyncio.timeout(5):
            reading = await servers.reader.read(PATH, Verify.NONE)
        assert reading.verdict.kind is Kind.UNVERIFIED
        assert reading.answers[SECOND] == reading.answers[THIRD] == NOT_ASKED
        reading.close()


async def test_an_everyday_read_has_two_halves() -> None:
    async with trio() as servers:
        await everywhere(servers)
        begun = servers.reader.begin(PATH, Verify.STAT)
        assert begun is not None
        assert not begun.asked.done(), "the peers are asked meanwhile"
        await begun.asked
        reading = servers.reader.conclude(begun)
        assert (reading.verdict.kind, reading.mine) == (Kind.IDENTICAL, begun.mine)
        assert reading.answers.keys() == {ME, SECOND, THIRD}
        reading.close()


async def test_what_takes_a_wait_is_no_everyday_read() -> None:
    async with trio() as servers:
        assert servers.reader.begin(FilePath("nothing"), Verify.STAT) is None
        servers.mine.put_outside(PATH, SMALL)
        assert servers.reader.begin(PATH, Verify.STAT) is None, "not hashed yet"
        await servers.mine.examine(PATH, wait_s=1)
        servers.mine.cold = True
        assert servers.reader.begin(PATH, Verify.STAT) is None


async def test_conclude_says_who_lacks_a_copy() -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.third.remove_outside(PATH)
        begun = servers.reader.begin(PATH, Verify.STAT)
        assert begun is not None
        await begun.asked
        reading = servers.reader.conclude(begun)
        reading.close()
        assert reading.verdict.kind is Kind.PARTIAL
        assert servers.peers.suggested == [(THIRD, PATH)]


async def test_a_read_that_is_cancelled_closes_its_copy() -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.peers.faults[SECOND].hold = asyncio.Event()
        reading = asyncio.create_task(servers.reader.read(PATH))
        await asyncio.sleep(0)
        assert servers.mine.open_copies == 1
        reading.cancel()
        await asyncio.wait([reading])
        assert servers.mine.open_copies == 0


async def test_a_rotten_copy_of_one_s_own_is_found_out_and_another_s_is_sent() -> None:
    async with trio() as servers:
        await everywhere(servers)
        servers.mine.rot(PATH)
        reading, body = await servers.body()
        with pytest.raises(CopyFailed) as failure:
            body.whole_now()
        await servers.reader.copy_failed(failure.value)
        reading.close()
        assert await servers.get() == SMALL


async def test_a_copy_still_being_hashed_counts_as_no_answer() -> None:
    async with trio(hash_wait_s=0) as servers:
        await everywhere(servers)
        servers.mine.hold_hashing(PATH)
        reading = await servers.reader.read(PATH)
        assert isinstance(reading.local, Checking)
        assert state_of(reading.verdict, ME) is State.CHECKING
        servers.mine.release_hashing()


async def test_nobody_has_a_good_copy() -> None:
    async with trio() as servers:
        version = Version(digest_of(SMALL), len(SMALL), 1, "server2")
        damaged = Damaged("rot", version.digest, found(version))
        servers.mine.answer_always(PATH, damaged)
        reading = await servers.reader.read(PATH)
        with pytest.raises(DamagedEverywhere):
            servers.reader.body(reading, reading.verdict.version)


# --- find_version ---


def prefix_of(content: bytes, digits: int = 64) -> DigestPrefix:
    return DigestPrefix("blake3:" + digest_of(content).hex()[:digits])


async def test_a_rival_is_found_by_its_digest_with_its_holders() -> None:
    async with trio() as servers:
        servers.mine.put_outside(PATH, b"one")
        servers.second.put_outside(PATH, b"two")
        servers.third.put_outside(PATH, b"two")
        reading = await servers.reader.read(PATH)
        held = find_version(reading, prefix_of(b"two", 12))
        assert (held.version.digest, held.servers) == (digest_of(b"two"), (SECOND, THIRD))
        assert held in reading.verdict.versions
        reading.close()


async def test_a_version_that_is_not_current_is_found_where_it_is_held() -> None:
    async with trio() as servers:
        old = Present(digest_of(b"old"), 3, 7, found(Version(digest_of(b"old"), 3, 7, "server3")), executable=True)
        servers.mine.put_outside(PATH, b"new")
        reading = await servers.reader.read(PATH)
        reading.answers = {**reading.answers, THIRD: old}
        held = find_version(reading, prefix_of(b"old"))
        assert held is not None
        assert held.servers == (THIRD,)
        assert (held.version.size, held.version.modified_ns, held.version.executable) == (3, 7, True)
        reading.close()


async def test_a_version_that_nobody_has_is_said_not_to_be_only_if_all_said_so() -> None:
    async with trio() as servers:
        await everywhere(servers)
        reading = await servers.reader.read(PATH)
        historian = Historian(ME, servers.mine, servers.peers)
        with pytest.raises(NoSuchVersion):
            await historian.find(reading, prefix_of(b"never"))
        reading.close()
        servers.peers.faults[THIRD].down = "cannot be connected to"
        reading = await servers.reader.read(PATH)
        with pytest.raises(UnknownState, match="server3 did not answer"):
            await historian.find(reading, prefix_of(b"never"))
        reading.close()


async def test_a_prefix_that_fits_two_versions_is_refused() -> None:
    async with trio() as servers:
        twins = [Digest(bytes.fromhex("ab" * 31 + last)) for last in ("01", "02")]
        servers.mine.answer_always(PATH, Present(twins[0], 1, 1, found(Version(twins[0], 1, 1, "a"))))
        servers.second.answer_always(PATH, Present(twins[1], 1, 1, found(Version(twins[1], 1, 1, "b"))))
        reading = await servers.reader.read(PATH)
        with pytest.raises(InvalidQuery, match="2 versions"):
            find_version(reading, DigestPrefix("blake3:" + "ab" * 8))


async def test_a_server_alone_answers_alone() -> None:
    async with trio() as servers:
        reading = await servers.reader.read(PATH)
        assert (reading.verdict.kind, reading.local) == (Kind.MISSING, Absent())
        assert isinstance(servers.mine, MemoryStore)
