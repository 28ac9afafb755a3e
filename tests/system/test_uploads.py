"""Resumable uploads as a tus client of others makes them: interrupted, resumed, and with a server that restarts in between."""

from __future__ import annotations

import io
import os

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.uploader import Uploader

from tests.system.harness import Cluster, request, wait_until

MIB = 1024 * 1024


LARGE = os.urandom(8 * MIB + 17)


def uploader(
    cluster: Cluster, content: bytes = LARGE, *, url: str | None = None, path: str = "a/large.bin"
) -> Uploader:
    client = TusClient(f"http://127.0.0.1:{cluster[0].port}/uploads/")
    # From memory: files that it opens itself it leaves open.
    return client.uploader(
        file_stream=io.BytesIO(content),
        url=url,
        chunk_size=MIB,
        metadata={"path": path, "author": "Zoë"},
        upload_checksum=True,
    )


def test_an_upload_goes_on_after_a_restart(pair: Cluster) -> None:
    first = uploader(pair)
    first.upload(stop_at=3 * MIB)
    assert first.offset == 3 * MIB
    pair[0].kill()
    with pytest.raises((TusUploadFailed, TusCommunicationError)):
        first.upload_chunk()
    pair[0].start()
    wait_until(lambda: pair[0].sees("server2") and pair[1].sees("server1"), "they see each other again")
    second = uploader(pair, url=first.url)
    assert second.offset == 3 * MIB
    assert pair[0].get("a/large.bin").status == 404
    second.upload()
    for server in pair.servers:
        assert (server.root / "a/large.bin").read_bytes() == LARGE
    answer = pair[1].get("a/large.bin", method="HEAD")
    assert answer.headers["accord-verdict"] == "identical"
    assert "Zo" in answer.headers["accord-version"]
    uploads = pair[0].root / ".accord" / "uploads"
    assert [file.suffix for file in uploads.iterdir()] == [".json"], "its bytes are let go"


def test_a_condition_that_fails_at_the_end(pair: Cluster) -> None:
    client = TusClient(f"http://127.0.0.1:{pair[0].port}/uploads/", headers={"If-None-Match": "*"})
    made = client.uploader(file_stream=io.BytesIO(LARGE), chunk_size=MIB, metadata={"path": "f"})
    made.upload(stop_at=MIB)
    pair[0].put("f", b"laid there meanwhile")
    with pytest.raises(TusUploadFailed) as failed:
        made.upload()
    assert failed.value.status_code == 412
    assert made.get_offset() == len(LARGE)
    assert pair[0].get("f").body == b"laid there meanwhile"


def test_an_empty_upload_and_one_that_is_ended(pair: Cluster) -> None:
    uploader(pair, b"", path="empty").upload()
    assert (pair[1].root / "empty").read_bytes() == b""
    begun = uploader(pair)
    begun.upload(stop_at=MIB)
    assert begun.url is not None
    target = begun.url.removeprefix(f"http://127.0.0.1:{pair[0].port}")
    assert request(pair[0].port, target, method="DELETE", headers={"Tus-Resumable": "1.0.0"}).status == 204
    with pytest.raises(TusCommunicationError):
        begun.get_offset()
