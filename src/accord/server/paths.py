"""From a raw request target to typed values: the one place where percent-encoding is undone, exactly once.

What a path may contain is decided by `model.names.FilePath`; which query parameters exist, here. Every refusal is an
`InvalidPath` or `InvalidQuery` with a sentence for the client. How the values are used is left to the routes.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from accord.engine.read import Verify
from accord.errors import InvalidPath, InvalidQuery
from accord.model.names import DigestPrefix, FilePath, Prefix

FILES = b"/files/"
LIST = b"/list/"
HISTORY = b"/history/"

MAX_QUERY_BYTES = 16 * 1024
MAX_PARAMETERS = 16
DEFAULT_LIMIT_ENTRIES = 1000
MAX_LIMIT_ENTRIES = 10_000

_CACHED_TARGETS = 8192
_MAX_CACHED_TARGET_BYTES = 512
_HEX = frozenset(b"0123456789abcdefABCDEF")
_NOT_IN_A_TARGET = frozenset(b'#\\"<>^`{|}')
_VERIFY = {verify.value: verify for verify in Verify}


class FileQuery(NamedTuple):
    """What a read may ask besides the path."""

    version: DigestPrefix | None = None
    fail_on_rivals: bool = False
    verify: Verify = Verify.STAT


class FileTarget(NamedTuple):
    """A request for one file."""

    path: FilePath
    query: FileQuery


class ListQuery(NamedTuple):
    """What a listing may ask. `limit` is None where the client named none; `folded`: one entry for each folder."""

    limit: int | None = None
    after: FilePath | None = None
    show_deleted: bool = False
    folded: bool = False


_PLAIN_READ = FileQuery()


def read_target(raw: bytes) -> FileTarget:
    """A request target that begins with `/files/`, as it stood in the request line (origin form or absolute form).

    Raises `InvalidPath` or `InvalidQuery`.
    """
    # Long targets are not cached, so that the cache is bounded in bytes too.
    return _cached_target(raw) if len(raw) <= _MAX_CACHED_TARGET_BYTES else _parsed_target(raw)


def _parsed_target(raw: bytes) -> FileTarget:
    path, query = split_target(raw)
    if not path.startswith(FILES):
        raise InvalidPath("The address does not begin with /files/.")
    return FileTarget(file_path(path[len(FILES) :]), file_query(query))


_cached_target = lru_cache(maxsize=_CACHED_TARGETS)(_parsed_target)


def split_target(raw: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target, still encoded. Of the absolute form (RFC 9112 section 3.2.2) only the path counts."""
    if not raw.startswith(b"/"):
        scheme, found, rest = raw.partition(b"://")
        if not found or scheme.lower() not in (b"http", b"https"):
            raise InvalidPath("The request target is no path.")
        _, slash, path = rest.partition(b"/")
        raw = slash + path
    path, _, query = raw.partition(b"?")
    return path, query


def file_path(raw: bytes) -> FilePath:
    """The path in `raw`, which is what follows `/files/`. Raises `InvalidPath`."""
    return FilePath.from_bytes(_decoded_path(raw))


def list_prefix(raw: bytes) -> Prefix:
    """The prefix in `raw`, which is what follows `/list/`. Raises `InvalidPath`."""
    try:
        return Prefix(_decoded_path(raw).decode("utf-8", "strict"))
    except UnicodeDecodeError:
        raise InvalidPath("The path is not UTF-8 text.") from None


def encoded(path: str) -> str:
    """A path as it stands in an address: everything but unreserved characters and slashes percent-encoded."""
    return quote(path, safe="/")


def file_query(raw: bytes) -> FileQuery:
    """Raises `InvalidQuery`."""
    if not raw:
        return _PLAIN_READ
    given = parameters(raw, ("version", "rivals", "verify"))
    rivals = given.get("rivals")
    if rivals not in (None, "fail"):
        raise InvalidQuery(f"rivals={_shown(rivals)}: the only value is 'fail'.")
    verify = given.get("verify", "stat")
    if verify not in _VERIFY:
        raise InvalidQuery(f"verify={_shown(verify)}: the values are 'content', 'none' and 'stat'.")
    version = DigestPrefix(given["version"]) if "version" in given else None
    return FileQuery(version, rivals == "fail", _VERIFY[verify])


def list_query(raw: bytes) -> ListQuery:
    """Raises `InvalidQuery`, and `InvalidPath` for an `after` that is no path."""
    given = parameters(raw, ("limit", "after", "deleted", "depth"))
    deleted = given.get("deleted")
    if deleted not in (None, "show"):
        raise InvalidQuery(f"deleted={_shown(deleted)}: the only value is 'show'.")
    depth = given.get("depth")
    if depth not in (None, "1"):
        raise InvalidQuery(f"depth={_shown(depth)}: the only value is '1', which makes one entry of each folder.")
    after = FilePath(given["after"]) if given.get("after") else None
    limit = limit_entries(given["limit"]) if "limit" in given else None
    return ListQuery(limit, after, deleted == "show", depth == "1")


def limit_entries(text: str) -> int:
    """How long a page may be. Raises `InvalidQuery`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_LIMIT_ENTRIES):
        raise InvalidQuery(f"limit={_shown(text)}: write a number from 1 to {MAX_LIMIT_ENTRIES}.")
    return int(text)


def _decoded_path(raw: bytes) -> bytes:
    if b"%" in raw and b"%2f" in raw.lower():
        raise InvalidPath("The path contains an encoded slash (%2F): a name cannot contain a slash.")
    for byte in _NOT_IN_A_TARGET.intersection(raw):
        # Also what a browser or a proxy would have cut or turned into something else.
        raise InvalidPath(f"The address contains an unencoded '{chr(byte)}': write %{byte:02X}.")
    try:
        return decoded_once(raw)
    except ValueError as error:
        raise InvalidPath(f"The path contains {error}.") from None


def decoded_once(raw: bytes) -> bytes:
    """Undo percent-encoding once; what looks encoded afterwards is literal text. Raises ValueError with the bad escape."""
    if b"%" not in raw:
        return raw
    first, *pieces = raw.split(b"%")
    decoded = [first]
    for piece in pieces:
        digits = piece[:2]
        if len(digits) != 2 or not _HEX.issuperset(digits):
            raise ValueError(
                f"the invalid escape '%{digits.decode('ascii', 'replace')}' (write %25 for a percent sign)"
            )
        decoded += (bytes.fromhex(digits.decode()), piece[2:])
    return b"".join(decoded)


def parameters(raw: bytes, known: Collection[str]) -> dict[str, str]:
    """The parameters of a query, each of which must be `known`, and given once. Raises `InvalidQuery`."""
    if len(raw) > MAX_QUERY_BYTES or raw.count(b"&") >= MAX_PARAMETERS:
        raise InvalidQuery("The query is too long.")
    given: dict[str, str] = {}
    for piece in filter(None, raw.split(b"&")):
        name, _, value = (_text(part) for part in piece.partition(b"="))
        if name not in known:
            raise InvalidQuery(f"There is no parameter {_shown(name)}; known are {', '.join(known)}.")
        if name in given:
            raise InvalidQuery(f"The parameter '{name}' is given more than once.")
        given[name] = value
    return given


def _text(raw: bytes) -> str:
    try:
        return decoded_once(raw).decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise InvalidQuery("The query is not UTF-8 text.") from None
    except ValueError as error:
        raise InvalidQuery(f"The query contains {error}.") from None


def _shown(text: str | None) -> str:
    """A client's text, cut, for an error sentence."""
    return f"'{(text or '')[:80]}'"
