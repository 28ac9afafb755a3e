"""What every adapter of `store.port` keeps, as one suite: subclass `StoreConformance` in a test module and give it a `disk` fixture.

Only the contract is tested here, through the port and through `Disk` (the world outside). What is special to one adapter has tests of
its own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from accord.errors import AccordError, ChangedWhileReading, IntegrityError
from accord.model.listing import PAGE_PATHS, Walked
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Absent, Checking, Damaged, Present
from accord.model.versions import OutsideChanges, Version, found, merge
from accord.store.port import BLOCK_BYTES, Copy, Store, is_answer
from accord.testing.memory_store import digest_of

HELLO = FilePath("hello.txt")
WAIT_S = 30.0


class Disk(Protocol):
    """The directory of one store, as other programs reach it. Its store disputes outside changes."""

    store: Store

    def write(self, path: str, content: bytes) -> None:
        """Create or replace a file, behind the store's back."""
        ...

    def rewrite(self, path: str, content: bytes) -> None:
        """Write into the file that is there."""
        ...

    def touch(self, path: str) -> None:
        """The same content, newly dated."""
        ...

    def remove(self, path: str) -> None: ...

    def rot(self, path: str) -> None:
        """The first bit flips; nothing tells but the content."""
        ...

    def content(self, path: str) -> bytes | None: ...


def version_of(content: bytes, *, modified_ns: int = 1_600_000_000_000_000_000, executable: bool = False) -> Version:
    return Version(digest_of(content), len(content), modified_ns, "server2", executable)


async def opened(store: Store, path: FilePath = HELLO) -> Copy:
    held = await store.open(path, wait_s=WAIT_S)
    assert not is_answer(held), held
    return held


async def present(store: Store, path: FilePath = HELLO) -> Present:
    answer = await store.examine(path, wait_s=WAIT_S)
    assert isinstance(answer, Present), answer
    return answer


async def take_in(store: Store, path: FilePath, content: bytes, replacing: Absent | Damaged) -> Present | None:
    version = version_of(content)
    staging = await store.stage(path, version, found(version), replacing=replacing)
    for start in range(0, len(content), BLOCK_BYTES):
        await staging.write(content[start : start + BLOCK_BYTES])
    return await staging.commit()


def contents(answer: Present) -> set[Digest | None]:
    """What the clock says is current."""
    return {version.digest for _, version in answer.clock.current()}


def listed(store: Store, prefix: str = "", after: str | None = None) -> list[Walked]:
    cursor = None if after is None else FilePath(after)
    return [one for page in store.walk(Prefix(prefix), cursor) for one in page]


class StoreConformance:
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

    async def test_an_outside_change_is_a_rival_of_what_was_there(self, disk: Disk) -> None:
        disk.write(HELLO, b"before")
        await present(disk.store)
        disk.write(HELLO, b"after")
        current = {version.digest for _, version in (await present(disk.store)).clock.current()}
        assert current == {digest_of(b"before"), digest_of(b"after")}

    async def test_rewriting_in_place_is_an_outside_change(self, disk: Disk) -> None:
        disk.write(HELLO, b"before")
        copy = await opened(disk.store)
        disk.rewrite(HELLO, b"behind")
        assert not copy.unchanged()
        answer = await disk.store.find_damage(copy)
        copy.close()
        assert isinstance(answer, Present)
        assert answer.digest == digest_of(b"behind")

    async def test_what_another_server_took_over_is_not_superseded_by_an_edit(self, disk: Disk) -> None:
        disk.write(HELLO, b"zero")
        await present(disk.store)
        disk.write(HELLO, b"one")
        copy = await opened(disk.store)
        await disk.store.share(copy)
        await disk.store.share(copy)
        copy.close()
        disk.write(HELLO, b"two")
        assert contents(await present(disk.store)) == {digest_of(b"zero"), digest_of(b"one"), digest_of(b"two")}
        disk.write(HELLO, b"three")  # nobody took "two"
        assert contents(await present(disk.store)) == {digest_of(b"zero"), digest_of(b"one"), digest_of(b"three")}

    async def test_putting_a_known_version_back_keeps_what_was_shared(self, disk: Disk) -> None:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            await present(disk.store)
        copy = await opened(disk.store)
        await disk.store.share(copy)
        copy.close()
        for content in (b"zero", b"two"):
            disk.write(HELLO, content)
            await present(disk.store)
        assert digest_of(b"one") in contents(await present(disk.store))

    async def test_a_superseded_version_is_not_given_away_any_more(self, disk: Disk) -> None:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            await present(disk.store)
        copy = await opened(disk.store)
        disk.write(HELLO, b"two")
        await present(disk.store)
        assert isinstance(await _error_of(disk.store.share(copy)), ChangedWhileReading)
        copy.close()

    async def test_touching_is_no_event(self, disk: Disk) -> None:
        disk.write(HELLO, b"content")
        before = await present(disk.store)
        disk.touch(HELLO)
        assert (await present(disk.store)).clock == before.clock

    async def test_older_content_that_comes_back_is_no_new_event(self, disk: Disk) -> None:
        disk.write(HELLO, b"one")
        await present(disk.store)
        disk.write(HELLO, b"two")
        clock = (await present(disk.store)).clock
        disk.write(HELLO, b"one")
        answer = await present(disk.store)
        assert (answer.digest, answer.clock) == (digest_of(b"one"), clock)

    async def test_a_lost_copy_is_absent_and_its_clock_stays(self, disk: Disk) -> None:
        disk.write(HELLO, b"one")
        first = await present(disk.store)
        disk.remove(HELLO)
        assert await disk.store.examine(HELLO, wait_s=WAIT_S) == Absent()
        disk.write(HELLO, b"one")
        assert (await present(disk.store)).clock == first.clock

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

    async def test_a_known_version_is_taken_in(self, disk: Disk) -> None:
        path = FilePath("new/folder/file3.txt")
        content = b"new file which does not exist on server 1"
        committed = await take_in(disk.store, path, content, Absent())
        assert committed is not None
        answer = await present(disk.store, path)
        assert answer == committed
        assert answer.clock == found(version_of(content))
        assert answer.modified_ns == version_of(content).modified_ns
        assert disk.content(path) == content

    async def test_a_lost_copy_comes_back_with_both_clocks(self, disk: Disk) -> None:
        disk.write(HELLO, b"mine")
        mine = await present(disk.store)
        disk.remove(HELLO)
        assert await take_in(disk.store, HELLO, b"theirs", Absent()) is not None
        assert (await present(disk.store)).clock == merge(mine.clock, found(version_of(b"theirs")))

    async def test_a_damaged_copy_is_replaced(self, disk: Disk) -> None:
        disk.write(HELLO, b"sound")
        await present(disk.store)
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True)
        assert isinstance(damaged, Damaged)
        assert await take_in(disk.store, HELLO, b"sound", damaged) is not None
        assert (await present(disk.store)).digest == digest_of(b"sound")
        assert disk.content(HELLO) == b"sound"

    async def test_whoever_was_faster_is_not_overwritten(self, disk: Disk) -> None:
        version = version_of(b"late")
        staging = await disk.store.stage(HELLO, version, found(version), replacing=Absent())
        await staging.write(b"late")
        disk.write(HELLO, b"early")
        assert await staging.commit() is None
        assert (await present(disk.store)).digest == digest_of(b"early")
        assert disk.content(HELLO) == b"early"
        assert await take_in(disk.store, HELLO, b"later still", Absent()) is None
        assert disk.content(HELLO) == b"early"

    async def test_bytes_of_another_version_are_refused(self, disk: Disk) -> None:
        version = version_of(b"promised")
        staging = await disk.store.stage(HELLO, version, found(version), replacing=Absent())
        await staging.write(b"provided")
        assert isinstance(await _error_of(staging.commit()), IntegrityError)
        await staging.abort()
        assert disk.content(HELLO) is None
        assert await disk.store.examine(HELLO, wait_s=WAIT_S) == Absent()

    async def test_an_aborted_staging_leaves_nothing(self, disk: Disk) -> None:
        version = version_of(b"never mind")
        staging = await disk.store.stage(HELLO, version, found(version), replacing=Absent())
        await staging.write(b"never")
        await staging.abort()
        await staging.abort()
        assert disk.content(HELLO) is None
        assert listed(disk.store) == []

    async def test_an_empty_file_is_a_file(self, disk: Disk) -> None:
        disk.write(HELLO, b"")
        copy = await opened(disk.store)
        assert (await copy.read(0, 10), await copy.block_digests()) == (b"", ())
        copy.close()
        assert await take_in(disk.store, FilePath("empty"), b"", Absent()) is not None

    async def test_blocks_are_proven_against_the_whole(self, disk: Disk) -> None:
        content = bytes(range(256)) * 4096 + b"and a bit more"
        disk.write(HELLO, content)
        copy = await opened(disk.store)
        expected: tuple[Digest, ...] = (digest_of(content[:BLOCK_BYTES]), digest_of(content[BLOCK_BYTES:]))
        assert await copy.block_digests() == expected
        assert await copy.block_digests() == expected
        copy.close()

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


async def _error_of(doing: Awaitable[object]) -> AccordError | None:
    try:
        await doing
    except AccordError as error:
        return error
    return None


DISPUTE = OutsideChanges.DISPUTE
"""The policy that the suite expects of the store under test."""
