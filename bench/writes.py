"""Writes that two servers hold durably: small files against a plain loop, a large one against dd, and what history adds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.bare import bare_servers
from bench.machinery import Running, accord_cluster, need
from bench.putting import FILE_BYTES, FOLDERS, Puts, put_load
from bench.table import Row

CONNECTIONS = 16
WARMING_FILES = 300
"""Also tells how many files a turn takes."""
ALONE_FILES = 100
OVERWRITTEN_PATHS = 64
"""Few enough that each is soon overwritten more often than versions are kept: keeping and giving up are both in it."""
TURNS = 3
"""Each round of small files is cut into so many: whatever else the machine does meanwhile then falls on both sides of a comparison."""
BOTH = "?min_copies=2"
MIB = 1024 * 1024
LARGE_BYTES = 1024 * MIB
OTHER_DISK = "/dev/shm"
"""Two servers on one machine write everything twice to its disk; those that people run do not."""
LINE_MIB_PER_S = 250
"""A line of two to three gigabits: slower than this machine's disk and processors, as lines mostly are."""


def measure(folder: Path, seconds: int, rounds: int) -> list[Row]:
    need("curl", "dd")
    return [
        *_small(folder / "small", seconds, rounds),
        *_overwrites(folder / "overwrites", seconds, rounds),
        *_large(folder / "large", rounds),
    ]


def _roots(folder: Path, count: int) -> list[Path]:
    roots = [folder / f"server{number}" for number in range(1, count + 1)]
    for root in roots:
        root.mkdir(parents=True)
    return roots


def _apart(folder: Path, elsewhere: Path) -> list[Path]:
    """One server here and one there."""
    roots = [folder / "server1", elsewhere / "server2"]
    for root in roots:
        root.mkdir(parents=True)
    return roots


def _count_for(server: Running, watched: Sequence[Running], seconds: int, query: str = BOTH) -> int:
    """How many files one turn of a round of `seconds` takes; warms the servers up."""
    warm = put_load(server, "warming", WARMING_FILES, CONNECTIONS, watched, query=query)
    if warm.failed:
        raise RuntimeError(f"{warm.failed} of {WARMING_FILES} PUTs failed: {warm.first_failure}")
    return max(WARMING_FILES, int(warm.per_s * seconds / TURNS))


def _failed(runs: Sequence[Puts]) -> Row:
    failed = sum(run.failed for run in runs)
    if failed:
        print(next(run.first_failure for run in runs if run.failed), file=sys.stderr)
    return Row("  failed requests", str(failed), "0", failed == 0)


# --- small files ---


def _plain_loop_s(folders: Sequence[Path], files: int) -> float:
    """The same files, one after the other, durable in each of the folders: what any server would have to do at least, if it did
    nothing together."""
    content = os.urandom(FILE_BYTES)
    handles = []
    for folder in folders:
        for number in range(FOLDERS):
            (folder / f"d{number:02}").mkdir(parents=True)
        handles.append([os.open(folder / f"d{number:02}", os.O_RDONLY) for number in range(FOLDERS)])
    began = time.perf_counter()
    for number in range(files):
        for kept in handles:
            _write_durably(kept[number % FOLDERS], f"f{number:06}.bin", content)
    taken = time.perf_counter() - began
    for handle in (handle for kept in handles for handle in kept):
        os.close(handle)
    return taken


def _write_durably(folder: int, name: str, content: bytes) -> None:
    fd = os.open(".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
    os.write(fd, content)
    os.fsync(fd)
    os.close(fd)
    os.rename(".new", name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _small(folder: Path, seconds: int, rounds: int) -> list[Row]:
    limits: list[float] = []
    runs: list[Puts] = []
    single: list[Puts] = []
    with accord_cluster(_roots(folder, 2), folder / "accord") as servers:
        files = _count_for(servers[0], servers, seconds)
        for turn in range(rounds * TURNS):
            places = [folder / f"plain{turn}" / side for side in ("first", "second")]
            limits.append(files / _plain_loop_s(places, files))
            runs.append(put_load(servers[0], f"many{turn}", files, CONNECTIONS, servers, query=BOTH))
            single.append(put_load(servers[0], f"one{turn}", ALONE_FILES, 1, servers, query=BOTH))
    ratio = statistics.median(run.per_s / limit for run, limit in zip(runs, limits, strict=True))
    title = f"PUT {FILE_BYTES // 1024} KiB, durable on two servers"
    return [
        Row(
            "plain loop: write, fsync, rename, fsync of the folder, twice", f"{statistics.median(limits):,.0f} files/s"
        ),
        Row(f"{title}, {CONNECTIONS} connections", f"{_median(runs, lambda run: run.per_s):,.0f} files/s"),
        Row("  ours / plain loop", f"{ratio:.2f}", "at least 0.3", ratio >= 0.3),
        Row("  median", f"{_median(runs, lambda run: run.median_ms):.1f} ms"),
        Row("  99 of 100 within", f"{_median(runs, lambda run: run.p99_ms):.1f} ms"),
        Row("  processor time a PUT: primary", f"{_median(runs, lambda run: run.cpu_us['server1']):,.0f} µs"),
        Row("  processor time a PUT: replica", f"{_median(runs, lambda run: run.cpu_us['server2']):,.0f} µs"),
        Row("  processor time a PUT: the load itself", f"{_median(runs, lambda run: run.cpu_us['load']):,.0f} µs"),
        Row(f"{title}, 1 connection, median", f"{_median(single, lambda run: run.median_ms):.2f} ms"),
        _failed([*runs, *single]),
    ]


def _median(runs: Sequence[Puts], figure: Callable[[Puts], float]) -> float:
    return statistics.median(figure(run) for run in runs)


# --- what history adds ---


def _overwrites(folder: Path, seconds: int, rounds: int) -> list[Row]:
    """Both clusters run all the time, and the load goes to one at a time."""
    with (
        accord_cluster(_roots(folder / "with", 2), folder / "accord-with", keep_versions=10) as keeping,
        accord_cluster(_roots(folder / "without", 2), folder / "accord-without", keep_versions=0) as forgetting,
    ):
        clusters = {"kept": keeping, "not kept": forgetting}
        files = min(_count_for(servers[0], servers, seconds) for servers in clusters.values())
        for servers in clusters.values():
            _overwrite(servers, 8 * OVERWRITTEN_PATHS)
        runs: dict[str, list[Puts]] = {name: [] for name in clusters}
        for turn in range(rounds * TURNS):
            # Who comes second has warmer caches and a busier disk: they take turns at that.
            for name in sorted(clusters, reverse=bool(turn % 2)):
                runs[name].append(_overwrite(clusters[name], files))
    slower = statistics.median(
        without.per_s / kept.per_s - 1 for kept, without in zip(runs["kept"], runs["not kept"], strict=True)
    )
    rates = {name: _median(taken, lambda run: run.per_s) for name, taken in runs.items()}
    return [
        Row(f"overwrite {FILE_BYTES // 1024} KiB, 10 versions kept", f"{rates['kept']:,.0f} files/s"),
        Row("overwrite, none kept", f"{rates['not kept']:,.0f} files/s"),
        Row("  added by history", f"{100 * slower:.1f} %", "below 10 %", slower < 0.1),
        Row(
            "  processor time of both servers: kept, not kept",
            ", ".join(f"{_median(taken, _both_us):,.0f} µs" for taken in runs.values()),
        ),
        _failed([run for taken in runs.values() for run in taken]),
    ]


def _both_us(run: Puts) -> float:
    return run.cpu_us["server1"] + run.cpu_us["server2"]


def _overwrite(servers: Sequence[Running], files: int) -> Puts:
    return put_load(servers[0], "again", files, CONNECTIONS, servers, paths=OVERWRITTEN_PATHS, query=BOTH)


# --- a large file ---


def _large(folder: Path, rounds: int) -> list[Row]:
    """Whoever has written removes it again, outside the time that is measured: memory that was used before comes cheaper than memory
    that was never touched, and must come alike to all."""
    source = _made(folder / "source.bin")
    with (
        TemporaryDirectory(dir=OTHER_DISK) as elsewhere,
        accord_cluster(_apart(folder / "apart", Path(elsewhere)), folder / "accord-apart", keep_versions=0) as apart,
        accord_cluster(_roots(folder / "two", 2), folder / "accord-two", keep_versions=0) as pair,
        accord_cluster(_roots(folder / "one", 1), folder / "accord-one", keep_versions=0) as alone,
        bare_servers([folder / "bare1", folder / "bare2"]) as bare_pair,
        bare_servers([folder / "bare"]) as bare_alone,
    ):
        contestants: dict[str, Callable[[], float]] = {
            "dd": lambda: _dd_s([folder / "dd"]),
            "two dd": lambda: _dd_s([folder / "dd1", folder / "dd2"]),
            "two servers": lambda: _upload_s(source, f"{pair[0].url}/files/large.bin{BOTH}"),
            "two, disks apart": lambda: _upload_s(source, f"{apart[0].url}/files/large.bin{BOTH}"),
            "one server": lambda: _upload_s(source, f"{alone[0].url}/files/large.bin"),
            "two bare": lambda: _sent_s(source, bare_pair),
            "one bare": lambda: _sent_s(source, bare_alone),
            "two, over a line": lambda: _upload_s(source, f"{pair[0].url}/files/large.bin{BOTH}", line=True),
            "one, over a line": lambda: _upload_s(source, f"{alone[0].url}/files/large.bin", line=True),
        }
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for run in contestants.values():
            run()
        cpu = dict.fromkeys((server.name for server in pair), 0.0)
        for _ in range(rounds):
            for name, run in contestants.items():
                before = {server.name: server.cpu_s() for server in pair}
                times[name].append(run())
                if name == "two servers":
                    cpu = {one.name: cpu[one.name] + (one.cpu_s() - before[one.name]) / rounds for one in pair}
        peaks = {server.name: server.peak_rss_bytes() for server in pair}
    return _large_rows(times, cpu, peaks)


def _large_rows(times: Mapping[str, list[float]], cpu: Mapping[str, float], peaks: Mapping[str, int]) -> list[Row]:
    rates = {name: LARGE_BYTES / MIB / statistics.median(taken) for name, taken in times.items()}

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    of_dd, of_two_dd, cost = (
        ratio("dd", "two servers"),
        ratio("two dd", "two servers"),
        ratio("two servers", "one server"),
    )
    apart = ratio("dd", "two, disks apart")
    disk_cost, line_cost = ratio("two dd", "dd"), ratio("two, over a line", "one, over a line")
    return [
        Row("1 GiB: dd conv=fsync", f"{rates['dd']:,.0f} MiB/s"),
        Row("1 GiB: two dd at once, each", f"{rates['two dd']:,.0f} MiB/s"),
        Row("PUT 1 GiB on one server", f"{rates['one server']:,.0f} MiB/s"),
        Row("PUT 1 GiB on two servers", f"{rates['two servers']:,.0f} MiB/s"),
        Row("  ours / dd", f"{of_dd:.2f}", "at least 0.5", of_dd >= 0.5),
        Row("  ours / two dd at once", f"{of_two_dd:.2f}"),
        Row("  time on two servers / on one", f"{cost:.2f}", "at most 1.4", cost <= 1.4),
        Row("  the same of two dd / one dd: what one disk takes for two copies", f"{disk_cost:.2f}"),
        Row(
            "  the same of two programs that only receive, hash, write and send / one",
            f"{ratio('two bare', 'one bare'):.2f}",
        ),
        Row(
            "  ours / those programs: on one, on two",
            f"{ratio('one bare', 'one server'):.2f}, {ratio('two bare', 'two servers'):.2f}",
        ),
        Row(
            "  ours / dd, the second server on storage of its own (memory)",
            f"{apart:.2f}",
            "at least 0.5",
            apart >= 0.5,
        ),
        Row(
            f"  time on two servers / on one, sent at {LINE_MIB_PER_S} MiB/s",
            f"{line_cost:.2f}",
            "at most 1.4",
            line_cost <= 1.4,
        ),
        Row("  processor time: primary, replica", f"{cpu['server1']:.2f} s, {cpu['server2']:.2f} s"),
        Row(
            "  peak memory: primary, replica",
            f"{peaks['server1'] / MIB:.0f} MiB, {peaks['server2'] / MIB:.0f} MiB",
            "below 150 MiB",
            max(peaks.values()) < 150 * MIB,
        ),
    ]


def _made(source: Path) -> Path:
    source.parent.mkdir(parents=True)
    with source.open("wb") as file:
        for _ in range(LARGE_BYTES // (16 * MIB)):
            file.write(os.urandom(16 * MIB))
        os.fsync(file.fileno())
    return source


def _sent_s(source: Path, url: str, *, line: bool = False) -> float:
    """`line`: no faster than `LINE_MIB_PER_S`."""
    paced = ["--limit-rate", f"{LINE_MIB_PER_S}M"] if line else []
    began = time.perf_counter()
    subprocess.run(["curl", "-sf", *paced, "-o", "/dev/null", "-T", str(source), url], check=True)
    return time.perf_counter() - began


def _upload_s(source: Path, url: str, *, line: bool = False) -> float:
    taken = _sent_s(source, url, line=line)
    subprocess.run(["curl", "-sf", "-o", "/dev/null", "-X", "DELETE", url], check=True)
    return taken


def _dd_s(targets: Sequence[Path]) -> float:
    began = time.perf_counter()
    written = [
        subprocess.Popen(
            ["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={LARGE_BYTES // MIB}", "conv=fsync", "status=none"]
        )
        for target in targets
    ]
    codes = [one.wait() for one in written]
    taken = time.perf_counter() - began
    for target in targets:
        target.unlink()
    if any(codes):
        raise RuntimeError(f"dd ended with {codes}")
    return taken
