"""The blocks of `BLOCK_BYTES` by which parts of long content are proven: their digests, the hashing that finds them, and a memory of
those that were found. Which bytes are hashed, and whether they are the right ones, is left to whoever feeds them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, overload

from blake3 import blake3

from accord.model.names import DIGEST_BYTES, Digest
from accord.store.hashing import own_buffer
from accord.store.port import BLOCK_BYTES


class Readinto(Protocol):
    """What hands out content from its start, until nothing is left."""

    def readinto(self, into: memoryview) -> int: ...


class BlockDigests(Sequence[Digest]):
    """The digest of each block, one behind the other in a single piece of memory: as objects they would take three times as much."""

    def __init__(self, joined: bytes) -> None:
        """Raises `ValueError` for what `joined` cannot have been."""
        if len(joined) % DIGEST_BYTES:
            raise ValueError(f"{len(joined)} bytes are no list of digests")
        self.joined = joined

    def __len__(self) -> int:
        return len(self.joined) // DIGEST_BYTES

    @overload
    def __getitem__(self, index: int) -> Digest: ...
    @overload
    def __getitem__(self, index: slice) -> list[Digest]: ...
    def __getitem__(self, index: int | slice) -> Digest | list[Digest]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = index % len(self) * DIGEST_BYTES
        return Digest(self.joined[at : at + DIGEST_BYTES])


class BlockHasher:
    """Content on its way through the hashers: pieces in, whatever their length, and block digests out."""

    def __init__(self) -> None:
        self.hashed_bytes = 0
        self._joined = bytearray()
        self._hasher = blake3()
        self._room = BLOCK_BYTES

    def update(self, piece: bytes | memoryview) -> None:
        left = memoryview(piece)
        while left:
            part, left = left[: self._room], left[self._room :]
            self._hasher.update(part)
            self.hashed_bytes += len(part)
            self._room -= len(part)
            if not self._room:
                self._cut()

    def digests(self) -> BlockDigests:
        """Nothing may come after it."""
        if self._room < BLOCK_BYTES:
            self._cut()
        return BlockDigests(bytes(self._joined))

    def _cut(self) -> None:
        self._joined += self._hasher.digest()
        self._hasher, self._room = blake3(), BLOCK_BYTES


def hash_blocks(content: Readinto) -> tuple[Digest, BlockDigests]:
    """The digest of the whole and those of its blocks, in one pass. Blocking. Raises what `content` raises."""
    whole, blocks, buffer = blake3(), BlockHasher(), own_buffer()
    while count := content.readinto(buffer):
        whole.update(buffer[:count])
        blocks.update(buffer[:count])
    return Digest(whole.digest()), blocks.digests()


class RecentBlocks:
    """The block digests of the contents that were asked about last: `max_bytes` of them, and the newest list whatever its length."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lists: OrderedDict[Digest, BlockDigests] = OrderedDict()
        self._bytes = 0

    def get(self, whole: Digest) -> BlockDigests | None:
        if whole in self._lists:
            self._lists.move_to_end(whole)
        return self._lists.get(whole)

    def keep(self, whole: Digest, blocks: BlockDigests) -> None:
        self._drop(whole)
        self._lists[whole] = blocks
        self._bytes += len(blocks.joined)
        while self._bytes > self._max_bytes and len(self._lists) > 1:
            self._drop(next(iter(self._lists)))

    def _drop(self, whole: Digest) -> None:
        dropped = self._lists.pop(whole, None)
        if dropped is not None:
            self._bytes -= len(dropped.joined)
