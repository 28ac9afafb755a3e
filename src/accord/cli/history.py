"""`accord log` and `accord restore`: what happened to a file, and bringing a former version back.

What is kept and for how long is the servers' part.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from accord.cli.exit_codes import OK, SILENT
from accord.cli.options import DEFAULTS, UNSIGNED, Common, Signed


def app_command(app: App) -> None:
    app.command(log, usage="Usage: accord log [OPTIONS] PATH")
    app.command(restore, usage="Usage: accord restore [OPTIONS] PATH VERSION")


def log(path: str, /, *, common: Common = DEFAULTS) -> int:
    """Show what happened to a file, newest first.

    Each line is one version: when, what was done, its digest and size, who did it, and which servers keep its bytes (`no server`:
    they expired). A `*` marks what is current; below is the message. Exit code 3 if some server could not be asked, 5 if nobody
    knows the file.

    For example:

        accord log notes.txt

        accord log notes.txt --json

    Parameters
    ----------
    path
        The file; also one that was deleted.
    """
    from accord.cli import words
    from accord.cli.progress import waiting

    out = common.output()
    with common.client() as client, waiting(f"asking about {path}", json=common.json):
        history = client.history(path)
    out.history(history)
    if history.silent:
        told = (f"{one.name} ({one.reason})" if one.reason else one.name for one in history.silent)
        out.note(f"{path}: could not ask {words.names(told)}: what only they remember is missing")
    return SILENT if history.silent else OK


def restore(
    path: str,
    version: str,
    /,
    *,
    if_match: Annotated[str | None, Parameter(name="--if-match", negative=())] = None,
    signed: Signed = UNSIGNED,
    common: Common = DEFAULTS,
) -> int:
    """Make a former version of a file the current one again.

    It becomes a new version: what was current stays in the history. Exit code 3 if some server gets it later, 5 if nobody keeps that
    version, 6 if the file has rival versions.

    Examples:

        accord restore notes.txt 3fa94c0d11e2

    Parameters
    ----------
    path
        The file; also one that was deleted.
    version
        Its digest, or the first 12 or more hex digits of it, as `accord log` shows them.
    if_match
        Only if this is the current version: its whole digest.
    """
    from accord.cli.changes import exit_code_of, resolvable
    from accord.cli.progress import waiting

    with common.client() as client, resolvable(path), waiting(f"restoring {path}", json=common.json):
        written = client.restore(path, version, if_match=if_match, **signed.options())
    common.output().written(written)
    return exit_code_of(written)
