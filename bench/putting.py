"""Load for measurements of writes: a given number of PUTs over connections that stay open, every content its own.

One thread and a selector, and each request built by joining three pieces, so that on a machine of few cores the load takes little
from the servers that are measured. It runs in a process of its own: `put_load` starts it, and what it saw comes back as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from bench.machinery import Running

FILE_BYTES = 10 * 1024
FOLDERS = 10
_ANSWER_PATIENCE_S = 30.0
_RECEIVE_BYTES = 64 * 1024
_STAMP_BYTES = 16


@dataclass(frozen=True)
class Puts:
    """What one run saw. `cpu_us` is processor time per PUT for each of the servers watched, and for the load itself."""

    per_s: float
    median_ms: float
    p99_ms: float
    failed: int
    first_failure: str
    cpu_us: dict[str, float]


def put_load(
    server: Running,
    folder: str,
    count: int,
    connections: int,
    watched: Sequence[Running],
    *,
    paths: int = 0,
    query: str = "",
) -> Puts:
    """`count` files under `folder`, in turn to `paths` different paths, or each to its own."""
    before = {one.name: one.cpu_s() for one in watched}
    command = [sys.executable, "-m", "bench.putting", server.url, folder, str(count)]
    command += ["--connections", str(connections), "--paths", str(paths or count), "--query", query]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    used = {one.name: 1e6 * (one.cpu_s() - before[one.name]) / count for one in watched}
    return Puts(**{**report, "cpu_us": {**used, **report["cpu_us"]}})


class _Connection:
    """One connection, with one request at a time on it."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.sent_s = 0.0

    def send(self, request: bytes) -> None:
        """A small request fits into the socket's buffer, so this does not wait."""
        self.sent_s = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """The answer, once all of it is there."""
        block = self.socket.recv(_RECEIVE_BYTES)
        if not block:
            raise ConnectionError(f"The server closed the connection after {self._received!r}.")
        self._received += block
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return None
        whole, self._received = self._received, b""
        return whole


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"An answer without a length: {head!r}")


class _Load:
    def __init__(self, url: str, folder: str, count: int, paths: int, query: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._host, self._port = address.hostname, address.port
        self._folder, self._count, self._paths, self._query = folder, count, paths, query
        self._content = os.urandom(FILE_BYTES)
        self._begun = 0
        self._taken_s: list[float] = []
        self._failed = 0
        self._first_failure = ""

    def run(self, connections: int) -> Puts:
        open_ones = [_Connection(self._host, self._port) for _ in range(min(connections, self._count))]
        with selectors.DefaultSelector() as selector:
            for connection in open_ones:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            cpu_s, began = time.process_time(), time.perf_counter()
            for connection in open_ones:
                self._send_next(connection)
            while len(self._taken_s) < self._count:
                self._turn(selector)
            taken, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        for connection in open_ones:
            connection.socket.close()
        ordered = sorted(self._taken_s)
        return Puts(
            self._count / taken,
            1000 * ordered[len(ordered) // 2],
            1000 * ordered[len(ordered) * 99 // 100],
            self._failed,
            self._first_failure,
            {"load": 1e6 * cpu_s / self._count},
        )

    def _turn(self, selector: selectors.BaseSelector) -> None:
        ready = selector.select(_ANSWER_PATIENCE_S)
        if not ready:
            raise TimeoutError(f"No answer in {_ANSWER_PATIENCE_S:.0f} s, after {len(self._taken_s)} PUTs.")
        for key, _ in ready:
            connection: _Connection = key.data
            answer = connection.answer()
            if answer is None:
                continue
            self._taken_s.append(time.perf_counter() - connection.sent_s)
            if answer[9:12] not in (b"200", b"201"):
                self._failed += 1
                self._first_failure = self._first_failure or answer.decode(errors="replace")
            self._send_next(connection)

    def _send_next(self, connection: _Connection) -> None:
        if self._begun == self._count:
            return
        number = self._begun
        self._begun += 1
        which = number % self._paths
        target = f"/files/{self._folder}/d{which % FOLDERS:02}/f{which:06}.bin{self._query}"
        head = f"PUT {target} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Length: {FILE_BYTES}\r\n\r\n"
        # The content is random, so the number in front of it makes it unlike every other one, of other runs too.
        stamp = number.to_bytes(_STAMP_BYTES, "big")
        connection.send(b"".join((head.encode(), stamp, memoryview(self._content)[_STAMP_BYTES:])))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.putting", description="PUT files of 10 KiB, and say how it went."
    )
    parser.add_argument("url")
    parser.add_argument("folder")
    parser.add_argument("count", type=int)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--paths", type=int, default=0)
    parser.add_argument("--query", default="")
    chosen = parser.parse_args()
    load = _Load(chosen.url, chosen.folder, chosen.count, chosen.paths or chosen.count, chosen.query)
    print(json.dumps(asdict(load.run(chosen.connections))))


if __name__ == "__main__":
    main()
