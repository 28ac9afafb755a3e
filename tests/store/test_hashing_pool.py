"""What waits for the hashing threads is told when they end, in whatever way it waits."""

from __future__ import annotations

import threading
from concurrent.futures import wait

from accord.store.hashing import HashingPool


def test_whoever_waits_for_work_that_is_never_begun_is_told_at_the_end() -> None:
    pool, gate, begun = HashingPool(3), threading.Event(), threading.Semaphore(0)

    def work() -> bool:
        begun.release()
        return gate.wait(60)

    running = [pool.submit(work, urgent=True) for _ in range(3)]
    for _ in running:
        assert begun.acquire(timeout=60)
    queued = pool.submit(work, urgent=False)
    pool.stop_taking()
    late = pool.submit(work, urgent=True)
    assert not wait([queued.future, late.future], timeout=20).not_done
    assert queued.future.cancelled()
    assert late.future.cancelled()
    gate.set()
    pool.close()
    assert all(job.future.result() for job in running)
