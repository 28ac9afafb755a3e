"""Blocks that tell whether anybody still has them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from weakref import ReferenceType, ref

import pytest

from accord.server.blocks import Blocks


@contextmanager
def watched_blocks(user: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ReferenceType[Blocks]]]:
    """Those that `user` makes meanwhile. What is only kept by a cycle of references counts as kept: four MiB wait for nobody."""
    made: list[ReferenceType[Blocks]] = []

    class Watched(Blocks):
        __slots__ = ("__weakref__",)

        def __init__(self) -> None:
            super().__init__()
            made.append(ref(self))

    monkeypatch.setattr(user, "Blocks", Watched)
    gc.disable()
    try:
        yield made
    finally:
        gc.enable()


def kept(made: list[ReferenceType[Blocks]]) -> int:
    """How many still have memory."""
    return sum(blocks is not None and blocks._made > 0 for blocks in (one() for one in made))
