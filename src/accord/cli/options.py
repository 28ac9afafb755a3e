"""The options that every client command has, and the client they make.

What the commands do with it is in their own files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

if TYPE_CHECKING:
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

    def output(self) -> Output:
        from accord.cli.output import output

        return output(json=self.json)


DEFAULTS = Common()
