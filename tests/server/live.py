"""One server of a cluster in memory, answering HTTP on a real socket; and a client that says exactly the bytes a test wants said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvicorn
from uvicorn.server import ServerState

from accord.engine.status import Status
from accord.server.app import make_app
from accord.server.exchange import FileAnswerer
from accord.server.files import FileRoute
from accord.server.metrics import Metrics
from accord.server.protocol import AccordProtocol, Handlers
from accord.server.services import Services
from accord.server.upload_files import UploadFiles
from accord.server.writing import WriteRoute
from tests.engine.desks import Desk, desks
from tests.engine.servers import Node, Servers, servers


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict:  # type: ignore[type-arg]
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, raw: bytes) -> None:
        self.writer.write(raw)

    def head(self, method: str, target: str, **headers: str) -> None:
        """Names have underscores for hyphens."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.say("\r\n".join([*lines, "", ""]).encode())

    async def answer(self, *, has_body: bool = True) -> Answer:
        async with asyncio.timeout(10):
            status = int((await self.reader.readline()).split()[1])
            headers: dict[str, str] = {}
            while (line := (await self.reader.readline()).strip()) != b"":
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            length = int(headers.get("content-length", "0")) if has_body and status >= 200 else 0
            return Answer(status, headers, await self.reader.readexactly(length))

    async def put(self, target: str, content: bytes = b"", **headers: str) -> Answer:
        self.head("PUT", target, Content_Length=str(len(content)), **headers)
        self.say(content)
        return await self.answer()

    async def ask(self, method: str, target: str, content: bytes | None = None, **headers: str) -> Answer:
        length = {} if content is None else {"Content_Length": str(len(content))}
        self.head(method, target, **length, **headers)
        self.say(content or b"")
        return await self.answer(has_body=method != "HEAD")

    async def is_over(self) -> bool:
        """The server has closed the connection, and said nothing more."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionResetError, BrokenPipeError):
            pass


@dataclass
class Live:
    """`services` are those of the first of `cluster`."""

    services: Services
    cluster: Servers
    port: int
    uploads: UploadFiles
    state: ServerState = field(default_factory=ServerState)
    desks: list[Desk] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return self.cluster[0]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield client
        finally:
            await client.close()


def services_of(node: Node, uploads: UploadFiles | None = None, status: Status | None = None) -> Services:
    return Services(
        name=node.name,
        cluster="home",
        reader=node.reader,
        writer=node.writer,
        copier=node.copier,
        historian=node.historian,
        store=node.store,
        peers=node.peers,
        metrics=Metrics(node.peers.statuses, node.store.debts),
        status=status or Desk(node).status,
        uploads=uploads,
    )


@asynccontextmanager
async def listening(
    services: Services, *, writes: FileAnswerer | None = None
) -> AsyncIterator[tuple[int, ServerState]]:
    """The HTTP server alone; `writes` answers in place of the route."""
    handlers = Handlers(FileRoute(services), asyncio.Protocol, writes or WriteRoute(services))
    config = uvicorn.Config(make_app(services), lifespan="off", ws="none", log_config=None, server_header=False)
    config.load()
    state = ServerState()
    listener = await asyncio.get_running_loop().create_server(
        partial(AccordProtocol, handlers, config, state, {}), "127.0.0.1", 0
    )
    try:
        yield listener.sockets[0].getsockname()[1], state
    finally:
        listener.close()
        for connection in list(state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=10)
        await listener.wait_closed()


@asynccontextmanager
async def live(folder: Path, count: int = 2, *, min_copies: int = 1) -> AsyncIterator[Live]:
    """The first of `count` servers in memory. Uploads are kept in `folder`."""
    async with servers(count, min_copies=min_copies) as cluster:
        uploads = UploadFiles(folder / "uploads", patience_s=0.2)
        answering = desks(cluster)
        services = services_of(cluster[0], uploads, answering[0].status)
        async with listening(services) as (port, state):
            yield Live(services, cluster, port, uploads, state, answering)
