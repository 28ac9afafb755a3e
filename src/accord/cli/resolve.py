"""`accord resolve`: a person's choice among rival versions, for one path or many, recorded and undone.

What is chosen is decided in `cli.choices`, how a choice is taken back in `cli.undoing`; the write goes out with what the verdict has
seen, so that a rival that came meanwhile is not buried.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from accord.cli.app import STDIN
from accord.cli.exit_codes import OK, SILENT, worst
from accord.cli.options import DEFAULTS, UNSIGNED, Common, DryRun, Signed

if TYPE_CHECKING:
    from accord.cli.bar import Bar
    from accord.cli.choices import Choice
    from accord.cli.outcomes import Resolved
    from accord.cli.output import Output
    from accord.client.blocking import Client
    from accord.client.results import Verdict, Written


@dataclass(frozen=True)
class Wanted:
    """What the options of the command amount to."""

    keep: str | None
    merge: bool
    markers: bool
    file: str | None
    undo: bool
    dry_run: bool
    signed: Signed


def app_command(app: App) -> None:
    app.command(resolve, usage="Usage: accord resolve [OPTIONS] PATH")


def resolve(
    path: str,
    /,
    *,
    keep: Annotated[str | None, Parameter(name="--keep", negative=())] = None,
    merge: Annotated[bool, Parameter(name="--merge", negative=(), show_default=False)] = False,
    markers: Annotated[bool, Parameter(name="--markers", negative=(), show_default=False)] = False,
    file: Annotated[str | None, Parameter(name="--file", negative=())] = None,
    undo: Annotated[bool, Parameter(name="--undo", negative=(), show_default=False)] = False,
    dry_run: DryRun = False,
    signed: Signed = UNSIGNED,
    common: Common = DEFAULTS,
) -> int:
    """Settle rival versions: keep one, merge them, or store something else in their place.

    PATH may be a pattern in quotes: `*` and `?` stand for characters of one name, `**` for folders too; then every file with rivals
    that matches is resolved, one after the other. With --keep no content passes through this machine. The choice becomes a new
    version that supersedes the rivals; they stay in the history, with who chose and why. A rival that comes meanwhile stays a
    rival.

    --merge puts together what each side changed since the version that they both come from; text only. Where both changed the same
    lines, nothing is stored (exit code 6) unless --markers is given.

    --undo takes back a choice, as long as it is the current version: the rivals that it superseded become rivals again.

    Exit code 3 if some server gets it later, 6 if rivals remain.

    Examples:

        accord resolve notes.txt --keep server2 --message "the longer one"

        accord resolve notes.txt --merge

        accord resolve 'photos/**' --keep newest --dry-run

    Parameters
    ----------
    path
        A file with rival versions, or a pattern.
    keep
        Which one: a server's name, a digest (12 hex digits are enough), `newest`, `largest`, or `deleted` for no file at all.
    merge
        Merge all of them by lines.
    markers
        With --merge: write both sides down where they conflict.
    file
        Store this file in their place; `-` is stdin.
    undo
        Bring back the rivals that the last choice superseded.
    dry_run
        Only show what would be chosen.
    """
    from accord.cli.bar import bar_over_files
    from accord.errors import UsageError

    if (keep is not None) + merge + (file is not None) + undo != 1:
        raise UsageError("Say what to do, in one way: --keep, --merge, --file or --undo.")
    if markers and not merge:
        raise UsageError("--markers goes with --merge.")
    wanted = Wanted(keep, merge, markers, file, undo, dry_run, signed)
    with common.client() as client:
        pattern = pattern_of(path)
        if pattern is None or file is not None or undo:
            resolved, code = _literally(client, path, wanted) if pattern is not None else _one(client, path, wanted)
            common.output().resolved(resolved)
            return code
        with bar_over_files(json=common.json) as bar:
            out = common.output(bar)
            return _each(client, _diverged(client, pattern, path, out), wanted, out, bar)


def _literally(client: Client, path: str, wanted: Wanted) -> tuple[Resolved, int]:
    """A file may be called like a pattern. Raises `UsageError` where none is."""
    from accord.errors import NotFound, UsageError

    try:
        return _one(client, path, wanted)
    except NotFound as error:
        option = "--undo" if wanted.undo else "--file"
        raise UsageError(f"{option} is for one file, and none is called '{path}'.") from error


def _each(client: Client, listed: tuple[list[str], bool], wanted: Wanted, out: Output, bar: Bar) -> int:
    from accord.cli.bar import known
    from accord.cli.trees import shown
    from accord.errors import AccordError

    paths, silent = listed
    codes = {SILENT if silent else OK}
    for path in known(paths, bar):
        try:
            with bar.file(path):
                resolved, code = _one(client, path, wanted)
            shown(out.resolved, resolved)
        except AccordError as error:
            shown(out.error, error)
            code = error.exit_code
        codes.add(code)
    return worst(codes)


def _one(client: Client, path: str, wanted: Wanted) -> tuple[Resolved, int]:
    from accord.cli import words
    from accord.cli.changes import exit_code_of
    from accord.cli.outcomes import Resolved
    from accord.cli.undoing import undo
    from accord.errors import Conflict, Gone, NotFound, UnknownState
    from accord.model.verdict import Kind

    verdict = client.stat(path)
    if wanted.undo:
        return undo(client, verdict, wanted.signed, dry_run=wanted.dry_run)
    if verdict.verdict is not Kind.DIVERGED:
        errors = {Kind.MISSING: NotFound, Kind.DELETED: Gone, Kind.UNKNOWN: UnknownState}
        raise errors.get(verdict.verdict, Conflict)(
            f"{path} has no rival versions: {words.sentence(verdict)}.", path=path
        )
    choice = _choice(client, verdict, wanted)
    if wanted.dry_run:
        return Resolved(verdict.path, choice.words, None), OK
    written = _make(client, verdict, choice, wanted.signed)
    return Resolved(verdict.path, choice.words, written), exit_code_of(written)


def _choice(client: Client, verdict: Verdict, wanted: Wanted) -> Choice:
    from accord.cli.choices import Choice, keep, merged
    from accord.cli.words import printable
    from accord.client.source import StreamSource, source_of

    if wanted.keep is not None:
        return keep(verdict, wanted.keep)
    if wanted.merge:
        return merged(client, verdict, markers=wanted.markers)
    assert wanted.file is not None
    if wanted.file == STDIN:
        return Choice("stored stdin", content=StreamSource(sys.stdin.buffer))
    return Choice(f"stored {printable(wanted.file)}", content=source_of(Path(wanted.file)))


def _make(client: Client, verdict: Verdict, choice: Choice, signed: Signed) -> Written:
    options = signed.options()
    options["message"] = signed.message if signed.message is not None else choice.words
    if choice.content is not None:
        return client.put(
            verdict.path, choice.content, context=verdict.context, executable=choice.executable, **options
        )
    if choice.digest is not None:
        return client.copy(verdict.path, verdict.path, version=str(choice.digest), context=verdict.context, **options)
    return client.delete(verdict.path, context=verdict.context, **options)


def pattern_of(text: str) -> re.Pattern[str] | None:
    """`*` and `?` stay within one name, `**` does not; None for a plain path."""
    if not re.search(r"[*?]", text):
        return None
    pieces = re.split(r"(\*\*/?|\*|\?)", text)
    meanings = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meanings.get(piece) or re.escape(piece) for piece in pieces) + r"\Z", re.DOTALL)


def _diverged(client: Client, pattern: re.Pattern[str], text: str, out: Output) -> tuple[list[str], bool]:
    """The paths with rivals that match, or the path of exactly that name; and whether somebody could not be asked for theirs."""
    from accord.cli import words
    from accord.errors import NotFound, UnknownState
    from accord.model.verdict import Kind

    listing = client.list(re.split(r"[^/]*[*?]", text)[0].rstrip("/"))
    paths = [str(entry.path) for entry in listing if entry.verdict is Kind.DIVERGED]
    matching = [text] if text in paths else [path for path in paths if pattern.match(path)]
    silence = (
        f"could not ask {words.names(one.name for one in listing.silent)}: rivals that only they have are not resolved"
    )
    if not matching:
        detail = f"No file with rival versions matches '{text}'"
        if listing.silent:
            raise UnknownState(f"{detail}, but {silence}.", path=text)
        raise NotFound(f"{detail}.", path=text)
    if listing.silent:
        out.note(silence)
    return matching, bool(listing.silent)
