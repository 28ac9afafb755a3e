"""What every store keeps when it is looked into: answers, open copies, rot, listings. Part of the store conformance suite."""

from __future__ import annotations

from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Absent, Checking, Damaged, Present
from accord.model.versions import found
from accord.store import port
from accord.store.port import is_answer
from accord.testing.conformance import HELLO, WAIT_S, Disk, listed, opened, present, version_of
from accord.testing.memory_bytes import digest_of


class ReadingConformance:
    """Test methods take the fixture `disk`."""

    async def test_a_file_is_opened_with_its_digest_and_read(self, disk: Disk) -> None:
        disk.write(HELLO, b"This is a test")
        copy = await opened(disk.store)
        assert (copy.answer.digest, copy.answer.size) == (digest_of(b"This is a test"), 14)
        assert await copy.read(0, 100) == b"This is a test"
        assert await copy.read(10, 2) == b"te"
        assert copy.read_now(0, 100) in (None, b"This is a test")
        assert copy.read_now(14, 100) in (None, b"")
        assert copy.unchanged()
        copy.close()
        copy.close()

    async def test_what_is_known_is_glanced_at(self, disk: Disk) -> None:
        disk.write(HELLO, b"This is a test")
        answer = await present(disk.store)
        held = disk.store.glance(HELLO)
        if held is not None:  # an adapter may say that it cannot tell
            assert not is_answer(held)
            assert held.answer == answer
            held.close()
        assert disk.store.glance_answer(HELLO) in (None, answer)

    async def test_a_glance_never_vouches_for_other_content(self, disk: Disk) -> None:
        disk.write(HELLO, b"one")
        await present(disk.store)
        disk.write(HELLO, b"two")
        assert disk.store.glance(HELLO) is None
        assert disk.store.glance_answer(HELLO) is None
        assert (await present(disk.store)).digest == digest_of(b"two")

    async def test_nothing_is_absent(self, disk: Disk) -> None:
        assert await disk.store.examine(HELLO, wait_s=0) == Absent()
        assert await disk.store.examine(FilePath("no/such/folder"), wait_s=0) == Absent()
        assert disk.store.glance(HELLO) in (None, Absent())
        assert disk.store.glance_answer(HELLO) in (None, Absent())

    async def test_found_content_has_the_clock_of_its_bytes(self, disk: Disk) -> None:
        disk.write(HELLO, b"the same everywhere")
        answer = await present(disk.store)
        (dot, version), *none = answer.clock.current()
        assert (none, version.digest, dot.counter) == ([], answer.digest, 1)
        assert answer.clock.context() == found(version_of(b"the same everywhere")).context()

    async def test_rot_is_found_marked_and_kept_apart_from_change(self, disk: Disk) -> None:
        disk.write(HELLO, b"sound")
        copy = await opened(disk.store)
        digest = copy.answer.digest
        disk.rot(HELLO)
        found_out = await disk.store.find_damage(copy)
        copy.close()
        assert isinstance(found_out, Damaged)
        assert (found_out.digest, found_out.clock) == (digest, copy.answer.clock)
        assert disk.store.glance(HELLO) is None
        assert await disk.store.examine(HELLO, wait_s=WAIT_S) == found_out
        assert [one.answer for one in listed(disk.store)] == [found_out]

    async def test_rot_is_found_by_rereading(self, disk: Disk) -> None:
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        assert isinstance(await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True), Damaged)

    async def test_a_damaged_copy_that_is_restored_is_healthy(self, disk: Disk) -> None:
        disk.write(HELLO, b"sound")
        before = await present(disk.store)
        disk.rot(HELLO)
        assert isinstance(await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True), Damaged)
        disk.write(HELLO, b"sound")
        after = await present(disk.store)
        assert (after.digest, after.clock) == (before.digest, before.clock)

    async def test_an_empty_file_is_a_file(self, disk: Disk) -> None:
        disk.write(HELLO, b"")
        copy = await opened(disk.store)
        assert (await copy.read(0, 10), list(await copy.block_digests())) == (b"", [])
        copy.close()

    async def test_blocks_are_proven_against_the_whole(self, disk: Disk) -> None:
        size = port.BLOCK_BYTES
        content = bytes(range(256)) * (size // 256) + b"and a bit more"
        disk.write(HELLO, content)
        copy = await opened(disk.store)
        for _ in range(2):
            assert list(await copy.block_digests()) == [digest_of(content[:size]), digest_of(content[size:])]
        copy.close()

    async def test_a_second_copy_is_open_when_the_first_is_closed(self, disk: Disk) -> None:
        content = bytes(port.BLOCK_BYTES + 1)
        disk.write(HELLO, content)
        copy = await opened(disk.store)
        again = copy.again()
        copy.close()
        assert (again.path, again.answer) == (copy.path, copy.answer)
        assert (await again.read(0, 3), again.unchanged()) == (bytes(3), True)
        assert len(await again.block_digests()) == 2
        again.close()

    async def test_a_listing_is_in_the_order_of_utf_8_bytes(self, disk: Disk) -> None:
        names = ["a.txt", "a/b.txt", "a0", "a/b/c", "Z", "é", "😀/x", "\uffff"]
        for name in names:
            disk.write(name, b"x")
        paths = [one.path for one in listed(disk.store)]
        assert paths == sorted(names, key=lambda name: name.encode())
        assert [one.path for one in listed(disk.store, "a")] == ["a/b.txt", "a/b/c"]
        assert [one.path for one in listed(disk.store, "", "a/b.txt")] == paths[paths.index(FilePath("a/b.txt")) + 1 :]
        assert listed(disk.store, "nowhere") == []

    async def test_a_listing_comes_in_pages(self, disk: Disk) -> None:
        for number in range(PAGE_PATHS + 3):
            disk.write(f"many/{number:05}", b"")
        sizes = [len(page) for page in disk.store.walk(Prefix(""), None)]
        assert sum(sizes) == PAGE_PATHS + 3
        assert max(sizes) <= PAGE_PATHS

    async def test_a_listing_has_the_digests_that_are_known(self, disk: Disk) -> None:
        disk.write(HELLO, b"known")
        answer = await present(disk.store)
        assert listed(disk.store) == [Walked(HELLO, answer)]
        disk.write(HELLO, b"not known yet")
        (one,) = listed(disk.store)
        assert isinstance(one.answer, Checking | Present)
        if isinstance(one.answer, Present):
            assert one.answer.digest == digest_of(b"not known yet")

    async def test_it_says_how_far_indexing_is(self, disk: Disk) -> None:
        assert disk.store.indexing().hashed_files >= 0
        assert disk.store.degraded() is None
