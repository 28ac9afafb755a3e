"""Whole clusters under faults, from a seed: everything that is promised holds, and the same seed tells the same story.

`make sim` runs far more seeds; these are for every run of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from accord.testing.simulation.run import run

SEEDS = range(1, 31)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_promised_holds_in_every_seed(seed: int) -> None:
    outcome = run(seed)
    assert not outcome.failures, "\n".join(
        [*outcome.lines[-30:], *outcome.failures, f"accord-sim --seed {seed} --trace"]
    )


def test_a_seed_tells_the_same_story_each_time() -> None:
    first, other, again = run(11), run(12), run(11)
    assert first.lines == again.lines
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_tells_the_same_story_in_every_process(seed: int) -> None:
    told = {_replayed(seed, hash_seed) for hash_seed in ("random", "17")}
    assert len(told) == 1
    (trace,) = told
    assert re.search(r"trace [0-9a-f]{32}", trace)


def _replayed(seed: int, hash_seed: str) -> str:
    """As a person replays it, whatever the process's hashing is."""
    done = subprocess.run(
        [sys.executable, "-m", "accord.testing.simulation", "--seed", str(seed), "--trace"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
