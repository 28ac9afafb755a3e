"""What every store remembers, and for how long. Part of the store conformance suite."""

from __future__ import annotations

from accord.model.history import Deed, Event
from accord.model.names import FilePath
from accord.model.verdict import Present
from accord.model.versions import Dot, found, found_actor
from accord.store.port import Change
from accord.testing.conformance import (
    DELETION,
    HELLO,
    KEEP_NS,
    KEEP_VERSIONS,
    MODIFIED_NS,
    OTHER,
    Disk,
    bytes_of,
    change_to,
    committed,
    contents,
    delete,
    digests,
    expire_all,
    looked,
    present,
    put,
    received,
    remembered,
    story,
    take_in,
    theirs,
    version_of,
)
from accord.testing.memory_bytes import digest_of

ELSEWHERE = FilePath("folder/other.txt")
ONE, TWO = digest_of(b"one"), digest_of(b"two")


class HistoryConformance:
    async def test_nothing_is_remembered_of_an_unknown_path(self, disk: Disk) -> None:
        assert await disk.store.history(HELLO) == []

    async def test_what_was_found_is_remembered(self, disk: Disk) -> None:
        disk.write(HELLO, b"one")
        answer = await present(disk.store)
        (one,) = await disk.store.history(HELLO)
        assert (one.event.dot, one.event.version.digest) == (Dot(found_actor(ONE), 1), ONE)
        assert (one.event.deed, one.is_current, one.is_kept) == (Deed.FOUND, True, True)
        assert one.event.version == answer.clock.current()[0][1]

    async def test_what_was_superseded_is_remembered(self, disk: Disk) -> None:
        disk.write(HELLO, b"found")
        await present(disk.store)
        await put(disk.store, b"one", at_ns=MODIFIED_NS + 2_000_000_000_000_000_000)
        assert (await remembered(disk.store, b"one")).event.supersedes == (Dot(found_actor(digest_of(b"found")), 1),)
        assert (await remembered(disk.store, b"found")).event.deed is Deed.FOUND
        assert await story(disk.store) == [(digest_of(b"found"), False, True), (ONE, True, True)]

    async def test_events_are_told_as_they_were_given_newest_first(self, disk: Disk) -> None:
        clock = (await put(disk.store, b"one", at_ns=10)).clock
        change = change_to(clock, version_of(b"two"), incoming=(await received(disk.store, b"two"),))
        event = change.events[0]._replace(at_ns=20, deed=Deed.RESTORE, message="why, because…", source="other.txt")
        await committed(disk.store, Change(HELLO, change.before, change.clock, change.incoming, (event,)))
        assert [one.event.at_ns for one in await disk.store.history(HELLO)] == [20, 10]
        assert (await disk.store.history(HELLO))[0].event == event

    async def test_a_deletion_is_remembered(self, disk: Disk) -> None:
        await put(disk.store, b"one", at_ns=MODIFIED_NS - 1)
        await delete(disk.store)
        one, deletion = await story(disk.store)
        assert (one, deletion[:2]) == ((ONE, False, True), (None, True))
        assert (await remembered(disk.store, None)).event.deed is Deed.DELETE

    async def test_versions_are_opened_wherever_they_are_kept(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        for content in (b"one", b"two", b"theirs"):
            assert await bytes_of(disk.store, digest_of(content)) == content
        assert await disk.store.open_version(HELLO, digest_of(b"three")) is None

    async def test_versions_of_other_paths_are_not_opened(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        for digest in (ONE, TWO):
            assert await disk.store.open_version(ELSEWHERE, digest) is None

    async def test_a_version_tells_its_own_size(self, disk: Disk) -> None:
        await put(disk.store, b"long content")
        await put(disk.store, b"two")
        copy = await disk.store.open_version(HELLO, digest_of(b"long content"))
        assert copy is not None
        assert (copy.answer.size, await copy.read(5, 100)) == (12, b"content")
        assert list(await copy.block_digests()) == [digest_of(b"long content")]
        assert copy.unchanged()
        copy.close()

    async def test_rot_in_what_is_kept_is_found_and_does_not_touch_the_path(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        before = await put(disk.store, b"two")
        disk.rot_version(HELLO, ONE)
        copy = await disk.store.open_version(HELLO, ONE)
        if copy is not None:
            await disk.store.find_damage(copy)
            copy.close()
        assert await disk.store.open_version(HELLO, ONE) is None
        assert not (await remembered(disk.store, b"one")).is_kept
        assert await present(disk.store) == before

    async def test_a_rival_that_rots_is_no_longer_claimed(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await take_in(disk.store, theirs(b"two"), b"two")
        disk.rot_version(HELLO, TWO)
        copy = await disk.store.open_version(HELLO, TWO)
        if copy is not None:
            await disk.store.find_damage(copy)
            copy.close()
        answer = await present(disk.store)
        assert (answer.aside, contents(answer)) == ((), {ONE, TWO})
        healed = await take_in(disk.store, answer.clock, b"two")
        assert isinstance(healed, Present)
        assert healed.aside == (TWO,)

    async def test_what_others_remember_is_learned_once(self, disk: Disk) -> None:
        before = await put(disk.store, b"one", at_ns=10)
        event = Event(Dot(OTHER, 7), version_of(b"theirs"), 5, Deed.COPY, (Dot(OTHER, 6),), "message", "source")
        for _ in range(2):
            await disk.store.learn(HELLO, [event])
        assert [one.event for one in await disk.store.history(HELLO)][1:] == [event]
        assert await story(disk.store) == [(digest_of(b"theirs"), False, False), (ONE, True, True)]
        assert await present(disk.store) == before
        await put(disk.store, b"two", at_ns=20)
        await disk.reopen()
        assert [one.event for one in await disk.store.history(HELLO)][2:] == [event]

    async def test_what_is_learned_of_a_known_version_changes_nothing_else(self, disk: Disk) -> None:
        before = await put(disk.store, b"one", at_ns=10)
        (told,) = await disk.store.history(HELLO)
        await disk.store.learn(HELLO, [told.event])
        assert await disk.store.history(HELLO) == [told]
        assert await present(disk.store) == before

    async def test_as_many_versions_as_were_asked_for_are_kept(self, disk: Disk) -> None:
        numbered = [b"number %d" % number for number in range(KEEP_VERSIONS + 4)]
        for number, content in enumerate(numbered):
            disk.pass_time(1_000_000_000)
            await put(disk.store, content, at_ns=number)
        assert await expire_all(disk.store) == 3
        assert await expire_all(disk.store) == 0
        for content in numbered[3:]:
            assert await bytes_of(disk.store, digest_of(content)) == content
            assert (await remembered(disk.store, content)).is_kept
        for content in numbered[:3]:
            assert await disk.store.open_version(HELLO, digest_of(content)) is None
        assert all(not is_kept for digest, _, is_kept in await story(disk.store) if digest in digests(*numbered[:3]))

    async def test_what_is_too_old_is_let_go_and_the_rest_stays(self, disk: Disk) -> None:
        await put(disk.store, b"old")
        await put(disk.store, b"mine")
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        await put(disk.store, b"deleted", ELSEWHERE)
        await delete(disk.store, ELSEWHERE)
        before = [await looked(disk.store), await looked(disk.store, ELSEWHERE)]
        assert await expire_all(disk.store) == 0
        disk.pass_time(KEEP_NS + 1_000_000_000)
        assert await expire_all(disk.store) == 2
        assert await disk.store.open_version(HELLO, digest_of(b"old")) is None
        assert await disk.store.open_version(ELSEWHERE, digest_of(b"deleted")) is None
        assert [await looked(disk.store), await looked(disk.store, ELSEWHERE)] == before
        for content in (b"mine", b"theirs"):
            assert await bytes_of(disk.store, digest_of(content)) == content
            assert (await remembered(disk.store, content)).is_current

    async def test_the_time_counts_from_when_it_was_superseded(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        disk.pass_time(KEEP_NS + 1_000_000_000)
        await put(disk.store, b"two")
        assert await expire_all(disk.store) == 0
        assert await bytes_of(disk.store, ONE) == b"one"

    async def test_a_rival_is_kept_as_long_from_when_it_was_resolved(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await take_in(disk.store, theirs(b"two"), b"two")
        disk.pass_time(KEEP_NS + 1_000_000_000)
        await put(disk.store, b"both")
        assert await expire_all(disk.store) == 0
        for content in (b"one", b"two"):
            assert await bytes_of(disk.store, digest_of(content)) == content
        disk.pass_time(KEEP_NS + 1_000_000_000)
        assert await expire_all(disk.store) == 2

    async def test_what_is_current_again_is_not_let_go(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        await put(disk.store, b"one")
        disk.pass_time(KEEP_NS + 1_000_000_000)
        await expire_all(disk.store)
        assert disk.content(HELLO) == b"one"
        assert await bytes_of(disk.store, ONE) == b"one"
        assert await bytes_of(disk.store, TWO) is None

    async def test_bytes_that_another_path_keeps_stay_there(self, disk: Disk) -> None:
        for path in (HELLO, ELSEWHERE):
            await put(disk.store, b"shared", path)
        await put(disk.store, b"one", HELLO)
        disk.pass_time(KEEP_NS + 1_000_000_000)
        await put(disk.store, b"two", ELSEWHERE)
        await expire_all(disk.store)
        assert await bytes_of(disk.store, digest_of(b"shared"), HELLO) is None
        assert await bytes_of(disk.store, digest_of(b"shared"), ELSEWHERE) == b"shared"

    async def test_what_is_current_again_at_one_path_stays_in_the_history_of_others(self, disk: Disk) -> None:
        for content in (b"shared", b"one"):
            for path in (HELLO, ELSEWHERE):
                await put(disk.store, content, path)
        clock = (await looked(disk.store)).clock
        await committed(disk.store, change_to(clock, version_of(b"shared")))
        assert disk.content(HELLO) == b"shared"
        assert await bytes_of(disk.store, digest_of(b"shared"), ELSEWHERE) == b"shared"

    async def test_a_deletion_is_never_forgotten(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        deleted = await delete(disk.store)
        disk.pass_time(100 * KEEP_NS)
        await expire_all(disk.store)
        assert await looked(disk.store) == deleted

    async def test_a_superseded_deletion_keeps_no_bytes(self, disk: Disk) -> None:
        clock = (await put(disk.store, b"one")).clock
        await committed(disk.store, change_to(clock, DELETION))
        await put(disk.store, b"two")
        disk.pass_time(KEEP_NS + 1_000_000_000)
        await expire_all(disk.store)
        assert await bytes_of(disk.store, TWO) == b"two"
        assert await bytes_of(disk.store, ONE) is None

    async def test_found_content_that_others_superseded_is_remembered_by_its_content(self, disk: Disk) -> None:
        disk.write(HELLO, b"one")
        await present(disk.store)
        await take_in(disk.store, theirs(b"two", found(version_of(b"one"))), b"two")
        assert disk.content(HELLO) == b"two"
        assert await bytes_of(disk.store, ONE) == b"one"
        assert (await remembered(disk.store, b"one")).event.deed is Deed.FOUND
