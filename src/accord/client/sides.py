"""One side of a comparison: what is in a local folder, or what a server has, in the order of the paths' UTF-8 bytes.

Nothing is read here but names, stat data and listings; contents are `client.compare`'s. Memory is bounded by the largest folder.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from accord.client.parts import is_part
from accord.client.results import SILENT, ServerReport, Verdict
from accord.client.source import unreadable
from accord.errors import DamagedEverywhere, InvalidPath, UnknownState, UsageError
from accord.model.names import PRIVATE_FOLDER, Digest, FilePath
from accord.model.verdict import Kind, State

_PRIVATE: Final = PRIVATE_FOLDER.encode()
_BELOW: Final = re.compile(r"(?P<base>.*?)/(?:files|list)/(?P<path>.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something at `raw`, the bytes of its path relative to the side (a folder's end with a slash).

    `digest` is known for what a server has; `local` is where a local file's bytes are. `reason` says what is the matter: where it
    `is_error`, the content cannot be known (and `exit_code` is what that stands for), otherwise it differs from any other.
    """

    raw: bytes
    size_bytes: int | None = None
    digest: Digest | None = None
    local: Path | None = None
    reason: str | None = None
    is_error: bool = False
    exit_code: int = 0

    @property
    def path(self) -> str:
        """For people and JSON: what is no text has its bytes written out."""
        return self.raw.decode(errors="backslashreplace")


def local_entries(folder: Path) -> Iterator[Entry]:
    """Everything below `folder` but folders themselves, `.accord` and unfinished downloads. What is no regular file under a name that
    Accord allows is an error with its reason, and so is a folder that cannot be read. Raises `AccordError` if `folder` itself is one.
    """
    root = os.fsencode(folder)
    try:
        waiting = [iter(_names(root))]
    except OSError as error:
        raise unreadable(folder, error) from error
    prefixes = [b""]
    while waiting:
        name = next(waiting[-1], None)
        if name is None:
            waiting.pop()
            prefixes.pop()
            continue
        raw = prefixes[-1] + name
        here = os.path.join(root, raw)
        if not name.endswith(b"/"):
            yield _local_entry(raw, here)
            continue
        try:
            names = _names(here)
        except OSError as error:
            yield _error(raw, here, f": {_words(error)}")
            continue
        waiting.append(iter(names))
        prefixes.append(raw)


def _names(folder: bytes) -> list[bytes]:
    """In order, folders with a slash at their end, as which they sort."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in entries
            if entry.name != _PRIVATE and not is_part(os.fsdecode(entry.name))
        )


def _local_entry(raw: bytes, here: bytes) -> Entry:
    try:
        FilePath.from_bytes(raw)
        status = os.lstat(here)
    except InvalidPath as refusal:
        return _error(raw, here, f": {refusal.detail.rstrip('.')}")
    except OSError as error:
        return _error(raw, here, f": {_words(error)}")
    if stat.S_ISREG(status.st_mode):
        return Entry(raw, status.st_size, local=Path(os.fsdecode(here)))
    return _error(raw, here, " is a link" if stat.S_ISLNK(status.st_mode) else " is no regular file")


def local_file(raw: bytes, path: Path) -> Entry:
    """One file that is to be known as `raw`. Raises `OSError`."""
    return Entry(raw, path.stat().st_size, local=path)


def _error(raw: bytes, here: bytes, what: str) -> Entry:
    return Entry(raw, reason=here.decode(errors="backslashreplace") + what, is_error=True, exit_code=1)


def _words(error: OSError) -> str:
    return error.strerror or str(error)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's side begins: an address, and a path below it (empty: everything)."""

    server: str
    path: str

    @property
    def is_folder(self) -> bool:
        """Whether it says so itself."""
        return not self.path or self.path.endswith("/")


def place_of(url: str) -> Place | None:
    """`http://host/`, `http://host/files/sub/` or `http://host/list/sub/`; None for what is no address. Raises `UsageError`."""
    if not url.startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(url)
        found = _BELOW.match(parts.path + "/")
        path = unquote(found["path"], errors="strict").rstrip("/") if found else ""
    except UnicodeDecodeError:
        raise UsageError(f"'{url}' is no address: its path is not UTF-8 text.") from None
    except ValueError as error:
        raise UsageError(f"'{url}' is no address: {error}.") from None
    if parts.query or parts.fragment:
        raise UsageError(f"'{url}': '?' and '#' within a path are written %3F and %23.")
    base = found["base"] if found else parts.path.rstrip("/")
    slash = "/" if path and parts.path.endswith("/") else ""
    return Place(f"{parts.scheme}://{parts.netloc}{base}", path + slash)


def served_entries(verdicts: Iterable[Verdict], prefix: str, own: str | None) -> Iterator[Entry]:
    """What a server's listing tells: what it serves, or of `own`, a server's name, the copies that this server itself holds."""
    for verdict in verdicts:
        entry = served_entry(verdict, verdict.path.removeprefix(prefix).encode(), own)
        if entry is not None:
            yield entry


def served_entry(verdict: Verdict, raw: bytes, own: str | None) -> Entry | None:
    """None for what is not there."""
    if own is not None:
        mine = next((one for one in verdict.servers if one.name == own), None)
        return _copy(verdict, raw, own, mine)
    match verdict.verdict:
        case Kind.MISSING | Kind.DELETED:
            return None
        case Kind.DIVERGED:
            return Entry(raw, reason=_rivals(verdict))
        case Kind.UNKNOWN:
            silent = ", ".join(one.name for one in verdict.silent)
            return _unknown(raw, f"not known whether it exists: {silent} did not answer")
        case Kind.DAMAGED:
            return _damaged(raw, "every copy is damaged")
    current = verdict.versions[0]
    return Entry(raw, current.size, current.digest)


def _copy(verdict: Verdict, raw: bytes, own: str, mine: ServerReport | None) -> Entry | None:
    """What one server holds itself. Of a rival it holds one, which settles nothing."""
    if mine is None or mine.state in SILENT:
        is_hashing = mine is not None and mine.state is State.CHECKING
        return _unknown(raw, f"{own}: still being hashed" if is_hashing else f"{own}: no answer about it")
    match mine.state:
        case State.ABSENT | State.DELETED:
            return None
        case State.DAMAGED:
            return _damaged(raw, f"{own}: damaged" + (f", {mine.reason}" if mine.reason else ""))
    if verdict.verdict is Kind.DIVERGED:
        return Entry(raw, reason=_rivals(verdict))
    size = next((one.size for one in verdict.versions if one.digest == mine.digest), None)
    return Entry(raw, size, mine.digest)


def _damaged(raw: bytes, reason: str) -> Entry:
    return Entry(raw, reason=reason, is_error=True, exit_code=DamagedEverywhere.exit_code)


def _unknown(raw: bytes, reason: str) -> Entry:
    return Entry(raw, reason=reason, is_error=True, exit_code=UnknownState.exit_code)


def _rivals(verdict: Verdict) -> str:
    at_path = [one.name for one in verdict.servers if one.state is State.RIVAL]
    return f"{len(verdict.versions)} rival versions" + (f", on {', '.join(at_path)}" if at_path else "")
