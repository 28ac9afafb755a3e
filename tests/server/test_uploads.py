"""Resumable uploads as tus 1.0 has them, over a real socket, on servers in memory."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from accord.errors import DiskFull, NoSuchUpload, UploadBusy, UsageError
from accord.model.names import FilePath
from accord.server.tus_fields import read_metadata
from accord.server.upload_files import EXPIRES_AFTER_S, UploadFiles
from tests.server.live import Answer, Client, Live, live
from tests.server.verdicts import digest_of

CONTENT = bytes(range(256)) * 4000
TUS = {"Tus_Resumable": "1.0.0"}
PART = {**TUS, "Content_Type": "application/offset+octet-stream"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path) as running:
        yield running


@pytest.fixture
async def client(server: Live) -> AsyncIterator[Client]:
    async with server.client() as one:
        yield one


def metadata(**told: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())


async def make(client: Client, length: int = len(CONTENT), path: str = "a/f.bin", **fields: str) -> str:
    told = fields.pop("metadata", metadata(path=path))
    made = await client.ask("POST", "/uploads/", b"", Upload_Length=str(length), Upload_Metadata=told, **TUS, **fields)
    assert made.status == 201, made.body
    return made.headers["location"]


async def patch(client: Client, url: str, offset: int, part: bytes, **fields: str) -> Answer:
    return await client.ask("PATCH", url, part, Upload_Offset=str(offset), **{**PART, **fields})


def content_of(server: Live, path: str = "a/f.bin") -> bytes | None:
    file = server.node.store.files.get(FilePath(path))
    return None if file is None else file.content


async def offset_of(client: Client, url: str) -> int:
    return int((await client.ask("HEAD", url, **TUS)).headers["upload-offset"])


async def test_what_the_server_can(client: Client) -> None:
    told = (await client.ask("OPTIONS", "/uploads/")).headers
    assert told["tus-version"] == told["tus-resumable"] == "1.0.0"
    assert told["tus-extension"] == "creation,creation-with-upload,termination,checksum,expiration"
    assert told["tus-checksum-algorithm"] == "sha1,sha256"
    assert int(told["tus-max-size"]) > 0


async def test_an_upload_in_parts_becomes_a_file(server: Live, client: Client) -> None:
    url = await make(client, metadata=metadata(path="a/f.bin", author="Zoë", message="a line", filename="x", other="y"))
    folder = server.uploads._folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(url.removeprefix("/uploads/")) == 32
    fresh = await client.ask("HEAD", url, **TUS)
    assert (fresh.status, fresh.headers["upload-offset"], fresh.headers["upload-length"]) == (200, "0", "1024000")
    assert fresh.headers["cache-control"] == "no-store"
    assert "Zo" not in fresh.headers["upload-metadata"]
    first = await patch(client, url, 0, CONTENT[:600_000])
    assert (first.status, first.headers["upload-offset"], first.body) == (204, "600000", b"")
    assert first.headers["upload-expires"].endswith("GMT")
    assert content_of(server) is None
    last = await patch(client, url, 600_000, CONTENT[600_000:])
    assert (last.status, last.headers["upload-offset"]) == (204, "1024000")
    assert last.headers["etag"] == f'"{digest_of(CONTENT)}"'
    assert last.headers["accord-verdict"] == "identical"
    assert last.headers["accord-stored"] == '"server1", "server2"'
    assert content_of(server) == CONTENT
    event = (await client.ask("GET", "/history/a/f.bin")).json()["events"][0]
    assert (event["author"], event["message"]) == ("Zoë", "a line")
    again = await client.ask("HEAD", url, **TUS)
    assert (again.headers["upload-offset"], again.headers["etag"]) == ("1024000", last.headers["etag"])
    assert (await patch(client, url, len(CONTENT), b"")).status == 204, "a client that lost the answer asks again"
    assert len((await client.ask("GET", "/history/a/f.bin")).json()["events"]) == 1
    assert [one.name for one in folder.iterdir()] == [url.removeprefix("/uploads/") + ".json"]


async def test_created_with_content_and_empty(server: Live, client: Client) -> None:
    made = await client.ask("POST", "/uploads", b"abc", Upload_Length="5", Upload_Metadata=metadata(path="f"), **PART)
    assert (made.status, made.headers["upload-offset"]) == (201, "3")
    assert (await patch(client, made.headers["location"], 3, b"de")).status == 204
    assert content_of(server, "f") == b"abcde"
    await make(client, 0, "empty")
    assert content_of(server, "empty") == b""


async def test_an_upload_whose_first_content_is_refused_is_told_of(server: Live, client: Client) -> None:
    """It stays: who made it has to know where it is, and how far."""
    told = {"Upload_Length": "3", "Upload_Metadata": metadata(path="f"), **PART}
    wrong = await client.ask("POST", "/uploads/", b"abc", **told, Upload_Checksum="sha1 " + "A" * 27 + "=")
    assert (wrong.status, wrong.headers["upload-offset"]) == (460, "0")
    assert (await patch(client, wrong.headers["location"], 0, b"abc")).status == 204
    other = await client.ask("POST", "/uploads/", b"abc", **told, Accord_Digest=str(digest_of(b"other")))
    assert (other.status, other.headers["upload-offset"]) == (400, "3")
    url = other.headers["location"]
    assert (await offset_of(client, url), (await client.ask("DELETE", url, **TUS)).status) == (3, 204)


async def test_no_upload_is_made_for_more_than_it_is_to_have(server: Live, client: Client) -> None:
    told = {"Upload_Length": "3", "Upload_Metadata": metadata(path="f"), **PART}
    assert (await client.ask("POST", "/uploads/", b"abcd", **told)).status == 413
    assert not server.uploads._folder.exists()


async def test_a_restart_finds_what_was_acknowledged(server: Live, client: Client) -> None:
    url = await make(client)
    await patch(client, url, 0, CONTENT[:1000])
    id = url.removeprefix("/uploads/")
    anew = UploadFiles(server.uploads._folder)
    with (server.uploads._folder / id).open("ab") as data:
        data.write(b"what came when it crashed")
    assert anew.load(id).offset == 1000
    assert (await patch(client, url, 1000, CONTENT[1000:])).status == 204
    assert content_of(server) == CONTENT


async def test_a_cut_part_counts_as_far_as_it_came(server: Live, client: Client) -> None:
    url = await make(client)
    async with server.client() as other:
        other.head("PATCH", url, Upload_Offset="0", Content_Length=str(len(CONTENT)), **PART)
        other.say(CONTENT[:700_000])
        await other.writer.drain()
        async with asyncio.timeout(10):
            while server.services.metrics.received_bytes == 0:  # noqa: ASYNC110
                await asyncio.sleep(0)
        busy = await patch(client, url, 0, CONTENT)
        assert (busy.status, busy.json()["type"]) == (423, "/problems/upload-busy")
        assert (await client.ask("DELETE", url, **TUS)).status == 423
    offset = await offset_of(client, url)
    assert 0 < offset <= 700_000
    assert (await patch(client, url, offset, CONTENT[offset:])).status == 204
    assert content_of(server) == CONTENT


async def test_checksums(server: Live, client: Client) -> None:
    url = await make(client)
    good = base64.b64encode(hashlib.sha1(CONTENT[:5000]).digest()).decode()
    wrong = await patch(client, url, 0, CONTENT[1:5001], Upload_Checksum=f"sha1 {good}")
    assert (wrong.status, wrong.json()["type"]) == (460, "/problems/checksum-mismatch")
    assert await offset_of(client, url) == 0
    assert (await patch(client, url, 0, CONTENT[:5000], Upload_Checksum=f"sha1 {good}")).status == 204
    rest = base64.b64encode(hashlib.sha256(CONTENT[5000:]).digest()).decode()
    assert (await patch(client, url, 5000, CONTENT[5000:], Upload_Checksum=f"md5 {rest}")).status == 400
    assert (await patch(client, url, 5000, CONTENT[5000:], Upload_Checksum="sha1 !")).status == 400
    assert (await patch(client, url, 5000, CONTENT[5000:], Upload_Checksum=f"sha256 {rest}")).status == 204
    assert content_of(server) == CONTENT


async def test_what_is_refused(client: Client) -> None:
    url = await make(client)
    assert (await patch(client, url, 5, b"x")).status == 409
    assert (await patch(client, url, 5, b"x")).headers["upload-offset"] == "0"
    assert (await patch(client, url, 0, b"x", Content_Type="text/plain")).status == 415
    assert (await patch(client, url, 0, CONTENT + b"x")).status == 413
    assert (await client.ask("PATCH", url, b"x", **PART)).status == 400
    assert (await patch(client, "/uploads/nothing", 0, b"x")).status == 404
    assert (await patch(client, "/uploads/" + "x" * 32, 0, b"x")).status == 404
    assert (await patch(client, "/uploads/..%2Findex", 0, b"x")).status == 404
    assert (await client.ask("GET", url, **TUS)).status == 405
    assert (await client.ask("HEAD", "/uploads/", **TUS)).status == 405
    wrong = await client.ask("HEAD", url, Tus_Resumable="0.2.2")
    assert (wrong.status, wrong.headers["tus-version"]) == (412, "1.0.0")
    assert (await client.ask("HEAD", url)).status == 412


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (400, {}),
        (400, {"Upload_Length": "x", "Upload_Metadata": metadata(path="f")}),
        (400, {"Upload_Length": "3"}),
        (400, {"Upload_Length": "3", "Upload_Metadata": metadata(path="../f")}),
        (400, {"Upload_Length": "3", "Upload_Metadata": metadata(path=".accord/f")}),
        (400, {"Upload_Length": "3", "Upload_Metadata": metadata(path="f", modified="yesterday")}),
        (400, {"Upload_Length": "3", "Upload_Metadata": metadata(path="f", executable="1")}),
        (400, {"Upload_Length": "3", "Upload_Metadata": metadata(path="f", message="two\nlines")}),
        (400, {"Upload_Length": "3", "Upload_Metadata": metadata(path="f", context="x")}),
        (400, {"Upload_Length": "3", "Upload_Metadata": "path ?"}),
        (412, {"Upload_Length": "3", "Upload_Metadata": metadata(path="f"), "If_Match": "*"}),
        (413, {"Upload_Length": "9" * 16, "Upload_Metadata": metadata(path="f")}),
        (415, {"Upload_Length": "3", "Upload_Metadata": metadata(path="f"), "content": "abc"}),
    ],
)
async def test_uploads_that_are_not_begun(server: Live, client: Client, status: int, fields: dict[str, str]) -> None:
    content = fields.pop("content", "").encode()
    answer = await client.ask("POST", "/uploads/", content, **TUS, **fields)
    assert (answer.status, answer.headers["tus-resumable"]) == (status, "1.0.0")
    assert answer.headers["content-type"] == "application/problem+json"
    assert not server.uploads._folder.exists()


async def test_conditions_are_looked_at_again_at_the_end(server: Live, client: Client) -> None:
    url = await make(client, If_None_Match="*")
    await client.put("/files/a/f.bin", b"meanwhile")
    refused = await patch(client, url, 0, CONTENT)
    assert (refused.status, refused.headers["upload-offset"]) == (412, "1024000")
    assert await offset_of(client, url) == len(CONTENT)
    assert (await patch(client, url, len(CONTENT), b"")).status == 412
    await client.ask("DELETE", "/files/a/f.bin")
    assert (await patch(client, url, len(CONTENT), b"")).status == 204
    assert content_of(server) == CONTENT


async def test_the_whole_is_checked_too(server: Live, client: Client) -> None:
    url = await make(client, Accord_Digest=str(digest_of(b"other")))
    assert (await patch(client, url, 0, CONTENT)).status == 400
    assert content_of(server) is None


async def test_a_write_that_too_few_have_is_not_made_again(server: Live, client: Client) -> None:
    server.node.writer._min_copies = 2
    url = await make(client)
    await patch(client, url, 0, CONTENT[:-1])
    # It answers when it is asked, and takes nothing.
    server.cluster[1].store.broken = "its disk failed"
    answer = await patch(client, url, len(CONTENT) - 1, CONTENT[-1:])
    assert (answer.status, answer.json()["stored"]) == (503, ["server1"])
    assert content_of(server) == CONTENT
    told = await patch(client, url, len(CONTENT), b"")
    assert (told.status, told.headers["accord-stored"]) == (204, '"server1"')
    assert len((await client.ask("GET", "/history/a/f.bin")).json()["events"]) == 1


async def test_termination_and_methods_in_disguise(server: Live, client: Client) -> None:
    url = await make(client)
    made = await client.ask("POST", url, CONTENT[:10], Upload_Offset="0", X_HTTP_Method_Override="PATCH", **PART)
    assert (made.status, made.headers["upload-offset"]) == (204, "10")
    gone = await client.ask("DELETE", url, **TUS)
    assert (gone.status, gone.headers["tus-resumable"]) == (204, "1.0.0")
    assert (await client.ask("HEAD", url, **TUS)).status == 404
    assert list(server.uploads._folder.iterdir()) == []


async def test_expired_uploads_are_removed(tmp_path: Path) -> None:
    now_s = 1_000_000.0
    files = UploadFiles(tmp_path / "uploads", now_s=lambda: now_s, patience_s=0)
    assert files.sweep() == 0
    old = files.create(10, "old", {}, "")
    now_s += 100
    new = files.create(10, "new", {}, "")
    (tmp_path / "uploads" / "not ours").touch()
    now_s += EXPIRES_AFTER_S - 100
    with pytest.raises(NoSuchUpload):
        files.load(old.id)
    async with files.taken(old.id):
        assert files.sweep() == 0
        with pytest.raises(UploadBusy):
            async with files.taken(old.id):
                pass
    assert files.sweep() == 1
    assert files.load(new.id).path == "new"
    assert sorted(one.name for one in (tmp_path / "uploads").iterdir()) == sorted(
        [new.id, f"{new.id}.json", "not ours"]
    )


def test_a_disk_that_fills_up_costs_no_upload_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = UploadFiles(tmp_path / "uploads")
    upload = files.create(10, "f", {}, "")
    room_bytes = 1000

    def nearly_full(fd: int, content: bytes) -> int:
        """Takes a few bytes at a time, as long as there is room."""
        nonlocal room_bytes
        if not room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken_bytes = write(fd, bytes(content)[: min(7, room_bytes)])
        room_bytes -= taken_bytes
        return taken_bytes

    write = os.write
    monkeypatch.setattr(os, "write", nearly_full)
    for block in (b"abc", b"de"):
        part = files.appending(upload)
        part.write(block)
        if block == b"de":
            room_bytes = 20
            with pytest.raises(DiskFull):
                part.keep()
        else:
            part.keep()
        part.close()
        assert (files.load(upload.id).offset, upload.offset) == (3, 3)
    assert sorted(one.name for one in (tmp_path / "uploads").iterdir()) == [upload.id, f"{upload.id}.json"]
    assert b"".join(files.reading(upload)).startswith(b"abc")


@pytest.mark.parametrize("raw", ["a", "a YQ==,", "a YQ==, b"])
def test_metadata(raw: str) -> None:
    assert read_metadata(raw).keys() <= {"a", "b"}


@pytest.mark.parametrize("raw", ["a YQ==,a YQ==", "a Y", "a /w==", "\x7f YQ==", "a " + "YQ==" * 5000])
def test_metadata_that_makes_no_sense(raw: str) -> None:
    with pytest.raises(UsageError):
        read_metadata(raw)
