"""The demonstration's files: the three classic ones, a picture, and a large file, made without any data of their own.

Where they are kept is left to `sandbox`.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from blake3 import blake3

PICTURE = "photos/accord.png"
FILM = "films/long.bin"
FILM_BYTES = 50_000_000
NOTES = "notes.txt"
"""Written during the tour."""
_WIDTH, _HEIGHT = 320, 200

BOTH = {"hello.txt": b"This is a test\n"}
DIFFERENT = {"file2.txt": (b"Diff file test\n", b"This is a diff file test\n")}
ONLY_ON_SECOND = {"file3.txt": b"new file which does not exist on server 1\n"}
"""Comes during the tour."""


def lay_out(first: Path, second: Path) -> None:
    """Fill the directories of the two servers."""
    film = blake3(b"a long film").digest(length=FILM_BYTES)
    same = {**BOTH, PICTURE: picture(), FILM: film}
    for path, content in same.items():
        _write(first / path, content)
        _write(second / path, content)
    for path, (one, other) in DIFFERENT.items():
        _write(first / path, one)
        _write(second / path, other)


def picture() -> bytes:
    """A small PNG (RGB, 8 bits): two circles that meet."""
    rows = b"".join(b"\x00" + b"".join(_pixel(x, y) for x in range(_WIDTH)) for y in range(_HEIGHT))
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _pixel(x: int, y: int) -> bytes:
    left = (x - 125) ** 2 + (y - 100) ** 2 < 70**2
    right = (x - 195) ** 2 + (y - 100) ** 2 < 70**2
    red, blue = (230 if left else 250 - y // 8), (230 if right else 250 - x // 12)
    return bytes((red if not right or left else 90, 120 if left or right else 245, blue if not left or right else 90))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
