"""Blocks that content is read into: all of it comes out, in order, and what was handed out is not touched too early."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from accord.server.blocks import BLOCKS, Blocks
from accord.store.port import BLOCK_BYTES

HALF = BLOCK_BYTES // 2
lengths = st.sampled_from([1, 7, HALF, HALF + 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 3])
steps = st.lists(st.tuples(st.sampled_from(["read", "put", "cut", "take"]), lengths), max_size=40)


class Content:
    """Bytes of which no two blocks are alike."""

    def __init__(self) -> None:
        self.made = 0

    def next(self, length: int) -> bytes:
        self.made += 1
        return (self.made.to_bytes(4, "big") * (length // 4 + 1))[:length]


@given(steps)
def test_all_comes_out_in_order_and_stays_until_the_second_take_after_it(steps: list[tuple[str, int]]) -> None:
    blocks, content = Blocks(), Content()
    came, taken = b"", b""
    lent: deque[tuple[memoryview, bytes]] = deque(maxlen=2)
    for step, length in steps:
        match step:
            case "read":
                if (room := blocks.room()) is not None:
                    piece = content.next(min(length, len(room)))
                    room[: len(piece)] = piece
                    blocks.filled(len(piece))
                    came += piece
            case "put":
                piece = content.next(length)
                came += piece[: len(piece) - len(blocks.put(memoryview(piece)))]
            case "cut":
                blocks.cut()
            case _:
                if blocks.count:
                    block = blocks.take()
                    lent.append((block, bytes(block)))
                    taken += block
        assert all(block == as_it_was for block, as_it_was in lent)
    blocks.cut()
    while blocks.count:
        taken += blocks.take()
    assert taken == came


def test_no_more_than_a_few_are_filled_and_room_comes_back() -> None:
    blocks = Blocks()
    rest = blocks.put(memoryview(bytes(10 * BLOCK_BYTES)))
    assert (blocks.count, len(rest), blocks.room()) == (BLOCKS, (10 - BLOCKS) * BLOCK_BYTES, None)
    for _ in range(2):
        blocks.take()
        assert blocks.room() is None
    blocks.take()
    assert blocks.room() is not None


def test_after_a_cut_another_block_begins() -> None:
    blocks = Blocks()
    assert not blocks.cut(), "there is nothing yet"
    blocks.put(memoryview(b"one"))
    assert blocks.cut()
    blocks.put(memoryview(b"two"))
    blocks.cut()
    assert [bytes(blocks.take()), bytes(blocks.take())] == [b"one", b"two"]
    for _ in range(2 * BLOCKS):
        blocks.put(memoryview(bytes(BLOCK_BYTES)))
        assert len(blocks.take()) == BLOCK_BYTES, "and a cut block is whole again when it is used again"
