"""What a listing is made of: paths in the order of their UTF-8 bytes, each with one server's answer."""

from __future__ import annotations

from typing import NamedTuple

from accord.model.names import FilePath
from accord.model.verdict import Answer

PAGE_PATHS = 1000
"""How many paths a server hands over at a time."""


class Walked(NamedTuple):
    """One path of one server's listing."""

    path: FilePath
    answer: Answer
