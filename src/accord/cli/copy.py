"""`accord cp` and `accord mv`: from one path to another, on the servers' side.

No content passes through here: the servers find it by its digest (`client.writing`).
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from accord.cli.options import DEFAULTS, UNGUARDED, UNSIGNED, Common, Guard, Signed


def app_command(app: App) -> None:
    app.command(cp, usage="Usage: accord cp [OPTIONS] SOURCE DEST")
    app.command(mv, usage="Usage: accord mv [OPTIONS] SOURCE DEST")


def cp(
    source: str,
    dest: str,
    /,
    *,
    version: Annotated[str | None, Parameter(name="--version")] = None,
    guard: Guard = UNGUARDED,
    signed: Signed = UNSIGNED,
    common: Common = DEFAULTS,
) -> int:
    """Copy a file on the servers. Its content does not pass through this machine.

    Exit code 3 if it is copied, and some server gets it later; 6 if SOURCE or DEST has rival versions.

    Examples:

        accord cp notes.txt archive/

        accord cp notes.txt old.txt --version 3fa94c0d11e2

    Parameters
    ----------
    source
        The file to copy.
    dest
        Where to; with a slash at its end, a folder.
    version
        Copy this version, rival or former: its digest, or the first 12 or more hex digits of it.
    """
    from accord.cli.changes import exit_code_of, resolvable

    target = _target(source, dest)
    with common.client() as client, resolvable(target):
        written = client.copy(source, target, version=version, **guard.options(), **signed.options())
    common.output().written(written)
    return exit_code_of(written)


def mv(
    source: str,
    dest: str,
    /,
    *,
    guard: Guard = UNGUARDED,
    signed: Signed = UNSIGNED,
    common: Common = DEFAULTS,
) -> int:
    """Move a file on the servers. Its content does not pass through this machine.

    Exit code 3 if it is moved, and some server hears of it later; 6 if SOURCE or DEST has rival versions.

    Examples:

        accord mv draft.txt report.txt

        accord mv report.txt archive/ --message "sent"

    Parameters
    ----------
    source
        The file to move.
    dest
        Where to; with a slash at its end, a folder.
    """
    from accord.cli.changes import exit_code_of, resolvable

    target = _target(source, dest)
    with common.client() as client, resolvable(target):
        written = client.move(source, target, **guard.options(), **signed.options())
    common.output().written(written)
    return exit_code_of(written)


def _target(source: str, dest: str) -> str:
    return dest + source.rpartition("/")[2] if dest.endswith("/") else dest
