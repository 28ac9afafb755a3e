"""`accord rm`: delete files on all servers. They stay in the history for its retention time.

What a deletion is, is the servers' part; walking a whole prefix is like `cli.put_tree`.
"""

from __future__ import annotations

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
    from accord.client.blocking import Client


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
    removing = Removing(dry_run, {"if_match": if_match, **signed.options()})
    out = common.output()
    if len(paths) == 1 and not dry_run:
        from accord.cli.put import exit_code_of

        with common.client() as client:
            written = removing.delete(client, paths[0])
        out.written(written)
        return exit_code_of(written)
    return _remove_each(paths, removing, common)


@dataclass(frozen=True)
class Removing:
    """One run of the command."""

    dry_run: bool
    options: dict[str, Any]

    def delete(self, client: Client, path: str) -> Any:
        from accord.errors import RivalVersions

        try:
            return client.delete(path, **self.options)
        except RivalVersions as rivals:
            rivals.detail += f" Nothing was deleted. `accord resolve {path} --keep deleted` deletes them all."
            raise

    def one(self, client: Client, path: str) -> TreeItem:
        from accord.cli.put import exit_code_of
        from accord.cli.trees import failed
        from accord.errors import AccordError

        if self.dry_run:
            return TreeItem("would delete", path)
        try:
            written = self.delete(client, path)
        except AccordError as error:
            return failed(error, path=path)
        return TreeItem("deleted", path, written=written, exit_code=exit_code_of(written))


def _remove_each(paths: tuple[str, ...], removing: Removing, common: Common) -> int:
    from accord.cli.trees import report

    with common.client() as client:
        return report((removing.one(client, path) for path in paths), common.output())


def _remove_trees(prefixes: tuple[str, ...], jobs: int, dry_run: bool, signed: Signed, common: Common) -> int:
    from accord.cli import words
    from accord.cli.parallel import each
    from accord.cli.trees import report
    from accord.errors import NotFound, UsageError

    out = common.output()
    paths: list[str] = []
    silent = False
    with common.client() as client:
        for prefix in prefixes:
            if not prefix.strip("/"):
                raise UsageError("Name the folder to delete: `rm -r` does not delete everything there is.")
            listing = client.list(prefix)
            found = [str(entry.path) for entry in listing if entry.versions]
            if listing.silent:
                silent = True
                names = words.names(one.name for one in listing.silent)
                out.note(f"{prefix}: could not ask {names}: files that only they have are not deleted")
            if not found and not listing.silent:
                raise NotFound(f"There is no folder called {prefix}.", path=prefix)
            paths += found
    removing = Removing(dry_run, signed.options())
    return report(each(dict.fromkeys(paths), removing.one, jobs=jobs, client=common.client), out, silent=silent)
