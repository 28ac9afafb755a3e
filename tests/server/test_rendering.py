"""A verdict has one JSON shape, and its headers hold whatever the names are."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.client.fields import read_list
from accord.codec import read_context_token
from accord.errors import InvalidPath
from accord.model.names import FilePath
from accord.model.verdict import Checking, Kind, Present, Unreachable
from accord.model.versions import Actor, Clock, Version, found, merge, write
from accord.server.paths import read_target
from accord.server.rendering import (
    JSON,
    file_head,
    http_date,
    last_modified_s,
    render_head,
    replicas,
    rfc3339,
    rivals_etag,
    verdict_body,
    verdict_fields,
    verdict_json,
    verdict_lines,
)
from tests.server.verdicts import (
    DIVERGED,
    DOWN,
    IDENTICAL,
    NOW_S,
    UNKNOWN,
    copy_of,
    damaged,
    digest_of,
    tombstone,
    verdict_on,
)


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")[1:]
    pairs = [line.split(": ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs), "no field twice"
    return {name.lower(): value for name, value in pairs}


def is_path(text: str) -> bool:
    try:
        FilePath(text)
    except InvalidPath:
        return False
    return True


def head_of(verdict, status: int = 200, **options: object) -> bytes:  # type: ignore[no-untyped-def]
    version = verdict.versions[0].version
    return file_head(status, verdict, version, **{"now_s": NOW_S, "length": version.size, **options})


def test_the_one_json_shape() -> None:
    one, two = digest_of(b"one"), digest_of(b"two!")
    assert json.loads(verdict_json(DIVERGED)) == {
        "path": "a/hello.txt",
        "verdict": "diverged",
        "versions": [
            {
                "digest": str(two),
                "size": 4,
                "modified": "2023-11-14T22:13:20.000000Z",
                "author": "",
                "servers": ["server2"],
                "href": f"/files/a/hello.txt?version={two}",
            },
            {
                "digest": str(one),
                "size": 3,
                "modified": "2001-09-09T01:46:40.000000Z",
                "author": "",
                "servers": ["server1"],
                "href": f"/files/a/hello.txt?version={one}",
            },
        ],
        "servers": [
            {"name": "server1", "state": "rival", "digest": str(one)},
            {"name": "server2", "state": "rival", "digest": str(two)},
        ],
        "context": json.loads(verdict_json(DIVERGED))["context"],
    }


@given(st.text(min_size=1, max_size=12).filter(is_path), st.text(max_size=8), st.integers(0, 2**62))
def test_the_everyday_verdict_put_together_from_pieces_is_the_same_json(path: str, author: str, at_ns: int) -> None:
    version = Version(digest_of(b"x"), 1, at_ns, author.encode(errors="ignore").decode())
    copy = Present(version.digest, 1, at_ns, found(version))
    verdict = verdict_on(path, copy, copy_of(b"x", 0), copy)
    assert verdict.kind is Kind.IDENTICAL
    assert verdict_json(verdict) == JSON.encode(verdict_body(verdict))


def test_the_version_is_told_with_its_author_and_its_whole_time() -> None:
    version = Version(digest_of(b"x"), 1, 1_700_000_000_123_456_789, 'an "author"', executable=True)
    verdict = verdict_on("f", Present(version.digest, 1, version.modified_ns, found(version), executable=True))
    ((told, parameters),) = read_list(fields_of(head_of(verdict))["accord-version"])
    assert told == str(version.digest)
    assert parameters == {
        "size": "1",
        "modified": "2023-11-14T22:13:20.123456Z",
        "author": 'an "author"',
        "executable": "1",
    }


def test_a_silent_servers_reason_is_told() -> None:
    told = json.loads(verdict_json(UNKNOWN))
    assert told["versions"] == []
    assert told["servers"] == [
        {"name": "server1", "state": "absent"},
        {"name": "server2", "state": "unreachable", "reason": "no answer within 1 s"},
    ]


def test_a_deletion_has_neither_digest_nor_address() -> None:
    told = json.loads(verdict_json(verdict_on("f", tombstone(), copy_of(b"x"))))
    assert [one["href"] is None for one in told["versions"]] == [one["digest"] is None for one in told["versions"]]
    assert sorted(one["digest"] is None for one in told["versions"]) == [False, True]


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="\\/"), min_size=1, max_size=30)
)
def test_every_href_leads_back_to_its_version(name: str) -> None:
    if name in (".", "..") or len(name.encode()) > 255:
        return
    path = FilePath("f/" + name)
    verdict = verdict_on(path, copy_of(b"x"), copy_of(b"x"))
    href = json.loads(verdict_json(verdict))["versions"][0]["href"]
    target = read_target(href.encode("ascii"))
    assert target.path == path
    assert target.query.version is not None
    assert target.query.version.matches(digest_of(b"x"))


def test_the_head_of_a_file() -> None:
    head = head_of(IDENTICAL)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    fields = fields_of(head)
    digest = digest_of(b"hello")
    assert fields["etag"] == f'"{digest}"'
    assert fields["accord-verdict"] == "identical"
    assert (
        fields["accord-replicas"]
        == f'"server1";state=current;digest="{digest}", "server2";state=current;digest="{digest}"'
    )
    assert read_context_token(fields["accord-context"], IDENTICAL.path) == IDENTICAL.clock.context()
    assert fields["content-length"] == "5"
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert fields["last-modified"] == fields["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert fields["accept-ranges"] == "bytes"
    assert fields["cache-control"] == "no-cache"
    assert fields["vary"] == "Accept"
    assert fields["x-content-type-options"] == "nosniff"
    assert "server" not in fields
    assert "content-disposition" not in fields


def test_the_cached_lines_say_what_the_general_ones_do() -> None:
    for kind_of in (IDENTICAL, DIVERGED, UNKNOWN):
        written = b"".join(b"%b: %b\r\n" % (name.title(), value) for name, value in verdict_fields(kind_of))
        assert verdict_lines(kind_of) == written


def test_a_server_that_is_silent_is_named_beside_identical_ones() -> None:
    fields = fields_of(head_of(verdict_on("f", copy_of(b"x"), copy_of(b"x"), DOWN)))
    assert fields["accord-verdict"] == "identical"
    assert '"3rd.server";state=unreachable;reason="no answer within 1 s"' in fields["accord-replicas"]


def test_not_modified_has_no_body_fields() -> None:
    fields = fields_of(head_of(IDENTICAL, 304, length=None))
    assert not {"content-length", "content-type"} & set(fields)
    assert {"etag", "date", "cache-control", "vary", "last-modified"} <= set(fields)


def test_a_part_says_which() -> None:
    head = head_of(
        IDENTICAL,
        206,
        length=2,
        media_type=b"multipart/byteranges; boundary=x",
        extra=b"Content-Range: bytes 0-1/5\r\n",
    )
    fields = fields_of(head)
    assert head.startswith(b"HTTP/1.1 206 Partial Content\r\n")
    assert (fields["content-range"], fields["content-length"]) == ("bytes 0-1/5", "2")
    assert fields["content-type"] == "multipart/byteranges; boundary=x"


def test_active_content_is_fenced_in_and_awkward_names_are_told() -> None:
    fields = fields_of(head_of(verdict_on("w/é.html", copy_of(b"x"), copy_of(b"x"))))
    assert fields["content-security-policy"].startswith("sandbox;")
    assert fields["content-disposition"] == "inline; filename=\"_.html\"; filename*=UTF-8''%C3%A9.html"


@pytest.mark.parametrize("modified_ns", [-(10**18), (NOW_S + 10**6) * 10**9, 10**30])
def test_strange_times_make_no_strange_dates(modified_ns: int) -> None:
    verdict = verdict_on("f", copy_of(b"x", modified_ns), copy_of(b"x", modified_ns))
    fields = fields_of(head_of(verdict))
    expected = last_modified_s(verdict.versions[0].version, NOW_S)
    assert fields["last-modified"] == http_date(expected).decode()
    assert 0 <= expected <= NOW_S
    assert json.loads(verdict_json(verdict))["versions"][0]["modified"].endswith("Z")


@given(st.integers(0, 253402300799))
def test_dates_are_the_calendars(second: int) -> None:
    at = datetime.fromtimestamp(second, UTC)
    assert datetime.strptime(http_date(second).decode(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC) == at
    assert rfc3339(second * 10**9 + 123_456_789) == at.strftime("%Y-%m-%dT%H:%M:%S.123456Z").zfill(27)


@given(st.text(max_size=300))
def test_no_reason_breaks_out_of_its_header(reason: str) -> None:
    verdict = verdict_on("f", copy_of(b"x"), Unreachable(reason))
    line = replicas(verdict.servers)
    assert line.isascii()
    assert line.decode().isprintable()
    members = read_list(line.decode())
    assert [member.value for member in members] == ["server1", "server2"]
    assert members[1].parameters["state"] == "unreachable"


def test_the_tag_of_rivals_is_of_the_set() -> None:
    again = verdict_on("f", copy_of(b"two!"), copy_of(b"one"))
    assert rivals_etag(DIVERGED) == rivals_etag(again)
    assert rivals_etag(DIVERGED) != rivals_etag(verdict_on("f", copy_of(b"one"), copy_of(b"three")))
    assert rivals_etag(DIVERGED) != rivals_etag(verdict_on("f", tombstone(), copy_of(b"one")))


def test_a_head_takes_no_line_breaks() -> None:
    for field in ((b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x", b"a\rb"), (b"x\r\ny", b"a")):
        with pytest.raises(ValueError, match="line break"):
            render_head(200, [field])
    assert render_head(404, [(b"etag", b'"x"'), (b"content-type", b"text/plain")], now_s=0) == (
        b"HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b'ETag: "x"\r\nContent-Type: text/plain\r\n\r\n'
    )


def test_a_tombstone_has_no_head() -> None:
    with pytest.raises(ValueError, match="tombstone"):
        head_of(verdict_on("f", tombstone(), tombstone()))


def test_progress_and_damage_are_reasons() -> None:
    told = json.loads(verdict_json(verdict_on("f", copy_of(b"x"), damaged(b"x"), Checking(5, 10))))
    assert {one["name"]: one.get("reason") for one in told["servers"]} == {
        "server1": None,
        "server2": "its bytes changed",
        "3rd.server": "5 of 10 bytes hashed",
    }


def test_the_token_of_a_reader_has_not_seen_what_nobody_could_show() -> None:
    mine, theirs = (Version(digest_of(content), 1, 1, "") for content in (b"a", b"b"))
    first, second = Actor("server1/life"), Actor("server2/life")
    clock = merge(write(Clock(), {}, first, mine), write(Clock(), {}, second, theirs))
    held = Present(digest_of(b"a"), 1, 1, clock)
    assert read_context_token(verdict_body(verdict_on("f", held, DOWN)).context, "f") == {first: 1}
    fields = dict(verdict_fields(verdict_on("f", held, DOWN)))
    assert read_context_token(fields[b"accord-context"].decode(), "f") == {first: 1}
    assert b"\r\nAccord-Context: " + fields[b"accord-context"] in verdict_lines(verdict_on("f", held, DOWN))
