"""A listing: every server's paths, merged in order into verdicts, as a page, a stream of lines, or a page for people.

Folded, it has one entry for each folder, with how many files of which verdict are in it. At most one page of each server is held at
a time. A server that fails is silent from there on, which every later verdict says, and the end of the listing too. How each server
walks its tree is left to the store and the peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence

import msgspec

from accord.errors import AccordError, PeerFailed
from accord.model.listing import Walked
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Answer, Kind, Present, State, Unreachable, Verdict, compare
from accord.quantities import size_text
from accord.server import lists, pages
from accord.server.media import Form
from accord.server.paths import encoded
from accord.server.rendering import JSON, rfc3339, verdict_json

FORMS = (Form.JSON, Form.NDJSON, Form.HTML)
BATCH_VERDICTS = 200
"""Compared and encoded at a stretch; then the event loop gets its turn. A few milliseconds."""

_ABSENT = Absent()

Pages = AsyncIterator[Sequence[Walked]]


class Folder(msgspec.Struct, frozen=True):
    """A folder in a folded listing: its path with a slash, the number of files in it, and of these how many have which verdict."""

    folder: str
    files: int
    verdicts: dict[str, int]


Entry = Verdict | Folder


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


class _Tally:
    """The folder that a folded merge is in: what is in it so far, and its last path."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.last = ""
        self.counts: dict[Kind, int] = {}

    def add(self, path: str, kind: Kind) -> None:
        self.last = path
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def told(self) -> Folder:
        counts = {kind.value: self.counts[kind] for kind in Kind if kind in self.counts}
        return Folder(self.folder, sum(counts.values()), counts)


class Merge:
    """The merged listing of all `streams`, each in ascending order of paths below `prefix`. Iterate once.

    `folded`: files in folders below `prefix` are counted, not listed.
    """

    def __init__(
        self,
        streams: Mapping[ServerName, Pages],
        prefix: str = "",
        *,
        show_deleted: bool = False,
        folded: bool = False,
    ) -> None:
        self._cursors = [_Cursor(name, stream, prefix) for name, stream in sorted(streams.items())]
        self._hidden = frozenset((Kind.MISSING,) if show_deleted else (Kind.MISSING, Kind.DELETED))
        self._folded = folded
        self._start = len(prefix)
        self._tally: _Tally | None = None

    async def batches(self, size: int = BATCH_VERDICTS) -> AsyncGenerator[list[tuple[str, Entry]], None]:
        """Entries in the order of paths, at most `size` or so at a time, each with the path to go on behind.

        Paths that no server has are left out.
        """
        try:
            while True:
                hungry = [cursor for cursor in self._cursors if cursor.is_hungry]
                if hungry:
                    await asyncio.gather(*(cursor.feed() for cursor in hungry))
                ended = all(cursor.ended for cursor in self._cursors)
                batch = self._fold_up() if ended else self._batch(size)
                if batch:
                    yield batch
                if ended:
                    return
                await asyncio.sleep(0)
        finally:
            for cursor in self._cursors:
                await cursor.close()

    def _batch(self, size: int) -> list[tuple[str, Entry]]:
        """As many entries of `size` paths as the pages at hand allow."""
        batch: list[tuple[str, Entry]] = []
        for _ in range(size):
            path: FilePath | None = None
            for cursor in self._cursors:
                if cursor.place < len(cursor.page):
                    head = cursor.page[cursor.place].path
                    if path is None or head < path:
                        path = head
                elif not cursor.ended:
                    return batch
            if path is None:
                return batch
            answers = {cursor.name: cursor.answer(path) for cursor in self._cursors}
            if self._folded:
                self._fold(path, answers, batch)
            else:
                self._add(path, answers, batch)
        return batch

    def _add(self, path: FilePath, answers: Mapping[ServerName, Answer], batch: list[tuple[str, Entry]]) -> None:
        verdict = compare(path, answers)
        if verdict.kind not in self._hidden:
            batch.append((path, verdict))

    def _fold(self, path: FilePath, answers: Mapping[ServerName, Answer], batch: list[tuple[str, Entry]]) -> None:
        tally = self._tally
        if tally is None or not path.startswith(tally.folder):
            batch += self._fold_up()
            slash = path.find("/", self._start)
            if slash < 0:
                self._add(path, answers, batch)
                return
            tally = _Tally(path[: slash + 1])
        kind = Kind.IDENTICAL if _agree(answers) else compare(path, answers).kind
        if kind not in self._hidden:
            tally.add(path, kind)
            self._tally = tally

    def _fold_up(self) -> list[tuple[str, Entry]]:
        """The folder that was passed, if there was one."""
        tally, self._tally = self._tally, None
        return [] if tally is None else [(tally.last, tally.told())]

    def servers(self) -> list[lists.ListedServer]:
        """How each server has answered so far."""
        return [
            lists.listed(cursor.name, None if cursor.silence is None else cursor.silence.reason)
            for cursor in self._cursors
        ]


def _agree(answers: Mapping[ServerName, Answer]) -> bool:
    """Whether the verdict is `identical`, where that can be seen without the general rules."""
    digests = {answer.digest for answer in answers.values() if type(answer) is Present}
    return len(digests) == 1 < len(answers) and all(type(answer) is Present for answer in answers.values())


async def in_threads(walk: Iterator[Sequence[Walked]]) -> AsyncIterator[Sequence[Walked]]:
    """A store's walk, which blocks, as a stream."""
    while (page := await asyncio.to_thread(next, walk, None)) is not None:
        yield page


def _place(listed: tuple[str, Entry]) -> str:
    return listed[0]


def _encoded(listed: tuple[str, Entry]) -> bytes:
    entry = listed[1]
    return verdict_json(entry) if isinstance(entry, Verdict) else JSON.encode(entry)


async def as_json(merge: Merge, prefix: Prefix, limit: int) -> bytes:
    found, following = await lists.first(merge.batches(), _place, limit)
    entries = []
    for number, entry in enumerate(found):
        entries.append(msgspec.Raw(_encoded(entry)))
        if number % BATCH_VERDICTS == 0:
            await asyncio.sleep(0)
    return JSON.encode(lists.ListingPage(prefix, entries, following, merge.servers()))


def as_lines(merge: Merge, limit: int | None) -> AsyncIterator[bytes]:
    """NDJSON, some lines at a time; the last line is a `ListingEnd`."""
    return lists.lines(merge.batches(), _place, _encoded, merge.servers, limit)


async def as_page(merge: Merge, prefix: Prefix, limit: int) -> bytes:
    """The page for a person, of a folded merge: the files in a folder, and the folders in it as links."""
    placed, following = await lists.first(merge.batches(), _place, limit)
    found = [entry for _, entry in placed]
    rows = [_row(entry, prefix) if isinstance(entry, Verdict) else _folder_row(entry, prefix) for entry in found]
    silent = [server for server in merge.servers() if server.reason is not None]
    body = [_crumbs(prefix)]
    body += [
        pages.paragraph(f"{one.name} could not be asked: {one.reason}. Its copies are not shown.") for one in silent
    ]
    if rows:
        heads = ("File", "Copies", "Size", "Modified", "Servers")
        body.append(pages.table(heads, rows, caption=_count(found, following), numeric=frozenset((2,))))
    else:
        body.append(pages.paragraph("There are no files here."))
    if following is not None:
        href = f"/list/{encoded(prefix)}?after={encoded(following)}&limit={limit}"
        body.append(f"<p>{pages.link(href, 'Next page')}</p>")
    return pages.document(f"Files in {prefix}" if prefix else "All files", "".join(body))


def _count(found: Sequence[Entry], following: str | None) -> str:
    folders = sum(isinstance(entry, Folder) for entry in found)
    told = [_many(folders, "folder")] * bool(folders)
    if len(found) > folders or not folders:
        told.append(_many(len(found) - folders, "file"))
    return " and ".join(told) + (", and more on the next page" if following is not None else "")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _crumbs(prefix: Prefix) -> str:
    """The way up: nothing at the top, and no link from a folder to itself."""
    *above, here = ["All files", *prefix.split("/")[:-1]]
    if not above:
        return ""
    folders = prefix.split("/")[: len(above) - 1]
    links = [pages.link("/list/", "All files")]
    links += [
        pages.link(f"/list/{encoded('/'.join(folders[: depth + 1]))}/", name) for depth, name in enumerate(folders)
    ]
    return f'<nav aria-label="Folders">{" / ".join([*links, pages.text(here)])}</nav>'


def _folder_row(folder: Folder, prefix: Prefix) -> tuple[str, ...]:
    name = pages.link(f"/list/{encoded(folder.folder)}", folder.folder.removeprefix(prefix))
    kinds = "".join(pages.standing(f"{count:,}", kind) for kind, count in folder.verdicts.items())
    return name, kinds, pages.text(_many(folder.files, "file")), "—", ""


def _row(verdict: Verdict, prefix: Prefix) -> tuple[str, ...]:
    name = pages.link(f"/files/{encoded(verdict.path)}", verdict.path.removeprefix(prefix))
    newest = verdict.versions[0].version if verdict.versions else None
    size = size_text(newest.size) if newest is not None and newest.digest is not None else "—"
    modified = pages.moment(rfc3339(newest.modified_ns)) if newest is not None else "—"
    states = "".join(pages.standing(one.name, one.state.value) for one in verdict.servers)
    if all(one.state is State.CURRENT for one in verdict.servers):
        states = pages.text(f"all {len(verdict.servers)}")
    return name, pages.badge(verdict.kind.value), size, modified, states
