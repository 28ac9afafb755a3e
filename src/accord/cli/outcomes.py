"""What the commands made, beside what the client handed them: the values that both renderers show.

Making them is the commands' part, showing them `cli.output`'s.
"""

from __future__ import annotations

import msgspec

from accord.client.results import Handover, Verdict
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Kind


class SavedFile(msgspec.Struct, frozen=True):
    """One file on this machine's disk. `servers` hold the version that is in it; sizes are in bytes.

    `resumed_from_bytes` is how much of it was there from an earlier attempt: all of it, if the same file was there already.
    """

    destination: str
    digest: Digest
    size: int
    servers: tuple[ServerName, ...]
    resumed_from_bytes: int = 0
    handovers: tuple[Handover, ...] | msgspec.UnsetType = msgspec.UNSET


class Fetched(msgspec.Struct, frozen=True):
    """What `get` saved of one path: one file, or one for each rival version."""

    path: FilePath
    verdict: Verdict
    files: tuple[SavedFile, ...]


class Side(msgspec.Struct, frozen=True):
    """One side of a comparison; `digest` is None for a deletion."""

    label: str
    digest: Digest | None
    size: int
    servers: tuple[ServerName, ...]


class Difference(msgspec.Struct, frozen=True):
    """Two versions compared. `text` is a unified diff, or None where one of them is no text, or too large to compare by lines."""

    old: Side
    new: Side
    identical: bool
    text: str | None


class Comparison(msgspec.Struct, frozen=True):
    """What `diff` found out about one path."""

    path: FilePath
    verdict: Kind
    identical: bool
    differences: tuple[Difference, ...]
