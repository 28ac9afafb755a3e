"""Finding what this server lacks: it compares itself with every other server, and has what differs brought up to date.

Pull only: what the other one lacks, the other one finds itself. A comparison is begun when a peer comes up, on schedule, and on demand;
one at a time for each peer. What differs goes to the heal queue as it is found, which takes in so much and no more: a server with an
empty disk is filled in the order of the paths. Nothing is kept of a run that was cut: what is mended by then is equal the next time.

How ranges are narrowed down is left to `engine.comparison`, who is a stranger to `engine.strangers`, what healing is to
`engine.update`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial

import structlog

from accord.background import begun, ended
from accord.codec import mark_of
from accord.engine.comparison import Comparison, Found
from accord.engine.heal_queue import HealQueue, Urgency
from accord.engine.progress import SyncProgress
from accord.engine.read import Reader
from accord.engine.runs import EVERYTHING, MAX_ENDED_ORDERS, Order
from accord.engine.strangers import Strangers
from accord.errors import AccordError
from accord.model.names import FilePath, ServerName
from accord.model.verdict import is_known
from accord.model.versions import merge
from accord.peers.port import Peers, PeerState
from accord.store.inventory import Scope
from accord.store.port import Store

MAX_RUNS_AT_ONCE = 2
MAX_ORDERS = 16
"""So many runs that were ordered wait for their turn; more are refused."""
SOON_S = 15.0
"""After a run that found differences, or failed, the next one is due so soon, then later and later."""
LATEST_S = 3600.0
"""After one that failed no later than this, also where none is due by schedule."""
PATIENCE_PATHS = 100
FAILING_PAUSE_S = 0.05
"""After so many failures in a row each further path waits for so long: where nothing can be had from a peer, trying everything costs
next to nothing, and where only these could not be mended, the others still get their turn."""
MAX_REMEMBERED = 10_000
"""So many paths that stayed different are remembered from one run to the next."""
INDEXING_PAUSE_S = 1.0
TOO_MANY = "has more that nobody else has, after a long absence, than can be remembered"

BY_SCHEDULE = Order(0, EVERYTHING)

_log = structlog.get_logger("accord.sync")

_Marks = tuple[bytes | None, bytes]


class _Run:
    """One run: what it found, and what became of it."""

    def __init__(self, order: Order, comparison: Comparison, began_ns: int, *, is_stranger: bool) -> None:
        self.order = order
        self.comparison = comparison
        self.began_ns = began_ns
        self.ended_ns: int | None = None
        self.is_stranger = is_stranger
        self.differing = self.mended = self.failed = self.failed_in_a_row = self.estranged = 0
        self.error: str | None = None
        self.stayed: dict[FilePath, _Marks] = {}
        """Paths that were brought up to date, with what they were known as before."""
        self.under_way: set[asyncio.Future[str | None]] = set()

    @property
    def is_whole(self) -> bool:
        return self.error is None and self.order.scope == EVERYTHING


class _Course:
    """The runs with one peer, one after the other."""

    def __init__(self, peer: ServerName) -> None:
        self.peer = peer
        self.due = asyncio.Event()
        self.orders: deque[Order] = deque()
        self.ended: deque[int] = deque(maxlen=MAX_ENDED_ORDERS)
        self.run: _Run | None = None
        """The one under way, else the last."""
        self.stayed: dict[FilePath, _Marks] = {}
        self.is_equal: bool | None = None
        self.equal_ns: int | None = None
        self.uneven_runs = self.failed_runs = 0
        self.lock = asyncio.Lock()


class Syncer:
    """Syncs one server from the others. `every_s` None: not on schedule. `now_ns` is the time of day."""

    def __init__(
        self,
        store: Store,
        peers: Peers,
        healing: HealQueue,
        reader: Reader,
        strangers: Strangers,
        *,
        every_s: float | None,
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._peers = peers
        self._healing = healing
        self._reader = reader
        self._strangers = strangers
        self._every_s = every_s
        self._now_ns = now_ns
        self._courses = {name: _Course(name) for name in peers.names}
        self._turns = asyncio.Semaphore(MAX_RUNS_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for course in self._courses.values():
            self._tasks.append(begun(self._work(course), name=f"sync {course.peer}"))

    async def close(self) -> None:
        await ended(*self._tasks)

    def up(self, server: ServerName) -> None:
        """`server` can be asked (again)."""
        self._courses[server].due.set()

    def order(self, number: int, scope: Scope = EVERYTHING) -> str | None:
        """Compare with everybody, soon: None, or why not."""
        if any(len(course.orders) >= MAX_ORDERS for course in self._courses.values()):
            return f"{MAX_ORDERS} runs are waiting already"
        for course in self._courses.values():
            course.orders.append(Order(number, scope))
            course.due.set()
        return None

    def progress(self) -> Sequence[SyncProgress]:
        return [_progress(course) for course in self._courses.values()]

    async def run(self, peer: ServerName, order: Order = BY_SCHEDULE) -> SyncProgress:
        """One run, to its end."""
        course = self._courses[peer]
        async with course.lock:
            is_stranger = await self._strangers.is_stranger(peer)
            comparison = Comparison(self._store, self._peers, peer, order.scope)
            run = course.run = _Run(order, comparison, self._now_ns(), is_stranger=is_stranger)
            try:
                await self._conduct(course, run)
            except asyncio.CancelledError:
                run.error = "broken off"
                raise
            finally:
                run.ended_ns = self._now_ns()
                if order.number:
                    course.ended.append(order.number)
            self._conclude(course, run)
        return _progress(course)

    async def _work(self, course: _Course) -> None:
        course.due.set()
        while True:
            await self._until_due(course)
            await self._indexed()
            order = course.orders.popleft() if course.orders else BY_SCHEDULE
            if course.orders:
                course.due.set()
            if order.number or self._is_up(course.peer):
                async with self._turns:
                    await self.run(course.peer, order)

    async def _indexed(self) -> None:
        """Until this server's own files were all looked at once: before that, everything seems to be lacking."""
        while not self._store.indexing().done:  # noqa: ASYNC110  # the store tells nobody
            await asyncio.sleep(INDEXING_PAUSE_S)

    async def _until_due(self, course: _Course) -> None:
        try:
            async with asyncio.timeout(self._pause_s(course)):
                await course.due.wait()
        except TimeoutError:
            pass
        course.due.clear()

    def _pause_s(self, course: _Course) -> float | None:
        runs = course.uneven_runs + course.failed_runs
        every_s = LATEST_S if self._every_s is None and course.failed_runs else self._every_s
        return every_s if every_s is None or not runs else min(every_s, SOON_S * 2 ** min(runs - 1, 30))

    async def _conduct(self, course: _Course, run: _Run) -> None:
        try:
            async with aclosing(run.comparison.found()) as pages:
                async for page in pages:
                    for found in await self._not_estranged(run, page):
                        run.differing += 1
                        await self._mend(course, run, found)
        except AccordError as error:
            run.error = error.detail.removesuffix(".")
        # What was begun comes to its end, also where the comparison was cut. Only closing lets go of it: the queue may be paused.
        while run.under_way:
            await asyncio.wait(run.under_way)

    async def _not_estranged(self, run: _Run, page: Sequence[Found]) -> list[Found]:
        """The rest of what only a stranger has is reported, and not taken over."""
        unknown = [found.path for found in page if found.mine is None]
        if unknown and run.is_stranger:
            self._store.deem_estranged(unknown)
            if not await self._store.is_estranged(unknown[-1]):
                run.error = TOO_MANY  # it is met only once all of that is remembered
        left = set(unknown) if run.is_stranger else {path for path in unknown if await self._stays_estranged(path)}
        run.estranged += len(left)
        return [found for found in page if found.path not in left]

    async def _stays_estranged(self, path: FilePath) -> bool:
        """With a third server, it may be no longer only a stranger that has it: `engine.update` decides."""
        return len(self._courses) == 1 and await self._store.is_estranged(path)

    async def _mend(self, course: _Course, run: _Run, found: Found) -> None:
        path, marks = found.path, (found.mine, found.theirs)
        again = course.stayed.get(path) == marks
        if again and await self._is_ahead(course.peer, path):
            run.mended += 1  # it is the other one that has to take something over
            self._remember(run, path, marks)
            return
        ended = await self._healing.enqueue(path, Urgency.SYNC)
        run.under_way.add(ended)
        ended.add_done_callback(partial(self._ended, course.peer, run, found, again))
        if run.failed_in_a_row >= PATIENCE_PATHS and not ended.done():  # what failed lately costs nothing
            await asyncio.sleep(FAILING_PAUSE_S)

    def _ended(self, peer: ServerName, run: _Run, found: Found, again: bool, ended: asyncio.Future[str | None]) -> None:
        run.under_way.discard(ended)
        run.failed_in_a_row = run.failed_in_a_row + 1 if ended.cancelled() or ended.result() is not None else 0
        # What was nothing to take over from those who answered may be something with the peer that was silent.
        if ended.cancelled() or ended.result() is not None or again or not self._is_up(peer):
            run.failed += 1
        else:
            run.mended += 1
            self._remember(run, found.path, (found.mine, found.theirs))

    def _remember(self, run: _Run, path: FilePath, marks: _Marks) -> None:
        if len(run.stayed) < MAX_REMEMBERED:
            run.stayed[path] = marks

    async def _is_ahead(self, peer: ServerName, path: FilePath) -> bool:
        """Whether this server knows everything that `peer` knows of the path."""
        reading = await self._reader.read(path)
        reading.close()
        theirs = reading.answers[peer]
        if not (is_known(theirs) and is_known(reading.local)):
            return False
        mine = reading.local.clock
        return mark_of(path, merge(mine, theirs.clock)) == mark_of(path, mine)

    def _conclude(self, course: _Course, run: _Run) -> None:
        differs = bool(run.differing or run.comparison.lacks_there)
        course.uneven_runs = course.uneven_runs + 1 if differs and run.error is None else 0
        course.failed_runs = course.failed_runs + 1 if run.error is not None else 0
        course.stayed = run.stayed if run.is_whole else {**course.stayed, **run.stayed}
        if run.is_whole:
            course.is_equal = not run.failed
            course.equal_ns = run.ended_ns if course.is_equal else course.equal_ns
            self._strangers.met(course.peer)
            if not differs:
                self._store.forget_debts_lost(course.peer)
        elif run.failed or run.error is not None:
            course.is_equal = False if run.failed else course.is_equal
        if run.differing or run.estranged or run.error is not None:
            _log.info(
                "compared",
                peer=course.peer,
                differing=run.differing,
                mended=run.mended,
                failed=run.failed,
                estranged=run.estranged,
                round_trips=run.comparison.round_trips,
                reason=run.error,
            )

    def _is_up(self, peer: ServerName) -> bool:
        return any(one.name == peer and one.state is PeerState.UP for one in self._peers.statuses())


def _progress(course: _Course) -> SyncProgress:
    run = course.run
    if run is None:
        return SyncProgress(peer=str(course.peer))
    return SyncProgress(
        peer=str(course.peer),
        running=run.ended_ns is None,
        order=run.order.number,
        began_ns=run.began_ns,
        ended_ns=run.ended_ns,
        round_trips=run.comparison.round_trips,
        differing=run.differing,
        mended=run.mended,
        failed=run.failed,
        is_equal=course.is_equal,
        equal_ns=course.equal_ns,
        stranger=run.is_stranger,
        error=run.error,
        ended_orders=tuple(course.ended),
    )
