"""The content of a version that this server keeps apart from the path: a rival, or one from the history.

It is proven on its way out like any other (`engine.transfer`). What turns out damaged is had from another server, where one keeps it
too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import structlog

from accord.engine.transfer import BlockProofs, Body, CopyFailed, LocalBody
from accord.errors import IntegrityError
from accord.model.names import Digest, FilePath
from accord.store.port import Store

_log = structlog.get_logger("accord.read")


class KeptBody:
    """See `engine.transfer.Body`. `elsewhere` is the same content on other servers."""

    def __init__(
        self, store: Store, path: FilePath, digest: Digest, size: int, elsewhere: Body | None, *, proofs: BlockProofs
    ) -> None:
        self.digest = digest
        self.size = size
        self._store = store
        self._path = path
        self._elsewhere = elsewhere
        self._proofs = proofs

    def whole_now(self) -> bytes | None:
        return None

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._sent(lambda body: body.blocks())) as blocks:
            async for block in blocks:
                yield block

    async def part(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._sent(lambda body: body.part(start, stop))) as blocks:
            async for block in blocks:
                yield block

    async def _sent(self, of: Callable[[Body], object]) -> AsyncGenerator[bytes, None]:
        copy = await self._store.open_version(self._path, self.digest)
        has_begun = False
        if copy is not None:
            try:
                mine = LocalBody(copy, self._proofs)
                async with aclosing(cast("AsyncGenerator[bytes]", of(mine))) as blocks:
                    async for block in blocks:
                        has_begun = True
                        yield block
                return
            except CopyFailed as failure:
                _log.warning("a kept version did not match its digest", path=self._path, digest=str(self.digest))
                if not failure.is_found_out:
                    await self._store.find_damage(copy)  # this server no longer says that it has it
                if has_begun or self._elsewhere is None:
                    raise IntegrityError(
                        "What this server keeps of that version is damaged.", path=self._path
                    ) from failure
            finally:
                copy.close()
        if self._elsewhere is None:
            raise IntegrityError("This server has lost what it kept of that version.", path=self._path)
        async with aclosing(cast("AsyncGenerator[bytes]", of(self._elsewhere))) as blocks:
            async for block in blocks:
                yield block
