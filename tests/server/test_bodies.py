"""The bodies of requests on one connection: flow control, refusals before the body, what comes behind a body that nobody reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from blake3 import blake3

from accord.errors import PreconditionFailed
from accord.server import body
from accord.server.exchange import Exchange
from accord.server.protocol import LINGER_S, AccordProtocol
from accord.store.port import BLOCK_BYTES
from tests.server.fakes import services
from tests.server.live import Client, listening
from tests.server.watched_blocks import kept, watched_blocks

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class Route:
    """Reads bodies and answers with their lengths; what it is told to, it refuses."""

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.digest = b""
        """Of the last content that came whole."""
        self.failures: list[Exception] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.takes = asyncio.Event()
        self.takes.set()
        self.refuses_after_bytes: int | None = None
        self.bodies: list[body.RequestBody] = []

    def __call__(self, exchange: Exchange) -> None:
        exchange.spawn(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        assert exchange.body is not None
        self.bodies.append(exchange.body)
        await self.go_on.wait()
        if b"refuse" in exchange.target:
            raise PreconditionFailed("No.")
        total, digest = 0, blake3()
        try:
            while block := await exchange.body.read():
                self.blocks.append(len(block))
                total += len(block)
                digest.update(block)
                await self.takes.wait()
                if self.refuses_after_bytes is not None and total >= self.refuses_after_bytes:
                    raise PreconditionFailed("No.")
            self.digest = digest.digest()
        except Exception as error:
            self.failures.append(error)
            raise
        exchange.respond(*_parts(b"%b %d" % (exchange.method, total)))


def _parts(told: bytes) -> tuple[bytes, bytes]:
    head, _, rest = (OK % (len(told), told)).partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


@asynccontextmanager
async def _served() -> AsyncIterator[tuple[Route, Callable[[], object]]]:
    route = Route()
    async with listening(services({}, {}), writes=route) as (port, _):
        clients: list[Client] = []

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
            return clients[-1]

        yield route, connect
        for client in clients:
            await client.close()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Route, Callable[[], object]]]:
    async with _served() as both:
        yield both


@pytest.fixture
def route(served: tuple[Route, object]) -> Route:
    return served[0]


@pytest.fixture
async def client(served) -> Client:  # type: ignore[no-untyped-def]
    return await served[1]()


async def test_a_small_body_is_one_block(route: Route, client: Client) -> None:
    assert (await client.put("/files/a", bytes(10_000))).body == b"PUT 10000"
    assert route.blocks == [10_000]


async def test_a_large_body_comes_in_large_blocks_and_waits_for_its_reader(route: Route, client: Client) -> None:
    route.go_on.clear()
    size = 40_000_000
    client.head("PUT", "/files/a", Content_Length=str(size))
    client.say(bytes(size))
    async with asyncio.timeout(10):
        while client.writer.transport.get_write_buffer_size() == size:  # noqa: ASYNC110
            await asyncio.sleep(0)
    for _ in range(200):
        await asyncio.sleep(0)
    assert client.writer.transport.get_write_buffer_size() > size // 3, "the rest waits at the client"
    route.go_on.set()
    assert (await client.answer()).body == b"PUT %d" % size
    assert max(route.blocks) <= body.BUFFER_BYTES + BLOCK_BYTES
    assert min(route.blocks[:-1]) >= BLOCK_BYTES


@pytest.mark.parametrize("size", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 9 * BLOCK_BYTES, 9 * BLOCK_BYTES + 7])
@pytest.mark.parametrize("early_bytes", [0, 1, 300_000, 4 * BLOCK_BYTES, 7 * BLOCK_BYTES])
async def test_a_body_of_any_length_is_whole_however_much_came_before_it_was_wanted(
    route: Route, client: Client, size: int, early_bytes: int
) -> None:
    content = random.Random(size).randbytes(size)
    for _ in range(2):
        route.go_on.clear()
        client.head("PUT", "/files/a", Content_Length=str(size))
        client.say(content[:early_bytes])
        for _ in range(20):
            await asyncio.sleep(0)
        route.go_on.set()
        client.say(content[early_bytes:])
        client.head("GET", "/health")
        assert (await client.answer()).body == b"PUT %d" % size
        assert route.digest == blake3(content).digest()
        assert (await client.answer()).status == 200


async def test_a_long_body_that_ends_early_is_no_content(route: Route, client: Client) -> None:
    client.head("PUT", "/files/a", Content_Length=str(9 * BLOCK_BYTES))
    client.say(bytes(5 * BLOCK_BYTES))
    client.writer.write_eof()
    assert await client.is_over()
    assert [type(one) for one in route.failures] == [ConnectionResetError]


async def test_a_long_body_that_came_whole_is_whole_though_its_client_has_gone(route: Route, client: Client) -> None:
    """Whoever sends all and does not wait for the answer has sent all."""
    route.takes.clear()
    content = random.Random(1).randbytes(2 * BLOCK_BYTES + 7)
    client.head("PUT", "/files/a", Content_Length=str(len(content)))
    client.say(content)
    async with asyncio.timeout(10):
        while not route.bodies or not route.bodies[0].is_complete:  # noqa: ASYNC110
            await asyncio.sleep(0)
    client.writer.transport.abort()
    async with asyncio.timeout(10):
        while not route.bodies[0]._is_lost:  # noqa: ASYNC110
            await asyncio.sleep(0)
    route.takes.set()
    async with asyncio.timeout(10):
        while not (route.digest or route.failures):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert (route.failures, route.digest) == ([], blake3(content).digest())


async def test_a_client_that_reads_again_does_not_make_the_server_read_what_there_is_no_room_for(
    route: Route, client: Client
) -> None:
    route.takes.clear()
    content = random.Random(2).randbytes(20 * BLOCK_BYTES)
    client.head("PUT", "/files/a", Content_Length=str(len(content)))
    client.say(content)
    async with asyncio.timeout(10):
        while not route.bodies or not route.bodies[0].is_full:  # noqa: ASYNC110
            await asyncio.sleep(0)
    connection = cast(AccordProtocol, route.bodies[0]._connection)
    connection.pause_writing()
    connection.resume_writing()
    for _ in range(50):
        await asyncio.sleep(0)
    route.takes.set()
    assert (await client.answer()).body == b"PUT %d" % len(content)
    assert route.digest == blake3(content).digest()


async def test_after_a_body_of_which_much_waited_a_client_that_reads_again_is_heard(
    route: Route, client: Client
) -> None:
    """Also one that took its answer late, so that nothing was read when it was complete."""
    route.go_on.clear()
    client.head("PUT", "/files/a", Content_Length=str(9 * BLOCK_BYTES))
    client.say(bytes(9 * BLOCK_BYTES))
    async with asyncio.timeout(10):
        while not route.bodies or not route.bodies[0].is_full:  # noqa: ASYNC110
            await asyncio.sleep(0)
    connection = cast(AccordProtocol, route.bodies[0]._connection)
    route.go_on.set()
    await client.answer()
    connection.pause_writing()
    connection.resume_writing()
    client.head("GET", "/health")
    assert (await client.answer()).status == 200


async def test_a_body_that_was_refused_though_it_came_whole_is_let_go_of(
    route: Route, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    route.takes.clear()
    route.refuses_after_bytes = BLOCK_BYTES
    with watched_blocks(body, monkeypatch) as made:
        client.head("PUT", "/files/a", Content_Length=str(3 * BLOCK_BYTES))
        client.say(bytes(3 * BLOCK_BYTES))
        async with asyncio.timeout(10):
            while not route.bodies or not route.bodies[0].is_complete:  # noqa: ASYNC110
                await asyncio.sleep(0)
        route.takes.set()
        refused = await client.answer()
        assert (refused.status, "connection" in refused.headers) == (412, False)
        assert kept(made) == 0


async def test_a_long_body_that_is_refused_in_the_middle_ends_with_the_answer(route: Route, client: Client) -> None:
    """What still comes is thrown away, so that a client that sends all before it reads gets to the answer."""
    route.refuses_after_bytes = 3 * BLOCK_BYTES
    client.head("PUT", "/files/a", Content_Length=str(60 * BLOCK_BYTES))
    client.say(bytes(20 * BLOCK_BYTES))
    refused = await client.answer()
    assert (refused.status, refused.headers["connection"]) == (412, "close")
    await client.writer.drain()
    unsent = client.writer.transport.get_write_buffer_size
    async with asyncio.timeout(LINGER_S / 2):
        while unsent():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await client.is_over()


async def test_a_long_body_that_nobody_takes_waits_at_the_client(route: Route, client: Client) -> None:
    route.takes.clear()
    size = 60 * BLOCK_BYTES
    client.head("PUT", "/files/a", Content_Length=str(size))
    client.say(bytes(size))
    unsent = client.writer.transport.get_write_buffer_size
    held = -1
    async with asyncio.timeout(10):
        while held != unsent():
            held = unsent()
            await asyncio.sleep(0.1)
    assert held > size // 2
    route.takes.set()
    assert (await client.answer()).body == b"PUT %d" % size


async def test_a_connection_that_rests_holds_no_blocks(
    route: Route, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched_blocks(body, monkeypatch) as made:
        await client.put("/files/a", bytes(6 * BLOCK_BYTES))
        assert (len(made), kept(made)) == (1, 0)
        client.head("PUT", "/files/a", Content_Length=str(9 * BLOCK_BYTES))
        client.say(bytes(5 * BLOCK_BYTES))
        client.writer.write_eof()
        assert await client.is_over()
        assert (len(made), kept(made)) == (2, 0)


async def test_requests_behind_bodies_stay_right(route: Route, client: Client) -> None:
    route.go_on.clear()
    for number in range(5):
        client.head("PUT", "/files/a", Content_Length=str(number * 1000))
        client.say(b"x" * (number * 1000))
        client.head("GET", "/health")
        client.head("DELETE", "/files/a")
        client.head("PUT", "/files/refuse", Content_Length="3")
        client.say(b"abc")
    route.go_on.set()
    for number in range(5):
        assert (await client.answer()).body == b"PUT %d" % (number * 1000)
        assert (await client.answer()).json()["status"] == "ok"
        assert (await client.answer()).body == b"DELETE 0"
        assert (await client.answer()).status == 412


async def test_a_queued_body_waits_too(route: Route, client: Client) -> None:
    route.go_on.clear()
    client.head("DELETE", "/files/a")
    client.head("PUT", "/files/a", Content_Length="5000000")
    client.say(bytes(5_000_000))
    client.head("GET", "/health")
    for _ in range(50):
        await asyncio.sleep(0)
    route.go_on.set()
    assert (await client.answer()).body == b"DELETE 0"
    assert (await client.answer()).body == b"PUT 5000000"
    assert (await client.answer()).status == 200


async def test_the_client_is_told_to_go_on_only_when_its_content_is_wanted(client: Client) -> None:
    client.head("PUT", "/files/a", Content_Length="5", Expect="100-continue")
    assert (await client.answer()).status == 100
    client.say(b"abcde")
    assert (await client.answer()).body == b"PUT 5"
    client.head("PUT", "/files/refuse", Content_Length="5", Expect="100-continue")
    refused = await client.answer()
    assert (refused.status, refused.headers["connection"]) == (412, "close")
    assert await client.is_over(), "whether the body comes is not known, and so not where the next request begins"


async def test_a_client_that_does_not_wait_is_not_told_to_go_on(client: Client) -> None:
    client.head("PUT", "/files/a", Content_Length="5", Expect="100-continue")
    client.say(b"abcde")
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"PUT 5") or answer.status == 100


async def test_after_a_refusal_a_small_body_is_thrown_away(client: Client) -> None:
    client.head("PUT", "/files/refuse", Content_Length="1000")
    refused = await client.answer()
    assert (refused.status, "connection" in refused.headers) == (412, False)
    client.say(b"GET /files/smuggled HTTP/1.1\r\n\r\n".ljust(1000))
    assert (await client.put("/files/a", b"abc")).body == b"PUT 3"


@pytest.mark.parametrize("fields", [{"Content_Length": "20000000"}, {"Transfer_Encoding": "chunked"}])
async def test_after_a_refusal_a_large_body_ends_the_connection(client: Client, fields: dict[str, str]) -> None:
    client.head("PUT", "/files/refuse", **fields)
    if "Transfer_Encoding" in fields:
        client.say(b"989680\r\n")
    refused = await client.answer()
    assert (refused.status, refused.headers["connection"]) == (412, "close")
    client.say(bytes(10_000_000))
    assert await client.is_over()


async def test_content_that_ends_early_is_no_content(route: Route, client: Client) -> None:
    client.head("PUT", "/files/a", Content_Length="1000000")
    client.say(bytes(600_000))
    client.writer.write_eof()
    assert await client.is_over()
    assert [type(one) for one in route.failures] == [ConnectionResetError]


async def test_chunks_that_make_no_sense_are_no_content(route: Route, client: Client) -> None:
    client.head("PUT", "/files/a", Transfer_Encoding="chunked")
    client.say(b"3\r\nabc\r\nnonsense\r\n")
    assert await client.is_over()
    assert [type(one) for one in route.failures] == [ConnectionResetError]


async def test_a_transfer_coding_that_nobody_undoes_is_not_taken_for_content(route: Route, client: Client) -> None:
    client.head("PUT", "/files/a", Transfer_Encoding="gzip, chunked")
    client.say(b"3\r\nabc\r\n0\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert await client.is_over()


@pytest.mark.parametrize(("size", "sent_bytes"), [(1_000_000, 1000), (9_000_000, 1000), (9_000_000, 5_000_000)])
async def test_a_client_that_sends_nothing_is_given_up(
    route: Route, client: Client, monkeypatch: pytest.MonkeyPatch, size: int, sent_bytes: int
) -> None:
    monkeypatch.setattr(body, "BODY_STALL_S", 0.05)
    client.head("PUT", "/files/a", Content_Length=str(size))
    client.say(bytes(sent_bytes))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert await client.is_over()


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "accord-peer"])
async def test_an_upgrade_that_is_not_known_costs_no_content(client: Client, upgrade: str) -> None:
    for _ in range(2):
        client.head("PUT", "/files/a", Connection="Upgrade", Upgrade=upgrade, Content_Length="300000")
        client.say(bytes(300_000))
        client.head("GET", "/health", Connection="Upgrade", Upgrade=upgrade)
        client.head("PUT", "/files/a", Connection="Upgrade", Upgrade=upgrade, Transfer_Encoding="chunked")
        client.say(b"3\r\nabc\r\n0\r\n\r\n")
        assert (await client.answer()).body == b"PUT 300000"
        assert (await client.answer()).status == 200
        assert (await client.answer()).body == b"PUT 3"


async def test_one_byte_at_a_time(client: Client) -> None:
    raw = b"PUT /files/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    for at in range(len(raw)):
        client.say(raw[at : at + 1])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.answer()).body == b"PUT 3"


async def test_http_1_0_closes_after_the_answer(client: Client) -> None:
    client.say(b"PUT /files/a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
    assert (await client.answer()).body == b"PUT 3"
    assert await client.is_over()
