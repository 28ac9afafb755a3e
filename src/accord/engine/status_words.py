"""What a server's status says, in words: the same for the command line and the pages. How it is laid out is theirs."""

from __future__ import annotations

from collections.abc import Iterator

from accord.engine.overview import ServerStatus
from accord.engine.progress import RunProgress
from accord.quantities import NS_PER_S, age_text

_PERCENT = 100


def run_words(status: ServerStatus, run: RunProgress) -> str:
    """How a scan or scrub stands: running, or when it last ended."""
    if run.running:
        share = f", {min(_PERCENT - 1, _PERCENT * run.files // run.total_files)} %" if run.total_files else ""
        return f"running{share}"
    if run.ended_ns is None:
        return "never"
    return f"{'failed ' if run.error is not None else ''}{_ago(status, run.ended_ns)}"


def sync_words(status: ServerStatus) -> str:
    """When it last compared itself with anybody."""
    if any(one.running for one in status.sync):
        return "running"
    ends = [one.ended_ns for one in status.sync if one.ended_ns is not None]
    return _ago(status, max(ends)) if ends else "never"


def remarks(status: ServerStatus) -> Iterator[str]:
    """What keeps it from being as it should be."""
    if status.degraded is not None:
        yield f"degraded: {status.degraded}"
    if not status.indexing.done:
        yield f"hashing its files: {status.indexing.hashed_files:,} of {status.indexing.found_files:,} so far"
    for run, name in ((status.scan, "scan"), (status.scrub, "scrub")):
        if run.error is not None:
            yield f"{name}: {run.error}"
    for one in status.sync:
        if one.stranger:
            yield f"{one.peer} was away for so long that it is a stranger"
        if one.failed:
            yield f"{one.failed:,} of what {one.peer} has could not be mended"


def _ago(status: ServerStatus, then_ns: int) -> str:
    return f"{age_text((status.now_ns - then_ns) / NS_PER_S)} ago"
