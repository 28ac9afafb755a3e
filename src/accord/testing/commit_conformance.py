"""What every store keeps when a change is committed. Part of the store conformance suite."""

from __future__ import annotations

import pytest

from accord.errors import Conflict
from accord.model.names import Digest, FilePath
from accord.model.verdict import EMPTY_FOLDER, Absent, Damaged, Deleted, Present
from accord.model.versions import EMPTY_CLOCK, found, merge, write
from accord.store.port import Change
from accord.testing.conformance import (
    DELETION,
    HELLO,
    MODIFIED_NS,
    OTHER,
    Disk,
    bytes_of,
    change_to,
    committed,
    contents,
    delete,
    digests,
    listed,
    looked,
    opened,
    present,
    put,
    received,
    take_in,
    theirs,
    version_of,
)
from accord.testing.memory_bytes import digest_of

ELSEWHERE = FilePath("folder/other.txt")
MINE, THEIRS = digest_of(b"mine"), digest_of(b"theirs")


async def dispute(disk: Disk) -> Present:
    """`mine` at the path, and `theirs` aside."""
    await put(disk.store, b"mine")
    answer = await take_in(disk.store, theirs(b"theirs"), b"theirs")
    assert isinstance(answer, Present)
    return answer


class CommitConformance:
    async def test_new_content_is_at_its_path(self, disk: Disk) -> None:
        path = FilePath("new/folder/file3.txt")
        version = version_of(b"new", modified_ns=1_234_567_890_123_456_789, executable=True)
        incoming = await received(disk.store, b"new")
        change = change_to(EMPTY_CLOCK, version, path=path, incoming=(incoming,))
        (done,) = await committed(disk.store, change)
        assert done.answer == Present(
            digest_of(b"new"), 3, 1_234_567_890_123_456_789, change.clock, executable=True, aside=()
        )
        assert disk.content(path) == b"new"
        assert [one.answer for one in listed(disk.store)] == [done.answer]
        await incoming.abort()  # does nothing any more
        assert disk.content(path) == b"new"

    async def test_found_content_of_others_is_taken_in_under_its_clock(self, disk: Disk) -> None:
        clock = found(version_of(b"found there"))
        answer = await take_in(disk.store, clock, b"found there")
        assert isinstance(answer, Present)
        assert (answer.clock, answer.modified_ns) == (clock, MODIFIED_NS)
        assert disk.content(HELLO) == b"found there"

    async def test_an_overwrite_keeps_the_old_bytes(self, disk: Disk) -> None:
        await put(disk.store, b"old")
        answer = await put(disk.store, b"new content")
        assert (answer.digest, answer.size, answer.aside) == (digest_of(b"new content"), 11, ())
        assert contents(answer) == digests(b"new content")
        assert disk.content(HELLO) == b"new content"
        assert await bytes_of(disk.store, digest_of(b"old")) == b"old"

    async def test_whoever_reads_the_old_content_reads_on(self, disk: Disk) -> None:
        await put(disk.store, b"old")
        copy = await opened(disk.store)
        await put(disk.store, b"new content")
        assert await copy.read(0, 100) == b"old"
        copy.close()

    async def test_a_deletion_takes_the_file_away_and_is_known(self, disk: Disk) -> None:
        await put(disk.store, b"content", ELSEWHERE)
        answer = await delete(disk.store, ELSEWHERE)
        assert answer == Deleted(answer.clock)
        assert contents(answer) == {None}
        assert disk.content(ELSEWHERE) is None
        assert [one.answer for one in listed(disk.store)] == [answer]
        assert await bytes_of(disk.store, digest_of(b"content"), ELSEWHERE) == b"content"

    async def test_a_deletion_of_what_was_never_here_is_known(self, disk: Disk) -> None:
        clock = write(theirs(b"gone"), theirs(b"gone").context(), OTHER, DELETION)
        assert await take_in(disk.store, clock) == Deleted(clock)

    async def test_a_deleted_file_is_written_anew(self, disk: Disk) -> None:
        await put(disk.store, b"first")
        await delete(disk.store)
        answer = await put(disk.store, b"second")
        assert contents(answer) == digests(b"second")
        assert disk.content(HELLO) == b"second"

    async def test_a_rival_is_kept_aside(self, disk: Disk) -> None:
        answer = await dispute(disk)
        assert (answer.digest, answer.aside) == (MINE, (THEIRS,))
        assert contents(answer) == {MINE, THEIRS}
        assert disk.content(HELLO) == b"mine"
        assert await bytes_of(disk.store, THEIRS) == b"theirs"
        assert [one.answer for one in listed(disk.store)] == [answer]

    async def test_what_is_not_here_is_not_claimed(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        answer = await take_in(disk.store, theirs(b"theirs"))
        assert isinstance(answer, Present)
        assert (contents(answer), answer.aside) == ({MINE, THEIRS}, ())
        again = await take_in(disk.store, answer.clock, b"theirs")
        assert isinstance(again, Present)
        assert again.aside == (THEIRS,)

    async def test_a_deletion_may_be_a_rival(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        answer = await take_in(disk.store, write(EMPTY_CLOCK, {}, OTHER, DELETION))
        assert isinstance(answer, Present)
        assert (answer.digest, answer.aside, contents(answer)) == (MINE, (None,), {MINE, None})
        assert disk.content(HELLO) == b"mine"

    async def test_content_that_rivals_a_deletion_here_is_put_at_the_path(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        await delete(disk.store)
        answer = await take_in(disk.store, theirs(b"theirs"), b"theirs")
        assert isinstance(answer, Present)
        assert (answer.digest, answer.aside) == (THEIRS, (None,))

    async def test_of_rivals_that_come_together_the_newest_is_at_the_path(self, disk: Disk) -> None:
        older = write(EMPTY_CLOCK, {}, OTHER, version_of(b"mine", modified_ns=MODIFIED_NS - 1))
        answer = await take_in(disk.store, write(older, {}, OTHER, version_of(b"theirs")), b"mine", b"theirs")
        assert isinstance(answer, Present)
        assert (answer.digest, answer.aside) == (THEIRS, (MINE,))

    async def test_rivals_are_resolved_by_new_content(self, disk: Disk) -> None:
        await dispute(disk)
        answer = await put(disk.store, b"both")
        assert (contents(answer), answer.aside) == (digests(b"both"), ())
        for content in (b"mine", b"theirs"):
            assert await bytes_of(disk.store, digest_of(content)) == content

    @pytest.mark.parametrize("chosen", [b"mine", b"theirs"])
    @pytest.mark.parametrize("sends_bytes", [False, True])
    async def test_rivals_are_resolved_by_one_of_them(self, disk: Disk, chosen: bytes, sends_bytes: bool) -> None:
        clock = (await dispute(disk)).clock
        incoming = await disk.store.duplicate(HELLO, digest_of(chosen)) if sends_bytes else None
        change = change_to(clock, version_of(chosen), incoming=() if incoming is None else (incoming,))
        (done,) = await committed(disk.store, change)
        assert isinstance(done.answer, Present)
        assert (done.answer.digest, done.answer.aside) == (digest_of(chosen), ())
        assert disk.content(HELLO) == chosen
        for content in (b"mine", b"theirs"):
            assert await bytes_of(disk.store, digest_of(content)) == content

    async def test_rivals_are_resolved_by_deleting(self, disk: Disk) -> None:
        await dispute(disk)
        assert isinstance(await delete(disk.store), Deleted)
        assert disk.content(HELLO) is None
        for content in (b"mine", b"theirs"):
            assert await bytes_of(disk.store, digest_of(content)) == content

    async def test_what_was_superseded_becomes_current_again(self, disk: Disk) -> None:
        await put(disk.store, b"first")
        before = await put(disk.store, b"second")
        (done,) = await committed(disk.store, change_to(before.clock, version_of(b"first"), disk.store.actor))
        assert isinstance(done.answer, Present)
        assert done.answer.digest == digest_of(b"first")
        assert disk.content(HELLO) == b"first"

    async def test_three_rivals_are_all_kept(self, disk: Disk) -> None:
        clock = (await dispute(disk)).clock
        third = found(version_of(b"third"))
        answer = await take_in(disk.store, third, b"third")
        assert isinstance(answer, Present)
        assert answer.clock == merge(clock, third)
        assert {answer.digest, *answer.aside} == digests(b"mine", b"theirs", b"third")
        assert answer.aside == tuple(sorted(one for one in answer.aside if one is not None))

    async def test_equal_bytes_never_conflict(self, disk: Disk) -> None:
        await put(disk.store, b"the same")
        answer = await take_in(disk.store, theirs(b"the same"), b"the same")
        assert isinstance(answer, Present)
        assert (answer.aside, len(answer.clock.current())) == ((), 2)

    async def test_a_lost_copy_comes_back_with_both_clocks(self, disk: Disk) -> None:
        disk.write(HELLO, b"mine")
        mine = await present(disk.store)
        disk.remove(HELLO)
        answer = await take_in(disk.store, found(version_of(b"theirs")), b"theirs")
        assert isinstance(answer, Present)
        assert (answer.digest, answer.clock) == (THEIRS, merge(mine.clock, found(version_of(b"theirs"))))

    async def test_where_the_copy_is_lost_a_rival_takes_its_place(self, disk: Disk) -> None:
        clock = (await dispute(disk)).clock
        disk.remove(HELLO)
        assert await looked(disk.store) == Absent(None, clock, (THEIRS,))
        answer = await take_in(disk.store, clock)
        assert isinstance(answer, Present)
        assert (answer.digest, answer.aside) == (THEIRS, ())

    async def test_a_damaged_copy_is_replaced(self, disk: Disk) -> None:
        clock = (await dispute(disk)).clock
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=30, reread=True)
        assert isinstance(damaged, Damaged)
        assert (damaged.digest, damaged.clock, damaged.aside) == (MINE, clock, (THEIRS,))
        answer = await take_in(disk.store, clock, b"mine")
        assert isinstance(answer, Present)
        assert {answer.digest, *answer.aside} == {MINE, THEIRS}
        for content in (b"mine", b"theirs"):
            assert await bytes_of(disk.store, digest_of(content)) == content

    async def test_a_damaged_copy_is_never_kept_as_history(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        disk.rot(HELLO)
        await disk.store.examine(HELLO, wait_s=30, reread=True)
        await put(disk.store, b"new")
        assert disk.content(HELLO) == b"new"
        assert await bytes_of(disk.store, MINE) is None

    async def test_a_damaged_copy_is_deleted_as_any(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=30, reread=True)
        assert isinstance(damaged, Damaged)
        answer = await delete(disk.store)
        assert answer == Deleted(answer.clock)
        assert disk.content(HELLO) is None

    async def test_a_damaged_copy_stays_where_there_is_nothing_better(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=30, reread=True)
        assert isinstance(damaged, Damaged)
        assert await take_in(disk.store, damaged.clock) == damaged
        assert disk.content(HELLO) is not None

    async def test_a_damaged_rival_is_not_hidden_by_another(self, disk: Disk) -> None:
        clock = (await dispute(disk)).clock
        disk.rot(HELLO)
        damaged = await disk.store.examine(HELLO, wait_s=30, reread=True)
        assert isinstance(damaged, Damaged)
        third = found(version_of(b"third"))
        answer = await take_in(disk.store, third, b"third")
        assert isinstance(answer, Damaged)
        assert (answer.digest, answer.clock) == (MINE, merge(clock, third))
        assert set(answer.aside) == digests(b"theirs", b"third")
        resolved = await put(disk.store, b"resolved")
        assert (resolved.digest, resolved.aside) == (digest_of(b"resolved"), ())

    async def test_the_modified_time_and_the_executable_bit_are_the_versions(self, disk: Disk) -> None:
        before = await put(disk.store, b"script")
        version = version_of(b"script", modified_ns=MODIFIED_NS + 5, executable=True)
        incoming = await received(disk.store, b"script")
        (done,) = await committed(disk.store, change_to(before.clock, version, incoming=(incoming,)))
        assert isinstance(done.answer, Present)
        assert (done.answer.modified_ns, done.answer.executable) == (MODIFIED_NS + 5, True)

    async def test_bytes_that_are_not_needed_are_dropped(self, disk: Disk) -> None:
        clock = (await dispute(disk)).clock
        answer = await take_in(disk.store, clock, b"mine", b"theirs", b"nobody's")
        assert answer == await present(disk.store)
        assert await bytes_of(disk.store, digest_of(b"nobody's")) is None

    async def test_nothing_new_changes_nothing(self, disk: Disk) -> None:
        before = await dispute(disk)
        assert await take_in(disk.store, before.clock) == before
        assert await take_in(disk.store, EMPTY_CLOCK) == before

    async def test_a_change_that_was_overtaken_is_not_made(self, disk: Disk) -> None:
        late = change_to(EMPTY_CLOCK, version_of(b"late"), incoming=(await received(disk.store, b"late"),))
        early = await put(disk.store, b"early")
        assert await disk.store.commit([late]) is None
        assert await present(disk.store) == early
        again = Change(HELLO, early.clock, late.clock, late.incoming, late.events)
        (done,) = await committed(disk.store, again)
        assert contents(done.answer) == digests(b"early", b"late")
        assert await bytes_of(disk.store, digest_of(b"late")) == b"late"

    @pytest.mark.parametrize("first", [None, b"before"])
    async def test_a_change_on_the_disk_meanwhile_is_not_overwritten(self, disk: Disk, first: bytes | None) -> None:
        before = EMPTY_CLOCK if first is None else (await put(disk.store, first)).clock
        change = change_to(before, version_of(b"late"), incoming=(await received(disk.store, b"late"),))
        disk.write(HELLO, b"early")
        assert await disk.store.commit([change]) is None
        assert disk.content(HELLO) == b"early"
        clock = (await present(disk.store)).clock
        (done,) = await committed(disk.store, Change(HELLO, clock, change.clock, change.incoming))
        assert digest_of(b"late") in contents(done.answer)
        assert digest_of(b"early") in contents(done.answer)

    async def test_changes_are_made_together(self, disk: Disk) -> None:
        source = await put(disk.store, b"moved")
        moved = await disk.store.duplicate(HELLO, source.digest)
        assert moved is not None
        there = change_to(EMPTY_CLOCK, version_of(b"moved"), disk.store.actor, path=ELSEWHERE, incoming=(moved,))
        here = change_to(source.clock, DELETION, disk.store.actor)
        first, second = await committed(disk.store, there, here)
        assert isinstance(first.answer, Present)
        assert isinstance(second.answer, Deleted)
        assert first.debt != second.debt
        assert (disk.content(HELLO), disk.content(ELSEWHERE)) == (None, b"moved")

    async def test_or_none_of_them(self, disk: Disk) -> None:
        source = await put(disk.store, b"moved")
        there = change_to(
            EMPTY_CLOCK, version_of(b"new"), path=ELSEWHERE, incoming=(await received(disk.store, b"new"),)
        )
        here = change_to(EMPTY_CLOCK, DELETION)  # overtaken
        assert await disk.store.commit([there, here]) is None
        assert await looked(disk.store, ELSEWHERE) == Absent()
        assert await present(disk.store) == source
        disk.write(f"{HELLO}.d/in the way", b"")
        blocked = change_to(EMPTY_CLOCK, version_of(b""), path=FilePath(f"{HELLO}.d"), incoming=())
        empty = await received(disk.store, b"")
        with pytest.raises(Conflict):
            await disk.store.commit([there, Change(blocked.path, EMPTY_CLOCK, blocked.clock, (empty,))])
        await empty.abort()
        assert await looked(disk.store, ELSEWHERE) == Absent()
        await committed(disk.store, there)
        assert disk.content(ELSEWHERE) == b"new"

    async def test_a_folder_in_the_way_is_a_conflict(self, disk: Disk) -> None:
        disk.write(f"{HELLO}/inside.txt", b"inside")
        answer = await looked(disk.store)
        assert isinstance(answer, Absent)
        assert answer.obstacle not in (None, EMPTY_FOLDER)
        incoming = await received(disk.store, b"content")
        with pytest.raises(Conflict):
            await disk.store.commit([change_to(EMPTY_CLOCK, version_of(b"content"), incoming=(incoming,))])
        assert disk.content(f"{HELLO}/inside.txt") == b"inside"
        await incoming.abort()

    async def test_a_file_above_is_a_conflict(self, disk: Disk) -> None:
        await put(disk.store, b"a file")
        path = FilePath(f"{HELLO}/below/it.txt")
        incoming = await received(disk.store, b"content")
        with pytest.raises(Conflict):
            await disk.store.commit([change_to(EMPTY_CLOCK, version_of(b"content"), path=path, incoming=(incoming,))])
        assert disk.content(HELLO) == b"a file"
        await incoming.abort()

    async def test_an_empty_folder_gives_way(self, disk: Disk) -> None:
        disk.make_folder(HELLO)
        assert await looked(disk.store) == Absent(EMPTY_FOLDER)
        assert (await put(disk.store, b"content")).digest == digest_of(b"content")
        assert disk.content(HELLO) == b"content"

    async def test_an_obstacle_hides_neither_clock_nor_rivals(self, disk: Disk) -> None:
        clock = (await dispute(disk)).clock
        disk.remove(HELLO)
        disk.make_folder(HELLO)
        assert await looked(disk.store) == Absent(EMPTY_FOLDER, clock, (THEIRS,))

    async def test_all_of_it_outlasts_a_restart(self, disk: Disk) -> None:
        before = await dispute(disk)
        await put(disk.store, b"deleted", ELSEWHERE)
        deleted = await delete(disk.store, ELSEWHERE)
        told = await disk.store.history(HELLO)
        await disk.reopen()
        assert await present(disk.store) == before
        assert await looked(disk.store, ELSEWHERE) == deleted
        assert await disk.store.history(HELLO) == told
        kept: list[tuple[FilePath, Digest, bytes]] = [
            (HELLO, THEIRS, b"theirs"),
            (ELSEWHERE, digest_of(b"deleted"), b"deleted"),
        ]
        for path, digest, content in kept:
            assert await bytes_of(disk.store, digest, path) == content

    async def test_the_actor_lives_as_long_as_the_index(self, disk: Disk) -> None:
        before = await put(disk.store, b"mine")
        actor = disk.store.actor
        assert set(before.clock.context()) == {actor}
        await disk.reopen()
        assert disk.store.actor == actor
        await disk.reopen(lose_index=True)
        assert disk.store.actor != actor
        after = await put(disk.store, b"new")
        assert after.clock.context()[disk.store.actor] == 1
        assert actor not in after.clock.context()
