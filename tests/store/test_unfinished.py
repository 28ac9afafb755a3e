"""What a commit has promised and could not do: nothing of it is lost, nor does it hold up anything else."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from accord.errors import IntegrityError, StoreFailed
from accord.model.names import FilePath
from accord.store import moving, renaming
from accord.store.intents import Intent, decode_intent, encode_intent
from accord.testing.conformance import HELLO, bytes_of, digest_of, present, put, story

from .disks import open_disk


class Failing:
    """Stands in for a call of the system's: fails where `fails` says so."""

    def __init__(self, real: Callable[..., Any], fails: Callable[..., bool]) -> None:
        self._real = real
        self._fails = fails
        self.is_broken = True

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.is_broken and self._fails(*args, **options):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._real(*args, **options)


async def test_what_cannot_be_done_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"a.txt", "b.txt"}
    monkeypatch.setattr(
        moving, "move_in", Failing(moving.move_in, lambda from_fd, name, to_fd, new_name: new_name in broken)
    )
    async with open_disk(tmp_path) as disk:
        for name in ("a.txt", "b.txt"):
            with pytest.raises(StoreFailed):
                await put(disk.store, name.encode(), FilePath(name))
        broken.remove("b.txt")
        async with asyncio.timeout(20):
            while not (tmp_path / "b.txt").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not (tmp_path / "a.txt").exists()


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that knows renameat2's flags not."""
    monkeypatch.setattr(renaming, "_renameat2", None)


@pytest.mark.usefixtures("no_exchange")
async def test_without_an_exchange_a_failure_leaves_the_old_file_at_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"old")
        is_new_one = lambda name, *_, **__: not name.startswith(renaming.OUT_PREFIX)  # noqa: E731
        link = Failing(os.link, is_new_one)
        monkeypatch.setattr(os, "link", lambda *args, **options: _seen_first(link, *args, **options))
        with pytest.raises(StoreFailed):
            await put(disk.store, b"new")
        assert (tmp_path / HELLO).read_bytes() == b"old"
        link.is_broken = False
        async with asyncio.timeout(20):
            while (tmp_path / HELLO).read_bytes() != b"new":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await bytes_of(disk.store, digest_of(b"old")) == b"old"


def _seen_first(link: Failing, name: str, new_name: str, **options: Any) -> Any:
    """What is in the way is seen before the disk fails."""
    try:
        os.stat(new_name, dir_fd=options["dst_dir_fd"])
    except FileNotFoundError:
        return link(name, new_name, **options)
    raise FileExistsError


@pytest.mark.usefixtures("no_exchange")
async def test_without_an_exchange_a_disk_that_fails_over_a_restart_loses_no_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"old")
    link = Failing(os.link, lambda *_, **__: True)
    monkeypatch.setattr(os, "link", lambda *args, **options: _seen_first(link, *args, **options))
    async with open_disk(tmp_path) as disk:
        with pytest.raises(StoreFailed):
            await put(disk.store, b"new")
    async with open_disk(tmp_path):
        ...  # the disk fails still
    link.is_broken = False
    async with open_disk(tmp_path) as disk:
        assert (await present(disk.store)).digest == digest_of(b"new")
        assert await story(disk.store) == [(digest_of(b"old"), False, True), (digest_of(b"new"), True, True)]
        assert await bytes_of(disk.store, digest_of(b"old")) == b"old"
        assert os.listdir(tmp_path / ".accord" / "staging") == []


async def test_history_that_cannot_be_synced_is_a_failure_of_the_store(tmp_path: Path) -> None:
    """Whoever waits for it knows what to do with that, and with nothing else."""
    async with open_disk(tmp_path) as disk:
        with pytest.raises(StoreFailed):
            disk.store._parts.kept.sync([digest_of(b"no folder of its own")])


@pytest.mark.parametrize("at", [3, 5])
def test_an_intent_that_is_none_is_one_error(at: int) -> None:
    import msgspec

    whole = list(msgspec.msgpack.decode(encode_intent(Intent(HELLO, "name", 1, None, None, None, False))))
    whole[at] = b"short"
    with pytest.raises(IntegrityError):
        decode_intent(msgspec.msgpack.encode(whole))


async def test_a_broken_intent_holds_up_no_start(tmp_path: Path) -> None:
    async with open_disk(tmp_path) as disk:
        disk.store._index.batch(lambda db: db.execute("INSERT INTO pending (intent) VALUES (x'93')") and None)
    with structlog.testing.capture_logs() as logs:
        async with open_disk(tmp_path) as disk:
            await put(disk.store, b"content")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["an unfinished write is lost"]


async def test_a_folder_in_staging_is_left_alone(tmp_path: Path) -> None:
    async with open_disk(tmp_path):
        ...
    folder = tmp_path / ".accord" / "staging" / "folder"
    folder.mkdir()
    (folder.parent / "left").touch()
    async with open_disk(tmp_path) as disk:
        await put(disk.store, b"content")
    assert list(folder.parent.iterdir()) == [folder]


async def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk(tmp_path):
        ...
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", Failing(os.listdir, lambda folder: isinstance(folder, int)))
        with pytest.raises(StoreFailed):
            async with open_disk(tmp_path):
                ...
    assert len(os.listdir("/proc/self/fd")) == before
