"""Putting a bug into the code that a simulation runs, and taking it out again: names bound to something else for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from accord.testing.simulation.world import World

Planting = Callable[[World], AbstractContextManager[None]]
"""Puts a bug into a world for as long as the context lasts."""


@contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Names of modules, classes or objects: (where, name, what it is to be)."""
    before = [(where, name, vars(where).get(name, _NOTHING)) for where, name, _ in changes]
    for where, name, value in changes:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            if value is _NOTHING:
                delattr(where, name)
            else:
                setattr(where, name, value)


def instead(*places: tuple[Any, str], of: Callable[[Any], Any]) -> Planting:
    """`of` is given what is at the place, and gives what takes its place."""
    return lambda world: replaced(*((where, name, of(getattr(where, name))) for where, name in places))


def nothing(world: World) -> AbstractContextManager[None]:
    """No bug."""
    return nullcontext()


_NOTHING = object()
