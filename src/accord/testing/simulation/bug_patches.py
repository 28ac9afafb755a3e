"""What the planted bugs put in the place of the product's code: each name says what goes wrong. The list of them is in `bugs`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from accord.engine.remote import RemoteBody
from accord.engine.retention import Retention
from accord.engine.sync import Syncer
from accord.engine.transfer import LocalBody
from accord.engine.update import Updater
from accord.model.names import ServerName
from accord.model.verdict import Absent, Kind, Unreachable, Verdict
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, OutsideChanges, Version, discard
from accord.model.versions import write as written
from accord.store import records
from accord.store.debts import Ledger as DebtLedger
from accord.store.indexing import FirstIndexing
from accord.store.scrubbing import Scrubbing
from accord.testing.simulation import answering
from accord.testing.simulation.index_connection import IndexConnection
from accord.testing.simulation.planting import Planting, replaced
from accord.testing.simulation.world import World


def unsynced(kind: type) -> Planting:
    def plant(world: World) -> AbstractContextManager[None]:
        kernel, real = world.kernel, world.kernel.fsync
        return replaced((kernel, "fsync", lambda fd: None if isinstance(kernel.held(fd).inode, kind) else real(fd)))

    return plant


def index_a_commit_behind(world: World) -> AbstractContextManager[None]:
    """What the disk has of the index is what was there before the last commit."""
    before, abandon = IndexConnection._before_commit, IndexConnection._abandon
    images: dict[int, bytes] = {}

    def before_commit(self: IndexConnection) -> None:
        before(self)
        image = images.get(id(self))
        images[id(self)] = self.committed_image()
        if image is not None:
            images[-id(self)] = image

    def abandoned(self: IndexConnection) -> None:
        abandon(self)
        self.disk.index_image = images.get(-id(self), self.disk.index_image)

    return replaced((IndexConnection, "_before_commit", before_commit), (IndexConnection, "_abandon", abandoned))


def newest_wins(compare: Any) -> Any:
    def comparing(*given: Any) -> Verdict:
        verdict: Verdict = compare(*given)
        if verdict.kind is not Kind.DIVERGED:
            return verdict
        newest = max(verdict.versions, key=lambda held: held.version.modified_ns)
        kind = Kind.DELETED if newest.version.is_tombstone else Kind.PARTIAL
        return replace(verdict, kind=kind, versions=(newest,))

    return comparing


def silence_is_absence(compare: Any) -> Any:
    def comparing(path: Any, answers: Any) -> Verdict:
        told = {name: Absent() if isinstance(one, Unreachable) else one for name, one in answers.items()}
        verdict: Verdict = compare(path, told)
        return verdict

    return comparing


def first_wins(commit: Any) -> Any:
    async def committing(self: Updater, path: Any, local: Any, clock: Clock, *rest: Any) -> Any:
        current = clock.current()
        if len({version.digest for _, version in current}) > 1:
            clock = discard(clock, {dot.actor: dot.counter for dot, _ in current[1:]})
        return await commit(self, path, local, clock, *rest)

    return committing


def older_over_newer(commit: Any) -> Any:
    """What only this server knows is given up for what the others have."""

    async def committing(self: Updater, path: Any, local: Any, clock: Clock, *rest: Any) -> Any:
        mine = {dot for dot, _ in local.clock.current()}
        theirs = [dot for dot, _ in clock.current() if dot not in mine]
        if theirs and mine:
            clock = discard(clock, {dot.actor: dot.counter for dot in mine})
        return await commit(self, path, local, clock, *rest)

    return committing


def early_tombstones(make: Any) -> Any:
    def made(self: Retention, store: Any, *, keep_tombstones_s: float, now_ns: Any) -> None:
        make(self, store, keep_tombstones_s=0.5, now_ns=now_ns)

    return made


def adopted_later(adopt: Any) -> Any:
    """The sender hears that it is durable before it is."""

    async def adopting(self: Updater, sender: ServerName, path: Any, clock: Clock, *rest: Any) -> Any:
        answer = await self._store.examine(path, wait_s=1.0)
        asyncio.get_running_loop().create_task(later(lambda: adopt(self, sender, path, clock, *rest)))
        return answer

    return adopting


async def later(work: Any) -> None:
    await asyncio.sleep(0.5)
    try:
        await work()
    except Exception:  # noqa: BLE001 - that nobody hears of it is the bug
        return


def seen_is_ignored(covered: Any) -> Any:
    return lambda verdict, conditions: verdict.seen()


def deletions_are_not_lacked(real: Any) -> Any:
    async def updating(self: Updater, path: Any, *, is_news: bool) -> bool:
        reading = await self._reader.read(path, tells=False)
        reading.close()
        return reading.verdict.kind is Kind.DELETED or bool(await real(self, path, is_news=is_news))

    return updating


def spliced(world: World) -> AbstractContextManager[None]:
    """Where a transfer goes on, another server begins anew, and nobody looks at the whole."""
    fetch = answering.content

    async def content(there: Any, path: Any, digest: Any, start: int, stop: Any) -> Any:
        return await fetch(there, path, digest, 0, stop)

    async def unproven(self: RemoteBody) -> Any:
        offset = 0
        for holder in self._in_order():
            try:
                async for block in self._peers.fetch(holder, self.path, self.digest, start=offset):
                    offset += len(block)
                    yield block
            except Exception as error:  # noqa: BLE001 - that it does not matter is the bug
                self._failed(holder, error)
            if offset >= self.size:
                return

    return replaced((answering, "content", content), (RemoteBody, "_large", unproven))


async def unproven(self: LocalBody) -> Any:
    offset = 0
    while block := await self._copy.read(offset, 4096):
        offset += len(block)
        yield block


def dispute_is_adopt(open_store: Any) -> Any:
    def opening(*given: Any, **options: Any) -> Any:
        return open_store(*given, **{**options, "outside_changes": OutsideChanges.ADOPT})

    return opening


def minted_anew(world: World) -> AbstractContextManager[None]:
    def finding(version: Version) -> Clock:
        return written(EMPTY_CLOCK, {}, Actor(f"{version.author}/found"), version)

    def common_way(self: FirstIndexing, run: Any, path: Any) -> None:
        return None

    return replaced((records, "found", finding), (FirstIndexing, "_first_sight", common_way))


def same_incarnation(secrets: Any) -> Any:
    class Same:
        def token_hex(self, length_bytes: int) -> str:
            return "0" * (2 * length_bytes)

    return Same()


def nothing_is_owed(load: Any) -> Any:
    def loading(self: DebtLedger, db: Any) -> None:
        db.execute("DELETE FROM debts")
        load(self, db)

    return loading


def unread(at_path: Any) -> Any:
    def trusting(self: Scrubbing, path: Any, record: Any, tally: Any) -> Any:
        yield from ()

    return trusting


def nobody_is_left_alone(world: World) -> AbstractContextManager[None]:
    async def everything(self: Syncer, run: Any, page: Sequence[Any]) -> list[Any]:
        return list(page)

    async def never(self: Updater, *given: Any) -> bool:
        return False

    return replaced((Syncer, "_not_estranged", everything), (Updater, "_is_left_alone", never))
