"""What the client makes of each answer: typed results, errors of Accord's own, and never a byte that was not proven."""

from __future__ import annotations

import pytest

import accord
from accord.errors import (
    AccordError,
    DamagedEverywhere,
    Gone,
    IntegrityError,
    InvalidPath,
    InvalidQuery,
    NotAuthorised,
    NotFound,
    RivalVersions,
    StoreFailed,
    Unavailable,
    UnknownState,
    UsageError,
)
from accord.model.names import ServerName
from accord.model.verdict import Kind, State
from tests.client.scripted import DELETED, ROTTEN, SILENT, Fault, Script, Serve, digest_of

TEXT = b"This is a test"
LONG = bytes(range(256)) * 4096


def test_a_read_has_the_bytes_and_the_verdict(serve: Serve) -> None:
    script, url = serve()
    script.put("a folder/naïve #?%.txt", server1=TEXT, server2=TEXT)
    with accord.Client(url) as client:
        file = client.read("a folder/naïve #?%.txt")
    assert file.content == TEXT
    assert file.digest == digest_of(TEXT)
    assert file.verdict.verdict is Kind.IDENTICAL
    assert file.verdict.versions[0].servers == ("server1", "server2")
    assert file.verdict.context == "token"


async def test_the_async_client_reads_the_same(serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=SILENT)
    script.put("long", server1=LONG, server2=LONG)
    async with accord.AsyncClient(url) as client:
        file = await client.read("hello.txt")
        assert file.content == TEXT
        assert [one.name for one in file.verdict.silent] == ["server2"]
        assert [entry.path async for entry in client.list()] == ["hello.txt", "long"]
        async with client.stream("long") as stream:
            assert b"".join([block async for block in stream]) == LONG


@pytest.mark.parametrize(
    ("copies", "expected", "kind"),
    [
        ({}, NotFound, Kind.MISSING),
        ({"server1": DELETED, "server2": DELETED}, Gone, Kind.DELETED),
        ({"server2": SILENT}, UnknownState, Kind.UNKNOWN),
        ({"server1": ROTTEN, "server2": ROTTEN}, DamagedEverywhere, Kind.DAMAGED),
        ({"server1": b"one", "server2": b"two"}, RivalVersions, Kind.DIVERGED),
    ],
)
def test_a_read_raises_what_stat_returns(serve: Serve, copies: dict, expected: type[AccordError], kind: Kind) -> None:
    script, url = serve()
    script.put("x", **copies)
    with accord.Client(url) as client:
        with pytest.raises(expected) as raised:
            client.read("x")
        verdict = client.stat("x")
    assert type(raised.value) is expected
    assert raised.value.path == "x"
    assert verdict.verdict is kind
    assert [one.name for one in verdict.servers] == ["server1", "server2"]


def test_rivals_are_named_with_their_servers(serve: Serve) -> None:
    script, url = serve(Script(names=("server1", "server2", "server3")))
    script.put("x", server1=b"one", server2=b"two", server3=b"two")
    with accord.Client(url) as client:
        rivals = client.rivals("x")
        assert {one.digest: one.servers for one in rivals} == {
            digest_of(b"one"): ("server1",),
            digest_of(b"two"): ("server2", "server3"),
        }
        assert client.read("x", version=digest_of(b"two").hex()[:12]).content == b"two"
        assert {one.state for one in client.stat("x").servers} == {State.RIVAL}


def test_a_byte_that_is_wrong_is_noticed_and_not_handed_out_whole(serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    script.faults = [Fault(flip_at=3)]
    received = []
    with accord.Client(url) as client, pytest.raises(IntegrityError) as raised, client.stream("hello.txt") as stream:
        received.extend(stream)
    assert received == []
    assert raised.value.exit_code == 8


def test_a_transfer_continues_on_the_next_server_at_the_same_byte(serve: Serve) -> None:
    (one, first), (two, second) = serve(), serve()
    for script in (one, two):
        script.put("long", server1=LONG, server2=LONG)
    one.faults = [Fault(cut_after=300_000)]
    with accord.Client(first, second) as client:
        assert client.read("long").content == LONG
    (_, _, headers) = two.seen[0]
    assert headers["If-Range"] == f'"{digest_of(LONG)}"'
    assert headers["Range"].startswith("bytes=")


def test_two_versions_are_never_spliced(serve: Serve) -> None:
    (one, first), (two, second) = serve(), serve()
    one.put("long", server1=LONG, server2=LONG)
    two.put("long", server1=LONG[::-1], server2=LONG[::-1])
    one.faults = [Fault(cut_after=300_000)]
    with accord.Client(first, second) as client, pytest.raises(accord.AccordError, match="changed while it was read"):
        client.read("long")


def test_a_server_that_always_breaks_off_ends_in_an_error(serve: Serve) -> None:
    script, url = serve()
    script.put("long", server1=LONG, server2=LONG)
    script.faults = [Fault(cut_after=0)] * 50
    with accord.Client(url) as client, pytest.raises(Unavailable, match="broke off after 0 of"):
        client.read("long")


def test_the_next_server_is_tried_and_remembered(serve: Serve, dead_url: str) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    with accord.Client(dead_url, url) as client:
        assert client.read("hello.txt").content == TEXT
        assert client._session.current == url


def test_an_error_names_every_server_tried(serve: Serve, dead_url: str) -> None:
    script, url = serve()
    script.instead = [(502, "text/html", b"bad gateway")]
    with accord.Client(dead_url, url) as client, pytest.raises(AccordError) as raised:
        client.read("hello.txt")
    assert dead_url in raised.value.detail
    assert url in raised.value.detail
    with accord.Client(dead_url) as client, pytest.raises(Unavailable, match=f"{dead_url}.*refused"):
        client.stat("hello.txt")


def test_unknown_at_one_server_is_asked_of_the_next(serve: Serve) -> None:
    (one, first), (two, second) = serve(), serve()
    one.put("x", server2=SILENT)
    two.put("x", server1=TEXT, server2=SILENT)
    with accord.Client(first, second) as client:
        assert client.read("x").content == TEXT


@pytest.mark.parametrize(
    ("status", "kind", "body", "expected", "says"),
    [
        (
            400,
            "application/problem+json",
            b'{"type":"/problems/invalid-path","title":"T","detail":"no"}',
            InvalidPath,
            "no",
        ),
        (418, "application/problem+json", b'{"type":"/problems/teapot","title":"I Am One"}', AccordError, "I Am One"),
        (401, "text/plain", b"who?", NotAuthorised, "refused"),
        (404, "text/html", b"<h1>nginx</h1>", AccordError, "not an Accord server"),
        (200, "text/html", b"<h1>nginx</h1>", AccordError, "without a digest"),
        (404, "application/json", b"{half", AccordError, "not an Accord server"),
        (0, "", b"", Unavailable, "broke off"),
    ],
)
def test_a_foreign_or_broken_answer_is_an_error_of_ours(
    serve: Serve, status: int, kind: str, body: bytes, expected: type[AccordError], says: str
) -> None:
    script, url = serve()
    script.instead = [(status, kind, body)] * 2
    with accord.Client(url) as client, pytest.raises(expected, match=says):
        client.read("hello.txt")


def test_a_server_that_stays_silent_is_given_up(serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    script.faults = [Fault(wait_at=4), Fault(wait_at=0)]
    with accord.Client(url, timeout_s=0.05) as client, pytest.raises(Unavailable, match="no answer in time"):
        client.read("hello.txt")


def test_what_makes_no_sense_is_refused_before_anything_is_sent(serve: Serve) -> None:
    script, url = serve()
    with accord.Client(url) as client:
        with pytest.raises(InvalidPath):
            client.read("../etc/passwd")
        with pytest.raises(InvalidQuery):
            client.read("x", version="abc")
    with pytest.raises(UsageError):
        accord.Client("localhost:65001")
    assert script.seen == []


def test_servers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_SERVERS", "http://one:1, http://two:2/")
    with accord.Client() as client:
        assert client.servers == ("http://one:1", "http://two:2")
    monkeypatch.delenv("ACCORD_SERVERS")
    with accord.Client() as client:
        assert client.servers == ("http://127.0.0.1:65001",)


def test_a_listing_is_whole_or_an_error(serve: Serve) -> None:
    script, url = serve()
    for name in ("a", "b", "c/d"):
        script.put(name, server1=TEXT, server2=TEXT)
    script.listing_silent = ("server2",)
    with accord.Client(url) as client:
        listing = client.list()
        assert [one.path for one in listing] == ["a", "b", "c/d"]
        assert [one.name for one in listing.silent] == [ServerName("server2")]
        script.cut_listing = True
        seen = []
        with pytest.raises(Unavailable, match="cut off"):
            seen.extend(one.path for one in client.list())


def test_a_page_of_a_listing_does_not_pass_for_the_whole(serve: Serve) -> None:
    script, url = serve()
    script.instead = [(200, "application/x-ndjson", b'{"end":true,"entries":0,"next":"m","servers":[]}\n')]
    with accord.Client(url) as client, pytest.raises(Unavailable, match="there are more"):
        list(client.list())


def test_another_server_goes_on_with_a_listing(serve: Serve) -> None:
    (one, first), (two, second) = serve(), serve()
    for script in (one, two):
        for name in ("a", "b", "c"):
            script.put(name, server1=TEXT, server2=TEXT)
    one.cut_listing = True
    with accord.Client(first, second) as client:
        assert [entry.path for entry in client.list()] == ["a", "b", "c"]


def test_a_path_that_is_no_text_is_an_error_of_ours(serve: Serve) -> None:
    _, url = serve()
    with accord.Client(url) as client:
        for ask in (client.read, client.stat, client.list, client.look):
            with pytest.raises(accord.AccordError, match="A path is text"):
                ask(5)  # type: ignore[operator]


OUT_OF_ORDER = (500, "application/problem+json", b'{"type": "/problems/store-failed", "detail": "The disk is gone."}')


def test_a_server_that_is_out_of_order_hides_no_verdict_of_another(serve: Serve) -> None:
    (_, broken), (script, url) = serve(Script(instead=[OUT_OF_ORDER] * 4)), serve()
    script.put("x", server1=None, server2=SILENT)
    with accord.Client(broken, url) as client:
        assert client.stat("x").verdict is Kind.UNKNOWN
    with accord.Client(broken, url) as client, pytest.raises(UnknownState, match=r"Servers tried: .*The disk is gone"):
        client.read("x")


def test_where_no_server_has_a_verdict_the_first_error_is_told(serve: Serve) -> None:
    (_, broken), (_, other) = (
        serve(Script(instead=[OUT_OF_ORDER] * 2)),
        serve(Script(instead=[(500, "text/html", b"")] * 2)),
    )
    with accord.Client(broken, other) as client, pytest.raises(StoreFailed, match="The disk is gone"):
        client.stat("x")
