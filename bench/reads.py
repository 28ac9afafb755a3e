"""Verified GETs of small files against servers that verify nothing, and what the verification itself costs."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from bench.machinery import Load, Running, accord_cluster, caddy, median_load, need, nginx, wrk
from bench.table import Row

FILES = 1000
FILE_BYTES = 10 * 1024
CONNECTIONS = 32

_SCRIPT = """
math.randomseed(1)
request = function()
  return wrk.format("GET", string.format("/files/d%02d/f%04d.bin{query}", {spread}))
end
"""


def make_tree(roots: list[Path]) -> None:
    for number in range(FILES):
        content = os.urandom(FILE_BYTES)
        for root in roots:
            target = root / f"d{number % 10:02}" / f"f{number:04}.bin"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _script(folder: Path, name: str, query: str = "") -> Path:
    script = folder / f"{name}.lua"
    spread = "n % 10, n"
    body = _SCRIPT.replace("{query}", query).replace("{spread}", spread)
    script.write_text(body.replace("  return", f"  local n = math.random(0, {FILES - 1})\n  return"))
    return script


def measure(folder: Path, seconds: int, rounds: int) -> list[Row]:
    """Every contestant in turn, `rounds` times over, so that a machine whose speed drifts treats them alike."""
    need("nginx", "caddy", "wrk")
    roots = [folder / "server1", folder / "server2"]
    make_tree(roots)
    probe = "d00/f0000.bin"
    plain, own = _script(folder, "plain"), _script(folder, "own", "?verify=none")
    with (
        nginx(roots[0], folder / "nginx", probe) as limit,
        caddy(roots[0], folder / "caddy", probe) as peer,
        accord_cluster(roots, folder / "accord") as servers,
    ):
        contestants: dict[str, tuple[Running, Path, list[Running]]] = {
            "nginx": (limit, plain, [limit]),
            "caddy": (peer, plain, [peer]),
            "verified": (servers[0], plain, servers),
            "own copy": (servers[0], own, servers),
        }
        for server, script, watched in contestants.values():
            wrk(server.url, script, CONNECTIONS, 2, watched)
        many = _rounds(contestants, CONNECTIONS, seconds, rounds)
        one = _rounds(contestants, 1, seconds, rounds)
    return _rows(many, one)


def _rounds(
    contestants: dict[str, tuple[Running, Path, list[Running]]], connections: int, seconds: int, rounds: int
) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (server, script, watched) in contestants.items():
            loads[name].append(wrk(server.url, script, connections, seconds, watched))
    return loads


def _ratio(loads: dict[str, list[Load]], one: str, other: str) -> float:
    """The median of the ratios within each round."""
    pairs = zip(loads[one], loads[other], strict=True)
    return statistics.median(a.requests_per_s / b.requests_per_s for a, b in pairs)


def _rows(many: dict[str, list[Load]], one: dict[str, list[Load]]) -> list[Row]:
    medians = {name: median_load(loads) for name, loads in many.items()}
    single = {name: median_load(loads) for name, loads in one.items()}
    verified = medians["verified"]
    rows = [
        Row(
            f"GET {FILE_BYTES // 1024} KiB, {CONNECTIONS} connections: {name}", f"{load.requests_per_s:,.0f} requests/s"
        )
        for name, load in medians.items()
    ]
    rows += [
        Row(
            "  verified / nginx",
            f"{_ratio(many, 'verified', 'nginx'):.2f}",
            "at least 0.2",
            _ratio(many, "verified", "nginx") >= 0.2,
        ),
        Row("  verified / caddy", f"{_ratio(many, 'verified', 'caddy'):.2f}", "aim: 1", None),
        Row(
            "  verified / own copy",
            f"{_ratio(many, 'verified', 'own copy'):.2f}",
            "at least 0.7",
            _ratio(many, "verified", "own copy") >= 0.7,
        ),
        Row("  processor time a request: primary", f"{verified.cpu_us['server1']:.0f} µs"),
        Row("  processor time a request: replica", f"{verified.cpu_us['server2']:.0f} µs"),
        Row("  processor time a request: nginx", f"{medians['nginx'].cpu_us['nginx']:.0f} µs"),
        Row(
            "  failed requests",
            str(sum(load.errors for load in medians.values())),
            "0",
            not any(load.errors for load in medians.values()),
        ),
    ]
    added_ms = single["verified"].median_ms - single["own copy"].median_ms
    rows += [Row(f"GET, 1 connection, median: {name}", f"{load.median_ms:.3f} ms") for name, load in single.items()]
    rows.append(Row("  added by verification", f"{added_ms:.3f} ms", "below 0.5 ms", added_ms < 0.5))
    return rows
