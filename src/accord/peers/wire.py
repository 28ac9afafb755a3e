"""The messages that servers send each other: MessagePack arrays whose first element is a tag.

Everything here is pure. Whatever a peer may send that is no such message is one error, `PeerUnreachable`, with a reason. How messages
are cut out of a stream is left to `framing`; who may say what, and when, to `handshake`, `link`, `calls`, `transfers`,
`uploads`, `server.peer_endpoint`, `server.peer_calls` and `server.peer_changes`; what has a number and an answer of its own
is in `call_messages`.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, TypeVar

import msgspec

from accord.errors import PeerUnreachable
from accord.model.names import DIGEST_BYTES
from accord.peers.call_messages import Call, Returned
from accord.peers.message import DigestBytes, Message, Natural

PROTOCOL_VERSION = 4
STREAM_PATH = "/peer/stream"
UPGRADE_TOKEN = "accord-peer"

MAX_PATHS_PER_FRAME = 1024
MAX_CHUNKS_PER_FRAME = 8192
NONCE_BYTES = 32
MAC_BYTES = 32

_Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_Mac = Annotated[bytes, msgspec.Meta(min_length=MAC_BYTES, max_length=MAC_BYTES)]


class Hello(Message, tag="hello"):
    """The caller's first word: who it is, and whom it means to call."""

    version: int
    cluster: str
    name: str
    expected: str
    nonce: _Nonce


class Challenge(Message, tag="challenge"):
    """The callee's answer to a hello it has no objection to."""

    version: int
    nonce: _Nonce


class Proof(Message, tag="proof"):
    """The caller knows the key."""

    mac: _Mac


class Welcome(Message, tag="welcome"):
    """The callee knows the key too; from here on, requests are answered."""

    mac: _Mac


class Refused(Message, tag="refused"):
    """The callee will not talk: a class of reason (`handshake.Reason`). `name` is filled in only for somebody who proved the key."""

    reason: str
    version: int
    name: str = ""


class Check(Message, tag="check"):
    """What do you hold at these paths? They are numbered from `first` on. Hashing may take up to `wait_ms`."""

    first: Natural
    paths: Annotated[list[str], msgspec.Meta(max_length=MAX_PATHS_PER_FRAME)]
    wait_ms: Natural
    reread: bool


class Answers(Message, tag="answers"):
    """Answers to any of the numbered questions, in any order."""

    ids: list[int]
    answers: list[bytes]


class Ping(Message, tag="ping"):
    id: int


class Pong(Message, tag="pong"):
    id: int


class Suggest(Message, tag="suggest"):
    """You lack a good copy of this file, and others have it. Nothing is answered; it may be healed or not."""

    path: str


class Doubt(Message, tag="doubt"):
    """What you sent of this file was wrong. Nothing is answered; the copy is read anew."""

    path: str


class Fetch(Message, tag="fetch"):
    """Send the bytes [start, stop) of that version as they are: data frames, then `End` or `Failed`. `Working` more often than
    `patience_ms`."""

    path: str
    digest: DigestBytes
    start: Natural
    stop: Natural | None
    patience_ms: Natural


class ChunksOf(Message, tag="chunks-of"):
    """How would you cut that version into chunks by its content? Answered by `ChunkList` (several, for a long one), then `End`, or
    `Failed`; `Working` meanwhile."""

    path: str
    digest: DigestBytes
    patience_ms: Natural


class List(Message, tag="list"):
    """Send the paths below `prefix` after `after`: pages, then `End` or `Failed`."""

    prefix: str
    after: str | None
    patience_ms: Natural


class Put(Message, tag="put"):
    """Take in the content that follows: data frames, then `PutEnd`. `size` None: nobody knows yet. It becomes nobody's copy; an `Adopt`
    on the same connection uses it. A second `Put` before that adds another content; the connection's end drops them all."""

    size: Natural | None
    patience_ms: Natural


class PutEnd(Message, tag="put-end"):
    """That was all of it, under this digest. Answered by `Staged` once it is there (a long one: durably), or `Failed`. Nothing
    `is_awaited` where the sender goes on at once: then only a failure is told."""

    digest: DigestBytes
    is_awaited: bool = True


class Adopt(Message, tag="adopt"):
    """Merge this clock into yours, with the content put on this connection; get whatever else it needs yourself. `events` tell of its
    versions. Answered by `Adopted` once it is durable, or `Failed`; `Working` meanwhile."""

    path: str
    clock: bytes
    events: bytes
    patience_ms: Natural


class Recall(Message, tag="recall"):
    """What do you remember of this path? Answered by `Memories` (several, for a long history), then `End`."""

    path: str
    patience_ms: Natural


class Update(Message, tag="update"):
    """Bring these paths up to date from whoever has what you lack, in this order. Answered by one `Updated` for each, then `End`;
    `Working` meanwhile."""

    paths: Annotated[list[str], msgspec.Meta(max_length=MAX_PATHS_PER_FRAME)]
    patience_ms: Natural


class Staged(Message, tag="staged"):
    """The content waits for its `Adopt`, which is answered once it is durable."""


class Adopted(Message, tag="adopted"):
    """The path is up to date with that clock, durably: the encoded answer to a question about it."""

    answer: bytes


class Memories(Message, tag="memories"):
    """Some of what is remembered: encoded events, and of each whether it is current here and whether its bytes are kept here."""

    events: bytes
    current: list[bool]
    kept: list[bool]


class Updated(Message, tag="updated"):
    """The next of the paths is up to date, or why it is not."""

    reason: str | None


class ChunkList(Message, tag="chunks"):
    """The next chunks: their sizes, and their digests one after the other."""

    sizes: Annotated[list[Annotated[int, msgspec.Meta(ge=1)]], msgspec.Meta(max_length=MAX_CHUNKS_PER_FRAME)]
    digests: Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNKS_PER_FRAME * DIGEST_BYTES)]


class Page(Message, tag="page"):
    paths: list[str]
    answers: list[bytes]


class Working(Message, tag="working"):
    """Nothing to send yet, but alive."""


class End(Message, tag="end"):
    """Everything asked for was sent, and was right as far as the sender can tell."""


class Failure(Enum):
    """Why a transfer ended before its end."""

    GONE = "gone"
    """The version asked for is not held (any more)."""
    CHANGED = "changed"
    """The file was rewritten while it was read."""
    DAMAGED = "damaged"
    """The copy turned out not to match its digest."""
    CHECKING = "checking"
    """The copy changed and is still being hashed."""
    STORE = "store"
    """The disk failed; the detail says how."""
    STOPPING = "stopping"
    """The sender is about to end, and begins nothing."""
    FULL = "full"
    """There is no space left."""
    CONFLICT = "conflict"
    """Something that is no file is in the way."""
    UNABLE = "unable"
    """What it takes is not to be had now, perhaps because of yet another server."""


class Failed(Message, tag="failed"):
    """The transfer ends here: a class of failure (`Failure`) and a sentence."""

    failure: str
    detail: str


Greeting = Hello | Challenge | Proof | Welcome | Refused
Transfer = Fetch | List | ChunksOf | Recall | Update
"""What has a connection to itself until it ends, and brings no content."""
Request = Check | Ping | Suggest | Doubt | Put | PutEnd | Adopt | Transfer | Call
Reply = Answers | Pong | Page | ChunkList | Working | End | Failed | Staged | Adopted | Memories | Updated | Returned

greetings: msgspec.msgpack.Decoder[Greeting] = msgspec.msgpack.Decoder(Greeting)
requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

_encode = msgspec.msgpack.Encoder().encode
_M = TypeVar("_M")


def encode(message: Message) -> bytes:
    """The payload, without its frame."""
    return _encode(message)


def decode(decoder: msgspec.msgpack.Decoder[_M], payload: bytes | memoryview) -> _M:
    """Raises `PeerUnreachable` for anything but a message that `decoder` is for."""
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PeerUnreachable(f"sent something that is not the peer protocol ({error})") from error
