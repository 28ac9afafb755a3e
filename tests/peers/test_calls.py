"""Small requests between servers: to compare ranges, to report, to begin work. They come back whole, in time, or as one error."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.engine.peer_requests import Work
from accord.errors import PeerUnreachable, StoreFailed
from accord.model.fingerprints import (
    MARK_BYTES,
    WHOLE,
    Cut,
    Fingerprint,
    Item,
    Named,
    Reply,
    Same,
    Span,
    Summary,
)
from accord.model.names import FilePath, Prefix
from accord.peers import calls
from accord.peers.call_messages import (
    MAX_RANGES_PER_FRAME,
    AskedRange,
    Compare,
    Compared,
    CutRange,
    Declined,
    NamedRange,
    Order,
    Ordered,
    Report,
    Reported,
    SameRange,
)
from accord.peers.framing import framed
from accord.peers.message import Message
from accord.peers.port import PeerState
from accord.peers.ranges import asked_ranges, compared_range, reply, summaries
from accord.peers.wire import decode, encode, replies, requests
from accord.server.peer_calls import COMPARED_FRAME_BYTES, MAX_AT_ONCE, Calls
from tests.peers.by_hand import Frames, answering, calling
from tests.peers.loopback import (
    ME,
    OTHER,
    SmallRequests,
    SmallStore,
    behaving,
    linked,
    listening,
    service,
    settled,
    until,
)

MARK = b"m" * MARK_BYTES
EVERYTHING = Summary(WHOLE, Fingerprint(1_000_000, 2**128 - 1))
names = st.text("abcé/", min_size=1, max_size=6).filter(lambda text: "//" not in text and text.strip("/") == text)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    after, upto = sorted((draw(st.text("abcé", max_size=4)), draw(st.text("abcé", min_size=1, max_size=4))))
    return Span(after, None) if after == upto else Span(after, draw(st.sampled_from([upto, None])))


fingerprints = st.builds(Fingerprint, st.integers(0, 2**40), st.integers(0, 2**128 - 1), st.just(0))


@st.composite
def compared(draw: st.DrawFn) -> tuple[Span, Reply]:
    """A range, and what a server may say about it."""
    span = draw(spans())
    inside = sorted({text for text in draw(st.lists(names, max_size=8)) if span.covers(text)})
    match draw(st.integers(0, 2)):
        case 0:
            return span, Same()
        case 1:
            return span, Named(
                tuple(Item(FilePath(text), draw(st.binary(min_size=16, max_size=16))) for text in inside)
            )
        case _:
            ends = [span.after, *(text for text in inside if text != span.upto), span.upto]
            borders = list(pairwise(ends))
            return span, Cut(tuple(Summary(Span(a or "", b), draw(fingerprints)) for a, b in borders))


@given(st.lists(st.builds(Summary, spans(), fingerprints), max_size=8))
def test_ranges_survive_the_wire(asked: list[Summary]) -> None:
    assert summaries(asked_ranges(asked)) == asked


@given(compared())
def test_replies_survive_the_wire(told: tuple[Span, Reply]) -> None:
    span, said = told
    (frame,) = decode(replies, encode(Compared(1, [compared_range(said)]))).ranges  # type: ignore[union-attr]
    assert reply(span, frame) == said


@given(compared(), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_reply_is_a_reply_or_one_error(told: tuple[Span, Reply], at: int, byte: int) -> None:
    span, said = told
    raw = bytearray(encode(Compared(1, [compared_range(said)])))
    raw[at % len(raw)] = byte
    with contextlib.suppress(PeerUnreachable):
        heard = decode(replies, bytes(raw))
        if isinstance(heard, Compared) and isinstance(reply(span, heard.ranges[0]), Cut):
            parts = reply(span, heard.ranges[0]).parts  # type: ignore[union-attr]
            assert parts[0].span.after == span.after
            assert parts[-1].span.upto == span.upto
            assert [part.span.upto for part in parts[:-1]] == [part.span.after for part in parts[1:]]


@pytest.mark.parametrize(
    "told",
    [
        NamedRange(["b"], b""),
        NamedRange(["b"], MARK * 2),
        NamedRange(["c", "b"], MARK * 2),
        NamedRange(["b", "b"], MARK * 2),
        NamedRange(["a"], MARK),
        NamedRange(["x"], MARK),
        NamedRange(["b/../c"], MARK),
        NamedRange(["b\n"], MARK),
        CutRange(["c"], [1], MARK),
        CutRange(["c"], [1, 1], MARK),
        CutRange(["d", "c"], [1, 1, 1], MARK * 3),
        CutRange(["a"], [1, 1], MARK * 2),
        CutRange(["m"], [1, 1], MARK * 2),
        CutRange(["z"], [1, 1], MARK * 2),
    ],
)
def test_what_does_not_fit_the_question_is_no_reply(told: NamedRange | CutRange) -> None:
    with pytest.raises(PeerUnreachable):
        reply(Span("a", "m"), told)


def test_comparing_everything_costs_less_than_200_bytes_both_ways() -> None:
    asked = framed(Compare(10_000, asked_ranges([EVERYTHING])))
    assert len(asked) + len(framed(Compared(10_000, [SameRange()]))) < 200


@pytest.mark.parametrize(
    "message",
    [
        Compare(1, []),
        Compare(1, [AskedRange("", None, 1, MARK)] * (MAX_RANGES_PER_FRAME + 1)),
        Compare(1, [AskedRange("", None, 1, MARK[1:])]),
        Compare(1, [AskedRange("", None, -1, MARK)]),
        Compare(-1, [AskedRange("", None, 1, MARK)]),
        Compare(1, [AskedRange("x" * 5000, None, 1, MARK)]),
        Order(1, "scan", "x" * 5000, 0),
        Report(1, b"x" * 1_000_000),
    ],
)
def test_what_is_out_of_bounds_is_no_request(message: Message) -> None:
    with pytest.raises(PeerUnreachable):
        decode(requests, encode(message))


async def test_ranges_are_compared_in_one_round_trip() -> None:
    engine = SmallRequests()
    engine.replies = [Same(), Named((Item(FilePath("b"), MARK),)), Cut((Summary(Span("m", None), Fingerprint(3, 4)),))]
    asked = [Summary(Span(*ends), Fingerprint(2, 5)) for ends in (("", "a"), ("a", "m"), ("m", None))]
    async with listening(service(SmallStore(), requests=engine)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        assert list(await peers.compare(OTHER, asked)) == engine.replies
        assert engine.asked == [(ME, asked)]
        assert await peers.compare(OTHER, []) == []
        with pytest.raises(ValueError):
            await peers.compare(OTHER, [EVERYTHING] * (MAX_RANGES_PER_FRAME + 1))


async def test_a_long_reply_comes_in_several_frames() -> None:
    def path(number: int) -> FilePath:
        return FilePath("/".join(["x" * 250] * 10) + f"/{number:03}")

    engine = SmallRequests()
    engine.replies = [Named(tuple(Item(path(number), MARK) for number in range(32)))] * 8
    assert sum(len(item.path) for item in engine.replies[0].items) * 8 > 2 * COMPARED_FRAME_BYTES  # type: ignore[union-attr]
    async with listening(service(SmallStore(), requests=engine)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        assert list(await peers.compare(OTHER, [EVERYTHING] * 8)) == engine.replies
    async with listening(service(SmallStore(), requests=engine)) as port, calling(port) as frames:
        frames.say(Compare(7, asked_ranges([EVERYTHING] * 8)))
        sizes = []
        while sum(sizes) < 8:
            compared = await frames.reply()
            assert isinstance(compared, Compared)
            sizes.append(len(compared.ranges))
        assert len(sizes) > 1


async def test_reports_and_orders() -> None:
    engine = SmallRequests()
    async with listening(service(SmallStore(), requests=engine)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        assert await peers.report(OTHER) == b"{}"
        assert await peers.report(OTHER, b'"findings"') == b'"findings"'
        assert await peers.order(OTHER, "scan", "", 7) is None
        engine.reason = "is degraded"
        assert await peers.order(OTHER, "scrub", "a/b/", 8) == "is degraded"
        assert await peers.order(OTHER, "sync", "a/b", 2**40) == "is degraded"
        assert await peers.order(OTHER, "dance", "", 9) == "knows no such work"
    assert engine.ordered == [
        (Work.SCAN, Prefix(""), 7),
        (Work.SCRUB, Prefix("a/b"), 8),
        (Work.SYNC, FilePath("a/b"), 2**40),
    ]
    assert [type(scope) for _, scope, _ in engine.ordered] == [Prefix, Prefix, FilePath]


async def test_what_cannot_be_answered_is_said_and_hurts_nobody_else() -> None:
    engine = SmallRequests()
    engine.error = StoreFailed("The index cannot be read.")
    async with listening(service(SmallStore(), requests=engine)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        for call in (peers.compare(OTHER, [EVERYTHING]), peers.report(OTHER), peers.order(OTHER, "scan", "", 1)):
            with pytest.raises(PeerUnreachable, match=r"^The index cannot be read$"):
                await call
        engine.error = None
        engine.report_bytes = b"x" * 2_000_000
        with pytest.raises(PeerUnreachable, match="2000000 bytes long"):
            await peers.report(OTHER)
        assert (await settled(peers, PeerState.UP)).reason is None


async def test_a_request_that_takes_long_holds_up_no_question() -> None:
    engine = SmallRequests()
    engine.gate = asyncio.Event()
    async with (
        listening(service(SmallStore({"a": b"here"}), requests=engine)) as port,
        linked(port, peer_timeout_s=0.3) as peers,
    ):
        await settled(peers, PeerState.UP)
        waiting = asyncio.create_task(peers.report(OTHER))
        assert type((await peers.ask(FilePath("a")))[OTHER]).__name__ == "Present"
        assert not waiting.done()
        engine.gate.set()
        assert await waiting == b"{}"


async def test_who_is_not_there_cannot_be_asked_at_all() -> None:
    async with listening(service(SmallStore())) as port:
        pass
    async with linked(port, peer_timeout_s=0.3) as peers:
        with pytest.raises(PeerUnreachable, match="not connected yet"):
            await peers.report(OTHER)
        await settled(peers, PeerState.DOWN)
        with pytest.raises(PeerUnreachable, match="refused the connection"):
            await peers.compare(OTHER, [EVERYTHING])


async def test_a_peer_that_goes_away_meanwhile_fails_the_request_at_once() -> None:
    async def silent(frames: Frames) -> None:
        while not isinstance(await frames.request(), Report):
            pass
        frames.writer.transport.abort()

    async with behaving(answering(silent)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        with pytest.raises(PeerUnreachable, match="connection lost"):
            await peers.report(OTHER)


async def test_a_connection_that_ends_before_an_answer_was_begun_leaves_nothing_behind() -> None:
    """What was made to be awaited and never is would be a warning, which is an error here."""

    async def drained() -> None: ...

    answers = Calls(SmallRequests(), lambda _: None, drained, lambda work: work.close())
    for call in (Report(1, b""), Compare(2, asked_ranges([])), Order(3, "scan", "", 1)):
        answers.take(call, OTHER)
    gc.collect()


async def test_nobody_waits_for_ever_nor_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CALL_LIMIT_S", 0.1)
    engine = SmallRequests()
    engine.gate = asyncio.Event()
    async with listening(service(SmallStore(), requests=engine)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        asked = [asyncio.create_task(peers.report(OTHER)) for _ in range(calls.MAX_CALLS + 1)]
        said = await asyncio.gather(*asked, return_exceptions=True)
        reasons = [str(error) for error in said]
        assert reasons.count("did not answer within 0.1 s") == calls.MAX_CALLS
        assert reasons.count("too many requests are waiting for it") == 1
        monkeypatch.setattr(calls, "CALL_LIMIT_S", 10.0)
        with pytest.raises(PeerUnreachable, match="too many requests at once"):
            await peers.report(OTHER)
        engine.gate.set()
        await until(lambda: not peers._links[0].calls._pending)
        assert calls.MAX_CALLS == MAX_AT_ONCE


@pytest.mark.parametrize(
    "bad",
    [
        Compare(1, [AskedRange("b", "a", 1, MARK)]),
        Compare(1, [AskedRange("a", "a", 1, MARK)]),
        Order(1, "scan", "../x", 1),
        Order(1, "scan", "../x/", 1),
    ],
)
async def test_a_request_that_makes_no_sense_ends_the_connection(bad: Message) -> None:
    async with listening(service(SmallStore())) as port, calling(port) as frames:
        frames.say(bad)
        assert await frames.reply() is None


def _report(peers: Any) -> Any:
    return peers.report(OTHER)


def _compare(peers: Any) -> Any:
    return peers.compare(OTHER, [EVERYTHING, EVERYTHING])


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (_report, lambda id: Ordered(id, None)),
        (_report, lambda id: Compared(id, [SameRange()])),
        (_compare, lambda id: Reported(id, b"")),
        (_compare, lambda id: Compared(id, [SameRange()] * 3)),
        (_compare, lambda id: Compared(id, [SameRange(), NamedRange(["../x"], MARK)])),
    ],
)
async def test_an_answer_to_something_else_is_unreachable(
    ask: Callable[[Any], Any], said: Callable[[int], Message]
) -> None:
    async def confused(frames: Frames) -> None:
        while not isinstance(request := await frames.request(), Report | Compare):
            pass
        frames.say(Declined(request.id + 5, "nobody asked"), said(request.id))
        await frames.request()

    async with behaving(answering(confused)) as port, linked(port) as peers:
        await settled(peers, PeerState.UP)
        with pytest.raises(PeerUnreachable):
            await ask(peers)
