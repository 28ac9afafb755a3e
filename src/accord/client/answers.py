"""What a server's reply means: problem JSON as Accord's own errors, a verdict from headers or from JSON.

Pure functions of a status, headers and a body that was read; fetching them is left to `client.session`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import msgspec

from accord.client.fields import read_content_range, read_etag, read_list
from accord.client.results import ServerReport, Verdict, Version, convert
from accord.errors import (
    AccordError,
    ForeignError,
    IntegrityError,
    NotAuthorised,
    PeerFailed,
    RivalVersions,
    StoreFailed,
    Unavailable,
)
from accord.model.names import Digest, FilePath
from accord.model.verdict import Kind, State

_PROBLEM_PREFIX = "/problems/"
_SERVER_FAILED = 500


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457 problem JSON; members beyond these are kept in the error's `extra`."""

    type: str
    title: str = ""
    status: int = 0
    detail: str = ""
    path: str | None = None


def error_of(status: int, headers: Mapping[str, str], body: bytes, path: str | None) -> AccordError:
    """The error that a reply other than the hoped-for stands for."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == 300 and kind.endswith("json"):
        return _rivals(body, path)
    if not kind.endswith("json"):
        return _foreign(status)
    try:
        problem = msgspec.json.decode(body, type=Problem)
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError):
        return _foreign(status)
    found = _classes().get(problem.type.rpartition(_PROBLEM_PREFIX)[2])
    extra = {name: value for name, value in fields.items() if name not in Problem.__struct_fields__}
    if found is None:
        title = problem.title or f"HTTP status {status}"
        text = f"{title}: {problem.detail}" if problem.detail else title
        return ForeignError(text, worth_another=status >= _SERVER_FAILED, extra=extra)
    error = found(problem.detail or problem.title, path=problem.path or path, extra=extra)
    if isinstance(error, Unavailable):
        error.retry_after_s = _retry_after_s(headers)
    return error


def worth_asking_another(error: AccordError) -> bool:
    """Whether another server may well answer differently: this one is unwell, or could not find out.

    A refusal (not authorised), a fact (not found, rivals) and a mistake of ours stay the same wherever they are asked.
    """
    if isinstance(error, ForeignError):
        return error.worth_another
    return isinstance(error, Unavailable | PeerFailed | StoreFailed | IntegrityError) or type(error) is AccordError


def verdict_of_headers(path: FilePath, status: int, headers: Mapping[str, str]) -> Verdict:
    """The verdict that came with a body. Raises `AccordError` where there is none."""
    try:
        kind = Kind(headers.get("accord-verdict", ""))
    except ValueError:
        raise ForeignError(
            "The server sent no verdict that this client knows: it is no Accord server, or a newer one.",
            worth_another=True,
        ) from None
    reports = tuple(_reports(headers.get("accord-replicas", "")))
    versions = (_version_of_headers(path, status, headers, reports),) if status in (200, 206) else ()
    return Verdict(path, kind, versions, reports, headers.get("accord-context"))


def verdict_of_json(path: FilePath, body: bytes) -> Verdict:
    """From a 300's body."""
    return convert(Verdict, {"path": path, **_mapping(body)})


def verdict_of_problem(path: FilePath, headers: Mapping[str, str], error: AccordError) -> Verdict | None:
    """The verdict that an error's answer carries, in its headers or in its JSON; None where it carries none."""
    if "accord-verdict" in headers:
        found = verdict_of_headers(path, error.status, headers)
        if found.servers or not error.extra.get("servers"):
            return found
        return convert(Verdict, {"path": path, "verdict": found.verdict.value, **_members(error)})
    kind = error.extra.get("verdict") or _KINDS.get(error.type)
    return None if kind is None else convert(Verdict, {"path": path, "verdict": kind, **_members(error)})


def has_verdict(error: AccordError) -> bool:
    """Whether a server looked, and this is what it found: told before the complaint of one that could not look."""
    return bool(error.extra.get("verdict")) or error.type in _KINDS


def digest_of(headers: Mapping[str, str]) -> Digest:
    """The digest that the body must have. Raises `AccordError` if the server named none."""
    tag = read_etag(headers.get("etag"))
    if tag is None:
        raise ForeignError("The server sent content without a digest: it is no Accord server.", worth_another=True)
    return Digest.parse(tag)


_KINDS = {"not-found": "missing", "deleted": "deleted", "unknown": "unknown", "damaged": "damaged"}
"""Which verdict a problem type stands for, where nothing says it outright."""


@cache
def _classes() -> dict[str, type[AccordError]]:
    """Accord's own classes by problem type. Only those of `accord.errors`: a child made elsewhere has its parent's type."""
    found = {}
    waiting: list[type[AccordError]] = [AccordError]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.__module__ == AccordError.__module__:
            found[one.type] = one
    return found


def _rivals(body: bytes, path: str | None) -> AccordError:
    fields = _mapping(body)
    versions = convert(tuple[Version, ...], fields.get("versions", ()))
    detail = f"{path} has {len(versions)} rival versions." if path else "There are rival versions."
    return RivalVersions(detail, path=path, extra=fields)


def _foreign(status: int) -> AccordError:
    if status in (401, 403):
        return NotAuthorised("The server refused the request.")
    return ForeignError(
        f"The answer (HTTP status {status}) is not an Accord server's.", worth_another=status >= _SERVER_FAILED
    )


def _retry_after_s(headers: Mapping[str, str]) -> int:
    text = headers.get("retry-after", "1")
    return int(text) if text.isascii() and text.isdigit() else 1


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError) as error:
        raise AccordError(f"The server's answer makes no sense: {error}") from error


def _members(error: AccordError) -> dict[str, Any]:
    return {name: error.extra[name] for name in ("versions", "servers", "context") if error.extra.get(name) is not None}


def _reports(text: str) -> Iterator[ServerReport]:
    for name, parameters in read_list(text):
        report = {"name": name, "state": parameters.get("state", "")}
        report |= {key: parameters[key] for key in ("digest", "reason") if key in parameters}
        yield convert(ServerReport, report)


def _version_of_headers(
    path: FilePath, status: int, headers: Mapping[str, str], reports: tuple[ServerReport, ...]
) -> Version:
    digest = digest_of(headers)
    holders = tuple(one.name for one in reports if one.digest == digest and one.state is not State.DAMAGED)
    href = f"/files/{quote(path)}?version={digest}"
    if not holders:
        holders = tuple(one.name for one in reports if one.state is State.CURRENT)
    told = _told_version(headers)
    modified = told.get("modified") or modified_of(headers)
    return Version(digest, size_of(status, headers) or 0, modified, told.get("author", ""), holders, href)


def is_executable(headers: Mapping[str, str]) -> bool:
    return _told_version(headers).get("executable", "?0") in ("1", "?1")


def _told_version(headers: Mapping[str, str]) -> dict[str, str]:
    """The parameters of `Accord-Version`; none from a server that sends no such field."""
    members = read_list(headers.get("accord-version", ""))
    return members[0].parameters if members else {}


def size_of(status: int, headers: Mapping[str, str]) -> int | None:
    """The size of the whole file in bytes, also where only a part of it is sent."""
    if status == 206:
        span = read_content_range(headers.get("content-range"))
        return span.total if span else None
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def modified_of(headers: Mapping[str, str]) -> str | None:
    """`Last-Modified` as RFC 3339 text in UTC."""
    try:
        at = parsedate_to_datetime(headers["last-modified"])
    except (KeyError, ValueError):
        return None
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
