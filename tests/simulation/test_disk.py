"""The simulated disk: what was not synced may be gone after a power failure, and what was synced is not."""

from __future__ import annotations

import errno
from random import Random

import pytest

from accord.testing.simulation.disk import WRITTEN_BACK_S, Disk, File, Folder, Slot

EVERY_FATE = range(40)


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def ns(self) -> int:
        return int(self.now_s * 10**9)


def a_disk(*, journals: bool = False) -> tuple[Disk, Time]:
    time = Time()
    return Disk(1, time, time.ns, journals=journals), time


def names(disk: Disk) -> set[str]:
    return {path for path, _ in disk.files()}


def content(disk: Disk, name: str) -> bytes | None:
    file = disk.root.entries.get(name)
    return bytes(file.content) if isinstance(file, File) else None


def test_what_was_synced_survives_every_power_failure() -> None:
    for seed in EVERY_FATE:
        disk, _ = a_disk()
        file = disk.new_file(disk.root, "a")
        disk.write(file, 0, b"content")
        disk.sync(file)
        disk.sync(disk.root)
        disk.lose_power(Random(seed))
        assert content(disk, "a") == b"content"


def test_a_name_that_was_not_synced_may_be_gone_and_content_torn() -> None:
    left = set()
    for seed in EVERY_FATE:
        disk, _ = a_disk()
        disk.write(disk.new_file(disk.root, "a"), 0, b"content")
        disk.lose_power(Random(seed))
        left.add(content(disk, "a"))
    assert None in left
    assert b"content" in left
    assert any(one not in (None, b"content") for one in left)


def test_a_rename_is_done_or_not_and_never_half() -> None:
    left = set()
    for seed in EVERY_FATE:
        disk, _ = a_disk()
        folder = disk.new_folder(disk.root, "folder")
        file = disk.new_file(disk.root, "a")
        disk.sync_all()
        disk.rename_slots((Slot(disk.root, "a", None), Slot(folder, "b", file)))
        disk.lose_power(Random(seed))
        left.add(frozenset(names(disk)))
    assert left == {frozenset({"a"}), frozenset({"folder/b"})}


def test_a_rename_is_durable_once_its_new_folder_was_synced() -> None:
    for seed in EVERY_FATE:
        disk, _ = a_disk()
        folder = disk.new_folder(disk.root, "folder")
        file = disk.new_file(disk.root, "a")
        disk.sync_all()
        disk.rename_slots((Slot(disk.root, "a", None), Slot(folder, "b", file)))
        disk.sync(folder)
        disk.lose_power(Random(seed))
        assert names(disk) == {"folder/b"}


def test_a_file_in_a_folder_whose_own_name_was_not_synced_may_be_gone() -> None:
    left = set()
    for seed in EVERY_FATE:
        disk, _ = a_disk()
        folder = disk.new_folder(disk.root, "folder")
        disk.sync(disk.new_file(folder, "a"))
        disk.sync(folder)
        disk.lose_power(Random(seed))
        left.add(frozenset(names(disk)))
    assert left == {frozenset(), frozenset({"folder/a"})}


def test_a_failed_sync_loses_what_was_dirty_and_fails_once() -> None:
    disk, _ = a_disk()
    file = disk.new_file(disk.root, "a")
    disk.sync_all()
    disk.write(file, 0, b"content")
    disk.failing_syncs = 1
    with pytest.raises(OSError, match="Input/output") as failed:
        disk.sync(file)
    assert failed.value.errno == errno.EIO
    disk.sync(file)
    disk.lose_power(Random(1))
    assert content(disk, "a") != b"content"


def test_a_modified_time_is_in_the_journal_where_there_is_one() -> None:
    left: dict[bool, set[int]] = {True: set(), False: set()}
    for seed in EVERY_FATE:
        for journals, times in left.items():
            disk, _ = a_disk(journals=journals)
            file = disk.new_file(disk.root, "a")
            disk.write(file, 0, b"content")
            disk.sync(file)
            file.mtime_ns = 7
            disk.soil(file)
            disk.sync(disk.root)
            disk.lose_power(Random(seed))
            assert content(disk, "a") == b"content"
            times.add(file.mtime_ns)
    assert left == {True: {7}, False: {0, 7}}


def test_what_nobody_synced_is_written_out_after_a_while() -> None:
    disk, time = a_disk()
    disk.write(disk.new_file(disk.root, "a"), 0, b"content")
    time.now_s += WRITTEN_BACK_S + 1
    disk.lose_power(Random(1))
    assert content(disk, "a") == b"content"


def test_a_full_disk_takes_nothing() -> None:
    disk, _ = a_disk()
    file = disk.new_file(disk.root, "a")
    disk.is_full = True
    with pytest.raises(OSError, match="No space"):
        disk.write(file, 0, b"content")
    assert isinstance(disk.root, Folder)
