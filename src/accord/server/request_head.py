"""The header of a request as it came, before anybody knows what it is about: what HTTP itself wants refused or understood otherwise.

Pure functions on what the parser found. When they are asked is decided in `server.protocol`.
"""

from __future__ import annotations

import httptools

from accord.errors import UsageError

Headers = list[tuple[bytes, bytes]]
"""Header fields as in ASGI: names in lower case."""


def check_head(version: str, headers: Headers) -> None:
    """What RFC 9112 (sections 2.3, 3.2 and 6.1) wants refused. Raises `UsageError`."""
    if version not in ("1.0", "1.1"):
        raise UsageError(f"This server speaks HTTP/1.1, not HTTP/{version}.")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (not hosts and version == "1.1"):
        raise UsageError("The request needs one Host field.")
    # The parser undoes chunks and nothing else: what was packed beneath them would be taken for the content itself.
    if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in headers):
        raise UsageError("Of transfer codings only 'chunked' is undone here: send the content as it is to be kept.")


def origin_form(target: bytes) -> bytes:
    """`GET http://host/files/x` is asked for like `GET /files/x` (RFC 9112, section 3.2.2). Raises `UsageError`."""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise UsageError("The address cannot be read.") from None
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The header again, as if no upgrade had been asked for."""
    fields = [b"%b: %b\r\n" % field for field in headers if field[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), b"".join(fields))


def announced_bytes(headers: Headers) -> int | None:
    """How long the content is to be; None where it is chunked. The parser has seen to it that there is one of the two fields, if any,
    and that it makes sense."""
    if any(name == b"transfer-encoding" for name, _ in headers):
        return None
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
