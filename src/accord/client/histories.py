"""What happened to a path, as the servers remember it, and what follows from it: ancestors of versions.

Fetching and pure rules over what came; showing is left to the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

from accord.client.results import Event, History, decode
from accord.client.session import Session, read_document
from accord.client.transport import ServerUnusable
from accord.errors import AccordError
from accord.model.names import Digest, FilePath

_JSON: Final = {"Accept": "application/json"}


async def history(session: Session, path: FilePath) -> History:
    """Raises `NotFound` if nobody knows the path, `UnknownState` if somebody could not be asked."""
    answered = await session.ask("GET", "/history/" + quote(path), _JSON, path=path)
    try:
        return decode(History, await read_document(answered.reply))
    except ServerUnusable as unusable:
        raise AccordError(f"{answered.server} broke off its answer: {unusable}.", path=path) from unusable


def common_ancestor(history: History, rivals: Collection[Digest]) -> Event | None:
    """The nearest version whose bytes somebody keeps and that all `rivals` descend from; None if there is none.

    Descent is what `supersedes` tells. "Nearest": no other common ancestor descends from it; of several such (both sides merged
    before), the newest. Content that came back later under the same digest counts as one version.
    """
    parents: defaultdict[Digest, set[Digest]] = defaultdict(set)
    for event in history.events:
        if event.digest is not None:
            parents[event.digest] |= {digest for digest in event.supersedes if digest is not None}
    lines = [_ancestors(parents, rival) for rival in rivals]
    if not lines:
        return None
    shared = set.intersection(*lines)
    kept = [one for one in history.events if one.digest in shared and one.servers and not one.current]
    nearest = [one for one in kept if not any(_is_nearer(parents, other, one) for other in kept)]
    return max(nearest or kept, key=lambda event: event.at, default=None)


def _is_nearer(parents: dict[Digest, set[Digest]], one: Event, than: Event) -> bool:
    """Whether `one` descends from `than`; content that went back and forth descends from itself and is told apart by time alone."""
    assert one.digest is not None
    assert than.digest is not None
    if one.digest == than.digest:
        return False
    return than.digest in _ancestors(parents, one.digest) and one.digest not in _ancestors(parents, than.digest)


def _ancestors(parents: dict[Digest, set[Digest]], of: Digest) -> set[Digest]:
    found: set[Digest] = set()
    waiting = [of]
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found
