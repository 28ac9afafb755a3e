"""`/status`: how the servers stand, which paths are not the same everywhere, which copies are odd; orders for work in the background.

What is asked is parsed here, what the answers are is `engine.status`', how they look to people `status_pages`'. An order needs a header
field that no page of another site can send without this server's leave, which it never gives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from accord.engine.found_everywhere import AllFound, Ask, Everywhere, clashes_everywhere, findings_everywhere
from accord.engine.known_paths import CLASH, KINDS, Differing, KnownPaths
from accord.engine.peer_requests import Work, read_scope
from accord.engine.questions import Clash, FoundCopy, Question
from accord.engine.status import Ordered
from accord.errors import InvalidQuery, NoSuchPage, NotAllowed, Unavailable, UsageError
from accord.model.names import FilePath, Prefix, ServerName
from accord.server import lists, status_pages
from accord.server.lists import ListedServer, ListingPage
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
_Entry = TypeVar("_Entry", FoundCopy, Clash)


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
            question = Question(prefix=str(prefix), after=str(FilePath(after)) if after else "")
            return await self._found(form, question, limit, clashes_everywhere, _clash, status_pages.clashes)
        if CLASH in kinds:
            raise InvalidQuery(f"kind={CLASH} is a list of its own: ask for it alone.")
        known = KnownPaths(self._status, self._services.reader, prefix, FilePath(after) if after else None)
        if form is Form.NDJSON:
            lines = lists.lines(known.batches(kinds), _path, _line, lambda: _listed(known.servers()), limit)
            return StreamingResponse(lines, media_type=form.value, headers=COMMON)
        some, following = await lists.first(known.batches(kinds), _path, limit or DEFAULT_LIMIT_ENTRIES)
        if form is Form.HTML:
            return page_response(status_pages.paths(prefix, some, following, known.servers(), kinds))
        raw = [msgspec.Raw(_line(one)) for one in some]
        return json_response(JSON.encode(ListingPage(prefix, raw, following, _listed(known.servers()))))

    async def findings(self, request: Request) -> Response:
        given = _given(request, ("prefix", "order", "after", "limit"))
        prefix, after = Prefix(given.get("prefix", "")), given.get("after", "")
        question = Question(prefix=str(prefix), after=str(FilePath(after)) if after else "", number=_number(given))
        limit = limit_entries(given["limit"]) if "limit" in given else None
        form = form_of(request, _LIST_FORMS)
        return await self._found(form, question, limit, findings_everywhere, _finding, status_pages.findings)

    async def _found(
        self,
        form: Form,
        question: Question,
        limit: int | None,
        ask: Ask[_Entry],
        encoded: Callable[[tuple[ServerName, _Entry]], bytes],
        page: Callable[[Prefix, Everywhere[_Entry]], bytes],
    ) -> Response:
        """What all servers found: `ask` is one page of it."""
        page_entries = limit or DEFAULT_LIMIT_ENTRIES
        if form is Form.NDJSON:
            every = AllFound(self._status, question, ask)
            lines = lists.lines(
                every.batches(page_entries), _found_path, encoded, lambda: _listed(every.servers()), limit
            )
            return StreamingResponse(lines, media_type=form.value, headers=COMMON)
        found = await ask(self._status, question, page_entries, {})
        if form is Form.HTML:
            return page_response(page(question.below, found))
        entries = [msgspec.Raw(encoded(one)) for one in found.entries]
        return json_response(JSON.encode(ListingPage(question.prefix, entries, found.next, _listed(found.servers))))

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


def _finding(entry: tuple[ServerName, FoundCopy]) -> bytes:
    server, one = entry
    return JSON.encode(
        {
            "server": server,
            "path": one.path,
            "oddity": one.oddity,
            "since": rfc3339(one.since_ns),
            "there": one.there,
            "recorded": one.recorded,
            "detail": one.detail,
        }
    )


def _clash(entry: tuple[ServerName, Clash]) -> bytes:
    server, one = entry
    return JSON.encode({"clash": one.path, "other": one.other, "server": server})


def _listed(servers: Iterable[tuple[ServerName, str | None]]) -> list[ListedServer]:
    return [lists.listed(name, reason) for name, reason in servers]


def _path(one: Differing) -> str:
    return one.verdict.path


def _found_path(entry: tuple[ServerName, FoundCopy | Clash]) -> str:
    return entry[1].path
