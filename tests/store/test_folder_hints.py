"""Hints of a real file system: files and folders that change are told of, the private folder never is, and failing is said once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from accord.store import folder_hints
from accord.store.folder_hints import FolderHints

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
    """Once both watches are set up."""
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


@pytest.mark.parametrize("error", [OSError("OS file watch limit reached."), RuntimeError("no such thing here")])
async def test_watching_that_fails_is_said_once_and_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(folder_hints, "watch", refused)
    heard, hints = Heard(), FolderHints(root)
    with structlog.testing.capture_logs() as logs:
        hints.start(heard.take)
        async with asyncio.timeout(DEADLINE_S):
            await heard.lost.wait()
        await hints.close()
    assert [line["reason"] for line in logs if line["log_level"] == "warning"] == [str(error)]


async def test_closing_ends_the_watch_at_once(root: Path) -> None:
    async with watching(root):
        pass
    hints = FolderHints(root)
    hints.start(lambda _: None)
    await hints.close()
    assert not any(thread.is_alive() for thread in hints._threads)
