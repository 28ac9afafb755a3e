"""Copies, moves and restores on the servers: the content is found by digest, and no client sends it.

Each server makes its own copy of bytes that it has already; only who has not got them is sent them by another. A move is one commit
here, of the destination and of the deletion at the source: after a crash there are both or neither. Everything else is as in
`engine.write`.
"""

from __future__ import annotations

from dataclasses import replace

from accord.engine.deciding import Look, Refused, Step, Wish
from accord.engine.history import Historian
from accord.engine.read import Reading
from accord.engine.write import Writer, Written
from accord.errors import DamagedEverywhere, Gone, NotFound, UnknownState, UsageError
from accord.model.history import Deed
from accord.model.names import Digest, DigestPrefix, FilePath
from accord.model.verdict import FOLDER, HeldVersion, Kind
from accord.model.versions import Version
from accord.model.writing import Conditions, Refusal
from accord.store.port import Incoming


class Copier:
    """Copies for one server."""

    def __init__(self, writer: Writer, historian: Historian) -> None:
        self._writer = writer
        self._historian = historian

    async def copy(
        self, source: FilePath, version: DigestPrefix | None, path: FilePath, wish: Wish, *, moves: bool
    ) -> Written:
        """Make `version` of `source` (None: its current one) the content of `path`, and with `moves` delete `source`.

        Raises as `Writer.begin`; `Refused` also for a source with rivals, `NotFound`, `Gone`, `NoSuchVersion` or `UnknownState`
        where there is nothing to copy, and what fetching content raises.
        """
        if moves and (source == path or version is not None):
            raise UsageError("A move needs two paths, and takes the current version.", path=path)
        writer = self._writer
        at_s = writer.now_s()
        reading = await writer.reader.read(source)
        try:
            held = await self._source(reading, version)
            look = await writer.look(path, wish, deletes=False)
            replicas = writer.replicas(look.answers, wish, size=None)
            try:
                incoming = await self._content(reading, held)
            except BaseException:
                await replicas.close()
                raise
        finally:
            reading.close()
        try:
            steps = [self._destination(look, wish, held.version, incoming, source, moves=moves)]
            if moves:
                left = Look(source, reading.answers, at_s)
                steps.append(self._departure(left, wish, incoming.digest, path))
            return await writer.conclude(steps, replicas)
        finally:
            await replicas.close()
            await incoming.abort()

    async def _source(self, reading: Reading, version: DigestPrefix | None) -> HeldVersion:
        verdict = reading.verdict
        if version is not None:
            return await self._historian.find(reading, version)
        match verdict.kind:
            case Kind.DIVERGED:
                raise Refused(Refusal.DIVERGED, verdict)
            case Kind.MISSING:
                if any(one.reason == FOLDER for one in verdict.servers):
                    raise NotFound(
                        f"'{verdict.path}' is a folder: files are copied and moved one by one.", path=verdict.path
                    )
                raise NotFound(f"There is nothing to copy: no server has '{verdict.path}'.", path=verdict.path)
            case Kind.DELETED:
                raise Gone(f"There is nothing to copy: '{verdict.path}' was deleted.", path=verdict.path)
            case Kind.UNKNOWN:
                raise UnknownState("Nobody who answered has the file, and somebody did not answer.", path=verdict.path)
            case Kind.DAMAGED if not verdict.versions:  # and nobody knows what it was
                raise DamagedEverywhere(f"Every copy of '{verdict.path}' that answered is damaged.", path=verdict.path)
            case _:
                return verdict.version

    async def _content(self, reading: Reading, held: HeldVersion) -> Incoming:
        digest = held.version.digest
        if digest is None:
            raise Gone("That version is a deletion.", path=reading.verdict.path)
        writer = self._writer
        if writer.name in held.holders:
            incoming = await writer.store.duplicate(reading.verdict.path, digest)
            if incoming is not None:
                return incoming
            await writer.look_anew(
                reading.verdict.path
            )  # what it answered it had has rotted: the next verdict is to say so
        return await writer.reader.take_in(reading.verdict.path, held)

    def _destination(
        self, look: Look, wish: Wish, source: Version, incoming: Incoming, origin: FilePath, *, moves: bool
    ) -> Step:
        deed = Deed.MOVE if moves else Deed.RESTORE if origin == look.path else Deed.COPY
        version = Version(
            source.digest,
            source.size,
            source.modified_ns if wish.modified_ns is None else wish.modified_ns,
            wish.author or str(self._writer.name),
            source.executable if wish.executable is None else wish.executable,
        )
        return Step(look, replace(wish, deed=deed), version, (incoming,), str(origin))

    def _departure(self, look: Look, wish: Wish, digest: Digest, destination: FilePath) -> Step:
        """Nothing but what was copied is deleted: whatever takes its place meanwhile makes the move fail."""
        conditions = Conditions(matches=frozenset((digest,)))
        version = Version(None, 0, self._writer.now_ns(), wish.author or str(self._writer.name))
        return Step(look, replace(wish, conditions=conditions, deed=Deed.MOVE), version, source=str(destination))
