"""Which servers a client asks when it was told none: `ACCORD_SERVERS`, or the first server of the classic example."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from accord.client.session import DEFAULT_SERVER

SERVERS_VARIABLE: Final = "ACCORD_SERVERS"
"""Addresses, separated by commas."""


def servers_or_default(servers: Sequence[str]) -> tuple[str, ...]:
    if servers:
        return tuple(servers)
    named = [one.strip() for one in os.environ.get(SERVERS_VARIABLE, "").split(",")]
    return tuple(one for one in named if one) or (DEFAULT_SERVER,)
