"""`accord-sim`: runs seeds, replays one, or shows that the planted bugs are found.

A failing seed tells what failed, how it came to that, and the command that does it all again. Exit code 0 where every seed was clean
(or every bug was found), 1 otherwise, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice, takewhile
from typing import NamedTuple

from accord.testing.simulation.bugs import BUGS, BY_NAME, Bug
from accord.testing.simulation.run import Outcome, run
from accord.testing.simulation.workers import LONGEST_S, Workers

TOLD_LINES = 40
"""So much of the story is told of a seed that failed."""
MAX_TOLD_FAILURES = 5
TOLD_EVERY = 500
"""After so many seeds it is said how far it has come."""


class Summary(NamedTuple):
    """Of a run, what goes from one process to another."""

    seed: int
    failures: tuple[str, ...]
    last: tuple[str, ...]
    simulated_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    _fix_hashing()
    options = _options().parse_args(arguments)
    if options.bugs:
        return _show_bugs(options.jobs)
    if options.seed is not None:
        return _replay(options.seed, options.bug, trace=options.trace)
    return _run_many(options.first, options.seeds, options.jobs, options.minutes)


def _fix_hashing() -> None:
    """The order of sets of text follows from the hash seed: it is fixed, so that a seed means the same everywhere."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "accord.testing.simulation", *sys.argv[1:]])


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="accord-sim",
        description="Whole clusters on a virtual clock, network and disks: every run follows from its seed.",
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds (default 100; 0 for no end)")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a processor)")
    parser.add_argument("--minutes", type=float, help="begin no more seeds after so long")
    parser.add_argument("--seed", type=int, help="run this one, and tell its story")
    parser.add_argument("--trace", action="store_true", help="with --seed: the whole story, also where all was well")
    parser.add_argument("--bug", choices=sorted(BY_NAME), help="with --seed: plant this bug")
    parser.add_argument("--bugs", action="store_true", help="plant each bug in turn, and say which seed finds it")
    return parser


def _replay(seed: int, bug: str | None, *, trace: bool) -> int:
    planted = BY_NAME[bug] if bug is not None else None
    outcome = run(seed) if planted is None else run(seed, plant=planted.plant, moods=planted.moods)
    for line in outcome.lines if trace else outcome.lines[-TOLD_LINES:] if outcome.failures else ():
        print(line)
    _tell(outcome.seed, outcome.failures, bug)
    print(f"seed {seed}: {outcome.servers} servers, {outcome.simulated_s:.0f} s simulated, trace {outcome.digest}")
    return 1 if outcome.failures else 0


def _run_many(first: int, seeds: int, jobs: int, minutes: float | None) -> int:
    began_s = time.monotonic()
    until_s = None if minutes is None else began_s + 60 * minutes
    wanted: Iterator[int] = islice(count(first), seeds or None)
    done, bad, simulated_s = 0, 0, 0.0
    for seed, summary in Workers(_summary, jobs).results(_until(wanted, until_s)):
        done += 1
        if summary is None:
            summary = Summary(seed, (f"no end within {LONGEST_S:.0f} s, or its process died",), (), 0.0)
        simulated_s += summary.simulated_s
        if summary.failures:
            bad += 1
            print(*summary.last, sep="\n")
            _tell(summary.seed, summary.failures)
        if not done % TOLD_EVERY:
            print(f"{done} seeds so far, {bad} failed, {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    took_s = time.monotonic() - began_s
    print(f"{done} seeds from {first}: {bad} failed; {took_s:.0f} s, for {simulated_s / 3600:.1f} simulated hours")
    return 1 if bad else 0


def _until(seeds: Iterator[int], until_s: float | None) -> Iterator[int]:
    return takewhile(lambda _: until_s is None or time.monotonic() < until_s, seeds)


def _summary(seed: int) -> Summary:
    outcome = run(seed)
    return Summary(seed, outcome.failures, outcome.lines[-TOLD_LINES:] if outcome.failures else (), outcome.simulated_s)


def _tell(seed: int, failures: Sequence[str], bug: str | None = None) -> None:
    for failure in failures[:MAX_TOLD_FAILURES]:
        print(f"seed {seed}: {failure}")
    if failures:
        planted = "" if bug is None else f" --bug '{bug}'"
        print(f"again: accord-sim --seed {seed}{planted} --trace", flush=True)


def _show_bugs(jobs: int) -> int:
    print(f"{'planted bug':26} {'found by seed':>13}  {'within':>6}  what it does wrong")
    missed = 0
    found = Workers(_finder, jobs, longest_s=10 * LONGEST_S).results(bug.name for bug in BUGS)
    for name, seed in found:
        bug = BY_NAME[name]
        missed += seed is None
        print(f"{name:26} {seed or 'not found':>13}  {bug.within_seeds:>6}  {bug.what}", flush=True)
    return 1 if missed else 0


def _finder(name: str) -> int | None:
    outcome = find(BY_NAME[name])
    return None if outcome is None else outcome.seed


def find(bug: Bug) -> Outcome | None:
    """The first seed that finds it, within its bound."""
    outcomes = (run(seed, plant=bug.plant, moods=bug.moods) for seed in range(1, bug.within_seeds + 1))
    return next((outcome for outcome in outcomes if outcome.failures), None)
