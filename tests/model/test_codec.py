"""What is written down reads back the same, and what Accord did not write is refused."""

from __future__ import annotations

import base64
import binascii
import zlib

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from accord import codec
from accord.errors import IntegrityError, InvalidQuery
from accord.model.history import Deed, Event
from accord.model.names import Digest
from accord.model.versions import EMPTY_CLOCK, Actor, Clock, Dot, Entry, Version, found, found_actor, merge, write

digests = st.binary(min_size=32, max_size=32).map(Digest)
versions = st.builds(
    Version,
    st.one_of(st.none(), digests),
    st.integers(0, 2**62),
    st.integers(-(2**62), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.booleans(),
)


@st.composite
def clocks(draw: st.DrawFn) -> Clock:
    clock = EMPTY_CLOCK
    for actor, version, sees in draw(st.lists(st.tuples(st.sampled_from("abc"), versions, st.booleans()), max_size=5)):
        clock = write(clock, clock.context() if sees else {}, Actor(actor), version)
    return clock


@given(clocks())
def test_a_clock_reads_back_as_it_was(clock: Clock) -> None:
    raw = codec.encode_clock(clock)
    back = codec.decode_clock(raw)
    assert back == clock
    assert codec.encode_clock(back) == raw
    assert all(version.digest is None or type(version.digest) is Digest for _, version in back.current())


@given(clocks(), st.data())
def test_half_a_clock_is_refused(clock: Clock, data: st.DataObject) -> None:
    raw = codec.encode_clock(clock)
    with pytest.raises(IntegrityError, match="clock"):
        codec.decode_clock(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.binary(max_size=60))
def test_garbage_is_a_clock_or_an_integrity_error(raw: bytes) -> None:
    try:
        codec.decode_clock(raw)
    except IntegrityError:
        pass


@pytest.mark.parametrize(
    "written",
    [
        (2, []),
        (1, [("a", 1, [(b"short", 0, 0, "", False)])]),
        (1, [("a", 0, [])]),
        (1, [("a", -1, [])]),
        (1, [("a", 1, [(None, 0, 0, "", False), (None, 0, 0, "", False)])]),
        (1, [("b", 1, []), ("a", 1, [])]),
        (1, [("a", 1, []), ("a", 1, [])]),
    ],
    ids=["other format", "short digest", "no event", "negative", "more versions than events", "unsorted", "twice"],
)
def test_a_clock_that_breaks_its_own_rules_is_refused(written: object) -> None:
    with pytest.raises(IntegrityError):
        codec.decode_clock(msgspec.msgpack.encode(written))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
dots = st.builds(Dot, st.text("abc/=", min_size=1).map(Actor), st.integers(1, codec.MAX_COUNTER))
events = st.builds(
    Event,
    dots,
    versions,
    st.integers(-(2**62), 2**62),
    st.sampled_from(Deed),
    st.lists(dots, max_size=3).map(tuple),
    texts,
    texts,
)


@given(st.lists(events, max_size=4))
def test_events_read_back_as_they_were(told: list[Event]) -> None:
    raw = codec.encode_events(told)
    back = codec.decode_events(raw)
    assert back == told
    assert codec.encode_events(back) == raw
    for one in back:
        assert type(one) is Event
        assert type(one.version) is Version
        assert one.version.digest is None or type(one.version.digest) is Digest
        assert all(type(dot) is Dot for dot in (one.dot, *one.supersedes))


@given(st.lists(events, max_size=3), st.data())
def test_half_of_the_events_are_refused(told: list[Event], data: st.DataObject) -> None:
    raw = codec.encode_events(told)
    with pytest.raises(IntegrityError):
        codec.decode_events(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.binary(max_size=80))
def test_garbage_is_events_or_an_integrity_error(raw: bytes) -> None:
    try:
        codec.decode_events(raw)
    except IntegrityError:
        pass


_FINE = ("a", 1, (b"d" * 32, 1, 1, "anna", False), 5, "put", [("b", 2)], "", "")


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (1, 0),
        (1, -1),
        (1, codec.MAX_COUNTER + 1),
        (2, (b"short", 1, 1, "", False)),
        (2, (None, 2**63, 1, "", False)),
        (2, (None, 1, 2**63, "", False)),
        (2, None),
        (3, 2**63),
        (4, "no such deed"),
        (4, None),
        (5, [("b", 0)]),
        (5, [("b", -2)]),
        (5, [("b", codec.MAX_COUNTER + 1)]),
        (5, None),
        (6, None),
        (7, 1),
    ],
)
def test_an_event_that_breaks_the_rules_is_refused(place: int, wrong: object) -> None:
    codec.decode_events(msgspec.msgpack.encode((1, [_FINE])))
    told = [wrong if number == place else part for number, part in enumerate(_FINE)]
    with pytest.raises(IntegrityError):
        codec.decode_events(msgspec.msgpack.encode((1, [told])))


def test_events_of_another_format_are_refused() -> None:
    with pytest.raises(IntegrityError, match="format 2"):
        codec.decode_events(msgspec.msgpack.encode((2, [_FINE])))


@given(st.lists(clocks(), max_size=3))
def test_a_token_reads_back_as_what_was_seen(seen: list[Clock]) -> None:
    total = EMPTY_CLOCK
    for clock in seen:
        total = merge(total, clock)
    token = codec.context_token(tuple(seen), "f")
    assert codec.read_context_token(token, "f") == total.context()
    assert token.isascii()
    assert not set(token) & set(' ",;=+/')


def actors(count: int, stem: str | None = None) -> Clock:
    """`count` rivals: of files that were found, or of one that was edited behind Accord's back again and again."""
    version = Version(None, 0, 1, "")
    names = [f"{stem}{n}" if stem else str(found_actor(blake3(b"%d" % n).digest())) for n in range(1, count + 1)]
    return Clock(tuple(Entry(Actor(name), 1, (version,)) for name in sorted(names)))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3000), st.sampled_from([None, "server1/8c1f0e5a77d24b06/outside/"]), st.booleans())
def test_whatever_token_is_made_is_read_and_tells_of_nothing_unseen(count: int, stem: str | None, whole: bool) -> None:
    clock = actors(count, stem)
    token = codec.new_context_token((clock,), "f") if whole else codec.seen_token(clock.context(), "f", (clock,))
    assert len(token) <= codec.MAX_CONTEXT_TOKEN_CHARS
    assert codec.read_context_token(token, "f").items() <= clock.context().items()


@pytest.mark.parametrize(("count", "stem"), [(600, None), (2000, "server1/8c1f0e5a77d24b06/outside/")])
def test_a_path_of_hundreds_of_rivals_can_be_resolved_at_once(count: int, stem: str | None) -> None:
    clock = actors(count, stem)
    assert codec.read_context_token(codec.context_token((clock,), "f"), "f") == clock.context()


def test_a_token_that_cannot_tell_all_tells_of_what_is_current_first() -> None:
    past = Clock(tuple(one._replace(versions=()) for one in actors(3000).entries))
    current = write(EMPTY_CLOCK, {}, Actor("server1/z"), Version(None, 0, 1, ""))
    told = codec.read_context_token(codec.context_token((past, current), "f"), "f")
    assert told.items() < merge(past, current).context().items()
    assert told[Actor("server1/z")] == 1


A_TOKEN = codec.context_token((found(Version(Digest(b"x" * 32), 1, 1, "")),), "f")


@given(st.integers(0, len(A_TOKEN) - 1), st.sampled_from("ABCxyz019-_"))
def test_a_token_with_a_letter_changed_is_refused(at: int, letter: str) -> None:
    changed = A_TOKEN[:at] + letter + A_TOKEN[at + 1 :]
    padded = [base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)) for token in (changed, A_TOKEN)]
    if padded[0] == padded[1]:
        return
    with pytest.raises(InvalidQuery):
        codec.read_context_token(changed, "f")


@pytest.mark.parametrize("token", [A_TOKEN[:-1], A_TOKEN[:8], A_TOKEN[:3], "", "x", "é", "a b", "\x00", "A" * 20_000])
def test_a_token_cut_short_or_made_up_is_refused(token: str) -> None:
    with pytest.raises(InvalidQuery):
        codec.read_context_token(token, "f")


def packed(content: object) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(content))


PACKED = packed({"a": 1})


def forged(content: object) -> str:
    body = msgspec.msgpack.encode(content)
    return (
        base64.urlsafe_b64encode(binascii.crc32(body, binascii.crc32(b"f")).to_bytes(4, "big") + body)
        .rstrip(b"=")
        .decode()
    )


@pytest.mark.parametrize(
    "content",
    [
        *[(3, {}), (1, []), (1, {"a": "b"}), (1, {"a": 0}), (1, {"a": -1}), (1, {"a": 2**63}), 7],
        *[
            (1, PACKED),
            (2, {"a": 1}),
            (2, b""),
            (2, PACKED[:-1]),
            (2, b"x" + PACKED),
            (2, packed({"a": 0})),
            (2, packed([])),
        ],
        (2, zlib.compress(bytes(2 * 1024 * 1024))),
    ],
)
def test_a_token_with_the_right_checksum_and_wrong_content_is_refused(content: object) -> None:
    with pytest.raises(InvalidQuery):
        codec.read_context_token(forged(content), "f")
