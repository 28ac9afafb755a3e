"""`accord get -r`: everything below a prefix into a folder, several files at a time, without what is there already.

Each file is fetched as `cli.getting` does it. Nothing is written outside the folder: what stands in the way, a link above all, is named
and left.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accord.cli.exit_codes import OK, RIVALS
from accord.cli.getting import Choices, get_one
from accord.cli.options import Common
from accord.cli.outcomes import TreeItem
from accord.model.verdict import Kind

if TYPE_CHECKING:
    from accord.cli.bar import Bar
    from accord.cli.output import Output
    from accord.client.blocking import Client
    from accord.client.download import Progress
    from accord.client.results import Verdict
    from accord.client.stepped import BlockingListing


@dataclass(frozen=True)
class Getting:
    """One run of the command."""

    prefix: str
    folder: Path
    choices: Choices
    dry_run: bool
    out: Output
    bar: Bar

    def one(self, client: Client, entry: Verdict) -> TreeItem:
        from accord.cli.trees import failed
        from accord.cli.words import printable
        from accord.errors import AccordError

        target = self.folder / entry.path.removeprefix(self.prefix)
        try:
            with self.bar.file(entry.path, size_bytes(entry)) as progress:
                return self._get(client, entry, target, progress)
        except AccordError as error:
            return failed(error, path=entry.path, local=printable(str(target)))

    def _get(self, client: Client, entry: Verdict, target: Path, progress: Progress | None) -> TreeItem:
        from accord.cli.trees import digest_of_file
        from accord.cli.words import printable

        local = printable(str(target))
        there = settled(self.folder, target, makes_folders=not self.dry_run)
        version = entry.versions[0]
        is_one = entry.verdict is not Kind.DIVERGED
        if is_one and there is not None and there.st_size == version.size and digest_of_file(target) == version.digest:
            return TreeItem("same", entry.path, local, version.size)
        if self.dry_run:
            return TreeItem("would save", entry.path, local, version.size, exit_code=OK if is_one else RIVALS)
        fetched, code = get_one(
            client, entry.path, str(target), self.choices, self.out, lambda _title: nullcontext(progress)
        )
        return TreeItem("saved", entry.path, local, version.size, fetched=fetched, exit_code=code)


def get_tree(prefix: str, folder: Path, choices: Choices, jobs: int, dry_run: bool, common: Common) -> int:
    """Returns the exit code. Raises `UsageError`, `NotFound`, and what a listing raises."""
    from accord.cli.bar import bar_over_files
    from accord.errors import UsageError
    from accord.model.names import Prefix

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    with bar_over_files(json=common.json) as bar:
        getting = Getting(Prefix(prefix), folder, choices, dry_run, common.output(bar), bar)
        return _get_all(getting, prefix, jobs, common)


def _get_all(getting: Getting, prefix: str, jobs: int, common: Common) -> int:
    from accord.cli import words
    from accord.cli.bar import counted
    from accord.cli.parallel import each
    from accord.cli.trees import report
    from accord.errors import NotFound

    below, out, bar = getting.prefix, getting.out, getting.bar
    bar.say("asking what is there")
    with common.client() as client:
        listing = client.list(below)
        entries = _with_content(listing)
        first = next(entries, None)
        if first is None and not listing.silent and below:
            raise NotFound(f"There is no folder called {prefix}.", path=prefix)
        found = [first, *entries] if first is not None else []
    if listing.silent:
        out.note(
            f"could not ask {words.names(one.name for one in listing.silent)}: files that only they have are missing here"
        )
    items: Iterator[TreeItem] = each(counted(found, bar, size_bytes), getting.one, jobs=jobs, client=common.client)
    return report(items, out, silent=bool(listing.silent))


def settled(folder: Path, target: Path, *, makes_folders: bool) -> os.stat_result | None:
    """What is at `target` now, a regular file or nothing; its folders are made. Raises `AccordError` for what stands in the way."""
    from accord.client.parts import translated
    from accord.errors import AccordError

    with translated(target):
        if makes_folders:
            folder.mkdir(parents=True, exist_ok=True)
        for parent in reversed(target.relative_to(folder).parents[:-1]):
            here = folder / parent
            found = _look(here)
            if found is None:
                if not makes_folders:
                    return None
                here.mkdir(exist_ok=True)
            elif not stat.S_ISDIR(found.st_mode):
                raise AccordError(f"{here} stands in the way: it is {_kind(found)}, and no folder.")
        found = _look(target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise AccordError(f"{target} stands in the way: it is {_kind(found)}, and no file.")
        return found


def size_bytes(entry: Verdict) -> int:
    """Of all rivals together, as all are saved."""
    return sum(version.size for version in entry.versions)


def _with_content(listing: BlockingListing[Verdict]) -> Iterator[Verdict]:
    for entry in listing:
        if entry.versions:
            yield entry


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _kind(found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    return "a folder" if stat.S_ISDIR(found.st_mode) else "a file" if stat.S_ISREG(found.st_mode) else "a special file"
