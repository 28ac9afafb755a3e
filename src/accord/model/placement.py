"""Where the current versions of a path belong on one server's disk: one at the path, the other rivals aside, the rest to history.

A pure rule. Every server follows it, and it never exchanges one current version at the path for another: whoever has a rival in the
folder keeps it there, so that two servers that disagree go on showing what each of them has.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from accord.model.names import Digest
from accord.model.verdict import Claim
from accord.model.versions import Clock, Version


@dataclass(frozen=True, slots=True)
class Placement:
    """What is to be where. `at_path` None: no good copy is to be there. `retires`: what is at the path now is superseded, and goes to
    history. `aside` are the rivals to be kept apart; `missing`, current versions whose bytes this server has not got."""

    at_path: Digest | None
    aside: frozenset[Digest]
    missing: frozenset[Digest]
    retires: bool


def current_contents(clock: Clock) -> dict[Digest, Version]:
    """The current versions that are content, the newest of each digest."""
    contents: dict[Digest, Version] = {}
    for _, version in clock.current():
        if version.digest is not None:
            known = contents.get(version.digest)
            if known is None or known.modified_ns < version.modified_ns:
                contents[version.digest] = version
    return contents


def place(clock: Clock, there: Digest | None, held: Collection[Digest], *, damaged: Digest | None = None) -> Placement:
    """`there` is what is at the path now (a good copy; None for nothing, or for a damaged one); `held` are all digests that this
    server has the bytes of anywhere.

    `damaged` is what should be at the path where the copy there is damaged. If it is current and there are no better bytes of it, the
    damaged copy keeps its place: a rival put there instead would hide that there are two. It goes (to quarantine) as soon as something
    good takes its place, or no content is current any more.

    Content at the path that only what nobody has the bytes of supersedes stays: it is what there is. (Of a deletion there are no bytes:
    whoever knows of it has it.) Nothing at the path: the newest of the current versions goes there (greater digest if they are as
    new), the same on every server.
    """
    contents = current_contents(clock)
    at_hand = {digest for digest in contents if digest == there or digest in held}
    missing = frozenset(contents.keys() - at_hand)
    is_all_there_is = not at_hand and bool(contents) and not any(one.is_tombstone for _, one in clock.current())
    if there is not None and (there in contents or is_all_there_is):
        at_path: Digest | None = there
    elif damaged in missing:
        at_path = None
    else:
        at_path = max(at_hand, key=lambda digest: (contents[digest].modified_ns, bytes(digest)), default=None)
    return Placement(at_path, frozenset(at_hand - {at_path}), missing, retires=there is not None and there != at_path)


def others(clock: Clock, aside: Collection[Digest], *, there: Digest | None) -> tuple[Claim, ...]:
    """The current versions beside the one at the path, as an answer tells them: rivals whose bytes are kept aside, and None for a
    deletion that is current. `there` is the digest at the path, None for nothing."""
    current = {version.digest for _, version in clock.current()}
    rivals: tuple[Claim, ...] = tuple(sorted(digest for digest in aside if digest in current and digest != there))
    return (*rivals, None) if None in current else rivals
