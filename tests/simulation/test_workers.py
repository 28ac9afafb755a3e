"""Many seeds in processes that are replaced now and then; one that hangs or dies is told of, and holds up nothing."""

from __future__ import annotations

import os
import time

import pytest

from accord.testing.simulation import main, workers
from accord.testing.simulation.workers import Workers


def _process(piece: int) -> int:
    return os.getpid()


def _trouble(piece: str) -> str:
    if piece == "hangs":
        time.sleep(600)
    if piece == "dies":
        os._exit(3)
    return piece.upper()


def test_a_process_is_replaced_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PIECES_A_LIFE", 2)
    done = list(Workers(_process, 1).results(iter(range(5))))
    assert [piece for piece, _ in done] == [0, 1, 2, 3, 4]
    assert len({process for _, process in done}) == 3


def test_work_that_hangs_and_a_process_that_dies_are_told_of() -> None:
    pieces = iter(("one", "hangs", "two", "dies", "three"))
    done = dict(Workers(_trouble, 2, longest_s=8.0).results(pieces))
    assert done == {"one": "ONE", "hangs": None, "two": "TWO", "dies": None, "three": "THREE"}


def test_many_seeds_are_counted_and_all_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main._run_many(1, 4, 2, None) == 0
    assert capsys.readouterr().out.startswith("4 seeds from 1: 0 failed; ")
