"""How far the work in the background has come: values that the parts of the engine publish, for status, metrics and commands.

Times are nanoseconds since the Unix epoch, None for "never" or "not yet". All of it is JSON as it is (msgspec). What is done is left to
`engine.scan`, `engine.scrub`, `engine.sync` and `engine.heal_queue`.
"""

from __future__ import annotations

import msgspec


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A scan or a scrub: the one under way, else the last. `order` is the number that it was ordered with, 0 for one by schedule.
    `scope` is '' for everything. `bytes` were read and hashed. `error` says why it ended early. `ended_orders` are the numbers of the
    ordered runs that ended last, whatever is told of here."""

    running: bool = False
    scope: str = ""
    order: int = 0
    began_ns: int | None = None
    ended_ns: int | None = None
    files: int = 0
    total_files: int = 0
    bytes: int = 0
    findings: int = 0
    error: str | None = None
    ended_orders: tuple[int, ...] = ()


class SyncProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison with one peer: the one under way, else the last. `differing`: paths that the two knew differently when it was
    begun; `mended` of them are up to date here by now, `failed` could not be. `is_equal`: the last comparison ended with nothing
    to be mended here. `equal_ns` is when that was so last. `stranger`: the peer was away longer than tombstones are kept.
    `ended_orders` as for the other runs."""

    peer: str
    running: bool = False
    order: int = 0
    began_ns: int | None = None
    ended_ns: int | None = None
    round_trips: int = 0
    differing: int = 0
    mended: int = 0
    failed: int = 0
    is_equal: bool | None = None
    equal_ns: int | None = None
    stranger: bool = False
    error: str | None = None
    ended_orders: tuple[int, ...] = ()


class HealFailure(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    reason: str
    tries: int


class HealProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of paths that are to be brought up to date here. `waiting` of the `queued` failed, and are tried again later."""

    queued: int = 0
    running: int = 0
    waiting: int = 0
    paused: bool = False
    healed: int = 0
    """How often a path was mended, or nobody who answered had more for it: of one that only a silent server has, that comes again."""
    dropped: int = 0
    failures: tuple[HealFailure, ...] = ()
