"""Real servers as real processes on loopback, and a client that says exactly the bytes a test wants said.

Every process is ended by its own pid. Waiting is on conditions, with a deadline; nothing here sleeps in the hope that it suffices.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

START_DEADLINE_S = 30.0
POLL_S = 0.02


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = 20.0) -> None:
    """Poll `condition` until it is true. Fails with `what` when the deadline has passed."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}")
        select.select([], [], [], POLL_S)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


@dataclass
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict:  # type: ignore[type-arg]
        return json.loads(self.body)


def request(
    port: int,
    target: str | bytes,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 20.0,
) -> Response:
    """One request on a connection of its own; `target` goes out as it is written, unescaped and unnormalised. A `body` is announced."""
    announced = {} if body is None else {"Content-Length": str(len(body))}
    with connected(port, timeout_s) as connection:
        connection.sendall(request_bytes(target, method, {**announced, **(headers or {})}) + (body or b""))
        return read_response(connection, method)


def request_bytes(target: str | bytes, method: str = "GET", headers: Mapping[str, str] | None = None) -> bytes:
    raw = target if isinstance(target, bytes) else target.encode()
    lines = [method.encode() + b" " + raw + b" HTTP/1.1", b"Host: localhost"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in (headers or {}).items()]
    return b"\r\n".join([*lines, b"", b""])


def digest_of(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


def read_response(connection: socket.socket, method: str = "GET") -> Response:
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    body = response.read()
    merged: dict[str, str] = {}
    for name, value in response.getheaders():
        merged[name.lower()] = f"{merged[name.lower()]}, {value}" if name.lower() in merged else value
    return Response(response.status, merged, body)


@contextmanager
def connected(port: int, timeout_s: float = 20.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        yield connection


@dataclass
class Server:
    """One `accord serve` process, started and ended as the test says."""

    name: str
    root: Path
    port: int
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    environ: dict[str, str] = field(default_factory=dict)
    """Variables beside those of the tests."""

    def start(self, *, wait: bool = True) -> None:
        command = [sys.executable, "-m", "accord", "serve", "--config", str(self.config), "--name", self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environ}
            )
        if wait:
            wait_until(self.is_up, f"{self.name} answers; its log: {self.log.read_text()[-2000:]}", START_DEADLINE_S)

    def is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        try:
            return request(self.port, "/health", timeout_s=2).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def sees(self, peer: str, state: str = "up") -> bool:
        """Whether this server says that its connection to `peer` is in `state`."""
        return any(one["name"] == peer and one["state"] == state for one in self.ready()["peers"])

    def ready(self) -> dict:  # type: ignore[type-arg]
        return request(self.port, "/ready").json()

    def owed(self) -> dict[str, int]:
        """How many paths this server owes to others, by their names."""
        return {one["name"]: one["paths"] for one in self.ready()["owed"]}

    def indexed(self) -> bool:
        return bool(self.ready()["indexing"]["done"])

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def rss_bytes(self) -> int:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _end(self, how: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} did not stop on {how.name}: {self.log.read_text()[-2000:]}") from None

    # --- what the tests say to it ---

    def put(self, path: str, content: bytes) -> Path:
        """Lay a file in the server's directory, behind its back."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def get(self, path: str, **options: object) -> Response:
        return request(self.port, f"/files/{path}", **options)  # type: ignore[arg-type]

    def delivers(self, path: str, content: bytes) -> bool:
        """Whether it has that version, current or not."""
        answer = self.get(f"{path}?version={digest_of(content)}")
        return answer.status == 200 and answer.body == content

    def write(self, path: str, content: bytes, headers: Mapping[str, str] | None = None, **options: object) -> Response:
        """PUT."""
        return self.get(path, method="PUT", headers=headers, body=content, **options)

    def remove(self, path: str, headers: Mapping[str, str] | None = None, **options: object) -> Response:
        """DELETE."""
        return self.get(path, method="DELETE", headers=headers, **options)

    @contextmanager
    def writing(self, path: str, size: int, headers: Mapping[str, str] | None = None) -> Iterator[socket.socket]:
        """A PUT of `size` bytes that has only begun: the test sends them, and reads the answer, or leaves and cuts it off."""
        with connected(self.port) as connection:
            announced = {"Content-Length": str(size), **(headers or {})}
            connection.sendall(request_bytes(f"/files/{path}", "PUT", announced))
            yield connection

    def history(self, path: str) -> list[dict]:  # type: ignore[type-arg]
        """The events of the path, newest first."""
        answer = request(self.port, f"/history/{path}")
        assert answer.status == 200, answer
        return answer.json()["events"]

    # --- what it keeps, as its disk shows it ---

    def content(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def gets(self, path: str, content: bytes | None) -> None:
        """Wait until its disk has it so; nobody reads."""
        wait_until(lambda: self.content(path) == content, f"{self.name} has what '{path}' is to be")

    def staged_bytes(self) -> int | None:
        """How much has been received of what is not finished; None when nothing is there."""
        sizes = []
        for file in (self.root / ".accord" / "staging").iterdir():
            try:
                sizes.append(file.stat().st_size)
            except FileNotFoundError:
                continue  # finished in this very moment
        return sum(sizes) if sizes else None

    def kept(self) -> list[bytes]:
        """The contents of rivals and history."""
        return [file.read_bytes() for file in (self.root / ".accord" / "versions").rglob("*") if file.is_file()]


@dataclass
class Cluster:
    """Servers of one cluster, in one TOML file."""

    servers: list[Server] = field(default_factory=list)

    def __getitem__(self, index: int) -> Server:
        return self.servers[index]

    def start(self) -> None:
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            wait_until(server.is_up, f"{server.name} answers", START_DEADLINE_S)
        self.meet()

    def meet(self) -> None:
        """Wait until all see each other."""
        for server in self.servers:
            for peer in self.servers:
                if peer is not server:
                    wait_until(lambda a=server, b=peer: a.sees(b.name), f"{server.name} sees {peer.name}")

    def clears_up(self) -> None:
        """Wait until nowhere anything half received is left."""
        for server in self.servers:
            wait_until(lambda s=server: s.staged_bytes() is None, f"the staging of {server.name} is clean")

    def settles(self) -> None:
        """Wait until nobody owes anything."""
        for server in self.servers:
            wait_until(lambda s=server: not s.owed(), f"{server.name} owes nothing any more")

    def end(self) -> None:
        for server in self.servers:
            if server.process is not None:
                server.resume()
                server.kill()


def make_cluster(folder: Path, count: int, **settings: object) -> Cluster:
    """`count` servers with empty directories, not started. `settings` go to the `[cluster]` table."""
    ports = free_ports(count)
    key = folder / "cluster.key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    key.chmod(0o600)
    lines = ["[cluster]", 'name = "test"', 'key_file = "cluster.key"']
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    config = folder / "accord.toml"
    servers = []
    for number, port in enumerate(ports, start=1):
        name = f"server{number}"
        root = folder / f"{name}_files"
        root.mkdir()
        lines += ["", "[[server]]", f'name = "{name}"', f'url = "http://127.0.0.1:{port}"', f'root = "{name}_files"']
        servers.append(Server(name, root, port, config, folder / f"{name}.log"))
    config.write_text("\n".join(lines) + "\n")
    return Cluster(servers)
