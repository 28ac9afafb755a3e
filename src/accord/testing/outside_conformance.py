"""What every store makes of changes behind its back, under both policies. Part of the store conformance suite."""

from __future__ import annotations

import pytest

from accord.errors import ChangedWhileReading
from accord.model.history import Deed
from accord.model.names import FilePath
from accord.model.verdict import Absent, Present, keeps
from accord.model.versions import EMPTY_CLOCK, found
from accord.testing.conformance import (
    HELLO,
    MODIFIED_NS,
    Disk,
    bytes_of,
    committed,
    contents,
    delete,
    digests,
    error_of,
    expire_all,
    looked,
    opened,
    present,
    put,
    received,
    remembered,
    take_in,
    theirs,
    version_of,
)
from accord.testing.conformance import change_to as change
from accord.testing.memory_bytes import digest_of

ONE, TWO = digest_of(b"one"), digest_of(b"two")


async def shared(disk: Disk) -> None:
    copy = await opened(disk.store)
    await disk.store.share(copy)
    await disk.store.share(copy)
    copy.close()


class OutsideConformance:
    @pytest.fixture(params=["dispute", "adopt"])
    def either(self, request: pytest.FixtureRequest, disk: Disk, adopting: Disk) -> Disk:
        return disk if request.param == "dispute" else adopting

    @pytest.mark.parametrize("in_place", [False, True])
    async def test_a_disputed_change_is_a_rival_of_what_was_there(self, disk: Disk, in_place: bool) -> None:
        disk.write(HELLO, b"before")
        await present(disk.store)
        (disk.rewrite if in_place else disk.write)(HELLO, b"after")
        answer = await present(disk.store)
        assert (answer.digest, answer.aside) == (digest_of(b"after"), ())  # the bytes that were there are gone
        assert contents(answer) == digests(b"before", b"after")

    @pytest.mark.parametrize("how", ["overwritten", "put back", "gone"])
    async def test_a_current_version_whose_bytes_another_path_keeps_stays_a_rival(self, disk: Disk, how: str) -> None:
        """Other hands take it from the path; that is no reason to bury what Accord still has."""
        elsewhere = FilePath("elsewhere")
        await put(disk.store, b"one", path=elsewhere)
        await put(disk.store, b"two", path=elsewhere)
        before = await put(disk.store, b"two")
        await take_in(disk.store, theirs(b"one", before.clock), b"one")  # nobody tells an event of it
        if how == "gone":
            disk.remove(HELLO)
        else:
            disk.write(HELLO, b"two" if how == "put back" else b"other")
        answer = await looked(disk.store)
        assert keeps(answer, ONE)
        assert await bytes_of(disk.store, ONE) == b"one"
        disk.pass_time(365 * 24 * 3600 * 10**9)
        await expire_all(disk.store)
        assert keeps(await looked(disk.store), ONE)
        assert await bytes_of(disk.store, ONE) == b"one"

    @pytest.mark.parametrize("in_place", [False, True])
    async def test_an_adopted_change_supersedes_what_was_there(self, adopting: Disk, in_place: bool) -> None:
        adopting.write(HELLO, b"before")
        await present(adopting.store)
        (adopting.rewrite if in_place else adopting.write)(HELLO, b"after")
        answer = await present(adopting.store)
        assert (answer.digest, contents(answer)) == (digest_of(b"after"), digests(b"after"))
        assert (await remembered(adopting.store, b"after")).event.supersedes == found(version_of(b"before")).current()[
            0
        ][:1]
        assert not (await remembered(adopting.store, b"before")).is_kept

    async def test_an_adopted_change_supersedes_no_rival(self, adopting: Disk) -> None:
        await put(adopting.store, b"mine")
        await take_in(adopting.store, theirs(b"theirs"), b"theirs")
        adopting.write(HELLO, b"edited")
        answer = await present(adopting.store)
        assert contents(answer) == digests(b"edited", b"theirs")
        assert answer.aside == (digest_of(b"theirs"),)

    async def test_the_history_tells_of_an_outside_change(self, either: Disk) -> None:
        await put(either.store, b"one")
        either.write(HELLO, b"two")
        await present(either.store)
        two = await remembered(either.store, b"two")
        assert (two.event.deed, two.is_current, two.is_kept) == (Deed.OUTSIDE, True, True)
        assert two.event.version.author == "server1"

    async def test_a_change_of_the_same_size_and_time_is_seen(self, either: Disk) -> None:
        either.write(HELLO, b"one", modified_ns=MODIFIED_NS)
        await present(either.store)
        either.write(HELLO, b"two", modified_ns=MODIFIED_NS)
        answer = await present(either.store)
        assert (answer.digest, answer.modified_ns) == (TWO, MODIFIED_NS)

    async def test_rewriting_while_it_is_read_is_an_outside_change(self, either: Disk) -> None:
        either.write(HELLO, b"before")
        copy = await opened(either.store)
        either.rewrite(HELLO, b"behind")
        assert not copy.unchanged()
        answer = await either.store.find_damage(copy)
        copy.close()
        assert isinstance(answer, Present)
        assert answer.digest == digest_of(b"behind")

    async def test_touching_is_no_event(self, either: Disk) -> None:
        before = await put(either.store, b"content")
        told = await either.store.history(HELLO)
        either.touch(HELLO)
        assert (await present(either.store)).clock == before.clock
        assert await either.store.history(HELLO) == told

    async def test_replacing_a_file_by_its_equal_is_no_event(self, either: Disk) -> None:
        before = await put(either.store, b"content")
        either.write(HELLO, b"content")
        assert (await present(either.store)).clock == before.clock

    @pytest.mark.parametrize("modified_ns", [None, MODIFIED_NS])
    async def test_known_older_content_is_that_version_and_stale(self, either: Disk, modified_ns: int | None) -> None:
        await put(either.store, b"one")
        before = await put(either.store, b"two")
        told = {one.event for one in await either.store.history(HELLO)}
        either.write(HELLO, b"one", modified_ns=modified_ns)
        answer = await present(either.store)
        assert (answer.digest, answer.clock, answer.aside) == (ONE, before.clock, ())
        assert {one.event for one in await either.store.history(HELLO)} == told
        healed = await take_in(either.store, before.clock, b"two")
        assert isinstance(healed, Present)
        assert (healed.digest, healed.clock) == (TWO, before.clock)
        assert await bytes_of(either.store, ONE) == b"one"

    async def test_known_older_content_edited_in_place_is_stale_too(self, either: Disk) -> None:
        await put(either.store, b"one")
        before = await put(either.store, b"two")
        either.rewrite(HELLO, b"one")
        answer = await present(either.store)
        assert (answer.digest, answer.clock) == (ONE, before.clock)

    async def test_an_edit_of_stale_content_is_a_change(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        disk.write(HELLO, b"one")
        await present(disk.store)
        disk.write(HELLO, b"three")
        assert contents(await present(disk.store)) == digests(b"two", b"three")

    async def test_a_rival_put_at_the_path_is_that_version(self, either: Disk) -> None:
        await put(either.store, b"mine")
        clock = (await take_in(either.store, theirs(b"theirs"), b"theirs")).clock
        either.write(HELLO, b"theirs")
        answer = await present(either.store)
        assert (answer.digest, answer.clock, answer.aside) == (digest_of(b"theirs"), clock, ())

    async def test_older_content_that_disputes_is_no_new_event(self, disk: Disk) -> None:
        disk.write(HELLO, b"one")
        await present(disk.store)
        disk.write(HELLO, b"two")
        clock = (await present(disk.store)).clock
        disk.write(HELLO, b"one")
        answer = await present(disk.store)
        assert (answer.digest, answer.clock) == (ONE, clock)

    async def test_content_of_an_unknown_version_of_another_server_is_an_event(self, disk: Disk) -> None:
        """Somebody told of it, but its clock never came here: nothing says that it was superseded."""
        before = await put(disk.store, b"one")
        later = change(EMPTY_CLOCK, version_of(b"two"))
        await disk.store.learn(HELLO, later.events)
        disk.write(HELLO, b"two")
        answer = await present(disk.store)
        assert contents(answer) == digests(b"one", b"two")
        assert answer.clock != before.clock

    async def test_a_vanished_file_is_absent_and_its_clock_stays(self, either: Disk) -> None:
        before = await put(either.store, b"one")
        either.remove(HELLO)
        assert await looked(either.store) == Absent(None, before.clock)
        assert not (await remembered(either.store, b"one")).is_kept
        either.write(HELLO, b"one")
        assert (await present(either.store)).clock == before.clock

    async def test_a_found_file_that_vanished_is_absent_with_its_clock(self, either: Disk) -> None:
        either.write(HELLO, b"one")
        clock = (await present(either.store)).clock
        either.remove(HELLO)
        assert await looked(either.store) == Absent(None, clock)

    async def test_a_deleted_file_put_back_is_stale(self, either: Disk) -> None:
        await put(either.store, b"one")
        clock = (await delete(either.store)).clock
        either.write(HELLO, b"one")
        answer = await present(either.store)
        assert (answer.digest, answer.clock, answer.aside) == (ONE, clock, (None,))
        healed = await take_in(either.store, clock)
        assert healed.clock == clock
        assert either.content(HELLO) is None
        assert await bytes_of(either.store, ONE) == b"one"

    async def test_new_content_in_place_of_a_deleted_file_disputes_the_deletion(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await delete(disk.store)
        disk.write(HELLO, b"two")
        answer = await present(disk.store)
        assert (answer.digest, contents(answer), answer.aside) == (TWO, {TWO, None}, (None,))

    async def test_new_content_in_place_of_a_deleted_file_is_adopted(self, adopting: Disk) -> None:
        await put(adopting.store, b"one")
        await delete(adopting.store)
        adopting.write(HELLO, b"two")
        answer = await present(adopting.store)
        assert (answer.digest, contents(answer), answer.aside) == (TWO, {TWO}, ())

    async def test_what_rivals_were_aside_stays_there_under_an_edit(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        disk.write(HELLO, b"edited")
        answer = await present(disk.store)
        assert contents(answer) == digests(b"mine", b"theirs", b"edited")
        assert answer.aside == (digest_of(b"theirs"),)
        assert await bytes_of(disk.store, digest_of(b"theirs")) == b"theirs"

    async def test_an_edit_is_resolved_as_any_rival(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        disk.write(HELLO, b"edited")
        before = await present(disk.store)
        incoming = await received(disk.store, b"both")
        (done,) = await committed(disk.store, change(before.clock, version_of(b"both"), incoming=(incoming,)))
        assert contents(done.answer) == digests(b"both")
        assert await bytes_of(disk.store, digest_of(b"edited")) == b"edited"

    async def test_what_another_server_took_over_is_not_superseded_by_an_edit(self, disk: Disk) -> None:
        disk.write(HELLO, b"zero")
        await present(disk.store)
        disk.write(HELLO, b"one")
        await shared(disk)
        disk.write(HELLO, b"two")
        assert contents(await present(disk.store)) == digests(b"zero", b"one", b"two")
        disk.write(HELLO, b"three")  # nobody took "two"
        assert contents(await present(disk.store)) == digests(b"zero", b"one", b"three")

    async def test_an_edit_that_was_never_shared_is_superseded_and_remembered(self, disk: Disk) -> None:
        for content in (b"zero", b"one", b"two"):
            disk.write(HELLO, content)
            clock = (await present(disk.store)).clock
        one = await remembered(disk.store, b"one")
        assert (one.is_current, one.is_kept) == (False, False)
        assert (await remembered(disk.store, b"two")).event.supersedes == (one.event.dot,)
        disk.write(HELLO, b"one")  # it is known, and superseded
        answer = await present(disk.store)
        assert (answer.digest, answer.clock) == (ONE, clock)

    async def test_putting_a_known_version_back_keeps_what_was_shared(self, disk: Disk) -> None:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            await present(disk.store)
        await shared(disk)
        for content in (b"zero", b"two"):
            disk.write(HELLO, content)
            await present(disk.store)
        assert ONE in contents(await present(disk.store))

    async def test_what_was_shared_stays_so_through_commits(self, disk: Disk) -> None:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            await present(disk.store)
        await shared(disk)
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        disk.write(HELLO, b"two")
        assert contents(await present(disk.store)) == digests(b"zero", b"one", b"two", b"theirs")

    async def test_what_was_shared_stays_so_when_the_copy_is_lost_and_replaced(self, disk: Disk) -> None:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            await present(disk.store)
        await shared(disk)
        disk.remove(HELLO)
        await take_in(disk.store, theirs(b"theirs"), b"theirs")
        disk.write(HELLO, b"two")
        assert contents(await present(disk.store)) == digests(b"zero", b"one", b"two", b"theirs")

    async def test_a_superseded_version_is_not_given_away_any_more(self, disk: Disk) -> None:
        for content in (b"zero", b"one"):
            disk.write(HELLO, content)
            await present(disk.store)
        copy = await opened(disk.store)
        disk.write(HELLO, b"two")
        await present(disk.store)
        assert isinstance(await error_of(disk.store.share(copy)), ChangedWhileReading)
        copy.close()

    async def test_what_is_kept_is_shared_without_ado(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        copy = await disk.store.open_version(HELLO, ONE)
        assert copy is not None
        await disk.store.share(copy)
        copy.close()
