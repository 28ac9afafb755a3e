"""`/status`: how the servers stand, which paths are not the same everywhere, which copies are odd; orders for work in the background.

What is asked is parsed here, what the answers are is `engine.status`', how they look to people `status_pages`'. An order needs a header
field that no page of another site can send without this server's leave, which it never gives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from accord.engine.found_everywhere import Everywhere, clashes_everywhere, findings_everywhere
from accord.engine.known_paths import CLASH, KINDS, Differing, KnownPaths
from accord.engine.peer_requests import Work, read_scope
from accord.engine.questions import Clash, FoundCopy, Question
from accord.engine.status import Ordered
from accord.errors import InvalidQuery, NoSuchPage, NotAllowed, Unavailable, UsageError
from accord.model.names import FilePath, Prefix, ServerName
from accord.server import status_pages
from accord.server.listing import ListedServer, ListingEnd, ListingPage
from accord.server.media import Form
from accord.server.paths import DEFAULT_LIMIT_ENTRIES, limit_entries, parameters, split_target
from accord.server.rendering import JSON, rfc3339, verdict_json
from accord.server.responses import COMMON, form_of, json_response, page_response
from accord.server.services import Services

ORDER_FIELD: Final = "accord-order"
MAX_NUMBER: Final = 2**53 - 1
_FORMS: Final = (Form.JSON, Form.HTML)
_LIST_FORMS: Final = (Form.JSON, Form.NDJSON, Form.HTML)
_LISTS: Final = ("paths", "findings")
_WORKS: Final = {work.value: work for work in Work}


class OrderedBody(msgspec.Struct, frozen=True):
    """What became of an order: `number` is its name in the `order` of the servers' reports."""

    work: str
    scope: str
    number: int
    servers: list[Ordered]


class StatusRoute:
    """Everything below `/status`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._status = services.status

    async def overview(self, request: Request) -> Response:
        given = _given(request, ("prefix",))
        told = await self._status.overview(Prefix(given.get("prefix", "")))
        if form_of(request, _FORMS) is Form.HTML:
            return page_response(status_pages.overview(told))
        return json_response(msgspec.json.encode(told))

    async def paths(self, request: Request) -> Response:
        given = _given(request, ("prefix", "kind", "after", "limit"))
        kinds = _kinds(given.get("kind", ""))
        prefix, after = Prefix(given.get("prefix", "")), given.get("after", "")
        form = form_of(request, _LIST_FORMS)
        limit = limit_entries(given["limit"]) if "limit" in given else None
        if kinds == {CLASH}:
            found = await clashes_everywhere(
                self._status, Question(prefix=str(prefix), after=after), limit or DEFAULT_LIMIT_ENTRIES
            )
            entries = [
                JSON.encode({"clash": one.path, "other": one.other, "server": name}) for name, one in found.entries
            ]
            return _listed(form, prefix, found, entries, lambda: status_pages.clashes(prefix, found))
        if CLASH in kinds:
            raise InvalidQuery(f"kind={CLASH} is a list of its own: ask for it alone.")
        known = KnownPaths(self._status, self._services.reader, prefix, FilePath(after) if after else None)
        if form is Form.NDJSON:
            return StreamingResponse(_lines(known, kinds, limit), media_type=form.value, headers=COMMON)
        some, following = await _first(known, kinds, limit or DEFAULT_LIMIT_ENTRIES)
        if form is Form.HTML:
            return page_response(status_pages.paths(prefix, some, following, known.servers(), kinds))
        raw = [msgspec.Raw(_line(one)) for one in some]
        return json_response(JSON.encode(ListingPage(prefix, raw, following, _listed_servers(known.servers()))))

    async def findings(self, request: Request) -> Response:
        given = _given(request, ("prefix", "order", "after", "limit"))
        prefix, after = Prefix(given.get("prefix", "")), given.get("after", "")
        question = Question(prefix=str(prefix), after=str(FilePath(after)) if after else "", number=_number(given))
        limit = limit_entries(given["limit"]) if "limit" in given else DEFAULT_LIMIT_ENTRIES
        found = await findings_everywhere(self._status, question, limit)
        entries = [JSON.encode(_finding(name, one)) for name, one in found.entries]
        return _listed(
            form_of(request, _LIST_FORMS), prefix, found, entries, lambda: status_pages.findings(prefix, found)
        )

    async def order(self, request: Request) -> Response:
        name = request.path_params["work"]
        if name in _LISTS:
            raise NotAllowed(f"Lists are only read; {request.method} is not possible here.")
        work = _WORKS.get(name)
        if work is None:
            raise NoSuchPage(f"Below /status/ there is {', '.join((*_LISTS, *_WORKS))}.")
        if request.method != "POST":
            raise NotAllowed(f"Work is ordered with POST; {request.method} is not possible here.")
        if request.headers.get(ORDER_FIELD) != "?1":
            raise UsageError(
                "An order needs the header field 'Accord-Order: ?1', so that no other site's page can give it."
            )
        given = _given(request, ("scope", "on"))
        scope = read_scope(given.get("scope", ""))
        if scope and work in (Work.PAUSE, Work.RESUME):
            raise InvalidQuery("Healing is paused and resumed as a whole: leave the scope out.")
        number = self._status.new_number()
        servers = await self._status.order(work, scope, number, self._wanted(given.get("on")))
        if not any(one.reason is None for one in servers):
            reasons = "; ".join(f"{one.name} ({one.reason})" for one in servers)
            raise Unavailable(f"No server took the order: {reasons}.")
        return json_response(JSON.encode(OrderedBody(work.value, str(scope), number, servers)), 202)

    def _wanted(self, on: str | None) -> Collection[ServerName]:
        names = self._status.names
        if on is None:
            return names
        unknown = [name for name in on.split(",") if name not in names]
        if unknown:
            raise InvalidQuery(f"There is no server '{unknown[0][:80]}'. The cluster has: {', '.join(names)}.")
        return [name for name in names if name in on.split(",")]


def _given(request: Request, known: Collection[str]) -> dict[str, str]:
    _, query = split_target(b"/?" + request.scope["query_string"])
    return parameters(query, known)


def _kinds(text: str) -> frozenset[str]:
    kinds = frozenset(filter(None, text.split(",")))
    unknown = sorted(kinds - set(KINDS))
    if unknown:
        raise InvalidQuery(f"kind='{unknown[0][:80]}': the kinds are {', '.join(KINDS)}.")
    return kinds


def _number(given: dict[str, str]) -> int:
    text = given.get("order", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_NUMBER):
        raise InvalidQuery(f"order='{text[:80]}' is no order's number.")
    return int(text)


def _line(one: Differing) -> bytes:
    """The verdict in its one shape, with what only this list knows."""
    more: dict[str, Any] = {} if one.since_ns is None else {"since": rfc3339(one.since_ns)}
    if one.estranged:
        more["estranged"] = True
    return verdict_json(one.verdict)[:-1] + (b"," + JSON.encode(more)[1:] if more else b"}")


def _finding(server: ServerName, one: FoundCopy) -> dict[str, Any]:
    return {
        "server": server,
        "path": one.path,
        "oddity": one.oddity,
        "since": rfc3339(one.since_ns),
        "there": one.there,
        "recorded": one.recorded,
        "detail": one.detail,
    }


def _listed_servers(servers: Collection[tuple[ServerName, str | None]]) -> list[ListedServer]:
    return [ListedServer(name, "unreachable" if reason else "answered", reason or None) for name, reason in servers]


async def _first(known: KnownPaths, kinds: frozenset[str], limit: int) -> tuple[list[Differing], str | None]:
    """Up to `limit` of them, and the path to go on behind if there are more."""
    found: list[Differing] = []
    async with aclosing(known.batches(kinds)) as batches:
        async for batch in batches:
            found += batch
            if len(found) > limit:
                break
    return found[:limit], str(found[limit - 1].verdict.path) if len(found) > limit else None


async def _lines(known: KnownPaths, kinds: frozenset[str], limit: int | None) -> AsyncIterator[bytes]:
    count, last, following = 0, None, None
    async with aclosing(known.batches(kinds)) as batches:
        async for batch in batches:
            told = batch if limit is None else batch[: limit - count]
            if told:
                count += len(told)
                last = str(told[-1].verdict.path)
                yield b"\n".join([*map(_line, told), b""])
            if len(told) < len(batch):
                following = last
                break
    yield JSON.encode_lines([ListingEnd(True, count, following, _listed_servers(known.servers()))])


def _listed(
    form: Form,
    prefix: Prefix,
    found: Everywhere[FoundCopy] | Everywhere[Clash],
    entries: list[bytes],
    page: Callable[[], bytes],
) -> Response:
    servers = _listed_servers(found.servers)
    if form is Form.HTML:
        return page_response(page())
    if form is Form.NDJSON:
        end = JSON.encode(ListingEnd(True, len(entries), found.next, servers))
        return Response(b"\n".join([*entries, end, b""]), headers={**COMMON, "content-type": form.value})
    return json_response(JSON.encode(ListingPage(prefix, [msgspec.Raw(one) for one in entries], found.next, servers)))
