"""The history of one path as JSON or as a page: every version that any server remembers, newest first, and where its bytes are.

How it is put together is left to `engine.history`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from accord.engine.history import Chapter, PathHistory
from accord.errors import AccordError, NotFound, UnknownState
from accord.model.names import ServerName
from accord.model.versions import Dot
from accord.quantities import size_text
from accord.server import pages
from accord.server.lists import ListedServer, listed
from accord.server.media import Form
from accord.server.paths import encoded
from accord.server.rendering import JSON, rfc3339, version_href

FORMS = (Form.JSON, Form.HTML)


class EventBody(msgspec.Struct, frozen=True):
    """One version's making. `modified` is the file's time, `at` when it was made. `supersedes` has the digests of what it took the
    place of, None for a deletion. `servers` keep its bytes; `href` is where to get them, None where nobody has any."""

    digest: str | None
    size: int
    modified: str
    author: str
    at: str
    deed: str
    message: str
    source: str
    supersedes: tuple[str | None, ...]
    current: bool
    servers: tuple[str, ...]
    href: str | None


class HistoryBody(msgspec.Struct, frozen=True):
    path: str
    events: tuple[EventBody, ...]
    servers: tuple[ListedServer, ...]


def body_of(history: PathHistory, names: Sequence[ServerName]) -> HistoryBody:
    """`names` are all servers. Raises `NotFound` where nobody knows the path, and `UnknownState` where not everybody could say."""
    silent = dict(history.silent)
    servers = tuple(listed(str(name), silent.get(name)) for name in sorted(names))
    if not history.chapters:
        raise _nothing(history, servers)
    digests = {one.event.dot: one.event.version.digest for one in history.chapters}
    told = {dot: None if digest is None else str(digest) for dot, digest in digests.items()}
    events = tuple(_event(history, one, told) for one in history.chapters)
    return HistoryBody(str(history.path), events, servers)


def _nothing(history: PathHistory, servers: tuple[ListedServer, ...]) -> AccordError:
    extra = {"servers": servers}
    if not history.silent:
        return NotFound("No server knows of such a file.", path=history.path, extra=extra)
    names = ", ".join(f"{name} ({reason})" for name, reason in history.silent)
    return UnknownState(
        f"Nobody who answered knows of such a file, but {names} did not answer.", path=history.path, extra=extra
    )


def _event(history: PathHistory, chapter: Chapter, told: dict[Dot, str | None]) -> EventBody:
    event, version = chapter.event, chapter.event.version
    has_bytes = version.digest is not None and bool(chapter.servers)
    return EventBody(
        None if version.digest is None else str(version.digest),
        version.size,
        rfc3339(version.modified_ns),
        version.author,
        rfc3339(event.at_ns),
        event.deed.value,
        event.message,
        event.source,
        # What nobody remembers any more is left out.
        tuple(dict.fromkeys(told[dot] for dot in event.supersedes if dot in told)),
        chapter.is_current,
        tuple(map(str, chapter.servers)) if has_bytes else (),
        version_href(history.path, version.digest) if version.digest is not None and has_bytes else None,
    )


def as_json(body: HistoryBody) -> bytes:
    return JSON.encode(body)


def as_page(body: HistoryBody) -> bytes:
    rows = [
        (
            _version_cell(one),
            pages.told(_deed_words(one)),
            pages.moment(one.at),
            pages.told(one.author or "not known"),
            size_text(one.size) if one.digest is not None else "",
            pages.text(", ".join(one.servers) or ("nobody any more" if one.digest is not None else "")),
        )
        for one in body.events
    ]
    silent = [one for one in body.servers if one.reason is not None]
    parts = [
        f"<p>{pages.link(f'/files/{encoded(body.path)}', 'Open the file')}</p>",
        pages.table(
            ("Version", "What was done", "When", "By", "Size", "Kept by"),
            rows,
            caption="Versions, the newest first",
            numeric=frozenset((4,)),
        ),
        "".join(
            pages.paragraph(f"{one.name} could not be asked ({one.reason}): there may be more versions.")
            for one in silent
        ),
    ]
    return pages.document(f"History of {body.path}", "".join(parts))


def _version_cell(one: EventBody) -> str:
    if one.digest is None:
        what = pages.text("Deleted")
    else:
        short = one.digest.partition(":")[2][:12]
        what = pages.link(one.href, f"Open version {short}") if one.href is not None else pages.code(short)
    return f"{what} {pages.badge('current')}" if one.current else what


def _deed_words(one: EventBody) -> str:
    source = f" ({one.source})" if one.source else ""
    return f"{one.deed}{source}{f': {one.message}' if one.message else ''}"
