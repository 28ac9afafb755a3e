"""The composition root: puts one server together from its parts, runs it, and takes it apart in order.

Only here and in `assembly`, which puts the engine together, do the engine and the concrete store, peers and HTTP server meet. What is
served is decided elsewhere; what is told to a server comes from `config`.

    port → store → peers → HTTP           in this order it starts, and in the reverse it ends: no new requests, those under way get
                                          some seconds, then the peers are left, then the store is closed
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from accord.addresses import ServerSpec
from accord.assembly import Engine, engine
from accord.config import Config, Flags, load_config
from accord.errors import CannotStart, ConfigError
from accord.logs import configure_logging
from accord.model.names import ServerName
from accord.peers.cluster import PeerLinks
from accord.peers.port import Peers
from accord.server.app import make_app
from accord.server.files import FileRoute
from accord.server.hosting import (
    STOP_PATIENCE_S,
    HttpServer,
    bound_socket,
    http_server,
    keep_freed_memory,
    until_listening,
    until_stopped,
)
from accord.server.peer_service import PeerService
from accord.server.protocol import Handlers
from accord.server.writing import WriteRoute
from accord.store.directory import open_directory_store
from accord.store.port import Store

MAX_OPEN_FILES = 65_536

_log = structlog.get_logger("accord.serve")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. `port` is the real one, also where port 0 was asked for."""

    name: ServerName
    host: str
    port: int
    root: Path
    peers: Peers
    store: Store
    _http: HttpServer

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def stop(self) -> None:
        """Begin to stop; the context that `start_server` gave ends it."""
        self._http.stop()


@asynccontextmanager
async def start_server(config: Config, name: str) -> AsyncIterator[RunningServer]:
    """The server `name` of the cluster, answering; leaving the context stops it in order.

    Raises `ConfigError`, or `CannotStart`. Everything that was opened is closed again, whatever happens.
    """
    spec = config.server(name)
    root = _existing_root(spec)
    host, port = spec.listen_address
    async with AsyncExitStack() as ending:
        listener = ending.enter_context(bound_socket(host, port))
        store = await open_directory_store(
            root,
            spec.name,
            outside_changes=config.outside_changes,
            keep_versions=config.keep_versions,
            keep_days=config.keep_days,
        )
        ending.push_async_callback(store.close)
        peers = _peer_links(config, spec.name)
        parts = await ending.enter_async_context(engine(config, spec.name, root, store, peers))
        answering = _peer_service(config, spec.name, store, parts)
        handlers = Handlers(FileRoute(parts.services), answering.accept, WriteRoute(parts.services))
        http = http_server(make_app(parts.services), handlers)
        running = asyncio.create_task(http.serve([listener]), name="http")
        ending.push_async_callback(until_stopped, http, answering, running)
        await until_listening(http, running, host, port)
        yield RunningServer(spec.name, host, listener.getsockname()[1], root, peers, store, http)


async def serve(config: Config, name: str) -> None:
    """Run the server `name` until SIGTERM or SIGINT. Raises as `start_server` does."""
    for warning in config.warnings:
        _log.warning(warning)
    _allow_many_files()
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    async with start_server(config, name) as server:

        def stop() -> None:
            if not asked_to_stop.is_set():
                _log.info("stopping", patience_s=STOP_PATIENCE_S)
            asked_to_stop.set()
            server.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        _log.info(
            "ready",
            server=server.name,
            url=server.url,
            root=str(server.root),
            peers=", ".join(f"{peer}={url}" for peer, url in config.peers_of(name).items()) or "none",
        )
        await asked_to_stop.wait()
    _log.info("stopped", server=name)


def serve_blocking(config: Config, name: str) -> None:
    """`serve` in an event loop of its own; the process is this server's."""
    # What a listing makes is freed by counting references; looking for cycles in it would cost as much as the listing itself.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, name))


def run(root: str | os.PathLike[str], *, name: str, listen: str, peers: Mapping[str, str] | None = None) -> None:
    """The smallest server: keep `root` under `name`, listen on `HOST:PORT`, with the URLs of the other servers. Until Ctrl-C."""
    servers = [ServerSpec(ServerName(name), "", Path(root), listen)]
    servers += [ServerSpec(ServerName(peer), url) for peer, url in (peers or {}).items()]
    configure_logging()
    serve_blocking(load_config(None, Flags(servers=tuple(servers)), os.environ), name)


def _peer_links(config: Config, me: ServerName) -> PeerLinks:
    assert config.key is not None, "load_config makes a key where none was given"
    return PeerLinks(me, config.cluster, config.key.secret, config.peers_of(me), peer_timeout_s=config.peer_timeout_s)


def _peer_service(config: Config, me: ServerName, store: Store, engine: Engine) -> PeerService:
    assert config.key is not None, "load_config makes a key where none was given"
    known = config.peers_of(me).keys()
    return PeerService(
        me,
        config.cluster,
        config.key.secret,
        known,
        store,
        changes=engine.updater,
        requests=engine.requests,
        suggested=engine.healing.suggest,
        hash_wait_s=config.hash_wait_s,
    )


def _existing_root(spec: ServerSpec) -> Path:
    if spec.root is None:
        raise ConfigError(
            f"Which directory does {spec.name} keep? Write 'accord serve DIR …', or root = in the configuration."
        )
    if not spec.root.is_dir():
        what = "is no directory" if spec.root.exists() else "does not exist"
        hint = "" if spec.root.exists() else f" Make it first: mkdir -p '{spec.root}'"
        raise CannotStart(f"The directory {spec.root} of {spec.name} {what}.{hint}")
    return spec.root.resolve()


def _allow_many_files() -> None:
    """Every connection and every open copy is a file descriptor; the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
