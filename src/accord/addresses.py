"""Where the servers of a cluster are: names, addresses and directories, each one checked, and all together.

Only loopback addresses can be listened on until Accord has TLS and authentication of clients. Reading these from files is left to
`config`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from accord.errors import ConfigError
from accord.model.names import ServerName

MAX_SERVERS = 9


class ServerSpec(msgspec.Struct, frozen=True):
    """One server of the cluster: where the others reach it, where it listens (the same, unless said), and its directory."""

    name: ServerName
    url: str
    root: Path | None = None
    listen: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `url`."""
        return _split_url(self.name, self.url)

    @property
    def listen_address(self) -> tuple[str, int]:
        """Where this server listens, checked as `check_listening` does."""
        self.check_listening()
        return self._unchecked_listen_address()

    def check_listening(self) -> None:
        """Raises `ConfigError` for an address to listen on that is none, or that other machines can reach."""
        if self.listen is None and self.url.startswith("https:"):
            raise ConfigError(
                f"{self.name}: {self.url} is spoken by a proxy in front of the server, which speaks plain HTTP itself: "
                "say where the server listens behind it (listen = or --listen)."
            )
        host, _ = self._unchecked_listen_address()
        if not is_loopback(host):
            raise ConfigError(
                f"{self.name} would listen on {host}, where other machines can reach it; that needs TLS and authentication, which this "
                "release does not have. Listen on 127.0.0.1 (listen = or --listen), and let an SSH tunnel, a VPN or a reverse "
                "proxy bring the others there."
            )

    def _unchecked_listen_address(self) -> tuple[str, int]:
        return self.address if self.listen is None else parse_listen(self.listen)


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port from `127.0.0.1:65001`, `[::1]:65001` or `localhost:65001`; `:65001` is on 127.0.0.1."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"'{text}' is no address to listen on: write HOST:PORT, such as 127.0.0.1:65001.")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def parse_peer(text: str) -> ServerSpec:
    """From `server2=http://127.0.0.1:65002`."""
    name, equals, url = text.partition("=")
    if not equals:
        raise ConfigError(f"'{text}' is no peer: write NAME=URL, such as server2=http://127.0.0.1:65002.")
    return ServerSpec(ServerName(name), url)


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_servers(servers: Iterable[ServerSpec]) -> None:
    """Raises `ConfigError` for two servers with one name, address or directory."""
    names: dict[str, ServerName] = {}
    addresses: dict[tuple[str, int], ServerName] = {}
    roots: dict[tuple[str, Path], ServerName] = {}
    for spec in servers:
        host, port = spec.address
        if spec.name.lower() in names:
            raise ConfigError(f"Two servers are called '{spec.name}' (capitals do not tell names apart).")
        if (host, port) in addresses:
            raise ConfigError(f"{addresses[host, port]} and {spec.name} have the same address, {spec.url}.")
        if spec.root is not None and (host, spec.root) in roots:
            raise ConfigError(f"{roots[host, spec.root]} and {spec.name} have the same directory, {spec.root}.")
        names[spec.name.lower()] = addresses[host, port] = spec.name
        if spec.root is not None:
            roots[host, spec.root] = spec.name


def _split_url(name: str, url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        # As whoever looks the name up does: an empty label, or one that is too long, is no name.
        (host or "").encode("idna")
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    schemes = ("http", "https")
    if (
        parts.scheme not in schemes
        or not host
        or parts.path.rstrip("/")
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ConfigError(f"{name}: '{url}' is no server's address: write http://HOST:PORT and nothing more.")
    if port is None and parts.scheme == "https":
        return host, 443
    if port is None:
        raise ConfigError(f"{name}: {url} has no port: write http://{host}:65001, for example.")
    return host, port
