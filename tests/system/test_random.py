"""Thousands of random operations from several clients on three real servers that are killed and started again, against a model.

The model is what the clients were told, and nothing of clocks: who wrote what when, through whom, what it was shown before, and which
servers were named as having it. Every content is written once, so that its digest names the write. In the end, with everybody up:

    nothing acknowledged is lost       it is current, or somebody who may have taken its place did, and history still delivers it
    no rival is hidden                 what nobody may have taken the place of is current
    nothing comes back                 what was certainly overwritten or deleted is not current
    everybody agrees                   all servers give the same verdict and deliver the same bytes
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from blake3 import blake3

from tests.system.harness import Cluster, Server, wait_until

CLIENTS = 4
OPERATIONS = 900
"""By each client."""
PATHS = [f"d{number % 3}/f{number}.txt" for number in range(10)]
DISTURBANCES = 14
SEEDS = [int(os.environ.get("ACCORD_TEST_SEED", "1"))]


def digest_of(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


@dataclass
class Write:
    """One attempt. `digest` None deletes. `shown` is what its context covered, None without one. `stored` is empty while the outcome is
    unknown (it may have happened), and `refused` says that it certainly has not."""

    path: str
    digest: str | None
    through: str
    began_s: float
    shown: frozenset[str | None] | None
    ended_s: float = float("inf")
    stored: frozenset[str] = frozenset()
    refused: bool = False
    is_outside: bool = False

    def may_replace(self, other: Write) -> bool:
        if self is other or self.refused or self.path != other.path:
            return False
        if self.is_outside:
            # It overwrote a file on one disk. What only that disk had, or the same disk's earlier edit, may be gone.
            return other.stored <= {self.through} and other.began_s < self.ended_s
        if self.shown is not None:
            return other.digest in self.shown
        return other.began_s < self.ended_s

    def must_replace(self, other: Write) -> bool:
        """Whether it certainly covered `other`: acknowledged later, through a server that had it by then."""
        if not self.stored or self.is_outside or other.is_outside or self.path != other.path:
            return False
        if self.shown is not None:
            return other.digest in self.shown
        return self.through in other.stored and other.ended_s < self.began_s


@dataclass
class Record:
    """What all clients together remember."""

    writes: list[Write] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, write: Write) -> Write:
        with self.lock:
            self.writes.append(write)
        return write

    def of(self, path: str) -> list[Write]:
        return [write for write in self.writes if write.path == path]


class Client:
    """One client: random operations through random servers, each on a connection that is kept while it holds."""

    def __init__(self, number: int, seed: int, cluster: Cluster, record: Record) -> None:
        self.random = random.Random(f"{seed}/{number}")
        self.number = number
        self.cluster = cluster
        self.record = record
        self.connections: dict[str, http.client.HTTPConnection] = {}
        self.made = 0

    def run(self) -> None:
        try:
            for _ in range(OPERATIONS):
                self.operate()
        except Exception as error:  # noqa: BLE001 - told by the test, with the rest
            self.record.surprises.append(repr(error))
        finally:
            for connection in self.connections.values():
                connection.close()

    def operate(self) -> None:
        server = self.random.choice(self.cluster.servers)
        path = self.random.choice(PATHS)
        kind = self.random.choices(
            ["put", "put seen", "delete", "delete seen", "resolve", "get"], weights=[30, 25, 7, 6, 14, 18]
        )[0]
        if kind in ("put", "delete"):
            self.write(server, path, None, {}, deletes=kind == "delete")
            return
        shown = self.look(server, path)
        if shown is None or kind == "get":
            return
        digests, context = shown
        if kind == "resolve":
            contents = sorted(digest for digest in digests if digest is not None)
            if len(digests) > 1 and contents:
                self.resolve(server, path, self.random.choice(contents), digests, context)
            return
        self.write(server, path, digests, {"Accord-Context": context}, deletes=kind == "delete seen")

    def look(self, server: Server, path: str) -> tuple[frozenset[str | None], str] | None:
        """The digests that are current, as this server shows them, and the context; None if it cannot say now."""
        answer = self.ask(server, "GET", path)
        if answer is None:
            return None
        status, headers, body = answer
        context = headers.get("accord-context", "")
        if status == 200:
            if digest_of(body) != headers["etag"].strip('"'):
                self.record.surprises.append(f"{path} from {server.name}: the bytes do not match the ETag")
            return frozenset([digest_of(body)]), context
        if status == 300:
            return frozenset(one["digest"] for one in json.loads(body)["versions"]), context
        if status in (404, 410):
            return (frozenset([None] if status == 410 else []), context) if context else None
        if status not in (500, 503):
            self.record.surprises.append(f"GET {path} from {server.name}: {status} {body[:200]!r}")
        return None

    def write(
        self,
        server: Server,
        path: str,
        shown: frozenset[str | None] | None,
        headers: dict[str, str],
        *,
        deletes: bool,
    ) -> None:
        self.made += 1
        content = b"" if deletes else f"{self.number}/{self.made}/".encode() * self.random.choice([1, 1, 40, 40_000])
        digest = None if deletes else digest_of(content)
        write = self.record.begin(Write(path, digest, server.name, time.monotonic(), shown))
        self.conclude(write, self.ask(server, "DELETE" if deletes else "PUT", path, content, headers))

    def resolve(self, server: Server, path: str, keep: str, shown: frozenset[str | None], context: str) -> None:
        """Keeps one of the rivals; no content is sent. Another write of known content: it must not be missed under that digest."""
        write = self.record.begin(Write(path, keep, server.name, time.monotonic(), shown - {keep}))
        headers = {"Accord-Context": context, "Accord-Source": f"/files/{path}?version={keep}"}
        self.conclude(write, self.ask(server, "PUT", path, b"", headers))

    def conclude(self, write: Write, answer: tuple[int, dict[str, str], bytes] | None) -> None:
        write.ended_s = time.monotonic()
        if answer is None:
            write.ended_s = float("inf")  # it may still be on its way
            return
        status, _, body = answer
        told = json.loads(body) if body else {}
        if status in (200, 201):
            write.stored = frozenset(told["stored"])
        elif status in (404, 409, 410, 412):
            write.refused = True
        elif status != 503:
            self.record.surprises.append(f"{write}: {status} {body[:300]!r}")

    def ask(
        self, server: Server, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes] | None:
        """None where no whole answer came."""
        connection = self.connections.get(server.name)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            self.connections[server.name] = connection
        try:
            connection.request(method, f"/files/{path}", body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            del self.connections[server.name]
            return None


def disturb(cluster: Cluster, record: Record, chance: random.Random, enough: Callable[[], bool]) -> None:
    """Kill, stop and start servers, and edit files behind their backs, until the clients have done enough."""
    turn = 0
    while not enough():
        turn += 1
        server = chance.choice(cluster.servers)
        if chance.random() < 0.35:
            edit_outside(server, chance.choice(PATHS), turn, record)
        else:
            server.kill() if chance.random() < 0.7 else server.stop()
            pause_s = time.monotonic() + chance.random()
            wait_until(lambda until=pause_s: time.monotonic() > until or enough(), "the pause ends")
            server.start()
        pause_s = time.monotonic() + chance.random() * 2
        wait_until(lambda until=pause_s: time.monotonic() > until or enough(), "the pause ends")


def edit_outside(server: Server, path: str, turn: int, record: Record) -> None:
    """Written by another tool, as tools do: beside the file, and renamed over it."""
    target = server.root / path
    if not target.is_file():
        return
    content = f"outside/{server.name}/{turn}".encode()
    write = record.begin(Write(path, digest_of(content), server.name, time.monotonic(), None, is_outside=True))
    beside = target.with_name(target.name + ".new")
    beside.write_bytes(content)
    os.replace(beside, target)
    write.ended_s = time.monotonic()
    # It counts as acknowledged once the server has seen it, which a read makes certain.
    wait_until(lambda: server.get(path).status != 503, f"{server.name} has looked at {path}")


def versions(server: Server, path: str) -> tuple[str, frozenset[str | None], frozenset[str]]:
    """(verdict, current digests, servers that have not what they should)."""
    answer = server.get(path, headers={"Accept": "application/json"})
    verdict = answer.headers["accord-verdict"]
    if answer.status == 300:
        told = answer.json()["versions"]
        return verdict, frozenset(one["digest"] for one in told), frozenset()
    current = {200: [answer.headers.get("etag", "").strip('"')], 410: [None]}.get(answer.status, [])
    return verdict, frozenset(current), frozenset()


def all_agree(cluster: Cluster) -> Iterator[str]:
    """What does not agree yet."""
    for path in PATHS:
        told = {server.name: versions(server, path) for server in cluster.servers}
        if len(set(told.values())) > 1 or next(iter(told.values()))[0] not in (
            "identical",
            "diverged",
            "deleted",
            "missing",
        ):
            yield f"{path}: {told}"
    for server in cluster.servers:
        if server.ready()["owed"]:
            yield f"{server.name} owes {server.ready()['owed']}"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_three_servers_were_told_is_never_lost_hidden_or_back_from_the_dead(
    new_cluster: Callable[..., Cluster], seed: int
) -> None:
    cluster = new_cluster(3, keep_versions=10_000)
    cluster.start()
    record = Record()
    clients = [Client(number, seed, cluster, record) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, name=f"client {client.number}") for client in clients]
    for thread in threads:
        thread.start()
    disturb(cluster, record, random.Random(seed), lambda: not any(thread.is_alive() for thread in threads))
    for thread in threads:
        thread.join()
    wait_until(lambda: not list(all_agree(cluster)), f"everybody agrees: {list(all_agree(cluster))}", 60)
    assert not record.surprises, record.surprises[:5]
    assert sum(bool(write.stored) for write in record.writes) > OPERATIONS, "most of it was acknowledged"
    for path in PATHS:
        check_path(cluster, record, path)


def check_path(cluster: Cluster, record: Record, path: str) -> None:
    _, current, _ = versions(cluster[0], path)
    writes = record.of(path)
    contents = [write for write in writes if write.stored and write.digest is not None]
    for write in contents:
        again = [other for other in writes if other.digest == write.digest and other is not write]
        if write.digest in current:
            assert again or not any(other.must_replace(write) for other in writes), f"back: {write}"
        else:
            assert any(other.may_replace(write) for other in writes), f"lost or hidden: {write}"
            kept = cluster[1].get(f"{path}?version={write.digest}")
            assert kept.status == 200, f"not in the history: {write}"
            assert digest_of(kept.body) == write.digest
    for digest in current:
        assert digest is None or any(write.digest == digest for write in writes), f"from nowhere: {digest}"
        if digest is not None:
            for server in cluster.servers:
                assert digest_of(server.get(f"{path}?version={digest}").body) == digest, f"{server.name}: {digest}"
