"""What another server may ask of this one's engine: take over a change it made, or bring a path up to date.

The contract between the answering side (`server.peer_changes`) and the engine. What travels is left to `peers.wire`; what a change
does to a path, to `engine.write` and `engine.update`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from accord.model.history import Event
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Answer
from accord.model.versions import Clock
from accord.store.port import Incoming


class ChangeHandler(Protocol):
    async def adopt(
        self, sender: ServerName, path: FilePath, clock: Clock, events: Sequence[Event], incoming: Sequence[Incoming]
    ) -> Answer:
        """Merge the clock, with the contents in `incoming` (all written), and get elsewhere what else it needs; durable when this
        returns what is answered about the path from now on.

        Takes over the incoming: they are used or aborted when it ends, however it ends. Raises `Conflict` where something is in the
        way, other `AccordError`s where it cannot be done now. Cancelled only when this server stops, not when the sender goes away.
        """
        ...

    async def update(self, path: FilePath, *, is_news: bool = False) -> str | None:
        """Bring one path up to date: None, or why it is not, as it reads after this server's name. What only a stranger has is left
        alone (`store.inventory.Inventory.deem_estranged`), but for `is_news`: somebody has just changed it."""
        ...
