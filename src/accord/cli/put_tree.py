"""`accord put -r`: a folder to the servers, several files at a time, without what is there already.

A listing tells what is there, so that nothing is asked about single files; only files of the same size are hashed to be compared.
Nothing is remembered between two runs: what was stored is found to be there.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from accord.cli.exit_codes import FAILED, OK
from accord.cli.options import Common, Guard, Signed
from accord.cli.outcomes import TreeItem

if TYPE_CHECKING:
    from accord.cli.bar import Bar
    from accord.cli.output import Output
    from accord.cli.trees import Local
    from accord.client.blocking import Client
    from accord.client.download import Progress
    from accord.model.names import Digest


class Known(NamedTuple):
    """What the servers have at a path. `digest` is None for rivals."""

    digest: Digest | None
    size: int


@dataclass(frozen=True)
class Putting:
    """One run: `there` is what the listing told, by path."""

    prefix: str
    there: dict[str, Known]
    dry_run: bool
    options: dict[str, Any]
    bar: Bar

    def one(self, client: Client, local: Local) -> TreeItem:
        with self.bar.file(_shown(local), local.size_bytes) as progress:
            return self._one(client, local, progress)

    def _one(self, client: Client, local: Local, progress: Progress | None) -> TreeItem:
        from accord.cli.trees import failed
        from accord.cli.words import printable
        from accord.errors import AccordError
        from accord.model.names import FilePath

        if local.reason is not None:
            return TreeItem(
                "failed" if local.is_failure else "skipped",
                local=_shown(local),
                reason=local.reason,
                exit_code=FAILED if local.is_failure else OK,
            )
        path = self.prefix + local.name
        try:
            return self._put(client, FilePath(path), local, progress)
        except AccordError as error:
            return failed(error, path=printable(path), local=_shown(local))

    def _put(self, client: Client, path: str, local: Local, progress: Progress | None) -> TreeItem:
        from accord.cli.changes import exit_code_of
        from accord.cli.trees import digest_of_file
        from accord.client.source import FileSource
        from accord.errors import RivalVersions

        source = FileSource(local.path, follow=False)
        known = self.there.get(path)
        if known is not None and known.digest is None:
            chooses = f"`accord resolve {shlex.quote(path)} --keep SERVER` chooses"
            raise RivalVersions(f"{path} has rival versions; {chooses}.", path=path)
        if known is not None and known.size == source.size and digest_of_file(local.path) == known.digest:
            return TreeItem("same", path, _shown(local), known.size)
        if self.dry_run:
            return TreeItem("would store", path, _shown(local), source.size)
        written = client.put(path, source, progress=progress, **self.options)
        return TreeItem("stored", path, _shown(local), written.size, written=written, exit_code=exit_code_of(written))


def put_tree(folder: Path, prefix: str, jobs: int, dry_run: bool, guard: Guard, signed: Signed, common: Common) -> int:
    """Returns the exit code. Raises `UsageError`, and what a listing raises."""
    from accord.cli.bar import bar_over_files, counted
    from accord.cli.parallel import each
    from accord.cli.trees import report, walk
    from accord.errors import UsageError
    from accord.model.names import Prefix

    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    below = Prefix(prefix)
    with bar_over_files(json=common.json) as bar:
        out = common.output(bar)
        with common.client() as client:
            bar.say("asking what is there already")
            there = _there(client, below, out)
        putting = Putting(below, there, dry_run, {**guard.options(), **signed.options()}, bar)
        locals_ = counted(walk(folder), bar, lambda local: local.size_bytes)
        items: Iterator[TreeItem] = each(locals_, putting.one, jobs=jobs, client=common.client)
        return report(items, out)


def _there(client: Client, prefix: str, out: Output) -> dict[str, Known]:
    """Who is silent matters little here: what only they have is stored once more, and found to be the same."""
    from accord.cli import words
    from accord.model.verdict import Kind

    listing = client.list(prefix)
    there: dict[str, Known] = {}
    for verdict in listing:
        if verdict.versions:
            version = verdict.versions[0]
            is_rival = verdict.verdict is Kind.DIVERGED
            there[str(verdict.path)] = Known(None if is_rival else version.digest, version.size)
    if listing.silent:
        out.note(f"could not ask {words.names(one.name for one in listing.silent)}")
    return there


def _shown(local: Local) -> str:
    from accord.cli.words import printable

    return printable(str(local.path))
