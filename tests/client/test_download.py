"""A download is there whole, proven and all at once, or not at all; what arrived before a break is not fetched again."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest

import accord
from accord.client.download import GATHER_BYTES
from accord.client.parts import Part
from accord.errors import AccordError, AlreadyThere, IntegrityError, NotFound, NotSaved, Unavailable, UsageError
from tests.client.scripted import MODIFIED_NS, Fault, Script, Serve, digest_of

LONG = bytes(range(256)) * 4096


@pytest.fixture
def long(serve: Serve) -> tuple[Script, str]:
    script, url = serve()
    script.put("folder/long.bin", server1=LONG, server2=LONG)
    return script, url


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.accord-part"))


def leave_half(script: Script, url: str, folder: Path) -> Path:
    """An interrupted download; its part."""
    script.faults = [Fault(cut_after=500_000)] + [Fault(cut_after=0)] * 3
    with accord.Client(url) as client, pytest.raises(Unavailable):
        client.download("folder/long.bin", folder)
    script.faults = []
    (part,) = parts(folder)
    return part


def test_a_file_goes_into_a_folder_with_its_time(long: tuple[Script, str], tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with accord.Client(long[1]) as client:
        done = client.download("folder/long.bin", tmp_path, progress=lambda so_far, total: told.append((so_far, total)))
    saved = tmp_path / "long.bin"
    assert done.destination == str(saved)
    assert saved.read_bytes() == LONG
    assert saved.stat().st_mtime_ns == MODIFIED_NS + 123_456_000
    assert told[-1] == (len(LONG), len(LONG))
    assert os.listdir(tmp_path) == ["long.bin"]


def test_an_empty_file_is_a_file(serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("empty", server1=b"", server2=b"")
    with accord.Client(url) as client:
        client.download("empty", tmp_path)
    assert os.listdir(tmp_path) == ["empty"]


async def test_the_async_client_downloads_the_same(long: tuple[Script, str], tmp_path: Path) -> None:
    async with accord.AsyncClient(long[1]) as client:
        done = await client.download("folder/long.bin", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == LONG
    assert done.digest == digest_of(LONG)


def test_an_interrupted_download_is_resumed(long: tuple[Script, str], tmp_path: Path) -> None:
    script, url = long
    part = leave_half(script, url, tmp_path)
    held = part.stat().st_size
    assert 0 < held <= 500_000
    script.seen.clear()
    with accord.Client(url) as client:
        done = client.download("folder/long.bin", tmp_path)
    assert (tmp_path / "long.bin").read_bytes() == LONG
    assert done.resumed_from_bytes == held - 1
    assert script.seen[0][2]["Range"] == f"bytes={held - 1}-"
    assert script.seen[0][2]["If-Range"] == f'"{digest_of(LONG)}"'
    assert parts(tmp_path) == []


def test_a_part_of_another_version_is_not_continued(long: tuple[Script, str], tmp_path: Path) -> None:
    script, url = long
    leave_half(script, url, tmp_path)
    newer = LONG[::-1]
    script.put("folder/long.bin", server1=newer, server2=newer)
    with accord.Client(url) as client:
        done = client.download("folder/long.bin", tmp_path)
    assert (tmp_path / "long.bin").read_bytes() == newer
    assert done.resumed_from_bytes == 0
    assert os.listdir(tmp_path) == ["long.bin"]


def test_a_part_that_went_bad_is_dropped_and_fetched_anew(long: tuple[Script, str], tmp_path: Path) -> None:
    script, url = long
    part = leave_half(script, url, tmp_path)
    part.write_bytes(b"\xff" + part.read_bytes()[1:])
    with accord.Client(url) as client:
        client.download("folder/long.bin", tmp_path)
    assert (tmp_path / "long.bin").read_bytes() == LONG
    assert parts(tmp_path) == []


def test_wrong_twice_is_an_integrity_error_and_leaves_nothing(long: tuple[Script, str], tmp_path: Path) -> None:
    script, url = long
    (tmp_path / "long.bin").write_bytes(b"what was there")
    script.faults = [Fault(flip_at=7), Fault(flip_at=70_000)]
    with accord.Client(url) as client, pytest.raises(IntegrityError):
        client.download("folder/long.bin", tmp_path)
    assert (tmp_path / "long.bin").read_bytes() == b"what was there"
    assert os.listdir(tmp_path) == ["long.bin"]


def test_a_version_replaced_in_the_middle_is_started_over(serve: Serve, tmp_path: Path) -> None:
    (one, first), (two, second) = serve(), serve()
    one.put("x", server1=LONG, server2=LONG)
    two.put("x", server1=LONG[::-1], server2=LONG[::-1])
    one.faults = [Fault(cut_after=300_000)]
    with accord.Client(first, second) as client:
        client.download("x", tmp_path)
    assert (tmp_path / "x").read_bytes() in (LONG, LONG[::-1])
    assert os.listdir(tmp_path) == ["x"]


def test_nothing_is_left_of_a_file_that_does_not_exist(serve: Serve, tmp_path: Path) -> None:
    _, url = serve()
    with accord.Client(url) as client, pytest.raises(NotFound):
        client.download("nothing", tmp_path)
    assert os.listdir(tmp_path) == []


def test_no_clobber_leaves_a_file_alone(long: tuple[Script, str], tmp_path: Path) -> None:
    (tmp_path / "long.bin").write_bytes(b"mine")
    with accord.Client(long[1]) as client, pytest.raises(AlreadyThere, match="is there already"):
        client.download("folder/long.bin", tmp_path, clobber=False)
    assert (tmp_path / "long.bin").read_bytes() == b"mine"


def test_a_device_is_written_to_and_not_replaced(long: tuple[Script, str], tmp_path: Path) -> None:
    with accord.Client(long[1]) as client:
        client.download("folder/long.bin", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_a_link_is_followed(long: tuple[Script, str], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    with accord.Client(long[1]) as client:
        client.download("folder/long.bin", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_bytes() == LONG


def test_two_downloads_to_one_place_do_not_write_into_each_other(long: tuple[Script, str], tmp_path: Path) -> None:
    part = Part.open(tmp_path / "long.bin", digest_of(LONG))
    try:
        with accord.Client(long[1]) as client, pytest.raises(AccordError, match="already being downloaded"):
            client.download("folder/long.bin", tmp_path)
    finally:
        part.close()


def test_a_place_that_is_none_is_said_before_anything_is_fetched(long: tuple[Script, str], tmp_path: Path) -> None:
    script, url = long
    with accord.Client(url) as client:
        with pytest.raises(UsageError, match="does not exist"):
            client.download("folder/long.bin", tmp_path / "no" / "where")
        with pytest.raises(UsageError, match="is not a folder"):
            client.download("folder/long.bin", f"{tmp_path}/nowhere/")
    assert script.seen == []


def test_names_of_255_bytes_are_possible(serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    name = "ü" * 127
    script.put(name, server1=LONG, server2=LONG)
    with accord.Client(url) as client:
        client.download(name, tmp_path)
    assert os.listdir(tmp_path) == [name]


def test_a_part_takes_any_number_of_small_pieces(tmp_path: Path) -> None:
    pieces = [bytes([number % 251]) * 3 for number in range(2500)]
    part = Part.open(tmp_path / "x", digest_of(b"".join(pieces)))
    part.write(pieces)
    part.finish(tmp_path / "x", None, executable=False, clobber=True)
    part.close()
    assert (tmp_path / "x").read_bytes() == b"".join(pieces)


def test_a_disk_that_refuses_once_leaves_a_part_without_a_hole(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(1).randbytes(5 * GATHER_BYTES)
    script, url = serve()
    script.put("x", server1=content, server2=content)
    append, calls = os.writev, 0

    def refuse_the_second(descriptor: int, blocks: list[bytes]) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            append(descriptor, blocks[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(descriptor, blocks)

    with accord.Client(url) as client:
        with monkeypatch.context() as patched:
            patched.setattr(os, "writev", refuse_the_second)
            with pytest.raises(NotSaved, match="No space left") as refused:
                client.download("x", tmp_path)
        (part,) = parts(tmp_path)
        kept = part.read_bytes()
        assert kept
        assert content.startswith(kept)
        assert refused.value.extra["kept_bytes"] == len(kept)
        assert client.download("x", tmp_path).resumed_from_bytes == len(kept) - 1


async def test_the_loop_goes_on_while_a_cancelled_download_waits_for_the_disk(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(2).randbytes(5 * GATHER_BYTES)
    script, url = serve()
    script.put("x", server1=content, server2=content)
    append, is_appending, may_go_on = os.writev, threading.Event(), threading.Event()
    has_waited_long: list[bool] = []

    def slow(descriptor: int, blocks: list[bytes]) -> int:
        is_appending.set()
        has_waited_long.append(not may_go_on.wait(5))
        return append(descriptor, blocks)

    monkeypatch.setattr(os, "writev", slow)
    async with accord.AsyncClient(url) as client:
        downloading = asyncio.create_task(client.download("x", tmp_path))
        await asyncio.to_thread(is_appending.wait, 30)
        downloading.cancel()
        asyncio.get_running_loop().call_later(0.05, may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await downloading
    assert not any(has_waited_long)
    (part,) = parts(tmp_path)
    assert content.startswith(part.read_bytes())


async def test_the_loop_goes_on_while_nobody_reads_from_a_pipe(
    long: tuple[Script, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening it waits for a reader, and closing it until the last block is taken."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    opened_in: list[threading.Thread] = []
    path_open = Path.open

    def watched(path: Path, *args: Any, **named: Any) -> IO[Any]:
        if path == pipe:
            opened_in.append(threading.current_thread())
        return path_open(path, *args, **named)

    monkeypatch.setattr(Path, "open", watched)
    with ThreadPoolExecutor(1) as reader:
        got = reader.submit(pipe.read_bytes)
        async with accord.AsyncClient(long[1]) as client:
            await client.download("folder/long.bin", pipe)
        assert got.result(30) == LONG
    assert threading.main_thread() not in opened_in
