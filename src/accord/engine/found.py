"""What the last scans and scrubs found, in memory: the report of a run names also what was mended while it went on.

The store's findings (`store.inventory`) are what is odd *now*, and forget what was mended; these stay until newer ones push them out.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from accord.model.findings import Finding
from accord.model.names import FilePath, Prefix

MAX_RECENT_FINDINGS: Final = 10_000


class RecentFindings:
    """The newest findings, each with the number of the order that the run had (0: by schedule). Use from one thread."""

    def __init__(self, limit: int = MAX_RECENT_FINDINGS) -> None:
        self._findings: deque[tuple[int, Finding]] = deque(maxlen=limit)

    def note(self, number: int, finding: Finding) -> None:
        self._findings.append((number, finding))

    def of(self, number: int, prefix: Prefix) -> list[Finding]:
        """Those of the run below `prefix`, sorted; of several of one path and oddity the last."""
        found: dict[tuple[FilePath, str], Finding] = {}
        for run, finding in self._findings:
            if run == number and finding.path.startswith(prefix):
                found[finding.path, finding.oddity.value] = finding
        return [found[key] for key in sorted(found)]
