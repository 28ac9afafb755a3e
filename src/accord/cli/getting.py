"""Saving one path, whatever it is: a file, or all rivals side by side, under names that tell them apart.

Resuming, proving and the atomic rename are the client's (`client.download`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accord.cli.exit_codes import OK, SILENT
from accord.cli.options import Verify

if TYPE_CHECKING:
    from accord.cli.outcomes import Fetched
    from accord.cli.output import Output
    from accord.cli.progress import Watch
    from accord.client.blocking import Client
    from accord.errors import RivalVersions


@dataclass(frozen=True)
class Choices:
    """What the options of `get` amount to."""

    version: str | None
    verify: Verify
    resume: bool
    clobber: bool
    strict: bool


def get_one(
    client: Client, path: str, destination: str, choices: Choices, out: Output, progress_of: Watch
) -> tuple[Fetched, int]:
    """One path, whatever it is, and the exit code that it stands for."""
    from msgspec import UNSET

    from accord.cli import words
    from accord.cli.outcomes import Fetched, SavedFile
    from accord.errors import RivalVersions

    try:
        with progress_of(path) as progress:
            saved = client.download(
                path,
                destination,
                version=choices.version,
                verify=choices.verify,
                progress=progress,
                resume=choices.resume,
                clobber=choices.clobber,
            )
    except RivalVersions as rivals:
        return _save_rivals(client, path, destination, rivals, choices, out, progress_of), rivals.exit_code
    servers = saved.verdict.versions[0].servers
    file = SavedFile(
        words.printable(saved.destination),
        saved.digest,
        saved.size,
        servers,
        saved.resumed_from_bytes,
        saved.handovers or UNSET,
    )
    for one in saved.handovers:
        out.note(words.handover(path, one))
    silent = saved.verdict.silent if choices.verify != "none" else ()
    if silent:
        out.note(f"{path}: {words.silence(silent)}")
    code = SILENT if silent and choices.strict else OK
    return Fetched(saved.path, saved.verdict, (file,)), code


def _save_rivals(
    client: Client,
    path: str,
    destination: str,
    rivals: RivalVersions,
    choices: Choices,
    out: Output,
    progress_of: Watch,
) -> Fetched:
    from accord.cli import words
    from accord.cli.outcomes import Fetched, SavedFile
    from accord.client.parts import settle
    from accord.client.results import Verdict, convert
    from accord.model.names import FilePath

    verdict = convert(Verdict, {"path": path, **rivals.extra})
    base = settle(destination, FilePath(path).name)
    files = []
    for version in verdict.versions:
        if version.digest is None:
            out.note(f"{path}: one of the rivals is a deletion, on {words.holders_of(version)}")
            continue
        if not version.servers:
            out.note(f"{path}: no good copy of {version.digest} is left; it was not saved")
            continue
        target, is_there = _free_name(base, words.label(verdict, version), version.digest)
        if is_there:
            files.append(
                SavedFile(words.printable(str(target)), version.digest, version.size, version.servers, version.size)
            )
            continue
        with progress_of(target.name) as progress:
            saved = client.download(
                path, target, version=str(version.digest), progress=progress, resume=choices.resume, clobber=False
            )
        files.append(
            SavedFile(words.printable(str(target)), saved.digest, saved.size, version.servers, saved.resumed_from_bytes)
        )
    return Fetched(verdict.path, verdict, tuple(files))


def _free_name(base: Path, label: str, digest: bytes) -> tuple[Path, bool]:
    """`notes.txt` held by two servers becomes `notes.server1+server2.txt`; with a number, where that is a file with other contents.

    No server's name contains a `+`, and no server holds two rivals: the names of one dispute never collide. Also says whether
    the very content is there already.
    """
    number = 1
    while True:
        middle = label + (f".{number}" if number > 1 else "")
        stem = base.stem.encode()[: 250 - len(middle) - len(base.suffix.encode())].decode(errors="ignore")
        target = base.with_name(f"{stem}.{middle}{base.suffix}")
        if not target.exists() and not target.is_symlink():
            return target, False
        if _has_content(target, digest):
            return target, True
        number += 1


def _has_content(target: Path, digest: bytes) -> bool:
    from blake3 import blake3

    from accord.client.parts import BLOCK_BYTES, translated

    with translated(target):
        if not target.is_file():
            return False
        hasher = blake3()
        with target.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                hasher.update(block)
    return hasher.digest() == digest
