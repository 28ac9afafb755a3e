"""The status for people: the home page, the overview, and the lists of what differs and of what is odd.

What it says is `engine.overview`'s; the frame of the pages is `pages`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from accord.engine.found_everywhere import Everywhere
from accord.engine.known_paths import CLASH, ESTRANGED, Differing
from accord.engine.overview import Overview, ServerLine, Standing
from accord.engine.questions import Clash, FoundCopy
from accord.engine.status_words import remarks, run_words, sync_words
from accord.model.names import Prefix, ServerName
from accord.model.verdict import Kind
from accord.quantities import age_text, size_text
from accord.server import pages
from accord.server.paths import encoded
from accord.server.rendering import rfc3339

_AGREED = (Kind.IDENTICAL.value, Kind.DELETED.value)


def home(told: Overview) -> bytes:
    words = (
        f"This is {told.server}, a server of the cluster “{told.cluster}”. It keeps the same files as the other servers. Ask it for a "
        "file: it compares all copies while it answers, and tells where they differ."
    )
    links = " · ".join((pages.link("/list/", "Look at the files"), pages.link("/status", "Status")))
    body = pages.paragraph(words) + f"<p>{links}</p>" + _servers(told)
    return pages.document("A file service that never hides a disagreement", body)


def overview(told: Overview) -> bytes:
    where = f"below {told.prefix}" if told.prefix else "of all files"
    body = [_servers(told), f"<h2>Verdicts {pages.text(where)}</h2>", _counts(told), _odd(told)]
    return pages.document(f"Status of “{told.cluster}”", "".join(body))


def paths(
    prefix: Prefix,
    found: Sequence[Differing],
    following: str | None,
    servers: Iterable[tuple[ServerName, str | None]],
    kinds: frozenset[str],
) -> bytes:
    rows = [
        (
            pages.link(f"/files/{encoded(one.verdict.path)}", one.verdict.path),
            pages.badge(one.verdict.kind.value) + (f" {pages.badge(ESTRANGED)}" if one.estranged else ""),
            pages.moment(rfc3339(one.since_ns)) if one.since_ns is not None else "",
            "".join(pages.standing(report.name, report.state.value) for report in one.verdict.servers),
        )
        for one in found
    ]
    body = [_way_back(), _silent(servers)]
    if rows:
        body.append(pages.table(("File", "Verdict", "Seen first", "Servers"), rows, caption=_many(len(rows), "path")))
    else:
        body.append(pages.paragraph("As far as these servers know, all copies agree."))
    if following is not None:
        query = f"prefix={encoded(prefix)}&kind={','.join(sorted(kinds))}&after={encoded(following)}"
        body.append(f"<p>{pages.link(f'/status/paths?{query}', 'Next page')}</p>")
    return pages.document("What is not the same everywhere", "".join(body))


def findings(prefix: Prefix, found: Everywhere[FoundCopy]) -> bytes:
    rows = [
        (
            pages.link(f"/files/{encoded(one.path)}", one.path),
            pages.text(name),
            pages.badge(one.oddity),
            pages.moment(rfc3339(one.since_ns)),
            pages.told(one.detail),
        )
        for name, one in found.entries
    ]
    body = [_way_back(), _silent(found.servers)]
    heads = ("File", "Server", "What is odd", "Found first", "Remark")
    body.append(
        pages.table(heads, rows, caption=_many(len(rows), "odd copy", "odd copies"))
        if rows
        else pages.paragraph("These servers know of no odd copy.")
    )
    if found.next is not None:
        query = f"prefix={encoded(prefix)}&after={encoded(found.next)}"
        body.append(f"<p>{pages.link(f'/status/findings?{query}', 'Next page')}</p>")
    return pages.document("Odd copies", "".join(body))


def clashes(prefix: Prefix, found: Everywhere[Clash]) -> bytes:
    rows = [(pages.told(one.path), pages.told(one.other), pages.text(name)) for name, one in found.entries]
    body = [
        _way_back(),
        _silent(found.servers),
        pages.paragraph("Elsewhere, where file systems normalise Unicode or fold case, these names become one."),
        pages.table(("Name", "Becomes the same as", "Server"), rows, caption=_many(len(rows), "name")),
    ]
    if found.next is not None:
        query = f"prefix={encoded(prefix)}&kind={CLASH}&after={encoded(found.next)}"
        body.append(f"<p>{pages.link(f'/status/paths?{query}', 'Next page')}</p>")
    return pages.document("Names that collide", "".join(body))


def _servers(told: Overview) -> str:
    heads = ("Server", "State", "To mend", "Last scan", "Last scrub", "Last sync", "Disk", "Remark")
    rows = [_server_row(line, is_asked=line.name == told.server) for line in told.servers]
    return pages.table(heads, rows, caption=f"Servers of the cluster, as {told.server} sees them")


def _server_row(line: ServerLine, *, is_asked: bool) -> tuple[str, ...]:
    name = pages.text(line.name) + (' <span class="aside">(this one)</span>' if is_asked else "")
    status = line.status
    if status is None:
        since = "" if line.down_s is None else f", for {age_text(line.down_s)}"
        behind = f"; behind by {line.behind:,} at least" if line.behind else ""
        return name, pages.badge("unreachable"), "—", "—", "—", "—", "—", pages.told(f"{line.reason}{since}{behind}")
    state = line.standing.value
    if line.standing is Standing.BEHIND:
        state = f"behind by {line.behind:,}"
    return (
        name,
        pages.badge(state, "good" if line.standing is Standing.IN_SYNC else "warn"),
        pages.text(f"{status.queue.queued + status.queue.running:,}{' (paused)' if status.queue.paused else ''}"),
        pages.text(run_words(status, status.scan)),
        pages.text(run_words(status, status.scrub)),
        pages.text(sync_words(status)),
        pages.line("not known" if status.disk is None else f"{size_text(status.disk.free_bytes)} free"),
        pages.told("; ".join(remarks(status))),
    )


def _counts(told: Overview) -> str:
    if not told.kinds:
        return pages.paragraph("There are no files.")
    rows = []
    for kind, number in told.kinds.items():
        query = f"prefix={encoded(told.prefix)}&kind={kind}"
        amount = f"{number:,}"
        linked = pages.text(amount) if kind in _AGREED else pages.link(f"/status/paths?{query}", amount)
        rows.append((pages.badge(kind), linked))
    return pages.table(("Verdict", "Paths"), rows, caption=f"As {told.server} knows them", numeric=frozenset((1,)))


def _odd(told: Overview) -> str:
    rows = []
    prefix = encoded(told.prefix)
    for line in told.servers:
        if line.status is None:
            continue
        for oddity, number in line.status.findings.items():
            link = pages.link(f"/status/findings?prefix={prefix}", _many(number, "odd copy", "odd copies"))
            rows.append((pages.text(line.name), pages.badge(oddity), link))
        if line.status.estranged:
            link = pages.link(f"/status/paths?prefix={prefix}&kind={ESTRANGED}", _many(line.status.estranged, "path"))
            rows.append((pages.text(line.name), pages.badge(ESTRANGED), link))
        if line.status.clashes:
            link = pages.link(f"/status/paths?prefix={prefix}&kind={CLASH}", _many(line.status.clashes, "name"))
            rows.append((pages.text(line.name), pages.badge("colliding"), link))
        if line.status.indexing.unreadable and not prefix:
            rows.append(
                (pages.text(line.name), pages.badge("unreadable"), pages.text(f"{line.status.indexing.unreadable:,}"))
            )
        if line.status.indexing.unnameable and not prefix:
            rows.append(
                (pages.text(line.name), pages.badge("unnameable"), pages.text(f"{line.status.indexing.unnameable:,}"))
            )
    if not rows:
        return ""
    return "<h2>What is odd</h2>" + pages.table(("Server", "What", "How many"), rows, caption="As each server knows it")


def _silent(servers: Iterable[tuple[ServerName, str | None]]) -> str:
    return "".join(
        pages.paragraph(f"{name} could not be asked ({reason}): what only it knows is missing here.")
        for name, reason in servers
        if reason
    )


def _way_back() -> str:
    return f"<p>{pages.link('/status', 'Status')}</p>"


def _many(count: int, what: str, several: str | None = None) -> str:
    return f"{count:,} {what if count == 1 else several or f'{what}s'}"
