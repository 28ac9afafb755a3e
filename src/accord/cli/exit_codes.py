"""What a command ends with: the names of the exit codes, and which of several counts.

Which error has which code is `errors`'; which verdict or answer stands for which is decided where it is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
SILENT: Final = 3
"""Some server could not be asked, or gets a change later."""
NOT_AUTHORISED: Final = 4
NOT_FOUND: Final = 5
RIVALS: Final = 6
"""Also: something differs."""
INTEGRITY: Final = 8
"""Damaged, or lost, and nobody has a good copy."""
INTERRUPTED: Final = 130

_WORST_FIRST: Final = (FAILED, INTEGRITY, NOT_AUTHORISED, USAGE, RIVALS, NOT_FOUND, SILENT, OK)
"""What went wrong here counts before what the servers said, and rivals before what is missing or silent."""


def worst(codes: Iterable[int]) -> int:
    """The one that counts; without any, all is well."""
    return min(codes, key=_WORST_FIRST.index, default=OK)
