"""Two servers as real processes over a temporary folder, and everything gone when the context is left.

Each is ended by the very process that was started. What they are asked is left to `tour`.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from accord.cluster_key import new_key_file
from accord.demo.samples import lay_out
from accord.errors import DemoFailed

START_WAIT_S = 60.0
STOP_WAIT_S = 15.0
POLL_S = 0.05
UNHURRIED = ("--no-watch", "--scan-every", "never", "--scrub-every", "never")
"""Nothing comes upon files by itself after the scan at the start: what a row shows is found by the question in that row."""


def wait_until(condition: Callable[[], bool], what: str, wait_s: float = START_WAIT_S) -> None:
    """Raises `DemoFailed` when `condition` is not true in time."""
    end_s = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > end_s:
            raise DemoFailed(f"Not within {wait_s:.0f} seconds: {what}.")
        time.sleep(POLL_S)


@dataclass
class DemoServer:
    """One server's process, startable again."""

    name: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def root(self) -> Path:
        return self.folder / f"{self.name}_files"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self, *flags: str) -> None:
        command = [sys.executable, "-m", "accord", "serve", "--config", str(self.folder / "accord.toml")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--name", self.name, "--log", "json", *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _told(self, path: str) -> dict[str, object] | None:
        """What the server says at `path`, or None while nobody answers. Raises `DemoFailed` if the process has ended."""
        if self.process is None or self.process.poll() is not None:
            raise DemoFailed(f"{self.name} ended. Its log: {self._log_end()}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", path)
            told: dict[str, object] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return told

    def sees_its_peer(self) -> bool:
        told = self._told("/ready")
        peers = told["peers"] if told else None
        return isinstance(peers, list) and all(peer["state"] == "up" for peer in peers)

    def has_hashed_everything(self) -> bool:
        told = self._told("/ready")
        return told is not None and dict(told["indexing"])["done"] is True  # type: ignore[call-overload]

    def has_scanned_everything(self) -> bool:
        told = self._told("/status")
        lines = told["servers"] if told else []
        assert isinstance(lines, list)
        return any(line["name"] == self.name and line["status"]["scan"]["ended_ns"] for line in lines)

    def rot(self, path: str, at: int) -> None:
        """Flip a byte as a bad disk does. The server must be stopped.

        No program can change a file and leave its change time alone, so the index is told that the new stat data are those it knew.
        """
        file = self.root / path
        with file.open("r+b") as opened:
            opened.seek(at)
            byte = opened.read(1)[0]
            opened.seek(at)
            opened.write(bytes([byte ^ 1]))
        now = file.stat()
        index = apsw.Connection(str(self.root / ".accord" / "index.db"))
        try:
            index.execute(
                "UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, hashed_at_ns = ? WHERE path = ?",
                (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_ctime_ns + 10**10, path),
            )
            if index.changes() != 1:
                raise DemoFailed(f"{self.name} does not know {path}, which was to be damaged.")
        finally:
            index.close()

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "(empty)"


@contextmanager
def sandbox() -> Iterator[tuple[DemoServer, DemoServer]]:
    """Two servers, up and connected, over new sample files in a temporary folder. All of it ends with the context."""
    folder = Path(tempfile.mkdtemp(prefix="accord-demo-"))
    first, second = (DemoServer(f"server{number}", port, folder) for number, port in enumerate(_free_ports(2), start=1))
    try:
        lay_out(first.root, second.root)
        new_key_file(folder / "cluster.key")
        (folder / "accord.toml").write_text(_configuration(first, second))
        first.start(*UNHURRIED)
        second.start(*UNHURRIED)
        wait_ready(first, second)
        yield first, second
    finally:
        try:
            for server in (first, second):
                server.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def wait_ready(*servers: DemoServer) -> None:
    """Until they are connected, and know what is in their directories."""
    for server in servers:
        wait_until(server.sees_its_peer, f"{server.name} is connected to the other server")
    for server in servers:
        wait_until(server.has_hashed_everything, f"{server.name} has hashed its files")
        wait_until(server.has_scanned_everything, f"{server.name} has scanned its files")


def _configuration(*servers: DemoServer) -> str:
    lines = ["[cluster]", 'name = "demo"', 'key_file = "cluster.key"']
    for server in servers:
        lines += ["", "[[server]]", f'name = "{server.name}"', f'url = "{server.url}"', f'root = "{server.root.name}"']
    return "\n".join(lines) + "\n"


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that were free a moment ago."""
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()
