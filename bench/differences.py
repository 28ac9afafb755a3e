"""Finding and mending a few differences among very many files, against programs that have to look at every file.

Two trees of small files that are the same, but for ten. The servers have their indexes; the others have what the system's caches hold.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.machinery import Running, accord_cluster, free_port, json_of, need
from bench.table import Row
from bench.wire import Relay, relays

FILES = int(os.environ.get("ACCORD_BENCH_FILES", "1000000"))
FOLDER_FILES = 1_000
DIFFERING = 10
MENDINGS = 7
"""At least so many times; one more comes first, and opens connections."""
INDEXING_DEADLINE_S = 1_200.0
MENDING_DEADLINE_S = 60.0
RCLONE_LIMIT_S = 300
"""It is stopped then: a million files take it a good deal longer."""
POLL_S = 0.002
SCAN_POLL_S = 0.25
"""The server says itself when a scan began and ended. To ask it for its status, and the other one's with it, costs it milliseconds:
asked every `POLL_S`, it would be busy with the answers for a good part of the time that is measured."""
MIB = 1024 * 1024


def measure(folder: Path, rounds: int) -> list[Row]:
    need("rsync", "rclone", "find")
    roots = [folder / "one", folder / "two"]
    for root in roots:
        _make(root)
    settings: dict[str, int | str | bool] = {"scan_every": "never", "sync_every": "never", "scrub_every": "never"}
    with (
        relays([free_port(), free_port()]) as between,
        accord_cluster(roots, folder / "accord", relayed=between, watch=False, **settings) as servers,
    ):
        for server in servers:
            _until(lambda server=server: _is_warm(server), "everything is hashed and scanned", INDEXING_DEADLINE_S)  # type: ignore[misc]
        found = [_mend(servers, between, number) for number in range(1 + max(rounds, MENDINGS))][1:]
        scans = [(_find_s(roots[0]), _scan_s(servers[0])) for _ in range(rounds)]
        memory = max(_rss_bytes(server) for server in servers)
        index = max(_index_bytes(root) for root in roots)
    return [*_mending_rows(roots, found, rounds), *_scan_rows(scans), *_size_rows(memory, index)]


def _make(root: Path) -> None:
    for number in range(FILES):
        if number % FOLDER_FILES == 0:
            inner = root / f"folder{number // FOLDER_FILES:05}"
            inner.mkdir(parents=True)
        fd = os.open(inner / f"file{number:07}.txt", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, b"%d\n" % number)
        os.close(fd)


# --- mending ---


def _mend(servers: Sequence[Running], between: Sequence[Relay], turn: int) -> tuple[float, int]:
    """Seconds and bytes until ten files that only the first server knows are on both. The first server has come upon them (a read
    that asks nobody else), and has told nobody."""
    paths = [f"folder{number * 97 % (FILES // FOLDER_FILES):05}/new{turn}.txt" for number in range(DIFFERING)]
    for number, path in enumerate(paths):
        (_root(servers[0]) / path).write_bytes(b"%d %d\n" % (turn, number))
    _until(lambda: all(_has(servers[0], path) for path in paths), "the first server knows the new files", 30)
    passed = sum(relay.passed_bytes for relay in between)
    began = time.perf_counter()
    _order(servers[1], "sync")
    last = _root(servers[1])
    _until(lambda: all((last / path).exists() for path in paths), "the second server has them", MENDING_DEADLINE_S)
    taken = time.perf_counter() - began
    return taken, sum(relay.passed_bytes for relay in between) - passed


def _has(server: Running, path: str) -> bool:
    with urllib.request.urlopen(f"{server.url}/files/{path}?verify=none", timeout=10) as answer:
        return bool(answer.status == 200)


def _root(server: Running) -> Path:
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")
    config = Path(os.fsdecode(command[command.index(b"--config") + 1]))
    roots = [line.split('"')[1] for line in config.read_text().splitlines() if line.startswith("root")]
    return Path(roots[int(server.name.removeprefix("server")) - 1])


def _mending_rows(roots: Sequence[Path], found: Sequence[tuple[float, int]], rounds: int) -> list[Row]:
    pair = [f"{root}/" for root in roots]
    ignored = ["--exclude=/.accord"]
    quick = _seconds(["rsync", "-n", "-r", *ignored, *pair], rounds)
    thorough = _seconds(["rsync", "-n", "-rc", *ignored, *pair], 1)
    checked = _seconds(["timeout", str(RCLONE_LIMIT_S), "rclone", "check", "--exclude=/.accord/**", *pair], 1)
    not_ended = "over " if checked >= RCLONE_LIMIT_S else ""
    ours = statistics.median(seconds for seconds, _ in found)
    wire = statistics.median(sent for _, sent in found)
    return [
        Row(f"find and mend {DIFFERING} differences among {FILES:,} files", f"{ours * 1000:,.0f} ms"),
        Row("  bytes between the servers", f"{wire / 1000:,.0f} kB", "below 300 kB", wire < 300_000),
        Row("  rsync -n -r (sizes and times; mends nothing)", f"{quick:.1f} s"),
        Row("  rsync -n -r / ours", f"{quick / ours:,.0f}", "at least 100", quick / ours >= 100),
        Row("  rsync -n -rc (all content)", f"{thorough:.1f} s, {thorough / ours:,.0f} times ours"),
        Row("  rclone check (all content)", f"{not_ended}{checked:.1f} s, {checked / ours:,.0f} times ours"),
    ]


def _seconds(command: Sequence[str], rounds: int) -> float:
    """The median; what it prints is of no interest, nor is that it finds differences."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


# --- scanning ---


def _find_s(root: Path) -> float:
    return _seconds(
        ["find", str(root), "-path", f"{root}/.accord", "-prune", "-o", "-printf", r"%p %s %T@ %C@ %i\n"], 1
    )


def _scan_s(server: Running) -> float:
    number = _order(server, "scan")
    told: list[dict[str, Any]] = []

    def ended() -> bool:
        lines = json_of(f"{server.url}/status")["servers"]
        told[:] = [line["status"]["scan"] for line in lines if line["name"] == server.name]
        return number in told[0]["ended_orders"]

    _until(ended, "the scan has ended", 600, poll_s=SCAN_POLL_S)
    return float(told[0]["ended_ns"] - told[0]["began_ns"]) / 1e9


def _scan_rows(scans: Sequence[tuple[float, float]]) -> list[Row]:
    ratio = statistics.median(find / scan for find, scan in scans)
    ours = statistics.median(scan for _, scan in scans)
    return [
        Row(f"scan of {FILES:,} unchanged files", f"{ours:.2f} s"),
        Row("  find -printf of the same / ours", f"{ratio:.2f}", "at least 0.5", ratio >= 0.5),
    ]


# --- sizes ---


def _size_rows(memory: int, index: int) -> list[Row]:
    per_million = memory * 1_000_000 / FILES
    return [
        Row(
            "memory of a server (RSS) a million files",
            f"{per_million / MIB:,.0f} MiB",
            "250 MiB",
            per_million <= 250 * MIB,
        ),
        Row("index a million files", f"{index * 1_000_000 / FILES / MIB:,.0f} MiB"),
    ]


def _rss_bytes(server: Running) -> int:
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _index_bytes(root: Path) -> int:
    return sum(file.stat().st_size for file in (root / ".accord").glob("index.db*"))


# --- asking ---


def _order(server: Running, work: str) -> int:
    """Have it begin, on this server alone; says the number of the order."""
    target = f"{server.url}/status/{work}?on={server.name}"
    request = urllib.request.Request(target, headers={"Accord-Order": "?1"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.load(answer)["number"])


def _is_warm(server: Running) -> bool:
    """Its files are hashed, and the scan that every start begins with is over: nothing goes on in it any more."""
    if not json_of(f"{server.url}/ready")["indexing"]["done"]:
        return False
    lines = json_of(f"{server.url}/status")["servers"]
    return all(
        line["status"] and line["status"]["scan"]["ended_ns"] is not None
        for line in lines
        if line["name"] == server.name
    )


def _until(condition: Callable[[], bool], what: str, deadline_s: float, *, poll_s: float = POLL_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(poll_s)
