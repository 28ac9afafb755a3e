"""The command as people start it: a process of its own, against scripted servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.conftest import dead_url, serve

__all__ = ["dead_url", "serve"]

ACCORD = str(Path(sys.executable).with_name("accord"))

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(url: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCORD_")}
    return kept | {"NO_COLOR": "1", "COLUMNS": "120"} | ({} if url is None else {"ACCORD_SERVERS": url})


@pytest.fixture
def accord(tmp_path: Path) -> Run:
    """Run `accord` with these words in an empty folder."""

    def run(*words: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ACCORD, *words],
            cwd=tmp_path,
            env=environment(url),
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    return run
