"""What all tests share: what to do where a test needs more than the machine gives."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_root: mounts, makes devices or changes its user; only root may")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without root such a test is passed over on somebody's own machine, and fails where the checks decide."""
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("needs root")
        pytest.skip("needs root")
