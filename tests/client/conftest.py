"""Scripted servers for the client's tests, ended with each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.client.scripted import Script, Serve, serving


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server: `script, url = serve()`."""
    with ExitStack() as stack:

        def start(script: Script | None = None) -> tuple[Script, str]:
            script = script or Script()
            return script, stack.enter_context(serving(script))

        yield start


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address where connections are refused: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
