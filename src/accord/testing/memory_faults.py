"""What may be wrong with a server of `memory_peers`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from accord.errors import PeerUnreachable
from accord.model.names import FilePath
from accord.model.verdict import Answer


@dataclass(slots=True)
class Faults:
    """What is wrong with one peer; everything may be changed at any time."""

    down: str | None = None
    """It cannot be asked, and why."""
    hold: asyncio.Event | None = None
    """It answers questions, takes in content and changes only once this is set."""
    break_after_bytes: int | None = None
    """Each fetch and each upload breaks off after so many bytes."""
    ends_there: bool = False
    """... and a fetch as if that were all."""
    flip_at: int | None = None
    """Each fetch delivers the byte at this offset of the content wrong."""
    loses_answers: bool = False
    """It takes over changes, and is gone before it has said so."""
    answers: dict[FilePath, Answer] = field(default_factory=dict)
    """Answers given instead of the store's."""

    async def reach(self) -> None:
        """Waits as long as it is held. Raises `PeerUnreachable` while it is down."""
        if self.hold is not None and self.down is None:
            await self.hold.wait()
        self.check()

    def check(self) -> None:
        if self.down is not None:
            raise PeerUnreachable(self.down)
