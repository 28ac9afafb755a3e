"""`accord put`: store a file, stdin, or everything in a folder.

Streaming, checking and trying the next server are the client's (`client.writing`); trees are `cli.put_tree`'s.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cyclopts import App

from accord.cli.app import STDIN
from accord.cli.options import (
    DEFAULT_JOBS,
    DEFAULTS,
    UNGUARDED,
    UNSIGNED,
    Common,
    DryRun,
    Guard,
    Jobs,
    Recursive,
    Signed,
    checked_jobs,
)


def app_command(app: App) -> None:
    app.command(put, usage="Usage: accord put [OPTIONS] SOURCE [PATH]")


def put(
    source: str,
    path: str | None = None,
    /,
    *,
    recursive: Recursive = False,
    jobs: Jobs = DEFAULT_JOBS,
    dry_run: DryRun = False,
    guard: Guard = UNGUARDED,
    signed: Signed = UNSIGNED,
    common: Common = DEFAULTS,
) -> int:
    """Store a file: `accord put SOURCE [PATH]`, `accord put - PATH`, `accord put -r FOLDER [PREFIX]`.

    SOURCE is a file, or `-` for stdin. PATH is where it is to be on the servers; without it, the file's own name; with a slash at
    its end, a folder. The modified time and the executable bit travel with a file. On rival versions nothing is stored (exit code
    6): see `accord resolve`.

    Exit code 3 if it is stored, and some server gets it later.

    With --recursive, everything in FOLDER is stored below PREFIX, several files at a time. What is there already, by its digest, is
    skipped, so that an interrupted run that is started again finishes the rest. Links and special files are named and skipped. What
    failed is named, the others go on, and the exit code is that of the worst. With --json, one value a line: a file, and at the end
    a summary.

    Examples:

        accord put notes.txt

        tar c photos | accord put - backups/photos.tar --message "before the move"

        accord put -r photos holidays/photos --dry-run

    Parameters
    ----------
    source
        A file, `-`, or with --recursive a folder.
    path
        Where to: a path, or a folder with a slash at its end; with --recursive a prefix, or nothing for the top.
    recursive
        Store everything in a folder.
    jobs
        How many files at a time, with --recursive.
    dry_run
        Only show what would be done.
    """
    from accord.cli.outcomes import TreeItem
    from accord.cli.put_tree import put_tree
    from accord.cli.trees import report
    from accord.cli.words import printable
    from accord.errors import UsageError

    if recursive:
        if guard.if_match is not None:
            raise UsageError("--if-match is for a single file.")
        return put_tree(Path(source), path or "", checked_jobs(jobs), dry_run, guard, signed, common)
    target = _target(source, path)
    if dry_run:
        return report(iter((TreeItem("would store", printable(target), printable(source)),)), common.output())
    return _put_one(source, target, {**guard.options(), **signed.options()}, common)


def _put_one(source: str, target: str, options: dict[str, Any], common: Common) -> int:
    from accord.cli.changes import exit_code_of, resolvable
    from accord.cli.progress import progress_of
    from accord.client.source import StreamSource, source_of

    content = StreamSource(sys.stdin.buffer) if source == STDIN else source_of(Path(source))
    with common.client() as client, resolvable(target), progress_of(target, json=common.json) as progress:
        written = client.put(target, content, progress=progress, **options)
    common.output().written(written)
    return exit_code_of(written)


def _target(source: str, path: str | None) -> str:
    from accord.errors import UsageError

    if path is not None and not path.endswith("/"):
        return path
    if source == STDIN:
        raise UsageError("Where to? Name the path that stdin is stored at: `accord put - PATH`.")
    if Path(source).is_dir():
        raise UsageError(f"{source} is a folder: add --recursive.")
    return (path or "") + Path(source).name
