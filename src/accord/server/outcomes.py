"""How a write that was made looks in HTTP: the JSON, and the head before it. PUT, DELETE and a completed upload all answer so."""

from __future__ import annotations

import msgspec

from accord.engine.write import Written
from accord.server.rendering import (
    JSON,
    VerdictBody,
    etag,
    render_head,
    rfc3339,
    sf_string,
    verdict_body,
    verdict_fields,
)

Field = tuple[bytes, bytes]


class MissingBody(msgspec.Struct, frozen=True):
    """A server that gets the write later, and why."""

    name: str
    reason: str


class WrittenBody(msgspec.Struct, frozen=True):
    """The JSON of a write. `digest` is None for a deletion; `result` is the verdict afterwards."""

    path: str
    digest: str | None
    size: int
    modified: str
    author: str
    is_new: bool
    stored: tuple[str, ...]
    missing: tuple[MissingBody, ...]
    result: VerdictBody


def written_body(written: Written) -> WrittenBody:
    version = written.version
    return WrittenBody(
        str(written.path),
        None if version.digest is None else str(version.digest),
        version.size,
        rfc3339(version.modified_ns),
        version.author,
        written.is_new,
        tuple(map(str, written.stored)),
        tuple(MissingBody(str(one.name), one.reason) for one in written.missing),
        verdict_body(written.verdict),
    )


def written_fields(written: Written) -> list[Field]:
    """The fields that tell of the write, names in lower case."""
    digest = written.version.digest
    stored = ", ".join(map(sf_string, written.stored)).encode("ascii")
    own = [] if digest is None else [(b"etag", etag(digest))]
    return [*own, (b"accord-stored", stored), *verdict_fields(written.verdict)]


def status_of(written: Written) -> int:
    return 201 if written.is_new and written.version.digest is not None else 200


def written_answer(written: Written, *, now_s: int) -> tuple[bytes, bytes]:
    """Head and body."""
    body = JSON.encode(written_body(written))
    fields = [
        *written_fields(written),
        (b"cache-control", b"no-store"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
    ]
    return render_head(status_of(written), fields, now_s=now_s), body
