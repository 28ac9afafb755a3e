"""Answers on the wire: what is kept of them is bounded in bytes, not only in number."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from accord import codec
from accord.codec import encode_clock
from accord.errors import PeerUnreachable
from accord.model.verdict import Absent, Damaged, Deleted
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
    rival, clock = digest_of(b"rival"), present(b"x").clock
    for answer in (
        present(b"x"),
        replace(present(b"x"), aside=(rival, None)),
        Absent("a folder"),
        Absent(),
        Absent(None, clock, (rival,)),
        Absent(None, clock, (None,)),
        Deleted(clock),
        Damaged("rot", rival, clock, (digest_of(b"x"), None)),
        Damaged("rot"),
    ):
        decoded = decode_answer(encode_answer(answer))
        assert decoded == answer
        assert type(decoded) is type(answer)


def test_the_age_of_a_deletion_goes_along() -> None:
    told = decode_answer(encode_answer(Deleted(present(b"x").clock, 86_400)))
    assert isinstance(told, Deleted)
    assert told.age_s == 86_400


def test_what_is_no_digest_aside_is_no_answer() -> None:
    raw = msgspec.msgpack.encode((1, None, encode_clock(EMPTY_CLOCK), [b"short"]))
    with pytest.raises(PeerUnreachable, match="not the peer protocol"):
        decode_answer(raw)
