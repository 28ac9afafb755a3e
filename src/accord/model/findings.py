"""What a server found wrong, or changed, with its own copies: the kinds of oddness that a scan or a scrub reports.

How oddness is come upon is left to `store`, what is done about it to `engine`; how copies compare is `model.verdict`'s.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from accord.model.names import Digest, FilePath


class Oddity(Enum):
    """Why one server's copy of a path is odd."""

    ROT = "rot"
    """Its bytes changed under unchanged stat data: the disk, or something below it, did that."""
    OUTSIDE = "outside"
    """Somebody changed it behind Accord's back (or put it there): a version of its own."""
    STALE = "stale"
    """It is a former version, put back behind Accord's back, or one that the newest never replaced."""
    TRUNCATED = "truncated"
    """It was cut: what is there is how the recorded version began, or nothing at all."""
    MISSING = "missing"
    """It vanished behind Accord's back: a lost copy, not a deletion."""
    UNREADABLE = "unreadable"
    """The disk or the permissions do not let it be read."""


class Finding(NamedTuple):
    """One odd copy on this server. `since_ns` is when it was found first (Unix epoch); `there` is what is at the path now, `recorded`
    what should be, each where it is known."""

    path: FilePath
    oddity: Oddity
    since_ns: int
    there: Digest | None = None
    recorded: Digest | None = None
    detail: str = ""


class NameClash(NamedTuple):
    """Two names of one folder that become one on file systems that normalise Unicode or fold case."""

    path: str
    other: str
