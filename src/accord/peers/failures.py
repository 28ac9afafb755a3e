"""Errors on their way to another server, and back into errors there: one table for both ends.

The details are reasons: they read well after the name of the server that failed.
"""

from __future__ import annotations

from accord.errors import (
    AccordError,
    ChangedWhileReading,
    Conflict,
    DiskFull,
    IntegrityError,
    NoSuchVersion,
    PeerFailed,
    PeerUnreachable,
    StillChecking,
    StoreFailed,
)
from accord.model.names import FilePath
from accord.peers.answers import MAX_REASON_CHARS
from accord.peers.wire import Failed, Failure


def not_asked_for(path: FilePath | None = None) -> PeerUnreachable:
    """What a peer sent answers nothing that it was asked."""
    return PeerUnreachable("sent something that was not asked for", path=path)


def reason_of(error: AccordError) -> str:
    """As it reads after a server's name."""
    return error.detail.removesuffix(".")[:MAX_REASON_CHARS]


def failed(error: AccordError) -> Failed:
    """What the other server is told of `error`."""
    reason = reason_of(error)
    match error:
        case DiskFull():
            return _failed(Failure.FULL, "has no space left")
        case StoreFailed():
            return _failed(Failure.STORE, f"its disk failed ({reason})")
        case Conflict():
            return _failed(Failure.CONFLICT, f"cannot put it in its place ({reason})")
        case StillChecking():
            return _failed(Failure.CHECKING, reason)
        case ChangedWhileReading():
            return _failed(Failure.CHANGED, reason)
        case IntegrityError():
            return _failed(Failure.DAMAGED, reason)
        case _:
            return _failed(Failure.UNABLE, reason)


def _failed(failure: Failure, reason: str) -> Failed:
    return Failed(failure.value, reason[:MAX_REASON_CHARS])


def fetch_error(told: Failed, path: FilePath | None) -> AccordError:
    """What it means that a peer could not send what was asked for."""
    reason = told.detail[:MAX_REASON_CHARS]
    match told.failure:
        case Failure.GONE.value | Failure.CHANGED.value:
            return NoSuchVersion(reason, path=path)
        case Failure.DAMAGED.value:
            return IntegrityError(reason, path=path)
        case _:
            return PeerUnreachable(reason, path=path)


def upload_error(told: Failed) -> Conflict | PeerFailed:
    """What it means that a peer could not take in what was sent."""
    reason = told.detail[:MAX_REASON_CHARS]
    match told.failure:
        case Failure.CONFLICT.value:
            return Conflict(reason)
        case Failure.STOPPING.value:
            return PeerUnreachable(reason)
        case _:
            return PeerFailed(reason)
