"""Structured fields (RFC 9651), as far as requests use them: a Boolean, and a Dictionary of Byte Sequences as RFC 9530 has it.

What a field means is left to `server.wishes`. How structured fields are written is in `server.rendering`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

MAX_FIELD_BYTES = 8192

_KEY = r"[a-z*][a-z0-9_.*-]*"
_BARE = (
    r'(?::(?P<bytes{n}>[A-Za-z0-9+/=]*):|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"|\?[01]|-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?'
    r"|[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*)"
)
_MEMBER = re.compile(
    rf"(?P<key>{_KEY})(?:={_BARE.format(n=1)})?(?:;[ ]*{_KEY}(?:={_BARE.format(n=2)})?)*[ \t]*(?P<comma>,[ \t]*)?",
    re.ASCII,
)


def read_boolean(value: str) -> bool:
    """Raises ValueError."""
    if value not in ("?0", "?1"):
        raise ValueError("it is neither ?1 nor ?0")
    return value == "?1"


def read_byte_sequences(value: str) -> Mapping[str, bytes | None]:
    """A Dictionary; a member that is no Byte Sequence is None. Of several with one key the last counts. Raises ValueError."""
    if len(value) > MAX_FIELD_BYTES:
        raise ValueError("it is too long")
    members: dict[str, bytes | None] = {}
    position, text = 0, value.strip(" ")
    while position < len(text):
        found = _MEMBER.match(text, position)
        if found is None:
            raise ValueError("it is no dictionary of a structured field")
        position = found.end()
        if (found["comma"] is not None) == (position == len(text)):
            raise ValueError("a comma is missing, or is too many")
        members[found["key"]] = None if found["bytes1"] is None else _decoded(found["bytes1"])
    return members


def _decoded(encoded: str) -> bytes:
    try:
        # Padding may be left out (RFC 9651 section 4.2.7).
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ValueError("a byte sequence is no Base64") from None
