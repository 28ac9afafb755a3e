"""Small requests between servers over the connection for questions, each with a number and an answer of its own.

They are messages like those in `wire`, which says how they are encoded. What ranges mean is left to `ranges`; who asks, to `calls`; who
answers, to `server.peer_calls`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from accord.model.fingerprints import MARK_BYTES
from accord.peers.message import MarkBytes, Message, Natural, PathText

MAX_RANGES_PER_FRAME = 128
MAX_PARTS_PER_RANGE = 64
MAX_ITEMS_PER_RANGE = 64
MAX_QUESTION_BYTES = 32 * 1024
MAX_REPORT_BYTES = 1024 * 1024


class AskedRange(Message):
    """A range of paths (`model.fingerprints.Span`), and the fingerprint that the asker has of it."""

    after: PathText
    upto: PathText | None
    paths: Natural
    total: MarkBytes


class SameRange(Message, tag=0):
    """Here it is the same."""


class NamedRange(Message, tag=1):
    """All paths that are known here in the range, in order, and their marks one after the other."""

    paths: Annotated[list[PathText], msgspec.Meta(max_length=MAX_ITEMS_PER_RANGE)]
    marks: Annotated[bytes, msgspec.Meta(max_length=MAX_ITEMS_PER_RANGE * MARK_BYTES)]


class CutRange(Message, tag=2):
    """The range in parts, in order: where each but the last ends, how many paths are in each, and their fingerprints one after the
    other."""

    ends: Annotated[list[PathText], msgspec.Meta(max_length=MAX_PARTS_PER_RANGE - 1)]
    paths: Annotated[list[Natural], msgspec.Meta(min_length=1, max_length=MAX_PARTS_PER_RANGE)]
    totals: Annotated[bytes, msgspec.Meta(max_length=MAX_PARTS_PER_RANGE * MARK_BYTES)]


ComparedRange = SameRange | NamedRange | CutRange


class Compare(Message, tag="compare"):
    """What do you have in these ranges? Answered by `Compared`, several where it is much."""

    id: Natural
    ranges: Annotated[list[AskedRange], msgspec.Meta(min_length=1, max_length=MAX_RANGES_PER_FRAME)]


class Compared(Message, tag="compared"):
    """What is here in the next of the ranges."""

    id: Natural
    ranges: Annotated[list[ComparedRange], msgspec.Meta(min_length=1, max_length=MAX_RANGES_PER_FRAME)]


class Report(Message, tag="report"):
    """How are you? Or what `question` says (`engine.questions`, JSON). Answered by `Reported`."""

    id: Natural
    question: Annotated[bytes, msgspec.Meta(max_length=MAX_QUESTION_BYTES)] = b""


class Reported(Message, tag="reported"):
    """A server's own part of what was asked for, as JSON."""

    id: Natural
    report: Annotated[bytes, msgspec.Meta(max_length=MAX_REPORT_BYTES)]


class Order(Message, tag="order"):
    """Begin this work (`engine.peer_requests.Work`) in the background. `scope` is a path, a folder's path with a slash at its end, or
    nothing for everything. Answered by `Ordered`."""

    id: Natural
    work: str
    scope: PathText
    number: Natural


class Ordered(Message, tag="ordered"):
    """It is begun, or why it cannot be."""

    id: Natural
    reason: str | None


class Declined(Message, tag="declined"):
    """The request of that number cannot be answered, and why."""

    id: Natural
    reason: str


Call = Compare | Report | Order
Returned = Compared | Reported | Ordered | Declined
