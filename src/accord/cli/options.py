"""The options that several client commands have, and the client they make.

What the commands do with it is in their own files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from accord.cli.bar import Bar
    from accord.cli.output import Output
    from accord.client.blocking import Client

DEFAULT_TIMEOUT_S = 30.0

Verify = Literal["stat", "content", "none"]

_COMMON = Group("Common options", sort_key=100)


@Parameter(name="*", group=_COMMON)
@dataclass(frozen=True)
class Common:
    """Which servers are asked, and how results are shown.

    Parameters
    ----------
    server
        Address of a server; repeat it to name several, and the next is tried when one is down. Without it: `ACCORD_SERVERS`
        (separated by commas), else http://127.0.0.1:65001.
    json
        Print JSON for programs. An error is then a problem object on stderr.
    timeout
        How many seconds a server may keep silent.
    """

    server: Annotated[tuple[str, ...], Parameter(name="--server", negative=(), show_default=False)] = ()
    json: Annotated[bool, Parameter(name="--json", negative=(), show_default=False)] = False
    timeout: Annotated[float, Parameter(name="--timeout")] = DEFAULT_TIMEOUT_S

    def client(self) -> Client:
        """To be closed by the caller. Raises `UsageError`."""
        from accord.client.blocking import Client
        from accord.errors import UsageError

        if not 0 < self.timeout < float("inf"):
            raise UsageError("--timeout takes a number of seconds above 0.")
        return Client(*self.server, timeout_s=self.timeout)

    def output(self, bar: Bar | None = None) -> Output:
        """Its lines go past `bar`, if there is one."""
        from accord.cli.output import output

        return output(json=self.json) if bar is None else output(json=self.json, beside=bar.beside)


DEFAULTS = Common()

_WRITING = Group("Options of every change", sort_key=90)


@Parameter(name="*", group=_WRITING)
@dataclass(frozen=True)
class Signed:
    """What a change says of itself.

    Parameters
    ----------
    message
        Why: one line for the history.
    author
        Who: for the history; without it, you at this machine.
    min_copies
        Fail (exit code 3) if fewer servers than this hold it durably; without it, what the cluster is set to.
    """

    message: Annotated[str | None, Parameter(name=["--message", "-m"], negative=())] = None
    author: Annotated[str | None, Parameter(name="--author", negative=())] = None
    min_copies: Annotated[int | None, Parameter(name="--min-copies", negative=())] = None

    @property
    def signature(self) -> str:
        if self.author is not None:
            return self.author
        import getpass
        import socket

        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a number without a name, as containers have
            user = str(os.getuid())
        return f"{user}@{socket.gethostname()}"

    def options(self) -> dict[str, Any]:
        """For the client's methods."""
        return {"author": self.signature, "message": self.message, "min_copies": self.min_copies}


@Parameter(name="*", group=_WRITING)
@dataclass(frozen=True)
class Guard:
    """What must be there for the change to be made.

    Parameters
    ----------
    if_match
        Only if this is the current version: its whole digest.
    if_absent
        Only if there is no such file.
    """

    if_match: Annotated[str | None, Parameter(name="--if-match", negative=())] = None
    if_absent: Annotated[bool, Parameter(name="--if-absent", negative=(), show_default=False)] = False

    def options(self) -> dict[str, Any]:
        return {"if_match": self.if_match, "if_none_match": "*" if self.if_absent else None}


UNSIGNED = Signed()
UNGUARDED = Guard()

DEFAULT_JOBS = 8
MAX_JOBS = 64
Jobs = Annotated[int, Parameter(name=["--jobs", "-j"], negative=())]
DryRun = Annotated[bool, Parameter(name=["--dry-run", "-n"], negative=(), show_default=False)]
Recursive = Annotated[bool, Parameter(name=["--recursive", "-r"], negative=(), show_default=False)]


def checked_jobs(jobs: int) -> int:
    from accord.errors import UsageError

    if not 1 <= jobs <= MAX_JOBS:
        raise UsageError(f"--jobs takes a number from 1 to {MAX_JOBS}.")
    return jobs
