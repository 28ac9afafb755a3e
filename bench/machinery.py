"""Servers to measure, load to put on them, and what they used of the processor. Everything on loopback, everything ended by its pid."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.wire import Relay

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_DEADLINE_S = 20.0


class Missing(Exception):
    """A program that the measurement needs is not installed."""


def need(*programs: str) -> None:
    lacking = [program for program in programs if shutil.which(program) is None]
    if lacking:
        raise Missing(
            f"not installed: {', '.join(lacking)} (Debian: apt-get install nginx-light caddy wrk b3sum curl rsync)"
        )


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Running:
    """A process being measured."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_s(self) -> float:
        """User and system time so far, its children included (nginx's worker is one)."""
        return sum(_cpu_s(pid) for pid in [self.pid, *_children(self.pid)])

    def peak_rss_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def running(name: str, command: Sequence[str], url: str, ready: str, log: Path) -> Iterator[Running]:
    """Start `command`, wait until `ready` answers, and end it by its pid."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        end = time.monotonic() + START_DEADLINE_S
        while not answers(ready):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Running(name, url, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def nginx(root: Path, folder: Path, probe: str) -> Iterator[Running]:
    """One worker, sendfile, keep-alive without end: the limit, without any verification."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 1024; }}
http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 100000000; types {{ }}
  default_type application/octet-stream; open_file_cache off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location /files/ {{ alias {root}/; }} }} }}
"""
    )
    url = f"http://127.0.0.1:{port}"
    command = ["nginx", "-c", str(config), "-e", f"{folder}/error.log"]
    with running("nginx", command, url, f"{url}/files/{probe}", folder / "nginx.log") as server:
        yield server


@contextmanager
def caddy(root: Path, folder: Path, probe: str) -> Iterator[Running]:
    """Caddy's plain file server, without verification."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "files").symlink_to(root)
    url = f"http://127.0.0.1:{port}"
    command = ["caddy", "file-server", "--root", str(site), "--listen", f"127.0.0.1:{port}"]
    with running("caddy", command, url, f"{url}/files/{probe}", folder / "caddy.log") as server:
        yield server


@contextmanager
def accord_cluster(
    roots: Sequence[Path], folder: Path, *, relayed: Sequence[Relay] = (), **settings: int | str | bool
) -> Iterator[list[Running]]:
    """Accord servers over `roots`, one cluster, with `settings` of the section `[cluster]`. Where there are `relayed`, one for each
    server, the servers find each other through them."""
    ports = [relay.target for relay in relayed] or [free_port() for _ in roots]
    folder.mkdir(exist_ok=True)
    key = folder / "cluster.key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    key.chmod(0o600)
    lines = ["[cluster]", 'name = "bench"', 'key_file = "cluster.key"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    found_at = [relay.port for relay in relayed] or ports
    for number, (root, port, url) in enumerate(zip(roots, ports, found_at, strict=True), start=1):
        lines += ["[[server]]", f'name = "server{number}"', f'url = "http://127.0.0.1:{url}"', f'root = "{root}"']
        lines += [f'listen = "127.0.0.1:{port}"']
    config = folder / "accord.toml"
    config.write_text("\n".join(lines) + "\n")
    with _all_running(config, ports, folder) as servers:
        yield servers


@contextmanager
def _all_running(config: Path, ports: Sequence[int], folder: Path) -> Iterator[list[Running]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        servers = []
        for number, port in enumerate(ports, start=1):
            command = [sys.executable, "-m", "accord", "serve", "--config", str(config), "--name", f"server{number}"]
            url = f"http://127.0.0.1:{port}"
            log = folder / f"server{number}.log"
            servers.append(stack.enter_context(running(f"server{number}", command, url, f"{url}/health", log)))
        _await_peers(servers)
        yield servers


def _await_peers(servers: Sequence[Running]) -> None:
    """Whoever started first has found nobody, and asks again only now and then."""
    end = time.monotonic() + START_DEADLINE_S
    for server in servers:
        while not all(peer["state"] == "up" for peer in json_of(f"{server.url}/ready")["peers"]):
            if time.monotonic() > end:
                raise RuntimeError(f"{server.name} has not found the others within {START_DEADLINE_S:.0f} s")
            time.sleep(0.05)


def json_of(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=2) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw. `cpu_us` is processor time per request for each of the servers watched."""

    requests_per_s: float
    median_ms: float
    errors: int
    cpu_us: dict[str, float]


def wrk(url: str, script: Path, connections: int, seconds: int, watched: Sequence[Running]) -> Load:
    before = {server.name: server.cpu_s() for server in watched}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = {server.name: server.cpu_s() - before[server.name] for server in watched}
    count = int(_found(r"(\d+) requests in", report))
    errors = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", report))
    errors += sum(
        int(number) for line in re.findall(r"Socket errors:(.*)", report) for number in re.findall(r"\d+", line)
    )
    return Load(
        float(_found(r"Requests/sec:\s+([\d.]+)", report)),
        _milliseconds(_found(r"50%\s+([\d.]+[a-z]+)", report)),
        errors,
        {name: 1e6 * seconds_used / count for name, seconds_used in used.items()},
    )


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk said: {text}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def median_load(loads: Sequence[Load]) -> Load:
    return Load(
        statistics.median(load.requests_per_s for load in loads),
        statistics.median(load.median_ms for load in loads),
        sum(load.errors for load in loads),
        {name: statistics.median(load.cpu_us[name] for load in loads) for name in loads[0].cpu_us},
    )


def machine_line() -> str:
    cpu = _found(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=False).stdout.strip()
    marked = f"{commit or 'unknown'}{' with changes' if dirty else ''}"
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores of {cpu}, Linux {os.uname().release}, Python {python}, commit {marked}"
