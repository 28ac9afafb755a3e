"""What it takes to prove a part of a long copy of this server's own: one pass over the file, which all share who want parts of it.

The pass goes on when nobody waits for it any more, so that whoever comes again finds it done. Where it shows that the copy is wrong,
what it is now is looked for here, once, whether anybody still waits or not. What is fetched is proven by `engine.proofs`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from accord.engine.transfer import CopyFailed
from accord.errors import AccordError, ChangedWhileReading, IntegrityError, StillChecking, StoreFailed
from accord.model.names import Digest, FilePath
from accord.store.port import Copy, Store

MAX_AT_ONCE = 256
"""So many copies have their digests looked for at once; for most of them they are known, and it takes no time."""
RETRY_AFTER_S = 2

_log = structlog.get_logger("accord.read")


class OwnProofs:
    """`wait_s` is how long somebody who needs a proof waits for it."""

    def __init__(self, store: Store, *, wait_s: float) -> None:
        self._store = store
        self._wait_s = wait_s
        self._passes: dict[tuple[FilePath, Digest], asyncio.Task[Sequence[Digest]]] = {}

    async def of(self, copy: Copy) -> Sequence[Digest]:
        """The digests of the blocks of `copy`. Raises `CopyFailed` when they cannot be right, and what has become of it is found out by
        then; `StillChecking` when that takes longer than `wait_s` (it goes on)."""
        task = self._passes.get(_key(copy)) or self._begin(copy)
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._wait_s)
        except TimeoutError:
            raise _still_checking("The file is being checked as a whole before parts of it are sent.", copy) from None
        except CopyFailed as failure:
            raise CopyFailed(copy, is_found_out=True) from failure

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._passes.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, copy: Copy) -> asyncio.Task[Sequence[Digest]]:
        if len(self._passes) >= MAX_AT_ONCE:
            raise _still_checking(
                "Other files are being checked before parts of them are sent; this one has to wait.", copy
            )
        # A second copy: the first is closed by whoever asks for it, and that may be before the pass has ended.
        mine = copy.again()
        task = asyncio.get_running_loop().create_task(self._conduct(mine), name=f"proving {copy.path}")
        self._passes[_key(mine)] = task
        task.add_done_callback(lambda done: self._ended(mine, done))
        return task

    async def _conduct(self, copy: Copy) -> Sequence[Digest]:
        try:
            return await copy.block_digests()
        except (ChangedWhileReading, IntegrityError, StoreFailed) as error:
            await self._store.find_damage(copy)
            raise CopyFailed(copy, is_found_out=True) from error

    def _ended(self, copy: Copy, task: asyncio.Task[Sequence[Digest]]) -> None:
        copy.close()
        del self._passes[_key(copy)]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AccordError):  # whoever waits is told; here for those who have gone
            _log.warning("not checked as a whole", path=copy.path, reason=error.detail)


def _key(copy: Copy) -> tuple[FilePath, Digest]:
    return copy.path, copy.answer.digest


def _still_checking(detail: str, copy: Copy) -> StillChecking:
    return StillChecking(detail, path=copy.path, retry_after_s=RETRY_AFTER_S)
