"""What callers give, checked before anything is done with it: text that can be sent, names that the own disk can have.

Paths and digests have types of their own (`model.names`); what a value means is left to whoever asked for it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from accord.errors import UsageError

_FIELD: Final = re.compile(r"[\x20-\x7e]*\Z")
"""What every HTTP library sends as it stands, and every server reads alike."""


def checked_text(what: str, given: object) -> str:
    """Raises `UsageError` for what is no text, or has no UTF-8 form (a lone surrogate)."""
    if not isinstance(given, str):
        raise UsageError(f"The {what} is text, and not of the type {type(given).__name__}.")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {what} is not UTF-8 text (it contains a lone surrogate).") from None
    return given


def checked_field(what: str, given: object) -> str:
    """Text that goes into a header field as it stands. Raises `UsageError`."""
    text = checked_text(what, given)
    if not _FIELD.match(text):
        raise UsageError(f"The {what} has characters that cannot be sent: only visible ASCII and blanks can.")
    return text


def checked_local(given: str | os.PathLike[str]) -> Path:
    """A name on this machine's disk, there or not. Raises `UsageError` for what no file can be called."""
    try:
        path = Path(given)
        named = os.fsencode(path)
    except TypeError:
        raise UsageError(f"A file is named by text or a path, and not by the type {type(given).__name__}.") from None
    except UnicodeEncodeError:
        raise UsageError(f"{str(given)!r} names no file: it has characters that no name can have.") from None
    if b"\0" in named:
        raise UsageError(f"{str(given)!r} names no file: it contains a NUL character.")
    return path
