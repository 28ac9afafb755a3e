"""What the commands on trees share: the files below a local folder, and a report that names what failed and ends with the worst.

What is done with each file is in `cli.put_tree`, `cli.get_tree` and `cli.remove`.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from accord.cli.app import hush
from accord.cli.exit_codes import INTERRUPTED, SILENT, worst
from accord.cli.outcomes import TreeItem, TreeSummary
from accord.client.parts import is_part
from accord.model.names import PRIVATE_FOLDER

if TYPE_CHECKING:
    from accord.cli.outcomes import Deed
    from accord.cli.output import Output
    from accord.errors import AccordError
    from accord.model.names import Digest

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Local:
    """Something below a folder: `name` with slashes, relative to it. `reason` says why it is no file to be sent; `is_failure`, that it
    ought to have been one."""

    path: Path
    name: str
    reason: str | None = None
    is_failure: bool = False
    size_bytes: int = 0


def walk(folder: Path) -> Iterator[Local]:
    """Everything below `folder` but folders themselves, each folder's names in order. Links are named and not followed."""
    waiting = [(folder, "")]
    while waiting:
        here, prefix = waiting.pop()
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Local(here, prefix.rstrip("/") or str(here), error.strerror or str(error), True)
            continue
        folders = []
        for entry in found:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name == PRIVATE_FOLDER:
                    yield Local(Path(entry.path), name, "a server's own")
                else:
                    folders.append((Path(entry.path), name + "/"))
                continue
            yield _local(entry, name)
        waiting.extend(reversed(folders))


def _local(entry: os.DirEntry[str], name: str) -> Local:
    path = Path(entry.path)
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Local(path, name, error.strerror or str(error), True)
    if stat.S_ISLNK(status.st_mode):
        return Local(path, name, "a link")
    if not stat.S_ISREG(status.st_mode):
        return Local(path, name, "no regular file")
    if is_part(entry.name):
        return Local(path, name, "an unfinished download")
    return Local(path, name, size_bytes=status.st_size)


def digest_of_file(path: Path) -> Digest | None:
    """None for what cannot be read, changes meanwhile, or is no regular file."""
    from accord.client import file_digest
    from accord.errors import AccordError

    try:
        return file_digest.digest_of_file(path)
    except AccordError:
        return None


def failed(error: AccordError, *, path: str | None = None, local: str | None = None) -> TreeItem:
    from accord.cli.json_output import problem_of
    from accord.cli.words import printable, trouble

    return TreeItem(
        "failed",
        path,
        local,
        reason=printable(trouble(error)),
        problem=problem_of(error),
        exit_code=error.exit_code,
    )


def report(items: Iterator[TreeItem], out: Output, *, silent: bool = False) -> int:
    """Shows each as it is done, then how many there were. `silent`: some server could not be asked. Returns the exit code."""
    counts: Counter[Deed] = Counter()
    codes = {SILENT} if silent else set()
    try:
        for item in items:
            shown(out.item, item)
            counts[item.did] += 1
            codes.add(item.exit_code)
    except KeyboardInterrupt:
        shown(out.summary, TreeSummary(dict(counts), INTERRUPTED))
        out.note("what was not reached is done when the same command is run again")
        raise
    code = worst(codes)
    shown(out.summary, TreeSummary(dict(counts), code))
    return code


def shown(show: Callable[[Shown], None], result: Shown) -> None:
    """Show what was done with one of many files. Who stops reading (`| head`) does not stop what is being done with the others."""
    for stream in (sys.stdout, sys.stderr):
        try:
            show(result)
            return
        except BrokenPipeError:
            hush(stream)
