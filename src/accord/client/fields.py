"""Reading what an answer's headers say: the structured field `Accord-Replicas` (RFC 9651, lists), the ETag, the content range.

Only the syntax Accord sends is understood: strings, tokens, display strings, numbers and byte sequences, with parameters. What
the values mean is left to `client.answers`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from accord.errors import AccordError

_ITEM = re.compile(
    r"""%"(?P<display>[^"]*)"           # a display string, percent-encoded
      | "(?P<string>(?:[^"\\]|\\.)*)"
      | :(?P<bytes>[A-Za-z0-9+/=]*):
      | (?P<plain>[^\s,;="]+)           # a token, number or boolean""",
    re.VERBOSE,
)
_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_SPACE = re.compile(r"[ \t]*")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")
_ETAG = re.compile(r'"([^"]*)"\Z')


class Member(NamedTuple):
    """One member of a list: a bare item and its parameters, all as text (`1` for a parameter without a value)."""

    value: str
    parameters: dict[str, str]


class ContentRange(NamedTuple):
    """Bytes `first` to `last`, counted from 0 and inclusive, of `total`."""

    first: int
    last: int
    total: int


def read_list(text: str) -> list[Member]:
    """Raises `AccordError` for text that is no list."""
    members: list[Member] = []
    at = _skip(text, 0)
    while at < len(text):
        value, at = _item(text, at)
        parameters: dict[str, str] = {}
        while text[at : at + 1] == ";":
            name, content, at = _parameter(text, at + 1)
            parameters[name] = content
        members.append(Member(value, parameters))
        at = _skip(text, at)
        if at < len(text):
            if text[at] != ",":
                raise AccordError(f"The server sent a header that cannot be read: {text[:200]}")
            at = _skip(text, at + 1)
    return members


def read_etag(text: str | None) -> str | None:
    """What a strong ETag has between its quotes; None for a weak one, or none."""
    match = _ETAG.match(text or "")
    return match[1] if match else None


def read_content_range(text: str | None) -> ContentRange | None:
    match = _CONTENT_RANGE.match(text or "")
    return ContentRange(int(match[1]), int(match[2]), int(match[3])) if match else None


def _item(text: str, at: int) -> tuple[str, int]:
    match = _ITEM.match(text, at)
    if match is None:
        raise AccordError(f"The server sent a header that cannot be read: {text[:200]}")
    if match["display"] is not None:
        return unquote(match["display"]), match.end()
    if match["string"] is not None:
        return re.sub(r"\\(.)", r"\1", match["string"]), match.end()
    return match["bytes"] or match["plain"] or "", match.end()


def _parameter(text: str, at: int) -> tuple[str, str, int]:
    at = _skip(text, at)
    match = _KEY.match(text, at)
    if match is None:
        raise AccordError(f"The server sent a header that cannot be read: {text[:200]}")
    at = match.end()
    if text[at : at + 1] != "=":
        return match[0], "1", at
    value, at = _item(text, at + 1)
    return match[0], value, at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
