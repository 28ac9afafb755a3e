"""What /metrics tell of reads: each is counted once, under the verdict that it was answered with."""

from __future__ import annotations

from pathlib import Path

from accord.model.names import FilePath
from accord.model.verdict import Kind
from tests.server.live import live

CONTENT = b"content"


async def test_a_read_is_counted_once_however_often_it_begins_anew(tmp_path: Path) -> None:
    async with live(tmp_path) as server, server.client() as client:
        await server.node.put(CONTENT, FilePath("a"))
        server.node.store.rot(FilePath("a"))
        answer = await client.ask("GET", "/files/a")
        assert (answer.status, answer.body, answer.headers["accord-verdict"]) == (200, CONTENT, "partial")
        metrics = server.services.metrics
        assert {kind: metrics.reads(kind) for kind in Kind if metrics.reads(kind)} == {Kind.PARTIAL: 1}


async def test_every_answer_counts(tmp_path: Path) -> None:
    async with live(tmp_path) as server, server.client() as client:
        await server.node.put(CONTENT, FilePath("a"))
        etag = (await client.ask("GET", "/files/a")).headers["etag"]
        assert (await client.ask("GET", "/files/a", If_None_Match=etag)).status == 304
        assert (await client.ask("GET", "/files/nothing")).status == 404
        metrics = server.services.metrics
        assert (metrics.reads(Kind.IDENTICAL), metrics.reads(Kind.MISSING)) == (2, 1)
