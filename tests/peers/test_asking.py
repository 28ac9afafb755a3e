"""Asking peers over real sockets: what comes back, what it costs when they fail, and that they come back."""

from __future__ import annotations

import asyncio
import time

import pytest

from accord.model.names import FilePath
from accord.model.verdict import Absent, Checking, Damaged, Deleted, Present, Unreachable
from accord.model.versions import EMPTY_CLOCK
from accord.peers.cluster import PeerLinks
from accord.peers.port import PeerState
from accord.peers.wire import Check, decode, requests
from accord.server.peer_endpoint import PeerEndpoint
from tests.peers.loopback import (
    KEY,
    ME,
    OTHER,
    THIRD,
    SmallStore,
    behaving,
    linked,
    listening,
    present,
    service,
    settled,
    until,
)

HELLO = FilePath("hello.txt")


async def test_every_kind_of_answer_arrives_as_it_was_given() -> None:
    store = SmallStore({"hello.txt": b"This is a test"})
    given = {
        FilePath("a"): Absent("there is a folder"),
        FilePath("d"): Deleted(present(b"x").clock),
        FilePath("r"): Damaged("rot", present(b"y").digest, EMPTY_CLOCK),
        FilePath("c"): Checking(3, 9),
        FilePath("u"): Unreachable("it may not be read"),
    }
    store.answers |= given
    async with listening(service(store)) as port, linked(port) as peers:
        answers = [(await peers.ask(path))[OTHER] for path in [HELLO, FilePath("none"), *given]]
    assert answers == [present(b"This is a test"), Absent(), *given.values()]


async def test_no_peers_need_no_waiting() -> None:
    peers = PeerLinks(ME, "home", KEY, {}, peer_timeout_s=1)
    await peers.start()
    asked = peers.ask(HELLO)
    assert asked.done()
    assert asked.result() == {}
    await peers.close()


async def test_questions_of_one_turn_travel_in_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SmallStore({f"file{number}": b"%d" % number for number in range(3000)})
    sizes: list[int] = []
    answer = PeerEndpoint._answer

    def counted(self: PeerEndpoint, payload: bytes) -> None:
        request = decode(requests, payload)
        if isinstance(request, Check):
            sizes.append(len(request.paths))
        answer(self, payload)

    monkeypatch.setattr(PeerEndpoint, "_answer", counted)
    async with listening(service(store)) as port, linked(port) as peers:
        asked = [peers.ask(path) for path in store.files]
        answers = [(await one)[OTHER] for one in asked]
    assert answers == list(store.answers.values())
    assert sizes == [1024, 1024, 952]


async def test_two_peers_are_asked_at_once() -> None:
    here, there = SmallStore({"hello.txt": b"here"}), SmallStore({"hello.txt": b"there"})
    async with (
        listening(service(here)) as port,
        listening(service(there, me=THIRD, known=[ME, OTHER])) as other_port,
        linked({OTHER: port, THIRD: other_port}) as peers,
    ):
        answers = await peers.ask(HELLO)
    assert answers == {OTHER: present(b"here"), THIRD: present(b"there")}


async def test_a_slow_file_does_not_hold_up_quick_ones() -> None:
    store = SmallStore({"hello.txt": b"quick", "slow": b"slow"})
    store.slow[FilePath("slow")] = asyncio.Event()
    async with listening(service(store)) as port, linked(port, peer_timeout_s=20) as peers:
        slow, quick = peers.ask(FilePath("slow")), peers.ask(HELLO)
        assert await quick == {OTHER: present(b"quick")}
        assert not slow.done()
        store.slow[FilePath("slow")].set()
        assert await slow == {OTHER: present(b"slow")}


async def test_a_slow_file_does_not_hold_up_other_slow_ones() -> None:
    store = SmallStore({"slow": b"slow", "slower": b"slower"})
    store.slow = {FilePath("slow"): asyncio.Event(), FilePath("slower"): asyncio.Event()}
    async with listening(service(store)) as port, linked(port, peer_timeout_s=20) as peers:
        slower, slow = peers.ask(FilePath("slower")), peers.ask(FilePath("slow"))
        store.slow[FilePath("slow")].set()
        assert await slow == {OTHER: present(b"slow")}
        assert not slower.done()


async def test_a_file_that_is_hashed_for_long_is_checking_in_time() -> None:
    store = SmallStore({"slow": b"slow"})
    store.slow[FilePath("slow")] = asyncio.Event()
    async with listening(service(store)) as port, linked(port, peer_timeout_s=0.4) as peers:
        assert await peers.ask(FilePath("slow")) == {OTHER: Checking(1, 2)}
        assert (await settled(peers, PeerState.UP)).reason is None


async def test_reread_and_a_longer_wait_reach_the_store() -> None:
    store = SmallStore({"hello.txt": b"x", "slow": b"slow"})
    store.slow[FilePath("slow")] = asyncio.Event()
    async with listening(service(store)) as port, linked(port, peer_timeout_s=0.3) as peers:
        assert await peers.ask(HELLO, reread=True) == {OTHER: present(b"x")}
        patient = peers.ask(FilePath("slow"), wait_s=20)
        asyncio.get_running_loop().call_later(0.6, store.slow[FilePath("slow")].set)
        assert await patient == {OTHER: present(b"slow")}
    assert store.rereads == [HELLO]


async def test_a_cancelled_question_harms_nobody() -> None:
    store = SmallStore({"hello.txt": b"x"})
    async with listening(service(store)) as port, linked(port) as peers:
        given_up, other = peers.ask(HELLO), peers.ask(HELLO)
        given_up.cancel()
        assert await other == {OTHER: present(b"x")}


async def test_a_stalled_peer_costs_one_time_limit_once_and_comes_back() -> None:
    """What a stopped process looks like: the connection stays, and nothing is answered any more."""
    store = SmallStore({"hello.txt": b"x"})
    answering = service(store)
    async with listening(answering) as port, linked(port, peer_timeout_s=0.3) as peers:
        assert (await peers.ask(HELLO))[OTHER] == present(b"x")
        (endpoint,) = answering.proven
        endpoint._transport.pause_reading()
        begun = time.monotonic()
        first, second = peers.ask(HELLO), peers.ask(HELLO)
        assert isinstance((await first)[OTHER], Unreachable)
        assert 0.25 < time.monotonic() - begun < 2
        assert isinstance((await second)[OTHER], Unreachable)
        begun = time.monotonic()
        for _ in range(100):
            assert isinstance((await peers.ask(HELLO))[OTHER], Unreachable)
        assert time.monotonic() - begun < 0.2
        assert (await settled(peers, PeerState.DOWN)).reason == "did not answer within 0.3 s"
        endpoint._transport.resume_reading()
        await settled(peers, PeerState.UP)
        assert (await peers.ask(HELLO))[OTHER] == present(b"x")
        assert answering.proven == {endpoint}


async def test_an_idle_connection_that_died_is_noticed_without_a_question() -> None:
    answering = service(SmallStore())
    async with listening(answering) as port, linked(port, peer_timeout_s=0.2, ping_every_s=0.05) as peers:
        await settled(peers, PeerState.UP)
        (endpoint,) = answering.proven
        endpoint._transport.pause_reading()
        await settled(peers, PeerState.DOWN)


async def test_a_silent_connection_is_replaced_after_a_while() -> None:
    store = SmallStore({"hello.txt": b"x"})
    answering = service(store)
    async with (
        listening(answering) as port,
        linked(port, peer_timeout_s=0.1, ping_every_s=0.05, silent_limit_s=0.4) as peers,
    ):
        await settled(peers, PeerState.UP)
        (endpoint,) = answering.proven
        endpoint._transport.pause_reading()
        await until(lambda: any(one is not endpoint for one in answering.proven))
        await settled(peers, PeerState.UP)
        assert (await peers.ask(HELLO))[OTHER] == present(b"x")


async def test_a_lost_connection_fails_its_questions_at_once() -> None:
    store = SmallStore({"slow": b"slow"})
    store.slow[FilePath("slow")] = asyncio.Event()
    answering = service(store)
    async with listening(answering) as port, linked(port, peer_timeout_s=60) as peers:
        await settled(peers, PeerState.UP)
        asked = peers.ask(FilePath("slow"))
        await until(lambda: any(endpoint._tasks for endpoint in answering.proven))
        begun = time.monotonic()
        await answering.close()
        assert await asked == {OTHER: Unreachable("connection lost")}
        assert time.monotonic() - begun < 5


async def test_a_peer_that_was_restarted_is_found_again() -> None:
    store = SmallStore({"hello.txt": b"x"})
    async with listening(service(store)) as port:
        peers_context = linked(port)
        peers = await peers_context.__aenter__()
        assert (await peers.ask(HELLO))[OTHER] == present(b"x")
    down = await settled(peers, PeerState.DOWN)
    assert down.reason
    assert isinstance((await peers.ask(HELLO))[OTHER], Unreachable)
    async with listening(service(store), port):
        await settled(peers, PeerState.UP)
        assert (await peers.ask(HELLO))[OTHER] == present(b"x")
        await peers_context.__aexit__(None, None, None)


async def test_the_first_questions_wait_for_the_connection() -> None:
    store = SmallStore({"hello.txt": b"x"})
    async with listening(service(store)) as port, linked(port) as peers:
        assert peers.statuses()[0].state is PeerState.CONNECTING
        assert await peers.ask(HELLO) == {OTHER: present(b"x")}


async def test_the_first_questions_wait_no_longer_than_the_time_limit() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with behaving(silent) as port, linked(port, peer_timeout_s=0.2) as peers:
        begun = time.monotonic()
        assert isinstance((await peers.ask(HELLO))[OTHER], Unreachable)
        assert time.monotonic() - begun < 2


async def test_nobody_listening_is_said_at_once() -> None:
    async with behaving(None) as port:  # type: ignore[arg-type]
        pass
    async with linked(port) as peers:
        (answer,) = (await peers.ask(HELLO)).values()
    assert answer == Unreachable("refused the connection")


async def test_an_answer_that_is_none_spoils_only_its_own_question(monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.server import peer_checks

    store = SmallStore({"hello.txt": b"x", "bad": b"bad"})
    bad, encode = store.answers[FilePath("bad")], peer_checks.encode_answer
    monkeypatch.setattr(peer_checks, "encode_answer", lambda one: b"\xc1" if one == bad else encode(one))
    async with listening(service(store)) as port, linked(port) as peers:
        spoilt, right = peers.ask(FilePath("bad")), peers.ask(HELLO)
        assert isinstance((await right)[OTHER], Present)
        assert isinstance((await spoilt)[OTHER], Unreachable)
        assert (await settled(peers, PeerState.UP)).reason is None


async def test_many_slow_files_are_all_answered_in_time() -> None:
    store = SmallStore({f"slow{number}": b"x" for number in range(500)})
    never = asyncio.Event()
    store.slow = dict.fromkeys(store.files, never)
    async with listening(service(store)) as port, linked(port, peer_timeout_s=1) as peers:
        asked = [peers.ask(path) for path in store.files]
        answers = {(await one)[OTHER] for one in asked}
    assert answers == {Checking(1, 2)}
