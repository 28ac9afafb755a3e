"""The worst day: one of three servers was dead for very many changes, another one's files were edited, cut and flipped by hand.

Nobody does anything: the servers find all of it, mend what has one right answer, and list the rest, which is what was edited and cut.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apsw

from tests.system.harness import Cluster, Server, digest_of, request, wait_until

CHANGES = int(os.environ.get("ACCORD_TEST_CHANGES", "1000"))
"""Made while the third server is dead. A run with 50,000 takes some minutes."""
CLIENTS = 2
PATHS_EACH = max(50, CHANGES // 20)
BY_HAND = 8
"""So many files for each thing that is done by hand."""
MENDING_DEADLINE_S = 60 + CHANGES / 50
DEEDS = ("edited", "cut", "emptied", "deleted", "flipped", "touched", "put back", "left alone")
RIVALS = ("edited", "cut", "emptied")
"""What has no one right answer."""


@dataclass
class Client:
    """Puts and deletes at paths of its own, through one server; remembers what it was told last."""

    server: Server
    number: int
    holds: dict[str, bytes | None] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)

    def run(self) -> None:
        chance = random.Random(self.number)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        for turn in range(CHANGES // CLIENTS):
            path = f"client{self.number}/d{turn % 7}/{chance.randrange(PATHS_EACH)}.txt"
            content = None
            if self.holds.get(path) is None or chance.random() < 0.8:
                content = f"{self.number}/{turn}\n".encode() * chance.choice([1, 1, 50])
            connection.request("DELETE" if content is None else "PUT", f"/files/{path}", body=content)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status not in (200, 201):
                self.surprises.append(f"{path}: {answer.status} {told[:200]!r}")
            self.holds[path] = content
        connection.close()


def by_hand(deed: str) -> list[str]:
    return [f"hand/{deed.replace(' ', '-')}/{number}.txt" for number in range(BY_HAND)]


def content_of(path: str, edition: int) -> bytes:
    return f"{path}, edition {edition}, {'x' * 100}\n".encode()


def meddle(server: Server) -> None:
    """While the server is down."""
    index = apsw.Connection(str(server.root / ".accord" / "index.db"))
    for deed in DEEDS:
        for path in by_hand(deed):
            file = server.root / path
            now = content_of(path, 2)
            match deed:
                case "edited":
                    file.write_bytes(b"edited by hand: " + path.encode())
                case "cut":
                    os.truncate(file, len(now) // 2)
                case "emptied":
                    os.truncate(file, 0)
                case "deleted":
                    file.unlink()
                case "flipped":
                    file.write_bytes(now[:5] + bytes([now[5] ^ 1]) + now[6:])
                    _hide(index, path, file.stat())
                case "touched":
                    os.utime(file)
                case "put back":
                    file.write_bytes(content_of(path, 1))
    index.close()


def _hide(index: apsw.Connection, path: str, stat: os.stat_result) -> None:
    """As a bad disk leaves it: nothing that is recorded of the file tells that its bytes changed. User space cannot change a file so;
    the record is made to fit instead."""
    index.execute(
        "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, hashed_at_ns = ? WHERE path = ?",
        (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_ctime_ns + 10**10, path),
    )
    assert index.changes() == 1


def status(server: Server) -> dict:  # type: ignore[type-arg]
    return request(server.port, "/status").json()


def differences(server: Server) -> dict[str, str]:
    """What the server lists as not identical: path and verdict."""
    answer = request(server.port, "/status/paths", headers={"Accept": "application/x-ndjson"}, timeout_s=60)
    assert answer.status == 200, answer
    lines = [json.loads(line) for line in answer.body.splitlines()]
    return {line["path"]: line["verdict"] for line in lines if "verdict" in line}


def wrong(servers: Sequence[Server], expected: dict[str, bytes | None]) -> list[str]:
    """What the disks have that they should not, or have not."""
    return [
        f"{server.name}: {path}"
        for server in servers
        for path, content in expected.items()
        if server.content(path) != content
    ]


def test_servers_that_were_dead_and_meddled_with_come_back_to_one_truth(
    new_cluster: Callable[..., Cluster],
) -> None:
    cluster = new_cluster(3, sync_every="2s", scan_every="1h", scrub_every="4s", peer_timeout="2s")
    cluster.start()
    first, second, third = cluster.servers
    for edition in (1, 2):
        for deed in DEEDS:
            for path in by_hand(deed):
                assert first.write(path, content_of(path, edition), timeout_s=60).status in (200, 201)
    cluster.settles()

    third.kill()
    clients = [Client(server, number) for number, server in enumerate((first, second))]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.stop()
    meddle(second)
    second.start()
    third.start()

    expected: dict[str, bytes | None] = {}
    for client in clients:
        assert not client.surprises, client.surprises[:5]
        expected |= client.holds
    for deed in DEEDS:
        if deed not in RIVALS:
            expected |= {path: content_of(path, 2) for path in by_hand(deed)}
    wait_until(
        lambda: not wrong(cluster.servers, expected),
        f"all disks have what they should: {wrong(cluster.servers, expected)[:10]}",
        MENDING_DEADLINE_S,
    )
    rivals = {path: "diverged" for deed in RIVALS for path in by_hand(deed)}
    for server in cluster.servers:
        wait_until(
            lambda server=server: differences(server) == rivals,
            f"{server.name} lists the rivals, and nothing else: "
            f"{set(differences(server).items()) ^ set(rivals.items())}",
            MENDING_DEADLINE_S,
        )
        for path in rivals:
            answer = server.get(path, headers={"Accept": "application/json"})
            assert answer.status == 300
            digests = {one["digest"] for one in answer.json()["versions"]}
            assert digest_of(content_of(path, 2)) in digests
            for digest in digests:  # the bytes of every rival are on this very server
                alone = server.get(f"{path}?version={digest}&verify=none")
                assert (alone.status, digest_of(alone.body)) == (200, digest)
    cluster.settles()
    for server in cluster.servers:
        assert status(server)["kinds"]["diverged"] == len(rivals)
