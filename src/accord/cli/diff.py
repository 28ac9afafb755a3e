"""`accord diff`: what rival versions have in common and what not.

Lines are compared by difflib; what the versions are, the servers say. Looks are left to `cli.output`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from cyclopts import App
from msgspec.structs import replace

from accord.cli.exit_codes import OK, RIVALS, SILENT
from accord.cli.options import DEFAULTS, Common

if TYPE_CHECKING:
    from accord.cli.outcomes import Difference, Side
    from accord.client.blocking import Client
    from accord.client.results import Verdict, Version

MAX_TEXT_BYTES = 16 * 1024 * 1024
"""Larger versions are compared by size and digest only: lines are compared in memory."""


def app_command(app: App) -> None:
    app.command(diff, usage="Usage: accord diff [OPTIONS] PATH [A B]")


def diff(path: str, a: str | None = None, b: str | None = None, /, *, common: Common = DEFAULTS) -> int:
    """Show how the rival versions of a file differ: `accord diff PATH [A B]`.

    Text is shown as a unified diff, anything else (and what is larger than 16 MiB) as sizes and digests. Without A and B, each
    rival is compared with the newest one. Exit code 6 if versions differ, 0 if all copies are identical, 3 if they seem so but
    some server could not be asked.

    Examples:

        accord diff notes.txt

        accord diff notes.txt server1 server2

    Parameters
    ----------
    path
        The file.
    a
        A server's name, or the digest of a version (or its first 12 or more hex digits).
    b
        What to compare it with, written likewise.
    """
    from accord.cli import words
    from accord.cli.outcomes import Comparison
    from accord.errors import UsageError

    if a is not None and b is None:
        raise UsageError("Name two versions to compare, or none.")
    out = common.output()
    with common.client() as client:
        verdict = client.stat(path)
        _refuse_without_content(verdict)
        pairs = _pairs(verdict, a, b)
        found = tuple(_compare(client, path, old, new) for old, new in pairs)
    comparison = Comparison(verdict.path, verdict.verdict, all(one.identical for one in found), found)
    out.comparison(comparison)
    if not comparison.identical:
        if verdict.silent and a is None:
            out.note(f"{path}: {words.silence(verdict.silent)}, which may have another version")
        return RIVALS
    out.note(f"{path}: {'the two are the same version' if a else words.sentence(verdict)}")
    return SILENT if verdict.silent and a is None else OK


def _refuse_without_content(verdict: Verdict) -> None:
    from accord.cli import words
    from accord.errors import DamagedEverywhere, Gone, NotFound, UnknownState
    from accord.model.verdict import Kind

    refusals = {
        Kind.MISSING: NotFound,
        Kind.DELETED: Gone,
        Kind.UNKNOWN: UnknownState,
        Kind.DAMAGED: DamagedEverywhere,
    }
    if verdict.verdict in refusals:
        why = words.sentence(verdict)
        for said in (NotFound.title, "not known whether it exists"):  # the error's title says it already
            why = why.removeprefix(f"{said}: ")
        raise refusals[verdict.verdict](f"{verdict.path}: {why}.", path=verdict.path)


def _pairs(verdict: Verdict, a: str | None, b: str | None) -> list[tuple[Side, Side]]:
    if a is not None and b is not None:
        return [(_named(verdict, a), _named(verdict, b))]
    sides = [_side(verdict, version) for version in verdict.versions]
    return [(sides[0], other) for other in sides[1:]]


def _side(verdict: Verdict, version: Version, label: str | None = None) -> Side:
    from accord.cli import words
    from accord.cli.outcomes import Side

    title = label or words.label(verdict, version)
    return Side(title, version.digest, version.size, version.servers)


def _named(verdict: Verdict, word: str) -> Side:
    """What a server's name or a digest stands for; what a server has that is not current can be compared too. Raises `UsageError`."""
    from accord.cli.naming import version_named
    from accord.cli.outcomes import Side

    current = {version.digest for version in verdict.versions}
    for report in verdict.servers:
        if report.name == word and report.digest is not None and report.digest not in current:
            return Side(word, report.digest, 0, (report.name,))
    return _side(verdict, version_named(verdict, word), word)


def _compare(client: Client, path: str, old: Side, new: Side) -> Difference:
    from accord.cli.outcomes import Difference

    if old.digest == new.digest:
        return Difference(old, new, True, None)
    old, old_text = _read(client, path, old)
    new, new_text = _read(client, path, new)
    if old_text is None or new_text is None:
        return Difference(old, new, False, None)
    return Difference(old, new, False, _unified(old_text, new_text, f"{path} ({old.label})", f"{path} ({new.label})"))


def _read(client: Client, path: str, side: Side) -> tuple[Side, str | None]:
    """The side with its true size, and its text: a deletion is empty, and what is large or no UTF-8 is None."""
    if side.digest is None:
        return side, ""
    with client.stream(path, version=str(side.digest)) as stream:
        side = replace(side, size=stream.size if stream.size is not None else side.size)
        if side.size > MAX_TEXT_BYTES:
            return side, None
        content = b"".join(stream)
    if b"\0" in content:
        return side, None
    try:
        return side, content.decode()
    except UnicodeDecodeError:
        return side, None


def _unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """Lines end at line feeds only, as in every diff; a missing one at the end of a file is said."""
    lines = difflib.unified_diff(_lines(old), _lines(new), old_name, new_name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    pieces = text.split("\n")
    return [piece + "\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
