"""One read: ask the store and the peers at once, compare, and say where the bytes are.

How the bytes are proven on their way out is in `engine.transfer`; how a verdict looks in HTTP is left to `server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

import structlog

from accord.engine.delta import Delta
from accord.engine.heal import Healer, nobody_told
from accord.engine.holders import Holders
from accord.engine.kept import KeptBody
from accord.engine.making import Moved, Wanted
from accord.engine.own_proofs import OwnProofs
from accord.engine.proofs import Proofs
from accord.engine.remote import RemoteBody
from accord.engine.transfer import Body, CopyFailed, LocalBody, Tee
from accord.errors import DamagedEverywhere, InvalidQuery, StillChecking, Unavailable
from accord.model.names import Digest, DigestPrefix, FilePath, ServerName
from accord.model.repair import lacks
from accord.model.verdict import (
    DIFFERENCES,
    Answer,
    Checking,
    HeldVersion,
    Kind,
    Known,
    Present,
    Unreachable,
    Verdict,
    compare,
    keeps,
)
from accord.model.versions import Version
from accord.peers.port import Peers
from accord.store.port import SMALL_CONTENT_BYTES, Copy, Incoming, Store, is_answer

NOT_ASKED = Unreachable("not asked (verify=none)")

_MENDED = frozenset((Kind.PARTIAL, Kind.STALE, Kind.DIVERGED, Kind.DELETED))
_MENDED_APART = frozenset((Kind.DIVERGED, Kind.DELETED))
"""What this server lacks under these verdicts does not pass by in one body: it is mended in the background."""

_log = structlog.get_logger("accord.read")


class Verify(Enum):
    """How much a read asks of the copies."""

    STAT = "stat"
    """Stat data vouch for the replicas; the copy that is sent is hashed. The default."""
    CONTENT = "content"
    """Every copy is read and hashed anew."""
    NONE = "none"
    """No other server is asked: the verdict is `unverified` at best."""


@dataclass(slots=True)
class Reading:
    """The outcome of a read: the verdict and the answers it was made of.

    `mine` is this server's open copy, where it has a good one; close the reading in any case.
    """

    verdict: Verdict
    answers: Mapping[ServerName, Answer]
    local: Answer
    mine: Copy | None

    def close(self) -> None:
        if self.mine is not None:
            self.mine.close()


@dataclass(slots=True)
class Begun:
    """An everyday read under way: see `Reader.begin`."""

    path: FilePath
    mine: Copy
    asked: asyncio.Future[Mapping[ServerName, Answer]] | None


class Reader:
    """Reads for one server; `name` is its own, the primary's."""

    def __init__(
        self,
        name: ServerName,
        store: Store,
        peers: Peers,
        healer: Healer,
        *,
        hash_wait_s: float,
        lacking: Callable[[FilePath], None] = nobody_told,
    ) -> None:
        """`lacking` is told of paths that this server should be brought up to date with."""
        self.name = name
        self._store = store
        self._peers = peers
        self._healer = healer
        self._lacking = lacking
        self._hash_wait_s = hash_wait_s
        self._holders = Holders(peers)
        self._proofs = Proofs(wait_s=hash_wait_s)
        self._own_proofs = OwnProofs(store, wait_s=hash_wait_s)
        self.moved = Moved()
        self._delta = Delta(store, peers, self._holders, self.moved)

    async def read(
        self, path: FilePath, verify: Verify = Verify.STAT, *, tells: bool = True, notes: bool = True
    ) -> Reading:
        """The verdict on `path`, taken now. Never raises for the state of a file or of a server. `tells` False: for those who mend,
        and not for somebody who wants the file. They tell nobody of what he lacks, or two servers that both leave a path alone would
        go on telling each other. `notes` False: what is remembered of it is left to whoever reads (`note`)."""
        asked = self._ask(path, verify)
        held: Copy | Answer | None = self._store.glance(path) if verify is not Verify.CONTENT else None
        if held is None:
            held = await self._store.open(path, wait_s=self._hash_wait_s, reread=verify is Verify.CONTENT)
        mine, local = (None, held) if is_answer(held) else (held, held.answer)
        try:
            answers = {**(await asked), self.name: local} if asked is not None else self._alone(local)
        except BaseException:
            if mine is not None:
                mine.close()
            raise
        return self._reading(path, mine, local, answers, tells=tells, notes=notes)

    def begin(self, path: FilePath, verify: Verify) -> Begun | None:
        """The first half of an everyday read: this server's copy is at hand, and the peers are asked. None where it takes a wait to
        say what is here: then `read`. Once `asked` is done (or None), `conclude` is the other half, and must be called."""
        held = self._store.glance(path) if verify is not Verify.CONTENT else None
        if held is None or is_answer(held):
            return None
        return Begun(path, held, self._ask(path, verify))

    def conclude(self, begun: Begun) -> Reading:
        local = begun.mine.answer
        answers = self._alone(local) if begun.asked is None else {**begun.asked.result(), self.name: local}
        return self._reading(begun.path, begun.mine, local, answers)

    def _reading(
        self,
        path: FilePath,
        mine: Copy | None,
        local: Answer,
        answers: Mapping[ServerName, Answer],
        *,
        tells: bool = True,
        notes: bool = True,
    ) -> Reading:
        if isinstance(local, Present):
            answers = _believable(local, answers)
        verdict = self.judge(path, answers, tells=tells) if notes else compare(path, answers)
        return Reading(verdict, answers, local, mine)

    def note(self, reading: Reading, local: Answer) -> None:
        """Remember what was read without noting it, with what this server has by now. So a difference that is mended at once never is
        among those that are remembered, and nobody need look at it again."""
        self._reading(reading.verdict.path, None, local, {**reading.answers, self.name: local}, tells=False)

    def judge(self, path: FilePath, answers: Mapping[ServerName, Answer], *, tells: bool = True) -> Verdict:
        """The verdict on answers that are known already; whoever lacks something is told, unless nobody is to be (`read`)."""
        verdict = compare(path, answers)
        if verdict.kind is not Kind.IDENTICAL or self._store.is_difference(path):
            self._note(verdict)
        if tells and verdict.kind in _MENDED:
            self._suggest_healing(verdict, answers)
        return verdict

    def _note(self, verdict: Verdict) -> None:
        """What is no difference among those who answered may still be one with those who did not."""
        kind = verdict.kind
        if kind is Kind.MISSING and not verdict.is_lost:
            kind = Kind.IDENTICAL  # nobody knows of it: there is nothing to differ in
        if kind in DIFFERENCES or not verdict.silent:
            self._store.note_verdict(verdict.path, kind)

    async def look_again(self, path: FilePath, *, tells: bool = False) -> None:
        """Take the verdict anew where it was a difference when it was last taken, so that it no longer counts as one if it is none.
        `tells` for what this server has just found on its own disk: only it can tell the others."""
        if self._store.is_difference(path):
            (await self.read(path, tells=tells)).close()

    def body(self, reading: Reading, version: HeldVersion) -> Body:
        """Where the bytes of `version` come from: this server, else another, taken in on the way where this one lacks them.

        Raises `DamagedEverywhere` when no good copy answered.
        """
        digest, path = version.version.digest, reading.verdict.path
        assert digest is not None, "a tombstone has no bytes"
        if reading.mine is not None and reading.mine.answer.digest == digest:
            return LocalBody(reading.mine, self._own_proofs, known=self._proofs.known(digest))
        if not version.holders:
            raise DamagedEverywhere("No server that answered has a good copy of this version.", path=path)
        if self.name in version.holders:
            elsewhere = self.fetched(path, version) if len(version.holders) > 1 else None
            return KeptBody(self._store, path, digest, version.version.size, elsewhere, proofs=self._own_proofs)
        tee = self._healer.tee(reading.verdict, reading.local) if version in reading.verdict.versions else None
        return self.fetched(path, version, tee)

    def fetched(self, path: FilePath, version: HeldVersion, tee: Tee | None = None) -> RemoteBody:
        """The bytes of `version` from other servers, whether this one has them or not."""
        digest = version.version.digest
        assert digest is not None, "a tombstone has no bytes"
        return RemoteBody(
            self._peers,
            path,
            digest,
            version.version.size,
            [server for server in version.holders if server != self.name],
            holders=self._holders,
            proofs=self._proofs,
            tee=tee,
        )

    async def take_in(self, path: FilePath, version: HeldVersion) -> Incoming:
        """The bytes of `version` from other servers, proven; made out of what is here of the path, where that spares the way. Raises
        `DamagedEverywhere` where no other has them, and what fetching and receiving do; then nothing is left."""
        digest, size = version.version.digest, version.version.size
        assert digest is not None, "a tombstone has no bytes"
        others = [holder for holder in version.holders if holder != self.name]
        if not others:
            raise DamagedEverywhere("No server that answered has a good copy of this version.", path=path)
        made = await self._delta.take_in(Wanted(path, digest, size, others))
        return made or await self._taken_in_whole(path, version)

    async def _taken_in_whole(self, path: FilePath, version: HeldVersion) -> Incoming:
        incoming = await self._store.receive(version.version.size)
        try:
            async with aclosing(self.fetched(path, version).blocks()) as blocks:
                async for block in blocks:
                    await incoming.write(block)
                    self.moved.fetched_bytes += len(block)
            if incoming.size > SMALL_CONTENT_BYTES:  # what is small is made durable by its commit, in one turn
                await incoming.finish()
        except BaseException:
            await incoming.abort()
            raise
        return incoming

    async def close(self) -> None:
        """Stop what goes on in the background. What was being taken in leaves nothing behind once the healer has settled."""
        await self._proofs.close()
        await self._own_proofs.close()

    async def copy_failed(self, failure: CopyFailed) -> None:
        """Find out what became of this server's copy, so that the next read knows."""
        if failure.is_found_out:
            return
        answer = await self._store.find_damage(failure.copy)
        _log.warning("copy did not match its digest", path=failure.copy.path, now=type(answer).__name__.lower())

    def _suggest_healing(self, verdict: Verdict, answers: Mapping[ServerName, Answer]) -> None:
        for server, answer in answers.items():
            if lacks(verdict, answer):
                if server != self.name:
                    self._peers.suggest(server, verdict.path)
                elif verdict.kind in _MENDED_APART:
                    self._lacking(verdict.path)

    def _ask(self, path: FilePath, verify: Verify) -> asyncio.Future[Mapping[ServerName, Answer]] | None:
        if verify is Verify.NONE:
            return None
        if verify is Verify.CONTENT:
            return self._peers.ask(path, reread=True, wait_s=self._hash_wait_s)
        return self._peers.ask(path)

    def _alone(self, local: Answer) -> dict[ServerName, Answer]:
        return {**dict.fromkeys(self._peers.names, NOT_ASKED), self.name: local}


def _believable(mine: Present, answers: Mapping[ServerName, Answer]) -> Mapping[ServerName, Answer]:
    """The answers without those that cannot be true: one digest has one size."""
    for server, answer in answers.items():
        if type(answer) is Present and answer.digest == mine.digest and answer.size != mine.size:
            denied = Unreachable("contradicts this server: the same digest, but another size")
            answers = {**answers, server: denied}
    return answers


def require_known(path: FilePath, local: Answer) -> Known:
    """This server's own answer, where something is to be changed: it must not be silent. Raises `StillChecking` or `Unavailable`."""
    match local:
        case Checking(done, total):
            raise StillChecking(f"This server's copy is being hashed ({done} of {total} bytes).", path=path)
        case Unreachable(reason):
            raise Unavailable(f"This server cannot say what it has: {reason}.", path=path)
        case _:
            return local


def find_version(reading: Reading, wanted: DigestPrefix) -> HeldVersion | None:
    """The version that `wanted` names among those that were answered, current or not. Raises `InvalidQuery` when it fits several."""
    fitting = {
        held.version.digest: held
        for held in reading.verdict.versions
        if held.version.digest is not None and wanted.matches(held.version.digest) and held.holders
    }
    for server, answer in sorted(reading.answers.items()):
        if isinstance(answer, Present) and wanted.matches(answer.digest) and answer.digest not in fitting:
            holders = tuple(one for one in sorted(reading.answers) if keeps(reading.answers[one], answer.digest))
            fitting[answer.digest] = HeldVersion(_as_held(reading, answer.digest, server), holders, holders)
    if len(fitting) > 1:
        raise InvalidQuery(
            f"'{wanted}' fits {len(fitting)} versions: write more of the digest.", path=reading.verdict.path
        )
    return next(iter(fitting.values()), None)


def _as_held(reading: Reading, digest: Digest, server: ServerName) -> Version:
    copy = reading.answers[server]
    assert isinstance(copy, Present)
    return Version(digest, copy.size, copy.modified_ns, "", copy.executable)
