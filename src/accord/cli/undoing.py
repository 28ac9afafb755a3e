"""Taking back a choice among rivals: `accord resolve --undo`, also one that broke off half-way.

What a choice is, and making one, is `cli.resolve`'s.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from accord.cli import words
from accord.cli.exit_codes import OK, SILENT
from accord.cli.outcomes import Resolved
from accord.errors import AccordError, Conflict, NoSuchVersion
from accord.model.verdict import Kind

if TYPE_CHECKING:
    from accord.cli.options import Signed
    from accord.client.blocking import Client
    from accord.client.results import Event, History, Verdict, Written
    from accord.model.names import Digest


def undo(client: Client, verdict: Verdict, signed: Signed, *, dry_run: bool) -> tuple[Resolved, int]:
    """Each former rival is written anew with what is seen *now*: the first supersedes the choice, and the others, which have not seen
    the first, become its rivals. That is the state before, as new versions."""
    event = _last_choice(client, verdict, signed)
    # What is there alone, from an undoing that broke off, comes last: writing it again while it is there would be no change.
    there = {version.digest for version in verdict.versions}
    rivals = sorted(set(event.supersedes), key=lambda digest: (digest in there, digest is None, digest or b""))
    told = f"took back '{event.message}' of {words.moment(event.at)}: " if event.message else "took back the choice: "
    told += _and(rivals)
    if dry_run:
        return Resolved(verdict.path, told, None), OK
    written = _bring_back(client, verdict, rivals, signed.options() | {"message": _message(event, signed)})
    if not written or (len(rivals) > 1 and written[-1].result.verdict is not Kind.DIVERGED):
        raise Conflict(f"The rivals of {verdict.path} could not be brought back; `accord log` shows them all.")
    silent = any(one.missing for one in written)
    return Resolved(verdict.path, told, written[-1], undone=True), SILENT if silent else OK


def _bring_back(
    client: Client, verdict: Verdict, rivals: list[Digest | None], options: dict[str, Any]
) -> list[Written]:
    """Raises what a write raises, telling what stands there now if it was not the first."""
    path = verdict.path
    written: list[Written] = []
    for digest in rivals:
        try:
            if digest is not None:
                one = client.copy(path, path, version=str(digest), context=verdict.context, **options)
            else:
                one = client.delete(path, context=verdict.context, **options)
        except AccordError as error:
            if written:
                error.detail += " " + _half_done(path, rivals[: len(written)], rivals[len(written) :])
            raise
        written.append(one)
    return written


def _half_done(path: str, back: list[Digest | None], lacking: list[Digest | None]) -> str:
    if len(back) == 1:
        return (
            f"As far as is known, {_and(back)} alone is current now, and {_and(lacking)} is not back: the same command again "
            "brings all of them back."
        )
    named = shlex.quote(path)
    return (
        f"As far as is known, {_and(back)} are rivals again, and {_and(lacking)} is not back: `accord log {named}` shows it, "
        f"`accord get {named} --version DIGEST` saves it."
    )


def _and(digests: list[Digest | None]) -> str:
    return " and ".join(words.short(digest) if digest is not None else "the deletion" for digest in digests)


def _message(choice: Event, signed: Signed) -> str:
    return signed.message or f"undone: {choice.message or 'the choice'}"


def _last_choice(client: Client, verdict: Verdict, signed: Signed) -> Event:
    """The choice that is the current version, or that an undoing with just this message was about to take back, if the bytes of the
    rivals that it superseded are kept. Raises `Conflict`, `NoSuchVersion`."""
    history = client.history(verdict.path)
    current = [event for event in history.events if event.current]
    choice = current[0] if len(current) == 1 else None
    if choice is not None and choice.deed != "resolve":
        choice = _half_taken_back(choice, history, signed)
    if choice is None:
        raise Conflict(
            f"There is no choice to take back: what is current of {verdict.path} was not made by `accord resolve`. "
            f"`accord log` shows what happened, `accord restore` brings any version back.",
            path=verdict.path,
        )
    kept = {event.digest for event in history.events if event.servers} | {None}
    gone = [digest for digest in choice.supersedes if digest not in kept]
    if gone:
        raise NoSuchVersion(
            f"Nobody keeps {', '.join(words.short(digest) for digest in gone)} of {verdict.path} any more.",
            path=verdict.path,
        )
    return choice


def _half_taken_back(current: Event, history: History, signed: Signed) -> Event | None:
    """The choice that `current`, one of its rivals, took the place of when an undoing broke off."""
    choices = (event for event in history.events if event.deed == "resolve")
    choice = next((event for event in choices if current.supersedes == (event.digest,)), None)
    if choice is None or current.digest not in choice.supersedes or current.message != _message(choice, signed):
        return None
    return choice
