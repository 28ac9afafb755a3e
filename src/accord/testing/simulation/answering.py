"""The answering side of a simulated server: what another one asked for, done on its own store and engine.

It does as `server.peer_checks`, `server.peer_transfers`, `server.peer_changes` and `server.peer_requests` do, without frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from accord.engine.peer_requests import Work
from accord.errors import AccordError, NoSuchVersion, StoreFailed
from accord.model.chunks import Chunk
from accord.model.listing import Walked
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Answer, Checking, Damaged, Present, Unreachable
from accord.peers.failures import failed, reason_of
from accord.peers.wire import Failed, Failure
from accord.store.port import Copy, is_answer
from accord.testing.simulation.standins import BLOCK_BYTES

if TYPE_CHECKING:
    from accord.testing.simulation.server import Server

DISK_GRACE_S = 0.25
HASH_WAIT_S = 5.0
_CHANGED = Failed(Failure.CHANGED.value, "its copy was changed while it was read")


@dataclass(frozen=True, slots=True)
class Sent:
    """The blocks of a transfer, and how it failed at its end, where it did."""

    blocks: tuple[bytes, ...]
    failed: Failed | None = None


async def examine(server: Server, path: FilePath, *, reread: bool, wait_s: float) -> Answer:
    try:
        async with asyncio.timeout(wait_s + DISK_GRACE_S):
            return await server.store.examine(path, wait_s=wait_s, reread=reread)
    except TimeoutError:
        return Checking() if reread else Unreachable("its disk does not answer")
    except AccordError as error:
        return Unreachable(reason_of(error))


async def content(server: Server, path: FilePath, digest: Digest, start: int, stop: int | None) -> Sent:
    try:
        copy = await _version(server, path, digest)
    except AccordError as error:
        return Sent((), failed(error))
    if isinstance(copy, Failed):
        return Sent((), copy)
    blocks: list[bytes] = []
    try:
        stop = copy.answer.size if stop is None else min(stop, copy.answer.size)
        ended = await _read(server, copy, min(start, copy.answer.size), stop, blocks)
        return Sent(tuple(blocks), ended)
    except AccordError as error:
        return Sent(tuple(blocks), failed(error))
    finally:
        copy.close()


async def _read(server: Server, copy: Copy, offset: int, stop: int, blocks: list[bytes]) -> Failed | None:
    hasher = blake3() if (offset, stop) == (0, copy.answer.size) else None
    while offset < stop:
        wanted = min(BLOCK_BYTES, stop - offset)
        block = copy.read_now(offset, wanted)
        if block is None:
            try:
                block = await copy.read(offset, wanted)
            except StoreFailed:
                return await _found_out(server, copy)
        if len(block) != wanted:
            return _CHANGED
        if hasher is not None:
            hasher.update(block)
        blocks.append(block)
        offset += wanted
        if offset < stop:
            await asyncio.sleep(0.001)
    if not copy.unchanged():
        return _CHANGED
    if hasher is not None and hasher.digest() != copy.answer.digest:
        return await _found_out(server, copy)
    return None


async def _found_out(server: Server, copy: Copy) -> Failed:
    """What it means that the bytes of `copy` did not match, or cannot be read."""
    found = await server.store.find_damage(copy)
    if isinstance(found, Damaged):
        return Failed(Failure.DAMAGED.value, f"its copy is damaged ({found.reason})")
    return _CHANGED


async def _version(server: Server, path: FilePath, digest: Digest) -> Copy | Failed:
    """The copy at the path, if it is that version; otherwise wherever else that is kept."""
    store = server.store
    held: Copy | Answer | None = store.glance(path)
    if held is None:
        held = await store.open(path, wait_s=HASH_WAIT_S)
    if not is_answer(held):
        if held.answer.digest == digest:
            return await _shared(server, held)
        held.close()
    kept = await store.open_version(path, digest)
    if kept is None:
        return _nowhere(held)
    now = store.glance_answer(path)
    return await _shared(server, kept) if isinstance(now, Present) and now.digest == digest else kept


async def _shared(server: Server, copy: Copy) -> Copy:
    try:
        await server.store.share(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _nowhere(held: Copy | Answer) -> Failed:
    match held:
        case Checking():
            return Failed(Failure.CHECKING.value, "its copy is being hashed")
        case Damaged(reason):
            return Failed(Failure.DAMAGED.value, f"its copy is damaged ({reason})")
        case _:
            return Failed(Failure.GONE.value, "no longer holds that version")


async def listing(server: Server, prefix: Prefix, after: FilePath | None) -> list[Sequence[Walked]]:
    return list(server.store.walk(prefix, after))


async def updated(server: Server, paths: Sequence[FilePath]) -> list[str | None]:
    reasons: list[str | None] = []
    for path in paths:
        try:
            reasons.append(await server.updater.update(path))
        except AccordError as error:
            reasons.append(reason_of(error))
    return reasons


async def ordered(server: Server, work: str, scope: str, number: int) -> str | None:
    return await server.requests.order(Work(work), Prefix(scope), number)


async def chunks(server: Server, path: FilePath, digest: Digest) -> Sequence[Chunk]:
    copy = await _version(server, path, digest)
    if isinstance(copy, Failed):
        raise NoSuchVersion(copy.detail, path=path)
    try:
        return await copy.chunks()
    finally:
        copy.close()
