"""Every error that Accord names: one hierarchy, each class with its problem type, HTTP status and exit code.

AccordError                         500     1   (status, exit code)
├── UsageError                      400     2   the request or command makes no sense as written
│   ├── InvalidPath                 400     2
│   ├── InvalidQuery                400     2
│   ├── ConfigError                 500     2
│   └── ContentMismatch             400     2   a body is not as long as announced, or not what its digest says
│       └── ChecksumMismatch        460     2   a part of a resumable upload is not what its checksum says
├── NotAuthorised                   401     4
├── NotFound                        404     5   every server said so
│   ├── NoSuchPage                  404     5   the address names nothing that this server has
│   └── NoSuchUpload                404     5   it never was, was ended, or has expired
├── NoSuchVersion                   404     5   the path exists, that version of it is with nobody who answered
├── Gone                            410     5   the current version is a tombstone
├── NotAllowed                      405     2
├── Conflict                        409     1
│   ├── RivalVersions               409     6
│   └── MergeConflict               409     6   both sides changed the same lines
├── UploadBusy                      423     1
├── PreconditionFailed              412     1
├── ContentTooLarge                 413     1
├── UnsupportedContent              415     2
├── RangeNotSatisfiable             416     2
├── RequestTooSlow                  408     1
├── UriTooLong                      414     2
├── HeadersTooLarge                 431     2
├── AlreadyThere                    500     1   a file on the client's disk was not to be overwritten
├── WriteUnclear                    500     1   nobody knows whether it was done; trying again may do it twice
├── ForeignError                    500     1   an answer that is no Accord server's
├── Unavailable                     503     3   an answer is not to be had now; trying again may help
│   ├── NobodyAnswered              503     3   not one server could be used
│   ├── UnknownState                503     3   nobody who answered has it, and somebody did not answer
│   ├── StillChecking               503     3   a copy is still being hashed
│   ├── ChangedWhileReading         503     3   a copy was rewritten while it was read
│   └── TooFewCopies                503     3   a write is durable on fewer servers than it was to be
├── IntegrityError                  500     8
│   └── DamagedEverywhere           500     8
├── StoreFailed                     500     1   the operating system refused; the text says what
│   ├── DiskFull                    507     1
│   └── NotSaved                    500     1   the client's own disk refused
├── CannotStart                     500     1
├── DemoFailed                      500     1
└── PeerFailed                      502     3   another server broke off or answered garbage
    ├── PeerUnreachable             502     3
    └── PeerRefused                 502     3   it answered, and will not talk to us (key, protocol version, cluster)

This module knows nothing of HTTP libraries or terminals; `server.problems` and `cli.output` do the showing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class AccordError(Exception):
    """Base of all errors that Accord raises on purpose.

    `detail` is one sentence for a person. `extra` is added to the problem JSON as it stands (for example `servers`, `versions`).
    """

    type: ClassVar[str] = "error"
    title: ClassVar[str] = "Something Went Wrong"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str = "", *, path: str | None = None, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.path = path
        self.extra: dict[str, Any] = dict(extra or {})
        self.retry_after_s: int | None = None
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        """Header fields that belong to the answer, made from nothing a client sent (Content-Range, the verdict's)."""


class UsageError(AccordError):
    type, title, status, exit_code = "usage", "Bad Request", 400, 2


class InvalidPath(UsageError):
    type, title = "invalid-path", "Invalid Path"


class InvalidQuery(UsageError):
    type, title = "invalid-query", "Invalid Query"


class ConfigError(UsageError):
    type, title, status = "configuration", "Bad Configuration", 500


class ContentMismatch(UsageError):
    type, title = "content-mismatch", "The Content Is Not What Was Announced"


class ChecksumMismatch(ContentMismatch):
    """A part of a resumable upload; what came before it is kept. The status is the one that tus 1.0 has for this."""

    type, title, status = "checksum-mismatch", "The Part Is Not What Its Checksum Says", 460


class NotAuthorised(AccordError):
    type, title, status, exit_code = "not-authorised", "Not Authorised", 401, 4


class NotFound(AccordError):
    type, title, status, exit_code = "not-found", "File Not Found", 404, 5


class NoSuchPage(NotFound):
    """The address names neither a file nor anything else this server has: nobody was asked."""

    type, title = "no-such-page", "No Such Page"


class NoSuchUpload(NotFound):
    """It was never made, was ended by its client, or has expired."""

    type, title = "no-such-upload", "No Such Upload"


class NoSuchVersion(AccordError):
    type, title, status, exit_code = "no-such-version", "No Such Version", 404, 5


class Gone(AccordError):
    type, title, status, exit_code = "deleted", "File Deleted", 410, 5


class NotAllowed(AccordError):
    type, title, status, exit_code = "method-not-allowed", "Method Not Allowed", 405, 2


class Conflict(AccordError):
    type, title, status = "conflict", "Conflict", 409


class RivalVersions(Conflict):
    type, title, exit_code = "rival-versions", "Rival Versions", 6


class MergeConflict(Conflict):
    type, title, exit_code = "merge-conflict", "The Rivals Cannot Be Merged", 6


class UploadBusy(AccordError):
    """Another request is adding to the upload."""

    type, title, status = "upload-busy", "The Upload Is in Use", 423


class PreconditionFailed(AccordError):
    type, title, status = "precondition-failed", "Precondition Failed", 412


class ContentTooLarge(AccordError):
    type, title, status = "content-too-large", "Content Too Large", 413


class UnsupportedContent(AccordError):
    type, title, status, exit_code = "unsupported-content", "Unsupported Content", 415, 2


class RangeNotSatisfiable(AccordError):
    type, title, status, exit_code = "range-not-satisfiable", "Range Not Satisfiable", 416, 2


class RequestTooSlow(AccordError):
    type, title, status = "request-too-slow", "Request Too Slow", 408


class UriTooLong(AccordError):
    type, title, status, exit_code = "uri-too-long", "Address Too Long", 414, 2


class HeadersTooLarge(AccordError):
    type, title, status, exit_code = "headers-too-large", "Request Headers Too Large", 431, 2


class AlreadyThere(AccordError):
    """On the client's own disk, and whoever downloads asked for nothing to be overwritten."""

    type, title = "already-there", "There Already"


class WriteUnclear(AccordError):
    """The connection ended after the request was sent: it may have taken effect or not. Nothing sends it again: look first.
    `extra["seen_on"]` names servers that are known to hold the content, where that could be found out."""

    type, title = "write-unclear", "Not Known Whether It Was Done"


class ForeignError(AccordError):
    """An answer that is no Accord server's, or of a newer release than this client's. `worth_another`: the next may do better."""

    type, title = "foreign-answer", "Not an Answer of Accord"

    def __init__(
        self,
        detail: str = "",
        *,
        path: str | None = None,
        extra: Mapping[str, Any] | None = None,
        worth_another: bool = False,
    ) -> None:
        super().__init__(detail, path=path, extra=extra)
        self.worth_another = worth_another


class Unavailable(AccordError):
    """An answer is not to be had now. `retry_after_s` is a whole number of seconds."""

    type, title, status, exit_code = "unavailable", "Not Available Now", 503, 3

    def __init__(
        self,
        detail: str = "",
        *,
        path: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(detail, path=path, extra=extra)
        self.retry_after_s = retry_after_s


class NobodyAnswered(Unavailable):
    """Not one of the servers could be used: there is no answer at all, not even a refusal."""

    type, title = "nobody-answered", "No Server Could Be Asked"


class UnknownState(Unavailable):
    type, title = "unknown", "Not Known Whether the File Exists"


class StillChecking(Unavailable):
    type, title = "still-checking", "A Copy Is Still Being Checked"


class ChangedWhileReading(Unavailable):
    type, title = "changed-while-reading", "The File Is Being Changed"


class TooFewCopies(Unavailable):
    """`extra` names who has it durably (`stored`) and who has not, and why (`missing`)."""

    type, title = "too-few-copies", "Stored on Too Few Servers"


class IntegrityError(AccordError):
    type, title, exit_code = "integrity", "Content Does Not Match Its Digest", 8


class DamagedEverywhere(IntegrityError):
    type, title = "damaged", "Every Copy Is Damaged"


class StoreFailed(AccordError):
    type, title = "store-failed", "The Server Could Not Use Its Disk"


class DiskFull(StoreFailed):
    type, title, status = "disk-full", "No Space Left", 507


class CannotStart(AccordError):
    """The machine does not let the server start: the port is taken, the directory is not there."""

    type, title = "cannot-start", "The Server Cannot Start"


class DemoFailed(AccordError):
    """A server of the demonstration did not do what it should; its log says more."""

    type, title = "demo", "The Demonstration Failed"


class NotSaved(StoreFailed):
    """It is the client's own disk that refused, not a server's."""

    type, title = "not-saved", "Could Not Be Saved"


class PeerFailed(AccordError):
    type, title, status, exit_code = "peer-failed", "Another Server Failed", 502, 3


class PeerUnreachable(PeerFailed):
    type, title = "peer-unreachable", "Another Server Could Not Be Asked"


class PeerRefused(PeerFailed):
    type, title = "peer-refused", "Another Server Refused"
