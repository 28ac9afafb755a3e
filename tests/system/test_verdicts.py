"""Every row of the verdict table, as a client of real servers sees it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest
from blake3 import blake3

from tests.system.harness import Cluster, Server, request, wait_until

SMALL = b"The same on both.\n"
LARGE = os.urandom(5 * 1024 * 1024 + 7)


def digest_of(content: bytes) -> str:
    return "blake3:" + blake3(content).hexdigest()


def rot(server: Server, path: str, content: bytes) -> None:
    """Change bytes as a bad disk does: nothing that is recorded of the file tells it.

    The stat data cannot be kept from changing from user space, so the server is told, while it is down, that they are as they were.
    """
    import apsw

    server.stop()
    target = server.root / path
    target.write_bytes(content)
    stat = target.stat()
    index = apsw.Connection(str(server.root / ".accord" / "index.db"))
    index.execute(
        "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, hashed_at_ns = ? WHERE path = ?",
        (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_ctime_ns + 10**10, path),
    )
    assert index.changes() == 1
    index.close()
    server.start()


@pytest.mark.parametrize("content", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
def test_identical_copies_are_one_copy(pair: Cluster, content: bytes) -> None:
    for server in pair.servers:
        server.put("a/file.txt", content)
    answer = pair[0].get("a/file.txt")
    assert answer.status == 200
    assert answer.body == content
    assert answer.headers["accord-verdict"] == "identical"
    assert answer.headers["etag"] == f'"{digest_of(content)}"'
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["accord-replicas"].count("current") == 2
    assert "accord-context" in answer.headers


def test_different_copies_are_both_returned_as_json(pair: Cluster) -> None:
    pair[0].put("f.txt", b"one")
    pair[1].put("f.txt", b"two!")
    for primary in pair.servers:
        answer = primary.get("f.txt")
        assert answer.status == 300
        verdict = answer.json()
        assert verdict["verdict"] == "diverged"
        assert {tuple(one["servers"]): one["digest"] for one in verdict["versions"]} == {
            ("server1",): digest_of(b"one"),
            ("server2",): digest_of(b"two!"),
        }
        assert answer.headers["cache-control"] == "no-store"
        assert "location" not in answer.headers
        for version in verdict["versions"]:
            one = request(primary.port, version["href"])
            assert one.status == 200
            assert digest_of(one.body) == version["digest"]


def test_different_copies_come_with_their_bytes_as_multipart(pair: Cluster) -> None:
    pair[0].put("f.bin", LARGE)
    pair[1].put("f.bin", b"two\r\n--not-the-boundary\r\n")
    answer = pair[0].get("f.bin", headers={"Accept": "multipart/mixed"})
    assert answer.status == 300
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + answer.body).iter_parts())
    assert sorted(len(part.get_payload(decode=True)) for part in parts) == sorted([len(LARGE), 25])
    assert {hashlib.sha1(part.get_payload(decode=True)).digest() for part in parts} == {
        hashlib.sha1(content).digest() for content in (LARGE, b"two\r\n--not-the-boundary\r\n")
    }


def test_a_browser_gets_a_page_of_rivals_with_everything_escaped(pair: Cluster) -> None:
    name = "<script>alert(1)<script>.html"
    pair[0].put(name, b"one")
    pair[1].put(name, b"two")
    answer = pair[0].get("%3Cscript%3Ealert(1)%3Cscript%3E.html", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status == 300
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<script>alert" not in answer.body
    assert b"server1" in answer.body
    assert b"server2" in answer.body


def test_rivals_can_be_made_to_fail(pair: Cluster) -> None:
    pair[0].put("f.txt", b"one")
    pair[1].put("f.txt", b"two")
    answer = pair[0].get("f.txt?rivals=fail")
    assert answer.status == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/rival-versions"


@pytest.mark.parametrize("content", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
def test_a_file_the_primary_lacks_is_delivered_and_kept(pair: Cluster, content: bytes) -> None:
    lent = pair[1].put("deep/er/file.bin", content)
    os.utime(lent, ns=(10**18, 10**18))
    lent.chmod(0o755)
    answer = pair[0].get("deep/er/file.bin")
    assert (answer.status, answer.headers["accord-verdict"], answer.body) == (200, "partial", content)
    healed = pair[0].root / "deep/er/file.bin"
    wait_until(healed.exists, "the primary has it too")
    assert healed.read_bytes() == content
    assert healed.stat().st_mtime_ns == 10**18
    assert healed.stat().st_mode & 0o111
    wait_until(
        lambda: pair[0].get("deep/er/file.bin").headers["accord-verdict"] == "identical", "identical after healing"
    )
    assert not list((pair[0].root / ".accord" / "staging").iterdir())


def test_a_file_nobody_has_is_not_found(pair: Cluster) -> None:
    answer = pair[0].get("nothing.txt")
    assert answer.status == 404
    problem = answer.json()
    assert problem["title"] == "File Not Found"
    assert problem["type"] == "/problems/not-found"
    assert problem["path"] == "nothing.txt"
    assert {one["name"]: one["state"] for one in problem["servers"]} == {"server1": "absent", "server2": "absent"}


def test_not_found_is_not_said_while_a_server_is_silent(pair: Cluster) -> None:
    pair[1].kill()
    answer = pair[0].get("nothing.txt")
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"] == "/problems/unknown"
    assert "server2" in answer.json()["detail"]


def test_with_the_replica_down_the_file_is_delivered_and_marked(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("f.txt", SMALL)
    pair[1].kill()
    answer = pair[0].get("f.txt")
    assert (answer.status, answer.headers["accord-verdict"], answer.body) == (200, "unverified", SMALL)
    assert "unreachable" in answer.headers["accord-replicas"]


def test_three_servers_two_alike_and_one_down_are_identical_and_say_who_is_missing(
    new_cluster: Callable[..., Cluster],
) -> None:
    trio = new_cluster(3)
    trio.start()
    for server in trio.servers:
        server.put("f.txt", SMALL)
    trio[2].kill()
    answer = trio[0].get("f.txt")
    assert (answer.status, answer.headers["accord-verdict"]) == (200, "identical")
    assert "server3" in answer.headers["accord-replicas"]
    assert "unreachable" in answer.headers["accord-replicas"]


def test_three_rivals_name_three_versions(new_cluster: Callable[..., Cluster]) -> None:
    trio = new_cluster(3)
    trio.start()
    for number, server in enumerate(trio.servers):
        server.put("f.txt", b"version %d" % number)
    verdict = trio[1].get("f.txt").json()
    assert sorted(one["servers"][0] for one in verdict["versions"]) == ["server1", "server2", "server3"]


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_a_rotten_copy_is_never_served_and_is_replaced_by_the_good_one(pair: Cluster, content: bytes) -> None:
    for server in pair.servers:
        server.put("f.bin", content)
    assert pair[0].get("f.bin").headers["accord-verdict"] == "identical"
    rotten = bytearray(content)
    rotten[len(content) // 2] ^= 1
    rot(pair[0], "f.bin", bytes(rotten))
    wait_until(lambda: pair[0].sees("server2"), "server1 sees server2")
    try:
        first = pair[0].get("f.bin")
    except Exception as broken_off:  # noqa: BLE001 - a large body is broken off once the digest is known to be wrong
        assert len(content) > 1024 * 1024, broken_off  # noqa: PT017
    else:
        assert first.body == content
    second = pair[0].get("f.bin")
    assert (second.status, second.body) == (200, content)
    wait_until(lambda: (pair[0].root / "f.bin").read_bytes() == content, "the good copy is in its place")
    quarantine = pair[0].root / ".accord" / "quarantine"
    wait_until(
        lambda: [one.read_bytes() for one in quarantine.rglob("*") if one.is_file()] == [bytes(rotten)],
        "the rotten one is in quarantine",
    )


def test_rot_everywhere_gives_a_problem_and_no_bytes(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("f.bin", SMALL)
    assert pair[0].get("f.bin").headers["accord-verdict"] == "identical"
    for server in pair.servers:
        rot(server, "f.bin", SMALL.replace(b"same", b"sane"))
    wait_until(lambda: pair[0].sees("server2"), "server1 sees server2")
    answer = pair[0].get("f.bin?verify=content")
    assert answer.status == 500
    assert answer.json()["type"] == "/problems/damaged"
    assert b"sane" not in answer.body


def test_verify_content_finds_rot_on_the_replica(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("f.bin", SMALL)
    assert pair[0].get("f.bin").headers["accord-verdict"] == "identical"
    rot(pair[1], "f.bin", SMALL.replace(b"same", b"sane"))
    wait_until(lambda: pair[0].sees("server2"), "server1 sees server2")
    assert pair[0].get("f.bin").headers["accord-verdict"] == "identical", "stat data vouch, as far as they go"
    answer = pair[0].get("f.bin?verify=content")
    assert (answer.status, answer.body) == (200, SMALL)
    assert answer.headers["accord-verdict"] == "partial"
    assert "damaged" in answer.headers["accord-replicas"]


def test_verify_none_asks_nobody(pair: Cluster) -> None:
    pair[0].put("f.txt", b"one")
    pair[1].put("f.txt", b"two")
    answer = pair[0].get("f.txt?verify=none")
    assert (answer.status, answer.body, answer.headers["accord-verdict"]) == (200, b"one", "unverified")
    assert pair[0].get("g.txt?verify=none").status == 503


def test_an_edit_behind_accords_back_is_a_dispute(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("f.txt", SMALL)
    assert pair[0].get("f.txt").headers["accord-verdict"] == "identical"
    pair[1].put("f.txt", b"edited")
    assert pair[0].get("f.txt").status == 300
    pair[0].put("f.txt", b"edited")
    assert pair[0].get("f.txt").headers["accord-verdict"] == "identical", "identical bytes never conflict"


def test_an_edit_never_supersedes_an_earlier_one_that_another_server_has_taken_over(
    new_cluster: Callable[..., Cluster],
) -> None:
    pair = new_cluster(2)
    pair[1].put("f.txt", b"version 0")
    pair[1].start()
    assert pair[1].get("f.txt").headers["accord-verdict"] == "unverified"
    pair[1].put("f.txt", b"version 1")
    assert pair[1].get("f.txt").headers["accord-verdict"] == "unverified"
    pair[0].start()
    wait_until(lambda: pair[0].sees("server2") and pair[1].sees("server1"), "they see each other")
    wait_until((pair[0].root / "f.txt").exists, "server1 has healed itself")
    wait_until(lambda: pair[0].get("f.txt").headers["accord-verdict"] == "identical", "identical after healing")
    pair[1].put("f.txt", b"version 2")
    for primary in pair.servers:
        answer = primary.get("f.txt")
        assert answer.status == 300
        assert {tuple(one["servers"]): one["digest"] for one in answer.json()["versions"]} == {
            ("server1",): digest_of(b"version 1"),
            ("server2",): digest_of(b"version 2"),
        }


def test_an_adopted_edit_makes_the_other_copies_stale(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, outside_changes="adopt", watch=False, scan_every="never")
    pair.start()
    for server in pair.servers:
        server.put("f.txt", SMALL)
    assert pair[0].get("f.txt").headers["accord-verdict"] == "identical"
    pair[1].put("f.txt", b"edited")
    answer = pair[0].get("f.txt")
    assert (answer.status, answer.headers["accord-verdict"], answer.body) == (200, "stale", b"edited")
    old = pair[0].get(f"f.txt?version={blake3(SMALL).hexdigest()[:12]}")
    assert (old.status, old.body) == (200, SMALL)


def test_a_version_by_digest_and_by_a_version_nobody_has(pair: Cluster) -> None:
    pair[0].put("f.txt", b"one")
    pair[1].put("f.txt", b"two")
    hexadecimal = blake3(b"two").hexdigest()
    for wanted in (f"blake3:{hexadecimal}", hexadecimal[:12]):
        assert pair[0].get(f"f.txt?version={wanted}").body == b"two"
    assert pair[0].get("f.txt?version=000000000000").status == 404
    assert pair[0].get("f.txt?version=00").status == 400
    pair[1].kill()
    assert pair[0].get("f.txt?version=000000000000").status == 503


def test_a_first_read_after_an_index_was_lost_is_right(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("f.txt", SMALL)
    assert pair[0].get("f.txt").headers["accord-verdict"] == "identical"
    pair[0].stop()
    for leftover in Path(pair[0].root / ".accord").glob("index.db*"):
        leftover.unlink()
    pair[0].start()
    wait_until(lambda: pair[0].sees("server2"), "server1 sees server2")
    assert pair[0].get("f.txt").headers["accord-verdict"] == "identical"


def test_a_replica_that_lacks_the_file_is_healed_by_a_read_of_another_server(
    new_cluster: Callable[..., Cluster],
) -> None:
    trio = new_cluster(3, watch=False, scan_every="never")
    trio.start()
    trio[0].put("d/f.bin", LARGE)
    assert trio[0].get("d/f.bin").headers["accord-verdict"] == "partial"
    for lacking in trio.servers[1:]:
        wait_until((lacking.root / "d/f.bin").exists, f"{lacking.name} has healed itself")
        assert (lacking.root / "d/f.bin").read_bytes() == LARGE
    assert trio[2].get("d/f.bin").headers["accord-verdict"] == "identical"


def test_healing_never_replaces_what_is_in_the_way(pair: Cluster) -> None:
    pair[0].put("name", b"a file here")
    pair[1].put("name/child", b"a folder there")
    (pair[1].root / "link.txt").symlink_to("name/child")
    pair[0].put("link.txt", b"a file here")
    for path in ("name", "link.txt"):
        for server in pair.servers:
            answer = server.get(path)
            assert (answer.status, answer.body) == (200, b"a file here")
    assert (pair[1].root / "name/child").read_bytes() == b"a folder there"
    assert (pair[1].root / "link.txt").is_symlink()
