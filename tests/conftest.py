"""What all tests share: a quiet log, and what to do where a test needs more than the machine gives."""

from __future__ import annotations

import logging
import os

import hypothesis
import pytest
import structlog

# How long an example takes says something of the machine, and nothing of the rule.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    # Log lines go where pytest keeps them for the tests that fail, and never between its dots, whichever thread writes them when.
    logging.getLogger().setLevel(logging.INFO)
    logging.lastResort = None
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    config.addinivalue_line("markers", "needs_root: mounts, makes devices or changes its user; only root may")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without root such a test is passed over on somebody's own machine, and fails where the checks decide."""
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("needs root")
        pytest.skip("needs root")
