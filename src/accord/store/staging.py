"""The adapter of `port.Staging`: `atomic.StagedFile`, with every step in a thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from accord.model.verdict import Present
from accord.store.atomic import StagedFile

if TYPE_CHECKING:
    from accord.store.port import Staging

T = TypeVar("T")


class InThread(Protocol):
    """Runs blocking work elsewhere."""

    def __call__(self, work: Callable[[], T], /) -> Coroutine[Any, Any, T]: ...


class DirectoryStaging:
    """See `port.Staging`."""

    def __init__(self, staged: StagedFile, in_thread: InThread) -> None:
        self._staged = staged
        self._in_thread = in_thread

    async def write(self, block: bytes) -> None:
        await self._in_thread(lambda: self._staged.write(block))

    async def commit(self) -> Present | None:
        return await self._in_thread(self._staged.commit)

    async def abort(self) -> None:
        await self._in_thread(self._staged.abort)


if TYPE_CHECKING:

    def _keeps_the_contract(staging: DirectoryStaging) -> Staging:
        return staging
