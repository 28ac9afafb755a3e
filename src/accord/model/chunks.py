"""Chunks: how long content is cut at places that its own bytes decide, so that what two versions share is found wherever it has moved.

Here is what a list of them is, and what follows from two lists: which bytes are at hand and which are to be fetched. Where to cut is
left to `store.chunking`; fetching and proving, to `engine.delta`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple, Self, overload

from accord.model.names import Digest

MAX_CHUNK_BYTES = 16 * 1024 * 1024
"""A chunk is held in memory as a whole before its bytes are used; nobody takes longer ones."""

_ONE = Struct(">I32s")
CHUNK_ENTRY_BYTES = _ONE.size
"""What an entry of a `ChunkList` takes."""


class Chunk(NamedTuple):
    """`size` bytes (at least 1) with that BLAKE3 digest; the first begins at 0, each other where the one before it ends."""

    size: int
    digest: Digest


class ChunkList(Sequence[Chunk]):
    """All chunks of one content, in a single piece of memory: a list of objects would take six times as much."""

    def __init__(self, packed: bytes) -> None:
        """Raises `ValueError` for what `packed` cannot have been."""
        if len(packed) % _ONE.size:
            raise ValueError(f"{len(packed)} bytes are no list of chunks")
        self.packed = packed

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> Self:
        return cls(b"".join(_ONE.pack(size, digest) for size, digest in chunks))

    def __len__(self) -> int:
        return len(self.packed) // _ONE.size

    def __iter__(self) -> Iterator[Chunk]:
        return (Chunk(size, Digest(digest)) for size, digest in _ONE.iter_unpack(self.packed))

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        size, digest = _ONE.unpack_from(self.packed, index % len(self) * _ONE.size)
        return Chunk(size, Digest(digest))

    def __eq__(self, other: object) -> bool:
        return self.packed == other.packed if isinstance(other, ChunkList) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.packed)


class Run(NamedTuple):
    """The chunks [first, stop) of the content that is wanted, which begin at its byte `start`. They are at hand in the base of that
    number, one behind the other from its byte `at` on; `base` None: nowhere, they are to be fetched."""

    first: int
    stop: int
    start: int
    base: int | None = None
    at: int = 0


def runs_of(wanted: Sequence[Chunk], bases: Sequence[Sequence[Chunk]]) -> list[Run]:
    """All of what is wanted, in order, in as few runs as there are seams between what is at hand and what is not."""
    at_hand: dict[Digest, tuple[int, int, int]] = {}
    for base, chunks in enumerate(bases):
        at = 0
        for number, chunk in enumerate(chunks):
            at_hand.setdefault(chunk.digest, (base, number, at))
            at += chunk.size
    runs: list[Run] = []
    start = 0
    follows: tuple[int, int, int] | None = None
    """The place in a base that goes on where the last run ends."""
    for number, chunk in enumerate(wanted):
        # Content may repeat itself (zeros): what goes on as before needs no second run.
        is_next = follows is not None and _has(bases[follows[0]], follows[1], chunk.digest)
        place = follows if is_next else at_hand.get(chunk.digest)
        if runs and ((place is None and runs[-1].base is None) or (is_next and place is not None)):
            runs[-1] = runs[-1]._replace(stop=number + 1)
        elif place is None:
            runs.append(Run(number, number + 1, start))
        else:
            runs.append(Run(number, number + 1, start, place[0], place[2]))
        follows = None if place is None else (place[0], place[1] + 1, place[2] + chunk.size)
        start += chunk.size
    return runs


def _has(base: Sequence[Chunk], number: int, digest: Digest) -> bool:
    return number < len(base) and base[number].digest == digest


def missing_bytes(runs: Sequence[Run], size: int) -> int:
    """How much of content of `size` bytes is to be fetched."""
    ends = (*(run.start for run in runs[1:]), size)
    return sum(end - run.start for run, end in zip(runs, ends, strict=False) if run.base is None)
