"""What a commit has promised and not yet done to a path, as the index keeps it: enough to finish it whatever a crash left undone.

Doing it is `moving`'s.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from accord.errors import IntegrityError
from accord.model.names import Digest, FilePath
from accord.store.records import Stat


class Intent(NamedTuple):
    """A file in staging is to take the place of what is at the path, or what is there is to be taken out.

    `name` is the staged file; what comes out of the path gets this name in turn, on its way to history. `inode` tells which of the
    two it is (0: nothing is staged, so whatever has the name came out). `digest` is of what goes to the path. `old` are the stat data
    of what is to come out (None: nothing was there), `old_digest` what it is, None where it is damaged. `was_kept`: what is staged
    has a second name in versions/, which it must lose before it gets to the path.
    """

    path: FilePath
    name: str
    inode: int
    digest: Digest | None
    old: Stat | None
    old_digest: Digest | None
    was_kept: bool


_Wire = tuple[str, str, int, bytes | None, tuple[int, int, int, int, int] | None, bytes | None, bool]
_decoder = msgspec.msgpack.Decoder(_Wire)


def encode_intent(intent: Intent) -> bytes:
    digest = None if intent.digest is None else bytes(intent.digest)
    old_digest = None if intent.old_digest is None else bytes(intent.old_digest)
    old = None if intent.old is None else tuple(intent.old)
    return msgspec.msgpack.encode(
        (str(intent.path), intent.name, intent.inode, digest, old, old_digest, intent.was_kept)
    )


def decode_intent(raw: bytes) -> Intent:
    """Raises `IntegrityError`."""
    try:
        path, name, inode, digest, old, old_digest, was_kept = _decoder.decode(raw)
        return Intent(
            FilePath.trusted(path),
            name,
            inode,
            None if digest is None else Digest(digest),
            None if old is None else Stat(*old),
            None if old_digest is None else Digest(old_digest),
            was_kept,
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise IntegrityError(f"An intent cannot be read: {error}") from error
