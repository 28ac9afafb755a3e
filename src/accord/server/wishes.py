"""What the header fields of a write say: conditions, digests, who and why, and where content on the servers is to come from.

Every refusal is a `UsageError` with a sentence for the client. What is done with it all is left to `server.writing` and
`server.uploads`.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from accord.codec import read_context_token
from accord.engine.deciding import Wish
from accord.errors import ContentMismatch, ContentTooLarge, InvalidQuery, UnsupportedContent, UsageError
from accord.model.history import Deed
from accord.model.names import Digest, DigestPrefix, FilePath
from accord.model.writing import Conditions
from accord.server.conditional import entity_tags
from accord.server.paths import FileQuery, decoded_once, parameters, read_target
from accord.server.structured import read_boolean, read_byte_sequences

MAX_AUTHOR_CHARS = 200
MAX_MESSAGE_CHARS = 2000
MAX_CONTENT_BYTES = 2**53 - 1
"""Greater numbers are not the same in every JSON reader."""
MAX_COPIES = 1000

_HASHES = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_LAST_NS = 2**63 - 1
_STRONG_TAG = re.compile(rb'"(blake3:[0-9a-f]{64})"\Z')


class Fields:
    """Header fields by their names in lower case."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def joined(self, name: bytes) -> bytes | None:
        """All values of a list field (RFC 9110, section 5.3)."""
        values = self._values.get(name)
        return None if values is None else b", ".join(values)

    def one(self, name: bytes) -> str | None:
        """The value of a field that may be given once. Raises `UsageError`."""
        values = self._values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise _bad(name, "it is given more than once")
        try:
            return values[0].strip(b" \t").decode("ascii")
        except UnicodeDecodeError:
            raise _bad(name, "it is no ASCII text (write other characters percent-encoded)") from None


class Checks(NamedTuple):
    """What the content is to be: its BLAKE3 digest, and the others that were announced, each with the field that did."""

    digest: Digest | None
    sums: tuple[tuple[str, str, bytes], ...]


class Source(NamedTuple):
    """Content that is on the servers already. `moves`: it is deleted where it was."""

    path: FilePath
    version: DigestPrefix | None
    moves: bool


class WriteTarget(NamedTuple):
    path: FilePath
    min_copies: int | None


def write_target(raw: bytes) -> WriteTarget:
    """The target of a PUT or DELETE. Raises `InvalidPath` or `InvalidQuery`."""
    path, _, query = raw.partition(b"?")
    given = parameters(query, ("min_copies",)) if query else {}
    return WriteTarget(read_target(path).path, _copies(given["min_copies"]) if given else None)


def _copies(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_COPIES):
        raise InvalidQuery(f"min_copies='{text[:80]}': write a number of servers, at least 1.")
    return int(text)


def read_wish(fields: Fields, path: FilePath, *, min_copies: int | None = None, deed: Deed = Deed.PUT) -> Wish:
    return Wish(
        conditions=read_conditions(fields, path),
        deed=deed,
        author=_text(fields, b"accord-author", MAX_AUTHOR_CHARS),
        message=_text(fields, b"accord-message", MAX_MESSAGE_CHARS),
        modified_ns=_modified(fields),
        executable=_flag(fields, b"accord-executable"),
        min_copies=min_copies,
    )


def check_form(fields: Fields, announced_bytes: int | None) -> None:
    """Refuse content that is to be changed or put together before it is the file's."""
    if b"content-range" in fields:
        raise UsageError("A part of a file cannot be put (Content-Range): send it all, or use /uploads/.")
    coding = fields.joined(b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        raise UnsupportedContent("Content-Encoding is not undone here: send the content as it is to be kept.")
    if announced_bytes is not None and announced_bytes > MAX_CONTENT_BYTES:
        raise ContentTooLarge(f"At most {MAX_CONTENT_BYTES} bytes can be announced.")


def read_conditions(fields: Fields, path: FilePath) -> Conditions:
    if b"if-unmodified-since" in fields and b"if-match" not in fields:
        raise UsageError("Dates do not tell versions apart: use If-Match or Accord-Context, not If-Unmodified-Since.")
    none_match = fields.joined(b"if-none-match")
    if none_match is not None and none_match.strip() != b"*":
        raise UsageError("If-None-Match can only be * for a write.")
    match = fields.joined(b"if-match")
    any_version = match is not None and match.strip() == b"*"
    context = fields.one(b"accord-context")
    return Conditions(
        matches=None if match is None or any_version else _digests(match),
        any_version=any_version,
        is_new=none_match is not None,
        seen=None if context is None else read_context_token(context, path),
    )


def _digests(match: bytes) -> frozenset[Digest]:
    """The digests that an If-Match names. A weak tag, or one that is no digest, matches nothing (RFC 9110, section 13.1.1)."""
    strong = [_STRONG_TAG.match(tag) for is_weak, tag in entity_tags(match) if not is_weak]
    return frozenset(Digest.parse(found[1].decode()) for found in strong if found)


def read_checks(fields: Fields) -> Checks:
    """Content-Digest and Repr-Digest are about the same bytes here: nothing is encoded."""
    sums: list[tuple[str, str, bytes]] = []
    for name in (b"content-digest", b"repr-digest"):
        value = fields.joined(name)
        if value is None:
            continue
        try:
            members = read_byte_sequences(value.decode("ascii"))
        except ValueError as error:
            raise _bad(name, str(error)) from None
        for algorithm in _HASHES.keys() & members.keys():
            digest = members[algorithm]
            if digest is None or len(digest) != _HASHES[algorithm]().digest_size:
                raise _bad(name, f"its {algorithm} is none")
            sums.append((_shown(name), algorithm, digest))
    announced = fields.one(b"accord-digest")
    return Checks(None if announced is None else Digest.parse(announced), tuple(sums))


class Sums:
    """Hashes content as it comes, by every algorithm that was announced beside Accord's own."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._hashes: dict[str, Any] = {algorithm: _HASHES[algorithm]() for _, algorithm, _ in checks.sums}

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def update(self, block: bytes | memoryview) -> None:
        for one in self._hashes.values():
            one.update(block)

    def verify(self) -> None:
        """Raises `ContentMismatch`."""
        for field, algorithm, digest in self._checks.sums:
            if self._hashes[algorithm].digest() != digest:
                raise ContentMismatch(f"The content's {algorithm} is not what {field} says.")


def read_source(fields: Fields) -> Source | None:
    raw = fields.one(b"accord-source")
    moves = _flag(fields, b"accord-move") or False
    if raw is None:
        if moves:
            raise UsageError("Accord-Move needs an Accord-Source.")
        return None
    path, query = read_target(raw.encode())
    if query != FileQuery(version=query.version):
        raise _bad(b"accord-source", "only a version can be chosen")
    return Source(path, query.version, moves)


def _text(fields: Fields, name: bytes, max_chars: int) -> str:
    raw = fields.one(name)
    if raw is None:
        return ""
    try:
        text = decoded_once(raw.encode()).decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise _bad(name, "it is no UTF-8 text") from None
    except ValueError as error:
        raise _bad(name, f"it contains {error}") from None
    check_text(text, _shown(name), max_chars)
    return text


def check_text(text: str, name: str, max_chars: int) -> None:
    """Raises `UsageError` for text that is too long or would not stay on its line."""
    if len(text) > max_chars:
        raise UsageError(f"{name} has {len(text)} characters; at most {max_chars} are allowed.")
    if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in text):
        raise UsageError(f"{name} contains a control character (a line break, for example).")


def _modified(fields: Fields) -> int | None:
    raw = fields.one(b"accord-modified")
    return None if raw is None else read_moment(raw, "Accord-Modified")


def read_moment(text: str, name: str) -> int:
    """Nanoseconds since the epoch of a time like 2026-01-31T12:00:00.123456789Z (RFC 3339, in UTC)."""
    found = _MOMENT.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        seconds = calendar.timegm(datetime.fromisoformat(found[1]).timetuple())
    except ValueError:
        raise UsageError(f"{name} is no time like 2026-01-31T12:00:00.123456789Z.") from None
    moment_ns = seconds * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))
    if not 0 <= moment_ns <= _LAST_NS:
        raise UsageError(f"{name} is outside of the years 1970 to 2262.")
    return moment_ns


def _flag(fields: Fields, name: bytes) -> bool | None:
    raw = fields.one(name)
    try:
        return None if raw is None else read_boolean(raw)
    except ValueError as error:
        raise _bad(name, str(error)) from None


def _shown(name: bytes) -> str:
    return name.decode().title()


def _bad(name: bytes, why: str) -> UsageError:
    return UsageError(f"The field {_shown(name)} cannot be used: {why}.")


def as_fields(told: Mapping[str, str]) -> Fields:
    """Fields that were written down (`server.uploads` keeps them until an upload is complete)."""
    return Fields([(name.encode(), value.encode("latin-1")) for name, value in told.items()])
