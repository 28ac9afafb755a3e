"""Merging texts by lines, three ways, with git's own merge (why: docs/decisions/0006-three-way-merge.md).

Texts in, a text out; which texts, and what becomes of it, is left to `cli.choices`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from accord.errors import AccordError, MergeConflict

MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
GIT: Final = "git"
_DEADLINE_S: Final = 120
_MAX_CONFLICTS: Final = 127
"""git's exit code is the number of conflicts, up to this; above it something went wrong."""


class Side(NamedTuple):
    """A text and what it is called beside a conflict marker."""

    label: str
    content: bytes


class Merged(NamedTuple):
    content: bytes
    conflicts: int


def checked_text(label: str, content: bytes) -> bytes:
    """Raises `MergeConflict` for what lines cannot be made of."""
    if len(content) > MAX_TEXT_BYTES:
        raise MergeConflict(f"{label} is larger than {MAX_TEXT_BYTES // 1024 // 1024} MiB: only text is merged.")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise MergeConflict(f"{label} is not UTF-8 text: only text is merged.") from None
    if b"\0" in content:
        raise MergeConflict(f"{label} is no text: only text is merged.")
    return content


def merge(base: Side, one: Side, other: Side) -> Merged:
    """What both sides made of `base`. Where both changed the same lines, both are there between markers, and counted.

    Raises `AccordError` where there is no git, or it fails.
    """
    with tempfile.TemporaryDirectory(prefix="accord-merge-") as folder:
        files = []
        for number, side in enumerate((one, base, other)):
            file = Path(folder, str(number))
            file.write_bytes(side.content)
            files.append(file.name)
        labels = [word for side in (one, base, other) for word in ("-L", side.label)]
        # A person's settings must not change what is stored: neither their files nor a repository around us are looked at.
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": folder}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        try:
            done = subprocess.run(
                [GIT, "merge-file", "--stdout", *labels, "--", *files],
                cwd=folder,
                env={**kept, **quiet, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_DEADLINE_S,
            )
        except FileNotFoundError:
            raise AccordError("Merging needs git on this machine, and there is none.") from None
        except subprocess.TimeoutExpired:
            raise AccordError(f"git did not merge the versions within {_DEADLINE_S} seconds.") from None
    if not 0 <= done.returncode <= _MAX_CONFLICTS:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise AccordError(f"git could not merge the versions: {said or done.returncode}.")
    return Merged(done.stdout, done.returncode)
