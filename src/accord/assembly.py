"""One server's engine, put together from its parts over a store and peers, begun and ended in order.

    what answers requests → what goes on in the background → peers      in this order it begins; at the end the peers are left last

What a server is beside that (its port, its store, HTTP) is `serving`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import accord
from accord.config import Config
from accord.engine.copy import Copier
from accord.engine.debts import Payer
from accord.engine.deciding import Decider
from accord.engine.found import RecentFindings
from accord.engine.heal import Healer
from accord.engine.heal_queue import HealQueue
from accord.engine.history import Historian
from accord.engine.mending import Mender
from accord.engine.peer_requests import Work
from accord.engine.read import Reader
from accord.engine.recheck import Recheck
from accord.engine.requests import Requests
from accord.engine.retention import Retention, tombstones_kept_s
from accord.engine.scan import Scanner
from accord.engine.scrub import Scrubber
from accord.engine.status import Gauges, Status
from accord.engine.strangers import Strangers
from accord.engine.sync import Syncer
from accord.engine.update import Updater
from accord.engine.write import Writer
from accord.model.names import PRIVATE_FOLDER, ServerName
from accord.peers.cluster import PeerLinks
from accord.server.metrics import Metrics
from accord.server.services import Services
from accord.server.upload_files import UploadFiles
from accord.store.folder_hints import FolderHints
from accord.store.inventory import Scope
from accord.store.port import Store


@dataclass(frozen=True, slots=True)
class Engine:
    """What a server does: `services` is for its routes, the rest for other servers."""

    services: Services
    updater: Updater
    healing: HealQueue
    requests: Requests


@dataclass(frozen=True, slots=True)
class _Core:
    """What answers requests; it does nothing of itself but what they leave to do."""

    reader: Reader
    writer: Writer
    historian: Historian
    updater: Updater
    healing: HealQueue
    payer: Payer
    strangers: Strangers


@dataclass(frozen=True, slots=True)
class _Upkeep:
    """What a server does of itself."""

    scanner: Scanner
    scrubber: Scrubber
    syncer: Syncer
    recent: RecentFindings


@asynccontextmanager
async def engine(config: Config, me: ServerName, root: Path, store: Store, peers: PeerLinks) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as ending:
        ending.push_async_callback(peers.close)
        core = _core(config, me, store, peers, ending)
        upkeep = await _upkeep(config, root, store, peers, core, ending)
        await peers.start()
        core.payer.start()
        ending.push_async_callback(core.payer.close)
        uploads = UploadFiles(root / PRIVATE_FOLDER / "uploads")
        uploads.start()
        ending.push_async_callback(uploads.close)
        requests, status = _desk(config, me, store, peers, core, upkeep)
        services = Services(
            name=me,
            cluster=config.cluster,
            reader=core.reader,
            writer=core.writer,
            copier=Copier(core.writer, core.historian),
            historian=core.historian,
            store=store,
            peers=peers,
            metrics=Metrics(peers.statuses, store.debts, lambda: core.reader.moved),
            status=status,
            uploads=uploads,
        )
        yield Engine(services, core.updater, core.healing, requests)


def _core(config: Config, me: ServerName, store: Store, peers: PeerLinks, ending: AsyncExitStack) -> _Core:
    now_s = asyncio.get_running_loop().time
    payer = Payer(store, peers)
    peers.on_up(payer.pay)
    kept_s = _keep_tombstones_s(config)
    strangers = Strangers(store, peers, keep_tombstones_s=kept_s, now_ns=time.time_ns)
    is_stranger = strangers.is_stranger
    healer = Healer(store, now_s=now_s, given_up=lambda path: healing.suggest(path), is_stranger=is_stranger)
    ending.push_async_callback(healer.settle)
    reader = Reader(
        me, store, peers, healer, hash_wait_s=config.hash_wait_s, lacking=lambda path: healing.suggest(path)
    )
    ending.push_async_callback(reader.close)
    updater = Updater(
        store, peers, reader, hash_wait_s=config.hash_wait_s, keep_tombstones_s=kept_s, is_stranger=is_stranger
    )
    healing = HealQueue(updater, look_again=reader.look_again)
    peers.on_up(healing.wake)
    ending.push_async_callback(healing.close)
    decider = Decider(me, store, peers, now_ns=time.time_ns, now_s=now_s, hash_wait_s=config.hash_wait_s)
    writer = Writer(decider, reader, min_copies=config.min_copies, unpaid=payer.pay)
    return _Core(reader, writer, Historian(me, store, peers), updater, healing, payer, strangers)


async def _upkeep(
    config: Config, root: Path, store: Store, peers: PeerLinks, core: _Core, ending: AsyncExitStack
) -> _Upkeep:
    """All of it begun; none of it waits for anything."""
    keep_tombstones_s, now_ns = _keep_tombstones_s(config), time.time_ns
    strangers = core.strangers
    await strangers.begin()
    recent = RecentFindings()
    mender = Mender(store, core.healing)
    ending.push_async_callback(mender.close)
    syncer = Syncer(store, peers, core.healing, core.reader, strangers, every_s=config.sync_every_s, now_ns=now_ns)
    recheck = Recheck(store, core.reader, mender, strangers)
    scanner = Scanner(
        store,
        mender,
        every_s=config.scan_every_s,
        now_ns=now_ns,
        hints=FolderHints(root) if config.watch else None,
        found=recent.note,
    )
    scrubber = Scrubber(
        store,
        mender,
        every_s=config.scrub_every_s,
        bytes_per_s=config.scrub_bytes_per_s,
        share=config.scrub_share,
        now_ns=now_ns,
        found=recent.note,
    )
    peers.on_up(syncer.up)
    peers.on_up(recheck.up)
    retention = Retention(store, keep_tombstones_s=keep_tombstones_s, now_ns=now_ns)
    for part in (retention, recheck, syncer, scanner, scrubber):
        part.start()
        ending.push_async_callback(part.close)
    return _Upkeep(scanner, scrubber, syncer, recent)


def _desk(
    config: Config, me: ServerName, store: Store, peers: PeerLinks, core: _Core, upkeep: _Upkeep
) -> tuple[Requests, Status]:
    """Where other servers, and people, ask how this one is, and give it work."""

    def pause(_number: int, _scope: Scope) -> None:
        core.healing.pause()

    def resume(_number: int, _scope: Scope) -> None:
        core.healing.resume()

    requests = Requests(
        store,
        begins={
            Work.SCAN: upkeep.scanner.order,
            Work.SCRUB: upkeep.scrubber.order,
            Work.SYNC: upkeep.syncer.order,
            Work.PAUSE: pause,
            Work.RESUME: resume,
        },
        reported=lambda question: status.report(question),
    )
    gauges = Gauges(core.healing.progress, upkeep.scanner.progress, upkeep.scrubber.progress, upkeep.syncer.progress)
    status = Status(
        me,
        config.cluster,
        store,
        peers,
        gauges,
        requests.order,
        upkeep.recent,
        look_again=core.reader.look_again,
        version=accord.__version__,
        now_ns=time.time_ns,
    )
    return requests, status


def _keep_tombstones_s(config: Config) -> float:
    return tombstones_kept_s(config.keep_tombstones_days, config.keep_days)
