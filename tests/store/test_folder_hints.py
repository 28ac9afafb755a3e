"""Hints of a real file system: files and folders that change are told of, the private folder never is, and failing is said once."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from accord.store.folder_hints import FolderHints
from accord.store.inotify import Inotify, Notice

DEADLINE_S = 20.0


class Heard:
    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.lost = asyncio.Event()
        self._news = asyncio.Event()

    def take(self, paths: Collection[str] | None) -> None:
        if paths is None:
            self.lost.set()
        self.paths.update(paths or ())
        self._news.set()

    async def until(self, *wanted: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not self.paths >= set(wanted):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def watching(root: Path) -> AsyncIterator[Heard]:
    """Once the folders are watched."""
    heard, hints = Heard(), FolderHints(root)
    hints.start(heard.take)
    number = 0
    async with asyncio.timeout(DEADLINE_S):
        while not heard.paths >= {"top probe", "folder/probe"}:
            number += 1
            (root / "top probe").write_text(f"{number}")
            (root / "folder" / "probe").write_text(f"{number}")
            await asyncio.sleep(0.05)
    yield heard
    await hints.close()


async def _touched_until_heard(heard: Heard, root: Path, path: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while path not in heard.paths:
            (root / path).write_text(str(len(heard.paths)))
            await asyncio.sleep(0.05)


def _held_by_this_process() -> str:
    return "".join(about.read_text() for about in Path("/proc/self/fdinfo").iterdir() if about.exists())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("folder", ".accord"):
        (tmp_path / name).mkdir()
    return tmp_path


async def test_files_that_come_change_and_go_are_told_of(root: Path) -> None:
    for name in ("changed", "folder/changed", "folder/deleted"):
        (root / name).write_text("before")
    async with watching(root) as heard:
        for name in ("new", "changed", "folder/new", "folder/changed"):
            (root / name).write_text("after")
        (root / "folder" / "deleted").unlink()
        await heard.until("new", "changed", "folder/new", "folder/changed", "folder/deleted")


async def test_a_new_folder_at_the_top_is_told_of_and_watched(root: Path) -> None:
    async with watching(root) as heard:
        (root / "more" / "deep").mkdir(parents=True)
        await heard.until("more")
        async with asyncio.timeout(DEADLINE_S):
            while "more/deep/file" not in heard.paths:
                (root / "more" / "deep" / "file").touch()
                (root / "more" / "deep" / "file").write_text("again")
                await asyncio.sleep(0.05)


async def test_a_folder_that_is_removed_is_told_of(root: Path) -> None:
    (root / "folder" / "below").mkdir()
    async with watching(root) as heard:
        shutil.rmtree(root / "folder" / "below")
        await heard.until("folder/below")
        shutil.rmtree(root / "folder")
        await heard.until("folder")


async def test_of_the_private_folder_nothing_is_told(root: Path) -> None:
    async with watching(root) as heard:
        (root / ".accord" / "staging").mkdir()
        (root / ".accord" / "staging" / "file").write_text("received")
        (root / "last").write_text("x")
        await heard.until("last")
        assert not [path for path in heard.paths if path.startswith(".accord")]


async def test_a_folder_that_was_moved_is_watched_where_it_is_now(root: Path) -> None:
    (root / "folder" / "old" / "deep").mkdir(parents=True)
    async with watching(root) as heard:
        (root / "folder" / "old").rename(root / "new")
        await heard.until("folder/old", "new")
        await _touched_until_heard(heard, root, "new/deep/file")
        assert not [path for path in heard.paths if path.startswith("folder/old/")]


async def test_of_a_folder_that_was_moved_away_nothing_is_told(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away") / "gone"
    (root / "folder" / "gone").mkdir()
    async with watching(root) as heard:
        (root / "folder" / "gone").rename(away)
        await heard.until("folder/gone")
        (away / "file").write_text("elsewhere")
        await _touched_until_heard(heard, root, "last")
        assert "folder/gone/file" not in heard.paths


async def test_a_folder_in_place_of_a_removed_one_is_watched(root: Path) -> None:
    (root / "folder" / "below").mkdir()
    async with watching(root) as heard:
        held = os.open(root / "folder" / "below", os.O_RDONLY)  # so that the kernel tells of its end late
        (root / "folder" / "below").rmdir()
        (root / "folder" / "below").mkdir()
        await _touched_until_heard(heard, root, "folder/below/file")
        os.close(held)
        heard.paths.clear()
        await _touched_until_heard(heard, root, "folder/below/another")


async def test_links_are_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (root / "folder" / "link").symlink_to(outside)
    async with watching(root) as heard:
        (outside / "file").write_text("not ours")
        await _touched_until_heard(heard, root, "last")
        assert not [path for path in heard.paths if path.startswith("folder/link")]


async def test_files_that_are_only_read_wake_nobody(root: Path) -> None:
    """What the kernel is asked for, as it says: a notice of each opening would come with every read that is served."""
    modify, opened_or_read = 0x02, 0x01 | 0x10 | 0x20
    async with watching(root):
        watched = [
            int(mask, 16) for mask in re.findall(r"^inotify .* mask:([0-9a-f]+)", _held_by_this_process(), re.MULTILINE)
        ]
    assert any(mask & modify for mask in watched)
    assert not any(mask & opened_or_read for mask in watched)


async def test_notices_that_were_lost_are_said_and_folders_looked_for_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_lost = Inotify.notices, asyncio.Event()

    def losing(kernel: Inotify) -> Iterator[Notice]:
        if is_lost.is_set():
            is_lost.clear()
            list(real(kernel))
            yield Notice(-1, 0x4000, "")
        yield from real(kernel)

    monkeypatch.setattr(Inotify, "notices", losing)
    async with watching(root) as heard:
        is_lost.set()
        (root / "folder" / "unseen").mkdir()
        async with asyncio.timeout(DEADLINE_S):
            await heard.lost.wait()
        await _touched_until_heard(heard, root, "folder/unseen/file")


async def test_watching_that_fails_is_said_once_and_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Inotify.add

    def refused(kernel: Inotify, folder: str) -> int:
        if folder.endswith("folder"):
            raise OSError(errno.ENOSPC, "too many folders")
        return real(kernel, folder)

    monkeypatch.setattr(Inotify, "add", refused)
    heard, hints = Heard(), FolderHints(root)
    with structlog.testing.capture_logs() as logs:
        hints.start(heard.take)
        async with asyncio.timeout(DEADLINE_S):
            await heard.lost.wait()
        assert "inotify" not in _held_by_this_process()  # watches are scarce, and others may want them
        await hints.close()
    assert [line["reason"] for line in logs if line["log_level"] == "warning"] == ["too many folders"]


async def test_closing_ends_the_watch_at_once(root: Path) -> None:
    async with watching(root):
        pass
    hints = FolderHints(root)
    hints.start(lambda _: None)
    await hints.close()
    assert hints._thread is not None
    assert not hints._thread.is_alive()
