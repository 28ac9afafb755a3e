"""The two sides that `accord check` was given, as words: folders of this machine, servers, folders on servers, single files.

What is in them is `client.sides`'.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from accord.cli.options import Common

if TYPE_CHECKING:
    from accord.cli.output import Output
    from accord.client.blocking import Client
    from accord.client.results import About, Verdict
    from accord.client.sides import Entry, Place
    from accord.client.stepped import BlockingListing


@dataclass
class Side:
    """One side, ready to be compared. `told` is what a server answered; of `own`, a server's name, only its own copies count."""

    title: str
    entries: Iterator[Entry]
    is_file: bool = False
    told: BlockingListing[Verdict] | Verdict | None = None
    own: str | None = None

    @property
    def silent(self) -> tuple[str, ...]:
        """Who could not be asked for theirs; known when the entries have ended."""
        silent = () if self.told is None else self.told.silent
        return tuple(one.name for one in silent if self.own in (None, one.name))


def opened(left: str, right: str, common: Common, out: Output, clients: ExitStack) -> tuple[Side, Side]:
    """Raises `UsageError` for what is not there, or cannot be compared with the other, and what a server answers."""
    from accord.client.sides import place_of
    from accord.errors import UsageError

    if not left or not right:
        raise UsageError("Name two folders or servers to compare.")
    places = place_of(left), place_of(right)
    asked = [
        None if one is None else clients.enter_context(Common((one.server,), timeout=common.timeout).client())
        for one in places
    ]
    own = _own_names([None if client is None else client.about() for client in asked], out)
    # Two single files are told under the name of the first.
    name = os.fsencode(left.rstrip("/").rpartition("/")[2])
    one, other = (
        _local(text, name) if place is None or client is None else _served(text, place, client, mine, name)
        for text, place, client, mine in zip((left, right), places, asked, own, strict=True)
    )
    if one.is_file != other.is_file:
        file, folder = (one, other) if one.is_file else (other, one)
        raise UsageError(f"{file.title} is a file, and {folder.title} is a folder.")
    if places == (None, None) and os.path.samefile(left, right):
        out.note(f"{left} and {right} are the same {'file' if one.is_file else 'folder'}")
    return one, other


def _own_names(abouts: list[About | None], out: Output) -> tuple[str | None, str | None]:
    """The names of two servers of one cluster, which serve the same: what is worth comparing are their own copies."""
    one, other = abouts
    if one is None or other is None or one.server == other.server or one.cluster != other.cluster:
        return None, None
    if other.server not in {peer.name for peer in one.peers}:
        return None, None
    out.note(f"{one.server} and {other.server} are of one cluster: the copies that each of them holds are compared")
    return one.server, other.server


def _local(text: str, name: bytes) -> Side:
    from accord.client.sides import local_entries, local_file
    from accord.client.source import unreadable
    from accord.errors import UsageError

    path = Path(text)
    try:
        if path.is_dir():
            return Side(text, local_entries(path))
        if path.is_file():
            return Side(text, iter((local_file(name, path.resolve()),)), is_file=True)
        is_there = path.is_symlink() or path.exists()
    except OSError as error:
        raise unreadable(text, error) from error
    raise UsageError(f"{text} is neither a folder nor a regular file." if is_there else f"There is no {text}.")


def _served(text: str, place: Place, client: Client, own: str | None, name: bytes) -> Side:
    """Raises `NotFound`. A server has no empty folders, but for its top."""
    from accord.client.sides import served_entries, served_entry
    from accord.errors import NotFound
    from accord.model.names import Prefix
    from accord.model.verdict import Kind

    prefix = Prefix(place.path)
    listing = client.list(prefix)
    verdicts = iter(listing)
    first = next(verdicts, None)
    if first is None and prefix and not place.path.endswith("/"):
        verdict = client.stat(place.path)
        entry = served_entry(verdict, name, own)
        if entry is not None and not (listing.silent and verdict.verdict is Kind.UNKNOWN):
            return Side(text, iter((entry,)), is_file=True, told=verdict, own=own)
    if first is not None or not prefix or listing.silent:
        found = chain(() if first is None else (first,), verdicts)
        return Side(text, served_entries(found, prefix, own), told=listing, own=own)
    raise NotFound(f"There is neither a folder nor a file at {text}.", path=place.path)
