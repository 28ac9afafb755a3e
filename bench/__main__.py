"""`python -m bench [NAME]...`: run the measurements named (default: all) and print one table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import delta, differences, indexing, large, reads, writes
from bench.machinery import Missing, machine_line
from bench.table import Row, shown

MEASUREMENTS = ("reads", "large", "indexing", "writes", "delta", "differences")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; default: all")
    parser.add_argument("--seconds", type=int, default=4, help="length of one run of load (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is repeated (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: a temporary folder)")
    chosen = parser.parse_args()
    unknown = set(chosen.which) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    try:
        for name in chosen.which or MEASUREMENTS:
            with tempfile.TemporaryDirectory(prefix="accord-bench-", dir=chosen.folder or _usual_folder()) as folder:
                rows += _measure(name, Path(folder), chosen.seconds, chosen.rounds)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    if chosen.json:
        print(json.dumps({"machine": machine_line(), "rows": [asdict(row) for row in rows]}))
    else:
        print(machine_line())
        print(shown(rows))
    return 0 if all(row.reached is not False for row in rows) else 1


def _usual_folder() -> Path:
    """The usual place for temporary files, unless that is another file system than this repository's: memory takes no time to sync."""
    usual, here = Path(tempfile.gettempdir()), Path(__file__).parent
    return usual if usual.stat().st_dev == here.stat().st_dev else here


def _measure(name: str, folder: Path, seconds: int, rounds: int) -> list[Row]:
    if name == "reads":
        return reads.measure(folder, seconds, rounds)
    if name == "large":
        return large.measure(folder, rounds)
    if name == "delta":
        return delta.measure(folder, rounds)
    if name == "writes":
        return writes.measure(folder, seconds, rounds)
    if name == "differences":
        return differences.measure(folder, rounds)
    return indexing.measure(folder, rounds)


sys.exit(main())
