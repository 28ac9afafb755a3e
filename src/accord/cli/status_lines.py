"""The status as lines of text: a row a server, the counts, what is odd; and the report of a scan, a scrub or a sync.

What is shown is `engine.overview`'s and `cli.outcomes`'; where it goes is left to `cli.output`.
"""

from __future__ import annotations

from collections.abc import Iterator

from accord.cli import words
from accord.cli.outcomes import ServerRun, Upkeep
from accord.client.status import DifferingPath, NameClash
from accord.engine.overview import Overview, ServerLine, Standing
from accord.engine.progress import SyncProgress
from accord.engine.status_words import remarks, run_words, sync_words
from accord.model.verdict import Kind
from accord.quantities import age_text, size_text

_NANO = 1_000_000_000
Row = tuple[str, ...]
HEAD: Row = ("server", "state", "to mend", "scan", "scrub", "sync", "disk", "remark")


def server_row(line: ServerLine) -> Row:
    status = line.status
    if status is None:
        told = [line.reason or ""] + ([f"for {age_text(line.down_s)}"] if line.down_s is not None else [])
        told += [f"behind by {line.behind:,} at least"] * bool(line.behind)
        return line.name, "unreachable", "-", "-", "-", "-", "-", ", ".join(told)
    state = f"behind by {line.behind:,}" if line.standing is Standing.BEHIND else line.standing.value
    waiting = status.queue.queued + status.queue.running
    return (
        line.name,
        state,
        f"{waiting:,}{', paused' if status.queue.paused else ''}",
        run_words(status, status.scan),
        run_words(status, status.scrub),
        sync_words(status),
        "-" if status.disk is None else f"{size_text(status.disk.free_bytes)} free",
        "; ".join(remarks(status)),
    )


def counts_line(overview: Overview) -> str:
    """Of all files, or of those in the folder that was asked for."""
    kinds = dict(overview.kinds)
    deleted = kinds.pop(Kind.DELETED.value, 0)
    told = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items()) or "none"
    where = f" in {overview.prefix}" if overview.prefix else ""
    text = f"{words.count(sum(kinds.values()), 'file')}{where}: {told}"
    return text + (f"; {deleted:,} deleted" if deleted else "")


def odd_lines(overview: Overview) -> Iterator[str]:
    """What each server knows of its own copies that is odd, where there is anything. What could not be recorded has no folder."""
    for line in overview.servers:
        if line.status is None:
            continue
        told = [f"{number:,} {oddity}" for oddity, number in line.status.findings.items()]
        told += [f"{line.status.estranged:,} estranged"] * bool(line.status.estranged)
        told += [words.count(line.status.clashes, "colliding name")] * bool(line.status.clashes)
        if not overview.prefix:
            told += [f"{line.status.indexing.unreadable:,} unreadable"] * bool(line.status.indexing.unreadable)
            told += [f"{line.status.indexing.unnameable:,} unnameable"] * bool(line.status.indexing.unnameable)
        if told:
            yield f"{line.name} found: {', '.join(told)}"


def differing_line(one: DifferingPath) -> str:
    states = ", ".join(f"{report.name} {report.state.value}" for report in one.servers)
    strange = "  (estranged: it may have been deleted while its server was away)" if one.estranged else ""
    return f"{one.verdict.value:<10}  {one.path}  [{states}]{strange}"


def clash_line(one: NameClash) -> str:
    return f"{'clash':<10}  {one.clash}  becomes the same as {one.other}  [{one.server}]"


def upkeep_lines(done: Upkeep) -> Iterator[str]:
    """One line a server, and what they found."""
    width = max((len(one.name) for one in done.servers), default=0)
    for one in done.servers:
        yield f"{one.name:<{width}}  {_fate(done.work, one)}"


def finding_rows(done: Upkeep) -> list[Row]:
    rows: list[Row] = []
    for one in done.findings:
        detail = f" ({one.detail})" if one.detail else ""
        rows.append((one.path, one.server, one.oddity.value, words.moment(one.since), f"{one.now}{detail}"))
    return [("file", "server", "what is odd", "found first", "now"), *rows] if rows else []


def _fate(work: str, one: ServerRun) -> str:
    if one.state == "done" and work in _SWITCHED:
        return _SWITCHED[work]
    if one.state != "done":
        return f"{_STATES[one.state]}{f' ({one.reason})' if one.reason else ''}"
    if work == "sync":
        return "; ".join(map(_compared, one.sync)) or "nobody to compare with"
    run = one.run
    if run is None:
        return "done"
    took = "" if run.began_ns is None or run.ended_ns is None else f" in {_seconds(run.ended_ns - run.began_ns)}"
    amount = f", {size_text(run.bytes)}," if run.bytes else ""
    deed = {"scan": "scanned", "scrub": "scrubbed"}[work]
    found = f"{words.count(run.findings, 'finding')}" if run.findings else "nothing odd"
    return f"{deed} {words.count(run.files, 'file')}{amount}{took}: {run.error or found}"


_SWITCHED = {"pause": "mends nothing in the background", "resume": "mends again"}
_STATES = {
    "done": "done",
    "begun": "begun",
    "refused": "did not begin",
    "unreachable": "could not be asked",
    "lost": "could not be asked any more",
    "paused": "compares, but mends nothing while healing is paused",
    "forgotten": "was restarted meanwhile, and forgot it",
}


def _compared(one: SyncProgress) -> str:
    if one.error is not None:
        return f"{one.peer}: {one.error}"
    if not one.differing:
        return f"lacks nothing of {one.peer}"
    text = f"{one.peer}: {words.count(one.differing, 'path')} differed, {one.mended:,} mended"
    return text + (f", {one.failed:,} could not be" if one.failed else "")


def _seconds(duration_ns: int) -> str:
    seconds = duration_ns / _NANO
    return f"{seconds:.1f} s" if seconds < 60 else age_text(seconds)
