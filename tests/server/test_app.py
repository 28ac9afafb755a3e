"""The routes beside the files: what they answer, and that whatever goes wrong has the one shape."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest
from structlog.testing import capture_logs

from accord.engine.making import Moved
from accord.errors import PeerUnreachable
from accord.model.verdict import Kind
from accord.server.app import make_app
from accord.server.metrics import Metrics, Outcome
from accord.server.services import Services
from accord.store.port import Debts
from tests.server.fakes import services
from tests.server.verdicts import SERVER2, copy_of

ONE = copy_of(b"one")
HTML = {"accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def parts() -> Services:
    return services({"a/b": ONE, "a/c": ONE, "d": ONE}, {SERVER2: {"a/b": ONE, "d": ONE}})


@pytest.fixture
def client(parts: Services) -> Iterator[httpx2.AsyncClient]:
    return client_of(parts)


def client_of(parts: Services) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=make_app(parts), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


async def test_a_page_of_the_listing(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/list/a/")).json()
    assert page["prefix"] == "a/"
    assert [(entry["path"], entry["verdict"]) for entry in page["entries"]] == [
        ("a/b", "identical"),
        ("a/c", "partial"),
    ]
    assert (await client.get("/list/a")).json() == page
    assert len((await client.get("/list/")).json()["entries"]) == 3
    assert len((await client.get("/list")).json()["entries"]) == 3


async def test_paging(client: httpx2.AsyncClient) -> None:
    first = (await client.get("/list/?limit=2")).json()
    assert first["next"] == "a/c"
    second = (await client.get("/list/", params={"limit": 2, "after": first["next"]})).json()
    assert [entry["path"] for entry in second["entries"]] == ["d"]
    assert second["next"] is None


async def test_the_listing_as_lines(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/list/", headers={"accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    *entries, end = [json.loads(line) for line in answer.text.splitlines()]
    assert len(entries) == end["entries"] == 3


async def test_the_head_of_a_listing_walks_nothing(parts: Services, client: httpx2.AsyncClient) -> None:
    parts.store.walk = None  # type: ignore[method-assign, assignment]
    answer = await client.head("/list/", headers={"accept": "application/x-ndjson"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert "content-length" not in answer.headers


async def test_the_listing_as_a_page(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/list/a/", headers=HTML)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "/files/a/b" in answer.text


@pytest.mark.parametrize(
    "path", ["/list/%2e%2e/", "/list/a%2Fb/", "/list/.accord/", "/list/a%00/", "/list/?limit=0", "/list/?x=1"]
)
async def test_bad_listings_are_refused(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] in ("/problems/invalid-path", "/problems/invalid-query")


async def test_a_silent_server_is_named_in_the_listing() -> None:
    parts = services({"a": ONE}, {SERVER2: {}}, {SERVER2: PeerUnreachable("it is down")})
    page = (await client_of(parts).get("/list/")).json()
    assert page["servers"][1] == {"name": "server2", "state": "unreachable", "reason": "it is down"}
    assert page["entries"][0]["verdict"] == "unverified"


async def test_health_and_readiness(parts: Services, client: httpx2.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok", "server": "server1", "cluster": "home"}
    answer = await client.get("/ready")
    told = answer.json()
    assert answer.status_code == 200
    assert told["ready"] is True
    assert told["indexing"].items() >= {"done": True, "hashed_files": 3, "hashed_bytes": 30, "found_files": 3}.items()
    assert told["peers"] == [{"name": "server2", "url": "http://127.0.0.1:2", "state": "up", "reason": None}]
    assert told["owed"] == []
    parts.store.owed = {SERVER2: Debts(3, lost=True)}  # type: ignore[attr-defined]
    assert (await client.get("/ready")).json()["owed"] == [{"name": "server2", "paths": 3, "lost": True}]
    parts.store.reason = "fsync failed"  # type: ignore[attr-defined]
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["degraded"]) == (503, "fsync failed")


async def test_peers_that_are_down_do_not_make_a_server_unready() -> None:
    answer = await client_of(services({}, {SERVER2: {}}, {SERVER2: PeerUnreachable()})).get("/ready")
    assert answer.status_code == 200
    assert answer.json()["peers"][0]["state"] == "down"


async def test_metrics(parts: Services, client: httpx2.AsyncClient) -> None:
    parts.metrics.read(Kind.IDENTICAL)
    parts.metrics.read(Kind.IDENTICAL)
    parts.metrics.sent(5)
    parts.metrics.broken_off()
    parts.metrics.wrote(Outcome.CREATED)
    parts.metrics.received(7)
    parts.store.owed = {SERVER2: Debts(3, lost=False)}  # type: ignore[attr-defined]
    lines = (await client.get("/metrics")).text.splitlines()
    assert 'accord_reads_total{verdict="identical"} 2.0' in lines
    assert 'accord_reads_total{verdict="missing"} 0.0' in lines
    assert "accord_sent_bytes_total 5.0" in lines
    assert "accord_broken_bodies_total 1.0" in lines
    assert 'accord_peer_up{peer="server2"} 1.0' in lines
    assert 'accord_writes_total{outcome="created"} 1.0' in lines
    assert "accord_received_bytes_total 7.0" in lines
    assert 'accord_owed_paths{peer="server2"} 3.0' in lines


async def test_metrics_tell_what_bringing_up_to_date_took() -> None:
    lines = Metrics(moved=lambda: Moved(fetched_bytes=5, reused_bytes=7)).rendered().decode().splitlines()
    assert "accord_fetched_bytes_total 5.0" in lines
    assert "accord_reused_bytes_total 7.0" in lines


async def test_the_first_page(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/")
    assert "server1" in answer.text
    assert 'href="/list/"' in answer.text


async def test_problem_types_are_explained(client: httpx2.AsyncClient) -> None:
    assert "File Not Found" in (await client.get("/problems/not-found")).text
    assert (await client.get("/problems/nonsense")).status_code == 404


@pytest.mark.parametrize("path", ["/nothing", "/nothing/", "/health/", "/%3Cscript%3E", "/files"])
async def test_other_addresses_are_no_pages(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/no-such-page"
    assert "script" not in answer.text
    page = await client.get(path, headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>No Such Page</h1>" in page.text


@pytest.mark.parametrize("method", ["POST", "PATCH", "MKCOL"])
async def test_what_files_are_not_for(client: httpx2.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/files/a")
    assert answer.status_code == 405
    if method != "MKCOL":
        assert answer.headers["allow"] == "GET, HEAD, PUT, DELETE, OPTIONS"
    assert answer.json()["type"] == "/problems/method-not-allowed"


async def test_other_methods_are_refused_with_what_is_allowed(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/health")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert answer.json()["status"] == 405
    options = await client.options("/files/a")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, PUT, DELETE, OPTIONS")
    assert (await client.request("BREW", "/files/a")).status_code == 405


async def test_a_mistake_of_ours_is_logged_and_leaks_nothing(parts: Services) -> None:
    def broken() -> None:
        raise RuntimeError("the secret is hunter2")

    parts.store.indexing = broken  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        answer = await client_of(parts).get("/ready")
    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/error"
    assert "hunter2" not in answer.text
    assert [log["event"] for log in logs] == ["a request failed"]


async def test_nothing_is_cached_or_sniffed(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/list/", "/health", "/ready", "/metrics", "/problems/usage", "/nothing"):
        answer = await client.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
