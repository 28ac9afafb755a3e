"""One line of text for one thing: a version, a folder, an event of the history. Where it goes is left to `cli.output`."""

from __future__ import annotations

from typing import Final

from accord.cli import words
from accord.cli.outcomes import Difference
from accord.client.results import Compared, Event, Folder, Relation, Version
from accord.quantities import size_text

FATES: Final = {
    "stored": "stored",
    "saved": "saved",
    "deleted": "deleted",
    "same": "there already",
    "skipped": "skipped",
    "failed": "failed",
    "would store": "would be stored",
    "would save": "would be saved",
    "would delete": "would be deleted",
}
"""How the numbers at the end of a tree are told."""


SYMBOLS: Final[dict[Relation, str]] = {"only left": "+", "only right": "-", "differs": "*", "error": "!", "same": "="}

RESULTS: Final[dict[Relation, str]] = {
    "only left": "only in LEFT",
    "only right": "only in RIGHT",
    "differs": "different",
    "error": "not compared",
    "same": "the same",
}
"""How the numbers at the end of a comparison are told."""


def compared_line(compared: Compared) -> str:
    line = f"{SYMBOLS[compared.result]} {compared.path}"
    if compared.reason is not None:
        line += f"  ({compared.reason})"
    # A name that Accord refuses may contain line breaks, and pretend to be several results.
    return words.visible(line) if compared.result == "error" else line


def folder_line(folder: Folder, *, long: bool) -> str:
    files = f"{folder.files:,} file{'' if folder.files == 1 else 's'}"
    kinds = [kind.value for kind in folder.verdicts]
    line = f"{files:>10}  {kinds[0] if len(kinds) == 1 else 'mixed':<10}  " + (" " * (20 + 2 + 12 + 2) if long else "")
    counts = ", ".join(f"{count:,} {kind.value}" for kind, count in folder.verdicts.items())
    return f"{line}{folder.folder}" + (f"  [{counts}]" if len(kinds) > 1 else "")


def event_line(event: Event) -> str:
    mark = "*" if event.current else " "
    what = "deleted" if event.digest is None else f"{words.short(event.digest)}  {size_text(event.size)}"
    line = f"{mark} {words.moment(event.at)}  {event.deed:<8}  {what}"
    if event.source:
        line += f"  ({event.source})"
    line += f"  by {event.author or '?'}"
    if event.digest is not None:
        line += f"  on {words.names(event.servers)}"
    return line


def version_line(version: Version) -> str:
    if version.digest is None:
        return f"deleted  {words.moment(version.modified)}  by {version.author or '?'}  on {words.holders_of(version)}"
    by = f"  by {version.author}" if version.author else ""
    amount = f"{size_text(version.size)}  {words.moment(version.modified)}"
    return f"{version.digest}  {amount}{by}  on {words.holders_of(version)}"


def binary(path: str, difference: Difference) -> str:
    sides = "".join(
        f"\n  {side.label}: {side.size} bytes, {side.digest or 'deleted'}" for side in (difference.old, difference.new)
    )
    return f"{path}: the versions differ (not compared by lines){sides}"
