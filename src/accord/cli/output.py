"""What a renderer is given, and the one for text: it decides nothing but looks. The one for JSON is `cli.json_output`'s.

Results go to stdout, notes and errors to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TextIO

from accord.cli import lines, status_lines, words
from accord.cli.json_output import JsonOutput
from accord.cli.outcomes import CheckSummary, Comparison, Fetched, Resolved, TreeItem, TreeSummary, Upkeep
from accord.client.results import (
    SILENT,
    Compared,
    Folder,
    History,
    ServerReport,
    Verdict,
    Written,
    convert,
)
from accord.client.status import DifferingPath, NameClash
from accord.engine.overview import Overview
from accord.errors import AccordError
from accord.quantities import size_text

Beside = Callable[[], AbstractContextManager[object]]

_GREEN, _RED, _CYAN, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


class Output(Protocol):
    """How results are shown. A closed pipe raises BrokenPipeError, which `cli.app` takes quietly."""

    def fetched(self, results: list[Fetched], *, several: bool) -> None:
        """What was saved. `several` paths were asked for, whatever came of them."""
        ...

    def verdict(self, verdict: Verdict) -> None: ...

    def entry(self, entry: Verdict | Folder, *, long: bool) -> None:
        """One line of a listing."""
        ...

    def comparison(self, comparison: Comparison) -> None: ...

    def written(self, written: Written) -> None:
        """One change that was made."""
        ...

    def history(self, history: History) -> None: ...

    def resolved(self, resolved: Resolved) -> None: ...

    def item(self, item: TreeItem) -> None:
        """One file of a tree."""
        ...

    def summary(self, summary: TreeSummary) -> None: ...

    def compared(self, compared: Compared) -> None:
        """One path of two sides."""
        ...

    def checked(self, summary: CheckSummary) -> None: ...

    def overview(self, overview: Overview) -> None: ...

    def differing(self, path: DifferingPath) -> None:
        """One path whose copies do not agree."""
        ...

    def clash(self, clash: NameClash) -> None: ...

    def upkeep(self, done: Upkeep) -> None:
        """What became of a scan, a scrub or a sync."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing that is no result."""
        ...

    def error(self, error: AccordError) -> None: ...


class TextOutput:
    """For people. What others wrote (paths, contents, reasons) is made harmless where a terminal shows it."""

    def __init__(
        self, stdout: TextIO | None = None, stderr: TextIO | None = None, beside: Beside = nullcontext
    ) -> None:
        """What goes to a terminal is written within `beside()`."""
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._beside = beside

    def fetched(self, results: list[Fetched], *, several: bool) -> None:
        for result in results:
            if len(result.files) != 1 or result.verdict.versions[1:]:
                self._line(f"{result.path}: {words.sentence(result.verdict, with_silence=False)}")
            for file in result.files:
                # Who did not answer is a note, on stderr.
                where = (
                    words.sentence(result.verdict, with_silence=False)
                    if not result.verdict.versions[1:]
                    else words.names(file.servers)
                )
                self._line(f"{file.destination}  {size_text(file.size)}  {where}")

    def verdict(self, verdict: Verdict) -> None:
        self._line(f"{verdict.path}: {words.sentence(verdict)}")
        for version in verdict.versions:
            self._line(f"  {lines.version_line(version)}")
        if not verdict.servers:
            return
        self._line("")
        rows = [(one.name, one.state.value, words.short(one.digest), one.reason or "") for one in verdict.servers]
        self._table([("server", "state", "digest", "reason"), *rows])

    def entry(self, entry: Verdict | Folder, *, long: bool) -> None:
        if isinstance(entry, Folder):
            self._line(lines.folder_line(entry, long=long))
            return
        newest = entry.versions[0] if entry.versions else None
        amount = "-" if newest is None or newest.digest is None else size_text(newest.size)
        line = f"{amount:>10}  {entry.verdict.value:<10}  "
        if long:
            line += f"{words.moment(newest.modified if newest else None):<20}  "
            line += f"{words.short(newest.digest if newest else None):<12}  "
        line += entry.path
        if long:
            line += "  [" + ", ".join(f"{one.name} {one.state.value}" for one in entry.servers) + "]"
        self._line(line)

    def comparison(self, comparison: Comparison) -> None:
        for difference in comparison.differences:
            if difference.text is not None:
                self._diff(difference.text)
            elif not difference.identical:
                self._line(lines.binary(comparison.path, difference))

    def written(self, written: Written) -> None:
        amount = "" if written.digest is None else f"  {size_text(written.size)}"
        self._line(f"{written.path}{amount}  {words.stored(written)}")

    def history(self, history: History) -> None:
        for event in history.events:
            self._line(lines.event_line(event))
            if event.message:
                self._line(f"    {event.message}")

    def resolved(self, resolved: Resolved) -> None:
        fate = "nothing was changed"
        if resolved.written is not None:
            fate = words.stored(resolved.written, brings_rivals_back=resolved.undone is True)
        self._line(f"{resolved.path}: {resolved.chosen}; {fate}")

    def item(self, item: TreeItem) -> None:
        name = item.path if item.path is not None else item.local
        match item.did:
            case "stored" | "deleted" if item.written is not None:
                self.written(item.written)
            case "saved" if item.fetched is not None:
                self.fetched([item.fetched], several=True)
            case "failed":
                if item.fetched is not None:
                    self.fetched([item.fetched], several=True)
                self._aside(f"accord: {name}: {item.reason}")
            case "skipped":
                self._aside(f"accord: {name}: skipped, {item.reason}")
            case "same":
                pass
            case "would save":
                self._line(f"{name}{_amount(item)}  would save as {item.local}")
            case _:
                self._line(f"{name}{_amount(item)}  {item.did}")

    def summary(self, summary: TreeSummary) -> None:
        told = [f"{number:,} {lines.FATES[did]}" for did, number in summary.summary.items() if number]
        self._aside(f"accord: {', '.join(told) or 'nothing to do'}")

    def compared(self, compared: Compared) -> None:
        self._line(lines.compared_line(compared))

    def checked(self, summary: CheckSummary) -> None:
        told = [f"{number:,} {lines.RESULTS[result]}" for result, number in summary.summary.items()]
        self._aside(f"accord: {', '.join(told) or 'nothing to compare'}")

    def overview(self, overview: Overview) -> None:
        self._table([status_lines.HEAD, *map(status_lines.server_row, overview.servers)])
        self._line("")
        self._line(status_lines.counts_line(overview))
        for line in status_lines.odd_lines(overview):
            self._line(line)

    def differing(self, path: DifferingPath) -> None:
        self._line(status_lines.differing_line(path))

    def clash(self, clash: NameClash) -> None:
        self._line(status_lines.clash_line(clash))

    def upkeep(self, done: Upkeep) -> None:
        for line in status_lines.upkeep_lines(done):
            self._line(line)
        rows = status_lines.finding_rows(done)
        if rows:
            self._line("")
            self._table(rows)

    def note(self, text: str) -> None:
        self._aside(f"accord: {text}")

    def error(self, error: AccordError) -> None:
        self._aside(f"accord: {words.trouble(error)}")
        for version in error.extra.get("versions", ()):
            if isinstance(version, dict):
                held = words.names(str(name) for name in version.get("servers", ()))
                self._aside(f"  {version.get('digest') or 'deleted'}  {version.get('size', 0)} bytes  {held}")
        if error.extra.get("stored"):
            self._aside(f"  {words.stored_so_far(error.extra)}")
        silent = [one for one in _reports(error) if one.state in SILENT]
        if silent and error.extra.get("versions"):
            self._aside(f"  {words.silence(silent)}, which may have another version")

    def _line(self, text: str) -> None:
        self._write(self._stdout, text)

    def _aside(self, text: str) -> None:
        self._stdout.flush()
        self._write(self._stderr, text)
        self._stderr.flush()

    def _write(self, stream: TextIO, text: str) -> None:
        if not stream.isatty():
            stream.write(text + "\n")
            return
        with self._beside():
            stream.write(words.visible(text) + "\n")

    def _table(self, rows: list[tuple[str, ...]]) -> None:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._line(("  " + "  ".join(cells)).rstrip())

    def _diff(self, text: str) -> None:
        if not self._stdout.isatty():
            self._stdout.write(text)
            return
        coloured = not os.environ.get("NO_COLOR")
        for line in text.removesuffix("\n").split("\n"):
            colour = _colour(line) if coloured else ""
            self._stdout.write(f"{colour}{words.visible(line)}{_PLAIN if colour else ''}\n")


def output(*, json: bool, beside: Beside = nullcontext) -> Output:
    return JsonOutput() if json else TextOutput(beside=beside)


def _amount(item: TreeItem) -> str:
    return "" if item.size is None else f"  {size_text(item.size)}"


def _reports(error: AccordError) -> tuple[ServerReport, ...]:
    try:
        return convert(tuple[ServerReport, ...], error.extra.get("servers", ()))
    except AccordError:
        return ()


def _colour(line: str) -> str:
    if line.startswith(("+++", "---")):
        return ""
    return {"+": _GREEN, "-": _RED, "@": _CYAN}.get(line[:1], "")
