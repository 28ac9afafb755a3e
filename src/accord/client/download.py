"""A file from the servers to a place on disk: resumed where an earlier attempt stopped, proven, and there all at once.

The bytes come from `client.transfer`; the files are `client.parts`'.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from accord.client.parts import Part, drop_other_parts, exists, newest_part, settle, translated
from accord.client.results import Download
from accord.client.session import Session
from accord.client.transfer import Held, Transfer, Wanted, open_transfer
from accord.errors import ChangedWhileReading, IntegrityError

GATHER_BYTES: Final = 4 * 1024 * 1024
"""How much is written at once; a download holds twice so much in memory."""
MAX_STARTS: Final = 2
"""A whole that turned out wrong, or a version that was replaced meanwhile, is started over once."""

Progress = Callable[[int, int | None], None]
"""Told `(bytes so far, bytes in all)`; the second is None where the server did not say."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What is to be downloaded, where to, and how."""

    wanted: Wanted
    destination: str | os.PathLike[str]
    progress: Progress | None = None
    resume: bool = True
    clobber: bool = True


async def download(session: Session, saving: Saving) -> Download:
    """Raises what `open_transfer` does; `IntegrityError` if it was wrong twice; `NotSaved` with the operating system's words;
    `AlreadyThere`."""
    perform = session.transport.perform
    destination = await perform(settle, saving.destination, saving.wanted.path.name)
    if await perform(_is_special, destination):
        return await _pour(session, saving, destination)
    if not saving.clobber and await perform(destination.exists):
        raise exists(destination)
    for start in range(1, MAX_STARTS + 1):
        try:
            return await _attempt(session, saving, destination)
        except (IntegrityError, ChangedWhileReading):
            if start == MAX_STARTS:
                raise
            saving = replace(saving, resume=False)
            session.avoid(session.current)
    raise AssertionError("unreachable")


async def _attempt(session: Session, saving: Saving, destination: Path) -> Download:
    perform = session.transport.perform
    part, held = await perform(_pick_up, destination, saving)
    try:
        transfer = await open_transfer(session, saving.wanted, held)
        try:
            if part is None or part.digest != transfer.digest:
                if part is not None:
                    await perform(part.close)
                part = await perform(Part.open, destination, transfer.digest)
            if not transfer.start:
                await perform(part.rewind)
            await perform(drop_other_parts, destination, transfer.digest)
            try:
                await _fill(session, transfer, part, saving.progress)
            except IntegrityError:
                await perform(part.drop)
                raise
        finally:
            await transfer.close()
        await perform(
            part.finish, destination, transfer.modified, executable=transfer.executable, clobber=saving.clobber
        )
        return _result(saving, transfer, destination)
    finally:
        if part is not None:
            await perform(part.close)


def _pick_up(destination: Path, saving: Saving) -> tuple[Part | None, Held | None]:
    """What an earlier attempt left, unless it is not wanted, or holds nothing yet."""
    digest = newest_part(destination) if saving.resume else None
    if digest is None:
        return None, None
    part = Part.open(destination, digest)
    held = part.held()
    return part, held if held.size else None


async def _fill(session: Session, transfer: Transfer, part: Part, progress: Progress | None) -> None:
    gathered: list[bytes] = []
    size, done = 0, transfer.start
    try:
        async for block in transfer.blocks():
            gathered.append(block)
            size += len(block)
            if size >= GATHER_BYTES:
                # Let go of before it is handed on: should that be interrupted, the same must not be handed on once more.
                done, whole, gathered, size = done + size, gathered, [], 0
                await session.transport.perform(part.write, whole)
                if progress is not None:
                    progress(done, transfer.size)
    finally:
        # Also what came before a break or Ctrl-C: it need not come again. Waits for the disk at most once.
        await session.transport.perform(part.write, gathered)
    if progress is not None:
        progress(done + size, transfer.size)


async def _pour(session: Session, saving: Saving, destination: Path) -> Download:
    """Into a device, a pipe or the like, which must be neither replaced nor resumed."""
    perform = session.transport.perform
    transfer = await open_transfer(session, saving.wanted)
    try:
        with translated(destination):
            # A pipe is open only once somebody reads from it, and closed only once there was room for all.
            sink = await perform(_opened, destination)
            try:
                await pour_into(session, transfer, sink, saving.progress)
            finally:
                await perform(sink.close)
    finally:
        await transfer.close()
    return _result(saving, transfer, destination)


async def pour_into(session: Session, transfer: Transfer, sink: BinaryIO, progress: Progress | None = None) -> int:
    """Every block into an open file, as it comes. Returns the number of bytes; an OSError of `sink` is the caller's."""
    done = 0
    async for block in transfer.blocks():
        await session.transport.perform(sink.write, block)
        done += len(block)
        if progress is not None:
            progress(done, transfer.size)
    return done


def _opened(destination: Path) -> BinaryIO:
    return destination.open("wb")


def _is_special(destination: Path) -> bool:
    return destination.exists() and not stat.S_ISREG(destination.stat().st_mode)


def _result(saving: Saving, transfer: Transfer, destination: Path) -> Download:
    return Download(
        saving.wanted.path,
        str(destination),
        transfer.digest,
        transfer.offset,
        transfer.start,
        transfer.verdict,
        tuple(transfer.handovers),
    )
