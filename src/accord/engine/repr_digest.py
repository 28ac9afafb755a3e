"""SHA-256 for those who ask for it (RFC 9530): taken from proven bytes, remembered by digest.

Accord itself goes by BLAKE3; this is for other tools. How the field is spelled is here; when it is sent, `server.files` decides.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections import OrderedDict

from accord.engine.transfer import Body
from accord.model.names import Digest

MAX_REMEMBERED = 4096
MAX_WAIT_S = 10.0
"""A preference is not worth more: a larger file is sent without."""

_MEMBER = re.compile(rb"sha-256[ \t]*=[ \t]*([0-9]{1,2})\Z")


class Sha256:
    """The SHA-256 digests of contents that were asked for lately."""

    def __init__(self) -> None:
        self._fields: OrderedDict[Digest, bytes] = OrderedDict()

    @staticmethod
    def is_wanted(field: bytes) -> bool:
        """Whether a Want-Repr-Digest field (a Dictionary of preferences from 0 to 10) wants SHA-256."""
        members = [_MEMBER.match(member.strip()) for member in field.split(b",")]
        return any(member is not None and int(member[1]) > 0 for member in members)

    def known(self, digest: Digest) -> bytes | None:
        """The Repr-Digest field, if it was made before."""
        return self._fields.get(digest)

    async def of(self, body: Body) -> bytes | None:
        """The Repr-Digest field of `body`, or None if that takes too long. Raises as `Body.blocks`."""
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                hasher = hashlib.sha256()
                loop = asyncio.get_running_loop()
                async for block in body.blocks():
                    await loop.run_in_executor(None, hasher.update, block)
        except TimeoutError:
            return None
        self._fields[body.digest] = b"sha-256=:%b:" % base64.b64encode(hasher.digest())
        if len(self._fields) > MAX_REMEMBERED:
            self._fields.popitem(last=False)
        return self._fields[body.digest]
