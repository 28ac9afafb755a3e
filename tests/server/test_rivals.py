"""Rivals are all shown, each with who holds it, and nothing is picked."""

from __future__ import annotations

import json
from dataclasses import replace
from email.parser import BytesParser
from email.policy import HTTP
from functools import reduce

import pytest

from accord.model.verdict import Damaged, State
from accord.model.versions import merge
from accord.server.media import Form
from accord.server.rendering import etag, rivals_etag
from accord.server.rivals import as_json, as_multipart, as_page, parts, rivals_head, saved_name
from tests.server.test_rendering import fields_of
from tests.server.verdicts import DIVERGED, NOW_S, SERVER1, copy_of, damaged, digest_of, tombstone, verdict_on

LOST = verdict_on("notes.txt", damaged(b"lost for now"), copy_of(b"two"), tombstone("server3"))
CONTENTS = {digest_of(content): content for content in (b"one", b"two!", b"two")}


def test_the_head_picks_nothing() -> None:
    head = rivals_head(DIVERGED, Form.JSON, now_s=NOW_S, length=5)
    fields = fields_of(head)
    assert head.startswith(b"HTTP/1.1 300 Multiple Choices\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert "location" not in fields
    assert fields["cache-control"] == "no-store"
    assert fields["vary"] == "Accept"
    assert fields["etag"].encode() == rivals_etag(DIVERGED)
    assert fields["accord-verdict"] == "diverged"
    assert fields["content-type"] == "application/json"
    assert "content-security-policy" in fields_of(rivals_head(DIVERGED, Form.HTML, now_s=NOW_S, length=5))


def test_json_lists_the_versions() -> None:
    assert [one["servers"] for one in json.loads(as_json(DIVERGED))["versions"]] == [["server2"], ["server1"]]


@pytest.mark.parametrize("verdict", [DIVERGED, LOST])
def test_multipart_has_every_version(verdict) -> None:  # type: ignore[no-untyped-def]
    framing = as_multipart(verdict, "b" * 32)
    body = b""
    for head, part in zip(framing.heads, parts(verdict), strict=True):
        body += head + (CONTENTS[part.held.version.digest] if part.state is State.RIVAL else b"")
    body += framing.closing
    assert len(body) == framing.total_bytes
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + framing.content_type + b"\r\n\r\n" + body)
    received = list(message.iter_parts())
    assert len(received) == len(verdict.versions)
    for told, part in zip(received, parts(verdict), strict=True):
        digest = part.held.version.digest
        assert told["Accord-State"] == part.state.value
        assert int(told["Content-Length"]) == part.body_bytes == len(told.get_payload(decode=True))
        assert told["Accord-Servers"] == ", ".join(f'"{name}"' for name in part.held.servers)
        assert told["Content-Disposition"].startswith("attachment; filename=")
        assert (told["ETag"] is None) == (digest is None)
        if digest is not None:
            assert told["ETag"].encode() == etag(digest)


def test_versions_without_bytes_are_described() -> None:
    assert sorted(part.state.value for part in parts(LOST)) == ["damaged", "deleted", "rival"]
    assert [part.body_bytes for part in parts(LOST) if part.state is not State.RIVAL] == [0, 0]


@pytest.mark.parametrize(
    ("path", "name"),
    [("d/notes.txt", "notes.server1.txt"), ("Makefile", "Makefile.server1"), (".bashrc", ".bashrc.server1")],
)
def test_rivals_are_saved_side_by_side(path: str, name: str) -> None:
    verdict = verdict_on(path, copy_of(b"one"), copy_of(b"two"))
    held = next(one for one in verdict.versions if SERVER1 in one.servers)
    assert saved_name(verdict, held) == name


def test_no_two_rivals_are_saved_under_one_name() -> None:
    """Not those either that are at no path: every server keeps them aside."""
    first, second, third = (copy_of(content) for content in (b"one", b"two", b"three"))
    everything = reduce(merge, (one.clock for one in (first, second, third, tombstone())))
    copy = replace(first, clock=everything, aside=(None, second.digest, third.digest))
    verdict = verdict_on("notes.txt", copy, copy)
    assert {saved_name(verdict, held) for held in verdict.versions} == {
        "notes.server1+server2.txt",
        f"notes.{second.digest.hex()[:12]}.txt",
        f"notes.{third.digest.hex()[:12]}.txt",
        "notes.deleted.txt",
    }


def test_the_page_shows_all_and_runs_nothing() -> None:
    page = as_page(verdict_on("d/<script>alert('x')<.html", copy_of(b"one"), copy_of(b"two!"))).decode()
    assert 'href="/history/d/%3Cscript%3E' in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page
    for content in (b"one", b"two!"):
        assert f"?version={digest_of(content)}" in page
    assert "server1" in page
    assert "server2" in page


def test_the_page_shows_what_was_deleted_or_is_damaged() -> None:
    page = as_page(LOST).decode()
    assert "Deleted" in page
    assert "damaged" in page
    assert "no good copy answered" in page
    reason = as_page(verdict_on("f", copy_of(b"a"), copy_of(b"b"), Damaged("<i>broken</i>"))).decode()
    assert "&lt;i&gt;broken" in reason
