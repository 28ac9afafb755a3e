"""Asynchronous tests of the simulation run in its own time: nothing in it waits for the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import pytest

from accord.testing.simulation.run import MAX_THREAD_DELAY_S
from accord.testing.simulation.virtual_loop import VirtualLoop


def _virtual_loop() -> VirtualLoop:
    random = Random(1)
    return VirtualLoop(lambda: random.random() * MAX_THREAD_DELAY_S)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], VirtualLoop]]:
    return {"virtual": _virtual_loop}
