"""The one durable-write recipe: how finished bytes become versions of their paths, all of one commit's together.

    plan      what is there is what the change was decided on (`planning`)
    bring     folders are made; rivals go aside, under `.accord/versions/`; what goes to the path is dressed in staging
    promise   one transaction of the index, synced: clocks, history, debts, and what is yet to be done to the files
    finish    rename into place, what was there to history, sync of the folder (`moving`)
    record    the stat data that vouch from now on; struck out what was to be done: both with the index's next batch

The clock is promised, durably, *before* the rename: a crash between the two is mended at the next start. The other way round it would
leave content of unknown origin, which would be taken for a change made behind Accord's back. Up to the promise everything is taken
back if anything fails. A failed sync is never tried again: what the kernel did with the pages is unknown (Rebello et al., USENIX ATC
2020). Blocking.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from accord.errors import StoreFailed
from accord.model.names import Digest, FilePath
from accord.model.placement import current_contents
from accord.model.verdict import Damaged, Known, is_known
from accord.model.versions import EMPTY_CLOCK
from accord.store.commit_queue import Outcome
from accord.store.confinement import NotAFile
from accord.store.examining import Examiner, Opened
from accord.store.hashing import Progress
from accord.store.incoming import FileIncoming, InThread, dress, new_name
from accord.store.intents import Intent
from accord.store.kept import Kept
from accord.store.moving import End
from accord.store.planning import Plan, Planner
from accord.store.port import Change, Committed
from accord.store.promises import Job, Promised, Put
from accord.store.records import RACY_WINDOW_NS, Record, Stat, nothing_there
from accord.store.under_way import UnderWay
from accord.store.unfinished import Unfinished
from accord.store.workshop import Workshop, store_failure

_COARSE_NS = 1_000_000
"""A time that is a whole number of these may have been rounded by the file system."""


Commit = Generator[Sequence[Put], list[Promised] | None, list[Committed] | None]
"""One commit under way: tells what is to be promised, and goes on once it is told what was (None: it came too late). It may stop once
more before its end: then its path is at rest, and it wants another look at it."""


class Committer:
    def __init__(
        self,
        shop: Workshop,
        kept: Kept,
        unfinished: Unfinished,
        examiner: Examiner,
        in_thread: InThread,
        under_way: UnderWay,
    ) -> None:
        self._shop = shop
        self._kept = kept
        self._unfinished = unfinished
        self._examiner = examiner
        self._in_thread = in_thread
        self._under_way = under_way
        self._planner = Planner(shop, kept)

    def commit_all(self, commits: Sequence[Sequence[Change]]) -> list[Outcome]:
        """What becomes of each (see `port.Store.commit`): they share one transaction, and the failure of one is nothing to the others.
        No path of one is that of another, or above or below it."""
        outcomes: list[Outcome] = [None] * len(commits)
        waiting: list[tuple[int, Commit, Sequence[Put]]] = []
        with ExitStack() as ends:  # whatever goes wrong with one
            for number, changes in enumerate(commits):
                commit = self._steps(changes)
                ends.callback(commit.close)
                outcomes[number], puts = _gone_on(commit, None)
                if puts is not None:
                    waiting.append((number, commit, puts))
            jobs = self._shop.index.commit_all([puts for *_, puts in waiting], self._shop.now_ns())
            looking = []
            for (number, commit, _), job in zip(waiting, jobs, strict=True):
                outcomes[number], more = _gone_on(commit, job)
                if more is not None:
                    looking.append((number, commit))
            for number, commit in looking:
                outcomes[number], _ = _gone_on(commit, None)
        return outcomes

    def _steps(self, changes: Sequence[Change]) -> Commit:
        """One of them: up to its promise, and then on from there. Raises as `port.Store.commit`."""
        self._shop.health.refuse_if_unfit()
        self._unfinished.retry({change.path for change in changes})
        doing = f"writing '{changes[0].path}'" if changes else "writing nothing"
        for change in changes:
            contents = current_contents(change.clock)
            for incoming in change.incoming:
                if isinstance(incoming, FileIncoming):
                    incoming.finish_now(contents)
        try:
            plans = [self._planner.plan(change) for change in changes]
        except OSError as error:
            raise store_failure(error, doing) from error
        told = [plan for plan in plans if plan is not None]
        if len(told) < len(plans):
            return None
        with self._kept.guarding([digest for plan in told for digest in plan.contents]):
            with self._under_way.commit([change.path for change in changes]):
                try:
                    promised = yield from self._bring_and_promise(told)
                except OSError as error:
                    raise store_failure(error, doing) from error
                if promised is None:
                    return None
                answers = self._finish_all(told, promised, doing)
            if None in answers:
                yield ()  # the others first: a look may take long
            return [
                Committed(answer or self._answer(plan.change.path), promise.debt)
                for plan, answer, promise in zip(told, answers, promised, strict=True)
            ]

    def _finish_all(self, plans: Sequence[Plan], promised: Sequence[Promised], doing: str) -> list[Known | None]:
        """What `_finish` gives. All of it is done, as far as it can be, even if some of it fails: what is promised stays promised."""
        answers: list[Known | None] = []
        failure: Exception | None = None
        for plan, promise in zip(plans, promised, strict=True):
            try:
                answers.append(self._finish(plan, promise))
            except (OSError, StoreFailed) as error:
                failure = failure or error
            finally:
                if plan.staged is not None:
                    plan.staged.release()
        for plan in plans:
            for one in plan.incoming.values():
                one.end()
        if isinstance(failure, OSError):
            raise store_failure(failure, doing) from failure
        if failure is not None:
            raise failure
        return answers

    def _bring_and_promise(
        self, plans: Sequence[Plan]
    ) -> Generator[Sequence[Put], list[Promised] | None, list[Promised] | None]:
        promised = None
        try:
            for plan in plans:
                self._bring(plan)
            self._kept.sync(digest for plan in plans for _, digest in plan.brought)
            self._shop.step("promise")
            promised = yield [_put(plan) for plan in plans]
        finally:
            if promised is None:
                guards = Counter(digest for plan in plans for digest in plan.contents)
                for plan in plans:
                    self._take_back(plan, guards)
        return promised

    def _bring(self, plan: Plan) -> None:
        path, placement = plan.change.path, plan.placement
        for digest in sorted(placement.aside):
            incoming = plan.incoming.get(digest)
            if incoming is not None:
                incoming.dress(plan.contents[digest], None)
                if self._kept.take_in(incoming.name, digest):
                    plan.brought.append((incoming, digest))
        if plan.comes is not None:
            self._shop.require_place(path, is_taken=plan.seen is not None)
            self._stage(plan)
        elif plan.is_taken_out:
            self._shop.require_place(path, is_taken=True)
            old_digest = plan.there
            plan.intent = Intent(path, new_name(), 0, None, plan.seen, old_digest, was_kept=False)

    def _stage(self, plan: Plan) -> None:
        """What goes to the path is in staging; its stat data, from before anybody else could reach it."""
        digest = plan.comes
        assert digest is not None
        staged = plan.incoming.get(digest) or self._from_kept(plan, digest)
        if staged is None:
            self._kept.condemn(digest)
            raise StoreFailed(
                "The version that was kept is damaged; it was put into quarantine.", path=plan.change.path
            )
        plan.staged = staged
        status = staged.dress(plan.contents[digest], self._mode_of(plan) if plan.seen is not None else None)
        plan.staged_stat = Stat.of(status)
        plan.intent = Intent(plan.change.path, staged.name, status.st_ino, digest, plan.seen, plan.there, plan.was_kept)

    def _from_kept(self, plan: Plan, digest: Digest) -> FileIncoming | None:
        """The kept file itself, where nothing but this path needs it; otherwise a copy. None if it is damaged."""
        if not self._kept.is_needed(digest, but_at=plan.change.path):
            staged = self._kept.second_name(digest, self._in_thread)
            plan.was_kept = staged is not None
            if staged is not None:
                return staged
        fd = self._kept.open(digest)
        if fd is None:
            return None
        try:
            return self._kept.copied(fd, digest, self._in_thread)
        finally:
            os.close(fd)

    def _mode_of(self, plan: Plan) -> int | None:
        try:
            fd = self._shop.beneath.probe(plan.change.path)
        except OSError:
            return None
        try:
            return os.fstat(fd).st_mode
        finally:
            os.close(fd)

    def _take_back(self, plan: Plan, guards: Mapping[Digest, int]) -> None:
        """Nothing was promised: the incoming are usable again, and nothing else is left."""
        for incoming, digest in plan.brought:
            with suppress(OSError, StoreFailed):
                self._kept.give_back(incoming, digest, guards[digest])
        plan.brought.clear()
        if plan.staged is not None and plan.staged not in plan.incoming.values():
            plan.staged.end()
        if plan.comes is not None:
            self._shop.prune_above(plan.change.path)

    def _finish(self, plan: Plan, promise: Promised) -> Known | None:
        """What is at the path now, where that is what went there; None where it takes another look."""
        path = plan.change.path
        end = End.DONE
        if plan.intent is not None:
            end = self._unfinished.finish(promise.intent, plan.intent, is_new=True)
        elif plan.dressed is not None:
            self._dress(path, plan)
        promised = plan.promised()
        if end is End.DONE:
            record = self._recorded(plan, promised)
            is_told = record == promised or self._shop.index.replace(path, promised, record, durable=False)
            if is_told and plan.staged is not None and record.vouching() is not None:
                return record.present()
        return None

    def _dress(self, path: FilePath, plan: Plan) -> None:
        assert plan.dressed is not None
        with suppress(OSError, NotAFile):  # it is only a time
            fd = self._shop.beneath.open_regular(path)
            try:
                if Stat.of(os.fstat(fd)) == plan.seen:
                    self._shop.step("dress")
                    if dress(fd, plan.dressed) is None:
                        self._shop.sync(fd)
                    plan.staged_stat = Stat.of(os.fstat(fd))
            finally:
                os.close(fd)

    def _recorded(self, plan: Plan, promised: Record) -> Record:
        if plan.is_taken_out:
            return replace(promised, stat=None, digest=None, damaged=None, executable=False)
        if plan.staged is not None and plan.staged_stat is not None:
            stat = plan.staged.still(plan.staged_stat)
            if stat is None:
                return promised
            is_executable = plan.contents[plan.comes].executable if plan.comes is not None else False
            return replace(
                promised,
                stat=stat,
                digest=plan.comes,
                damaged=None,
                executable=is_executable,
                hashed_at_ns=self._vouched_from(stat),
            )
        if plan.dressed is not None and plan.staged_stat is not None:
            stat = plan.staged_stat
            vouched_from_ns = self._vouched_from(stat)
            return replace(promised, stat=stat, executable=plan.dressed.executable, hashed_at_ns=vouched_from_ns)
        return promised

    def _vouched_from(self, stat: Stat) -> int:
        """Up to the rename nobody else could write to the file, and a write since then would have moved its modified time away from
        the version's: so the stat data vouch at once. Unless the version has the very time that a write would have left now: the
        kernel's own, or one that was rounded."""
        now_ns = self._shop.now_ns()
        is_own = stat.mtime_ns != stat.ctime_ns and stat.mtime_ns % _COARSE_NS != 0
        if not is_own and abs(now_ns - stat.mtime_ns) <= RACY_WINDOW_NS:
            return now_ns
        return stat.ctime_ns + RACY_WINDOW_NS + 1

    def _answer(self, path: FilePath) -> Known:
        record = self._shop.index.get(path)
        seen = self._shop.seen_at(path)
        if not isinstance(seen, Stat):
            return nothing_there(record, self._shop.now_ns(), seen)
        if record is not None and record.vouching() == seen:
            return record.present()
        held = self._examiner.hash_large(path, Progress(), reread=False)
        if isinstance(held, Opened):
            os.close(held.fd)
            return held.record.present()
        if is_known(held):
            return held
        beside = record.beside(None) if record is not None else ()
        return Damaged("it is being changed", None, record.clock if record is not None else EMPTY_CLOCK, beside)


def _put(plan: Plan) -> Put:
    change = plan.change
    return Put(change.path, plan.record, plan.promised(), change.events, plan.intent, change.owed)


def _gone_on(commit: Commit, job: Job | None) -> tuple[Outcome, Sequence[Put] | None]:
    """What became of it, or what it wants to be promised. `job` is what it had wanted."""
    try:
        if job is None:
            return None, next(commit)
        if job.error is not None:
            return None, commit.throw(job.error)
        return None, commit.send(job.result)
    except StopIteration as ended:
        result: list[Committed] | None = ended.value
        return result, None
    except Exception as error:  # noqa: BLE001 - it is raised where the commit is waited for
        return error, None
