"""What every store finds that goes through everything: what changed in the tree, what rotted. Part of the store conformance suite."""

from __future__ import annotations

import pytest

from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Absent, Damaged, Deleted, Present
from accord.store.inventory import Scope
from accord.store.port import Store
from accord.testing.conformance import (
    HELLO,
    Disk,
    bytes_of,
    contents,
    delete,
    digests,
    looked,
    present,
    put,
    take_in,
    theirs,
)
from accord.testing.memory_bytes import digest_of

EVERYTHING = Prefix("")


def scanned(store: Store, scope: Scope = EVERYTHING) -> list[Finding]:
    return [finding for step in store.rescan(scope) for finding in step.findings]


def scrubbed(store: Store, scope: Scope = EVERYTHING, after: FilePath | None = None) -> list[Finding]:
    return [finding for step in store.scrub(scope, after) for finding in step.findings]


def told(findings: list[Finding]) -> list[tuple[str, Oddity]]:
    return [(str(one.path), one.oddity) for one in findings]


async def noted(store: Store) -> list[tuple[str, Oddity]]:
    return told(await store.findings(EVERYTHING, None, 100))


class ScanConformance:
    async def test_new_files_are_found_and_recorded(self, disk: Disk) -> None:
        scanned(disk.store)
        disk.write("b", b"b")
        disk.write("a/a", b"a")
        steps = list(disk.store.rescan(EVERYTHING))
        assert sorted(path for step in steps for path in step.found) == ["a/a", "b"]
        assert [one for step in steps for one in step.findings] == []
        assert (await disk.store.count(EVERYTHING)).paths == 2
        assert contents(await present(disk.store, FilePath("b"))) == digests(b"b")

    async def test_of_an_unchanged_tree_nothing_is_read(self, disk: Disk) -> None:
        for number in range(20):
            disk.write(f"{number}", b"content")
        scanned(disk.store)
        steps = list(disk.store.rescan(EVERYTHING))
        assert sum(step.files for step in steps) == 20
        assert [step for step in steps if step.hashed_bytes or step.findings or step.found] == []

    async def test_an_edit_is_an_outside_change(self, disk: Disk) -> None:
        before = await put(disk.store, b"before")
        disk.write(HELLO, b"after: longer")
        (finding,) = scanned(disk.store)
        assert finding[:2] == (HELLO, Oddity.OUTSIDE)
        assert (finding.there, finding.recorded) == (digest_of(b"after: longer"), before.digest)
        assert contents(await present(disk.store)) == digests(b"before", b"after: longer")
        assert scanned(disk.store) == []
        assert await noted(disk.store) == [(HELLO, Oddity.OUTSIDE)]

    async def test_touching_is_nothing(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        disk.touch(HELLO)
        assert scanned(disk.store) == []
        assert await noted(disk.store) == []

    async def test_former_content_put_back_is_stale(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        disk.write(HELLO, b"one")
        (finding,) = scanned(disk.store)
        assert finding[:2] == (HELLO, Oddity.STALE)
        assert (finding.there, finding.recorded) == (digest_of(b"one"), digest_of(b"two"))
        assert await disk.store.unmended(None, 9) == [HELLO]

    async def test_a_file_that_was_cut_to_nothing_is_truncated(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        disk.rewrite(HELLO, b"")
        assert told(scanned(disk.store)) == [(HELLO, Oddity.TRUNCATED)]
        assert contents(await present(disk.store)) == digests(b"content", b"")

    async def test_a_beginning_is_truncated_where_somebody_can_prove_it(self, disk: Disk) -> None:
        for path in ("alone", "first", "second"):
            disk.write(path, b"unique, and cut" if path == "alone" else b"content of two")
        scanned(disk.store)
        disk.rewrite("alone", b"unique")
        disk.rewrite("first", b"content")
        assert told(scanned(disk.store)) == [("alone", Oddity.OUTSIDE), ("first", Oddity.TRUNCATED)]

    async def test_a_shorter_file_that_is_no_beginning_is_a_change(self, disk: Disk) -> None:
        for path in ("first", "second"):
            disk.write(path, b"content of two")
        scanned(disk.store)
        disk.rewrite("first", b"Content")
        assert told(scanned(disk.store)) == [("first", Oddity.OUTSIDE)]

    async def test_a_vanished_file_is_a_lost_copy_and_no_deletion(self, disk: Disk) -> None:
        before = await put(disk.store, b"content")
        disk.write("other", b"other")
        disk.remove(HELLO)
        (finding,) = scanned(disk.store)
        assert finding[:2] == (HELLO, Oddity.MISSING)
        assert (finding.there, finding.recorded) == (None, before.digest)
        assert await disk.store.unmended(None, 9) == [HELLO]
        assert await looked(disk.store) == Absent(None, before.clock)
        assert told(scanned(disk.store)) == [(HELLO, Oddity.MISSING)]  # as long as it is

    async def test_a_file_that_vanished_while_the_server_was_down_is_lost(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        disk.remove(HELLO)
        await disk.reopen()
        assert told(scanned(disk.store)) == [(HELLO, Oddity.MISSING)]

    async def test_a_lost_copy_that_comes_back_is_forgotten(self, disk: Disk) -> None:
        before = await put(disk.store, b"content")
        disk.remove(HELLO)
        for finding in scanned(disk.store):
            disk.store.note_finding(finding)
        assert await noted(disk.store) == [(HELLO, Oddity.MISSING)]
        disk.write(HELLO, b"content")
        assert scanned(disk.store) == []
        assert await noted(disk.store) == []
        assert await disk.store.unmended(None, 9) == []
        assert (await present(disk.store)).clock == before.clock

    async def test_a_lost_copy_that_is_healed_is_forgotten(self, disk: Disk) -> None:
        before = await put(disk.store, b"content")
        disk.remove(HELLO)
        for finding in scanned(disk.store):
            disk.store.note_finding(finding)
        await take_in(disk.store, before.clock, b"content")
        assert await noted(disk.store) == []
        assert await disk.store.unmended(None, 9) == []
        assert scanned(disk.store) == []

    async def test_another_content_in_place_of_a_lost_copy_is_adopted(self, adopting: Disk) -> None:
        await put(adopting.store, b"before")
        adopting.remove(HELLO)
        scanned(adopting.store)
        adopting.write(HELLO, b"after")
        scanned(adopting.store)
        assert contents(await present(adopting.store)) == digests(b"after")

    async def test_a_deleted_file_is_not_missing(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        await delete(disk.store)
        assert scanned(disk.store) == []
        assert await disk.store.unmended(None, 9) == []

    async def test_a_deleted_file_that_was_put_back_and_removed_again_is_deleted(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        clock = (await delete(disk.store)).clock
        disk.write(HELLO, b"content")
        assert told(scanned(disk.store)) == [(HELLO, Oddity.STALE)]
        assert await disk.store.unmended(None, 9) == [HELLO]
        disk.remove(HELLO)
        assert scanned(disk.store) == []
        assert await disk.store.unmended(None, 9) == []
        assert await noted(disk.store) == []
        answer = await looked(disk.store)
        assert isinstance(answer, Deleted)
        assert answer.clock == clock

    async def test_what_was_never_here_is_not_missing(self, disk: Disk) -> None:
        """A version is known, but nobody has its bytes."""
        await take_in(disk.store, theirs(b"theirs"))
        assert scanned(disk.store) == []
        assert await disk.store.unmended(None, 9) == [HELLO]

    async def test_a_folder_in_the_place_of_a_file_is_a_lost_copy(self, disk: Disk) -> None:
        await put(disk.store, b"content")
        disk.remove(HELLO)
        disk.write(f"{HELLO}/below", b"below")
        (finding,) = scanned(disk.store)
        assert (finding[:2], finding.detail) == ((HELLO, Oddity.MISSING), "there is a folder in its place")

    async def test_a_scan_of_a_folder_leaves_everything_else_alone(self, disk: Disk) -> None:
        for path in ("a", "b/a", "b/b", "b-", "c"):
            disk.write(path, path.encode())
        scanned(disk.store)
        for path in ("a", "b/a", "b-", "c"):
            disk.remove(path)
        assert told(scanned(disk.store, Prefix("b/"))) == [("b/a", Oddity.MISSING)]
        assert told(scanned(disk.store, FilePath("c"))) == [("c", Oddity.MISSING)]
        assert told(scanned(disk.store, FilePath("b"))) == [("b/a", Oddity.MISSING)]
        assert told(scanned(disk.store)) == [(path, Oddity.MISSING) for path in ("a", "b-", "b/a", "c")]

    async def test_a_folder_that_is_gone_is_scanned_by_its_name(self, disk: Disk) -> None:
        for path in ("d", "e/a", "e/b"):
            disk.write(path, b"content")
        scanned(disk.store)
        for path in ("e/a", "e/b"):
            disk.remove(path)
        assert told(scanned(disk.store, FilePath("e"))) == [("e/a", Oddity.MISSING), ("e/b", Oddity.MISSING)]

    async def test_a_scan_may_be_left_and_begun_again(self, disk: Disk) -> None:
        for number in range(10):
            disk.write(f"{number}", b"content")
        scanned(disk.store)
        for number in range(10):
            disk.remove(f"{number}")
        steps = disk.store.rescan(EVERYTHING)
        next(steps)
        del steps
        assert {path for path, _ in told(scanned(disk.store))} == {f"{number}" for number in range(10)}

    async def test_names_that_collide_elsewhere_are_all_told(self, disk: Disk) -> None:
        for number in range(8):
            disk.write(f"folder/NAME{number}", b"")
            disk.write(f"folder/name{number}", b"")
        scanned(disk.store)
        expected = [NameClash(f"folder/name{number}", f"folder/NAME{number}") for number in range(8)]
        assert await disk.store.name_clashes(EVERYTHING, None, 100) == expected
        assert await disk.store.name_clashes(Prefix("folder"), FilePath("folder/name1"), 3) == expected[2:5]
        assert await disk.store.name_clashes(Prefix("other"), None, 100) == []
        disk.remove("folder/NAME3")
        scanned(disk.store, Prefix("folder/"))
        assert len(await disk.store.name_clashes(EVERYTHING, None, 100)) == 8, "only a whole scan knows all names"
        counts = [(await disk.store.tally(Prefix(folder))).clashes for folder in ("", "folder", "other")]
        assert counts == [8, 8, 0]
        scanned(disk.store)
        assert len(await disk.store.name_clashes(EVERYTHING, None, 100)) == 7


class ScrubConformance:
    async def test_what_is_sound_is_read_and_not_reported(self, disk: Disk) -> None:
        for number in range(5):
            disk.write(f"{number}", b"12345678")
        scanned(disk.store)
        steps = list(disk.store.scrub(EVERYTHING, None))
        assert sum(step.read_bytes for step in steps) == 40
        assert sum(step.files for step in steps) == 5
        assert [step for step in steps if step.findings] == []

    async def test_rot_at_a_path_is_found_and_never_forgotten_by_itself(self, disk: Disk) -> None:
        disk.write("sound", b"sound")
        before = await put(disk.store, b"content")
        scanned(disk.store)
        disk.rot(HELLO)
        assert scanned(disk.store) == [], "nothing tells but the content"
        (finding,) = scrubbed(disk.store)
        assert (finding[:2], finding.recorded) == ((HELLO, Oddity.ROT), before.digest)
        assert isinstance(await looked(disk.store), Damaged)
        assert await disk.store.unmended(None, 9) == [HELLO]
        await disk.reopen()
        assert isinstance(await looked(disk.store), Damaged)
        assert told(scrubbed(disk.store)) == [(HELLO, Oddity.ROT)]
        await take_in(disk.store, before.clock, b"content")
        assert scrubbed(disk.store) == []
        assert await noted(disk.store) == []

    async def test_rot_of_a_rival_aside_is_found_and_the_path_lacks_it(self, disk: Disk) -> None:
        await put(disk.store, b"mine")
        clock = (await take_in(disk.store, theirs(b"theirs"), b"theirs")).clock
        assert await disk.store.unmended(None, 9) == []
        disk.rot_version(HELLO, digest_of(b"theirs"))
        (finding,) = scrubbed(disk.store)
        assert (finding[:2], finding.recorded) == ((HELLO, Oddity.ROT), digest_of(b"theirs"))
        assert await bytes_of(disk.store, digest_of(b"theirs")) is None
        assert (await present(disk.store)).aside == ()
        assert await disk.store.unmended(None, 9) == [HELLO]
        await take_in(disk.store, clock, b"theirs")
        assert await bytes_of(disk.store, digest_of(b"theirs")) == b"theirs"
        assert scrubbed(disk.store) == []

    async def test_rot_in_history_is_found_and_no_longer_told_to_be_kept(self, disk: Disk) -> None:
        await put(disk.store, b"one")
        await put(disk.store, b"two")
        disk.rot_version(HELLO, digest_of(b"one"))
        (finding,) = scrubbed(disk.store)
        assert (finding[:2], finding.recorded) == ((HELLO, Oddity.ROT), digest_of(b"one"))
        assert await bytes_of(disk.store, digest_of(b"one")) is None
        assert [one.is_kept for one in await disk.store.history(HELLO)] == [True, False]
        assert isinstance(await looked(disk.store), Present)
        assert await disk.store.unmended(None, 9) == []

    async def test_a_file_that_was_changed_is_no_rot(self, disk: Disk) -> None:
        await put(disk.store, b"before")
        disk.rewrite(HELLO, b"after")
        assert told(scrubbed(disk.store)) == [(HELLO, Oddity.OUTSIDE)]
        assert contents(await present(disk.store)) == digests(b"before", b"after")

    @pytest.mark.parametrize("scope", [FilePath("b/b"), Prefix("b/"), FilePath("b")])
    async def test_a_scrub_reads_no_more_than_it_is_to(self, disk: Disk, scope: Scope) -> None:
        for path in ("a", "b/b", "b-", "c"):
            disk.write(path, b"content")
        scanned(disk.store)
        for path in ("a", "b/b", "b-", "c"):
            disk.rot(path)
        assert told(scrubbed(disk.store, scope)) == [("b/b", Oddity.ROT)]

    async def test_a_scrub_goes_on_where_it_was_left(self, disk: Disk) -> None:
        paths = [f"{number:02}" for number in range(30)]
        for path in paths:
            disk.write(path, b"content")
        scanned(disk.store)
        for path in paths:
            disk.rot(path)
        assert told(scrubbed(disk.store, after=FilePath("12"))) == [(path, Oddity.ROT) for path in paths[13:]]
        seen: list[tuple[str, Oddity]] = []
        at: FilePath | None = None
        while len(seen) < 30:
            step = next(disk.store.scrub(EVERYTHING, at))
            assert step.at is not None
            seen, at = seen + told(list(step.findings)), step.at
        assert seen == [(path, Oddity.ROT) for path in paths]
