"""What a directory store is made of, and putting it together in the right order. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accord.errors import ConfigError
from accord.model.names import PRIVATE_FOLDER, ServerName
from accord.model.versions import OutsideChanges
from accord.store.confinement import Confinement
from accord.store.examining import Examiner
from accord.store.hashing import HashingPool
from accord.store.health import Health
from accord.store.index import Index
from accord.store.index_file import open_index
from accord.store.indexing import FirstIndexing
from accord.store.kept import Kept
from accord.store.moving import Mover
from accord.store.oddities import Oddities
from accord.store.path_jobs import PathJobs
from accord.store.private import PrivateFolder
from accord.store.records import Judge
from accord.store.retention import Retention
from accord.store.scanning import Scanning
from accord.store.scrubbing import Scrubbing
from accord.store.under_way import UnderWay
from accord.store.unfinished import Unfinished
from accord.store.workshop import NS_PER_DAY, Workshop


@dataclass(frozen=True)
class Parts:
    """What a store is made of."""

    beneath: Confinement
    private: PrivateFolder
    index: Index
    pool: HashingPool
    examiner: Examiner
    jobs: PathJobs
    indexing: FirstIndexing
    shop: Workshop
    judge: Judge
    kept: Kept
    unfinished: Unfinished
    retention: Retention
    under_way: UnderWay
    scanning: Scanning
    scrubbing: Scrubbing


def assemble(
    root: Path,
    server: ServerName,
    outside_changes: OutsideChanges,
    now_ns: Callable[[], int],
    fsync: Callable[[int], None],
    component_walk: bool,
    keep_days: int,
    keep_versions: int,
    step: Callable[[str], None],
) -> Parts:
    """Raises `ConfigError` and `StoreFailed`; then nothing is left open."""
    beneath = Confinement(root, component_walk=component_walk)
    try:
        private = PrivateFolder(root, beneath.root_fd)
        try:
            if beneath.is_on_another_mount(PRIVATE_FOLDER):
                raise ConfigError(f"The folder {private.path} must be on the file system of the files beside it.")
            index = open_index(private.path, is_new_store=private.is_new)
            try:
                health = Health(root, beneath.root_fd, private.lock_fd, index)
                shop = Workshop(
                    beneath, index, private.staging_fd, private.quarantine_fd, now_ns, health, fsync, keep_days, step
                )
                kept = Kept(shop, private.versions_fd)
                unfinished = _finish_what_a_crash_left(shop, kept, keeps_history=keep_days > 0 and keep_versions > 0)
            except BaseException:
                index.close()
                raise
        except BaseException:
            private.close()
            raise
    except BaseException:
        beneath.close()
        raise
    judge = Judge(server, lambda: index.incarnation, outside_changes, lambda: index.floor)
    pool = HashingPool()
    under_way = UnderWay()
    oddities = Oddities(shop, kept)
    examiner = Examiner(beneath, index, judge, now_ns, under_way, oddities, kept)
    jobs = PathJobs(examiner, pool)
    indexing = FirstIndexing(beneath, index, examiner, pool, judge, now_ns, jobs.later)
    index.on_rebuilt = indexing.again
    scanning = Scanning(shop, examiner, jobs, indexing, oddities)
    scrubbing = Scrubbing(shop, kept, examiner, oddities, scanning)
    retention = Retention(shop, kept, keep_versions, keep_days * NS_PER_DAY)
    return Parts(
        beneath,
        private,
        index,
        pool,
        examiner,
        jobs,
        indexing,
        shop,
        judge,
        kept,
        unfinished,
        retention,
        under_way,
        scanning,
        scrubbing,
    )


def _finish_what_a_crash_left(shop: Workshop, kept: Kept, *, keeps_history: bool) -> Unfinished:
    """Before anything is served."""
    shop.index.read(shop.index.debts.load)
    unfinished = Unfinished(shop, kept, Mover(shop, kept, keeps_history=keeps_history))
    still_needed = unfinished.complete()
    shop.clean_staging(but=still_needed)
    shop.clean_quarantine()
    return unfinished
