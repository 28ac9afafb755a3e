"""What every store knows of all its paths at once: fingerprints, counts, what is to be mended, what stands. Part of the suite."""

from __future__ import annotations

from collections.abc import Iterable

from accord.codec import mark_of
from accord.model.findings import Finding, Oddity
from accord.model.fingerprints import WHOLE, Fingerprint, Item, Span
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Deleted, Kind
from accord.model.versions import EMPTY_CLOCK, Clock, merge, write
from accord.store.inventory import Tally
from accord.store.port import Change, Store
from accord.testing.conformance import (
    DELETION,
    HELLO,
    OTHER,
    Disk,
    committed,
    delete,
    looked,
    put,
    story,
    take_in,
    theirs,
    version_of,
)
from accord.testing.memory_bytes import digest_of

EVERYTHING = Prefix("")
MANY = 1000
DAY_S = 24 * 3600
DAY_NS = DAY_S * 1_000_000_000
NAMES = [FilePath(f"{folder}/{name}") for folder in ("a", "a-b", "a b", "é") for name in ("one", "two", "ünf")]


def fingerprint_of(items: Iterable[Item]) -> Fingerprint:
    """Of files that are not deleted."""
    total = Fingerprint()
    for item in items:
        total = total.plus(Fingerprint(1, int.from_bytes(item.mark)))
    return total


async def filled(store: Store) -> list[Item]:
    """A file at each of `NAMES`, and its item."""
    clocks = {path: (await put(store, path.encode(), path)).clock for path in NAMES}
    return [Item(path, mark_of(path, clocks[path])) for path in sorted(NAMES, key=lambda one: one.encode())]


async def unmended(store: Store) -> list[FilePath]:
    return await store.unmended(None, MANY)


async def rivals(store: Store) -> list[FilePath]:
    return await store.rivals(EVERYTHING, None, MANY)


def found(path: FilePath, oddity: Oddity, since_ns: int, detail: str = "") -> Finding:
    return Finding(path, oddity, since_ns, digest_of(b"there"), digest_of(b"recorded"), detail)


class InventoryConformance:
    async def test_a_store_of_nothing_has_the_fingerprint_of_nothing(self, disk: Disk) -> None:
        assert await disk.store.summaries([WHOLE, Span("a", "b")]) == [Fingerprint(), Fingerprint()]
        assert (await disk.store.items([WHOLE], MANY))[0] == []
        assert [part.fingerprint for part in (await disk.store.cut([WHOLE], 16))[0]] == [Fingerprint()]
        assert await disk.store.count(EVERYTHING) == Fingerprint()

    async def test_items_are_what_the_clocks_say_in_the_order_of_the_paths(self, disk: Disk) -> None:
        items = await filled(disk.store)
        assert (await disk.store.items([WHOLE], MANY))[0] == items
        assert (await disk.store.items([WHOLE], 2))[0] == items[:2]
        assert (await disk.store.items([Span(items[2].path, items[5].path)], MANY))[0] == items[3:6]
        assert (await disk.store.items([Span(items[2].path, None)], 1))[0] == items[3:4]

    async def test_the_fingerprint_of_a_range_is_the_sum_of_its_items(self, disk: Disk) -> None:
        items = await filled(disk.store)
        edges = ["", "a", *(item.path for item in items), "zz"]
        spans = [Span(after, upto) for after in edges for upto in [*edges, None]]
        expected = [fingerprint_of(item for item in items if span.covers(item.path)) for span in spans]
        assert await disk.store.summaries(spans) == expected

    async def test_parts_cover_the_range_in_order(self, disk: Disk) -> None:
        items = await filled(disk.store)
        for span in (WHOLE, Span("a", "a b/two"), Span("a-b/one", None)):
            (whole,) = await disk.store.summaries([span])
            parts = (await disk.store.cut([span], 4))[0]
            assert 2 <= len(parts) <= 4
            assert [part.span.after for part in parts] == [span.after, *(part.span.upto for part in parts[:-1])]
            assert parts[-1].span.upto == span.upto
            assert [part.fingerprint for part in parts] == await disk.store.summaries([part.span for part in parts])
            assert max(part.fingerprint.paths for part in parts) <= whole.paths // len(parts) + 1
        assert sum(part.fingerprint.paths for part in (await disk.store.cut([WHOLE], MANY))[0]) == len(items)

    async def test_what_happens_to_a_path_changes_its_item_and_no_other(self, disk: Disk) -> None:
        items = dict(await filled(disk.store))
        path = NAMES[4]
        for change in (put(disk.store, b"new", path), delete(disk.store, path), put(disk.store, b"again", path)):
            clock = (await change).clock
            assert items[path] != mark_of(path, clock)
            items[path] = mark_of(path, clock)
            assert dict((await disk.store.items([WHOLE], MANY))[0]) == items

    async def test_fingerprints_outlast_a_restart(self, disk: Disk) -> None:
        await filled(disk.store)
        await delete(disk.store, NAMES[0])
        before = await disk.store.summaries([WHOLE])
        await disk.reopen()
        assert await disk.store.summaries([WHOLE]) == before

    async def test_counts_are_told_for_each_folder(self, disk: Disk) -> None:
        await filled(disk.store)
        await delete(disk.store, FilePath("a/one"))
        await put(disk.store, b"beside", FilePath("a0"))
        counts = {prefix: await disk.store.count(Prefix(prefix)) for prefix in ("", "a/", "a-b/", "é/", "none/")}
        assert {prefix: (one.paths, one.deleted) for prefix, one in counts.items()} == {
            "": (13, 1),
            "a/": (3, 1),
            "a-b/": (3, 0),
            "é/": (3, 0),
            "none/": (0, 0),
        }

    # What is to be mended.

    async def test_what_is_whole_is_not_to_be_mended(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        assert (await unmended(disk.store), await rivals(disk.store)) == ([], [])
        await delete(disk.store)
        assert (await unmended(disk.store), await rivals(disk.store)) == ([], [])

    async def test_a_version_without_its_bytes_is_to_be_mended(self, disk: Disk) -> None:
        await take_in(disk.store, theirs(b"never came"))
        assert await unmended(disk.store) == [HELLO]
        assert await disk.store.unmended(HELLO, MANY) == []
        await take_in(disk.store, theirs(b"never came"), b"never came")
        assert await unmended(disk.store) == []

    async def test_a_damaged_copy_is_to_be_mended(self, disk: Disk) -> None:
        await put(disk.store, b"good")
        disk.rot(HELLO)
        await disk.store.examine(HELLO, wait_s=30, reread=True)
        assert await unmended(disk.store) == [HELLO]

    async def test_rivals_are_listed_until_they_are_resolved(self, disk: Disk) -> None:
        mine = await put(disk.store, b"mine", FilePath("folder/file"))
        clock = merge(mine.clock, theirs(b"theirs"))
        await take_in(disk.store, clock, b"theirs", path=FilePath("folder/file"))
        await put(disk.store, b"beside", FilePath("other"))
        assert await rivals(disk.store) == ["folder/file"]
        assert await disk.store.rivals(Prefix("folder/"), None, MANY) == ["folder/file"]
        assert await disk.store.rivals(Prefix("other/"), None, MANY) == []
        assert await disk.store.rivals(EVERYTHING, FilePath("folder/file"), MANY) == []
        assert await unmended(disk.store) == []
        await put(disk.store, b"resolved", FilePath("folder/file"))
        assert await rivals(disk.store) == []

    async def test_a_rival_whose_bytes_are_missing_is_both(self, disk: Disk) -> None:
        mine = await put(disk.store, b"mine")
        await take_in(disk.store, merge(mine.clock, theirs(b"theirs")))
        assert (await unmended(disk.store), await rivals(disk.store)) == ([HELLO], [HELLO])

    # What stands.

    async def test_differences_are_remembered_until_the_verdict_is_another(self, disk: Disk) -> None:
        store = disk.store
        store.note_verdict(NAMES[0], Kind.PARTIAL)
        store.note_verdict(NAMES[5], Kind.DIVERGED)
        store.note_verdict(NAMES[1], Kind.IDENTICAL)
        assert store.is_difference(NAMES[0])
        (first,) = await store.differences(Prefix("a/"), None, MANY)
        assert (first.path, first.kind) == (NAMES[0], Kind.PARTIAL)
        assert {one.path for one in await store.differences(EVERYTHING, None, MANY)} == {NAMES[0], NAMES[5]}
        assert [one.path for one in await store.differences(EVERYTHING, NAMES[5], MANY)] == [NAMES[0]]
        assert dict(await store.count_differences(EVERYTHING)) == {Kind.PARTIAL: 1, Kind.DIVERGED: 1}
        assert dict(await store.count_differences(Prefix("a/"))) == {Kind.PARTIAL: 1}
        disk.pass_time(DAY_NS)
        store.note_verdict(NAMES[0], Kind.STALE)
        assert await store.differences(Prefix("a/"), None, MANY) == [first._replace(kind=Kind.STALE)]
        store.note_verdict(NAMES[0], Kind.IDENTICAL)
        assert await store.differences(Prefix("a/"), None, MANY) == []
        assert dict(await store.count_differences(EVERYTHING)) == {Kind.DIVERGED: 1}

    async def test_silent_servers_make_no_difference_and_end_none(self, disk: Disk) -> None:
        for kind in (Kind.UNVERIFIED, Kind.UNKNOWN):
            disk.store.note_verdict(NAMES[0], kind)
            assert await disk.store.differences(EVERYTHING, None, MANY) == []
        disk.store.note_verdict(NAMES[0], Kind.DAMAGED)
        for kind in (Kind.UNVERIFIED, Kind.UNKNOWN):
            disk.store.note_verdict(NAMES[0], kind)
            assert dict(await disk.store.count_differences(EVERYTHING)) == {Kind.DAMAGED: 1}

    async def test_what_stands_outlasts_a_restart(self, disk: Disk) -> None:
        store = disk.store
        finding = found(NAMES[3], Oddity.MISSING, 5, "gone")
        store.note_verdict(NAMES[0], Kind.STALE)
        store.note_finding(finding)
        store.deem_estranged([NAMES[4]])
        store.note("scrub", "here")
        differences = await store.differences(EVERYTHING, None, MANY)
        await disk.reopen()
        store = disk.store
        assert store.is_difference(NAMES[0])
        assert await store.differences(EVERYTHING, None, MANY) == differences
        assert dict(await store.count_differences(EVERYTHING)) == {Kind.STALE: 1}
        assert await store.findings(EVERYTHING, None, MANY) == [finding]
        assert await store.estranged(None, MANY) == [NAMES[4]]
        assert await store.noted("scrub") == "here"

    async def test_a_finding_keeps_the_time_it_was_found_first(self, disk: Disk) -> None:
        for since_ns, detail in ((5, "first"), (9, "again")):
            disk.store.note_finding(found(HELLO, Oddity.ROT, since_ns, detail))
            (told,) = await disk.store.findings(EVERYTHING, None, MANY)
            assert told == found(HELLO, Oddity.ROT, 5, detail)

    async def test_findings_are_told_by_folder_and_in_order(self, disk: Disk) -> None:
        noted = [found(path, oddity, 1) for path in (NAMES[5], NAMES[0]) for oddity in (Oddity.ROT, Oddity.OUTSIDE)]
        for one in noted:
            disk.store.note_finding(one)
        told = await disk.store.findings(EVERYTHING, None, MANY)
        assert sorted(told, key=str) == sorted(noted, key=str)
        assert [one.path for one in told] == sorted(one.path for one in noted)
        assert {one.path for one in await disk.store.findings(Prefix("a/"), None, MANY)} == {NAMES[0]}
        after = await disk.store.findings(EVERYTHING, told[0].path, MANY)
        assert {one.path for one in after} == {told[-1].path}
        assert len(await disk.store.findings(EVERYTHING, None, 1)) in (1, 2), "a path's findings are told together"

    async def test_a_good_commit_forgets_the_findings_of_its_path(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        for path in (HELLO, NAMES[0]):
            disk.store.note_finding(found(path, Oddity.OUTSIDE, 1))
        await put(disk.store, b"two")
        assert [one.path for one in await disk.store.findings(EVERYTHING, None, MANY)] == [NAMES[0]]

    async def test_a_commit_that_leaves_rivals_forgets_none(self, disk: Disk) -> None:
        mine = await put(disk.store, b"mine")
        disk.store.note_finding(found(HELLO, Oddity.OUTSIDE, 1))
        await take_in(disk.store, merge(mine.clock, theirs(b"theirs")), b"theirs")
        assert len(await disk.store.findings(EVERYTHING, None, MANY)) == 1

    async def test_a_look_that_reads_a_good_copy_forgets_what_was_wrong_with_it(self, disk: Disk) -> None:
        await put(disk.store, b"good")
        for oddity in (Oddity.UNREADABLE, Oddity.OUTSIDE):
            disk.store.note_finding(found(HELLO, oddity, 1))
        await disk.store.examine(HELLO, wait_s=30, reread=True)
        told = await disk.store.findings(EVERYTHING, None, MANY)
        assert [one.oddity for one in told] == [Oddity.OUTSIDE], "the change was made all the same"

    async def test_many_paths_are_estranged_at_once(self, disk: Disk) -> None:
        """All of them are remembered: what is not would be taken over."""
        paths = [FilePath(f"strange/{number:05}") for number in range(40_000)]
        disk.store.deem_estranged(paths)
        assert await disk.store.is_estranged(paths[-1])
        assert (await disk.store.tally(Prefix(""))).estranged == len(paths)

    async def test_a_path_is_estranged_until_something_is_known_of_it(self, disk: Disk) -> None:
        disk.store.deem_estranged(NAMES[:3])
        assert await disk.store.estranged(None, MANY) == sorted(NAMES[:3])
        assert await disk.store.estranged(NAMES[0], 1) == [NAMES[1]]
        assert await disk.store.is_estranged(NAMES[1])
        assert not await disk.store.is_estranged(NAMES[4])
        await put(disk.store, b"written", NAMES[1])
        assert not await disk.store.is_estranged(NAMES[1])
        assert await disk.store.estranged(None, MANY) == [NAMES[0], NAMES[2]]

    async def test_what_is_odd_is_counted_by_folder(self, disk: Disk) -> None:
        store = disk.store
        assert await store.tally(EVERYTHING) == Tally(0, {}, 0, 0)
        for path, oddity in (("a/1", Oddity.ROT), ("a/2", Oddity.ROT), ("a/2", Oddity.OUTSIDE), ("b/1", Oddity.ROT)):
            store.note_finding(found(FilePath(path), oddity, 1))
        store.deem_estranged([FilePath("a/strange"), FilePath("a-b"), FilePath("c/strange")])
        whole, below = await store.tally(EVERYTHING), await store.tally(Prefix("a"))
        assert (dict(whole.findings), whole.estranged) == ({Oddity.ROT: 3, Oddity.OUTSIDE: 1}, 3)
        assert (dict(below.findings), below.estranged) == ({Oddity.ROT: 2, Oddity.OUTSIDE: 1}, 1)

    async def test_rivals_are_counted_until_they_are_resolved(self, disk: Disk) -> None:
        path = FilePath("folder/file")
        mine = await put(disk.store, b"mine", path)
        await take_in(disk.store, merge(mine.clock, theirs(b"theirs")), b"theirs", path=path)
        assert (await disk.store.tally(Prefix("folder"))).rivals == 1
        assert (await disk.store.tally(Prefix("other"))).rivals == 0
        await put(disk.store, b"resolved", path)
        assert (await disk.store.tally(EVERYTHING)).rivals == 0

    async def test_the_room_that_is_left(self, disk: Disk) -> None:
        space = await disk.store.space()
        assert 0 < space.free_bytes <= space.total_bytes

    async def test_notes_are_kept_and_forgotten(self, disk: Disk) -> None:
        assert await disk.store.noted("met:server2") is None
        for text in ("1", "2"):
            disk.store.note("met:server2", text)
            assert await disk.store.noted("met:server2") == text
        disk.store.note("met:server2", None)
        assert await disk.store.noted("met:server2") is None
        await disk.reopen()
        assert await disk.store.noted("met:server2") is None

    # Tombstones.

    async def test_an_answer_tells_for_how_long_the_deletion_has_been_known(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        await delete(disk.store)
        assert _age_s(await looked(disk.store)) < 60
        disk.pass_time(3 * DAY_NS)
        assert 3 * DAY_S <= _age_s(await looked(disk.store)) < 3 * DAY_S + 60
        told = disk.store.glance_answer(HELLO)
        assert told is None or _age_s(told) >= 3 * DAY_S
        await disk.reopen()
        assert 3 * DAY_S <= _age_s(await looked(disk.store)) < 3 * DAY_S + 60

    async def test_the_age_of_a_deletion_that_is_taken_over_counts_on(self, disk: Disk) -> None:
        await _take_deletion(disk.store, EMPTY_CLOCK, 5 * DAY_S)
        assert 5 * DAY_S <= _age_s(await looked(disk.store)) < 5 * DAY_S + 60
        assert await disk.store.drop_tombstones(_ago(disk, 6), MANY) == 0
        assert await disk.store.drop_tombstones(_ago(disk, 4), MANY) == 1

    async def test_where_there_was_content_a_deletion_is_news(self, disk: Disk) -> None:
        mine = await put(disk.store, b"content")
        await _take_deletion(disk.store, mine.clock, 80 * DAY_S)
        assert _age_s(await looked(disk.store)) < 60

    async def test_nothing_is_left_of_a_deletion_that_was_dropped(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        await put(disk.store, b"beside", NAMES[0])
        (beside,) = [item for item in (await disk.store.items([WHOLE], MANY))[0] if item.path == NAMES[0]]
        disk.store.note_verdict(HELLO, Kind.PARTIAL)
        await delete(disk.store)
        assert await disk.store.drop_tombstones(_ago(disk, 1), MANY) == 0
        disk.pass_time(2 * DAY_NS)
        assert await disk.store.drop_tombstones(_ago(disk, 1), MANY) == 1
        for _ in range(2):
            assert (await looked(disk.store)).clock == EMPTY_CLOCK
            assert await story(disk.store) == []
            assert (await disk.store.items([WHOLE], MANY))[0] == [beside]
            assert await disk.store.summaries([WHOLE]) == [fingerprint_of([beside])]
            assert await disk.store.differences(EVERYTHING, None, MANY) == []
            await disk.reopen()

    async def test_the_oldest_deletions_are_dropped_first(self, disk: Disk) -> None:
        for path in NAMES[:3]:
            await put(disk.store, b"content", path)
        for path in (NAMES[2], NAMES[0], NAMES[1]):
            await delete(disk.store, path)
            disk.pass_time(DAY_NS)
        old = _ago(disk, 0)
        left = []
        while await disk.store.drop_tombstones(old, 1):
            left.append([item.path for item in (await disk.store.items([WHOLE], MANY))[0]])
        assert left == [sorted(NAMES[:2]), [NAMES[1]], []]

    async def test_a_file_that_was_put_there_again_is_no_tombstone_to_drop(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        await delete(disk.store)
        await put(disk.store, b"again")
        disk.pass_time(100 * DAY_NS)
        assert await disk.store.drop_tombstones(1 << 62, MANY) == 0

    async def test_counters_that_were_used_before_are_not_used_again(self, disk: Disk) -> None:
        for content in (b"one", b"two", b"three"):
            old = await put(disk.store, content)
        await delete(disk.store)
        assert await disk.store.drop_tombstones(1 << 62, MANY) == 1
        await disk.reopen()
        floor = disk.store.floor
        assert floor >= 4
        clock = write(EMPTY_CLOCK, {}, disk.store.actor, version_of(b"new"), floor=floor)
        both = merge(old.clock, clock)
        assert [version.digest for _, version in both.current()] == [digest_of(b"new")], "not what comes from a backup"


def _age_s(answer: object) -> int:
    assert isinstance(answer, Deleted), answer
    return answer.age_s


def _ago(disk: Disk, days: int) -> int:
    return disk.now_ns() - days * DAY_NS


async def _take_deletion(store: Store, over: Clock, age_s: int) -> None:
    before = (await looked(store)).clock
    clock = write(over, over.context(), OTHER, DELETION)
    await committed(store, Change(HELLO, before, clock, deleted_age_s=age_s))
