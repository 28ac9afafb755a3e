"""`/status` and what is below it, as clients see it: numbers, lists, pages; and that orders are only taken from whoever means them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from accord.client.aio import AsyncClient
from accord.engine.found_everywhere import AllFound, findings_everywhere
from accord.engine.peer_requests import Work
from accord.engine.progress import RunProgress, SyncProgress
from accord.engine.questions import Question
from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import FilePath, Prefix
from accord.model.verdict import Kind
from accord.server.paths import DEFAULT_LIMIT_ENTRIES
from tests.server.live import Answer, Live, live

HTML = "text/html"
NDJSON = "application/x-ndjson"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path, 3) as running:
        yield running


async def ask(server: Live, target: str, method: str = "GET", **headers: str) -> Answer:
    async with server.client() as client:
        return await client.ask(method, target, **headers)


async def streamed(server: Live, target: str) -> list[dict]:  # type: ignore[type-arg]
    """A chunked answer of lines."""
    async with server.client() as client:
        client.head("GET", target, Accept=NDJSON, Connection="close")
        raw = await client.reader.read()
    return [json.loads(line) for line in raw.partition(b"\r\n\r\n")[2].splitlines() if line.startswith(b"{")]


async def rivals(server: Live, path: str = "notes.txt") -> None:
    for content in (b"mine", b"yours"):
        await server.node.put(content, FilePath(path), seen={})


def lacking(server: Live, path: str) -> None:
    for node in server.cluster.nodes[:2]:
        node.store.put_outside(path, b"content")
    server.node.store.note_verdict(FilePath(path), Kind.PARTIAL)


async def test_the_status_has_all_servers_and_the_counts(server: Live) -> None:
    await server.node.put(b"one", FilePath("a/one"))
    await rivals(server)
    server.desks[0].sync = tuple(SyncProgress(peer=f"server{n}", ended_ns=1, is_equal=True) for n in (2, 3))
    server.cluster.down(2)
    answer = await ask(server, "/status")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert (told["server"], told["cluster"], told["kinds"], told["rivals"]) == (
        "server1",
        "home",
        {"identical": 1, "diverged": 1},
        1,
    )
    assert [(one["name"], one["reachable"], one["standing"]) for one in told["servers"]] == [
        ("server1", True, "in sync"),
        ("server2", True, "unknown"),
        ("server3", False, "unknown"),
    ]
    assert (await ask(server, "/status?prefix=a")).json()["kinds"] == {"identical": 1}


async def test_the_status_as_a_page(server: Live) -> None:
    await rivals(server, "<b>")
    server.node.store.note_finding(Finding(FilePath("<b>"), Oddity.ROT, 7, detail="<i>"))
    server.desks[0].scan = RunProgress(running=True, files=5, total_files=10)
    server.cluster.down(2)
    page = await ask(server, "/status", Accept=HTML)
    assert page.headers["content-type"].startswith(HTML)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for told in ("running, 50 %", "refused the connection", "kind=diverged", "1 odd copy"):
        assert told.encode() in page.body, told
    assert b"&lt;b&gt;" in (await ask(server, "/status/paths", Accept=HTML)).body
    findings = (await ask(server, "/status/findings", Accept=HTML)).body
    assert b"&lt;i&gt;" in findings
    assert b"<i>" not in findings


async def test_the_home_page_shows_how_the_servers_stand(server: Live) -> None:
    server.cluster.down(1)
    page = (await ask(server, "/", Accept=HTML)).body
    assert b"unreachable" in page
    assert b'href="/status"' in page


async def test_paths_are_listed_with_verdicts_of_now(server: Live) -> None:
    await rivals(server)
    lacking(server, "lacking")
    server.node.store.note_verdict(FilePath("agrees"), Kind.PARTIAL)
    told = (await ask(server, "/status/paths")).json()
    assert [(one["path"], one["verdict"]) for one in told["entries"]] == [
        ("lacking", "partial"),
        ("notes.txt", "diverged"),
    ]
    assert len(told["entries"][1]["versions"]) == 2
    assert told["entries"][0]["since"].endswith("Z")
    assert told["servers"] == [{"name": f"server{n}", "state": "answered"} for n in (1, 2, 3)]


async def test_paths_by_kind_and_page(server: Live) -> None:
    for name in "abc":
        lacking(server, name)
    await rivals(server)
    first = (await ask(server, "/status/paths?limit=2")).json()
    assert ([one["path"] for one in first["entries"]], first["next"]) == (["a", "b"], "b")
    rest = (await ask(server, "/status/paths?limit=2&after=b")).json()
    assert ([one["path"] for one in rest["entries"]], rest["next"]) == (["c", "notes.txt"], None)
    only = (await ask(server, "/status/paths?kind=diverged,damaged")).json()
    assert [one["path"] for one in only["entries"]] == ["notes.txt"]


async def test_paths_as_lines_end_with_a_line_of_their_own(server: Live) -> None:
    for name in "abc":
        lacking(server, name)
    server.cluster.down(1)
    *entries, end = await streamed(server, "/status/paths")
    assert [one["path"] for one in entries] == ["a", "b", "c"]
    assert (end["end"], end["entries"], end["next"]) == (True, 3, None)
    assert end["servers"][1] == {"name": "server2", "state": "unreachable", "reason": "refused the connection"}
    *some, end = await streamed(server, "/status/paths?limit=2")
    assert (len(some), end["next"]) == (2, "b")


async def test_estranged_paths_are_marked_as_such(server: Live) -> None:
    server.cluster[2].store.put_outside("strange", b"content")
    server.node.store.deem_estranged([FilePath("strange")])
    (told,) = (await ask(server, "/status/paths?kind=estranged")).json()["entries"]
    assert (told["path"], told["estranged"], told["verdict"]) == ("strange", True, "partial")


async def test_colliding_names(server: Live) -> None:
    server.node.store._clashes = [NameClash("Case", "case")]
    told = (await ask(server, "/status/paths?kind=clash")).json()["entries"]
    assert told == [{"clash": "Case", "other": "case", "server": "server1"}]


async def test_findings_as_page_and_as_lines(server: Live) -> None:
    server.cluster[1].store.note_finding(Finding(FilePath("a"), Oddity.MISSING, 0))
    server.desks[2].recent.note(9, Finding(FilePath("b"), Oddity.ROT, 0, detail="read badly"))
    (told,) = (await ask(server, "/status/findings")).json()["entries"]
    assert (told["server"], told["path"], told["oddity"], told["since"]) == (
        "server2",
        "a",
        "missing",
        "1970-01-01T00:00:00.000000Z",
    )
    recent, end = await streamed(server, "/status/findings?order=9")
    assert (recent["server"], recent["path"], recent["detail"], end["entries"]) == ("server3", "b", "read badly", 1)


async def test_lines_are_all_lines_whatever_a_page_holds(server: Live) -> None:
    server.cluster.down(2)
    for number in range(DEFAULT_LIMIT_ENTRIES + 5):
        server.node.store.note_finding(Finding(FilePath(f"{number:04}"), Oddity.ROT, 0))
    server.node.store._clashes = [NameClash(f"{n:04}", f"{n:04}~") for n in range(DEFAULT_LIMIT_ENTRIES + 5)]
    for target, path in (("/status/findings", "path"), ("/status/paths?kind=clash", "clash")):
        *entries, end = await streamed(server, target)
        assert [one[path] for one in entries] == [f"{number:04}" for number in range(DEFAULT_LIMIT_ENTRIES + 5)]
        assert (end["end"], end["entries"], end["next"]) == (True, len(entries), None)
        assert [one["state"] for one in end["servers"]] == ["answered", "answered", "unreachable"]


async def test_a_server_that_falls_silent_between_two_pages_stays_silent(server: Live) -> None:
    for desk in server.desks[:2]:
        for number in range(10):
            desk.node.store.note_finding(Finding(FilePath(f"{number:04}"), Oddity.ROT, 0))
    every = AllFound(server.services.status, Question(), findings_everywhere)
    seen: list[tuple[str, str]] = []
    async for batch in every.batches(4):
        seen += [(one.path, name) for name, one in batch]
        # Up again for the third page, which would then have a hole before it.
        (server.cluster.down if len(seen) <= 4 else server.cluster.up)(1)
    assert seen[:4] == [(path, name) for path in ("0000", "0001") for name in ("server1", "server2")]
    assert seen[4:] == [(f"{number:04}", "server1") for number in range(2, 10)]
    assert every.servers() == [("server1", None), ("server2", "refused the connection"), ("server3", None)]


async def test_lines_that_were_limited_say_where_to_go_on_behind_a_whole_path(server: Live) -> None:
    for path in "abc":
        for oddity in (Oddity.ROT, Oddity.OUTSIDE):
            server.node.store.note_finding(Finding(FilePath(path), oddity, 0))
    *entries, end = await streamed(server, "/status/findings?limit=3")
    assert ([one["path"] for one in entries], end["next"]) == (["a", "a", "b", "b"], "b")
    *entries, end = await streamed(server, "/status/findings?limit=3&after=b")
    assert ([one["path"] for one in entries], end["next"]) == (["c", "c"], None)


@pytest.mark.parametrize(
    "target",
    [
        "/status?prefix=../x",
        "/status?unknown=1",
        "/status/paths?kind=identical",
        "/status/paths?kind=clash,stale",
        "/status/paths?limit=0",
        "/status/paths?after=a//b",
        "/status/paths?kind=clash&after=a//b",
        "/status/findings?order=x",
        "/status/findings?order=99999999999999999",
    ],
)
async def test_questions_that_make_no_sense(server: Live, target: str) -> None:
    answer = await ask(server, target)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


# --- orders ---


async def order(server: Live, target: str, **headers: str) -> Answer:
    return await ask(server, target, "POST", Content_Length="0", **(headers or {"Accord_Order": "?1"}))


@pytest.mark.parametrize("work", ["pause", "resume"])
async def test_healing_is_not_paused_for_one_folder(server: Live, work: str) -> None:
    answer = await order(server, f"/status/{work}?scope=photos/")
    assert (answer.status, server.desks[0].orders) == (400, [])
    assert (await order(server, f"/status/{work}?scope=")).status == 202


async def test_an_order_begins_work_on_all_servers(server: Live) -> None:
    server.cluster.down(1)
    answer = await order(server, "/status/scan?scope=photos/")
    told = answer.json()
    assert (answer.status, told["work"], told["scope"]) == (202, "scan", "photos/")
    assert told["servers"] == [
        {"name": "server1", "reached": True},
        {"name": "server2", "reached": False, "reason": "refused the connection"},
        {"name": "server3", "reached": True},
    ]
    for number in (0, 2):
        assert server.desks[number].orders == [(Work.SCAN, told["number"], Prefix("photos"))]


@pytest.mark.parametrize("work", list(Work))
async def test_every_work_can_be_ordered_on_some_servers(server: Live, work: Work) -> None:
    answer = await order(server, f"/status/{work.value}?on=server3")
    assert (answer.status, [one["name"] for one in answer.json()["servers"]]) == (202, ["server3"])
    assert [desk.orders for desk in server.desks][:2] == [[], []]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Accord_Order": "1"},
    ],
)
async def test_what_a_page_of_another_site_can_send_is_no_order(server: Live, headers: dict[str, str]) -> None:
    answer = await order(server, "/status/scrub", **headers)
    assert answer.status == 400
    assert "access-control-allow-origin" not in answer.headers
    assert not any(desk.orders for desk in server.desks)


async def test_no_browser_is_allowed_to_ask_for_another_site(server: Live) -> None:
    """The question that a browser asks first, where a page of another site means to send a field like this."""
    answer = await ask(
        server,
        "/status/scrub",
        "OPTIONS",
        Origin="https://evil.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="accord-order",
    )
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_orders_that_make_no_sense(server: Live) -> None:
    assert (await order(server, "/status/dance")).status == 404
    assert (await order(server, "/status/scan?on=server9")).status == 400
    assert (await order(server, "/status/scan?scope=a//b")).status == 400
    assert (await ask(server, "/status/scan")).status == 405
    assert (await order(server, "/status/paths")).status == 405
    assert not any(desk.orders for desk in server.desks)


async def test_an_order_that_nobody_takes_is_an_error(server: Live) -> None:
    for desk in server.desks:
        desk.refusal = "has no time"
    answer = await order(server, "/status/scan")
    assert answer.status == 503
    assert "server1 (has no time)" in answer.json()["detail"]


# --- the client ---


async def test_the_client_reads_all_of_it(server: Live) -> None:
    await rivals(server)
    server.cluster[2].store.put_outside("strange", b"content")
    server.node.store.deem_estranged([FilePath("strange")])
    server.node.store._clashes = [NameClash("Case", "case")]
    server.node.store.note_finding(Finding(FilePath("odd"), Oddity.MISSING, 0))
    server.desks[1].recent.note(4, Finding(FilePath("mended"), Oddity.ROT, 0))
    client = AsyncClient(f"http://127.0.0.1:{server.port}")
    try:
        overview = await client.status()
        assert (overview.kinds, [line.name for line in overview.servers]) == (
            {"diverged": 1},
            ["server1", "server2", "server3"],
        )
        listing = client.differences()
        told = [(one.path, one.verdict, one.estranged) async for one in listing]
        assert told == [("notes.txt", Kind.DIVERGED, False), ("strange", Kind.PARTIAL, True)]
        assert listing.silent == ()
        assert [one.path async for one in client.differences(kinds=["estranged"])] == ["strange"]
        assert [(one.clash, one.other) async for one in client.clashes()] == [("Case", "case")]
        assert [(one.path, one.oddity, one.server) async for one in client.findings()] == [
            ("odd", Oddity.MISSING, "server1")
        ]
        assert [(one.path, one.server) async for one in client.findings(order=4)] == [("mended", "server2")]
        ordered = await client.scan("photos/", servers=["server2"])
        assert server.desks[1].orders == [(Work.SCAN, ordered.number, Prefix("photos"))]
        for order, work in ((client.scrub, Work.SCRUB), (client.sync, Work.SYNC)):
            assert (await order()).work == work.value
        assert [(await one()).work for one in (client.pause, client.resume)] == ["pause", "resume"]
        assert len(server.desks[2].orders) == 4
    finally:
        await client.close()


# --- what else tells of it ---


async def test_metrics_tell_of_what_differs_and_of_the_work(server: Live) -> None:
    await rivals(server)
    server.desks[0].scan = RunProgress(ended_ns=2_000_000_000)
    server.desks[0].sync = (SyncProgress(peer="server2", is_equal=False),)
    text = (await ask(server, "/metrics")).body.decode()
    for line in (
        'accord_paths{verdict="diverged"} 1.0',
        'accord_odd_copies{oddity="rot"} 0.0',
        'accord_ended_seconds{work="scan"} 2.0',
        'accord_in_sync{peer="server2"} 0.0',
        "accord_heal_queued 0.0",
    ):
        assert line in text, line


async def test_readiness_tells_what_waits_to_be_mended(server: Live) -> None:
    assert (await ask(server, "/ready")).json()["queue"]["queued"] == 0
