"""No body looks complete before it is proven, whatever its file or the server that sends it does meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import cast

import pytest
from blake3 import blake3

from accord.engine.holders import Holders
from accord.engine.own_proofs import OwnProofs
from accord.engine.proofs import Proofs
from accord.engine.remote import RemoteBody
from accord.engine.transfer import CopyFailed, LocalBody
from accord.errors import AccordError, ChangedWhileReading, IntegrityError, NoSuchVersion
from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Present
from accord.model.versions import EMPTY_CLOCK
from accord.peers.port import Peers
from accord.store.port import BLOCK_BYTES, Copy, Store

PATH = FilePath("file.bin")
FIRST, SECOND = ServerName("server2"), ServerName("server3")
WANTED = b"a" * (2 * BLOCK_BYTES)


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).digest())


class _RewrittenCopy:
    """Was `recorded` when it was opened, and is `content` now."""

    path = PATH

    def __init__(self, recorded: bytes, content: bytes) -> None:
        self.answer = Present(digest_of(recorded), len(recorded), 0, EMPTY_CLOCK)
        self._content = content

    async def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]


class _Sending:
    """Peers of which each sends what it is told to, or fails."""

    def __init__(self, sent: Mapping[ServerName, list[bytes] | AccordError]) -> None:
        self._sent = sent

    async def fetch(
        self, server: ServerName, _path: FilePath, _digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        sent = self._sent[server]
        if isinstance(sent, AccordError):
            raise sent
        for block in sent:
            yield block

    def doubt(self, server: ServerName, path: FilePath) -> None:
        """What comes of it is seen elsewhere."""


def remote(sent: Mapping[ServerName, list[bytes] | AccordError], wanted: bytes = WANTED) -> RemoteBody:
    peers = cast(Peers, _Sending(sent))
    holders, proofs = Holders(peers), Proofs(wait_s=10)
    return RemoteBody(peers, PATH, digest_of(wanted), len(wanted), list(sent), holders=holders, proofs=proofs)


async def handed_on(blocks: AsyncIterator[bytes], failure: type[AccordError]) -> int:
    """How many bytes came before the failure, which must come."""
    count = 0
    try:
        async for block in blocks:
            count += len(block)
    except failure:
        return count
    pytest.fail(f"{count} bytes were handed on as if they were right")


@pytest.mark.parametrize("blocks", [1, 2, 3])
async def test_a_file_that_was_rewritten_and_grew_never_looks_complete(blocks: int) -> None:
    # Only a whole number of blocks shows it: the byte that it grew by is then a block of its own.
    recorded = b"a" * (blocks * BLOCK_BYTES)
    copy = _RewrittenCopy(recorded, recorded[:-1] + b"bb")
    body = LocalBody(cast(Copy, copy), OwnProofs(cast(Store, None), wait_s=1))
    assert await handed_on(body.blocks(), CopyFailed) < len(recorded)


async def test_a_server_that_sends_too_much_never_makes_a_body_look_complete() -> None:
    body = remote({FIRST: [b"b" * BLOCK_BYTES, b"b" * BLOCK_BYTES, b"HTTP/1.1 200 OK\r\n", b"\r\n"]})
    assert await handed_on(body.blocks(), IntegrityError) < len(WANTED)


async def test_a_server_that_sends_too_much_of_a_small_file_is_followed_by_the_next() -> None:
    body = remote({FIRST: [b"a" * 100, b"b"], SECOND: [b"a" * 100]}, WANTED[:100])
    assert b"".join([block async for block in body.blocks()]) == WANTED[:100]


async def test_a_small_file_that_never_ends_is_not_gathered() -> None:
    sent = [b"a" * 100, b"b", *[b"c"] * 1000]
    taken = iter(sent)
    body = remote({FIRST: taken}, WANTED[:100])  # type: ignore[dict-item]
    assert await handed_on(body.blocks(), IntegrityError) == 0
    assert len(list(taken)) == 1000


async def test_a_server_that_sends_too_little_is_followed_at_the_byte_where_it_stopped() -> None:
    body = remote({FIRST: [WANTED[: BLOCK_BYTES + 7]], SECOND: [WANTED[BLOCK_BYTES + 7 :]]})
    assert b"".join([block async for block in body.blocks()]) == WANTED


async def test_if_all_servers_send_too_little_nothing_looks_complete() -> None:
    body = remote({FIRST: [WANTED[:BLOCK_BYTES]], SECOND: [WANTED[:10]]})
    assert await handed_on(body.blocks(), IntegrityError) < len(WANTED)


async def test_two_servers_with_halves_of_two_versions_are_never_spliced() -> None:
    body = remote({FIRST: [b"b" * BLOCK_BYTES], SECOND: [b"a" * BLOCK_BYTES]})
    assert await handed_on(body.blocks(), IntegrityError) < len(WANTED)


@pytest.mark.parametrize("size", [100, len(WANTED)])
async def test_a_version_that_is_gone_since_it_was_told_of_says_nothing_about_the_file(size: int) -> None:
    body = remote({FIRST: NoSuchVersion("no longer holds that version")}, WANTED[:size])
    assert await handed_on(body.blocks(), ChangedWhileReading) == 0
