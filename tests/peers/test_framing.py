"""Cutting a stream into frames: however it arrives, whatever it is."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import PeerUnreachable
from accord.model.names import Digest
from accord.model.verdict import Absent, Answer, Checking, Damaged, Deleted, Present, Unreachable
from accord.model.versions import Version, found
from accord.peers.answers import MAX_REASON_CHARS, decode_answer, encode_answer
from accord.peers.framing import MAX_FRAME_BYTES, Deframer, data_header, framed
from accord.peers.wire import Check, Ping, decode, encode, greetings, replies, requests

Frame = tuple[bool, bytes]

frames = st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=12)
digests = st.binary(min_size=32, max_size=32).map(Digest)
sizes = st.integers(0, 2**63 - 1)
clocks = st.builds(lambda digest, size: found(Version(digest, size, 5, "server1")), digests, sizes)
answers: st.SearchStrategy[Answer] = st.one_of(
    st.builds(Present, digests, sizes, st.integers(-(2**63), 2**63 - 1), clocks, st.booleans()),
    st.builds(Absent, st.none() | st.text(max_size=50)),
    st.builds(Deleted, clocks),
    st.builds(Damaged, st.text(max_size=50), st.none() | digests, clocks),
    st.builds(Checking, sizes, sizes),
    st.builds(Unreachable, st.text(max_size=50)),
)


def on_the_wire(frame: Frame) -> bytes:
    is_data, payload = frame
    return data_header(len(payload)) + payload if is_data else len(payload).to_bytes(4, "big") + b"\x00" + payload


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(raw)) for cut in cuts} | {len(raw)})
    return [raw[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def together(parts: list[Frame]) -> list[Frame]:
    """Neighbouring pieces of data as one: their borders mean nothing."""
    joined: list[Frame] = []
    for is_data, payload in parts:
        if is_data and joined and joined[-1][0]:
            joined[-1] = (True, joined[-1][1] + payload)
        elif payload or not is_data:
            joined.append((is_data, payload))
    return joined


@given(frames, st.lists(st.integers(0, 700), max_size=30))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    deframer = Deframer(MAX_FRAME_BYTES)
    received = [frame for part in pieces(b"".join(map(on_the_wire, sent)), cuts) for frame in deframer.feed(part)]
    assert together(received) == together(sent)


@given(frames)
def test_frames_come_out_of_a_drip(sent: list[Frame]) -> None:
    deframer = Deframer(MAX_FRAME_BYTES)
    raw = b"".join(map(on_the_wire, sent))
    received = [frame for at in range(len(raw)) for frame in deframer.feed(raw[at : at + 1])]
    assert together(received) == together(sent)


@given(frames, st.lists(st.integers(1, 20), min_size=1, max_size=20), st.integers(0, 60))
def test_what_is_expected_is_read_to_its_end_and_no_further(sent: list[Frame], reads: list[int], fed: int) -> None:
    """However much of it was fed as it came."""
    deframer, raw = Deframer(MAX_FRAME_BYTES), b"".join(map(on_the_wire, sent))
    received, at = list(deframer.feed(raw[:fed])), min(fed, len(raw))
    for most in itertools.cycle(reads):
        is_content, count = deframer.expected()
        part = raw[at : at + min(count, most)]
        if not part:
            break
        at += len(part)
        if is_content:
            received.append((True, part))
            deframer.passed(len(part))
        else:
            come = list(deframer.feed(part))
            assert not any(was_content for was_content, _ in come)
            received += come
    assert together(received) == together(sent)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_garbage_is_frames_or_one_error(parts: list[bytes]) -> None:
    deframer = Deframer(64)
    with contextlib.suppress(PeerUnreachable):
        for part in parts:
            for is_data, payload in deframer.feed(part):
                assert len(payload) <= 64
                for decoder in (greetings, requests, replies) if not is_data else ():
                    decode(decoder, payload)


@pytest.mark.parametrize("header", [b"\x00\x00\x00\x41\x00", b"\x00\x00\x00\x41\x01", b"\xff\xff\xff\xff\x00"])
def test_an_oversized_frame_is_refused_at_its_header(header: bytes) -> None:
    with pytest.raises(PeerUnreachable, match="at most 64 are allowed"):
        list(Deframer(64).feed(header))


def test_no_such_kind_of_frame() -> None:
    with pytest.raises(PeerUnreachable, match="no such kind"):
        list(Deframer(64).feed(b"\x00\x00\x00\x01\x02"))


@given(answers)
def test_an_answer_survives_the_wire(answer: Answer) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@given(st.binary(max_size=80))
def test_an_answer_that_is_none_is_one_error(raw: bytes) -> None:
    with contextlib.suppress(PeerUnreachable):
        decode_answer(raw)


@given(answers, st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_answer_is_an_answer_or_one_error(answer: Answer, at: int, byte: int) -> None:
    raw = bytearray(encode_answer(answer))
    raw[at % len(raw)] = byte
    with contextlib.suppress(PeerUnreachable):
        decode_answer(bytes(raw))


def test_a_long_reason_is_cut() -> None:
    decoded = decode_answer(encode_answer(Unreachable("x" * 5000)))
    assert decoded == Unreachable("x" * MAX_REASON_CHARS)


def test_what_a_later_release_appends_is_passed_over() -> None:
    message = encode(Ping(7))
    assert decode(requests, bytes([message[0] + 1]) + message[1:] + b"\x01") == Ping(7)


def test_a_message_is_only_read_where_it_belongs() -> None:
    with pytest.raises(PeerUnreachable):
        decode(greetings, encode(Check(1, ["a"], 0, False)))


def test_too_many_paths_are_refused() -> None:
    with pytest.raises(PeerUnreachable):
        decode(requests, framed(Check(1, ["a"] * 1025, 0, False))[5:])
