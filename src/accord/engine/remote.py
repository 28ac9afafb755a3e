"""The content of a version as other servers hold it, proven here: what they send is never taken at their word.

How much of it may leave before it is proven is `engine.transfer`'s rule. Who is asked first is left to `engine.holders`; what a part is
proven with, to `engine.proofs`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from blake3 import blake3

from accord.engine.holders import Holders
from accord.engine.proofs import Proofs
from accord.engine.transfer import Tee, block_spans, fed, hashed
from accord.errors import AccordError, ChangedWhileReading, IntegrityError, NoSuchVersion, PeerFailed
from accord.model.names import Digest, FilePath, ServerName
from accord.peers.port import Peers
from accord.store.port import BLOCK_BYTES


class _Wrong(Exception):
    """A holder sent what the version does not have."""


class RemoteBody:
    """See `engine.transfer.Body`. The content comes from the first of `servers` that delivers.

    A holder that fails on the way is followed by the next at the byte where it stopped: the digest of the whole, which is checked
    before the last block goes out, makes sure that two versions are never spliced. Parts are proven block by block.
    """

    def __init__(
        self,
        peers: Peers,
        path: FilePath,
        digest: Digest,
        size: int,
        servers: Sequence[ServerName],
        *,
        holders: Holders,
        proofs: Proofs,
        tee: Tee | None = None,
    ) -> None:
        self.path = path
        self.digest = digest
        self.size = size
        self._peers = peers
        self._servers = servers
        self._holders = holders
        self._proofs = proofs
        self._tee = tee

    def whole_now(self) -> bytes | None:
        return None

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        try:
            handed_on = 0
            async with aclosing(self._small() if self.size <= BLOCK_BYTES else self._large()) as blocks:
                async for block in blocks:
                    handed_on += len(block)
                    if self._tee is not None:
                        await self._tee.write(block)
                        if handed_on == self.size:
                            self._tee.proven()
                    yield block
        except BaseException:
            if self._tee is not None:
                await self._tee.failed()
            raise

    async def part(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """As `Body.part`. The first part of a version costs one transfer of the whole (`engine.proofs`)."""
        if self.size <= BLOCK_BYTES or (start, stop) == (0, self.size):
            async with aclosing(self.blocks()) as whole:
                async for block in whole:
                    yield block[start:stop] if self.size <= BLOCK_BYTES else block
            return
        digests = await self._proofs.of(self)
        async with aclosing(self._proven(digests, start, stop)) as blocks:
            async for block in blocks:
                yield block

    async def _proven(self, digests: Sequence[bytes], start: int, stop: int) -> AsyncGenerator[bytes, None]:
        spans = list(block_spans(start, stop))
        if not spans:
            return
        end = min((spans[-1][0] + 1) * BLOCK_BYTES, self.size)
        done = 0
        failure: AccordError = self._nobody()
        for holder in self._in_order():
            try:
                async with aclosing(self._whole_blocks(holder, spans[done][0] * BLOCK_BYTES, end)) as blocks:
                    async for block in blocks:
                        number, first, last = spans[done]
                        if await hashed(block) != digests[number]:
                            raise _Wrong
                        done += 1
                        yield block[first:last]
                        if done == len(spans):
                            return
                failure = PeerFailed(f"{holder} did not send all of the range.", path=self.path)
            except (PeerFailed, IntegrityError, NoSuchVersion, _Wrong) as error:
                failure = self._failed(holder, error)
        raise failure

    async def _whole_blocks(self, holder: ServerName, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes [start, stop) from `holder`, joined to blocks. A block that was cut short does not come."""
        block, left = bytearray(), stop - start
        async with aclosing(self._peers.fetch(holder, self.path, self.digest, start=start, stop=stop)) as pieces:
            async for piece in pieces:
                block += piece
                while len(block) >= BLOCK_BYTES:
                    yield bytes(block[:BLOCK_BYTES])
                    del block[:BLOCK_BYTES]
                    left -= BLOCK_BYTES
        if block and len(block) >= left:
            yield bytes(block)

    async def _small(self) -> AsyncGenerator[bytes, None]:
        """Whole from one holder or whole from the next; proven before anything is handed on."""
        failure: AccordError = self._nobody()
        for holder in self._in_order():
            try:
                content = await self._all_of(holder)
            except (PeerFailed, IntegrityError, NoSuchVersion, _Wrong) as error:
                failure = self._failed(holder, error)
                continue
            self._holders.right(holder, self.path, self.digest)
            yield content
            return
        raise failure

    async def _all_of(self, holder: ServerName) -> bytes:
        content = bytearray()
        async with aclosing(self._peers.fetch(holder, self.path, self.digest)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > self.size:
                    raise _Wrong
        if blake3(content).digest() != self.digest:
            raise _Wrong
        return bytes(content)

    async def _large(self) -> AsyncGenerator[bytes, None]:
        hasher = blake3()
        offset = 0
        withheld = b""
        failure: AccordError = self._nobody()
        suspects: list[ServerName] = []
        for holder in self._in_order():
            suspects.append(holder)
            began = offset
            try:
                async with aclosing(self._peers.fetch(holder, self.path, self.digest, start=offset)) as pieces:
                    async for block in pieces:
                        if offset + len(block) > self.size:
                            raise _Wrong
                        offset += len(block)
                        if withheld:
                            yield withheld
                        withheld = block
                        await fed(hasher, block)
            except (PeerFailed, NoSuchVersion, IntegrityError, _Wrong) as error:
                failure = self._failed(holder, error)
                if isinstance(error, IntegrityError | _Wrong) and offset > began:
                    raise failure from None  # what it sent before is as wrong, and has been hashed already
            if offset >= self.size:
                break
        if offset != self.size:
            raise failure
        if hasher.digest() != self.digest:
            for holder in suspects:
                self._holders.wrong(holder, self.path, self.digest)
            raise self._mismatch(suspects)
        for holder in suspects:
            self._holders.right(holder, self.path, self.digest)
        yield withheld

    def _in_order(self) -> list[ServerName]:
        return self._holders.in_order(self.path, self.digest, self._servers)

    def _failed(self, holder: ServerName, error: Exception) -> AccordError:
        """What a reader is told of a holder's failure, which is remembered where it says that the copy is wrong."""
        match error:
            case _Wrong():
                self._holders.wrong(holder, self.path, self.digest)
                return self._mismatch([holder])
            case NoSuchVersion():
                # It changed since the holders answered, which says nothing about whether there is a file: no 404 may come of it.
                return ChangedWhileReading("The file was changed while it was read.", path=self.path)
            case IntegrityError():
                self._holders.damaged(holder, self.path, self.digest)
                return IntegrityError(f"{holder} broke off: {error.detail}.", path=self.path)
            case _:
                detail = error.detail if isinstance(error, AccordError) else "it failed"
                return PeerFailed(f"{holder} did not deliver the content: {detail}.", path=self.path)

    def _mismatch(self, holders: Sequence[ServerName]) -> IntegrityError:
        names = " and ".join(holders) or "the other servers"
        return IntegrityError(f"What {names} sent did not match its digest.", path=self.path)

    def _nobody(self) -> AccordError:
        return IntegrityError("Nobody delivered the content that its digest names.", path=self.path)
