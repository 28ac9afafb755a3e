"""`accord serve`: one server, until Ctrl-C or SIGTERM.

What the flags override is `config`'s, how a server starts and ends is `serving`'s.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter

from accord.cli.exit_codes import OK

if TYPE_CHECKING:
    from accord.config import Flags

_SETTINGS = Group("Settings of the cluster", sort_key=50)


@Parameter(name="*", group=_SETTINGS)
@dataclass(frozen=True)
class Settings:
    """Each overrides the configuration file and the `ACCORD_*` variable of its name.

    Parameters
    ----------
    cluster_name
        The cluster's name, the same on all its servers.
    key_file
        The file with the key that the cluster's servers share.
    min_copies
        How many servers must hold a write durably before it is acknowledged.
    outside_changes
        What a change made behind Accord's back means: `dispute` makes rivals, `adopt` supersedes.
    keep_versions
        How many superseded or deleted versions of a file are kept.
    keep_days
        How many days they are kept.
    peer_timeout
        How long a read waits for another server, such as `500ms` or `1s`.
    hash_wait
        How long a read waits for a changed file to be hashed.
    scan_every
        How often the directory is searched for changes made behind Accord's back: `10m`, `1h`, or `never`.
    sync_every
        How often all files are compared with the other servers': `5m`, or `never`.
    scrub_every
        How often every byte is read anew and compared with its digest: `30d`, or `never`.
    scrub_rate
        How much a scrub reads a second at most, such as `50MB`.
    scrub_share
        Which part of the time a scrub may be reading, from 0 to 1.
    watch
        Let the file system hint at changes between two scans.
    keep_tombstones_days
        How many days a deletion is remembered. A server that was away for longer is a stranger.
    """

    cluster_name: str | None = None
    key_file: Path | None = None
    min_copies: int | None = None
    outside_changes: Literal["dispute", "adopt"] | None = None
    keep_versions: int | None = None
    keep_days: int | None = None
    peer_timeout: str | None = None
    hash_wait: str | None = None
    scan_every: str | None = None
    sync_every: str | None = None
    scrub_every: str | None = None
    scrub_rate: str | None = None
    scrub_share: float | None = None
    watch: bool | None = None
    keep_tombstones_days: int | None = None

    def values(self) -> dict[str, object]:
        """By the names that `config` has for them."""
        return {
            "name": self.cluster_name,
            "min_copies": self.min_copies,
            "outside_changes": self.outside_changes,
            "keep_versions": self.keep_versions,
            "keep_days": self.keep_days,
            "peer_timeout": self.peer_timeout,
            "hash_wait": self.hash_wait,
            "scan_every": self.scan_every,
            "sync_every": self.sync_every,
            "scrub_every": self.scrub_every,
            "scrub_rate": self.scrub_rate,
            "scrub_share": self.scrub_share,
            "watch": self.watch,
            "keep_tombstones_days": self.keep_tombstones_days,
        }


NO_SETTINGS = Settings()


def app_command(app: App) -> None:
    app.command(serve, usage="Usage: accord serve [OPTIONS] [DIR]")


def serve(
    root: Annotated[Path | None, Parameter(name="DIR")] = None,
    /,
    *,
    name: str | None = None,
    config: Path | None = None,
    listen: str | None = None,
    peer: Annotated[
        tuple[str, ...], Parameter(name="--peer", consume_multiple=False, negative=(), show_default=False)
    ] = (),
    log: Literal["auto", "text", "json"] = "auto",
    settings: Settings = NO_SETTINGS,
) -> int:
    """Run one server of a cluster, until Ctrl-C or SIGTERM.

    The cluster is described by one TOML file that can be the same on every machine, or by flags alone. Files in DIR are served as they
    are; Accord keeps its index beside them in `.accord/`. Transfers under way get some seconds to end when the server is stopped.

    Examples:

        accord serve --config accord.toml --name server1

        accord serve DIR --name server1 --listen 127.0.0.1:65001 --peer server2=http://127.0.0.1:65002

    Parameters
    ----------
    root
        The directory to keep. It must exist.
    name
        Which server of the cluster this is. Can be left out where the file has only one.
    config
        The configuration file; without it, the one that `ACCORD_CONFIG` names, if any.
    listen
        HOST:PORT to listen on, on loopback; without it, that of the server's URL.
    peer
        NAME=URL of another server; repeat it for several.
    log
        How log lines are written to stderr: `text`, `json`, or whichever fits (`auto`).
    """
    from accord.config import config_file, load_config
    from accord.errors import UsageError
    from accord.logs import LogForm, configure_logging
    from accord.serving import serve_blocking

    file = config_file(config, os.environ)
    if file is None and root is None:
        raise UsageError("What is to be served? Name a directory, or a configuration file with --config.")
    me = name or _only_name(file)
    loaded = load_config(file, _flags(me, root, listen, peer, settings), os.environ)
    configure_logging(LogForm(log))
    serve_blocking(loaded, me)
    return OK


def _only_name(file: Path | None) -> str:
    """The name that need not be said. Raises `ConfigError`."""
    from accord.config import Flags, load_config
    from accord.errors import ConfigError

    if file is None:
        raise ConfigError("Which server is this? Add --name server1, for example.")
    names = [spec.name for spec in load_config(file, Flags(), os.environ, make_key=False).servers]
    if len(names) > 1:
        raise ConfigError(f"Which server is this? Add --name with one of: {', '.join(names)}.")
    return names[0]


def _flags(name: str, root: Path | None, listen: str | None, peers: tuple[str, ...], settings: Settings) -> Flags:
    from accord.addresses import ServerSpec, parse_peer
    from accord.config import Flags, expanded
    from accord.errors import ConfigError
    from accord.model.names import ServerName

    me = ServerSpec(ServerName(name), "", expanded(root).absolute() if root else None, listen)
    others = [parse_peer(peer) for peer in peers]
    names = [me.name, *(spec.name for spec in others)]
    for spec in others:
        if names.count(spec.name) > 1:
            raise ConfigError(f"--peer names '{spec.name}' twice, or this server itself: a peer is another server.")
    servers = ((me,) if root or listen or peers else ()) + tuple(others)
    return Flags(settings.values(), settings.key_file, servers)
