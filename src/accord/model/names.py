"""Paths, server names, digests and blocks: the typed words everything else is said in.

Each is decoded once, at the edge, and then trusted. How a name reaches a file is left to `store`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Self

from accord.errors import ConfigError, InvalidPath, InvalidQuery

MAX_SEGMENT_BYTES = 255
MAX_PATH_BYTES = 4096
PRIVATE_FOLDER = ".accord"

DIGEST_BYTES = 32
DIGEST_PREFIX = "blake3:"
MIN_DIGEST_PREFIX_HEX = 12

# The common case, decided by one match: plain ASCII segments that do not begin with a dot. A dot-file takes the long way.
_PLAIN = re.compile(r"(?:[A-Za-z0-9_\-][A-Za-z0-9_.\- ]{0,200}/){0,15}[A-Za-z0-9_\-][A-Za-z0-9_.\- ]{0,200}\Z")
# Of very many names at once, and so never going back: what follows a part is nothing that the part could have taken.
_PLAIN_NAME = r"[A-Za-z0-9_\-][A-Za-z0-9_.\- ]{0,200}+/?+"
_PLAIN_NAMES = re.compile(rf"(?:{_PLAIN_NAME}\0)*+\Z")
_SERVER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?\Z")
# What case-folding file systems pass over beside the format characters (Cf): Unicode's Default_Ignorable_Code_Point.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_HEX = re.compile(r"[0-9a-f]+\Z")


class FilePath(str):
    """A relative POSIX path of UTF-8 text, safe to look for beneath a root. Sorts as its UTF-8 bytes do.

    Raises `InvalidPath` with a sentence that says which rule was broken.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _PLAIN.match(text):
            _check(text)
        return str.__new__(cls, text)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        try:
            text = raw.decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise InvalidPath("The path is not UTF-8 text.") from None
        return cls(text)

    @classmethod
    def trusted(cls, text: str) -> Self:
        """A path that was checked before it was written down (the index, a peer's frame that was checked as a whole)."""
        return str.__new__(cls, text)

    @property
    def name(self) -> str:
        return self.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The folder's path, without a slash at its end; empty at the top."""
        return self.rpartition("/")[0]

    @property
    def segments(self) -> list[str]:
        return self.split("/")


def are_plain_segments(names: Sequence[str]) -> bool:
    """Whether each of the names, of files or (with a slash at the end) of folders, may be a part of a path, as far as one look at all
    of them can tell. False means that each is to be looked at by itself."""
    return _PLAIN_NAMES.match("\0".join((*names, ""))) is not None


def _check(text: str) -> None:
    if not text:
        raise InvalidPath("The path is empty.")
    if "\x00" in text:
        raise InvalidPath("The path contains a NUL character.")
    try:
        encoded = text.encode("utf-8", "strict")
    except UnicodeEncodeError:
        raise InvalidPath("The path is not UTF-8 text (it contains a lone surrogate).") from None
    if len(encoded) > MAX_PATH_BYTES:
        raise InvalidPath(f"The path is {len(encoded)} bytes long; at most {MAX_PATH_BYTES} are allowed.")
    if any(_is_control(character) for character in text):
        raise InvalidPath("The path contains a control character (a line break, for example).")
    if "\\" in text:
        raise InvalidPath("The path contains a backslash.", path=text)
    for segment in text.split("/"):
        _check_segment(segment, text)


def _check_segment(segment: str, text: str) -> None:
    if not segment:
        raise InvalidPath("The path begins or ends with a slash, or contains two in a row.", path=text)
    if segment in (".", ".."):
        raise InvalidPath(f"The path contains the segment '{segment}'.", path=text)
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise InvalidPath(f"A part of the path is longer than {MAX_SEGMENT_BYTES} bytes.")
    if _folded(segment) == PRIVATE_FOLDER:
        raise InvalidPath(f"'{PRIVATE_FOLDER}' is Accord's own folder.", path=text)


def _folded(segment: str) -> str:
    """As a file system that folds case, widths and invisible characters may see it: it would open the private folder under
    any of these spellings."""
    visible = "".join(character for character in segment if unicodedata.category(character) != "Cf")
    visible = _IGNORABLE.sub("", visible)
    return unicodedata.normalize("NFKC", visible).casefold()


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


class Prefix(str):
    """What a listing is limited to: empty (everything), or a folder's path with a slash at its end."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        stripped = text.removesuffix("/")
        if stripped:
            FilePath(stripped)
        return str.__new__(cls, stripped + "/" if stripped else "")


class ServerName(str):
    """A server's name: 1 to 63 of letters, digits, `.`, `_`, `-`, beginning and ending with a letter or digit."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _SERVER.match(text):
            raise ConfigError(f"'{text}' is no server name: use 1 to 63 letters, digits, '.', '_' or '-'.")
        return str.__new__(cls, text)


class Digest(bytes):
    """The BLAKE3 digest of some content: 32 bytes, written `blake3:` and 64 hex digits."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        if len(raw) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(raw)}")
        return bytes.__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `blake3:` and 64 hex digits. Raises `InvalidQuery`."""
        digits = text.removeprefix(DIGEST_PREFIX)
        if text == digits or len(digits) != 2 * DIGEST_BYTES or not _HEX.match(digits):
            raise InvalidQuery(f"'{text[:80]}' is no digest: write 'blake3:' and 64 hex digits.")
        return cls(bytes.fromhex(digits))

    def __str__(self) -> str:
        return DIGEST_PREFIX + self.hex()

    def __repr__(self) -> str:
        return f"<{DIGEST_PREFIX}{self.hex()[:12]}…>"


class DigestPrefix(str):
    """How a person names a version: a whole digest, or at least its first 12 hex digits (with `blake3:` or without)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        digits = text.strip('"').removeprefix(DIGEST_PREFIX).lower()
        if not (MIN_DIGEST_PREFIX_HEX <= len(digits) <= 2 * DIGEST_BYTES and _HEX.match(digits)):
            raise InvalidQuery(
                f"'{text[:80]}' names no version: write its digest, or at least the first {MIN_DIGEST_PREFIX_HEX} hex digits."
            )
        return str.__new__(cls, digits)

    def matches(self, digest: Digest) -> bool:
        return digest.hex().startswith(self)
