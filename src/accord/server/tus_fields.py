"""The header fields of tus 1.0: metadata, lengths and checksums, and the write that an upload is to become.

Every refusal is a `UsageError` with a sentence for the client. The protocol's order of things is in `server.uploads`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request

from accord.errors import UsageError
from accord.model.names import FilePath
from accord.server.wishes import MAX_AUTHOR_CHARS, MAX_MESSAGE_CHARS, check_text, read_moment

MAX_METADATA_BYTES = 16 * 1024
ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}

_FIELDS_OF_A_WRITE = ("if-match", "if-none-match", "accord-context", "accord-digest", "repr-digest")
_METADATA_KEY = re.compile(r"[!-+\--~]+\Z", re.ASCII)


class Checksum(NamedTuple):
    algorithm: str
    digest: bytes


def read_metadata(raw: str) -> dict[str, str]:
    """Upload-Metadata: pairs of a key and a Base64 value, separated by commas. Raises `UsageError`."""
    if len(raw) > MAX_METADATA_BYTES:
        raise UsageError("Upload-Metadata is too long.")
    told: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for piece in raw.split(","))):
        key, _, value = pair.partition(" ")
        if not _METADATA_KEY.match(key) or key in told:
            raise UsageError("Upload-Metadata has a key that is none, or is given twice.")
        try:
            told[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8", "strict")
        except (binascii.Error, UnicodeDecodeError):
            raise UsageError(f"Upload-Metadata: the value of '{key}' is no Base64 of UTF-8 text.") from None
    return told


def as_write(request: Request, metadata: dict[str, str]) -> tuple[FilePath, dict[str, str]]:
    """The path, and the header fields that a PUT would have. Keys that are not known are the client's own affair."""
    if "path" not in metadata:
        raise UsageError("Upload-Metadata needs a 'path': where the file is to be.")
    told = {name: ", ".join(values) for name in _FIELDS_OF_A_WRITE if (values := request.headers.getlist(name))}
    for key, limit in (("author", MAX_AUTHOR_CHARS), ("message", MAX_MESSAGE_CHARS)):
        if key in metadata:
            check_text(metadata[key], f"The metadata's {key}", limit)
            told[f"accord-{key}"] = quote(metadata[key], safe=" ")
    if "modified" in metadata:
        read_moment(metadata["modified"], "The metadata's modified")
        told["accord-modified"] = metadata["modified"]
    if "executable" in metadata:
        if metadata["executable"] not in ("true", "false"):
            raise UsageError("The metadata's executable is neither 'true' nor 'false'.")
        told["accord-executable"] = "?1" if metadata["executable"] == "true" else "?0"
    if "context" in metadata:
        told["accord-context"] = quote(metadata["context"])
    return FilePath(metadata["path"]), told


def read_checksum(request: Request) -> Checksum | None:
    raw = request.headers.get("upload-checksum")
    if raw is None:
        return None
    algorithm, _, value = raw.partition(" ")
    if algorithm not in ALGORITHMS:
        raise UsageError(f"Upload-Checksum: the algorithms are {' and '.join(ALGORITHMS)}.")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        raise UsageError("Upload-Checksum: the checksum is no Base64.") from None
    return Checksum(algorithm, digest)


def read_number(request: Request, name: str) -> int:
    raw = request.headers.get(name, "")
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 16):
        raise UsageError(f"The request needs {name.title()}: a number of bytes.")
    return int(raw)


def announces_content(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
