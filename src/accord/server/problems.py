"""The one error renderer: an `AccordError` becomes a status, header fields and a body (RFC 9457), JSON or a page.

Also which verdicts are problems. What went wrong was decided by whoever raised the error; nothing is added here that could leak.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from accord.errors import (
    AccordError,
    DamagedEverywhere,
    Gone,
    NoSuchPage,
    NotFound,
    PreconditionFailed,
    RivalVersions,
    StillChecking,
    UnknownState,
)
from accord.model.verdict import FOLDER, Kind, ServerReport, State, Verdict
from accord.model.writing import Refusal
from accord.server import pages
from accord.server.media import Form
from accord.server.paths import encoded
from accord.server.rendering import JSON, seen_by_reader, server_bodies, verdict_body, verdict_fields

TYPE_ROOT = "/problems/"
UNKNOWN_RETRY_S = 1

_SENT = frozenset((Kind.IDENTICAL, Kind.STALE, Kind.PARTIAL, Kind.UNVERIFIED, Kind.DIVERGED))
"""The verdicts that come with bytes, or a choice of them."""


class Problem(NamedTuple):
    """An answer that is an error. `fields` has lower-case names, as ASGI wants them, Content-Length among them."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def render(
    error: AccordError, *, path: str | None = None, form: Form = Form.JSON, fields: Iterable[tuple[bytes, bytes]] = ()
) -> Problem:
    """The answer for `error`, as problem JSON unless `form` is HTML. `path` is used where the error names none.

    `fields` are header fields besides `error.fields`, made by the caller from nothing a client sent.
    """
    told = document(error, path=path)
    if form is Form.HTML:
        body, special = problem_page(told), pages.HTML_FIELDS
    else:
        body, special = JSON.encode(told), ((b"content-type", b"application/problem+json"),)
    common = [
        *special,
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if error.retry_after_s is not None:
        common.append((b"retry-after", b"%d" % error.retry_after_s))
    return Problem(error.status, (*common, *error.fields, *fields), body)


def document(error: AccordError, *, path: str | None = None) -> dict[str, Any]:
    """The problem document; every one has all of the shape's members."""
    named = error.path if error.path is not None else path
    return {
        "type": TYPE_ROOT + error.type,
        "title": error.title,
        "status": error.status,
        "detail": _sound(error.detail),
        "path": None if named is None else _sound(named),
        "servers": [],
        **error.extra,
    }


def _sound(text: str) -> str:
    """Text that can be written as UTF-8: an error about a bad name may quote it."""
    return text.encode("utf-8", "replace").decode()


def problem_of(verdict: Verdict) -> AccordError | None:
    """The error that a verdict amounts to; None where there is something to send (200 or 300)."""
    if verdict.kind in _SENT:
        return None
    path = verdict.path
    extra = {
        "servers": server_bodies(verdict.servers),
        "verdict": verdict.kind.value,
        "context": seen_by_reader(verdict),
    }
    match verdict.kind:
        case Kind.MISSING:
            folder = {"folder": f"/list/{encoded(path)}/"} if _is_folder(verdict) else {}
            return NotFound(_missing_sentence(verdict), path=path, extra={**extra, **folder})
        case Kind.DELETED:
            knowing = _named(one for one in verdict.servers if one.state is State.DELETED)
            return Gone(f"'{path}' was deleted (known to {knowing}).{_silence(verdict)}", path=path, extra=extra)
        case Kind.DAMAGED:
            damaged = [one for one in verdict.servers if one.state is State.DAMAGED]
            detail = f"Every copy of '{path}' that answered is damaged: {_with_reasons(damaged)}.{_silence(verdict)}"
            return DamagedEverywhere(detail, path=path, extra=extra)
        case Kind.UNKNOWN:
            checking = any(one.state is State.CHECKING for one in verdict.servers)
            error = StillChecking if checking else UnknownState
            return error(_unknown_sentence(verdict), path=path, extra=extra, retry_after_s=UNKNOWN_RETRY_S)
        case _:
            raise ValueError(f"{verdict.kind} is no problem")


def rivals_refused(verdict: Verdict) -> RivalVersions:
    """The 409 for a client that asked for `rivals=fail`, with the whole verdict in it."""
    body = msgspec.to_builtins(verdict_body(verdict))
    count = len(verdict.versions)
    detail = f"'{verdict.path}' has {count} rival versions: {_with_reasons(verdict.servers)}."
    return RivalVersions(detail, path=verdict.path, extra=body)


def write_refused(refusal: Refusal, verdict: Verdict) -> AccordError:
    """The problem of a write that is not made as things stand in `verdict`, which is in it."""
    path = verdict.path
    body = msgspec.to_builtins(verdict_body(verdict))
    error: AccordError | None
    match refusal:
        case Refusal.DIVERGED:
            error = rivals_refused(verdict)
            error.detail += " Say which you have seen (Accord-Context, If-Match), and they are superseded."
        case Refusal.EXISTS:
            error = PreconditionFailed(f"'{path}' exists already.{_silence(verdict)}", path=path, extra=body)
        case Refusal.NOT_THE_VERSION:
            what = "is not the version that the request is about" if verdict.versions else "does not exist"
            error = PreconditionFailed(f"'{path}' {what}.{_silence(verdict)}", path=path, extra=body)
        case Refusal.MISSING | Refusal.DELETED | Refusal.UNKNOWN:
            error = problem_of(verdict) or UnknownState(_unknown_sentence(verdict), path=path, extra=body)
    error.fields = (*error.fields, *verdict_fields(verdict))
    return error


def _missing_sentence(verdict: Verdict) -> str:
    if _is_folder(verdict):
        return f"'{verdict.path}' is a folder: `accord ls {shlex.quote(verdict.path)}` lists it."
    if len(verdict.servers) == 1:
        return f"{verdict.servers[0].name} does not have '{verdict.path}', and there is no other server."
    return f"No server has '{verdict.path}': {_named(verdict.servers)} {'both' if len(verdict.servers) == 2 else 'all'} said so."


def _is_folder(verdict: Verdict) -> bool:
    return any(one.reason == FOLDER for one in verdict.servers)


def _unknown_sentence(verdict: Verdict) -> str:
    lacking = [one for one in verdict.servers if one not in verdict.silent]
    start = (
        f"{_named(lacking)} {'lacks' if len(lacking) == 1 else 'lack'} '{verdict.path}', but"
        if lacking
        else (f"Nobody could say whether '{verdict.path}' exists:")
    )
    return f"{start}{_silence(verdict).removeprefix(' But')} Try again."


def _silence(verdict: Verdict) -> str:
    """A sentence about who did not answer and why; empty where everybody did."""
    silent = verdict.silent
    return f" But {_with_reasons(silent)} did not answer." if silent else ""


def _with_reasons(reports: Iterable[ServerReport]) -> str:
    return _listed([f"{one.name} ({one.reason or one.state.value})" for one in reports])


def _named(reports: Iterable[ServerReport]) -> str:
    return _listed([str(one.name) for one in reports])


def _listed(words: list[str]) -> str:
    """A, B and C."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def all_types() -> dict[str, type[AccordError]]:
    """Every problem type by name, from the errors' own tree; of several classes with one name the first, the most general."""
    known: dict[str, type[AccordError]] = {}
    for kind in _tree(AccordError):
        known.setdefault(kind.type, kind)
    return known


def _tree(kind: type[AccordError]) -> Iterator[type[AccordError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def problem_page(told: dict[str, Any]) -> bytes:
    """A problem document as a page for a person."""
    body = [pages.paragraph(told["detail"])]
    if "folder" in told:
        body.append(f"<p>{pages.link(told['folder'], 'Look at the folder')}</p>")
    rows = [
        (pages.text(one["name"]), pages.badge(one["state"]), pages.text(one.get("reason") or ""))
        for one in msgspec.to_builtins(list(told["servers"]), enc_hook=str)
    ]
    if rows:
        body.append(pages.table(("Server", "State", "Why"), rows, caption="What each server said"))
    kind = pages.link(told["type"], told["type"].removeprefix(TYPE_ROOT))
    body.append(f'<p class="aside">Status {told["status"]} · problem type {kind}</p>')
    return pages.document(told["title"], "".join(body))


def type_page(name: str) -> bytes:
    """What a problem type means. Raises `NoSuchPage`."""
    kind = all_types().get(name)
    if kind is None:
        raise NoSuchPage("There is no such problem type.")
    meaning = (kind.__doc__ or "").strip().split("\n\n")[0]
    rows = [
        (pages.text("Status"), pages.text(str(kind.status))),
        (pages.text("Exit code of the command line"), pages.text(str(kind.exit_code))),
        (pages.text("A kind of"), _parents(kind)),
    ]
    return pages.document(
        kind.title,
        pages.paragraph(meaning) * bool(meaning) + pages.table(("Property", "Value"), rows, caption=f"Type: {name}"),
    )


def _parents(kind: type[AccordError]) -> str:
    lineage = [one for one in kind.__mro__[1:] if issubclass(one, AccordError)]
    return " › ".join(pages.link(TYPE_ROOT + one.type, one.title) for one in reversed(lineage)) or pages.text("—")
