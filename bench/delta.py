"""A long file that was changed a little, brought up to date on another server: bytes on the way, against rsync doing the same."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.machinery import Running, accord_cluster, free_port, need
from bench.table import Row
from bench.wire import Relay, relays

MB, MIB = 10**6, 2**20
LARGE_BYTES = int(os.environ.get("ACCORD_BENCH_LARGE_MIB", "1024")) * MIB
PIECE_BYTES = 16 * MIB
NAME = "large.bin"
DEADLINE_S = 120.0
POLL_S = 0.002


@dataclass(frozen=True)
class Case:
    """An edit, how it is made, and how many bytes may be moved for it."""

    title: str
    edit: Callable[[Path], None]
    most_bytes: int


@dataclass(frozen=True)
class Moved:
    """What it took."""

    seconds: float
    wire_bytes: int


def _insert(file: Path) -> None:
    """A megabyte in the middle, by a program that writes the file anew."""
    fresh = file.with_name("fresh")
    with file.open("rb") as old, fresh.open("wb") as new:
        _copy(old.fileno(), new.fileno(), LARGE_BYTES // 2)
        new.write(os.urandom(MB))
        new.flush()
        _copy(old.fileno(), new.fileno(), file.stat().st_size)
    fresh.rename(file)


def _copy(source: int, target: int, count: int) -> None:
    while count > 0 and (sent := os.sendfile(target, source, None, min(count, PIECE_BYTES))):  # type: ignore[arg-type]
        count -= sent


def _flip(file: Path) -> None:
    with file.open("r+b") as held:
        held.seek(LARGE_BYTES // 3)
        (byte,) = held.read(1)
        held.seek(LARGE_BYTES // 3)
        held.write(bytes([byte ^ 1]))


CASES = (
    Case("a megabyte inserted in the middle", _insert, 5 * MB),
    Case("one byte changed", _flip, 2 * MB),
)


def measure(folder: Path, rounds: int) -> list[Row]:
    need("rsync")
    roots = [folder / name for name in ("server1", "server2", "source", "target")]
    _make(roots)
    settings = {"outside_changes": "adopt", "scan_every": "never", "sync_every": "never", "scrub_every": "never"}
    found: dict[Case, list[tuple[Moved, Moved]]] = {case: [] for case in CASES}
    with (
        relays([free_port(), free_port()]) as between,
        accord_cluster(roots[:2], folder / "accord", relayed=between, watch=False, **settings) as servers,
        _rsync_daemon(roots[3], folder) as url,
    ):
        for _ in range(rounds):
            for case in CASES:
                ours = _ours(case, roots[:2], servers[0], between)
                found[case].append((ours, _rsyncs(case, roots[2], url)))
        if (roots[0] / NAME).read_bytes() != (roots[1] / NAME).read_bytes():
            raise RuntimeError("the servers do not have the same")
    return [row for case, pairs in found.items() for row in _rows(case, pairs)]


def _make(roots: Sequence[Path]) -> None:
    for root in roots:
        root.mkdir(parents=True)
    with (roots[0] / NAME).open("wb") as first:
        for _ in range(LARGE_BYTES // PIECE_BYTES):
            first.write(os.urandom(PIECE_BYTES))
    for root in roots[1:]:
        subprocess.run(["cp", "--preserve=timestamps", str(roots[0] / NAME), str(root / NAME)], check=True)


def _ours(case: Case, roots: Sequence[Path], first: Running, between: Sequence[Relay]) -> Moved:
    """The first server has hashed what was edited, and then finds the other one to be behind: until that one has it, durably."""
    _until(lambda: _verdict(first) == "identical", "both servers have the same")
    case.edit(roots[0] / NAME)
    _verdict(first, "?verify=none")
    target = roots[1] / NAME
    before, passed = target.stat().st_ino, sum(relay.passed_bytes for relay in between)
    began = time.perf_counter()
    _verdict(first)
    _until(lambda: target.stat().st_ino != before, "the second server is brought up to date")
    return Moved(time.perf_counter() - began, sum(relay.passed_bytes for relay in between) - passed)


def _verdict(server: Running, query: str = "") -> str:
    request = urllib.request.Request(f"{server.url}/files/{NAME}{query}", method="HEAD")
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return str(answer.headers["Accord-Verdict"])


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {DEADLINE_S:.0f} s: {what}")
        time.sleep(POLL_S)


@contextmanager
def _rsync_daemon(target: Path, folder: Path) -> Iterator[str]:
    port, config = free_port(), folder / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[target]\npath = {target}\nread only = no\nuid = 0\ngid = 0\n")
    command = ["rsync", "--daemon", "--no-detach", f"--port={port}", "--address=127.0.0.1", f"--config={config}"]
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"rsync://127.0.0.1:{port}/target/"
    try:
        end = time.monotonic() + 10
        while subprocess.run(["rsync", url], capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                raise RuntimeError("the rsync daemon does not answer")
            time.sleep(0.05)
        yield url
    finally:
        daemon.terminate()
        daemon.wait()


def _rsyncs(case: Case, source: Path, url: str) -> Moved:
    case.edit(source / NAME)
    command = ["rsync", "--no-whole-file", "--fsync", "--times", "--stats", str(source / NAME), url]
    began = time.perf_counter()
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    taken = time.perf_counter() - began
    numbers = re.findall(r"Total bytes (?:sent|received): ([\d,]+)", told)
    return Moved(taken, sum(int(number.replace(",", "")) for number in numbers))


def _rows(case: Case, pairs: Sequence[tuple[Moved, Moved]]) -> list[Row]:
    ours = statistics.median(ours.wire_bytes for ours, _ in pairs)
    theirs = statistics.median(theirs.wire_bytes for _, theirs in pairs)
    ours_s = statistics.median(ours.seconds for ours, _ in pairs)
    theirs_s = statistics.median(theirs.seconds for _, theirs in pairs)
    return [
        Row(
            f"{LARGE_BYTES / MIB:,.0f} MiB, {case.title}: between the servers",
            f"{ours / MB:.2f} MB",
            f"below {case.most_bytes / MB:.0f} MB",
            ours < case.most_bytes,
        ),
        Row("  rsync --no-whole-file", f"{theirs / MB:.2f} MB"),
        Row("  ours / rsync, bytes", f"{ours / theirs:.2f}"),
        Row("  ours, until it is durable and in its place", f"{ours_s:.2f} s"),
        Row("  rsync --no-whole-file --fsync", f"{theirs_s:.2f} s"),
        Row("  rsync / ours, time", f"{theirs_s / ours_s:.2f}"),
    ]
