"""Bringing this server up to date with one path: merge what is known, get the bytes that are missing, commit.

The one primitive behind everything that travels between servers without being asked for by a reader: a change that another server made,
one that this server missed while it was away, rivals that every server is to keep, deletions, superseded copies. It makes no version,
and doing it twice changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog

from accord.engine.read import Reader, Reading, require_known
from accord.engine.strangers import IsStranger, is_left_alone, no_stranger
from accord.errors import AccordError, ChangedWhileReading, Conflict, Unavailable
from accord.model.history import Event
from accord.model.names import Digest, FilePath, ServerName
from accord.model.placement import current_contents
from accord.model.repair import deleted_age_s, is_outlived, lacks, needs
from accord.model.verdict import (
    EMPTY_FOLDER,
    Absent,
    Answer,
    HeldVersion,
    Kind,
    Known,
    Verdict,
    is_known,
    keeps,
)
from accord.model.versions import EMPTY_CLOCK, Clock, Version, discard, found_actor, found_again, merge
from accord.peers.port import Peers
from accord.store.path_locks import PathLocks
from accord.store.port import BLOCK_BYTES, Change, Committed, Incoming, Store

TRIES = 8
"""How often it starts anew when the path changes meanwhile."""

_log = structlog.get_logger("accord.heal")


class Updater:
    """Updates one server's store. Keeps `engine.changes.ChangeHandler`."""

    def __init__(
        self,
        store: Store,
        peers: Peers,
        reader: Reader,
        *,
        hash_wait_s: float,
        keep_tombstones_s: float = math.inf,
        is_stranger: IsStranger = no_stranger,
    ) -> None:
        self._store = store
        self._peers = peers
        self._reader = reader
        self._hash_wait_s = hash_wait_s
        self._keep_tombstones_s = keep_tombstones_s
        self._is_stranger = is_stranger
        self._updating = PathLocks()

    async def adopt(
        self, sender: ServerName, path: FilePath, clock: Clock, events: Sequence[Event], incoming: Sequence[Incoming]
    ) -> Answer:
        """Take over what `sender` knows of `path`, with the bytes that came along; what else it takes is found here or fetched there.

        Durable when it returns what there is now. Raises `AccordError`s; then nothing of it is known here. The incoming
        are used or aborted.
        """
        taken = list(incoming)
        try:
            for _ in range(TRIES):
                local = await self._examined(path)
                have = {one.digest for one in taken}
                for version in current_contents(merge(local.clock, clock)).values():
                    digest = version.digest
                    if digest is not None and digest not in have and not keeps(local, digest):
                        taken += await self._content_of(sender, path, version)
                done = await self._commit(path, local, clock, taken, events)
                if done is not None:
                    return done.answer
            raise ChangedWhileReading("The file is being changed, again and again.", path=path)
        finally:
            for one in taken:
                await one.abort()

    async def update(self, path: FilePath, *, is_news: bool = False) -> str | None:
        """Compare with all servers and take over what is lacking. None if there is nothing more to take over from those who answered,
        otherwise why there still is. See `engine.changes.ChangeHandler` for what is left alone."""
        try:
            async with self._updating.of([path]):  # whoever comes second finds it done: nothing is fetched twice
                for _ in range(TRIES):
                    if await self._update(path, is_news=is_news):
                        return None
        except AccordError as error:
            return error.detail.removesuffix(".")
        return "the file is being changed, again and again"

    async def _update(self, path: FilePath, *, is_news: bool) -> bool:
        """False when the path changed meanwhile."""
        reading = await self._reader.read(path, tells=False, notes=False)
        now = reading.local
        taken: list[Incoming] = []
        try:
            verdict, local = reading.verdict, require_known(path, reading.local)
            clock = verdict.clock
            if verdict.kind is Kind.DIVERGED and await self._knew_it(path, local, clock):
                return False  # there is one rival less: look again
            await self._find_here(local, verdict, taken)
            if not taken and not lacks(verdict, local) and merge(local.clock, clock) == local.clock:
                return True
            if is_outlived(verdict, local, reading.answers.values(), self._keep_tombstones_s):
                return True
            if not is_news and await self._is_left_alone(path, reading):
                return True
            if not self._store.takes_in():
                raise Unavailable("This server takes nothing in now.", path=path)
            await self._take_in(reading, local, taken)
            events = await self._remembered(path, clock, verdict.versions)
            age_s = deleted_age_s(reading.answers.values())
            done = await self._commit(path, local, clock, taken, events, age_s)
            if done is None:
                return False
            now = done.answer
            _log.info("brought up to date", path=path, verdict=verdict.kind.value)
            # What was learnt may tell of one of the rivals that it is a former version: then it is not to stay until nobody knows that.
            return not (verdict.kind is Kind.DIVERGED and events)
        finally:
            reading.close()
            self._reader.note(reading, now)
            for one in taken:
                await one.abort()

    async def _take_in(self, reading: Reading, local: Known, taken: list[Incoming]) -> None:
        """Adds to `taken` what this server is to have."""
        path, wanted = reading.verdict.path, set(needs(reading.verdict, local))
        if wanted and isinstance(local, Absent) and local.obstacle not in (None, EMPTY_FOLDER):
            raise Conflict(f"There is {local.obstacle} at '{path}'.", path=path)  # known before anything is fetched
        lacking = [held for held in reading.verdict.versions if held.version.digest in wanted]
        if any(held.version.size > BLOCK_BYTES for held in lacking):
            self._reader.note(reading, local)  # it takes a while, and is a difference meanwhile
        for held in lacking:
            taken.append(await self._content(path, held))

    async def _is_left_alone(self, path: FilePath, reading: Reading) -> bool:
        local = reading.local
        if not isinstance(local, Absent) or local.clock != EMPTY_CLOCK:
            return False
        answers = reading.answers.items()
        knowing = [server for server, answer in answers if is_known(answer) and answer.clock != EMPTY_CLOCK]
        return await is_left_alone(self._store, path, knowing, self._is_stranger)

    async def _knew_it(self, path: FilePath, local: Known, clock: Clock) -> bool:
        """Whether what another server found without knowing the path (its index was lost, it has just joined) is in this server's
        history: then it is that version, superseded as it is. Says so in the clock."""
        known = local.clock.context()
        history = [one.event for one in await self._store.history(path) if not one.is_current]
        past = {one.version.digest for one in history if one.dot.counter <= known.get(one.dot.actor, 0)}
        seen = found_again(clock, past)
        if not seen:
            return False
        _log.info("content that was found is a former version", path=path)
        return await self._commit(path, local, discard(local.clock, seen), (), ()) is not None

    async def _find_here(self, local: Known, verdict: Verdict, taken: list[Incoming]) -> None:
        """Adds to `taken` current versions that no server holds (somebody wrote over them), and whose bytes this server has somewhere
        else: at another path, or in history."""
        held = {one.version.digest for one in verdict.versions if one.holders}
        for digest in current_contents(merge(local.clock, verdict.clock)):
            if digest not in held and not keeps(local, digest) and self._store.takes_in():
                incoming = await self._store.duplicate(None, digest)
                taken += [] if incoming is None else [incoming]

    async def _commit(
        self,
        path: FilePath,
        local: Known,
        clock: Clock,
        taken: Sequence[Incoming],
        events: Sequence[Event],
        deleted_age_s: int = 0,
    ) -> Committed | None:
        """None when the path is no longer as `local` has it."""
        change = Change(path, local.clock, clock, tuple(taken), tuple(events), deleted_age_s=deleted_age_s)
        async with self._store.locked(path):
            done = await self._store.commit([change])
        return None if done is None else done[0]

    async def _content(self, path: FilePath, held: HeldVersion) -> Incoming:
        """The bytes of a version, finished: from this server where it has them anywhere, else from who holds them."""
        digest = held.version.digest
        assert digest is not None, "a tombstone has no bytes"
        return await self._store.duplicate(None, digest) or await self._reader.take_in(path, held)

    async def _content_of(self, sender: ServerName, path: FilePath, version: Version) -> list[Incoming]:
        """Nothing, where the sender has not got it either: it knows of a version whose bytes were lost."""
        try:
            return [await self._content(path, HeldVersion(version, (sender,), (sender,)))]
        except ChangedWhileReading:
            _log.info("a version is known, but not held", path=path, peer=sender, digest=str(version.digest))
            return []

    async def _remembered(self, path: FilePath, clock: Clock, versions: Sequence[HeldVersion]) -> list[Event]:
        """What a holder remembers of the path's versions; not being told is no reason to do without them."""
        contents: set[Digest] = {held.version.digest for held in versions if held.version.digest is not None}
        if {entry.actor for entry in clock.entries} <= {found_actor(digest) for digest in contents}:
            return []  # nothing has happened to it yet
        for peer in dict.fromkeys(
            holder for held in versions for holder in held.holders if holder in self._peers.names
        ):
            try:
                return [one.event for one in await self._peers.recall(peer, path)]
            except AccordError as error:
                _log.info("history not learnt", path=path, peer=peer, reason=error.detail)
        return []

    async def _examined(self, path: FilePath) -> Known:
        answer = self._store.glance_answer(path)
        return require_known(path, answer or await self._store.examine(path, wait_s=self._hash_wait_s))
