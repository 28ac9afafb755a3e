"""`accord cat`, `stat` and `ls`: look at files without saving them.

What a verdict means for the exit code is decided here, once, in `exit_code_of`; how results look is left to `cli.output`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from accord.cli.exit_codes import INTEGRITY, NOT_FOUND, OK, RIVALS, SILENT
from accord.cli.options import DEFAULTS, Common, Verify
from accord.model.verdict import Kind, State

if TYPE_CHECKING:
    from accord.cli.output import Output
    from accord.client.blocking import Client
    from accord.client.results import ListedServer, ServerReport, Verdict


def app_command(app: App) -> None:
    app.command(cat, usage="Usage: accord cat [OPTIONS] PATH...")
    app.command(stat, usage="Usage: accord stat [OPTIONS] PATH")
    app.command(ls, usage="Usage: accord ls [OPTIONS] [FOLDER]")


def exit_code_of(verdict: Verdict, *, asked_all: bool = True) -> int:
    """What a command that reports this verdict ends with. `asked_all` is False where others were not to be asked at all."""
    match verdict.verdict:
        case Kind.DIVERGED:
            return RIVALS
        case Kind.DELETED | Kind.MISSING:
            return NOT_FOUND
        case Kind.UNKNOWN:
            return SILENT
        case Kind.DAMAGED:
            return INTEGRITY
        case Kind.IDENTICAL | Kind.STALE | Kind.PARTIAL | Kind.UNVERIFIED:
            return SILENT if verdict.silent and asked_all else OK


def cat(
    *paths: Annotated[str, Parameter(name="PATH", required=True)],
    version: Annotated[str | None, Parameter(name="--version")] = None,
    verify: Verify = "stat",
    common: Common = DEFAULTS,
) -> int:
    """Write files to stdout.

    Rival versions are never written: they are listed on stderr, nothing of that file goes to stdout, and the exit code is 6.
    Bytes are checked as they pass; should the digest of the whole be wrong, the last of them are held back and the exit code is 8.
    Exit code 0 also when some server could not be asked; a note on stderr says so. Of several paths, each is tried, whatever becomes of
    the others, and the exit code is that of the worst.

    Examples:

        accord cat hello.txt

        accord cat notes.txt --version 3fa94c0d11e2

    Parameters
    ----------
    paths
        Files to write, one after the other.
    version
        Write this version: its digest, or the first 12 or more hex digits of it.
    verify
        `stat` trusts the servers' stat data, `content` has every copy read anew, `none` asks one server only.
    """
    from accord.cli.pouring import pour

    with common.client() as client:
        return pour(client, paths, common.output(), version=version, verify=verify)


def stat(path: str, /, *, verify: Verify = "stat", common: Common = DEFAULTS) -> int:
    """Show the verdict on a file, and how each server stands to it.

    Exit code 0 if all servers answered and there is one current version, 3 if some server could not be asked, 5 if the file does
    not exist or was deleted, 6 if there are rival versions, 8 if every copy is damaged.

    Examples:

        accord stat hello.txt

        accord stat hello.txt --verify content --json

    Parameters
    ----------
    path
        The file.
    verify
        `stat` trusts the servers' stat data, `content` has every copy read anew, `none` asks one server only (silence of the
        others then does not count).
    """
    with common.client() as client:
        verdict = client.stat(path, verify=verify)
    common.output().verdict(verdict)
    return exit_code_of(verdict, asked_all=verify != "none")


def ls(
    folder: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    long: Annotated[bool, Parameter(name=["--long", "-l"], negative=(), show_default=False)] = False,
    recursive: Annotated[bool, Parameter(name=["--recursive", "-r"], negative=(), show_default=False)] = False,
    only: Annotated[list[Kind] | None, Parameter(name="--only", negative=(), consume_multiple=False)] = None,
    common: Common = DEFAULTS,
) -> int:
    """List files with their sizes and verdicts.

    A folder is one line, with how many files are in it, unless --recursive is given. With --json, one value a line: a verdict, or
    {"folder": "name/", "files": 3, "verdicts": {"identical": 3}}. Exit code 3 if some server could not be asked (what only it has is
    then not listed), 5 if there is nothing of that name; rivals in a listing are no error.

    Examples:

        accord ls

        accord ls photos --recursive --only diverged

    Parameters
    ----------
    folder
        The folder (or file) to list; everything without it.
    long
        Also show times, digests and every server's state.
    recursive
        Look into folders.
    only
        Show only files with this verdict; repeat it for several.
    """
    from accord.client.results import Verdict

    out = common.output()
    with common.client() as client:
        listing = client.list(folder) if recursive else client.look(folder)
        seen = 0
        quiet: Counter[tuple[str, str, str]] = Counter()
        for entry in listing:
            seen += 1
            if isinstance(entry, Verdict):
                for one in entry.silent:
                    if len(quiet) < MAX_REASONS:
                        quiet[(one.name, one.state.value, _without_progress(one))] += 1
            if not only or (entry.verdict in only if isinstance(entry, Verdict) else set(only) & set(entry.verdicts)):
                out.entry(entry, long=long)
        if not seen and folder:
            return _single(client, folder, only or [], out, long=long)
        for note in _silence_notes(listing.silent, quiet):
            out.note(note)
    return SILENT if listing.silent or quiet else OK


MAX_REASONS = 50


def _without_progress(report: ServerReport) -> str:
    return "" if report.state is State.CHECKING else report.reason or ""


def _silence_notes(listed: tuple[ListedServer, ...], quiet: Counter[tuple[str, str, str]]) -> Iterator[str]:
    """Who did not take part at all, each once; then who did not answer about single files, and about how many."""
    from accord.cli import words

    if listed:
        silent = (f"{one.name} ({one.reason})" if one.reason else one.name for one in listed)
        yield f"could not ask {words.names(silent)}: files that only they have are missing here"
    for (name, state, reason), count in quiet.items():
        if name in {one.name for one in listed}:
            continue
        files = "1 file" if count == 1 else f"{count:,} files"
        if state == State.CHECKING.value:
            yield f"{name} is still hashing {files}"
        else:
            yield f"{name} did not answer about {files}" + (f" ({reason})" if reason else "")


def _single(client: Client, path: str, only: list[Kind], out: Output, *, long: bool) -> int:
    """Nothing lies below `path`: it may be a file, which is shown if its verdict is one of `only`."""
    from accord.errors import NotFound

    verdict = client.stat(path.rstrip("/"))
    if verdict.verdict is Kind.MISSING:
        raise NotFound(f"There is neither a folder nor a file called {path}.", path=path)
    if not only or verdict.verdict in only:
        out.entry(verdict, long=long)
    code = exit_code_of(verdict)
    return OK if code == RIVALS else code
