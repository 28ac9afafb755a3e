"""The answers of the ASGI routes: JSON, pages, and which of the two a client wants. Files' bodies go another way (`rendering`)."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from accord.server.media import Form, negotiate
from accord.server.pages import HTML_FIELDS

COMMON: Final = {"cache-control": "no-store", "vary": "Accept", "x-content-type-options": "nosniff"}
"""The header fields of all of them."""


def form_of(request: Request, offers: tuple[Form, ...]) -> Form:
    accept = ", ".join(request.headers.getlist("accept"))
    return negotiate(accept.encode("latin-1") if accept else None, offers)


def json_response(body: bytes, status: int = 200) -> Response:
    return Response(body, status, headers={**COMMON, "content-type": Form.JSON.value})


def page_response(body: bytes) -> Response:
    special = {name.decode(): value.decode() for name, value in HTML_FIELDS}
    return Response(body, headers={**COMMON, **special})
