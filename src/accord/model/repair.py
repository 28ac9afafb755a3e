"""What a server lacks, seen from a verdict: the one rule behind every kind of healing."""

from __future__ import annotations

from collections.abc import Iterable

from accord.model.names import Digest
from accord.model.placement import current_contents
from accord.model.verdict import (
    EMPTY_FOLDER,
    Absent,
    Answer,
    Damaged,
    Deleted,
    HeldVersion,
    Kind,
    Present,
    Verdict,
    is_known,
    keeps,
)
from accord.model.versions import EMPTY_CLOCK


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


def deleted_age_s(answers: Iterable[Answer]) -> int:
    """For how long the deletion has been known by any of those who know of it: whoever takes it over counts on from there, so that it
    is forgotten by all at about one time."""
    return max((answer.age_s for answer in answers if isinstance(answer, Deleted)), default=0)


def is_outlived(verdict: Verdict, local: Answer, answers: Iterable[Answer], keep_s: float) -> bool:
    """Whether all that a server which knows nothing of the path could learn is a deletion that is about to be forgotten: it need not.
    One that knows something takes it over, however old it is: what it has is superseded."""
    is_unknown = isinstance(local, Absent) and local.clock == EMPTY_CLOCK
    return is_unknown and verdict.kind is Kind.DELETED and deleted_age_s(answers) >= keep_s


def _is_only_damaged(verdict: Verdict, digest: Digest) -> bool:
    """Whether the version is current, and nobody has good bytes of it."""
    holders = next((held.holders for held in verdict.versions if held.version.digest == digest), ())
    return not holders and digest in current_contents(verdict.clock)


def _deliverable(verdict: Verdict) -> list[HeldVersion]:
    """The versions of the verdict that somebody can deliver, and that are current, as far as anybody knows."""
    current = {version.digest for _, version in verdict.clock.current()}
    return [held for held in verdict.versions if held.holders and held.version.digest in current]
