"""Listings: in order, paged or streamed, each path with what every server says."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote

from tests.system.harness import Cluster, connected, read_response, request, request_bytes, wait_until

MANY = 100_000


def lines(port: int, target: str) -> list[dict]:  # type: ignore[type-arg]
    answer = request(port, target, headers={"Accept": "application/x-ndjson"}, timeout_s=60)
    assert answer.status == 200, answer
    return [json.loads(line) for line in answer.body.splitlines()]


def test_a_listing_shows_size_digest_and_every_servers_state(pair: Cluster) -> None:
    pair[0].put("a/both.txt", b"same")
    pair[1].put("a/both.txt", b"same")
    pair[0].put("a/rival.txt", b"one")
    pair[1].put("a/rival.txt", b"two")
    pair[1].put("a/there.txt", b"only there")
    pair[0].put("b.txt", b"outside the prefix")
    listing = request(pair[0].port, "/list/a/").json()
    verdicts = {entry["path"]: entry for entry in listing["entries"]}
    assert list(verdicts) == ["a/both.txt", "a/rival.txt", "a/there.txt"]
    assert verdicts["a/both.txt"]["verdict"] == "identical"
    assert verdicts["a/both.txt"]["versions"][0]["size"] == 4
    assert verdicts["a/rival.txt"]["verdict"] == "diverged"
    assert verdicts["a/there.txt"]["verdict"] == "partial"
    assert [one["state"] for one in verdicts["a/there.txt"]["servers"]] == ["absent", "current"]


def test_pages_together_are_the_whole_in_the_order_of_bytes(pair: Cluster) -> None:
    names = sorted(["a/b", "a.txt", "a/é", "a-b/c", "z", "Z", "a/b.d/e", "ä", "😀", "a0", "-", " lead"], key=str.encode)
    for name in names:
        for server in pair.servers:
            server.put(name, name.encode())
    seen: list[str] = []
    target: str | None = "/list/?limit=5"
    while target:
        page = request(pair[0].port, target).json()
        seen += [entry["path"] for entry in page["entries"]]
        target = f"/list/?limit=5&after={quote(page['next'])}" if page["next"] else None
    assert seen == names


def test_the_private_folder_links_and_strange_files_are_not_listed(pair: Cluster) -> None:
    pair[0].put("f.txt", b"content")
    (pair[0].root / "link").symlink_to("f.txt")
    (pair[0].root / "up").symlink_to("/")
    wait_until(pair[0].indexed, "indexed")
    assert [entry.get("path") for entry in lines(pair[0].port, "/list/")[:-1]] == ["f.txt"]
    assert request(pair[0].port, "/list/.accord/").status == 400
    assert request(pair[0].port, "/list/../").status in (400, 404)


def test_with_a_server_down_the_listing_says_who_is_missing(pair: Cluster) -> None:
    pair[0].put("f.txt", b"content")
    pair[1].kill()
    *entries, end = lines(pair[0].port, "/list/")
    assert [entry["verdict"] for entry in entries] == ["unverified"]
    assert end["end"] is True
    assert {one["name"]: one["state"] for one in end["servers"]}["server2"] == "unreachable"
    (reason,) = [one["reason"] for one in end["servers"] if one["name"] == "server2"]
    assert "server2" not in reason
    assert not reason.endswith(".")


def test_a_hundred_thousand_files_stream_in_bounded_memory(pair: Cluster) -> None:
    for server in pair.servers:
        for folder in range(100):
            (server.root / f"d{folder:03}").mkdir()
            for number in range(MANY // 100):
                (server.root / f"d{folder:03}" / f"f{number:04}").touch()
    before = pair[0].rss_bytes()
    count = peak = 0
    with connected(pair[0].port, timeout_s=60) as connection:
        connection.sendall(request_bytes("/list/", headers={"Accept": "application/x-ndjson", "Connection": "close"}))
        last = b""
        while chunk := connection.recv(1024 * 1024):
            count += chunk.count(b'"path"')
            peak = max(peak, pair[0].rss_bytes())
            last = (last + chunk)[-4096:]
    assert count == MANY
    assert b'"end":true' in last.replace(b" ", b"")
    assert peak - before < 64 * 1024 * 1024


def test_a_cut_listing_can_be_told_from_a_whole_one(pair: Cluster) -> None:
    for number in range(5000):
        pair[0].put(f"f{number:05}", b"")
    with connected(pair[0].port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request_bytes("/list/?limit=3"))
        page = read_response(connection).json()
    assert len(page["entries"]) == 3
    assert page["next"]
    whole = lines(pair[0].port, "/list/")
    assert whole[-1]["end"] is True
    assert whole[-1]["entries"] == 5000 == len(whole) - 1
