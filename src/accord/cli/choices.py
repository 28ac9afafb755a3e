"""What a person chose among rivals: which version, a deletion, or new content. Deciding only; making it so is left to `cli.resolve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from accord.cli import words
from accord.cli.naming import version_named
from accord.errors import MergeConflict, RivalVersions, UsageError
from accord.model.names import Digest

if TYPE_CHECKING:
    from accord.cli.merge import Side
    from accord.client.blocking import Client
    from accord.client.results import Verdict, Version
    from accord.client.source import Content

DELETED: Final = "deleted"
_BASE_LABEL: Final = "common ancestor"


@dataclass(frozen=True, slots=True)
class Choice:
    """`words` say it to people. Either `digest` is one of the rivals, or `content` is new, or the file is to be deleted."""

    words: str
    digest: Digest | None = None
    content: Content | None = None
    executable: bool | None = None


def keep(verdict: Verdict, word: str) -> Choice:
    """`word` is a server's name, a digest or its beginning, `newest`, `largest` or `deleted`. Raises `UsageError`, and
    `RivalVersions` where two are the newest."""
    version = _kept(verdict, word)
    if version.digest is None:
        return Choice("kept the deletion")
    name = words.label(verdict, version)
    of = "" if name == words.short(version.digest) else f" of {name}"
    return Choice(f"kept {words.short(version.digest)}{of}", version.digest)


def _kept(verdict: Verdict, word: str) -> Version:
    contents = [version for version in verdict.versions if version.digest is not None]
    newest, largest = verdict.versions[0].modified, max((version.size for version in contents), default=0)
    if word in {report.name for report in verdict.servers}:  # a server may be called `newest`
        return version_named(verdict, word)
    match word:
        case "newest":
            return _foremost(verdict, "newest", [version for version in verdict.versions if version.modified == newest])
        case "largest":
            return _foremost(verdict, "largest", [version for version in contents if version.size == largest])
        case "deleted":
            deletions = [version for version in verdict.versions if version.digest is None]
            return deletions[0] if deletions else _no_version()
        case _:
            return version_named(verdict, word)


def _foremost(verdict: Verdict, word: str, found: list[Version]) -> Version:
    """The one of `found`. Where several are as new or as large, nothing is picked. Raises `RivalVersions`."""
    if len(found) != 1:
        those = " and ".join(words.label(verdict, version) for version in found) or "none"
        raise RivalVersions(
            f"No rival version of {verdict.path} is the {word}: {those} are alike in that. --keep takes a server or a digest.",
            path=verdict.path,
        )
    return found[0]


def _no_version() -> Version:
    """To delete where no rival is a deletion is a choice as well."""
    from accord.client.results import Version

    return Version()


def merged(client: Client, verdict: Verdict, *, markers: bool) -> Choice:
    """All rivals in one text. Raises `MergeConflict` where lines conflict, or nothing is known that they both come from, unless
    `markers` are wanted; and where one of them is no text, or a deletion."""
    from accord.cli.merge import Side, merge

    digests = [version.digest for version in verdict.versions if version.digest is not None]
    if len(digests) < len(verdict.versions):
        raise MergeConflict(
            f"One of the rival versions of {verdict.path} is a deletion: --keep chooses.", path=verdict.path
        )
    if markers and len(digests) > 2:
        raise UsageError(f"{verdict.path} has {len(digests)} rival versions: --markers are for two.")
    base = _ancestor(client, verdict, digests)
    if base is None and not markers:
        raise MergeConflict(
            f"The rival versions of {verdict.path} have no ancestor in the history that they both come from, so that nobody can "
            "tell what was changed: --markers writes both down, --keep chooses.",
            path=verdict.path,
        )
    sides = sorted(_read(client, verdict, version) for version in verdict.versions)
    result, conflicts = sides[0][0], 0
    for side, _ in sides[1:]:
        done = merge(base or Side(_BASE_LABEL, b""), result, side)
        result, conflicts = Side(f"{result.label}+{side.label}", done.content), conflicts + done.conflicts
    if conflicts and not markers:
        raise MergeConflict(
            f"The rival versions of {verdict.path} change the same lines in {words.count(conflicts, 'place')}: --markers writes both "
            "down there, --keep chooses.",
            path=verdict.path,
            extra={"conflicts": conflicts},
        )
    how = f"merged {' and '.join(side.label for side, _ in sides)}"
    how += f" with {words.count(conflicts, 'conflict')} marked" if conflicts else ""
    return Choice(how, content=result.content, executable=any(executable for _, executable in sides))


def _read(client: Client, verdict: Verdict, version: Version) -> tuple[Side, bool]:
    from accord.cli.merge import MAX_TEXT_BYTES, Side, checked_text

    label = words.label(verdict, version)
    if version.size > MAX_TEXT_BYTES:
        raise MergeConflict(f"{verdict.path} ({label}) is too large: only text is merged.", path=verdict.path)
    with client.stream(verdict.path, version=str(version.digest)) as stream:
        return Side(label, checked_text(f"{verdict.path} ({label})", b"".join(stream))), stream.executable


def _ancestor(client: Client, verdict: Verdict, digests: list[Digest]) -> Side | None:
    from accord.cli.merge import Side, checked_text
    from accord.client.histories import common_ancestor

    event = common_ancestor(client.history(verdict.path), digests)
    if event is None:
        return None
    content = client.read(verdict.path, version=str(event.digest)).content
    return Side(_BASE_LABEL, checked_text(f"{verdict.path} ({_BASE_LABEL})", content))
