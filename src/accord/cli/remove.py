"""`accord rm`: delete files on all servers. They stay in the history for its retention time.

What a deletion is, is the servers' part; walking a whole prefix is like `cli.put_tree`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from accord.cli.options import (
    DEFAULT_JOBS,
    DEFAULTS,
    UNSIGNED,
    Common,
    DryRun,
    Jobs,
    Recursive,
    Signed,
    checked_jobs,
)
from accord.cli.outcomes import TreeItem

if TYPE_CHECKING:
    from accord.cli.bar import Bar
    from accord.cli.output import Output
    from accord.client.blocking import Client
    from accord.client.results import Written


def app_command(app: App) -> None:
    app.command(rm, usage="Usage: accord rm [OPTIONS] PATH...")


def rm(
    *paths: Annotated[str, Parameter(name="PATH", required=True)],
    recursive: Recursive = False,
    jobs: Jobs = DEFAULT_JOBS,
    dry_run: DryRun = False,
    if_match: Annotated[str | None, Parameter(name="--if-match", negative=())] = None,
    signed: Signed = UNSIGNED,
    common: Common = DEFAULTS,
) -> int:
    """Delete files on all servers.

    A deleted file stays deleted: a server that was away does not bring it back. Its last versions stay in the history (`accord
    log`), and `accord restore` brings one back. A file with rival versions is not deleted (exit code 6): `accord resolve PATH
    --keep deleted` does that.

    Nothing is asked. Of several paths, each is tried; the exit code is that of the worst: 3 if some server hears of a deletion
    later, 5 for what is not there.

    Examples:

        accord rm notes.txt

        accord rm -r photos/2019 --dry-run

    Parameters
    ----------
    paths
        Files, or with --recursive folders with everything in them.
    recursive
        Delete everything in these folders.
    jobs
        How many files at a time, with --recursive.
    dry_run
        Only show what would be deleted.
    if_match
        Only if this is the current version: its whole digest.
    """
    from accord.errors import UsageError

    if if_match is not None and (recursive or len(paths) > 1):
        raise UsageError("--if-match is for a single file.")
    if recursive:
        return _remove_trees(paths, checked_jobs(jobs), dry_run, signed, common)
    options = {"if_match": if_match, **signed.options()}
    if len(paths) == 1 and not dry_run:
        return _remove_one(paths[0], options, common)
    return _remove_each(paths, dry_run, options, common)


@dataclass(frozen=True)
class Removing:
    """One run of the command."""

    dry_run: bool
    options: dict[str, Any]
    bar: Bar

    def one(self, client: Client, path: str) -> TreeItem:
        with self.bar.file(path):
            return self._one(client, path)

    def _one(self, client: Client, path: str) -> TreeItem:
        from accord.cli.changes import exit_code_of
        from accord.cli.trees import failed
        from accord.cli.words import printable
        from accord.errors import AccordError

        if self.dry_run:
            return TreeItem("would delete", printable(path))
        try:
            written = _delete(client, path, self.options)
        except AccordError as error:
            return failed(error, path=printable(path))
        return TreeItem("deleted", path, written=written, exit_code=exit_code_of(written))


def _delete(client: Client, path: str, options: dict[str, Any]) -> Written:
    from accord.errors import RivalVersions

    try:
        return client.delete(path, **options)
    except RivalVersions as rivals:
        rivals.detail += f" Nothing was deleted. `accord resolve {shlex.quote(path)} --keep deleted` deletes them all."
        raise


def _remove_one(path: str, options: dict[str, Any], common: Common) -> int:
    from accord.cli.changes import exit_code_of
    from accord.cli.progress import waiting

    with common.client() as client, waiting(f"deleting {path}", json=common.json):
        written = _delete(client, path, options)
    common.output().written(written)
    return exit_code_of(written)


def _remove_each(paths: tuple[str, ...], dry_run: bool, options: dict[str, Any], common: Common) -> int:
    from accord.cli.bar import bar_over_files, known
    from accord.cli.trees import report

    with bar_over_files(json=common.json) as bar, common.client() as client:
        removing = Removing(dry_run, options, bar)
        return report((removing.one(client, path) for path in known(paths, bar)), common.output(bar))


def _remove_trees(prefixes: tuple[str, ...], jobs: int, dry_run: bool, signed: Signed, common: Common) -> int:
    from accord.cli.bar import bar_over_files, known
    from accord.cli.parallel import each
    from accord.cli.trees import report
    from accord.errors import UsageError

    if not all(prefix.strip("/") for prefix in prefixes):
        raise UsageError("Name the folder to delete: `rm -r` does not delete everything there is.")
    with bar_over_files(json=common.json) as bar:
        out = common.output(bar)
        bar.say("asking what is there")
        paths, silent = _listed(prefixes, out, common)
        removing = Removing(dry_run, signed.options(), bar)
        items = each(known(paths, bar), removing.one, jobs=jobs, client=common.client)
        return report(items, out, silent=silent)


def _listed(prefixes: tuple[str, ...], out: Output, common: Common) -> tuple[list[str], bool]:
    """All paths below the prefixes, each once; and whether somebody could not be asked for theirs. Raises `NotFound`."""
    from accord.cli import words
    from accord.errors import NotFound

    paths: list[str] = []
    silent = False
    with common.client() as client:
        for prefix in prefixes:
            listing = client.list(prefix)
            found = [str(entry.path) for entry in listing if entry.versions]
            if listing.silent:
                silent = True
                names = words.names(one.name for one in listing.silent)
                out.note(f"{prefix}: could not ask {names}: files that only they have are not deleted")
            if not found and not listing.silent:
                raise NotFound(f"There is no folder called {prefix}.", path=prefix)
            paths += found
    return list(dict.fromkeys(paths)), silent
