"""Processes that do one piece of work after another, each for a while: none grows for ever, and none that hangs holds up the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

LONGEST_S = 180.0
"""A seed takes a fraction of a second; on a machine that is busy with other things, seconds."""
PIECES_A_LIFE = 50
"""A process that has done so many is replaced."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Worker(Generic[T]):
    """`piece` is what it does now, and must have done by `until_s`."""

    process: BaseProcess
    pipe: Connection
    piece: T
    until_s: float
    left: int


class Workers(Generic[T, R]):
    """`work` is a function of a module. So many `jobs` at once."""

    def __init__(self, work: Callable[[T], R], jobs: int, *, longest_s: float = LONGEST_S) -> None:
        self._work = work
        self._jobs = jobs
        self._longest_s = longest_s
        self._context = get_context("spawn")

    def results(self, pieces: Iterator[T]) -> Iterator[tuple[T, R | None]]:
        """As they are done; None for a piece whose process did not end in time, or died."""
        workers = [self._begun(piece) for _, piece in zip(range(self._jobs), pieces, strict=False)]
        try:
            while workers:
                soonest_s = min(one.until_s for one in workers)
                ready = wait([one.pipe for one in workers], max(0.0, soonest_s - time.monotonic()))
                for worker in list(workers):
                    if worker.pipe in ready or worker.until_s <= time.monotonic():
                        done, result, is_well = self._result(worker)
                        workers.remove(worker)
                        following = next(pieces, None)
                        if following is None or not is_well or not worker.left:
                            _end(worker)
                        if following is not None:
                            workers.append(self._next(worker, following, is_well))
                        yield done, result
        finally:
            for worker in workers:
                _end(worker)

    def _result(self, worker: _Worker[T]) -> tuple[T, R | None, bool]:
        """What came of the piece, and whether the worker can go on."""
        try:
            if worker.pipe.poll():
                return worker.piece, worker.pipe.recv(), True
        except EOFError:
            pass
        return worker.piece, None, False

    def _next(self, worker: _Worker[T], piece: T, is_well: bool) -> _Worker[T]:
        if not is_well or not worker.left:
            return self._begun(piece)
        try:
            worker.pipe.send(piece)
        except OSError:
            _end(worker)
            return self._begun(piece)
        worker.piece, worker.until_s, worker.left = piece, time.monotonic() + self._longest_s, worker.left - 1
        return worker

    def _begun(self, piece: T) -> _Worker[T]:
        mine, its = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(its, self._work), daemon=True)
        process.start()
        its.close()
        mine.send(piece)
        return _Worker(process, mine, piece, time.monotonic() + self._longest_s, PIECES_A_LIFE - 1)


def _end(worker: _Worker[T]) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()


def _serve(pipe: Connection, work: Callable[[T], R]) -> None:
    try:
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, OSError, KeyboardInterrupt):  # whoever wanted it is gone
        return
