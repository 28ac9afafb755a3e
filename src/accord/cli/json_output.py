"""The renderer for JSON: stdout has whole values or nothing, and an error is its problem object (RFC 9457, the servers' own shape), in
one line on stderr. It is given the same results as the one for text (`cli.output`).
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from accord.cli.outcomes import CheckSummary, Comparison, Fetched, Resolved, TreeItem, TreeSummary, Upkeep
from accord.cli.words import printable
from accord.client.results import Compared, Folder, History, Verdict, Written, encode
from accord.client.status import DifferingPath, NameClash
from accord.engine.overview import Overview
from accord.errors import AccordError


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

    def compared(self, compared: Compared) -> None:
        self._value(compared)

    def checked(self, summary: CheckSummary) -> None:
        self._value(summary)

    def overview(self, overview: Overview) -> None:
        self._value(overview)

    def differing(self, path: DifferingPath) -> None:
        self._value(path)

    def clash(self, clash: NameClash) -> None:
        self._value(clash)

    def upkeep(self, done: Upkeep) -> None:
        self._value(done)

    def note(self, text: str) -> None:
        """Nothing: notes are for people. For programs, the results and the exit code tell what was done and what is lacking."""

    def error(self, error: AccordError) -> None:
        self._stderr.write(encode(problem_of(error)).decode() + "\n")
        self._stderr.flush()

    def _value(self, value: object) -> None:
        self._stdout.write(encode(value).decode() + "\n")


def problem_of(error: AccordError) -> dict[str, Any]:
    """An error in the servers' own shape (RFC 9457)."""
    problem = {
        "type": "/problems/" + error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "path": error.path,
        "servers": [],
        **error.extra,
    }
    return {name: _text(member) for name, member in problem.items()}


def _text(member: Any) -> Any:
    """A problem may speak of what is no text: words of the command line, names of this machine's."""
    match member:
        case str():
            return printable(member)
        case dict():
            return {name: _text(one) for name, one in member.items()}
        case list() | tuple():
            return [_text(one) for one in member]
        case _:
            return member
