"""A listing: every server's paths, merged in order into verdicts, as a page, a stream of lines, or a page for people.

At most one page of each server is held at a time. A server that fails is silent from there on, which every later verdict says, and the
end of the listing too. How each server walks its tree is left to the store and the peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from accord.errors import AccordError, PeerFailed
from accord.model.listing import Walked
from accord.model.names import Prefix, ServerName
from accord.model.verdict import Absent, Answer, Kind, State, Unreachable, Verdict, compare
from accord.server import pages
from accord.server.media import Form
from accord.server.paths import encoded
from accord.server.rendering import JSON, rfc3339, verdict_body

FORMS = (Form.JSON, Form.NDJSON, Form.HTML)
BATCH_VERDICTS = 200
"""Compared and encoded at a stretch; then the event loop gets its turn. A few milliseconds."""

_ABSENT = Absent()

Pages = AsyncIterator[Sequence[Walked]]


class ListedServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A server's part in a listing: `answered`, or `unreachable` and why (from some path on, perhaps)."""

    name: str
    state: str
    reason: str | None = None


class ListingPage(msgspec.Struct, frozen=True):
    """The JSON of one page. `next` is what to give as `after` for the next one, or null at the end."""

    prefix: str
    entries: list[msgspec.Raw]
    next: str | None
    servers: list[ListedServer]


class ListingEnd(msgspec.Struct, frozen=True):
    """The last line of a stream: without it the listing was cut off."""

    end: bool
    entries: int
    next: str | None
    servers: list[ListedServer]


class _Cursor:
    """One server's stream: the page at hand, and the place in it."""

    def __init__(self, name: ServerName, stream: Pages, prefix: str) -> None:
        self.name = name
        self.silence: Unreachable | None = None
        self.page: Sequence[Walked] = ()
        self.place = 0
        self.ended = False
        self._stream = stream
        self._prefix = prefix
        self._last = ""

    @property
    def is_hungry(self) -> bool:
        return not self.ended and self.place >= len(self.page)

    async def feed(self) -> None:
        """Fetch the next page. A failure, an answer out of order too, makes the server silent."""
        try:
            page = await anext(self._stream, None)
            self.page, self.place, self.ended = page or (), 0, page is None
            self._check_order()
        except AccordError as error:
            self.page, self.place, self.ended = (), 0, True
            # The name stands beside the reason wherever it is shown.
            self.silence = Unreachable(error.detail.removeprefix(f"{self.name}: ").removesuffix("."))

    def _check_order(self) -> None:
        last = self._last
        for path, _ in self.page:
            if path <= last or not path.startswith(self._prefix):
                raise PeerFailed("its listing is out of order")
            last = path
        self._last = last

    def answer(self, path: str) -> Answer:
        """What this server says about `path`, the smallest that is not yet told; moves on if it said something."""
        if self.place < len(self.page):
            walked = self.page[self.place]
            if walked.path == path:
                self.place += 1
                return walked.answer
        return self.silence or _ABSENT

    async def close(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


class Merge:
    """The merged listing of all `streams`, each in ascending order of paths below `prefix`. Iterate once."""

    def __init__(self, streams: Mapping[ServerName, Pages], prefix: str = "", *, show_deleted: bool = False) -> None:
        self._cursors = [_Cursor(name, stream, prefix) for name, stream in sorted(streams.items())]
        self._hidden = frozenset((Kind.MISSING,) if show_deleted else (Kind.MISSING, Kind.DELETED))

    async def batches(self, size: int = BATCH_VERDICTS) -> AsyncGenerator[list[Verdict], None]:
        """Verdicts in the order of paths, at most `size` at a time. Paths that no server has are left out."""
        try:
            while True:
                hungry = [cursor for cursor in self._cursors if cursor.is_hungry]
                await asyncio.gather(*(cursor.feed() for cursor in hungry))
                if all(cursor.ended for cursor in self._cursors):
                    return
                batch = self._batch(size)
                if batch:
                    yield batch
                await asyncio.sleep(0)
        finally:
            for cursor in self._cursors:
                await cursor.close()

    def _batch(self, size: int) -> list[Verdict]:
        """As many verdicts as the pages at hand allow."""
        cursors = self._cursors
        batch: list[Verdict] = []
        for _ in range(size):
            if any(cursor.is_hungry for cursor in cursors):
                break
            heads = [cursor.page[cursor.place].path for cursor in cursors if cursor.place < len(cursor.page)]
            if not heads:
                break
            path = min(heads)
            verdict = compare(path, {cursor.name: cursor.answer(path) for cursor in cursors})
            if verdict.kind not in self._hidden:
                batch.append(verdict)
        return batch

    def servers(self) -> list[ListedServer]:
        """How each server has answered so far."""
        return [
            ListedServer(cursor.name, "answered")
            if cursor.silence is None
            else ListedServer(cursor.name, "unreachable", cursor.silence.reason)
            for cursor in self._cursors
        ]


async def merged(streams: Mapping[ServerName, Pages]) -> AsyncIterator[Verdict]:
    """The verdicts one by one."""
    async with aclosing(Merge(streams).batches()) as batches:
        async for batch in batches:
            for verdict in batch:
                yield verdict


async def in_threads(walk: Iterator[Sequence[Walked]]) -> AsyncIterator[Sequence[Walked]]:
    """A store's walk, which blocks, as a stream."""
    while (page := await asyncio.to_thread(next, walk, None)) is not None:
        yield page


async def _first(merge: Merge, limit: int) -> tuple[list[Verdict], str | None]:
    """Up to `limit` verdicts, and the cursor behind them if there are more."""
    verdicts: list[Verdict] = []
    async with aclosing(merge.batches()) as batches:
        async for batch in batches:
            verdicts += batch
            if len(verdicts) > limit:
                return verdicts[:limit], str(verdicts[limit - 1].path)
    return verdicts, None


async def as_json(merge: Merge, prefix: Prefix, limit: int) -> bytes:
    verdicts, following = await _first(merge, limit)
    entries = []
    for number, verdict in enumerate(verdicts):
        entries.append(msgspec.Raw(JSON.encode(verdict_body(verdict))))
        if number % BATCH_VERDICTS == 0:
            await asyncio.sleep(0)
    return JSON.encode(ListingPage(prefix, entries, following, merge.servers()))


async def as_lines(merge: Merge, limit: int | None) -> AsyncIterator[bytes]:
    """NDJSON, some lines at a time; the last line is a `ListingEnd`."""
    count = 0
    last = following = None
    async with aclosing(merge.batches()) as batches:
        async for batch in batches:
            told = batch if limit is None else batch[: limit - count]
            if told:
                count += len(told)
                last = str(told[-1].path)
                yield JSON.encode_lines([verdict_body(verdict) for verdict in told])
            if len(told) < len(batch):
                following = last
                break
    yield JSON.encode_lines([ListingEnd(True, count, following, merge.servers())])


async def as_page(merge: Merge, prefix: Prefix, limit: int) -> bytes:
    """The page for a person: the files below `prefix`, each folder on the way a link."""
    verdicts, following = await _first(merge, limit)
    rows = [_row(verdict, prefix) for verdict in verdicts]
    silent = [server for server in merge.servers() if server.reason is not None]
    body = [_crumbs(prefix)]
    body += [
        pages.paragraph(f"{one.name} could not be asked: {one.reason}. Its copies are not shown.") for one in silent
    ]
    if rows:
        heads = ("File", "Copies", "Size", "Modified", "Servers")
        body.append(pages.table(heads, rows, caption=_count(len(rows), following), numeric=frozenset((2,))))
    else:
        body.append(pages.paragraph("There are no files here."))
    if following is not None:
        href = f"/list/{encoded(prefix)}?after={encoded(following)}&limit={limit}"
        body.append(f"<p>{pages.link(href, 'Next page')}</p>")
    return pages.document(f"Files in {prefix}" if prefix else "All files", "".join(body))


def _count(count: int, following: str | None) -> str:
    more = ", and more on the next page" if following is not None else ""
    return f"{count} file{'' if count == 1 else 's'}{more}"


def _crumbs(prefix: Prefix) -> str:
    links = [pages.link("/list/", "All files")]
    folders = prefix.split("/")[:-1]
    links += [_folder("/".join(folders[: depth + 1]) + "/", name) for depth, name in enumerate(folders)]
    return f'<nav aria-label="Folders">{" / ".join(links)}</nav>'


def _folder(path: str, name: str) -> str:
    return pages.link(f"/list/{encoded(path)}", name)


def _row(verdict: Verdict, prefix: Prefix) -> tuple[str, ...]:
    *folders, name = verdict.path.removeprefix(prefix).split("/")
    steps = [_folder(prefix + "/".join(folders[: depth + 1]) + "/", f"{one}/") for depth, one in enumerate(folders)]
    steps.append(pages.link(f"/files/{encoded(verdict.path)}", name))
    newest = verdict.versions[0].version if len(verdict.versions) == 1 else None
    size = pages.size(newest.size) if newest is not None and newest.digest is not None else "—"
    modified = pages.moment(rfc3339(newest.modified_ns)) if newest is not None else "—"
    states = "".join(pages.standing(one.name, one.state.value) for one in verdict.servers)
    if all(one.state is State.CURRENT for one in verdict.servers):
        states = pages.text(f"all {len(verdict.servers)}")
    return "".join(steps), pages.badge(verdict.kind.value), size, modified, states
