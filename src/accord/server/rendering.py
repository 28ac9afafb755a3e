"""How a verdict looks in HTTP: the one JSON shape, the header fields, and the head of an answer with a file's bytes.

The head of a hot file is put together from cached lines, in a few microseconds. No text of a user or a peer reaches a header except
percent-encoded or as a structured-field String (RFC 9651). What the verdict means for the status is left to the routes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus

import msgspec
from blake3 import blake3

from accord.codec import context_token, new_context_token, seen_token
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import HeldVersion, Kind, ServerReport, State, Verdict
from accord.model.versions import Clock, Version
from accord.server import media
from accord.server.paths import encoded

MAX_REASON_CHARS = 200
_CACHED_LINES = 4096
_CACHED_NAMES = 2048  # of up to 5 KiB each
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z: dates have four digits

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_MARK_TOMBSTONE = b"deleted"
_DIGEST_MARK = "<digest>"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/-]*\Z")
"""Paths that are the same in JSON and in an address."""


class VersionBody(msgspec.Struct, frozen=True):
    """A version in the JSON shape. A deletion has neither digest nor href. `modified` is RFC 3339 in UTC, to the microsecond."""

    digest: str | None
    size: int
    modified: str
    author: str
    servers: tuple[str, ...]
    href: str | None


class ServerBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A server's line in the JSON shape."""

    name: str
    state: str
    digest: str | None = None
    reason: str | None = None


class VerdictBody(msgspec.Struct, frozen=True):
    """The one JSON shape of a verdict: 300 bodies, listings, problems' servers."""

    path: str
    verdict: str
    versions: tuple[VersionBody, ...]
    servers: tuple[ServerBody, ...]
    context: str


def _plain(word: object) -> str:
    """Paths and names are kinds of text, which the encoder does not take for text."""
    if isinstance(word, str):
        return str(word)
    raise TypeError(f"{type(word).__name__} has no JSON shape")


JSON = msgspec.json.Encoder(enc_hook=_plain)
"""The one JSON encoder of all answers."""


def verdict_body(verdict: Verdict) -> VerdictBody:
    return VerdictBody(
        str(verdict.path),
        verdict.kind.value,
        tuple([version_body(verdict.path, held) for held in verdict.versions]),
        server_bodies(verdict.servers),
        seen_by_reader(verdict),
    )


def seen_by_reader(verdict: Verdict) -> str:
    """The causal token for a reader of the verdict. What nobody who answered could show is not in it: it must not be superseded
    unseen."""
    return (
        seen_token({str(actor): counter for actor, counter in verdict.seen().items()}, verdict.path, verdict.clocks)
        if verdict.unseen
        else context_token(verdict.clocks, verdict.path)
    )


def verdict_json(verdict: Verdict) -> bytes:
    """The JSON of `verdict_body`. The everyday verdict is put together from pieces: a listing has a hundred thousand of them."""
    if verdict.kind is Kind.IDENTICAL and len(verdict.versions[0].servers) == len(verdict.servers):
        return _agreed_json(verdict.path, verdict.versions[0], verdict.clocks)
    return JSON.encode(verdict_body(verdict))


def _agreed_json(path: FilePath, held: HeldVersion, clocks: tuple[Clock, ...]) -> bytes:
    digest, size, modified_ns, author, _ = held.version
    if _PLAIN_PATH.match(path):
        quoted, address = f'"{path}"', str(path)
    else:
        quoted, address = JSON.encode(path).decode(), encoded(path)
    digest_text = str(digest)
    names, members = _agreed_members(held.servers)
    return (
        f'{{"path":{quoted},"verdict":"identical","versions":[{{"digest":"{digest_text}","size":{size},'
        f'"modified":"{rfc3339(modified_ns)}","author":{_quoted(author)},"servers":{names},'
        f'"href":"/files/{address}?version={digest_text}"}}],'
        f'"servers":{members.replace(_DIGEST_MARK, digest_text)},"context":"{new_context_token(clocks, path)}"}}'
    ).encode()


@lru_cache(maxsize=256)
def _agreed_members(names: tuple[ServerName, ...]) -> tuple[str, str]:
    """The servers' names, and their reports with a mark in place of the digest that they agree on."""
    reports = [ServerBody(str(name), State.CURRENT.value, _DIGEST_MARK) for name in names]
    return JSON.encode(_words(names)).decode(), JSON.encode(reports).decode()


@lru_cache(maxsize=256)
def _quoted(words: str) -> str:
    return JSON.encode(words).decode()


def version_body(path: FilePath, held: HeldVersion) -> VersionBody:
    digest, size, modified_ns, author, _ = held.version
    return VersionBody(
        None if digest is None else str(digest),
        size,
        rfc3339(modified_ns),
        author,
        _words(held.servers),
        None if digest is None else version_href(path, digest),
    )


@lru_cache(maxsize=_CACHED_LINES)
def _words(names: tuple[ServerName, ...]) -> tuple[str, ...]:
    return tuple(map(str, names))


# The states of the servers are the same for most files: one value serves them all.
@lru_cache(maxsize=_CACHED_LINES)
def _server_body(name: ServerName, state: str, digest: Digest | None, reason: str | None) -> ServerBody:
    return ServerBody(str(name), state, None if digest is None else str(digest), reason)


def server_bodies(reports: Iterable[ServerReport]) -> tuple[ServerBody, ...]:
    return tuple([_server_body(one.name, one.state.value, one.digest, one.reason) for one in reports])


def version_href(path: FilePath, digest: Digest) -> str:
    return f"/files/{encoded(path)}?version={digest}"


def rfc3339(moment_ns: int) -> str:
    second, rest_ns = divmod(moment_ns, 1_000_000_000)
    return f"{_iso_second(second)}.{rest_ns // 1000:06d}Z"


@lru_cache(maxsize=_CACHED_LINES)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(_bounded(second), UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=_CACHED_LINES)
def http_date(second: int) -> bytes:
    """IMF-fixdate (RFC 9110 section 5.6.7) of a whole second since the epoch."""
    at = datetime.fromtimestamp(_bounded(second), UTC)
    return f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year} {at:%H:%M:%S} GMT".encode()


def _bounded(second: int) -> int:
    """Modified times before the epoch or after the year 9999 can be set; dates cannot say them."""
    return min(max(second, 0), _LAST_SECOND)


def last_modified_s(version: Version, now_s: int) -> int:
    """The modified time in whole seconds, as conditions compare it: never later than now (RFC 9110 section 8.8.2.1)."""
    return max(0, min(version.modified_ns // 1_000_000_000, now_s))


def etag(digest: Digest) -> bytes:
    """The strong entity tag of content: its digest in quotes."""
    return b'"blake3:%b"' % digest.hex().encode()


def rivals_etag(verdict: Verdict) -> bytes:
    """The entity tag of a set of rivals: the digest of their sorted digests. A deletion counts as the word `deleted`."""
    rivals = sorted(bytes(held.version.digest or _MARK_TOMBSTONE) for held in verdict.versions)
    return etag(Digest(blake3(b"".join(rivals)).digest()))


def sf_string(text: str) -> str:
    """A String of RFC 9651 section 3.3.3; what it cannot hold becomes `?`."""
    escaped = _UNPRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def replicas(reports: Iterable[ServerReport]) -> bytes:
    """The Accord-Replicas field: a List of Strings (names may begin with a digit, which no Token does) with Parameters."""
    return ", ".join(map(_replica, reports)).encode("ascii")


def _replica(report: ServerReport) -> str:
    member = f"{sf_string(report.name)};state={report.state.value}"
    if report.digest is not None:
        member += f';digest="{report.digest}"'
    if report.reason is not None:
        member += f";reason={sf_string(report.reason[:MAX_REASON_CHARS])}"
    return member


def verdict_lines(verdict: Verdict) -> bytes:
    """Accord-Verdict, Accord-Replicas and Accord-Context as header lines."""
    if verdict.kind is Kind.IDENTICAL and len(verdict.versions[0].servers) == len(verdict.servers):
        held = verdict.versions[0]
        return _agreed_lines(held.servers, held.version.digest) + _context_line(verdict.clocks, verdict.path)
    context = b"Accord-Context: %b\r\n" % seen_by_reader(verdict).encode()
    return _opinion_lines(verdict.kind, verdict.servers) + context


def verdict_fields(verdict: Verdict) -> tuple[tuple[bytes, bytes], ...]:
    """The same as fields, names in lower case, for an answer that is a problem."""
    return (
        (b"accord-verdict", verdict.kind.value.encode()),
        (b"accord-replicas", replicas(verdict.servers)),
        (b"accord-context", seen_by_reader(verdict).encode()),
    )


# Named by what it depends on, not by the verdict: hashing that would cost more than the line.
@lru_cache(maxsize=_CACHED_LINES)
def _agreed_lines(names: tuple[ServerName, ...], digest: Digest) -> bytes:
    members = ", ".join(f'{sf_string(name)};state=current;digest="{digest}"' for name in names)
    return f"Accord-Verdict: identical\r\nAccord-Replicas: {members}\r\n".encode("ascii")


@lru_cache(maxsize=_CACHED_LINES)
def _opinion_lines(kind: Kind, reports: tuple[ServerReport, ...]) -> bytes:
    return b"Accord-Verdict: %b\r\nAccord-Replicas: %b\r\n" % (kind.value.encode(), replicas(reports))


@lru_cache(maxsize=_CACHED_LINES)
def _context_line(clocks: tuple[Clock, ...], path: FilePath) -> bytes:
    return b"Accord-Context: %b\r\n" % context_token(clocks, path).encode()


@lru_cache(maxsize=_CACHED_NAMES)
def _media_lines(path: FilePath, media_type: bytes | None) -> bytes:
    name = path.name
    own_type = media.content_type(name)
    fields = [(b"Content-Type", media_type or own_type.encode()), *media.fences(own_type)]
    if media.is_awkward(name):
        fields.append((b"Content-Disposition", media.disposition(name)))
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def file_head(
    status: int,
    verdict: Verdict,
    version: Version,
    *,
    now_s: int,
    length: int | None,
    media_type: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """The whole head, empty line included, of an answer with (some of) `version`'s bytes, or of a HEAD or 304.

    `length` is the Content-Length (None for a 304, which then has no Content-Type either); `media_type` replaces the file's own (for
    multipart/byteranges). `extra` is more header lines, each ending in CRLF, made by the caller from nothing a client sent.
    Raises ValueError for a tombstone.
    """
    digest = version.digest
    if digest is None:
        raise ValueError("a tombstone has no bytes to send")
    modified_s = version.modified_ns // 1_000_000_000
    body_lines = (
        b""
        if length is None
        else b"Accept-Ranges: bytes\r\nContent-Length: %d\r\n%b" % (length, _media_lines(verdict.path, media_type))
    )
    return (
        b'%bDate: %b\r\nETag: "blake3:%b"\r\nLast-Modified: %b\r\nCache-Control: no-cache\r\nVary: Accept\r\n%b%b%b%b\r\n'
        % (
            _STATUS_LINES[status],
            http_date(now_s),
            digest.hex().encode(),
            http_date(modified_s if modified_s < now_s else now_s),
            verdict_lines(verdict),
            _version_line(version),
            body_lines,
            extra,
        )
    )


@lru_cache(maxsize=_CACHED_LINES)
def _version_line(version: Version) -> bytes:
    """The Accord-Version field: what the other fields cannot say of the version (a structured-field Item, RFC 9651)."""
    _, size, modified_ns, author, executable = version
    told = f'"{version.digest}";size={size};modified="{rfc3339(modified_ns)}";author={sf_string(author)}'
    return f"Accord-Version: {told}{';executable' if executable else ''}\r\n".encode("ascii")


def render_head(status: int, fields: Iterable[tuple[bytes, bytes]], *, now_s: int | None = None) -> bytes:
    """Any head, with Date (`now_s`, or the present) and the empty line. Raises ValueError for a line break in a name or value."""
    lines = [b"%b: %b\r\n" % (_shown_name(name), value) for name, value in fields]
    head = b"".join(
        (
            _STATUS_LINES[status],
            b"Date: ",
            http_date(int(time.time()) if now_s is None else now_s),
            b"\r\n",
            *lines,
            b"\r\n",
        )
    )
    if not head.count(b"\r") == head.count(b"\n") == len(lines) + 3:
        raise ValueError("a header field contains a line break")
    return head


@lru_cache(maxsize=256)
def _shown_name(name: bytes) -> bytes:
    """A field name as people write it."""
    return b"ETag" if name.lower() == b"etag" else name.title()
