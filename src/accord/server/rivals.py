"""The 300 answer: every rival version, named by the servers that hold it, as JSON, as one multipart body, or as a page.

It picks nobody. The bytes of a multipart body are streamed by the caller; here is only what stands around them.
"""

from __future__ import annotations

from typing import NamedTuple

from accord.model.verdict import HeldVersion, State, Verdict
from accord.quantities import size_text
from accord.server import media, pages
from accord.server.media import Form
from accord.server.multipart import Framing, framed
from accord.server.paths import encoded
from accord.server.rendering import (
    etag,
    render_head,
    rfc3339,
    rivals_etag,
    sf_string,
    verdict_json,
    verdict_lines,
    version_href,
)

FORMS = (Form.JSON, Form.HTML, Form.MULTIPART)
"""What a client can choose from; the first is the default."""

MULTIPLE_CHOICES = 300
_AT_PATH = frozenset((State.CURRENT, State.RIVAL, State.DELETED))


class Rival(NamedTuple):
    """One part of a multipart answer. `state` is RIVAL (its bytes follow), DELETED or DAMAGED (none do)."""

    held: HeldVersion
    state: State

    @property
    def body_bytes(self) -> int:
        return self.held.version.size if self.state is State.RIVAL else 0


def rivals_head(verdict: Verdict, form: Form, *, now_s: int, length: int, media_type: bytes | None = None) -> bytes:
    """The whole head of the 300 answer. `media_type` is the framing's, for a multipart answer. No Location: nothing is picked."""
    fields: list[tuple[bytes, bytes]] = [
        (b"ETag", rivals_etag(verdict)),
        (b"Cache-Control", b"no-store"),
        (b"Vary", b"Accept"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Length", b"%d" % length),
    ]
    if form is Form.HTML:
        fields += pages.HTML_FIELDS
    else:
        fields.append((b"Content-Type", media_type or form.value.encode()))
    return render_head(MULTIPLE_CHOICES, fields, now_s=now_s).removesuffix(b"\r\n") + verdict_lines(verdict) + b"\r\n"


def as_json(verdict: Verdict) -> bytes:
    return verdict_json(verdict)


def parts(verdict: Verdict) -> tuple[Rival, ...]:
    """The versions, newest first, each with whether there are bytes of it to send."""
    return tuple(Rival(held, _state(held)) for held in verdict.versions)


def as_multipart(verdict: Verdict, boundary: str) -> Framing:
    """The framing of `parts(verdict)`: send head and bytes of each in turn, nothing after the head of one without bytes."""
    return framed("mixed", boundary, ((_part_fields(verdict, part), part.body_bytes) for part in parts(verdict)))


def _state(held: HeldVersion) -> State:
    if held.version.is_tombstone:
        return State.DELETED
    return State.RIVAL if held.servers else State.DAMAGED


def _part_fields(verdict: Verdict, part: Rival) -> list[tuple[bytes, bytes]]:
    digest = part.held.version.digest
    names = ", ".join(map(sf_string, part.held.servers)).encode("ascii")
    fields = [
        (b"Content-Type", media.content_type(verdict.path.name).encode()),
        (b"Content-Length", b"%d" % part.body_bytes),
        (b"Accord-State", part.state.value.encode()),
        (b"Accord-Servers", names),
        (b"Content-Disposition", media.disposition(saved_name(verdict, part.held), attachment=True)),
    ]
    if digest is not None:
        fields.append((b"ETag", etag(digest)))
        fields.append((b"Content-Location", version_href(verdict.path, digest).encode("ascii")))
    return fields


def saved_name(verdict: Verdict, held: HeldVersion) -> str:
    """What a rival is called beside the others, each otherwise: `notes.server1+server2.txt`, after the servers that have it at the
    path. One that is only kept aside, which every server does with all rivals, is named by its digest."""
    digest = held.version.digest
    at_path = "+".join(one.name for one in verdict.servers if one.digest == digest and one.state in _AT_PATH)
    label = at_path or ("deleted" if digest is None else digest.hex()[:12])
    stem, dot, extension = verdict.path.name.rpartition(".")
    return f"{stem}.{label}.{extension}" if dot and stem else f"{verdict.path.name}.{label}"


def as_page(verdict: Verdict) -> bytes:
    """The page for a person: what happened, the versions, the servers."""
    count = len(verdict.versions)
    none = "neither" if count == 2 else "none of them"
    body = [
        pages.paragraph(
            f"The servers hold {count} different versions of this file, and {none} came after the other{'s' * (count > 2)}: "
            "they were changed apart from each other. Accord has not picked one, and nothing is lost. Look at each version; "
            "they stay as they are until somebody decides."
        ),
        pages.table(
            ("Version", "Held by", "Size", "Modified", "Made by"),
            [_version_row(verdict, part) for part in parts(verdict)],
            caption="Versions, the newest first",
            numeric=frozenset((2,)),
        ),
        pages.table(
            ("Server", "State", "Version", "Remark"),
            [
                (
                    pages.text(one.name),
                    pages.badge(one.state.value),
                    pages.code(one.digest.hex()[:12]) if one.digest is not None else "",
                    pages.text(one.reason or ""),
                )
                for one in verdict.servers
            ],
            caption="Servers",
        ),
        f"<p>{pages.link(f'/history/{encoded(verdict.path)}', 'Look at the history of this file')}</p>",
    ]
    return pages.document(verdict.path, "".join(body))


def _version_row(verdict: Verdict, part: Rival) -> tuple[str, ...]:
    version, servers = part.held.version, part.held.servers
    if version.digest is None:
        what, size = pages.text("Deleted"), ""
    elif part.state is State.DAMAGED:
        what, size = f"{pages.code(version.digest.hex()[:12])} {pages.badge('damaged')}", size_text(version.size)
    else:
        href = version_href(verdict.path, version.digest)
        what = f"{pages.link(href, f'Open version {version.digest.hex()[:12]}')}"
        size = size_text(version.size)
    holders = pages.text(", ".join(servers)) if servers else pages.text("no good copy answered")
    when = pages.moment(rfc3339(version.modified_ns)) if version.modified_ns else pages.text("not known")
    return what, holders, size, when, pages.text(version.author or "not known")
