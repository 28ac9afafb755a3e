"""The ASGI application: every route that is no file's body, and the one place where errors of these routes become answers.

Reading and writing files takes the thin path (`server.protocol`, `server.files`, `server.writing`) and does not come by here. Nothing
is decided in a route: each parses, asks, and renders.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from accord.errors import AccordError, NoSuchPage, NotAllowed, UsageError
from accord.model.names import FilePath, Prefix
from accord.server import history, listing, metrics, status_pages
from accord.server.media import Form
from accord.server.paths import DEFAULT_LIMIT_ENTRIES, HISTORY, LIST, file_path, list_prefix, list_query, split_target
from accord.server.problems import render, type_page
from accord.server.rendering import JSON
from accord.server.responses import COMMON, form_of, json_response, page_response
from accord.server.services import Services
from accord.server.status import StatusRoute
from accord.server.uploads import UploadRoute

_log = structlog.get_logger("accord.http")
_FILE_METHODS = "GET, HEAD, PUT, DELETE, OPTIONS"
_ANY_METHOD = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]


def make_app(services: Services) -> Starlette:
    """The application of one server."""
    routes, status = _Routes(services), StatusRoute(services)
    app = Starlette(
        routes=[
            Route("/", routes.home),
            Route("/list", routes.list),
            Route("/list/{prefix:path}", routes.list),
            Route("/files/{path:path}", routes.files, methods=_ANY_METHOD),
            Route("/history/{path:path}", routes.history),
            Route("/uploads", routes.uploads, methods=_ANY_METHOD),
            Route("/uploads/", routes.uploads, methods=_ANY_METHOD),
            Route("/uploads/{id}", routes.uploads, methods=_ANY_METHOD),
            Route("/status", status.overview),
            Route("/status/paths", status.paths),
            Route("/status/findings", status.findings),
            Route("/status/{work}", status.order, methods=_ANY_METHOD),
            Route("/health", routes.health),
            Route("/ready", routes.ready),
            Route("/metrics", routes.metrics),
            Route("/problems/{type}", routes.problem),
        ],
        exception_handlers={AccordError: _on_accord_error, HTTPException: _on_http_exception, Exception: _on_surprise},
    )
    # A redirect would be built from the Host header, which the client chose.
    app.router.redirect_slashes = False
    return app


class _Routes:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._uploads = None if services.uploads is None else UploadRoute(services, services.uploads)

    async def list(self, request: Request) -> Response:
        raw_path, _ = split_target(request.scope.get("raw_path") or request.url.path.encode())
        if not (raw_path + b"/").startswith(LIST):
            raise NoSuchPage("There is no such page.")
        prefix = list_prefix(raw_path[len(LIST) :])
        query = list_query(request.scope["query_string"])
        form = form_of(request, listing.FORMS)
        if request.method == "HEAD":
            # The length would be known only after the whole walk, which nobody reads.
            head = Response(headers={**COMMON, "content-type": form.value})
            del head.headers["content-length"]
            return head
        merge = listing.Merge(
            self._streams(prefix, query.after),
            prefix,
            show_deleted=query.show_deleted,
            folded=query.folded or form is Form.HTML,
        )
        if form is Form.NDJSON:
            lines = listing.as_lines(merge, query.limit)
            return StreamingResponse(lines, media_type=form.value, headers=COMMON)
        limit = query.limit or DEFAULT_LIMIT_ENTRIES
        if form is Form.HTML:
            return page_response(await listing.as_page(merge, prefix, limit))
        return json_response(await listing.as_json(merge, prefix, limit))

    def _streams(self, prefix: Prefix, after: FilePath | None) -> dict[Any, listing.Pages]:
        store, peers = self._services.store, self._services.peers
        return {
            self._services.name: listing.in_threads(store.walk(prefix, after)),
            **{peer: peers.list(peer, prefix, after) for peer in peers.names},
        }

    async def files(self, request: Request) -> Response:
        """What comes by here of `/files/`: every method but those that the thin path takes."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={**COMMON, "allow": _FILE_METHODS})
        if request.method in _FILE_METHODS.split(", "):
            raise NoSuchPage("Files are not served here.")
        detail = f"Files can be read and written here ({_FILE_METHODS}); {request.method} is not possible."
        return _problem(request, NotAllowed(detail), {"allow": _FILE_METHODS})

    async def history(self, request: Request) -> Response:
        raw_path, _ = split_target(request.scope.get("raw_path") or request.url.path.encode())
        path = file_path(raw_path.removeprefix(HISTORY))
        told = history.body_of(
            await self._services.historian.history(path), [self._services.name, *self._services.peers.names]
        )
        if form_of(request, history.FORMS) is Form.HTML:
            return page_response(history.as_page(told))
        return json_response(history.as_json(told))

    async def uploads(self, request: Request) -> Response:
        if self._uploads is None:
            raise NoSuchPage("This server takes no resumable uploads.")
        return await self._uploads(request)

    async def health(self, _request: Request) -> Response:
        """Alive: it answers. Whether it can serve is `/ready`."""
        told = {"status": "ok", "server": self._services.name, "cluster": self._services.cluster}
        return json_response(JSON.encode(told))

    async def ready(self, _request: Request) -> Response:
        """Ready while the store takes things in. Peers that are down are shown, and do not make this server unready: it
        still answers for its own copies, and marks what it could not ask."""
        degraded = self._services.store.degraded()
        told = {
            "ready": degraded is None,
            "server": self._services.name,
            "cluster": self._services.cluster,
            "degraded": degraded,
            "indexing": msgspec.to_builtins(self._services.store.indexing()),
            "queue": msgspec.to_builtins(self._services.status.queue()),
            "peers": [
                {"name": one.name, "url": one.url, "state": one.state.value, "reason": one.reason}
                for one in self._services.peers.statuses()
            ],
            "owed": [
                {"name": name, "paths": debts.paths, "lost": debts.lost}
                for name, debts in sorted(self._services.store.debts().items())
            ],
        }
        return json_response(JSON.encode(told), 200 if degraded is None else 503)

    async def metrics(self, _request: Request) -> Response:
        text = self._services.metrics.rendered(await self._services.status.own(Prefix("")))
        return Response(text, headers={**COMMON, "content-type": metrics.CONTENT_TYPE})

    async def problem(self, request: Request) -> Response:
        return page_response(type_page(request.path_params["type"]))

    async def home(self, _request: Request) -> Response:
        return page_response(status_pages.home(await self._services.status.overview(Prefix(""))))


def _problem(request: Request, error: AccordError, fields: dict[str, str] | None = None) -> Response:
    problem = render(error, form=form_of(request, (Form.JSON, Form.HTML)))
    told = {name.decode(): value.decode() for name, value in problem.fields}
    return Response(problem.body, problem.status, headers={**told, **(fields or {})})


async def _on_accord_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AccordError)
    return _problem(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _problem(request, NoSuchPage("There is no such page on this server."))
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "GET, HEAD")
        return _problem(request, NotAllowed(f"{request.method} is not possible here."), {"allow": allow})
    return _problem(request, UsageError("The request makes no sense."))


async def _on_surprise(request: Request, error: Exception) -> Response:
    _log.error("a request failed", path=request.url.path, exc_info=error)
    return _problem(request, AccordError("The server made a mistake. Its log says more."))
