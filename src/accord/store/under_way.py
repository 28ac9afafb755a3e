"""Paths that a commit is just now at work on: between its promise and its end they show neither what was nor what is.

Whoever looks at such a path waits for the moment that it takes, so that no answer mixes the clock of the new with the content of the
old. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from accord.model.names import FilePath

PATIENCE_S = 5.0
"""A disk that takes longer than this is not waited for: what can be seen is told."""


class UnderWay:
    def __init__(self) -> None:
        self._paths: dict[FilePath, int] = {}
        self._ended = threading.Condition()

    @contextmanager
    def commit(self, paths: Sequence[FilePath]) -> Iterator[None]:
        with self._ended:
            for path in paths:
                self._paths[path] = self._paths.get(path, 0) + 1
        try:
            yield
        finally:
            with self._ended:
                for path in paths:
                    self._paths[path] -= 1
                    if not self._paths[path]:
                        del self._paths[path]
                self._ended.notify_all()

    def __contains__(self, path: FilePath) -> bool:
        """For the event loop, too: no lock."""
        return path in self._paths

    def wait(self, path: FilePath) -> bool:
        """Until no commit is at work on the path; whether that came about."""
        if path not in self._paths:
            return True
        with self._ended:
            return self._ended.wait_for(lambda: path not in self._paths, PATIENCE_S)
