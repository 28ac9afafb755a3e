"""The two renderers, one for text and one for JSON: they are given the same results and decide nothing but their looks.

Results go to stdout, notes and errors to stderr. With `--json`, stdout has whole JSON values or nothing, and an error is its problem
object (RFC 9457, the servers' own shape) in one line on stderr.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol, TextIO

from accord.cli import lines, words
from accord.cli.outcomes import Comparison, Fetched, Resolved, TreeItem, TreeSummary
from accord.client.results import (
    SILENT,
    Folder,
    History,
    ServerReport,
    Verdict,
    Written,
    convert,
    encode,
)
from accord.errors import AccordError, UsageError

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

    def note(self, text: str) -> None:
        """Something worth knowing that is no result."""
        ...

    def error(self, error: AccordError) -> None: ...


class TextOutput:
    """For people. What others wrote (paths, contents, reasons) is made harmless where a terminal shows it."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr

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
                self._line(f"{file.destination}  {words.size(file.size)}  {where}")

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
        amount = "-" if newest is None or newest.digest is None else words.size(newest.size)
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
        amount = "" if written.digest is None else f"  {words.size(written.size)}"
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
            case _:
                amount = "" if item.size is None else f"  {words.size(item.size)}"
                self._line(f"{name}{amount}  {item.did}")

    def summary(self, summary: TreeSummary) -> None:
        told = [f"{number:,} {lines.FATES[did]}" for did, number in summary.summary.items() if number]
        self._aside(f"accord: {', '.join(told) or 'nothing to do'}")

    def note(self, text: str) -> None:
        self._aside(f"accord: {text}")

    def error(self, error: AccordError) -> None:
        title, detail = error.title, error.detail
        plain = type(error) in (AccordError, UsageError) or detail.startswith(title)
        self._aside(f"accord: {detail}" if plain else f"accord: {title}: {detail}")
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
        self._stdout.write((words.visible(text) if self._stdout.isatty() else text) + "\n")

    def _aside(self, text: str) -> None:
        self._stdout.flush()
        self._stderr.write((words.visible(text) if self._stderr.isatty() else text) + "\n")
        self._stderr.flush()

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


class JsonOutput:
    """For programs: one JSON value, or one a line for listings, of the same results."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr

    def fetched(self, results: list[Fetched], *, several: bool) -> None:
        if several:
            self._value(results)
        elif results:
            self._value(results[0])

    def verdict(self, verdict: Verdict) -> None:
        self._value(verdict)

    def entry(self, entry: Verdict | Folder, *, long: bool) -> None:
        self._value(entry)

    def comparison(self, comparison: Comparison) -> None:
        self._value(comparison)

    def written(self, written: Written) -> None:
        self._value(written)

    def history(self, history: History) -> None:
        self._value(history)

    def resolved(self, resolved: Resolved) -> None:
        self._value(resolved)

    def item(self, item: TreeItem) -> None:
        self._value(item)

    def summary(self, summary: TreeSummary) -> None:
        self._value(summary)

    def note(self, text: str) -> None:
        """Nothing: what a note tells is in the results."""

    def error(self, error: AccordError) -> None:
        self._stderr.write(encode(problem_of(error)).decode() + "\n")
        self._stderr.flush()

    def _value(self, value: object) -> None:
        self._stdout.write(encode(value).decode() + "\n")


def output(*, json: bool) -> Output:
    return JsonOutput() if json else TextOutput()


def problem_of(error: AccordError) -> dict[str, Any]:
    """An error in the servers' own shape (RFC 9457)."""
    return {
        "type": "/problems/" + error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "path": error.path,
        "servers": [],
        **error.extra,
    }


def _reports(error: AccordError) -> tuple[ServerReport, ...]:
    try:
        return convert(tuple[ServerReport, ...], error.extra.get("servers", ()))
    except AccordError:
        return ()


def _colour(line: str) -> str:
    if line.startswith(("+++", "---")):
        return ""
    return {"+": _GREEN, "-": _RED, "@": _CYAN}.get(line[:1], "")
