"""Answers on the wire: what is kept of them is bounded in bytes, not only in number."""

from __future__ import annotations

from accord import codec
from accord.model.verdict import Absent, Damaged
from accord.model.versions import EMPTY_CLOCK, Version, found, merge
from accord.peers import answers
from accord.peers.answers import decode_answer, encode_answer
from tests.peers.loopback import digest_of, present


def test_short_answers_are_decoded_once() -> None:
    raw = encode_answer(present(b"content"))
    assert decode_answer(raw) is decode_answer(bytes(bytearray(raw)))


def test_long_answers_are_not_kept() -> None:
    clock = EMPTY_CLOCK
    for number in range(200):
        clock = merge(clock, found(Version(digest_of(b"%d" % number), 1, 1, "server2")))
    encodings = answers._kept_clock_bytes.cache_info().currsize
    raw = encode_answer(Damaged("rot", None, clock))
    assert answers._kept_clock_bytes.cache_info().currsize == encodings
    kept, kept_clocks = answers._kept_answer.cache_info().currsize, codec._kept_clock.cache_info().currsize
    assert decode_answer(raw) == decode_answer(raw) == Damaged("rot", None, clock)
    assert answers._kept_answer.cache_info().currsize == kept
    assert codec._kept_clock.cache_info().currsize == kept_clocks


def test_an_answer_comes_back_as_it_was() -> None:
    for answer in (present(b"x"), Absent("a folder"), Absent()):
        assert decode_answer(encode_answer(answer)) == answer
