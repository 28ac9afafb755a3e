"""Bytes kept apart that are not what they should be go into quarantine, and out of the records that count on them: what lacks them from
then on is mended. Blocking.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from accord.model.names import Digest
from accord.store.history_rows import paths_of
from accord.store.index import Index
from accord.store.kept import Kept

MAX_PATHS = 10_000
"""So many paths that count on one content are told; what is more finds out when it is read."""
_TRIES = 8


def condemn(index: Index, kept: Kept, digest: Digest) -> None:
    kept.condemn(digest)
    forget_kept(index, kept, digest)


def forget_kept(index: Index, kept: Kept, digest: Digest) -> None:
    """The bytes are not there any more: whoever has them as a rival lacks them."""
    for path in index.read(partial(paths_of, digest=digest, limit=MAX_PATHS)):
        for _ in range(_TRIES):
            record = index.get(path)
            if record is None or digest not in record.aside or kept.has(digest):
                break
            after = replace(record, aside=tuple(one for one in record.aside if one != digest))
            if index.replace(path, record, after, durable=True):
                break
