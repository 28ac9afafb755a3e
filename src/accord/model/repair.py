"""What a server lacks, seen from a verdict: the one rule behind every kind of healing."""

from __future__ import annotations

from accord.model.names import Digest
from accord.model.placement import current_contents
from accord.model.verdict import (
    EMPTY_FOLDER,
    Absent,
    Answer,
    Damaged,
    HeldVersion,
    Present,
    Verdict,
    is_known,
    keeps,
)


def lacks(verdict: Verdict, answer: Answer) -> bool:
    """Whether the server that gave `answer` should be brought up to date.

    It should when it has not got the bytes of a current version that another one has, when it shows a superseded one, and when it has
    not heard of a deletion. Nothing that stands in the way (a folder, a link) is replaced. Content whose successor nobody has is
    shown, as it is all there is, and goes no further: who has the successor may only be silent.
    """
    if not is_known(answer) or (isinstance(answer, Absent) and answer.obstacle not in (None, EMPTY_FOLDER)):
        return False
    deliverable = _deliverable(verdict)
    if any(not keeps(answer, held.version.digest) for held in deliverable):
        return True
    # It has everything there is to have; it may still not be in its place.
    has_content = any(held.version.digest is not None for held in deliverable)
    match answer:
        case Present(digest=digest):
            return bool(deliverable) and all(held.version.digest != digest for held in verdict.versions)
        case Damaged(digest=digest) if digest is not None and _is_only_damaged(verdict, digest):
            return False  # it keeps its place: see `placement.place`
        case Damaged():
            return has_content or (bool(deliverable) and not current_contents(verdict.clock))
        case Absent():
            return has_content
        case _:
            return False


def needs(verdict: Verdict, answer: Answer) -> list[Digest]:
    """The current versions whose bytes the server that gave `answer` has to get from others, and can."""
    return [
        held.version.digest
        for held in _deliverable(verdict)
        if held.version.digest is not None and not keeps(answer, held.version.digest)
    ]


def _is_only_damaged(verdict: Verdict, digest: Digest) -> bool:
    """Whether the version is current, and nobody has good bytes of it."""
    holders = next((held.holders for held in verdict.versions if held.version.digest == digest), ())
    return not holders and digest in current_contents(verdict.clock)


def _deliverable(verdict: Verdict) -> list[HeldVersion]:
    """The versions of the verdict that somebody can deliver, and that are current, as far as anybody knows."""
    current = {version.digest for _, version in verdict.clock.current()}
    return [held for held in verdict.versions if held.holders and held.version.digest in current]
