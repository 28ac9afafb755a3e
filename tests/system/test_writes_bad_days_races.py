"""Writes that meet: through one server they are one after the other, through two they are rivals, and nobody's is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.system.harness import Cluster, Response, Server, digest_of, wait_until

FIRST = b"first"
PATIENCE = "10s"


@pytest.fixture
def pair(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two servers that give each other all the time that a busy machine takes."""
    cluster = new_cluster(2, peer_timeout=PATIENCE)
    cluster.start()
    return cluster


def at_once(*writes: Callable[[], Response]) -> list[Response]:
    """All of them, as much at the same time as threads can."""
    gate = threading.Barrier(len(writes))
    answers: dict[int, Response] = {}

    def run(number: int) -> None:
        gate.wait()
        answers[number] = writes[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(writes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [answers[number] for number in range(len(writes))]


def write(server: Server, path: str, content: bytes, **fields: str) -> Callable[[], Response]:
    return lambda: server.write(path, content, {name.replace("_", "-"): value for name, value in fields.items()})


def versions(server: Server, path: str) -> set[str | None]:
    """The digests of the current versions, None for a deletion."""
    answer = server.get(path)
    if answer.status == 300:
        return {one["digest"] for one in answer.json()["versions"]}
    if answer.status == 410:
        return {None}
    assert answer.status == 200, answer
    return {answer.headers["etag"].strip('"')}


def agreed(cluster: Cluster, path: str) -> set[str | None]:
    """What all servers say once nothing is under way any more."""
    cluster.settles()
    told = [versions(server, path) for server in cluster.servers]
    assert all(one == told[0] for one in told), told
    return told[0]


def make_rivals(cluster: Cluster, path: str, contents: list[bytes]) -> None:
    """Each server writes one, and all have seen the same before."""
    assert cluster[0].write(path, FIRST).status == 201
    context = cluster[0].get(path).headers["accord-context"]
    answers = at_once(
        *(write(s, path, one, Accord_Context=context) for s, one in zip(cluster.servers, contents, strict=True))
    )
    assert all(answer.status == 200 for answer in answers), answers


def test_writes_of_one_path_through_one_server_are_one_after_the_other(pair: Cluster) -> None:
    contents = [b"content %d" % number for number in range(8)]
    answers = at_once(*(write(pair[0], "f.txt", content) for content in contents))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert all(answer.json()["stored"] == ["server1", "server2"] for answer in answers)
    (current,) = agreed(pair, "f.txt")
    for server in pair.servers:
        events = server.history("f.txt")
        assert [one["digest"] for one in events if one["current"]] == [current]
        assert {one["digest"] for one in events} == {digest_of(content) for content in contents}
        assert sorted(len(one["supersedes"]) for one in events) == [0] + [1] * 7
        assert all(server.delivers("f.txt", content) for content in contents)
        assert digest_of(server.content("f.txt") or b"") == current


def test_writers_that_have_seen_the_same_through_two_servers_are_rivals(pair: Cluster) -> None:
    rivals = [b"of server1", b"of server2"]
    make_rivals(pair, "f.txt", rivals)
    assert agreed(pair, "f.txt") == {digest_of(one) for one in rivals}
    for server in pair.servers:
        wait_until(lambda s=server: set(s.kept()) | {s.content("f.txt")} >= set(rivals), f"{server.name} has both")
        assert server.write("f.txt", b"without having seen them").status == 409
        assert server.remove("f.txt").status == 409
    context = pair[1].get("f.txt").json()["context"]
    assert pair[1].write("f.txt", b"resolved", {"Accord-Context": context}).status == 200
    assert agreed(pair, "f.txt") == {digest_of(b"resolved")}
    assert all(server.delivers("f.txt", one) for server in pair.servers for one in rivals)


def test_rivals_are_served_by_every_server_after_the_others_are_gone(new_cluster: Callable[..., Cluster]) -> None:
    trio = new_cluster(3, peer_timeout=PATIENCE)
    trio.start()
    rivals = [b"of server1", b"of server2", b"of server3"]
    make_rivals(trio, "f.txt", rivals)
    for server in trio.servers:
        wait_until(lambda s=server: set(s.kept()) | {s.content("f.txt")} >= set(rivals), f"{server.name} has all")
    for server in trio.servers:
        server.kill()
    for server in trio.servers:
        server.start()
        assert versions(server, "f.txt") == {digest_of(one) for one in rivals}
        assert all(server.delivers("f.txt", one) for one in rivals)
        server.kill()


def test_writers_through_two_servers_lose_nothing_however_they_meet(pair: Cluster) -> None:
    for turn in range(8):
        path = f"f{turn}.txt"
        contents = [b"%d of server1" % turn, b"%d of server2" % turn]
        at_once(write(pair[0], path, contents[0]), write(pair[1], path, contents[1]))
        current = agreed(pair, path)
        assert current <= {digest_of(one) for one in contents}
        for server in pair.servers:
            for content in contents:
                wait_until(lambda s=server, p=path, c=content: s.delivers(p, c), f"{server.name} has {content!r}")


def test_only_one_of_many_creates_a_file(pair: Cluster) -> None:
    creating = {"If_None_Match": "*"}
    answers = at_once(*(write(pair[0], "f.txt", b"%d" % number, **creating) for number in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [412] * 5
    (current,) = agreed(pair, "f.txt")
    assert current == next(answer.json()["digest"] for answer in answers if answer.status == 201)


def test_only_one_of_many_replaces_what_it_has_seen(pair: Cluster) -> None:
    assert pair[0].write("f.txt", FIRST).status == 201
    seen = {"If_Match": f'"{digest_of(FIRST)}"'}
    answers = at_once(*(write(pair[0], "f.txt", b"%d" % number, **seen) for number in range(6)))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 5
    assert agreed(pair, "f.txt") == {answer.json()["digest"] for answer in answers if answer.status == 200}


@pytest.mark.parametrize("deleter", [0, 1], ids=["one-server", "two-servers"])
def test_a_write_that_meets_a_deletion(pair: Cluster, deleter: int) -> None:
    for turn in range(8):
        path = f"f{turn}.txt"
        content = b"new %d" % turn
        assert pair[0].write(path, FIRST).status == 201
        written, removed = at_once(write(pair[0], path, content), lambda p=path: pair[deleter].remove(p))
        # Whoever comes second may find two versions that it has not seen, and is told.
        assert (written.status, removed.status) in ((200, 200), (201, 200), (200, 409), (409, 200))
        current = agreed(pair, path)
        assert current <= {digest_of(content), None}
        if written.status != 409:
            for server in pair.servers:
                wait_until(lambda s=server, p=path, c=content: s.delivers(p, c), f"{server.name} has {content!r}")
        if current == {None}:
            assert [pair[0].content(path), pair[1].content(path)] == [None, None]
        elif None not in current:
            assert [pair[0].content(path), pair[1].content(path)] == [content, content]
