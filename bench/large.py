"""A large file: how fast it comes, and how little memory eight of it at once take."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path

from bench.machinery import accord_cluster, need, nginx
from bench.table import Row

MIB = 1024 * 1024
LARGE_BYTES = 1024 * MIB
AT_ONCE = 8


def _make(roots: list[Path]) -> None:
    for root in roots:
        root.mkdir(parents=True, exist_ok=True)
    with (roots[0] / "large.bin").open("wb") as first:
        for _ in range(LARGE_BYTES // (16 * MIB)):
            first.write(os.urandom(16 * MIB))
    for root in roots[1:]:
        subprocess.run(["cp", str(roots[0] / "large.bin"), str(root / "large.bin")], check=True)


def _curl_s(url: str) -> float:
    began = time.perf_counter()
    subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=True)
    return time.perf_counter() - began


def measure(folder: Path, rounds: int) -> list[Row]:
    need("nginx", "curl")
    roots = [folder / "server1", folder / "server2"]
    _make(roots)
    with nginx(roots[0], folder / "nginx", "large.bin") as limit, accord_cluster(roots, folder / "accord") as servers:
        urls = {server.name: f"{server.url}/files/large.bin" for server in (limit, servers[0])}
        for url in urls.values():
            _curl_s(url)
        times: dict[str, list[float]] = {name: [] for name in urls}
        for _ in range(rounds):
            for name, url in urls.items():
                times[name].append(_curl_s(url))
        ratio = statistics.median(a / b for a, b in zip(times["nginx"], times["server1"], strict=True))
        peak = _peak_rss_bytes(urls["server1"], servers[0].peak_rss_bytes)
    rates = {name: LARGE_BYTES / MIB / statistics.median(taken) for name, taken in times.items()}
    return [
        Row("GET 1 GiB: nginx", f"{rates['nginx']:,.0f} MiB/s"),
        Row("GET 1 GiB: verified, hashed as it is sent", f"{rates['server1']:,.0f} MiB/s"),
        Row("  verified / nginx", f"{ratio:.2f}", "at least 0.7", ratio >= 0.7),
        Row(
            f"  peak memory of the server, {AT_ONCE} at once",
            f"{peak / MIB:.0f} MiB",
            "below 150 MiB",
            peak < 150 * MIB,
        ),
    ]


def _peak_rss_bytes(url: str, peak: object) -> int:
    assert callable(peak)
    downloads = [subprocess.Popen(["curl", "-sf", "-o", "/dev/null", url]) for _ in range(AT_ONCE)]
    codes = [download.wait() for download in downloads]
    if any(codes):
        raise RuntimeError(f"curl ended with {codes}")
    found = peak()
    assert isinstance(found, int)
    return found
