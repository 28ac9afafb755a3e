"""The callee's side of the handshake on one connection: what is heard, and what is said to it.

Until the caller has proven to know the cluster key it learns nothing but a class of reason. What is proven, and how, is in
`peers.handshake`; the connection, its time limits and what comes afterwards are left to `peer_endpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from accord.errors import PeerUnreachable
from accord.model.names import ServerName
from accord.peers import handshake
from accord.peers.handshake import Identity, Reason, Role
from accord.peers.wire import NONCE_BYTES, Challenge, Hello, Proof, Welcome, decode, encode, greetings


class Greeting:
    """One handshake. `caller` is who calls, once that is proven; None before."""

    def __init__(self, me: Identity, known: Collection[ServerName], random_bytes: Callable[[int], bytes]) -> None:
        self._me = me
        self._known = known
        self._random_bytes = random_bytes
        self._hello: Hello | None = None
        self._said = (b"", b"")
        self.caller: ServerName | None = None

    def hear(self, payload: bytes) -> Challenge | Welcome | Reason:
        """What to say next, or why there is nothing more to say. Raises `PeerUnreachable` for what is no greeting."""
        heard = decode(greetings, payload)
        return self._challenge(heard, payload) if self._hello is None else self._welcome(heard, self._hello)

    def _challenge(self, hello: object, payload: bytes) -> Challenge | Reason:
        if not isinstance(hello, Hello):
            raise PeerUnreachable("did not begin with a hello")
        reason = handshake.objection(self._me, hello)
        if reason is not None:
            return reason
        challenge = Challenge(self._me.version, self._random_bytes(NONCE_BYTES))
        self._hello = hello
        self._said = (payload, encode(challenge))
        return challenge

    def _welcome(self, proof: object, hello: Hello) -> Welcome | Reason:
        if not isinstance(proof, Proof):
            raise PeerUnreachable("did not answer the challenge")
        if not handshake.proves(proof.mac, self._me.key, Role.CALLER, *self._said):
            return Reason.KEY
        reason = handshake.late_objection(self._me, self._known, hello)
        if reason is not None:
            return reason
        self.caller = ServerName(hello.name)
        return Welcome(handshake.proof(self._me.key, Role.CALLEE, *self._said))
