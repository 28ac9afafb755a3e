"""What a server is told: read from one TOML file, `ACCORD_*` variables and flags, checked as a whole, and handed on as values.

This module (with `cluster_key` for the secret) is the only reader of files and environment; everybody else receives a `Config`. Later
sources override earlier ones: built-in default, file, environment, flags; each value knows which of them it came from.
What is done with the values is left to `serving`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from accord.addresses import MAX_SERVERS, ServerSpec, check_servers, is_loopback
from accord.cluster_key import (
    HOW_TO_MAKE_ONE,
    KEY_VARIABLE,
    Key,
    key_from_file,
    key_from_text,
    key_of_one_server,
    loopback_key,
)
from accord.errors import ConfigError
from accord.model.names import ServerName
from accord.model.versions import OutsideChanges
from accord.quantities import interval_text, parse_duration_s, parse_interval_s, parse_rate_bytes, rate_text

FILE_VARIABLE = "ACCORD_CONFIG"
DEFAULT = "default"

_COUNT = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
SETTINGS: dict[str, tuple[Any, Any]] = {
    "name": (Annotated[str, msgspec.Meta(min_length=1, max_length=63)], "accord"),
    "min_copies": (Annotated[int, msgspec.Meta(ge=1, le=MAX_SERVERS)], 1),
    "outside_changes": (Literal["dispute", "adopt"], "dispute"),
    "keep_versions": (_COUNT, 10),
    "keep_days": (_COUNT, 30),
    "peer_timeout": (str, "1s"),
    "hash_wait": (str, "10s"),
    "scan_every": (str, "1h"),
    "sync_every": (str, "5m"),
    "scrub_every": (str, "30d"),
    "scrub_rate": (str, "50MB"),
    "scrub_share": (Annotated[float, msgspec.Meta(gt=0, le=1)], 0.25),
    "watch": (bool, True),
    "keep_tombstones_days": (Annotated[int, msgspec.Meta(ge=1, le=1_000_000)], 90),
}
"""The keys of [cluster] beside key_file: type and default. Each is also `ACCORD_` and its name in capitals, and a flag."""

_VARIABLES = {key: f"ACCORD_{'CLUSTER_NAME' if key == 'name' else key.upper()}" for key in SETTINGS}
_FLAGS = {key: f"--{'cluster-name' if key == 'name' else key.replace('_', '-')}" for key in SETTINGS}


class _Field(NamedTuple):
    """How a setting becomes a field of `Config`, and is shown again."""

    name: str
    read: Callable[[str, Any], Any] = lambda _, value: value
    shown: Callable[[Any], object] = lambda value: value


_FIELDS = {
    "name": _Field("cluster"),
    "outside_changes": _Field("outside_changes", lambda _, value: OutsideChanges(value), lambda value: value.value),
    "peer_timeout": _Field("peer_timeout_s", parse_duration_s, interval_text),
    "hash_wait": _Field("hash_wait_s", parse_duration_s, interval_text),
    "scan_every": _Field("scan_every_s", parse_interval_s, interval_text),
    "sync_every": _Field("sync_every_s", parse_interval_s, interval_text),
    "scrub_every": _Field("scrub_every_s", parse_interval_s, interval_text),
    "scrub_rate": _Field("scrub_bytes_per_s", parse_rate_bytes, rate_text),
}


def _field_of(key: str) -> _Field:
    return _FIELDS.get(key) or _Field(key)


@dataclass(frozen=True, slots=True)
class Config:
    """One cluster, checked. Times are in seconds; what is done every None is never done by itself. `scrub_share` is the part of the
    time that a scrub may be reading. `origins` says for each setting where it came from."""

    cluster: str
    servers: tuple[ServerSpec, ...]
    key: Key | None = field(repr=False)
    min_copies: int
    outside_changes: OutsideChanges
    keep_versions: int
    keep_days: int
    peer_timeout_s: float
    hash_wait_s: float
    scan_every_s: float | None
    sync_every_s: float | None
    scrub_every_s: float | None
    scrub_bytes_per_s: int
    scrub_share: float
    watch: bool
    keep_tombstones_days: int
    origins: Mapping[str, str]
    warnings: tuple[str, ...]

    def server(self, name: str) -> ServerSpec:
        """Raises `ConfigError` that lists the names there are."""
        for spec in self.servers:
            if spec.name == name:
                return spec
        known = ", ".join(spec.name for spec in self.servers)
        raise ConfigError(f"The cluster has no server '{name}'. It has: {known}.")

    def peers_of(self, name: str) -> dict[ServerName, str]:
        """The other servers and their addresses."""
        return {spec.name: spec.url for spec in self.servers if spec.name != name}

    def shown(self) -> list[tuple[str, object, str]]:
        """Every value with where it came from, for a person. Never the key."""
        secret = ("key", "set" if self.key else "one is made for loopback", self.key.origin if self.key else DEFAULT)
        rows: list[tuple[str, object, str]] = [
            (key, _field_of(key).shown(getattr(self, _field_of(key).name)), self.origins.get(key, DEFAULT))
            for key in SETTINGS
        ]
        rows.insert(1, secret)
        for spec in self.servers:
            origin = self.origins.get(f"server.{spec.name}", DEFAULT)
            rows.append((f"server.{spec.name}.url", spec.url, origin))
            if spec.root is not None:
                rows.append((f"server.{spec.name}.root", str(spec.root), origin))
            if spec.listen is not None:
                rows.append((f"server.{spec.name}.listen", spec.listen, origin))
        return rows


@dataclass(frozen=True, slots=True)
class Flags:
    """What was said on the command line (or by a caller of the library). `settings` has keys of `SETTINGS`."""

    settings: Mapping[str, object] = field(default_factory=dict)
    key_file: Path | None = None
    servers: tuple[ServerSpec, ...] = ()
    """Added to the file's servers; what is given for a name that the file has too overrides the file."""


def load_config(file: Path | None, flags: Flags, environ: Mapping[str, str], *, make_key: bool = True) -> Config:
    """The whole configuration, checked. Raises `ConfigError` whose text says what to change.

    Servers on loopback that were given no key get one, made if need be; with `make_key` false they get none, and nothing is made.
    """
    written = _read(file) if file is not None else {}
    cluster = written.get("cluster", {})
    source = str(file) if file is not None else ""
    layers: list[tuple[Callable[[str], str], dict[str, object], bool]] = [
        (lambda _: source, {key: cluster[key] for key in SETTINGS if key in cluster}, True),
        (_VARIABLES.__getitem__, {key: environ[name] for key, name in _VARIABLES.items() if name in environ}, False),
        (_FLAGS.__getitem__, {key: value for key, value in flags.settings.items() if value is not None}, False),
    ]
    values: dict[str, Any] = {key: default for key, (_, default) in SETTINGS.items()}
    origins: dict[str, str] = {}
    for origin_of, found, strict in layers:
        for key, value in found.items():
            origins[key] = origin_of(key)
            values[key] = _converted(key, value, origins[key], strict=strict)
    servers = _servers(written.get("server", []), file, flags.servers, origins)
    _check_counts(servers, values["min_copies"])
    check_servers(servers)
    secret = _key(cluster.get("key_file"), file, flags.key_file, servers, environ)
    if secret is None and make_key:
        secret = loopback_key(environ) if len(servers) > 1 else key_of_one_server()
    return Config(
        servers=servers,
        key=secret,
        origins=origins,
        warnings=(secret.warning,) if secret and secret.warning else (),
        **{_field_of(key).name: _field_of(key).read(key, value) for key, value in values.items()},
    )


def config_file(flagged: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Which file is read, if any: the flag's, else the variable's."""
    named = environ.get(FILE_VARIABLE)
    return flagged or (Path(named) if named else None)


def expanded(path: Path) -> Path:
    """With a home directory in place of the `~` at its start. Raises `ConfigError` where nobody knows of one."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"'{path}': there is no home directory for '{path.parts[0]}' on this machine.") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = msgspec.toml.decode(file.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"The configuration file {file} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from error
    _check_keys(file, "", raw, ["cluster", "server"])
    if not isinstance(raw.get("cluster", {}), dict):
        raise ConfigError(f"{file}: write [cluster] as a table.")
    servers = raw.get("server", [])
    if not isinstance(servers, list) or not all(isinstance(one, dict) for one in servers):
        raise ConfigError(f"{file}: write each server under a line [[server]], with two brackets.")
    _check_keys(file, "cluster.", raw.get("cluster", {}), [*SETTINGS, "key_file"])
    for one in servers:
        _check_keys(file, "server.", one, ServerSpec.__struct_fields__)
    return dict(raw)


def _check_keys(file: Path, table: str, found: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in found:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1)
            hint = f"Did you mean '{nearest[0]}'?" if nearest else f"It may have: {', '.join(known)}."
            raise ConfigError(f"{file}: there is no setting '{table}{key}'. {hint}")


def _converted(key: str, value: object, origin: str, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, SETTINGS[key][0], strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{key} = {value!r} (from {origin}) does not fit: {error}.") from None


def _servers(
    written: list[dict[str, Any]], file: Path | None, flagged: tuple[ServerSpec, ...], origins: dict[str, str]
) -> tuple[ServerSpec, ...]:
    specs = {}
    for one in written:
        assert file is not None
        spec = _server_from_file(one, file)
        if spec.name in specs:
            raise ConfigError(f"{file}: two servers are called '{spec.name}'.")
        specs[spec.name] = spec
        origins[f"server.{spec.name}"] = str(file)
    for spec in flagged:
        before = specs.get(spec.name)
        if before is None and not spec.url:
            if spec.listen is None:
                known = f" The file has: {', '.join(specs)}." if specs else ""
                raise ConfigError(
                    f"Where should '{spec.name}' listen? Add --listen 127.0.0.1:65001, for example.{known}"
                )
            spec = ServerSpec(spec.name, f"http://{spec.listen.removeprefix('http://')}", spec.root, spec.listen)
        if before is not None:
            spec = ServerSpec(spec.name, spec.url or before.url, spec.root or before.root, spec.listen or before.listen)
        if spec.listen is not None:
            # What other machines can reach is refused before anybody asks for a key because of it.
            spec.check_listening()
        specs[spec.name] = spec
        origins[f"server.{spec.name}"] = "flags" if before is None else f"{origins[f'server.{spec.name}']} and flags"
    return tuple(specs.values())


def _server_from_file(written: dict[str, Any], file: Path) -> ServerSpec:
    for key in ("name", "url"):
        if key not in written:
            raise ConfigError(f"{file}: a [[server]] has no {key}.")
    for key, value in written.items():
        if not isinstance(value, str):
            raise ConfigError(f"{file}: server.{key} = {value!r} must be text in quotes.")
    root = (file.parent / expanded(Path(written["root"]))).resolve() if "root" in written else None
    return ServerSpec(ServerName(written["name"]), written["url"], root, written.get("listen"))


def _check_counts(servers: tuple[ServerSpec, ...], min_copies: int) -> None:
    if not 1 <= len(servers) <= MAX_SERVERS:
        raise ConfigError(f"A cluster has 1 to {MAX_SERVERS} servers; this one has {len(servers)}.")
    if min_copies > len(servers):
        many = "1 server" if len(servers) == 1 else f"{len(servers)} servers"
        raise ConfigError(f"min_copies = {min_copies} can never be reached: the cluster has {many}.")


def _key(
    written: object,
    file: Path | None,
    flagged: Path | None,
    servers: tuple[ServerSpec, ...],
    environ: Mapping[str, str],
) -> Key | None:
    if flagged is not None:
        return key_from_file(flagged)
    if KEY_VARIABLE in environ:
        return key_from_text(environ[KEY_VARIABLE], KEY_VARIABLE)
    if written is not None:
        assert file is not None
        if not isinstance(written, str):
            raise ConfigError(f"{file}: cluster.key_file must be text in quotes.")
        return key_from_file((file.parent / expanded(Path(written))).resolve())
    elsewhere = [spec for spec in servers if not is_loopback(spec.address[0])]
    if elsewhere:
        raise ConfigError(
            f"{elsewhere[0].name} is at {elsewhere[0].url}, on another machine, so that the servers need a key. {HOW_TO_MAKE_ONE}"
        )
    return None
