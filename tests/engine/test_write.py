"""Writes through whole engines: what they supersede, what they refuse, who has them, and what becomes of those who were away."""

from __future__ import annotations

import asyncio

import pytest

from accord.engine.deciding import FRESH_S, Refused, Wish
from accord.engine.write import Written
from accord.errors import Conflict, ContentMismatch, DiskFull, TooFewCopies
from accord.model.history import Deed
from accord.model.names import Digest, DigestPrefix, FilePath
from accord.model.verdict import EMPTY_FOLDER, FOLDER, Absent, Deleted, Kind, Present
from accord.model.writing import Conditions, Refusal
from accord.store.port import BLOCK_BYTES
from accord.testing.memory_bytes import digest_of
from tests.engine.servers import PATH, Node, servers

LARGE = bytes(range(251)) * (3 * BLOCK_BYTES // 251) + b"and the end"


async def test_a_put_is_durable_on_all_who_can_be_asked_and_says_so() -> None:
    async with servers(3) as some:
        written = await some[0].put(b"one")
        assert written.stored == ("server1", "server2", "server3")
        assert (written.is_new, written.missing, written.verdict.kind) == (True, (), Kind.IDENTICAL)
        assert [node.store.files[PATH].content for node in some.nodes] == [b"one"] * 3
        assert not any(node.store.debts() for node in some.nodes)


@pytest.mark.parametrize("content", [b"", b"x", LARGE])
async def test_content_of_any_size_arrives_whole(content: bytes) -> None:
    async with servers(2) as some:
        written = await some[0].put(content)
        assert written.version.digest == digest_of(content)
        assert await some[1].content(digest_of(content)) == content


async def test_a_put_takes_the_place_of_what_is_there_and_history_has_it() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        written = await some[1].put(b"two")
        assert (written.is_new, written.verdict.kind) == (False, Kind.IDENTICAL)
        for node in some.nodes:
            history = (await node.historian.history(PATH)).chapters
            assert [(one.event.version.digest, one.is_current) for one in history] == [
                (digest_of(b"two"), True),
                (digest_of(b"one"), False),
            ]
            assert history[0].event.supersedes == (history[1].event.dot,)
            assert history[1].servers == ("server1", "server2")


async def test_a_put_onto_rivals_is_refused_and_one_that_has_seen_them_resolves() -> None:
    async with servers(2) as some:
        some[0].store.put_outside(PATH, b"mine")
        some[1].store.put_outside(PATH, b"theirs")
        with pytest.raises(Refused) as refused:
            await some[0].put(b"by accident")
        assert refused.value.refusal is Refusal.DIVERGED
        seen = (await some[1].verdict()).seen()
        written = await some[0].put(b"agreed", seen=seen)
        assert written.verdict.kind is Kind.IDENTICAL
        newest = (await some[1].historian.history(PATH)).chapters[0].event
        assert (newest.deed, len(newest.supersedes)) == (Deed.RESOLVE, 2)


async def test_every_server_comes_to_hold_the_bytes_of_all_rivals() -> None:
    async with servers(3) as some:
        some[0].store.put_outside(PATH, b"mine")
        some[1].store.put_outside(PATH, b"theirs")
        await some.mend()
        verdict = await some[2].verdict()
        assert verdict.kind is Kind.DIVERGED
        assert [held.holders for held in verdict.versions] == [("server1", "server2", "server3")] * 2
        some.down(0)
        alone = await some[1].verdict()
        assert {held.version.digest for held in alone.versions} == {digest_of(b"mine"), digest_of(b"theirs")}
        assert await some[1].content(digest_of(b"mine")) == b"mine"


async def test_writes_through_two_servers_that_did_not_see_each_other_are_rivals() -> None:
    async with servers(2) as some:
        await some[0].put(b"before")
        seen = (await some[0].verdict()).seen()
        await some[0].put(b"left", seen=seen)
        late = await some[1].put(b"right", seen=seen)
        assert late.verdict.kind is Kind.DIVERGED
        for node in some.nodes:
            verdict = await node.verdict()
            assert {held.version.digest for held in verdict.versions} == {digest_of(b"left"), digest_of(b"right")}


async def test_two_puts_at_once_through_one_server_come_one_after_the_other() -> None:
    async with servers(2) as some:
        await asyncio.gather(*(some[0].put(b"%d" % number) for number in range(10)))
        verdict = await some[1].verdict()
        assert verdict.kind is Kind.IDENTICAL
        assert len((await some[0].historian.history(PATH)).chapters) == 10


@pytest.mark.parametrize(
    ("conditions", "refusal"),
    [
        (Conditions(is_new=True), Refusal.EXISTS),
        (Conditions(matches=frozenset([Digest(bytes(32))])), Refusal.NOT_THE_VERSION),
    ],
)
async def test_conditions_that_do_not_hold(conditions: Conditions, refusal: Refusal) -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        with pytest.raises(Refused) as refused:
            await some[1].put(b"two", wish=Wish(conditions))
        assert refused.value.refusal is refusal
        assert (await some[1].verdict()).version.version.digest == digest_of(b"one")


async def test_a_condition_that_held_before_the_body_is_looked_at_again_after_it() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        wish = Wish(Conditions(matches=frozenset([digest_of(b"one")])))
        slow = await some[0].writer.begin(PATH, wish, size=3)
        await slow.write(b"two")
        await some[0].put(b"faster")
        with pytest.raises(Refused):
            await slow.finish()
        assert (await some[1].verdict()).version.version.digest == digest_of(b"faster")


async def test_content_that_is_not_what_was_announced_changes_nothing() -> None:
    async with servers(2) as some:
        writing = await some[0].writer.begin(PATH, Wish(), size=3)
        await writing.write(b"two")
        with pytest.raises(ContentMismatch):
            await writing.finish(digest=digest_of(b"one"))
        assert (await some[0].verdict()).kind is Kind.MISSING


async def test_who_was_away_gets_it_later() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        some.down(1)
        written = await some[0].put(b"two")
        assert (written.stored, [one.name for one in written.missing]) == (("server1",), ["server2"])
        assert some[0].store.debts()["server2"].paths == 1
        some.up(1)
        assert (await some[1].verdict()).kind is Kind.STALE
        await some.replay()
        assert some[1].store.files[PATH].content == b"two"
        assert not some[0].store.debts()


async def test_a_peer_that_dies_before_it_acknowledges_is_owed_what_it_may_have() -> None:
    async with servers(2) as some:
        some[0].peers.faults[some[1].name].loses_answers = True
        written = await some[0].put(b"one")
        assert written.stored == ("server1",)
        some[0].peers.faults[some[1].name].loses_answers = False
        await some.replay()
        assert not some[0].store.debts()
        assert (await some[0].verdict()).kind is Kind.IDENTICAL


async def test_too_few_copies_are_refused_before_the_body_or_told_afterwards() -> None:
    async with servers(2, min_copies=2) as some:
        some.down(1)
        with pytest.raises(TooFewCopies):
            await some[0].put(b"one")
        assert (await some[0].verdict()).kind is Kind.UNKNOWN
        some.up(1)
        some[0].peers.faults[some[1].name].break_after_bytes = 0
        with pytest.raises(TooFewCopies) as told:
            await some[0].put(b"one")
        assert told.value.extra["stored"] == ["server1"]
        assert some[0].store.files[PATH].content == b"one"


async def test_a_deleted_file_stays_deleted_also_where_it_was_not_heard_of() -> None:
    async with servers(3) as some:
        await some[0].put(b"one")
        some.down(2)
        deleted = await some[0].delete()
        assert (deleted.verdict.kind, deleted.version.digest) == (Kind.DELETED, None)
        some.up(2)
        assert (await some[2].verdict()).kind is Kind.DELETED
        await some.mend()
        assert isinstance(await some[2].store.examine(PATH, wait_s=1), Deleted)
        chapters = (await some[2].historian.history(PATH)).chapters
        assert chapters[1].servers == ("server1", "server2", "server3")


async def test_deleting_what_is_not_there() -> None:
    async with servers(2) as some:
        for refusal in (Refusal.MISSING, Refusal.DELETED):
            with pytest.raises(Refused) as refused:
                await some[0].delete()
            assert refused.value.refusal is refusal
            if refusal is Refusal.MISSING:
                await some[0].put(b"one")
                await some[0].delete()


async def test_a_put_after_a_deletion_makes_a_file_again() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        await some[1].delete()
        written = await some[0].put(b"again")
        assert (written.is_new, written.verdict.kind) == (True, Kind.IDENTICAL)


async def test_a_deletion_that_did_not_see_a_write_is_its_rival() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        seen = (await some[0].verdict()).seen()
        await some[0].put(b"two")
        await some[1].delete(seen=seen)
        verdict = await some[0].verdict()
        assert verdict.kind is Kind.DIVERGED
        assert {held.version.digest for held in verdict.versions} == {digest_of(b"two"), None}
        await some.mend()
        assert (await some[1].verdict()).kind is Kind.DIVERGED


async def test_something_in_the_way_is_a_conflict_and_an_empty_folder_is_not() -> None:
    async with servers(2) as some:
        some[1].store.answer_always(PATH, Absent(FOLDER))
        with pytest.raises(Conflict):
            await some[0].put(b"one")
        some[1].store.answer_always(PATH, Absent(EMPTY_FOLDER))
        await some[0].put(b"one")


async def test_a_full_disk_refuses_and_nothing_is_left() -> None:
    async with servers(2) as some:
        some[0].store.capacity_bytes = 10
        with pytest.raises(DiskFull):
            await some[0].put(b"x" * 11)
        assert (await some[1].verdict()).kind is Kind.MISSING


async def test_a_full_disk_of_a_peer_is_told_and_owed() -> None:
    async with servers(2) as some:
        some[1].store.capacity_bytes = 10
        written = await some[0].put(b"x" * 11)
        assert written.stored == ("server1",)
        assert "space" in written.missing[0].reason


async def test_a_forged_context_covers_nothing_that_is_yet_to_come() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        seen = {actor: counter + 1000 for actor, counter in (await some[0].verdict()).seen().items()}
        await some[1].put(b"two", seen=seen)
        written = await some[0].put(b"three")
        assert (written.verdict.kind, written.verdict.version.version.digest) == (
            Kind.IDENTICAL,
            digest_of(b"three"),
        )


async def test_a_write_does_not_bury_a_version_that_nobody_could_show() -> None:
    """server1's file was edited in place while server2, which has what was there before, is away."""
    async with servers(2) as some:
        await some[0].put(b"one")
        some.down(1)
        some[0].store.put_outside(PATH, b"edited", in_place=True)
        await some[0].put(b"two")
        some.up(1)
        verdict = await some[0].verdict()
        assert verdict.kind is Kind.DIVERGED
        assert {held.version.digest for held in verdict.versions} == {digest_of(b"one"), digest_of(b"two")}


async def test_restored_old_content_is_the_old_version_and_is_healed() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        await some[0].put(b"two")
        some[1].store.put_outside(PATH, b"one", modified_ns=5)
        assert (await some[0].verdict()).kind is Kind.STALE
        await some.mend()
        assert some[1].store.files[PATH].content == b"two"


async def test_moves_and_copies_send_no_bytes() -> None:
    other = FilePath("folder/other.txt")
    async with servers(2) as some:
        await some[0].put(b"one")
        copied = await some[0].copier.copy(PATH, None, other, Wish(), moves=False)
        assert copied.stored == ("server1", "server2")
        moved = await some[1].copier.copy(PATH, None, FilePath("moved"), Wish(), moves=True)
        assert moved.verdict.kind is Kind.IDENTICAL
        assert (await some[0].verdict()).kind is Kind.DELETED
        assert not some[0].peers.fetched
        assert not some[1].peers.fetched
        assert some[0].store.files[FilePath("moved")].content == b"one"


async def test_a_former_version_is_restored_as_a_new_one() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        await some[0].put(b"two")
        old = (await some[0].historian.history(PATH)).chapters[1].event.version.digest
        assert old is not None
        await some[1].copier.copy(PATH, DigestPrefix(str(old)), PATH, Wish(), moves=False)
        assert some[0].store.files[PATH].content == b"one"
        newest = (await some[0].historian.history(PATH)).chapters[0].event
        assert (newest.deed, newest.version.digest) == (Deed.RESTORE, old)


async def test_an_answer_of_a_copy_that_is_aside_is_served() -> None:
    async with servers(2) as some:
        some[0].store.put_outside(PATH, b"mine")
        some[1].store.put_outside(PATH, b"theirs")
        await some.mend()
        mine = await some[0].store.examine(PATH, wait_s=1)
        assert isinstance(mine, Present)
        assert mine.aside == (digest_of(b"theirs"),)
        assert await some[0].content(digest_of(b"theirs")) == b"theirs"
        assert not some[0].peers.fetched[1:]


async def test_a_rival_that_rotted_aside_is_found_out_by_a_read_and_healed() -> None:
    async with servers(2) as some:
        some[0].store.put_outside(PATH, b"mine")
        some[1].store.put_outside(PATH, b"theirs")
        await some.mend()
        some[0].store.rot_version(PATH, digest_of(b"theirs"))
        assert await some[0].content(digest_of(b"theirs")) == b"theirs"
        found = await some[0].store.examine(PATH, wait_s=1)
        assert isinstance(found, Present)
        assert found.aside == ()  # it is no longer claimed
        await some.mend()
        healed = await some[0].store.examine(PATH, wait_s=1)
        assert isinstance(healed, Present)
        assert healed.aside == (digest_of(b"theirs"),)


async def test_a_write_whose_base_was_superseded_meanwhile_still_tells_what_it_came_from() -> None:
    async with servers(2) as some:
        await some[0].put(b"before")
        seen = (await some[0].verdict()).seen()
        await some[0].put(b"left", seen=seen)
        await some[0].put(b"right", seen=seen)
        chapters = (await some[1].historian.history(PATH)).chapters
        base = chapters[-1].event
        assert [one.event.supersedes for one in chapters[:2]] == [(base.dot,)] * 2


async def test_what_others_got_while_the_content_arrived_is_seen_at_the_end() -> None:
    async with servers(2) as some:
        now_s = 0.0
        some[0].writer.now_s = lambda: now_s
        writing = await some[0].writer.begin(PATH, Wish(Conditions(is_new=True)), size=3)
        await writing.write(b"one")
        some[1].store.put_outside(PATH, b"theirs")
        now_s += 2 * FRESH_S
        with pytest.raises(Refused) as refused:
            await writing.finish()
        assert refused.value.refusal is Refusal.EXISTS


async def test_a_write_does_not_bury_what_vanished_here_while_it_came_and_others_have() -> None:
    """Two writers at once: the peers were asked for the second before they had the first's, and only they have that by now."""
    async with servers(2) as some:
        writing = await some[0].writer.begin(PATH, Wish(Conditions(is_new=True)), size=3)
        await some[0].put(b"first")
        some[0].store.remove_outside(PATH)
        await writing.write(b"two")
        with pytest.raises(Refused) as refused:
            await writing.finish()
        assert refused.value.refusal is Refusal.EXISTS


async def at_once(node: Node, content: bytes, conditions: Conditions | None = None) -> Written:
    """All of it is there when the write begins."""
    writing = await node.writer.begin(PATH, Wish(conditions or Conditions()), size=len(content), is_here=True)
    await writing.write(content)
    return await writing.finish()


async def test_a_file_that_nobody_has_looked_at_yet_is_superseded_and_kept_by_a_write_that_took_it_for_new() -> None:
    async with servers(2) as some:
        some[0].store.put_outside(PATH, b"found")
        assert some[0].store.is_likely_new(PATH)
        written = await at_once(some[0], b"new")
        assert not written.is_new
        history = (await some[1].historian.history(PATH)).chapters
        assert [one.event.version.digest for one in history] == [digest_of(b"new"), digest_of(b"found")]
        assert some[0].store.kept[PATH][digest_of(b"found")].content == b"found"


@pytest.mark.parametrize("where", [0, 1])
async def test_what_was_taken_for_new_and_is_there_refuses_a_write_of_something_new(where: int) -> None:
    async with servers(2) as some:
        some[where].store.put_outside(PATH, b"found")
        with pytest.raises(Refused) as refused:
            await at_once(some[0], b"new", Conditions(is_new=True))
        assert refused.value.refusal is Refusal.EXISTS
        assert [node.store.open_stagings for node in some.nodes] == [0, 0]


async def test_nobody_is_refused_because_a_file_was_taken_for_new() -> None:
    async with servers(2) as some:
        some[0].store.put_outside(PATH, b"found")
        written = await at_once(some[0], b"new", Conditions(matches=frozenset({digest_of(b"found")})))
        assert written.stored == ("server1", "server2")


async def test_a_folder_in_the_place_of_what_was_taken_for_new_is_a_conflict() -> None:
    async with servers(2) as some:
        some[0].store.cold = True
        some[0].store.answer_always(PATH, Absent(FOLDER))
        with pytest.raises(Conflict):
            await at_once(some[0], b"new")


async def test_a_folder_in_the_way_on_another_server_does_not_keep_a_file_from_being_deleted() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one")
        some.up(1)
        some[1].store.answer_always(PATH, Absent(FOLDER))
        written = await some[0].delete()
        assert written.stored[0] == "server1"
        assert PATH not in some[0].store.files


async def test_where_the_disk_fails_nobody_waits_for_a_peer_that_is_slow() -> None:
    async with servers(2) as some:
        writing = await some[0].writer.begin(PATH, Wish(), size=None)
        some[0].peers.faults[some[1].name].hold = asyncio.Event()
        some[0].store.capacity_bytes = 1
        before = asyncio.all_tasks()
        with pytest.raises(DiskFull):
            await writing.write(b"two")
        assert asyncio.all_tasks() == before
        await writing.abort()


async def test_a_peer_that_finds_something_in_the_way_drops_what_came() -> None:
    async with servers(2) as some:
        writing = await some[0].writer.begin(PATH, Wish(), size=3)
        await writing.write(b"one")
        some[1].store.answer_always(PATH, Absent(FOLDER))
        written = await writing.finish()
        assert (written.stored, [one.name for one in written.missing]) == (("server1",), ["server2"])


async def test_a_rival_whose_bytes_are_lost_does_not_keep_a_write_from_the_others() -> None:
    async with servers(3) as some:
        some.down(1)
        some.down(2)
        await some[0].put(b"overwritten behind our back")
        some[0].store.put_outside(PATH, b"by this")
        some.up(1)
        seen = (await some[0].verdict()).seen()  # the third may have what was lost: that is not seen
        written = await some[0].put(b"agreed", seen=seen)
        assert written.stored == ("server1", "server2")
        assert some[1].store.files[PATH].content == b"agreed"


async def test_a_peer_that_is_lost_in_the_middle_of_a_move_has_the_content_at_its_destination() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        some[0].peers.faults[some[1].name].loses_answers = True
        await some[0].copier.copy(PATH, None, FilePath("moved"), Wish(), moves=True)
        assert some[1].store.files[FilePath("moved")].content == b"one"


async def test_what_a_server_that_lost_its_index_finds_again_is_the_former_version_that_others_know() -> None:
    async with servers(2) as some:
        await some[0].put(b"old")
        some.down(0)
        await some[1].delete()
        some[0].store.lose_index()
        some.up(0)
        for _ in range(2):
            await some.mend()
        assert {(await node.verdict()).kind for node in some.nodes} == {Kind.DELETED}
        assert PATH not in some[0].store.files
        kept = await some[1].store.open_version(PATH, digest_of(b"old"))
        assert kept is not None
        kept.close()


async def test_what_is_learnt_of_the_past_is_made_use_of_at_once_and_not_when_its_teacher_is_gone() -> None:
    async with servers(2) as some:
        await some[0].put(b"old")
        some.down(0)
        await some[1].put(b"new")
        some[1].store.settle_debts(some[0].name, [(PATH, 9)])  # nobody tells it a second time
        some[0].store.lose_index()
        some.up(0)
        assert await some[0].updater.update(PATH) is None
        some[1].store.lose_disk()
        assert await some[1].updater.update(PATH) is None
        assert {(await node.verdict()).kind for node in some.nodes} == {Kind.IDENTICAL}
        assert [node.store.files[PATH].content for node in some.nodes] == [b"new"] * 2


async def test_a_writer_remembers_what_it_superseded_and_only_others_ever_had() -> None:
    async with servers(3) as some:
        some.down(2)
        await some[0].put(b"old")
        some.up(2)
        some.down(0)
        await some[2].delete()
        some[0].store.lose_index()
        some[1].store.lose_disk()  # the only other server that ever had it
        some.up(0)
        for _ in range(2):
            await some.mend()
        assert {(await node.verdict()).kind for node in some.nodes} == {Kind.DELETED}


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_a_rival_that_was_written_over_everywhere_is_back_where_a_server_has_its_bytes_elsewhere(
    elsewhere: bool,
) -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        if elsewhere:
            await some[1].put(b"one", FilePath("elsewhere"))
        for number in range(2):
            some[number].store.put_outside(PATH, b"by other hands")
        for _ in range(2):
            await some.mend()
        kind, contents = (Kind.DIVERGED, 2) if elsewhere else (Kind.IDENTICAL, 1)
        for node in some.nodes:
            verdict = await node.verdict()
            assert (verdict.kind, len(verdict.versions)) == (kind, contents)
        if elsewhere:
            assert await some[0].content(digest_of(b"one")) == b"one"


async def test_found_content_that_nobody_knew_is_a_rival_all_the_same() -> None:
    async with servers(2) as some:
        await some[0].put(b"old")
        some.down(0)
        await some[1].put(b"new")
        some[0].store.lose_index()
        some[0].store.put_outside(PATH, b"another")
        some.up(0)
        await some.mend()
        assert (await some[0].verdict()).kind is Kind.DIVERGED
