"""The first hashing of a tree, against b3sum over the same files."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.machinery import need
from bench.table import Row

FILES = 10_000


def _make(root: Path, smallest: int, largest: int) -> int:
    """`FILES` files with sizes spread evenly over the orders of magnitude; returns the sum of their sizes."""
    dice = random.Random(1)
    block = os.urandom(largest + FILES)
    total = 0
    for number in range(FILES):
        size = int(smallest * (largest / smallest) ** dice.random())
        target = root / f"d{number % 100:02}" / f"f{number:05}.bin"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(block[number : number + size])
        total += size
    return total


def _b3sum_s(root: Path) -> float:
    began = time.perf_counter()
    subprocess.run(f"find '{root}' -type f -path '*/d*' -print0 | xargs -0 b3sum > /dev/null", shell=True, check=True)
    return time.perf_counter() - began


def _accord_s(root: Path) -> float:
    """In a process of its own, timed inside it: from the opening of the store until everything is hashed and recorded."""
    shutil.rmtree(root / ".accord", ignore_errors=True)
    command = [sys.executable, "-m", "bench.indexing", str(root)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


async def _index(root: Path) -> float:
    from accord.model.names import ServerName
    from accord.model.versions import OutsideChanges
    from accord.store.directory import open_directory_store

    began = time.perf_counter()
    store = await open_directory_store(root, ServerName("server1"), outside_changes=OutsideChanges.DISPUTE)
    while not store.indexing().done:  # noqa: ASYNC110 - progress is polled, as a client does
        await asyncio.sleep(0.01)
    taken = time.perf_counter() - began
    assert store.indexing().hashed_files == FILES, store.indexing()
    await store.close()
    return taken


def measure(folder: Path, rounds: int) -> list[Row]:
    need("b3sum")
    rows = []
    for title, smallest, largest in (("10 KiB to 1 MiB", 10 * 1024, 1024 * 1024), ("10 KiB", 10 * 1024, 10 * 1024)):
        root = folder / title.replace(" ", "-")
        total = _make(root, smallest, largest)
        _b3sum_s(root)
        _accord_s(root)
        pairs = [(_b3sum_s(root), _accord_s(root)) for _ in range(rounds)]
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        ours = statistics.median(ours for _, ours in pairs)
        rows += [
            Row(f"first hashing of {FILES:,} files of {title}", f"{total / 2**20 / ours:,.0f} MiB/s, {ours:.2f} s"),
            Row("  ours / b3sum", f"{ratio:.2f}", "at least 0.7", ratio >= 0.7),
        ]
        shutil.rmtree(root)
    return rows


if __name__ == "__main__":
    print(asyncio.run(_index(Path(sys.argv[1]))))
