"""Which of the servers that hold a version is turned to first.

The load is spread: each transfer begins with another holder. A holder that sent wrong bytes of a version comes last for that version,
and is told to read its copy anew. This is only an order: nobody is left out, because a doubt may be wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import structlog

from accord.model.names import Digest, FilePath, ServerName
from accord.peers.port import Peers

MAX_DOUBTS = 1_000
"""So many are remembered; beyond them the oldest is forgotten, and that holder takes its turn again."""

_log = structlog.get_logger("accord.read")


class Holders:
    """The holders of versions, as one server has come to know them."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._turn = 0
        self._doubts: OrderedDict[tuple[ServerName, FilePath, Digest], None] = OrderedDict()

    def in_order(self, path: FilePath, digest: Digest, holders: Sequence[ServerName]) -> list[ServerName]:
        """Every one of `holders`, the one to begin with first."""
        first = self._turn % len(holders)
        self._turn += 1
        turned = [*holders[first:], *holders[:first]]
        return sorted(turned, key=lambda holder: (holder, path, digest) in self._doubts)

    def damaged(self, holder: ServerName, path: FilePath, digest: Digest) -> None:
        """`holder` said that its copy is damaged."""
        self._doubts[holder, path, digest] = None
        self._doubts.move_to_end((holder, path, digest))
        if len(self._doubts) > MAX_DOUBTS:
            self._doubts.popitem(last=False)

    def wrong(self, holder: ServerName, path: FilePath, digest: Digest) -> None:
        """`holder` sent bytes that do not match, and has not noticed."""
        _log.warning("bytes of another server did not match their digest", peer=holder, path=path)
        self.damaged(holder, path, digest)
        self._peers.doubt(holder, path)

    def right(self, holder: ServerName, path: FilePath, digest: Digest) -> None:
        """`holder` sent bytes that match."""
        self._doubts.pop((holder, path, digest), None)
