"""What the answer to a change means for whoever made it: the exit code, and what to do where rivals were in the way."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from accord.cli.exit_codes import OK, RIVALS, SILENT
from accord.errors import RivalVersions
from accord.model.verdict import Kind

if TYPE_CHECKING:
    from accord.client.results import Written


def exit_code_of(written: Written) -> int:
    """What a command that made this change ends with: it is made in any case."""
    if written.result.verdict is Kind.DIVERGED:
        return RIVALS
    return SILENT if written.missing else OK


@contextmanager
def resolvable(path: str) -> Iterator[None]:
    """A change that was refused because of rivals tells what to do about them."""
    try:
        yield
    except RivalVersions as rivals:
        named = shlex.quote(rivals.path or path)  # of a copy, it may be the source
        rivals.detail += f" Nothing was changed. `accord diff {named}` compares them, `accord resolve {named} --keep SERVER` chooses."
        raise
