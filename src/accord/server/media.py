"""What a body is called and how it is fenced in: Content-Type from the name, safe headers for users' content, and negotiation.

Users' files are served from the same origin as Accord's own pages. So nothing is ever sniffed, no other site may embed a file, and what
a browser would run (HTML, SVG, XML) runs in a sandbox without scripts, forms or network. Which bytes are sent is not decided here.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from urllib.parse import quote

DEFAULT_TYPE = "application/octet-stream"
MAX_ACCEPT_BYTES = 4096
MAX_ACCEPT_MEMBERS = 64

SANDBOX = b"sandbox; default-src 'none'; img-src data:; media-src data:; font-src data:; style-src 'unsafe-inline'"
"""The Content-Security-Policy of active content. Not even its own origin may be asked: in a sandbox it is a stranger there."""

# The tables that come with Python and nothing of the machine's, so that every server of a cluster says the same.
_TABLE = mimetypes.MimeTypes()
for _type, _extensions in {
    "application/gzip": ".gz .tgz",
    "application/jsonl": ".jsonl .ndjson",
    "application/vnd.sqlite3": ".sqlite .sqlite3",
    "application/x-7z-compressed": ".7z",
    "application/yaml": ".yaml .yml",
    "application/zstd": ".zst",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg .oga .opus",
    "font/otf": ".otf",
    "font/ttf": ".ttf",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/jxl": ".jxl",
    "image/webp": ".webp",
    "text/markdown": ".md .markdown",
    "text/plain": ".log .conf .cfg .ini .toml .lock .diff .patch .rs .go .ts .tsx .java .rb .sql .sh",
    "video/x-matroska": ".mkv",
    "video/webm": ".webm",
}.items():
    for _extension in _extensions.split():
        _TABLE.add_type(_type, _extension)

# A compressed file is sent as what it is: Content-Encoding would have the client unpack it.
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/octet-stream",
    "compress": "application/x-compress",
}
_ACTIVE = frozenset(("text/html", "text/xml", "text/xsl", "application/xml", "message/rfc822"))
_ACTIVE_ENDS = ("+xml", "/related", "/x-mixed-replace")
_TOKEN_NAME = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+\Z")
_MEMBER = re.compile(r"\s*([\w!#$&+.^`|~*-]+)/([\w!#$&+.^`|~*-]+)\s*(?:;(.*))?", re.ASCII | re.DOTALL)
_QUALITY = re.compile(r"\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*\Z", re.IGNORECASE | re.ASCII)


class Form(Enum):
    """In what form an answer can be given; the value is its media type."""

    JSON = "application/json"
    """For programs; the default."""
    NDJSON = "application/x-ndjson"
    """A JSON value a line, as a stream."""
    MULTIPART = "multipart/mixed"
    """Every version's bytes."""
    HTML = "text/html"
    """For people."""


def content_type(name: str) -> str:
    """The media type for a file's name; text is said to be UTF-8, as names and most texts of today are."""
    # No address: `guess_type` would take "data:..." and "http:..." apart.
    kind, compression = _TABLE.guess_type("./" + name.rpartition("/")[2].replace(":", "_"), strict=True)
    if compression is not None:
        kind = _COMPRESSED.get(compression, DEFAULT_TYPE)
    if kind is None:
        return DEFAULT_TYPE
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def is_active(media_type: str) -> bool:
    """Whether a browser that opens it may run something in it."""
    bare = media_type.partition(";")[0].strip().lower()
    return bare in _ACTIVE or bare.endswith(_ACTIVE_ENDS)


@lru_cache(maxsize=4096)
def fences(media_type: str) -> tuple[tuple[bytes, bytes], ...]:
    """The safe headers for users' content of that type."""
    always = (
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cross-Origin-Resource-Policy", b"same-origin"),
    )
    return (*always, (b"Content-Security-Policy", SANDBOX)) if is_active(media_type) else always


def is_awkward(name: str) -> bool:
    """Whether a name needs more than a plain `filename=` to survive its way into a header."""
    return not _TOKEN_NAME.match(name)


def disposition(name: str, *, attachment: bool = False) -> bytes:
    """Content-Disposition (RFC 6266) with the file's name; awkward names twice, the second time as RFC 8187 has it.

    Only ASCII letters, digits and a few marks ever get in as they are.
    """
    kind = "attachment" if attachment else "inline"
    plain = re.sub(r"[^A-Za-z0-9!#$&+.^_`|~ ()\[\],;=@-]", "_", name)
    value = f'{kind}; filename="{plain}"'
    if plain != name or is_awkward(name):
        value += f"; filename*=UTF-8''{quote(name, safe='')}"
    return value.encode("ascii")


def negotiate(accept: bytes | None, offers: Sequence[Form]) -> Form:
    """The form a client prefers among `offers` (RFC 9110 section 12.5.1).

    By quality; then what was named exactly before what a wildcard covers; then what was named first; then the order of `offers`, whose
    first is also the answer to no Accept, to one that fits nothing, and to one that makes no sense.
    """
    if accept is None or len(accept) > MAX_ACCEPT_BYTES:
        return offers[0]
    return _negotiated(accept, tuple(offers))


@lru_cache(maxsize=256)
def _negotiated(accept: bytes, offers: tuple[Form, ...]) -> Form:
    members = accept.decode("latin-1").lower().split(",", MAX_ACCEPT_MEMBERS)[:MAX_ACCEPT_MEMBERS]
    ranges = [one for one in map(_range, members) if one is not None]
    ranked = []
    for order, offer in enumerate(offers):
        kind, _, subtype = offer.value.partition("/")
        fitting = [
            (specificity, -place, quality)
            for place, (wanted_kind, wanted_subtype, specificity, quality) in enumerate(ranges)
            if wanted_kind in ("*", kind) and (wanted_subtype in ("*", subtype) or _is_problem(wanted_subtype, offer))
        ]
        if fitting:
            specificity, place, quality = max(fitting)
            ranked.append((quality, specificity, place, -order, offer))
    best = max(ranked, key=lambda one: one[:4], default=None)
    return best[4] if best is not None and best[0] > 0 else offers[0]


def _is_problem(subtype: str, offer: Form) -> bool:
    return subtype == "problem+json" and offer is Form.JSON


def _range(member: str) -> tuple[str, str, int, float] | None:
    """One member of Accept: kind, subtype, how specific, quality. None if it is malformed."""
    found = _MEMBER.fullmatch(member)
    if found is None or (found[1] == "*" and found[2] != "*"):
        return None
    quality = 1.0
    for parameter in (found[3] or "").split(";"):
        if parameter.strip().startswith("q="):
            weight = _QUALITY.match(parameter)
            if weight is None:
                return None
            quality = float(weight[1])
    return found[1], found[2], (found[1] != "*") + (found[2] != "*"), quality
