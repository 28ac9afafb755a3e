"""The secret that the servers of one cluster share: read from where the configuration says, or made.

A key file holds one line of text. Servers that all live on loopback need no key from anybody: they share one of their user's, made
at first need. What the key is used for is left to `peers.handshake`; it is never logged, shown, or sent.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from accord.errors import ConfigError

KEY_VARIABLE = "ACCORD_CLUSTER_KEY"
MIN_KEY_CHARS = 32
MAX_KEY_FILE_BYTES = 4096
NEW_KEY_BYTES = 32

HOW_TO_MAKE_ONE = (
    f"Make one with 'accord config new-key cluster.key', copy it to every machine, and name it as key_file "
    f"(or set {KEY_VARIABLE})."
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key with where it came from, and what a person should be warned of."""

    secret: bytes
    origin: str
    warning: str | None = None

    def __repr__(self) -> str:
        return f"<Key from {self.origin}>"


def key_from_text(text: str, origin: str) -> Key:
    """Raises `ConfigError` for a key that is too short to be a secret."""
    secret = text.strip()
    if len(secret) < MIN_KEY_CHARS:
        raise ConfigError(
            f"The cluster key in {origin} has {len(secret)} characters; it needs at least {MIN_KEY_CHARS}. {HOW_TO_MAKE_ONE}"
        )
    return Key(secret.encode(), origin)


def key_from_file(file: Path) -> Key:
    """Raises `ConfigError` when the file is not there, cannot be read, or holds no key."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            raw = opened.read(MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"The key file {file} does not exist. {HOW_TO_MAKE_ONE}") from None
    except OSError as error:
        raise ConfigError(f"The key file {file} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_KEY_FILE_BYTES:
        raise ConfigError(f"The key file {file} is larger than {MAX_KEY_FILE_BYTES} bytes: that is no key.")
    try:
        key = key_from_text(raw.decode(), str(file))
    except UnicodeDecodeError:
        raise ConfigError(f"The key file {file} is no text.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        warning = f"Others than its owner can read the key file {file}: 'chmod 600 {file}' mends that."
        return Key(key.secret, key.origin, warning)
    return key


def new_key_file(file: Path) -> None:
    """Write a new random key, readable by its owner only. Raises `ConfigError` if the file exists: a key is never replaced."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{file} exists, and a key is never written over. Choose another name.") from None
    except OSError as error:
        raise ConfigError(f"The key file {file} cannot be written: {error.strerror}.") from error
    with os.fdopen(handle, "w") as opened:
        opened.write(secrets.token_hex(NEW_KEY_BYTES) + "\n")
        opened.flush()
        os.fsync(opened.fileno())


def loopback_key_file(environ: Mapping[str, str]) -> Path:
    state = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or str(Path.home()), ".local", "state")
    return Path(state) / "accord" / "loopback.key"


def loopback_key(environ: Mapping[str, str]) -> Key:
    """The key shared by all servers of this user on loopback, made if it is not there.

    Two servers may start at once: each writes a file of its own and links it into place, which only one of them can; both then read
    the same key, and never half of one.
    """
    file = loopback_key_file(environ)
    if not file.exists():
        mine = file.with_name(f"loopback.{secrets.token_hex(8)}.new")
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new_key_file(mine)
            try:
                os.link(mine, file)
            except FileExistsError:
                pass  # the other server was faster: its key is the one
            finally:
                mine.unlink()
        except OSError as error:
            raise ConfigError(f"No key could be made in {file.parent}: {error.strerror}. {HOW_TO_MAKE_ONE}") from error
    return key_from_file(file)


def key_of_one_server() -> Key:
    """A cluster of one has nobody to share a key with: it gets one that nobody knows."""
    return Key(secrets.token_hex(NEW_KEY_BYTES).encode(), "made for this process")
