"""Sums of a list of fingerprints from its beginning on, so that the sum of any run of them is one subtraction.

What changes in the list makes the sums behind it void; they are made again when they are next asked for, some ten thousand in a
millisecond. What the list is of is left to `stretches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from accord.model.fingerprints import SUM_MODULUS, Fingerprint


class RunningSums:
    """`paths[i]`, once `reach` was called: how many paths the first i fingerprints have."""

    def __init__(self) -> None:
        self.paths = [0]
        self._totals = [0]
        self._deleted = [0]

    def changed(self, at: int) -> None:
        """The fingerprints from that one on may be others."""
        for sums in (self.paths, self._totals, self._deleted):
            del sums[at + 1 :]

    def reach(self, prints: Sequence[Fingerprint]) -> None:
        """To the end of the list."""
        known = len(self.paths) - 1
        if known < len(prints):
            columns = zip(*prints[known:], strict=True)
            for sums, column in zip((self.paths, self._totals, self._deleted), columns, strict=True):
                sums += accumulate(column, initial=sums.pop())

    def of_first(self, count: int) -> Fingerprint:
        """Of so many fingerprints, the first."""
        return Fingerprint(self.paths[count], self._totals[count] % SUM_MODULUS, self._deleted[count])
