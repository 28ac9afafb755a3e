"""What all messages between servers are made of: the base, and the parts that have bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec

from accord.model.fingerprints import MARK_BYTES
from accord.model.names import DIGEST_BYTES, MAX_PATH_BYTES

Natural = Annotated[int, msgspec.Meta(ge=0)]
DigestBytes = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
MarkBytes = Annotated[bytes, msgspec.Meta(min_length=MARK_BYTES, max_length=MARK_BYTES)]
PathText = Annotated[str, msgspec.Meta(max_length=MAX_PATH_BYTES)]


class Message(msgspec.Struct, array_like=True, gc=False):
    """Base of all messages. Elements that a later protocol appends are passed over."""
