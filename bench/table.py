"""How measurements are shown: one line each, with what was asked for and whether it was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. `reached` is None where nothing in particular was asked for."""

    title: str
    figure: str
    asked: str = ""
    reached: bool | None = None


def shown(rows: Sequence[Row]) -> str:
    widths = [max(len(getattr(row, name)) for row in rows) for name in ("title", "figure", "asked")]
    marks = {True: "reached", False: "MISSED", None: ""}
    lines = [
        f"{row.title:<{widths[0]}}  {row.figure:>{widths[1]}}  {row.asked:<{widths[2]}}  {marks[row.reached]}".rstrip()
        for row in rows
    ]
    return "\n".join(lines)
