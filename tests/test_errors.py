"""The tree on top of `accord.errors` is the tree of its classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import accord
from accord import errors
from accord.errors import AccordError

_LINE = re.compile(r"^(?P<stem>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<status>\d{3}) +(?P<exit>\d+)(?: |$)", re.MULTILINE)
_STEP = 4

Drawn = tuple[str, str, int, int]


def drawn() -> Iterator[Drawn]:
    """Each line of the drawing: name, parent, status, exit code."""
    lineage: list[str] = ["Exception"]
    for match in _LINE.finditer(errors.__doc__ or ""):
        depth = len(match["stem"]) // _STEP + 1
        del lineage[depth:]
        yield match["name"], lineage[-1], int(match["status"]), int(match["exit"])
        lineage.append(match["name"])


def tree(kind: type[AccordError] = AccordError) -> Iterator[type[AccordError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_the_tree_is_drawn_as_it_is() -> None:
    real = {
        (kind.__name__, kind.__bases__[0].__name__, kind.status, kind.exit_code)
        for kind in tree()
        if kind.__module__ == errors.__name__
    }
    assert set(drawn()) == real


def test_types_are_given_once_and_only_there() -> None:
    """A class made elsewhere is its module's own business: to everybody else it is what its parent is."""
    for module in walk_packages(accord.__path__, "accord."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    ours = [kind for kind in tree() if kind.__module__ == errors.__name__]
    assert len({kind.type for kind in ours}) == len(ours)
    for kind in tree():
        if kind.__module__.startswith("accord.") and kind.__module__ != errors.__name__:
            parent = kind.__bases__[0]
            same = (kind.type, kind.title, kind.status, kind.exit_code)
            assert same == (parent.type, parent.title, parent.status, parent.exit_code), kind
