"""Two sides compared, path by path, as they stream in: what is on one of them only, what differs, what cannot be known.

Sizes first, then contents by their BLAKE3: a server tells its digests, local files are read, several at a time. Results come in the
order of the paths; a bounded number of them waits for a file that takes long, however many there are. Where the sides come from is
`client.sides`'.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, NamedTuple

from accord.client.file_digest import digest_of_file
from accord.client.results import Compared, Copy, Relation
from accord.client.sides import Entry
from accord.client.source import Progress
from accord.errors import AccordError, RivalVersions, UnknownState
from accord.model.names import Digest

MAX_RUN_PAIRS: Final = 64
"""So many paths in a row are one thread's work: handing over a small file costs more than reading it."""
LONG_BYTES: Final = 1024 * 1024
"""What is this long is handed over at once, and read on both sides at the same time."""
MAX_RUNS: Final = 32
"""So many runs are under way, or wait for one before them."""

_DIFFER: Final = RivalVersions.exit_code


@dataclass(frozen=True)
class Comparing:
    """How it is to be done. `watch` is entered around the reading of each file (its path and size), `expect` is told beforehand."""

    jobs: int
    size_only: bool = False
    expect: Callable[[int], None] | None = None
    watch: Callable[[str, int], AbstractContextManager[Progress | None]] | None = None


class Pair(NamedTuple):
    """What the sides have at one path."""

    left: Entry | None
    right: Entry | None

    @property
    def path(self) -> str:
        entry = self.left or self.right
        assert entry is not None
        return entry.path


def pairs(left: Iterable[Entry], right: Iterable[Entry]) -> Iterator[Pair]:
    """The entries of both sides, each in the order of its paths, side by side. What lies below a folder that the other side could
    not read is left out: that folder is an error of its own."""
    lefts, rights = iter(left), iter(right)
    one, other = next(lefts, None), next(rights, None)
    closed = _Closed()
    while one is not None or other is not None:
        if other is None or (one is not None and one.raw < other.raw):
            pair, one = Pair(one, None), next(lefts, None)
        elif one is None or other.raw < one.raw:
            pair, other = Pair(None, other), next(rights, None)
        else:
            pair, one, other = Pair(one, other), next(lefts, None), next(rights, None)
        if closed.is_open(pair):
            yield pair


class _Closed:
    """The last folder that each side could not read: what is below it comes right behind it."""

    def __init__(self) -> None:
        self._folders: list[bytes | None] = [None, None]

    def is_open(self, pair: Pair) -> bool:
        for side, entry in enumerate(pair):
            if entry is not None and entry.is_error and entry.raw.endswith(b"/"):
                self._folders[side] = entry.raw
        for side, entry in enumerate(pair):
            folder = self._folders[1 - side]
            if entry is not None and pair[1 - side] is None and folder is not None and entry.raw.startswith(folder):
                return False
        return True


def compare(left: Iterable[Entry], right: Iterable[Entry], comparing: Comparing) -> Generator[Compared, None, None]:
    """Raises what the sides raise, once everything before it was told. Close it: threads are at work for it."""
    with _Readers(comparing) as readers:
        waiting: deque[Future[list[Compared]]] = deque()
        try:
            for run in _runs(pairs(left, right)):
                waiting.append(readers.begin(run))
                while waiting and (len(waiting) >= MAX_RUNS or waiting[0].done()):
                    yield from waiting.popleft().result()
        except AccordError:
            for one in waiting:
                yield from one.result()
            raise
        for one in waiting:
            yield from one.result()


def _runs(found: Iterable[Pair]) -> Iterator[list[Pair]]:
    run: list[Pair] = []
    size_bytes = 0
    try:
        for pair in found:
            run.append(pair)
            size_bytes += max(entry.size_bytes or 0 for entry in pair if entry is not None)
            if len(run) == MAX_RUN_PAIRS or size_bytes >= LONG_BYTES:
                yield run
                run, size_bytes = [], 0
    except AccordError:
        yield run
        raise
    yield run


class _Readers:
    """The threads that read local files. When the context ends, by Ctrl-C too, they stop within a block."""

    def __init__(self, comparing: Comparing) -> None:
        self._comparing = comparing
        self._pool = ThreadPoolExecutor(comparing.jobs, thread_name_prefix="accord-compare")
        self._second = ThreadPoolExecutor(comparing.jobs, thread_name_prefix="accord-compare-right")
        self._stop = threading.Event()

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for pool in (self._pool, self._second):
            pool.shutdown(cancel_futures=True)

    def begin(self, run: list[Pair]) -> Future[list[Compared]]:
        for pair in run:
            for entry in self._to_be_read(pair):
                if self._comparing.expect is not None:
                    self._comparing.expect(entry.size_bytes or 0)
        return self._pool.submit(lambda: [self._compared(pair) for pair in run])

    def _to_be_read(self, pair: Pair) -> list[Entry]:
        """Nothing where the sizes tell enough, or one side is missing or said to be odd."""
        left, right = pair
        if left is None or right is None or left.reason or right.reason or _has_sizes(left, right, differ=True):
            return []
        if self._comparing.size_only and _has_sizes(left, right, differ=False):
            return []
        return [entry for entry in (left, right) if entry.local is not None]

    def _compared(self, pair: Pair) -> Compared:
        left, right = pair
        reasons = [entry.reason for entry in pair if entry is not None and entry.reason is not None]
        told = "; ".join(dict.fromkeys(reasons)) or None
        codes = [entry.exit_code for entry in pair if entry is not None and entry.is_error]
        if codes:
            return _told(pair, "error", told, max(codes))
        if left is None or right is None:
            return _told(pair, "only right" if left is None else "only left", told, _DIFFER)
        if reasons or _has_sizes(left, right, differ=True):
            return _told(pair, "differs", told, _DIFFER)
        if self._comparing.size_only and _has_sizes(left, right, differ=False):
            return _told(pair, "same")
        return self._by_content(pair, left, right)

    def _by_content(self, pair: Pair, left: Entry, right: Entry) -> Compared:
        try:
            if left.local is not None and right.local is not None and (right.size_bytes or 0) >= LONG_BYTES:
                other = self._second.submit(self._digest, right)
                digests = self._digest(left), other.result()
            else:
                digests = self._digest(left), self._digest(right)
        except AccordError as error:
            return _told(pair, "error", error.detail.rstrip("."), error.exit_code)
        if None in digests:
            return _told(pair, "error", "the server tells no digest of it", UnknownState.exit_code)
        if digests[0] == digests[1]:
            return _told(pair, "same", digests=digests)
        return _told(pair, "differs", None, _DIFFER, digests)

    def _digest(self, entry: Entry) -> Digest | None:
        """Raises `AccordError`."""
        if entry.local is None:
            return entry.digest
        watch = self._comparing.watch
        with nullcontext() if watch is None else watch(entry.path, entry.size_bytes or 0) as tell:

            def on_the_way(done_bytes: int, total_bytes: int | None) -> None:
                if self._stop.is_set():
                    raise AccordError("The comparison was ended.")
                if tell is not None:
                    tell(done_bytes, total_bytes)

            return digest_of_file(entry.local, on_the_way)


def _has_sizes(left: Entry, right: Entry, *, differ: bool) -> bool:
    """Whether both sizes are known, and differ or not."""
    if left.size_bytes is None or right.size_bytes is None:
        return False
    return (left.size_bytes != right.size_bytes) == differ


def _told(
    pair: Pair,
    relation: Relation,
    reason: str | None = None,
    exit_code: int = 0,
    digests: tuple[Digest | None, Digest | None] = (None, None),
) -> Compared:
    left, right = (_copy(entry, digest) for entry, digest in zip(pair, digests, strict=True))
    return Compared(pair.path, relation, left, right, reason, exit_code)


def _copy(entry: Entry | None, digest: Digest | None) -> Copy | None:
    return None if entry is None else Copy(entry.size_bytes, digest or entry.digest)
