"""Changing a file on the servers: put, delete, copy, move, restore.

A write is offered to the next server only while it cannot have taken effect: no connection was had, or the server refused before it
took any content. After an unclear end nothing is sent again, as that could bury what somebody else wrote meanwhile; the error says that
it is not known, and where the content was seen. Where content comes from is `client.source`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

from accord.client import reading
from accord.client.answers import error_of, worth_asking_another
from accord.client.expect import EXPECTED
from accord.client.given import checked_field, checked_text
from accord.client.results import Written, decode
from accord.client.session import Answered, Session, exhausted, files_target, read_document
from accord.client.source import Progress, Source
from accord.client.transfer import Wanted
from accord.client.transport import Body, ServerUnusable
from accord.errors import (
    AccordError,
    IntegrityError,
    InvalidQuery,
    TooFewCopies,
    Unavailable,
    UsageError,
    WriteUnclear,
)
from accord.model.names import Digest, FilePath

PATIENCE_BYTES_PER_S: Final = 16 * 1024 * 1024
"""Slower than any disk brings content to rest: a server may be silent so long at the end of a large write."""
_DONE: Final = (200, 201)


@dataclass(frozen=True, slots=True)
class Options:
    """What a writer demands and says. `if_match`: a digest or several, one of which must be current, or `*`; `if_none_match`: `*`, as
    there must be no file; `context`: the token of the answer that the writer has seen."""

    context: str | None = None
    if_match: str | Collection[str] | None = None
    if_none_match: str | None = None
    modified: datetime | str | None = None
    executable: bool | None = None
    author: str | None = None
    message: str | None = None
    min_copies: int | None = None
    progress: Progress | None = None


async def put(session: Session, path: FilePath, source: Source, options: Options) -> Written:
    """Raises `RivalVersions`, `PreconditionFailed`, `Conflict`, `DiskFull`, `WriteUnclear`, `IntegrityError` (what was stored is not
    what was sent), `TooFewCopies` (stored on those that its `extra["stored"]` names, and delivered later; on nobody if that is
    empty)."""
    await session.transport.perform(source.hash_if_small)
    headers = _headers(options)
    if source.size is not None:
        headers["Content-Length"] = str(source.size)
    if not source.is_small:
        headers["Expect"] = EXPECTED
    if source.digest is not None:
        headers["Accord-Digest"] = str(source.digest)
    if options.modified is None and source.modified is not None:
        headers["Accord-Modified"] = source.modified
    if source.executable if options.executable is None else options.executable:
        headers["Accord-Executable"] = "?1"
    write = _Write("PUT", _target(path, options), headers, path, source, options.progress)
    written = await _perform(session, write)
    if source.digest is not None and written.digest != source.digest:
        raise IntegrityError(
            f"What was stored as {path} is not what was sent: {written.digest}, and not {source.digest}.",
            path=path,
            extra={"sent": str(source.digest), "stored": str(written.digest)},
        )
    return written


async def delete(session: Session, path: FilePath, options: Options) -> Written:
    """Raises `NotFound`, `Gone`, `UnknownState`, and what `put` does."""
    return await _perform(session, _Write("DELETE", _target(path, options), _headers(options), path))


async def copy(
    session: Session,
    source: FilePath,
    path: FilePath,
    options: Options,
    *,
    version: str | None = None,
    moves: bool = False,
) -> Written:
    """On the servers' side: no content passes through here. Raises what `put` does, and `NotFound` and the like for the source."""
    headers = _headers(options) | {"Accord-Source": files_target(source, version=version), "Content-Length": "0"}
    if moves:
        headers["Accord-Move"] = "?1"
    return await _perform(session, _Write("PUT", _target(path, options), headers, path))


@dataclass(frozen=True, slots=True)
class _Write:
    method: str
    target: str
    headers: Mapping[str, str]
    path: FilePath
    source: Source | None = None
    progress: Progress | None = None

    def begin(self) -> Body | None:
        if self.source is None:
            return None
        self.source.has_begun = self.source.has_ended = False
        return self.source.body(self.progress)

    @property
    def patience_s(self) -> float:
        size = self.source.size or 0 if self.source is not None else 0
        return size / PATIENCE_BYTES_PER_S

    @property
    def may_be_stored(self) -> bool:
        """Whether a server has got all of it, as far as can be known here. One that got a part of its content stores nothing."""
        return self.source is None or self.source.has_ended or self.source.size == 0

    @property
    def can_repeat(self) -> bool:
        return self.source is None or self.source.can_restart or not self.source.has_begun

    def may_go_on(self, error: AccordError) -> bool:
        """Whether another server may be asked after this refusal: it may know better, and nothing can have been stored."""
        if isinstance(error, TooFewCopies) and error.extra.get("stored") != []:
            return False  # it is there, only not on as many servers as were wanted
        if not worth_asking_another(error) or not self.can_repeat:
            return False
        return not self.may_be_stored or isinstance(error, Unavailable)


async def _perform(session: Session, write: _Write) -> Written:
    try:
        answered = await _submit(session, write)
        body = await read_document(answered.reply)
    except ServerUnusable as unusable:
        raise await _unclear(session, write, str(unusable)) from unusable
    return decode(Written, body)


async def _submit(session: Session, write: _Write) -> Answered:
    """The first answer that says that it was done. Raises `ServerUnusable` where that may be so and nobody said it."""
    failures: list[tuple[str, str | AccordError]] = []
    for server in session.in_turn:
        body = write.begin()
        try:
            reply = await session.transport.submit(
                write.method, server + write.target, write.headers, body, write.patience_s
            )
            if reply.status in _DONE:
                session.prefer(server)
                return Answered(server, reply)
            error = error_of(reply.status, reply.headers, await read_document(reply), write.path)
        except ServerUnusable as unusable:
            if not unusable.is_untouched and write.may_be_stored:
                session.prefer(server)
                raise
            failures.append((server, str(unusable)))
            if not write.can_repeat:
                break
            continue
        if not write.may_go_on(error):
            session.prefer(server)
            raise error
        failures.append((server, error))
    raise exhausted(failures, write.path)


async def _unclear(session: Session, write: _Write, reason: str) -> WriteUnclear:
    """Look whether the content is anywhere: at another server first, if there is one."""
    broken = session.current
    what = f"{broken} did not say whether {write.path} was {'deleted' if write.method == 'DELETE' else 'stored'} ({reason})"
    digest = write.source.digest if write.source is not None else None
    if digest is None:
        return WriteUnclear(f"{what}. Look with `accord stat` before you try again.", path=write.path)
    session.avoid(broken)
    try:
        verdict = await reading.stat(session, Wanted(write.path))
    except AccordError:
        return WriteUnclear(f"{what}, and nobody could be asked. Look before you try again.", path=write.path)
    holders = [name for version in verdict.versions if version.digest == digest for name in version.servers]
    if holders:
        detail = f"{what}, but its content is there now, on {', '.join(holders)}."
    else:
        detail = f"{what}, and its content is not there now; it may still come. Look before you try again."
    return WriteUnclear(detail, path=write.path, extra={"seen_on": holders, "digest": str(digest)})


def _target(path: FilePath, options: Options) -> str:
    if options.min_copies is None:
        return files_target(path)
    if not isinstance(options.min_copies, int) or options.min_copies < 1:
        raise UsageError("At least one copy is needed, and a whole number of them.")
    return files_target(path) + "?" + urlencode({"min_copies": options.min_copies})


def _headers(options: Options) -> dict[str, str]:
    """Raises `InvalidQuery`, `UsageError`."""
    headers = {}
    if options.context is not None:
        headers["Accord-Context"] = checked_field("context", options.context)
    if options.if_match is not None:
        given = [options.if_match] if isinstance(options.if_match, str) else options.if_match
        if not isinstance(given, Collection):
            raise UsageError(f"`if_match` is a digest or several, and not of the type {type(given).__name__}.")
        if not given:
            raise UsageError("`if_match` names no digest, so that nothing could match.")
        headers["If-Match"] = ", ".join(_etag(one) for one in given)
    if options.if_none_match is not None:
        if options.if_none_match != "*":
            raise UsageError("`if_none_match` can be '*' only: there must be no file.")
        headers["If-None-Match"] = "*"
    if options.modified is not None:
        headers["Accord-Modified"] = _moment(options.modified)
    if options.author is not None:
        headers["Accord-Author"] = quote(checked_text("author", options.author), safe="")
    if options.message is not None:
        headers["Accord-Message"] = quote(checked_text("message", options.message), safe="")
    return headers


def _etag(text: str) -> str:
    """A whole digest: the beginning of one would match more than was seen."""
    checked_text("digest of `if_match`", text)
    if text == "*":
        return "*"
    try:
        return f'"{Digest.parse(text if ":" in text else "blake3:" + text)}"'
    except AccordError as error:
        raise InvalidQuery(f"'{text}' is no whole digest (`blake3:` and 64 hex digits).") from error


def _moment(at: datetime | str) -> str:
    if not isinstance(at, datetime):
        return checked_field("modified time", at)
    if at.tzinfo is None:
        raise UsageError("A modified time needs a time zone.")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
