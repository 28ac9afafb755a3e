"""How two servers prove to each other that they belong together: a mutual challenge and response over the shared cluster key.

    caller → Hello(protocol, cluster, its name, the name it means to call, 32 random bytes)
    callee → Challenge(protocol, 32 random bytes)
    caller → Proof(HMAC-SHA256(key, "caller" and both messages))
    callee → Welcome(HMAC-SHA256(key, "callee" and both messages))

Instead of its next word the callee may say `Refused`. The key never travels and nothing depends on clocks. The caller proves itself
first, so that somebody without the key learns a class of reason and nothing else. Both proofs cover the names: a callee that is not
the one meant refuses, so that a proof cannot be sent back to its maker or on to a third server. On plain HTTP somebody *on the way*
can still read and change what follows; between machines, that is what https is for.

Pure: random bytes are passed in. The conversation itself is left to `dial` and `server.peer_endpoint`.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum

from accord.errors import ConfigError
from accord.model.names import ServerName
from accord.peers.wire import PROTOCOL_VERSION, Challenge, Hello, Refused

WRONG_KEY = "has another cluster key than this server"


class Reason(Enum):
    """Why a callee refuses."""

    PROTOCOL = "protocol"
    """The caller speaks another protocol version."""
    CLUSTER = "cluster"
    """The caller belongs to another cluster."""
    KEY = "key"
    """The caller did not prove to know the key."""
    NAME = "name"
    """The caller meant another server."""
    STRANGER = "stranger"
    """The caller's name is none of this cluster's, or the callee's own."""
    BUSY = "busy"
    """Too many connections."""
    GREETING = "greeting"
    """Not what was to be said at this point, or not in time."""


class Role(Enum):
    """Who proves; part of what is proven, so that one side's proof is never the other's."""

    CALLER = b"accord peer caller\x00"
    CALLEE = b"accord peer callee\x00"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this server is to its peers. `key` is any secret text or bytes that the whole cluster shares."""

    cluster: str
    name: ServerName
    key: bytes = field(repr=False)
    version: int = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigError("The cluster key is empty.")


def hello(me: Identity, expected: ServerName, nonce: bytes) -> Hello:
    return Hello(me.version, me.cluster, str(me.name), str(expected), nonce)


def proof(key: bytes, role: Role, hello_payload: bytes, challenge_payload: bytes) -> bytes:
    """What `role` has to say after these two messages, taken as the bytes that travelled."""
    length = len(hello_payload).to_bytes(4, "big")
    return hmac.digest(key, role.value + length + hello_payload + challenge_payload, "sha256")


def proves(mac: bytes, key: bytes, role: Role, hello_payload: bytes, challenge_payload: bytes) -> bool:
    return hmac.compare_digest(mac, proof(key, role, hello_payload, challenge_payload))


def objection(me: Identity, caller: Hello) -> Reason | None:
    """What the callee has against a caller that has not proven anything yet."""
    if caller.version != me.version:
        return Reason.PROTOCOL
    if caller.cluster != me.cluster:
        return Reason.CLUSTER
    return None


def late_objection(me: Identity, known: Collection[ServerName], caller: Hello) -> Reason | None:
    """What the callee has against a caller that proved to know the key."""
    if caller.expected != me.name:
        return Reason.NAME
    if caller.name == me.name or caller.name not in known:
        return Reason.STRANGER
    return None


def refusal(me: Identity, reason: Reason) -> Refused:
    """Only `Reason.NAME` and `Reason.STRANGER`, which are for those who have the key, tell a name."""
    name = str(me.name) if reason in (Reason.NAME, Reason.STRANGER) else ""
    return Refused(reason.value, me.version, name)


def version_objection(me: Identity, challenge: Challenge) -> str | None:
    """What the caller has against the callee's protocol version, as a sentence."""
    return None if challenge.version == me.version else _protocols(me, challenge.version)


def explained(refused: Refused, me: Identity, expected: ServerName) -> str:
    """A callee's refusal as a sentence (without its subject, the peer) for the caller's status."""
    match refused.reason:
        case Reason.PROTOCOL.value:
            return _protocols(me, refused.version)
        case Reason.CLUSTER.value:
            return f"belongs to another cluster than '{me.cluster}'"
        case Reason.KEY.value:
            return WRONG_KEY
        case Reason.NAME.value:
            return f"it is '{refused.name[:63]}', not '{expected}'"
        case Reason.STRANGER.value:
            return f"does not know a server named '{me.name}'"
        case Reason.BUSY.value:
            return "has too many connections"
        case _:
            return "refused the connection"


def _protocols(me: Identity, theirs: int) -> str:
    return f"speaks protocol {theirs}, this server speaks {me.version}"
