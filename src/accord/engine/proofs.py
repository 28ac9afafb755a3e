"""What it takes to prove a part of a version that only other servers hold: the digests of its blocks.

The digest of a whole says nothing about a part. So the first part that somebody wants costs one transfer of the whole, in the
background; block digests are taken on the way and count once the whole is proven. From then on a part costs no more than its blocks,
from whichever server. What this server lacks is healed by the same transfer, so that later parts need no other server.

Rejected: parts that the sending server proves. Its word would then be all that stands between its memory, or the way, and the client.
Memory: 32 bytes for each MiB of content, `MAX_KEPT_BYTES` in all (the newest list is kept whatever its length).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import structlog

from accord.engine.transfer import fed
from accord.errors import AccordError, StillChecking
from accord.model.names import Digest, FilePath
from accord.store.block_digests import BlockDigests, BlockHasher, RecentBlocks

MAX_AT_ONCE = 8
"""So many versions are fetched at once only to be proven."""
MAX_KEPT_BYTES = 16 * 1024 * 1024
RETRY_AFTER_S = 2

_log = structlog.get_logger("accord.read")


class Whole(Protocol):
    """A version that can be fetched as a whole. Proven: `blocks` raises before the last block if the digest is wrong."""

    path: FilePath
    digest: Digest
    size: int

    def blocks(self) -> AsyncGenerator[bytes, None]: ...


class Proofs:
    """The block digests that one server has had to find out. `wait_s` is how long somebody who needs them waits."""

    def __init__(self, *, wait_s: float) -> None:
        self._wait_s = wait_s
        self._kept = RecentBlocks(MAX_KEPT_BYTES)
        self._passes: dict[Digest, tuple[BlockHasher, asyncio.Task[BlockDigests]]] = {}

    def known(self, digest: Digest) -> BlockDigests | None:
        return self._kept.get(digest)

    async def of(self, whole: Whole) -> BlockDigests:
        """The digests of the blocks of `whole`, which is fetched for that unless they are known or it is under way.

        Raises `StillChecking` when that takes longer than `wait_s` (it goes on), otherwise as `Whole.blocks`.
        """
        known = self.known(whole.digest)
        if known is not None:
            return known
        under_way, task = self._passes.get(whole.digest) or self._begin(whole)
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._wait_s)
        except TimeoutError:
            raise StillChecking(
                "The file is fetched and checked as a whole before parts of it are sent "
                f"({under_way.hashed_bytes} of {whole.size} bytes so far).",
                path=whole.path,
                retry_after_s=RETRY_AFTER_S,
            ) from None

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [task for _, task in self._passes.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, whole: Whole) -> tuple[BlockHasher, asyncio.Task[BlockDigests]]:
        if len(self._passes) >= MAX_AT_ONCE:
            raise StillChecking(
                "Other files are being checked before parts of them are sent; this one has to wait.",
                path=whole.path,
                retry_after_s=RETRY_AFTER_S,
            )
        under_way = BlockHasher()
        task = asyncio.get_running_loop().create_task(self._conduct(whole, under_way), name=f"proving {whole.path}")
        self._passes[whole.digest] = under_way, task
        task.add_done_callback(lambda done: self._ended(whole, done))
        return self._passes[whole.digest]

    async def _conduct(self, whole: Whole, under_way: BlockHasher) -> BlockDigests:
        async with aclosing(whole.blocks()) as blocks:
            async for block in blocks:
                await fed(under_way, block)
        return under_way.digests()

    def _ended(self, whole: Whole, task: asyncio.Task[BlockDigests]) -> None:
        del self._passes[whole.digest]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._kept.keep(whole.digest, task.result())
        elif isinstance(error, AccordError):  # whoever waits is told; here for those who have gone
            _log.warning("not checked as a whole", path=whole.path, reason=error.detail)
